//! What of a scenario makes no sense, although every field is known. All of it at once, each with the byte where it stands.

use toml::Spanned;

use super::form::{ExpectForm, Holds, ScenarioForm, TaskKind};
use super::world;

/// Samples or questions of one file. A detector that needs more to be tested has a day of a real service in mind: that is a replay.
const LONGEST: u64 = 100_000;

/// Which expectations can be kept at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpectationScope {
    Whole,
    Sample,
    Question,
    Task,
}

/// Every problem.
pub(super) fn problems(form: &ScenarioForm) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if form.sample.is_empty() && form.question.is_empty() && form.task.is_empty() {
        found.push((0, "nothing is asked here; write [[sample]], [[question]] or [[task]] steps".to_owned()));
    }
    let probes: Vec<String> = world::probes(form).into_iter().map(|probe| probe.id).collect();
    let mut count = 0_u64;
    for step in &form.sample {
        let (at, step) = (step.span().start, step.get_ref());
        count += u64::from(step.repeat);
        found.extend(repeated(at, step.repeat));
        if let Some(probe) = step.probe.as_ref().filter(|name| !probes.contains(name.get_ref())) {
            let text = format!("no probe is called `{}`; there are {}", probe.get_ref(), probes.join(", "));
            found.push((probe.span().start, text));
        }
        found.extend(step.expect.iter().flat_map(|expect| expected(expect, ExpectationScope::Sample, form)));
    }
    for step in &form.question {
        let (at, step) = (step.span().start, step.get_ref());
        count += u64::from(step.repeat);
        found.extend(repeated(at, step.repeat));
        let offered = |name: &&String| !form.offer.iter().any(|offer| offer.action == **name);
        if let Some(name) = step.blocked.keys().find(offered) {
            found.push((at, format!("`{name}` is blocked and not on offer; write an [[offer]] of it")));
        }
        found.extend(step.expect.iter().flat_map(|expect| expected(expect, ExpectationScope::Question, form)));
    }
    if form.question.first().is_some_and(|first| first.get_ref().findings.as_ref().is_none_or(Vec::is_empty)) {
        let at = form.question.first().map_or(0, |first| first.span().start);
        found.push((
            at,
            "the first question says nothing of what holds; write `findings = [{ condition = \"...\" }]`".into(),
        ));
    }
    for (place, step) in form.task.iter().enumerate() {
        let performed = form.task.iter().take(place).any(|before| before.get_ref().deed == TaskKind::Perform);
        if step.get_ref().deed == TaskKind::Undo && !performed {
            found.push((step.span().start, "nothing was performed before that could be undone".to_owned()));
        }
        found.extend(step.get_ref().expect.iter().flat_map(|expect| expected(expect, ExpectationScope::Task, form)));
    }
    found.extend(form.expect.iter().flat_map(|expect| expected(expect, ExpectationScope::Whole, form)));
    if count > LONGEST {
        found.push((0, format!("{count} samples and questions are too many; {LONGEST} are the most")));
    }
    found.sort_by_key(|(at, _)| *at);
    found
}

fn repeated(at: usize, repeat: u32) -> Option<(usize, String)> {
    (repeat == 0).then(|| (at, "`repeat` must be at least 1".to_owned()))
}

/// What is wrong with one expectation.
fn expected(expect: &Spanned<ExpectForm>, place: ExpectationScope, form: &ScenarioForm) -> Vec<(usize, String)> {
    let (at, expect) = (expect.span().start, expect.get_ref());
    let subjects = [
        ("finding", expect.finding.is_some(), matches!(place, ExpectationScope::Sample | ExpectationScope::Whole)),
        ("gauge", expect.gauge.is_some(), matches!(place, ExpectationScope::Sample | ExpectationScope::Whole)),
        ("decides", expect.decides.is_some(), matches!(place, ExpectationScope::Question | ExpectationScope::Whole)),
        ("done", expect.done.is_some(), place == ExpectationScope::Task),
    ];
    let about: Vec<&str> = subjects.iter().filter(|(_, said, _)| *said).map(|(name, ..)| *name).collect();
    let fitting: Vec<String> =
        subjects.iter().filter(|(.., fits)| *fits).map(|(name, ..)| format!("`{name}`")).collect();
    let one = match about.as_slice() {
        [one] if subjects.iter().any(|(name, _, fits)| name == one && *fits) => *one,
        [one] => return vec![(at, format!("`{one}` cannot be expected here; {} can", fitting.join(" or ")))],
        _ => return vec![(at, format!("an expectation is about one of {}", fitting.join(", ")))],
    };
    let mut found = Vec::new();
    let fields = [
        ("holds", expect.holds.is_some(), one != "done"),
        ("first", expect.first.is_some(), one != "done"),
        ("subject", expect.subject.is_some(), one == "finding"),
        ("severity", expect.severity.is_some(), one == "finding"),
        ("at_least", expect.at_least.is_some(), one == "finding"),
        ("score", expect.score.is_some(), one == "finding"),
        ("between", expect.between.is_some(), one == "gauge"),
        ("confidence", expect.confidence.is_some(), one == "decides"),
        ("parameters", expect.parameters.is_some(), one == "decides"),
        ("considers", expect.considers.is_some(), one == "decides"),
        ("says", expect.says.is_some(), one != "gauge"),
        ("facts", !expect.facts.is_empty(), one != "gauge"),
        ("changed", expect.changed.is_some(), one == "done"),
        ("undoable", expect.undoable.is_some(), one == "done"),
    ];
    for (name, ..) in fields.iter().filter(|(_, said, fits)| *said && !fits) {
        found.push((at, format!("`{name}` says nothing of `{one}`")));
    }
    if expect.first.is_some() && expect.holds.is_some_and(|holds| holds == Holds::Never) {
        found.push((at, "`first` and `holds = \"never\"` cannot both be".to_owned()));
    }
    for (name, [low, high]) in [("score", expect.score), ("between", expect.between), ("confidence", expect.confidence)]
        .into_iter()
        .filter_map(|(name, bounds)| Some((name, bounds?)))
    {
        if low > high {
            found.push((at, format!("`{name}` is [low, high]; {low} is more than {high}")));
        }
    }
    if expect.first.is_some_and(|[from, to]| from > to) {
        found.push((at, "`first` is [from, to], the earlier time first".to_owned()));
    }
    // Of the whole it is about the part that is there.
    let part = match one {
        "decides" => ("[[question]]", form.question.is_empty()),
        _ => ("[[sample]]", form.sample.is_empty()),
    };
    if place == ExpectationScope::Whole && part.1 {
        found.push((at, format!("`{one}` is said of {} steps, and there are none", part.0)));
    }
    found
}
