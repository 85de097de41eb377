//! Starting, signalling and reaping.

use heald_keeper::protocol::{End, KeeperCommand, KeeperRefusal, KeeperReply};

use crate::rig::{Talk, TestRig, lives, marked, until, zombies_of};

#[test]
fn the_same_spawn_twice_is_one_process_also_across_runtimes() {
    let rig = TestRig::new(&[]);
    let (mut runtime, hello) = rig.attached();
    assert!(hello.children.is_empty() && hello.runtime_starts == 1);
    let request = rig.script("web", "sleep 1000");
    let first = runtime.spawn(request.clone()).unwrap();
    assert_eq!(runtime.spawn(request.clone()).unwrap(), first);
    runtime.die();
    let (mut runtime, hello) = rig.attached();
    assert_eq!(hello.children, std::slice::from_ref(&first));
    assert_eq!(runtime.spawn(request.clone()).unwrap(), first);
    // Its end does not change the answer either, acknowledged or not.
    runtime.signal(&first.spawn, 9).unwrap();
    runtime.exit();
    assert_eq!(runtime.spawn(request.clone()).unwrap(), first);
    runtime.acknowledge(&first.spawn);
    assert_eq!(runtime.spawn(request).unwrap(), first);
    assert!(marked(&first.spawn).is_empty());
}

#[test]
fn a_spawn_can_be_recalled_without_being_repeated() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let request = rig.script("web", "sleep 1000");
    let recall = |runtime: &mut Talk| match runtime.ask(KeeperCommand::Recall { spawn: rig.spawn_id("web") }) {
        Ok(KeeperReply::Recalled(answer)) => answer,
        other => panic!("{other:?}"),
    };
    assert_eq!(recall(&mut runtime), None);
    assert!(marked(&request.spawn).is_empty());
    let child = runtime.spawn(request).unwrap();
    assert_eq!(recall(&mut runtime), Some(Ok(child)));
}

#[test]
fn two_never_live_in_one_place() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let request = rig.script("web", "sleep 1000");
    let first = runtime.spawn(request.clone()).unwrap();
    let mut second = request.clone();
    second.spawn = rig.spawn_id("other");
    assert_eq!(runtime.spawn(second.clone()), Err(KeeperRefusal::Occupied(first.clone())));
    assert!(marked(&second.spawn).is_empty());
    // Nor does one id stand for two.
    let mut elsewhere = request.clone();
    elsewhere.slot.replica = 1;
    assert!(matches!(runtime.spawn(elsewhere), Err(KeeperRefusal::Invalid(_))));
    runtime.signal(&first.spawn, 9).unwrap();
    assert_eq!(runtime.exit().end, End::Signal { signal: 9, core: false });
    assert_eq!(runtime.spawn(second).unwrap().incarnation, 2);
}

#[test]
fn a_program_that_cannot_be_started_is_an_answer_and_not_an_exit() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("web", "");
    for (command, errno) in [("no-such-program", 2), ("/etc/passwd", 13), ("/no/such/program", 2), ("/", 13)] {
        request.spawn = rig.spawn_id(command);
        request.command = vec![command.to_owned()];
        let refusal = runtime.spawn(request.clone()).unwrap_err();
        assert!(
            matches!(&refusal, KeeperRefusal::Exec { program, errno: e, .. } if program == command && *e == errno),
            "{refusal}"
        );
        assert_eq!(runtime.spawn(request.clone()), Err(refusal), "the answer is remembered");
    }
    request.spawn = rig.spawn_id("cwd");
    request.command = vec!["true".into()];
    request.cwd = Some("/no/such/directory".into());
    let refusal = runtime.spawn(request.clone()).unwrap_err().to_string();
    assert!(refusal.contains("/no/such/directory"), "{refusal}");
    // Nobody lives there, so the next can; failures are no incarnations.
    let next = runtime.spawn(rig.script("web", "sleep 1000")).unwrap();
    assert_eq!(next.incarnation, 1);
    assert_eq!(zombies_of(rig.keeper.id()), 0);
}

#[test]
fn senseless_requests_are_refused() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let good = rig.script("web", "true");
    let mut bad = vec![good.clone(), good.clone(), good.clone(), good];
    bad[0].spawn = String::new();
    bad[1].slot.service = "two\nlines".into();
    bad[2].command.clear();
    bad[3].tag = "x".repeat(5000);
    for request in bad {
        assert!(matches!(runtime.spawn(request), Err(KeeperRefusal::Invalid(_))));
    }
}

#[test]
fn a_child_starts_clean() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("web", "env; pwd; ls -l /proc/self/fd; ps -o pgid= -p $$; echo $$");
    request.env.insert("GREETING".into(), "hello world".into());
    request.cwd = Some("/usr".into());
    let child = runtime.spawn(request).unwrap();
    assert_eq!(runtime.exit().end, End::Code(0));
    let log = rig.log("web");
    until("the output is there", || std::fs::read_to_string(&log).is_ok_and(|text| text.matches('\n').count() > 10));
    let text = std::fs::read_to_string(&log).unwrap();
    let line =
        |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {text}"));
    assert_eq!(line("GREETING="), "GREETING=hello world");
    assert_eq!(line("HEALD_SPAWN="), format!("HEALD_SPAWN={}", child.spawn));
    assert!(!text.contains("SECRET") && !text.contains("HEALD_KEEPER"), "{text}");
    assert!(text.contains("\n/usr\n"));
    assert!(text.contains("0 -> /dev/null") && text.contains("1 -> pipe:") && text.contains("2 -> pipe:"), "{text}");
    // 3 is the directory that ls reads.
    assert_eq!(text.matches(" -> ").count(), 4, "{text}");
    assert_eq!(
        text.lines().rev().take(2).map(|line| line.trim().parse().unwrap()).collect::<Vec<u32>>(),
        [child.pid; 2]
    );
}

#[test]
fn a_child_runs_as_the_user_it_is_given_with_the_limits_the_keeper_was_given() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let limit = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse::<u64>().unwrap()
    };
    let child = runtime.spawn(rig.script("plain", "exec sleep 1000")).unwrap();
    assert_eq!(limit(child.pid), 1000);
    assert!(limit(rig.keeper.id()) > 1000);
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut request = rig.script("user", "id -u; id -g; id -G; sleep 1000");
    request.user = Some(heald_keeper::protocol::User { uid: 65_534, gid: 65_533 });
    runtime.spawn(request).unwrap();
    until("it has said who it is", || {
        std::fs::read_to_string(rig.log("user")).is_ok_and(|text| text == "65534\n65533\n65533\n")
    });
}

/// A shell would reset what it inherits, so no shell is in between.
#[test]
fn a_child_is_deaf_to_no_signal() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let mut request = rig.script("web", "");
    request.command = ["grep", "^Sig", "/proc/self/status"].map(str::to_owned).to_vec();
    runtime.spawn(request).unwrap();
    assert_eq!(runtime.exit().end, End::Code(0));
    let mut text = String::new();
    until("the output is there", || {
        text = std::fs::read_to_string(rig.log("web")).unwrap_or_default();
        text.contains("SigCgt")
    });
    for kind in ["SigBlk:", "SigIgn:"] {
        let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
        let set = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // 32 and 33 are the C library's own, which it ignores in whatever it spawns.
        assert_eq!(set & !(0b11 << 31), 0, "{text}");
    }
}

#[test]
fn ends_are_remembered_until_they_are_acknowledged() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let code = runtime.spawn(rig.script("code", "exit 7")).unwrap();
    let exit = runtime.exit();
    assert_eq!((exit.end, &exit.child), (End::Code(7), &code));
    assert!(exit.ended_us >= code.started_us);
    let signal = runtime.spawn(rig.script("signal", "sleep 1000")).unwrap();
    runtime.die();
    let (mut runtime, hello) = rig.attached();
    assert_eq!(hello.exits, std::slice::from_ref(&exit));
    assert_eq!(hello.previous.unwrap().end, End::Signal { signal: 9, core: false });
    runtime.acknowledge(&code.spawn);
    runtime.signal(&signal.spawn, 15).unwrap();
    let second = runtime.exit();
    assert_eq!(second.end, End::Signal { signal: 15, core: false });
    runtime.die();
    let (_runtime, hello) = rig.attached();
    assert_eq!(hello.exits, [second]);
    assert_eq!(hello.incarnations.len(), 2);
}

#[test]
fn an_end_while_no_runtime_is_there_is_in_the_hello() {
    let mut rig = TestRig::new(&["absence=60000"]);
    let (mut runtime, _) = rig.attached();
    let child = runtime.spawn(rig.script("web", "sleep 1000")).unwrap();
    rig.no_runtime();
    runtime.die();
    crate::rig::kill(child.pid, rustix::process::Signal::TERM);
    until("it is reaped", || !std::path::Path::new(&format!("/proc/{}", child.pid)).exists());
    rig.allow_runtime();
    let (_runtime, hello) = rig.attached();
    assert_eq!(hello.children, []);
    assert_eq!(hello.exits[0].end, End::Signal { signal: 15, core: false });
}

#[test]
fn a_signal_reaches_the_child_it_names_and_nobody_else() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let child =
        runtime.spawn(rig.script("web", "trap 'exit 33' USR1; echo ready; while :; do sleep 0.01; done")).unwrap();
    until("the trap is set", || std::fs::read_to_string(rig.log("web")).is_ok_and(|text| text == "ready\n"));
    assert_eq!(runtime.signal(&child.spawn, 10), Ok(KeeperReply::Signalled));
    let exit = runtime.exit();
    assert!(matches!(exit.end, End::Code(33) | End::Signal { signal: 10, .. }), "{exit:?}");
    assert_eq!(runtime.signal(&child.spawn, 9), Err(KeeperRefusal::NoSuchChild(child.spawn.clone())));
    assert!(matches!(runtime.signal("nobody", 9), Err(KeeperRefusal::NoSuchChild(_))));
    let child = runtime.spawn(rig.script("other", "sleep 1000")).unwrap();
    assert!(matches!(runtime.signal(&child.spawn, 12345), Err(KeeperRefusal::Signal { .. })));
    assert!(lives(child.pid));
}

#[test]
fn when_the_end_is_told_nothing_is_left_of_the_group() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    for round in 0..20 {
        let mut request =
            rig.script("web", "for i in 1 2 3 4 5; do (trap '' TERM; sleep 1000; :) & done; echo $round; wait");
        request.spawn = rig.spawn_id(&format!("round{round}"));
        let child = runtime.spawn(request).unwrap();
        until("they run", || marked(&child.spawn).len() >= 11);
        runtime
            .ask(KeeperCommand::Signal(heald_keeper::protocol::SignalRequest {
                spawn: child.spawn.clone(),
                signal: 9,
                group: false,
                retire: false,
            }))
            .unwrap();
        runtime.exit();
        assert!(marked(&child.spawn).is_empty());
    }
    until("no zombie is left", || zombies_of(rig.keeper.id()) == 0);
}

#[test]
fn orphans_of_children_are_reaped() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    // Out of the group, orphaned, and then ended.
    let script = "for i in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 0.1; exit 5' &) ; done; exec sleep 1000";
    let child = runtime.spawn(rig.script("web", script)).unwrap();
    until("they were started", || marked(&child.spawn).len() > 4);
    until("only the child is left", || marked(&child.spawn).len() == 1);
    until("no zombie is left", || zombies_of(rig.keeper.id()) == 0);
    assert!(lives(child.pid));
}

#[test]
fn many_can_live_and_die_at_once() {
    let rig = TestRig::new(&[]);
    let (mut runtime, _) = rig.attached();
    let children: Vec<_> = (0..100)
        .map(|number| {
            let mut request = rig.script("web", "exec sleep 1000");
            request.spawn = rig.spawn_id(&number.to_string());
            request.slot.replica = number;
            runtime.spawn(request).unwrap()
        })
        .collect();
    for child in &children {
        crate::rig::kill(child.pid, rustix::process::Signal::KILL);
    }
    let mut ended: Vec<u32> = (0..100).map(|_| runtime.exit().child.slot.replica).collect();
    ended.sort_unstable();
    assert_eq!(ended, (0..100).collect::<Vec<_>>());
    assert_eq!(zombies_of(rig.keeper.id()), 0);
}
