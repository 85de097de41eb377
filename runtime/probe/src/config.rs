//! One `[[service.probe]]` table: what a check is, as the operator writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use heald_model::time::text;
use heald_model::{PROCESS_PROBE, ProbeId, ProbeSpec, Role};
use serde::{Deserialize, Serialize};

use crate::prepared;
use crate::status::StatusSet;

/// How a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An HTTP request.
    Http,
    /// A TCP connection.
    Tcp,
    /// A command that exits with 0.
    Exec,
}

impl Kind {
    /// The word used in configuration; also a probe's id if it is given none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Exec => "exec",
        }
    }
}

/// A check as configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Unique within the service; the kind if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How it is made.
    pub kind: Kind,
    /// What its verdict is for.
    #[serde(default)]
    pub role: Role,
    /// http: what to ask, `http://HOST[:PORT]/PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// http: the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// http: headers to send.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// http: which status codes pass.
    #[serde(default)]
    pub expect_status: StatusSet,
    /// http: whether a JSON body's `status` counts, so that `DOWN` with 200 fails.
    #[serde(default = "yes")]
    pub body_status: bool,
    /// tcp: where to connect, `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// exec: the program and its arguments. No shell is involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// exec: its environment, beside heald's own PATH and HOME. It gets nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// How often to look.
    #[serde(default = "one_second", with = "text")]
    pub period: Duration,
    /// How long one look may take.
    #[serde(default = "half_a_second", with = "text")]
    pub timeout: Duration,
    /// How long after a start to look first.
    #[serde(default, with = "text")]
    pub initial_delay: Duration,
    /// Failures in a row that make a change.
    #[serde(default = "three")]
    pub failure_threshold: u32,
    /// Successes in a row that make a change.
    #[serde(default = "one")]
    pub success_threshold: u32,
}

const fn yes() -> bool {
    true
}
const fn one_second() -> Duration {
    Duration::from_secs(1)
}
const fn half_a_second() -> Duration {
    Duration::from_millis(500)
}
/// As the kubelet has it.
const fn three() -> u32 {
    3
}
const fn one() -> u32 {
    1
}

/// What is wrong with a setting, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field.
    pub field: &'static str,
    /// What is allowed.
    pub message: String,
    /// False: heald can run with it, this one check fails and says why (an address that came from the environment).
    pub fatal: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl ProbeConfig {
    /// A check of this kind with the defaults, and with nothing to look at yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            id: None,
            kind,
            role: Role::default(),
            url: None,
            method: None,
            headers: BTreeMap::new(),
            expect_status: StatusSet::default(),
            body_status: yes(),
            address: None,
            command: None,
            environment: BTreeMap::new(),
            period: one_second(),
            timeout: half_a_second(),
            initial_delay: Duration::ZERO,
            failure_threshold: three(),
            success_threshold: one(),
        }
    }

    /// Its id: as given, else the kind.
    pub fn probe(&self) -> ProbeId {
        ProbeId::from(self.id.as_deref().unwrap_or(self.kind.as_str()))
    }

    /// What the engine must know of it.
    pub fn spec(&self) -> ProbeSpec {
        ProbeSpec {
            id: self.probe(),
            role: self.role,
            period: self.period,
            timeout: self.timeout,
            failure_threshold: self.failure_threshold,
            success_threshold: self.success_threshold,
        }
    }

    /// All that is wrong with it; empty if nothing is.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut fatal =
            |field, message: &str| problems.push(Problem { field, message: message.to_owned(), fatal: true });
        if self.probe().as_str() == PROCESS_PROBE {
            fatal("id", "`process` is the implicit probe of a supervised process; choose another");
        }
        if self.probe().as_str().is_empty() {
            fatal("id", "must not be empty");
        }
        if self.period.is_zero() {
            fatal("period", "must be longer than 0s");
        }
        if self.timeout.is_zero() {
            fatal("timeout", "must be longer than 0s");
        }
        if self.failure_threshold == 0 {
            fatal("failure_threshold", "must be at least 1");
        }
        if self.success_threshold == 0 {
            fatal("success_threshold", "must be at least 1");
        }
        if self.expect_status.is_empty() {
            fatal("expect_status", "must name at least one status code or range, such as [200] or [\"200-399\"]");
        }
        let belongs = [
            ("url", self.url.is_some(), Kind::Http),
            ("method", self.method.is_some(), Kind::Http),
            ("headers", !self.headers.is_empty(), Kind::Http),
            ("expect_status", self.expect_status != StatusSet::default(), Kind::Http),
            ("body_status", !self.body_status, Kind::Http),
            ("address", self.address.is_some(), Kind::Tcp),
            ("command", self.command.is_some(), Kind::Exec),
            ("environment", !self.environment.is_empty(), Kind::Exec),
        ];
        for (field, given, kind) in belongs {
            if given && kind != self.kind {
                let (kind, own) = (kind.as_str(), self.kind.as_str());
                fatal(field, &format!("is for kind = \"{kind}\", and this is kind = \"{own}\""));
            }
        }
        match prepared::Plan::new(self) {
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
        problems
    }
}
