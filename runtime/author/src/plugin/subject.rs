//! The plug-in that a command is about: a file or a built-in, with the configuration, grants and limits it is tried with.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use heald_host::{Host, Options, Plugin, PluginConfig, merged};
use serde_json::{Map, Value, json};

use heald_config::{self as config, Environment};
use heald_platform::builtins;

/// Which plug-in, and how.
#[derive(Clone, Debug, Default, Args)]
pub struct SubjectArgs {
    /// The plug-in's file, or builtin:NAME
    #[arg(value_name = "FILE.wasm")]
    pub component: String,
    /// Its configuration: a JSON object, or a file of JSON or TOML
    #[arg(long, value_name = "JSON|FILE")]
    pub config: Option<String>,
    /// What it is granted, as in a [[plugin]] table: {"http": ["127.0.0.1:9000"]}
    #[arg(long, value_name = "JSON|FILE")]
    pub grant: Option<String>,
    /// Other limits than those of its role, as in a [[plugin]] table: {"cpu": "50ms"}
    #[arg(long, value_name = "JSON|FILE")]
    pub limits: Option<String>,
}

/// A loaded plug-in, and its configuration as far as the command line says it.
pub struct Subject {
    /// The plug-in.
    pub plugin: Plugin,
    /// What heald's own configuration has for a built-in.
    usual: Map<String, Value>,
    /// `--config`.
    said: Map<String, Value>,
    /// How long it took to load.
    pub took: Duration,
}

impl SubjectArgs {
    /// Loads the plug-in as `heald run` does.
    ///
    /// # Errors
    /// When an option cannot be read, or the plug-in cannot be loaded.
    pub fn load(&self) -> anyhow::Result<Subject> {
        self.load_by(None)
    }

    /// The same with the cache of compiled components, for commands that do not measure the loading.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn recall(&self) -> anyhow::Result<Subject> {
        self.load_by(super::cache::folder())
    }

    fn load_by(&self, cache: Option<PathBuf>) -> anyhow::Result<Subject> {
        let mut table = Map::new();
        table.insert("name".into(), json!(self.name()));
        table.insert("component".into(), json!(self.component));
        for (key, said) in [("grant", &self.grant), ("limits", &self.limits)] {
            if let Some(said) = said {
                table.insert(key.into(), Value::Object(object(&format!("--{key}"), said)?));
            }
        }
        let table: PluginConfig = serde_json::from_value(Value::Object(table)).context("--grant or --limits")?;
        let said = self.config.as_ref().map(|said| object("--config", said)).transpose()?;
        let host = Host::with(Options { builtins: builtins::embedded(), cache, ..Options::default() })?;
        let began = Instant::now();
        let plugin = host.load(&table)?;
        let took = began.elapsed();
        // A configuration on the command line replaces the usual one.
        let usual = if said.is_some() { Map::new() } else { usual(&self.component) };
        Ok(Subject { plugin, usual, said: said.unwrap_or_default(), took })
    }

    /// Its name: that of the built-in plug-in, or of its file without the ending.
    fn name(&self) -> &str {
        match self.component.strip_prefix("builtin:") {
            Some(name) => name,
            None => Path::new(&self.component).file_stem().and_then(|stem| stem.to_str()).unwrap_or("plugin"),
        }
    }
}

impl Subject {
    /// Its configuration in a scenario: the usual one, below the scenario's, below that of the command line.
    pub fn config(&self, scenario: &Map<String, Value>) -> Map<String, Value> {
        merged(&merged(&self.usual, scenario), &self.said)
    }
}

/// The configuration of a built-in plug-in in heald's own defaults, so that it is tested as it runs.
fn usual(component: &str) -> Map<String, Value> {
    let loaded = config::parse(None, &Environment::new(), &builtins::names()).ok();
    let tables = loaded.into_iter().flat_map(|loaded| loaded.config.plugin);
    tables.into_iter().find(|table| table.component == component).map(|table| table.config).unwrap_or_default()
}

/// An object, given as JSON or in a file.
fn object(option: &str, said: &str) -> anyhow::Result<Map<String, Value>> {
    let (text, place) = match said.trim_start().starts_with('{') {
        true => (said.to_owned(), option.to_owned()),
        false => {
            let text = std::fs::read_to_string(said)
                .with_context(|| format!("{option}: {said} is neither a JSON object nor a file that can be read"))?;
            (text, format!("{option} {said}"))
        }
    };
    let toml = Path::new(said).extension().is_some_and(|ending| ending == "toml");
    let value: Value = match toml {
        true => toml::from_str(&text).with_context(|| place.clone())?,
        false => serde_json::from_str(&text).with_context(|| place.clone())?,
    };
    match value {
        Value::Object(object) => Ok(object),
        other => bail!("{place}: an object is wanted, such as {{\"limit\": 3}}, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_json_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "limit = 3\n").unwrap();
        let three = object("--config", "{\"limit\": 3}").unwrap();
        assert_eq!(object("--config", path.to_str().unwrap()).unwrap(), three);
        let nowhere = format!("{:#}", object("--config", "limit=3").unwrap_err());
        assert!(nowhere.contains("--config: limit=3 is neither a JSON object"), "{nowhere}");
        let broken = format!("{:#}", object("--config", "{limit}").unwrap_err());
        assert!(broken.contains("--config") && broken.contains("line 1"), "{broken}");
    }

    #[test]
    fn a_builtin_is_tried_as_it_runs() {
        assert_eq!(usual("builtin:detect-threshold")["memory"], 90);
        assert_eq!(usual("builtin:nothing"), Map::new());
    }

    #[test]
    fn grants_are_those_of_a_plugin_table() {
        let said = SubjectArgs {
            component: "builtin:act-clear-cache".into(),
            grant: Some("{\"file\": []}".into()),
            ..SubjectArgs::default()
        };
        let error = format!("{:#}", said.load().err().unwrap());
        assert!(error.contains("unknown field `file`"), "{error}");
    }
}
