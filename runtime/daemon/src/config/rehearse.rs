//! What only the plug-ins themselves can say: whether a component is one, whether it finds what it needs, and whether it
//! takes its configuration. They are loaded and configured as `heald run` would do it, and called no further.

use serde_json::json;

use crate::assemble;
use crate::platform::{Casting, Roster};

use super::problem::{Problem, Problems};
use super::{Config, Loaded, ServiceConfig};

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
    let host = assemble::host(config, heald_host::ProcessAccess::default())?;
    let faults = runtime.block_on(Box::pin(async {
        let mut roster = Roster::new();
        let mut faults = assemble::load_all(&host, config, &mut roster).await;
        // With no service, what would hold for every one.
        let mut config = config.clone();
        if config.service.is_empty() {
            config.service.extend(serde_json::from_value::<ServiceConfig>(json!({ "name": "any" })).ok());
        }
        faults.extend(Casting::of(&config, &roster).await.faults);
        faults
    }));
    Ok(faults.into_iter().map(|(plugin, why)| (plugin.to_string(), why)).collect())
}
