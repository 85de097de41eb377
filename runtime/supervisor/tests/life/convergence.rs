//! The runtime, or keeper and runtime, die; the next supervisor takes over.

use std::time::Duration;

use heald_keeper::protocol::End;
use heald_supervisor::{ChildOrigin, Which};
use rustix::process::Signal;

use crate::rig::{TestRig, intent, kill, lives, name, next_exit, script, sleeper, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_runtime_finds_who_lives_and_who_died() {
    let mut rig = TestRig::new(&["absence=60000"]);
    let services = vec![sleeper("web"), sleeper("db"), sleeper("old")];
    let (supervisor, _) = rig.connect(services.clone()).await;
    let started = supervisor.start_all(&["db", "web", "old"].map(name), &intent("boot")).await;
    let pids: Vec<u32> = started.iter().map(|(_, started)| started.as_ref().unwrap()[0].pid).collect();
    rig.crash();
    supervisor.closed().await;
    let error = supervisor.start(&name("web"), Which::All, &intent("late")).await.map(drop);
    assert!(error.is_ok() || error.unwrap_err().to_string().contains("the keeper is gone"));
    kill(pids[0], Signal::KILL);
    // "old" is no longer configured, and "web" otherwise.
    let mut services = services[..2].to_vec();
    services[0].config.env.insert("NEW".into(), "1".into());
    let (supervisor, found) = rig.connect(services.clone()).await;
    let mut events = supervisor.subscribe();
    let mut ended = found.ended;
    if ended.is_empty() {
        ended.push(next_exit(&mut events).await);
    }
    assert_eq!((ended[0].service.as_str(), ended[0].pid, ended[0].incarnation), ("db", pids[0], 1));
    let web = found.alive.iter().find(|process| process.service == name("web")).unwrap();
    assert_eq!((web.pid, web.outdated), (pids[1], true));
    assert_eq!(found.strangers.iter().map(|process| process.pid).collect::<Vec<_>>(), [pids[2]]);
    assert_eq!(found.previous.unwrap().end, End::Signal { signal: 9, core: false });
    supervisor.dismiss(&found.strangers).await.unwrap();
    assert!(!lives(pids[2]));
    // What is on record is not told again; what is not, is.
    supervisor.acknowledge(vec![ended[0].spawn.clone()]).await.unwrap();
    rig.crash();
    let (_supervisor, found) = rig.connect(services).await;
    assert_eq!(found.ended.iter().map(|process| process.service.as_str()).collect::<Vec<_>>(), ["old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_cut_short_is_finished_by_the_next_runtime() {
    let mut rig = TestRig::new(&[]);
    let mut deaf = script("web", "trap '' TERM; echo ready; while :; do sleep 1; done");
    deaf.config.stop_grace = Duration::from_secs(100);
    let (supervisor, _) = rig.connect(vec![deaf.clone()]).await;
    let web = name("web");
    let started = supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    let log = rig.log("web.log");
    until("it is deaf", || std::fs::read_to_string(&log).is_ok_and(|text| text == "ready\n")).await;
    let restart = intent("restart");
    let cut = tokio::spawn({
        let (supervisor, web, restart) = (supervisor.clone(), web.clone(), restart.clone());
        async move { supervisor.restart(&web, Which::All, &restart, None).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.crash();
    assert_eq!(cut.await.unwrap().unwrap_err().to_string(), "the keeper is gone");
    let (supervisor, found) = rig.connect(vec![deaf]).await;
    assert_eq!(found.alive[0].pid, started[0].pid);
    assert_eq!(supervisor.recall(&web, &restart).await.unwrap(), []);
    let grace = Some(Duration::from_millis(50));
    let again = supervisor.restart(&web, Which::All, &restart, grace).await.unwrap();
    assert_eq!((again[0].incarnation, again[0].fresh), (2, true));
    assert!(!lives(started[0].pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn survivors_of_keeper_and_runtime_are_replaced_and_never_doubled() {
    let mut rig = TestRig::new(&[]);
    let mut service = sleeper("web");
    service.config.replicas = 3;
    let (supervisor, _) = rig.connect(vec![service.clone()]).await;
    let web = name("web");
    let started = supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    kill(started[2].pid, Signal::KILL);
    rig.crash_both().await;
    let (supervisor, found) = rig.connect(vec![service]).await;
    let pids: Vec<u32> = found.alive.iter().map(|process| process.pid).collect();
    assert_eq!(pids, [started[0].pid, started[1].pid]);
    assert!(found.alive.iter().all(|process| process.origin == ChildOrigin::Adopted && !process.outdated));
    let converged = supervisor.start(&web, Which::All, &intent("converge")).await.unwrap();
    assert_eq!(
        converged.iter().map(|copy| (copy.incarnation, copy.fresh)).collect::<Vec<_>>(),
        [(1, false), (1, false), (2, true)]
    );
    for adopted in found.alive {
        let copy = Which::One(adopted.replica);
        let replaced = supervisor.restart(&web, copy, &intent("replace"), None).await.unwrap();
        assert_eq!(replaced[0].incarnation, 2);
        assert!(!lives(adopted.pid));
    }
    let processes = supervisor.processes(&web);
    assert!(processes.iter().all(|process| process.is_running() && process.origin == ChildOrigin::Asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_whose_loop_is_stuck_stops_beating_and_is_replaced() {
    let mut rig = TestRig::new(&["silence=400"]);
    let alive = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut options = rig.options();
    options.beat = Duration::from_millis(20);
    options.alive = Some(std::sync::Arc::new({
        let alive = std::sync::Arc::clone(&alive);
        move || alive.load(std::sync::atomic::Ordering::Relaxed)
    }));
    let (supervisor, _) = rig.connect_with(vec![sleeper("web")], options).await;
    let first = rig.runtime;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(lives(first), "a beating runtime is left alone");
    alive.store(false, std::sync::atomic::Ordering::Relaxed);
    supervisor.closed().await;
    let (_supervisor, found) = rig.connect(vec![sleeper("web")]).await;
    assert!(found.previous.unwrap().silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_can_be_left_behind() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let started = supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    supervisor.shutdown(true).await.unwrap();
    drop(supervisor);
    let mut ended = false;
    until("the keeper has ended", || {
        ended |= rig.keeper.try_wait().unwrap().is_some();
        ended
    })
    .await;
    assert!(lives(started[0].pid));
}
