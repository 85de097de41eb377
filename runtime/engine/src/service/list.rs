//! The services in the engine's care, by name. They come and go while heald runs.
//!
//! It is made before the probes and the engine, which both hold it: probes send their samples straight to a service's inbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use heald_model::{Sample, ServiceName};

use crate::ports::SampleSink;
use crate::service::{Service, lock};

/// Samples that wait at most until the services are known.
const EARLY: usize = 10_000;

/// The services.
pub struct ServiceList {
    known: RwLock<BTreeMap<ServiceName, Arc<Service>>>,
    /// What probes saw before their services were added: a first verdict may be the only one for a minute. None: all are added.
    early: Mutex<Option<Vec<Sample>>>,
}

impl Default for ServiceList {
    fn default() -> Self {
        Self { known: RwLock::default(), early: Mutex::new(Some(Vec::new())) }
    }
}

impl ServiceList {
    pub(crate) fn get(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Adds a service; false if there is one of that name.
    pub(crate) fn add(&self, service: Arc<Service>) -> bool {
        let mut services = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if services.contains_key(&service.name) {
            return false;
        }
        services.insert(service.name.clone(), Arc::clone(&service));
        drop(services);
        let mut early = lock(&self.early);
        let its = early.iter_mut().flat_map(|early| early.extract_if(.., |sample| sample.service == service.name));
        its.for_each(|sample| service.inbox.put(sample));
        true
    }

    /// The services that heald begins with are added: samples of any other are of no use to anybody.
    pub(crate) fn is_complete(&self) {
        *lock(&self.early) = None;
    }

    /// Takes a service out.
    pub(crate) fn remove(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

impl SampleSink for ServiceList {
    fn send(&self, sample: Sample) {
        if let Some(service) = self.get(&sample.service) {
            service.inbox.put(sample);
            return;
        }
        let mut early = lock(&self.early);
        // It may have been added meanwhile.
        match (self.get(&sample.service), early.as_mut()) {
            (Some(service), _) => service.inbox.put(sample),
            (None, Some(early)) if early.len() < EARLY => early.push(sample),
            (None, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heald_model::{Mode, Moment, ServiceSpec};

    use super::*;
    use crate::plugin_chain::PluginChain;
    use crate::service::ServiceSetup;
    use crate::service::inbox::Mail;

    fn service(name: &str) -> Arc<Service> {
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
        Arc::new(Service::new(ServiceSetup { spec, plugins: PluginChain::default() }))
    }

    #[tokio::test]
    async fn what_a_probe_saw_before_its_service_was_added_is_not_lost() {
        let list = ServiceList::default();
        let sample = |name: &str| Sample::new(name.into(), "http".into(), Moment::EPOCH);
        list.send(sample("web"));
        list.send(sample("nobody"));
        let web = service("web");
        assert!(list.add(Arc::clone(&web)));
        let Mail::Samples(samples, 0) = web.inbox.next().await else { panic!("a sample waits") };
        assert_eq!(samples, vec![sample("web")]);
        list.is_complete();
        list.send(sample("late"));
        let late = service("late");
        list.add(Arc::clone(&late));
        list.send(sample("late"));
        let Mail::Samples(samples, 0) = late.inbox.next().await else { panic!("a sample waits") };
        assert_eq!(samples.len(), 1, "nobody knew it then");
    }
}
