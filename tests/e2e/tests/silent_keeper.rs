//! The keeper stands still: heald says so, loses nothing, and goes on when the keeper does.

use std::time::Duration;

use heald_harness::{Signal, kill, signal, until};

use crate::setup::{lives, rows, start, victim};

/// Long: it only ends a hang.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_keeper_that_stands_still_is_noticed_and_what_died_meanwhile_is_healed() {
    let heald = start(&victim("web"));
    let (pid, _) = until(PATIENCE, "it runs", || lives(&heald, "web"), |lives| !lives.is_empty())[0];
    let health = || heald.get("/health/status")["services"]["web"]["health"].clone();
    until(PATIENCE, "it is well", health, |word| *word == "healthy");
    signal(heald.keeper(), Signal::STOP);
    kill(pid);
    until(PATIENCE, "its death is seen without the keeper", health, |word| *word == "unhealthy");
    let ready = || heald.call("GET", "/health/ready", None).status;
    until(PATIENCE, "heald is not ready", ready, |status| *status == 503);
    let status = String::from_utf8(heald.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("THE KEEPER is silent"), "{status}");
    // An order fails with the reason and does not hang.
    let order = heald.ask(&["act", "signal", "--service", "web", "--parameters", "{\"signal\":\"USR1\"}", "--force"]);
    assert!(!order.status.success(), "{order:?}");
    signal(heald.keeper(), Signal::CONT);
    until(PATIENCE, "it is healed", || lives(&heald, "web").len(), |count| *count == 2);
    until(PATIENCE, "heald is ready", ready, |status| *status == 200);
    let notes: Vec<String> = rows(&heald).iter().map(|row| row["record"]["text"].to_string()).collect();
    for word in ["the keeper is silent", "the keeper is heard again"] {
        assert!(notes.iter().any(|note| note.contains(word)), "{word}: {notes:?}");
    }
}
