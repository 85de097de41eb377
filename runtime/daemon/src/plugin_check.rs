//! Checks what only a plug-in itself can tell: whether its file is a component, has the imports it needs, and accepts its configuration.
//! The plug-ins are loaded and configured as `heald run` does it, and not called.

use heald_config::{Config, ConfigProblem, ConfigProblems, LoadedConfig, ServiceConfig};
use serde_json::json;

use crate::assemble;
use heald_platform::{ChainResolver, PluginRegistry};

/// A problem for every plug-in that cannot be used, at the place where it is configured.
pub(crate) fn check_plugins(loaded: &LoadedConfig) -> ConfigProblems {
    match faults(&loaded.config) {
        Ok(faults) => {
            let refused = |(name, detail): (String, String)| loaded.problem_at(&["plugin", name.as_str()], detail);
            ConfigProblems(faults.into_iter().map(refused).collect())
        }
        Err(error) => ConfigProblems(vec![ConfigProblem::of("plugin", format!("no plug-in can be tried: {error:#}"))]),
    }
}

/// The name of each plug-in that cannot be used, and the reason.
fn faults(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = assemble::host(config, heald_host::ProcessAccess::default())?;
    let faults = runtime.block_on(Box::pin(async {
        let mut registry = PluginRegistry::new();
        let mut faults = assemble::load_all(&host, config, &mut registry).await;
        // Without a service, the check is made for one that has the defaults.
        let mut config = config.clone();
        if config.service.is_empty() {
            config.service.extend(serde_json::from_value::<ServiceConfig>(json!({ "name": "any" })).ok());
        }
        faults.extend(ChainResolver::of(&config, &registry).await.faults);
        faults
    }));
    Ok(faults.into_iter().map(|(plugin, why)| (plugin.to_string(), why)).collect())
}
