//! Detectors: good ones answer; whatever a bad one does becomes the right fault, within its budget, and the next call on the
//! same plug-in is as good as new.

use std::time::{Duration, Instant};

use heald_engine::ports::Detector;
use heald_host::{HostError, SetupError};
use heald_model::Blob;
use heald_model::{FaultCause, Severity};
use serde_json::json;

use crate::guests::{component, detector, host, object, observation, plugin, table};

#[tokio::test]
async fn a_good_detector_finds_what_is_there() {
    let detector = plugin("detector-good").detector(&object(json!({"limit": 90}))).await.unwrap();
    assert_eq!(detector.conditions(), ["high-cpu"]);
    assert!(!detector.window().sliding);
    let calm = detector.evaluate(&observation("web", 50.0)).await.unwrap();
    assert_eq!(calm.findings, []);
    let state = calm.state.unwrap();
    assert_eq!((state.0.len(), state.0[0]), (1024, 1));
    let mut next = observation("web", 97.0);
    next.state = Some(state);
    let busy = detector.evaluate(&next).await.unwrap();
    assert_eq!(busy.state.unwrap().0[0], 2, "the state came back");
    let finding = &busy.findings[0];
    assert_eq!((finding.condition.as_str(), finding.severity, finding.score), ("high-cpu", Severity::Error, 1.0));
    assert_eq!(heald_model::Fact::find_number(&finding.evidence, "cpu"), Some(97.0));
    assert_eq!(heald_model::Fact::find_number(&finding.evidence, "cpu.limit"), Some(90.0));
}

/// Every way to misbehave: the guest, its configuration, the fault, and a word that its detail must have.
const MISCHIEF: [(&str, &str, FaultCause, &str); 14] = [
    ("detector-spin", "{}", FaultCause::CpuBudget, "5ms"),
    ("detector-trap", "{}", FaultCause::Trap, "the detector fell over its own feet"),
    ("detector-recurse", "{}", FaultCause::Stack, "stack"),
    ("detector-bomb", "{}", FaultCause::Memory, "memory"),
    ("detector-flood-output", "{}", FaultCause::Memory, "memory"),
    ("detector-flood-output", r#"{"count": 5000}"#, FaultCause::HostBudget, "more bytes"),
    ("detector-flood-output", r#"{"count": 100}"#, FaultCause::BadOutput, "100 findings"),
    ("detector-flood-log", "{}", FaultCause::HostBudget, "times"),
    ("detector-nan", "{}", FaultCause::BadOutput, "NaN"),
    ("detector-nan", r#"{"what": "infinite"}"#, FaultCause::BadOutput, "inf"),
    ("detector-nan", r#"{"what": "range"}"#, FaultCause::BadOutput, "7.5"),
    ("detector-nan", r#"{"what": "evidence"}"#, FaultCause::BadOutput, "NaN"),
    ("detector-nan", r#"{"what": "gauge"}"#, FaultCause::BadOutput, "NaN"),
    ("detector-nan", r#"{"what": "text"}"#, FaultCause::BadOutput, "two lines"),
];

#[tokio::test]
async fn every_mischief_is_the_right_fault_and_the_next_call_is_good() {
    for (guest, config, cause, word) in MISCHIEF {
        let mut table = table(guest);
        if cause != FaultCause::CpuBudget {
            // On a busy machine a guest may run out of processor time before it has done its worst.
            table.limits.cpu = Some(Duration::from_secs(5));
        }
        let plugin = host().load_bytes(&table, component(guest)).unwrap();
        let mut config = object(serde_json::from_str(config).unwrap());
        config.insert("service".into(), json!("bad"));
        let detector = plugin.detector(&config).await.unwrap();
        for round in 0..3 {
            let began = Instant::now();
            let fault = detector.evaluate(&observation("bad", 50.0)).await.unwrap_err();
            let took = began.elapsed();
            assert_eq!(fault.cause, cause, "{guest} {config:?}: {fault}");
            assert!(fault.detail.contains(word), "{guest}: {fault}");
            assert!(took < Duration::from_secs(2), "{guest} took {took:?}");
            let good = detector.evaluate(&observation("web", 50.0)).await;
            assert_eq!(
                good,
                Ok(Default::default()).map(|verdict| with_state(verdict, &good)),
                "{guest}, round {round}"
            );
        }
        let stats = plugin.stats();
        assert_eq!((stats.calls, stats.faults.get(&cause)), (6, Some(&3)), "{guest}");
        assert!(stats.wall >= stats.busy && stats.busy > Duration::ZERO);
        assert_eq!(stats.instances, 4, "one at first, one after each fault");
    }
}

/// The mischievous guests save an empty state; whatever it is, it is not what is looked at.
fn with_state(
    mut verdict: heald_model::Verdict,
    seen: &Result<heald_model::Verdict, heald_model::Fault>,
) -> heald_model::Verdict {
    verdict.state = seen.as_ref().ok().and_then(|verdict| verdict.state.clone());
    verdict
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_close_to_its_budget_and_others_keep_running() {
    let spin = detector("detector-spin", json!({})).await;
    let ticks = std::cell::Cell::new(0_u32);
    let beside = async {
        loop {
            ticks.set(ticks.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    // One thread: what runs beside the guest runs only when the guest is made to yield.
    let mut best = Duration::MAX;
    tokio::select! {
        biased;
        () = async {
            for _ in 0..10 {
                let began = Instant::now();
                assert_eq!(spin.evaluate(&observation("bad", 1.0)).await.unwrap_err().cause, FaultCause::CpuBudget);
                best = best.min(began.elapsed());
            }
        } => {}
        () = beside => unreachable!(),
    }
    assert!(best >= Duration::from_millis(4), "it had its budget: {best:?}");
    // Noise of a shared machine apart, that is; hence the best of ten.
    assert!(best < Duration::from_millis(15), "5 ms are not {best:?}");
    assert!(ticks.get() >= 30, "only {} turns beside it", ticks.get());
}

#[tokio::test]
async fn a_state_that_grows_too_large_voids_the_answer() {
    let detector = detector("detector-grow-state", json!({"bytes": 40_000})).await;
    let mut observation = observation("bad", 1.0);
    let first = detector.evaluate(&observation).await.unwrap();
    observation.state = first.state;
    assert_eq!(observation.state.as_ref().map(|state| state.0.len()), Some(40_000));
    let fault = detector.evaluate(&observation).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::BadOutput, "{fault}");
    assert!(fault.detail.contains("80000 bytes"), "{fault}");
}

#[tokio::test]
async fn a_state_that_is_not_its_own_is_left_out_and_asked_again() {
    let plugin = plugin("detect-threshold");
    let detector = plugin.detector(&object(json!({"cpu": 90}))).await.unwrap();
    let mut observation = observation("web", 97.0);
    observation.state = Some(Blob(b"from another build".to_vec()));
    let verdict = detector.evaluate(&observation).await.unwrap();
    assert_eq!(verdict.findings.len(), 1, "{verdict:?}");
    assert_eq!(plugin.stats().calls, 2);
}

#[tokio::test]
async fn mischief_while_setting_up_is_an_error_of_loading() {
    for (guest, when, cause) in [
        ("detector-trap", "configure", FaultCause::Trap),
        ("detector-trap", "describe", FaultCause::Trap),
        ("detector-spin", "configure", FaultCause::CpuBudget),
        ("detector-bomb", "describe", FaultCause::Memory),
        ("detector-recurse", "configure", FaultCause::Stack),
        ("detector-flood-log", "configure", FaultCause::HostBudget),
    ] {
        let error = plugin(guest).detector(&object(json!({"when": when}))).await.err().expect("it cannot be set up");
        let HostError::Setup(SetupError::Fault { fault, .. }) = &error else { panic!("{guest}: {error:?}") };
        assert_eq!(fault.cause, cause, "{guest}: {fault}");
        assert!(error.to_string().contains(guest));
    }
}

#[tokio::test]
async fn equal_configurations_share_an_instance_and_others_do_not() {
    let plugin = plugin("detector-good");
    let one = plugin.detector(&object(json!({"limit": 1}))).await.unwrap();
    let same = plugin.detector(&object(json!({"limit": 1}))).await.unwrap();
    let other = plugin.detector(&object(json!({"limit": 99}))).await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&one, &same));
    assert_eq!(plugin.stats().instances, 2);
    assert_eq!(one.evaluate(&observation("web", 50.0)).await.unwrap().findings.len(), 1);
    assert_eq!(other.evaluate(&observation("web", 50.0)).await.unwrap().findings.len(), 0);
}

#[tokio::test]
async fn many_calls_at_once_all_get_their_answer() {
    let plugin = plugin("detector-spin");
    let detector = plugin.detector(&object(json!({"service": "bad"}))).await.unwrap();
    let calls = (0..100).map(|n| {
        let detector = detector.clone();
        tokio::spawn(async move { detector.evaluate(&observation(if n % 10 == 0 { "bad" } else { "web" }, 1.0)).await })
    });
    let mut faults = 0;
    for call in calls.collect::<Vec<_>>() {
        faults += u32::from(call.await.unwrap().is_err());
    }
    assert_eq!(faults, 10);
}

#[tokio::test]
async fn a_call_that_is_given_up_costs_nothing_but_its_instance() {
    let plugin = plugin("detector-spin");
    let detector = plugin.detector(&object(json!({"service": "bad"}))).await.unwrap();
    {
        let bad = observation("bad", 1.0);
        let call = detector.evaluate(&bad);
        tokio::pin!(call);
        // Polled once, and dropped in the middle of the guest.
        assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
    }
    assert!(detector.evaluate(&observation("web", 1.0)).await.is_ok());
    assert_eq!(plugin.stats().instances, 2);
}

#[tokio::test]
async fn the_operator_sets_the_limits() {
    let mut table = table("detector-spin");
    table.limits.cpu = Some(Duration::from_millis(60));
    let plugin = host().load_bytes(&table, component("detector-spin")).unwrap();
    let detector = plugin.detector(&object(json!({}))).await.unwrap();
    let began = Instant::now();
    let fault = detector.evaluate(&observation("bad", 1.0)).await.unwrap_err();
    assert!(fault.detail.contains("60ms"), "{fault}");
    assert!(began.elapsed() >= Duration::from_millis(50));

    table.limits.wall = Some(Duration::from_millis(20));
    let plugin = host().load_bytes(&table, component("detector-spin")).unwrap();
    let detector = plugin.detector(&object(json!({}))).await.unwrap();
    let fault = detector.evaluate(&observation("bad", 1.0)).await.unwrap_err();
    assert_eq!(fault.cause, FaultCause::Deadline, "{fault}");
    assert!(fault.detail.contains("20ms"), "{fault}");
}

#[tokio::test]
async fn the_same_question_has_the_same_answer() {
    let plugin = plugin("detect-threshold");
    let detector = plugin.detector(&object(json!({"cpu": 90, "open_fds": 10}))).await.unwrap();
    let question = observation("web", 97.0);
    let first = detector.evaluate(&question).await.unwrap();
    for _ in 0..20 {
        assert_eq!(detector.evaluate(&question).await.as_ref(), Ok(&first));
    }
}
