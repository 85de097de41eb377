//! What the operator writes, and what is refused of it.

use heald_plugin::Problem;
use serde::Deserialize;

use crate::rule::{Rule, Rung};

/// The rules of a heald that was told none.
const DEFAULT: &str = include_str!("default.json");

/// See the crate.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// In the order in which they are asked.
    pub rules: Option<Vec<Rule>>,
    /// The rules of `default.json` come after `rules`; without `rules` they always do.
    pub defaults: bool,
    /// When no rule holds; `pass` unless said: the next policy is asked.
    pub otherwise: Option<Rung>,
}

impl Config {
    /// Every problem there is, or the rules and what to do when none of them holds.
    pub(crate) fn check(self) -> Result<(Vec<Rule>, Rung), Vec<Problem>> {
        let with_defaults = self.defaults || self.rules.is_none();
        let mut rules = self.rules.unwrap_or_default();
        let mut problems: Vec<_> = rules
            .iter()
            .enumerate()
            .flat_map(|(place, rule)| {
                rule.problems().map(move |message| Problem::at(format!("/rules/{place}"), message))
            })
            .collect();
        let otherwise = self.otherwise.unwrap_or_else(Rung::pass);
        problems.extend(otherwise.problem().map(|message| Problem::at("/otherwise", message)));
        if with_defaults {
            rules.extend(default_rules()?);
        }
        if problems.is_empty() { Ok((rules, otherwise)) } else { Err(problems) }
    }
}

fn default_rules() -> Result<Vec<Rule>, Vec<Problem>> {
    let config: Config = serde_json::from_str(DEFAULT).map_err(|error| vec![Problem::at("", error.to_string())])?;
    Ok(config.rules.unwrap_or_default())
}
