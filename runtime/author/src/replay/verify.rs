//! `heald replay` without a candidate: repeats every recorded call with the plug-in that answered it. The answer must be the same to the bit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use heald_model::{CallQuery, NumberedCall};
use heald_store::Archive;
use serde_json::{Value, json};

use super::explain::{outcome, said, unread};
use super::recorded_plugins::{Again, RecordedPlugins};
use super::{DIFFERS, ReplayArgs, Span, TROUBLE, stamp};

/// Calls read at once.
const PAGE: u32 = 512;

/// The counts of a replay.
#[derive(Debug, Default)]
struct ReplayCount {
    calls: u64,
    same: u64,
    differ: u64,
    unreadable: Vec<Value>,
    /// The reasons why calls cannot be repeated, with the number of calls.
    untold: BTreeMap<String, u64>,
    gone: BTreeMap<String, u64>,
}

pub(super) async fn verify(
    args: &ReplayArgs,
    span: &Span,
    archive: &Archive,
    plugins: &mut RecordedPlugins,
) -> anyhow::Result<u8> {
    let began = Instant::now();
    let (count, shown) = again(args.limit_differences, span, archive, plugins).await?;
    let seconds = began.elapsed().as_secs_f64();
    let told = match args.json {
        true => serde_json::to_string_pretty(&whole(&count, &shown, seconds))? + "\n",
        false => report(&count, &shown, seconds),
    };
    std::io::stdout().lock().write_all(told.as_bytes())?;
    Ok(count.code())
}

impl ReplayCount {
    fn code(&self) -> u8 {
        match () {
            () if self.differ > 0 => DIFFERS,
            () if !self.gone.is_empty() || !self.unreadable.is_empty() => TROUBLE,
            // No difference was found, but no call was repeated either.
            () if self.same == 0 => TROUBLE,
            () => 0,
        }
    }
}

/// Repeats every call; returns the first differences too.
async fn again(
    limit: usize,
    span: &Span,
    archive: &Archive,
    plugins: &mut RecordedPlugins,
) -> anyhow::Result<(ReplayCount, Vec<(NumberedCall, Again)>)> {
    let mut count = ReplayCount::default();
    let mut shown: Vec<(NumberedCall, Again)> = Vec::new();
    let mut query =
        CallQuery { since: Some(span.since), service: span.service.clone(), limit: PAGE, ..CallQuery::default() };
    loop {
        let page = archive.calls(&query)?;
        let Some(next) = page.next() else { break };
        query.after = next;
        count.unreadable.extend(page.unreadable.iter().map(unread));
        for numbered in page.calls {
            count.calls += 1;
            let again = plugins.again(&numbered.call).await;
            let whose = |why: &String| format!("{}: {why}", numbered.call.plugin);
            match &again {
                Again::Same => count.same += 1,
                Again::Untold(why) => *count.untold.entry(whose(why)).or_default() += 1,
                Again::Gone(why) => *count.gone.entry(whose(why)).or_default() += 1,
                Again::Differs(_) => {
                    count.differ += 1;
                    if shown.len() < limit {
                        shown.push((numbered, again));
                    }
                }
            }
        }
    }
    Ok((count, shown))
}

fn report(count: &ReplayCount, shown: &[(NumberedCall, Again)], seconds: f64) -> String {
    let mut text = String::new();
    for (NumberedCall { seq, call }, again) in shown {
        let now = match again {
            Again::Differs(other) => said(other),
            _ => continue,
        };
        let _ = writeln!(text, "{}  {}  call {seq} of {}", stamp(call.at), call.service, call.plugin);
        let _ = writeln!(text, "  was     {}\n  is now  {now}", said(&call.said));
    }
    for (why, calls) in count.untold.iter().chain(&count.gone) {
        let _ = writeln!(text, "{} cannot be repeated: {why}", calls_of(*calls));
    }
    if !count.unreadable.is_empty() {
        let _ = writeln!(text, "{} cannot be read", calls_of(count.unreadable.len() as u64));
    }
    let ReplayCount { calls, same, differ, .. } = count;
    let _ = writeln!(
        text,
        "{}: {same} with the same answer, bit for bit; {differ} with another ({seconds:.1} s)",
        calls_of(*calls)
    );
    text
}

fn calls_of(number: u64) -> String {
    format!("{number} call{}", if number == 1 { "" } else { "s" })
}

fn whole(count: &ReplayCount, shown: &[(NumberedCall, Again)], seconds: f64) -> Value {
    let differences = shown.iter().map(|(NumberedCall { seq, call }, again)| {
        json!({
            "seq": seq,
            "at": stamp(call.at),
            "service": call.service,
            "incident": call.incident,
            "plugin": call.plugin,
            "said": call.said,
            "again": outcome(again),
        })
    });
    json!({
        "calls": count.calls,
        "same": count.same,
        "differ": count.differ,
        "untold": count.untold,
        "gone": count.gone,
        "unreadable": count.unreadable,
        "differences": differences.collect::<Vec<_>>(),
        "seconds": seconds,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use heald_engine::ports::{Journal, Policy};
    use heald_host::{Host, Options, PluginConfig};
    use heald_model::{
        ActionInfo, Attempt, Breaker, Choice, Concern, Ending, Entry, Fact, Fault, FaultCause, Finding, Incident,
        IncidentId, Intent, Moment, Offer, Outcome, Record, ServiceView, Severity, Source,
    };
    use heald_model::{Answer, Question};
    use heald_model::{CallInput, CallResult, PluginCall, PluginSettings, Recording, SlotMode};
    use heald_store::{NodeIdentity, Store, StoreConfig};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use heald_config::{self as config, Environment};
    use heald_platform::builtins;

    const RULES: &str = "builtin:decide-rules";

    fn table() -> PluginConfig {
        serde_json::from_value(json!({ "name": "rules", "component": RULES })).unwrap()
    }

    /// The `n`th of many different questions.
    fn question(n: u64) -> Question {
        let at = Moment::from_millis(1_790_000_000_000 + n * 997);
        let id = IncidentId(Uuid::from_u128(u128::from(n) + 1));
        let conditions = ["service-down", "high-latency", "memory-pressure", "unheard-of"];
        let condition = conditions[n as usize % conditions.len()];
        let severities = [Severity::Critical, Severity::Error, Severity::Warning];
        let finding = Finding {
            condition: condition.into(),
            subject: n.is_multiple_of(3).then(|| "http".to_owned()),
            severity: severities[n as usize / 64 % 3],
            score: 1.0 / (n + 1) as f64,
            predicted: None,
            message: format!("it is so for the {n}th time"),
            evidence: vec![Fact::text("cause", "refused"), Fact::number("failures", 0.1 * n as f64)],
        };
        let concern = Concern { finding, source: Source::Native, since: at };
        let opened = Record::Opened { condition: condition.into(), concern, parent: None, reopened: 0 };
        let mut incident = Incident::open(&Entry::of_incident(at, "web".into(), id, opened)).unwrap();
        incident.attempts = (0..n / 4 % 4).map(|back| attempt(id, at, n, back)).collect();
        let actions = ["restart", "stop", "clear-cache", "notify"];
        let offer = |name: &&str| Offer {
            action: ActionInfo {
                name: (*name).to_owned(),
                summary: String::new(),
                parameters: json!({}),
                disruptive: *name != "notify",
                undoable: false,
                facts: Vec::new(),
            },
            source: Source::Native,
            blocked: None,
        };
        Question {
            now: at,
            seed: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            service: ServiceView {
                name: "web".into(),
                tags: Vec::new(),
                depends_on: Vec::new(),
                wanted: 1,
                running: 1,
                ready: 0,
                breaker: Breaker::Closed,
                metadata: json!({ "weight": 0.1 + 0.2 }),
                facts: Vec::new(),
            },
            series: Vec::new(),
            incident,
            earlier: Vec::new(),
            related: Vec::new(),
            offers: actions[..1 + n as usize / 16 % 4].iter().map(offer).collect(),
            experience: Vec::new(),
            state: None,
        }
    }

    fn attempt(incident: IncidentId, at: Moment, n: u64, back: u64) -> Attempt {
        let at = at - std::time::Duration::from_secs(60 * (back + 1));
        let intent = Intent {
            id: heald_model::IntentId(Uuid::from_u128(u128::from(n * 8 + back) + (1 << 64))),
            incident: Some(incident),
            service: "web".into(),
            signature: None,
            action: "restart".into(),
            parameters: json!({}),
            class: heald_model::Class::Restore,
            source: Source::Native,
            at,
            cause: None,
            verify_within: std::time::Duration::from_secs(5),
        };
        let ending = Ending::Verified(Outcome::NotHealed);
        Attempt { intent, receipt: None, proof: None, ending, undone: false, relapsed: false, took: None }
    }

    /// A journal of so many decisions of the built-in rules, each made by calling them; and those calls.
    async fn journal(path: &Path, count: u64) -> Vec<PluginCall> {
        let host = Host::with(Options { builtins: builtins::embedded(), ..Options::default() }).unwrap();
        let plugin = host.load(&table()).unwrap();
        let rules = json!({ "rules": [
            { "when": { "condition": "service-down" }, "do": "restart", "then": ["stop", "notify"] },
            { "when": { "condition": "high-latency" }, "do": "clear-cache", "then": ["restart"] },
            { "when": { "condition": "memory-pressure" }, "do": "notify" },
        ]});
        let configured = rules.as_object().unwrap().clone();
        let policy = plugin.policy(&configured).await.unwrap();
        let store = Store::open(&StoreConfig::at(path), NodeIdentity::alone("test")).unwrap().store;
        let mut calls = Vec::new();
        for n in 0..count {
            let question = question(n);
            let answer = policy.decide(&question).await.unwrap();
            let call = PluginCall {
                at: question.now,
                service: "web".into(),
                incident: Some(question.incident.id),
                plugin: policy.plugin().clone(),
                settings: policy.settings(),
                part: SlotMode::Active,
                replayable: policy.replayable(),
                asked: CallInput::Policy(Box::new(question)),
                said: CallResult::Answer(Box::new(answer)),
            };
            store.keep(Recording::Call(Box::new(call.clone())));
            calls.push(call);
            if n % 256 == 255 {
                store.flush().await.unwrap();
            }
        }
        store.flush().await.unwrap();
        assert_eq!(store.dropped(), 0);
        calls
    }

    async fn replayed(path: &Path) -> (ReplayCount, Vec<(NumberedCall, Again)>) {
        let loaded = config::parse(None, &Environment::new(), &builtins::names()).unwrap();
        let mut config = loaded.config;
        config.store = StoreConfig::at(path);
        let mut plugins = RecordedPlugins::new(&config).unwrap();
        let span = Span { since: Moment::EPOCH, service: None };
        again(10, &span, &Archive::open(path).unwrap(), &mut plugins).await.unwrap()
    }

    async fn replay_bit_for_bit(decisions: u64) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let calls = journal(&path, decisions).await;
        let (count, shown) = Box::pin(replayed(&path)).await;
        assert_eq!((count.calls, count.same, count.differ), (decisions, decisions, 0), "{shown:?}");
        assert_eq!(count.code(), 0);
        let answers = calls.iter().map(|call| said(&call.said));
        answers.collect::<std::collections::BTreeSet<_>>().len()
    }

    #[tokio::test]
    async fn decisions_replay_bit_for_bit() {
        let answers = Box::pin(replay_bit_for_bit(300)).await;
        assert!(answers > 5, "{answers} different answers are too few to prove anything");
    }

    /// `cargo test --workspace --lib -- --ignored ten_thousand`
    #[tokio::test]
    #[ignore = "takes half a minute unoptimised"]
    async fn ten_thousand_decisions_replay_bit_for_bit() {
        Box::pin(replay_bit_for_bit(10_000)).await;
    }

    #[tokio::test]
    async fn what_does_not_match_is_told_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heald.db");
        let call = journal(&path, 1).await.remove(0);
        let CallResult::Answer(answer) = call.said.clone() else { panic!("{:?}", call.said) };
        let mut other: Answer = (*answer).clone();
        other.decision.confidence = f64::from_bits(other.decision.confidence.to_bits() ^ 1);
        let mut gone = call.plugin.clone();
        gone.digest = "ef".repeat(32);
        let clock = CallResult::Fault(Fault::new(FaultCause::CpuBudget, "more than 10 ms"));
        let trap = CallResult::Fault(Fault::new(FaultCause::Trap, "unreachable"));
        let store = Store::open(&StoreConfig::at(&path), NodeIdentity::alone("test")).unwrap().store;
        for call in [
            PluginCall { said: CallResult::Answer(Box::new(other)), ..call.clone() },
            PluginCall { said: trap, ..call.clone() },
            PluginCall { said: clock, ..call.clone() },
            PluginCall { replayable: false, ..call.clone() },
            PluginCall { plugin: gone, ..call.clone() },
            PluginCall { settings: PluginSettings { digest: "0".into(), text: "".into() }, ..call.clone() },
        ] {
            store.keep(Recording::Call(Box::new(call)));
        }
        drop(store);
        let (count, shown) = Box::pin(replayed(&path)).await;
        assert_eq!((count.calls, count.same, count.differ), (7, 1, 2));
        assert_eq!(shown.iter().map(|(numbered, _)| numbered.seq).collect::<Vec<_>>(), [2, 3], "a single bit shows");
        assert!(
            matches!(&shown[0].1, Again::Differs(said) if matches!(&**said, CallResult::Answer(a) if a.decision.choice != Choice::Pass))
        );
        let why = |counts: &BTreeMap<String, u64>| counts.keys().cloned().collect::<Vec<_>>().join("\n");
        assert!(why(&count.untold).contains("stopped by the clock") && why(&count.untold).contains("real clock"));
        assert!(
            why(&count.gone).contains("efefefefefef is gone")
                && why(&count.gone).contains("configuration 0 is not on record")
        );
        assert_eq!(count.code(), DIFFERS);
        let told = report(&count, &shown, 0.0);
        assert!(told.contains("7 calls: 1 with the same answer") && told.contains("is now  "), "{told}");
    }
}
