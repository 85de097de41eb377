//! The role `action`: does something, says what, and undoes it where it can.

use serde::de::DeserializeOwned;

use crate::instance::Slot;
use crate::{ActionInfo, Error, Plan, Problem, Receipt, Task};

/// Carries out actions. The host checked the parameters against the schema and holds the permit before it calls.
pub trait Action: Sized {
    /// What the operator may write; `Self` where the plug-in is its own configuration. Give it
    /// `#[serde(deny_unknown_fields)]`, so that a misspelt setting is refused rather than ignored.
    type Config: DeserializeOwned;

    /// Judges the configuration, once per instance. Every problem at once, please: the operator then fixes them in one go.
    fn new(config: Self::Config) -> Result<Self, Vec<Problem>>;
    /// The actions this configured plug-in offers.
    fn offers(&self) -> Vec<ActionInfo>;
    /// Could it be done, and what would be? Without any effect.
    fn check(&self, task: &Task) -> Result<Plan, Error>;
    /// Does it. `task.attempt` is the same when heald asks for the same attempt again.
    fn perform(&self, task: &Task) -> Result<Receipt, Error>;
    /// Takes back what a receipt's `undo` describes. By default nothing can be undone.
    fn undo(&self, task: &Task, token: &[u8]) -> Result<Receipt, Error> {
        let _ = token;
        Err(Error::Unsupported(format!("{} cannot be undone", task.action)))
    }
}

/// The dry run.
pub fn check<A: Action>(slot: &Slot<A>, task: &Task) -> Result<Plan, Error> {
    slot.get()?.check(task)
}

/// The deed.
pub fn perform<A: Action>(slot: &Slot<A>, task: &Task) -> Result<Receipt, Error> {
    slot.get()?.perform(task)
}

/// The deed taken back.
pub fn undo<A: Action>(slot: &Slot<A>, task: &Task, token: &[u8]) -> Result<Receipt, Error> {
    slot.get()?.undo(task, token)
}

/// Exports an [`Action`] and writes what [`metadata`](crate::metadata) knows of it into the file; said as for
/// [`detector!`](crate::detector!).
#[macro_export]
macro_rules! action {
    ($plugin:ty $(, $said:ident : $value:expr)* $(,)?) => {
        $crate::__metadata!("action" $(, $said: $value)*);
        #[allow(unsafe_code)]
        const _: () = {
            thread_local! {
                static SLOT: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::empty() };
            }
            #[allow(dead_code)]
            struct Export;
            impl $crate::bindings::action::exports::heald::plugin::act::Guest for Export {
                fn configure(config: String) -> Result<(), $crate::Error> {
                    SLOT.with(|slot| slot.configure(&config, <$plugin as $crate::Action>::new))
                }
                fn describe() -> Vec<$crate::ActionInfo> {
                    SLOT.with(|slot| slot.get().map(|plugin| $crate::Action::offers(&*plugin)).unwrap_or_default())
                }
                fn check(input: $crate::Task) -> Result<$crate::Plan, $crate::Error> {
                    SLOT.with(|slot| $crate::glue::check(slot, &input))
                }
                fn perform(input: $crate::Task) -> Result<$crate::Receipt, $crate::Error> {
                    SLOT.with(|slot| $crate::glue::perform(slot, &input))
                }
                fn undo(input: $crate::Task, token: Vec<u8>) -> Result<$crate::Receipt, $crate::Error> {
                    SLOT.with(|slot| $crate::glue::undo(slot, &input, &token))
                }
            }
            #[cfg(target_family = "wasm")]
            $crate::bindings::action::export_action!(Export with_types_in $crate::bindings::action);
        };
    };
}
