//! What no type can say: names that must exist or be unique, rings of dependencies, values out of range. Every problem is
//! named, with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use heald_host::PluginConfig;
use heald_model::{PluginName, ServiceName};

use super::config::{Config, ServiceConfig};
use super::document::Node;
use super::problem::ConfigProblem;
use super::read::alternatives;
use crate::chain::chain;

/// Longer names make no sense in a table, a metric's label or a file's name.
const LONGEST_NAME: usize = 100;

/// Two tables of one name in one file: by name they would be merged in silence.
pub(super) fn twins(file: &Node) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for kind in ["plugin", "service"] {
        let mut seen = BTreeSet::new();
        for table in file.member(kind).map(Node::list).unwrap_or_default() {
            if let Some(name) = table.name()
                && !seen.insert(name)
            {
                let place = table.place_of(&["name"]).clone();
                let message = format!("a second [[{kind}]] is named `{name}`; names must be unique");
                problems.push(ConfigProblem::at(place, format!("{kind}.{name}.name"), message));
            }
        }
    }
    problems
}

/// Everything else.
pub(super) fn check(
    config: &Config,
    tree: &Node,
    builtin: &[&str],
    problems: &mut Vec<ConfigProblem>,
    warnings: &mut Vec<ConfigProblem>,
) {
    let mut check = Check { config, tree, problems: Vec::new(), warnings: Vec::new() };
    check.server();
    check.sections();
    check.plugins(builtin);
    check.references();
    for service in &config.service {
        check.service(service);
    }
    check.rings();
    check.bounds();
    check.built_in();
    problems.append(&mut check.problems);
    warnings.append(&mut check.warnings);
}

struct Check<'a> {
    config: &'a Config,
    tree: &'a Node,
    problems: Vec<ConfigProblem>,
    warnings: Vec<ConfigProblem>,
}

impl<'a> Check<'a> {
    fn at(&self, path: &[&str], message: String) -> ConfigProblem {
        ConfigProblem::at(self.tree.place_of(path).clone(), path.join("."), message)
    }

    fn wrong(&mut self, path: &[&str], message: impl Into<String>) {
        let problem = self.at(path, message.into());
        self.problems.push(problem);
    }

    fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        let problem = self.at(path, message.into());
        self.warnings.push(problem);
    }

    fn server(&mut self) {
        let config = self.config;
        if config.server.listen.is_empty() {
            self.wrong(&["server", "listen"], "names no address; write a list such as [\"127.0.0.1:8003\"]");
        }
        let mut seen = BTreeSet::new();
        for (index, address) in config.server.listen.iter().enumerate() {
            let path = ["server", "listen", &index.to_string()];
            match listen_host(address) {
                None => self.wrong(
                    &path,
                    format!("`{address}` is not an address; write HOST:PORT such as 127.0.0.1:8003 or [::1]:8003"),
                ),
                Some(host) => {
                    let beyond = host.parse::<std::net::IpAddr>().is_ok_and(|ip| !ip.is_loopback());
                    if beyond && !config.server.insecure_bind {
                        self.wrong(&path, format!(
                            "{address} can be reached from other machines and the API asks for no key; listen on 127.0.0.1, or set server.insecure_bind = true"
                        ));
                    }
                }
            }
            if !address.ends_with(":0") && !seen.insert(address) {
                self.wrong(&path, format!("{address} is named twice"));
            }
        }
    }

    fn sections(&mut self) {
        let config = self.config;
        for sentence in config.store.problems() {
            let key = sentence.split(' ').next().unwrap_or("store").to_owned();
            let message = sentence.strip_prefix(&key).map_or(sentence.as_str(), str::trim_start);
            self.wrong(&key.split('.').collect::<Vec<_>>(), message);
        }
        for (key, message) in config.healing.problems() {
            self.wrong(&key.split('.').collect::<Vec<_>>(), message);
        }
        for problem in config.breaker.validate() {
            self.wrong(&["breaker", problem.field], problem.message);
        }
        let keeper = &config.keeper;
        if keeper.heartbeat.is_zero() || keeper.silence < keeper.heartbeat.saturating_mul(2) {
            self.wrong(&["keeper", "heartbeat"], "must be longer than 0s and at most half of keeper.silence");
        }
    }

    fn plugins(&mut self, builtin: &[&str]) {
        let config = self.config;
        if let Some(folder) = config.plugins.folder.as_ref().filter(|folder| !folder.is_dir()) {
            let message = format!("there is no folder `{}`; make it, or leave it out", folder.display());
            self.wrong(&["plugins", "folder"], message);
        }
        if let Err(error) = heald_host::Trust::read(&config.plugins) {
            self.wrong(&["plugins", "trusted_keys"], chain(&error));
        } else if config.plugins.require_signed && config.plugins.trusted_keys.is_empty() {
            self.wrong(&["plugins", "require_signed"], "no key is trusted; name at least one in plugins.trusted_keys");
        }
        for plugin in &config.plugin {
            let name = plugin.name.as_str();
            self.name(&["plugin", name, "name"], name);
            self.trial(plugin);
            let path = ["plugin", name, "component"];
            match plugin.component.strip_prefix("builtin:") {
                Some(known) if builtin.contains(&known) => {}
                Some(unknown) => {
                    let choice = alternatives(unknown, builtin);
                    self.wrong(&path, format!("`{unknown}` is not built in{choice}"));
                }
                None if plugin.component.is_empty() => {
                    self.wrong(&path, "is empty; write builtin:NAME or the path of a .wasm file");
                }
                None if !Path::new(&plugin.component).is_file() => {
                    let message = format!(
                        "there is no file `{}`; write builtin:NAME or the path of a .wasm file",
                        plugin.component
                    );
                    self.wrong(&path, message);
                }
                None => {}
            }
        }
    }

    /// Whom it is compared with, and how it is judged.
    fn trial(&mut self, plugin: &PluginConfig) {
        let name = plugin.name.as_str();
        if let Some(other) = &plugin.instead_of {
            self.declared(&["plugin", name, "instead_of"], other);
        }
        for (field, message) in plugin.trial_problems() {
            self.wrong(&[&["plugin", name], field].concat(), message);
        }
    }

    /// Every name of a plug-in that is used must be declared.
    fn references(&mut self) {
        let config = self.config;
        let mut lists: Vec<(Vec<String>, &[PluginName])> = Vec::new();
        let path = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
        lists.push((path(&["healing", "detectors"]), &config.healing.detectors));
        lists.push((path(&["healing", "policies"]), &config.healing.policies));
        lists.push((path(&["healing", "actions"]), &config.healing.actions));
        for (name, profile) in &config.consult {
            lists.push((path(&["consult", name, "detectors"]), &profile.detectors));
            lists.push((path(&["consult", name, "policies"]), &profile.policies));
        }
        for service in &config.service {
            let name = service.name.as_str();
            for (key, list) in
                [("detectors", &service.detectors), ("policies", &service.policies), ("actions", &service.actions)]
            {
                lists.push((path(&["service", name, key]), list.as_deref().unwrap_or_default()));
            }
        }
        for (path, list) in lists {
            for (index, plugin) in list.iter().enumerate() {
                let index = index.to_string();
                let path: Vec<&str> = path.iter().map(String::as_str).chain([index.as_str()]).collect();
                self.declared(&path, plugin);
            }
        }
        for service in &config.service {
            for plugin in service.config.keys() {
                self.declared(&["service", service.name.as_str(), "config", plugin.as_str()], plugin);
            }
        }
    }

    fn declared(&mut self, path: &[&str], plugin: &PluginName) {
        // Of the tree, not of what could be read of it: a plug-in with a fault is no unknown one.
        let known = self.tree.names("plugin");
        if !known.iter().any(|name| name == plugin.as_str()) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.wrong(path, format!("no plug-in is named `{plugin}`{}", alternatives(plugin.as_str(), &known)));
        }
    }

    fn service(&mut self, service: &ServiceConfig) {
        let name = service.name.as_str();
        self.name(&["service", name, "name"], name);
        if let Some(process) = &service.process {
            for error in process.check() {
                let message = error.to_string();
                let field = message.split([' ', '.']).next().unwrap_or_default().to_owned();
                self.wrong(&["service", name, "process", &field], message);
            }
            if let Some(program) = process.command.first().filter(|program| program.contains('/')) {
                // Relative to where the process is to run, as `execve` will have it.
                let found = process.cwd.as_deref().unwrap_or_else(|| Path::new("")).join(program);
                if !found.is_file() {
                    let message = format!(
                        "there is no file `{}`; heald cannot start the service until there is",
                        found.display()
                    );
                    self.warn(&["service", name, "process", "command", "0"], message);
                }
            }
            if process.startup != service.startup {
                self.wrong(&["service", name, "startup"], "differs from process.startup; say it once");
            }
        }
        for problem in service.breaker.iter().flat_map(heald_breaker::BreakerConfig::validate) {
            self.wrong(&["service", name, "breaker", problem.field], problem.message);
        }
        let mut probes = BTreeSet::new();
        for (index, probe) in service.probe.iter().enumerate() {
            let index = index.to_string();
            let path = |field| ["service", name, "probe", &index, field];
            if !probes.insert(probe.probe()) {
                let message = format!("a second probe of `{name}` is called `{}`; give it an `id`", probe.probe());
                self.wrong(&path("id"), message);
            }
            for problem in heald_probe::validate(probe) {
                // A program may be installed later, and a variable set to another address. What the file itself says stays.
                let stays = problem.field != "command" && !self.has_variable(&path(problem.field));
                if problem.fatal || stays {
                    self.wrong(&path(problem.field), problem.message);
                } else {
                    self.warn(&path(problem.field), problem.message);
                }
            }
        }
        if service.process.is_none() && service.probe.is_empty() {
            self.warn(
                &["service", name],
                "has neither a process nor a probe, so heald knows nothing about it; add one of them",
            );
        }
        let services = self.tree.names("service");
        for (index, needed) in service.depends_on.iter().enumerate() {
            let path = ["service", name, "depends_on", &index.to_string()];
            if !services.iter().any(|known| known == needed.as_str()) {
                let known: Vec<&str> = services.iter().map(String::as_str).collect();
                self.wrong(&path, format!("no service is named `{needed}`{}", alternatives(needed.as_str(), &known)));
            }
        }
    }

    /// True if a variable has a part in what stands there.
    fn has_variable(&self, path: &[&str]) -> bool {
        let place = self.tree.place_of(path);
        place.file.text.get(place.span.clone()).is_some_and(|text| text.contains("${"))
    }

    fn bounds(&mut self) {
        for (path, message) in super::bounds::broken(self.config) {
            self.wrong(&path.iter().map(String::as_str).collect::<Vec<_>>(), message);
        }
    }

    fn built_in(&mut self) {
        for found in super::builtin::check(self.config) {
            let path: Vec<&str> = found.path.iter().map(String::as_str).collect();
            if found.fatal {
                self.wrong(&path, found.message);
            } else {
                self.warn(&path, found.message);
            }
        }
    }

    /// A colon is what heald's own names have (`plugin:NAME`); the rest would be trouble in an address or a file's name.
    fn name(&mut self, path: &[&str], name: &str) {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.chars().count() > LONGEST_NAME || !name.chars().all(allowed) || name.starts_with('.')
        {
            self.wrong(path, format!(
                "`{name}` cannot be a name; write 1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`, not beginning with `.`"
            ));
        }
    }

    /// Each ring of dependencies once, from the service of it that comes first in the file.
    fn rings(&mut self) {
        let needs: BTreeMap<&ServiceName, &[ServiceName]> =
            self.config.service.iter().map(|service| (&service.name, service.depends_on.as_slice())).collect();
        let mut done = BTreeSet::new();
        for service in &self.config.service {
            if let Some(ring) = ring(&service.name, &needs, &mut done) {
                let words: Vec<&str> = ring.iter().map(|name| name.as_str()).collect();
                let first = words.first().copied().unwrap_or_default().to_owned();
                let message = format!("{} is a cycle of dependencies; take one of them out", words.join(" → "));
                self.wrong(&["service", &first, "depends_on"], message);
            }
        }
    }
}

/// The first ring that can be reached from here, if none was known; all that was seen is then done with.
fn ring<'a>(
    from: &'a ServiceName,
    needs: &BTreeMap<&'a ServiceName, &'a [ServiceName]>,
    done: &mut BTreeSet<&'a ServiceName>,
) -> Option<Vec<&'a ServiceName>> {
    // The way down, each with the needs that are still to be looked at. A stack of our own: a long chain is no crime.
    let mut way: Vec<(&ServiceName, &[ServiceName])> = Vec::new();
    let enter = |name: &'a ServiceName| (name, needs.get(name).copied().unwrap_or_default());
    if !done.contains(from) {
        way.push(enter(from));
    }
    let mut found = None;
    while let Some((name, rest)) = way.last_mut() {
        let Some((next, after)) = rest.split_first() else {
            done.insert(*name);
            way.pop();
            continue;
        };
        *rest = after;
        if let Some(start) = way.iter().position(|(name, _)| *name == next) {
            let ring = way.iter().skip(start).map(|(name, _)| *name).chain([next]).collect();
            found.get_or_insert(ring);
        } else if !done.contains(next) {
            way.push(enter(next));
        }
    }
    found
}

/// The host of `HOST:PORT`, without the brackets of an IPv6 address.
fn listen_host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let plain = !host.is_empty() && !host.contains(|c: char| c == ':' || c == '[' || c.is_whitespace() || c == '/');
    bare.or_else(|| plain.then_some(host))
}
