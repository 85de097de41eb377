//! The role `detector`: from samples to findings.

use serde::de::DeserializeOwned;

use crate::instance::Slot;
use crate::{About, Error, Observation, Problem, State, Verdict};

/// Turns what probes saw into findings.
pub trait Detector: Sized {
    /// What the operator may write; `Self` where the plug-in is its own configuration. Give it
    /// `#[serde(deny_unknown_fields)]`, so that a misspelt setting is refused rather than ignored.
    type Config: DeserializeOwned;
    /// What is remembered from call to call.
    type State: State;

    /// Judges the configuration, once per instance. Every problem at once, please: the operator then fixes them in one go.
    fn new(config: Self::Config) -> Result<Self, Vec<Problem>>;
    /// The conditions it may report, and the window it wants.
    fn about(&self) -> About;
    /// Every finding that holds now. The state is kept only if this returns `Ok`; `seen.state` and the verdict's own
    /// `state` are the SDK's affair.
    fn evaluate(&self, seen: &Observation, state: &mut Self::State) -> Result<Verdict, Error>;
}

/// One call: memory in, verdict out, memory back.
pub fn evaluate<D: Detector>(slot: &Slot<D>, mut input: Observation) -> Result<Verdict, Error> {
    let plugin = slot.get()?;
    let mut state = D::State::load(input.state.take())?;
    let mut verdict = plugin.evaluate(&input, &mut state)?;
    verdict.state = state.save();
    Ok(verdict)
}

/// Exports a [`Detector`] and writes what [`metadata`](crate::metadata) knows of it into the file.
///
/// `detector!(Mine)` takes name, version and summary from `Cargo.toml`. More can be said in the words of
/// [`Metadata`](crate::metadata::Metadata): `detector!(Mine, config: include_str!("../config.schema.json"), cpu_ms: 5)`.
#[macro_export]
macro_rules! detector {
    ($plugin:ty $(, $said:ident : $value:expr)* $(,)?) => {
        $crate::__metadata!("detector" $(, $said: $value)*);
        #[allow(unsafe_code)]
        const _: () = {
            thread_local! {
                static SLOT: $crate::glue::Slot<$plugin> = const { $crate::glue::Slot::empty() };
            }
            #[allow(dead_code)]
            struct Export;
            impl $crate::bindings::detector::exports::heald::plugin::detect::Guest for Export {
                fn configure(config: String) -> Result<(), $crate::Error> {
                    SLOT.with(|slot| slot.configure(&config, <$plugin as $crate::Detector>::new))
                }
                fn describe() -> $crate::About {
                    SLOT.with(|slot| match slot.get() {
                        Ok(plugin) => $crate::Detector::about(&*plugin),
                        Err(_) => $crate::About::conditions::<String>([]),
                    })
                }
                fn evaluate(input: $crate::Observation) -> Result<$crate::Verdict, $crate::Error> {
                    SLOT.with(|slot| $crate::glue::evaluate(slot, input))
                }
            }
            #[cfg(target_family = "wasm")]
            $crate::bindings::detector::export_detector!(Export with_types_in $crate::bindings::detector);
        };
    };
}
