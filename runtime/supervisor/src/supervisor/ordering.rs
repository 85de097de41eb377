//! Starting and stopping several services in the order of their dependencies.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use heald_model::ServiceName;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use super::{Supervisor, slot};
use crate::event::ReplicaProcess;
use crate::process_table::ProcessTable;
use crate::terms::{Started, SupervisorError, Which};

/// How long a process without probes must live to count as ready, like the implicit process probe.
const SETTLED: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Starts the replicas of all these services that do not run. Each service starts after its dependencies are ready
    /// or their startup deadline has passed. `order` has dependencies before their dependents.
    pub async fn start_all(
        &self,
        order: &[ServiceName],
        intent: &str,
    ) -> Vec<(ServiceName, Result<Vec<Started>, SupervisorError>)> {
        let begun: BTreeMap<&ServiceName, watch::Sender<Option<Instant>>> =
            order.iter().map(|name| (name, watch::Sender::new(None))).collect();
        let each = order.iter().map(|name| {
            let begun = &begun;
            async move {
                for dependency in self.inner.services.get(name).into_iter().flat_map(|service| &service.depends_on) {
                    if let Some(begun) = begun.get(dependency).filter(|_| dependency != name) {
                        // The sender is borrowed above, so it outlives this wait.
                        let at = begun.subscribe().wait_for(Option::is_some).await.ok().and_then(|at| *at);
                        self.await_dependency(name, dependency, at.unwrap_or_else(Instant::now)).await;
                    }
                }
                let result = self.start(name, Which::All, intent).await;
                if let Some(begun) = begun.get(name) {
                    begun.send_replace(Some(Instant::now()));
                }
                (name.clone(), result)
            }
        });
        join_all(each).await
    }

    /// Stops all these services, dependents before their dependencies. `order` is that of
    /// [`start_all`](Self::start_all).
    pub async fn stop_all(
        &self,
        order: &[ServiceName],
    ) -> Vec<(ServiceName, Result<Vec<ReplicaProcess>, SupervisorError>)> {
        let mut left: Vec<&ServiceName> = order.iter().rev().collect();
        let mut results = Vec::new();
        while !left.is_empty() {
            // The services that no other remaining service needs are stopped at the same time.
            let needed = |name: &ServiceName| {
                let mut others =
                    left.iter().filter(|other| **other != name).filter_map(|other| self.inner.services.get(*other));
                others.any(|other| other.depends_on.contains(name))
            };
            let (mut now, mut later): (Vec<_>, Vec<_>) = left.iter().copied().partition(|name| !needed(name));
            if now.is_empty() {
                // A dependency cycle has no order, so all of it is stopped at once.
                now = std::mem::take(&mut later);
            }
            let stops =
                now.into_iter().map(|name| async move { (name.clone(), self.stop(name, Which::All, None).await) });
            results.extend(join_all(stops).await);
            left = later;
        }
        results
    }

    /// Waits until a dependency that was started at `begun` is ready, or its time has passed.
    async fn await_dependency(&self, name: &ServiceName, dependency: &ServiceName, begun: Instant) {
        let Some(service) = self.inner.services.get(dependency) else { return };
        let wanted = self.wanted(dependency).unwrap_or(0);
        let serves = |table: &ProcessTable| {
            (0..wanted).all(|replica| match table.at(&slot(dependency, replica)) {
                None => false,
                Some(process) => match &process.ended {
                    Some(ended) => service.config.oneshot && !service.config.is_failure(ended.end),
                    None => !service.config.oneshot && process.ready,
                },
            })
        };
        let patience = if service.probed || service.config.oneshot { service.config.startup } else { SETTLED };
        let waited = tokio::time::timeout_at(begun + patience, self.until(serves)).await;
        if waited.is_err() && patience != SETTLED {
            warn!(service = %name, %dependency, "the dependency is not ready in time; the service is started without it");
        }
    }
}
