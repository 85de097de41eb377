//! The watched folder: heald loads a component that is put there, replaces one that changes, and unloads one that is removed.
//!
//! `NAME.wasm` is a plug-in of that name. `NAME.toml` beside it, if there is one, is its `[[plugin]]` table; `services = [...]` in it names
//! the services that the plug-in serves. heald reads a file only when it has not changed for a moment, so that a file that is still
//! being copied is not taken for a broken one. heald scans the folder twice a second: that works on every file system, for moved files,
//! and for the links of a mounted configuration map.
//!
//! What is not a regular file (a FIFO, a device) or is too large is refused with an incident about the plug-in, and is not opened. A folder
//! that does not answer holds up nothing: its plug-ins come when it answers.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use heald_host::PluginConfig;
use heald_model::{Fault, FaultCause, PluginName, ServiceName};
use serde::Deserialize;

use super::Platform;
use crate::overrides::PluginOverride;
use crate::registry::nameless;
use crate::registry::{PluginOrigin, PluginRegistry, RegisteredPlugin};

/// The period of the scans; also how long a file must stay unchanged.
const PERIOD: Duration = Duration::from_millis(500);
/// The longest that the start waits for the folder, which may be on a network that does not answer.
const SCAN: Duration = Duration::from_secs(3);
/// The most that is read of a `NAME.toml`.
const TABLE_LIMIT: u64 = 1 << 20;

/// A plug-in of the folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Dropped {
    pub(super) table: PluginConfig,
    file: PathBuf,
    services: Option<Vec<ServiceName>>,
    /// Why its `NAME.toml` cannot be read, or why its component is no file.
    pub(super) problem: Option<String>,
}

impl Dropped {
    pub(super) fn register(self, plugin_override: PluginOverride) -> RegisteredPlugin {
        let services = self.services.map(|services| services.into_iter().collect());
        // What stays out in any case need not be repaired first.
        let why = plugin_override.withheld().or(self.problem);
        RegisteredPlugin {
            services,
            why,
            ..RegisteredPlugin::new(self.table, PluginOrigin::Folder { file: self.file }, plugin_override)
        }
    }
}

/// What a `NAME.toml` may say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Beside {
    services: Option<Vec<ServiceName>>,
    #[serde(flatten)]
    table: toml::Table,
}

/// Differs when a file changes: its size, the time of its last write, and its inode.
type Stamp = (u64, i64, i64, u64);

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.size(), metadata.mtime(), metadata.mtime_nsec(), metadata.ino())
}

/// The stamps of a component and of what is beside it.
pub(super) type Stamps = BTreeMap<PathBuf, (Stamp, Option<Stamp>)>;

fn stamps(folder: &Path) -> std::io::Result<Stamps> {
    let mut found = Stamps::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden || path.extension().is_none_or(|ending| ending != "wasm") {
            continue;
        }
        // A file that vanished since the listing is skipped.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        let beside = std::fs::metadata(path.with_extension("toml")).ok();
        found.insert(path, (stamp(&metadata), beside.as_ref().map(stamp)));
    }
    Ok(found)
}

/// The plug-ins of the folder, and the stamps by which a change is noticed.
pub(super) async fn scan(folder: Option<PathBuf>) -> (Stamps, Vec<Dropped>) {
    let Some(folder) = folder else { return Default::default() };
    let looking = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || {
            let found = stamps(&folder)?;
            let dropped = found.keys().filter_map(|path| read(path)).collect();
            Ok::<_, std::io::Error>((found, dropped))
        })
    };
    let why = match tokio::time::timeout(SCAN, looking).await {
        Ok(Ok(Ok(found))) => return found,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it does not answer; its plug-ins are loaded when it does".into(),
    };
    tracing::error!(folder = %folder.display(), "the folder of plug-ins cannot be read: {why}");
    Default::default()
}

fn read(path: &Path) -> Option<Dropped> {
    let name = path.file_stem()?.to_str()?;
    let beside = path.with_extension("toml");
    let broken = |why: String| format!("{}: {why}", beside.display());
    let said = match heald_store::read_text(&beside, TABLE_LIMIT) {
        Ok(text) => toml::from_str(&text).map_err(|error| broken(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Beside::default()),
        Err(error) => Err(broken(error.to_string())),
    };
    let whole = |said: Beside| {
        let table = table(name, path, said.table).map_err(|error| broken(error.to_string()))?;
        // The host looks again when it reads the component; here nothing is opened.
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let problem = (!is_file).then(|| format!("{}: it is not a regular file", path.display()));
        Ok(Dropped { table, file: path.to_owned(), services: said.services, problem })
    };
    let file = path.to_owned();
    said.and_then(whole)
        .or_else(|why: String| {
            let table = table(name, path, toml::Table::new())?;
            Ok::<_, toml::de::Error>(Dropped { table, file, services: None, problem: Some(why) })
        })
        .ok()
}

fn table(name: &str, path: &Path, mut said: toml::Table) -> Result<PluginConfig, toml::de::Error> {
    said.insert("name".into(), name.into());
    said.insert("component".into(), path.display().to_string().into());
    said.try_into()
}

/// The first problem of a trial's settings, as `heald config check` finds it in a configuration.
fn trial_problem(table: &PluginConfig, registry: &PluginRegistry) -> Option<String> {
    if let Some((field, message)) = table.trial_problems().into_iter().next() {
        return Some(format!("{}: {message}", field.join(".")));
    }
    let other = table.instead_of.as_ref().filter(|other| !registry.contains_key(*other))?;
    Some(format!("instead_of: no plug-in is named `{other}`"))
}

impl Platform {
    /// Follows the folder for as long as heald runs.
    pub(super) async fn watch(self: Arc<Self>, folder: PathBuf) {
        let mut known: Stamps = self.scanned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut before = known.clone();
        let mut unreadable = false;
        loop {
            tokio::time::sleep(PERIOD).await;
            let looked = {
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || stamps(&folder)).await
            };
            let now = match looked {
                Ok(Ok(now)) => now,
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        tracing::error!(folder = %folder.display(), "the folder of plug-ins cannot be read: {error}; what is loaded stays");
                    }
                    continue;
                }
                Err(_) => continue,
            };
            unreadable = false;
            for (path, stamp) in &now {
                // The file has not changed since the last scan, and is not the one that is loaded.
                if before.get(path) == Some(stamp) && known.get(path) != Some(stamp) {
                    known.insert(path.clone(), *stamp);
                    self.take_in(path).await;
                }
            }
            let gone: Vec<PathBuf> = known.keys().filter(|path| !now.contains_key(*path)).cloned().collect();
            for path in gone {
                known.remove(&path);
                self.let_go(&path).await;
            }
            before = now;
        }
    }

    /// Loads a file that is new or has changed.
    async fn take_in(&self, path: &Path) {
        let reading = {
            let path = path.to_owned();
            tokio::task::spawn_blocking(move || read(&path)).await
        };
        let Ok(Some(dropped)) = reading else { return };
        let name = dropped.table.name.clone();
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let old = registry.get(&name).cloned();
        if old.as_ref().is_some_and(|old| old.origin == PluginOrigin::Configuration) {
            let why =
                format!("{}: the configuration has a plug-in of that name; give the file another", path.display());
            return self.reject(&name, why);
        }
        let plugin_override = self.override_of(&dropped.table);
        let withheld = plugin_override.withheld();
        let problem = withheld.or(dropped.problem.clone()).or_else(|| trial_problem(&dropped.table, &registry));
        let mut candidate = dropped.register(plugin_override);
        match problem {
            Some(problem) => candidate.why = Some(problem),
            None => {
                // Compiling may take seconds: the plug-in is listed as loading until then.
                if old.is_none() {
                    self.list_unused(registry.clone(), RegisteredPlugin { loading: true, ..candidate.clone() });
                } else {
                    self.mark_loading(&name, true);
                }
                self.load(&mut candidate).await;
                // A new plug-in stays listed as loading until its self-test.
                if old.is_some() {
                    self.mark_loading(&name, false);
                }
            }
        }
        let loaded = candidate.plugin.is_some();
        let why = candidate.why.clone().unwrap_or_default();
        match (loaded, old) {
            // The version that runs goes on.
            (false, Some(old)) if old.plugin.is_some() => {
                self.keep_old(&name, why, "folder");
            }
            (false, _) => {
                let disabled = candidate.disabled();
                self.list_unused(registry, candidate);
                // Whoever disabled a plug-in need not hear what else is wrong with it.
                if !disabled {
                    self.reject(&name, why);
                }
            }
            (true, old) => {
                let reference = candidate.reference();
                let registered = candidate.clone();
                registry.insert(name.clone(), candidate);
                match self.change(registry.clone(), Some(&name)).await {
                    Ok(()) => {
                        self.restart_trial(&name, &registered);
                        let to = if old.is_some() { "reloaded" } else { "loaded" };
                        self.gone(&reference, "another file was loaded");
                        self.tell(reference, to, "folder", path.display().to_string());
                    }
                    Err(why) if old.as_ref().is_some_and(|old| old.plugin.is_some()) => {
                        self.keep_old(&name, why, "folder");
                    }
                    Err(why) => {
                        self.list_unused(
                            registry,
                            RegisteredPlugin { plugin: None, why: Some(why.clone()), ..registered },
                        );
                        self.reject(&name, why);
                    }
                }
            }
        }
    }

    /// Unloads the plug-in of a file that was removed.
    async fn let_go(&self, path: &Path) {
        let _turn = self.changing.lock().await;
        let mut registry = self.registry();
        let its = |registered: &&RegisteredPlugin| matches!(&registered.origin, PluginOrigin::Folder { file } if file == path);
        let Some(registered) = registry.values().find(its).cloned() else {
            // A file that was refused because the configuration has a plug-in of its name.
            if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                self.gone(&nameless(&name.into()), "the file was removed");
            }
            return;
        };
        registry.remove(&registered.table.name);
        if let Err(why) = self.change(registry, None).await {
            tracing::error!(plugin = %registered.table.name, "cannot be unloaded: {why}");
            return;
        }
        if let Some(ports) = self.ports.get() {
            ports.healer.plugins().end_trial(&registered.table.name);
        }
        self.tell(registered.reference(), "unloaded", "folder", "its file was taken away");
        self.gone(&registered.reference(), "the plug-in was removed");
    }

    /// Lists a plug-in that is not used: it is loading, or could not be loaded.
    pub(super) fn list_unused(&self, mut registry: PluginRegistry, registered: RegisteredPlugin) {
        registry.insert(registered.table.name.clone(), registered);
        *self.registry_mut() = registry;
    }

    pub(super) fn reject(&self, name: &PluginName, why: String) {
        tracing::error!(plugin = %name, "cannot be used: {why}");
        if let Some(ports) = self.ports.get() {
            let fault = Fault::new(FaultCause::Load, why);
            ports.healer.plugins().faulted(None, &nameless(name), &fault);
        }
    }
}
