//! One service: start, stop, restart, scale, signal.

use std::time::{Duration, Instant};

use heald_supervisor::{ChildOrigin, End, ProcessEvent, Started, SupervisorError, Which};
use rustix::process::Signal;

use crate::rig::{TestRig, intent, kill, lives, name, next, next_exit, script, sleeper, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_started_once_and_stopped() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, found) = rig.connect(vec![sleeper("web")]).await;
    assert!(found.alive.is_empty() && found.ended.is_empty() && found.previous.is_none());
    let mut events = supervisor.subscribe();
    let web = name("web");
    let first = supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    assert!(matches!(first[..], [Started { replica: 0, incarnation: 1, fresh: true, .. }]));
    let again = supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    assert_eq!(again, [Started { fresh: false, ..first[0] }], "it runs already");
    let processes = supervisor.processes(&web);
    assert_eq!(
        (processes[0].pid, processes[0].is_running(), processes[0].origin),
        (first[0].pid, true, ChildOrigin::Asked)
    );
    assert!(matches!(next(&mut events).await, ProcessEvent::Started(process) if process == processes[0]));
    supervisor.ready(&web, 0, 1);
    assert!(matches!(next(&mut events).await, ProcessEvent::Ready(process) if process.ready));
    let stopped = supervisor.stop(&web, Which::All, None).await.unwrap();
    assert_eq!(stopped.len(), 1);
    let exited = next_exit(&mut events).await;
    assert_eq!(exited, stopped[0]);
    assert!(exited.ended.as_ref().unwrap().asked && exited.uptime().is_some());
    assert!(!lives(first[0].pid));
    assert!(supervisor.stop(&web, Which::All, None).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_is_told_and_not_restarted() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let mut events = supervisor.subscribe();
    let started = supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    kill(started[0].pid, Signal::KILL);
    let exited = next_exit(&mut events).await;
    let ended = exited.ended.clone().unwrap();
    assert_eq!((ended.end, ended.asked), (End::Signal { signal: 9, core: false }, false));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!supervisor.processes(&name("web"))[0].is_running());
    let again = supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    assert_eq!(again[0].incarnation, 2);
    assert_eq!(supervisor.processes(&name("web"))[0].restarts(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_process_is_restarted_politely() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let mut events = supervisor.subscribe();
    let started = supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    kill(started[0].pid, Signal::STOP);
    let begun = Instant::now();
    let again = supervisor.restart(&name("web"), Which::All, &intent("restart"), None).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "not after the grace of 10 s");
    assert_eq!(again[0].incarnation, 2);
    assert_eq!(next_exit(&mut events).await.ended.unwrap().end, End::Signal { signal: 15, core: false });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_process_is_killed_with_all_its_group_after_the_grace() {
    let mut rig = TestRig::new(&[]);
    let deaf = script("web", "trap '' TERM; sleep 1000 & echo $!; while :; do sleep 1; done");
    let (supervisor, _) = rig.connect(vec![deaf]).await;
    let mut events = supervisor.subscribe();
    let started = supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    let log = rig.log("web.log");
    until("it is deaf", || std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n'))).await;
    let helper: u32 = std::fs::read_to_string(&log).unwrap().trim().parse().unwrap();
    let begun = Instant::now();
    let grace = Duration::from_millis(200);
    let again = supervisor.restart(&name("web"), Which::All, &intent("restart"), Some(grace)).await.unwrap();
    assert!(begun.elapsed() >= grace);
    assert_eq!(next_exit(&mut events).await.ended.unwrap().end, End::Signal { signal: 9, core: false });
    assert!(!lives(started[0].pid) && !lives(helper) && lives(again[0].pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_repeated_does_nothing_again() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let web = name("web");
    supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    let (old, new) = (intent("old"), intent("new"));
    let first = supervisor.restart(&web, Which::All, &old, None).await.unwrap();
    assert_eq!((first[0].incarnation, first[0].fresh), (2, true));
    let repeated = supervisor.restart(&web, Which::All, &old, None).await.unwrap();
    assert_eq!(repeated, [Started { fresh: false, ..first[0] }]);
    assert!(lives(first[0].pid));
    assert_eq!(supervisor.recall(&web, &old).await.unwrap(), repeated);
    assert_eq!(supervisor.recall(&web, &new).await.unwrap(), []);
    // Neither does an old intent stop what a newer one started.
    let second = supervisor.restart(&web, Which::All, &new, None).await.unwrap();
    assert_eq!(supervisor.restart(&web, Which::All, &old, None).await.unwrap(), repeated);
    assert!(lives(second[0].pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_one_copy_take_turns() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let tasks: Vec<_> = (0..10)
        .map(|number| {
            let supervisor = supervisor.clone();
            tokio::spawn(async move {
                let web = name("web");
                match number % 3 {
                    0 => supervisor.start(&web, Which::All, &intent("start")).await.map(drop),
                    1 => supervisor.restart(&web, Which::All, &intent("restart"), None).await.map(drop),
                    _ => supervisor.stop(&web, Which::All, None).await.map(drop),
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_has_its_own_number_and_log() {
    let mut rig = TestRig::new(&[]);
    let mut service = script("web", "echo copy $HEALD_REPLICA of $HEALD_SERVICE; exec sleep 1000");
    service.config.replicas = 3;
    let (supervisor, _) = rig.connect(vec![service]).await;
    let web = name("web");
    assert_eq!(supervisor.start(&web, Which::One(0), &intent("start")).await.unwrap().len(), 1);
    let all = supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    assert_eq!(all.iter().map(|replica| replica.fresh).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(supervisor.wanted(&web), Some(3));
    let (first, third) = (rig.log("web.log"), rig.log("web.2.log"));
    until("they have said who they are", || {
        let says = |path, text| std::fs::read_to_string(path).is_ok_and(|said| said == text);
        says(&first, "copy 0 of web\n") && says(&third, "copy 2 of web\n")
    })
    .await;
    assert_eq!(supervisor.log(&web, 2), Some(third));
    assert!(matches!(
        supervisor.restart(&web, Which::One(3), &intent("restart"), None).await,
        Err(SupervisorError::NoSuchReplica(_, 3))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_to_the_copies_themselves() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let mut events = supervisor.subscribe();
    assert_eq!(supervisor.signal(&name("web"), Which::All, 10).await.unwrap(), 0);
    supervisor.start(&name("web"), Which::All, &intent("start")).await.unwrap();
    assert_eq!(supervisor.signal(&name("web"), Which::All, 10).await.unwrap(), 1);
    assert_eq!(next_exit(&mut events).await.ended.unwrap().end, End::Signal { signal: 10, core: false });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why() {
    let mut rig = TestRig::new(&[]);
    let mut missing = sleeper("missing");
    missing.config.command = vec!["/no/such/program".into()];
    let mut file = sleeper("file");
    file.config.env_file = Some("/no/such/file".into());
    let mut user = sleeper("user");
    user.config.user = Some("no such user".into());
    let (supervisor, _) = rig.connect(vec![missing, file, user]).await;
    for (service, why) in [
        ("missing", "cannot start /no/such/program: No such file or directory"),
        ("file", "cannot read /no/such/file"),
        ("user", "user `no such user` is not in /etc/passwd"),
        ("nobody", "heald runs no processes of service `nobody`"),
    ] {
        let error = supervisor.start(&name(service), Which::All, &intent("start")).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_stands_still_fails_the_order_and_does_it_once_it_goes_on() {
    let mut rig = TestRig::new(&[]);
    let (supervisor, _) = rig.connect(vec![sleeper("web")]).await;
    let web = name("web");
    supervisor.start(&web, Which::All, &intent("start")).await.unwrap();
    // As long as the beats are answered there is no silence to speak of.
    until("a beat is answered", || supervisor.keeper_silence() < Duration::from_millis(500)).await;
    kill(rig.keeper.id(), Signal::STOP);
    let asked = tokio::time::timeout(Duration::from_secs(60), supervisor.signal(&web, Which::All, 0)).await;
    let error = asked.expect("it does not wait for ever").unwrap_err();
    assert!(error.to_string().contains("the keeper does not answer"), "{error}");
    assert!(supervisor.keeper_silence() >= Duration::from_secs(4));
    kill(rig.keeper.id(), Signal::CONT);
    until("it is heard again", || supervisor.keeper_silence() < Duration::from_millis(500)).await;
    assert_eq!(supervisor.stop(&web, Which::All, None).await.unwrap().len(), 1);
}
