//! What people and programs ask of the healer, and what plug-ins would make of some metrics. An operator's order goes through
//! the same guard and the same record as heald's own decisions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use heald_model::{
    Choice, Class, Decision, Desired, Ending, Entry, Finding, Incident, IncidentId, Moment, Offer, Outcome, ProbeId,
    Proposal, Record, Role, Sample, Series, ServiceName, ServiceView, Severity, Signature, Source, Stage,
};
use serde_json::{Value, json};

use crate::control::{Consult, ConsultError, Consultation, Control, Done, Metrics, Order, OrderError, ServiceStatus};
use crate::guard::{self, Judgement};
use crate::heal::Healer;
use crate::native;
use crate::ports::{ActionError, Clock, Detector, Entropy, Observation, Policy, Question};
use crate::ward::Ward;

/// An action in flight ends within its verify window; who waits for a wish to be seen to should not wait that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits for a moment, not for a turn, is asked about again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// The running healer with the board of its checks: all that [`Control`] needs.
#[async_trait]
impl Control for Arc<Healer> {
    fn services(&self) -> Vec<ServiceStatus> {
        self.wards.values().map(|ward| self.status(ward)).collect()
    }

    fn offers(&self) -> Vec<(ServiceName, Offer)> {
        let of = |service: &ServiceName| self.ports.actions.offers(service).into_iter();
        self.wards.keys().flat_map(|service| of(service).map(|offer| (service.clone(), offer))).collect()
    }

    async fn order(&self, order: Order) -> Result<Done, OrderError> {
        let (healer, source) = (Arc::clone(self), Source::Operator(order.by.clone()));
        see_through(async move { healer.order_as(order, source).await }).await
    }

    async fn wish(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        let (healer, service, by) = (Arc::clone(self), service.clone(), by.to_owned());
        see_through(async move { healer.wish_now(&service, desired, &by).await }).await
    }

    fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        let ward = self.ward(service)?;
        let (now, record) = (self.now(), Record::Reset { by: by.to_owned() });
        let open: Vec<IncidentId> = ward.lock().open().into_iter().map(|incident| incident.id).collect();
        let entries = match open.as_slice() {
            [] => vec![Entry::of_service(now, service.clone(), record)],
            open => open.iter().map(|id| Entry::of_incident(now, service.clone(), *id, record.clone())).collect(),
        };
        self.record(&ward, entries);
        self.take_turn();
        Ok(())
    }

    fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        let ward = self.ward(service)?;
        let Some(incident) = ward.leading() else {
            return Err(OrderError::NothingToDo(format!("{service} has no open incident to approve an action for")));
        };
        ward.lock().approved = Some(incident.id);
        let record = Record::Note { text: format!("operator {by} approved the next action") };
        self.record(&ward, vec![Entry::of_incident(self.now(), service.clone(), incident.id, record)]);
        self.take_turn();
        Ok(())
    }

    fn halt(&self, halted: bool, by: &str) {
        let word = if halted { "stopped" } else { "resumed" };
        tracing::warn!("{by} {word} all healing");
        let record = Record::Note { text: format!("{by} {word} all healing") };
        self.journal(vec![Entry::of_heald(self.now(), record)]);
        self.halt_all(halted);
    }

    fn halted(&self) -> bool {
        self.is_halted()
    }
}

/// Runs what was begun to its end, even if whoever asked goes away meanwhile: half an action is worse than none.
async fn see_through<T: Send + 'static>(
    work: impl Future<Output = Result<T, OrderError>> + Send + 'static,
) -> Result<T, OrderError> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(OrderError::Failed(error.to_string())))
}

impl Healer {
    async fn order_as(self: &Arc<Self>, order: Order, source: Source) -> Result<Done, OrderError> {
        let ward = self.ward(&order.service)?;
        let offers = self.ports.actions.offers(&order.service);
        if !offers.iter().any(|offer| offer.action.name == order.action) {
            tracing::error!(service = %order.service, "Unknown action received: {}", order.action);
            let offered = offers.into_iter().map(|offer| offer.action.name).collect();
            return Err(OrderError::NoAction { action: order.action, offered });
        }
        let parameters = if order.parameters.is_null() { json!({}) } else { order.parameters };
        let proposal = Proposal { action: order.action, parameters, verify_within: None };
        let incident = ward.leading();
        let intent = self.intent(&ward, incident.as_ref(), &proposal, source);
        let permit = match self.judge(&ward, incident.as_ref(), intent) {
            Judgement::Admit(permit) => permit,
            Judgement::Hold(hold) => return Err(OrderError::Withheld { rule: hold.rule.to_owned(), why: hold.why }),
        };
        let intent = permit.intent().clone();
        if self.intend(&ward, &permit).await.is_err() {
            let why = "the journal cannot be written".to_owned();
            return Err(OrderError::Withheld { rule: "journal".to_owned(), why });
        }
        let receipt = self.perform(&ward, permit).await.map_err(|error| match error {
            ActionError::Unknown(action) => OrderError::NoAction { action, offered: Vec::new() },
            ActionError::BadParameters(why) => OrderError::BadParameters(why),
            ActionError::Failed(why) => OrderError::Failed(why),
        })?;
        let done = Done { intent: intent.clone(), summary: receipt.summary.clone(), outcome: None };
        if intent.class == Class::Message || self.desired(&ward) == Desired::Stopped {
            self.settle(&ward, &intent, Ending::Verified(Outcome::Unknown));
            return Ok(done);
        }
        let healer = Arc::clone(self);
        // The proof comes from samples, in its own time; whoever asked need not wait for it.
        tokio::spawn(async move { healer.verify(&ward, &intent, Some(&receipt)).await });
        Ok(done)
    }

    async fn wish_now(self: &Arc<Self>, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        let ward = self.ward(service)?;
        let before = self.ports.wishes.desired(service);
        self.ports.wishes.wish(service, desired).await?;
        let record = Record::DesiredChanged { desired, by: by.to_owned() };
        self.journal(vec![Entry::of_service(self.now(), service.clone(), record)]);
        tracing::info!(service = %service, "{by} wants it {desired}");
        self.ports.probes.hold(service, desired == Desired::Stopped);
        let action = match (before, desired) {
            (_, Desired::Stopped) => Some("stop"),
            (Desired::Stopped, Desired::Running) => Some("start"),
            // What ended for good, or waits out a back-off, is started on the operator's word.
            (Desired::Running, Desired::Running) if self.has_died(&ward) || self.has_finished(&ward) => Some("start"),
            _ => None,
        };
        ward.ring();
        if let Some(action) = action.filter(|_| ward.spec.supervised) {
            let order =
                Order { service: service.clone(), action: action.into(), parameters: Value::Null, by: by.to_owned() };
            self.order_in_turn(order, Source::Operator(by.to_owned()), Some(PATIENCE)).await?;
        }
        if desired == Desired::Stopped {
            self.rest_in_peace(&ward);
        }
        ward.ring();
        self.take_turn();
        Ok(())
    }

    /// Replaces one copy that lost its output or runs with an old configuration: heald's own order, under every rule. What the
    /// guard makes wait is asked again, for as long as it takes.
    ///
    /// # Errors
    /// When the service or the action is not there, or the restart fails.
    pub async fn replace(self: &Arc<Self>, service: &ServiceName, replica: u32) -> Result<Done, OrderError> {
        let parameters = json!({ "replica": replica });
        let order = Order { service: service.clone(), action: "restart".into(), parameters, by: String::new() };
        self.order_in_turn(order, Source::Native, None).await
    }

    /// Sees to what was wanted when heald was last there: what is to be stopped has no open incidents.
    pub(crate) fn lay_to_rest(&self) {
        for ward in self.wards.values().filter(|ward| self.desired(ward) == Desired::Stopped) {
            self.rest_in_peace(ward);
        }
    }

    /// Carries an order out when its turn comes: behind the action in flight for its service, a place in a budget, an operator's
    /// pause. With a limit to the patience only the first is waited for.
    async fn order_in_turn(
        self: &Arc<Self>,
        order: Order,
        source: Source,
        patience: Option<Duration>,
    ) -> Result<Done, OrderError> {
        let deadline = patience.map_or(Moment::NEVER, |patience| self.now() + patience);
        let mut turn = self.turn.subscribe();
        loop {
            turn.mark_unchanged();
            match self.order_as(order.clone(), source.clone()).await {
                Err(OrderError::Withheld { rule, .. })
                    if (patience.is_none() || rule == guard::IN_FLIGHT) && self.now() < deadline => {}
                result => return result,
            }
            let soon = self.now() + AGAIN;
            tokio::select! {
                biased;
                _ = turn.changed() => {}
                () = self.ports.clock.sleep_until(deadline.min(soon)) => {}
            }
        }
    }

    fn ward(&self, service: &ServiceName) -> Result<Arc<Ward>, OrderError> {
        self.wards.get(service).cloned().ok_or_else(|| OrderError::NoService(service.clone()))
    }

    fn status(&self, ward: &Ward) -> ServiceStatus {
        let incidents = ward.lock().open().into_iter().map(|incident| incident.id).collect();
        ServiceStatus {
            name: ward.spec.name.clone(),
            up: ward.up(),
            breaker: self.ports.probes.breaker(&ward.spec.name),
            desired: self.desired(ward),
            mode: ward.spec.mode,
            processes: self.ports.processes.of(&ward.spec.name),
            incidents,
            depends_on: ward.spec.depends_on.clone(),
            tags: ward.spec.tags.clone(),
        }
    }

    /// What is to be stopped is not down: its incidents end.
    fn rest_in_peace(&self, ward: &Ward) {
        let now = self.now();
        let entries: Vec<Entry> = ward
            .lock()
            .open()
            .iter()
            .filter(|incident| incident.unsettled().is_none())
            .map(|incident| {
                let record = Record::Staged { stage: Stage::Resolved, why: "an operator wants it stopped".into() };
                Entry::of_incident(now, ward.spec.name.clone(), incident.id, record)
            })
            .collect();
        self.record(ward, entries);
    }
}

/// Which plug-ins a consultation asks.
pub struct Profile {
    /// All of them.
    pub detectors: Vec<Arc<dyn Detector>>,
    /// In this order.
    pub policies: Vec<Arc<dyn Policy>>,
}

/// The plug-ins, asked about metrics that somebody sends. Needs no running healer.
pub struct Consultants {
    profiles: RwLock<BTreeMap<String, Arc<Profile>>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Consultants {
    /// Consultants with these profiles.
    pub fn new(profiles: BTreeMap<String, Profile>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let profiles = profiles.into_iter().map(|(name, profile)| (name, Arc::new(profile))).collect();
        Self { profiles: RwLock::new(profiles), clock, entropy }
    }

    /// From now on others are asked.
    pub fn recast(&self, profiles: BTreeMap<String, Profile>) {
        let profiles = profiles.into_iter().map(|(name, profile)| (name, Arc::new(profile))).collect();
        *self.profiles.write().unwrap_or_else(PoisonError::into_inner) = profiles;
    }

    fn profile(&self, name: &str) -> Result<Arc<Profile>, ConsultError> {
        let profiles = self.profiles.read().unwrap_or_else(PoisonError::into_inner);
        let known = || ConsultError::NoProfile { name: name.to_owned(), known: profiles.keys().cloned().collect() };
        profiles.get(name).cloned().ok_or_else(known)
    }
}

#[async_trait]
impl Consult for Consultants {
    async fn consult(&self, profile: &str, metrics: Metrics) -> Result<Consultation, ConsultError> {
        let asked = self.profile(profile)?;
        let now = self.clock.now();
        let service = subject(profile);
        let series = vec![snapshot(&service.name, metrics, now)];
        let mut findings: Vec<Finding> = Vec::new();
        let mut unanswered = asked.detectors.is_empty();
        for detector in &asked.detectors {
            let (series, service) = (series.clone(), service.clone());
            let input = Observation { now, seed: self.entropy.roll(), service, series, state: None };
            match detector.evaluate(&input).await {
                Ok(verdict) => findings.extend(verdict.findings),
                Err(fault) => {
                    tracing::warn!(plugin = %detector.plugin(), "{fault}; the native rules answer");
                    unanswered = true;
                }
            }
        }
        if unanswered {
            findings.extend(native::detect(&series));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let question = question(now, self.entropy.roll(), service, series, &findings);
        for policy in &asked.policies {
            match policy.decide(&question).await {
                Ok(answer) if answer.decision.choice != Choice::Pass => {
                    return Ok(Consultation { findings, decision: answer.decision });
                }
                Ok(_) => {}
                Err(fault) => tracing::warn!(plugin = %policy.plugin(), "{fault}; the next one answers"),
            }
        }
        Ok(Consultation { findings, decision: nothing() })
    }
}

/// When nobody has an answer, nothing is done: the safe end of a chain that acts on no service of ours.
fn nothing() -> Decision {
    Decision {
        choice: Choice::NoAction,
        confidence: 1.0,
        reason: "no policy asks for an action".into(),
        considered: Vec::new(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Native,
    }
}

fn subject(profile: &str) -> ServiceView {
    ServiceView {
        name: ServiceName::from(profile),
        tags: Vec::new(),
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: heald_model::Breaker::Closed,
        metadata: json!({}),
        facts: Vec::new(),
    }
}

fn snapshot(service: &ServiceName, metrics: Metrics, now: Moment) -> Series {
    let mut sample = Sample::new(service.clone(), ProbeId::from("snapshot"), now);
    // The words of a service for itself: what is not plainly well is not.
    let word = metrics.reported.as_deref().map(str::to_ascii_uppercase);
    sample.ok = word.as_deref().map(|word| matches!(word, "UP" | "OK" | "HEALTHY" | "ONLINE" | "PASS" | "DEGRADED"));
    sample.fault = (sample.ok == Some(false)).then(|| "body".to_owned());
    sample.reported = metrics.reported;
    for (name, value) in metrics.values {
        match name.as_str() {
            "cpu" => sample.cpu = Some(value),
            "memory" => sample.memory = Some(value),
            "error_rate" => sample.error_rate = Some(value),
            "latency_ms" => sample.latency = Duration::try_from_secs_f64(value / 1_000.0).ok(),
            _ => {
                sample.values.insert(name, value);
            }
        }
    }
    Series {
        probe: ProbeId::from("snapshot"),
        role: if sample.ok.is_some() { Role::Liveness } else { Role::Metrics },
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 1,
        success_threshold: 1,
        samples: VecDeque::from([sample]),
        fresh: 1,
    }
}

fn question(now: Moment, seed: u64, service: ServiceView, series: Vec<Series>, findings: &[Finding]) -> Question {
    let concern =
        |finding: &Finding| heald_model::Concern { finding: finding.clone(), source: Source::Native, since: now };
    let leading = findings.first();
    let incident = Incident {
        id: IncidentId(uuid::Uuid::nil()),
        service: service.name.clone(),
        condition: leading.map_or_else(|| "none".to_owned(), |finding| finding.condition.clone()),
        signature: leading.map_or_else(|| Signature::from("none"), Finding::signature),
        severity: leading.map_or(Severity::Info, |finding| finding.severity),
        stage: Stage::Opened,
        opened: now,
        updated: now,
        resolved: None,
        reopened: 0,
        parent: None,
        concerns: findings.iter().map(concern).collect(),
        attempts: Vec::new(),
        reset: None,
        held: None,
        timeline: Vec::new(),
    };
    Question {
        now,
        seed,
        service,
        series,
        incident,
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: Vec::new(),
        state: None,
    }
}
