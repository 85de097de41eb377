//! One host and one tokio for all calls of a process, and the guests that `corpus` built.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use heald_control::PluginMode;
use heald_host::{CanaryConfig, Grant, Host, LimitsConfig, Options, PluginConfig};
use serde_json::Map;
use tokio::runtime::{Builder, Runtime};

/// Where targets find what `corpus` wrote: seeds in `corpus/TARGET`, guests in `corpus/guests`.
pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The component of a guest.
///
/// # Panics
/// When it was not built.
pub fn guest(name: &str) -> Vec<u8> {
    let path = corpus().join("guests").join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run.sh builds it", path.display()))
}

/// The host, with the built-in plug-ins and without a cache.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let options = Options { builtins: heald_platform::builtins::embedded(), ..Options::default() };
        Host::with(options).expect("a host starts")
    })
}

/// A `[[plugin]]` table that grants nothing. Time is not what is tried here: a slow machine is no fault.
pub fn table(component: &str) -> PluginConfig {
    let generous = Some(Duration::from_secs(5));
    PluginConfig {
        name: "fuzzed".into(),
        component: component.to_owned(),
        config: Map::new(),
        grant: Grant::default(),
        limits: LimitsConfig { cpu: generous, wall: generous, memory_mib: None },
        mode: PluginMode::Active,
        instead_of: None,
        canary: CanaryConfig::default(),
    }
}

/// Waits for it, here.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let start = || Builder::new_current_thread().enable_all().build().expect("tokio starts");
    RUNTIME.get_or_init(start).block_on(future)
}
