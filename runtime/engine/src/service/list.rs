//! The services in the engine's care, by name. They come and go while heald runs.
//!
//! It is made before the probes and the engine, which both hold it: probes send their samples straight to a service's inbox.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use heald_model::{Sample, ServiceName};

use crate::ports::SampleSink;
use crate::service::Service;

/// The services.
#[derive(Default)]
pub struct ServiceList(RwLock<BTreeMap<ServiceName, Arc<Service>>>);

impl ServiceList {
    pub(crate) fn get(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Service>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Adds a service; false if there is one of that name.
    pub(crate) fn add(&self, service: Arc<Service>) -> bool {
        let mut services = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if services.contains_key(&service.name) {
            return false;
        }
        services.insert(service.name.clone(), service);
        true
    }

    /// Takes a service out.
    pub(crate) fn remove(&self, name: &ServiceName) -> Option<Arc<Service>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

impl SampleSink for ServiceList {
    fn send(&self, sample: Sample) {
        // A sample of a service that is gone is of no use to anybody.
        if let Some(service) = self.get(&sample.service) {
            service.inbox.put(sample);
        }
    }
}
