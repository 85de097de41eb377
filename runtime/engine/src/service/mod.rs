//! One service in the engine's care: how it is configured, what is known of it, and what its task is told.
//!
//! | file | |
//! |---|---|
//! | `inbox` | what the task is told |
//! | `state` | what is known of the service now; the task alone changes it |
//! | `list` | the services, by name |
//!
//! A service is shared between its own task, which writes, and readers, who see the newest [`Snapshot`]. The state is behind one
//! short lock because the task does two things at a time: it listens, and it tends what is wrong.

pub(crate) mod inbox;
pub(crate) mod list;
pub(crate) mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heald_model::{IncidentId, ServiceName, ServiceSpec, Severity};
use tokio::sync::watch;

use crate::plugin_chain::PluginChain;
use crate::service::inbox::Inbox;
use crate::service::state::ServiceState;

/// A service with the plug-ins that were configured for it.
pub struct ServiceSetup {
    /// The service.
    pub spec: ServiceSpec,
    /// Who is asked about it.
    pub plugins: PluginChain,
}

/// How a service stands, for whoever only reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Whether it serves; None: not known, or not wanted.
    pub(crate) up: Option<bool>,
    /// Its open incidents, the leading one first.
    pub(crate) open: Vec<IncidentId>,
    /// The open incident that says it does not do its work.
    pub(crate) critical: Option<IncidentId>,
}

/// One service in the engine's care.
pub(crate) struct Service {
    pub(crate) name: ServiceName,
    pub(crate) inbox: Inbox,
    spec: Mutex<Arc<ServiceSpec>>,
    plugins: Mutex<Arc<PluginChain>>,
    state: Mutex<ServiceState>,
    /// Counts what changed; what waits for a change of the service listens.
    changed: watch::Sender<u64>,
    snapshot: watch::Sender<Snapshot>,
}

impl Service {
    pub(crate) fn new(setup: ServiceSetup) -> Self {
        Self {
            name: setup.spec.name.clone(),
            inbox: Inbox::default(),
            state: Mutex::new(ServiceState::new(&setup.plugins)),
            spec: Mutex::new(Arc::new(setup.spec)),
            plugins: Mutex::new(Arc::new(setup.plugins)),
            changed: watch::Sender::new(0),
            snapshot: watch::Sender::default(),
        }
    }

    /// How it is configured now.
    pub(crate) fn spec(&self) -> Arc<ServiceSpec> {
        Arc::clone(&lock(&self.spec))
    }

    /// It is configured like this from now on.
    pub(crate) fn set_spec(&self, spec: ServiceSpec) {
        *lock(&self.spec) = Arc::new(spec);
    }

    /// Who is asked now. Whoever holds the answer goes on with it, whatever becomes of the service's.
    pub(crate) fn plugins(&self) -> Arc<PluginChain> {
        Arc::clone(&lock(&self.plugins))
    }

    /// From the next look on these are asked.
    pub(crate) fn set_plugins(&self, plugins: PluginChain) {
        *lock(&self.plugins) = Arc::new(plugins);
    }

    /// What is known of it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ServiceState> {
        lock(&self.state)
    }

    /// Wakes whoever waits for a change of this service, and publishes how it stands now.
    pub(crate) fn publish(&self) {
        let state = self.lock();
        let open = state.open();
        let critical = open.first().filter(|incident| incident.severity == Severity::Critical).map(|known| known.id);
        let now = Snapshot { up: state.up, open: open.iter().map(|incident| incident.id).collect(), critical };
        drop(state);
        self.snapshot.send_if_modified(|known| {
            let differs = *known != now;
            *known = now;
            differs
        });
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How it stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Whether it serves; None: not known, or not wanted.
    pub(crate) fn up(&self) -> Option<bool> {
        self.snapshot.borrow().up
    }
}

/// Locks what holds plain data: a panic while it was held broke no invariant.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
