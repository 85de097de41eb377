//! Compares what a component imports and exports with what heald offers and calls, and says the difference.
//!
//! wasmtime would find most of it, later and in other words: it names the first missing function, not the capability, and
//! links an empty interface of another version without a murmur.

use std::fmt;

use heald_model::PluginName;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::config::Grant;
use crate::error::HostError;

/// The package and the one version of it that is spoken here.
const PACKAGE: &str = "heald:plugin/";
const VERSION: &str = "0.1.0";

/// What a plug-in can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// From samples to findings.
    Detector,
    /// From an incident to a decision.
    Policy,
    /// From a permit to a deed.
    Action,
}

impl Role {
    const ALL: [Self; 3] = [Self::Detector, Self::Policy, Self::Action];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Action => "action",
        }
    }

    /// The interface that makes a component one.
    pub(crate) const fn interface(self) -> &'static str {
        match self {
            Self::Detector => "heald:plugin/detect@0.1.0",
            Self::Policy => "heald:plugin/decide@0.1.0",
            Self::Action => "heald:plugin/act@0.1.0",
        }
    }

    const fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Detector => &["configure", "describe", "evaluate"],
            Self::Policy => &["configure", "describe", "decide"],
            Self::Action => &["configure", "describe", "check", "perform", "undo"],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The roles that a component has, by its exports.
pub(crate) fn roles(engine: &Engine, plugin: &PluginName, component: &Component) -> Result<Vec<Role>, HostError> {
    let broken = |problem| HostError::Contract { plugin: plugin.clone(), problem };
    let ty = component.component_type();
    let mut roles = Vec::new();
    let mut exports = Vec::new();
    for (name, export) in ty.exports(engine) {
        if let Some(role) = Role::ALL.into_iter().find(|role| role.interface() == name) {
            let ComponentItem::ComponentInstance(instance) = export.ty else {
                return Err(broken(format!("{name} is exported, but is no interface")));
            };
            let missing: Vec<_> =
                role.functions().iter().filter(|function| instance.get_export(engine, function).is_none()).collect();
            if !missing.is_empty() {
                let missing: Vec<_> = missing.into_iter().map(|name| format!("`{name}`")).collect();
                return Err(broken(format!("{name} is exported without {}", missing.join(", "))));
            }
            roles.push(role);
        }
        exports.push(name.to_owned());
    }
    if !roles.is_empty() {
        return Ok(roles);
    }
    let wanted = Role::ALL.map(Role::interface).join(", ");
    Err(broken(match exports.iter().find(|name| name.starts_with(PACKAGE)) {
        Some(other) => format!("it exports {other}, which is not spoken here; wanted is one of {wanted}"),
        None if exports.is_empty() => format!("it exports nothing; wanted is one of {wanted}"),
        None => format!("it exports {}; wanted is one of {wanted}", exports.join(", ")),
    }))
}

/// Whether any of WASI has to be linked; an error names every import that is refused, and what would allow it.
pub(crate) fn imports(
    engine: &Engine,
    plugin: &PluginName,
    component: &Component,
    grant: &Grant,
) -> Result<bool, HostError> {
    let mut wasi = false;
    let mut refused = Vec::new();
    for (name, _) in component.component_type().imports(engine) {
        match judge(name, grant) {
            Ok(is_wasi) => wasi |= is_wasi,
            Err(why) => refused.push(format!("{name} ({why})")),
        }
    }
    if refused.is_empty() { Ok(wasi) } else { Err(HostError::Imports { plugin: plugin.clone(), refused }) }
}

/// True if it may be linked and is of WASI.
fn judge(import: &str, grant: &Grant) -> Result<bool, String> {
    let (interface, version) = import.split_once('@').unwrap_or((import, ""));
    if let Some(interface) = interface.strip_prefix(PACKAGE) {
        return match interface {
            _ if version != VERSION => Err(format!("this heald speaks {PACKAGE}{interface}@{VERSION}")),
            "log" | "types" => Ok(false),
            _ => Err("this heald does not offer it".to_owned()),
        };
    }
    let Some(interface) = interface.strip_prefix("wasi:") else {
        return Err("this heald does not know it".to_owned());
    };
    if version != "0.2" && !version.starts_with("0.2.") {
        return Err("this heald offers WASI 0.2".to_owned());
    }
    match interface.split_once('/').unwrap_or((interface, "")) {
        ("io" | "cli" | "random", _) | ("clocks", "wall-clock" | "monotonic-clock") => Ok(true),
        ("filesystem", _) if grant.files.is_some() => Ok(true),
        ("filesystem", _) => Err("not granted; `grant.files = [\"/a/directory\"]` in its [[plugin]] table grants a \
                                  directory, `grant.files = []` the interface without any"
            .to_owned()),
        _ => Err("this heald does not offer it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_may_be_imported() {
        let none = Grant::default();
        let files = Grant { files: Some(Vec::new()), ..Grant::default() };
        for free in ["heald:plugin/log@0.1.0", "heald:plugin/types@0.1.0"] {
            assert_eq!(judge(free, &none), Ok(false));
        }
        for sealed in
            ["wasi:io/poll@0.2.6", "wasi:cli/stdout@0.2.0", "wasi:clocks/wall-clock@0.2.9", "wasi:random/random@0.2.3"]
        {
            assert_eq!(judge(sealed, &none), Ok(true), "{sealed}");
        }
        assert_eq!(judge("wasi:filesystem/types@0.2.6", &files), Ok(true));
        for refused in [
            "wasi:filesystem/types@0.2.6",
            "wasi:sockets/tcp@0.2.6",
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:io/poll@0.3.0",
            "heald:plugin/kv@0.1.0",
            "heald:plugin/log@0.2.0",
            "heald:plugin/log",
            "env",
        ] {
            assert!(judge(refused, &none).is_err(), "{refused}");
        }
    }
}
