//! Decision tables as configurations: whoever has such a table needs no code.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use decide_rules::Rules;
use heald_plugin::testing::{SampleBuilder, ask, question, sample};
use heald_plugin::{Choice, Decision, Finding, Severity};

const ORCHESTRATE: &str = include_str!("orchestrate.json");
const LLM_STYLE: &str = include_str!("llm-style.json");

fn decide(config: &str, seen: SampleBuilder) -> Decision {
    let finding = Finding::new("anomaly", Severity::Error, "something is beyond its limit");
    ask::<Rules>(config, question(finding).seen("process", seen)).unwrap()
}

fn word(decision: &Decision) -> &str {
    match &decision.choice {
        Choice::Act(proposal) => &proposal.action,
        Choice::NoAction => "no-action",
        Choice::Escalate => "escalate",
        Choice::Pass => "pass",
    }
}

#[test]
fn orchestrate_restarts_beyond_85_85_80_and_else_does_nothing() {
    let usage = |cpu: f64, memory: f64, disk: f64| sample().cpu(cpu).memory(memory).value("disk", disk);
    let rows = [
        (usage(86.0, 1.0, 1.0), "restart"),
        (usage(1.0, 86.0, 1.0), "restart"),
        (usage(1.0, 1.0, 81.0), "restart"),
        (usage(99.0, 99.0, 99.0), "restart"),
        // Detected beyond 80, and yet nothing to be done about.
        (usage(81.0, 1.0, 1.0), "no-action"),
        (usage(85.0, 1.0, 1.0), "no-action"),
        (usage(1.0, 85.0, 1.0), "no-action"),
        (usage(1.0, 1.0, 80.0), "no-action"),
        (usage(85.0, 85.0, 80.0), "no-action"),
        (sample().cpu(86.0), "restart"),
        (sample().error_rate(1.0), "no-action"),
        (sample(), "no-action"),
    ];
    for (row, (seen, expected)) in rows.into_iter().enumerate() {
        let decision = decide(ORCHESTRATE, seen);
        assert_eq!(word(&decision), expected, "row {row}");
        if expected == "no-action" {
            assert_eq!(decision.reason, "No action required");
        }
    }
}

#[test]
fn llm_style_asks_for_status_then_memory_then_cpu() {
    let down = "Service health is DOWN or unreachable";
    let memory = "Memory usage is critically high";
    let cpu = "CPU usage is critically high";
    let fine = "System operating within safe limits";
    let rows = [
        ("UP", 20.0, 91.0, "clear-cache", memory),
        ("ERROR", 1.0, 1.0, "restart", down),
        ("DOWN", 1.0, 1.0, "restart", down),
        ("DOWN", 99.0, 99.0, "restart", down),
        ("UP", 81.0, 1.0, "throttle-requests", cpu),
        ("UP", 90.0, 91.0, "clear-cache", memory),
        ("UP", 80.0, 80.0, "no-action", fine),
        ("UP", 1.0, 1.0, "no-action", fine),
    ];
    for (status, cpu, memory, action, reason) in rows {
        let decision = decide(LLM_STYLE, sample().reported(status).cpu(cpu).memory(memory));
        assert_eq!((word(&decision), decision.reason.as_str()), (action, reason), "{status} {cpu} {memory}");
    }
    assert_eq!(word(&decide(LLM_STYLE, sample().cpu(1.0).memory(1.0))), "restart", "no word at all is not UP");
}

#[test]
fn llm_style_names_every_rule_that_fired_and_the_one_that_won() {
    let decision = decide(LLM_STYLE, sample().reported("UP").cpu(90.0).memory(91.0));
    let fact = |name: &str| decision.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.clone());
    assert_eq!(fact("rule"), Some("memory".into()));
    assert_eq!(fact("memory"), Some(91.0.into()));
    assert_eq!(decision.considered.len(), 1);
    assert_eq!(decision.considered[0].action, "throttle-requests");
    assert_eq!(decision.considered[0].reason, "cpu holds too, but later");
}
