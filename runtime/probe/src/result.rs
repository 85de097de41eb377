//! The result of one check, before it becomes a sample of a service.
//!
//! Plain data. It knows neither the service nor the probe.

use std::time::Duration;

use crate::body::HealthBody;

/// The fault of a check that the prober could not make.
pub(crate) const UNABLE: &str = "prober";

/// The result of one check.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CheckResult {
    /// `None`: no verdict, because the prober itself failed.
    pub(crate) ok: Option<bool>,
    /// The kind of failure, in one word.
    pub(crate) fault: Option<&'static str>,
    /// The failure as a sentence for a person.
    pub(crate) message: Option<String>,
    /// HTTP status, exit code, or a negative signal.
    pub(crate) status: Option<i32>,
    /// How long the check took.
    pub(crate) latency: Option<Duration>,
    /// What the service reported in its body.
    pub(crate) body: HealthBody,
}

impl CheckResult {
    /// The check passed.
    pub(crate) fn passed() -> Self {
        Self { ok: Some(true), ..Self::default() }
    }

    /// The check failed.
    pub(crate) fn failed(fault: &'static str, message: impl Into<String>) -> Self {
        Self { ok: Some(false), fault: Some(fault), message: Some(message.into()), ..Self::default() }
    }

    /// The check took too long. The number is always written as a decimal: `Timeout after 5.0s`. The latency stays unknown,
    /// because a missing answer is not a slow one and must not cross a limit on latency.
    pub(crate) fn timed_out(timeout: Duration) -> Self {
        Self::failed("timeout", format!("Timeout after {:?}s", timeout.as_secs_f64()))
    }

    /// The prober could not make the check. This says nothing about the service.
    pub(crate) fn unable(what: &str, why: &std::io::Error) -> Self {
        Self { fault: Some(UNABLE), message: Some(format!("heald cannot check: {what}: {why}")), ..Self::default() }
    }

    pub(crate) fn refused(&self) -> bool {
        self.fault == Some("refused")
    }
}

/// An exit as text: `Exit code 1`, `Killed by signal 9 (SIGKILL)`. A negative number is a signal.
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
