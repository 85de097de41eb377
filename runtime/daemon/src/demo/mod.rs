//! `heald demo`: five real processes that crash, hang, leak, turn slow, and say that they are down, healed live.

pub mod service;

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::run::{self, RunArgs, RunMode};

use service::{DEMO_FAULTS, DemoFault};

/// The variable with the demo's directory. The keeper makes the directory, and every runtime uses its configuration.
const DIRECTORY: &str = "HEALD_DEMO_DIR";

/// The address at which the demo listens by default.
const LISTEN: &str = "127.0.0.1:8000";

/// Runs the demo until it is ended.
///
/// # Errors
/// What kept it from its work.
pub fn demo(mut args: RunArgs) -> anyhow::Result<ExitCode> {
    if args.listen.is_empty() && args.host.is_none() && args.port.is_none() {
        args.listen = vec![LISTEN.into()];
    }
    if let Some(directory) = std::env::var_os(DIRECTORY).filter(|_| heald_keeper::client::is_runtime()) {
        let file = run::file_in(Path::new(&directory));
        return run::run(&args, Some(&file), RunMode { narrated: true, env: Vec::new() });
    }
    let directory = prepare()?;
    let file = run::file_in(&directory);
    let env = vec![(DIRECTORY.to_owned(), directory.display().to_string())];
    let code = run::run(&args, Some(&file), RunMode { narrated: true, env });
    // Nothing in it outlives the demo.
    let _ = std::fs::remove_dir_all(&directory);
    code
}

/// A directory with the demo's configuration.
fn prepare() -> anyhow::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("heald-demo-{}", std::process::id()));
    let cache = directory.join("cache");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let heald = std::env::current_exe().context("cannot tell where heald is")?;
    let text = configuration(&heald, &directory, &cache)?;
    let file = run::file_in(&directory);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(directory)
}

fn configuration(heald: &Path, directory: &Path, cache: &Path) -> anyhow::Result<String> {
    // All ports are taken before any is released, so that they differ.
    let ports: Vec<TcpListener> =
        DEMO_FAULTS.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let quoted = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
    let mut text = format!(
        r#"# The demo's configuration, made by `heald demo`.
[store]
path = {database}
[log]
file = {log}

[healing]
# The demo shows a fault of each service every forty seconds; an operator would leave these as they are.
cooldown = "5s"
reopen_within = "1s"
[healing.backoff]
calm = "10s"
[healing.start_limit]
count = 100

[[plugin]]
name = "clear-cache"
component = "builtin:act-clear-cache"
grant = {{ files = [{cache}] }}
"#,
        database = quoted(&directory.join("heald.db")),
        log = quoted(&directory.join("heald.log")),
        cache = quoted(cache),
    );
    for (fault, port) in DEMO_FAULTS.iter().zip(&ports) {
        let address = port.local_addr()?;
        let word = clap::ValueEnum::to_possible_value(fault).map(|word| word.get_name().to_owned()).unwrap_or_default();
        let name = fault.service();
        let (more, option) = match fault {
            DemoFault::Leak => ("actions = [\"clear-cache\"]\n", format!(", \"--cache\", {}", quoted(cache))),
            _ => ("", String::new()),
        };
        write!(
            text,
            r#"
[[service]]
name = "{name}"
tags = ["{word}"]
{more}[service.process]
command = [{heald}, "demo-service", "--illness", "{word}", "--listen", "{address}"{option}]
[[service.probe]]
kind = "http"
url = "http://{address}/health"
period = "1s"
timeout = "500ms"
failure_threshold = 2
[service.config.threshold]
latency_ms = 250
memory_bytes = {{ limit = 60000000, condition = "memory-pressure" }}
"#,
            heald = quoted(heald),
        )?;
    }
    Ok(text)
}
