//! Decisions about plug-ins that override the configuration: an operator disabled one, a canary was rolled back or promoted, a grant was
//! revoked. They are in a small file beside the journal, so that they outlive a restart and the loss of the journal.
//!
//! A promotion or a roll-back holds for one version: another digest under the same name starts without it. A disabled plug-in and a
//! revoked grant hold for the name.
//!
//! When the file cannot be read, nobody knows what was decided, so nothing is taken to be allowed: a plug-in is withheld until an operator
//! decides about it. The built-in ones are used, because heald needs them to judge, but without their grants; one that was disabled, as far
//! as the journal or the rest of the file tells, is withheld too. The broken file stays until the next decision and is then set aside. The
//! new file says that earlier decisions are unknown, so that a restart allows nothing either.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use heald_host::{Capability, Grant, PluginConfig};
use heald_model::{Entry, Moment, PluginName, Record};
use heald_store::{read_file, replace_file, set_aside};
use serde::{Deserialize, Serialize};

/// The version of the file's format.
const VERSION: u32 = 1;
/// The most that is read of the file. A hundred plug-ins take 30 KB.
const LIMIT: u64 = 4 << 20;

/// What a decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OverrideKind {
    /// An operator disabled the plug-in.
    Disabled,
    /// The plug-in counts everywhere and replaces the one it was compared with.
    Promoted,
    /// heald rolled the canary back: it failed or disagreed too often.
    RolledBack,
    /// What was decided about it is unknown: it stays out until an operator decides.
    Withheld,
}

/// A decision about a plug-in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// What it says.
    pub word: OverrideKind,
    /// The digest of the version it is about.
    pub digest: String,
    /// Who decided.
    pub by: String,
    /// When it was decided.
    pub at: Moment,
    /// The reason.
    pub why: String,
}

/// The decisions that override a plug-in's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginOverride {
    /// The last decision; None: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// The capabilities that were revoked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked: BTreeSet<String>,
}

impl PluginOverride {
    /// The decision that holds for this version.
    pub fn word(&self, digest: &str) -> Option<OverrideKind> {
        let decided = self.decided.as_ref()?;
        let of_the_name = matches!(decided.word, OverrideKind::Disabled | OverrideKind::Withheld);
        (of_the_name || decided.digest == digest).then_some(decided.word)
    }

    /// Why it stays out although nobody decided that.
    pub fn withheld(&self) -> Option<String> {
        let decided = self.decided.as_ref().filter(|decided| decided.word == OverrideKind::Withheld)?;
        Some(decided.why.clone())
    }
}

/// Why earlier decisions are unknown, and what is known of them all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unknown {
    /// Why the file could not be read.
    why: String,
    /// The plug-ins that something was decided about, as far as the journal or the rest of the file tells.
    named: BTreeSet<PluginName>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideDocument {
    version: u32,
    plugins: BTreeMap<PluginName, PluginOverride>,
    /// Decisions before these are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unknown: Option<Unknown>,
}

/// Every decision that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    plugins: BTreeMap<PluginName, PluginOverride>,
    unknown: Option<Unknown>,
}

impl Overrides {
    /// What was decided about the plug-in of this table. It holds also while the plug-in's file is away.
    pub(crate) fn of(&self, table: &PluginConfig) -> PluginOverride {
        let name = &table.name;
        if let Some(known) = self.plugins.get(name) {
            return known.clone();
        }
        let Some(unknown) = &self.unknown else { return PluginOverride::default() };
        let built_in = table.component.starts_with("builtin:");
        let why = format!(
            "what was decided about it is unknown ({}); it stays out until an operator decides: `heald plugin enable {name}` takes it into use",
            unknown.why
        );
        let withheld =
            Decided { word: OverrideKind::Withheld, digest: String::new(), by: "heald".into(), at: Moment::EPOCH, why };
        let nothing_granted = table.grant == Grant::default();
        PluginOverride {
            decided: (!built_in || unknown.named.contains(name)).then_some(withheld),
            revoked: match nothing_granted {
                true => BTreeSet::new(),
                false => Capability::ALL.iter().map(|capability| capability.as_str().to_owned()).collect(),
            },
        }
    }

    /// Notes a decision.
    pub(crate) fn set(&mut self, name: PluginName, decided: PluginOverride) {
        // While earlier decisions are unknown, "as it is configured" is a decision too.
        if decided == PluginOverride::default() && self.unknown.is_none() {
            self.plugins.remove(&name);
        } else {
            self.plugins.insert(name, decided);
        }
    }

    /// Why earlier decisions are unknown.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.as_ref().map(|unknown| unknown.why.as_str())
    }

    /// Takes from the journal which plug-ins were taken out, if the file does not say.
    pub(crate) fn recall(&mut self, moves: &[Entry]) {
        let Some(unknown) = &mut self.unknown else { return };
        for entry in moves {
            let Record::PluginMoved { plugin, to, .. } = &entry.record else { continue };
            match to.as_str() {
                "disabled" | "rolled-back" => unknown.named.insert(plugin.name.clone()),
                "enabled" => unknown.named.remove(&plugin.name),
                _ => false,
            };
        }
    }
}

/// The file of overrides.
#[derive(Clone, Debug)]
pub(crate) struct OverrideFile {
    path: PathBuf,
    /// True while the present file cannot be read. Held while the file is written, so that the last decision is written last.
    broken: Arc<Mutex<bool>>,
}

impl OverrideFile {
    /// Reads the file, if there is one. The note says that it cannot be read, or that an earlier one could not. Reading changes nothing.
    pub(crate) fn open(path: PathBuf) -> (Self, Overrides, Option<String>) {
        let (overrides, broken) = match read(&path) {
            Ok(overrides) => (overrides, false),
            Err(Unreadable { why, named }) => {
                (Overrides { plugins: BTreeMap::new(), unknown: Some(Unknown { why, named }) }, true)
            }
        };
        let note = overrides.unknown.as_ref().map(|unknown| {
            let which = if broken { "cannot be read" } else { "could not be read once" };
            format!(
                "the decisions about plug-ins in {} {which} ({}): until an operator decides about a plug-in, it is not used, and a built-in one is used without its grants",
                path.display(),
                unknown.why
            )
        });
        (Self { path, broken: Arc::new(Mutex::new(broken)) }, overrides, note)
    }

    /// True while the present file cannot be read.
    pub(crate) fn is_broken(&self) -> bool {
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which a broken file has its incident.
    pub(crate) fn name(&self) -> PluginName {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        PluginName::from(name)
    }

    /// Writes the overrides of all plug-ins, durably before it returns. Blocks for some milliseconds. A file that cannot be read is set
    /// aside first.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, overrides: &Overrides) -> io::Result<()> {
        let Overrides { plugins, unknown } = overrides.clone();
        let mut text = serde_json::to_vec_pretty(&OverrideDocument { version: VERSION, plugins, unknown })?;
        text.push(b'\n');
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if *broken {
            match set_aside(&self.path) {
                // Somebody else took it away.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => *broken = false,
            }
        }
        replace_file(&self.path, &text)
    }
}

/// Why a file cannot be read, and the plug-ins that it names.
struct Unreadable {
    why: String,
    named: BTreeSet<PluginName>,
}

fn read(path: &Path) -> Result<Overrides, Unreadable> {
    let unreadable = |why: String, rest: &[u8]| Unreadable { why, named: named(&String::from_utf8_lossy(rest)) };
    let text = match read_file(path, LIMIT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overrides::default()),
        Err(error) => return Err(unreadable(error.to_string(), &[])),
    };
    let document: OverrideDocument =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string(), &text))?;
    match document.version {
        VERSION => Ok(Overrides { plugins: document.plugins, unknown: document.unknown }),
        newer => Err(unreadable(format!("it has version {newer}, this heald knows version {VERSION}"), &text)),
    }
}

/// The keys of objects in what is left of a file. Some are no plug-ins; naming too many withholds too much, which is safe.
fn named(rest: &str) -> BTreeSet<PluginName> {
    let parts: Vec<&str> = rest.split('"').collect();
    let is_object =
        |after: &str| after.trim_start().strip_prefix(':').is_some_and(|value| value.trim().starts_with('{'));
    parts
        .windows(2)
        .filter(|pair| pair.last().is_some_and(|after| is_object(after)))
        .filter_map(|pair| pair.first())
        .map(|name| PluginName::from(*name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(word: OverrideKind) -> PluginOverride {
        let decided =
            Decided { word, digest: "d1".into(), by: "op".into(), at: Moment::from_millis(1), why: "x".into() };
        PluginOverride { decided: Some(decided), ..PluginOverride::default() }
    }

    #[test]
    fn another_version_gets_a_new_chance_unless_an_operator_disabled_it() {
        assert_eq!(decided(OverrideKind::RolledBack).word("d1"), Some(OverrideKind::RolledBack));
        assert_eq!(decided(OverrideKind::RolledBack).word("d2"), None);
        assert_eq!(decided(OverrideKind::Promoted).word("d2"), None);
        assert_eq!(decided(OverrideKind::Disabled).word("d2"), Some(OverrideKind::Disabled));
    }

    fn table(name: &str, component: &str, grant: &str) -> PluginConfig {
        toml::from_str(&format!("name = \"{name}\"\ncomponent = \"{component}\"\ngrant = {grant}")).unwrap()
    }

    fn of(overrides: &Overrides, name: &str, component: &str) -> PluginOverride {
        overrides.of(&table(name, component, "{ kv = true }"))
    }

    #[test]
    fn decisions_hold_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heald.plugins.json");
        let (file, mut overrides, note) = OverrideFile::open(path.clone());
        assert!(note.is_none() && of(&overrides, "next", "next.wasm") == PluginOverride::default());
        overrides.set("next".into(), decided(OverrideKind::Disabled));
        overrides.set("same".into(), PluginOverride::default());
        file.write(&overrides).unwrap();
        let (_, overrides, note) = OverrideFile::open(path.clone());
        assert_eq!(of(&overrides, "next", "next.wasm"), decided(OverrideKind::Disabled));
        assert!(note.is_none() && !std::fs::read_to_string(path).unwrap().contains("same"));
    }

    #[test]
    fn a_file_that_is_cut_short_at_any_byte_lets_nothing_in_that_was_disabled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heald.plugins.json");
        let (file, mut overrides, _) = OverrideFile::open(path.clone());
        overrides.set("next".into(), decided(OverrideKind::Disabled));
        overrides.set("rules".into(), decided(OverrideKind::Disabled));
        file.write(&overrides).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() - 2 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (file, overrides, note) = OverrideFile::open(path.clone());
            assert!(file.is_broken() && note.unwrap().contains("cannot be read"), "{length}");
            let next = of(&overrides, "next", "/x/next.wasm");
            assert_eq!(next.word("any"), Some(OverrideKind::Withheld), "{length}");
            assert!(next.revoked.contains("http") && next.withheld().unwrap().contains("heald plugin enable next"));
            // One that is built in is used, but not with what may have been revoked.
            let other = of(&overrides, "availability", "builtin:detect-availability");
            assert!(other.decided.is_none() && other.revoked.contains("kv"), "{length}");
            // What is left of the file names it.
            if whole[..length].ends_with(b"\"rules\": {") {
                assert_eq!(of(&overrides, "rules", "builtin:decide-rules").word(""), Some(OverrideKind::Withheld));
            }
            assert_eq!(std::fs::read(&path).unwrap(), &whole[..length], "looking changes nothing");
        }
    }

    #[test]
    fn the_journal_tells_which_built_in_plugins_were_disabled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heald.plugins.json");
        std::fs::write(&path, "").unwrap();
        let (_, mut overrides, _) = OverrideFile::open(path);
        let moved = |name: &str, to: &str| {
            let plugin = crate::registry::nameless(&name.into());
            let (to, by, why) = (to.to_owned(), "op".to_owned(), String::new());
            Entry::of_heald(Moment::EPOCH, Record::PluginMoved { plugin, to, by, why })
        };
        overrides.recall(&[moved("rules", "disabled"), moved("a", "disabled"), moved("a", "enabled")]);
        assert_eq!(of(&overrides, "rules", "builtin:decide-rules").word(""), Some(OverrideKind::Withheld));
        assert_eq!(of(&overrides, "a", "builtin:a").word(""), None);
    }

    #[test]
    fn after_a_broken_file_only_what_was_decided_anew_is_let_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heald.plugins.json");
        std::fs::write(&path, "{").unwrap();
        let (file, mut overrides, _) = OverrideFile::open(path.clone());
        overrides.set("next".into(), PluginOverride::default());
        file.write(&overrides).unwrap();
        assert!(!file.is_broken());
        let names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".unreadable-"))
            .collect();
        assert_eq!(std::fs::read_to_string(folder.path().join(&names[0])).unwrap(), "{", "set aside: {names:?}");
        let (file, overrides, note) = OverrideFile::open(path);
        assert!(!file.is_broken() && note.unwrap().contains("could not be read once"));
        assert_eq!(of(&overrides, "next", "next.wasm"), PluginOverride::default());
        assert_eq!(of(&overrides, "other", "other.wasm").word(""), Some(OverrideKind::Withheld));
    }
}
