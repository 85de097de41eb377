//! What the engine needs of the world, as traits. Adapters implement them; the daemon plugs them together; the simulation
//! fakes them all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use heald_model::{
    Attempt, Breaker, Decision, Desired, Entry, Experience, Fault, Finding, Health, Incident, Intent, Moment, Offer,
    PluginRef, Receipt, Replica, Row, Sample, Series, ServiceName, ServiceView, Stage,
};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::calls::{Heard, Kept, Settings};
use crate::guard::Permit;

/// How much of the past a plug-in wants to see; 0: no bound. The engine may have less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// At most so many samples of each series.
    pub samples: u32,
    /// None older than this.
    pub span: Duration,
    /// True: the whole window in every call; false: with state, only what is fresh.
    pub sliding: bool,
}

/// A plug-in's memory of a service, or what an undo needs: opaque bytes. Written as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a detector is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The time.
    pub now: Moment,
    /// For its dice.
    pub seed: u64,
    /// The service as it stands.
    pub service: ServiceView,
    /// Every series that is still believed, each with at least its newest sample.
    pub series: Vec<Series>,
    /// Its memory of this service, from its last good call.
    pub state: Option<Blob>,
}

/// What a detector says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All that holds now.
    pub findings: Vec<Finding>,
    /// Numbers worth a chart.
    pub gauges: Vec<(String, f64)>,
    /// Its memory; None: as before.
    pub state: Option<Blob>,
    /// What the host told it meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Heard>,
}

/// A detector, configured for one service.
#[async_trait]
pub trait Detector: Send + Sync {
    /// Which plug-in it is.
    fn plugin(&self) -> &PluginRef;
    /// What it wants to see.
    fn window(&self) -> Window;
    /// The conditions it may report; empty: any.
    fn conditions(&self) -> &[String] {
        &[]
    }
    /// How it is configured.
    fn settings(&self) -> Settings {
        Settings::default()
    }
    /// False: it sees more than its input (a real clock, real dice, files, the network), so that no replay can show it the same.
    fn replayable(&self) -> bool {
        true
    }
    /// Looks.
    async fn evaluate(&self, input: &Observation) -> Result<Verdict, Fault>;
    /// The same, with nothing of it reaching the world: what it asks of the host is answered from the record.
    async fn replayed(&self, input: &Observation, _: &[Heard]) -> Result<Verdict, Fault> {
        self.evaluate(input).await
    }
}

/// What a policy is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The time.
    pub now: Moment,
    /// For its dice.
    pub seed: u64,
    /// The service as it stands.
    pub service: ServiceView,
    /// What the probes saw lately.
    pub series: Vec<Series>,
    /// What to decide about.
    pub incident: Incident,
    /// Attempts in earlier incidents of this service, of the last 24 hours, oldest first.
    pub earlier: Vec<Attempt>,
    /// The incident that explains it, and the others that are open with it.
    pub related: Vec<Incident>,
    /// What can be done.
    pub offers: Vec<Offer>,
    /// What is known of the signature.
    pub experience: Vec<Experience>,
    /// Its memory of this service.
    pub state: Option<Blob>,
}

/// What a policy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What to do.
    pub decision: Decision,
    /// Its memory; None: as before.
    pub state: Option<Blob>,
    /// What the host told it meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<Heard>,
}

/// A policy, configured for one service.
#[async_trait]
pub trait Policy: Send + Sync {
    /// Which plug-in it is.
    fn plugin(&self) -> &PluginRef;
    /// How it is configured.
    fn settings(&self) -> Settings {
        Settings::default()
    }
    /// As [`Detector::replayable`].
    fn replayable(&self) -> bool {
        true
    }
    /// Decides, or passes.
    async fn decide(&self, question: &Question) -> Result<Answer, Fault>;
    /// As [`Detector::replayed`].
    async fn replayed(&self, question: &Question, _: &[Heard]) -> Result<Answer, Fault> {
        self.decide(question).await
    }
}

/// Why an action was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Nobody offers it.
    #[error("unknown action `{0}`")]
    Unknown(String),
    /// Its parameters do not fit.
    #[error("bad parameters: {0}")]
    BadParameters(String),
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
}

/// What can be done, and the doing of it.
#[async_trait]
pub trait Actions: Send + Sync {
    /// What exists for this service.
    fn offers(&self, service: &ServiceName) -> Vec<Offer>;
    /// Does it, once: the permit is used up. The same intent id is never carried out twice by an implementation.
    async fn perform(&self, permit: Permit, incident: Option<&Incident>) -> Result<Receipt, ActionError>;
    /// Takes it back, with what its receipt kept for that. The permit is for the undoing.
    async fn undo(&self, permit: Permit, attempt: &Attempt) -> Result<Receipt, ActionError>;
    /// What became of an intent that was on record when heald died: the receipt, if the effect is known to have happened.
    async fn recall(&self, intent: &Intent) -> Option<Receipt>;
}

/// One supervised process as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessState {
    /// Which copy.
    pub replica: Replica,
    /// Which life of it, counted from 1.
    pub incarnation: u64,
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// When this life began.
    pub started: Moment,
    /// When it ended, if it did.
    pub ended: Option<Moment>,
    /// It ended and is not to run again: a finished job, or `restart = "never"`.
    pub finished: bool,
}

/// The processes heald runs.
pub trait Processes: Send + Sync {
    /// The copies of a service; empty if heald does not run it.
    fn of(&self, service: &ServiceName) -> Vec<ProcessState>;
}

/// The probes.
pub trait Probes: Send + Sync {
    /// Something was done to the service: its circuit goes half-open, and it is looked at at once. With a new incarnation,
    /// failures count only after the first success or the startup deadline.
    fn expect(&self, service: &ServiceName, incarnation: Option<u64>);
    /// The service's circuit.
    fn breaker(&self, service: &ServiceName) -> Breaker;
    /// Stops looking (desired stopped) or looks again.
    fn hold(&self, service: &ServiceName, held: bool);
}

/// How a service's checks went, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// In one word.
    pub health: Health,
    /// When it was last checked.
    pub last_check: Option<Moment>,
    /// How long the last successful check took.
    pub response_time: Option<Duration>,
    /// What the last check said, if it failed.
    pub error: Option<String>,
    /// Failed checks in a row; skipped ones do not count.
    pub consecutive_failures: u32,
    /// Checks made; skipped ones do not count.
    pub total_checks: u64,
    /// Those that passed.
    pub successful_checks: u64,
    /// The circuit.
    pub breaker: Breaker,
    /// The newest metrics: `cpu`, `memory` in percent, `error_rate` 0..1, custom ones.
    pub metrics: std::collections::BTreeMap<String, f64>,
}

/// The state of all checks, and checking on demand.
#[async_trait]
pub trait Board: Send + Sync {
    /// Every service's pulse, by name.
    fn pulses(&self) -> Vec<(ServiceName, Pulse)>;
    /// Checks these services now (None: all), all at the same time, and returns when every check has ended. The timers are not
    /// disturbed; an open circuit is not checked.
    async fn check_now(&self, only: Option<&[ServiceName]>);
    /// The machine's own metrics: `cpu`, `memory`, `disk` in percent. Empty until they were measured once.
    fn host(&self) -> std::collections::BTreeMap<String, f64>;
}

/// What must survive what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of heald. An intent that touches our own processes needs no more: a machine that loses power loses them too.
    Process,
    /// The death of the machine: for effects outside it.
    Machine,
}

/// Why the journal did not take or give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk or the database refused.
    #[error("the journal cannot be used: {0}")]
    Unavailable(String),
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}

/// The append-only record.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Hands entries over, to be written in this order, without waiting for it.
    fn write(&self, entries: Vec<Entry>);
    /// Keeps a call or a piece of the tape for replay, without waiting for it. What cannot be kept is dropped: healing needs
    /// none of it.
    fn keep(&self, kept: Kept);
    /// Writes entries behind all that was handed over before, and returns when they are safe.
    async fn commit(&self, entries: Vec<Entry>, durability: Durability) -> Result<(), JournalError>;
}

/// Which incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentQuery {
    /// Of this service.
    pub service: Option<ServiceName>,
    /// At this stage.
    pub stage: Option<Stage>,
    /// Only those that are not resolved.
    pub open: bool,
    /// At most so many.
    pub limit: u32,
    /// After skipping so many.
    pub offset: u32,
}

/// A part of a longer list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The part.
    pub items: Vec<T>,
    /// How many there are in all.
    pub total: u64,
}

/// What the journal can tell.
#[async_trait]
pub trait History: Send + Sync {
    /// Incidents, newest first.
    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, JournalError>;
    /// One incident with its whole timeline.
    async fn incident(&self, id: heald_model::IncidentId) -> Result<Option<Incident>, JournalError>;
    /// Attempts, newest first, of one service or all.
    async fn attempts(
        &self,
        service: Option<ServiceName>,
        limit: u32,
        offset: u32,
    ) -> Result<Page<Attempt>, JournalError>;
    /// The fix catalog.
    async fn catalog(&self) -> Result<Vec<Experience>, JournalError>;
    /// Rows with a sequence number above `after`, oldest first.
    async fn rows(&self, after: u64, limit: u32) -> Result<Vec<Row>, JournalError>;
    /// The sequence number of the newest row.
    async fn newest(&self) -> Result<u64, JournalError>;
    /// Rows as they are written. A receiver that lags learns so and reads [`History::rows`].
    fn subscribe(&self) -> broadcast::Receiver<Arc<Row>>;
}

/// What the operator wants, kept apart from the journal and durable on its own.
#[async_trait]
pub trait Wishes: Send + Sync {
    /// What is wanted of a service; [`Desired::Running`] when nothing was said.
    fn desired(&self, service: &ServiceName) -> Desired;
    /// Keeps a wish, durably before it returns.
    async fn wish(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError>;
}

/// The time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now; never earlier than it was.
    fn now(&self) -> Moment;
    /// Returns when it is then.
    async fn sleep_until(&self, then: Moment);
}

/// Ids and dice.
pub trait Entropy: Send + Sync {
    /// A new UUIDv7 of this moment.
    fn id(&self, now: Moment) -> Uuid;
    /// 64 random bits.
    fn roll(&self) -> u64;
}

/// Where probes send what they saw.
pub trait SampleSink: Send + Sync {
    /// Hands a sample over, without waiting.
    fn send(&self, sample: Sample);
}

impl SampleSink for tokio::sync::mpsc::UnboundedSender<Sample> {
    fn send(&self, sample: Sample) {
        // Nobody listens any more: whoever probes is about to end.
        let _ = Self::send(self, sample);
    }
}
