//! A heald of the binary under test, in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, request};
use crate::ports::free_port;
use crate::wait::{until, within};

/// How a heald is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The binary.
    pub binary: PathBuf,
    /// Its configuration. `@PORT@` becomes its own port, `@DIR@` its directory.
    pub config: String,
    /// Its environment, beside PATH and HOME.
    pub env: Vec<(String, String)>,
}

/// A running heald: keeper and runtime. Dropping it ends both, and every process they started.
#[derive(Debug)]
pub struct Heald {
    launch: Launch,
    dir: TempDir,
    port: u16,
    keeper: Option<Child>,
}

/// How long anything may take that is not itself being measured: these are two slow cores, shared.
const PATIENCE: Duration = Duration::from_secs(30);

impl Heald {
    /// Starts a heald and waits until it answers.
    pub fn start(launch: Launch) -> Self {
        let mut heald = Self { launch, dir: tempfile::tempdir().unwrap(), port: free_port(), keeper: None };
        heald.boot();
        heald.ready();
        heald
    }

    /// The same, in a directory that a heald was in before.
    pub fn start_again(&mut self) {
        self.boot();
        self.ready();
    }

    /// What it is started with next time.
    pub fn set_env(&mut self, env: Vec<(String, String)>) {
        self.launch.env = env;
    }

    /// Starts it without waiting for anything.
    pub fn boot(&mut self) {
        let file = self.path("heald.toml");
        let text = self.launch.config.replace("@PORT@", &self.port.to_string());
        fs::write(&file, text.replace("@DIR@", &self.dir.path().display().to_string())).unwrap();
        let log = fs::File::options().create(true).append(true).open(self.path("heald.log")).unwrap();
        let mut command = self.command();
        command
            .args(["run", "--config"])
            .arg(&file)
            .args(["--port", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.keeper = Some(command.spawn().expect("the binary under test starts"));
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.launch.binary);
        command.current_dir(self.dir.path()).env_clear();
        for name in ["PATH", "HOME"] {
            command.env(name, std::env::var_os(name).unwrap_or_default());
        }
        command.envs(self.launch.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Waits until it answers and has taken up its work.
    pub fn ready(&mut self) {
        let address = self.address();
        within(PATIENCE, "heald is ready", || {
            if let Some(status) = self.keeper.as_mut().unwrap().try_wait().unwrap() {
                panic!("heald ended with {status}:\n{}", self.log());
            }
            request(address, "GET", "/health/ready", None).filter(|answer| answer.status == 200)
        });
    }

    /// Where its API listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("heald.log")).unwrap_or_default()
    }

    /// One request to its API.
    pub fn call(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        request(self.address(), method, path, body)
            .unwrap_or_else(|| panic!("no answer: {method} {path}\n{}", self.log()))
    }

    /// GET, as JSON.
    pub fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).json()
    }

    /// Runs another of its commands to the end, in the same directory.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// The same for a command that talks to it.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let port = self.port.to_string();
        self.command().args(arguments).args(["--port", &port]).output().unwrap()
    }

    /// The keeper's process id.
    pub fn keeper(&self) -> u32 {
        self.keeper.as_ref().unwrap().id()
    }

    /// The runtime's process id: the keeper's child that runs the same image.
    pub fn runtime(&self) -> Option<u32> {
        let image = fs::canonicalize(&self.launch.binary).ok()?;
        children(self.keeper()).into_iter().find(|child| {
            let environment = fs::read(format!("/proc/{child}/environ")).unwrap_or_default();
            fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe == image)
                && environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"HEALD_KEEPER_FD="))
        })
    }

    /// The process id of a service's replica, once it runs.
    pub fn pid_of(&self, service: &str) -> Option<u32> {
        let answer = request(self.address(), "GET", "/api/services", None)?;
        let services = answer.json();
        let found = services["services"].as_array()?.iter().find(|found| found["name"] == service)?.clone();
        found["processes"].as_array()?.first()?["pid"].as_u64().map(|pid| pid as u32)
    }

    /// The incidents of a service, newest first, whole.
    pub fn incidents(&self, service: &str) -> Vec<Value> {
        let list = self.get(&format!("/api/incidents?service={service}&limit=500"));
        let ids =
            list["incidents"].as_array().unwrap().iter().map(|incident| incident["id"].as_str().unwrap().to_owned());
        ids.map(|id| self.get(&format!("/api/incidents/{id}"))).collect()
    }

    /// Waits for an incident of a service that fits, and returns it whole.
    pub fn incident(&self, limit: Duration, service: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let seen = until(limit, what, || self.incidents(service), |incidents| incidents.iter().any(&fits));
        seen.into_iter().find(|incident| fits(incident)).unwrap()
    }

    /// Kills keeper and runtime at once, leaving what they supervise.
    pub fn kill_both(&mut self) {
        let runtime = self.runtime();
        // The keeper first: it must not bring the runtime back.
        kill(self.keeper());
        if let Some(runtime) = runtime {
            kill(runtime);
        }
        self.keeper.take().unwrap().wait().unwrap();
        if let Some(runtime) = runtime {
            within(PATIENCE, "the runtime is gone", || gone(runtime).then_some(()));
        }
    }

    /// Ends it in order and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut keeper = self.keeper.take()?;
        signal(keeper.id(), Signal::TERM);
        within(PATIENCE, "heald stops", || keeper.try_wait().unwrap()).code()
    }
}

impl Drop for Heald {
    fn drop(&mut self) {
        let Some(mut keeper) = self.keeper.take() else { return };
        if std::thread::panicking() {
            eprintln!("---- log of {}\n{}", self.dir.path().display(), tail(&self.log()));
        }
        signal(keeper.id(), Signal::TERM);
        let end = std::time::Instant::now() + PATIENCE;
        while keeper.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > end {
                eprintln!("heald did not stop in {PATIENCE:?}; it is killed");
                for child in children(keeper.id()) {
                    kill(child);
                }
                kill(keeper.id());
                let _ = keeper.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The children of a process.
fn children(of: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{of}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// True when a process is no more, or a zombie.
pub fn gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => true,
    }
}

/// `kill -9` of a process that the test, or a heald it started, started.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Signals a process that the test, or a heald it started, started.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}
