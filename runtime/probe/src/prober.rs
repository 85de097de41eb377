//! The handle on all checks: it starts them, triggers them on demand and returns their results.
//!
//! It owns the prober's thread. It refuses to start with duplicate names, and it makes no check itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use heald_control::{ProbeBoard, ProbeStatus};
use heald_engine::ports::Probes;
use heald_model::{Breaker, Moment, ProbeId, Replica, ServiceName};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::lateness::{Lateness, LatenessRecorder};
use crate::machine::MachineMetrics;
use crate::monitor::MonitoredService;
use crate::ports::ProberPorts;
use crate::process::Gauges;
use crate::schedule;
use crate::service::ServiceProbes;

/// Why the prober did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Two services have the same name.
    #[error("two services are named `{0}`")]
    DuplicateService(ServiceName),
    /// Two probes of a service have the same id.
    #[error("service `{service}` has two probes with the id `{probe}`")]
    DuplicateProbe {
        /// The service.
        service: ServiceName,
        /// The id.
        probe: ProbeId,
    },
    /// The thread could not be started.
    #[error("the prober's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The running checks. Clones share them. The checks end with [`Prober::stop`], or when the last clone is dropped.
#[derive(Clone)]
pub struct Prober(Arc<ProberInner>);

struct ProberInner {
    services: BTreeMap<ServiceName, ProberService>,
    host: Arc<MachineMetrics>,
    lateness: Arc<LatenessRecorder>,
    runtime: Handle,
    thread: Mutex<Option<ProberThread>>,
}

struct ProberService {
    monitored: Arc<MonitoredService>,
    gauges: Arc<Gauges>,
}

struct ProberThread {
    /// Dropping it ends the thread.
    running: oneshot::Sender<()>,
    join: JoinHandle<()>,
}

impl Prober {
    /// Starts all checks on a thread of their own. Without `spread`, every first check is made at once. With a `spread` seed,
    /// each first check is made at a random time within its period, so that many checks do not begin together.
    ///
    /// # Errors
    /// When a name or an id is used twice, or the thread cannot be started.
    pub fn start(services: Vec<ServiceProbes>, ports: ProberPorts, spread: Option<u64>) -> Result<Self, ProbeError> {
        let services = entries(services, &ports)?;
        let (running, ended) = oneshot::channel::<()>();
        // The runtime is built and dropped on its own thread, because a runtime must not be dropped inside another one.
        let (built, handed_over) = std::sync::mpsc::sync_channel(1);
        let join = std::thread::Builder::new()
            .name("heald-probe".to_owned())
            .spawn(move || serve(&built, ended))
            .map_err(ProbeError::Thread)?;
        let runtime = handed_over
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
            .map_err(ProbeError::Thread)?;
        let (host, lateness) = (Arc::new(MachineMetrics::default()), Arc::new(LatenessRecorder::default()));
        for entry in services.values() {
            entry.begin(&runtime, &lateness, spread);
        }
        let measured = host.clone();
        runtime.spawn(async move { measured.measure().await });
        let thread = Mutex::new(Some(ProberThread { running, join }));
        Ok(Self(Arc::new(ProberInner { services, host, lateness, runtime, thread })))
    }

    /// Ends all checks and waits for the thread to end. Checks under way are abandoned, so the wait is short.
    pub fn stop(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ProberThread { running, join }) = thread {
            drop(running);
            let _ = join.join();
        }
    }

    /// Reports that a supervised process ended with this exit code or negative signal number. The sample is sent before this
    /// returns.
    pub fn exited(&self, service: &ServiceName, replica: &Replica, incarnation: u64, status: i32, at: Moment) {
        if let Some(entry) = self.0.services.get(service) {
            entry.monitored.exited(replica, incarnation, status, at);
        }
    }

    /// How late the checks began, compared with their schedule.
    pub fn lateness(&self) -> Lateness {
        self.0.lateness.read()
    }
}

/// The prober's thread. It runs all checks until the sender of `ended` is dropped.
fn serve(built: &std::sync::mpsc::SyncSender<io::Result<Handle>>, ended: oneshot::Receiver<()>) {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let _ = built.send(runtime.as_ref().map(|runtime| runtime.handle().clone()).map_err(|error| error.kind().into()));
    if let Ok(runtime) = runtime {
        let _ = runtime.block_on(ended);
        // A name look-up that hangs must not delay the end.
        runtime.shutdown_background();
    }
}

fn entries(
    services: Vec<ServiceProbes>,
    ports: &ProberPorts,
) -> Result<BTreeMap<ServiceName, ProberService>, ProbeError> {
    let mut entries = BTreeMap::new();
    for service in services {
        let name = service.service.clone();
        if let Some(probe) = service.duplicate() {
            return Err(ProbeError::DuplicateProbe { service: name, probe });
        }
        let monitored = Arc::new(MonitoredService::new(service, ports.clone()));
        if entries.insert(name.clone(), ProberService { monitored, gauges: Arc::default() }).is_some() {
            return Err(ProbeError::DuplicateService(name));
        }
    }
    Ok(entries)
}

impl ProberService {
    fn begin(&self, runtime: &Handle, lateness: &Arc<LatenessRecorder>, spread: Option<u64>) {
        let monitored = &self.monitored;
        for probe in &monitored.probes {
            let offset = spread.map_or(Duration::ZERO, |seed| {
                let mut hasher = DefaultHasher::new();
                (seed, &monitored.service, &probe.id).hash(&mut hasher);
                probe.period.mul_f64((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64)
            });
            runtime.spawn(schedule::probe(monitored.clone(), probe.clone(), offset, lateness.clone()));
        }
        if let Some(period) = monitored.process {
            runtime.spawn(schedule::process(monitored.clone(), self.gauges.clone(), period, lateness.clone()));
        }
    }
}

impl Probes for Prober {
    fn expect(&self, service: &ServiceName, incarnation: Option<u64>) {
        if let Some(entry) = self.0.services.get(service) {
            entry.monitored.expect(incarnation);
        }
    }

    fn breaker(&self, service: &ServiceName) -> Breaker {
        self.0.services.get(service).map_or(Breaker::Closed, |entry| entry.monitored.breaker())
    }

    fn hold(&self, service: &ServiceName, held: bool) {
        if let Some(entry) = self.0.services.get(service) {
            entry.monitored.hold(held);
        }
    }
}

#[async_trait]
impl ProbeBoard for Prober {
    fn pulses(&self) -> Vec<(ServiceName, ProbeStatus)> {
        self.0.services.iter().map(|(name, entry)| (name.clone(), entry.monitored.pulse())).collect()
    }

    async fn check_now(&self, only: Option<&[ServiceName]>) {
        let wanted = |name: &ServiceName| only.is_none_or(|only| only.contains(name));
        let mut checks = Vec::new();
        for entry in self.0.services.iter().filter(|(name, _)| wanted(name)).map(|(_, entry)| entry) {
            for probe in entry.monitored.probes.iter().filter(|probe| !entry.monitored.is_paused(probe)) {
                let (monitored, probe) = (entry.monitored.clone(), probe.clone());
                checks.push(self.0.runtime.spawn(async move { monitored.check(&probe).await }));
            }
            if entry.monitored.process.is_some() {
                let (monitored, gauges) = (entry.monitored.clone(), entry.gauges.clone());
                checks.push(self.0.runtime.spawn(async move {
                    gauges.measure(&monitored);
                }));
            }
        }
        // A check that the end of the prober cut off has ended as well.
        join_all(checks).await;
    }

    fn host(&self) -> BTreeMap<String, f64> {
        self.0.host.read()
    }
}
