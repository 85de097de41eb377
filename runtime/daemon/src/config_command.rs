//! `heald config check | print | get`: shows the configuration and starts no service.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use heald_config::{Config, ConfigProblems, DEFAULT, Environment, LoadedConfig, load};
use serde_json::Value;

use heald_platform::builtins;

use crate::plugin_check;

/// `heald config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Name every problem of a configuration, with file, line and what is allowed
    Check {
        /// The file; heald.toml if it is there
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the configuration as heald understands it
    Print {
        /// Print the built-in defaults instead, as they are written
        #[arg(long)]
        default: bool,
        /// The configuration file; heald.toml if it is there
        #[arg(long, short, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print one value
    Get(ConfigGet),
}

/// `heald config get`.
#[derive(Debug, Args)]
pub struct ConfigGet {
    /// A dotted key such as healing.budget.disrupt, or the name of a variable that the configuration asks for
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The configuration file; heald.toml if it is there
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Carries the command out, in this process's directory and environment.
///
/// # Errors
/// When there is no directory, or nothing can be written.
pub fn command(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    let directory = std::env::current_dir().context("there is no working directory")?;
    let real = std::env::vars().collect();
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let done = look(&command, &directory, &real, &builtins::names(), &plugin_check::check_plugins, &mut out, &mut err)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The addresses at which a heald that is started in this directory listens. None if the configuration has problems: a command to a running
/// heald works nevertheless.
pub fn addresses() -> Vec<String> {
    let real = std::env::vars().collect();
    let directory = std::env::current_dir().unwrap_or_default();
    load(None, &directory, &real, &builtins::names()).map(|loaded| loaded.config.server.listen).unwrap_or_default()
}

/// Carries the command out in any directory and environment. False: the answer is no, and `out` or `err` says why.
///
/// # Errors
/// Only those of `out` and `err`.
fn look(
    command: &ConfigCommand,
    directory: &Path,
    real: &Environment,
    builtin: &[&str],
    check_plugins: &dyn Fn(&LoadedConfig) -> ConfigProblems,
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
                let refused = check_plugins(&loaded);
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

fn complain(problems: &ConfigProblems, err: &mut dyn Write) -> io::Result<bool> {
    writeln!(err, "{problems}")?;
    Ok(false)
}

fn print(loaded: &LoadedConfig, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
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
fn get(loaded: &LoadedConfig, key: &str) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use heald_config::{ConfigProblem, File, parse};

    use super::*;

    const BUILTIN: [&str; 4] = ["act-clear-cache", "decide-rules", "detect-availability", "detect-threshold"];

    fn env(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn own(text: &str) -> Option<File> {
        Some(File { name: "heald.toml".into(), text: text.into() })
    }

    fn run(command: &ConfigCommand, directory: &Path, pairs: &[(&str, &str)]) -> (bool, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let done = look(command, directory, &env(pairs), &BUILTIN, &|_| ConfigProblems(Vec::new()), &mut out, &mut err)
            .unwrap();
        (done, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn get(key: &str, directory: &Path) -> (bool, String) {
        let command = ConfigCommand::Get(ConfigGet { key: key.into(), config: None });
        let (done, out, err) = run(&command, directory, &[]);
        (done, if done { out } else { err })
    }

    fn plugin_problems(text: &str) -> Vec<String> {
        let builtin = builtins::names();
        let loaded = parse(own(text), &env(&[]), &builtin).unwrap();
        plugin_check::check_plugins(&loaded).0.iter().map(ConfigProblem::headline).collect()
    }

    #[test]
    fn plug_ins_are_loaded_and_configured_to_see_whether_they_can_be() {
        assert_eq!(plugin_problems(""), Vec::<String>::new());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.wasm");
        std::fs::write(&file, "this is no component").unwrap();
        let text = format!("# mine\n[[plugin]]\nname = \"x\"\ncomponent = \"{}\"\n", file.display());
        let found = plugin_problems(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("heald.toml:2: plugin.x: ") && found[0].contains("no WebAssembly"), "{found:?}");
        let found = plugin_problems("[[plugin]]\nname = \"threshold\"\n[plugin.config]\ncpu = \"much\"\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("plugin.threshold: ") && found[0].contains("cpu"), "{found:?}");
    }

    /// The shipped examples can be read, and the plug-ins accept them.
    #[test]
    fn every_example_is_sound() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert_eq!(plugin_problems(&text), Vec::<String>::new(), "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen >= 2);
    }

    #[test]
    fn check_counts_or_complains() {
        let directory = tempfile::tempdir().unwrap();
        let check = ConfigCommand::Check { file: None };
        assert_eq!(run(&check, directory.path(), &[]), (true, "ok: 0 services, 7 plug-ins\n".into(), String::new()));
        std::fs::write(directory.path().join("heald.toml"), "[[service]]\nname = 5\n[x]\n").unwrap();
        let (done, out, err) = run(&check, directory.path(), &[]);
        assert!(!done && out.is_empty());
        assert!(
            err.contains(
                "heald.toml:2: service.0.name: must be a string, and this is 5\n  2 | name = 5\n    |        ^"
            ),
            "{err}"
        );
        assert!(err.ends_with("2 problems\n"), "{err}");
    }

    #[test]
    fn get_knows_keys_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".env"), "HEALTH_CHECK_INTERVAL=2  # seconds\n").unwrap();
        let text =
            "[[service]]\nname = \"web.one\"\n[[service.probe]]\nkind = \"tcp\"\naddress = \"h:${WEB_PORT:-77}\"\n";
        std::fs::write(directory.path().join("heald.toml"), text).unwrap();
        for (key, expected) in [
            ("health_check_interval", "2"),
            ("HEALTH_CHECK_INTERVAL", "2"),
            ("web_port", "77"),
            ("log_level", "INFO"),
            ("store.path", "heald.db"),
            ("healing.detectors", "[\"availability\",\"threshold\"]"),
            ("healing.budget.disrupt", "5"),
            ("plugin.threshold.config.cpu", "90"),
            ("service.web.one.probe.tcp.period", "2s"),
            ("service.0.probe.0.address", "h:77"),
        ] {
            assert_eq!(get(key, directory.path()), (true, format!("{expected}\n")), "{key}");
        }
        let (done, err) = get("no.such.key", directory.path());
        assert!(!done && err.contains("no.such.key"), "{err}");
    }

    #[test]
    fn print_shows_the_default_or_the_effective_tree() {
        let directory = tempfile::tempdir().unwrap();
        let print = |default| ConfigCommand::Print { default, config: None };
        assert_eq!(run(&print(true), directory.path(), &[]).1, DEFAULT);
        let (done, out, _) = run(&print(false), directory.path(), &[("PORT", "81")]);
        assert!(done && out.contains("127.0.0.1:81"), "{out}");
    }
}
