//! Replay: the tape folded back into what each detector was shown, and answers compared with those on record.
//!
//! Pure. It asks no plug-in: whoever replays does, and hands the answers back ([`TapePlayer::remember`], [`ReplayReview`]). What it cannot
//! know it leaves out: before the first checkpoint of a tape there is nothing to show, and what a detector said between two
//! changes of its findings is what it said at the last.

use std::collections::{BTreeMap, HashMap};

use heald_model::{
    Agreement, Blob, CallResult, Checkpoint, Decision, Difference, Moment, Observation, PluginCall, PluginName,
    ServiceName, ServiceView, TapeEntry, Window,
};

use crate::compare::{FindingSet, Pair, essence, outline};
use crate::sample_window::{SeriesMap, settle, shown, take_in};

/// The tape of one service being played to one detector.
#[derive(Debug, Default)]
pub struct TapePlayer {
    seen: SeriesMap,
    frame: Option<TapeFrame>,
    memory: Option<Blob>,
}

/// What a checkpoint set, and the newest view.
#[derive(Debug)]
struct TapeFrame {
    checkpoint: Checkpoint,
    view: Option<ServiceView>,
}

/// A detector as the deck must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayTarget {
    /// Under which name it was asked.
    pub plugin: PluginName,
    /// What it wants to see.
    pub window: Window,
    /// True: it is the one of the record, and what that remembered it remembers. False: another, whose memory is its own.
    pub same: bool,
}

impl TapePlayer {
    /// Takes in the next look, and gives what the detector was shown; None: it was not asked, or what was before is not known.
    /// Looks must come as they were made, without a gap, or from a checkpoint on.
    pub fn play(&mut self, look: &TapeEntry, listener: &ReplayTarget) -> Option<Observation> {
        if let Some(checkpoint) = &look.checkpoint {
            self.begin(checkpoint, listener);
        }
        let frame = self.frame.as_mut()?;
        if let Some(view) = &look.view {
            frame.view = Some(view.clone());
        }
        for sample in &look.samples {
            take_in(&mut self.seen, &frame.checkpoint.probes, sample.clone(), frame.checkpoint.kept);
        }
        let service = frame.view.clone();
        let seed = look.seeds.iter().find(|(name, _)| *name == listener.plugin).map(|(_, seed)| *seed);
        let input = service.zip(seed).map(|(service, seed)| Observation {
            now: look.at,
            seed,
            service,
            series: shown(self.seen.values(), listener.window, self.memory.is_some(), look.at),
            state: self.memory.clone(),
        });
        settle(&mut self.seen);
        input
    }

    /// Keeps what the detector remembers of the last look; None: as before.
    pub fn remember(&mut self, state: Option<Blob>) {
        if state.is_some() {
            self.memory = state;
        }
    }

    /// What the detector remembers.
    pub fn memory(&self) -> Option<&Blob> {
        self.memory.as_ref()
    }

    fn begin(&mut self, checkpoint: &Checkpoint, listener: &ReplayTarget) {
        let key = |series: &heald_model::Series| (series.probe.clone(), series.replica.clone());
        self.seen = checkpoint.series.iter().map(|series| (key(series), series.clone())).collect();
        if listener.same {
            let its = checkpoint.detectors.iter().find(|(plugin, ..)| plugin.name == listener.plugin);
            self.memory = its.and_then(|(_, _, memory)| memory.clone());
        }
        let mut checkpoint = checkpoint.clone();
        checkpoint.series.clear();
        self.frame = Some(TapeFrame { checkpoint, view: None });
    }
}

/// What the detector of the record had found at each time: from its kept calls, one for every change.
#[derive(Clone, Debug, Default)]
pub struct RecordedFindings(BTreeMap<Moment, FindingSet>);

impl RecordedFindings {
    /// Takes in a kept call of the detector about the service.
    pub fn learn(&mut self, call: &PluginCall) {
        if let CallResult::Verdict(verdict) = &call.said {
            self.0.insert(call.at, outline(&verdict.findings));
        }
    }

    /// What it held to be true after the look at this time. A checkpoint says what it held before it: where no call tells that,
    /// heald or the plug-in was started anew, and nothing was known.
    pub fn at(&self, at: Moment) -> FindingSet {
        self.0.range(..=at).next_back().map(|(_, outline)| outline.clone()).unwrap_or_default()
    }

    /// Heeds a checkpoint.
    pub fn heed(&mut self, at: Moment, checkpoint: &Checkpoint, plugin: &PluginName) {
        let before = at - std::time::Duration::from_nanos(1);
        let held = checkpoint.findings.get(plugin);
        if held.is_none_or(Vec::is_empty) && !self.at(before).is_empty() {
            self.0.insert(before, FindingSet::new());
        }
    }
}

/// Where an answer of the record was given.
#[derive(Clone, Debug)]
pub struct RecordedAnswer {
    /// When.
    pub at: Moment,
    /// About which service.
    pub service: ServiceName,
    /// In which incident, if one.
    pub incident: Option<heald_model::IncidentId>,
    /// By whom.
    pub by: String,
}

/// Answers compared with those on record: the counts, and where they differ.
#[derive(Debug, Default)]
pub struct ReplayReview {
    /// The counts.
    pub agreement: Agreement,
    told: HashMap<ServiceName, (String, String)>,
}

impl ReplayReview {
    /// Compares a decision with the one of the record. A policy that passed where that of the record did says nothing to compare.
    pub fn decision(&mut self, occasion: RecordedAnswer, mine: &CallResult, theirs: &CallResult) -> Option<Difference> {
        let (mine, theirs) = (AnswerSummary::of(mine), AnswerSummary::of(theirs));
        self.agreement.faulted += u64::from(mine.failed);
        if mine.passed && theirs.passed {
            self.agreement.abstained += 1;
            return None;
        }
        self.compare(occasion, mine, theirs)
    }

    /// Compares a verdict with what the record holds at that time; counted where either side changed.
    pub fn verdict(&mut self, occasion: RecordedAnswer, mine: &CallResult, theirs: &FindingSet) -> Option<Difference> {
        let (mine, theirs) = (AnswerSummary::of(mine), AnswerSummary::of_outline(theirs));
        let now = (mine.text.clone(), theirs.text.clone());
        let nothing = || AnswerSummary::of_outline(&FindingSet::new()).text;
        let before = self.told.insert(occasion.service.clone(), now.clone());
        if before.unwrap_or_else(|| (nothing(), nothing())) == now {
            return None;
        }
        self.agreement.faulted += u64::from(mine.failed);
        self.compare(occasion, mine, theirs)
    }

    fn compare(&mut self, occasion: RecordedAnswer, mine: AnswerSummary, theirs: AnswerSummary) -> Option<Difference> {
        let pair = Pair { mine: mine.text, theirs: theirs.text, mine_acts: mine.acts, theirs_acts: theirs.acts };
        pair.count_in(&mut self.agreement);
        if pair.agrees() {
            return None;
        }
        let RecordedAnswer { at, service, incident, by } = occasion;
        Some(Difference { at, service, incident, would: pair.mine, did: pair.theirs, by })
    }
}

/// An answer in what matters of it.
struct AnswerSummary {
    text: String,
    acts: bool,
    passed: bool,
    failed: bool,
}

impl AnswerSummary {
    fn of(said: &CallResult) -> Self {
        match said {
            CallResult::Verdict(verdict) => Self::of_outline(&outline(&verdict.findings)),
            CallResult::Answer(answer) => Self::of_decision(&answer.decision),
            CallResult::Fault(fault) => {
                Self { text: format!("failed ({})", fault.cause), acts: false, passed: false, failed: true }
            }
        }
    }

    fn of_decision(decision: &Decision) -> Self {
        let pair = Pair::of_decisions(decision, decision);
        let passed = decision.choice == heald_model::Choice::Pass;
        Self { text: essence(decision), acts: pair.mine_acts, passed, failed: false }
    }

    fn of_outline(outline: &FindingSet) -> Self {
        let text = crate::compare::tell(outline);
        Self { text, acts: !outline.is_empty(), passed: false, failed: false }
    }
}

/// An answer as text, in which every bit of it shows: two are the same if and only if their texts are.
pub fn to_the_bit(said: &CallResult) -> String {
    // Plain data always has a text; should it ever not, then it equals nothing.
    serde_json::to_string(said).unwrap_or_else(|error| format!("not to be written: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heald_model::{Choice, Fault, FaultCause, Finding, ProbeSpec, Proposal, Role, Sample, Severity, Source};
    use serde_json::json;

    use super::*;
    use heald_model::call_seed;
    use heald_model::{Answer, Verdict};

    fn at(second: u64) -> Moment {
        Moment::from_millis(1_790_000_000_000 + second * 1_000)
    }

    fn view(running: u32) -> ServiceView {
        ServiceView {
            name: "web".into(),
            tags: Vec::new(),
            depends_on: Vec::new(),
            wanted: 1,
            running,
            ready: running,
            breaker: heald_model::Breaker::Closed,
            metadata: json!({}),
            facts: Vec::new(),
        }
    }

    fn look(second: u64) -> TapeEntry {
        TapeEntry {
            service: "web".into(),
            at: at(second),
            view: None,
            samples: vec![Sample::new("web".into(), "http".into(), at(second))],
            seeds: vec![("d".into(), call_seed(&"web".into(), &"d".into(), at(second)))],
            checkpoint: None,
        }
    }

    fn first(second: u64) -> TapeEntry {
        let probe = ProbeSpec {
            id: "http".into(),
            role: Role::Readiness,
            period: Duration::from_secs(7),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 2,
        };
        let checkpoint = Checkpoint { probes: vec![probe], kept: 3, ..Checkpoint::default() };
        TapeEntry { view: Some(view(1)), checkpoint: Some(Box::new(checkpoint)), ..look(second) }
    }

    fn listener(same: bool) -> ReplayTarget {
        ReplayTarget { plugin: "d".into(), window: Window { samples: 2, ..Window::default() }, same }
    }

    #[test]
    fn a_tape_is_played_from_its_first_checkpoint() {
        let mut deck = TapePlayer::default();
        assert_eq!(deck.play(&look(0), &listener(true)), None, "what was before is not known");
        let input = deck.play(&first(1), &listener(true)).unwrap();
        let series = &input.series[0];
        assert_eq!(
            (series.role, series.period, series.success_threshold),
            (Role::Readiness, Duration::from_secs(7), 2)
        );
        assert_eq!((series.samples.len(), series.fresh, input.service.running), (1, 1, 1));
        deck.play(&TapeEntry { view: Some(view(0)), ..look(2) }, &listener(true)).unwrap();
        let input = deck.play(&look(3), &listener(true)).unwrap();
        assert_eq!((input.series[0].samples.len(), input.series[0].fresh), (2, 1), "without a memory, its window");
        assert_eq!(input.service.running, 0, "the view holds until it changes");
        deck.remember(Some(Blob(vec![1])));
        deck.remember(None);
        let input = deck.play(&look(4), &listener(true)).unwrap();
        assert_eq!((input.series[0].samples.len(), input.state), (1, Some(Blob(vec![1]))), "with one, what is new");
        assert_eq!(deck.play(&TapeEntry { seeds: Vec::new(), ..look(5) }, &listener(true)), None, "it was not asked");
        let input = deck.play(&look(6), &listener(true)).unwrap();
        assert_eq!(input.series[0].samples.len(), 1, "and the look that it missed is over");
    }

    #[test]
    fn only_the_same_detector_takes_over_what_the_record_remembers() {
        let plugin = heald_model::PluginRef { name: "d".into(), version: "1".into(), digest: "ab".into() };
        let mut again = first(9);
        if let Some(checkpoint) = &mut again.checkpoint {
            checkpoint.detectors = vec![(plugin, "s".into(), Some(Blob(vec![7])))];
        }
        for (same, expected) in [(true, Some(Blob(vec![7]))), (false, Some(Blob(vec![1])))] {
            let mut deck = TapePlayer::default();
            deck.play(&first(1), &listener(same));
            deck.remember(Some(Blob(vec![1])));
            assert_eq!(deck.play(&again, &listener(same)).unwrap().state, expected);
        }
    }

    fn finding(condition: &str) -> Finding {
        Finding {
            condition: condition.into(),
            subject: None,
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: String::new(),
            evidence: Vec::new(),
        }
    }

    fn verdict(conditions: &[&str]) -> CallResult {
        CallResult::Verdict(Verdict {
            findings: conditions.iter().copied().map(finding).collect(),
            ..Verdict::default()
        })
    }

    fn answer(choice: Choice) -> CallResult {
        let decision = Decision {
            choice,
            confidence: 0.5,
            reason: String::new(),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            source: Source::Native,
        };
        CallResult::Answer(Box::new(Answer { decision, state: None, heard: Vec::new() }))
    }

    fn occasion() -> RecordedAnswer {
        RecordedAnswer { at: at(1), service: "web".into(), incident: None, by: "rules".into() }
    }

    #[test]
    fn decisions_are_reviewed_by_what_they_do() {
        let act = |name: &str| {
            answer(Choice::Act(Proposal { action: name.into(), parameters: json!({}), verify_within: None }))
        };
        let fault = CallResult::Fault(Fault::new(FaultCause::Trap, "unreachable"));
        let mut review = ReplayReview::default();
        let mut differs = |mine: &CallResult, theirs: &CallResult| review.decision(occasion(), mine, theirs);
        assert_eq!(differs(&act("restart"), &act("restart")), None);
        assert_eq!(differs(&answer(Choice::Pass), &answer(Choice::Pass)), None);
        let difference = differs(&answer(Choice::NoAction), &act("restart")).unwrap();
        assert_eq!((difference.did.as_str(), difference.would.as_str()), ("restart", "no-action"));
        assert_eq!(differs(&act("stop"), &answer(Choice::Pass)).unwrap().did, "pass");
        assert_eq!(differs(&fault, &act("stop")).unwrap().would, "failed (trap)");
        let Agreement { compared, agreed, disagreed, abstained, faulted, would_have_acted, would_have_withheld } =
            review.agreement;
        assert_eq!((compared, agreed, disagreed, abstained, faulted), (4, 1, 3, 1, 1));
        assert_eq!((would_have_acted, would_have_withheld), (1, 2));
    }

    #[test]
    fn verdicts_are_reviewed_where_either_side_changes() {
        let mut review = ReplayReview::default();
        let down = outline(&[finding("service-down")]);
        let none = FindingSet::new();
        let mut differs = |mine: &CallResult, theirs: &FindingSet| review.verdict(occasion(), mine, theirs).is_some();
        assert!(!differs(&verdict(&[]), &none), "nothing changed");
        assert!(differs(&verdict(&[]), &down));
        assert!(!differs(&verdict(&[]), &down), "that is told already");
        assert!(!differs(&verdict(&["service-down"]), &down));
        assert!(differs(&verdict(&["service-down", "slow"]), &down));
        assert_eq!((review.agreement.compared, review.agreement.agreed, review.agreement.disagreed), (3, 1, 2));
        assert_eq!((review.agreement.would_have_acted, review.agreement.would_have_withheld), (0, 1));
    }

    #[test]
    fn what_the_record_held_is_known_at_any_time() {
        let plugin = heald_model::PluginRef { name: "d".into(), version: "1".into(), digest: "ab".into() };
        let mut findings = RecordedFindings::default();
        for (second, said) in [(5, verdict(&["service-down"])), (9, verdict(&[]))] {
            findings.learn(&PluginCall {
                at: at(second),
                service: "web".into(),
                incident: None,
                plugin: plugin.clone(),
                settings: heald_model::PluginSettings::default(),
                part: heald_model::SlotMode::Active,
                replayable: true,
                asked: heald_model::CallInput::Detector(Box::new(TapePlayer::default().play_for_test())),
                said,
            });
        }
        let held = |findings: &RecordedFindings, second| !findings.at(at(second)).is_empty();
        assert_eq!([4, 5, 8, 9].map(|second| held(&findings, second)), [false, true, true, false]);
        // heald was started anew in the midst of it: its detectors begin with nothing.
        findings.heed(at(7), &Checkpoint::default(), &"d".into());
        assert_eq!([6, 7, 9].map(|second| held(&findings, second)), [true, false, false]);
    }

    impl TapePlayer {
        fn play_for_test(mut self) -> Observation {
            self.play(&first(1), &listener(true)).unwrap()
        }
    }

    #[test]
    fn every_bit_of_an_answer_shows() {
        let verdict = |score| {
            let finding = Finding { score, ..finding("x") };
            to_the_bit(&CallResult::Verdict(Verdict { findings: vec![finding], ..Verdict::default() }))
        };
        assert_eq!(verdict(0.3), verdict(0.3));
        assert_ne!(verdict(0.3), verdict(0.1 + 0.2));
        assert_ne!(verdict(0.0), verdict(-0.0));
    }
}
