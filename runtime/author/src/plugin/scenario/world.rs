//! The service of a scenario and what its probes saw, as the engine would have them.

use std::time::Duration;

use heald_engine::sample_window::{self, SeriesMap};
use heald_model::Window;
use heald_model::{
    Dependency, Fact, Moment, ProbeId, ProbeSpec, Replica, Role, Sample, Series, ServiceName, ServiceView,
};
use serde_json::Value;

use super::form::{ChangeForm, ProbeForm, SampleForm, ScenarioForm, ServiceForm};
use super::maker::{Time, dice};

/// When scenarios begin: 2024-01-01, UTC. A plug-in must not care, and one that does must not see another day in every run.
const BEGIN: Moment = Moment::from_millis(1_704_067_200_000);

/// A point of the scenario's time as plug-ins see it.
pub(super) fn moment(at: Time) -> Moment {
    BEGIN + at.0
}

/// The probes: those written, or one called `http`.
pub(super) fn probes(form: &ScenarioForm) -> Vec<ProbeForm> {
    if form.probe.is_empty() { vec![ProbeForm::default()] } else { form.probe.clone() }
}

/// What is known of the service now.
pub(super) struct World {
    service: ServiceForm,
    probes: Vec<ProbeSpec>,
    seen: SeriesMap,
    kept: usize,
}

impl World {
    /// With nothing seen yet. `window` is what is asked for of the past.
    pub(super) fn of(form: &ScenarioForm, window: Window) -> Self {
        let probes = probes(form).iter().map(spec).collect();
        Self { service: form.service.clone(), probes, seen: SeriesMap::new(), kept: sample_window::kept([window]) }
    }

    /// Something about the service changes.
    pub(super) fn change(&mut self, change: &ChangeForm) {
        let service = &mut self.service;
        service.depends_on.extend(change.depends_on.iter().map(|(name, up)| (name.clone(), *up)));
        service.wanted = change.wanted.unwrap_or(service.wanted);
        service.running = change.running.or(service.running);
        service.ready = change.ready.or(service.ready);
        service.breaker = change.breaker.unwrap_or(service.breaker);
        service.desired = change.desired.unwrap_or(service.desired);
    }

    /// The service as plug-ins are told of it.
    pub(super) fn view(&self) -> ServiceView {
        let service = &self.service;
        let running = service.running.unwrap_or(service.wanted);
        let depends_on = service.depends_on.iter();
        ServiceView {
            name: ServiceName::from(service.name.as_str()),
            tags: service.tags.clone(),
            depends_on: depends_on
                .map(|(name, up)| Dependency { service: ServiceName::from(name.as_str()), up: up.known() })
                .collect(),
            wanted: service.wanted,
            running,
            ready: service.ready.unwrap_or(running),
            breaker: service.breaker,
            metadata: Value::Object(service.metadata.clone()),
            facts: vec![Fact::text("desired", service.desired.to_string())],
        }
    }

    /// Takes a sample in.
    pub(super) fn take_in(&mut self, sample: Sample) {
        sample_window::take_in(&mut self.seen, &self.probes, sample, self.kept);
    }

    /// What a plug-in with this window is shown now.
    pub(super) fn shown(&self, window: Window, remembers: bool, now: Moment) -> Vec<Series> {
        sample_window::shown(self.seen.values(), window, remembers, now)
    }

    /// All of it was looked at.
    pub(super) fn looked(&mut self) {
        sample_window::settle(&mut self.seen);
    }
}

fn spec(probe: &ProbeForm) -> ProbeSpec {
    ProbeSpec {
        id: ProbeId::from(probe.id.as_str()),
        role: probe.role,
        period: probe.period,
        timeout: probe.period,
        failure_threshold: probe.failure_threshold,
        success_threshold: probe.success_threshold,
    }
}

/// One sample of a step, and when.
pub(super) struct SampleEvent {
    pub(super) at: Time,
    pub(super) step: usize,
    /// It is the first of its step.
    pub(super) first: bool,
    pub(super) sample: Sample,
}

/// Every sample of a scenario, in the order in which they are taken.
pub(super) fn events(form: &ScenarioForm) -> Vec<SampleEvent> {
    let probes = probes(form);
    let mut events = Vec::new();
    let mut next = Duration::ZERO;
    for (step, written) in form.sample.iter().enumerate() {
        let written = written.get_ref();
        let named = written.probe.as_ref().and_then(|name| probes.iter().find(|probe| probe.id == *name.get_ref()));
        let Some(probe) = named.or(probes.first()) else { continue };
        let every = written.every.map_or(probe.period, |every| every.0);
        let begin = written.at.map_or(next, |at| at.0);
        for place in 0..written.repeat {
            let at = Time(begin + every * place);
            let sample = sample(form, probe, (step, written), place, at);
            events.push(SampleEvent { at, step, first: place == 0, sample });
        }
        next = begin + every * written.repeat;
    }
    // Stable: what is taken at the same time stays in the order of the file.
    events.sort_by_key(|event| event.at);
    events
}

fn sample(
    form: &ScenarioForm,
    probe: &ProbeForm,
    (step, written): (usize, &SampleForm),
    place: u32,
    at: Time,
) -> Sample {
    let count = written.repeat;
    // Each field has dice of its own, or else processor and memory would be noisy in step.
    let roll = |field: u64| dice(form.seed ^ field, step, place);
    let number = |maker: &Option<super::maker::Maker<f64>>, field| {
        maker.as_ref().and_then(|maker| maker.make(place, count, roll(field)))
    };
    let mut sample =
        Sample::new(ServiceName::from(form.service.name.as_str()), ProbeId::from(probe.id.as_str()), moment(at));
    sample.replica = written.replica.as_deref().map(Replica::from);
    // Numbers of lives and codes are small and whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    {
        sample.incarnation = number(&written.incarnation, 0).map(|number| number.round() as u64);
        sample.status = number(&written.status, 1).map(|number| number.round() as i32);
    }
    let silent = probe.role == Role::Metrics && written.fault.is_none();
    sample.ok = match &written.ok {
        Some(maker) => maker.make(place, count, roll(2)),
        None => (!silent).then_some(written.fault.is_none()),
    };
    if sample.ok == Some(false) {
        sample.fault = written.fault.as_ref().and_then(|maker| maker.make(place, count, roll(3)));
    }
    sample.reported = written.reported.as_ref().and_then(|maker| maker.make(place, count, roll(4)));
    sample.latency = written.latency.as_ref().and_then(|maker| maker.make(place, count, roll(5))).map(|time| time.0);
    sample.cpu = number(&written.cpu, 6);
    sample.memory = number(&written.memory, 7);
    sample.error_rate = number(&written.error_rate, 8);
    let values = written.values.iter().zip(9..);
    sample.values = values
        .filter_map(|((name, maker), field)| Some((name.clone(), maker.make(place, count, roll(field))?)))
        .collect();
    sample
}
