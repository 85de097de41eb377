//! Names and ids. Names are the operator's words; ids are UUIDv7, made by a port so that a simulation can repeat them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// A watched service. `plugin:NAME` is heald's own service for the plug-in NAME; an operator's name has no colon.
    ServiceName
}
name! {
    /// A probe, unique within its service.
    ProbeId
}
/// The id of the implicit probe that every supervised process has. No configured probe may use it.
pub const PROCESS_PROBE: &str = "process";

name! {
    /// One of several copies of a service: `"0"`, `"1"`, ...
    Replica
}
name! {
    /// A configured plug-in.
    PluginName
}
name! {
    /// What is learned about: `condition` or `condition/subject`, never a number or a time.
    Signature
}

impl ServiceName {
    /// The name under which faults of a plug-in are incidents.
    pub fn of_plugin(plugin: &PluginName) -> Self {
        Self::from(format!("plugin:{plugin}"))
    }

    /// The plug-in behind the name, if it is one of heald's own.
    pub fn plugin(&self) -> Option<&str> {
        self.0.strip_prefix("plugin:")
    }
}

impl Signature {
    /// The signature of a finding.
    pub fn new(condition: &str, subject: Option<&str>) -> Self {
        match subject {
            Some(subject) => Self::from(format!("{condition}/{subject}")),
            None => Self::from(condition),
        }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id! {
    /// An incident.
    IncidentId
}
id! {
    /// One attempt at an action: the id of its intent, and the idempotency key of its effect.
    IntentId
}
