//! Compares what a component exports with what heald calls, and says the difference.
//!
//! It looks at names and at no types: wasmtime checks those. wasmtime would name the first missing function only, and
//! links an empty interface of another version without a word.

use std::collections::BTreeSet;
use std::fmt;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::code::metadata::{Metadata, MetadataError};

/// The names of the contract's interfaces begin with this.
pub(crate) const PACKAGE: &str = "heald:plugin/";

/// How a component breaks the contract.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// What it says of itself cannot be read.
    #[error("{0}; build it again")]
    Metadata(MetadataError),
    /// It exports something else under the name of an interface of the contract.
    #[error("{0} is exported, but is no interface")]
    NoInterface(String),
    /// It exports an interface of the contract without some of its functions.
    #[error("{interface} is exported without {}; {remedy}", .missing.join(", "))]
    Functions {
        /// The interface.
        interface: String,
        /// What is missing, in backticks.
        missing: Vec<String>,
        /// What helps.
        remedy: String,
    },
    /// It exports nothing that heald calls, or only in a version that is not spoken.
    #[error("{exported}; wanted is one of {}", .wanted.join(", "))]
    NotSpoken {
        /// What it exports, and what helps.
        exported: String,
        /// The interfaces that make a component a plug-in.
        wanted: Vec<String>,
    },
    /// It imports capabilities that it does not say it wants, or the reverse.
    #[error(
        "what it says of itself and what it imports disagree: {}; build it with `capabilities` [{}]",
        .problems.join(", and "), .right.join(", ")
    )]
    Capabilities {
        /// Each difference.
        problems: Vec<String>,
        /// What it has to say, in quotes.
        right: Vec<String>,
    },
    /// It exports other roles than it says it has.
    #[error("it says it is a {declared} and exports a {exported}; build it again")]
    Roles {
        /// What it says.
        declared: String,
        /// What it exports.
        exported: String,
    },
}

/// What a plug-in can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginRole {
    /// It turns samples into findings.
    Detector,
    /// It turns an incident into a decision.
    Policy,
    /// It carries out what was permitted.
    Action,
}

impl PluginRole {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Action => "action",
        }
    }

    /// The interface that gives a component this role, without its version.
    const fn interface(self) -> &'static str {
        match self {
            Self::Detector => "heald:plugin/detect",
            Self::Policy => "heald:plugin/decide",
            Self::Action => "heald:plugin/act",
        }
    }
}

/// The interfaces and functions of one version of the contract, by name.
#[derive(Debug)]
pub(crate) struct Contract {
    pub(crate) version: &'static str,
    /// The interfaces that a component may import.
    pub(crate) imports: &'static [&'static str],
    /// The roles that a component may have, with the functions that it must export for each.
    pub(crate) exports: &'static [(PluginRole, &'static [&'static str])],
}

impl Contract {
    /// The name, with its version, of the interface that gives a component this role.
    pub(crate) fn interface(&self, role: PluginRole) -> String {
        format!("{}@{}", role.interface(), self.version)
    }

    /// The roles that a component has in this version. Empty: the component does not speak this version.
    fn roles(&self, shape: &ComponentShape) -> Result<Vec<PluginRole>, ContractError> {
        let mut roles = Vec::new();
        for ComponentExport { name, functions } in &shape.exports {
            let Some((role, wanted)) = self.exports.iter().find(|(role, _)| self.interface(*role) == *name) else {
                continue;
            };
            let functions = functions.as_ref().ok_or_else(|| ContractError::NoInterface(name.clone()))?;
            let missing: Vec<_> =
                wanted.iter().filter(|wanted| !functions.iter().any(|known| known == *wanted)).collect();
            if !missing.is_empty() {
                let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
                let remedy = rebuild(self.version);
                return Err(ContractError::Functions { interface: name.clone(), missing, remedy });
            }
            roles.push(*role);
        }
        Ok(roles)
    }
}

/// Something that speaks one version of the contract.
pub(crate) trait Speaks {
    /// The contract of its version.
    fn contract(&self) -> &'static Contract;
}

/// A version with all three roles, for tests.
#[cfg(test)]
pub(crate) const EXAMPLE: Contract = Contract {
    version: "0.1.0",
    imports: &["log", "types", "kv", "process", "process-control"],
    exports: &[
        (PluginRole::Detector, &["configure", "describe", "evaluate"]),
        (PluginRole::Policy, &["configure", "describe", "decide"]),
        (PluginRole::Action, &["configure", "describe", "check", "perform", "undo"]),
    ],
};

impl fmt::Display for PluginRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The names of what a component imports and exports. The contract is judged by them before any type is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ComponentShape {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<ComponentExport>,
}

/// One export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ComponentExport {
    pub(crate) name: String,
    /// The functions of an interface; None: it is no interface.
    pub(crate) functions: Option<Vec<String>>,
}

impl ComponentShape {
    /// The names in a compiled component.
    pub(crate) fn of(engine: &Engine, component: &Component) -> Self {
        let ty = component.component_type();
        let export = |(name, export): (&str, wasmtime::component::types::ComponentExtern)| {
            let functions = match export.ty {
                ComponentItem::ComponentInstance(instance) => {
                    Some(instance.exports(engine).map(|(function, _)| function.to_owned()).collect())
                }
                _ => None,
            };
            ComponentExport { name: name.to_owned(), functions }
        };
        Self {
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(export).collect(),
        }
    }
}

/// The adapter of the version that a component speaks, and the roles that the component has in it. If a component
/// speaks several versions, the newest counts. The error compares what is wanted with what is there, and says what to
/// do.
pub(crate) fn spoken<A: Speaks + ?Sized>(
    shape: &ComponentShape,
    spoken: &'static [&'static A],
) -> Result<(&'static A, Vec<PluginRole>), ContractError> {
    for adapter in spoken {
        let roles = adapter.contract().roles(shape)?;
        if !roles.is_empty() {
            return Ok((*adapter, roles));
        }
    }
    let newest = spoken.first().map(|adapter| adapter.contract());
    let version = newest.map_or("", |newest| newest.version);
    let exports: Vec<_> = shape.exports.iter().map(|export| export.name.as_str()).collect();
    let exported = match exports.iter().find(|name| name.starts_with(PACKAGE)) {
        Some(other) => {
            let (_, theirs) = other.split_once('@').unwrap_or((other, ""));
            format!("it exports {other}, which is not spoken here: {}", another(theirs, version))
        }
        None if exports.is_empty() => format!("it exports nothing: it is no plug-in; {}", rebuild(version)),
        None => {
            let exports = exports.join(", ");
            format!("it exports {exports}: it is no plug-in, or one for something else; {}", rebuild(version))
        }
    };
    let contracts = spoken.iter().map(|adapter| adapter.contract());
    let wanted =
        contracts.flat_map(|contract| contract.exports.iter().map(|(role, _)| contract.interface(*role))).collect();
    Err(ContractError::NotSpoken { exported, wanted })
}

/// What helps when the exports are not those of the contract.
fn rebuild(version: &str) -> String {
    format!(
        "build it for the world `detector`, `policy` or `action` of heald:plugin@{version} (`heald plugin new` shows how)"
    )
}

/// What helps when a component was built for another version.
pub(crate) fn another(theirs: &str, ours: &str) -> String {
    let order = |version: &str| {
        let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or_default());
        [(); 3].map(|()| numbers.next().unwrap_or_default())
    };
    if order(theirs) > order(ours) {
        format!("it was built for a newer heald; update heald, or build it with an SDK for heald:plugin@{ours}")
    } else {
        format!("it was built for an older contract; build it again with an SDK for heald:plugin@{ours}")
    }
}

/// Whether a component has the roles that it says it has.
pub(crate) fn agree(metadata: &Metadata, roles: &[PluginRole]) -> Result<(), ContractError> {
    let declared: BTreeSet<_> = metadata.roles.iter().map(String::as_str).collect();
    let are: BTreeSet<_> = roles.iter().map(|role| role.as_str()).collect();
    if declared.is_empty() || declared == are {
        return Ok(());
    }
    let list = |roles: BTreeSet<&str>| roles.into_iter().collect::<Vec<_>>().join(" and ");
    Err(ContractError::Roles { declared: list(declared), exported: list(are) })
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Speaks for Contract {
        fn contract(&self) -> &'static Contract {
            &EXAMPLE
        }
    }

    fn shape(imports: &[&str], exports: &[(&str, &[&str])]) -> ComponentShape {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let export = |(name, functions): &(&str, &[&str])| ComponentExport {
            name: (*name).to_owned(),
            functions: Some(owned(functions)),
        };
        ComponentShape { imports: owned(imports), exports: exports.iter().map(export).collect() }
    }

    #[test]
    fn another_world_and_another_version_are_told_apart_with_what_to_do() {
        let judged = |exports: &[(&str, &[&str])]| spoken(&shape(&[], exports), &[&EXAMPLE]).map(|(_, roles)| roles);
        let whole: &[&str] = &["configure", "describe", "decide"];
        assert_eq!(judged(&[("heald:plugin/decide@0.1.0", whole)]).unwrap(), [PluginRole::Policy]);
        for (exports, words) in [
            (vec![("heald:plugin/detect@0.9.0", whole)], ["heald:plugin/detect@0.9.0", "update heald"]),
            (vec![("heald:plugin/detect@0.0.3", whole)], ["heald:plugin/detect@0.0.3", "build it again"]),
            (vec![("a:b/c@1.0.0", whole), ("run", whole)], ["a:b/c@1.0.0, run", "heald plugin new"]),
            (vec![], ["exports nothing", "heald plugin new"]),
            (vec![("heald:plugin/detect@0.1.0", whole)], ["without `evaluate`", "heald:plugin@0.1.0"]),
        ] {
            let problem = judged(&exports).unwrap_err().to_string();
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
    }
}
