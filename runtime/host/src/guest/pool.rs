//! The warm instances of one configured plug-in.
//!
//! An instance belongs to one effective configuration and is asked by one caller at a time. It is kept after a good call and
//! thrown away after any other: what is left of it in memory then is nobody's business. The next call makes a new one.
//!
//! Replays have instances of their own: whatever a guest keeps in its memory between calls, against the rules, a replay neither
//! finds there nor leaves for a call that counts.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bumpalo::Bump;
use heald_engine::calls::Settings;
use heald_model::{Fault, FaultCause};
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;

use crate::bindings::heald::plugin::types::Error as Said;
use crate::guest::clock::{Cut, Spent, timed};
use crate::guest::fault;
use crate::guest::instance::{Loaded, Setup, SetupError};
use crate::guest::limits::Limits;
use crate::guest::role::Exports;
use crate::guest::ticker::Running;
use crate::text::chain;
use crate::world::context::Context;
use crate::world::sealed::DirectoryError;

/// Instances of one configured plug-in that may be at work at the same time; more callers wait for their turn.
const AT_WORK: usize = 8;
/// Replays that may run at the same time.
const REPLAYS: usize = 2;
/// Instances kept for the next call. Calls are far shorter than the time between them, so one is nearly always enough.
pub(crate) const WARM: usize = 2;
/// What an instance's scratch space may keep between calls.
const SCRATCH: usize = 64 << 10;

/// One instance, configured.
pub(crate) struct Warm<G> {
    pub(crate) store: Store<Context>,
    pub(crate) guest: G,
    /// Where the argument of a call is put together.
    pub(crate) scratch: Bump,
}

pub(crate) struct Pool<E: Exports> {
    plugin: Arc<Loaded>,
    settings: Settings,
    limits: Limits,
    live: Rack<E>,
    replays: Rack<E>,
}

/// Warm instances for one kind of call.
struct Rack<E> {
    warm: Mutex<Vec<Warm<E>>>,
    keep: usize,
    permits: Semaphore,
}

impl<E> Rack<E> {
    fn new(keep: usize, at_work: usize) -> Self {
        Self { warm: Mutex::default(), keep, permits: Semaphore::new(at_work) }
    }

    fn take(&self) -> Option<Warm<E>> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, warm: Warm<E>) {
        let mut kept = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < self.keep {
            kept.push(warm);
        }
    }
}

/// What there is to know of a pool, whatever its guests speak.
pub(crate) trait Pooled: Send + Sync {
    fn plugin(&self) -> &Loaded;
    fn settings(&self) -> &Settings;
}

impl<E: Exports> Pooled for Pool<E> {
    fn plugin(&self) -> &Loaded {
        &self.plugin
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl<E: Exports> Pool<E> {
    /// A pool with its first instance, and what that says of itself.
    pub(crate) async fn fill(setup: Setup) -> Result<(Self, E::About), SetupError> {
        let Setup { plugin, settings, limits, keep } = setup;
        let (live, replays) = (Rack::new(keep, AT_WORK), Rack::new(keep.min(1), REPLAYS));
        let pool = Self { plugin, settings, limits, live, replays };
        let (first, about) = pool.build(Kind::Live).await.map_err(|unset| unset.into_error(&pool.plugin, E::ROLE))?;
        pool.live.keep(first);
        Ok((pool, about))
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn rack(&self, kind: Kind) -> &Rack<E> {
        match kind {
            Kind::Live => &self.live,
            Kind::Replay => &self.replays,
        }
    }

    /// An instance for one call, its counters full and the ticker told.
    pub(crate) async fn turn(&self, kind: Kind) -> Result<Turn<'_, E>, Fault> {
        let rack = self.rack(kind);
        // The semaphore is never closed.
        let permit = rack.permits.acquire().await.map_err(|_| Fault::new(FaultCause::Load, "it is being unloaded"))?;
        let leash = &self.plugin.premises.leash;
        let mut warm = loop {
            let kept = rack.take();
            let warm = match kept {
                Some(warm) => warm,
                None => self.build(kind).await.map_err(Unset::into_fault)?.0,
            };
            // One that was made before something was taken back still has it.
            if warm.store.data().generation == leash.generation() {
                break warm;
            }
        };
        warm.store.data_mut().allow(self.limits);
        warm.store.set_epoch_deadline(1);
        Ok(Turn { warm, pool: self, kind, running: self.plugin.ticker.begin(), _permit: permit })
    }

    /// Returns when an instance of this store has more than the plug-in still holds.
    pub(crate) fn revoked(&self, store: &Store<Context>) -> impl Future<Output = ()> + Send + use<'_, E> {
        self.plugin.premises.leash.outgrown(store.data().generation)
    }

    /// Makes an instance, configures it, and asks what it is.
    async fn build(&self, kind: Kind) -> Result<(Warm<E>, E::About), Unset> {
        let limits = Limits { memory: self.limits.memory, ..Limits::SETUP };
        let mut store = self.plugin.store(limits).map_err(Unset::Directory)?;
        store.data_mut().allow(limits);
        store.set_epoch_deadline(1);
        let running = self.plugin.ticker.begin();
        store.data().voice.begin(kind == Kind::Replay);
        let revoked = self.revoked(&store);
        let (made, _) = timed(self.set_up(&mut store), limits.wall, revoked).await;
        drop(running);
        if kind == Kind::Live {
            self.plugin.counters.instantiated();
        }
        let (guest, about) =
            made.unwrap_or_else(|cut| Err(Unset::Fault(cut_off(cut, "it was not set up", limits.wall))))?;
        Ok((Warm { store, guest, scratch: Bump::new() }, about))
    }

    async fn set_up(&self, store: &mut Store<Context>) -> Result<(E, E::About), Unset> {
        let instance = match self.plugin.pre.instantiate_async(&mut *store).await {
            Ok(instance) => instance,
            Err(error) => return Err(Unset::Fault(fault::of_instance(&error, store.data().voice.last_words()))),
        };
        let guest = E::load(&self.plugin, &mut *store, &instance).map_err(Unset::Types)?;
        match guest.configure(&mut *store, &self.settings.text).await {
            Ok(Ok(())) => {}
            Ok(Err(Said::BadConfig(problems))) => return Err(Unset::Config(fault::problems(&problems))),
            Ok(Err(said)) => return Err(Unset::Fault(fault::of_answer(&said))),
            Err(error) => return Err(Unset::Fault(fault::of_call(&error, store.data().voice.last_words()))),
        }
        match guest.describe(&mut *store).await {
            Ok(about) => Ok((guest, about)),
            Err(error) => Err(Unset::Fault(fault::of_call(&error, store.data().voice.last_words()))),
        }
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its answer counts, and so does what it cost.
    Live,
    /// It was made before. Nothing is counted, written or touched.
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
enum Unset {
    Directory(DirectoryError),
    Types(wasmtime::Error),
    Config(Vec<crate::code::schema::Problem>),
    Fault(Fault),
}

impl Unset {
    /// When the plug-in is loaded: the operator's error.
    fn into_error(self, plugin: &Loaded, role: crate::code::contract::Role) -> SetupError {
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

    /// Later, when one like it has worked before: the plug-in's fault.
    fn into_fault(self) -> Fault {
        match self {
            Self::Directory(error) => Fault::new(FaultCause::Load, chain(&error)),
            Self::Types(error) => Fault::new(FaultCause::Load, format!("{error:#}")),
            Self::Config(problems) => Fault::new(FaultCause::BadConfig, crate::code::schema::Problem::list(&problems)),
            Self::Fault(fault) => fault,
        }
    }
}

/// One instance at work. Unless it is [`finish`](Self::finish)ed, dropping it throws the instance away.
pub(crate) struct Turn<'p, E: Exports> {
    warm: Warm<E>,
    pool: &'p Pool<E>,
    kind: Kind,
    running: Running<'p>,
    _permit: SemaphorePermit<'p>,
}

impl<E: Exports> Turn<'_, E> {
    /// Counts a call, and tells what became of it: what the guest returned, or a fault.
    pub(crate) fn judge<T>(&self, outcome: Result<wasmtime::Result<T>, Cut>, spent: Spent) -> Result<T, Fault> {
        let context = self.warm.store.data();
        if self.kind == Kind::Live {
            self.pool.plugin.counters.called(spent, context.used(), context.limiter.used());
        }
        match outcome {
            Ok(Ok(returned)) => Ok(returned),
            Ok(Err(error)) => Err(fault::of_call(&error, context.voice.last_words())),
            Err(cut) => Err(cut_off(cut, "it did not answer", self.pool.limits.wall)),
        }
    }

    /// The answer had so many bytes.
    pub(crate) fn carried(&self, bytes: usize) {
        if self.kind == Kind::Live {
            self.pool.plugin.counters.carried(bytes);
        }
    }

    /// The call was good: the instance is kept for the next one.
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

impl<E: Exports> Deref for Turn<'_, E> {
    type Target = Warm<E>;

    fn deref(&self) -> &Warm<E> {
        &self.warm
    }
}

impl<E: Exports> DerefMut for Turn<'_, E> {
    fn deref_mut(&mut self) -> &mut Warm<E> {
        &mut self.warm
    }
}
