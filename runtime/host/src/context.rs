//! What the host keeps beside one instance: its counters, its voice, and its sealed piece of WASI.

use std::sync::Arc;

use heald_model::Moment;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Result, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bindings::heald::plugin::log::{self, Level};
use crate::bindings::heald::plugin::types::{self, FactResult};
use crate::limits::{HOST_CALLS, Limiter, Limits, Stop};
use crate::voice::Voice;
use crate::wasi::Ambient;

/// The data of a store.
pub(crate) struct Context {
    pub(crate) limiter: Limiter,
    pub(crate) voice: Voice,
    /// Ticks that the guest may still see, and host calls that it may still make, in this call.
    ticks: u32,
    host_calls: u32,
    limits: Limits,
    ambient: Arc<Ambient>,
    wasi: Option<Box<(WasiCtx, ResourceTable)>>,
}

impl Context {
    pub(crate) fn new(limits: Limits, voice: Voice, ambient: Arc<Ambient>, wasi: Option<WasiCtx>) -> Self {
        Self {
            limiter: Limiter::new(limits.memory),
            voice,
            ticks: 0,
            host_calls: 0,
            limits,
            ambient,
            wasi: wasi.map(|wasi| Box::new((wasi, ResourceTable::new()))),
        }
    }

    /// Fills the counters for one call.
    pub(crate) fn allow(&mut self, limits: Limits) {
        self.limits = limits;
        self.ticks = limits.ticks();
        self.host_calls = HOST_CALLS;
    }

    /// What the guest's clocks and dice show in this call, if it has any.
    pub(crate) fn set_ambient(&self, now: Moment, seed: u64) {
        self.ambient.set(now, seed);
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
}

impl log::Host for Context {
    fn write(&mut self, level: Level, message: String, facts: Vec<FactResult>) -> Result<()> {
        self.host_calls = self.host_calls.checked_sub(1).ok_or(Stop::HostCalls)?;
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

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // WASI is linked only where there is a context; should it ever not be so, the guest finds a world with nothing in it.
        let (ctx, table) =
            &mut **self.wasi.get_or_insert_with(|| Box::new((WasiCtxBuilder::new().build(), ResourceTable::new())));
        WasiCtxView { ctx, table }
    }
}
