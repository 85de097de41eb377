//! What a guest answers: a detector or a policy (the first byte says which) whose memory spells what it says. An answer is within its
//! bounds or a fault, a replay of it is the same bit for bit, and the next call is as good as any.
#![no_main]

use std::sync::{Arc, OnceLock};

use heald_engine::ports::{Detector, Policy};
use heald_fuzz::{bounds, shown, stage};
use heald_host::{Plugin, PluginDetector, PluginPolicy};
use heald_model::FaultCause;
use libfuzzer_sys::fuzz_target;
use serde_json::Map;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, memory)) = bytes.split_first() else { return };
    static GUESTS: OnceLock<(Arc<PluginDetector>, Arc<PluginPolicy>)> = OnceLock::new();
    let (detector, policy) = GUESTS.get_or_init(|| {
        let (detector, policy) = (plugin("fuzzed-detector"), plugin("fuzzed-policy"));
        stage::wait(async move {
            let detector = detector.detector(&Map::new()).await.expect("the detector can be configured");
            (detector, policy.policy(&Map::new()).await.expect("the policy can be configured"))
        })
    });
    if which % 2 == 0 { stage::wait(looked(detector, memory)) } else { stage::wait(decided(policy, memory)) }
});

fn plugin(name: &str) -> Plugin {
    stage::host().load_bytes(&stage::table(name), &stage::guest(name)).expect("a good guest")
}

async fn looked(detector: &PluginDetector, memory: &[u8]) {
    let observation = shown::observation(Some(memory));
    match detector.evaluate(&observation).await {
        Ok(said) => {
            bounds::verdict(&said);
            assert_eq!(detector.replay(&observation, &said.heard).await, Ok(said));
        }
        Err(fault) => {
            bounds::fault(&fault);
            blamed(&fault.cause);
        }
    }
    let good = detector.evaluate(&shown::observation(None)).await.expect("the next call is as good as any");
    assert_eq!(good.findings.first().map(|finding| finding.condition.as_str()), Some("good"));
}

async fn decided(policy: &PluginPolicy, memory: &[u8]) {
    let question = shown::question(Some(memory));
    match policy.decide(&question).await {
        Ok(said) => {
            bounds::answer(&said);
            assert_eq!(policy.replay(&question, &said.heard).await, Ok(said));
        }
        Err(fault) => {
            bounds::fault(&fault);
            blamed(&fault.cause);
        }
    }
    let good = policy.decide(&shown::question(None)).await.expect("the next call is as good as any");
    assert_eq!(good.decision.verb(), "restart");
}

/// Of all that a guest can be blamed for, these guests can do this.
fn blamed(cause: &FaultCause) {
    use FaultCause::{BadConfig, BadOutput, CpuBudget, HostBudget, Memory, Refused, Trap};
    assert!(matches!(cause, BadConfig | BadOutput | CpuBudget | HostBudget | Memory | Refused | Trap), "{cause}");
}
