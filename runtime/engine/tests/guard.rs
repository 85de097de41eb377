//! The guard's rules, one table row each: what holds, what passes, for which class.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use heald_engine::HealingConfig;
use heald_engine::config::{Backoff, Budget};
use heald_engine::guard::{Case, Hold, Judgement, delay, judge, objection};
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
        forced: false,
        stale: None,
        flapping: false,
        outage: None,
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
    // What does not stay up is not touched otherwise meanwhile.
    assert_eq!(rules(&config, &ledger(&again), &case(&spec))[1], Some("back-off"));
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

fn order(action: &str) -> Intent {
    Intent { action: action.into(), source: Source::Operator("me".into()), ..intent(Class::Disrupt) }
}

/// The rule that objects to an order, if one does, and whether it may be waited for.
fn word(case: &Case<'_>, ledger: &Ledger, order: &Intent) -> Option<(&'static str, bool)> {
    objection(&HealingConfig::default(), ledger, case, order).map(|hold| (hold.rule, hold.until.is_some()))
}

#[test]
fn an_order_is_refused_where_the_operator_said_otherwise_unless_he_insists_and_a_stop_passes() {
    let (plain, empty) = (spec(), Ledger::default());
    let observe = ServiceSpec { mode: Mode::Observe, ..spec() };
    let table = [
        ("halted", Case { halted: true, ..case(&plain) }),
        ("paused", Case { desired: Desired::Paused, ..case(&plain) }),
        ("observe", case(&observe)),
    ];
    for (rule, case) in table {
        assert_eq!(word(&case, &empty, &order("restart")), Some((rule, false)));
        assert_eq!(word(&Case { forced: true, ..case }, &empty, &order("restart")), None, "{rule}: insisted");
        assert_eq!(word(&case, &empty, &order("stop")), None, "{rule}: a stop passes");
    }
    let approve = ServiceSpec { mode: Mode::Approve, ..spec() };
    assert_eq!(word(&case(&approve), &empty, &order("restart")), None, "the order is the approval");
}

#[test]
fn an_order_waits_for_its_turn_and_its_place_and_for_nothing_else() {
    let plain = spec();
    let down = [Dependency { service: ServiceName::from("db"), up: Some(false) }];
    let nothing_objects = Case {
        dependencies: &down,
        stale: Some("old"),
        flapping: true,
        outage: Some(("many", Moment::NEVER)),
        ..case(&plain)
    };
    let mut entries = tried(1, "s", Ending::Verified(Outcome::NotHealed));
    (2..12).for_each(|id| entries.extend(acted(NOW, id, "web", Class::Restore, true)));
    entries.extend(acted(NOW, 12, "web", Class::Disrupt, true));
    assert_eq!(word(&nothing_objects, &ledger(&entries), &order("restart")), None);
    let busy = ledger(&acted(NOW, 1, "web", Class::Restore, false));
    assert_eq!(word(&case(&plain), &busy, &order("restart")), Some(("in-flight", true)));
    let mut crowd = Vec::new();
    (0..5_u32).for_each(|i| crowd.extend(acted(NOW, u128::from(i), &format!("o{i}"), Class::Disrupt, false)));
    assert_eq!(word(&case(&plain), &ledger(&crowd), &order("restart")), Some(("budget", true)));
}

#[test]
fn an_order_does_not_count_towards_the_start_limit() {
    let mut entries = Vec::new();
    for id in 0..10 {
        let intent = Intent {
            id: IntentId(Uuid::from_u128(id)),
            source: Source::Operator("me".into()),
            ..intent(Class::Restore)
        };
        let settled = Record::Settled { intent: intent.id, ending: Ending::Verified(Outcome::Healed) };
        entries.extend([entry(NOW, "web", Record::Intended { intent }), entry(NOW, "web", settled)]);
    }
    assert_eq!(rules(&HealingConfig::default(), &ledger(&entries), &case(&spec()))[0], None);
}

/// A disruptive attempt at `web` against a signature, long enough ago that no cooldown holds.
fn tried(id: u128, signature: &str, ending: Ending) -> Vec<Entry> {
    let at = NOW - Duration::from_secs(60);
    let intent = Intent {
        id: IntentId(Uuid::from_u128(id)),
        incident: Some(IncidentId(Uuid::from_u128(1))),
        signature: Some(Signature::from(signature)),
        at,
        ..intent(Class::Disrupt)
    };
    let settled = Record::Settled { intent: intent.id, ending };
    let of = |record| Entry::of_incident(at, ServiceName::from("web"), IncidentId(Uuid::from_u128(1)), record);
    vec![of(Record::Intended { intent }), of(settled)]
}

fn against(signature: &str, class: Class) -> Intent {
    Intent { signature: Some(Signature::from(signature)), ..intent(class) }
}

fn rule_against(signature: &str, class: Class, ledger: &Ledger) -> Option<&'static str> {
    objection(&HealingConfig::default(), ledger, &case(&spec()), &against(signature, class)).map(|hold| hold.rule)
}

#[test]
fn attempts_count_by_signature_and_a_recovery_of_its_own_starts_afresh() {
    let failures = |ending: &Ending| (1..=3).flat_map(|id| tried(id, "hang", ending.clone())).collect::<Vec<_>>();
    let mut entries = failures(&Ending::Verified(Outcome::NotHealed));
    let spent = ledger(&entries);
    assert_eq!(rule_against("hang", Class::Disrupt, &spent), Some("attempts"));
    assert_eq!(rule_against("crash", Class::Disrupt, &spent), None, "another fault is another matter");
    assert_eq!(rule_against("hang", Class::Restore, &spent), None, "the dead are brought back all the same");
    let resolved = Record::Staged { stage: Stage::Resolved, why: "well".into() };
    let at = NOW - Duration::from_secs(30);
    let id = IncidentId(Uuid::from_u128(1));
    entries.push(Entry::of_incident(at, ServiceName::from("web"), id, resolved.clone()));
    assert_eq!(rule_against("hang", Class::Disrupt, &ledger(&entries)), None, "it recovered by itself");
    let mut healed = failures(&Ending::Verified(Outcome::NotHealed));
    healed.truncate(4);
    healed.extend(tried(9, "hang", Ending::Verified(Outcome::Healed)));
    healed.push(Entry::of_incident(at, ServiceName::from("web"), id, resolved));
    healed.extend(tried(10, "hang", Ending::Failed("no".into())));
    assert_eq!(rule_against("hang", Class::Disrupt, &ledger(&healed)), Some("attempts"), "healed, and ill again");
}

fn relapsed(signature: &str, copy: Option<&str>) -> Entry {
    let (intent, signature) = (IntentId(Uuid::from_u128(5)), Signature::from(signature));
    let at = NOW - Duration::from_secs(60);
    entry(at, "web", Record::Relapsed { intent, signature, instance: copy.map(Replica::from) })
}

#[test]
fn the_second_relapse_is_told_and_ends_the_remedy() {
    assert_eq!(rule_against("down", Class::Disrupt, &ledger(&[relapsed("down", None)])), None);
    let twice = [relapsed("down", None), relapsed("down", None)];
    let hold = objection(&HealingConfig::default(), &ledger(&twice), &case(&spec()), &against("down", Class::Disrupt))
        .unwrap();
    assert!(hold.rule == "relapse" && hold.escalate && hold.until.is_none(), "{hold:?}");
    assert_eq!(rule_against("other", Class::Disrupt, &ledger(&twice)), None);
    let mut well = twice.to_vec();
    let resolved = Record::Staged { stage: Stage::Resolved, why: "well".into() };
    well.push(entry(NOW - Duration::from_secs(700), "web", resolved));
    assert_eq!(rule_against("down", Class::Disrupt, &ledger(&well)), None, "well for longer than ten minutes");
}

#[test]
fn a_poison_pill_stops_the_remedy_and_slows_the_restores() {
    let three: Vec<Entry> = ["0", "1", "2"].map(|copy| relapsed("crash", Some(copy))).into();
    let pill = ledger(&three);
    assert_eq!(rule_against("crash", Class::Restore, &pill), None, "the first one is not held");
    let mut started = three.clone();
    started.extend(acted(NOW - Duration::from_secs(50), 7, "web", Class::Restore, true));
    let hold =
        objection(&HealingConfig::default(), &ledger(&started), &case(&spec()), &against("crash", Class::Restore))
            .unwrap();
    assert_eq!((hold.rule, hold.until), ("poison-pill", Some(NOW + Duration::from_secs(10))));
    assert!(hold.escalate);
    let two: Vec<Entry> = ["0", "1", "1"].map(|copy| relapsed("crash", Some(copy))).into();
    assert_ne!(rule_against("crash", Class::Disrupt, &ledger(&two)), Some("poison-pill"), "only two copies");
}

#[test]
fn five_slow_deaths_are_told_and_hold_nothing() {
    let deaths = |seconds_apart: u64| -> Vec<Entry> {
        let each = (0..5_u64).flat_map(|death| {
            let (replica, incarnation) = (Replica::from("0"), death + 1);
            let at = Moment::from_millis(NOW.millis() - (5 - death) * seconds_apart * 1_000);
            let begun = Record::ProcessStarted { replica: replica.clone(), incarnation, pid: 1 };
            let ended = Record::ProcessExited { replica, incarnation, pid: 1, status: Some(1), wanted: false };
            [entry(at - Duration::from_secs(100), "web", begun), entry(at, "web", ended)]
        });
        each.collect()
    };
    let entries = deaths(120);
    let notice = |entries: &[Entry]| match judge(
        &HealingConfig::default(),
        &ledger(entries),
        &case(&spec()),
        intent(Class::Restore),
    ) {
        Judgement::Admit(_, notice) => notice,
        Judgement::Hold(hold) => panic!("{hold:?}"),
    };
    assert_eq!(notice(&entries[..8]), None);
    assert!(notice(&entries).is_some_and(|why| why.contains("died 5 times")));
    assert_eq!(notice(&deaths(1)), None, "quick deaths are the start limit's");
}

#[test]
fn a_copy_does_not_wait_for_another_copys_restore() {
    let of = |copy: u32, id: u128| Intent {
        id: IntentId(Uuid::from_u128(id)),
        parameters: json!({ "replica": copy }),
        ..intent(Class::Restore)
    };
    let two = ServiceSpec { replicas: 2, ..spec() };
    let busy = ledger(&[entry(NOW, "web", Record::Intended { intent: of(0, 1) })]);
    let word = |intent: &Intent| objection(&HealingConfig::default(), &busy, &case(&two), intent).map(|hold| hold.rule);
    assert_eq!(word(&of(0, 2)), Some("in-flight"));
    assert_eq!(word(&of(1, 2)), None);
    assert_eq!(word(&intent(Class::Disrupt)), Some("in-flight"));
    assert_eq!(word(&of(2, 2)), Some("target"), "there is no third copy");
}

#[test]
fn what_is_seen_badly_holds_disruption_alone() {
    let (plain, empty) = (spec(), Ledger::default());
    let table = [
        ("stale-verdict", Case { stale: Some("old"), ..case(&plain) }),
        ("flapping", Case { flapping: true, ..case(&plain) }),
        ("too-many-at-once", Case { outage: Some(("many", Moment::NEVER)), ..case(&plain) }),
    ];
    for (rule, case) in table {
        assert_eq!(rules(&HealingConfig::default(), &empty, &case), [None, Some(rule), None]);
    }
}

#[test]
fn a_dependency_that_stays_down_lets_restores_go_on_slowly_and_tells_people() {
    let (config, plain) = (HealingConfig::default(), spec());
    let down = [Dependency { service: ServiceName::from("db"), up: Some(false) }];
    let finding = Finding {
        condition: "service-down".into(),
        subject: None,
        severity: Severity::Critical,
        score: 1.0,
        predicted: None,
        message: String::new(),
        evidence: Vec::new(),
    };
    let concern = Concern { finding, source: Source::Native, since: NOW };
    let record = Record::Opened { condition: "service-down".into(), concern, parent: None, reopened: 0 };
    let opened = NOW - config.dependency_hold - Duration::from_secs(1);
    let id = IncidentId(Uuid::from_u128(1));
    let incident = Incident::open(&Entry::of_incident(opened, ServiceName::from("web"), id, record)).unwrap();
    let late = Case { dependencies: &down, incident: Some(&incident), ..case(&plain) };
    match judge(&config, &Ledger::default(), &late, intent(Class::Restore)) {
        Judgement::Admit(_, notice) => assert!(notice.is_some_and(|why| why.contains("db"))),
        Judgement::Hold(hold) => panic!("{hold:?}"),
    }
    let once = ledger(&acted(NOW - Duration::from_secs(10), 1, "web", Class::Restore, true));
    let hold = objection(&config, &once, &late, &intent(Class::Restore)).unwrap();
    assert_eq!((hold.rule, hold.until, hold.escalate), ("dependency", Some(NOW + Duration::from_secs(50)), true));
    let hold = objection(&config, &Ledger::default(), &late, &intent(Class::Disrupt)).unwrap();
    assert_eq!((hold.rule, hold.until), ("dependency", Some(Moment::NEVER)));
}

#[test]
fn a_wall_clock_that_was_ahead_holds_up_no_restore() {
    let ahead = NOW + Duration::from_secs(24 * 3600);
    let mut entries = Vec::new();
    for id in 0..10 {
        entries.extend(acted(ahead, id, "web", Class::Restore, true));
    }
    entries.extend([started(ahead), died(ahead)]);
    let config = HealingConfig::default();
    let ledger = Ledger::of(&entries, &config, NOW);
    assert_eq!(rules(&config, &ledger, &case(&spec()))[0], None);
    let disrupted = Ledger::of(&acted(ahead, 1, "web", Class::Disrupt, true), &config, NOW);
    let hold = objection(&config, &disrupted, &case(&spec()), &intent(Class::Disrupt)).unwrap();
    assert_eq!((hold.rule, hold.until), ("cooldown", Some(NOW + config.cooldown)), "at most the rule's longest");
}

#[test]
fn a_dependencys_return_is_a_fold_of_the_journal_too() {
    let mut entries = Vec::new();
    (0..10).for_each(|id| entries.extend(acted(NOW, id, "web", Class::Restore, true)));
    assert_eq!(rules(&HealingConfig::default(), &ledger(&entries), &case(&spec()))[0], Some("start-limit"));
    entries.push(entry(NOW, "web", Record::DependencyReturned { dependency: ServiceName::from("db") }));
    assert_eq!(rules(&HealingConfig::default(), &ledger(&entries), &case(&spec()))[0], None);
}

proptest! {
    #[test]
    fn delays_stay_within_their_bounds(streak in 0_u32..1_000, lived in 0_u64..120_000, seed: u64) {
        let backoff = Backoff::default();
        let delay = delay(&backoff, streak, Duration::from_millis(lived), seed);
        prop_assert!(delay <= backoff.max);
        prop_assert!(delay.is_zero() || delay * 2 >= backoff.first, "at least half of a step");
        if streak == 0 && lived >= 1_000 {
            prop_assert_eq!(delay, Duration::ZERO);
        }
    }
}
