//! The plug-ins, asked about metrics that somebody sends. Needs no running healer; nothing is done and nothing is journalled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use heald_model::{
    Choice, Decision, Finding, Incident, IncidentId, Moment, ProbeId, Role, Sample, Series, ServiceName, ServiceSpec,
    ServiceView, Severity, Signature, Source, Stage,
};
use serde_json::json;

use heald_control::{Consult, ConsultError, Consultation, Metrics};
use heald_engine::ports::{Clock, Detector, Entropy, Policy};
use heald_engine::{PluginChain, native};
use heald_model::{Observation, Question};

/// Which plug-ins a consultation asks.
pub struct Profile {
    /// All of them.
    pub detectors: Vec<Arc<dyn Detector>>,
    /// In this order.
    pub policies: Vec<Arc<dyn Policy>>,
    /// The service as they are shown it; None: one that has nothing but the profile's name.
    pub service: Option<ServiceView>,
}

impl Profile {
    /// What is asked about a service.
    pub fn of(chain: &PluginChain, spec: &ServiceSpec) -> Self {
        let service = ServiceView {
            tags: spec.tags.clone(),
            wanted: spec.replicas,
            running: spec.replicas,
            ready: spec.replicas,
            metadata: spec.metadata.clone(),
            ..subject(spec.name.as_str())
        };
        let detectors = chain.detectors.iter().filter(|slot| slot.is_active()).map(|slot| Arc::clone(&slot.plugin));
        let policies = chain.policies.iter().filter(|slot| slot.is_active()).map(|slot| Arc::clone(&slot.plugin));
        Self { detectors: detectors.collect(), policies: policies.collect(), service: Some(service) }
    }
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
        let service = asked.service.clone().unwrap_or_else(|| subject(profile));
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
        last_concern: None,
        reset: None,
        helped: None,
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
