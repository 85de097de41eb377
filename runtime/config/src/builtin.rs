//! What the configuration of a built-in plug-in says that only heald as a whole can judge: whether there is an action of the
//! name that a rule does, and whether a ratio is one. The plug-ins themselves judge everything else.

use heald_model::PluginName;
use serde_json::{Map, Value};

use super::config::Config;
use super::read::alternatives;

/// The names of heald's own actions.
pub const NATIVE_ACTIONS: [&str; 5] = ["restart", "start", "stop", "signal", "notify"];
/// What a rule may do that is no action.
const WORDS: [&str; 3] = ["no-action", "escalate", "pass"];

/// A finding about a plug-in's configuration: the path, what is wrong, and whether heald can run with it.
pub(super) struct Found {
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) fatal: bool,
}

/// Everything that is wrong.
pub(super) fn check(config: &Config) -> Vec<Found> {
    let mut found = Vec::new();
    let steps = |steps: &[&str]| steps.iter().map(|step| (*step).to_owned()).collect::<Vec<String>>();
    let known = Actions::of(config);
    for plugin in &config.plugin {
        let name = plugin.name.as_str();
        let mut places = vec![(steps(&["plugin", name, "config"]), &plugin.config)];
        for service in &config.service {
            if let Some(own) = service.config.get(&plugin.name) {
                places.push((steps(&["service", service.name.as_str(), "config", name]), own));
            }
        }
        for (path, settings) in places {
            match plugin.component.as_str() {
                "builtin:detect-threshold" => ratio(&path, settings, &mut found),
                "builtin:decide-rules" if heals(config, &plugin.name) => known.rules(&path, settings, &mut found),
                _ => {}
            }
        }
    }
    found
}

/// True if a service's incidents are shown to this policy. The words of a consultation are whatever its users say.
fn heals(config: &Config, policy: &PluginName) -> bool {
    config.healing.policies.contains(policy)
        || config.service.iter().any(|service| config.policies(service).contains(policy))
}

/// `error_rate` is a ratio, everywhere.
fn ratio(path: &[String], settings: &Map<String, Value>, found: &mut Vec<Found>) {
    let Some(limits) = settings.get("error_rate") else { return };
    let steps = limits.as_array().map_or(std::slice::from_ref(limits), Vec::as_slice);
    for step in steps {
        let fields = ["limit", "below", "clear_below", "clear_above"].into_iter().filter_map(|field| step.get(field));
        for value in fields.chain([step]).filter_map(Value::as_f64).filter(|value| !(0.0..=1.0).contains(value)) {
            found.push(Found {
                path: path.iter().cloned().chain(["error_rate".to_owned()]).collect(),
                message: format!("is {value}; it is a ratio from 0 to 1, so 5 % is 0.05"),
                fatal: true,
            });
        }
    }
}

/// The actions that a rule can do.
struct Actions {
    names: Vec<String>,
    /// A plug-in from a file may offer others.
    more: bool,
}

impl Actions {
    fn of(config: &Config) -> Self {
        let mut names: Vec<String> = NATIVE_ACTIONS.map(str::to_owned).to_vec();
        for plugin in &config.plugin {
            match plugin.component.as_str() {
                "builtin:act-clear-cache" => names.push("clear-cache".to_owned()),
                "builtin:act-webhook" => {
                    let own = plugin.config.get("action").and_then(Value::as_str).unwrap_or("webhook");
                    names.push(own.to_owned());
                }
                _ => {}
            }
        }
        let lists = config.service.iter().map(|service| config.actions(service)).chain([&*config.healing.actions]);
        let mut offering = lists.flatten().filter_map(|name| config.plugin(name.as_str()));
        let more = config.plugins.folder.is_some() || offering.any(|plugin| !plugin.component.starts_with("builtin:"));
        Self { names, more }
    }

    fn rules(&self, path: &[String], settings: &Map<String, Value>, found: &mut Vec<Found>) {
        let below = |steps: &[&str]| -> Vec<String> {
            path.iter().cloned().chain(steps.iter().map(|step| (*step).to_owned())).collect()
        };
        for (index, rule) in settings.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let index = index.to_string();
            self.rung(below(&["rules", &index, "do"]), rule.get("do"), found);
            for (rung, then) in rule.get("then").and_then(Value::as_array).into_iter().flatten().enumerate() {
                let at = below(&["rules", &index, "then", &rung.to_string()]);
                self.rung(at, then.get("do").or(Some(then)), found);
            }
        }
        self.rung(below(&["otherwise", "do"]), settings.get("otherwise").and_then(|rung| rung.get("do")), found);
    }

    fn rung(&self, path: Vec<String>, action: Option<&Value>, found: &mut Vec<Found>) {
        let Some(action) = action.and_then(Value::as_str) else { return };
        if WORDS.contains(&action) || self.names.iter().any(|known| known == action) || action.is_empty() {
            return;
        }
        let known: Vec<&str> = self.names.iter().map(String::as_str).chain(WORDS).collect();
        let choice = alternatives(action, &known);
        let message = match self.more {
            false => format!("there is no action `{action}`{choice}"),
            true => format!("`{action}` is no action of heald's own; a plug-in must offer it{choice}"),
        };
        found.push(Found { path, message, fatal: !self.more });
    }
}
