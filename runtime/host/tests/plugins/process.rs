//! The processes of a call's own service: seen in every call, touched in `perform` and `undo` alone.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use heald_engine::ports::{Detector, Policy, Processes};
use heald_host::{ActionFailure, Host, Options, PluginActions, ProcessAccess, Task, Touch, TouchError};
use heald_model::ProcessState;
use heald_model::{FaultCause, IntentId, Moment, ServiceName};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::asking::{ask, asking, asks, call, heard, named, script};
use crate::guests::{component, host, question, service};

/// Two copies of every service, and a diary of what was done to them.
struct World {
    diary: Mutex<Vec<String>>,
    /// Restarts take as long as there is nothing here.
    gate: Semaphore,
}

impl World {
    fn note(&self, deed: &str, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        if replica == Some("9") {
            return Err(TouchError::NotFound("there is no replica 9".into()));
        }
        self.diary.lock().unwrap().push(format!("{deed} {service} {}", replica.unwrap_or("all")));
        Ok(())
    }

    fn diary(&self) -> Vec<String> {
        std::mem::take(&mut *self.diary.lock().unwrap())
    }
}

impl Processes for World {
    fn of(&self, service: &ServiceName) -> Vec<ProcessState> {
        let first = u32::try_from(service.as_str().len()).unwrap() * 100;
        let state = |n: u32| ProcessState {
            replica: n.to_string().as_str().into(),
            incarnation: 1,
            pid: (n == 0).then_some(first + n),
            started: Moment::from_millis(1),
            ended: (n == 1).then_some(Moment::from_millis(2)),
            finished: false,
        };
        vec![state(0), state(1)]
    }
}

#[async_trait]
impl Touch for World {
    async fn start(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        self.note("start", service, replica)
    }

    async fn stop(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        self.note("stop", service, replica)
    }

    async fn restart(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError> {
        self.note("stop", service, replica)?;
        self.gate.acquire().await.unwrap().forget();
        self.note("start", service, replica)
    }

    async fn signal(&self, service: &ServiceName, replica: Option<&str>, name: &str) -> Result<(), TouchError> {
        match name {
            "HUP" | "USR1" => self.note(name, service, replica),
            other => Err(TouchError::BadInput(format!("there is no signal {other}"))),
        }
    }

    fn children(&self, service: &ServiceName) -> Vec<ProcessState> {
        self.of(service)
    }
}

fn world(open: usize) -> (Arc<World>, Host) {
    let world = Arc::new(World { diary: Mutex::default(), gate: Semaphore::new(open) });
    let processes = ProcessAccess { processes: Some(world.clone()), control: Some(world.clone()) };
    (world, Host::with(Options { processes, ..Options::default() }).unwrap())
}

fn task<'a>(service: &'a heald_model::ServiceView, none: &'a Value) -> Task<'a> {
    Task {
        now: Moment::from_millis(1_000),
        seed: 7,
        attempt: IntentId(Uuid::from_u128(5)),
        service,
        incident: None,
        action: "ask",
        parameters: none,
    }
}

async fn acting(host: &Host, steps: Value) -> Arc<PluginActions> {
    asks(host, "process-acting").actions(&script(steps)).await.unwrap()
}

#[tokio::test]
async fn a_plugin_sees_the_processes_of_the_service_it_is_asked_about() {
    let (_, host) = world(0);
    let looking = asking(&asks(&host, "process-look"), json!(["children"])).await;
    assert_eq!(heard(&looking.evaluate(&call("web", 1_000)).await.unwrap()), ["0:300:true,1:0:false"]);
    assert_eq!(heard(&looking.evaluate(&call("queue", 1_000)).await.unwrap()), ["0:500:true,1:0:false"]);
    let mut starting = call("web", 1_000);
    starting.service.ready = 0;
    assert_eq!(heard(&looking.evaluate(&starting).await.unwrap()), ["0:300:false,1:0:false"]);
}

#[tokio::test]
async fn an_action_touches_the_processes_of_its_service() {
    let (world, host) = world(9);
    let steps = json!([
        {"stop": null}, {"start": "1"}, {"restart": null}, {"reload": "0"}, {"signal": [null, "USR1"]}, {"scale": 3},
        {"signal": [null, "SIGHUP"]}, {"signal": [null, "NONE"]}, {"stop": "9"},
    ]);
    let actions = acting(&host, steps).await;
    let (service, none) = (service("web"), json!({}));
    let receipt = actions.perform(&task(&service, &none)).await.unwrap();
    let heard: Vec<_> = receipt.summary.split("; ").collect();
    assert_eq!(heard[..5], ["done"; 5], "{heard:?}");
    for (heard, part) in heard[5..].iter().zip(["does not scale", "without SIG", "no signal NONE", "no replica 9"]) {
        assert!(heard.contains(part), "{heard}");
    }
    let deeds = ["stop web all", "start web 1", "stop web all", "start web all", "HUP web 0", "USR1 web all"];
    assert_eq!(world.diary(), deeds);
    actions.undo(&task(&service, &none), b"").await.unwrap();
    assert_eq!(world.diary(), deeds, "and takes back in the same way");
}

#[tokio::test]
async fn who_only_looks_is_denied_every_touch() {
    let (world, host) = world(9);
    let steps = json!([
        {"start": null}, {"stop": null}, {"restart": null}, {"reload": null}, {"signal": [null, "KILL"]}, {"scale": 0}
    ]);
    let plugin = asks(&host, "process-denied");
    let mut told = ask(&plugin, steps.clone()).await;
    let decision = plugin.policy(&script(steps.clone())).await.unwrap().decide(&question("web")).await.unwrap();
    told.extend(decision.decision.reason.split("; ").map(str::to_owned));
    let (service, none) = (service("web"), json!({}));
    let plan = acting(&host, steps).await.check(&task(&service, &none)).await.unwrap();
    told.extend(plan.summary.split("; ").map(str::to_owned));
    assert_eq!(told.len(), 18);
    assert!(told.iter().all(|told| told.contains("within `perform` and `undo` only")), "{told:?}");
    assert_eq!(world.diary(), [""; 0]);
}

#[tokio::test]
async fn an_order_is_seen_through_though_the_guest_is_stopped_meanwhile() {
    let (world, host) = world(0);
    let mut table = named("process-late");
    table.limits.wall = Some(Duration::from_millis(100));
    let plugin = host.load_bytes(&table, component("asks")).unwrap();
    let actions = plugin.actions(&script(json!([{"restart": null}]))).await.unwrap();
    let (service, none) = (service("web"), json!({}));
    let failure = actions.perform(&task(&service, &none)).await.unwrap_err();
    assert!(matches!(&failure, ActionFailure::Fault(fault) if fault.cause == FaultCause::Deadline), "{failure}");
    assert_eq!(world.diary(), ["stop web all"]);
    world.gate.add_permits(1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.diary.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "what was stopped was not started");
        tokio::task::yield_now().await;
    }
    assert_eq!(world.diary(), ["start web all"]);
}

#[tokio::test]
async fn a_heald_without_processes_says_so() {
    let told = ask(&asks(host(), "process-none"), json!(["children"])).await;
    assert!(told[0].contains("this heald runs no processes"), "{told:?}");
}
