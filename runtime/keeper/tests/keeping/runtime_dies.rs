//! The runtime crashes, hangs, or does not come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heald_keeper::protocol::{
    ChildOrigin, End, FallbackRestart, KeeperCommand, KeeperMessage, KeeperReply, RestartHold, SlotId,
};
use rustix::process::Signal;

use crate::rig::{TestRig, kill, lives, marked, until, zombies_of};

/// A small generator, so that a run can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The runtime is killed at random moments of a busy life: while it spawns, while children die, before it attaches. What it
/// knows when it comes back (the hello) must be what is.
#[test]
fn killed_at_random_moments_no_child_is_lost_or_doubled() {
    let seed = std::env::var("HEALD_SEED").map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    let rounds = if std::env::var("HEALD_SOAK").is_ok_and(|soak| soak == "full") { 1000 } else { 50 };
    eprintln!("HEALD_SEED={seed}");
    let mut dice = Dice(seed);
    let rig = TestRig::new(&["silence=20000"]);
    // What the runtime would have in its journal: the newest intent of each place, written down before it is asked.
    let mut intents: BTreeMap<SlotId, String> = BTreeMap::new();
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    let mut spawned = 0;
    let mut killed = 0;
    while killed < rounds {
        let mut runtime = rig.runtime();
        let pid = runtime.pid;
        let killer = {
            let wait = Duration::from_micros(dice.below(20_000));
            std::thread::spawn(move || {
                std::thread::sleep(wait);
                kill(pid, Signal::KILL);
            })
        };
        killed += 1;
        let mut life = || -> std::io::Result<()> {
            let hello = runtime.try_attach()?;
            for exit in &hello.exits {
                *ends.entry(exit.child.spawn.clone()).or_default() += 1;
                runtime.try_ask(KeeperCommand::Acknowledge { spawns: vec![exit.child.spawn.clone()] })?.unwrap();
            }
            for child in &hello.children {
                assert_eq!(intents.get(&child.slot), Some(&child.spawn), "{child:?} is not the newest intent");
            }
            loop {
                let replica = u32::try_from(dice.below(6)).unwrap();
                let mut request = rig.script("web", "exec sleep 1000");
                request.slot.replica = replica;
                request.log = None;
                let living = intents.get(&request.slot).filter(|spawn| !ends.contains_key(*spawn)).cloned();
                match living {
                    Some(spawn) if dice.below(2) == 0 => {
                        // Repeated blindly: the first answer again, or a child that really was not started before.
                        request.spawn = spawn;
                        runtime.try_ask(KeeperCommand::Spawn(Box::new(request)))?.unwrap();
                    }
                    Some(spawn) => {
                        request.spawn = spawn.clone();
                        runtime.try_ask(KeeperCommand::Spawn(Box::new(request)))?.unwrap();
                        let signal =
                            heald_keeper::protocol::SignalRequest { spawn, signal: 9, group: true, retire: false };
                        runtime.try_ask(KeeperCommand::Signal(signal))?.ok();
                        while let KeeperMessage::Exited(exit) = runtime.receive()? {
                            *ends.entry(exit.child.spawn.clone()).or_default() += 1;
                            runtime
                                .try_ask(KeeperCommand::Acknowledge { spawns: vec![exit.child.spawn.clone()] })?
                                .unwrap();
                            if exit.child.slot.replica == replica {
                                break;
                            }
                        }
                    }
                    None => {
                        spawned += 1;
                        request.spawn = rig.spawn_id(&spawned.to_string());
                        intents.insert(request.slot.clone(), request.spawn.clone());
                        runtime.try_ask(KeeperCommand::Spawn(Box::new(request)))?.unwrap();
                    }
                }
            }
        };
        life().unwrap_err();
        killer.join().unwrap();
        assert!(rig.keeper.id() > 0);
    }
    // The last words of the last runtime may have been a kill that is still being told.
    let (mut runtime, mut hello) = rig.attached();
    until("what the keeper knows is what is", || {
        hello = runtime.attach();
        intents.iter().all(|(slot, spawn)| {
            let child = hello.children.iter().find(|child| child.slot == *slot);
            marked(spawn) == child.map(|child| child.pid).into_iter().collect::<Vec<_>>()
        })
    });
    for (slot, spawn) in &intents {
        if hello.children.iter().any(|child| child.spawn == *spawn) {
            continue;
        }
        let told = ends.contains_key(spawn) || hello.exits.iter().any(|exit| exit.child.spawn == *spawn);
        // A runtime may have died before its request for this one was sent, and nobody repeated it.
        let never = runtime.ask(KeeperCommand::Recall { spawn: spawn.clone() }) == Ok(KeeperReply::Recalled(None));
        assert!(told || never, "{slot}: an end was lost");
    }
    assert_eq!(zombies_of(rig.keeper.id()), 0);
    eprintln!("{killed} runtimes killed, {spawned} children, {} ends told", ends.len());
}

#[test]
fn a_runtime_that_hangs_is_killed_and_replaced() {
    let rig = TestRig::new(&["silence=300"]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        runtime.send(KeeperCommand::Beat).unwrap();
    }
    assert!(lives(runtime.pid), "a beating runtime is left alone");
    kill(runtime.pid, Signal::STOP);
    let (_runtime, hello) = rig.attached();
    assert!(hello.previous.unwrap().silent);
    assert_eq!(hello.children, [child]);
    assert!(!lives(runtime.pid));
}

#[test]
fn a_runtime_that_never_attaches_is_killed_and_replaced() {
    let rig = TestRig::new(&["startup=100"]);
    let first = rig.runtime();
    let second = rig.runtime();
    assert_ne!(first.pid, second.pid);
    assert!(!lives(first.pid));
}

#[test]
fn a_runtime_that_talks_nonsense_is_killed_and_replaced() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    runtime.babble();
    let (_runtime, hello) = rig.attached();
    assert_eq!(hello.children, [child]);
}

/// Waits until this time on the monotonic clock.
fn await_time(us: u64) {
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
    };
    until("the time has come", || now() > us);
}

#[test]
fn three_crashes_within_the_window_are_answered_with_safe_mode_and_a_calm_ends_it() {
    let rig = TestRig::new(&["window=700"]);
    for _ in 0..3 {
        let (runtime, hello) = rig.attached();
        assert!(!runtime.safe_mode && hello.safe_mode.is_none());
        runtime.die();
    }
    let (runtime, hello) = rig.attached();
    let first = hello.safe_mode.unwrap();
    assert!(runtime.safe_mode && first.times == 1);
    assert!(first.why.contains("died 3 times") && first.why.contains("signal 9"), "{}", first.why);
    await_time(first.until_us);
    // The calm is over, and so is safe mode. A death right after it begins the next, which lasts twice as long.
    runtime.die();
    let (runtime, hello) = rig.attached();
    let second = hello.safe_mode.unwrap();
    assert!(second.times == 2 && second.until_us >= first.until_us + 1_400_000);
    await_time(second.until_us + 700_000);
    runtime.die();
    let (runtime, hello) = rig.attached();
    assert!(!runtime.safe_mode && hello.safe_mode.is_none());
}

#[test]
fn what_a_runtime_tried_when_it_died_is_suspected_until_it_goes_well() {
    let rig = TestRig::new(&[]);
    let (mut runtime, hello) = rig.attached();
    assert!(hello.suspects.is_empty());
    runtime.ask(KeeperCommand::Trying { what: Some("fine".into()) }).unwrap();
    runtime.ask(KeeperCommand::Trying { what: Some("deadly".into()) }).unwrap();
    runtime.die();
    let (mut runtime, hello) = rig.attached();
    assert_eq!(hello.suspects, ["deadly".to_owned()].into());
    assert!(hello.safe_mode.unwrap().why.contains("deadly"));
    runtime.ask(KeeperCommand::Trying { what: Some("deadly".into()) }).unwrap();
    runtime.ask(KeeperCommand::Trying { what: None }).unwrap();
    runtime.die();
    let (_runtime, hello) = rig.attached();
    assert!(hello.suspects.is_empty());
}

#[test]
fn without_a_runtime_the_restart_lines_apply() {
    let mut rig = TestRig::new(&["absence=200", "backoff=20", "backoff_max=20"]);
    let (mut runtime, _) = rig.attached();
    let spawn = |runtime: &mut crate::rig::Talk, name: &str, restart: FallbackRestart| {
        let mut request = rig.script(name, "exec sleep 1000");
        request.fallback.restart = restart;
        runtime.spawn(request).unwrap()
    };
    let always = spawn(&mut runtime, "always", FallbackRestart::Always);
    let failing = spawn(&mut runtime, "failing", FallbackRestart::OnFailure);
    let never = spawn(&mut runtime, "never", FallbackRestart::Never);
    let retired = spawn(&mut runtime, "retired", FallbackRestart::Always);
    let quiet = spawn(&mut runtime, "quiet", FallbackRestart::Always);
    let mut request = rig.script("done", "exit 0");
    request.fallback.restart = FallbackRestart::OnFailure;
    runtime.spawn(request).unwrap();
    runtime.exit();
    runtime.retire(&retired.spawn, 9).unwrap();
    runtime.exit();
    // Acknowledged, but nothing followed: that too is an end the dead runtime did not answer.
    let early = spawn(&mut runtime, "early", FallbackRestart::Always);
    runtime.signal(&early.spawn, 9).unwrap();
    runtime.exit();
    runtime.acknowledge(&early.spawn);
    rig.no_runtime();
    let absent = Instant::now();
    runtime.die();
    until("the runtime is gone", || !lives(runtime.pid));
    for child in [&always, &failing, &never] {
        kill(child.pid, Signal::KILL);
    }
    let again = |child: &heald_keeper::protocol::Child| marked(&format!("{}~2", child.spawn));
    until("two are back", || [&always, &failing, &early].iter().all(|child| again(child).len() == 1));
    assert!(absent.elapsed() >= Duration::from_millis(200), "not before the absence is long enough");
    // And a third time, after a pause.
    kill(again(&always)[0], Signal::KILL);
    until("it is back", || marked(&format!("{}~3", always.spawn)).len() == 1);
    rig.allow_runtime();
    let (_runtime, hello) = rig.attached();
    let found: Vec<_> =
        hello.children.iter().map(|child| (child.slot.service.as_str(), child.incarnation, child.origin)).collect();
    let expected = [
        ("always", 3, ChildOrigin::Fallback),
        ("early", 2, ChildOrigin::Fallback),
        ("failing", 2, ChildOrigin::Fallback),
        ("quiet", 1, ChildOrigin::Asked),
    ];
    assert_eq!(found, expected);
    assert!(lives(quiet.pid));
    let told: Vec<_> =
        hello.exits.iter().map(|exit| (exit.child.slot.service.as_str(), exit.child.incarnation)).collect();
    for end in [("always", 1), ("always", 2), ("failing", 1), ("never", 1), ("done", 1), ("retired", 1)] {
        assert!(told.contains(&end), "{end:?} in {told:?}");
    }
    assert_eq!(told.len(), 6);
    assert!(matches!(hello.exits[0].end, End::Code(0)));
}

#[test]
fn a_runtime_that_is_back_in_time_decides_itself() {
    let rig = TestRig::new(&["absence=300"]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "exec sleep 1000")).unwrap();
    runtime.die();
    let (mut runtime, _) = rig.attached();
    kill(child.pid, Signal::KILL);
    runtime.exit();
    std::thread::sleep(Duration::from_millis(400));
    assert!(marked(&format!("{}~2", child.spawn)).is_empty());
}

/// A keeper without a runtime, whose children `held` and `free` were killed. Returns their spawn ids.
fn both_children_die_without_a_runtime(rig: &mut TestRig, hold: RestartHold) -> (String, String) {
    let (mut runtime, _) = rig.attached();
    let held = runtime.spawn(rig.script("held", "exec sleep 1000")).unwrap();
    let free = runtime.spawn(rig.script("free", "exec sleep 1000")).unwrap();
    runtime.ask(KeeperCommand::HoldRestarts(hold)).unwrap();
    rig.no_runtime();
    runtime.die();
    until("the runtime is gone", || !lives(runtime.pid));
    for child in [&held, &free] {
        kill(child.pid, Signal::KILL);
        until("the child is gone", || !lives(child.pid));
    }
    (held.spawn, free.spawn)
}

#[test]
fn a_paused_service_is_not_restarted_without_a_runtime() {
    let mut rig = TestRig::new(&["absence=200", "backoff=20", "backoff_max=20"]);
    let hold = RestartHold { halted: false, services: ["held".to_owned()].into() };
    let (held, free) = both_children_die_without_a_runtime(&mut rig, hold);
    until("the other is back", || marked(&format!("{free}~2")).len() == 1);
    kill(marked(&format!("{free}~2"))[0], Signal::KILL);
    // The held one would be started before the other is for the second time.
    until("the other is back again", || marked(&format!("{free}~3")).len() == 1);
    assert!(marked(&format!("{held}~2")).is_empty());
    // With the operator's word its own line applies again.
    rig.allow_runtime();
    let (mut runtime, hello) = rig.attached();
    assert!(!hello.halted);
    runtime.ask(KeeperCommand::HoldRestarts(RestartHold::default())).unwrap();
    rig.no_runtime();
    runtime.die();
    until("it is back", || marked(&format!("{held}~2")).len() == 1);
}

#[test]
fn a_halted_heald_restarts_nothing_without_a_runtime_and_the_next_runtime_is_told() {
    let mut rig = TestRig::new(&["absence=200", "backoff=20", "backoff_max=20"]);
    let hold = RestartHold { halted: true, services: Default::default() };
    let (held, free) = both_children_die_without_a_runtime(&mut rig, hold);
    rig.allow_runtime();
    // Runtimes that never take over, until the absence is long over.
    let absent = Instant::now();
    while absent.elapsed() < Duration::from_millis(600) {
        rig.runtime().die();
    }
    let (runtime, hello) = rig.attached();
    assert!(hello.halted);
    assert_eq!(hello.children, []);
    // The keeper's own death does not end it.
    rig.kill_both(&runtime);
    rig.restart_keeper();
    let (_runtime, hello) = rig.attached();
    assert!(hello.halted);
    assert!(marked(&format!("{held}~2")).is_empty() && marked(&format!("{free}~2")).is_empty());
}
