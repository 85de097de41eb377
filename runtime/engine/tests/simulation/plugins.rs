//! The plug-ins of a simulated service: a detector and a policy with their moods, and a shadow that would burn everything down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heald_engine::ports::*;
use heald_engine::{PluginChain, PluginSlot};
use heald_model::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::ports::Life;
use crate::scenario::Moods;

/// A condition that holds all the time and that nothing disruptive is done about: it must not keep others from being healed.
pub const CHATTER: &str = "chatter";
/// A condition that comes and goes with every look.
pub const BLINK: &str = "blink";

fn plugin(name: &str) -> PluginRef {
    PluginRef { name: PluginName::from(name), version: "0".into(), digest: name.into() }
}

fn finding(condition: &str, severity: Severity) -> Finding {
    let (condition, message) = (condition.to_owned(), condition.to_owned());
    Finding { condition, subject: None, severity, score: 1.0, predicted: None, message, evidence: Vec::new() }
}

/// Availability as the native rules see it, and memory; fails, is silent, blinks and chatters as its moods say.
struct Detects {
    plugin: PluginRef,
    life: Arc<Life>,
    moods: Moods,
    dice: Mutex<StdRng>,
    blinked: AtomicBool,
}

#[async_trait]
impl Detector for Detects {
    fn plugin(&self) -> &PluginRef {
        &self.plugin
    }

    fn window(&self) -> Window {
        Window { samples: 10, ..Window::default() }
    }

    async fn evaluate(&self, input: &Observation) -> Result<Verdict, Fault> {
        think(self.moods.slow, &self.dice).await;
        let now = self.life.truly();
        let fails = now < self.moods.until && self.dice.lock().unwrap().random_bool(self.moods.faulty);
        if fails || self.moods.silent.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            return Err(Fault::new(FaultCause::Trap, "dice"));
        }
        let mut findings = heald_engine::native::detect(&input.series);
        findings.extend(self.moods.chatter.then(|| finding(CHATTER, Severity::Error)));
        let blinks = self.moods.blinks && now < self.moods.until && self.blinked.fetch_xor(true, Ordering::Relaxed);
        findings.extend(blinks.then(|| finding(BLINK, Severity::Warning)));
        let full = |series: &Series| series.samples.back().and_then(|s| s.memory).is_some_and(|memory| memory > 90.0);
        findings.extend(input.series.iter().any(full).then(|| finding("memory-pressure", Severity::Error)));
        Ok(Verdict { findings, gauges: Vec::new(), state: None, heard: Vec::new() })
    }
}

/// Deciding and detecting take a moment.
async fn think(most: Duration, dice: &Mutex<StdRng>) {
    if !most.is_zero() {
        let part = dice.lock().unwrap().random::<f64>();
        tokio::time::sleep(most.mul_f64(part)).await;
    }
}

struct Decides {
    plugin: PluginRef,
    moods: Moods,
    dice: Mutex<StdRng>,
}

#[async_trait]
impl Policy for Decides {
    fn plugin(&self) -> &PluginRef {
        &self.plugin
    }

    async fn decide(&self, question: &Question) -> Result<Answer, Fault> {
        think(self.moods.slow, &self.dice).await;
        let incident = &question.incident;
        let act =
            |action: &str| Choice::Act(Proposal { action: action.into(), parameters: json!({}), verify_within: None });
        let told = incident.attempts.iter().any(|attempt| attempt.intent.class == Class::Message);
        let choice = match incident.condition.as_str() {
            "memory-pressure" | BLINK => act("clear-cache"),
            CHATTER if self.moods.messages => act("notify"),
            CHATTER => Choice::NoAction,
            _ if self.moods.messages && !told => act("webhook"),
            _ => Choice::Pass,
        };
        let source = Source::Plugin(self.plugin.clone());
        Ok(Answer { decision: decision(choice, source), state: None, heard: Vec::new() })
    }
}

fn decision(choice: Choice, source: Source) -> Decision {
    let (considered, facts) = (Vec::new(), Vec::new());
    Decision { choice, confidence: 1.0, reason: "rule".into(), considered, facts, again_in: None, source }
}

/// A shadow that finds every service on fire and would stop them all: it must have no effect whatever.
struct Arsonist(PluginRef);

#[async_trait]
impl Detector for Arsonist {
    fn plugin(&self) -> &PluginRef {
        &self.0
    }

    fn window(&self) -> Window {
        Window::default()
    }

    async fn evaluate(&self, _: &Observation) -> Result<Verdict, Fault> {
        let findings = vec![finding("on-fire", Severity::Critical)];
        Ok(Verdict { findings, gauges: Vec::new(), state: None, heard: Vec::new() })
    }
}

#[async_trait]
impl Policy for Arsonist {
    fn plugin(&self) -> &PluginRef {
        &self.0
    }

    async fn decide(&self, _: &Question) -> Result<Answer, Fault> {
        let proposal = Proposal { action: "stop".into(), parameters: json!({}), verify_within: None };
        let decision = decision(Choice::Act(proposal), Source::Plugin(self.0.clone()));
        Ok(Answer { decision, state: None, heard: Vec::new() })
    }
}

/// True if an entry shows that the shadow had an effect.
pub fn burns(entry: &Entry) -> bool {
    match &entry.record {
        Record::Intended { intent } => intent.source == Source::Plugin(plugin("arson")),
        Record::Opened { condition, .. } => condition == "on-fire",
        _ => false,
    }
}

fn in_shadow<T: ?Sized>(plugin: Arc<T>, name: &str) -> PluginSlot<T> {
    PluginSlot { plugin, part: SlotMode::Shadow, trial: Some(name.into()), against: None }
}

/// The plug-ins of one service in one life of heald. Another version is another plug-in.
pub fn chain(life: &Arc<Life>, moods: &Moods, version: u64, seed: u64) -> PluginChain {
    let dice = || Mutex::new(StdRng::seed_from_u64(seed));
    let name = |name: &str| plugin(&if version == 0 { name.to_owned() } else { format!("{name}{version}") });
    let detects = Detects {
        plugin: name("d"),
        life: Arc::clone(life),
        moods: moods.clone(),
        dice: dice(),
        blinked: AtomicBool::new(false),
    };
    let decides = Decides { plugin: name("p"), moods: moods.clone(), dice: dice() };
    let mut plugins = PluginChain::active(vec![Arc::new(detects)], vec![Arc::new(decides)]);
    if moods.shadows {
        plugins.detectors.push(in_shadow(Arc::new(Arsonist(plugin("alarm"))), "alarm"));
        plugins.policies.insert(0, in_shadow(Arc::new(Arsonist(plugin("arson"))), "arson"));
    }
    plugins
}
