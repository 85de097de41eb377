//! Calls and looks as the engine hands them over.
#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use heald_model::*;
use heald_store::Store;
use heald_store::TapeChunk;
use serde_json::json;

use super::{at, incident_id};

pub fn plugin(name: &str) -> PluginRef {
    PluginRef { name: name.into(), version: "0.1.0".into(), digest: "cd".repeat(32) }
}

/// Dice that fall the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 29)
    }

    /// 0..1.
    pub fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.roll().is_multiple_of(n)
    }
}

pub fn view(service: &str, running: u32) -> ServiceView {
    ServiceView {
        name: service.into(),
        tags: vec!["tier:front".into()],
        depends_on: vec![Dependency { service: "db".into(), up: Some(true) }],
        wanted: 1,
        running,
        ready: running,
        breaker: Breaker::Closed,
        metadata: json!({"owner": "ops", "weight": 0.1 + 0.2}),
        facts: vec![Fact::text("desired", "running")],
    }
}

/// A sample in which everything that can be there may be there, of any bits.
pub fn sample(service: &str, dice: &mut Dice, when: Moment) -> Sample {
    let mut sample = Sample::new(service.into(), if dice.one_in(3) { "process" } else { "http" }.into(), when);
    sample.replica = dice.one_in(4).then(|| Replica::from((dice.roll() % 3).to_string()));
    sample.incarnation = dice.one_in(2).then(|| dice.roll() % 5);
    sample.ok = (!dice.one_in(9)).then(|| !dice.one_in(7));
    sample.fault = dice.one_in(7).then(|| "refused".to_owned());
    sample.message = dice.one_in(7).then(|| format!("Connection refused on port {}", dice.roll() % 3));
    sample.reported = dice.one_in(5).then(|| "UP".to_owned());
    sample.latency = (!dice.one_in(5)).then(|| Duration::from_nanos(dice.roll() % 3_000_000_000));
    sample.status = dice.one_in(2).then(|| i32::try_from(dice.roll() % 600).unwrap() - 20);
    sample.cpu = dice.one_in(2).then(|| dice.part() * 100.0);
    sample.memory = dice.one_in(2).then(|| (dice.part() * 1e8).round() / 1e6);
    sample.error_rate = dice.one_in(3).then(|| f64::from_bits(dice.roll()));
    for name in ["threads", "memory_bytes", "größe"] {
        if dice.one_in(2) {
            sample.values.insert(name.into(), (dice.roll() % 10_000_000) as f64);
        }
    }
    sample
}

/// Looks without a gap, from the `from`th second on; the first with a checkpoint.
pub fn looks(service: &str, from: u64, count: u64) -> Vec<TapeEntry> {
    let mut dice = Dice::new(from);
    let each = (from..from + count).map(|second| {
        let when = at(second * 1_000) + Duration::from_nanos(dice.roll() % 1_000_000);
        let seed = |name: &str, dice: &mut Dice| {
            let seed = if dice.one_in(10) { dice.roll() } else { call_seed(&service.into(), &name.into(), when) };
            (PluginName::from(name), seed)
        };
        let names: &[&str] = if dice.one_in(8) { &["availability"] } else { &["availability", "threshold"] };
        TapeEntry {
            service: service.into(),
            at: when,
            view: (second == from || dice.one_in(20)).then(|| view(service, u32::try_from(second % 2).unwrap())),
            samples: (0..dice.roll() % 4)
                .map(|_| sample(service, &mut dice, when - Duration::from_millis(3)))
                .collect(),
            seeds: names.iter().map(|name| seed(name, &mut dice)).collect(),
            checkpoint: (second == from).then(|| Box::new(checkpoint(service, &mut dice, when))),
        }
    });
    each.collect()
}

fn checkpoint(service: &str, dice: &mut Dice, when: Moment) -> Checkpoint {
    let series = |probe: &str, dice: &mut Dice| Series {
        probe: probe.into(),
        role: Role::Readiness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: (1..=60_u32)
            .rev()
            .map(|ago| Sample { probe: probe.into(), ..sample(service, dice, when - Duration::from_secs(1) * ago) })
            .collect(),
        fresh: 0,
    };
    Checkpoint {
        probes: Vec::new(),
        series: vec![series("http", dice), series("process", dice)],
        kept: 60,
        detectors: vec![(plugin("availability"), "ab".repeat(32), Some(Blob(vec![0, 255, 7])))],
        findings: [("availability".into(), vec![("service-down".into(), None), ("slow".into(), Some("p99".into()))])]
            .into(),
    }
}

/// The `n`th call of a policy; every third number is one that JSON would not give back to the bit.
pub fn policy_call(n: u64, name: &str, incident: Option<u64>) -> PluginCall {
    let mut dice = Dice::new(n);
    let settings = format!(r#"{{"version":{}}}"#, n % 2);
    let opened = super::opened(n, "web", at(n));
    let question = Question {
        now: at(n),
        seed: dice.roll(),
        service: view("web", 1),
        series: Vec::new(),
        incident: Incident::open(&opened).unwrap(),
        earlier: Vec::new(),
        related: Vec::new(),
        offers: Vec::new(),
        experience: vec![Experience {
            signature: "service-down".into(),
            action: "restart".into(),
            service: None,
            tries: 3,
            successes: 2,
            alpha: dice.part(),
            beta: 0.1 + 0.2,
            recovery: Some(Duration::from_millis(n)),
            recovery_p90: None,
        }],
        state: Some(Blob(vec![1, 2, 3])),
    };
    let decision = Decision {
        choice: Choice::Act(Proposal {
            action: "restart".into(),
            parameters: json!({"grace": dice.part()}),
            verify_within: None,
        }),
        confidence: dice.part(),
        reason: "it is down".into(),
        considered: Vec::new(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Plugin(plugin(name)),
    };
    let heard =
        vec![HostCall { call: "kv.get".into(), asked: json!({"key": "a"}), answer: json!({"ok": dice.part()}) }];
    PluginCall {
        at: at(n),
        service: "web".into(),
        incident: incident.map(incident_id),
        plugin: plugin(name),
        settings: PluginSettings { digest: format!("{:064x}", n % 2).into(), text: settings.into() },
        part: if n.is_multiple_of(5) { SlotMode::Shadow } else { SlotMode::Active },
        replayable: !n.is_multiple_of(7),
        asked: CallInput::Policy(Box::new(question)),
        said: CallResult::Answer(Box::new(Answer { decision, state: None, heard })),
    }
}

pub fn detector_call(n: u64) -> PluginCall {
    let input = Observation { now: at(n), seed: n, service: view("web", 1), series: Vec::new(), state: None };
    let said = match n % 2 {
        0 => CallResult::Verdict(Verdict { gauges: vec![("load".into(), 0.1 + 0.2)], ..Verdict::default() }),
        _ => CallResult::Fault(Fault::new(FaultCause::Trap, "unreachable")),
    };
    PluginCall { asked: CallInput::Detector(Box::new(input)), said, ..policy_call(n, "availability", None) }
}

/// A whole tape, and the gaps in it.
pub async fn tape(store: &Store, service: &str, since: Moment) -> (Vec<TapeEntry>, Vec<String>) {
    let mut place = store.tape(service.into(), since).await.unwrap();
    let (mut all, mut gaps) = (Vec::new(), Vec::new());
    while let Some((TapeChunk { looks, gap }, next)) = store.looks(service.into(), place).await.unwrap() {
        place = next;
        all.extend(looks);
        gaps.extend(gap);
    }
    (all, gaps)
}

/// With every bit of every float.
pub fn bits<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:?}")
}
