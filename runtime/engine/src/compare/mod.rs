//! How a plug-in on trial compares with what was done: what counts as the same answer, and the counts.
//!
//! Pure. Answers are compared where they change, not each time they are repeated: a detector that finds nothing a thousand times
//! in a row agrees once.

pub mod replay;
pub(crate) mod trials;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heald_model::{
    Agreement, Choice, Decision, Difference, Finding, IncidentId, Moment, PluginName, ServiceName, Severity,
};

/// Differences kept of one plug-in on trial; the journal has all.
const DIFFERENCES: usize = 100;

/// What matters in a verdict: which findings hold, and how bad each is.
pub type FindingSet = BTreeSet<(String, Option<String>, Severity)>;

/// What matters in these findings.
pub fn outline<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> FindingSet {
    findings.into_iter().map(|f| (f.condition.clone(), f.subject.clone(), f.severity)).collect()
}

/// An outline in one line.
pub fn tell(outline: &FindingSet) -> String {
    if outline.is_empty() {
        return "nothing found".to_owned();
    }
    let each = outline.iter().map(|(condition, subject, severity)| match subject {
        Some(subject) => format!("{condition} of {subject} ({severity})"),
        None => format!("{condition} ({severity})"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What matters in a decision, in one line: the action with its parameters, or that there is none.
pub fn essence(decision: &Decision) -> String {
    match &decision.choice {
        Choice::Act(proposal) => match proposal.parameters.as_object() {
            Some(parameters) if !parameters.is_empty() => format!("{} {}", proposal.action, proposal.parameters),
            _ => proposal.action.clone(),
        },
        _ => decision.verb().to_owned(),
    }
}

/// Two answers side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Of the plug-in on trial.
    pub mine: String,
    /// Of the other.
    pub theirs: String,
    /// Whether the plug-in on trial acts, or finds something.
    pub mine_acts: bool,
    /// Whether the other does.
    pub theirs_acts: bool,
}

impl Pair {
    /// Two decisions.
    pub fn of_decisions(mine: &Decision, theirs: &Decision) -> Self {
        let acts = |decision: &Decision| matches!(decision.choice, Choice::Act(_));
        Self { mine: essence(mine), theirs: essence(theirs), mine_acts: acts(mine), theirs_acts: acts(theirs) }
    }

    /// Two verdicts.
    pub fn of_verdicts(mine: &FindingSet, theirs: &FindingSet) -> Self {
        Self { mine: tell(mine), theirs: tell(theirs), mine_acts: !mine.is_empty(), theirs_acts: !theirs.is_empty() }
    }

    /// Whether they are the same in what matters.
    pub fn agrees(&self) -> bool {
        self.mine == self.theirs
    }

    /// Counts this comparison.
    pub fn count_in(&self, agreement: &mut Agreement) {
        agreement.compared += 1;
        if self.agrees() {
            agreement.agreed += 1;
            return;
        }
        agreement.disagreed += 1;
        match (self.mine_acts, self.theirs_acts) {
            (true, false) => agreement.would_have_acted += 1,
            (false, true) => agreement.would_have_withheld += 1,
            _ => {}
        }
    }
}

/// Where and when answers were compared, and with whom.
#[derive(Clone, Debug)]
pub struct ComparisonContext {
    /// When.
    pub at: Moment,
    /// About which service.
    pub service: ServiceName,
    /// In which incident, if one.
    pub incident: Option<IncidentId>,
    /// Who gave the other answer.
    pub by: String,
}

/// The trial of one plug-in.
#[derive(Clone, Debug)]
pub struct PluginTrial {
    /// Since when.
    pub since: Moment,
    /// The counts.
    pub agreement: Agreement,
    /// By service.
    pub services: BTreeMap<ServiceName, Agreement>,
    /// The newest differences, oldest first.
    pub differences: VecDeque<Difference>,
}

impl PluginTrial {
    fn new(since: Moment) -> Self {
        Self { since, agreement: Agreement::default(), services: BTreeMap::new(), differences: VecDeque::new() }
    }
}

/// All trials.
#[derive(Clone, Debug, Default)]
pub struct PluginTrials(BTreeMap<PluginName, PluginTrial>);

impl PluginTrials {
    /// One plug-in's.
    pub fn of(&self, plugin: &PluginName) -> Option<&PluginTrial> {
        self.0.get(plugin)
    }

    /// Begins one anew.
    pub fn begin(&mut self, plugin: &PluginName, now: Moment) {
        self.0.insert(plugin.clone(), PluginTrial::new(now));
    }

    /// Ends one.
    pub fn end(&mut self, plugin: &PluginName) {
        self.0.remove(plugin);
    }

    /// Takes in a comparison.
    pub fn compare(&mut self, plugin: &PluginName, occasion: &ComparisonContext, pair: &Pair) {
        let trial = self.trial(plugin, occasion.at);
        pair.count_in(&mut trial.agreement);
        pair.count_in(trial.services.entry(occasion.service.clone()).or_default());
        if !pair.agrees() {
            trial.differences.push_back(Difference {
                at: occasion.at,
                service: occasion.service.clone(),
                incident: occasion.incident,
                would: pair.mine.clone(),
                did: pair.theirs.clone(),
                by: occasion.by.clone(),
            });
            if trial.differences.len() > DIFFERENCES {
                trial.differences.pop_front();
            }
        }
    }

    /// Counts an answer that says nothing to compare.
    pub fn abstained(&mut self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        let trial = self.trial(plugin, now);
        trial.agreement.abstained += 1;
        trial.services.entry(service.clone()).or_default().abstained += 1;
    }

    /// Counts a failure.
    pub fn faulted(&mut self, plugin: &PluginName, service: &ServiceName, now: Moment) {
        let trial = self.trial(plugin, now);
        trial.agreement.faulted += 1;
        trial.services.entry(service.clone()).or_default().faulted += 1;
    }

    fn trial(&mut self, plugin: &PluginName, now: Moment) -> &mut PluginTrial {
        self.0.entry(plugin.clone()).or_insert_with(|| PluginTrial::new(now))
    }
}

#[cfg(test)]
mod tests {
    use heald_model::{Proposal, Source};
    use serde_json::{Value, json};

    use super::*;

    fn decision(choice: Choice) -> Decision {
        Decision {
            choice,
            confidence: 1.0,
            reason: String::new(),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            source: Source::Native,
        }
    }

    fn act(action: &str, parameters: Value) -> Decision {
        decision(Choice::Act(Proposal { action: action.into(), parameters, verify_within: None }))
    }

    fn occasion(at: u64) -> ComparisonContext {
        ComparisonContext { at: Moment::from_millis(at), service: "web".into(), incident: None, by: "rules".into() }
    }

    #[test]
    fn decisions_are_the_same_when_they_do_the_same() {
        let restart = act("restart", json!({}));
        let another = Decision { confidence: 0.1, reason: "another".into(), ..restart.clone() };
        assert!(Pair::of_decisions(&restart, &another).agrees());
        assert!(!Pair::of_decisions(&restart, &act("restart", json!({"replica": 1}))).agrees());
        assert!(!Pair::of_decisions(&restart, &decision(Choice::NoAction)).agrees());
    }

    #[test]
    fn what_it_would_have_done_and_left_undone_is_told_apart() {
        let (mut trials, plugin) = (PluginTrials::default(), PluginName::from("next"));
        let (restart, nothing) = (act("restart", json!({})), decision(Choice::NoAction));
        trials.compare(&plugin, &occasion(1), &Pair::of_decisions(&restart, &nothing));
        trials.compare(&plugin, &occasion(2), &Pair::of_decisions(&nothing, &restart));
        trials.compare(&plugin, &occasion(3), &Pair::of_decisions(&restart, &restart));
        trials.compare(&plugin, &occasion(4), &Pair::of_decisions(&restart, &act("stop", json!({}))));
        let trial = trials.of(&plugin).unwrap();
        let Agreement { compared, agreed, disagreed, would_have_acted, would_have_withheld, .. } = trial.agreement;
        assert_eq!((compared, agreed, disagreed, would_have_acted, would_have_withheld), (4, 1, 3, 1, 1));
        assert!((trial.agreement.disagreement() - 0.75).abs() < 1e-9);
        assert_eq!(trial.services[&ServiceName::from("web")], trial.agreement);
        assert_eq!(
            trial.differences.iter().map(|d| d.would.as_str()).collect::<Vec<_>>(),
            ["restart", "no-action", "restart"]
        );
    }

    #[test]
    fn the_differences_that_are_kept_are_the_newest() {
        let (mut trials, plugin) = (PluginTrials::default(), PluginName::from("next"));
        let pair = Pair::of_decisions(&act("restart", json!({})), &decision(Choice::NoAction));
        (0..250).for_each(|at| trials.compare(&plugin, &occasion(at), &pair));
        let trial = trials.of(&plugin).unwrap();
        assert_eq!((trial.agreement.disagreed, trial.differences.len()), (250, DIFFERENCES));
        assert_eq!(trial.differences.back().unwrap().at, Moment::from_millis(249));
    }
}
