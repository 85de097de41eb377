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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scenario, logged, sample};
    use crate::{Finding, Json, Severity};

    /// Counts samples that used the processor, and says so in the log.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Counter {
        limit: u32,
    }

    impl Detector for Counter {
        type Config = Self;
        type State = Json<u32>;

        fn new(config: Self) -> Result<Self, Vec<Problem>> {
            Ok(config)
        }

        fn about(&self) -> About {
            About::conditions(["busy"])
        }

        fn evaluate(&self, seen: &Observation, busy: &mut Json<u32>) -> Result<Verdict, Error> {
            let samples = seen.series.iter().flat_map(|series| series.fresh());
            busy.0 += u32::try_from(samples.filter(|sample| sample.cpu.is_some()).count()).unwrap_or(u32::MAX);
            if busy.0 > 7 {
                return Err(Error::Unavailable("enough".to_owned()));
            }
            crate::log::info!(facts: { busy = busy.0 }; "{} of {}", busy.0, self.limit);
            let found = (busy.0 > self.limit).then(|| Finding::new("busy", Severity::Warning, "busy").score(f64::NAN));
            Ok(found.into_iter().collect::<Verdict>().gauge("busy", busy.0.into()))
        }
    }

    #[test]
    fn the_state_is_carried_from_call_to_call() {
        let mut counting = Scenario::<Counter>::of(r#"{"limit": 1}"#);
        assert!(counting.feed(sample().cpu(1.0)).findings.is_empty());
        let verdict = counting.feed(sample().cpu(1.0));
        assert_eq!((verdict.findings.len(), verdict.findings[0].score), (1, 0.0), "a score is never no number");
        assert_eq!(counting.state(), Some(b"2".as_slice()));
        let lines = logged();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[1].1.as_str(), lines[1].2[0].name.as_str()), ("2 of 1", "busy"));
    }

    #[test]
    fn a_state_of_another_build_is_answered_with_bad_state() {
        let mut counting = Scenario::<Counter>::of(r#"{"limit": 1}"#);
        counting.feed(sample().cpu(1.0));
        counting.set_state(b"{\"another\": \"shape\"}".to_vec());
        assert_eq!(counting.evaluate(), Err(Error::BadState));
    }

    #[test]
    fn a_call_that_failed_changes_no_state() {
        let mut counting = Scenario::<Counter>::of(r#"{"limit": 9}"#);
        counting.feed(sample().cpu(1.0));
        counting.set_state(b"7".to_vec());
        let again = counting.evaluate().unwrap();
        assert!(again.findings.is_empty(), "nothing new: nothing is counted twice");
        counting.set_state(b"8".to_vec());
        assert_eq!(counting.evaluate(), Err(Error::Unavailable("enough".to_owned())));
        assert_eq!(counting.state(), Some(b"8".as_slice()));
    }

    #[test]
    fn before_it_is_configured_it_answers_with_an_error() {
        let input =
            Observation { now: 0, seed: 0, service: crate::testing::service("web"), series: Vec::new(), state: None };
        assert!(matches!(evaluate(&Slot::<Counter>::empty(), input), Err(Error::Other(_))));
    }
}
