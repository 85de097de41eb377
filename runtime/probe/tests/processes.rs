//! The implicit probe of what heald runs, on real processes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use heald_control::ProbeBoard;
use heald_engine::ports::Probes;
use heald_model::ProcessState;
use heald_model::{Breaker, Health, Moment, PROCESS_PROBE, Role, Sample};
use heald_probe::{ProbeConfig, ServiceProbes};
use rig::{Act, Stub, TestRig, Told, eventually, http, now, service, tcp};

struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(script: &str) -> Kill {
    Kill(Command::new("/bin/sh").args(["-c", script]).spawn().unwrap())
}

fn life(child: &Kill, replica: &str, incarnation: u64, started: Moment) -> ProcessState {
    ProcessState {
        replica: replica.into(),
        incarnation,
        pid: Some(child.0.id()),
        started,
        ended: None,
        finished: false,
    }
}

fn supervised(period_ms: u64) -> ServiceProbes {
    ServiceProbes { process: Some(Duration::from_millis(period_ms)), ..service("web", vec![]) }
}

fn is_process(sample: &Sample) -> bool {
    sample.probe.as_str() == PROCESS_PROBE
}

#[tokio::test]
async fn it_passes_when_it_has_lived_for_a_second_and_not_at_the_next_tick() {
    let told = Arc::new(Told::default());
    let mut rig = TestRig::with(vec![supervised(60_000)], told.clone());
    // The first tick, at the start, has passed: it saw nothing.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let child = run("exec sleep 60");
    let started = now();
    told.tell("web", vec![life(&child, "0", 1, started)]);
    rig.prober.expect(&"web".into(), Some(1));
    let young = rig.sample(is_process).await;
    assert_eq!((young.ok, young.incarnation, young.replica.clone()), (None, Some(1), None));
    assert_eq!((young.cpu, young.values["threads"]), (None, 1.0));
    let grown = rig.sample(|sample| sample.ok.is_some()).await;
    assert_eq!(grown.ok, Some(true));
    assert!(grown.memory.is_some_and(|memory| memory > 0.0) && grown.values["memory_bytes"] > 0.0, "{grown:?}");
    let age = grown.at.since(started);
    assert!(age >= Duration::from_secs(1) && age < Duration::from_millis(1_200), "{age:?}");
    assert_eq!(rig.pulse("web").health, Health::Healthy);
}

#[tokio::test]
async fn a_busy_process_shows_its_cpu_and_an_idle_one_does_not() {
    for (script, busy) in [("while :; do :; done", true), ("exec sleep 60", false)] {
        let told = Arc::new(Told::default());
        let child = run(script);
        told.tell("web", vec![life(&child, "0", 1, now())]);
        let mut rig = TestRig::with(vec![supervised(300)], told);
        // On a crowded machine a busy process may get little for a while.
        let shows = |cpu: f64| if busy { cpu > 5.0 } else { cpu < 5.0 };
        let cpu = rig.sample(|sample| sample.cpu.is_some_and(shows)).await.cpu.unwrap();
        assert!(cpu <= 110.0, "{script}: {cpu}");
        assert!(rig.pulse("web").metrics.contains_key("cpu"));
    }
}

#[tokio::test]
async fn an_exit_is_told_at_once_and_does_not_touch_the_circuit() {
    let mut rig = TestRig::start(vec![supervised(60_000)]);
    for (incarnation, status, fault, message) in [
        (1, 3, "exit", "Exit code 3"),
        (2, -9, "signal", "Killed by signal 9 (SIGKILL)"),
        (3, 0, "exit", "Exit code 0"),
    ] {
        let at = now();
        rig.prober.exited(&"web".into(), &"0".into(), incarnation, status, at);
        let sample = rig.samples.try_recv().unwrap();
        assert_eq!(
            (sample.ok, sample.fault.as_deref(), sample.message.as_deref()),
            (Some(false), Some(fault), Some(message))
        );
        assert_eq!((sample.at, sample.status, sample.incarnation), (at, Some(status), Some(incarnation)));
    }
    let pulse = rig.pulse("web");
    assert_eq!((pulse.health, pulse.error.as_deref()), (Health::Unhealthy, Some("Exit code 0")));
    assert_eq!(pulse.consecutive_failures, 3);
    for incarnation in 4..20 {
        rig.prober.exited(&"web".into(), &"0".into(), incarnation, 1, now());
    }
    assert_eq!(rig.pulse("web").breaker, Breaker::Closed);
}

#[tokio::test]
async fn the_new_life_is_healthy_only_when_it_has_lived_long_enough() {
    let told = Arc::new(Told::default());
    let stub = Stub::serving(Act::Code(200));
    let child = run("exec sleep 60");
    told.tell("web", vec![life(&child, "0", 1, now() - Duration::from_secs(5))]);
    let probes = ServiceProbes { probes: vec![http(stub.url())], ..supervised(500) };
    let rig = TestRig::with(vec![probes], told.clone());
    rig.until("web", "healthy", |pulse| pulse.health == Health::Healthy).await;
    rig.prober.exited(&"web".into(), &"0".into(), 1, -9, now());
    assert_eq!(rig.pulse("web").health, Health::Unhealthy);
    let again = run("exec sleep 60");
    let started = now();
    told.tell("web", vec![life(&again, "0", 2, started)]);
    rig.prober.expect(&"web".into(), Some(2));
    rig.until("web", "healthy again", |pulse| pulse.health == Health::Healthy).await;
    assert!(now().since(started) >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_look_at_a_process_that_just_ended_does_not_bring_it_back() {
    let told = Arc::new(Told::default());
    let child = run("exec sleep 60");
    told.tell("web", vec![life(&child, "0", 1, now() - Duration::from_secs(5))]);
    let mut rig = TestRig::with(vec![supervised(20)], told);
    rig.sample(|sample| sample.ok == Some(true)).await;
    rig.prober.exited(&"web".into(), &"0".into(), 1, 1, now());
    rig.prober.check_now(None).await; // The list of processes still says that it lives.
    let seen = rig.seen();
    assert_eq!(seen.last().and_then(|sample| sample.ok), Some(false), "{seen:?}");
    assert_eq!(rig.pulse("web").health, Health::Unhealthy);
}

#[tokio::test]
async fn the_exit_of_what_is_held_is_no_fault() {
    let mut rig = TestRig::start(vec![supervised(60_000)]);
    rig.prober.hold(&"web".into(), true);
    rig.prober.exited(&"web".into(), &"0".into(), 1, -15, now());
    let sample = rig.samples.try_recv().unwrap();
    assert_eq!((sample.ok, sample.status), (None, Some(-15)));
    assert_eq!(rig.pulse("web").health, Health::Unknown);
}

#[tokio::test]
async fn copies_are_told_apart_and_one_that_is_no_more_is_forgotten() {
    let told = Arc::new(Told::default());
    let (one, two) = (run("exec sleep 60"), run("exec sleep 60"));
    let old = now() - Duration::from_secs(5);
    told.tell("web", vec![life(&one, "0", 1, old), life(&two, "1", 4, old)]);
    let mut rig = TestRig::with(vec![ServiceProbes { replicas: 2, ..supervised(20) }], told.clone());
    let first = rig.sample(|sample| sample.replica == Some("0".into())).await;
    let second = rig.sample(|sample| sample.replica == Some("1".into())).await;
    assert_eq!((first.incarnation, second.incarnation), (Some(1), Some(4)));
    rig.prober.exited(&"web".into(), &"1".into(), 4, 1, now());
    assert_eq!(rig.pulse("web").health, Health::Unhealthy);
    told.tell("web", vec![life(&one, "0", 1, old)]);
    rig.until("web", "healthy", |pulse| pulse.health == Health::Healthy).await;
}

#[tokio::test]
async fn a_process_that_is_gone_or_not_reaped_is_not_alive() {
    let told = Arc::new(Told::default());
    let child = run("exit 0");
    let pid = child.0.id();
    eventually("it is a zombie", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
    told.tell("web", vec![life(&child, "0", 1, now() - Duration::from_secs(5))]);
    let mut rig = TestRig::with(vec![supervised(20)], told);
    rig.prober.check_now(None).await;
    assert_eq!(rig.seen(), vec![]);
}

#[tokio::test]
async fn a_circuit_that_nothing_counts_for_does_not_stay_half_open() {
    let told = Arc::new(Told::default());
    let child = run("exec sleep 60");
    told.tell("web", vec![life(&child, "0", 1, now() - Duration::from_secs(5))]);
    let mut ready = Stub::silent();
    ready.serve(Act::Hang);
    let startup = ProbeConfig { role: Role::Startup, ..tcp(ready.port) };
    let rig = TestRig::with(vec![ServiceProbes { probes: vec![startup], ..supervised(20) }], told);
    rig.until("web", "healthy", |pulse| pulse.health == Health::Healthy && pulse.total_checks > 0).await;
    rig.prober.expect(&"web".into(), Some(2));
    rig.until("web", "checked again", |pulse| pulse.total_checks == 2).await;
    assert_eq!(rig.pulse("web").breaker, Breaker::Closed);
}

#[tokio::test]
async fn a_process_that_is_gone_or_a_zombie_fails_although_its_owner_is_silent() {
    for reaped in [true, false] {
        let told = Arc::new(Told::default());
        let mut child = run("exec sleep 60");
        told.tell("web", vec![life(&child, "0", 1, now() - Duration::from_secs(5))]);
        let mut rig = TestRig::with(vec![supervised(300)], told);
        rig.until("web", "healthy", |pulse| pulse.health == Health::Healthy).await;
        child.0.kill().unwrap();
        if reaped {
            child.0.wait().unwrap();
        }
        let failed = rig.sample(|sample| sample.ok == Some(false)).await;
        assert_eq!((failed.fault.as_deref(), failed.incarnation), (Some("missing"), Some(1)), "{failed:?}");
        assert_eq!(rig.pulse("web").health, Health::Unhealthy);
    }
}
