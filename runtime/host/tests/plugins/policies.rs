//! Policies: the same promises as for detectors.

use heald_engine::ports::Policy;
use heald_model::{ActionInfo, Choice, FaultCause, Offer, Source};
use serde_json::json;

use crate::guests::{incident, object, plugin, policy, question};

#[tokio::test]
async fn a_policy_that_behaves_is_heard() {
    let policy = policy("policy-spin", json!({})).await;
    let answer = policy.decide(&question("web")).await.unwrap();
    assert_eq!(answer.decision.choice, Choice::Pass);
    assert_eq!(answer.decision.reason, "behaving");
    assert_eq!(answer.decision.confidence, 1.0);
    assert_eq!(answer.decision.source.to_string().split('@').next(), Some("policy-spin"));
}

#[tokio::test]
async fn a_policy_that_does_not_is_a_fault_and_then_behaves_again() {
    for (guest, cause, word) in [
        ("policy-spin", FaultCause::CpuBudget, "20ms"),
        ("policy-trap", FaultCause::Trap, "the policy fell over its own feet"),
    ] {
        let policy = policy(guest, json!({})).await;
        for _ in 0..3 {
            let fault = policy.decide(&question("bad")).await.unwrap_err();
            assert_eq!(fault.cause, cause, "{fault}");
            assert!(fault.detail.contains(word), "{fault}");
            assert!(policy.decide(&question("web")).await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_whole_incident_goes_in_and_a_decision_comes_out() {
    let plugin = plugin("decide-rules");
    let config = object(json!({"rules": [
        {"when": {"condition": "high-cpu"}, "do": "restart", "reason": "it is busy"},
    ]}));
    let policy = plugin.policy(&config).await.unwrap();
    let mut question = question("web");
    let mut parent = incident("db");
    parent.id = heald_model::IncidentId(uuid::Uuid::from_u128(2));
    question.incident.parent = Some(parent.id);
    question.related = vec![parent, incident("other")];
    question.offers = vec![Offer {
        action: ActionInfo {
            name: "restart".into(),
            summary: "stops and starts it".into(),
            parameters: json!({"type": "object"}),
            disruptive: true,
            undoable: false,
            facts: Vec::new(),
        },
        source: Source::Native,
        blocked: None,
    }];
    let answer = policy.decide(&question).await.unwrap();
    let Choice::Act(proposal) = &answer.decision.choice else { panic!("{answer:?}") };
    assert_eq!(proposal.action, "restart");
}

#[tokio::test]
async fn a_detector_is_no_policy() {
    let error = plugin("detector-good").policy(&serde_json::Map::new()).await.err().unwrap();
    assert_eq!(error.to_string(), "plug-in `detector-good` is no policy; it is detector");
}
