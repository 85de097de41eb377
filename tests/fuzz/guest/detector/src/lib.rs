//! A detector that answers what its memory spells. Without memory it finds one thing, as any good detector might.
#![deny(unsafe_code)]

use dice::{Dice, Memory};
use heald_plugin::{About, Detector, Error, Finding, Metric, Observation, Problem, Severity, Verdict};

/// There is nothing to configure.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Guest {}

impl Detector for Guest {
    type Config = Self;
    type State = Memory;

    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        Ok(config)
    }

    fn about(&self) -> About {
        About::conditions([""; 0])
    }

    fn evaluate(&self, _: &Observation, memory: &mut Memory) -> Result<Verdict, Error> {
        let Some(bytes) = memory.0.clone() else {
            return Ok(vec![Finding::new("good", Severity::Info, "nobody told it otherwise")].into());
        };
        let mut dice = Dice(&bytes);
        if let Some(error) = dice.error() {
            return Err(error);
        }
        let findings = dice.many(finding);
        let gauges = dice.many(|dice| Metric { name: dice.text(), value: dice.number() });
        dice.memory(memory);
        dice.chatter();
        Ok(Verdict { findings, gauges, state: None })
    }
}

fn finding(dice: &mut Dice<'_>) -> Finding {
    Finding {
        condition: dice.text(),
        subject: dice.maybe(Dice::text),
        severity: dice.one(&[Severity::Info, Severity::Warning, Severity::Error, Severity::Critical]),
        score: dice.number(),
        predicted: dice.maybe(Dice::long),
        message: dice.text(),
        evidence: dice.many(Dice::fact),
    }
}

heald_plugin::detector!(Guest);
