//! Keeper and runtime die together; the next keeper finds what is left.

use std::process::Stdio;

use heald_keeper::protocol::{Child, ChildOrigin, End, KeeperRefusal};
use rustix::process::Signal;

use crate::rig::{Talk, TestRig, kill, lives, marked, until};

fn both_killed(rig: &mut TestRig, runtime: &Talk) {
    rig.kill_both(runtime);
    rig.restart_keeper();
}

#[test]
fn survivors_are_adopted_and_nobody_is_started_beside_them() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let request = rig.script("web", "exec sleep 1000");
    let child = runtime.spawn(request.clone()).unwrap();
    for _ in 0..3 {
        both_killed(&mut rig, &runtime);
        let hello;
        (runtime, hello) = rig.attached();
        assert_eq!(hello.children, [Child { origin: ChildOrigin::Adopted, ..child.clone() }]);
        assert_eq!(hello.exits, []);
    }
    // The intent repeated is the survivor; another intent is refused.
    assert_eq!(runtime.spawn(request.clone()).unwrap().pid, child.pid);
    let mut other = request;
    other.spawn = rig.spawn_id("other");
    assert!(matches!(runtime.spawn(other.clone()), Err(KeeperRefusal::Occupied(found)) if found.pid == child.pid));
    // It can be ended, its end is seen, and its successor counts on.
    runtime.signal(&child.spawn, 15).unwrap();
    let exit = runtime.exit();
    assert_eq!((exit.end, exit.child.pid), (End::Unknown, child.pid));
    assert_eq!(runtime.spawn(other).unwrap().incarnation, 2);
}

#[test]
fn one_that_died_in_between_is_told_and_what_it_left_behind_is_killed() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "(sleep 1000; :) & wait")).unwrap();
    until("all run", || marked(&child.spawn).len() == 3);
    rig.kill_both(&runtime);
    kill(child.pid, Signal::KILL);
    until("the leader is gone", || !lives(child.pid));
    assert_eq!(marked(&child.spawn).len(), 2);
    rig.restart_keeper();
    let (_runtime, hello) = rig.attached();
    assert_eq!(hello.children, []);
    assert_eq!(hello.exits.len(), 1);
    assert_eq!(hello.exits[0].end, End::Unknown);
    until("the leftovers are gone", || marked(&child.spawn).is_empty());
}

#[test]
fn a_recycled_pid_is_not_adopted() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    rig.kill_both(&runtime);
    kill(child.pid, Signal::KILL);
    // The number is now somebody else's, who was started later.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stranger =
        std::process::Command::new("sleep").arg("1000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ledger = rig.directory.path().join("state/ledger");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let text = text.replace(&format!("\"pid\":{}", child.pid), &format!("\"pid\":{}", stranger.id()));
    std::fs::write(&ledger, text).unwrap();
    rig.restart_keeper();
    let (mut runtime, hello) = rig.attached();
    let refused = runtime.signal(&child.spawn, 9);
    let spared = lives(stranger.id());
    let _ = stranger.kill();
    stranger.wait().unwrap();
    assert!(hello.children.is_empty());
    assert_eq!((hello.exits[0].end, hello.exits[0].child.pid), (End::Unknown, stranger.id()));
    assert!(matches!(refused, Err(KeeperRefusal::NoSuchChild(_))));
    assert!(spared);
}

#[test]
fn a_child_started_but_never_written_down_is_found_by_its_mark() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    rig.kill_both(&runtime);
    let ledger = rig.directory.path().join("state/ledger");
    let text = std::fs::read_to_string(&ledger).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("lives")).collect();
    assert!(lines.iter().any(|line| line.contains("starting")));
    std::fs::write(&ledger, lines.join("\n")).unwrap();
    rig.restart_keeper();
    let (mut runtime, hello) = rig.attached();
    let found = &hello.children[0];
    assert_eq!((found.pid, found.incarnation, &found.spawn), (child.pid, 1, &child.spawn));
    runtime.signal(&child.spawn, 9).unwrap();
    assert_eq!(runtime.exit().end, End::Unknown);
}

#[test]
fn counts_go_on_where_they_were() {
    let mut rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    for number in 1..=3 {
        let mut request = rig.script("web", "exit 0");
        request.spawn = rig.spawn_id(&number.to_string());
        assert_eq!(runtime.spawn(request).unwrap().incarnation, number);
        runtime.exit();
    }
    both_killed(&mut rig, &runtime);
    let (mut runtime, _) = rig.attached();
    assert_eq!(runtime.spawn(rig.script("web", "exit 0")).unwrap().incarnation, 4);
}

#[test]
fn keeper_killed_at_random_moments_of_spawning_doubles_nobody() {
    let mut rig = TestRig::new(&[]);
    for round in 0..10_u64 {
        let (mut runtime, hello) = rig.attached();
        let keeper = rig.keeper.id();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(200 + round * 700));
            kill(keeper, Signal::KILL);
        });
        for child in &hello.children {
            until("the child is found", || marked(&child.spawn) == [child.pid]);
        }
        // Everybody who lives is started anew, under the same intent: that must be the survivor.
        for number in 0..20 {
            let mut request = rig.script("web", "exec sleep 1000");
            request.spawn = rig.spawn_id(&number.to_string());
            request.slot.replica = number;
            if runtime.try_ask(heald_keeper::protocol::KeeperCommand::Spawn(Box::new(request))).is_err() {
                break;
            }
        }
        killer.join().unwrap();
        rig.keeper.wait().unwrap();
        until("the runtime is gone", || !lives(runtime.pid));
        for number in 0..20 {
            assert!(marked(&rig.spawn_id(&number.to_string())).len() <= 1, "{number} is doubled");
        }
        rig.restart_keeper();
    }
    let (_runtime, hello) = rig.attached();
    for number in 0..20 {
        let child = hello.children.iter().find(|child| child.slot.replica == number);
        let known: Vec<u32> = child.map(|child| child.pid).into_iter().collect();
        // A process shows no environment while its shell executes the program.
        until("what the keeper knows is what is", || marked(&rig.spawn_id(&number.to_string())) == known);
    }
}

#[test]
fn a_second_keeper_is_refused() {
    let rig = TestRig::new(&[]);
    let (_runtime, _) = rig.attached();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_heald-keeper-fixture"))
        .arg(rig.directory.path().join("state"))
        .env("FIXTURE_RUNTIME", "hopeless")
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(111));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another heald already uses the state directory"));
}
