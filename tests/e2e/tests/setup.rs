//! What the tests share: the binaries under test, and configurations.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use heald_harness::{Heald, Launch};
use heald_plugin_build::Workspace;
use serde_json::Value;

/// How long anything may take that is not itself being measured.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The process to be healed.
pub const VICTIM: &str = env!("CARGO_BIN_EXE_victim");

/// heald.
pub const HEALD: &str = env!("CARGO_BIN_EXE_heald-under-test");

/// The part of a configuration that every test needs. A test may go on with keys of `[keeper]`.
pub const BASE: &str = r#"
[server]
listen = ["127.0.0.1:@PORT@"]
[store]
path = "@DIR@/heald.db"
[keeper]
state_dir = "@DIR@/keeper"
"#;

/// Starts heald with this configuration after the common part.
pub fn start(config: &str) -> Heald {
    start_with(config, &[])
}

/// The same, with an environment.
pub fn start_with(config: &str, env: &[(&str, &str)]) -> Heald {
    Heald::start(launch(config, env))
}

/// The common part and this configuration.
pub fn launch(config: &str, env: &[(&str, &str)]) -> Launch {
    Launch {
        binary: PathBuf::from(HEALD),
        config: format!("{BASE}{config}"),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    }
}

/// A service that runs a victim.
pub fn victim(name: &str) -> String {
    format!(
        r#"
[[service]]
name = "{name}"
[service.process]
command = ["{VICTIM}", "@DIR@/{name}.lives"]
"#
    )
}

/// The lives of a victim so far: process id, and the monotonic nanosecond of its first instruction.
pub fn lives(heald: &Heald, name: &str) -> Vec<(u32, u64)> {
    let text = std::fs::read_to_string(heald.path(&format!("{name}.lives"))).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| {
            let (pid, began) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), began.parse().unwrap())
        })
        .collect()
}

/// The journal's rows so far, over the event stream.
pub fn rows(heald: &Heald) -> Vec<Value> {
    heald_harness::events(heald.address(), 0, |_| false)
}

/// The components of `tests/guests`, built from source once for all tests.
pub fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../guests");
        let guests = Workspace::at(sources).target_dir(&folder).build().expect("the guests build");
        for guest in guests {
            std::fs::write(folder.join(format!("{}.wasm", guest.package)), guest.component().unwrap()).unwrap();
        }
        folder
    });
    folder.join(format!("{name}.wasm"))
}
