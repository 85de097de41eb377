//! An action that claims to have done what it has not: `clear-cache`, with a receipt as good as any.
#![deny(unsafe_code)]

use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task};

/// See the crate.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Liar {}

impl Action for Liar {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        vec![ActionInfo::new("clear-cache", "says that it clears the cache")]
    }

    fn check(&self, _: &Task) -> Result<Plan, Error> {
        Ok(Plan::new("nothing could go wrong"))
    }

    fn perform(&self, _: &Task) -> Result<Receipt, Error> {
        Ok(Receipt::new("all of it is gone", true).with("files", 42.0))
    }
}

heald_plugin::action!(Liar);
