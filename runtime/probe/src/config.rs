//! One `[[service.probe]]` table: a probe as the operator configures it.
//!
//! Plain data. It parses no address and checks no rule: [`crate::prepared`] and [`mod@crate::validate`] do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use heald_model::time::text;
use heald_model::{ProbeId, ProbeSpec, Role};
use serde::{Deserialize, Serialize};

use crate::status::StatusSet;

/// How a probe checks the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// An HTTP request.
    Http,
    /// A TCP connection.
    Tcp,
    /// A command that exits with 0.
    Exec,
}

impl ProbeKind {
    /// The word used in configuration, and the id of a probe without one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Exec => "exec",
        }
    }
}

/// A configured probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Unique within the service; by default the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How the probe checks.
    pub kind: ProbeKind,
    /// What the verdict is for.
    #[serde(default)]
    pub role: Role,
    /// http: the URL to request, `http://HOST[:PORT]/PATH`.
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
    /// exec: the environment, in addition to heald's own PATH and HOME. The command gets nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// How often the check is made.
    #[serde(default = "one_second", with = "text")]
    pub period: Duration,
    /// How long one check may take.
    #[serde(default = "half_a_second", with = "text")]
    pub timeout: Duration,
    /// How long after a start the first check is made.
    #[serde(default, with = "text")]
    pub initial_delay: Duration,
    /// How many failures in a row change the verdict.
    #[serde(default = "three")]
    pub failure_threshold: u32,
    /// How many successes in a row change the verdict.
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
/// The kubelet's default.
const fn three() -> u32 {
    3
}
const fn one() -> u32 {
    1
}

/// A setting of a probe that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeProblem {
    /// The field.
    pub field: &'static str,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// False if heald can run with it: only this check fails and says why. Addresses can come from the environment.
    pub fatal: bool,
}

impl fmt::Display for ProbeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl ProbeConfig {
    /// A probe of this kind with the defaults and without a target.
    pub fn new(kind: ProbeKind) -> Self {
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

    /// The id: as configured, else the kind.
    pub fn probe(&self) -> ProbeId {
        ProbeId::from(self.id.as_deref().unwrap_or(self.kind.as_str()))
    }

    /// The probe as the engine knows it.
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
}
