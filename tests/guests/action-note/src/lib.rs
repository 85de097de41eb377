//! Two actions: `note` notes something and touches nothing, `linger` never ends.
#![deny(unsafe_code)]

use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task};

/// See the crate.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Note {}

impl Action for Note {
    type Config = Self;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        vec![ActionInfo::new("note", "notes something"), ActionInfo::new("linger", "never ends")]
    }

    fn check(&self, _: &Task) -> Result<Plan, Error> {
        Ok(Plan::new("something is noted"))
    }

    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let mut turns = 0_u64;
        while task.action == "linger" {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
        Ok(Receipt::new("noted", true))
    }
}

heald_plugin::action!(Note);
