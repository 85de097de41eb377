//! The handle on all checks: starts them, asks for them, tells how they went.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use heald_breaker::BreakerConfig;
use heald_engine::ports::{Board, Clock, Entropy, Probes, Processes, Pulse, SampleSender};
use heald_model::{Breaker, Moment, PROCESS_PROBE, ProbeId, ProbeSpec, Replica, Role, ServiceName};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::config::ProbeConfig;
use crate::lateness::{Lateness, Recorder};
use crate::machine::Host;
use crate::monitor::{Change, Watched};
use crate::process::Gauges;
use crate::schedule;

/// What is checked of one service.
#[derive(Clone, Debug)]
pub struct ServiceProbes {
    /// The service.
    pub service: ServiceName,
    /// Its checks.
    pub probes: Vec<ProbeConfig>,
    /// Its circuit.
    pub breaker: BreakerConfig,
    /// How often its processes are measured; None: heald does not run it.
    pub process: Option<Duration>,
    /// How many copies run, if heald runs it.
    pub replicas: u32,
    /// From spawn to the first expected success.
    pub startup: Duration,
}

impl ServiceProbes {
    /// A service with nothing to check, and the defaults: one copy, ten seconds to start.
    pub fn new(service: ServiceName) -> Self {
        Self {
            service,
            probes: Vec::new(),
            breaker: BreakerConfig::default(),
            process: None,
            replicas: 1,
            startup: Duration::from_secs(10),
        }
    }

    /// An id that two of its probes share.
    pub fn duplicate(&self) -> Option<ProbeId> {
        let mut ids = BTreeSet::new();
        self.specs().into_iter().map(|spec| spec.id).find(|id| !ids.insert(id.clone()))
    }

    /// What the engine must know of its probes, the implicit one included.
    pub fn specs(&self) -> Vec<ProbeSpec> {
        let process = self.process.map(|period| ProbeSpec {
            id: ProbeId::from(PROCESS_PROBE),
            role: Role::Liveness,
            period,
            timeout: period,
            failure_threshold: 1,
            success_threshold: 1,
        });
        process.into_iter().chain(self.probes.iter().map(ProbeConfig::spec)).collect()
    }
}

/// What the prober needs of the world.
#[derive(Clone)]
pub struct Outside {
    /// The time in samples. When checks are made is up to the prober's own timers.
    pub clock: Arc<dyn Clock>,
    /// Dice for the circuits' open times.
    pub entropy: Arc<dyn Entropy>,
    /// The processes to measure.
    pub processes: Arc<dyn Processes>,
    /// Where samples go.
    pub samples: SampleSender,
    /// Where changes of health and circuit go.
    pub changes: mpsc::UnboundedSender<Change>,
}

/// Why the prober did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Two services with one name.
    #[error("two services are named `{0}`")]
    TwiceService(ServiceName),
    /// Two probes of a service with one id.
    #[error("service `{service}` has two probes with the id `{probe}`")]
    TwiceProbe {
        /// The service.
        service: ServiceName,
        /// The id.
        probe: ProbeId,
    },
    /// The thread could not be started.
    #[error("the prober's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// All checks. A clone is the same; the checks end with [`Prober::stop`], or when the last clone is gone.
#[derive(Clone)]
pub struct Prober(Arc<Inner>);

struct Inner {
    services: BTreeMap<ServiceName, Target>,
    host: Arc<Host>,
    lateness: Arc<Recorder>,
    runtime: Handle,
    thread: Mutex<Option<Thread>>,
}

struct Target {
    watched: Arc<Watched>,
    gauges: Arc<Gauges>,
}

struct Thread {
    /// Dropping it ends the thread.
    running: oneshot::Sender<()>,
    join: JoinHandle<()>,
}

impl Prober {
    /// Starts checking, on a thread of its own. Every first check is made at once; with a `spread` seed (heald itself has just
    /// started and there is much to check) each begins somewhere within its period.
    ///
    /// # Errors
    /// Names that are used twice, or no thread to be had.
    pub fn start(services: Vec<ServiceProbes>, outside: Outside, spread: Option<u64>) -> Result<Self, ProbeError> {
        let services = targets(services, &outside)?;
        let (running, ended) = oneshot::channel::<()>();
        // The runtime is built and dropped on its own thread: it may not be dropped inside another one.
        let (built, handed_over) = std::sync::mpsc::sync_channel(1);
        let join = std::thread::Builder::new()
            .name("heald-probe".to_owned())
            .spawn(move || serve(&built, ended))
            .map_err(ProbeError::Thread)?;
        let runtime = handed_over
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
            .map_err(ProbeError::Thread)?;
        let (host, lateness) = (Arc::new(Host::default()), Arc::new(Recorder::default()));
        for target in services.values() {
            target.begin(&runtime, &lateness, spread);
        }
        let measured = host.clone();
        runtime.spawn(async move { measured.measure().await });
        let thread = Mutex::new(Some(Thread { running, join }));
        Ok(Self(Arc::new(Inner { services, host, lateness, runtime, thread })))
    }

    /// Ends all checks and waits for the thread, which takes no time. What is under way is abandoned.
    pub fn stop(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Thread { running, join }) = thread {
            drop(running);
            let _ = join.join();
        }
    }

    /// A supervised process ended, with this exit code or negative signal. The sample is sent before this returns.
    pub fn exited(&self, service: &ServiceName, replica: &Replica, incarnation: u64, status: i32, at: Moment) {
        if let Some(target) = self.0.services.get(service) {
            target.watched.exited(replica, incarnation, status, at);
        }
    }

    /// How late checks began, against their schedule.
    pub fn lateness(&self) -> Lateness {
        self.0.lateness.read()
    }
}

/// The prober's thread: everything happens on it until nobody holds the other end of `ended`.
fn serve(built: &std::sync::mpsc::SyncSender<io::Result<Handle>>, ended: oneshot::Receiver<()>) {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let _ = built.send(runtime.as_ref().map(|runtime| runtime.handle().clone()).map_err(|error| error.kind().into()));
    if let Ok(runtime) = runtime {
        let _ = runtime.block_on(ended);
        // A name look-up that hangs must not hold the end up.
        runtime.shutdown_background();
    }
}

fn targets(services: Vec<ServiceProbes>, outside: &Outside) -> Result<BTreeMap<ServiceName, Target>, ProbeError> {
    let mut targets = BTreeMap::new();
    for service in services {
        let name = service.service.clone();
        if let Some(probe) = service.duplicate() {
            return Err(ProbeError::TwiceProbe { service: name, probe });
        }
        let watched = Arc::new(Watched::new(service, outside.clone()));
        if targets.insert(name.clone(), Target { watched, gauges: Arc::default() }).is_some() {
            return Err(ProbeError::TwiceService(name));
        }
    }
    Ok(targets)
}

impl Target {
    fn begin(&self, runtime: &Handle, lateness: &Arc<Recorder>, spread: Option<u64>) {
        let watched = &self.watched;
        for probe in &watched.probes {
            let offset = spread.map_or(Duration::ZERO, |seed| {
                let mut hasher = DefaultHasher::new();
                (seed, &watched.service, &probe.id).hash(&mut hasher);
                probe.period.mul_f64((hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64)
            });
            runtime.spawn(schedule::probe(watched.clone(), probe.clone(), offset, lateness.clone()));
        }
        if let Some(period) = watched.process {
            runtime.spawn(schedule::process(watched.clone(), self.gauges.clone(), period, lateness.clone()));
        }
    }
}

impl Probes for Prober {
    fn expect(&self, service: &ServiceName, incarnation: Option<u64>) {
        if let Some(target) = self.0.services.get(service) {
            target.watched.expect(incarnation);
        }
    }

    fn breaker(&self, service: &ServiceName) -> Breaker {
        self.0.services.get(service).map_or(Breaker::Closed, |target| target.watched.breaker())
    }

    fn hold(&self, service: &ServiceName, held: bool) {
        if let Some(target) = self.0.services.get(service) {
            target.watched.hold(held);
        }
    }
}

#[async_trait]
impl Board for Prober {
    fn pulses(&self) -> Vec<(ServiceName, Pulse)> {
        self.0.services.iter().map(|(name, target)| (name.clone(), target.watched.pulse())).collect()
    }

    async fn check_now(&self, only: Option<&[ServiceName]>) {
        let wanted = |name: &ServiceName| only.is_none_or(|only| only.contains(name));
        let mut checks = Vec::new();
        for target in self.0.services.iter().filter(|(name, _)| wanted(name)).map(|(_, target)| target) {
            for probe in target.watched.probes.iter().filter(|probe| !target.watched.rests(probe)) {
                let (watched, probe) = (target.watched.clone(), probe.clone());
                checks.push(self.0.runtime.spawn(async move { watched.check(&probe).await }));
            }
            if target.watched.process.is_some() {
                let (watched, gauges) = (target.watched.clone(), target.gauges.clone());
                checks.push(self.0.runtime.spawn(async move {
                    gauges.look(&watched);
                }));
            }
        }
        // A check that was cut off by the end of the prober is over as well.
        join_all(checks).await;
    }

    fn host(&self) -> BTreeMap<String, f64> {
        self.0.host.read()
    }
}
