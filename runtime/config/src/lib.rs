//! heald's configuration: one typed tree, read from TOML, checked whole before anything starts.
//!
//! What is built in is such a file too (`default.toml`); it is there, not in code, that variables such as `LOG_LEVEL` and
//! `CPU_THRESHOLD` get their meaning. The operator's file goes on top of it: tables merge, `[[plugin]]` and `[[service]]` by
//! name, everything else is replaced.
//!
//! The way of a file: [`environment`] (what `${NAME}` means) → [`interpolate`] (text to text) → [`document`] (a tree that
//! knows its lines) → [`read`] (the types, which `config` has) → [`check`] (what no type can say). Each names every problem it finds. Nothing here
//! opens a port, loads a plug-in or looks at the process's environment.
#![forbid(unsafe_code)]

mod bounds;
mod builtin;
mod chain;
mod check;
mod config;
mod document;
mod environment;
mod interpolate;
mod problem;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heald_model::PluginName;

pub use builtin::NATIVE_ACTIONS;
pub use chain::{chain, complain};
pub use config::{Config, ConsultConfig, KeeperConfig, LogConfig, LogLevel, ProbeDefaults, ServiceConfig};
pub use environment::Environment;
pub use problem::{ConfigProblem, ConfigProblems, File, SourceSpan};

use document::Node;

/// What heald knows without being told.
pub const DEFAULT: &str = include_str!("default.toml");
/// What [`DEFAULT`] is called where a problem is in it.
const DEFAULT_NAME: &str = "default.toml";
/// The file that is read if none is named and it is there.
const USUAL_FILE: &str = "heald.toml";
/// The file of variables that is read if it is there.
const DOTENV: &str = ".env";

/// A variable that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// What it came to.
    pub value: String,
    /// True if that is the configuration's own default.
    pub default: bool,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// It.
    pub config: Config,
    /// The operator's file, if there is one.
    pub path: Option<PathBuf>,
    /// The variables it asks for. Where the built-in defaults and the operator's file ask for the same, the latter counts.
    pub variables: Vec<Variable>,
    /// What heald can run with, but somebody should know.
    pub warnings: Vec<ConfigProblem>,
    /// Where all that was said.
    tree: Node,
}

impl LoadedConfig {
    /// A problem at the place that this path leads to, or as far as it leads.
    pub fn problem_at(&self, path: &[&str], message: impl Into<String>) -> ConfigProblem {
        ConfigProblem::at(self.tree.place_of(path).clone(), path.join("."), message)
    }
}

/// Reads the configuration that a command in `directory` means: the file that is named, else `heald.toml` if it is there,
/// over the built-in defaults, with the variables of `real` and below them those of `.env`. `builtin` are the names that
/// `builtin:NAME` may have.
///
/// # Errors
/// Every problem, of every line.
pub fn load(
    path: Option<&Path>,
    directory: &Path,
    real: &Environment,
    builtin: &[&str],
) -> Result<LoadedConfig, ConfigProblems> {
    let unreadable = |path: &Path, error: std::io::Error| {
        ConfigProblems(vec![ConfigProblem::of("", format!("{} cannot be read: {error}", path.display()))])
    };
    let dotenv = directory.join(DOTENV);
    let environment = match std::fs::read_to_string(&dotenv) {
        Ok(text) => environment::with_dotenv(real.clone(), DOTENV, &text).map_err(ConfigProblems)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => real.clone(),
        Err(error) => return Err(unreadable(&dotenv, error)),
    };
    let usual = Path::new(USUAL_FILE);
    let shown = path.or_else(|| directory.join(usual).exists().then_some(usual));
    let own = match shown {
        Some(shown) => {
            let whole = directory.join(shown);
            let text = std::fs::read_to_string(&whole).map_err(|error| unreadable(shown, error))?;
            Some(File { name: shown.display().to_string(), text })
        }
        None => None,
    };
    let mut loaded = parse(own, &environment, builtin)?;
    loaded.path = shown.map(Path::to_path_buf);
    Ok(loaded)
}

/// The same of a file's text, without looking anywhere: for tests, the demo and whoever has no file.
///
/// # Errors
/// Every problem, of every line.
pub fn parse(own: Option<File>, environment: &Environment, builtin: &[&str]) -> Result<LoadedConfig, ConfigProblems> {
    let mut problems = Vec::new();
    let mut variables = BTreeMap::new();
    let mut tree = None;
    let mut named = BTreeSet::new();
    let default = File { name: DEFAULT_NAME.to_owned(), text: DEFAULT.to_owned() };
    for (file, is_own) in [Some((default, false)), own.map(|file| (file, true))].into_iter().flatten() {
        let Some(node) = document(file, environment, &mut variables, &mut problems) else { continue };
        problems.extend(check::twins(&node));
        if is_own {
            named.extend(node.names("plugin"));
        }
        match &mut tree {
            None => tree = Some(node),
            Some(tree) => Node::merge(tree, node),
        }
    }
    let Some(mut tree) = tree.filter(|_| problems.is_empty()) else { return Err(ConfigProblems(problems)) };
    inherit(&mut tree);
    let whole = tree.clone();
    let config: Option<Config> = read::read(&mut tree, "", &mut problems);
    let mut warnings = Vec::new();
    let Some(mut config) = config else { return Err(ConfigProblems(problems)) };
    check::check(&config, &whole, builtin, &mut problems, &mut warnings);
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.file.name.clone(), place.span.start)));
        return Err(ConfigProblems(problems));
    }
    // What nobody asked for need not be loaded: the defaults offer more than one heald uses.
    let used: BTreeSet<PluginName> = config.references().into_iter().cloned().collect();
    config.plugin.retain(|plugin| named.contains(plugin.name.as_str()) || used.contains(&plugin.name));
    Ok(LoadedConfig { config, path: None, variables: variables.into_values().collect(), warnings, tree: whole })
}

fn document(
    file: File,
    environment: &Environment,
    variables: &mut BTreeMap<String, Variable>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Node> {
    let file = Arc::new(file);
    let text = interpolate::interpolate(&file.text, environment);
    let faults = text.faults.iter();
    problems.extend(faults.map(|fault| {
        let place = SourceSpan { file: Arc::clone(&file), span: fault.span.clone() };
        ConfigProblem::at(place, "", fault.message.clone())
    }));
    for read in &text.variables {
        if let Some(value) = read.value.clone() {
            let variable = Variable { name: read.name.clone(), value, default: read.default };
            variables.insert(read.name.clone(), variable);
        }
    }
    match document::parse(&file, &text) {
        Ok(node) => Some(node),
        Err(wrong) => {
            problems.extend(wrong);
            None
        }
    }
}

/// Puts what holds for every probe and every breaker below what each of them says, and makes one of the two spellings of a
/// service's startup time.
fn inherit(tree: &mut Node) {
    let (probe, breaker) = (tree.member("probe").cloned(), tree.member("breaker").cloned());
    let Some(services) = tree.member_mut("service") else { return };
    for service in services.list_mut() {
        if let (Some(breaker), Some(own)) = (&breaker, service.member_mut("breaker")) {
            own.inherit(breaker);
        }
        if let (Some(probe), Some(own)) = (&probe, service.member_mut("probe")) {
            own.list_mut().iter_mut().for_each(|each| each.inherit(probe));
        }
        service.share("startup", "process");
    }
}

#[cfg(test)]
mod tests;
