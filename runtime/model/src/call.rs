//! Calls of plug-ins: what each is shown, what it answers, and both together as they are kept for replay.
//!
//! A plug-in is a function of its input, so a kept call can be made again, by the same plug-in or by another, and the answers
//! compared. Policy calls are kept whole. Detector calls, of which there are hundreds a second, are kept whole where their findings
//! changed; in between, what they were shown is on the tape ([`TapeEntry`]): samples, and now and then all that a replay needs to
//! begin from there ([`Checkpoint`]). Nothing here judges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::{Attempt, Offer};
use crate::decision::{Decision, Experience};
use crate::finding::Finding;
use crate::id::{IncidentId, PluginName, ServiceName};
use crate::incident::Incident;
use crate::plugin::{Fault, PluginRef};
use crate::sample::{Sample, Series};
use crate::service::{ProbeSpec, ServiceView};
use crate::time::Moment;

/// How much of the past a plug-in wants to see; 0: no bound. The engine may have less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// At most so many samples of each series.
    pub samples: u32,
    /// None older than this.
    pub span: Duration,
    /// True: the whole window in every call; false: with state, only what is fresh.
    pub sliding: bool,
}

/// A plug-in's memory of a service, or what an undo needs: opaque bytes. Written as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a detector is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The time.
    pub now: Moment,
    /// For its dice.
    pub seed: u64,
    /// The service as it stands.
    pub service: ServiceView,
    /// Every series that is still believed, each with at least its newest sample.
    pub series: Vec<Series>,
    /// Its memory of this service, from its last good call.
    pub state: Option<Blob>,
}

/// What a detector says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All that holds now.
    pub findings: Vec<Finding>,
    /// Numbers worth a chart.
    pub gauges: Vec<(String, f64)>,
    /// Its memory; None: as before.
    pub state: Option<Blob>,
    /// What the host told it meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<HostCall>,
}

/// What a policy is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The time.
    pub now: Moment,
    /// For its dice.
    pub seed: u64,
    /// The service as it stands.
    pub service: ServiceView,
    /// What the probes saw lately.
    pub series: Vec<Series>,
    /// What to decide about.
    pub incident: Incident,
    /// Attempts in earlier incidents of this service, of the last 24 hours, oldest first.
    pub earlier: Vec<Attempt>,
    /// The incident that explains it, and the others that are open with it.
    pub related: Vec<Incident>,
    /// What can be done.
    pub offers: Vec<Offer>,
    /// What is known of the signature.
    pub experience: Vec<Experience>,
    /// Its memory of this service.
    pub state: Option<Blob>,
}

/// What a policy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What to do.
    pub decision: Decision,
    /// Its memory; None: as before.
    pub state: Option<Blob>,
    /// What the host told it meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heard: Vec<HostCall>,
}

/// The effective configuration of a plug-in: what its `configure` got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSettings {
    /// SHA-256 of the text, lower-case hex.
    pub digest: Arc<str>,
    /// JSON.
    pub text: Arc<str>,
}

/// What a call asked of the host while it ran, and the answer it got. A replay gives it the same answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostCall {
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
pub enum SlotMode {
    /// It does.
    #[default]
    Active,
    /// It is recorded and compared, and never carried out.
    Shadow,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", content = "input", rename_all = "lowercase")]
pub enum CallInput {
    /// A detector.
    Detector(Box<Observation>),
    /// A policy.
    Policy(Box<Question>),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "output", rename_all = "lowercase")]
pub enum CallResult {
    /// By a detector.
    Verdict(Verdict),
    /// By a policy.
    Answer(Box<Answer>),
    /// Nothing that counts.
    Fault(Fault),
}

/// One call, whole.
#[derive(Clone, Debug)]
pub struct PluginCall {
    /// When.
    pub at: Moment,
    /// About which service.
    pub service: ServiceName,
    /// In which incident, if one.
    pub incident: Option<IncidentId>,
    /// Of which plug-in.
    pub plugin: PluginRef,
    /// Configured how.
    pub settings: PluginSettings,
    /// Whether it counted.
    pub part: SlotMode,
    /// False: it saw a real clock, real dice, files or the network, and no replay can show it the same again.
    pub replayable: bool,
    /// The input.
    pub asked: CallInput,
    /// The output, with what the host told it meanwhile.
    pub said: CallResult,
}

/// One look at a service: the new samples, and the dice each detector got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TapeEntry {
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
    pub detectors: Vec<(PluginRef, String, Option<Blob>)>,
    /// What each detector held to be true, as (condition, subject).
    pub findings: BTreeMap<PluginName, Vec<(String, Option<String>)>>,
}

/// The dice of a detector's call: as good as random, and computed from what is on the tape anyway, where a random number for each
/// detector and look would be most of it. Never changed: old tapes are read with it.
pub fn call_seed(service: &ServiceName, plugin: &PluginName, at: Moment) -> u64 {
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
pub enum Recording {
    /// A call, whole.
    Call(Box<PluginCall>),
    /// A piece of the tape.
    Tape(Box<TapeEntry>),
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
pub struct NumberedCall {
    /// Its number.
    pub seq: u64,
    /// The call.
    pub call: PluginCall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_tapes_are_read_with_the_same_dice() {
        let at = Moment::from_millis(1_790_000_000_000);
        let seeds =
            [call_seed(&"web".into(), &"threshold".into(), at), call_seed(&"we".into(), &"bthreshold".into(), at)];
        assert_eq!(seeds, [7_827_943_037_694_708_636, 2_273_390_980_085_791_661]);
    }
}
