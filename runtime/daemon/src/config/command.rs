//! `heald config check | print | get`: the configuration, looked at without starting any service.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::{Config, DEFAULT, Environment, Loaded, Problems, load, rehearse};
use crate::builtins;
use crate::cli::{ConfigCommand, ConfigGet};

/// Carries the command out, in this process's directory and environment.
///
/// # Errors
/// When there is no directory, or nothing can be written.
pub fn command(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let real = std::env::vars().collect();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let done = look(&command, &directory, &real, &builtins::names(), &rehearse::rehearse, &mut out, &mut err)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The addresses at which a heald that is started here listens. A configuration with faults names none: whoever asks for a
/// running heald need not mend it first.
pub fn addresses() -> Vec<String> {
    let real = std::env::vars().collect();
    let directory = std::env::current_dir().unwrap_or_default();
    load(None, &directory, &real, &builtins::names()).map(|loaded| loaded.config.server.listen).unwrap_or_default()
}

/// The same of any directory and environment; false: what was asked for is not so, and that was said on `out` or `err`.
///
/// # Errors
/// Only those of `out` and `err`.
pub(super) fn look(
    command: &ConfigCommand,
    directory: &Path,
    real: &Environment,
    builtin: &[&str],
    rehearse: &dyn Fn(&Loaded) -> Problems,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let said = |path: Option<&Path>| load(path, directory, real, builtin);
    match command {
        ConfigCommand::Check { file } => match said(file.as_deref()) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    writeln!(err, "warning: {warning}")?;
                }
                let refused = rehearse(&loaded);
                if !refused.0.is_empty() {
                    return complain(&refused, err);
                }
                let Config { service, plugin, .. } = &loaded.config;
                writeln!(out, "ok: {}, {}", count(service.len(), "service"), count(plugin.len(), "plug-in"))?;
                Ok(true)
            }
            Err(problems) => complain(&problems, err),
        },
        ConfigCommand::Print { default: true, .. } => {
            out.write_all(DEFAULT.as_bytes())?;
            Ok(true)
        }
        ConfigCommand::Print { config, .. } => match said(config.as_deref()) {
            Ok(loaded) => print(&loaded, out, err),
            Err(problems) => complain(&problems, err),
        },
        ConfigCommand::Get(ConfigGet { key, config }) => match said(config.as_deref()) {
            Ok(loaded) => match get(&loaded, key) {
                Some(value) => writeln!(out, "{value}").map(|()| true),
                None => {
                    writeln!(err, "there is no key or variable `{key}`; `heald config print` shows all keys")?;
                    Ok(false)
                }
            },
            Err(problems) => complain(&problems, err),
        },
    }
}

fn complain(problems: &Problems, err: &mut dyn Write) -> io::Result<bool> {
    writeln!(err, "{problems}")?;
    Ok(false)
}

fn print(loaded: &Loaded, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    match toml::to_string_pretty(&loaded.config) {
        Ok(text) => out.write_all(text.as_bytes()).map(|()| true),
        Err(error) => writeln!(err, "the configuration cannot be written as TOML: {error}").map(|()| false),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The value of a dotted key (named tables by name or number), or of a variable that the configuration asks for, in
/// upper or lower case.
fn get(loaded: &Loaded, key: &str) -> Option<String> {
    let tree = serde_json::to_value(&loaded.config).ok()?;
    if let Some(value) = follow(&tree, key) {
        return Some(match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        });
    }
    let variable = loaded.variables.iter().find(|variable| variable.name.eq_ignore_ascii_case(key));
    variable.map(|variable| variable.value.clone())
}

/// Names may have dots themselves, so each step tries the longest key first.
fn follow<'a>(tree: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(tree);
    }
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    ends.into_iter().find_map(|end| {
        let (step, rest) = (path.get(..end)?, path.get(end + 1..).unwrap_or_default());
        let next = match tree {
            Value::Object(members) => members.get(step),
            Value::Array(list) => {
                let named =
                    |each: &&Value| ["name", "id", "kind"].iter().any(|key| each.get(key).is_some_and(|n| n == step));
                list.iter().find(named).or_else(|| list.get(step.parse::<usize>().ok()?))
            }
            _ => None,
        };
        follow(next?, rest)
    })
}
