//! The role `policy`: from an incident to what should be done about it.

use serde::de::DeserializeOwned;

use crate::instance::Slot;
use crate::{Decision, Error, PolicyAbout, Problem, Question, State};

/// Decides what to do about an incident. It proposes; the host's guard disposes.
pub trait Policy: Sized {
    /// What the operator may write; `Self` where the plug-in is its own configuration. Give it
    /// `#[serde(deny_unknown_fields)]`, so that a misspelt setting is refused rather than ignored.
    type Config: DeserializeOwned;
    /// What is remembered from call to call.
    type State: State;

    /// Judges the configuration, once per instance. Every problem at once, please: the operator then fixes them in one go.
    fn new(config: Self::Config) -> Result<Self, Vec<Problem>>;
    /// The actions it may ask for (none listed: any on offer), and the window it wants.
    fn about(&self) -> PolicyAbout;
    /// What to do now. The state is kept only if this returns `Ok`; `question.state` and the decision's own `state` are the
    /// SDK's affair.
    fn decide(&self, question: &Question, state: &mut Self::State) -> Result<Decision, Error>;
}

/// One call: memory in, decision out, memory back.
pub fn decide<P: Policy>(slot: &Slot<P>, mut input: Question) -> Result<Decision, Error> {
    let plugin = slot.get()?;
    let mut state = P::State::load(input.state.take())?;
    let mut decision = plugin.decide(&input, &mut state)?;
    decision.state = state.save();
    Ok(decision)
}

/// Exports a [`Policy`] and writes what [`metadata`](crate::metadata) knows of it into the file; said as for
/// [`detector!`](crate::detector!).
#[macro_export]
macro_rules! policy {
    ($plugin:ty $(, $said:ident : $value:expr)* $(,)?) => {
        $crate::__metadata!("policy" $(, $said: $value)*);
        #[allow(unsafe_code)]
        const _: () = {
            thread_local! {
                static SLOT: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::empty() };
            }
            #[allow(dead_code)]
            struct Export;
            impl $crate::bindings::policy::exports::heald::plugin::decide::Guest for Export {
                fn configure(config: String) -> Result<(), $crate::Error> {
                    SLOT.with(|slot| slot.configure(&config, <$plugin as $crate::Policy>::new))
                }
                fn describe() -> $crate::PolicyAbout {
                    SLOT.with(|slot| match slot.get() {
                        Ok(plugin) => $crate::Policy::about(&*plugin),
                        Err(_) => $crate::PolicyAbout::any(),
                    })
                }
                fn decide(input: $crate::Question) -> Result<$crate::Decision, $crate::Error> {
                    SLOT.with(|slot| $crate::glue::decide(slot, input))
                }
            }
            #[cfg(target_family = "wasm")]
            $crate::bindings::policy::export_policy!(Export with_types_in $crate::bindings::policy);
        };
    };
}
