//! The rules for a configured probe.
//!
//! It reports every problem at once and changes nothing. [`crate::config`] says what each field means.

use heald_model::PROCESS_PROBE;

use crate::config::{ProbeConfig, ProbeKind, ProbeProblem};
use crate::exec;
use crate::prepared::PreparedCheck;
use crate::status::StatusSet;

/// Every problem of a configured probe; empty if there is none.
pub fn validate(config: &ProbeConfig) -> Vec<ProbeProblem> {
    let mut problems = Vec::new();
    let mut fatal =
        |field, message: &str| problems.push(ProbeProblem { field, message: message.to_owned(), fatal: true });
    if config.probe().as_str() == PROCESS_PROBE {
        fatal("id", "`process` is the implicit probe of a supervised process; choose another");
    }
    if config.probe().as_str().is_empty() {
        fatal("id", "must not be empty");
    }
    if config.period.is_zero() {
        fatal("period", "must be longer than 0s");
    }
    if config.timeout.is_zero() {
        fatal("timeout", "must be longer than 0s");
    }
    if config.failure_threshold == 0 {
        fatal("failure_threshold", "must be at least 1");
    }
    if config.success_threshold == 0 {
        fatal("success_threshold", "must be at least 1");
    }
    if config.expect_status.is_empty() {
        fatal("expect_status", "must name at least one status code or range, such as [200] or [\"200-399\"]");
    }
    let belongs = [
        ("url", config.url.is_some(), ProbeKind::Http),
        ("method", config.method.is_some(), ProbeKind::Http),
        ("headers", !config.headers.is_empty(), ProbeKind::Http),
        ("expect_status", config.expect_status != StatusSet::default(), ProbeKind::Http),
        ("body_status", !config.body_status, ProbeKind::Http),
        ("address", config.address.is_some(), ProbeKind::Tcp),
        ("command", config.command.is_some(), ProbeKind::Exec),
        ("environment", !config.environment.is_empty(), ProbeKind::Exec),
    ];
    for (field, given, kind) in belongs {
        if given && kind != config.kind {
            let (kind, own) = (kind.as_str(), config.kind.as_str());
            fatal(field, &format!("is for kind = \"{kind}\", and this is kind = \"{own}\""));
        }
    }
    match PreparedCheck::new(config) {
        Ok(PreparedCheck::Exec(command)) => problems.extend(exec::missing(&command).map(|message| ProbeProblem {
            field: "command",
            message,
            fatal: false,
        })),
        Ok(_) => {}
        Err(problem) => problems.push(problem),
    }
    problems
}
