//! Scenarios: what a plug-in is shown over a stretch of virtual time, and what it must make of that.
//!
//! A scenario is a TOML file. Its `[[sample]]` steps are for detectors, its `[[question]]` steps for policies, its `[[task]]`
//! steps for actions; a file may have all three, and a plug-in plays the parts of its roles. It is shown what the engine would
//! show it, by the same host, and keeps its state from call to call as it would in the loop.
//!
//! | file | |
//! |---|---|
//! | `form` | a scenario as it is written |
//! | `maker` | values that change from sample to sample |
//! | `check` | what of it makes no sense |
//! | `world` | the service and its series, as the engine would have them |
//! | `samples`, `questions`, `tasks` | the parts, played |
//! | `judge` | what was said against what was expected |
//!
//! There is no clock here, no journal and no guard: a scenario of ten minutes takes milliseconds, and nothing happens to anybody,
//! but what an action that is granted something does with it.

mod check;
mod form;
mod judge;
mod maker;
mod questions;
mod samples;
mod tasks;
mod world;

use std::path::Path;

use heald_host::{Plan, PluginRole};
use heald_model::CallInput;
use heald_model::Receipt;
use heald_model::{Answer, Verdict};

pub use form::ScenarioForm;
pub use judge::Judged;
pub use maker::Time;
pub use questions::play as play_questions;
pub use samples::play as play_samples;
pub use tasks::play as play_tasks;
pub use tasks::{TaskInput, task_inputs};

/// Those in the binary, by name.
const SHIPPED: [(&str, &str); 4] = [
    ("crash-loop", include_str!("../../../../../sdk/scenarios/crash-loop.toml")),
    ("dependency-down", include_str!("../../../../../sdk/scenarios/dependency-down.toml")),
    ("flap", include_str!("../../../../../sdk/scenarios/flap.toml")),
    ("slow-burn", include_str!("../../../../../sdk/scenarios/slow-burn.toml")),
];

/// One scenario, read and found to make sense.
#[derive(Clone, Debug)]
pub struct CheckedScenario {
    /// The name of its file, or of the one in the binary.
    pub name: String,
    /// What it says.
    pub form: ScenarioForm,
    lines: LineStarts,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// None of that name is in the binary.
    #[error("no scenario is named `{name}`; there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Its file cannot be read.
    #[error("cannot read the scenario {name}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no scenario.
    #[error("{name}: {}", .why.trim_end())]
    Form {
        /// The file.
        name: String,
        /// Where and why.
        why: String,
    },
    /// It is one, and makes no sense.
    #[error("{}", .problems.join("\n"))]
    Sense {
        /// Each with its line.
        problems: Vec<String>,
    },
}

impl CheckedScenario {
    /// From a file.
    ///
    /// # Errors
    /// When it cannot be read, is no scenario, or makes no sense.
    pub fn open(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::read(&name, &text),
            Err(source) => Err(ScenarioError::Read { name, source }),
        }
    }

    /// One of those in the binary.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn shipped(name: &str) -> Result<Self, ScenarioError> {
        match SHIPPED.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Self::read(name, text),
            None => {
                let known = SHIPPED.map(|(known, _)| known).join(", ");
                Err(ScenarioError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// From text.
    ///
    /// # Errors
    /// When it is no scenario, or makes no sense.
    pub fn read(name: &str, text: &str) -> Result<Self, ScenarioError> {
        let form: ScenarioForm = toml::from_str(text)
            .map_err(|error| ScenarioError::Form { name: name.to_owned(), why: error.to_string() })?;
        let lines = LineStarts::of(text);
        let problems = check::problems(&form);
        if problems.is_empty() {
            return Ok(Self { name: name.to_owned(), form, lines });
        }
        let told = problems.into_iter().map(|(at, what)| format!("{name}, line {}: {what}", lines.at(at)));
        Err(ScenarioError::Sense { problems: told.collect() })
    }

    /// The roles it has a part for.
    pub fn roles(&self) -> Vec<PluginRole> {
        let ScenarioForm { sample, question, task, .. } = &self.form;
        let asks_samples = !sample.is_empty() && question.is_empty();
        // Samples before questions are what the policy is shown; a detector plays them too.
        let parts = [
            (
                PluginRole::Detector,
                asks_samples || sample.iter().any(|step| !step.get_ref().expect.is_empty()) || self.expects_findings(),
            ),
            (PluginRole::Policy, !question.is_empty()),
            (PluginRole::Action, !task.is_empty()),
        ];
        parts.into_iter().filter(|(_, asked)| *asked).map(|(role, _)| role).collect()
    }

    fn expects_findings(&self) -> bool {
        let about = |expect: &form::ExpectForm| expect.finding.is_some() || expect.gauge.is_some();
        !self.form.sample.is_empty() && self.form.expect.iter().any(|expect| about(expect.get_ref()))
    }

    /// What must hold, held against what was said by a plug-in in this role.
    pub fn judge(&self, role: PluginRole, turns: &[ScenarioCall]) -> Vec<Judged> {
        judge::judge(self, role, turns)
    }

    /// The line of a byte of the file, counted from 1.
    fn line(&self, at: usize) -> usize {
        self.lines.at(at)
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at + 1).collect())
    }

    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|begin| *begin <= byte) + 1
    }
}

/// One call, and what came of it.
#[derive(Clone, Debug)]
pub struct ScenarioCall {
    /// The steps it belongs to, by their places in the file.
    pub steps: Vec<usize>,
    /// When, from the beginning of the scenario.
    pub at: Time,
    /// What it was asked; None: it was given a task.
    pub asked: Option<CallInput>,
    /// What it said.
    pub said: PluginAnswer,
}

/// What a plug-in said.
#[derive(Clone, Debug)]
pub enum PluginAnswer {
    /// A detector.
    Verdict(Verdict),
    /// A policy.
    Answer(Box<Answer>),
    /// An action, of what it would do.
    Plan(Plan),
    /// An action, of what it did.
    Receipt(Receipt),
    /// An action, of why it did not.
    Undone(String),
    /// Nothing that counts.
    Fault(String),
}

#[cfg(test)]
mod tests;
