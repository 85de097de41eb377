//! Turns what wasmtime says of a failed call into a cause, and words for a person. It decides nothing about the
//! plug-in.

use std::collections::BTreeSet;

use heald_model::{Fault, FaultCause};
use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::bindings::heald::plugin::types;
use crate::code::schema::ValueProblem;
use crate::guest::limits::LimitExceeded;
use crate::text;
use crate::world::recorder::Diverged;

/// Bytes of a guest's own words that are kept.
const WORDS: usize = 512;

/// Frames that wasmtime keeps of a trap, which is its default.
const TRACED: usize = 20;

/// The fault of a call that did not return.
pub(crate) fn of_call(error: &Error, last_error: Option<String>) -> Fault {
    if let Some(stop) = error.downcast_ref::<LimitExceeded>() {
        let cause = match stop {
            LimitExceeded::Cpu(_) => FaultCause::CpuBudget,
            LimitExceeded::HostCalls | LimitExceeded::Carried => FaultCause::HostBudget,
            LimitExceeded::Memory { .. } | LimitExceeded::Table(_) | LimitExceeded::NoMemory => FaultCause::Memory,
        };
        return Fault::new(cause, format!("{stop}{}", place(error)));
    }
    if let Some(diverged) = error.downcast_ref::<Diverged>() {
        return Fault::new(FaultCause::BadOutput, diverged.to_string());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::MemoryOutOfBounds if recursed(error) => {
                Fault::new(FaultCause::Stack, format!("its stack overflowed in its own memory{}", place(error)))
            }
            Trap::StackOverflow => Fault::new(FaultCause::Stack, format!("its stack overflowed{}", place(error))),
            Trap::AllocationTooLarge => Fault::new(FaultCause::Memory, format!("{trap}{}", place(error))),
            // The message of a panic says more than the instruction that ends it.
            trap => match last_error {
                Some(words) => Fault::new(FaultCause::Trap, format!("{words} ({trap})")),
                None => Fault::new(FaultCause::Trap, format!("{trap}{}", place(error))),
            },
        };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Fault::new(FaultCause::Trap, format!("it exited with status {}", exit.0));
    }
    let root = error.root_cause().to_string();
    // wasmtime does not export the type of this error; a test here notices if its words change.
    if root.contains("fuel allocated for hostcalls") {
        return Fault::new(FaultCause::HostBudget, "it handed over more bytes than one call may copy");
    }
    if error.downcast_ref::<WasmBacktrace>().is_some() {
        return Fault::new(FaultCause::Trap, format!("{root}{}", place(error)));
    }
    // The guest returned; reading its answer failed.
    Fault::new(FaultCause::BadOutput, format!("its answer cannot be read: {root}"))
}

/// The fault of an instance that could not be made.
pub(crate) fn of_instance(error: &Error, last_error: Option<String>) -> Fault {
    let explained = error.is::<LimitExceeded>() || error.is::<Trap>() || error.is::<I32Exit>();
    if explained { of_call(error, last_error) } else { Fault::new(FaultCause::Load, format!("{error:#}")) }
}

/// The fault of a call that returned an error.
pub(crate) fn of_answer(error: &types::Error) -> Fault {
    let clean = |kind: &str, text: &str| format!("{kind}: {}", text::clean(text, WORDS));
    match error {
        types::Error::BadConfig(problems) => {
            Fault::new(FaultCause::BadConfig, ValueProblem::list(&self::problems(problems)))
        }
        types::Error::BadInput(text) => Fault::new(FaultCause::Refused, clean("bad input", text)),
        types::Error::BadState => Fault::new(FaultCause::Refused, "it says that its state is not its own"),
        types::Error::Unsupported(text) => Fault::new(FaultCause::Refused, clean("unsupported", text)),
        types::Error::NotFound(text) => Fault::new(FaultCause::Refused, clean("not found", text)),
        types::Error::Denied(text) => Fault::new(FaultCause::Refused, clean("denied", text)),
        types::Error::OverQuota(text) => Fault::new(FaultCause::Refused, clean("over quota", text)),
        types::Error::Unavailable(text) => Fault::new(FaultCause::Refused, clean("unavailable", text)),
        types::Error::TimedOut => Fault::new(FaultCause::Refused, "timed out"),
        types::Error::Other(text) => Fault::new(FaultCause::Refused, text::clean(text, WORDS)),
    }
}

/// The problems that a guest found in its configuration.
pub(crate) fn problems(found: &[types::Problem]) -> Vec<ValueProblem> {
    let clean = |problem: &types::Problem| ValueProblem {
        at: text::clean(&problem.at, WORDS),
        message: text::clean(&problem.message, WORDS),
    };
    found.iter().take(20).map(clean).collect()
}

/// Compilers keep part of the stack in linear memory, below everything else. If that part overflows first, the guest
/// traps with an access below address zero. The frames tell it from other such traps: they repeat the same few
/// functions.
fn recursed(error: &Error) -> bool {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return false };
    let functions: BTreeSet<u32> = trace.frames().iter().map(FrameInfo::func_index).collect();
    trace.frames().len() >= TRACED && functions.len() <= TRACED / 4
}

/// Where in the guest it happened, if the guest has names.
fn place(error: &Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let name = backtrace.and_then(|trace| trace.frames().iter().find_map(|frame| frame.func_name()));
    name.map(|name| format!(", in `{}`", text::clean(&format!("{:#}", rustc_demangle::demangle(name)), WORDS)))
        .unwrap_or_default()
}
