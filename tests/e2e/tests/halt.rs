//! What an operator has halted, paused or stopped stays so, whoever of heald dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heald_harness::{Heald, gone, kill, until, within};

use crate::setup::{lives, start, victim};

/// Long: it only ends a hang.
const PATIENCE: Duration = Duration::from_secs(90);

/// The keeper acts this soon when there is no runtime.
const SOON: &str = "absence = \"500ms\"\nbackoff_max = \"50ms\"\n";

/// Kills every runtime as soon as it is there, until it is dropped.
struct NoRuntime {
    over: Arc<AtomicBool>,
    killer: Option<std::thread::JoinHandle<()>>,
}

impl NoRuntime {
    fn from_now_on(heald: &Heald) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let keeper = heald.keeper();
        let killer = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    runtimes(keeper).into_iter().for_each(kill);
                }
            })
        };
        Self { over, killer: Some(killer) }
    }
}

impl Drop for NoRuntime {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.killer.take().unwrap().join();
    }
}

/// The keeper's children that are runtimes.
fn runtimes(keeper: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let is_runtime = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"HEALD_KEEPER_FD="))
    };
    pids.filter(is_runtime).collect()
}

/// A heald with two victims that run.
fn two(config: &str) -> (Heald, u32, u32) {
    let heald = start(&format!("{SOON}{config}{}{}", victim("web"), victim("db")));
    let pid = |name: &str| until(PATIENCE, "it runs", || heald.pid_of(name), Option::is_some).unwrap();
    let (web, db) = (pid("web"), pid("db"));
    (heald, web, db)
}

/// Kills the runtime and waits for the next one.
fn new_runtime(heald: &Heald) {
    let runtime = until(PATIENCE, "there is a runtime", || heald.runtime(), Option::is_some).unwrap();
    kill(runtime);
    within(PATIENCE, "it is gone", || gone(runtime).then_some(()));
    answers(heald);
}

fn answers(heald: &Heald) {
    within(PATIENCE, "it answers", || {
        heald_harness::get(heald.address(), "/health/ready").filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_paused_service_is_not_started_again_by_a_heald_without_a_runtime() {
    for order in ["pause", "stop"] {
        let (heald, web, db) = two("");
        assert!(heald.ask(&[order, "web"]).status.success());
        let no_runtime = NoRuntime::from_now_on(&heald);
        until(PATIENCE, "there is no runtime", || heald.runtime(), Option::is_none);
        for pid in [web, db] {
            kill(pid);
            within(PATIENCE, "it is gone", || gone(pid).then_some(()));
        }
        // web would be started again before db is for the second time.
        let back = until(PATIENCE, "the other one is back", || lives(&heald, "db"), |lives| lives.len() == 2)[1].0;
        kill(back);
        until(PATIENCE, "it is back again", || lives(&heald, "db").len(), |count| *count == 3);
        assert_eq!(lives(&heald, "web").len(), 1, "{order}");
        drop(no_runtime);
        answers(&heald);
        assert!(heald.ask(&["resume", "web"]).status.success());
        until(PATIENCE, "it is back", || lives(&heald, "web").len(), |count| *count == 2);
    }
}

#[test]
fn halted_stays_halted_when_the_runtime_and_the_keeper_die_until_it_is_resumed() {
    let (mut heald, web, db) = two("");
    assert!(heald.ask(&["halt"]).status.success());
    new_runtime(&heald);
    kill(web);
    within(PATIENCE, "it is gone", || gone(web).then_some(()));
    heald.incident(PATIENCE, "web", "it is held", |incident| incident["held"]["rule"] == "halted");
    assert_eq!(heald.get("/api/halt")["halted"], true);
    // And the whole of heald, with the file lost: the keeper remembers. db, too, is gone when it is back.
    heald.kill_both();
    kill(db);
    std::fs::remove_file(heald.path("heald.desired.json")).unwrap();
    heald.start_again();
    assert_eq!(heald.get("/api/halt")["halted"], true);
    heald.incident(PATIENCE, "db", "it is held", |incident| incident["held"]["rule"] == "halted");
    let status = String::from_utf8(heald.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("ALL HEALING IS STOPPED"), "{status}");
    assert_eq!((lives(&heald, "web").len(), lives(&heald, "db").len()), (1, 1));
    assert!(heald.ask(&["resume", "--all"]).status.success());
    for name in ["web", "db"] {
        until(PATIENCE, "it is back", || lives(&heald, name).len(), |count| *count == 2);
    }
    // What is resumed stays resumed.
    new_runtime(&heald);
    let pid = lives(&heald, "web")[1].0;
    kill(pid);
    until(PATIENCE, "it is healed", || lives(&heald, "web").len(), |count| *count == 3);
}
