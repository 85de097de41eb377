//! From what wasmtime says of a call that failed to a cause, and words for a person.

use std::collections::BTreeSet;

use heald_model::{Fault, FaultCause};
use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::bindings::heald::plugin::types::Error as Said;
use crate::code::schema::Problem;
use crate::guest::limits::Stop;
use crate::text;
use crate::world::heard::Strayed;

/// Characters of a guest's own words that are kept.
const WORDS: usize = 512;

/// Frames that wasmtime keeps of a trap, which is its default.
const TRACED: usize = 20;

/// What became of a call that did not return.
pub(crate) fn of_call(error: &Error, last_words: Option<String>) -> Fault {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        let cause = match stop {
            Stop::Cpu(_) => FaultCause::CpuBudget,
            Stop::HostCalls | Stop::Carried => FaultCause::HostBudget,
            Stop::Memory { .. } | Stop::Table(_) | Stop::NoMemory => FaultCause::Memory,
        };
        return Fault::new(cause, format!("{stop}{}", place(error)));
    }
    if let Some(strayed) = error.downcast_ref::<Strayed>() {
        return Fault::new(FaultCause::BadOutput, strayed.to_string());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::MemoryOutOfBounds if recursed(error) => {
                Fault::new(FaultCause::Stack, format!("its stack overflowed in its own memory{}", place(error)))
            }
            Trap::StackOverflow => Fault::new(FaultCause::Stack, format!("its stack overflowed{}", place(error))),
            Trap::AllocationTooLarge => Fault::new(FaultCause::Memory, format!("{trap}{}", place(error))),
            // The words of a panic say more than the instruction it ends with.
            trap => match last_words {
                Some(words) => Fault::new(FaultCause::Trap, format!("{words} ({trap})")),
                None => Fault::new(FaultCause::Trap, format!("{trap}{}", place(error))),
            },
        };
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Fault::new(FaultCause::Trap, format!("it exited with status {}", exit.0));
    }
    let root = error.root_cause().to_string();
    // The type of this error is wasmtime's own secret; a test here notices should its words change.
    if root.contains("fuel allocated for hostcalls") {
        return Fault::new(FaultCause::HostBudget, "it handed over more bytes than one call may copy");
    }
    if error.downcast_ref::<WasmBacktrace>().is_some() {
        return Fault::new(FaultCause::Trap, format!("{root}{}", place(error)));
    }
    // The guest had returned: what failed is reading what it returned.
    Fault::new(FaultCause::BadOutput, format!("its answer cannot be read: {root}"))
}

/// What became of an instance that could not be made.
pub(crate) fn of_instance(error: &Error, last_words: Option<String>) -> Fault {
    let told = error.is::<Stop>() || error.is::<Trap>() || error.is::<I32Exit>();
    if told { of_call(error, last_words) } else { Fault::new(FaultCause::Load, format!("{error:#}")) }
}

/// An error that the guest returned.
pub(crate) fn of_answer(said: &Said) -> Fault {
    let clean = |kind: &str, text: &str| format!("{kind}: {}", text::clean(text, WORDS));
    match said {
        Said::BadConfig(problems) => Fault::new(FaultCause::BadConfig, Problem::list(&self::problems(problems))),
        Said::BadInput(text) => Fault::new(FaultCause::Refused, clean("bad input", text)),
        Said::BadState => Fault::new(FaultCause::Refused, "it says that its state is not its own"),
        Said::Unsupported(text) => Fault::new(FaultCause::Refused, clean("unsupported", text)),
        Said::NotFound(text) => Fault::new(FaultCause::Refused, clean("not found", text)),
        Said::Denied(text) => Fault::new(FaultCause::Refused, clean("denied", text)),
        Said::OverQuota(text) => Fault::new(FaultCause::Refused, clean("over quota", text)),
        Said::Unavailable(text) => Fault::new(FaultCause::Refused, clean("unavailable", text)),
        Said::TimedOut => Fault::new(FaultCause::Refused, "timed out"),
        Said::Other(text) => Fault::new(FaultCause::Refused, text::clean(text, WORDS)),
    }
}

/// What a guest has against its configuration.
pub(crate) fn problems(said: &[crate::bindings::heald::plugin::types::Problem]) -> Vec<Problem> {
    let clean = |problem: &crate::bindings::heald::plugin::types::Problem| Problem {
        at: text::clean(&problem.at, WORDS),
        message: text::clean(&problem.message, WORDS),
    };
    said.iter().take(20).map(clean).collect()
}

/// Compilers keep part of the stack in linear memory, below everything else; it may be used up first, and the trap then is
/// an access below address zero. What tells it from other such traps are frames of the same few functions without end.
fn recursed(error: &Error) -> bool {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return false };
    let functions: BTreeSet<u32> = trace.frames().iter().map(FrameInfo::func_index).collect();
    trace.frames().len() >= TRACED && functions.len() <= TRACED / 4
}

/// Where in the guest it was, if its names are known.
fn place(error: &Error) -> String {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let name = backtrace.and_then(|trace| trace.frames().iter().find_map(|frame| frame.func_name()));
    name.map(|name| format!(", in `{}`", text::clean(&format!("{:#}", rustc_demangle::demangle(name)), WORDS)))
        .unwrap_or_default()
}
