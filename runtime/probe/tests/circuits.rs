//! What the checks of a service mean together: health, counts and circuit.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use heald_engine::ports::Probes;
use heald_model::{Breaker, Health, ServiceName};
use heald_probe::{BreakerConfig, ServiceProbes, StatusChange};
use rig::{Act, Stub, TestRig, fixed, http, service, tcp};

fn backend(stub: &Stub, open: Duration) -> ServiceProbes {
    ServiceProbes { breaker: fixed(open), ..service("backend", vec![http(stub.url())]) }
}

/// Starts and waits for the first check, so that what follows counts from one.
async fn started(services: Vec<ServiceProbes>) -> TestRig {
    let names: Vec<_> = services.iter().map(|service| service.service.clone()).collect();
    let rig = TestRig::start(services);
    for name in names {
        rig.until(name.as_str(), "checked", |pulse| pulse.total_checks > 0).await;
    }
    rig
}

#[tokio::test]
async fn the_first_check_is_made_at_once_and_before_it_nothing_is_known() {
    let stub = Stub::serving(Act::Hang);
    let rig = TestRig::start(vec![backend(&stub, Duration::from_secs(60))]);
    let pulse = rig.pulse("backend");
    assert_eq!((pulse.health, pulse.total_checks, pulse.breaker), (Health::Unknown, 0, Breaker::Closed));
    rig::eventually("asked", || stub.hits() == 1).await;
}

#[tokio::test]
async fn five_failures_open_it_and_it_is_left_alone_tried_and_closed_again() {
    let mut stub = Stub::serving(Act::Code(200));
    let other = Stub::serving(Act::Code(200));
    let writer = service("writer", vec![http(other.url())]);
    let open = Duration::from_millis(700);
    let mut rig = started(vec![backend(&stub, open), writer]).await;
    assert_eq!(rig.pulse("backend").health, Health::Healthy);

    stub.serve(Act::Code(500));
    for failures in 1..=4 {
        let pulse = rig.check("backend").await;
        assert_eq!((pulse.breaker, pulse.consecutive_failures), (Breaker::Closed, failures));
    }
    let pulse = rig.check("backend").await;
    let opened = Instant::now();
    assert_eq!((pulse.breaker, pulse.consecutive_failures), (Breaker::Open, 5));
    assert_eq!((pulse.total_checks, pulse.successful_checks), (6, 1));

    let hits = stub.hits();
    let pulse = rig.check("backend").await;
    assert!(opened.elapsed() < open, "too slow to tell");
    assert_eq!(pulse.health, Health::CircuitOpen);
    assert_eq!(pulse.error.as_deref(), Some("Circuit open due to 5 consecutive failures"));
    assert_eq!((pulse.total_checks, pulse.consecutive_failures), (6, 5), "a skipped check does not count");
    assert_eq!(stub.hits(), hits, "and reaches nobody");
    assert_eq!(rig.pulse("writer").breaker, Breaker::Closed);

    // The time has passed: a failing trial opens it again, and the time starts anew.
    tokio::time::sleep_until((opened + open).into()).await;
    let pulse = rig.check("backend").await;
    assert_eq!((pulse.breaker, stub.hits()), (Breaker::Open, hits + 1));
    assert_eq!(pulse.error.as_deref(), Some("HTTP 500"));
    assert_eq!(rig.check("backend").await.health, Health::CircuitOpen);

    stub.serve(Act::Code(200));
    tokio::time::sleep(open).await;
    let pulse = rig.check("backend").await;
    assert_eq!((pulse.breaker, pulse.health, pulse.consecutive_failures), (Breaker::HalfOpen, Health::Healthy, 0));
    assert_eq!(rig.check("backend").await.breaker, Breaker::Closed);

    let told: Vec<_> = std::iter::from_fn(|| rig.changes.try_recv().ok())
        .filter_map(|change| match change {
            StatusChange::Health { service, from, to, .. } if service.as_str() == "backend" => {
                Some(format!("{from} -> {to}"))
            }
            StatusChange::Breaker { service, from, to, why, .. } if service.as_str() == "backend" => {
                Some(format!("{from} -> {to} ({why})"))
            }
            _ => None,
        })
        .collect();
    let waited = |line: &str| line.starts_with("open -> half_open (after ");
    assert_eq!(told.iter().filter(|line| waited(line)).count(), 2, "{told:?}");
    let rest: Vec<_> = told.iter().map(String::as_str).filter(|line| !waited(line)).collect();
    assert_eq!(
        rest,
        [
            "unknown -> healthy",
            "healthy -> unhealthy",
            "closed -> open (5 consecutive failures)",
            "unhealthy -> circuit_open",
            "half_open -> open (the trial check failed)",
            "circuit_open -> unhealthy",
            "unhealthy -> circuit_open",
            "circuit_open -> healthy",
            "half_open -> closed (2 consecutive successes)",
        ]
    );
}

#[tokio::test]
async fn uptime_counts_what_was_checked() {
    let mut stub = Stub::serving(Act::Code(200));
    let rig = started(vec![backend(&stub, Duration::from_secs(60))]).await;
    stub.serve(Act::Code(500));
    rig.check("backend").await;
    stub.serve(Act::Code(200));
    let pulse = rig.check("backend").await;
    assert_eq!((pulse.total_checks, pulse.successful_checks, pulse.consecutive_failures), (3, 2, 0));
    assert_eq!(pulse.error, None);
    let time = pulse.response_time;
    stub.refuse().await;
    let pulse = rig.check("backend").await;
    assert_eq!(pulse.response_time, time, "that of the last success stays");
}

#[tokio::test]
async fn a_refusal_is_tried_again_at_once_and_counts_once() {
    let mut stub = Stub::serving(Act::Code(200));
    let mut rig = started(vec![backend(&stub, Duration::from_secs(60))]).await;
    rig.seen();
    stub.refuse().await;
    for checks in 1..=5 {
        let pulse = rig.check("backend").await;
        assert_eq!(pulse.consecutive_failures, checks);
        let expected = if checks < 5 { Breaker::Closed } else { Breaker::Open };
        assert_eq!(pulse.breaker, expected, "after {checks}");
        let verdicts: Vec<_> = rig.seen().iter().map(|sample| sample.ok).collect();
        // Two samples when it is news, of which one is the verdict: a check is one failure.
        let again = if checks == 1 { vec![None, Some(false)] } else { vec![Some(false)] };
        assert_eq!(verdicts, again, "check {checks}");
    }
}

#[tokio::test]
async fn a_passing_check_does_not_hide_a_failing_one() {
    let page = Stub::serving(Act::Code(500));
    let port = Stub::serving(Act::Hang);
    let rig = started(vec![ServiceProbes {
        breaker: fixed(Duration::from_secs(60)),
        ..service("backend", vec![http(page.url()), tcp(port.port)])
    }])
    .await;
    rig.until("backend", "checked by both", |pulse| pulse.total_checks == 2).await;
    for _ in 0..4 {
        rig.check("backend").await;
    }
    let pulse = rig.pulse("backend");
    assert_eq!((pulse.breaker, pulse.consecutive_failures), (Breaker::Open, 5));
    assert_eq!((pulse.health, pulse.error.as_deref()), (Health::Unhealthy, Some("HTTP 500")));
}

#[tokio::test]
async fn an_action_makes_the_next_checks_trials_and_looks_at_once() {
    let mut stub = Stub::serving(Act::Code(500));
    let rig = started(vec![backend(&stub, Duration::from_secs(60))]).await;
    for _ in 0..5 {
        rig.check("backend").await;
    }
    assert_eq!(rig.pulse("backend").health, Health::CircuitOpen);
    stub.serve(Act::Code(200));
    let name = ServiceName::from("backend");
    rig.prober.expect(&name, None);
    assert_eq!(rig.prober.breaker(&name), Breaker::HalfOpen);
    let pulse = rig.until("backend", "looked at", |pulse| pulse.health == Health::Healthy).await;
    assert_eq!(pulse.breaker, Breaker::HalfOpen);
    assert_eq!(rig.check("backend").await.breaker, Breaker::Closed);
}

#[tokio::test]
async fn an_action_does_not_wait_for_a_check_that_hangs() {
    let mut stub = Stub::serving(Act::Hang);
    let mut rig = TestRig::start(vec![backend(&stub, Duration::from_secs(60))]);
    rig::eventually("asked", || stub.hits() == 1).await;
    stub.serve(Act::Code(200));
    let begun = Instant::now();
    rig.prober.expect(&"backend".into(), None);
    let sample = rig.sample(|_| true).await;
    assert_eq!(sample.ok, Some(true), "the abandoned check says nothing");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_held_is_not_checked_and_not_known() {
    let stub = Stub::serving(Act::Code(500));
    let rig = started(vec![backend(&stub, Duration::from_secs(60))]).await;
    let name = ServiceName::from("backend");
    rig.prober.hold(&name, true);
    let hits = stub.hits();
    let pulse = rig.check("backend").await;
    assert_eq!((pulse.health, pulse.error, pulse.consecutive_failures), (Health::Unknown, None, 0));
    assert_eq!(stub.hits(), hits);
    rig.prober.hold(&name, false);
    rig.until("backend", "checked again", |pulse| pulse.health == Health::Unhealthy).await;
}

#[tokio::test]
async fn a_breaker_that_is_off_lets_every_check_through() {
    let stub = Stub::serving(Act::Code(500));
    let breaker = BreakerConfig { enabled: false, ..BreakerConfig::default() };
    let rig = started(vec![ServiceProbes { breaker, ..service("backend", vec![http(stub.url())]) }]).await;
    for _ in 0..9 {
        rig.check("backend").await;
    }
    assert_eq!((stub.hits(), rig.pulse("backend").breaker), (10, Breaker::Disabled));
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_tells_of_every_change_and_every_failed_check() {
    let lines = Lines::default();
    let written = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut stub = Stub::serving(Act::Code(200));
    let open = Duration::from_millis(100);
    let logged = ServiceProbes {
        breaker: BreakerConfig { failure_threshold: 2, ..fixed(open) },
        ..service("logged", vec![http(stub.url())])
    };
    let rig = started(vec![logged]).await;
    stub.refuse().await;
    rig.check("logged").await;
    stub.serve(Act::Hang);
    let hung = tokio::time::timeout(Duration::from_millis(5), rig.check("logged")).await;
    assert!(hung.is_err());
    stub.serve(Act::Code(503));
    rig.check("logged").await;
    stub.serve(Act::Code(200));
    tokio::time::sleep(open * 2).await;
    rig.check("logged").await;
    rig.check("logged").await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let port = stub.port;
    for (level, line) in [
        ("INFO", "logged: unknown -> healthy".to_owned()),
        ("WARN", format!("logged: Connection refused on port {port}")),
        ("WARN", format!("logged: healthy -> unhealthy (Connection refused on port {port})")),
        ("WARN", "logged: HTTP 503".to_owned()),
        ("WARN", "logged: closed -> open (2 consecutive failures)".to_owned()),
        ("INFO", "logged: open -> half_open (after 0.1s)".to_owned()),
        ("INFO", "logged: unhealthy -> healthy".to_owned()),
        ("INFO", "logged: half_open -> closed (2 consecutive successes)".to_owned()),
    ] {
        let found = text.lines().filter(|found| found.ends_with(&format!(" {line}"))).collect::<Vec<_>>();
        assert_eq!(found.len(), 1, "{line}:\n{text}");
        assert!(found[0].contains(&format!(" {level} ")), "{}", found[0]);
    }
}
