//! A plug-in's failures on record: strikes against it, and an incident about it that ends when it answers again.
//!
//! `tracker` counts and decides when a plug-in is not asked for a while; this file puts it on record.

mod allowance;
pub mod tracker;

use std::collections::BTreeMap;

use heald_model::{
    Concern, Entry, Fact, Fault, Finding, Incident, IncidentId, Moment, PluginName, PluginRef, Record, ServiceName,
    Severity, Source, Stage,
};

use crate::context::Context;
use crate::service::Service;

/// The condition under which a plug-in's faults are incidents.
pub const PLUGIN_FAULT: &str = "plugin-fault";
/// Lines of a timeline kept in memory: a plug-in that fails for weeks must not grow for weeks. The journal has all of them.
const LINES: usize = 64;

/// Puts a plug-in's failure on record, as an incident about the plug-in.
pub(crate) fn faulted(ctx: &Context, about: Option<&ServiceName>, plugin: &PluginRef, fault: &Fault) {
    let now = ctx.now();
    ctx.plugin_faults.last().insert(plugin.name.clone(), fault.clone());
    let nobody = ServiceName::from("");
    let (strikes, rested_until) = ctx.plugin_faults.tracker().failed(plugin, about.unwrap_or(&nobody), now);
    tracing::warn!(plugin = %plugin, service = about.map(ServiceName::as_str), strikes, "{fault}");
    let service = ServiceName::of_plugin(&plugin.name);
    let finding = Finding {
        condition: PLUGIN_FAULT.into(),
        subject: Some(fault.cause.to_string()),
        severity: Severity::Error,
        score: 1.0,
        predicted: None,
        message: fault.to_string(),
        evidence: about.map(|about| Fact::text("service", about.as_str())).into_iter().collect(),
    };
    let concern = Concern { finding, source: Source::Native, since: now };
    let mut faults = ctx.plugin_faults.incidents();
    let known = faults.get(&plugin.name).filter(|incident| still_one(ctx, incident, now));
    let (id, opening) = match known {
        Some(incident) if incident.is_open() => {
            let told = incident.concerns.iter().any(|known| known.finding.key() == concern.finding.key());
            (incident.id, (!told).then(|| Record::Concerned { concern: concern.clone() }))
        }
        other => {
            let reopened = other.map_or(0, |incident| incident.reopened.saturating_add(1));
            let id = other.map_or_else(|| IncidentId(ctx.id(now)), |incident| incident.id);
            (id, Some(Record::Opened { condition: PLUGIN_FAULT.into(), concern, parent: None, reopened }))
        }
    };
    let faulted = Record::PluginFaulted {
        plugin: plugin.clone(),
        about: about.cloned(),
        fault: fault.clone(),
        strikes,
        rested_until,
    };
    let rest = rested_until.map(|until| Record::Staged {
        stage: Stage::Healing,
        why: format!("is_quarantined for {:.0} s, the native rules answer meanwhile", until.since(now).as_secs_f64()),
    });
    let records = opening.into_iter().chain([faulted]).chain(rest);
    let entries = records.map(|record| Entry::of_incident(now, service.clone(), id, record)).collect();
    write_faults(ctx, &mut faults, &plugin.name, entries);
}

/// A plug-in answered well: if it had failed, that is over.
pub(crate) fn answered(ctx: &Context, service: &Service, plugin: &PluginRef) {
    let struck = ctx.plugin_faults.tracker().answered(plugin, &service.name);
    let mut faults = ctx.plugin_faults.incidents();
    // An incident of an earlier life of heald has no strikes in this one.
    if !struck && faults.get(&plugin.name).is_none_or(|incident| !incident.is_open()) {
        return;
    }
    let now = ctx.now();
    let about = ServiceName::of_plugin(&plugin.name);
    let Some(incident) = faults.get(&plugin.name).filter(|incident| incident.is_open()) else { return };
    let id = incident.id;
    let mut records = all_cleared(incident);
    records.push(Record::PluginRecovered { plugin: plugin.name.clone(), about: Some(service.name.clone()) });
    if !ctx.plugin_faults.tracker().any(plugin) {
        records.push(Record::Staged { stage: Stage::Resolved, why: "it answers again".into() });
    }
    let entries = records.into_iter().map(|record| Entry::of_incident(now, about.clone(), id, record)).collect();
    write_faults(ctx, &mut faults, &plugin.name, entries);
}

/// The plug-in is no longer there, or no longer the one that failed: its strikes are forgiven, and its incident is resolved.
pub(crate) fn gone(ctx: &Context, plugin: &PluginRef, why: &str) {
    // What could not be loaded failed under its name alone.
    let unloaded = PluginRef { name: plugin.name.clone(), version: String::new(), digest: String::new() };
    {
        let mut tracker = ctx.plugin_faults.tracker();
        for version in [plugin, &unloaded] {
            for strike in tracker.of(version) {
                tracker.answered(version, &strike.service);
            }
        }
    }
    let now = ctx.now();
    let mut faults = ctx.plugin_faults.incidents();
    // What can no longer be reopened need not be remembered: names of plug-ins come and go.
    faults.retain(|_, incident| still_one(ctx, incident, now));
    let Some(incident) = faults.get(&plugin.name).filter(|incident| incident.is_open()) else { return };
    let mut records = all_cleared(incident);
    records.push(Record::Staged { stage: Stage::Resolved, why: why.to_owned() });
    let (id, about) = (incident.id, ServiceName::of_plugin(&plugin.name));
    let entries = records.into_iter().map(|record| Entry::of_incident(now, about.clone(), id, record)).collect();
    write_faults(ctx, &mut faults, &plugin.name, entries);
}

fn all_cleared(incident: &Incident) -> Vec<Record> {
    let keys = incident.concerns.iter().map(|concern| concern.finding.key());
    keys.map(|(condition, subject)| Record::Cleared {
        condition: condition.to_owned(),
        subject: subject.map(str::to_owned),
    })
    .collect()
}

fn still_one(ctx: &Context, incident: &Incident, now: Moment) -> bool {
    incident.resolved.is_none_or(|resolved| now.since(resolved) <= ctx.config.reopen_within)
}

fn write_faults(ctx: &Context, faults: &mut BTreeMap<PluginName, Incident>, plugin: &PluginName, entries: Vec<Entry>) {
    entries.iter().for_each(|entry| apply(faults, plugin, entry));
    ctx.journal(entries);
}

fn apply(faults: &mut BTreeMap<PluginName, Incident>, plugin: &PluginName, entry: &Entry) {
    match faults.get_mut(plugin) {
        Some(incident) if entry.incident == Some(incident.id) => {
            incident.apply(entry);
            let lines = incident.timeline.len();
            incident.timeline.drain(..lines.saturating_sub(LINES));
        }
        _ => {
            if let Some(incident) = Incident::open(entry) {
                faults.insert(plugin.clone(), incident);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use heald_model::FaultCause;

    use super::*;

    #[test]
    fn the_incident_of_a_plugin_that_fails_for_weeks_stays_small_in_memory() {
        let plugin = PluginRef { name: "p".into(), version: "1".into(), digest: "d".into() };
        let (service, id) = (ServiceName::of_plugin(&plugin.name), IncidentId(uuid::Uuid::from_u128(1)));
        let fault = Fault::new(FaultCause::Trap, "unreachable");
        let finding = Finding {
            condition: PLUGIN_FAULT.into(),
            subject: None,
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: fault.to_string(),
            evidence: Vec::new(),
        };
        let concern = Concern { finding, source: Source::Native, since: Moment::EPOCH };
        let opened = Record::Opened { condition: PLUGIN_FAULT.into(), concern, parent: None, reopened: 0 };
        let mut faults = BTreeMap::new();
        apply(&mut faults, &plugin.name, &Entry::of_incident(Moment::EPOCH, service.clone(), id, opened));
        for strikes in 1..=1_000 {
            let (plugin, fault) = (plugin.clone(), fault.clone());
            let faulted = Record::PluginFaulted { plugin, about: None, fault, strikes, rested_until: None };
            let at = Moment::from_millis(strikes.into());
            apply(&mut faults, &"p".into(), &Entry::of_incident(at, service.clone(), id, faulted));
        }
        let incident = &faults[&plugin.name];
        assert_eq!(incident.timeline.len(), LINES);
        assert_eq!(incident.timeline.last().map(|line| line.at), Some(Moment::from_millis(1_000)));
    }
}
