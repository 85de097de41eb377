//! The circuit as tables and as laws.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use heald_breaker::{Admission, BreakerConfig, Circuit, Transition, TransitionReason};
use heald_model::{Breaker, Moment};
use proptest::prelude::*;

const fn at(millis: u64) -> Moment {
    Moment::from_millis(1_000_000 + millis)
}

fn fixed(open_ms: u64) -> BreakerConfig {
    let open = Duration::from_millis(open_ms);
    BreakerConfig { open, open_max: Some(open), ..BreakerConfig::default() }
}

fn tripped(config: BreakerConfig) -> Circuit {
    let mut circuit = Circuit::new(config);
    for _ in 0..5 {
        circuit.record(false, at(0), 0);
    }
    assert_eq!(circuit.state(), Breaker::Open);
    circuit
}

#[test]
fn the_fifth_failure_in_a_row_opens_it_and_not_the_fourth() {
    let mut circuit = Circuit::new(BreakerConfig::default());
    for _ in 0..4 {
        assert_eq!(circuit.record(false, at(0), 0), None);
    }
    assert_eq!(circuit.state(), Breaker::Closed);
    let moved = circuit.record(false, at(0), 0).unwrap();
    assert_eq!(moved, Transition { from: Breaker::Closed, to: Breaker::Open, why: TransitionReason::Failures(5) });
    assert_eq!(moved.why.to_string(), "5 consecutive failures");
}

#[test]
fn a_success_in_between_starts_the_count_again() {
    let mut circuit = Circuit::new(BreakerConfig::default());
    for ok in [false, false, false, false, true, false, false, false, false] {
        assert_eq!(circuit.record(ok, at(0), 0), None);
    }
    assert_eq!(circuit.failures(), 4);
}

#[test]
fn open_it_lets_nothing_through_until_its_time_has_passed() {
    let mut circuit = tripped(fixed(60_000));
    for millis in [0, 1, 59_999] {
        assert_eq!(circuit.admit(at(millis)), Admission::Skip);
    }
    assert_eq!(circuit.state(), Breaker::Open);
    let Admission::Check(Some(moved)) = circuit.admit(at(60_000)) else { panic!("not let through") };
    assert_eq!((moved.from, moved.to), (Breaker::Open, Breaker::HalfOpen));
    assert_eq!(moved.why.to_string(), "after 60.0s");
}

#[test]
fn two_successes_in_a_row_close_it() {
    let mut circuit = tripped(fixed(1_000));
    circuit.admit(at(1_000));
    assert_eq!(circuit.record(true, at(1_000), 0), None);
    assert_eq!(circuit.state(), Breaker::HalfOpen);
    let moved = circuit.record(true, at(1_001), 0).unwrap();
    assert_eq!(moved, Transition { from: Breaker::HalfOpen, to: Breaker::Closed, why: TransitionReason::Successes(2) });
    assert_eq!(circuit.tripped_by(), 0);
}

#[test]
fn a_failure_while_half_open_opens_it_again_and_the_time_starts_anew() {
    let mut circuit = tripped(fixed(1_000));
    circuit.admit(at(1_000));
    circuit.record(true, at(1_100), 0);
    let moved = circuit.record(false, at(1_200), 0).unwrap();
    assert_eq!(moved, Transition { from: Breaker::HalfOpen, to: Breaker::Open, why: TransitionReason::TrialFailed });
    assert_eq!(circuit.admit(at(2_199)), Admission::Skip);
    assert!(matches!(circuit.admit(at(2_200)), Admission::Check(Some(_))));
    assert_eq!(circuit.tripped_by(), 5, "what opened it first is still the reason");
}

#[test]
fn each_opening_without_a_closing_lasts_twice_as_long_up_to_the_cap() {
    let mut circuit = tripped(BreakerConfig { jitter: 0.0, ..BreakerConfig::default() });
    let mut now = at(0);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        let reopens = circuit.reopens().unwrap();
        assert_eq!(reopens.since(now), Duration::from_secs(seconds));
        now = reopens;
        circuit.admit(now);
        circuit.record(false, now, 0);
    }
    now = circuit.reopens().unwrap();
    circuit.admit(now);
    circuit.record(true, now, 0);
    circuit.record(true, now, 0);
    for _ in 0..5 {
        circuit.record(false, now, 0);
    }
    assert_eq!(circuit.reopens().unwrap().since(now), Duration::from_secs(1), "a closing starts the growth again");
}

#[test]
fn the_dice_touch_only_what_was_grown() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    for (open, open_max, longest, shortest) in
        [(second, minute, [1, 2, 4], [1, 1, 1]), (minute, minute, [60, 60, 60], [60, 60, 60])]
    {
        for (roll, expected) in [(0, longest), (u64::MAX, shortest)] {
            let mut circuit =
                Circuit::new(BreakerConfig { open, open_max: Some(open_max), jitter: 1.0, ..BreakerConfig::default() });
            let mut now = at(0);
            for _ in 0..5 {
                circuit.record(false, now, roll);
            }
            for seconds in expected {
                let reopens = circuit.reopens().unwrap();
                assert_eq!(reopens.since(now).as_secs_f64().round(), f64::from(seconds), "{open:?}, {roll}");
                now = reopens;
                circuit.admit(now);
                circuit.record(false, now, roll);
            }
        }
    }
}

#[test]
fn something_done_to_the_service_makes_the_next_checks_trials() {
    for mut circuit in [tripped(fixed(60_000)), Circuit::new(fixed(60_000))] {
        let moved = circuit.half_open().unwrap();
        assert_eq!((moved.to, moved.why), (Breaker::HalfOpen, TransitionReason::Acted));
        assert_eq!(circuit.admit(at(1)), Admission::Check(None));
        circuit.record(true, at(1), 0);
        assert_eq!(circuit.half_open(), None);
        circuit.record(true, at(2), 0);
        assert_eq!(circuit.state(), Breaker::HalfOpen, "successes before the second action do not count");
        circuit.record(true, at(3), 0);
        assert_eq!(circuit.state(), Breaker::Closed);
    }
}

#[test]
fn a_verdict_that_comes_after_it_opened_changes_nothing() {
    let mut circuit = tripped(fixed(1_000));
    let reopens = circuit.reopens();
    assert_eq!(circuit.record(true, at(10), 0), None);
    assert_eq!(circuit.record(false, at(10), 0), None);
    assert_eq!((circuit.state(), circuit.failures(), circuit.reopens()), (Breaker::Open, 5, reopens));
}

#[test]
fn an_operators_word_stands_until_it_is_taken_back() {
    let mut circuit = Circuit::new(BreakerConfig::default());
    circuit.force_open().unwrap();
    assert_eq!(circuit.half_open(), None);
    assert_eq!(circuit.admit(Moment::NEVER), Admission::Skip);
    assert_eq!(circuit.release().map(|moved| moved.to), Some(Breaker::Closed));
    circuit.disable().unwrap();
    for _ in 0..100 {
        assert_eq!(circuit.record(false, at(0), 0), None);
    }
    assert_eq!((circuit.state(), circuit.failures()), (Breaker::Disabled, 100));
    assert_eq!(circuit.release().map(|moved| moved.to), Some(Breaker::Closed));
    assert_eq!(circuit.failures(), 0);
}

#[test]
fn a_breaker_switched_off_in_the_configuration_never_opens() {
    let mut circuit = Circuit::new(BreakerConfig { enabled: false, ..BreakerConfig::default() });
    for _ in 0..100 {
        circuit.record(false, at(0), 0);
    }
    assert_eq!(circuit.half_open(), None);
    assert_eq!(circuit.release(), None);
    assert_eq!(circuit.state(), Breaker::Disabled);
}

#[test]
fn the_configuration_reads_and_names_what_is_wrong() {
    let config: BreakerConfig = toml::from_str("open = \"60s\"\nopen_max = \"60s\"").unwrap();
    assert_eq!(config, fixed(60_000));
    assert_eq!(config.validate(), vec![]);
    let auto: BreakerConfig = toml::from_str("open = 7\nopen_max = \"auto\"").unwrap();
    assert_eq!((auto.open_max, auto.clone().or_longest(Duration::from_secs(4)).open_max), (None, Some(auto.open)));
    assert_eq!(fixed(1_000).or_longest(Duration::from_secs(4)), fixed(1_000), "what is configured wins");
    assert!(toml::to_string(&auto).unwrap().contains("open_max = \"auto\""));
    let error = toml::from_str::<BreakerConfig>("openn = \"60s\"").unwrap_err().to_string();
    assert!(error.contains("openn") && error.contains("open_max"), "{error}");
    let wrong: BreakerConfig = toml::from_str(
        "failure_threshold = 0\nsuccess_threshold = 0\nopen = \"9s\"\nopen_max = \"1s\"\ngrowth = 0.5\njitter = 2",
    )
    .unwrap();
    let fields: Vec<_> = wrong.validate().iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["failure_threshold", "success_threshold", "open_max", "growth", "jitter"]);
}

#[derive(Clone, Debug)]
enum Step {
    Check(bool, u64),
    Acted,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), any::<u64>()).prop_map(|(ok, roll)| Step::Check(ok, roll)),
        1 => Just(Step::Acted),
        3 => (0_u64..5_000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens: every move starts where the last one ended and follows an arrow of the diagram, the circuit opens
    /// on a failed check alone, never stays open beyond its cap, and closes only after enough successes in a row.
    #[test]
    fn it_only_moves_along_its_arrows(steps in proptest::collection::vec(step(), 1..200), failures in 1_u32..6, successes in 1_u32..4) {
        let config = BreakerConfig { failure_threshold: failures, success_threshold: successes, ..BreakerConfig::default() };
        let mut circuit = Circuit::new(config.clone());
        let (mut now, mut state, mut passed) = (at(0), Breaker::Closed, 0_u32);
        for step in steps {
            let mut moves = Vec::new();
            match step {
                Step::Pass(millis) => now = now + Duration::from_millis(millis),
                Step::Acted => {
                    passed = 0;
                    moves.extend(circuit.half_open());
                }
                Step::Check(ok, roll) => match circuit.admit(now) {
                    Admission::Skip => prop_assert_eq!(state, Breaker::Open),
                    Admission::Check(moved) => {
                        if moved.is_some() {
                            passed = 0;
                        }
                        moves.extend(moved);
                        passed = if ok { passed + 1 } else { 0 };
                        let moved = circuit.record(ok, now, roll);
                        if let Some(moved) = moved {
                            match moved.to {
                                Breaker::Open => prop_assert!(!ok),
                                Breaker::Closed => prop_assert!(passed >= successes),
                                other => prop_assert!(false, "a verdict led to {other}"),
                            }
                        }
                        moves.extend(moved);
                    }
                },
            }
            for moved in moves {
                prop_assert_eq!(moved.from, state);
                let arrow = (moved.from, moved.to);
                prop_assert!(matches!(
                    arrow,
                    (Breaker::Closed, Breaker::Open | Breaker::HalfOpen)
                        | (Breaker::Open, Breaker::HalfOpen)
                        | (Breaker::HalfOpen, Breaker::Open | Breaker::Closed)
                ), "{arrow:?}");
                state = moved.to;
            }
            prop_assert_eq!(circuit.state(), state);
            if let Some(reopens) = circuit.reopens() {
                prop_assert!(reopens.since(now) <= config.open_max.unwrap_or(Duration::from_secs(60)));
            }
        }
    }

    /// The dice only ever shorten the grown part.
    #[test]
    fn the_open_time_stays_between_the_first_and_the_cap(rolls in proptest::collection::vec(any::<u64>(), 1..40)) {
        let config = BreakerConfig::default();
        let mut circuit = tripped(config.clone());
        for roll in rolls {
            let now = circuit.reopens().unwrap();
            circuit.admit(now);
            circuit.record(false, now, roll);
            let open = circuit.reopens().unwrap().since(now);
            prop_assert!(open >= config.open && open <= Duration::from_secs(60), "{open:?}");
        }
    }
}
