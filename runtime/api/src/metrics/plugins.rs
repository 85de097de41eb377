//! Metrics of the plug-ins: what they cost, how they fail, whether they are in use, and how far shadows and canaries
//! differ.

use std::collections::BTreeMap;
use std::fmt::Result;

use heald_control::{PluginCounters, PluginMode, PluginState, PluginStatus};
use heald_model::Agreement;
use heald_model::FaultCause;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::families::{family, one};
use crate::Api;

/// Every state has a series, as it is with circuits.
const STATES: [(PluginState, &str); 5] = [
    (PluginState::Running, "running"),
    (PluginState::Loading, "loading"),
    (PluginState::Failed, "failed"),
    (PluginState::Disabled, "disabled"),
    (PluginState::RolledBack, "rolled-back"),
];

/// Every cause has a series from the beginning, because a rate needs a value before the first fault.
const CAUSES: [FaultCause; 10] = [
    FaultCause::Trap,
    FaultCause::CpuBudget,
    FaultCause::Deadline,
    FaultCause::Memory,
    FaultCause::Stack,
    FaultCause::HostBudget,
    FaultCause::BadOutput,
    FaultCause::BadConfig,
    FaultCause::Refused,
    FaultCause::Load,
];

/// The name of a family, its help, and how its number is read.
type PluginCount<Of> = (&'static str, &'static str, fn(&Of) -> u64);

/// The counters of every plug-in.
const COUNTS: [PluginCount<PluginCounters>; 5] = [
    ("plugin_calls", "Calls of evaluate, decide, check, perform and undo.", |of| of.calls),
    ("plugin_instances", "Instances made.", |of| of.instances),
    ("plugin_bytes_out", "Bytes that answers and host calls carried out of the guest.", |of| of.bytes_out),
    ("plugin_host_calls", "Calls it made of the host.", |of| of.host_calls),
    ("plugin_dropped_log_lines", "Log lines dropped for being too many.", |of| of.dropped_log_lines),
];

/// The counters of a shadow or a canary.
const COMPARISONS: [PluginCount<Agreement>; 6] = [
    ("plugin_compared", "Answers compared with what was done.", |of| of.compared),
    ("plugin_disagreed", "Compared answers that differed in what matters.", |of| of.disagreed),
    ("plugin_abstained", "Calls in which it passed, with nothing to compare.", |of| of.abstained),
    ("plugin_compared_faults", "Calls to compare in which it failed.", |of| of.faulted),
    ("plugin_would_have_acted", "Times it would have acted where nothing was done.", |of| of.would_have_acted),
    ("plugin_would_have_withheld", "Times it would have done nothing where something was.", |of| {
        of.would_have_withheld
    }),
];

const fn mode(mode: PluginMode) -> &'static str {
    match mode {
        PluginMode::Active => "active",
        PluginMode::Shadow => "shadow",
        PluginMode::Canary => "canary",
    }
}

/// All plug-ins at this moment; empty where plug-ins are not managed.
#[derive(Debug)]
pub(super) struct PluginMetrics(Vec<PluginStatus>);

impl PluginMetrics {
    pub(super) fn read(api: &Api) -> Self {
        Self(api.plugins.list())
    }

    /// One sample per plug-in.
    fn each<'a, V>(
        &'a self,
        of: impl Fn(&'a PluginStatus) -> V,
    ) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
        self.0.iter().map(move |plugin| ([("plugin", plugin.name.as_str())], of(plugin)))
    }

    /// One sample per compared plug-in.
    fn compared<V>(&self, of: impl Fn(&Agreement) -> V) -> impl Iterator<Item = ([(&'static str, &str); 1], V)> {
        self.each(|plugin| plugin.agreement.as_ref())
            .filter_map(move |(labels, agreement)| Some((labels, of(agreement?))))
    }
}

impl Collector for PluginMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result {
        let out = &mut encoder;
        let loaded = self.0.iter().filter_map(|plugin| Some((plugin, plugin.loaded.as_ref()?)));
        let told = loaded.map(|(plugin, loaded)| {
            [
                ("plugin", plugin.name.as_str()),
                ("version", loaded.version.as_str()),
                ("digest", loaded.digest.as_str()),
                ("mode", mode(plugin.mode)),
            ]
        });
        family("plugin", "What is loaded, and how its answers are used.").tells(out, told)?;
        let states = self.0.iter().flat_map(|plugin| STATES.map(|(state, word)| (plugin, state, word)));
        let states = states.map(|(plugin, state, word)| {
            ([("plugin", plugin.name.as_str()), ("state", word)], one(plugin.state == state))
        });
        family("plugin_state", "1 for the state that it is in.").levels(out, states)?;
        let rested = |plugin: &PluginStatus| plugin.quarantine.iter().filter(|pair| pair.until.is_some()).count();
        family("plugin_quarantined_services", "Services about which it is not asked for a while, after failing.")
            .levels(out, self.each(rested))?;

        for (name, help, of) in COUNTS {
            family(name, help).counts(out, self.each(|plugin| of(&plugin.counters)))?;
        }
        let faults = self.0.iter().flat_map(|plugin| {
            let mut faults: BTreeMap<&str, u64> = CAUSES.map(|cause| (cause.as_str(), 0)).into();
            faults.extend(plugin.counters.faults.iter().map(|(cause, count)| (cause.as_str(), *count)));
            faults.into_iter().map(|(cause, count)| ([("plugin", plugin.name.as_str()), ("cause", cause)], count))
        });
        family("plugin_faults", "Calls that ended in a fault.").counts(out, faults)?;
        family("plugin_guest", "Time its code had on a thread.")
            .of(&Unit::Seconds)
            .counts(out, self.each(|plugin| plugin.counters.guest_seconds))?;
        family("plugin_wall", "Time its calls took from beginning to end.")
            .of(&Unit::Seconds)
            .counts(out, self.each(|plugin| plugin.counters.wall_seconds))?;
        family("plugin_peak_memory", "The most linear memory that one instance had.")
            .of(&Unit::Bytes)
            .levels(out, self.each(|plugin| plugin.counters.peak_memory_bytes))?;

        for (name, help, of) in COMPARISONS {
            family(name, help).counts(out, self.compared(of))?;
        }
        let ratio = Unit::Other("ratio".into());
        family("plugin_divergence", "The share of compared answers that differed.")
            .of(&ratio)
            .levels(out, self.compared(Agreement::disagreement))
    }
}
