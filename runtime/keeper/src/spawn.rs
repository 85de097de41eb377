//! Starting one process. std's `Command` is posix_spawn underneath: no copy of this process is made, PIPE is reset in the
//! child, and an exec that fails is an error here and not an exit over there. A program is looked up by us because a changed
//! `PATH` would make std fork instead.
//!
//! Each child leads a process group and not a session: that takes no code between fork and exec.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::protocol::{MAX_TAG, Refusal, SPAWN_VARIABLE, Spawn};

/// The longest spawn id or service name: both are kept for every child.
const MAX_NAME: usize = 256;

/// Refuses what could not be carried out or written down.
pub(crate) fn check(spawn: &Spawn) -> Result<(), Refusal> {
    let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    let wrong = if !named(&spawn.spawn) {
        "a spawn id is 1 to 256 bytes without control characters"
    } else if !named(&spawn.place.service) {
        "a service name is 1 to 256 bytes without control characters"
    } else if spawn.command.first().is_none_or(String::is_empty) {
        "the command is empty"
    } else if spawn.tag.len() > MAX_TAG {
        "the tag is too long"
    } else {
        return Ok(());
    };
    Err(Refusal::Invalid(wrong.to_owned()))
}

/// Starts the process and returns its PID. It is the caller's to reap.
pub(crate) fn start(spawn: &Spawn, output: Option<io::PipeWriter>) -> Result<u32, Refusal> {
    let Some((name, arguments)) = spawn.command.split_first() else {
        return Err(Refusal::Invalid("the command is empty".to_owned()));
    };
    let started = look_up(name, spawn.env.get("PATH").map(String::as_str)).and_then(|program| {
        let (out, err) = match output {
            Some(output) => (Stdio::from(output.try_clone()?), Stdio::from(output)),
            None => (Stdio::null(), Stdio::null()),
        };
        let mut command = Command::new(program);
        command.arg0(name).args(arguments).env_clear().envs(&spawn.env).env(SPAWN_VARIABLE, &spawn.spawn);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        if let Some(cwd) = &spawn.cwd {
            command.current_dir(cwd);
        }
        if let Some(user) = spawn.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.spawn()
    });
    match started {
        Ok(child) => Ok(child.id()),
        Err(error) => Err(Refusal::Exec {
            program: name.clone(),
            errno: error.raw_os_error().unwrap_or(0),
            reason: match &spawn.cwd {
                Some(cwd) if !cwd.is_dir() => format!("working directory {}: {error}", cwd.display()),
                _ => error.to_string(),
            },
        }),
    }
}

/// A name with a slash is a path (relative to the child's working directory); any other is looked for in `PATH`.
fn look_up(name: &str, path: Option<&str>) -> io::Result<PathBuf> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let absolute = std::env::split_paths(path.unwrap_or_default()).filter(|directory| directory.is_absolute());
    absolute
        .map(|directory| directory.join(OsStr::new(name)))
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
