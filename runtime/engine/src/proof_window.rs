//! Proof: whether an action helped, judged from fresh samples alone.
//!
//! Pure. An action's own word counts for nothing here. A sample is fresh when its check began after the action claimed to be
//! done and, where there is a new life of the process, saw that life or a later one.

use std::collections::BTreeMap;

use heald_model::{Concern, Moment, Outcome, ProbeId, Proof, Replica, Sample, Severity};

/// The window of one action.
#[derive(Clone, Debug)]
pub struct ProofWindow {
    terms: ProofTerms,
    /// Successes in a row so far, by probe and copy.
    runs: BTreeMap<(ProbeId, Option<Replica>), u32>,
    /// Fresh verdicts so far by probe: those that passed, and all.
    verdicts: BTreeMap<ProbeId, (u32, u32)>,
    last_failure: Option<String>,
    /// A fact that no later success can outweigh: a process that the action touched or started has ended.
    died: bool,
}

/// What must be shown, and until when.
#[derive(Clone, Debug)]
pub struct ProofTerms {
    /// The condition that is to end, whatever its subjects.
    pub condition: String,
    /// How bad it was.
    pub severity: Severity,
    /// When the action was admitted: an end of a process after that is its doing.
    pub began: Moment,
    /// When the action claimed to be done.
    pub since: Moment,
    /// The life of the process that proof must come from.
    pub incarnation: Option<u64>,
    /// The copy that the action was about; None: all of them.
    pub instance: Option<Replica>,
    /// The probes whose verdict counts, and how many successes in a row each owes.
    pub needed: BTreeMap<ProbeId, u32>,
    /// When the window closes.
    pub deadline: Moment,
}

impl ProofWindow {
    /// Opens the window.
    pub fn new(terms: ProofTerms) -> Self {
        Self { terms, runs: BTreeMap::new(), verdicts: BTreeMap::new(), last_failure: None, died: false }
    }

    /// The condition that is to end.
    pub fn condition(&self) -> &str {
        &self.terms.condition
    }

    /// When the window closes.
    pub fn deadline(&self) -> Moment {
        self.terms.deadline
    }

    /// Hears a sample.
    pub fn hear(&mut self, sample: &Sample) {
        let terms = &self.terms;
        let another_copy = match (&sample.replica, &terms.instance) {
            (Some(saw), Some(its)) => saw != its,
            _ => false,
        };
        let Some(ok) = sample.ok.filter(|_| !another_copy) else { return };
        let ended = matches!(sample.fault.as_deref(), Some("exit" | "signal"));
        // What saw the new life is fresh by that alone: a process can end before its start is even reported. An end is fresh from
        // the moment at which the action was admitted: what an action kills may end before the action claims to be done.
        let stale = match (sample.incarnation, terms.incarnation) {
            (Some(saw), Some(new)) => saw < new,
            _ if ended => sample.at < terms.began,
            _ => sample.at < terms.since,
        };
        if stale {
            return;
        }
        // An end of the process is a fact, whichever probes owe a verdict.
        self.died |= ended;
        if !terms.needed.contains_key(&sample.probe) {
            return;
        }
        let (passed, all) = self.verdicts.entry(sample.probe.clone()).or_default();
        *all += 1;
        let run = self.runs.entry((sample.probe.clone(), sample.replica.clone())).or_default();
        if ok {
            *passed += 1;
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
        let holds = self.holds(concerns);
        if !holds && self.shown() {
            return Some(Outcome::Healed);
        }
        if now < self.terms.deadline {
            return None;
        }
        let worst = concerns.iter().map(|concern| concern.finding.severity).max();
        let (passed, samples) = self.counts();
        Some(match worst {
            Some(worst) if worst > self.terms.severity => Outcome::Worse,
            _ if holds => Outcome::NotHealed,
            // The finding is gone, yet no probe with a verdict spoke: nothing was proved.
            _ if samples == 0 && !self.terms.needed.is_empty() => Outcome::Unknown,
            _ if samples > passed => Outcome::NotHealed,
            _ => Outcome::Healed,
        })
    }

    fn holds(&self, concerns: &[Concern]) -> bool {
        concerns.iter().any(|concern| concern.finding.condition == self.terms.condition)
    }

    /// Every probe that owes a verdict has given it; with no such probe, the finding's absence must do.
    fn shown(&self) -> bool {
        self.terms.needed.iter().all(|(probe, needed)| {
            let mut runs = self.runs.iter().filter(|((p, _), _)| p == probe).peekable();
            runs.peek().is_some() && runs.all(|(_, run)| run >= needed)
        })
    }

    /// Fresh verdicts of all probes: those that passed, and all.
    fn counts(&self) -> (u32, u32) {
        self.verdicts.values().fold((0, 0), |(passed, all), (p, a)| (passed + p, all + a))
    }

    /// The proof so far, for the journal: check by check, and whether the finding still holds.
    pub fn proof(&self, concerns: &[Concern]) -> Proof {
        let (passed, samples) = self.counts();
        let of = |probe: &ProbeId| {
            let (passed, all) = self.verdicts.get(probe).copied().unwrap_or_default();
            format!("{probe} {passed} of {all}")
        };
        let each: Vec<String> = self.terms.needed.keys().map(of).collect();
        let mut summary = match each.as_slice() {
            [] => "no check owes a verdict".to_owned(),
            each => format!("fresh checks passed: {}", each.join(", ")),
        };
        if let Some(incarnation) = self.terms.incarnation {
            summary.push_str(&format!(" (life {incarnation})"));
        }
        if self.died {
            summary.push_str("; the process ended");
        } else if self.holds(concerns) {
            summary.push_str("; the finding still holds");
        }
        if let (Some(failure), true) = (&self.last_failure, samples > passed) {
            summary.push_str(&format!("; last failure: {failure}"));
        }
        Proof { samples, passed, incarnation: self.terms.incarnation, summary }
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
            began: at(50),
            since: at(100),
            incarnation,
            instance: None,
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
        window.terms.needed.clear();
        assert_eq!(window.verdict(&[], at(200)), Some(Outcome::Healed));
    }

    #[test]
    fn an_end_settles_an_action_that_names_no_new_life_but_not_one_of_another_copy() {
        let end = |millis, replica: &str| Sample {
            fault: Some("signal".into()),
            replica: Some(Replica::from(replica)),
            ..sample(millis, Some(1), false)
        };
        let of_copy_0 = || {
            let terms = ProofTerms { instance: Some(Replica::from("0")), ..window(None).terms };
            ProofWindow::new(terms)
        };
        let mut earlier = of_copy_0();
        earlier.hear(&end(49, "0"));
        assert_eq!(earlier.verdict(&[], at(101)), None, "it had ended before the action was admitted");
        let mut other = of_copy_0();
        other.hear(&end(60, "1"));
        assert_eq!(other.verdict(&[], at(101)), None);
        let mut its = of_copy_0();
        its.hear(&end(60, "0"));
        assert_eq!(its.verdict(&[], at(101)), Some(Outcome::NotHealed));
    }

    #[test]
    fn a_proof_is_told_check_by_check() {
        let mut terms = window(None).terms;
        terms.needed.insert(ProbeId::from("process"), 1);
        let mut window = ProofWindow::new(terms);
        let failing = Sample { message: Some("HTTP 503".into()), ..sample(200, None, false) };
        window.hear(&failing);
        window.hear(&failing);
        let alive = Sample { probe: ProbeId::from("process"), ..sample(200, None, true) };
        (0..13).for_each(|_| window.hear(&alive));
        assert_eq!(
            window.proof(&[holding("service-down", Severity::Error)]).summary,
            "fresh checks passed: http 0 of 2, process 13 of 13; the finding still holds; last failure: HTTP 503"
        );
    }
}
