//! The guard's rules, one table row each: what holds, what passes, for which class.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use heald_engine::HealingConfig;
use heald_engine::config::{Backoff, Budget};
use heald_engine::guard::{Case, Hold, delay, objection};
use heald_engine::ledger::Ledger;
use heald_model::*;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

const NOW: Moment = Moment::from_millis(1_000_000);

fn spec() -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::from("web"),
        tags: Vec::new(),
        depends_on: Vec::new(),
        probes: Vec::new(),
        supervised: true,
        replicas: 1,
        startup: Duration::from_secs(1),
        detectors: Vec::new(),
        policies: Vec::new(),
        mode: Mode::Auto,
        metadata: json!({}),
    }
}

fn intent(class: Class) -> Intent {
    Intent {
        id: IntentId(Uuid::from_u128(99)),
        incident: None,
        service: ServiceName::from("web"),
        signature: None,
        action: if class == Class::Message { "notify" } else { "restart" }.into(),
        parameters: json!({}),
        class,
        source: Source::Native,
        at: NOW,
        cause: None,
        verify_within: Duration::from_secs(1),
    }
}

fn case(spec: &ServiceSpec) -> Case<'_> {
    Case {
        now: NOW,
        seed: u64::MAX,
        spec,
        services: 10,
        desired: Desired::Running,
        halted: false,
        dependencies: &[],
        incident: None,
        approved: false,
        finished: false,
    }
}

fn entry(at: Moment, service: &str, record: Record) -> Entry {
    Entry::of_service(at, ServiceName::from(service), record)
}

fn started(at: Moment) -> Entry {
    entry(at, "web", Record::ProcessStarted { replica: Replica::from("0"), incarnation: 1, pid: 1 })
}

fn died(at: Moment) -> Entry {
    let record =
        Record::ProcessExited { replica: Replica::from("0"), incarnation: 1, pid: 1, status: Some(1), wanted: false };
    entry(at, "web", record)
}

fn acted(at: Moment, id: u128, service: &str, class: Class, settled: bool) -> Vec<Entry> {
    let intent =
        Intent { id: IntentId(Uuid::from_u128(id)), service: ServiceName::from(service), at, ..self::intent(class) };
    let id = intent.id;
    let mut entries = vec![entry(at, service, Record::Intended { intent })];
    if settled {
        entries.push(entry(at, service, Record::Settled { intent: id, ending: Ending::Verified(Outcome::Healed) }));
    }
    entries
}

fn ledger(entries: &[Entry]) -> Ledger {
    let mut ledger = Ledger::default();
    for entry in entries {
        ledger.apply(entry, &HealingConfig::default());
    }
    ledger
}

/// The rule that objects to each class.
fn rules(config: &HealingConfig, ledger: &Ledger, case: &Case<'_>) -> [Option<&'static str>; 3] {
    [Class::Restore, Class::Disrupt, Class::Message]
        .map(|class| objection(config, ledger, case, &intent(class)).map(|hold| hold.rule))
}

#[test]
fn with_nothing_against_it_everything_passes() {
    assert_eq!(rules(&HealingConfig::default(), &Ledger::default(), &case(&spec())), [None; 3]);
}

#[test]
fn modes_hold_by_class() {
    let (config, ledger) = (HealingConfig::default(), Ledger::default());
    let observe = ServiceSpec { mode: Mode::Observe, ..spec() };
    assert_eq!(rules(&config, &ledger, &case(&observe)), [Some("observe"), Some("observe"), None]);
    let approve = ServiceSpec { mode: Mode::Approve, ..spec() };
    assert_eq!(rules(&config, &ledger, &case(&approve)), [None, Some("approve"), None]);
    assert_eq!(rules(&config, &ledger, &Case { approved: true, ..case(&approve) }), [None; 3]);
    let dry = HealingConfig { dry_run: true, ..config };
    assert_eq!(rules(&dry, &ledger, &case(&spec())), [Some("dry-run"), Some("dry-run"), None]);
}

#[test]
fn the_operators_wish_comes_first() {
    let (config, ledger, spec) = (HealingConfig::default(), Ledger::default(), spec());
    let paused = Case { desired: Desired::Paused, ..case(&spec) };
    assert_eq!(rules(&config, &ledger, &paused), [Some("paused"), Some("paused"), None]);
    let stopped = Case { desired: Desired::Stopped, ..case(&spec) };
    assert_eq!(rules(&config, &ledger, &stopped), [Some("stopped"), Some("stopped"), None]);
    let halted = Case { halted: true, ..case(&spec) };
    assert_eq!(rules(&config, &ledger, &halted), [Some("halted"), Some("halted"), None]);
}

#[test]
fn what_ended_for_good_is_left_alone_but_for_the_operator() {
    let (config, ledger, spec) = (HealingConfig::default(), Ledger::default(), spec());
    let finished = Case { finished: true, ..case(&spec) };
    assert_eq!(rules(&config, &ledger, &finished), [Some("finished"), Some("finished"), None]);
    let order = Intent { source: Source::Operator("me".into()), ..intent(Class::Restore) };
    assert_eq!(objection(&config, &ledger, &finished, &order), None);
}

#[test]
fn the_same_message_is_not_repeated_at_once() {
    let told = ledger(&acted(NOW - Duration::from_secs(599), 1, "web", Class::Message, true));
    assert_eq!(rules(&HealingConfig::default(), &told, &case(&spec())), [None, None, Some("repeated")]);
    let past = ledger(&acted(NOW - Duration::from_secs(600), 1, "web", Class::Message, true));
    assert_eq!(rules(&HealingConfig::default(), &past, &case(&spec())), [None; 3]);
}

#[test]
fn an_operators_stop_waits_for_no_budget_and_no_halt() {
    let mut entries = Vec::new();
    for i in 0..5_u32 {
        entries.extend(acted(NOW, u128::from(i), &format!("other{i}"), Class::Disrupt, false));
    }
    let spec = spec();
    let stop = Intent { action: "stop".into(), source: Source::Operator("me".into()), ..intent(Class::Disrupt) };
    let halted = Case { halted: true, ..case(&spec) };
    assert_eq!(objection(&HealingConfig::default(), &ledger(&entries), &halted, &stop), None);
}

#[test]
fn one_action_at_a_time_for_a_service() {
    let busy = ledger(&acted(NOW, 1, "web", Class::Disrupt, false));
    assert_eq!(rules(&HealingConfig::default(), &busy, &case(&spec())), [Some("in-flight"), Some("in-flight"), None]);
}

#[test]
fn a_dead_dependency_holds_until_people_are_told() {
    let (config, ledger, spec) = (HealingConfig::default(), Ledger::default(), spec());
    let down = [Dependency { service: ServiceName::from("db"), up: Some(false) }];
    let held = Case { dependencies: &down, ..case(&spec) };
    assert_eq!(rules(&config, &ledger, &held), [Some("dependency"), Some("dependency"), None]);
    for unknown in [None, Some(true)] {
        let fine = [Dependency { service: ServiceName::from("db"), up: unknown }];
        assert_eq!(rules(&config, &ledger, &Case { dependencies: &fine, ..case(&spec) }), [None; 3]);
    }
}

#[test]
fn the_first_restart_after_a_second_is_immediate_and_then_it_backs_off() {
    let config = HealingConfig::default();
    let spec = spec();
    let long = NOW - Duration::from_secs(5);
    assert_eq!(rules(&config, &ledger(&[started(long), died(NOW)]), &case(&spec))[0], None);
    let young = NOW - Duration::from_millis(500);
    assert_eq!(rules(&config, &ledger(&[started(young), died(NOW)]), &case(&spec))[0], Some("back-off"));
    let mut again = acted(long, 1, "web", Class::Restore, true);
    again.extend([started(long), died(NOW)]);
    assert_eq!(rules(&config, &ledger(&again), &case(&spec))[0], Some("back-off"));
    // Back-off is about bringing back the dead; it does not hold what is disruptive.
    assert_eq!(rules(&config, &ledger(&again), &case(&spec))[1], None);
}

#[test]
fn a_minute_of_calm_or_a_reset_starts_anew() {
    let config = HealingConfig::default();
    let (early, spec) = (NOW - Duration::from_secs(61), spec());
    let mut calm = acted(early, 1, "web", Class::Restore, true);
    calm.extend([started(early), died(NOW)]);
    assert_eq!(rules(&config, &ledger(&calm), &case(&spec))[0], None);
    let late = NOW - Duration::from_secs(2);
    let mut reset = acted(late, 1, "web", Class::Restore, true);
    reset.extend([started(late), died(NOW), entry(NOW, "web", Record::Reset { by: "me".into() })]);
    assert_eq!(rules(&config, &ledger(&reset), &case(&spec))[0], None);
}

#[test]
fn a_start_that_failed_backs_off_although_nothing_died() {
    let failed = ledger(&acted(NOW, 1, "web", Class::Restore, true));
    assert_eq!(rules(&HealingConfig::default(), &failed, &case(&spec()))[0], Some("back-off"));
}

#[test]
fn ten_starts_in_five_minutes_tell_people_and_go_on_slowly() {
    let config = HealingConfig::default();
    let mut entries = Vec::new();
    for i in 0..10 {
        entries.extend(acted(NOW - Duration::from_secs(58), i, "web", Class::Restore, true));
    }
    let crowded = ledger(&entries);
    let hold: Hold = objection(&config, &crowded, &case(&spec()), &intent(Class::Restore)).unwrap();
    assert!(hold.escalate && hold.rule == "start-limit", "{hold:?}");
    assert_eq!(hold.until, Some(NOW + Duration::from_secs(2)));
}

#[test]
fn cooldown_is_per_action_and_for_disruption_alone() {
    let recent = ledger(&acted(NOW - Duration::from_secs(29), 1, "web", Class::Disrupt, true));
    assert_eq!(rules(&HealingConfig::default(), &recent, &case(&spec())), [None, Some("cooldown"), None]);
    let past = ledger(&acted(NOW - Duration::from_secs(30), 1, "web", Class::Disrupt, true));
    assert_eq!(rules(&HealingConfig::default(), &past, &case(&spec())), [None; 3]);
}

#[test]
fn budgets_count_what_is_in_flight() {
    let mut entries = Vec::new();
    for i in 0..3_u32 {
        entries.extend(acted(NOW, u128::from(i), &format!("other{i}"), Class::Disrupt, false));
    }
    // A third of ten services is three.
    assert_eq!(rules(&HealingConfig::default(), &ledger(&entries), &case(&spec())), [None, Some("budget"), None]);
    let bounded =
        HealingConfig { budget: Budget { restore: Some(1), ..Budget::default() }, ..HealingConfig::default() };
    let restoring = ledger(&acted(NOW, 7, "other", Class::Restore, false));
    assert_eq!(rules(&bounded, &restoring, &case(&spec()))[0], Some("budget"));
    assert_eq!(rules(&HealingConfig::default(), &restoring, &case(&spec()))[0], None);
}

#[test]
fn taking_in_an_entry_twice_changes_nothing() {
    let entries = [started(NOW), died(NOW)].into_iter().chain(acted(NOW, 1, "web", Class::Restore, false));
    let once: Vec<Entry> = entries.collect();
    let twice: Vec<Entry> = once.iter().chain(once.iter().skip(2)).cloned().collect();
    assert_eq!(ledger(&once), ledger(&twice));
}

proptest! {
    #[test]
    fn delays_stay_within_their_bounds(streak in 0_u32..1_000, lived in 0_u64..120_000, seed: u64) {
        let backoff = Backoff::default();
        let delay = delay(&backoff, streak, Duration::from_millis(lived), seed);
        prop_assert!(delay <= backoff.max);
        if streak == 0 && lived >= 1_000 {
            prop_assert_eq!(delay, Duration::ZERO);
        }
    }
}
