//! Calls of plug-ins as they are kept, to be explained and replayed: everything that went in, and what came out.
//!
//! A plug-in is a function of its input, so a kept call can be made again, by the same plug-in or by another, and the answers
//! compared. Policy calls are kept whole. Detector calls, of which there are hundreds a second, are kept whole where their findings
//! changed; in between, what they were shown is on the tape ([`Look`]): samples, and now and then all that a replay needs to
//! begin from there ([`Checkpoint`]). Nothing here judges.

use std::collections::BTreeMap;
use std::sync::Arc;

use heald_model::{
    Fault, IncidentId, Moment, PluginName, PluginRef, ProbeSpec, Sample, Series, ServiceName, ServiceView,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ports::{Answer, Observation, Question, Verdict};

/// The effective configuration of a plug-in: what its `configure` got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// SHA-256 of the text, lower-case hex.
    pub digest: Arc<str>,
    /// JSON.
    pub text: Arc<str>,
}

/// What a call asked of the host while it ran, and the answer it got. A replay gives it the same answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    /// Interface and function, such as `kv.get`.
    pub call: String,
    /// With what.
    pub asked: Value,
    /// The answer.
    pub answer: Value,
}

/// Whether an answer counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// It does.
    #[default]
    Active,
    /// It is recorded and compared, and never carried out.
    Shadow,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", content = "input", rename_all = "lowercase")]
pub enum Asked {
    /// A detector.
    Detector(Box<Observation>),
    /// A policy.
    Policy(Box<Question>),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "output", rename_all = "lowercase")]
pub enum Said {
    /// By a detector.
    Verdict(Verdict),
    /// By a policy.
    Answer(Box<Answer>),
    /// Nothing that counts.
    Fault(Fault),
}

/// One call, whole.
#[derive(Clone, Debug)]
pub struct Call {
    /// When.
    pub at: Moment,
    /// About which service.
    pub service: ServiceName,
    /// In which incident, if one.
    pub incident: Option<IncidentId>,
    /// Of which plug-in.
    pub plugin: PluginRef,
    /// Configured how.
    pub settings: Settings,
    /// Whether it counted.
    pub part: Part,
    /// False: it saw a real clock, real dice, files or the network, and no replay can show it the same again.
    pub replayable: bool,
    /// The input.
    pub asked: Asked,
    /// The output, with what the host told it meanwhile.
    pub said: Said,
}

/// One look at a service: the new samples, and the dice each detector got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// At which service.
    pub service: ServiceName,
    /// The `now` of its calls.
    pub at: Moment,
    /// How the service stood, if that changed since the look before.
    pub view: Option<ServiceView>,
    /// What came in.
    pub samples: Vec<Sample>,
    /// The seed of each detector's call.
    pub seeds: Vec<(PluginName, u64)>,
    /// What held before this look, so that a replay can begin here.
    pub checkpoint: Option<Box<Checkpoint>>,
}

/// All that detectors could know of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What is checked of the service: how a new series begins.
    #[serde(default)]
    pub probes: Vec<ProbeSpec>,
    /// Every series with the samples that were kept of it.
    pub series: Vec<Series>,
    /// How many samples of each are kept.
    pub kept: usize,
    /// Each detector, its configuration's digest, and its memory.
    pub detectors: Vec<(PluginRef, String, Option<crate::ports::Blob>)>,
    /// What each detector held to be true, as (condition, subject).
    pub findings: BTreeMap<PluginName, Vec<(String, Option<String>)>>,
}

/// The dice of a detector's call: as good as random, and computed from what is on the tape anyway, where a random number for each
/// detector and look would be most of it. Never changed: old tapes are read with it.
pub fn die(service: &ServiceName, plugin: &PluginName, at: Moment) -> u64 {
    // FNV-1a over the names, so that every byte of them counts; then the finish of SplitMix64, so that every bit does.
    let names = service.as_str().bytes().chain([0]).chain(plugin.as_str().bytes());
    let seed = names
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mut mixed = seed ^ at.nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What the journal keeps beside its records.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A call, whole.
    Call(Box<Call>),
    /// A piece of the tape.
    Look(Box<Look>),
}

/// Which kept calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallQuery {
    /// Behind this number.
    pub after: u64,
    /// In this incident.
    pub incident: Option<IncidentId>,
    /// Of the plug-in of this name.
    pub plugin: Option<PluginName>,
    /// About this service.
    pub service: Option<ServiceName>,
    /// Not before.
    pub since: Option<Moment>,
    /// At most so many.
    pub limit: u32,
    /// True: the newest, newest first; else the oldest, oldest first.
    pub newest: bool,
}

/// A kept call with its number: calls are numbered in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// The call.
    pub call: Call,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_tapes_are_read_with_the_same_dice() {
        let at = Moment::from_millis(1_790_000_000_000);
        let seeds = [die(&"web".into(), &"threshold".into(), at), die(&"we".into(), &"bthreshold".into(), at)];
        assert_eq!(seeds, [7_827_943_037_694_708_636, 2_273_390_980_085_791_661]);
    }
}
