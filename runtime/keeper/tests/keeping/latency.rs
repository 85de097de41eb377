//! How long it takes: printed, not judged (a test machine is shared). Question: from `kill -9` of a child to the first
//! instruction of the next, with a runtime that only says "again"; and one spawn there and back.
//! Run: `cargo test -p heald-keeper --release --test keeping latency -- --nocapture --test-threads=1`.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::rig::{TestRig, kill};

fn percentiles(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    eprintln!("{what}: median {:?}, p90 {:?}, worst {:?} of {}", at(50), at(90), at(100), times.len());
}

/// A child that says its PID to the socket in `$1` as its first act.
fn announcer() -> &'static str {
    env!("CARGO_BIN_EXE_heald-keeper-fixture")
}

fn next_pid(listener: &UnixListener) -> (u32, Instant) {
    let (mut stream, _) = listener.accept().unwrap();
    let heard = Instant::now();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.trim().parse().unwrap(), heard)
}

#[test]
fn latency_of_kill_to_respawn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("announce.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let command = format!("{} announce {}", announcer(), path.display());
    let mut keeper = Command::new(env!("CARGO_BIN_EXE_heald-keeper-fixture"))
        .arg(directory.path().join("state"))
        .env("FIXTURE_RUNTIME", format!("loop:{command}"))
        .spawn()
        .unwrap();
    let (mut pid, _) = next_pid(&listener);
    let mut times = Vec::new();
    for _ in 0..100 {
        let killed = Instant::now();
        kill(pid, Signal::KILL);
        let (next, heard) = next_pid(&listener);
        times.push(heard - killed);
        pid = next;
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(keeper.id(), Signal::TERM);
    keeper.wait().unwrap();
    percentiles("kill to respawn, keeper and runtime", times);

    // The same child under a bare fork-exec-wait loop.
    let bare = std::thread::spawn({
        let path = path.clone();
        move || {
            for _ in 0..101 {
                let mut child = Command::new(announcer()).arg("announce").arg(&path).process_group(0).spawn().unwrap();
                child.wait().unwrap();
            }
        }
    });
    let (mut pid, _) = next_pid(&listener);
    let mut times = Vec::new();
    for _ in 0..100 {
        let killed = Instant::now();
        kill(pid, Signal::KILL);
        let (next, heard) = next_pid(&listener);
        times.push(heard - killed);
        pid = next;
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(pid, Signal::KILL);
    bare.join().unwrap();
    percentiles("kill to respawn, bare loop", times);
}

#[test]
fn latency_of_a_spawn_and_of_an_end() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut spawns = Vec::new();
    let mut ends = Vec::new();
    for number in 0..100 {
        let mut request = rig.script("web", "");
        request.command = vec!["sleep".into(), "1000".into()];
        request.spawn = rig.spawn_id(&number.to_string());
        let asked = Instant::now();
        let child = runtime.spawn(request).unwrap();
        spawns.push(asked.elapsed());
        let killed = Instant::now();
        kill(child.pid, Signal::KILL);
        runtime.exit();
        ends.push(killed.elapsed());
    }
    percentiles("spawn there and back (through a relay)", spawns);
    percentiles("kill to the news of it (through a relay)", ends);
}

#[test]
fn latency_of_a_runtime_restart_and_memory() {
    let rig = TestRig::new(&["silence=60000"]);
    let mut times = Vec::new();
    let (mut runtime, _) = rig.attached();
    for _ in 0..20 {
        let killed = Instant::now();
        runtime.die();
        runtime = rig.attached().0;
        times.push(killed.elapsed());
    }
    percentiles("kill of the runtime to the next one attached", times);
    let rollup = std::fs::File::open(format!("/proc/{}/smaps_rollup", rig.keeper.id())).unwrap();
    for line in BufReader::new(rollup).lines().map_while(Result::ok).filter(|line| line.starts_with("Pss:")) {
        eprintln!("keeper {line}");
    }
}
