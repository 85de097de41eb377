//! What only the plug-ins themselves can say: whether a component is one, whether it finds what it needs, and whether it
//! takes its configuration. They are loaded and configured as `heald run` would do it, and called no further.

use heald_config::{Config, ConfigProblem, ConfigProblems, LoadedConfig, ServiceConfig};
use serde_json::json;

use crate::assemble;
use heald_platform::{ChainResolver, PluginRegistry};

/// Every refusal, where the plug-in is configured.
pub(crate) fn check_plugins(loaded: &LoadedConfig) -> ConfigProblems {
    match faults(&loaded.config) {
        Ok(faults) => {
            let refused = |(name, detail): (String, String)| loaded.problem_at(&["plugin", name.as_str()], detail);
            ConfigProblems(faults.into_iter().map(refused).collect())
        }
        Err(error) => ConfigProblems(vec![ConfigProblem::of("plugin", format!("no plug-in can be tried: {error:#}"))]),
    }
}

/// Name and sentence of each.
fn faults(config: &Config) -> anyhow::Result<Vec<(String, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let host = assemble::host(config, heald_host::Reach::default())?;
    let faults = runtime.block_on(Box::pin(async {
        let mut registry = PluginRegistry::new();
        let mut faults = assemble::load_all(&host, config, &mut registry).await;
        // With no service, what would hold for every one.
        let mut config = config.clone();
        if config.service.is_empty() {
            config.service.extend(serde_json::from_value::<ServiceConfig>(json!({ "name": "any" })).ok());
        }
        faults.extend(ChainResolver::of(&config, &registry).await.faults);
        faults
    }));
    Ok(faults.into_iter().map(|(plugin, why)| (plugin.to_string(), why)).collect())
}
