//! What the engine needs of the world, as traits. Adapters implement them; the daemon plugs them together; the simulation
//! fakes them all.

use async_trait::async_trait;
use heald_model::{
    Answer, Attempt, Breaker, Desired, Entry, Fault, HostCall, Incident, Intent, JournalError, Moment, Observation,
    Offer, PluginRef, PluginSettings, ProcessState, Question, Receipt, Recording, Sample, ServiceName, Verdict, Window,
};
use uuid::Uuid;

use crate::guard::Permit;

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
    fn settings(&self) -> PluginSettings {
        PluginSettings::default()
    }
    /// False: it sees more than its input (a real clock, real dice, files, the network), so that no replay can show it the same.
    fn replayable(&self) -> bool {
        true
    }
    /// Looks.
    async fn evaluate(&self, input: &Observation) -> Result<Verdict, Fault>;
    /// The same, with nothing of it reaching the world: what it asks of the host is answered from the record.
    async fn replayed(&self, input: &Observation, _: &[HostCall]) -> Result<Verdict, Fault> {
        self.evaluate(input).await
    }
}

/// A policy, configured for one service.
#[async_trait]
pub trait Policy: Send + Sync {
    /// Which plug-in it is.
    fn plugin(&self) -> &PluginRef;
    /// How it is configured.
    fn settings(&self) -> PluginSettings {
        PluginSettings::default()
    }
    /// As [`Detector::replayable`].
    fn replayable(&self) -> bool {
        true
    }
    /// Decides, or passes.
    async fn decide(&self, question: &Question) -> Result<Answer, Fault>;
    /// As [`Detector::replayed`].
    async fn replayed(&self, question: &Question, _: &[HostCall]) -> Result<Answer, Fault> {
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

/// What must survive what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of heald. An intent that touches our own processes needs no more: a machine that loses power loses them too.
    Process,
    /// The death of the machine: for effects outside it.
    Machine,
}

/// The append-only record.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Hands entries over, to be written in this order, without waiting for it.
    fn write(&self, entries: Vec<Entry>);
    /// Keeps a call or a piece of the tape for replay, without waiting for it. What cannot be kept is dropped: healing needs
    /// none of it.
    fn keep(&self, kept: Recording);
    /// Writes entries behind all that was handed over before, and returns when they are safe.
    async fn commit(&self, entries: Vec<Entry>, durability: Durability) -> Result<(), JournalError>;
}

/// What the operator wants, kept apart from the journal and durable on its own.
#[async_trait]
pub trait DesiredStates: Send + Sync {
    /// What is wanted of a service; [`Desired::Running`] when nothing was said.
    fn desired(&self, service: &ServiceName) -> Desired;
    /// Whether all healing is halted. Where that cannot be read, it is.
    fn halted(&self) -> bool;
    /// Halts or resumes all healing, durably before it returns.
    async fn set_halted(&self, halted: bool) -> Result<(), JournalError>;
    /// Sets what is wanted, durably before it returns.
    async fn set_desired(&self, service: &ServiceName, desired: Desired) -> Result<(), JournalError>;
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
