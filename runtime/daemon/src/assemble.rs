//! Wiring: from a configuration to a healing runtime. It decides nothing; it plugs adapters into the engine's ports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use heald_api::SafeMode;
use heald_engine::ports::{Clock, DesiredStates, Entropy, Journal, Processes};
use heald_engine::{Healer, Past, Ports, ServiceList, ServiceSetup};
use heald_host::{Compiler, Host, Options, ProcessAccess, Trust};
use heald_keeper::client::Inherited;
use heald_model::{Desired, Entry, PluginName, Record, ServiceName, ServiceSpec};
use heald_probe::{Prober, ProberPorts, ServiceProbes};
use heald_store::{DesiredStateFile, NodeIdentity, OpenedDesiredState, Store};
use heald_supervisor::{Found, ProcessEvent, SupervisedService, Supervisor};
use tokio::sync::{mpsc, watch};

use crate::clock::{SystemClock, SystemEntropy};
use crate::desired_states::KeptDesiredStates;
use crate::safe_mode;
use heald_config::{Config, ServiceConfig, chain};
use heald_platform::action_executor::ActionExecutor;
use heald_platform::{
    ChainResolver, Consultants, Parts, Platform, PlatformPorts, PluginOrigin, PluginRegistry, Profile,
    RegisteredPlugin, builtins, process_events,
};

/// How often a supervised process is measured.
const PROCESS_PERIOD: Duration = Duration::from_secs(1);

/// How far back heald reads entries for the guard's ledger. The longest window of a rule is five minutes by default (the start limit), and
/// an operator may configure hours.
const LEDGER_SPAN: Duration = Duration::from_secs(24 * 3600);

/// A runtime that heals.
pub struct Assembled {
    /// The healer.
    pub healer: Arc<Healer>,
    /// All checks.
    pub prober: Prober,
    /// The journal.
    pub store: Arc<Store>,
    /// The plug-ins as operators see and change them.
    pub platform: Arc<Platform>,
    /// Answers questions from outside.
    pub consultants: Arc<Consultants>,
    /// The processes heald runs; None without a keeper.
    pub supervisor: Option<Supervisor>,
    /// Safe mode, while it lasts.
    pub safe_mode: watch::Receiver<Option<SafeMode>>,
    /// Services, dependencies before their dependents.
    pub order: Vec<ServiceName>,
    /// The task of the healer; it ends by itself only when the task of a service fails.
    pub healing: tokio::task::JoinHandle<()>,
    /// The tasks that record events of processes and checks, watch the folder, and judge trials.
    pub witnesses: Vec<tokio::task::JoinHandle<()>>,
}

/// Starts everything. Supervised services may still be starting when it returns.
///
/// # Errors
/// When the store, the keeper or the host cannot be used. A plug-in that cannot be loaded is no error, it is an incident.
pub async fn assemble(config: Config, keeper: Option<Inherited>) -> anyhow::Result<Assembled> {
    let clock: Arc<dyn Clock> = SystemClock::start();
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);

    let opened = Store::open(&config.store, NodeIdentity::alone("local")).context("cannot open the journal")?;
    let (store, mut notes) = (Arc::new(opened.store), opened.notes);
    let OpenedDesiredState { file, unreadable, notes: file_notes } =
        DesiredStateFile::open(config.store.desired_path());
    notes.extend(file_notes);
    if unreadable {
        tracing::error!(
            "the desired states of the services cannot be read: all healing is halted, and no service is started or stopped, until the file \
             can be read at a start; `heald resume --all` sets the file aside, and then every service is to run"
        );
    }

    let order = order(&config.service);
    let (supervisor, found) = attach(&config, keeper, clock.as_ref()).await?;
    let desired_states = Arc::new(KeptDesiredStates::new(file, unreadable, supervisor.clone()));
    let safe_mode = found.as_ref().and_then(|(found, _)| found.safe_mode.clone());
    if let Some((found, _)) = &found {
        notes.extend(safe_mode.iter().map(|safe_mode| safe_mode::announcement(safe_mode, clock.now())));
        notes.extend(process_events::tell(found));
        notes.extend(take_up_halt(&desired_states, found.halted).await);
    }
    if let Err(error) = desired_states.tell_keeper(None).await {
        tracing::error!("the keeper does not know what it may not start again while there is no runtime: {error}");
    }
    for note in &notes {
        tracing::warn!("{note}");
    }

    let config = Arc::new(config);
    let specs: BTreeMap<ServiceName, ServiceSpec> =
        config.service.iter().map(|service| (service.name.clone(), spec(&config, service))).collect();
    let executor = Arc::new(ActionExecutor {
        supervisor: supervisor.clone(),
        specs: specs.clone(),
        plugins: RwLock::default(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    });
    let reach =
        ProcessAccess { processes: Some(Arc::clone(&executor) as _), control: Some(Arc::clone(&executor) as _) };
    let host = host(&config, reach)?;
    let parts = Parts { host, config: Arc::clone(&config), clock: Arc::clone(&clock), store: Arc::clone(&store) };
    let suspects = found.iter().flat_map(|(found, _)| &found.suspects);
    let suspects = suspects.map(|name| PluginName::from(name.as_str())).collect();
    // In safe mode the runtimes before this one died. Plug-ins might be why, so none is loaded.
    let (platform, mut resolved, told) = Platform::open(parts, safe_mode.is_some(), suspects).await;
    told.iter().for_each(|note| tracing::warn!("{note}"));
    notes.extend(told);
    executor.offer(resolved.actions);
    let setup = |(name, spec)| ServiceSetup { spec, plugins: resolved.chains.remove(&name).unwrap_or_default() };
    let setups: Vec<ServiceSetup> = specs.into_iter().map(setup).collect();
    let consultants = Arc::new(Consultants::new(resolved.profiles, Arc::clone(&clock), Arc::clone(&entropy)));

    let services = Arc::new(ServiceList::default());
    let (changes, changed) = mpsc::unbounded_channel();
    let outside = ProberPorts {
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        processes: Arc::clone(&executor) as Arc<dyn Processes>,
        samples: Arc::clone(&services) as _,
        changes,
    };
    let watched = config.service.iter().map(|service| probes(&config, service)).collect();
    let prober = Prober::start(watched, outside, None).context("cannot start the probes")?;
    tracing::info!("Health monitoring started");

    let ports = Ports {
        clock: Arc::clone(&clock),
        entropy,
        journal: Arc::clone(&store) as Arc<dyn Journal>,
        probes: Arc::new(prober.clone()),
        actions: Arc::clone(&executor) as _,
        processes: Arc::clone(&executor) as _,
        desired_states: Arc::clone(&desired_states) as Arc<dyn DesiredStates>,
    };
    let past = past(&store, &config, clock.now()).await?;
    let healer = Healer::new(config.healing.clone(), ports, Arc::clone(&services), setups, past);
    healer.witness(Entry::of_heald(clock.now(), Record::Started { version: env!("CARGO_PKG_VERSION").into(), notes }));
    let platform_ports = PlatformPorts {
        healer: Arc::clone(&healer),
        executor,
        consultants: Arc::clone(&consultants),
        supervisor: supervisor.clone(),
    };
    let platform_tasks = platform.start(platform_ports);
    let (safe_mode_state, safe_mode_now) = watch::channel(safe_mode.as_ref().map(safe_mode::shown));
    for (service, desired) in desired_states.file().all() {
        heald_engine::ports::Probes::hold(&prober, &service, desired == Desired::Stopped);
    }

    let mut witnesses = platform_tasks;
    witnesses.push(tokio::spawn(process_events::witness_changes(changed, Arc::clone(&healer), supervisor.clone())));
    if let Some(safe_mode) = &safe_mode {
        let (healer, platform, clock) = (Arc::clone(&healer), Arc::clone(&platform), Arc::clone(&clock));
        witnesses.push(tokio::spawn(safe_mode::leave(safe_mode.until, safe_mode_state, healer, platform, clock)));
    }
    let healing = Arc::clone(&healer);
    let healing = tokio::spawn(async move { healing.run().await });
    if let (Some(supervisor), Some((found, events))) = (&supervisor, found) {
        let process_events = process_events::ProcessEvents {
            supervisor: supervisor.clone(),
            healer: Arc::clone(&healer),
            prober: prober.clone(),
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            clock,
            samples: services,
            heard: Arc::default(),
        };
        witnesses.push(tokio::spawn(process_events.clone().witness_processes(events)));
        witnesses.push(tokio::spawn(process_events.take_over(found, order.clone(), desired_states, unreadable)));
    }
    let safe_mode = safe_mode_now;
    Ok(Assembled { healer, prober, store, platform, consultants, supervisor, safe_mode, order, healing, witnesses })
}

/// Halts all healing if the keeper remembers a halt that the file does not know: the file could not be written then, or was
/// replaced. Returns a note for the operator.
async fn take_up_halt(desired_states: &KeptDesiredStates, halted: bool) -> Option<String> {
    if !halted || desired_states.halted() {
        return None;
    }
    let kept = desired_states.file().set_halted(true).await;
    let durable = kept.err().map(|error| format!("; this is not durable: {error}")).unwrap_or_default();
    Some(format!("all healing is halted: the keeper remembers it, and the desired-state file does not{durable}"))
}

/// The consultants alone, for a question without a runtime. With a service, a profile of its name is what that service is asked.
///
/// # Errors
/// When the plug-in host cannot be started, or there is no such service.
pub async fn consultants(config: &Config, asked: Option<&ServiceName>) -> anyhow::Result<Consultants> {
    let service = match asked {
        None => None,
        Some(name) => Some(config.service.iter().find(|service| service.name == *name).with_context(|| {
            let known: Vec<&str> = config.service.iter().map(|service| service.name.as_str()).collect();
            format!("no service is named `{name}`; configured: {}", known.join(", "))
        })?),
    };
    let host = host(config, ProcessAccess::default())?;
    let mut registry = PluginRegistry::new();
    let faults = load_all(&host, config, &mut registry).await;
    let only = service.cloned().into_iter().collect();
    let mut resolved = ChainResolver::of(&Config { service: only, ..config.clone() }, &registry).await;
    if let Some(service) = service {
        let chain = resolved.chains.remove(&service.name).unwrap_or_default();
        resolved.profiles.insert(service.name.to_string(), Profile::of(&chain, &spec(config, service)));
    }
    for (plugin, why) in faults.iter().chain(&resolved.faults) {
        tracing::error!(plugin = %plugin, "cannot be used: {why}");
    }
    Ok(Consultants::new(resolved.profiles, SystemClock::start(), Arc::new(SystemEntropy)))
}

/// Loads every plug-in of the configuration into `registry`; returns those that could not be loaded, with the reason.
///
/// # Errors
/// Never: a plug-in that cannot be loaded is no error here.
pub async fn load_all(host: &Host, config: &Config, registry: &mut PluginRegistry) -> Vec<(PluginName, String)> {
    let mut faults = Vec::new();
    for table in &config.plugin {
        let mut registered = RegisteredPlugin::new(table.clone(), PluginOrigin::Configuration, Default::default());
        match host.fetch(table).await {
            Ok(plugin) => registered.plugin = Some(plugin),
            Err(error) => faults.push((table.name.clone(), format!("{}: {}", table.component, chain(&error)))),
        }
        registry.insert(table.name.clone(), registered);
    }
    faults
}

/// The plug-in host as the configuration has it.
///
/// # Errors
/// When a trusted key cannot be read, or wasmtime cannot be set up.
pub fn host(config: &Config, reach: ProcessAccess) -> anyhow::Result<Host> {
    let trust = Trust::read(&config.plugins).context("[plugins] trusted_keys")?;
    let cache = config.plugins.cache.clone().unwrap_or_else(|| config.store.path.with_extension("cache"));
    let compiler = std::env::current_exe().ok().map(|program| {
        // The file that this process was started from, even if another file has its name now.
        let image = Path::new("/proc/self/exe");
        let program = if image.exists() { image.to_owned() } else { program };
        Compiler { program, arguments: vec!["compile-plugin".into()] }
    });
    let options = Options {
        builtins: builtins::embedded(),
        cache: Some(cache),
        trust,
        compiler,
        processes: reach,
        ..Options::default()
    };
    Host::with(options).context("cannot start the plug-in host")
}

async fn attach(
    config: &Config,
    keeper: Option<Inherited>,
    clock: &dyn Clock,
) -> anyhow::Result<(Option<Supervisor>, Option<(Found, mpsc::UnboundedReceiver<ProcessEvent>)>)> {
    let Some(keeper) = keeper else { return Ok((None, None)) };
    let processes = config.service.iter().filter_map(|service| {
        let process = service.process.clone()?;
        Some(SupervisedService {
            name: service.name.clone(),
            depends_on: service.depends_on.clone(),
            probed: !service.probe.is_empty(),
            config: process,
        })
    });
    let state_dir = absolute(&config.keeper.state_dir(&config.store))?;
    let options = heald_supervisor::Options {
        beat: config.keeper.heartbeat,
        ..heald_supervisor::Options::new(state_dir.join("logs"), clock.now())
    };
    let (supervisor, found) = Supervisor::connect(keeper.stream, processes.collect(), options)
        .await
        .context("cannot attach to the keeper")?;
    // Subscribe at once, so that no event is missed.
    let events = supervisor.subscribe();
    Ok((Some(supervisor), Some((found, events))))
}

/// The keeper needs absolute paths: its working directory may be another.
fn absolute(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}

fn probes(config: &Config, service: &ServiceConfig) -> ServiceProbes {
    ServiceProbes {
        service: service.name.clone(),
        probes: service.probe.clone(),
        breaker: config.breaker(service),
        process: service.process.is_some().then_some(PROCESS_PERIOD),
        replicas: service.process.as_ref().map_or(1, |process| process.replicas),
        startup: service.startup,
    }
}

fn spec(config: &Config, service: &ServiceConfig) -> ServiceSpec {
    let probes = probes(config, service);
    ServiceSpec {
        name: service.name.clone(),
        tags: service.tags.clone(),
        depends_on: service.depends_on.clone(),
        probes: probes.specs(),
        supervised: service.process.is_some(),
        replicas: service.process.as_ref().map_or(0, |process| process.replicas),
        startup: service.startup,
        detectors: config.detectors(service).to_vec(),
        policies: config.policies(service).to_vec(),
        mode: config.mode(service),
        metadata: serde_json::Value::Object(service.metadata.clone()),
    }
}

/// The services, dependencies before their dependents. The configuration is checked and has no cycle.
fn order(services: &[ServiceConfig]) -> Vec<ServiceName> {
    let mut order: Vec<ServiceName> = Vec::new();
    let mut left: Vec<&ServiceConfig> = services.iter().collect();
    while !left.is_empty() {
        let known: BTreeSet<&ServiceName> = order.iter().collect();
        let (ready, later): (Vec<&ServiceConfig>, Vec<&ServiceConfig>) =
            left.iter().partition(|service| service.depends_on.iter().all(|needed| known.contains(needed)));
        // Only in a cycle is none ready; then any order will do.
        let (ready, later) = if ready.is_empty() { (later, Vec::new()) } else { (ready, later) };
        order.extend(ready.iter().map(|service| service.name.clone()));
        left = later;
    }
    order
}

/// Reads from the journal what the healer needs to know of the past.
async fn past(store: &Store, config: &Config, now: heald_model::Moment) -> anyhow::Result<Past> {
    let mut incidents = store.open_incidents().await.context("cannot read open incidents")?;
    incidents.extend(store.resolved_since(now - config.healing.reopen_within).await.context("cannot read incidents")?);
    let entries = store.entries_since(now - LEDGER_SPAN).await.context("cannot read the ledger")?;
    let catalog = store.learned().await.context("cannot read the catalog")?;
    Ok(Past { incidents, entries, catalog })
}
