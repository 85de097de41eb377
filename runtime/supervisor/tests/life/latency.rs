//! How long it takes, printed and not judged. Question: from `kill -9` of a process to the keeper's word that the next one
//! runs, when somebody says "start" to every exit at once; the relay between supervisor and keeper counts in.
//! Run: `cargo test -p heald-supervisor --release --test life latency -- --nocapture`.

use std::time::Instant;

use heald_supervisor::Which;
use rustix::process::Signal;

use crate::rig::{TestRig, intent, kill, name, next_exit, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn latency_of_kill_to_start() {
    let mut rig = TestRig::new(&[]);
    let mut service = sleeper("web");
    service.config.command = vec!["sleep".into(), "1000".into()];
    let (supervisor, _) = rig.connect(vec![service]).await;
    let mut events = supervisor.subscribe();
    let web = name("web");
    let mut pid = supervisor.start(&web, Which::All, &intent("start")).await.unwrap()[0].pid;
    let mut times = Vec::new();
    for _ in 0..100 {
        let killed = Instant::now();
        kill(pid, Signal::KILL);
        let exited = next_exit(&mut events).await;
        pid = supervisor.start(&web, Which::All, &intent("start")).await.unwrap()[0].pid;
        times.push(killed.elapsed());
        supervisor.acknowledge(vec![exited.spawn]).await.unwrap();
    }
    times.sort_unstable();
    eprintln!("kill to start: median {:?}, p90 {:?}, worst {:?}", times[50], times[90], times[99]);
}
