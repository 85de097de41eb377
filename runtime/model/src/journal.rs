//! The append-only record. Incidents, catalog, audit, replay and the event stream are all derived from it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::action::{Ending, Intent, Proof, Receipt};
use crate::decision::{Decision, Ruling};
use crate::finding::Concern;
use crate::id::{IncidentId, IntentId, PluginName, Replica, ServiceName, Signature};
use crate::plugin::{Fault, PluginRef, Source};
use crate::service::{Breaker, Desired, Health};
use crate::stage::Stage;
use crate::time::Moment;

/// The version of [`Record`]'s schema, written beside each row.
pub const SCHEMA: u32 = 1;

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// The runtime came up.
    Started {
        /// heald's version.
        version: String,
        /// What it found: survivors, unsettled intents, a set-aside database.
        notes: Vec<String>,
    },
    /// The runtime went down in order.
    Stopped,
    /// A new incident, or one that came back within ten minutes.
    Opened {
        /// Its condition.
        condition: String,
        /// What led to it.
        concern: Concern,
        /// The incident that explains it.
        parent: Option<IncidentId>,
        /// How often it came back so far; 0: new.
        reopened: u32,
    },
    /// A finding came or changed noticeably (severity, subject, message).
    Concerned {
        /// As it is now.
        concern: Concern,
    },
    /// A finding is over.
    Cleared {
        /// Its condition.
        condition: String,
        /// Its subject.
        subject: Option<String>,
    },
    /// A policy answered.
    Decided {
        /// What.
        decision: Decision,
    },
    /// The guard judged. Written when it changes.
    Ruled {
        /// What was asked for.
        action: String,
        /// Its word.
        ruling: Ruling,
    },
    /// An admitted action, on record before its effect.
    Intended {
        /// What is about to be done.
        intent: Intent,
    },
    /// The action claims to have been done.
    Performed {
        /// Which attempt.
        intent: IntentId,
        /// Its claim.
        receipt: Receipt,
    },
    /// The probes were heard.
    Proved {
        /// Which attempt.
        intent: IntentId,
        /// What they saw.
        proof: Proof,
    },
    /// The attempt was taken back.
    Undone {
        /// Which attempt.
        intent: IntentId,
        /// What was done.
        summary: String,
    },
    /// The attempt is over.
    Settled {
        /// Which attempt.
        intent: IntentId,
        /// How it ended.
        ending: Ending,
    },
    /// What an attempt had healed came back within a short while: its success was none.
    Relapsed {
        /// Which attempt.
        intent: IntentId,
        /// Against what.
        signature: Signature,
        /// On which copy; None: on all of them.
        instance: Option<Replica>,
    },
    /// A dependency of the service serves again: what held back its restores is forgotten.
    DependencyReturned {
        /// Which.
        dependency: ServiceName,
    },
    /// The incident moved on.
    Staged {
        /// To where.
        stage: Stage,
        /// Why.
        why: String,
    },
    /// A plug-in failed a call about a service (or its loading, without one).
    PluginFaulted {
        /// Which.
        plugin: PluginRef,
        /// About which service.
        about: Option<ServiceName>,
        /// What went wrong.
        fault: Fault,
        /// Failures in a row so far.
        strikes: u32,
        /// Rested until then, if it now is.
        rested_until: Option<Moment>,
    },
    /// A plug-in answered well again after having been rested.
    PluginRecovered {
        /// Which.
        plugin: PluginName,
        /// About which service.
        about: Option<ServiceName>,
    },
    /// What a plug-in that is only watched (a shadow) or replaced (by a canary) would have done instead.
    Shadowed {
        /// Which.
        plugin: PluginRef,
        /// What it would have done.
        would: String,
        /// What was done.
        did: String,
        /// Who said that.
        by: Source,
        /// Whether the two are the same in what matters.
        agrees: bool,
    },
    /// A plug-in was taken into use or out of it.
    PluginMoved {
        /// Which.
        plugin: PluginRef,
        /// To where: loaded, reloaded, refused, unloaded, enabled, disabled, promoted, rolled-back, revoked.
        to: String,
        /// Who: an operator's name, `folder`, or `heald`.
        by: String,
        /// Why, or what.
        why: String,
    },
    /// A service's health changed.
    HealthChanged {
        /// From.
        from: Health,
        /// To.
        to: Health,
        /// The check's message.
        why: Option<String>,
    },
    /// A circuit moved.
    BreakerMoved {
        /// From.
        from: Breaker,
        /// To.
        to: Breaker,
        /// Why.
        why: String,
    },
    /// A supervised process started.
    ProcessStarted {
        /// Which copy.
        replica: Replica,
        /// Which life of it.
        incarnation: u64,
        /// Its process id.
        pid: u32,
    },
    /// A supervised process ended.
    ProcessExited {
        /// Which copy.
        replica: Replica,
        /// Which life of it.
        incarnation: u64,
        /// Its process id.
        pid: u32,
        /// Exit code, or a signal as its negative; None: not known (an adopted process).
        status: Option<i32>,
        /// True if heald stopped it itself.
        wanted: bool,
    },
    /// The operator changed what is wanted.
    DesiredChanged {
        /// To what.
        desired: Desired,
        /// Who.
        by: String,
    },
    /// The operator cleared back-off, start limit and exhausted attempts.
    Reset {
        /// Who.
        by: String,
    },
    /// Something worth saying.
    Note {
        /// It.
        text: String,
    },
}

impl Record {
    /// The record's kind as it is written and as the event stream names it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped => "stopped",
            Self::Opened { .. } => "opened",
            Self::Concerned { .. } => "concerned",
            Self::Cleared { .. } => "cleared",
            Self::Decided { .. } => "decided",
            Self::Ruled { .. } => "ruled",
            Self::Intended { .. } => "intended",
            Self::Performed { .. } => "performed",
            Self::Proved { .. } => "proved",
            Self::Undone { .. } => "undone",
            Self::Settled { .. } => "settled",
            Self::Relapsed { .. } => "relapsed",
            Self::DependencyReturned { .. } => "dependency-returned",
            Self::Staged { .. } => "staged",
            Self::PluginFaulted { .. } => "plugin-faulted",
            Self::PluginRecovered { .. } => "plugin-recovered",
            Self::Shadowed { .. } => "shadowed",
            Self::PluginMoved { .. } => "plugin-moved",
            Self::HealthChanged { .. } => "health-changed",
            Self::BreakerMoved { .. } => "breaker-moved",
            Self::ProcessStarted { .. } => "process-started",
            Self::ProcessExited { .. } => "process-exited",
            Self::DesiredChanged { .. } => "desired-changed",
            Self::Reset { .. } => "reset",
            Self::Note { .. } => "note",
        }
    }
}

/// One record with what it is about: what is handed to the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Moment,
    /// About which service, if one.
    pub service: Option<ServiceName>,
    /// In which incident, if one.
    pub incident: Option<IncidentId>,
    /// What.
    pub record: Record,
}

impl Entry {
    /// About heald itself.
    pub fn of_heald(at: Moment, record: Record) -> Self {
        Self { at, service: None, incident: None, record }
    }

    /// About a service.
    pub fn of_service(at: Moment, service: ServiceName, record: Record) -> Self {
        Self { at, service: Some(service), incident: None, record }
    }

    /// In an incident.
    pub fn of_incident(at: Moment, service: ServiceName, incident: IncidentId, record: Record) -> Self {
        Self { at, service: Some(service), incident: Some(incident), record }
    }
}

/// An entry as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its place; also the event stream's Last-Event-ID.
    pub seq: u64,
    /// Which node wrote it.
    pub node: String,
    /// Which lease of that node; 0 alone.
    pub epoch: u64,
    /// Whose.
    pub tenant: String,
    /// The version of the record's schema.
    pub schema: u32,
    /// Nanoseconds of CLOCK_MONOTONIC, comparable within one boot.
    pub mono: u64,
    /// Which boot of the machine.
    pub boot: Uuid,
    /// What was written.
    #[serde(flatten)]
    pub entry: Entry,
}

/// Why the journal did not take or give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk or the database refused.
    #[error("the journal cannot be used: {0}")]
    Unavailable(String),
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
}
