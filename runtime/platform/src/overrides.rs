//! Decisions about plug-ins that override the configuration: an operator disabled one, a canary was rolled back or promoted, a grant was
//! revoked. They are in a small file beside the journal, so that they outlive a restart and the loss of the journal.
//!
//! A promotion or a roll-back holds for one version: another digest under the same name starts without it. A disabled plug-in and a
//! revoked grant hold for the name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use heald_model::{Moment, PluginName};
use serde::{Deserialize, Serialize};

/// The version of the file's format.
const VERSION: u32 = 1;

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
        (decided.word == OverrideKind::Disabled || decided.digest == digest).then_some(decided.word)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideDocument {
    version: u32,
    plugins: BTreeMap<PluginName, PluginOverride>,
}

/// The file of overrides.
#[derive(Clone, Debug)]
pub(crate) struct OverrideFile {
    path: PathBuf,
}

impl OverrideFile {
    /// Reads the file, if there is one. A file that cannot be read is moved aside, and the note says so: every plug-in is then used as it
    /// is configured.
    pub(crate) fn open(path: PathBuf) -> (Self, BTreeMap<PluginName, PluginOverride>, Option<String>) {
        match read(&path) {
            Ok(plugins) => (Self { path }, plugins, None),
            Err(why) => {
                let aside = path.with_extension("unreadable");
                let moved =
                    std::fs::rename(&path, &aside).map_or_else(|error| error.to_string(), |()| "moved aside".into());
                let note = format!(
                    "the decisions about plug-ins in {} cannot be read ({why}; {moved}); all plug-ins are used as they are configured",
                    path.display()
                );
                (Self { path }, BTreeMap::new(), Some(note))
            }
        }
    }

    /// Writes the overrides of all plug-ins, durably before it returns. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, plugins: BTreeMap<PluginName, PluginOverride>) -> std::io::Result<()> {
        let plugins =
            plugins.into_iter().filter(|(_, plugin_override)| *plugin_override != PluginOverride::default()).collect();
        let mut text = serde_json::to_vec_pretty(&OverrideDocument { version: VERSION, plugins })?;
        text.push(b'\n');
        heald_store::replace_file(&self.path, &text)
    }
}

fn read(path: &Path) -> Result<BTreeMap<PluginName, PluginOverride>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let document: OverrideDocument = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match document.version {
        VERSION => Ok(document.plugins),
        newer => Err(format!("it has version {newer}, this heald knows version {VERSION}")),
    }
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

    #[test]
    fn it_holds_after_a_restart_and_a_broken_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heald.plugins.json");
        let (file, plugins, note) = OverrideFile::open(path.clone());
        assert!(plugins.is_empty() && note.is_none());
        let name = PluginName::from("next");
        file.write(BTreeMap::from([
            (name.clone(), decided(OverrideKind::Disabled)),
            ("same".into(), PluginOverride::default()),
        ]))
        .unwrap();
        let (_, plugins, _) = OverrideFile::open(path.clone());
        assert_eq!(plugins, BTreeMap::from([(name, decided(OverrideKind::Disabled))]));
        std::fs::write(&path, "{").unwrap();
        let (_, plugins, note) = OverrideFile::open(path.clone());
        assert!(plugins.is_empty() && note.unwrap().contains("cannot be read"));
        assert!(!path.exists() && path.with_extension("unreadable").exists());
    }
}
