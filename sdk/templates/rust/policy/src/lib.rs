//! Knows one remedy for one condition, and proposes it as long as it was not tried in vain too often. Else it passes, and the
//! next policy is asked.
//!
//! It proposes; the guard of heald disposes: cooldowns, budgets and maintenance are no business of a policy.

use heald_plugin::{Decision, Error, Policy, PolicyAbout, Problem, Question};
use serde::Deserialize;

/// What the operator may write. `config.schema.json` says the same to heald, which checks it first.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remedy {
    /// The condition that it knows a remedy for.
    pub condition: String,
    /// The remedy.
    pub action: String,
    /// After so many tries in vain the next policy is asked.
    pub tries: u32,
}

impl Default for Remedy {
    fn default() -> Self {
        Self {
            condition: "queue-too-long".to_owned(),
            action: "restart".to_owned(),
            tries: 2,
        }
    }
}

impl Policy for Remedy {
    type Config = Self;
    /// Nothing is remembered: the incident's own history says what was tried.
    type State = ();

    /// Called once for each instance. What no schema can say is checked here, all problems at once.
    fn new(config: Self) -> Result<Self, Vec<Problem>> {
        if config.action.is_empty() {
            return Err(vec![Problem::at(
                "/action",
                "must name an action, such as restart",
            )]);
        }
        Ok(config)
    }

    fn about(&self) -> PolicyAbout {
        PolicyAbout::actions([&self.action])
    }

    fn decide(&self, question: &Question, _: &mut ()) -> Result<Decision, Error> {
        let Self {
            condition,
            action,
            tries,
        } = self;
        if question
            .incident
            .leading()
            .is_none_or(|finding| finding.condition != *condition)
        {
            return Ok(Decision::pass(format!(
                "this policy knows about {condition} only"
            )));
        }
        // Only what was tried and did not help counts, not what is still under way or was withheld.
        let mine = question
            .incident
            .own_attempts()
            .filter(|attempt| attempt.action == *action);
        let in_vain = mine.filter(|attempt| attempt.ending.is_spent()).count();
        if u32::try_from(in_vain).is_ok_and(|in_vain| in_vain >= *tries) {
            return Ok(Decision::pass(format!(
                "{action} did not help {in_vain} times"
            )));
        }
        if !question.can(action) {
            return Ok(Decision::pass(format!("{action} is not to be had now")));
        }
        Ok(Decision::act(
            action,
            "{}",
            format!("{action} is known to help against {condition}"),
        )
        .confidence(0.8))
    }
}

// Makes it a plug-in. Name, version and summary come from Cargo.toml.
heald_plugin::policy!(Remedy, config: include_str!("../config.schema.json"));

#[cfg(test)]
mod tests {
    use heald_plugin::testing::{QuestionBuilder, ask, problems, question};
    use heald_plugin::{Choice, Ending, Finding, Outcome, Severity};

    use super::*;

    fn incident(condition: &str) -> QuestionBuilder {
        question(Finding::new(condition, Severity::Error, "")).offer("restart")
    }

    fn choice(question: QuestionBuilder) -> Choice {
        ask::<Remedy>("{}", question).unwrap().choice
    }

    #[test]
    fn the_remedy_is_proposed_until_it_was_tried_in_vain_too_often() {
        let spent = Ending::Verified(Outcome::NotHealed);
        let once = incident("queue-too-long").tried("restart", spent.clone());
        assert!(
            matches!(choice(once.clone()), Choice::Act(proposal) if proposal.action == "restart")
        );
        assert_eq!(choice(once.tried("restart", spent)), Choice::Pass);
    }

    #[test]
    fn another_condition_and_a_blocked_action_are_passed_on() {
        assert_eq!(choice(incident("service-down")), Choice::Pass);
        let blocked = question(Finding::new("queue-too-long", Severity::Error, ""))
            .blocked("restart", "maintenance");
        assert_eq!(choice(blocked), Choice::Pass);
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_explained() {
        assert_eq!(problems(Remedy::new, r#"{"action": ""}"#)[0].at, "/action");
    }
}
