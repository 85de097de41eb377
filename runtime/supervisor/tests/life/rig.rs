//! A keeper, and supervisors that attach to it one after the other.

use std::io::{BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child as Keeper, Command, Stdio};
use std::time::{Duration, Instant};

use heald_model::{Moment, ServiceName};
use heald_supervisor::{Found, Options, ProcessConfig, ProcessEvent, ReplicaProcess, SupervisedService, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

/// Generous: a machine under load is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn kill(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

pub(crate) fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Waits for a state.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::from(text)
}

/// A service that runs a shell script.
pub(crate) fn script(service: &str, script: &str) -> SupervisedService {
    let config = ProcessConfig::new(["sh", "-c", script].map(str::to_owned).to_vec());
    SupervisedService { name: name(service), depends_on: Vec::new(), probed: true, config }
}

/// A service that runs until it is stopped.
pub(crate) fn sleeper(service: &str) -> SupervisedService {
    script(service, "exec sleep 1000")
}

pub(crate) struct TestRig {
    pub(crate) directory: TempDir,
    listener: UnixListener,
    options: Vec<String>,
    pub(crate) keeper: Keeper,
    /// The relay that the keeper takes for the runtime.
    pub(crate) runtime: u32,
}

impl TestRig {
    pub(crate) fn new(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("test.sock")).unwrap();
        let options: Vec<String> = ["young=0"].iter().chain(options).map(ToString::to_string).collect();
        let keeper = start(&directory, &options);
        Self { directory, listener, options, keeper, runtime: 0 }
    }

    pub(crate) fn log(&self, file: &str) -> PathBuf {
        self.directory.path().join("logs").join(file)
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.directory.path().join("logs"), Moment::from_millis(1_700_000_000_000))
    }

    pub(crate) async fn connect(&mut self, services: Vec<SupervisedService>) -> (Supervisor, Found) {
        let options = self.options();
        self.connect_with(services, options).await
    }

    pub(crate) async fn connect_with(
        &mut self,
        services: Vec<SupervisedService>,
        options: Options,
    ) -> (Supervisor, Found) {
        let stream = self.accept().await;
        let connected = Supervisor::connect(stream, services, options).await;
        connected.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn accept(&mut self) -> UnixStream {
        self.listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        until("the keeper has started a runtime", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        })
        .await;
        let (stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        // One byte at a time: what follows the line is the keeper's.
        let mut line = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut line).unwrap();
        self.runtime = line.split(' ').next().unwrap().parse().unwrap();
        stream
    }

    /// `kill -9` of the runtime: to the keeper, the supervisor has crashed.
    pub(crate) fn crash(&self) {
        kill(self.runtime, Signal::KILL);
    }

    /// Keeper and runtime at one stroke, and a new keeper.
    pub(crate) async fn crash_both(&mut self) {
        kill(self.keeper.id(), Signal::KILL);
        self.crash();
        self.keeper.wait().unwrap();
        let runtime = self.runtime;
        until("the runtime is gone", || !lives(runtime)).await;
        self.keeper = start(&self.directory, &self.options);
    }
}

fn start(directory: &TempDir, options: &[String]) -> Keeper {
    Command::new(env!("CARGO_BIN_EXE_heald-supervisor-fixture"))
        .arg(directory.path().join("state"))
        .args(options)
        .env("FIXTURE_RUNTIME", format!("relay:{}", directory.path().join("test.sock").display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for TestRig {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // Every child of this rig says where it belongs by the directory its output goes to, which dies with the keeper:
        // so it is by the ledger that what a test leaves is found.
        let ledger = std::fs::read_to_string(self.directory.path().join("state/ledger")).unwrap_or_default();
        let spawns: Vec<&str> =
            ledger.split("\"spawn\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        // Twice: a process shows no environment for a moment while its shell executes the program.
        for pause in [Duration::ZERO, Duration::from_millis(10)] {
            std::thread::sleep(pause);
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                let mut variables = environ.split(|byte| *byte == 0).map(String::from_utf8_lossy);
                let mark = variables.find_map(|variable| variable.strip_prefix("HEALD_SPAWN=").map(str::to_owned));
                if mark.is_some_and(|mark| spawns.contains(&mark.as_str())) {
                    kill(entry.file_name().to_str().unwrap().parse().unwrap(), Signal::KILL);
                }
            }
        }
    }
}

/// An intent's id that no other test, and no other run, has.
pub(crate) fn intent(text: &str) -> String {
    static INTENTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = INTENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{text}-{}-{number}", std::process::id())
}

pub(crate) async fn next(events: &mut UnboundedReceiver<ProcessEvent>) -> ProcessEvent {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("no event").expect("the supervisor is gone")
}

pub(crate) async fn next_exit(events: &mut UnboundedReceiver<ProcessEvent>) -> ReplicaProcess {
    loop {
        if let ProcessEvent::Exited(process) = next(events).await {
            return process;
        }
    }
}
