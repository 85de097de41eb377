//! Several services: who comes first.

use std::time::Duration;

use heald_supervisor::{ProcessEvent, SupervisedService, Supervisor, Which};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::rig::{TestRig, intent, name, next, script, sleeper};

fn needs(mut service: SupervisedService, dependency: &str) -> SupervisedService {
    service.depends_on.push(name(dependency));
    service
}

/// A prober that finds everything ready as soon as it runs, but says so only after a while.
fn say_ready(supervisor: &Supervisor, after: Duration) {
    let supervisor = supervisor.clone();
    let mut events = supervisor.subscribe();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let ProcessEvent::Started(process) = event {
                tokio::time::sleep(after).await;
                supervisor.ready(&process.service, process.replica, process.incarnation);
            }
        }
    });
}

async fn order(events: &mut UnboundedReceiver<ProcessEvent>, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match next(events).await {
            ProcessEvent::Started(process) => seen.push(format!("+{}", process.service)),
            ProcessEvent::Ready(process) => seen.push(format!("={}", process.service)),
            ProcessEvent::Exited(process) => seen.push(format!("-{}", process.service)),
            ProcessEvent::Notice(text) => panic!("{text}"),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn dependencies_are_ready_before_their_dependents_start_and_stop_after_them() {
    let mut rig = TestRig::new(&[]);
    let services = vec![sleeper("db"), needs(sleeper("api"), "db"), needs(sleeper("web"), "api")];
    let (supervisor, _) = rig.connect(services).await;
    let mut events = supervisor.subscribe();
    say_ready(&supervisor, Duration::from_millis(50));
    let names = ["db", "api", "web"].map(name);
    for (service, result) in supervisor.start_all(&names, &intent("boot")).await {
        assert_eq!(result.unwrap().len(), 1, "{service}");
    }
    assert_eq!(order(&mut events, 6).await, ["+db", "=db", "+api", "=api", "+web", "=web"]);
    supervisor.stop_all(&names).await;
    assert_eq!(order(&mut events, 3).await, ["-web", "-api", "-db"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_is_never_ready_holds_nobody_for_ever() {
    let mut rig = TestRig::new(&[]);
    let mut db = sleeper("db");
    db.config.startup = Duration::from_millis(300);
    let (supervisor, _) = rig.connect(vec![db, needs(sleeper("web"), "db"), sleeper("other")]).await;
    let mut events = supervisor.subscribe();
    let begun = std::time::Instant::now();
    supervisor.start_all(&["db", "web", "other"].map(name), &intent("boot")).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let order = order(&mut events, 3).await;
    assert_eq!(order[2], "+web", "and who does not need it does not wait: {order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_one_shot_waits_for_its_success() {
    let mut rig = TestRig::new(&[]);
    let mut migrate = script("migrate", "sleep 0.2; exit 0");
    migrate.config.oneshot = true;
    let (supervisor, _) = rig.connect(vec![migrate, needs(sleeper("web"), "migrate")]).await;
    let mut events = supervisor.subscribe();
    supervisor.start_all(&["migrate", "web"].map(name), &intent("boot")).await;
    assert_eq!(order(&mut events, 3).await, ["+migrate", "-migrate", "+web"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_independent_services_start_together() {
    let mut rig = TestRig::new(&[]);
    let services: Vec<_> = (0..20).map(|number| sleeper(&format!("s{number}"))).collect();
    let names: Vec<_> = services.iter().map(|service| service.name.clone()).collect();
    let (supervisor, _) = rig.connect(services).await;
    let begun = std::time::Instant::now();
    let started = supervisor.start_all(&names, &intent("boot")).await;
    assert!(started.iter().all(|(_, result)| result.is_ok()));
    eprintln!("20 services started in {:?}", begun.elapsed());
    let stopped = supervisor.stop_all(&names).await;
    assert!(stopped.iter().all(|(_, result)| result.as_ref().unwrap().len() == 1));
    assert!(supervisor.start(&names[0], Which::All, &intent("start")).await.unwrap()[0].incarnation == 2);
}
