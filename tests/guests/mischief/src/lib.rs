//! When a guest misbehaves, and the little that all of them share.
//!
//! Every guest of this workspace takes `{"when": ..., "service": ..., "count": ..., "bytes": ..., "what": ...}` and is
//! otherwise a model of good behaviour, so that a test can have one instance go wrong where and for whom it wants.
#![deny(unsafe_code)]

pub use heald_plugin;
pub use heald_plugin::{
    About, Decision, Error, Finding, Observation, PolicyAbout, Problem, Question, Severity, Verdict,
};

/// What a test asks of a guest.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mischief {
    /// In which call.
    pub when: When,
    /// Only for this service.
    pub service: Option<String>,
    /// How many of whatever it makes too many of; 0: without end.
    pub count: u64,
    /// How large whatever it makes too large.
    pub bytes: usize,
    /// Which of several ways to be wrong.
    pub what: String,
}

/// The call in which a guest misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Never: a model of good behaviour.
    Never,
    /// In `configure`.
    Configure,
    /// In `describe`.
    Describe,
    /// In `evaluate` or `decide`.
    Always,
}

impl Default for Mischief {
    fn default() -> Self {
        Self { when: When::Always, service: None, count: 100_000, bytes: 1 << 10, what: String::new() }
    }
}

impl Mischief {
    /// Is this the call, and the service?
    pub fn strikes(&self, when: When, service: Option<&str>) -> bool {
        self.when == when && (self.service.is_none() || service.is_none() || self.service.as_deref() == service)
    }
}

/// Loops without end.
pub fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

/// A detector that does `$deed` when it is to misbehave: `|mischief: &Mischief, state: &mut Vec<u8>| -> Verdict`.
#[macro_export]
macro_rules! detector {
    ($deed:expr) => {
        struct Guest($crate::Mischief);

        impl $crate::heald_plugin::Detector for Guest {
            type Config = $crate::Mischief;
            type State = Vec<u8>;
            fn new(config: Self::Config) -> Result<Self, Vec<$crate::Problem>> {
                if config.strikes($crate::When::Configure, None) {
                    let _: $crate::Verdict = $deed(&config, &mut Vec::new());
                }
                Ok(Self(config))
            }
            fn about(&self) -> $crate::About {
                if self.0.strikes($crate::When::Describe, None) {
                    let _: $crate::Verdict = $deed(&self.0, &mut Vec::new());
                }
                $crate::About::conditions(["mischief"])
            }
            fn evaluate(
                &self,
                seen: &$crate::Observation,
                state: &mut Vec<u8>,
            ) -> Result<$crate::Verdict, $crate::Error> {
                if self.0.strikes($crate::When::Always, Some(&seen.service.name)) {
                    return Ok($deed(&self.0, state));
                }
                Ok($crate::Verdict::from(Vec::new()))
            }
        }

        $crate::heald_plugin::detector!(Guest);
    };
}

/// A policy that does `$deed` when it is to misbehave: `|mischief: &Mischief| -> Decision`.
#[macro_export]
macro_rules! policy {
    ($deed:expr) => {
        struct Guest($crate::Mischief);

        impl $crate::heald_plugin::Policy for Guest {
            type Config = $crate::Mischief;
            type State = ();
            fn new(config: Self::Config) -> Result<Self, Vec<$crate::Problem>> {
                if config.strikes($crate::When::Configure, None) {
                    let _: $crate::Decision = $deed(&config);
                }
                Ok(Self(config))
            }
            fn about(&self) -> $crate::PolicyAbout {
                if self.0.strikes($crate::When::Describe, None) {
                    let _: $crate::Decision = $deed(&self.0);
                }
                $crate::PolicyAbout::any()
            }
            fn decide(&self, question: &$crate::Question, (): &mut ()) -> Result<$crate::Decision, $crate::Error> {
                if self.0.strikes($crate::When::Always, Some(&question.service.name)) {
                    return Ok($deed(&self.0));
                }
                Ok($crate::Decision::pass("behaving"))
            }
        }

        $crate::heald_plugin::policy!(Guest);
    };
}
