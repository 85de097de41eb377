//! An action that reaches for whatever it is told to, and says what came of it.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task};
use serde::Deserialize;

// The standard library has no symbolic links for WASI; the C library that it stands on does.
unsafe extern "C" {
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reach {}

#[derive(Deserialize)]
struct Parameters {
    deed: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    target: String,
}

impl Action for Reach {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        let schema = r#"{"type": "object", "additionalProperties": false, "required": ["deed"], "properties": {
            "deed": {"type": "string"}, "path": {"type": "string"}, "target": {"type": "string"}}}"#;
        vec![ActionInfo::new("reach", "reaches for something").parameters(schema)]
    }

    fn check(&self, _: &Task) -> Result<Plan, Error> {
        Ok(Plan::new("would reach"))
    }

    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let asked: Parameters =
            serde_json::from_str(&task.parameters).map_err(|error| Error::BadInput(error.to_string()))?;
        let came = reach(&asked).map_err(|error| Error::Denied(error.to_string()))?;
        Ok(Receipt::new(came, true).undo(asked.path.into_bytes()))
    }

    fn undo(&self, _: &Task, token: &[u8]) -> Result<Receipt, Error> {
        Ok(Receipt::new(String::from_utf8_lossy(token), false))
    }
}

fn reach(asked: &Parameters) -> std::io::Result<String> {
    Ok(match asked.deed.as_str() {
        "read" => fs::read_to_string(&asked.path)?,
        "write" => {
            fs::write(&asked.path, "written by a guest")?;
            "written".into()
        }
        "remove" => {
            fs::remove_file(&asked.path)?;
            "removed".into()
        }
        "list" => {
            let mut names = fs::read_dir(&asked.path)?
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            names.join(",")
        }
        "rename" => {
            fs::rename(&asked.path, &asked.target)?;
            "renamed".into()
        }
        "hard-link" => {
            fs::hard_link(&asked.target, &asked.path)?;
            "linked".into()
        }
        "symlink" => {
            let words = |path: &str| CString::new(path).map_err(std::io::Error::other);
            let (target, path) = (words(&asked.target)?, words(&asked.path)?);
            // SAFETY: both are texts that end with a zero and live until the call returns.
            if unsafe { symlink(target.as_ptr(), path.as_ptr()) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
            "linked".into()
        }
        "read-often" => {
            let read = (0..2_000).filter_map(|_| fs::read_to_string(&asked.path).ok());
            read.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(",")
        }
        "hoard" => {
            let hoard = (0..10_000).map(|_| fs::File::open(&asked.path)).collect::<Result<Vec<_>, _>>()?;
            hoard.len().to_string()
        }
        "time" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos().to_string()
        }
        "dice" => {
            // A map's hasher is seeded from the system.
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(1).to_string()
        }
        "environment" => format!("{} {}", std::env::vars().count(), std::env::args().count()),
        "sleep" => {
            std::thread::sleep(Duration::from_secs(3_600));
            "slept".into()
        }
        "stderr" => {
            eprintln!("all is lost");
            std::process::abort()
        }
        "exit" => std::process::exit(3),
        other => format!("{other}?"),
    })
}

heald_plugin::action!(Reach, capabilities: &["log", "wasi:filesystem"]);
