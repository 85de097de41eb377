//! An ordinary day: a database that is late, an answer that is wrong now and then, a dependency that goes and comes back. Nothing is
//! done too often, nothing on an old verdict, and people are called once, with the reason.

use std::time::{Duration, Instant};

use heald_harness::{Heald, Mode, Signal, Stub, free_port, gone, kill, until};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::setup::{VICTIM, lives, rows, start};

/// This only ends a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Down, by its own word.
const DOWN: &str = r#"{"status":"DOWN"}"#;
const UP: &str = r#"{"status":"UP"}"#;

/// Short waits. A test may go on with keys of `[healing]`.
const SOON: &str = r#"
[healing.backoff]
first = "10ms"
max = "500ms"
[healing]
cooldown = "100ms"
"#;

/// A service of heald's that is looked at over HTTP.
fn app(port: u16) -> String {
    format!(
        r#"
[[service]]
name = "app"
startup = "300ms"
[service.process]
command = ["{VICTIM}", "@DIR@/app.lives"]
[[service.probe]]
kind = "http"
url = "http://127.0.0.1:{port}/health"
period = "100ms"
timeout = "300ms"
failure_threshold = 2
"#
    )
}

/// The same, and it needs another.
fn needing(needed: &str, app: &str) -> String {
    app.replace("startup =", &format!("depends_on = [\"{needed}\"]\nstartup ="))
}

fn health(heald: &Heald, service: &str) -> Value {
    heald.get("/health/status")["services"][service]["health"].clone()
}

fn is_well(heald: &Heald, service: &str) {
    until(PATIENCE, "it is healthy", || health(heald, service), |health| health == "healthy");
}

fn alive(heald: &Heald, name: &str) -> Option<u32> {
    lives(heald, name).last().map(|(pid, _)| *pid).filter(|pid| !gone(*pid))
}

/// The lines of one kind in an incident's story.
fn story(incident: &Value, kind: &str) -> Vec<String> {
    let lines = incident["timeline"].as_array().unwrap().iter().filter(|event| event["kind"] == kind);
    lines.map(|event| event["text"].as_str().unwrap().to_owned()).collect()
}

/// Why people were called, each time.
fn calls(incident: &Value) -> Vec<String> {
    story(incident, "stage").into_iter().filter(|text| text.starts_with("escalated")).collect()
}

fn incident(heald: &Heald, service: &str, stage: &str) -> Value {
    heald.incident(PATIENCE, service, stage, |incident| incident["stage"] == stage)
}

/// A service that ends at once as long as there is no database.
fn needy() -> String {
    format!(
        r#"
[[service]]
name = "web"
[service.process]
command = ["sh", "-c", "[ -e @DIR@/database ] && exec {VICTIM} @DIR@/web.lives; exec {VICTIM} @DIR@/web.lives exit 0 1"]
"#
    )
}

#[test]
fn a_service_whose_database_is_late_is_restored_at_growing_waits_and_nobody_is_called() {
    let heald = start(&needy());
    until(PATIENCE, "it has died five times", || lives(&heald, "web").len(), |count| *count >= 5);
    std::fs::write(heald.path("database"), "").unwrap();
    let returned = clock_gettime(ClockId::Monotonic);
    let returned = returned.tv_sec as u64 * 1_000_000_000 + returned.tv_nsec as u64;
    let over = incident(&heald, "web", "resolved");
    let (pid, began) = lives(&heald, "web").last().copied().unwrap();
    let took = Duration::from_nanos(began.saturating_sub(returned));
    assert!(!gone(pid) && took <= Duration::from_millis(5_500), "{took:?}");
    assert_eq!(calls(&over), Vec::<String>::new(), "{over}");
    assert!(over["attempts"].as_array().unwrap().iter().all(|attempt| attempt["class"] == "restore"), "{over}");
    // At least half of each step, and each step is longer than the one before.
    let began: Vec<u64> = lives(&heald, "web").into_iter().map(|(_, began)| began).collect();
    for (step, pair) in began.windows(2).take(4).enumerate() {
        let least = 0.05 * 600_f64.powf(step as f64 / 8.0);
        let waited = (pair[1] - pair[0]) as f64 / 1e9;
        assert!(waited >= least, "step {step}: {waited} s, and at least {least} s are due");
    }
}

#[test]
fn a_database_that_never_comes_calls_people_once_and_the_service_is_still_tried() {
    let heald = start(&format!("{SOON}[healing.start_limit]\ncount = 3\n{}", needy()));
    let called = incident(&heald, "web", "escalated");
    assert!(calls(&called)[0].contains("it was started 3 times within 5m"), "{called}");
    let so_far = lives(&heald, "web").len();
    until(PATIENCE, "it is still tried", || lives(&heald, "web").len(), |count| *count >= so_far + 3);
    let called = incident(&heald, "web", "escalated");
    assert_eq!(calls(&called).len(), 1, "{called}");
}

/// A victim with a check that is a command of its own.
fn checked(command: &str, threshold: u32) -> String {
    format!(
        r#"
[[service]]
name = "web"
startup = "300ms"
[service.process]
command = ["{VICTIM}", "@DIR@/web.lives"]
[[service.probe]]
kind = "exec"
command = ["sh", "-c", "{command}"]
period = "200ms"
failure_threshold = {threshold}
"#
    )
}

#[test]
fn a_command_that_fails_while_the_process_lives_restarts_it_once() {
    let heald = start(&format!("{SOON}{}", checked("test ! -e @DIR@/broken", 2)));
    is_well(&heald, "web");
    std::fs::write(heald.path("broken"), "").unwrap();
    until(Duration::from_secs(4), "a second life", || lives(&heald, "web").len(), |count| *count == 2);
    std::fs::remove_file(heald.path("broken")).unwrap();
    let over = incident(&heald, "web", "resolved");
    assert_eq!(lives(&heald, "web").len(), 2, "{over}");
    assert_eq!(over["attempts"][0]["ending"], "healed", "{over}");
}

#[test]
fn one_failure_of_a_command_below_its_threshold_is_nothing() {
    let command = "echo >> @DIR@/checks; test ! -e @DIR@/broken || { rm @DIR@/broken; exit 1; }";
    let heald = start(&checked(command, 3));
    is_well(&heald, "web");
    std::fs::write(heald.path("broken"), "").unwrap();
    let checks = || std::fs::read_to_string(heald.path("checks")).unwrap().lines().count();
    until(PATIENCE, "it failed once", || heald.path("broken").exists(), |broken| !broken);
    let so_far = checks();
    until(PATIENCE, "more checks", checks, |count| *count >= so_far + 4);
    assert_eq!((lives(&heald, "web").len(), heald.incidents("web").len()), (1, 0));
}

#[test]
fn a_service_is_left_alone_while_what_it_needs_is_away_and_both_are_seen_well_soon() {
    let (port, needed) = (free_port(), free_port());
    let (stub, database) = (Stub::on(port, Mode::Status(200)), Stub::on(needed, Mode::Status(200)));
    let heald = start(&format!(
        r#"{SOON}
[[service]]
name = "db"
[service.breaker]
failure_threshold = 1
growth = 30.0
jitter = 0.0
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:{needed}"
period = "200ms"
{}"#,
        needing("db", &app(port))
    ));
    is_well(&heald, "db");
    is_well(&heald, "app");
    drop(database);
    stub.set(Mode::Status(503));
    // The circuit has opened for its longest time.
    until(PATIENCE, "it is suspended", || heald.log(), |log| log.contains("db: half_open -> open"));
    incident(&heald, "db", "escalated");
    let _database = Stub::on(needed, Mode::Status(200));
    stub.set(Mode::Status(200));
    let returned = Instant::now();
    until(PATIENCE, "the dependency is seen well", || health(&heald, "db"), |health| health == "healthy");
    let seen = returned.elapsed();
    assert!(seen < Duration::from_secs(5), "{seen:?}");
    until(Duration::from_secs(1), "the service is well", || health(&heald, "app"), |health| health == "healthy");
    incident(&heald, "app", "resolved");
    assert_eq!(lives(&heald, "app").len(), 1, "{:?}", heald.incidents("app"));
}

#[test]
fn what_a_service_needs_is_looked_at_before_the_service_is_touched() {
    let (port, needed) = (free_port(), free_port());
    let (stub, database) = (Stub::on(port, Mode::Status(200)), Stub::on(needed, Mode::Status(200)));
    let heald = start(&format!(
        r#"{SOON}
[[service]]
name = "db"
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:{needed}"
period = "1500ms"
failure_threshold = 2
{}"#,
        needing("db", &app(port)).replace("failure_threshold = 2", "failure_threshold = 1")
    ));
    is_well(&heald, "db");
    is_well(&heald, "app");
    drop(database);
    stub.set(Mode::Status(503));
    let held = heald.incident(PATIENCE, "app", "it is held", |incident| incident["held"]["rule"] == "dependency");
    assert_eq!(held["attempts"].as_array().unwrap().len(), 0, "{held}");
    let _database = Stub::on(needed, Mode::Status(200));
    stub.set(Mode::Status(200));
    incident(&heald, "app", "resolved");
    assert_eq!(lives(&heald, "app").len(), 1, "{:?}", heald.incidents("app"));
}

/// A clock that is a day ahead, for whoever is started with it.
fn fast_clock(heald: &std::path::Path) -> (String, String) {
    let source = r#"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, id, time);
    if (!failed && id == CLOCK_REALTIME) time->tv_sec += 86400;
    return failed;
}
"#;
    let (code, library) = (heald.join("clock.c"), heald.join("clock.so"));
    std::fs::write(&code, source).unwrap();
    let built =
        std::process::Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&code).status();
    assert!(built.unwrap().success(), "the C compiler builds the clock");
    ("LD_PRELOAD".to_owned(), library.display().to_string())
}

#[test]
fn a_clock_that_was_a_day_ahead_holds_up_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (name, library) = fast_clock(folder.path());
    let mut heald = crate::setup::start_with(&crate::setup::victim("web"), &[(&name, &library)]);
    for death in 1..=4 {
        let pid = until(PATIENCE, "it runs", || alive(&heald, "web"), Option::is_some).unwrap();
        until(PATIENCE, "heald knows", || heald.pid_of("web"), |known| *known == Some(pid));
        kill(pid);
        until(PATIENCE, "it died", || lives(&heald, "web").len(), |count| *count == death + 1);
    }
    let opened = heald.incidents("web")[0]["opened"].as_str().unwrap().to_owned();
    heald.stop();
    heald.set_env(Vec::new());
    heald.start_again();
    let pid = until(PATIENCE, "it runs", || alive(&heald, "web"), Option::is_some).unwrap();
    until(PATIENCE, "heald knows", || heald.pid_of("web"), |known| *known == Some(pid));
    let today = rows(&heald).last().unwrap()["at"].as_str().unwrap_or_default().to_owned();
    assert!(today < opened || today.is_empty(), "the rows of before are ahead of the clock: {today}, {opened}");
    kill(pid);
    until(Duration::from_secs(3), "it runs again", || alive(&heald, "web"), |now| now.is_some_and(|now| now != pid));
}

#[test]
fn a_dead_dependency_calls_people_once_and_names_who_needs_it() {
    let (port, needed) = (free_port(), free_port());
    let (stub, database) = (Stub::on(port, Mode::Status(200)), Stub::on(needed, Mode::Status(200)));
    let mut config = format!(
        r#"{SOON}
dependency_hold = "1s"
[[service]]
name = "db"
[[service.probe]]
kind = "tcp"
address = "127.0.0.1:{needed}"
period = "400ms"
failure_threshold = 2
"#
    );
    // Half of them are run by heald, and half are only watched.
    let names: Vec<String> = (0..20).map(|number| format!("app{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let process = format!("[service.process]\ncommand = [\"{VICTIM}\", \"@DIR@/{name}.lives\"]");
        let process = if number % 2 == 0 { process } else { String::new() };
        config.push_str(&format!(
            r#"
[[service]]
name = "{name}"
depends_on = ["db"]
{process}
[[service.probe]]
kind = "http"
url = "http://127.0.0.1:{port}/health"
period = "300ms"
failure_threshold = 1
"#
        ));
    }
    let heald = start(&config);
    names.iter().for_each(|name| is_well(&heald, name));
    is_well(&heald, "db");
    drop(database);
    stub.set(Mode::Status(503));
    let called = incident(&heald, "db", "escalated");
    let why = &calls(&called)[0];
    assert!(why.contains("heald does not run db") && why.contains("20 services need it"), "{why}");
    assert!(names.iter().all(|name| why.contains(name.as_str())), "{why}");
    // The time for which a dependency holds people's call is over, too.
    for (number, name) in names.iter().enumerate() {
        let rule = if number % 2 == 0 { "dependency" } else { "not-on-offer" };
        heald.incident(PATIENCE, name, "it is held", |incident| {
            incident["held"]["rule"] == rule && incident["held"]["until"].is_null()
        });
    }
    let list = heald.get("/api/incidents?limit=500");
    let escalated = list["incidents"].as_array().unwrap().iter().filter(|incident| incident["stage"] == "escalated");
    assert_eq!(escalated.count(), 1, "{list}");
    assert!(names.iter().step_by(2).all(|name| lives(&heald, name).len() == 1));
}

#[test]
fn what_comes_back_after_two_restarts_is_told_and_not_restarted_again() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&format!("{SOON}{}", app(port).replace("threshold = 2", "threshold = 1")));
    is_well(&heald, "app");
    stub.set(Mode::EachNth(UP.into(), 5, DOWN.into()));
    let called = incident(&heald, "app", "escalated");
    assert!(calls(&called)[0].contains("it came back 2 times within 10m of being healed"), "{called}");
    // It comes and goes on.
    let so_far = stub.hits();
    until(PATIENCE, "more of the same", || stub.hits(), |hits| *hits > so_far + 25);
    assert_eq!(lives(&heald, "app").len(), 3, "two restarts, and no more: {:?}", heald.incidents("app"));
}

#[test]
fn a_service_that_answers_503_every_time_is_told_check_by_check() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&format!("{SOON}{}", app(port)));
    is_well(&heald, "app");
    stub.set(Mode::Status(503));
    let tried = heald.incident(PATIENCE, "app", "a proof", |incident| !story(incident, "proof").is_empty());
    let proof = &story(&tried, "proof")[0];
    assert!(proof.contains("http 0 of ") && proof.contains("process "), "{proof}");
    assert!(proof.contains("the finding still holds"), "{proof}");
    assert_eq!(story(&tried, "outcome")[0], "not-healed", "{tried}");
}

#[test]
fn each_fault_has_its_own_signature_and_its_own_attempts() {
    let stub = Stub::on(0, Mode::Status(200));
    let port = stub.address().port();
    let heald = start(&format!("{SOON}attempts = 1\n{}", app(port)));
    let mut seen = Vec::new();
    for (count, fault) in [(2, "status"), (3, "body"), (4, "timeout")] {
        is_well(&heald, "app");
        let mode = [("status", Mode::Status(503)), ("body", Mode::Body(DOWN.into())), ("timeout", Mode::Hang)];
        stub.set(mode.into_iter().find(|(name, _)| *name == fault).unwrap().1);
        until(PATIENCE, "another life", || lives(&heald, "app").len(), |lives| *lives == count);
        // The first is not healed: that uses up its one attempt, and no other fault's.
        if fault == "status" {
            incident(&heald, "app", "escalated");
        }
        stub.set(Mode::Status(200));
        seen.push(format!("service-down/http:{fault}"));
        incident(&heald, "app", "resolved");
    }
    is_well(&heald, "app");
    heald_harness::signal(alive(&heald, "app").unwrap(), Signal::KILL);
    until(PATIENCE, "another life", || lives(&heald, "app").len(), |lives| *lives == 5);
    seen.push("service-down/process:signal".to_owned());
    until(
        PATIENCE,
        "all four are told apart",
        || {
            let incidents = heald.incidents("app");
            let mut attempts: Vec<Value> =
                incidents.iter().flat_map(|incident| incident["attempts"].as_array().unwrap().clone()).collect();
            attempts.sort_by_key(|attempt| attempt["at"].as_str().unwrap().to_owned());
            attempts.iter().map(|attempt| attempt["signature"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        },
        |signatures| *signatures == seen,
    );
}
