//! A policy that answers what its memory spells. Without memory it restarts, as any good policy might.
#![deny(unsafe_code)]

use dice::{Dice, Memory};
use heald_plugin::{Alternative, Choice, Decision, Error, Policy, PolicyAbout, Problem, Proposal, Question};

/// There is nothing to configure.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {}

impl Policy for Guest {
    type Config = Self;
    type State = Memory;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> PolicyAbout {
        PolicyAbout::any()
    }

    fn decide(&self, _: &Question, memory: &mut Memory) -> Result<Decision, Error> {
        let Some(bytes) = memory.0.clone() else {
            return Ok(Decision::act("restart", "{}", "nobody told it otherwise"));
        };
        let mut dice = Dice(&bytes);
        if let Some(error) = dice.error() {
            return Err(error);
        }
        let choice = choice(&mut dice);
        let (confidence, reason) = (dice.number(), dice.text());
        let considered =
            dice.many(|dice| Alternative { action: dice.text(), score: dice.number(), reason: dice.text() });
        let facts = dice.many(Dice::fact);
        let again_in = dice.maybe(Dice::long);
        dice.memory(memory);
        dice.chatter();
        Ok(Decision { choice, confidence, reason, considered, facts, again_in, state: None })
    }
}

fn choice(dice: &mut Dice<'_>) -> Choice {
    match dice.byte() % 4 {
        0 => Choice::Act(Proposal {
            action: dice.text(),
            parameters: dice.json(),
            verify_within: dice.maybe(Dice::long),
        }),
        1 => Choice::NoAction,
        2 => Choice::Escalate,
        _ => Choice::Pass,
    }
}

heald_plugin::policy!(Guest);
