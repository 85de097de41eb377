//! Decides by ordered rules.
//!
//! The first rule whose tests all hold decides. It names an action, and rungs to climb when that did not help:
//!
//! ```json
//! {
//!   "rules": [
//!     {
//!       "when": { "condition": "service-down", "severity": ">= error" },
//!       "do": "restart", "times": 3, "reason": "it is down",
//!       "then": [ { "do": "scale", "parameters": { "wanted": 3 } }, "escalate" ]
//!     },
//!     { "when": [ { "cpu": "> 85" }, { "memory": "> 85" } ], "do": "restart", "confidence": 0.7 }
//!   ],
//!   "otherwise": { "do": "no-action", "reason": "No action required" }
//! }
//! ```
//!
//! Without `rules` it uses those of `default.json` beside this file, a configuration like any other.
//!
//! A rung is an action's name, or `no-action`, `escalate`, `pass`. An attempt that was verified and did not heal uses a rung
//! up; one that healed sets the ladder back to its foot. A rung that is not on offer is left out, and one that the guard
//! would withhold now gives way to the next; if all that is left is withheld, the first of it is proposed all the same, as
//! waiting is the guard's business. So is the first if nothing is on offer at all: heald says why it is not. Above the last rung is `escalate`.
//!
//! It weighs nothing: what rules say is not compared with what the catalog learned, which only lends its confidence.
#![deny(unsafe_code)]

mod config;
mod ladder;
mod rule;
mod test;
mod value;

use heald_plugin::{Choice, Decision, Error, Policy, PolicyAbout, Problem, Question};

pub use config::Config;
pub use rule::{Rule, Rung};
pub use test::{Test, When};

use ladder::Climb;
use value::Known;

/// A rule is someone's word and no measurement: trusted, and yet not certain. It is used where neither the rule nor the
/// catalog knows better.
const CONFIDENCE: f64 = 0.9;

/// The configured policy.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    otherwise: Rung,
}

impl Policy for Rules {
    type Config = Config;
    /// Nothing is remembered: the incident's own history says which rung is next.
    type State = ();

    fn new(config: Config) -> Result<Self, Vec<Problem>> {
        let (rules, otherwise) = config.check()?;
        Ok(Self { rules, otherwise })
    }

    fn about(&self) -> PolicyAbout {
        let rungs = self.rules.iter().flat_map(|rule| rule.rungs()).chain([&self.otherwise]);
        let mut actions: Vec<_> = rungs.filter(|rung| !rung.is_word()).map(|rung| rung.action.clone()).collect();
        actions.sort_unstable();
        actions.dedup();
        PolicyAbout::actions(actions)
    }

    fn decide(&self, question: &Question, (): &mut ()) -> Result<Decision, Error> {
        let fired: Vec<_> = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(place, rule)| {
                Known::all_of(question).find(|known| rule.holds(known)).map(|known| (place, rule, known))
            })
            .collect();
        let Some((place, rule, known)) = fired.first() else {
            return Ok(self.answer(question, &self.otherwise, 1).with("rule", "otherwise"));
        };
        let climb = Climb::of(question, rule);
        let mut decision = match climb.rung(rule) {
            Some(rung) => self.answer(question, rung, climb.attempt()),
            None => Decision::escalate(format!("{}: nothing that was tried has helped", rule.title(*place))),
        };
        decision = decision.with("rule", rule.title(*place)).with("rung", climb.place_from_one());
        for (name, value) in rule.weighed(known) {
            decision.facts.push(heald_plugin::Fact { name, value });
        }
        for (action, why) in climb.left_out {
            decision = decision.considered(action, 0.0, why);
        }
        for (place, rule, _) in fired.iter().skip(1) {
            let first = rule.first();
            let score = first.confidence.unwrap_or(CONFIDENCE);
            decision =
                decision.considered(&first.action, score, format!("{} holds too, but later", rule.title(*place)));
        }
        Ok(decision)
    }
}

impl Rules {
    /// What this rung says, `attempt` times at it counted from 1.
    fn answer(&self, question: &Question, rung: &Rung, attempt: u32) -> Decision {
        let reason = rung.reason.clone().unwrap_or_else(|| rung.own_words(question, attempt));
        let mut decision = match rung.action.as_str() {
            "no-action" => Decision::no_action(reason),
            "escalate" => Decision::escalate(reason),
            "pass" => Decision::pass(reason),
            action => Decision::act(action, rung.parameters.to_string(), reason),
        };
        if let (Choice::Act(_), Some(time)) = (&decision.choice, rung.verify_within) {
            decision = decision.verify_within(time);
        }
        if let Some(time) = rung.again_in {
            decision = decision.again_in(time);
        }
        let learned = || value::chance(question, &rung.action);
        decision.confidence(rung.confidence.or_else(learned).unwrap_or(CONFIDENCE))
    }
}

heald_plugin::policy!(Rules, config: include_str!("../config.schema.json"), cpu_ms: 20, memory_mib: 16);
