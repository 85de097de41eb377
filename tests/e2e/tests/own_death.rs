//! heald's own death: no child dies or is doubled, nothing is repeated blindly, every incident ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use heald_harness::{Heald, Signal, gone, kill, signal, until, within};

use crate::setup::{PATIENCE, lives, rows, start, victim};

/// The victims of this heald that live: a second copy of one would show here.
fn alive(heald: &Heald, name: &str) -> Vec<u32> {
    lives(heald, name).into_iter().map(|(pid, _)| pid).filter(|pid| !gone(*pid)).collect()
}

fn next_runtime(heald: &Heald, old: u32) -> u32 {
    let new = until(PATIENCE, "a new runtime", || heald.runtime(), |now| now.is_some_and(|now| now != old));
    within(PATIENCE, "it answers", || {
        heald_harness::get(heald.address(), "/health/ready").filter(|answer| answer.status == 200)
    });
    new.unwrap()
}

#[test]
fn the_runtime_dies_and_no_child_notices() {
    let heald = start(&(0..3).map(|i| victim(&format!("s{i}"))).collect::<String>());
    let before: Vec<Vec<u32>> = (0..3)
        .map(|i| until(PATIENCE, "it runs", || alive(&heald, &format!("s{i}")), |pids| pids.len() == 1))
        .collect();
    let runtime = heald.runtime().unwrap();
    kill(runtime);
    next_runtime(&heald, runtime);
    for (i, pids) in before.iter().enumerate() {
        assert_eq!(alive(&heald, &format!("s{i}")), *pids);
        assert_eq!(lives(&heald, &format!("s{i}")).len(), 1);
    }
}

#[test]
fn a_runtime_that_hangs_is_replaced() {
    let heald = start(&format!("heartbeat = \"200ms\"\nsilence = \"1s\"\n{}", victim("web")));
    let runtime = heald.runtime().unwrap();
    signal(runtime, Signal::STOP);
    next_runtime(&heald, runtime);
    assert_eq!(lives(&heald, "web").len(), 1);
}

#[test]
fn a_child_that_dies_while_the_runtime_is_dead_is_healed_once_it_is_back() {
    let heald = start(&victim("web"));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    let runtime = heald.runtime().unwrap();
    kill(runtime);
    kill(pid);
    next_runtime(&heald, runtime);
    until(PATIENCE, "a second life", || alive(&heald, "web").len(), |count| *count == 1);
    let incident = heald.incident(PATIENCE, "web", "it is resolved", |incident| incident["stage"] == "resolved");
    assert_eq!(incident["condition"], "service-down");
    assert_eq!(lives(&heald, "web").len(), 2);
}

/// A thousand times in the soak, a twentieth of it here. The seed is printed.
#[test]
fn the_runtime_is_killed_at_random_moments_while_it_heals() {
    let rounds = if std::env::var("HEALD_SOAK").is_ok_and(|soak| soak == "full") { 1_000 } else { 50 };
    let seed = std::env::var("HEALD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
    });
    println!("{rounds} rounds with HEALD_SEED={seed}");
    let mut dice = seed | 1;
    let mut roll = move |sides: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % sides
    };
    let names: Vec<String> = (0..4).map(|i| format!("s{i}")).collect();
    // What is under test is heald's own death, not the pace of crash loops.
    let pace = "[healing.backoff]\nfirst = \"1ms\"\nmax = \"20ms\"\n[healing.start_limit]\ncount = 100000\n";
    let services: String = names.iter().map(|name| victim(name)).collect();
    let heald = start(&format!("backoff_max = \"50ms\"\n{pace}{services}"));
    for name in &names {
        until(PATIENCE, "it runs", || alive(&heald, name).len(), |count| *count == 1);
    }
    for round in 0..rounds {
        let victim = &names[roll(4) as usize];
        let pids = alive(&heald, victim);
        pids.iter().for_each(|pid| kill(*pid));
        let runtime = until(PATIENCE, "there is a runtime", || heald.runtime(), Option::is_some).unwrap();
        let pause = Duration::from_micros(roll(12_000));
        let end = Instant::now() + pause;
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        kill(runtime);
        within(PATIENCE, "the runtime is gone", || gone(runtime).then_some(()));
        for name in &names {
            let living = until(PATIENCE, "one copy of each", || alive(&heald, name), |pids| pids.len() == 1);
            assert_eq!(living.len(), 1, "round {round}: {name} has {living:?}");
        }
    }
    within(PATIENCE, "it answers", || {
        heald_harness::get(heald.address(), "/health/ready").filter(|answer| answer.status == 200)
    });
    for name in &names {
        let end = Duration::from_secs(60);
        until(
            end,
            "every incident is over",
            || heald.incidents(name),
            |incidents| incidents.iter().all(|incident| incident["stage"] == "resolved"),
        );
    }
    let rows = rows(&heald);
    let ids = |kind: &str, path: &dyn Fn(&serde_json::Value) -> String| -> Vec<String> {
        rows.iter().filter(|row| row["record"]["kind"] == kind).map(|row| path(&row["record"])).collect()
    };
    let intended = ids("intended", &|record| record["intent"]["id"].as_str().unwrap().to_owned());
    let settled = ids("settled", &|record| record["intent"].as_str().unwrap().to_owned());
    let once: BTreeSet<&String> = intended.iter().collect();
    assert_eq!(once.len(), intended.len(), "an intent is on record twice");
    assert_eq!(once, settled.iter().collect(), "an intent is not settled");
}

#[test]
fn both_die_and_the_next_run_converges_to_one_copy_of_each() {
    let mut heald = start(&(0..3).map(|i| victim(&format!("s{i}"))).collect::<String>());
    for i in 0..3 {
        until(PATIENCE, "it runs", || alive(&heald, &format!("s{i}")).len(), |count| *count == 1);
    }
    let survivors: Vec<u32> = (0..3).map(|i| alive(&heald, &format!("s{i}"))[0]).collect();
    heald.kill_both();
    assert!(survivors.iter().all(|pid| !gone(*pid)), "children live on without heald");
    // One of them dies while nobody watches.
    kill(survivors[2]);
    heald.start_again();
    for i in 0..3 {
        let name = format!("s{i}");
        until(PATIENCE, "exactly one copy", || alive(&heald, &name), |pids| pids.len() == 1);
    }
    assert!(heald.log().contains("survivor") || heald.log().contains("adopted"), "it says what it found");
    for i in 0..3 {
        let name = format!("s{i}");
        until(PATIENCE, "still one copy", || alive(&heald, &name), |pids| pids.len() == 1);
    }
}

#[test]
fn an_orderly_stop_takes_the_children_along() {
    let mut heald = start(&victim("web"));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    assert_eq!(heald.stop(), Some(0));
    assert!(gone(pid));
    assert!(heald.log().contains("Health monitoring stopped"));
}
