//! `heald plugin build`: from a plug-in's project to `dist/NAME.wasm`, which heald has loaded and set up once.
//!
//! How each language is built, `heald-plugin-build` knows; here the result is put to the host, as a running heald would.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use heald_host::{CallLimits, Host, HostError, Options, Plugin, PluginConfig, PluginRole, SetupError};
use heald_plugin_build::{Built, Metadata, Project};
use serde_json::{Map, json};

/// Where what was built is put.
const DIST: &str = "dist";

/// `heald plugin build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
}

/// Builds it.
///
/// # Errors
/// When a tool is missing, when the project does not build, or when heald would not load what came of it.
pub fn build(args: &BuildArgs) -> anyhow::Result<ExitCode> {
    let project = Project::at(&args.dir)?;
    let dist = project.directory().join(DIST);
    for built in project.build(&mut note)? {
        note("loading it, as heald would");
        let name = &built.metadata.name;
        let checked = check(&built).with_context(|| format!("{name} was built, but heald does not accept it"))?;
        let path = dist.join(format!("{name}.wasm"));
        put(&path, &built.component)?;
        let shown = std::env::current_dir().ok().and_then(|here| Some(path.strip_prefix(here).ok()?.to_owned()));
        tell(&shown.unwrap_or(path), &built, &checked)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Progress is for people, and no part of the answer.
#[allow(clippy::print_stderr)]
fn note(line: &str) {
    eprintln!("  {line}");
}

/// What was found out by loading it.
struct Checked {
    digest: String,
    loaded: Duration,
    set_up: SetUp,
}

enum SetUp {
    /// With an empty configuration, in this time.
    In(Duration),
    /// It wants a configuration; this is what it says to an empty one.
    Wants(String),
}

fn check(built: &Built) -> anyhow::Result<Checked> {
    let began = Instant::now();
    let host = Host::with(Options { cache: super::cache::folder(), ..Options::default() })?;
    let plugin = host.load_bytes(&granted(&built.metadata)?, &built.component)?;
    let loaded = began.elapsed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    let set_up = match runtime.block_on(set_up(&plugin)) {
        Ok(()) => SetUp::In(began.elapsed()),
        // It was instantiated and asked, which is what is to be shown here.
        Err(refusal @ HostError::Setup(SetupError::Config { .. })) => SetUp::Wants(refusal.to_string()),
        Err(error) => return Err(error.into()),
    };
    Ok(Checked { digest: plugin.reference().digest.clone(), loaded, set_up })
}

/// A table that grants all it says it needs, as an operator would: with nothing behind it.
fn granted(metadata: &Metadata) -> anyhow::Result<PluginConfig> {
    let mut grant = Map::new();
    for capability in &metadata.capabilities {
        match capability.as_str() {
            "wasi:filesystem" => grant.insert("files".to_owned(), json!([])),
            "wasi:http" => grant.insert("http".to_owned(), json!([])),
            "kv" | "process" | "process-control" => grant.insert(capability.replace('-', "_"), json!(true)),
            _ => None,
        };
    }
    let table = json!({ "name": metadata.name, "component": "", "grant": grant });
    serde_json::from_value(table).context("its name or its capabilities cannot stand in a configuration")
}

/// Types that differ from the contract's show only now.
async fn set_up(plugin: &Plugin) -> Result<(), HostError> {
    let config = Map::new();
    for role in plugin.roles() {
        match role {
            PluginRole::Detector => drop(plugin.detector(&config).await?),
            PluginRole::Policy => drop(plugin.policy(&config).await?),
            PluginRole::Action => drop(plugin.actions(&config).await?),
        }
    }
    Ok(())
}

/// Whole or not at all: a running heald may be watching the folder.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(written)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).with_context(written)?;
    std::fs::rename(&new, path).with_context(written)
}

fn tell(path: &Path, built: &Built, checked: &Checked) -> std::io::Result<()> {
    let Built { component, metadata } = built;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", path.display())?;
    writeln!(out, "  {} {} {}", metadata.roles.join(" and "), metadata.name, metadata.version)?;
    writeln!(out, "  {}, sha256 {}", size(component.len()), checked.digest)?;
    writeln!(out, "  needs granted: {}", metadata.capabilities.join(", "))?;
    match &checked.set_up {
        SetUp::In(time) => writeln!(out, "  loaded in {:.1?}, set up in {time:.1?}", checked.loaded)?,
        SetUp::Wants(words) => writeln!(out, "  loaded in {:.1?}; {words}", checked.loaded)?,
    }
    for note in excess(metadata) {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

/// What it suggests beyond what its role has, which only an operator can give.
fn excess(metadata: &Metadata) -> Vec<String> {
    let mut notes = Vec::new();
    for role in &metadata.roles {
        let limits = match role.as_str() {
            "detector" => CallLimits::DETECTOR,
            "policy" => CallLimits::POLICY,
            "action" => CallLimits::ACTION,
            _ => continue,
        };
        let (cpu_ms, memory_mib) = (limits.cpu.as_millis(), limits.memory >> 20);
        if u128::from(metadata.limits.cpu_ms) > cpu_ms {
            let wanted = metadata.limits.cpu_ms;
            notes.push(format!(
                "it suggests {wanted} ms of processor time and a {role} has {cpu_ms} ms; operators must write \
                 `limits = {{ cpu = \"{wanted}ms\" }}`"
            ));
        }
        if usize::try_from(metadata.limits.memory_mib).is_ok_and(|wanted| wanted > memory_mib) {
            let wanted = metadata.limits.memory_mib;
            notes.push(format!(
                "it suggests {wanted} MiB of memory and a {role} has {memory_mib} MiB; operators must write \
                 `limits = {{ memory_mib = {wanted} }}`"
            ));
        }
    }
    notes
}

/// For people.
fn size(bytes: usize) -> String {
    match bytes / 1_000 {
        0..1_000 => format!("{} KB", bytes.div_ceil(1_000)),
        kilobytes => format!("{}.{} MB", kilobytes / 1_000, kilobytes % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(role: &str, capabilities: &[&str], cpu_ms: u64) -> Metadata {
        serde_json::from_value(json!({
            "name": "x", "version": "1", "roles": [role], "capabilities": capabilities, "limits": { "cpu_ms": cpu_ms },
        }))
        .unwrap()
    }

    #[test]
    fn all_it_needs_is_granted_with_nothing_behind_it() {
        let all = ["log", "kv", "process", "process-control", "wasi:filesystem", "wasi:http"];
        let grant = granted(&metadata("action", &all, 0)).unwrap().grant;
        assert!(grant.kv && grant.process && grant.process_control);
        assert!(grant.files.is_some_and(|files| files.is_empty()) && grant.http.is_some_and(|hosts| hosts.is_empty()));
        assert_eq!(granted(&metadata("action", &["log"], 0)).unwrap().grant, heald_host::Grant::default());
    }

    #[test]
    fn more_than_the_role_has_is_noted() {
        assert!(excess(&metadata("detector", &[], 5)).is_empty());
        assert!(excess(&metadata("detector", &[], 50))[0].contains("cpu = \"50ms\""));
        assert!(excess(&metadata("action", &[], 50)).is_empty());
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        assert_eq!([900, 61_234, 12_121_934].map(size), ["1 KB", "62 KB", "12.1 MB"]);
    }
}
