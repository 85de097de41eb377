//! A plug-in's failures on record: strikes against it, and an incident about it that ends when it answers again.

use heald_model::{
    Concern, Entry, Fact, Fault, Finding, Incident, IncidentId, Moment, PluginName, PluginRef, Record, ServiceName,
    Severity, Source, Stage,
};

use crate::heal::Healer;
use crate::ward::Ward;

/// The condition under which a plug-in's faults are incidents.
pub const PLUGIN_FAULT: &str = "plugin-fault";

impl Healer {
    /// Puts a plug-in's failure on record, as an incident about the plug-in.
    pub fn faulted(&self, about: Option<&ServiceName>, plugin: &PluginRef, fault: &Fault) {
        let now = self.now();
        self.last_faults().insert(plugin.name.clone(), fault.clone());
        let nobody = ServiceName::from("");
        let (strikes, rested_until) = self.strikes().failed(plugin, about.unwrap_or(&nobody), now);
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
        let mut faults = self.faults();
        let known = faults.get(&plugin.name).filter(|incident| self.still_one(incident, now));
        let (id, opening) = match known {
            Some(incident) if incident.is_open() => {
                let told = incident.concerns.iter().any(|known| known.finding.key() == concern.finding.key());
                (incident.id, (!told).then(|| Record::Concerned { concern: concern.clone() }))
            }
            other => {
                let reopened = other.map_or(0, |incident| incident.reopened.saturating_add(1));
                let id = other.map_or_else(|| IncidentId(self.id(now)), |incident| incident.id);
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
            why: format!("rested for {:.0} s, the native rules answer meanwhile", until.since(now).as_secs_f64()),
        });
        let records = opening.into_iter().chain([faulted]).chain(rest);
        let entries = records.map(|record| Entry::of_incident(now, service.clone(), id, record)).collect();
        self.write_faults(&mut faults, &plugin.name, entries);
    }

    /// A plug-in answered well: if it had failed, that is over.
    pub(crate) fn answered(&self, ward: &Ward, plugin: &PluginRef) {
        let struck = self.strikes().answered(plugin, &ward.spec.name);
        let mut faults = self.faults();
        // An incident of an earlier life of heald has no strikes in this one.
        if !struck && faults.get(&plugin.name).is_none_or(|incident| !incident.is_open()) {
            return;
        }
        let now = self.now();
        let service = ServiceName::of_plugin(&plugin.name);
        let Some(incident) = faults.get(&plugin.name).filter(|incident| incident.is_open()) else { return };
        let id = incident.id;
        let mut records: Vec<Record> = incident
            .concerns
            .iter()
            .map(|concern| {
                let (condition, subject) = concern.finding.key();
                Record::Cleared { condition: condition.to_owned(), subject: subject.map(str::to_owned) }
            })
            .collect();
        records.push(Record::PluginRecovered { plugin: plugin.name.clone(), about: Some(ward.spec.name.clone()) });
        if !self.strikes().any(plugin) {
            records.push(Record::Staged { stage: Stage::Resolved, why: "it answers again".into() });
        }
        let entries = records.into_iter().map(|record| Entry::of_incident(now, service.clone(), id, record)).collect();
        self.write_faults(&mut faults, &plugin.name, entries);
    }

    fn still_one(&self, incident: &Incident, now: Moment) -> bool {
        incident.resolved.is_none_or(|resolved| now.since(resolved) <= self.config().reopen_within)
    }

    fn write_faults(
        &self,
        faults: &mut std::collections::BTreeMap<PluginName, Incident>,
        plugin: &PluginName,
        entries: Vec<Entry>,
    ) {
        for entry in &entries {
            match faults.get_mut(plugin) {
                Some(incident) if entry.incident == Some(incident.id) => incident.apply(entry),
                _ => {
                    if let Some(incident) = Incident::open(entry) {
                        faults.insert(plugin.clone(), incident);
                    }
                }
            }
        }
        self.journal(entries);
    }
}
