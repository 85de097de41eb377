//! How a keeper goes.

use heald_keeper::protocol::{KeeperCommand, KeeperReply};
use rustix::process::Signal;

use crate::rig::{Talk, TestRig, kill, lives, until};

#[test]
fn an_order_to_end_reaches_the_runtime_and_then_the_children() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut rig = TestRig::new(&[]);
        let (mut runtime, _) = rig.attached();
        let polite = runtime.spawn(rig.script("polite", "exec sleep 1000")).unwrap();
        let mut request = rig.script("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done");
        request.stop.grace_ms = 100;
        let deaf = runtime.spawn(request).unwrap();
        until("the trap is set", || std::fs::read_to_string(rig.log("deaf")).is_ok_and(|text| text == "ready\n"));
        kill(deaf.pid, Signal::STOP);
        kill(rig.keeper.id(), signal);
        // The relay has no handler: the signal ends it.
        assert_eq!(rig.keeper_exit(), 128 + signal.as_raw());
        assert!(!lives(polite.pid) && !lives(deaf.pid) && !lives(runtime.pid));
    }
}

#[test]
fn a_runtime_that_exits_with_0_ends_everything_in_order() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    drop(runtime);
    assert_eq!(rig.keeper_exit(), 0);
    assert!(!lives(child.pid));
}

#[test]
fn a_shutdown_can_leave_the_children_to_the_next_keeper() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    assert_eq!(runtime.ask(KeeperCommand::Shutdown { leave_children: true }), Ok(KeeperReply::Noted));
    let refused = runtime.spawn(rig.script("late", "exec sleep 1000"));
    assert_eq!(refused, Err(heald_keeper::protocol::KeeperRefusal::Stopping));
    drop(runtime);
    assert_eq!(rig.keeper_exit(), 0);
    assert!(lives(child.pid));
    rig.restart_keeper();
    let (_runtime, hello) = rig.attached();
    assert_eq!(hello.children[0].pid, child.pid);
}

#[test]
fn a_runtime_that_does_not_go_is_killed() {
    let mut rig = TestRig::new(&["farewell=100"]);
    let (mut runtime, _) = rig.attached();
    runtime.ask(KeeperCommand::Shutdown { leave_children: false }).unwrap();
    assert_eq!(rig.keeper_exit(), 128 + 9);
    assert!(!lives(runtime.pid));
}

#[test]
fn a_second_order_ends_the_patience() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("deaf", "trap 'echo no' TERM; echo ready; while :; do sleep 0.01; done");
    request.stop.grace_ms = 1_000_000;
    let deaf = runtime.spawn(request).unwrap();
    until("the trap is set", || std::fs::read_to_string(rig.log("deaf")).is_ok_and(|text| text == "ready\n"));
    kill(rig.keeper.id(), Signal::TERM);
    until("it was asked to end", || std::fs::read_to_string(rig.log("deaf")).is_ok_and(|text| text.contains("no\n")));
    kill(rig.keeper.id(), Signal::TERM);
    rig.keeper_exit();
    assert!(!lives(deaf.pid));
}

#[test]
fn a_runtime_that_cannot_work_at_all_is_not_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_heald-keeper-fixture"))
        .arg(directory.path())
        .env("FIXTURE_RUNTIME", "hopeless")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(78));
}

#[test]
fn a_connected_runtime_is_served_and_its_end_is_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut keeper = std::process::Command::new(env!("CARGO_BIN_EXE_heald-keeper-fixture"))
        .arg(directory.path().join("state"))
        .env("FIXTURE_RUNTIME", format!("connected:{}", path.display()))
        .spawn()
        .unwrap();
    let mut runtime = Talk::over(listener.accept().unwrap().0);
    assert_eq!(runtime.attach().keeper, keeper.id());
    let rig = TestRig::new(&[]);
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    drop(runtime);
    assert_eq!(keeper.wait().unwrap().code(), Some(0));
    assert!(!lives(child.pid));
}

#[test]
fn the_runtime_goes_with_the_keeper() {
    let mut rig = TestRig::new(&[]);
    let (runtime, _) = rig.attached();
    // The relay does not care that its socket has ended, as long as the test talks to it.
    rig.keeper.kill().unwrap();
    until("the runtime is gone", || !lives(runtime.pid));
}

#[test]
fn hangup_and_usr2_are_handed_on() {
    for (signal, number) in [(Signal::HUP, 1), (Signal::USR2, 12)] {
        let rig = TestRig::new(&[]);
        let (runtime, _) = rig.attached();
        kill(rig.keeper.id(), signal);
        // The relay has no handler, so it dies of it; the keeper does not, and starts the next.
        let (_runtime, hello) = rig.attached();
        let end = hello.previous.unwrap().end;
        assert_eq!(end, heald_keeper::protocol::End::Signal { signal: number, core: false });
        drop(runtime);
    }
}
