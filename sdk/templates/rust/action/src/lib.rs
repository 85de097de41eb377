//! The action `announce`: writes a line into the log of heald. It changes nothing, so it is safe to play with.
//!
//! An action is only performed once the guard of heald has permitted it. What it says afterwards is a claim: whether the
//! service is well again, heald finds out by probing it.

use heald_plugin::{Action, ActionInfo, Error, Plan, Problem, Receipt, Task, log};
use serde::Deserialize;

const ACTION: &str = "announce";

/// What the operator may write. `config.schema.json` says the same to heald, which checks it first.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// What each line begins with.
    pub prefix: String,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            prefix: "announcement".to_owned(),
        }
    }
}

/// What may be asked for. `parameters.schema.json` says the same to heald, which checks it first.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parameters {
    text: Option<String>,
}

impl Action for Announce {
    type Config = Self;

    /// Called once for each instance. What no schema can say is checked here, all problems at once.
    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn offers(&self) -> Vec<ActionInfo> {
        let info = ActionInfo::new(ACTION, "writes a line into the log")
            .parameters(include_str!("../parameters.schema.json"));
        // A message touches no service: it costs no budget, and there is nothing to verify.
        vec![ActionInfo {
            disruptive: false,
            ..info
        }]
    }

    /// What would be done, without doing it: the dry run.
    fn check(&self, task: &Task) -> Result<Plan, Error> {
        Ok(Plan::new(format!("would write `{}`", self.line(task)?)))
    }

    /// Does it. `task.attempt` is the same if heald, after a crash, asks for the same attempt again.
    fn perform(&self, task: &Task) -> Result<Receipt, Error> {
        let line = self.line(task)?;
        log::info!("{line}");
        // Nothing was changed. An action that can be undone adds `.undo(bytes)`, and implements `undo`.
        Ok(Receipt::new(format!("wrote `{line}`"), false)
            .with("service", task.service.name.as_str()))
    }
}

impl Announce {
    fn line(&self, task: &Task) -> Result<String, Error> {
        if task.action != ACTION {
            return Err(Error::Unsupported(format!(
                "{} is not what this plug-in does",
                task.action
            )));
        }
        let parameters: Parameters = serde_json::from_str(&task.parameters)
            .map_err(|error| Error::BadInput(format!("parameters: {error}")))?;
        let text = parameters
            .text
            .unwrap_or_else(|| format!("something is up with {}", task.service.name));
        Ok(format!("{}: {text}", self.prefix))
    }
}

// Makes it a plug-in. Name, version and summary come from Cargo.toml.
heald_plugin::action!(Announce, config: include_str!("../config.schema.json"));

#[cfg(test)]
mod tests {
    use heald_plugin::testing::{logged, task};

    use super::*;

    #[test]
    fn what_was_planned_is_what_is_done() {
        let announce = Announce::default();
        let hello = task(ACTION, r#"{"text": "hello"}"#);
        assert_eq!(
            announce.check(&hello).unwrap().summary,
            "would write `announcement: hello`"
        );
        assert!(logged().is_empty(), "a plan has no effect");
        let receipt = announce.perform(&hello).unwrap();
        assert!(!receipt.changed);
        assert_eq!(logged()[0].1, "announcement: hello");
    }

    #[test]
    fn what_it_does_not_do_it_says() {
        assert!(matches!(
            Announce::default().check(&task("reboot", "{}")),
            Err(Error::Unsupported(_))
        ));
        assert!(matches!(
            Announce::default().check(&task(ACTION, r#"{"txt": ""}"#)),
            Err(Error::BadInput(_))
        ));
    }
}
