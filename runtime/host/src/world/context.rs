//! What the host keeps beside one instance: its counters, its voice, what it may reach, and its sealed piece of WASI.
//!
//! A call begins with everything set ([`Context::begin`]) and ends with everything taken away: between calls, as while it is
//! configured, an instance reaches nothing but the log. Nothing of one call is left for the next.

use std::sync::Arc;

use heald_model::{Fault, FaultCause, Moment, ServiceName, ServiceView};
use serde_json::Value;
use tokio::time::Instant;
use wasmtime::component::HasData;
use wasmtime::{Result, UpdateDeadline};

use crate::bindings::heald::plugin::log::{self, Level};
use crate::bindings::heald::plugin::types::{self, Error as Said, FactResult};
use crate::guest::limits::{CARRIED_BYTES, HOST_CALLS, Limiter, Limits, Stop};
use crate::guest::weigh;
use crate::world::ambient::Ambient;
use crate::world::capability::Capability;
use crate::world::heard::{Ear, Tell};
use crate::world::leash::Leash;
use crate::world::processes::Reach;
use crate::world::sealed::Sealed;
use crate::world::shelf::Shelf;
use crate::world::voice::Voice;

/// What all instances of one plug-in can reach, while it is granted.
pub(crate) struct Premises {
    pub(crate) leash: Arc<Leash>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) reach: Reach,
}

impl Premises {
    /// Whether calls can be made again: not if the plug-in holds what no record can tell it again.
    pub(crate) fn judge_replay(&self) -> Result<(), Fault> {
        const UNTOLD: [Capability; 4] = [Capability::Http, Capability::Files, Capability::Clock, Capability::Random];
        match UNTOLD.into_iter().find(|capability| self.leash.opens(*capability)) {
            None => Ok(()),
            Some(capability) => {
                let why = format!("it is granted {capability}, and what it saw there no record can show it again");
                Err(Fault::new(FaultCause::Refused, why))
            }
        }
    }
}

/// The call under way.
pub(crate) struct Call {
    /// Its `now`.
    pub(crate) now: Moment,
    /// For its dice.
    pub(crate) seed: u64,
    /// The service it is about.
    pub(crate) service: ServiceName,
    /// Every running copy of that is ready.
    pub(crate) ready: bool,
    /// It may touch the service's processes: it is `perform` or `undo`.
    pub(crate) touch: bool,
}

impl Call {
    /// A call that looks and touches nothing.
    pub(crate) fn looking(now: Moment, seed: u64, service: &ServiceView) -> Self {
        let ready = service.ready >= service.running;
        Self { now, seed, service: service.name.clone(), ready, touch: false }
    }

    /// A call that does something.
    pub(crate) fn touching(now: Moment, seed: u64, service: &ServiceView) -> Self {
        Self { touch: true, ..Self::looking(now, seed, service) }
    }
}

/// What one call asked of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) host_calls: u32,
    /// Bytes that it handed over.
    pub(crate) bytes: usize,
}

/// The data of a store.
pub(crate) struct Context {
    pub(crate) limiter: Limiter,
    pub(crate) voice: Voice,
    pub(crate) premises: Arc<Premises>,
    /// What of its grant was left when it was made.
    pub(crate) generation: u32,
    limits: Limits,
    /// Ticks that the guest may still see in this call.
    ticks: u32,
    used: Used,
    call: Option<Call>,
    ear: Ear,
    ambient: Arc<Ambient>,
    wasi: Option<Box<Sealed>>,
}

impl Context {
    pub(crate) fn new(
        limits: Limits,
        voice: Voice,
        premises: Arc<Premises>,
        generation: u32,
        ambient: Arc<Ambient>,
        wasi: Option<Sealed>,
    ) -> Self {
        Self {
            limiter: Limiter::new(limits.memory),
            voice,
            premises,
            generation,
            limits,
            ticks: 0,
            used: Used::default(),
            call: None,
            ear: Ear::Deaf,
            ambient,
            wasi: wasi.map(Box::new),
        }
    }

    /// Fills the counters for one call.
    pub(crate) fn allow(&mut self, limits: Limits) {
        self.limits = limits;
        self.ticks = limits.ticks();
        self.used = Used::default();
    }

    /// A call begins. With an ear that is told, nothing of the world is asked, changed or written.
    pub(crate) fn begin(&mut self, call: Call, ear: Ear) {
        let rehearsed = ear.is_told();
        self.voice.begin(rehearsed);
        self.ambient.set(call.now, call.seed);
        if let Some(wasi) = self.wasi.as_mut().filter(|_| !rehearsed) {
            wasi.open(Instant::now() + self.limits.wall);
        }
        self.call = Some(call);
        self.ear = ear;
    }

    /// It is over: what it heard.
    pub(crate) fn end(&mut self) -> Ear {
        if let Some(wasi) = &mut self.wasi {
            wasi.close();
        }
        self.call = None;
        std::mem::take(&mut self.ear)
    }

    /// What the call used, what it printed included.
    pub(crate) fn used(&self) -> Used {
        Used { bytes: self.used.bytes + self.voice.printed_bytes(), ..self.used }
    }

    /// The guest saw the epoch move on. It hands the thread back for a moment, so that others on it get their turn, until it
    /// has used its budget up.
    pub(crate) fn ticked(&mut self) -> Result<UpdateDeadline> {
        match self.ticks.checked_sub(1) {
            Some(left) => {
                self.ticks = left;
                Ok(UpdateDeadline::Yield(1))
            }
            None => Err(Stop::Cpu(self.limits.cpu).into()),
        }
    }

    /// Counts a call of the host, with so many bytes handed over, against what one guest call may do.
    pub(crate) fn called(&mut self, bytes: usize) -> Result<(), Stop> {
        self.used.host_calls += 1;
        self.used.bytes += bytes;
        if self.used.host_calls > HOST_CALLS {
            return Err(Stop::HostCalls);
        }
        if self.used.bytes > CARRIED_BYTES {
            return Err(Stop::Carried);
        }
        Ok(())
    }

    /// Granted, and not taken back meanwhile.
    pub(crate) fn holds(&self, capability: Capability) -> bool {
        self.premises.leash.holds(capability)
    }

    /// The call under way, if one is.
    pub(crate) fn call(&self) -> Option<&Call> {
        self.call.as_ref()
    }

    /// The call under way, if the plug-in still holds what this function needs.
    pub(crate) fn call_with(&self, needed: Capability) -> Result<&Call, Said> {
        // What it would learn while it is set up would be part of no call's input, and of no record.
        let call = self
            .call
            .as_ref()
            .ok_or_else(|| Said::Denied(format!("{needed} is there in a call, not in `configure` and `describe`")))?;
        if self.holds(needed) { Ok(call) } else { Err(Said::Denied(format!("the grant of {needed} was revoked"))) }
    }

    /// Answers a question that a replay will answer from the record: from the world, and noted; or from the record.
    pub(crate) fn hear<T: Tell>(
        &mut self,
        call: &str,
        asked: impl FnOnce() -> Value,
        answer: impl FnOnce(&Self) -> Result<T, Said>,
    ) -> Result<Result<T, Said>> {
        if let Ear::Told(record) = &mut self.ear {
            return Ok(record.answer(call, &asked())?);
        }
        let answer = answer(self);
        if let Ear::Noting(notes) = &mut self.ear {
            notes.note(call, asked(), &answer);
        }
        Ok(answer)
    }

    /// WASI is linked only where there is some; should it ever not be so, the guest finds a world with nothing in it.
    pub(crate) fn sealed(&mut self) -> &mut Sealed {
        self.wasi.get_or_insert_with(|| Box::new(Sealed::empty()))
    }
}

impl log::Host for Context {
    fn write(&mut self, level: Level, message: String, facts: Vec<FactResult>) -> Result<()> {
        self.called(message.len() + weigh::facts(&facts))?;
        self.voice.line(level, &message, &facts);
        Ok(())
    }
}

impl types::Host for Context {}

/// Says to the bindings that a store's data is the host.
pub(crate) struct HasContext;

impl HasData for HasContext {
    type Data<'a> = &'a mut Context;
}
