//! Entries as the engine writes them, and a look at the files from outside.
#![allow(dead_code, unreachable_pub)]

pub mod kept;

use std::path::Path;
use std::time::Duration;

use heald_model::action::Proof;
use heald_model::*;
use heald_store::{NodeIdentity, Store, StoreConfig};
use rusqlite::Connection;
use uuid::Uuid;

pub fn open(path: &Path) -> Store {
    let opened = Store::open(&StoreConfig::at(path), NodeIdentity::alone("test")).unwrap();
    assert_eq!(opened.notes, Vec::<String>::new());
    opened.store
}

/// Millisecond `n` of a day long ago, so that retention has something to do.
pub fn at(n: u64) -> Moment {
    Moment::from_millis(1_700_000_000_000 + n)
}

pub fn incident_id(n: u64) -> IncidentId {
    IncidentId(Uuid::from_u128(0x1_0000_0000 + u128::from(n)))
}

pub fn intent_id(n: u64) -> IntentId {
    IntentId(Uuid::from_u128(0x2_0000_0000 + u128::from(n)))
}

pub fn note(n: u64) -> Entry {
    Entry::of_heald(at(n), Record::Note { text: format!("note {n}") })
}

pub fn notes(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(note).collect()
}

pub fn opened(n: u64, service: &str, when: Moment) -> Entry {
    let concern = Concern {
        finding: Finding {
            condition: "service-down".into(),
            subject: None,
            severity: Severity::Critical,
            score: 1.0,
            predicted: None,
            message: "Connection refused on port 9000".into(),
            evidence: vec![Fact::text("cause", "refused"), Fact::number("failures", 3.0)],
        },
        source: Source::Plugin(PluginRef {
            name: "availability".into(),
            version: "0.1.0".into(),
            digest: "ab".repeat(32),
        }),
        since: when,
    };
    let record = Record::Opened { condition: "service-down".into(), concern, parent: None, reopened: 0 };
    Entry::of_incident(when, service.into(), incident_id(n), record)
}

pub fn staged(n: u64, service: &str, when: Moment, stage: Stage) -> Entry {
    Entry::of_incident(when, service.into(), incident_id(n), Record::Staged { stage, why: "three passes".into() })
}

pub fn intent(n: u64, service: &str, when: Moment, incident: Option<IncidentId>) -> Intent {
    Intent {
        id: intent_id(n),
        incident,
        service: service.into(),
        signature: incident.map(|_| "service-down".into()),
        action: "restart".into(),
        parameters: serde_json::json!({"grace": "1s"}),
        class: Class::Restore,
        source: Source::Native,
        at: when,
        cause: Some("refused".into()),
        verify_within: Duration::from_secs(5),
    }
}

/// From the intent to the verdict, `took` milliseconds later.
pub fn attempt(
    n: u64,
    service: &str,
    from: u64,
    took: u64,
    incident: Option<IncidentId>,
    outcome: Outcome,
) -> Vec<Entry> {
    let receipt = Receipt {
        summary: "restarted as pid 42".into(),
        changed: true,
        incarnation: Some(2),
        facts: Vec::new(),
        undo: Some(vec![1, 2, 3]),
        at: at(from + 1),
    };
    let proof = Proof { samples: 3, passed: 3, incarnation: Some(2), summary: "3 of 3 passed".into() };
    let records = [
        (0, Record::Intended { intent: intent(n, service, at(from), incident) }),
        (1, Record::Performed { intent: intent_id(n), receipt }),
        (took, Record::Proved { intent: intent_id(n), proof }),
        (took, Record::Settled { intent: intent_id(n), ending: Ending::Verified(outcome) }),
    ];
    let entry = |(after, record)| Entry { at: at(from + after), service: Some(service.into()), incident, record };
    records.into_iter().map(entry).collect()
}

/// An incident from its finding to its end, as incident `n` with attempt `n`, begun at millisecond `from`.
pub fn healed(n: u64, service: &str, from: u64) -> Vec<Entry> {
    let decision = Decision {
        choice: Choice::Act(Proposal {
            action: "restart".into(),
            parameters: serde_json::json!({}),
            verify_within: None,
        }),
        confidence: 0.9,
        reason: "it is down".into(),
        considered: Vec::new(),
        facts: Vec::new(),
        again_in: None,
        source: Source::Native,
    };
    let ruling = Ruling::Admit { why: "within budget".into() };
    let of = |after, record| Entry::of_incident(at(from + after), service.into(), incident_id(n), record);
    let mut entries = vec![
        opened(n, service, at(from)),
        of(0, Record::Decided { decision }),
        of(1, Record::Ruled { action: "restart".into(), ruling }),
    ];
    entries.extend(attempt(n, service, from + 1, 20 + n % 7, Some(incident_id(n)), Outcome::Healed));
    entries.push(of(40, Record::Cleared { condition: "service-down".into(), subject: None }));
    entries.push(staged(n, service, at(from + 40), Stage::Resolved));
    entries
}

/// A little of everything, the incidents interleaved: resolved, reopened, escalated, under way; actions outside
/// incidents; words about services.
pub fn history(incidents: u64) -> Vec<Entry> {
    let mut lanes: Vec<Vec<Entry>> = (0..incidents)
        .map(|n| {
            let service = format!("s{}", n % 5);
            let mut entries = healed(n, &service, n * 50);
            match n % 4 {
                1 => {
                    let mut again = opened(n, &service, at(n * 50 + 60));
                    if let Record::Opened { reopened, .. } = &mut again.record {
                        *reopened = 1;
                    }
                    entries.push(again);
                    let retry =
                        attempt(1_000_000 + n, &service, n * 50 + 61, 9, Some(incident_id(n)), Outcome::NotHealed);
                    entries.extend(retry);
                    entries.push(staged(n, &service, at(n * 50 + 80), Stage::Escalated));
                }
                2 => entries.truncate(5),
                3 => {
                    entries.extend(attempt(2_000_000 + n, &service, n * 50 + 45, 5, None, Outcome::Healed));
                    let to = if n % 8 == 3 { Health::Healthy } else { Health::Unhealthy };
                    let from = Health::Unknown;
                    let changed = Record::HealthChanged { from, to, why: None };
                    entries.push(Entry::of_service(at(n * 50 + 46), service.as_str().into(), changed));
                    let wish = Record::DesiredChanged { desired: Desired::Paused, by: "me".into() };
                    entries.push(Entry::of_service(at(n * 50 + 47), service.as_str().into(), wish));
                }
                _ => {}
            }
            entries.reverse();
            entries
        })
        .collect();
    let mut all = Vec::new();
    let mut dice = 1_u64;
    while lanes.iter().any(|lane| !lane.is_empty()) {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let lane = (dice >> 33) as usize % lanes.len().min(7);
        match lanes[lane].pop() {
            Some(entry) => all.push(entry),
            None => drop(lanes.remove(lane)),
        }
    }
    all
}

/// Every projection as text.
pub fn projections(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut lines = Vec::new();
    for table in ["incidents", "timeline", "attempts", "catalog WHERE base = 0", "services"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3, 4")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<String> = (0..columns).map(|n| format!("{:?}", row.get_ref(n).unwrap())).collect();
            lines.push(format!("{table}: {}", values.join(" ")));
        }
    }
    lines
}

/// The rows of the projected services.
pub fn services(path: &Path) -> Vec<String> {
    projections(path).into_iter().filter(|line| line.starts_with("services: ")).collect()
}

/// The store, opened again with projections that another version made: so it makes them again from the journal.
pub fn rebuilt(store: Store, path: &Path) -> Store {
    drop(store);
    let connection = Connection::open(path).unwrap();
    assert_eq!(connection.execute("UPDATE meta SET value = 0 WHERE key = 'projection'", []).unwrap(), 1);
    drop(connection);
    let store = open(path);
    let connection = Connection::open(path).unwrap();
    let version: i64 =
        connection.query_row("SELECT value FROM meta WHERE key = 'projection'", [], |row| row.get(0)).unwrap();
    assert_ne!(version, 0, "the projections are made again");
    store
}

/// Waits for a state, at most ten seconds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}
