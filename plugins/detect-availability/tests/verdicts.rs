//! The detector as the host uses it: JSON in, one sample at a time, state carried along.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use detect_availability::Availability;
use heald_plugin::testing::{Scenario, problems, sample, series};
use heald_plugin::{Detector, Finding, Scalar, Severity, Verdict};

fn conditions(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|finding| finding.condition.as_str()).collect()
}

fn text<'a>(finding: &'a Finding, name: &str) -> Option<&'a str> {
    finding.fact(name).and_then(Scalar::text)
}

#[test]
fn every_kind_of_failure_names_its_cause() {
    let cases = [
        (sample().fault("refused"), "refused", "http: connection refused"),
        (sample().fault("timeout"), "timeout", "http: no answer in time"),
        (sample().fault("status").status(503), "status", "http: answers with status 503"),
        (sample().fault("body").reported("DOWN").status(200), "body", "http: says it is \"DOWN\""),
        (sample().fault("exit").status(1), "exit", "http: exited with 1"),
        (sample().fault("signal").status(-9), "signal", "http: killed by signal 9"),
        (sample().fault("dns"), "dns", "http: name not resolved"),
    ];
    for (failed, cause, message) in cases {
        let mut web = Scenario::<Availability>::of("{}");
        let verdict = web.feed(failed);
        assert_eq!(conditions(&verdict), ["service-down"], "{cause}");
        let finding = &verdict.findings[0];
        assert_eq!((finding.severity, finding.message.as_str()), (Severity::Critical, message));
        assert_eq!(text(finding, "cause"), Some(cause));
    }
}

#[test]
fn a_service_that_says_down_with_200_is_down() {
    let mut web = Scenario::<Availability>::of("{}");
    assert!(web.feed(sample().status(200).reported("UP")).findings.is_empty());
    let verdict = web.feed(sample().status(200).reported("DOWN"));
    assert_eq!(conditions(&verdict), ["service-down"]);
    assert_eq!(text(&verdict.findings[0], "cause"), Some("body"));
    assert_eq!(text(&verdict.findings[0], "reported"), Some("DOWN"));
    assert_eq!(conditions(&web.feed(sample().status(200).reported("Degraded"))), ["degraded"]);
    assert!(web.feed(sample().status(200).reported("anything else")).findings.is_empty());
}

#[test]
fn where_a_word_is_required_any_other_and_none_is_down() {
    let mut web = Scenario::<Availability>::of(r#"{"words": {"up": ["UP"], "required": true}}"#);
    assert!(web.feed(sample().reported("up")).findings.is_empty());
    assert_eq!(conditions(&web.feed(sample().reported("fine"))), ["service-down"]);
    let verdict = web.feed(sample().status(200));
    assert_eq!(verdict.findings[0].message, "http: does not say how it is, 2 times in a row");
    assert!(web.feed(sample()).findings.is_empty(), "a bare connection cannot hear a word");
}

#[test]
fn the_operators_thresholds_are_kept() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("http").thresholds(3, 2));
    for _ in 0..2 {
        assert!(web.feed(sample().fault("timeout")).findings.is_empty());
    }
    assert!(web.feed(sample()).findings.is_empty(), "a success breaks the run");
    for _ in 0..2 {
        assert!(web.feed(sample().fault("timeout")).findings.is_empty());
    }
    assert_eq!(conditions(&web.feed(sample().fault("timeout"))), ["service-down"]);
    let verdict = web.feed(sample());
    assert_eq!(conditions(&verdict), ["service-down"], "one success of two");
    assert_eq!(text(&verdict.findings[0], "cause"), Some("timeout"), "the last failure is still the cause");
    assert!(web.feed(sample()).findings.is_empty());
}

#[test]
fn a_process_that_is_gone_needs_no_counting() {
    for fault in ["exit", "signal", "missing"] {
        let mut web = Scenario::<Availability>::of("{}").watching(series("process").thresholds(3, 1));
        assert_eq!(conditions(&web.feed(sample().fault(fault))), ["service-down"], "{fault}");
    }
}

#[test]
fn a_role_names_the_condition() {
    let cases = [("liveness", "service-down"), ("readiness", "not-ready"), ("startup", "startup-failed")];
    for (role, condition) in cases {
        let mut web = Scenario::<Availability>::of("{}").watching(series("http").role(role));
        assert_eq!(conditions(&web.feed(sample().fault("status").status(500))), [condition]);
    }
}

#[test]
fn a_startup_probe_may_fail_for_as_long_as_allowed() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("boot").role("startup").thresholds(30, 1));
    for _ in 0..29 {
        let verdict = web.feed(sample().fault("refused"));
        assert_eq!(conditions(&verdict), ["starting"]);
        assert_eq!(verdict.findings[0].severity, Severity::Info, "nothing to heal yet");
    }
    assert_eq!(conditions(&web.feed(sample().fault("refused"))), ["startup-failed"]);
}

#[test]
fn a_metrics_probe_that_cannot_scrape_says_nothing_of_the_service() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("scrape").role("metrics"));
    assert!(web.feed(sample().fault("timeout")).findings.is_empty());
    assert_eq!(conditions(&web.feed(sample().fault("missing"))), ["service-down"]);
    assert!(web.feed(sample()).findings.is_empty());
}

#[test]
fn a_prober_that_failed_itself_is_no_verdict() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("http").thresholds(2, 1));
    web.feed(sample().fault("refused"));
    assert!(web.feed(sample().no_verdict()).findings.is_empty());
    assert_eq!(conditions(&web.feed(sample().fault("refused"))), ["service-down"], "the run went on");
    assert_eq!(conditions(&web.feed(sample().no_verdict())), ["service-down"], "nor does it heal");
}

#[test]
fn a_new_process_has_its_own_run_but_must_prove_itself() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("http").thresholds(2, 1));
    web.feed(sample().fault("timeout").incarnation(1));
    assert!(web.feed(sample().fault("refused").incarnation(2)).findings.is_empty(), "its first failure");
    assert_eq!(conditions(&web.feed(sample().fault("refused").incarnation(2))), ["service-down"]);
    assert_eq!(conditions(&web.feed(sample().fault("refused").incarnation(3))), ["service-down"], "not seen to answer");
    assert!(web.feed(sample().incarnation(3)).findings.is_empty());
}

#[test]
fn alternating_is_flapping_and_not_down() {
    let mut web = Scenario::<Availability>::of("{}").watching(series("http").thresholds(3, 1));
    for _ in 0..4 {
        assert!(web.feed(sample().fault("timeout")).findings.is_empty());
        assert!(web.feed(sample()).findings.is_empty());
    }
    web.feed(sample().fault("timeout"));
    let verdict = web.feed(sample());
    assert_eq!(conditions(&verdict), ["flapping"], "10 changes of 20");
    let mut lowest = 100.0_f64;
    while let Some(finding) = web.feed(sample()).findings.first() {
        lowest = lowest.min(finding.fact("change_percent").and_then(Scalar::number).unwrap());
    }
    assert!(lowest < 30.0, "it takes quiet to end it, not just less than began it: {lowest}");
    for _ in 0..20 {
        web.feed(sample());
    }
    assert!(web.evaluate().unwrap().findings.is_empty());
}

#[test]
fn down_for_long_is_down_and_not_flapping() {
    let mut web = Scenario::<Availability>::of("{}");
    for _ in 0..30 {
        assert_eq!(conditions(&web.feed(sample().fault("refused"))), ["service-down"]);
    }
}

#[test]
fn a_lost_state_is_rebuilt_from_the_window() {
    let mut kept = Scenario::<Availability>::of("{}").watching(series("http").thresholds(3, 2));
    let mut lost = Scenario::<Availability>::of("{}").watching(series("http").thresholds(3, 2));
    assert_eq!(lost.about().window.samples, 21);
    for step in 0..200_u32 {
        // Runs of changing length, up and down.
        let failed = (step * step / 7) % 5 < 2;
        let next = || if failed { sample().fault("status").status(500) } else { sample() };
        lost.forget();
        let (one, other) = (kept.feed(next()), lost.feed(next()));
        // What lies before the window cannot be known; conditions that need no more than it must agree.
        assert_eq!(
            conditions(&one).contains(&"service-down"),
            conditions(&other).contains(&"service-down"),
            "step {step}"
        );
    }
}

#[test]
fn replicas_are_told_apart() {
    let mut web =
        Scenario::<Availability>::of("{}").watching(series("http").replica("a")).watching(series("http").replica("b"));
    web.feed_to("http", sample().fault("refused"));
    let verdict = web.evaluate().unwrap();
    assert_eq!(verdict.findings.len(), 1);
    assert_eq!(verdict.findings[0].subject.as_deref(), Some("a"));
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let cases = [
        (r#"{"flapping": {"begin": 120}}"#, "/flapping/begin"),
        (r#"{"flapping": {"begin": 20, "end": 30}}"#, "/flapping/end"),
        (r#"{"words": {"up": ["down"]}}"#, "/words/up"),
        (r#"{"word": {}}"#, "/word"),
    ];
    for (config, at) in cases {
        assert_eq!(problems(Availability::new, config)[0].at, at, "{config}");
    }
}
