//! What only the plug-ins themselves can say: whether a component is one, whether it finds what it needs, and whether it
//! takes its configuration. They are loaded and configured as `heald run` would do it, and called no further.

use crate::builtins;
use crate::plugins::Plugins;

use super::problem::{Problem, Problems};
use super::{Config, Loaded};

/// Every refusal, where the plug-in is configured.
pub(super) fn rehearse(loaded: &Loaded) -> Problems {
    match faults(&loaded.config) {
        Ok(faults) => {
            let refused = |(name, detail): (String, String)| {
                let path = ["plugin", name.as_str()];
                Problem::at(loaded.tree.place_of(&path).clone(), path.join("."), detail)
            };
            Problems(faults.into_iter().map(refused).collect())
        }
        Err(error) => Problems(vec![Problem::of("plugin", format!("no plug-in can be tried: {error:#}"))]),
    }
}

/// Name and sentence of each.
fn faults(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = heald_host::Host::start(&builtins::embedded())?;
    let mut plugins = Plugins::load(&host, config);
    runtime.block_on(Box::pin(async {
        for service in &config.service {
            plugins.detectors(config, config.detectors(service), Some(service)).await;
            plugins.policies(config, config.policies(service), Some(service)).await;
            plugins.actions(config, config.actions(service), service).await;
        }
        // With no service, what would hold for every one.
        plugins.detectors(config, &config.healing.detectors, None).await;
        plugins.policies(config, &config.healing.policies, None).await;
        plugins.profiles(config).await;
    }));
    Ok(plugins.faults.into_iter().map(|(plugin, fault)| (plugin.name.to_string(), fault.detail)).collect())
}
