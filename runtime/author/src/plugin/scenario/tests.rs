use std::sync::Mutex;

use async_trait::async_trait;
use heald_engine::ports::{Detector, Policy};
use heald_model::Verdict as SeriesMap;
use heald_model::{Answer, Blob, Observation, Question, Window};
use heald_model::{Choice, Decision, Fault, FaultCause, Finding, PluginRef, Proposal, Severity, Source};
use serde_json::json;

use super::*;

fn reference() -> PluginRef {
    PluginRef { name: "fake".into(), version: String::new(), digest: String::new() }
}

/// Finds `odd` in every failing newest sample, and remembers how many looks it had. Fails at the look it is told to.
struct Odd {
    window: Window,
    fails_at: usize,
    inputs: Mutex<Vec<Observation>>,
}

impl Odd {
    fn new(samples: u32) -> Self {
        Self { window: Window { samples, ..Window::default() }, fails_at: usize::MAX, inputs: Mutex::default() }
    }
}

#[async_trait]
impl Detector for Odd {
    fn plugin(&self) -> &PluginRef {
        unreachable!("nobody asks who it is")
    }

    fn window(&self) -> Window {
        self.window
    }

    async fn evaluate(&self, input: &Observation) -> Result<SeriesMap, Fault> {
        let mut inputs = self.inputs.lock().unwrap();
        inputs.push(input.clone());
        if inputs.len() == self.fails_at {
            return Err(Fault::new(FaultCause::Trap, "it hurts"));
        }
        let failing = input.series.iter().filter(|series| series.samples.back().unwrap().ok == Some(false));
        let findings = failing.map(|series| Finding {
            condition: "odd".into(),
            subject: Some(series.probe.to_string()),
            severity: Severity::Warning,
            score: 0.75,
            predicted: None,
            message: format!("{} fails", series.probe),
            evidence: vec![heald_model::Fact::number("failures", 1.0)],
        });
        Ok(SeriesMap {
            findings: findings.collect(),
            gauges: vec![("looks".into(), inputs.len() as f64)],
            state: Some(Blob(vec![inputs.len() as u8])),
            heard: Vec::new(),
        })
    }
}

async fn judge_samples(detector: &Odd, text: &str) -> Vec<Judged> {
    let scenario = CheckedScenario::read("t.toml", text).unwrap();
    let turns = play_samples(&scenario, detector).await;
    scenario.judge(PluginRole::Detector, &turns)
}

/// Whether a single expectation of the step or the whole is met.
async fn met(text: &str) -> bool {
    let judged = judge_samples(&Odd::new(1), text).await;
    assert_eq!(judged.len(), 1, "{judged:?}");
    judged[0].met
}

#[tokio::test]
async fn a_detector_is_shown_what_the_loop_would_show() {
    let detector = Odd::new(4);
    let text = r#"
[[probe]]
id = "a"
period = "1s"
[[probe]]
id = "b"
period = "2s"
[[sample]]
repeat = 6
[[sample]]
at = "0s"
repeat = 3
probe = "b"
cpu = { ramp = [10, 30] }
[[sample]]
at = "6s"
forget = true
service = { depends_on = { db = "down" } }
"#;
    judge_samples(&detector, text).await;
    let inputs = detector.inputs.lock().unwrap();
    assert_eq!(inputs.len(), 7, "what is taken at the same time is one look");
    let shape = |look: usize| -> Vec<(String, usize, u32)> {
        inputs[look].series.iter().map(|s| (s.probe.to_string(), s.samples.len(), s.fresh)).collect()
    };
    assert_eq!(shape(0), [("a".into(), 1, 1), ("b".into(), 1, 1)]);
    assert_eq!(
        shape(1),
        [("a".into(), 1, 1), ("b".into(), 1, 0)],
        "with a memory the news, and the newest of the other"
    );
    assert_eq!(shape(6), [("a".into(), 4, 1), ("b".into(), 3, 0)], "without one the window");
    let states: Vec<_> = inputs.iter().map(|input| input.state.as_ref().map(|state| state.0[0])).collect();
    assert_eq!(states, [None, Some(1), Some(2), Some(3), Some(4), Some(5), None]);
    assert_eq!(inputs[6].service.depends_on[0].up, Some(false));
    assert_eq!(inputs[4].series[1].samples.back().unwrap().cpu, Some(30.0));
    assert_eq!(inputs[3].now.since(inputs[0].now).as_secs(), 3);
}

#[tokio::test]
async fn expectations_of_findings_can_be_met_and_not() {
    let steps = |expect: &str| {
        format!(
            "[[sample]]\nrepeat = 3\n[[sample]]\nrepeat = 3\nfault = \"timeout\"\n[[sample]]\nrepeat = 2\n\
             [[expect]]\nfinding = \"odd\"\n{expect}\n"
        )
    };
    for (expect, expected) in [
        ("", false),
        ("holds = \"not-at-end\"", true),
        ("holds = \"ever\"", true),
        ("holds = \"never\"", false),
        ("holds = \"always\"", false),
        ("first = [\"3s\", \"3s\"]", true),
        ("first = [\"4s\", \"9s\"]", false),
        ("first = [\"0s\", \"2s\"]", false),
        ("first = [\"3s\", \"4s\"]\nholds = \"at-end\"", false),
        ("first = [\"3s\", \"4s\"]\nholds = \"not-at-end\"", true),
        ("holds = \"ever\"\nsubject = \"http\"", true),
        ("holds = \"ever\"\nsubject = \"tcp\"", false),
        ("holds = \"ever\"\nseverity = \"warning\"", true),
        ("holds = \"ever\"\nseverity = \"error\"", false),
        ("holds = \"ever\"\nat_least = \"info\"", true),
        ("holds = \"ever\"\nat_least = \"error\"", false),
        ("holds = \"ever\"\nscore = [0.7, 0.8]", true),
        ("holds = \"ever\"\nscore = [0.8, 1]", false),
        ("holds = \"ever\"\nsays = \"FAILS\"", true),
        ("holds = \"ever\"\nsays = \"refuses\"", false),
        ("holds = \"ever\"\nfacts = { failures = 1 }", true),
        ("holds = \"ever\"\nfacts = { failures = 2 }", false),
        ("holds = \"ever\"\nfacts = { successes = 1 }", false),
    ] {
        assert_eq!(met(&steps(expect)).await, expected, "{expect}");
    }
    for (finding, expected) in [("\"*\"", true), ("[\"even\", \"odd\"]", true), ("\"even\"", false)] {
        let text = steps("holds = \"ever\"").replace("\"odd\"", finding);
        assert_eq!(met(&text).await, expected, "{finding}");
    }
    let step = "[[sample]]\n[[sample]]\nrepeat = 2\nfault = \"timeout\"\n[[sample.expect]]\nfinding = \"odd\"\nholds = \"always\"\n";
    assert!(met(step).await, "of its own step alone");
    assert!(met("[[sample]]\nrepeat = 3\n[[sample.expect]]\ngauge = \"looks\"\nbetween = [3, 3]\n").await);
    assert!(!met("[[sample]]\nrepeat = 3\n[[sample.expect]]\ngauge = \"looks\"\nbetween = [1, 2]\n").await);
    assert!(!met("[[sample]]\n[[sample.expect]]\ngauge = \"depth\"\n").await);
}

#[tokio::test]
async fn what_is_not_met_names_line_time_and_words() {
    let text =
        "[[sample]]\nrepeat = 3\nfault = \"timeout\"\n\n[[sample.expect]]\nfinding = \"odd\"\nholds = \"never\"\n";
    let judged = judge_samples(&Odd::new(1), text).await;
    let said = "odd of http (warning, score 0.75): http fails; gauge looks 1";
    let expected = Judged {
        line: 5,
        met: false,
        expected: "odd, never".into(),
        at: Some(Time::default()),
        said: Some(said.into()),
    };
    assert_eq!(judged, [expected]);
}

#[tokio::test]
async fn a_fault_is_never_expected_and_leaves_the_state() {
    let detector = Odd { fails_at: 3, ..Odd::new(1) };
    let judged = judge_samples(&detector, "[[sample]]\nrepeat = 5\n").await;
    assert_eq!((judged.len(), judged[0].met, judged[0].line), (1, false, 1));
    assert_eq!(judged[0].said.as_deref(), Some("a fault: trap: it hurts"));
    let states: Vec<_> =
        detector.inputs.lock().unwrap().iter().map(|input| input.state.as_ref().map(|state| state.0[0])).collect();
    assert_eq!(states, [None, Some(1), Some(2), Some(2), Some(4)]);
}

/// Restarts twice, then escalates; keeps the questions.
struct Twice(Mutex<Vec<Question>>);

#[async_trait]
impl Policy for Twice {
    fn plugin(&self) -> &PluginRef {
        unreachable!("nobody asks who it is")
    }

    async fn decide(&self, question: &Question) -> Result<Answer, Fault> {
        self.0.lock().unwrap().push(question.clone());
        let spent = question.incident.attempts.len();
        let choice = match spent {
            0 | 1 => Choice::Act(Proposal {
                action: "restart".into(),
                parameters: json!({ "grace": 3.0, "more": 1 }),
                verify_within: None,
            }),
            _ => Choice::Escalate,
        };
        let decision = Decision {
            choice,
            confidence: 0.5,
            reason: format!("{spent} were tried"),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            source: Source::Plugin(reference()),
        };
        Ok(Answer { decision, state: None, heard: Vec::new() })
    }
}

#[tokio::test]
async fn a_policy_is_asked_as_the_story_goes_on() {
    let text = r#"
[[sample]]
repeat = 5
cpu = { ramp = [10, 50] }
[[offer]]
action = "restart"
[[experience]]
action = "restart"
tries = 4
successes = 3
[[related]]
service = "db"
condition = "service-down"
cause = true
[[question]]
at = "2s"
findings = [{ condition = "service-down", severity = "critical", evidence = { cause = "exit" } }]
tried = [{ action = "reload", outcome = "healed", ago = "1h", earlier = true }]
[[question.expect]]
decides = "restart"
parameters = { grace = 3 }
confidence = [0.5, 0.5]
says = "0 were"
[[question]]
every = "3s"
repeat = 3
outcome = "not-healed"
blocked = { restart = "cooling down" }
[[question.expect]]
decides = "escalate"
[[question]]
findings = []
[[question]]
findings = [{ condition = "service-down" }]
[[expect]]
decides = "restart"
holds = "always"
[[expect]]
decides = "restart"
parameters = { grace = 4 }
holds = "ever"
"#;
    let scenario = CheckedScenario::read("t.toml", text).unwrap();
    let policy = Twice(Mutex::default());
    let turns = play_questions(&scenario, &policy).await;
    let met: Vec<bool> = scenario.judge(PluginRole::Policy, &turns).iter().map(|each| each.met).collect();
    assert_eq!(met, [true, true, false, false]);
    let questions = policy.0.lock().unwrap();
    let attempts: Vec<usize> = questions.iter().map(|question| question.incident.attempts.len()).collect();
    assert_eq!(attempts, [0, 1, 2, 2, 2, 2], "nothing becomes of what was not asked for");
    assert_eq!(questions[0].series[0].samples.len(), 1);
    assert_eq!(questions[0].series[0].samples[0].cpu, Some(30.0), "the newest of then");
    assert_eq!(questions[0].earlier.len(), 1);
    assert_eq!(questions[0].incident.parent, Some(questions[0].related[0].id));
    assert_eq!((questions[0].experience[0].alpha, questions[0].experience[0].beta), (4.0, 2.0));
    assert_eq!(questions[0].offers[0].blocked, None);
    assert_eq!(questions[1].offers[0].blocked.as_deref(), Some("cooling down"));
    assert_eq!(questions[4].incident.stage, heald_model::Stage::Resolved);
    assert_eq!((questions[5].incident.reopened, questions[5].incident.is_open()), (1, true));
}

#[test]
fn what_is_misspelt_is_told_with_its_line() {
    for (text, words) in [
        ("[[sample]]\nrepeats = 3\n", vec!["t.toml", "line 2", "unknown field `repeats`"]),
        ("[[sample]]\n[[sample.expect]]\nfindings = \"x\"\n", vec!["line 3", "unknown field `findings`"]),
        ("[[sample]]\nmemory = { rmap = [1, 2] }\n", vec!["line 2", "{ ramp = [from, to] }"]),
        ("[[sample]]\nat = \"soon\"\n", vec!["line 2", "not a duration"]),
        ("[service]\nbreaker = \"broken\"\n", vec!["line 2", "`broken`", "half_open"]),
        ("", vec!["line 1", "nothing is asked"]),
        ("\n[[sample]]\nprobe = \"tcp\"\n", vec!["t.toml, line 3", "no probe is called `tcp`; there are http"]),
        ("[[sample]]\nrepeat = 0\n", vec!["line 1", "at least 1"]),
        ("[[sample]]\n\n[[sample.expect]]\nholds = \"ever\"\n", vec!["line 3", "one of `finding`, `gauge`"]),
        ("[[sample]]\n\n[[sample.expect]]\ndecides = \"x\"\n", vec!["line 3", "`decides` cannot be expected here"]),
        (
            "[[sample]]\n[[expect]]\nfinding = \"x\"\nchanged = true\n",
            vec!["line 2", "`changed` says nothing of `finding`"],
        ),
        ("[[sample]]\n[[expect]]\nfinding = \"x\"\nscore = [1, 0]\n", vec!["line 2", "1 is more than 0"]),
        ("[[sample]]\n[[expect]]\ndecides = \"x\"\n", vec!["line 2", "[[question]]"]),
        ("[[question]]\n", vec!["line 1", "what holds"]),
        ("[[task]]\naction = \"a\"\ndo = \"undo\"\n", vec!["line 1", "nothing was performed"]),
        ("[[sample]]\nrepeat = 200000\n", vec!["too many"]),
    ] {
        let error = CheckedScenario::read("t.toml", text).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{text}\n{error}\nlacks {word}");
        }
    }
}

#[test]
fn the_shipped_ones_make_sense_and_others_are_not_known() {
    for (name, _) in SHIPPED {
        let scenario = CheckedScenario::shipped(name).unwrap();
        assert_eq!(scenario.roles(), [PluginRole::Detector, PluginRole::Policy], "{name}");
        assert!(!scenario.form.about.is_empty());
    }
    let error = CheckedScenario::shipped("fire").unwrap_err().to_string();
    assert_eq!(error, "no scenario is named `fire`; there are crash-loop, dependency-down, flap, slow-burn");
}
