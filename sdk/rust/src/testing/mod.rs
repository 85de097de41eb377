//! Test doubles: the host's side of the contract, as far as a plug-in's own tests need it.
//!
//! [`Scenario`] feeds a detector one sample at a time and carries its state as the host would; [`ask`] puts a [`question`] to
//! a policy; [`task`] makes what an action is handed. All three go through the same JSON, the same state blobs and the same
//! dispatch as a call from the host. What was logged, [`logged`] returns; what a capability did, [`double`] knows. None of
//! it exists in a guest.

mod build;
pub mod double;
mod policy;
mod scenario;

use std::cell::RefCell;

pub use build::{SampleBuilder, SeriesBuilder, sample, series, service};
pub use policy::{QuestionBuilder, ask, question, task};
pub use scenario::Scenario;

use crate::log::Level;
use crate::{Error, Fact, Problem};

thread_local! {
    static LINES: RefCell<Vec<(Level, String, Vec<Fact>)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn remember(level: Level, message: &str, facts: &[Fact]) {
    LINES.with(|lines| lines.borrow_mut().push((level, message.to_owned(), facts.to_vec())));
}

/// What was logged on this thread since the last time this was asked.
pub fn logged() -> Vec<(Level, String, Vec<Fact>)> {
    LINES.with(RefCell::take)
}

/// The problems a plug-in finds with this configuration; none if it accepts it. `new` is the role's constructor:
/// `problems(Threshold::new, "{}")`.
pub fn problems<C: serde::de::DeserializeOwned, T>(
    new: impl FnOnce(C) -> Result<T, Vec<Problem>>,
    config: &str,
) -> Vec<Problem> {
    match crate::instance::Slot::empty().configure(config, new) {
        Ok(()) => Vec::new(),
        Err(Error::BadConfig(problems)) => problems,
        Err(other) => vec![Problem::at("", other.to_string())],
    }
}
