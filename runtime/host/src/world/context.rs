//! What the host keeps beside one instance: its counters, its log, its recorder, what it may reach, and its part of
//! WASI.
//!
//! [`Context::begin`] opens everything for a call and [`Context::end`] closes it again. Between calls, and while it is
//! configured, an instance reaches nothing but the log. Nothing of one call is left for the next.

use std::sync::Arc;

use heald_model::{Fault, FaultCause, Moment, ServiceName, ServiceView};
use serde_json::Value;
use tokio::time::Instant;
use wasmtime::component::HasData;
use wasmtime::{Result, UpdateDeadline};

use crate::bindings::heald::plugin::log::{self, Level};
use crate::bindings::heald::plugin::types::{self, Error, FactResult};
use crate::guest::limits::{CARRIED_BYTES, CallLimits, HOST_CALLS, LimitExceeded, Limiter};
use crate::guest::weigh;
use crate::world::ambient::Ambient;
use crate::world::capability::Capability;
use crate::world::grants::Grants;
use crate::world::guest_log::GuestLog;
use crate::world::processes::ProcessAccess;
use crate::world::recorder::{Recordable, Recorder};
use crate::world::sealed::SealedWasi;
use crate::world::shelf::Shelf;

/// What all instances of one plug-in can reach, while it is granted.
pub(crate) struct PluginAccess {
    pub(crate) grants: Arc<Grants>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) processes: ProcessAccess,
}

impl PluginAccess {
    /// Refuses a replay if the plug-in holds a capability whose answers no record can repeat.
    pub(crate) fn judge_replay(&self) -> Result<(), Fault> {
        const NOT_RECORDED: [Capability; 4] =
            [Capability::Http, Capability::Files, Capability::Clock, Capability::Random];
        match NOT_RECORDED.into_iter().find(|capability| self.grants.opens(*capability)) {
            None => Ok(()),
            Some(capability) => {
                let why = format!("it is granted {capability}, and what it saw there no record can show it again");
                Err(Fault::new(FaultCause::Refused, why))
            }
        }
    }
}

/// The call under way.
pub(crate) struct GuestCall {
    /// Its `now`.
    pub(crate) now: Moment,
    /// The seed of its randomness.
    pub(crate) seed: u64,
    /// The service it is about.
    pub(crate) service: ServiceName,
    /// Whether every running copy of the service is ready.
    pub(crate) ready: bool,
    /// Whether it may touch the service's processes: it is `perform` or `undo`.
    pub(crate) touch: bool,
}

impl GuestCall {
    /// A call that touches nothing.
    pub(crate) fn looking(now: Moment, seed: u64, service: &ServiceView) -> Self {
        let ready = service.ready >= service.running;
        Self { now, seed, service: service.name.clone(), ready, touch: false }
    }

    /// A call that may touch processes.
    pub(crate) fn touching(now: Moment, seed: u64, service: &ServiceView) -> Self {
        Self { touch: true, ..Self::looking(now, seed, service) }
    }
}

/// What one call used of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) host_calls: u32,
    /// Bytes that it handed over.
    pub(crate) bytes: usize,
}

/// The data of a store.
pub(crate) struct Context {
    pub(crate) limiter: Limiter,
    pub(crate) log: GuestLog,
    pub(crate) access: Arc<PluginAccess>,
    /// The generation of the grants when the instance was made.
    pub(crate) generation: u32,
    limits: CallLimits,
    /// Ticks that the guest may still see in this call.
    ticks: u32,
    used: Used,
    call: Option<GuestCall>,
    recorder: Recorder,
    ambient: Arc<Ambient>,
    wasi: Option<Box<SealedWasi>>,
}

impl Context {
    pub(crate) fn new(
        limits: CallLimits,
        log: GuestLog,
        access: Arc<PluginAccess>,
        generation: u32,
        ambient: Arc<Ambient>,
        wasi: Option<SealedWasi>,
    ) -> Self {
        Self {
            limiter: Limiter::new(limits.memory),
            log,
            access,
            generation,
            limits,
            ticks: 0,
            used: Used::default(),
            call: None,
            recorder: Recorder::Off,
            ambient,
            wasi: wasi.map(Box::new),
        }
    }

    /// Resets the counters for one call.
    pub(crate) fn allow(&mut self, limits: CallLimits) {
        self.limits = limits;
        self.ticks = limits.ticks();
        self.used = Used::default();
    }

    /// Begins a call. In a replay, nothing of the world is asked, changed or written.
    pub(crate) fn begin(&mut self, call: GuestCall, recorder: Recorder) {
        let replaying = recorder.is_replaying();
        self.log.begin(replaying);
        self.ambient.set(call.now, call.seed);
        if let Some(wasi) = self.wasi.as_mut().filter(|_| !replaying) {
            wasi.open(Instant::now() + self.limits.wall);
        }
        self.call = Some(call);
        self.recorder = recorder;
    }

    /// Ends the call, and returns its recorder.
    pub(crate) fn end(&mut self) -> Recorder {
        if let Some(wasi) = &mut self.wasi {
            wasi.close();
        }
        self.call = None;
        std::mem::take(&mut self.recorder)
    }

    /// What the call used, with what it printed.
    pub(crate) fn used(&self) -> Used {
        Used { bytes: self.used.bytes + self.log.printed_bytes(), ..self.used }
    }

    /// Counts a tick that the guest saw. The guest yields its thread, so that others get their turn, until its budget
    /// is used up.
    pub(crate) fn ticked(&mut self) -> Result<UpdateDeadline> {
        match self.ticks.checked_sub(1) {
            Some(left) => {
                self.ticks = left;
                Ok(UpdateDeadline::Yield(1))
            }
            None => Err(LimitExceeded::Cpu(self.limits.cpu).into()),
        }
    }

    /// Counts a host call and the bytes it handed over against the limits of one guest call.
    pub(crate) fn called(&mut self, bytes: usize) -> Result<(), LimitExceeded> {
        self.used.host_calls += 1;
        self.used.bytes += bytes;
        if self.used.host_calls > HOST_CALLS {
            return Err(LimitExceeded::HostCalls);
        }
        if self.used.bytes > CARRIED_BYTES {
            return Err(LimitExceeded::Carried);
        }
        Ok(())
    }

    /// Whether a capability is granted and not revoked.
    pub(crate) fn holds(&self, capability: Capability) -> bool {
        self.access.grants.holds(capability)
    }

    /// The call under way, if one is.
    pub(crate) fn call(&self) -> Option<&GuestCall> {
        self.call.as_ref()
    }

    /// The call under way, if the plug-in still holds the capability.
    pub(crate) fn call_with(&self, needed: Capability) -> Result<&GuestCall, Error> {
        // What a guest learns while it is set up belongs to no call, so no record would hold it.
        let call = self
            .call
            .as_ref()
            .ok_or_else(|| Error::Denied(format!("{needed} is there in a call, not in `configure` and `describe`")))?;
        if self.holds(needed) { Ok(call) } else { Err(Error::Denied(format!("the grant of {needed} was revoked"))) }
    }

    /// Answers a question of a guest. A live answer comes from the world and is recorded; a replayed answer comes from
    /// the record.
    pub(crate) fn answer<T: Recordable>(
        &mut self,
        call: &str,
        asked: impl FnOnce() -> Value,
        answer: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<Result<T, Error>> {
        if let Recorder::Replaying(record) = &mut self.recorder {
            return Ok(record.answer(call, &asked())?);
        }
        let answer = answer(self);
        if let Recorder::Recording(calls) = &mut self.recorder {
            calls.record(call, asked(), &answer);
        }
        Ok(answer)
    }

    /// The part of WASI. It exists wherever WASI is linked; without one, the guest finds an empty part.
    pub(crate) fn sealed(&mut self) -> &mut SealedWasi {
        self.wasi.get_or_insert_with(|| Box::new(SealedWasi::empty()))
    }
}

impl log::Host for Context {
    fn write(&mut self, level: Level, message: String, facts: Vec<FactResult>) -> Result<()> {
        self.called(message.len() + weigh::facts(&facts))?;
        self.log.line(level, &message, &facts);
        Ok(())
    }
}

impl types::Host for Context {}

/// Tells the bindings that the data of a store is the host.
pub(crate) struct HasContext;

impl HasData for HasContext {
    type Data<'a> = &'a mut Context;
}
