//! A scenario as it is written. Every field that is not known is an error, with its line; what is left out has a default.

use std::collections::BTreeMap;
use std::time::Duration;

use heald_model::{Breaker, Desired, Role, Severity, Stage};
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::maker::{Maker, Time};

/// One file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioForm {
    /// What it tells, in a line.
    #[serde(default)]
    pub about: String,
    /// The plug-in's configuration; `--config` goes over it.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// For noise, and for the plug-in's own dice.
    #[serde(default)]
    pub seed: u64,
    /// The service.
    #[serde(default)]
    pub service: ServiceForm,
    /// What is checked; without any, one called `http`.
    #[serde(default)]
    pub probe: Vec<ProbeForm>,
    /// What the probes see.
    #[serde(default)]
    pub sample: Vec<Spanned<SampleForm>>,
    /// What a policy is asked.
    #[serde(default)]
    pub question: Vec<Spanned<QuestionForm>>,
    /// The actions that a policy may choose from.
    #[serde(default)]
    pub offer: Vec<OfferForm>,
    /// What the fix catalog says.
    #[serde(default)]
    pub experience: Vec<ExperienceForm>,
    /// Other incidents that are open.
    #[serde(default)]
    pub related: Vec<RelatedForm>,
    /// What an action is told to do.
    #[serde(default)]
    pub task: Vec<Spanned<TaskForm>>,
    /// What must hold of the scenario as a whole.
    #[serde(default)]
    pub expect: Vec<Spanned<ExpectForm>>,
}

/// `[service]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceForm {
    /// Its name.
    pub name: String,
    /// The operator's tags.
    pub tags: Vec<String>,
    /// What it needs, and whether that serves: `{ db = "down" }`.
    pub depends_on: BTreeMap<String, Serving>,
    /// Copies that are wanted.
    pub wanted: u32,
    /// Copies that run; as many as wanted if left out.
    pub running: Option<u32>,
    /// Copies that are ready; as many as run if left out.
    pub ready: Option<u32>,
    /// Its circuit.
    pub breaker: Breaker,
    /// What the operator wants of it.
    pub desired: Desired,
    /// The operator's own object.
    pub metadata: Map<String, Value>,
}

impl Default for ServiceForm {
    fn default() -> Self {
        Self {
            name: "web".into(),
            tags: Vec::new(),
            depends_on: BTreeMap::new(),
            wanted: 1,
            running: None,
            ready: None,
            breaker: Breaker::Closed,
            desired: Desired::Running,
            metadata: Map::new(),
        }
    }
}

/// What changes of the service at a step, and stays so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeForm {
    /// These of what it needs.
    pub depends_on: BTreeMap<String, Serving>,
    /// Copies that are wanted.
    pub wanted: Option<u32>,
    /// Copies that run.
    pub running: Option<u32>,
    /// Copies that are ready.
    pub ready: Option<u32>,
    /// Its circuit.
    pub breaker: Option<Breaker>,
    /// What the operator wants of it.
    pub desired: Option<Desired>,
}

/// Whether a service serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// Nobody knows.
    Unknown,
}

impl Serving {
    /// As the engine says it.
    pub fn known(self) -> Option<bool> {
        match self {
            Self::Up => Some(true),
            Self::Down => Some(false),
            Self::Unknown => None,
        }
    }
}

/// `[[probe]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeForm {
    /// Its name.
    pub id: String,
    /// What its verdict is for.
    pub role: Role,
    /// How often it looks.
    #[serde(with = "heald_model::time::text")]
    pub period: Duration,
    /// Failures in a row that make a change.
    pub failure_threshold: u32,
    /// Successes in a row that make a change.
    pub success_threshold: u32,
}

impl Default for ProbeForm {
    fn default() -> Self {
        // As the default configuration has them.
        let period = Duration::from_secs(1);
        Self { id: "http".into(), role: Role::Liveness, period, failure_threshold: 3, success_threshold: 1 }
    }
}

/// `[[sample]]`: one or many samples of one probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleForm {
    /// When the first is taken; one period after the step before if left out.
    #[serde(default)]
    pub at: Option<Time>,
    /// From one to the next; the probe's period if left out.
    #[serde(default)]
    pub every: Option<Time>,
    /// How many.
    #[serde(default = "once")]
    pub repeat: u32,
    /// Of which probe; the first if left out.
    #[serde(default)]
    pub probe: Option<Spanned<String>>,
    /// Of which copy.
    #[serde(default)]
    pub replica: Option<String>,
    /// Which life of the process was seen, counted from 1.
    #[serde(default)]
    pub incarnation: Option<Maker<f64>>,
    /// Whether the check passed. Left out, it did, unless there is a `fault`; a probe that only measures has no verdict.
    #[serde(default)]
    pub ok: Option<Maker<bool>>,
    /// Why it did not pass; of samples that passed it is not said.
    #[serde(default)]
    pub fault: Option<Maker<String>>,
    /// The service's own word.
    #[serde(default)]
    pub reported: Option<Maker<String>>,
    /// How long the check took.
    #[serde(default)]
    pub latency: Option<Maker<Time>>,
    /// HTTP or gRPC status, or exit code.
    #[serde(default)]
    pub status: Option<Maker<f64>>,
    /// Percent.
    #[serde(default)]
    pub cpu: Option<Maker<f64>>,
    /// Percent.
    #[serde(default)]
    pub memory: Option<Maker<f64>>,
    /// 0..1.
    #[serde(default)]
    pub error_rate: Option<Maker<f64>>,
    /// Custom metrics.
    #[serde(default)]
    pub values: BTreeMap<String, Maker<f64>>,
    /// What changes of the service with the first sample.
    #[serde(default)]
    pub service: ChangeForm,
    /// The plug-in's memory is lost before the first sample, as it can be at any time.
    #[serde(default)]
    pub forget: bool,
    /// What must hold of this step.
    #[serde(default)]
    pub expect: Vec<Spanned<ExpectForm>>,
}

fn once() -> u32 {
    1
}

/// `[[question]]`: a policy is asked about the incident as it stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuestionForm {
    /// When; `every` after the step before if left out.
    #[serde(default)]
    pub at: Option<Time>,
    /// From one question to the next; 10 s if left out.
    #[serde(default)]
    pub every: Option<Time>,
    /// How many.
    #[serde(default = "once")]
    pub repeat: u32,
    /// What holds from now on; as before if left out.
    #[serde(default)]
    pub findings: Option<Vec<FindingForm>>,
    /// What became of what the answer before asked for, if it asked for anything.
    #[serde(default)]
    pub outcome: Option<OutcomeWord>,
    /// What was tried beside that.
    #[serde(default)]
    pub tried: Vec<TriedForm>,
    /// Offers that the guard would refuse now, and why.
    #[serde(default)]
    pub blocked: BTreeMap<String, String>,
    /// Where the incident stands; as the story has it if left out.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// What changes of the service.
    #[serde(default)]
    pub service: ChangeForm,
    /// The plug-in's memory is lost before.
    #[serde(default)]
    pub forget: bool,
    /// What must hold of the answers.
    #[serde(default)]
    pub expect: Vec<Spanned<ExpectForm>>,
}

/// A finding that holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingForm {
    /// What.
    pub condition: String,
    /// Of what within the service.
    #[serde(default)]
    pub subject: Option<String>,
    /// How bad.
    #[serde(default = "error")]
    pub severity: Severity,
    /// How sure.
    #[serde(default = "sure")]
    pub score: f64,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// The facts behind it.
    #[serde(default)]
    pub evidence: BTreeMap<String, heald_model::Scalar>,
}

fn error() -> Severity {
    Severity::Error
}

fn sure() -> f64 {
    1.0
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeWord {
    /// The finding went.
    Healed,
    /// It still holds.
    NotHealed,
    /// It is worse than before.
    Worse,
    /// No probe could tell.
    Unknown,
    /// The action itself failed.
    Failed,
    /// The guard withheld it.
    Withheld,
}

/// Something that was tried.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriedForm {
    /// What.
    pub action: String,
    /// How it ended.
    pub outcome: OutcomeWord,
    /// How long before the question.
    #[serde(default)]
    pub ago: Time,
    /// In an earlier incident of the service.
    #[serde(default)]
    pub earlier: bool,
}

/// `[[offer]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferForm {
    /// The action.
    pub action: String,
    /// One line on it.
    #[serde(default)]
    pub summary: String,
    /// Touches the service.
    #[serde(default = "yes")]
    pub disruptive: bool,
    /// Can be taken back.
    #[serde(default)]
    pub undoable: bool,
    /// Why the guard would refuse it, at every question.
    #[serde(default)]
    pub blocked: Option<String>,
    /// JSON Schema of its parameters.
    #[serde(default)]
    pub parameters: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// `[[experience]]`: a line of the fix catalog.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperienceForm {
    /// The action.
    pub action: String,
    /// How often it was tried.
    pub tries: u32,
    /// How often it healed.
    pub successes: u32,
    /// What was wrong; the incident's signature if left out.
    #[serde(default)]
    pub signature: Option<String>,
    /// Of this service alone, not of all.
    #[serde(default)]
    pub here: bool,
    /// Mean time to recover.
    #[serde(default)]
    pub recovery: Option<Time>,
}

/// `[[related]]`: another incident that is open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelatedForm {
    /// Of which service.
    pub service: String,
    /// What.
    pub condition: String,
    /// It explains this one.
    #[serde(default)]
    pub cause: bool,
}

/// What an action is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Could it be done?
    Check,
    /// Do it.
    #[default]
    Perform,
    /// Take the last one back.
    Undo,
}

/// `[[task]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskForm {
    /// Which action.
    pub action: String,
    /// What of it.
    #[serde(default, rename = "do")]
    pub deed: TaskKind,
    /// With what.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// When; a second after the step before if left out.
    #[serde(default)]
    pub at: Option<Time>,
    /// What changes of the service.
    #[serde(default)]
    pub service: ChangeForm,
    /// What must hold; without any, that it is done.
    #[serde(default)]
    pub expect: Vec<Spanned<ExpectForm>>,
}

/// `[[expect]]`, `[[sample.expect]]`, `[[question.expect]]`, `[[task.expect]]`. It is about one of: a finding, a gauge, a decision, or
/// (of a task) whether it is done.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectForm {
    /// A finding of this condition, or of one of these; `"*"` is any.
    pub finding: Option<OneOrMore>,
    /// A gauge of this name.
    pub gauge: Option<String>,
    /// A decision for this action, or for one of these; or `no-action`, `escalate`, `pass`; `"*"` is any action.
    pub decides: Option<OneOrMore>,
    /// Whether the task is done.
    pub done: Option<bool>,
    /// When it must hold; at the end if left out.
    pub holds: Option<Holds>,
    /// It must hold for the first time between these.
    pub first: Option<[Time; 2]>,
    /// The finding's subject.
    pub subject: Option<String>,
    /// The finding's severity.
    pub severity: Option<Severity>,
    /// Or at least this.
    pub at_least: Option<Severity>,
    /// Bounds of the finding's score.
    pub score: Option<[f64; 2]>,
    /// Bounds of the gauge.
    pub between: Option<[f64; 2]>,
    /// Bounds of the decision's confidence.
    pub confidence: Option<[f64; 2]>,
    /// The parameters it asks for; it may ask for more.
    pub parameters: Option<Map<String, Value>>,
    /// What it weighed as well.
    pub considers: Option<OneOrMore>,
    /// Words in its message, reason, summary or failure.
    pub says: Option<String>,
    /// Facts in the evidence, the decision, the plan or the receipt; there may be more.
    pub facts: BTreeMap<String, heald_model::Scalar>,
    /// Whether the receipt claims a change.
    pub changed: Option<bool>,
    /// Whether the receipt can be undone.
    pub undoable: Option<bool>,
}

/// A word, or a list of them of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a word, or a list of words")]
pub enum OneOrMore {
    /// This.
    One(String),
    /// One of these.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub fn words(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::More(words) => words,
        }
    }
}

/// When something must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// After the last one.
    #[default]
    AtEnd,
    /// Not after the last one.
    NotAtEnd,
    /// After each one.
    Always,
    /// After one at least.
    Ever,
    /// After none.
    Never,
}
