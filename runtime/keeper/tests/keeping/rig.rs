//! A keeper of its own for each test, with the test as its runtime (through the fixture's relay, which can be killed).

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use heald_keeper::protocol::{
    Child, Decoder, Exit, Fallback, FallbackRestart, Hello, KeeperCommand, KeeperMessage, KeeperRefusal, KeeperReply,
    Log, RuntimeRequest, SignalRequest, SlotId, SpawnRequest, StopSettings, VERSION, encode,
};
use rustix::process::{Pid, Signal as Sig, kill_process};
use tempfile::TempDir;

/// Generous: a machine under load is no failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a state.
pub(crate) fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn kill(pid: u32, signal: Sig) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// Neither gone nor a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap().trim_start().chars().next();
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Every process that carries this spawn id.
pub(crate) fn marked(spawn: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == format!("HEALD_SPAWN={spawn}").as_bytes())
        })
        .collect()
}

/// Zombies whose parent is `pid`.
pub(crate) fn zombies_of(pid: u32) -> usize {
    let stats = std::fs::read_dir("/proc").unwrap().flatten();
    stats
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
            fields[0] == "Z" && fields[1] == pid.to_string()
        })
        .count()
}

pub(crate) struct TestRig {
    pub(crate) directory: TempDir,
    listener: Option<UnixListener>,
    options: Vec<String>,
    pub(crate) keeper: Process,
    /// Spawn ids are unique to a rig, so that what a failed test leaves can be found and killed.
    prefix: String,
}

impl TestRig {
    pub(crate) fn new(options: &[&str]) -> Self {
        static RIGS: AtomicU64 = AtomicU64::new(0);
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("test.sock")).unwrap();
        let mut options: Vec<String> = options.iter().map(ToString::to_string).collect();
        // No test waits for a young runtime unless it says so.
        options.insert(0, "young=0".to_owned());
        let keeper = start(directory.path(), &options);
        let prefix = format!("t{}x{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        Self { directory, listener: Some(listener), options, keeper, prefix }
    }

    pub(crate) fn spawn_id(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.directory.path().join("logs").join(name)
    }

    /// The runtime the keeper starts next, before it has said anything.
    pub(crate) fn runtime(&self) -> Talk {
        let listener = self.listener.as_ref().unwrap();
        listener.set_nonblocking(true).unwrap();
        let begun = Instant::now();
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("no runtime came: {error}"),
            }
        };
        stream.set_nonblocking(false).unwrap();
        Talk::new(stream)
    }

    /// The next runtime, attached. One that was accepted but killed in the meantime is passed over.
    pub(crate) fn attached(&self) -> (Talk, Hello) {
        let mut talk = self.runtime();
        let hello = talk.attach();
        (talk, hello)
    }

    /// From now on every runtime the keeper starts dies at once.
    pub(crate) fn no_runtime(&mut self) {
        self.listener = None;
        std::fs::remove_file(self.directory.path().join("test.sock")).unwrap();
    }

    pub(crate) fn allow_runtime(&mut self) {
        self.listener = Some(UnixListener::bind(self.directory.path().join("test.sock")).unwrap());
    }

    /// Keeper and runtime killed at one stroke.
    pub(crate) fn kill_both(&mut self, runtime: &Talk) {
        kill(self.keeper.id(), Sig::KILL);
        kill(runtime.pid, Sig::KILL);
        self.keeper.wait().unwrap();
        until("the runtime is gone", || !lives(runtime.pid));
    }

    pub(crate) fn restart_keeper(&mut self) {
        self.keeper = start(self.directory.path(), &self.options);
    }

    pub(crate) fn keeper_exit(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.keeper.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < PATIENCE, "the keeper does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A request for a shell script under the name `name`, in a place of that name.
    pub(crate) fn script(&self, name: &str, script: &str) -> SpawnRequest {
        SpawnRequest {
            spawn: self.spawn_id(name),
            slot: SlotId { service: name.to_owned(), replica: 0 },
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            cwd: None,
            user: None,
            log: Some(Log { path: self.log(name), max_bytes: 1 << 30, keep: 1 }),
            fallback: Fallback { restart: FallbackRestart::Always, success_codes: vec![], backoff_ms: 0 },
            stop: StopSettings { signal: 15, grace_ms: 2000 },
            tag: format!("tag of {name}"),
        }
    }
}

/// Started with what must not reach a child: a descriptor that is open, a signal that is ignored, a secret, a limit that
/// the keeper raises for itself.
fn start(directory: &Path, options: &[String]) -> Process {
    Command::new("sh")
        .args(["-c", "exec 7</etc/passwd; trap '' HUP; ulimit -Sn 1000; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_heald-keeper-fixture"))
        .arg(directory.join("state"))
        .args(options)
        .env("FIXTURE_RUNTIME", format!("relay:{}", directory.join("test.sock").display()))
        .env("SECRET", "of the keeper")
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for TestRig {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let mark = format!("HEALD_SPAWN={}.", self.prefix);
        // Twice: a process shows no environment for a moment while its shell executes the program.
        for pause in [Duration::ZERO, Duration::from_millis(10)] {
            std::thread::sleep(pause);
            for entry in std::fs::read_dir("/proc").unwrap().flatten() {
                let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                if environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes())) {
                    kill(entry.file_name().to_str().unwrap().parse().unwrap(), Sig::KILL);
                }
            }
        }
    }
}

/// The test's voice as a runtime.
pub(crate) struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    requests: u64,
    waiting: VecDeque<KeeperMessage>,
    pub(crate) pid: u32,
    pub(crate) safe_mode: bool,
}

impl Talk {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // One byte at a time: what follows the line belongs to the decoder.
        let mut line = String::new();
        BufReader::with_capacity(1, &stream).read_line(&mut line).unwrap();
        let (pid, safe_mode) = line.trim().split_once(' ').unwrap();
        Self { pid: pid.parse().unwrap(), safe_mode: safe_mode == "true", ..Self::over(stream) }
    }

    /// Over a socket to the keeper itself.
    pub(crate) fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, decoder: Decoder::default(), requests: 0, waiting: VecDeque::new(), pid: 0, safe_mode: false }
    }

    /// Sends without waiting for an answer; returns the request's id.
    pub(crate) fn send(&mut self, ask: KeeperCommand) -> std::io::Result<u64> {
        self.requests += 1;
        let mut bytes = Vec::new();
        encode(&RuntimeRequest { id: self.requests, ask }, &mut bytes).unwrap();
        self.stream.write_all(&bytes)?;
        Ok(self.requests)
    }

    pub(crate) fn receive(&mut self) -> std::io::Result<KeeperMessage> {
        if let Some(message) = self.waiting.pop_front() {
            return Ok(message);
        }
        self.read()
    }

    fn read(&mut self) -> std::io::Result<KeeperMessage> {
        loop {
            if let Some(message) = self.decoder.decode().unwrap() {
                return Ok(message);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.decoder.push(&bytes[..count]),
            }
        }
    }

    pub(crate) fn attach(&mut self) -> Hello {
        self.try_attach().unwrap()
    }

    pub(crate) fn try_attach(&mut self) -> std::io::Result<Hello> {
        self.send(KeeperCommand::Attach { version: VERSION })?;
        loop {
            match self.read()? {
                KeeperMessage::Hello(hello) => return Ok(*hello),
                other => self.waiting.push_back(other),
            }
        }
    }

    pub(crate) fn ask(&mut self, ask: KeeperCommand) -> Result<KeeperReply, KeeperRefusal> {
        self.try_ask(ask).unwrap()
    }

    pub(crate) fn try_ask(&mut self, ask: KeeperCommand) -> std::io::Result<Result<KeeperReply, KeeperRefusal>> {
        let id = self.send(ask)?;
        loop {
            match self.read()? {
                KeeperMessage::Answer { id: answered, answer } if answered == id => return Ok(answer),
                KeeperMessage::Answer { .. } => {}
                other => self.waiting.push_back(other),
            }
        }
    }

    pub(crate) fn spawn(&mut self, spawn: SpawnRequest) -> Result<Child, KeeperRefusal> {
        self.ask(KeeperCommand::Spawn(Box::new(spawn))).map(|done| match done {
            KeeperReply::Spawned(child) => child,
            other => panic!("{other:?} instead of a child"),
        })
    }

    pub(crate) fn signal(&mut self, spawn: &str, signal: i32) -> Result<KeeperReply, KeeperRefusal> {
        self.ask(KeeperCommand::Signal(SignalRequest { spawn: spawn.to_owned(), signal, group: true, retire: false }))
    }

    pub(crate) fn retire(&mut self, spawn: &str, signal: i32) -> Result<KeeperReply, KeeperRefusal> {
        self.ask(KeeperCommand::Signal(SignalRequest { spawn: spawn.to_owned(), signal, group: true, retire: true }))
    }

    pub(crate) fn exit(&mut self) -> Exit {
        loop {
            match self.receive().unwrap() {
                KeeperMessage::Exited(exit) => return exit,
                KeeperMessage::Notice { .. } => {}
                other => panic!("{other:?} instead of an exit"),
            }
        }
    }

    pub(crate) fn acknowledge(&mut self, spawn: &str) {
        self.ask(KeeperCommand::Acknowledge { spawns: vec![spawn.to_owned()] }).unwrap();
    }

    /// Sends what is no frame.
    pub(crate) fn babble(&mut self) {
        self.stream.write_all(&[9, 0, 0, 0]).unwrap();
        self.stream.write_all(b"not json!").unwrap();
    }

    pub(crate) fn die(&self) {
        kill(self.pid, Sig::KILL);
    }
}
