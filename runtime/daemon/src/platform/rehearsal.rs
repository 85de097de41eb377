//! Trying a plug-in before it is used: it is shown what a plug-in of its name was shown lately, or, where nothing is on record, a
//! service that is well. Its answers are looked at for faults alone, and go nowhere.

use heald_engine::calls::{Asked, CallQuery};
use heald_engine::ports::Observation;
use heald_model::{Breaker, Moment, PluginName, ProbeId, Role, Sample, Series, ServiceName, ServiceView};
use heald_store::Store;

use super::Casting;

/// Recorded calls that a plug-in is tried with.
const CALLS: u32 = 8;

/// Tries it in the parts it is cast for.
///
/// # Errors
/// The first fault, and in which call.
pub(super) async fn rehearse(name: &PluginName, casting: &Casting, store: &Store, now: Moment) -> Result<(), String> {
    let query = CallQuery { plugin: Some(name.clone()), limit: CALLS, newest: true, ..CallQuery::default() };
    // A journal that cannot be read keeps nobody from being used.
    let recorded = store.calls(query).await.unwrap_or_default().calls;
    for (service, cast) in &casting.casts {
        for member in cast.detectors.iter().filter(|member| member.plugin.plugin().name == *name) {
            let mut shown: Vec<(String, Observation)> = recorded
                .iter()
                .filter_map(|kept| match &kept.call.asked {
                    Asked::Detector(input) => Some((format!("recorded call {}", kept.seq), (**input).clone())),
                    Asked::Policy(_) => None,
                })
                .collect();
            if shown.is_empty() {
                shown.push(("a first look at a service that is well".into(), well(service, now)));
            }
            for (what, mut input) in shown {
                // Another version's memory may be none of its own; that it copes with none is what counts.
                input.state = None;
                let fault = member.plugin.evaluate(&input).await.err();
                if let Some(fault) = fault {
                    return Err(format!("its self-test failed ({what}, about {}): {fault}", input.service.name));
                }
            }
        }
        for member in cast.policies.iter().filter(|member| member.plugin.plugin().name == *name) {
            for kept in &recorded {
                let Asked::Policy(question) = &kept.call.asked else { continue };
                let mut question = (**question).clone();
                question.state = None;
                let fault = member.plugin.decide(&question).await.err();
                if let Some(fault) = fault {
                    return Err(format!("its self-test failed (recorded call {}, about {service}): {fault}", kept.seq));
                }
            }
        }
    }
    Ok(())
}

fn well(service: &ServiceName, now: Moment) -> Observation {
    let mut sample = Sample::new(service.clone(), ProbeId::from("self-test"), now);
    sample.ok = Some(true);
    sample.latency = Some(std::time::Duration::from_millis(1));
    let series = Series {
        probe: ProbeId::from("self-test"),
        role: Role::Liveness,
        replica: None,
        period: std::time::Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: [sample].into(),
        fresh: 1,
    };
    let service = ServiceView {
        name: service.clone(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: serde_json::json!({}),
        facts: Vec::new(),
    };
    Observation { now, seed: 0, service, series: vec![series], state: None }
}
