//! The detector as the host uses it: JSON in, one sample at a time, state carried along.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use detect_threshold::Threshold;
use heald_plugin::testing::{Scenario, problems, sample, series};
use heald_plugin::{Detector, Scalar, Severity, Verdict};

fn conditions(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().map(|finding| finding.condition.as_str()).collect()
}

#[test]
fn equal_is_no_finding_and_greater_is() {
    let config = r#"{"cpu": 80, "memory": 80, "error_rate": 0.05, "latency_ms": 1500}"#;
    let mut web = Scenario::<Threshold>::of(config);
    let at_limit = sample().cpu(80.0).memory(80.0).error_rate(0.05).latency_ms(1500.0);
    assert!(web.feed(at_limit).findings.is_empty());
    let beyond = sample().cpu(80.1).memory(80.1).error_rate(0.06).latency_ms(1500.1);
    let verdict = web.feed(beyond);
    assert_eq!(conditions(&verdict), ["high-cpu", "high-error-rate", "high-latency", "memory-pressure"]);
    assert_eq!(verdict.findings[0].fact("cpu"), Some(&Scalar::Number(80.1)));
    assert_eq!(verdict.findings[0].fact("cpu.limit"), Some(&Scalar::Number(80.0)));
    assert_eq!(verdict.findings[0].message, "cpu is 80.1 %, above its limit of 80 %");
    assert!(web.feed(sample().cpu(1.0).memory(1.0).error_rate(0.0).latency_ms(1.0)).findings.is_empty());
}

#[test]
fn a_custom_metric_has_a_limit_like_any_other() {
    let mut web = Scenario::<Threshold>::of(r#"{"open_fds": 100, "tls_left_seconds": {"below": 604800}}"#);
    let verdict = web.feed(sample().value("open_fds", 101.0).value("tls_left_seconds", 604_799.0));
    assert_eq!(conditions(&verdict), ["high-open-fds", "low-tls-left-seconds"]);
    assert!(web.feed(sample().value("open_fds", 100.0).value("tls_left_seconds", 604_800.0)).findings.is_empty());
}

#[test]
fn a_run_must_be_unbroken() {
    let mut web = Scenario::<Threshold>::of(r#"{"cpu": {"limit": 90, "for": 3}}"#);
    for cpu in [95.0, 95.0, 90.0, 95.0, 95.0] {
        assert!(web.feed(sample().cpu(cpu)).findings.is_empty());
    }
    assert_eq!(conditions(&web.feed(sample().cpu(95.0))), ["high-cpu"]);
}

#[test]
fn a_lost_state_does_not_lose_the_run() {
    let mut web = Scenario::<Threshold>::of(r#"{"cpu": {"limit": 90, "for": 3}}"#);
    assert_eq!(web.about().window.samples, 3);
    web.feed(sample().cpu(95.0));
    web.feed(sample().cpu(95.0));
    web.forget();
    assert_eq!(conditions(&web.feed(sample().cpu(95.0))), ["high-cpu"]);
}

#[test]
fn between_the_two_limits_it_stays_as_it_was() {
    let mut web = Scenario::<Threshold>::of(r#"{"memory": {"limit": 90, "clear_below": 80}}"#);
    assert!(web.feed(sample().memory(85.0)).findings.is_empty(), "never above the limit");
    assert_eq!(web.feed(sample().memory(91.0)).findings.len(), 1);
    assert_eq!(web.feed(sample().memory(85.0)).findings.len(), 1, "not yet back");
    web.forget();
    assert_eq!(web.feed(sample().memory(85.0)).findings.len(), 1, "nor after the state is lost");
    assert_eq!(web.feed(sample().memory(80.0)).findings.len(), 1, "80 is not below 80");
    assert!(web.feed(sample().memory(79.9)).findings.is_empty());
}

#[test]
fn of_several_steps_the_most_severe_is_reported() {
    let mut web = Scenario::<Threshold>::of(r#"{"memory": [90, {"limit": 95, "severity": "critical"}]}"#);
    assert_eq!(web.feed(sample().memory(91.0)).findings[0].severity, Severity::Error);
    let verdict = web.feed(sample().memory(96.0));
    assert_eq!(verdict.findings.len(), 1, "one identity, one finding");
    assert_eq!(verdict.findings[0].severity, Severity::Critical);
}

#[test]
fn what_was_not_measured_changes_nothing_for_a_while() {
    let mut web = Scenario::<Threshold>::of(r#"{"cpu": 90}"#);
    web.feed(sample().cpu(95.0));
    assert_eq!(web.feed(sample()).findings.len(), 1);
    assert_eq!(web.feed(sample()).findings.len(), 1);
    assert!(web.feed(sample()).findings.is_empty(), "after three gaps nobody knows");
}

#[test]
fn a_new_process_starts_with_a_clean_slate() {
    let mut web = Scenario::<Threshold>::of(r#"{"cpu": {"limit": 90, "for": 2}}"#);
    web.feed(sample().cpu(95.0).incarnation(1));
    assert_eq!(web.feed(sample().cpu(95.0).incarnation(1)).findings.len(), 1);
    assert!(web.feed(sample().cpu(95.0).incarnation(2)).findings.is_empty());
    assert_eq!(web.feed(sample().cpu(95.0).incarnation(2)).findings.len(), 1);
}

#[test]
fn replicas_are_told_apart_and_probes_of_one_replica_are_not() {
    let mut web = Scenario::<Threshold>::of(r#"{"latency_ms": 100}"#)
        .watching(series("http").replica("a"))
        .watching(series("tcp").replica("a"));
    web.feed_to("http", sample().latency_ms(200.0));
    let verdict = web.feed_to("tcp", sample().latency_ms(300.0));
    assert_eq!(verdict.findings.len(), 1);
    assert_eq!(verdict.findings[0].subject.as_deref(), Some("a"));
}

#[test]
fn the_same_question_has_the_same_answer() {
    let mut web = Scenario::<Threshold>::of(r#"{"cpu": 90, "memory": 90}"#);
    let first = web.feed(sample().cpu(95.0).memory(95.0));
    assert_eq!(web.evaluate().unwrap().findings, first.findings, "nothing new: the findings are levels and stay");
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let cases = [
        (r#"{"cpu": "much"}"#, "/cpu", "a limit, an object"),
        (r#"{"cpu": {"limit": 1, "fro": 2}}"#, "/cpu/fro", "unknown field `fro`"),
        (r#"{"cpu": {"severity": "error"}}"#, "/cpu", "`limit` or `below` is needed"),
        (r#"{"cpu": [80, {"limit": 90, "for": 0}]}"#, "/cpu", "1 to 1000"),
        (r#"{"cpu": {"limit": 90, "severity": "bad"}}"#, "/cpu/severity", "unknown variant `bad`"),
        (r#"{"cpu": {"limit": 90, "clear_below": 95}}"#, "/cpu", "must not be above"),
        (r#"{"a/b": {"limit": 90, "condition": "Not Kebab"}}"#, "/a~1b", "lower-case"),
        (r#"[]"#, "", "expected a map"),
    ];
    for (config, at, message) in cases {
        let problems = problems(Threshold::new, config);
        assert_eq!(problems.len(), 1, "{config}");
        assert_eq!(problems[0].at, at, "{config}");
        assert!(problems[0].message.contains(message), "{config}: {}", problems[0].message);
    }
}
