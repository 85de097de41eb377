//! A policy that wants the same action whatever happens: `{ "action": "restart" }`.
#![deny(unsafe_code)]

use heald_plugin::{Decision, Error, Policy, PolicyAbout, Problem, Question};

/// See the crate.
#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Zealot {
    /// The action; `escalate` and `no-action` are no actions and are answered as what they are.
    action: String,
}

impl Default for Zealot {
    fn default() -> Self {
        Self { action: "restart".into() }
    }
}

impl Policy for Zealot {
    type Config = Self;
    type State = ();

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> PolicyAbout {
        PolicyAbout::any()
    }

    fn decide(&self, _: &Question, (): &mut ()) -> Result<Decision, Error> {
        let why = "always the same";
        Ok(match self.action.as_str() {
            "escalate" => Decision::escalate(why),
            "no-action" => Decision::no_action(why),
            action => Decision::act(action, "{}", why),
        })
    }
}

heald_plugin::policy!(Zealot, cpu_ms: 5);
