//! When checks are made, and what a start excuses.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::time::{Duration, Instant};

use heald_control::ProbeBoard;
use heald_engine::ports::Probes;
use heald_model::{Breaker, Health, Role, ServiceName};
use heald_probe::{ProbeConfig, ProbeError, ProbeKind, ServiceProbes};
use rig::{Act, Stub, TestRig, eventually, http, now, service, tcp};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn every(period: u64, probe: ProbeConfig) -> ProbeConfig {
    ProbeConfig { period: millis(period), ..probe }
}

#[tokio::test]
async fn a_slow_check_does_not_make_others_late() {
    let hanging: Vec<_> = (0..20).map(|_| Stub::serving(Act::Hang)).collect();
    let quick = Stub::serving(Act::Code(200));
    let mut services: Vec<_> = hanging
        .iter()
        .enumerate()
        .map(|(n, stub)| {
            let exec = ProbeConfig {
                command: Some(vec!["sleep".into(), "60".into()]),
                timeout: millis(300),
                ..ProbeConfig::new(ProbeKind::Exec)
            };
            service(&format!("slow{n}"), vec![every(50, http(stub.url())), every(50, exec)])
        })
        .collect();
    services.push(service("quick", vec![every(20, http(quick.url()))]));
    let rig = TestRig::start(services);
    rig.until("quick", "checked", |pulse| pulse.total_checks >= 50).await;
    let late = rig.prober.lateness();
    assert!(late.count >= 50 && late.p50 <= late.p99 && late.p99 <= late.max, "{late:?}");
    assert!(late.p50 < millis(20), "{late:?}");
}

#[tokio::test]
async fn missed_ticks_are_not_made_up_for() {
    let mut stub = Stub::serving(Act::Hang);
    let probe = ProbeConfig { timeout: millis(1_000), ..every(100, http(stub.url())) };
    let mut rig = TestRig::start(vec![service("s", vec![probe])]);
    let first = rig.sample(|_| true).await;
    assert_eq!(stub.hits(), 1, "one check of a probe at a time");
    stub.serve(Act::Code(200));
    let begun: Vec<_> = [rig.sample(|_| true).await, rig.sample(|_| true).await, rig.sample(|_| true).await]
        .iter()
        .map(|sample| sample.at.since(first.at))
        .collect();
    for (nth, at) in begun.iter().enumerate() {
        let tick = millis(1_000 + 100 * (nth as u64 + 1)).as_secs_f64();
        let off = (at.as_secs_f64() - tick).abs().min((at.as_secs_f64() - tick + 0.1).abs());
        assert!(off < 0.08, "on the grid: {begun:?}");
    }
    assert!(begun[1] - begun[0] > millis(40), "not in a burst: {begun:?}");
}

#[tokio::test]
async fn checking_on_demand_leaves_the_timer_alone() {
    let stub = Stub::serving(Act::Code(200));
    let mut rig = TestRig::start(vec![service("s", vec![every(300, http(stub.url()))])]);
    let first = rig.sample(|_| true).await;
    let mut seen = Vec::new();
    while seen.len() < 30 {
        rig.check("s").await;
        seen.extend(rig.seen());
        tokio::time::sleep(millis(37)).await;
    }
    let on_grid = |after: Duration| {
        let rest = after.as_millis() % 300;
        !(30..=290).contains(&rest)
    };
    let ticks = seen.iter().filter(|sample| on_grid(sample.at.since(first.at))).count();
    assert!(ticks >= 3, "{ticks} on the grid");
}

#[tokio::test]
async fn a_starting_service_is_tried_often_and_its_failures_are_no_verdict() {
    let mut stub = Stub::serving(Act::Code(200));
    let mut rig = TestRig::start(vec![service("s", vec![http(stub.url())])]);
    rig.sample(|sample| sample.ok == Some(true)).await;
    stub.refuse().await;
    let (name, asked) = (ServiceName::from("s"), now());
    rig.prober.expect(&name, Some(7));
    for _ in 0..8 {
        let sample = rig.sample(|_| true).await;
        assert_eq!((sample.ok, sample.fault.as_deref(), sample.incarnation), (None, Some("refused"), Some(7)));
    }
    assert!(now().since(asked) < millis(5_000), "every 50 ms, not every hour");
    let pulse = rig.pulse("s");
    assert_eq!((pulse.health, pulse.total_checks, pulse.breaker), (Health::Healthy, 1, Breaker::HalfOpen));
    stub.serve(Act::Code(200));
    let sample = rig.sample(|sample| sample.ok.is_some()).await;
    assert_eq!((sample.ok, sample.incarnation), (Some(true), Some(7)));
    stub.refuse().await;
    let pulse = rig.check("s").await;
    assert_eq!(pulse.consecutive_failures, 1, "after its first success a failure is one");
}

#[tokio::test]
async fn after_the_startup_deadline_a_failure_is_a_failure() {
    let stub = Stub::silent();
    let slow = ServiceProbes {
        startup: millis(400),
        process: Some(Duration::from_secs(1)),
        ..service("s", vec![every(50, http(stub.url()))])
    };
    let mut rig = TestRig::start(vec![slow]);
    rig.prober.expect(&"s".into(), Some(1));
    let begun = rig.sample(|sample| sample.ok.is_none()).await.at;
    let verdict = rig.sample(|sample| sample.ok.is_some()).await;
    assert_eq!((verdict.ok, verdict.incarnation), (Some(false), Some(1)));
    let after = verdict.at.since(begun);
    assert!(after >= millis(350) && after < millis(2_000), "{after:?}");
    rig.until("s", "open", |pulse| pulse.breaker == Breaker::Open).await;
}

#[tokio::test]
async fn what_heald_starts_itself_is_excused_from_the_beginning() {
    let stub = Stub::silent();
    let supervised = ServiceProbes { process: Some(Duration::from_secs(1)), ..service("s", vec![http(stub.url())]) };
    let mut rig = TestRig::start(vec![supervised]);
    let sample = rig.sample(|sample| sample.probe.as_str() == "http").await;
    assert_eq!(sample.ok, None);
    let foreign = TestRig::start(vec![service("s", vec![http(stub.url())])]);
    foreign.until("s", "judged", |pulse| pulse.health == Health::Unhealthy).await;
}

#[tokio::test]
async fn a_check_of_the_life_before_is_not_counted_for_the_new_one() {
    let mut stub = Stub::serving(Act::Code(200));
    let probe = ProbeConfig { timeout: millis(600), ..http(stub.url()) };
    let mut rig = TestRig::start(vec![service("s", vec![probe])]);
    rig.until("s", "checked", |pulse| pulse.total_checks == 1).await;
    rig.seen();
    stub.serve(Act::Hang);
    let prober = rig.prober.clone();
    let late = tokio::spawn(async move { prober.check_now(None).await });
    eventually("asked", || stub.hits() == 2).await;
    stub.serve(Act::Code(200));
    rig.prober.expect(&"s".into(), Some(2));
    let fresh = rig.sample(|_| true).await;
    assert_eq!((fresh.ok, fresh.incarnation), (Some(true), Some(2)));
    late.await.unwrap();
    let stale = rig.sample(|_| true).await;
    assert_eq!((stale.fault.as_deref(), stale.incarnation), (Some("timeout"), None));
    let pulse = rig.pulse("s");
    assert_eq!((pulse.health, pulse.total_checks, pulse.consecutive_failures), (Health::Healthy, 2, 0));
}

#[tokio::test]
async fn a_startup_probe_gates_the_others_and_rests_once_it_passed() {
    let mut ready = Stub::silent();
    let page = Stub::serving(Act::Code(200));
    let startup = ProbeConfig { id: Some("up".into()), role: Role::Startup, ..every(30, tcp(ready.port)) };
    let mut rig = TestRig::start(vec![service("s", vec![every(30, http(page.url())), startup])]);
    rig.until("s", "tried", |pulse| pulse.total_checks >= 3).await;
    rig.check("s").await;
    assert_eq!(page.hits(), 0);
    ready.serve(Act::Hang);
    rig.sample(|sample| sample.probe.as_str() == "http").await;
    let tried = ready.hits();
    rig.until("s", "checked often", |_| page.hits() >= 5).await;
    assert_eq!(ready.hits(), tried, "it does not look again");
    rig.prober.expect(&"s".into(), Some(2));
    eventually("it looks at the new life", || ready.hits() > tried).await;
}

#[tokio::test]
async fn a_metrics_probe_gives_no_verdict() {
    let stub = Stub::serving(Act::Code(500));
    let probe = ProbeConfig { role: Role::Metrics, ..http(stub.url()) };
    let mut rig = TestRig::start(vec![service("s", vec![probe])]);
    let sample = rig.sample(|_| true).await;
    assert_eq!((sample.ok, sample.status), (None, Some(500)));
    let pulse = rig.check("s").await;
    assert_eq!((pulse.health, pulse.total_checks), (Health::Unknown, 0));
}

#[tokio::test]
async fn the_initial_delay_is_kept_after_a_start_and_a_new_life() {
    let stub = Stub::serving(Act::Code(200));
    let probe = ProbeConfig { initial_delay: millis(250), ..http(stub.url()) };
    let begun = now();
    let mut rig = TestRig::start(vec![service("s", vec![probe])]);
    let first = rig.sample(|_| true).await;
    assert!(first.at.since(begun) >= millis(250));
    let begun = now();
    rig.prober.expect(&"s".into(), Some(2));
    let second = rig.sample(|_| true).await;
    assert!(second.at.since(begun) >= millis(250));
}

#[tokio::test]
async fn stopping_ends_the_thread_and_every_check_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let mut stub = Stub::serving(Act::Hang);
    let exec = rig::exec(&format!("echo $$ > {}; exec sleep 61", file.display()));
    let rig = TestRig::start(vec![service("s", vec![every(20, http(stub.url())), exec])]);
    let pid = || std::fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
    eventually("both hang", || stub.hits() == 1 && pid().is_some()).await;
    let begun = Instant::now();
    rig.prober.stop();
    assert!(begun.elapsed() < Duration::from_secs(2));
    stub.serve(Act::Code(200));
    rig.prober.check_now(None).await; // Returns, and does nothing.
    rig.prober.stop();
    assert_eq!(stub.hits(), 1);
    let stat = format!("/proc/{}/stat", pid().unwrap());
    eventually("the command is dead", || {
        std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")) || !std::path::Path::new(&stat).exists()
    })
    .await;
}

#[tokio::test]
async fn the_checks_end_with_the_last_handle() {
    let stub = Stub::serving(Act::Code(200));
    let mut rig = TestRig::start(vec![service("s", vec![every(10, http(stub.url()))])]);
    rig.sample(|_| true).await;
    let kept = rig.prober.clone();
    let TestRig { prober, mut samples, .. } = rig;
    drop(prober);
    while samples.try_recv().is_ok() {}
    assert!(samples.recv().await.is_some(), "another handle is still held");
    drop(kept);
    let ended = async { while samples.recv().await.is_some() {} };
    tokio::time::timeout(rig::DEADLINE, ended).await.expect("the checks go on");
}

#[test]
fn names_that_are_used_twice_are_errors() {
    let twice = service("s", vec![tcp(1), tcp(2)]);
    assert_eq!(twice.duplicate(), Some("tcp".into()));
    assert!(matches!(rig::refused(vec![twice]), ProbeError::DuplicateProbe { .. }));
    assert!(matches!(rig::refused(vec![service("s", vec![]), service("s", vec![])]), ProbeError::DuplicateService(_)));
}

#[tokio::test]
async fn with_a_seed_the_first_checks_are_spread_over_the_period() {
    let stub = Stub::serving(Act::Code(200));
    let services = (0..20).map(|n| service(&format!("s{n}"), vec![every(1_000, http(stub.url()))])).collect();
    let begun = now();
    let mut rig = TestRig::spread(services, 42);
    let mut firsts = Vec::new();
    for n in 0..20 {
        let name = ServiceName::from(format!("s{n}"));
        rig.until(name.as_str(), "checked", |pulse| pulse.total_checks > 0).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for sample in rig.seen() {
        if seen.insert(sample.service.clone()) {
            firsts.push(sample.at.since(begun));
        }
    }
    let early = firsts.iter().filter(|first| **first < millis(500)).count();
    assert!((4..=16).contains(&early), "{firsts:?}");
}
