//! A panic in a service's task ends the healing at once, although no check of that service ever arrives.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use heald::clock::{SystemClock, SystemEntropy};
use heald_engine::guard::Permit;
use heald_engine::ports::{ActionError, Actions, DesiredStates, Durability, Journal, Probes, Processes};
use heald_engine::{Healer, HealingConfig, Past, PluginChain, Ports, ServiceList, ServiceSetup};
use heald_model::{
    Attempt, Breaker, Desired, Entry, Incident, Intent, JournalError, Mode, Offer, ProcessState, Receipt, Record,
    Recording, ServiceName, ServiceSpec,
};

/// A world in which nothing happens. Its journal panics when a reset is to be written.
struct World;

#[async_trait]
impl Journal for World {
    fn write(&self, entries: Vec<Entry>) {
        let reset = entries.iter().any(|entry| matches!(entry.record, Record::Reset { .. }));
        assert!(!reset, "the panic of the test");
    }

    fn keep(&self, _: Recording) {}

    async fn commit(&self, _: Vec<Entry>, _: Durability) -> Result<(), JournalError> {
        Ok(())
    }
}

impl Probes for World {
    fn expect(&self, _: &ServiceName, _: Option<u64>) {}

    fn breaker(&self, _: &ServiceName) -> Breaker {
        Breaker::Closed
    }

    fn hold(&self, _: &ServiceName, _: bool) {}
}

#[async_trait]
impl Actions for World {
    fn offers(&self, _: &ServiceName) -> Vec<Offer> {
        Vec::new()
    }

    async fn perform(&self, _: Permit, _: Option<&Incident>) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("nothing can be done here".into()))
    }

    async fn undo(&self, _: Permit, _: &Attempt) -> Result<Receipt, ActionError> {
        Err(ActionError::Failed("nothing can be done here".into()))
    }

    async fn recall(&self, _: &Intent) -> Option<Receipt> {
        None
    }
}

impl Processes for World {
    fn of(&self, _: &ServiceName) -> Vec<ProcessState> {
        Vec::new()
    }
}

#[async_trait]
impl DesiredStates for World {
    fn desired(&self, _: &ServiceName) -> Desired {
        Desired::Running
    }

    fn halted(&self) -> bool {
        false
    }

    async fn set_halted(&self, _: bool) -> Result<(), JournalError> {
        Ok(())
    }

    async fn set_desired(&self, _: &ServiceName, _: Desired) -> Result<(), JournalError> {
        Ok(())
    }
}

fn watched(name: &str) -> ServiceSetup {
    let spec = ServiceSpec {
        name: name.into(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        probes: Vec::new(),
        supervised: false,
        replicas: 0,
        startup: Duration::from_secs(1),
        detectors: Vec::new(),
        policies: Vec::new(),
        mode: Mode::Auto,
        metadata: serde_json::Value::Null,
    };
    ServiceSetup { spec, plugins: PluginChain::default() }
}

#[tokio::test]
async fn a_panic_in_the_task_of_a_silent_service_ends_the_healing() {
    let world = Arc::new(World);
    let ports = Ports {
        clock: SystemClock::start(),
        entropy: Arc::new(SystemEntropy),
        journal: world.clone(),
        probes: world.clone(),
        actions: world.clone(),
        processes: world.clone(),
        desired_states: world,
    };
    let setups = vec![watched("web"), watched("db")];
    let healer =
        Healer::new(HealingConfig::default(), ports, Arc::new(ServiceList::default()), setups, Past::default());
    let healing = {
        let healer = Arc::clone(&healer);
        tokio::spawn(async move { healer.run().await })
    };
    let asked = healer.operator().reset(&"web".into(), "the test").await;
    assert!(asked.is_err(), "whoever asked learns that nobody tends the service");
    tokio::time::timeout(Duration::from_secs(60), healing).await.expect("the healing has ended").unwrap();
}
