//! From findings to incidents: what opens, comes back, changes and clears.
//!
//! Pure. Findings are levels, so this compares all that holds now with all that was open before. It does not resolve: that
//! takes proof, see [`crate::proof_window`].

use std::time::Duration;

use heald_model::{Concern, Incident, IncidentId, Moment, Severity, Stage};

/// One thing to put on record.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A condition nobody tends yet.
    Open(Concern),
    /// A condition whose incident was resolved a short while ago.
    Reopen(IncidentId, u32, Concern),
    /// A new finding, or a known one at another severity, in an open incident.
    Concern(IncidentId, Concern),
    /// A finding that no longer holds.
    Clear(IncidentId, String, Option<String>),
}

/// Compares what holds now with the service's incidents (open ones, and those resolved lately). Informational findings are
/// shown, not tended: they open nothing.
pub fn correlate(incidents: &[&Incident], concerns: &[Concern], now: Moment, reopen_within: Duration) -> Vec<Change> {
    let mut changes = Vec::new();
    // A condition opened in this very pass takes the further findings of the same condition along.
    let mut opened: Vec<&str> = Vec::new();
    for concern in concerns.iter().filter(|concern| concern.finding.severity > Severity::Info) {
        let condition = concern.finding.condition.as_str();
        // An open one comes first: where a wall clock was ahead, one that is over can seem as new.
        let of_condition = incidents.iter().filter(|incident| incident.condition == condition);
        let newest = of_condition.max_by_key(|incident| (incident.is_open(), incident.updated));
        match newest {
            Some(incident) if incident.is_open() => {
                let known = incident.concerns.iter().find(|known| known.finding.key() == concern.finding.key());
                if known.is_none_or(|known| noticeable(known, concern)) {
                    changes.push(Change::Concern(incident.id, concern.clone()));
                }
            }
            Some(incident) if came_back(incident, now, reopen_within) && !opened.contains(&condition) => {
                opened.push(condition);
                changes.push(Change::Reopen(incident.id, incident.reopened.saturating_add(1), concern.clone()));
            }
            _ if !opened.contains(&condition) => {
                opened.push(condition);
                changes.push(Change::Open(concern.clone()));
            }
            _ => {}
        }
    }
    for incident in incidents.iter().filter(|incident| incident.is_open()) {
        for known in &incident.concerns {
            if !concerns.iter().any(|concern| concern.finding.key() == known.finding.key()) {
                let (condition, subject) = known.finding.key();
                changes.push(Change::Clear(incident.id, condition.to_owned(), subject.map(str::to_owned)));
            }
        }
    }
    changes
}

/// A level is repeated in every evaluation; only what a person would want to hear of is put on record again.
fn noticeable(known: &Concern, now: &Concern) -> bool {
    let cause = |concern: &Concern| heald_model::Fact::find_text(&concern.finding.evidence, "cause").map(str::to_owned);
    known.finding.severity != now.finding.severity || cause(known) != cause(now)
}

fn came_back(incident: &Incident, now: Moment, within: Duration) -> bool {
    incident.stage == Stage::Resolved && incident.resolved.is_some_and(|resolved| now.since(resolved) <= within)
}

#[cfg(test)]
mod tests {
    use heald_model::{Entry, Finding, Record, ServiceName, Source};
    use uuid::Uuid;

    use super::*;

    fn concern(condition: &str, subject: Option<&str>, severity: Severity) -> Concern {
        let finding = Finding {
            condition: condition.into(),
            subject: subject.map(str::to_owned),
            severity,
            score: 1.0,
            predicted: None,
            message: "m".into(),
            evidence: Vec::new(),
        };
        Concern { finding, source: Source::Native, since: Moment::EPOCH }
    }

    fn incident(concern: &Concern) -> Incident {
        let record = Record::Opened {
            condition: concern.finding.condition.clone(),
            concern: concern.clone(),
            parent: None,
            reopened: 0,
        };
        let id = IncidentId(Uuid::nil());
        Incident::open(&Entry::of_incident(Moment::EPOCH, ServiceName::from("s"), id, record)).unwrap()
    }

    const WITHIN: Duration = Duration::from_secs(600);

    #[test]
    fn a_new_condition_opens_once_whatever_its_subjects() {
        let both = [concern("down", Some("a"), Severity::Critical), concern("down", Some("b"), Severity::Critical)];
        assert_eq!(correlate(&[], &both, Moment::EPOCH, WITHIN), vec![Change::Open(both[0].clone())]);
    }

    #[test]
    fn a_level_that_merely_repeats_changes_nothing() {
        let down = concern("down", None, Severity::Critical);
        assert_eq!(correlate(&[&incident(&down)], std::slice::from_ref(&down), Moment::EPOCH, WITHIN), vec![]);
    }

    #[test]
    fn a_worse_level_and_a_second_subject_are_told() {
        let warning = concern("down", None, Severity::Warning);
        let known = incident(&warning);
        let worse = concern("down", None, Severity::Critical);
        assert_eq!(
            correlate(&[&known], std::slice::from_ref(&worse), Moment::EPOCH, WITHIN),
            vec![Change::Concern(known.id, worse)]
        );
        let second = concern("down", Some("b"), Severity::Warning);
        let changes = correlate(&[&known], &[warning, second.clone()], Moment::EPOCH, WITHIN);
        assert_eq!(changes, vec![Change::Concern(known.id, second)]);
    }

    #[test]
    fn absence_clears() {
        let down = concern("down", None, Severity::Critical);
        let known = incident(&down);
        assert_eq!(
            correlate(&[&known], &[], Moment::EPOCH, WITHIN),
            vec![Change::Clear(known.id, "down".into(), None)]
        );
    }

    #[test]
    fn within_ten_minutes_it_reopens_and_later_it_is_another() {
        let down = concern("down", None, Severity::Critical);
        let mut known = incident(&down);
        known.stage = Stage::Resolved;
        known.resolved = Some(Moment::from_millis(1_000));
        let soon = Moment::from_millis(2_000);
        let changes = correlate(&[&known], std::slice::from_ref(&down), soon, WITHIN);
        assert_eq!(changes, vec![Change::Reopen(known.id, 1, down.clone())]);
        let late = Moment::from_millis(1_000_000);
        assert_eq!(correlate(&[&known], std::slice::from_ref(&down), late, WITHIN), vec![Change::Open(down)]);
    }

    #[test]
    fn an_open_incident_is_not_passed_over_for_one_that_is_over_and_seems_as_new() {
        let down = concern("down", None, Severity::Critical);
        let open = incident(&down);
        let over = Incident {
            id: IncidentId(Uuid::max()),
            stage: Stage::Resolved,
            resolved: Some(Moment::EPOCH),
            ..incident(&down)
        };
        for both in [[&open, &over], [&over, &open]] {
            assert_eq!(correlate(&both, std::slice::from_ref(&down), Moment::EPOCH, WITHIN), vec![]);
        }
    }

    #[test]
    fn information_opens_nothing() {
        assert_eq!(correlate(&[], &[concern("busy", None, Severity::Info)], Moment::EPOCH, WITHIN), vec![]);
    }
}
