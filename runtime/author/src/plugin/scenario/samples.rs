//! A detector's part: it sees every look at the service that the scenario's samples make.

use heald_engine::ports::Detector;
use heald_model::CallInput;
use heald_model::Observation;

use super::maker::{Time, dice};
use super::world::{World, events, moment};
use super::{CheckedScenario, PluginAnswer, ScenarioCall};

/// Plays it, as the loop would: what comes in at the same time is one look, the state goes from call to call, a call that fails
/// leaves it as it was.
pub async fn play(scenario: &CheckedScenario, detector: &dyn Detector) -> Vec<ScenarioCall> {
    let form = &scenario.form;
    let mut world = World::of(form, detector.window());
    let mut state = None;
    let mut turns = Vec::new();
    let mut events = events(form).into_iter().peekable();
    while let Some(first) = events.next() {
        let at = first.at;
        let mut steps: Vec<usize> = Vec::new();
        let mut next = Some(first);
        while let Some(event) = next {
            if let Some(step) = form.sample.get(event.step).filter(|_| event.first) {
                world.change(&step.get_ref().service);
                if step.get_ref().forget {
                    state = None;
                }
            }
            world.take_in(event.sample);
            steps.push(event.step);
            next = events.next_if(|event| event.at == at);
        }
        let now = moment(at);
        let input = Observation {
            now,
            seed: seed(form.seed, turns.len()),
            service: world.view(),
            series: world.shown(detector.window(), state.is_some(), now),
            state: state.clone(),
        };
        let said = match detector.evaluate(&input).await {
            Ok(verdict) => {
                state = verdict.state.clone().or(state);
                PluginAnswer::Verdict(verdict)
            }
            Err(fault) => PluginAnswer::Fault(fault.to_string()),
        };
        world.looked();
        turns.push(ScenarioCall { steps, at, asked: Some(CallInput::Detector(Box::new(input))), said });
    }
    turns
}

/// The dice of one call.
pub(super) fn seed(seed: u64, call: usize) -> u64 {
    dice(seed, call, u32::MAX)
}

/// The time of the newest event not after this.
pub(super) fn until(at: Time) -> impl Fn(&super::world::SampleEvent) -> bool {
    move |event| event.at <= at
}
