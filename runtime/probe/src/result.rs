//! What one check saw, before it is known whose sample that is.

use std::time::Duration;

use crate::body::Answer;

/// The fault of the prober itself.
pub(crate) const UNABLE: &str = "prober";

/// What one check saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// None: no verdict, the prober itself failed.
    pub(crate) ok: Option<bool>,
    /// Why not.
    pub(crate) fault: Option<&'static str>,
    /// For a person.
    pub(crate) message: Option<String>,
    /// HTTP status, exit code, or a negative signal.
    pub(crate) status: Option<i32>,
    /// How long it took.
    pub(crate) latency: Option<Duration>,
    /// What the service said of itself.
    pub(crate) answer: Answer,
}

impl Look {
    /// It passed.
    pub(crate) fn passed() -> Self {
        Self { ok: Some(true), ..Self::default() }
    }

    /// It failed.
    pub(crate) fn failed(fault: &'static str, message: impl Into<String>) -> Self {
        Self { ok: Some(false), fault: Some(fault), message: Some(message.into()), ..Self::default() }
    }

    /// It took too long. The number is written as a decimal always: `Timeout after 5.0s`. Its latency is not known: no answer is
    /// not a slow answer, and a limit on latency must not be crossed by it.
    pub(crate) fn timed_out(timeout: Duration) -> Self {
        Self::failed("timeout", format!("Timeout after {:?}s", timeout.as_secs_f64()))
    }

    /// The prober could not look: that says nothing about the service.
    pub(crate) fn unable(what: &str, why: &std::io::Error) -> Self {
        Self { fault: Some(UNABLE), message: Some(format!("heald cannot look: {what}: {why}")), ..Self::default() }
    }

    pub(crate) fn refused(&self) -> bool {
        self.fault == Some("refused")
    }
}

/// How an end is told: `Exit code 1`, `Killed by signal 9 (SIGKILL)`. A signal is negative.
pub(crate) fn ending(status: i32) -> String {
    if status >= 0 {
        return format!("Exit code {status}");
    }
    let name = match -status {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        14 => " (SIGALRM)",
        15 => " (SIGTERM)",
        _ => "",
    };
    format!("Killed by signal {}{name}", -status)
}
