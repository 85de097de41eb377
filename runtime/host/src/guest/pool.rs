//! The warm instances of one configured plug-in.
//!
//! An instance belongs to one effective configuration, and serves one caller at a time. After a good call it is kept.
//! After any other call it is thrown away, because nobody knows what is left in its memory, and the next call makes a
//! new one.
//!
//! Replays have instances of their own. A guest may keep something in its memory between calls, against the rules; so a
//! replay finds nothing of a live call, and leaves nothing for one.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bumpalo::Bump;
use heald_model::PluginSettings;
use heald_model::{Fault, FaultCause};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;

use crate::bindings::heald::plugin::types::Error;
use crate::code::contract::PluginRole;
use crate::code::schema::ValueProblem;
use crate::guest::clock::{Cut, Spent, timed};
use crate::guest::fault;
use crate::guest::instance::{LoadedPlugin, Setup, SetupError};
use crate::guest::limits::CallLimits;
use crate::guest::role::Exports;
use crate::guest::ticker::RunningCall;
use crate::text::chain;
use crate::world::context::Context;
use crate::world::sealed::DirectoryError;

/// Instances of one configured plug-in that may work at the same time; further callers wait.
const AT_WORK: usize = 8;
/// Replays that may run at the same time.
const REPLAYS: usize = 2;
/// Instances kept for the next call. Calls are far shorter than the pauses between them, so one is nearly always
/// enough.
pub(crate) const WARM: usize = 2;
/// Bytes of scratch space that an instance keeps between calls.
const SCRATCH: usize = 64 << 10;

/// One instance, configured.
pub(crate) struct WarmInstance<G> {
    pub(crate) store: Store<Context>,
    pub(crate) guest: G,
    /// Space in which the argument of a call is built.
    pub(crate) scratch: Bump,
}

pub(crate) struct Pool<E: Exports> {
    plugin: Arc<LoadedPlugin>,
    settings: PluginSettings,
    limits: CallLimits,
    live: Rack<E>,
    replays: Rack<E>,
}

/// Warm instances for one kind of call.
struct Rack<E> {
    warm: Mutex<Vec<WarmInstance<E>>>,
    keep: usize,
    permits: Semaphore,
}

impl<E> Rack<E> {
    fn new(keep: usize, at_work: usize) -> Self {
        Self { warm: Mutex::default(), keep, permits: Semaphore::new(at_work) }
    }

    fn take(&self) -> Option<WarmInstance<E>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, warm: WarmInstance<E>) {
        let mut kept = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.keep {
            kept.push(warm);
        }
    }
}

/// What is known of a pool, whatever version its guests speak.
pub(crate) trait Pooled: Send + Sync {
    fn plugin(&self) -> &LoadedPlugin;
    fn settings(&self) -> &PluginSettings;
}

impl<E: Exports> Pooled for Pool<E> {
    fn plugin(&self) -> &LoadedPlugin {
        &self.plugin
    }

    fn settings(&self) -> &PluginSettings {
        &self.settings
    }
}

impl<E: Exports> Pool<E> {
    /// Makes a pool with its first instance; also returns what the instance says of itself.
    pub(crate) async fn fill(setup: Setup) -> Result<(Self, E::About), SetupError> {
        let Setup { plugin, settings, limits, keep } = setup;
        let (live, replays) = (Rack::new(keep, AT_WORK), Rack::new(keep.min(1), REPLAYS));
        let pool = Self { plugin, settings, limits, live, replays };
        let (first, about) =
            pool.build(CallKind::Live).await.map_err(|error| error.into_error(&pool.plugin, E::ROLE))?;
        pool.live.keep(first);
        Ok((pool, about))
    }

    pub(crate) fn limits(&self) -> CallLimits {
        self.limits
    }

    fn rack(&self, kind: CallKind) -> &Rack<E> {
        match kind {
            CallKind::Live => &self.live,
            CallKind::Replay => &self.replays,
        }
    }

    /// Takes an instance for one call, with full counters; the ticker knows of the call.
    pub(crate) async fn take(&self, kind: CallKind) -> Result<BusyInstance<'_, E>, Fault> {
        let rack = self.rack(kind);
        // The semaphore is never closed.
        let permit = rack.permits.acquire().await.map_err(|_| Fault::new(FaultCause::Load, "it is being unloaded"))?;
        let grants = &self.plugin.access.grants;
        let mut warm = loop {
            let kept = rack.take();
            let warm = match kept {
                Some(warm) => warm,
                None => self.build(kind).await.map_err(InstanceError::into_fault)?.0,
            };
            // An instance made before a revocation still has what was revoked.
            if warm.store.data().generation == grants.generation() {
                break warm;
            }
        };
        warm.store.data_mut().allow(self.limits);
        warm.store.set_epoch_deadline(1);
        Ok(BusyInstance { warm, pool: self, kind, running: self.plugin.ticker.begin(), _permit: permit })
    }

    /// Returns when this store has more than the plug-in still holds.
    pub(crate) fn revoked(&self, store: &Store<Context>) -> impl Future<Output = ()> + Send + use<'_, E> {
        self.plugin.access.grants.outdated(store.data().generation)
    }

    /// Makes an instance, configures it, and asks it to describe itself.
    async fn build(&self, kind: CallKind) -> Result<(WarmInstance<E>, E::About), InstanceError> {
        let limits = CallLimits { memory: self.limits.memory, ..CallLimits::SETUP };
        let mut store = self.plugin.store(limits).map_err(InstanceError::Directory)?;
        store.data_mut().allow(limits);
        store.set_epoch_deadline(1);
        let running = self.plugin.ticker.begin();
        store.data().log.begin(kind == CallKind::Replay);
        let revoked = self.revoked(&store);
        let (made, _) = timed(self.set_up(&mut store), limits.wall, revoked).await;
        drop(running);
        if kind == CallKind::Live {
            self.plugin.counters.instantiated();
        }
        let (guest, about) =
            made.unwrap_or_else(|cut| Err(InstanceError::Fault(cut_off(cut, "it was not set up", limits.wall))))?;
        Ok((WarmInstance { store, guest, scratch: Bump::new() }, about))
    }

    async fn set_up(&self, store: &mut Store<Context>) -> Result<(E, E::About), InstanceError> {
        let instance = match self.plugin.pre.instantiate_async(&mut *store).await {
            Ok(instance) => instance,
            Err(error) => return Err(InstanceError::Fault(fault::of_instance(&error, store.data().log.last_error()))),
        };
        let guest = E::load(&self.plugin, &mut *store, &instance).map_err(InstanceError::Types)?;
        match guest.configure(&mut *store, &self.settings.text).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::BadConfig(problems))) => return Err(InstanceError::Config(fault::problems(&problems))),
            Ok(Err(error)) => return Err(InstanceError::Fault(fault::of_answer(&error))),
            Err(error) => return Err(InstanceError::Fault(fault::of_call(&error, store.data().log.last_error()))),
        }
        match guest.describe(&mut *store).await {
            Ok(about) => Ok((guest, about)),
            Err(error) => Err(InstanceError::Fault(fault::of_call(&error, store.data().log.last_error()))),
        }
    }
}

/// Whether a call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Its answer counts, and so does what it cost.
    Live,
    /// It repeats a recorded call. Nothing is counted, written or touched.
    Replay,
}

fn cut_off(cut: Cut, what: &str, wall: Duration) -> Fault {
    match cut {
        Cut::Late => {
            let wall = heald_model::time::text::format(wall);
            Fault::new(FaultCause::Deadline, format!("{what} within {wall}"))
        }
        Cut::Revoked => Fault::new(FaultCause::Refused, format!("{what} before its grant was revoked")),
    }
}

/// Why there is no instance.
enum InstanceError {
    Directory(DirectoryError),
    Types(wasmtime::Error),
    Config(Vec<ValueProblem>),
    Fault(Fault),
}

impl InstanceError {
    /// The error when the plug-in is loaded: the operator reads it.
    fn into_error(self, plugin: &LoadedPlugin, role: PluginRole) -> SetupError {
        let name = plugin.reference.name.clone();
        match self {
            Self::Directory(error) => error.into(),
            Self::Types(source) => {
                let interface = plugin.contract.interface(role);
                SetupError::Types { plugin: name, interface, source }
            }
            Self::Config(problems) => SetupError::Config { plugin: name, problems },
            Self::Fault(fault) => SetupError::Fault { plugin: name, fault },
        }
    }

    /// The fault in a later call, when an equal instance has worked before.
    fn into_fault(self) -> Fault {
        match self {
            Self::Directory(error) => Fault::new(FaultCause::Load, chain(&error)),
            Self::Types(error) => Fault::new(FaultCause::Load, format!("{error:#}")),
            Self::Config(problems) => Fault::new(FaultCause::BadConfig, ValueProblem::list(&problems)),
            Self::Fault(fault) => fault,
        }
    }
}

/// One instance at work. Dropping it throws the instance away, unless it was [`finish`](Self::finish)ed.
pub(crate) struct BusyInstance<'p, E: Exports> {
    warm: WarmInstance<E>,
    pool: &'p Pool<E>,
    kind: CallKind,
    running: RunningCall<'p>,
    _permit: SemaphorePermit<'p>,
}

impl<E: Exports> BusyInstance<'_, E> {
    /// Counts a call, and returns its result: what the guest returned, or a fault.
    pub(crate) fn judge<T>(&self, outcome: Result<wasmtime::Result<T>, Cut>, spent: Spent) -> Result<T, Fault> {
        let context = self.warm.store.data();
        if self.kind == CallKind::Live {
            self.pool.plugin.counters.called(spent, context.used(), context.limiter.used());
        }
        match outcome {
            Ok(Ok(returned)) => Ok(returned),
            Ok(Err(error)) => Err(fault::of_call(&error, context.log.last_error())),
            Err(cut) => Err(cut_off(cut, "it did not answer", self.pool.limits.wall)),
        }
    }

    /// Counts the bytes of an answer.
    pub(crate) fn carried(&self, bytes: usize) {
        if self.kind == CallKind::Live {
            self.pool.plugin.counters.carried(bytes);
        }
    }

    /// Ends a good call: the instance is kept for the next one.
    pub(crate) fn finish(self) {
        let Self { mut warm, pool, kind, running, .. } = self;
        drop(running);
        if warm.scratch.allocated_bytes() > SCRATCH {
            warm.scratch = Bump::new();
        } else {
            warm.scratch.reset();
        }
        pool.rack(kind).keep(warm);
    }
}

impl<E: Exports> Deref for BusyInstance<'_, E> {
    type Target = WarmInstance<E>;

    fn deref(&self) -> &WarmInstance<E> {
        &self.warm
    }
}

impl<E: Exports> DerefMut for BusyInstance<'_, E> {
    fn deref_mut(&mut self) -> &mut WarmInstance<E> {
        &mut self.warm
    }
}
