//! Processes that outlived heald are replaced one after the other, as their output is lost.

use std::time::Duration;

use heald_harness::{Heald, until};

use crate::setup::{VICTIM, lives, start, victim};

/// Long: it only ends a hang.
const PATIENCE: Duration = Duration::from_secs(90);

/// Starts these services, and lets all of heald die and come back while they live on.
fn survivors(config: &str, names: &[&str], before: impl Fn(&Heald)) -> Heald {
    let mut heald = start(config);
    for name in names {
        until(PATIENCE, "it runs", || lives(&heald, name).len(), |count| *count == 1);
    }
    before(&heald);
    heald.kill_both();
    heald.start_again();
    heald
}

#[test]
fn a_survivor_that_waits_for_an_operator_holds_up_no_other() {
    let observed = format!(
        "[[service]]\nname = \"b\"\nmode = \"observe\"\n[service.process]\ncommand = [\"{VICTIM}\", \"@DIR@/b.lives\"]\n"
    );
    let config = format!("{}{observed}{}{}", victim("a"), victim("c"), victim("d"));
    let heald = survivors(&config, &["a", "b", "c", "d"], |heald| {
        assert!(heald.ask(&["pause", "a"]).status.success());
    });
    for name in ["c", "d"] {
        until(PATIENCE, "it is replaced", || lives(&heald, name).len(), |count| *count == 2);
    }
    assert_eq!((lives(&heald, "a").len(), lives(&heald, "b").len()), (1, 1));
    assert!(heald.ask(&["resume", "a"]).status.success());
    until(PATIENCE, "it is replaced at last", || lives(&heald, "a").len(), |count| *count == 2);
    assert_eq!(lives(&heald, "b").len(), 1);
}

#[test]
fn a_dependency_that_survived_is_replaced_before_its_dependent() {
    let dependent = format!(
        "[[service]]\nname = \"app\"\ndepends_on = [\"zdb\"]\n[service.process]\ncommand = [\"{VICTIM}\", \"@DIR@/app.lives\"]\n"
    );
    let heald = survivors(&format!("{dependent}{}", victim("zdb")), &["app", "zdb"], |_| {});
    let second = |name: &str| until(PATIENCE, "it is replaced", || lives(&heald, name), |lives| lives.len() == 2)[1].1;
    let (app, zdb) = (second("app"), second("zdb"));
    assert!(zdb < app, "the dependency comes first");
}
