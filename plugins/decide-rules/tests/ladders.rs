//! What is tried next, and what is left out.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use decide_rules::Rules;
use heald_plugin::testing::{QuestionBuilder, ask, problems, question, sample};
use heald_plugin::{Choice, Decision, Ending, Experience, Finding, Outcome, Policy, Severity};

const LADDER: &str = r#"{"rules": [{
    "when": {"condition": "memory-pressure", "severity": ">= error"},
    "do": "clear-cache", "times": 2,
    "then": [{"do": "restart", "parameters": {"hard": true}, "verify_within": "90s", "confidence": 0.6}, "notify"]
}]}"#;

fn memory() -> QuestionBuilder {
    let finding = Finding::new("memory-pressure", Severity::Error, "memory is 95 %").crossed("memory", 95.0, 90.0);
    question(finding).offer("clear-cache").offer("restart").offer("notify")
}

fn not_healed() -> Ending {
    Ending::Verified(Outcome::NotHealed)
}

fn word(decision: &Decision) -> &str {
    match &decision.choice {
        Choice::Act(proposal) => &proposal.action,
        Choice::NoAction => "no-action",
        Choice::Escalate => "escalate",
        Choice::Pass => "pass",
    }
}

fn decide(config: &str, question: QuestionBuilder) -> Decision {
    ask::<Rules>(config, question).unwrap()
}

#[test]
fn each_rung_is_tried_as_often_as_it_says_and_then_a_person_is_called() {
    let mut asked = memory();
    for expected in ["clear-cache", "clear-cache", "restart", "notify"] {
        let decision = decide(LADDER, asked.clone());
        assert_eq!(word(&decision), expected);
        asked = asked.tried(expected, not_healed());
    }
    let decision = decide(LADDER, asked);
    assert_eq!(word(&decision), "escalate");
    assert_eq!(decision.reason, "rule 1: nothing that was tried has helped");
}

#[test]
fn a_rung_brings_its_own_words() {
    let asked = memory().tried("clear-cache", not_healed()).tried("clear-cache", Ending::Failed("no".into()));
    let decision = decide(LADDER, asked);
    let Choice::Act(proposal) = &decision.choice else { panic!("{decision:?}") };
    assert_eq!(proposal.parameters, r#"{"hard":true}"#);
    assert_eq!(proposal.verify_within, Some(90_000_000_000));
    assert_eq!(decision.confidence, 0.6);
    assert_eq!(decide(LADDER, memory()).reason, "memory-pressure: clear-cache, attempt 1 of 2");
}

#[test]
fn what_healed_once_is_where_it_starts_again() {
    let asked = memory()
        .tried("clear-cache", not_healed())
        .tried("clear-cache", not_healed())
        .tried("restart", Ending::Verified(Outcome::Healed));
    assert_eq!(word(&decide(LADDER, asked)), "clear-cache");
}

#[test]
fn what_was_withheld_or_not_judged_or_is_under_way_uses_nothing_up() {
    let asked = memory()
        .tried("clear-cache", Ending::Withheld("paused".into()))
        .tried("clear-cache", Ending::Verified(Outcome::Unknown))
        .tried("clear-cache", Ending::Unsettled);
    assert_eq!(decide(LADDER, asked).reason, "memory-pressure: clear-cache, attempt 1 of 2");
}

#[test]
fn attempts_of_earlier_incidents_do_not_count() {
    let asked = memory().tried("clear-cache", not_healed()).tried("clear-cache", not_healed());
    assert_eq!(word(&decide(LADDER, asked.clone())), "restart");
    let asked = asked.change(|question| {
        for attempt in &mut question.incident.attempts {
            attempt.incident = "an earlier one".to_owned();
        }
    });
    assert_eq!(word(&decide(LADDER, asked)), "clear-cache");
}

#[test]
fn what_is_not_on_offer_or_withheld_is_left_out() {
    let finding = || Finding::new("memory-pressure", Severity::Error, "");
    let decision = decide(LADDER, question(finding()).offer("restart"));
    assert_eq!(word(&decision), "restart");
    assert_eq!(decision.considered[0].reason, "not on offer");
    let decision = decide(LADDER, question(finding()).blocked("clear-cache", "cooldown").offer("restart"));
    assert_eq!(word(&decision), "restart");
    assert_eq!(decision.considered[0].reason, "withheld: cooldown");
}

#[test]
fn when_all_is_withheld_the_first_waits_for_the_guard() {
    let finding = Finding::new("service-down", Severity::Critical, "");
    let backing_off = question(finding).blocked("restart", "back-off");
    assert_eq!(word(&decide("{}", backing_off.clone())), "restart");
    // Refused outright, though: asking again would go in circles.
    let refused = backing_off.tried("restart", Ending::Withheld("attempts exhausted".into()));
    assert_eq!(word(&decide("{}", refused)), "escalate");
}

#[test]
fn what_nobody_offers_is_asked_for_so_that_heald_says_why_it_is_not_on_offer() {
    let finding = Finding::new("service-down", Severity::Critical, "");
    assert_eq!(word(&decide("{}", question(finding).offer("notify"))), "restart");
    // After something was tried, people are asked.
    let finding = Finding::new("memory-pressure", Severity::Error, "");
    let asked = question(finding).offer("clear-cache");
    let asked = asked.tried("clear-cache", not_healed()).tried("clear-cache", not_healed());
    assert_eq!(word(&decide(LADDER, asked)), "escalate");
}

#[test]
fn the_first_rule_that_holds_decides_and_none_passes() {
    let mild = Finding::new("memory-pressure", Severity::Warning, "");
    let decision = decide(LADDER, question(mild).offer("restart"));
    assert_eq!((word(&decision), decision.reason.as_str()), ("pass", "no rule holds"));
}

#[test]
fn the_defaults_are_conservative() {
    let cases = [
        ("service-down", "restart"),
        ("startup-failed", "restart"),
        ("memory-pressure", "clear-cache"),
        ("leak", "clear-cache"),
        ("high-latency", "clear-cache"),
        ("flapping", "escalate"),
        ("high-cpu", "no-action"),
        ("high-error-rate", "no-action"),
        ("not-ready", "no-action"),
        ("unheard-of", "pass"),
    ];
    for (condition, expected) in cases {
        let asked = question(Finding::new(condition, Severity::Error, "")).offer("restart").offer("clear-cache");
        assert_eq!(word(&decide("{}", asked)), expected, "{condition}");
    }
    let no_cache = question(Finding::new("leak", Severity::Error, "")).offer("restart");
    assert_eq!(word(&decide("{}", no_cache)), "restart");
}

#[test]
fn own_rules_come_before_the_defaults_and_replace_them_unless_asked_for() {
    let own = |defaults: bool| {
        format!(r#"{{"defaults": {defaults}, "rules": [{{"when": {{"cpu": "> 50"}}, "do": "scale"}}]}}"#)
    };
    let down = || question(Finding::new("service-down", Severity::Critical, "")).offer("restart").offer("scale");
    assert_eq!(word(&decide(&own(false), down())), "pass");
    assert_eq!(word(&decide(&own(true), down())), "restart");
    assert_eq!(word(&decide(&own(true), down().seen("process", sample().cpu(60.0)))), "scale");
}

#[test]
fn any_of_the_findings_may_meet_a_rule() {
    let leading = Finding::new("service-down", Severity::Critical, "");
    let other = Finding::new("leak", Severity::Warning, "").with("cause", "cache");
    let config = r#"{"rules": [{"when": {"condition": "leak", "cause": ["cache", "files"], "severity": "warning"}, "do": "clear-cache"}]}"#;
    assert_eq!(word(&decide(config, question(leading).also(other))), "clear-cache");
}

#[test]
fn tags_attempts_age_and_status_can_be_asked_for() {
    let asked = || {
        question(Finding::new("service-down", Severity::Critical, "").with("status", 503))
            .seen("http", sample().reported("DOWN").status(503))
            .service(|service| service.tags = vec!["eu".to_owned(), "stateless".to_owned()])
            .tried("restart", not_healed())
    };
    for (when, expected) in [
        (r#"{"tag": "stateless"}"#, true),
        (r#"{"tag": "stateful"}"#, false),
        (r#"{"tag": "!= stateless"}"#, false),
        (r#"{"attempts": ">= 1"}"#, true),
        (r#"{"attempts": "> 1"}"#, false),
        (r#"{"age_seconds": ">= 60"}"#, true),
        (r#"{"status": ">= 500"}"#, true),
        (r#"{"status": "DOWN"}"#, true),
        (r#"{"reported": "!= DOWN"}"#, false),
        (r#"{"breaker": "closed", "service": "web"}"#, true),
        (r#"{}"#, true),
    ] {
        let config = format!(r#"{{"rules": [{{"when": {when}, "do": "scale"}}]}}"#);
        assert_eq!(word(&decide(&config, asked())) == "scale", expected, "{when}");
    }
}

#[test]
fn of_two_probes_the_newer_sample_counts() {
    let asked = question(Finding::new("anomaly", Severity::Error, ""))
        .seen("newer", sample().at(20).cpu(10.0))
        .seen("older", sample().at(10).cpu(99.0).memory(99.0));
    let config = |when: &str| format!(r#"{{"rules": [{{"when": {when}, "do": "scale"}}]}}"#);
    assert_eq!(word(&decide(&config(r#"{"cpu": "> 50"}"#), asked.clone())), "pass");
    assert_eq!(word(&decide(&config(r#"{"memory": "> 50"}"#), asked)), "scale", "the newest that measured it");
}

#[test]
fn the_catalog_lends_its_confidence() {
    let learned = |service: Option<&str>, alpha: f64| Experience {
        signature: "service-down".to_owned(),
        action: "restart".to_owned(),
        service: service.map(str::to_owned),
        tries: 10,
        successes: 5,
        alpha,
        beta: 10.0 - alpha,
        recovery: None,
        recovery_p90: None,
    };
    let asked = question(Finding::new("service-down", Severity::Critical, "")).offer("restart");
    assert_eq!(decide("{}", asked.clone()).confidence, 0.9);
    let knowing = asked.change(|question| question.experience = vec![learned(None, 8.0), learned(Some("web"), 3.0)]);
    assert_eq!(decide("{}", knowing).confidence, 0.3, "this service's own record counts first");
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let cases = [
        (r#"{"rules": [{"when": {"severity": ">= bad"}, "do": "x"}]}"#, "/rules/0", "is no severity"),
        (r#"{"rules": [{"when": {"cause": "> much"}, "do": "x"}]}"#, "/rules/0", "compared by size"),
        (r#"{"rules": [{"do": "x", "verify_within": "soon"}]}"#, "/rules/0/verify_within", "no duration"),
        (r#"{"rules": [{"do": "x", "thne": []}]}"#, "/rules/0/thne", "unknown field"),
        (r#"{"rules": [{"do": "x", "then": [{"do": "y", "times": 0}]}]}"#, "/rules/0", "1 to 100"),
        (r#"{"rules": [{"do": "x", "then": [7]}]}"#, "/rules/0/then/0", "an action's name"),
        (r#"{"rules": [{"do": "x", "parameters": 7}]}"#, "/rules/0", "must be an object"),
        (r#"{"rules": [{"when": {"cpu": null}, "do": "x"}]}"#, "/rules/0/when/cpu", "a comparison"),
        (r#"{"otherwise": {"do": "x", "confidence": 2}}"#, "/otherwise", "0 to 1"),
        (r#"{"rule": []}"#, "/rule", "unknown field"),
    ];
    for (config, at, message) in cases {
        let problems = problems(Rules::new, config);
        assert_eq!(problems.len(), 1, "{config}: {problems:?}");
        assert_eq!(problems[0].at, at, "{config}");
        assert!(problems[0].message.contains(message), "{config}: {}", problems[0].message);
    }
}
