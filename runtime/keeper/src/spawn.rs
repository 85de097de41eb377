//! Starting one process.
//!
//! std's `Command` uses posix_spawn: it does not copy this process, it resets PIPE in the child, and a failing exec is
//! an error here. The keeper looks up programs itself, because a changed `PATH` would make std fork instead. Each child
//! leads a process group and not a session, because a session would need code between fork and exec. It reaps nothing.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::protocol::{KeeperRefusal, MAX_TAG, SPAWN_VARIABLE, SpawnRequest};

/// The longest spawn id or service name: both are kept for every child.
const MAX_NAME: usize = 256;

/// Refuses a request that cannot be carried out or recorded.
pub(crate) fn check(spawn: &SpawnRequest) -> Result<(), KeeperRefusal> {
    let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    let wrong = if !named(&spawn.spawn) {
        "a spawn id is 1 to 256 bytes without control characters"
    } else if !named(&spawn.slot.service) {
        "a service name is 1 to 256 bytes without control characters"
    } else if spawn.command.first().is_none_or(String::is_empty) {
        "the command is empty"
    } else if spawn.tag.len() > MAX_TAG {
        "the tag is too long"
    } else {
        return Ok(());
    };
    Err(KeeperRefusal::Invalid(wrong.to_owned()))
}

/// Starts the process and returns its PID. The caller must reap it.
pub(crate) fn start(spawn: &SpawnRequest, output: Option<io::PipeWriter>) -> Result<u32, KeeperRefusal> {
    let Some((name, arguments)) = spawn.command.split_first() else {
        return Err(KeeperRefusal::Invalid("the command is empty".to_owned()));
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
        Err(error) => Err(KeeperRefusal::Exec {
            program: name.clone(),
            errno: error.raw_os_error().unwrap_or(0),
            reason: match &spawn.cwd {
                Some(cwd) if !cwd.is_dir() => format!("working directory {}: {error}", cwd.display()),
                _ => error.to_string(),
            },
        }),
    }
}

/// A name with a slash is a path, relative to the child's working directory. Any other name is searched in `PATH`.
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
