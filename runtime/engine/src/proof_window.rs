//! Proof: whether an action helped, judged from fresh samples alone.
//!
//! Pure. An action's own word counts for nothing here. A sample is fresh when its check began after the action claimed to be
//! done and, where there is a new life of the process, saw that life or a later one.

use std::collections::BTreeMap;

use heald_model::{Concern, Moment, Outcome, ProbeId, Proof, Replica, Sample, Severity};

/// The window of one action.
#[derive(Clone, Debug)]
pub struct ProofWindow {
    condition: String,
    severity: Severity,
    /// Nothing that began before counts.
    since: Moment,
    incarnation: Option<u64>,
    /// Successes in a row that each probe owes, by probe.
    needed: BTreeMap<ProbeId, u32>,
    /// When the window closes.
    pub deadline: Moment,
    /// Successes in a row so far, by probe and replica.
    runs: BTreeMap<(ProbeId, Option<Replica>), u32>,
    samples: u32,
    passed: u32,
    last_failure: Option<String>,
    /// A fact that no later success can outweigh: the new life has ended.
    died: bool,
}

/// What must be shown, and until when.
#[derive(Clone, Debug)]
pub struct ProofTerms {
    /// The condition that is to end, whatever its subjects.
    pub condition: String,
    /// How bad it was.
    pub severity: Severity,
    /// When the action claimed to be done.
    pub since: Moment,
    /// The life of the process that proof must come from.
    pub incarnation: Option<u64>,
    /// The probes whose verdict counts, and how many successes in a row each owes.
    pub needed: BTreeMap<ProbeId, u32>,
    /// When the window closes.
    pub deadline: Moment,
}

impl ProofWindow {
    /// Opens the window.
    pub fn new(terms: ProofTerms) -> Self {
        Self {
            condition: terms.condition,
            severity: terms.severity,
            since: terms.since,
            incarnation: terms.incarnation,
            needed: terms.needed,
            deadline: terms.deadline,
            runs: BTreeMap::new(),
            samples: 0,
            passed: 0,
            last_failure: None,
            died: false,
        }
    }

    /// The condition that is to end.
    pub fn condition(&self) -> &str {
        &self.condition
    }

    /// Hears a sample.
    pub fn hear(&mut self, sample: &Sample) {
        // What saw the new life is fresh by that alone: a process can end before its start is even reported.
        let stale = match (sample.incarnation, self.incarnation) {
            (Some(saw), Some(new)) => saw < new,
            _ => sample.at < self.since,
        };
        let (false, Some(ok)) = (stale, sample.ok) else { return };
        // An end of the process is a fact, whichever probes owe a verdict.
        self.died |= self.incarnation.is_some() && matches!(sample.fault.as_deref(), Some("exit" | "signal"));
        if !self.needed.contains_key(&sample.probe) {
            return;
        }
        self.samples += 1;
        let run = self.runs.entry((sample.probe.clone(), sample.replica.clone())).or_default();
        if ok {
            self.passed += 1;
            *run += 1;
        } else {
            *run = 0;
            self.last_failure.clone_from(&sample.message);
        }
    }

    /// The verdict, as soon as there is one. `concerns` are all that hold of the service now.
    pub fn verdict(&self, concerns: &[Concern], now: Moment) -> Option<Outcome> {
        if self.died {
            return Some(Outcome::NotHealed);
        }
        let holds = concerns.iter().any(|concern| concern.finding.condition == self.condition);
        if !holds && self.shown() {
            return Some(Outcome::Healed);
        }
        if now < self.deadline {
            return None;
        }
        let worst = concerns.iter().map(|concern| concern.finding.severity).max();
        Some(match worst {
            Some(worst) if worst > self.severity => Outcome::Worse,
            _ if holds => Outcome::NotHealed,
            // The finding is gone, yet no probe with a verdict spoke: nothing was proved.
            _ if self.samples == 0 && !self.needed.is_empty() => Outcome::Unknown,
            _ if self.samples > self.passed => Outcome::NotHealed,
            _ => Outcome::Healed,
        })
    }

    /// Every probe that owes a verdict has given it; with no such probe, the finding's absence must do.
    fn shown(&self) -> bool {
        self.needed.iter().all(|(probe, needed)| {
            let mut runs = self.runs.iter().filter(|((p, _), _)| p == probe).peekable();
            runs.peek().is_some() && runs.all(|(_, run)| run >= needed)
        })
    }

    /// The proof so far, for the journal.
    pub fn proof(&self) -> Proof {
        let mut summary = format!("{} of {} fresh checks passed", self.passed, self.samples);
        if let Some(incarnation) = self.incarnation {
            summary.push_str(&format!(" on life {incarnation}"));
        }
        if let (Some(failure), true) = (&self.last_failure, self.samples > self.passed) {
            summary.push_str(&format!("; last failure: {failure}"));
        }
        Proof { samples: self.samples, passed: self.passed, incarnation: self.incarnation, summary }
    }
}

#[cfg(test)]
mod tests {
    use heald_model::{Finding, ServiceName, Source};

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn window(incarnation: Option<u64>) -> ProofWindow {
        ProofWindow::new(ProofTerms {
            condition: "service-down".into(),
            severity: Severity::Error,
            since: at(100),
            incarnation,
            needed: [(ProbeId::from("http"), 2)].into(),
            deadline: at(1_000),
        })
    }

    fn sample(millis: u64, incarnation: Option<u64>, ok: bool) -> Sample {
        Sample { ok: Some(ok), incarnation, ..Sample::new(ServiceName::from("s"), ProbeId::from("http"), at(millis)) }
    }

    fn holding(condition: &str, severity: Severity) -> Concern {
        let finding = Finding {
            condition: condition.into(),
            subject: None,
            severity,
            score: 1.0,
            predicted: None,
            message: String::new(),
            evidence: Vec::new(),
        };
        Concern { finding, source: Source::Native, since: at(0) }
    }

    #[test]
    fn samples_of_before_and_of_the_old_life_prove_nothing() {
        let mut window = window(Some(2));
        for old in [sample(99, Some(1), true), sample(200, Some(1), true), sample(99, None, true)] {
            window.hear(&old);
            window.hear(&old);
        }
        assert_eq!(window.verdict(&[], at(500)), None);
        assert_eq!(window.verdict(&[], at(1_000)), Some(Outcome::Unknown));
    }

    #[test]
    fn successes_in_a_row_heal_and_a_failure_starts_the_count_anew() {
        let mut window = window(Some(2));
        for ok in [true, false, true] {
            window.hear(&sample(200, Some(2), ok));
            assert_eq!(window.verdict(&[], at(300)), None);
        }
        window.hear(&sample(300, Some(2), true));
        assert_eq!(window.verdict(&[], at(300)), Some(Outcome::Healed));
    }

    #[test]
    fn while_the_finding_holds_nothing_is_healed() {
        let mut window = window(None);
        window.hear(&sample(200, None, true));
        window.hear(&sample(300, None, true));
        let still = [holding("service-down", Severity::Error)];
        assert_eq!(window.verdict(&still, at(400)), None);
        assert_eq!(window.verdict(&still, at(1_000)), Some(Outcome::NotHealed));
        assert_eq!(window.verdict(&[], at(400)), Some(Outcome::Healed));
    }

    #[test]
    fn a_more_severe_finding_than_before_is_worse() {
        let worse = [holding("data-loss", Severity::Critical)];
        assert_eq!(window(None).verdict(&worse, at(1_000)), Some(Outcome::Worse));
    }

    #[test]
    fn an_end_that_comes_before_the_receipt_counts() {
        let mut window = window(Some(2));
        window.hear(&Sample { fault: Some("exit".into()), ..sample(99, Some(2), false) });
        assert_eq!(window.verdict(&[], at(101)), Some(Outcome::NotHealed));
    }

    #[test]
    fn the_end_of_the_new_life_settles_it_at_once() {
        let mut window = window(Some(2));
        window.hear(&Sample { fault: Some("exit".into()), ..sample(200, Some(2), false) });
        assert_eq!(window.verdict(&[], at(201)), Some(Outcome::NotHealed));
    }

    #[test]
    fn no_probe_with_a_verdict_leaves_the_findings_absence() {
        let mut window = window(None);
        window.needed.clear();
        assert_eq!(window.verdict(&[], at(200)), Some(Outcome::Healed));
    }
}
