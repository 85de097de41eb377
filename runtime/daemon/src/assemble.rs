//! Wiring: from a configuration to a healing runtime. It decides nothing; it plugs adapters into the engine's ports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use heald_engine::ports::{Clock, Entropy, Journal, Processes, Wishes};
use heald_engine::{Charge, Consultants, Healer, Past, Ports};
use heald_host::{Compiler, Host, Options, ProcessAccess, Trust};
use heald_keeper::client::Inherited;
use heald_model::{Desired, Entry, Mode, PluginName, Record, ServiceName, ServiceSpec};
use heald_probe::{Outside, Prober, ServiceProbes};
use heald_store::{Origin, Store, WishFile};
use heald_supervisor::{Event, Found, ServiceProcess, Supervisor};
use tokio::sync::mpsc;

use crate::actions::Hands;
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::{Config, ServiceConfig};
use crate::platform::{self, Casting, Enrolled, Parts, Platform, Roster, Stage, chain};
use crate::{builtins, keepers};

/// How often a supervised process is measured.
const PROCESS_PERIOD: Duration = Duration::from_secs(1);

/// So far back the guard's ledger reaches: the longest of its memories is the start limit's five minutes by default, and an
/// operator may ask for hours.
const LEDGER_SPAN: Duration = Duration::from_secs(24 * 3600);

/// A runtime that heals.
pub struct Assembled {
    /// The healer.
    pub healer: Arc<Healer>,
    /// All checks.
    pub prober: Prober,
    /// The journal.
    pub store: Arc<Store>,
    /// The plug-ins, to be looked at and changed.
    pub platform: Arc<Platform>,
    /// The plug-ins, to be consulted.
    pub consultants: Arc<Consultants>,
    /// The processes heald runs; None without a keeper.
    pub supervisor: Option<Supervisor>,
    /// Services, dependencies before their dependents.
    pub order: Vec<ServiceName>,
    /// The healer at work; it ends when the samples do.
    pub healing: tokio::task::JoinHandle<()>,
    /// News of processes and checks on their way into the record, the watched folder, the judging of trials.
    pub witnesses: Vec<tokio::task::JoinHandle<()>>,
}

/// Brings everything up; returns when the work has begun, with supervised services on their way.
///
/// # Errors
/// When the store, the keeper or the host cannot be used. A plug-in that cannot be loaded is no error, it is an incident.
pub async fn assemble(mut config: Config, keeper: Option<Inherited>) -> anyhow::Result<Assembled> {
    let clock: Arc<dyn Clock> = SystemClock::start();
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let safe_mode = keeper.as_ref().is_some_and(|keeper| keeper.safe_mode);

    let opened = Store::open(&config.store, Origin::alone("local")).context("cannot open the journal")?;
    let (store, mut notes) = (Arc::new(opened.store), opened.notes);
    let wishes = WishFile::open(config.store.desired_path());
    notes.extend(wishes.notes);
    if wishes.unreadable {
        tracing::error!(
            "nobody knows what is wanted of the services: mode is observe for all of them until that is mended"
        );
        config.healing.mode = Mode::Observe;
        config.service.iter_mut().for_each(|service| service.mode = None);
    }
    let blind = wishes.unreadable;
    let wishes = Arc::new(wishes.wishes);

    let order = order(&config.service);
    let (supervisor, found) = attach(&config, keeper, clock.as_ref()).await?;
    if let Some((found, _)) = &found {
        notes.extend(keepers::tell(found));
    }
    for note in &notes {
        tracing::warn!("{note}");
    }

    let config = Arc::new(config);
    let specs: BTreeMap<ServiceName, ServiceSpec> =
        config.service.iter().map(|service| (service.name.clone(), spec(&config, service))).collect();
    let hands = Arc::new(Hands {
        supervisor: supervisor.clone(),
        specs: specs.clone(),
        plugins: RwLock::default(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
    });
    let reach = ProcessAccess { processes: Some(Arc::clone(&hands) as _), control: Some(Arc::clone(&hands) as _) };
    let host = host(&config, reach)?;
    let parts = Parts { host, config: Arc::clone(&config), clock: Arc::clone(&clock), store: Arc::clone(&store) };
    if safe_mode {
        tracing::error!("safe mode: heald died repeatedly; native rules only, no plug-in is loaded");
    }
    // In safe mode the runtimes before this one died young: whatever the reason is, plug-ins stay out of it.
    let (platform, mut casting, told) = Platform::open(parts, safe_mode).await;
    told.iter().for_each(|note| tracing::warn!("{note}"));
    notes.extend(told);
    hands.offer(casting.actions);
    let charge = |(name, spec)| Charge { spec, cast: casting.casts.remove(&name).unwrap_or_default() };
    let charges: Vec<Charge> = specs.into_iter().map(charge).collect();
    let consultants = Arc::new(Consultants::new(casting.profiles, Arc::clone(&clock), Arc::clone(&entropy)));

    let (samples, inbox) = mpsc::unbounded_channel();
    let (changes, changed) = mpsc::unbounded_channel();
    let outside = Outside {
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        processes: Arc::clone(&hands) as Arc<dyn Processes>,
        samples: samples.clone(),
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
        actions: Arc::clone(&hands) as _,
        processes: Arc::clone(&hands) as _,
        wishes: Arc::clone(&wishes) as Arc<dyn Wishes>,
    };
    let past = past(&store, &config, clock.now()).await?;
    let healer = Healer::new(config.healing.clone(), ports, charges, past);
    healer.witness(Entry::of_heald(clock.now(), Record::Started { version: env!("CARGO_PKG_VERSION").into(), notes }));
    let stage = Stage { healer: Arc::clone(&healer), hands, consultants: Arc::clone(&consultants) };
    let platform_tasks = platform.start(stage);
    for (service, desired) in wishes.all() {
        heald_engine::ports::Probes::hold(&prober, &service, desired == Desired::Stopped);
    }

    let mut witnesses = platform_tasks;
    witnesses.push(tokio::spawn(keepers::witness_changes(changed, Arc::clone(&healer), supervisor.clone())));
    let healing = tokio::spawn(Arc::clone(&healer).run(inbox));
    if let (Some(supervisor), Some((found, events))) = (&supervisor, found) {
        let crew = keepers::Crew {
            supervisor: supervisor.clone(),
            healer: Arc::clone(&healer),
            prober: prober.clone(),
            journal: Arc::clone(&store) as Arc<dyn Journal>,
            clock,
            samples,
            heard: Arc::default(),
        };
        witnesses.push(tokio::spawn(crew.clone().witness_processes(events)));
        witnesses.push(tokio::spawn(crew.take_over(found, order.clone(), wishes, blind)));
    }
    Ok(Assembled { healer, prober, store, platform, consultants, supervisor, order, healing, witnesses })
}

/// The plug-ins alone, to be consulted with no runtime.
///
/// # Errors
/// When the plug-in host cannot be started.
pub async fn consultants(config: &Config) -> anyhow::Result<Consultants> {
    let host = host(config, ProcessAccess::default())?;
    let mut roster = Roster::new();
    let faults = load_all(&host, config, &mut roster).await;
    let casting = Casting::of(&Config { service: Vec::new(), ..config.clone() }, &roster).await;
    for (plugin, why) in faults.iter().chain(&casting.faults) {
        tracing::error!(plugin = %plugin, "cannot be used: {why}");
    }
    Ok(Consultants::new(casting.profiles, SystemClock::start(), Arc::new(SystemEntropy)))
}

/// Loads every plug-in of the configuration; returns what was refused, and why.
///
/// # Errors
/// Never: a refusal is no error here.
pub async fn load_all(host: &Host, config: &Config, roster: &mut Roster) -> Vec<(PluginName, String)> {
    let mut faults = Vec::new();
    for table in &config.plugin {
        let mut enrolled = Enrolled::new(table.clone(), platform::Origin::Configuration, Default::default());
        match host.fetch(table).await {
            Ok(plugin) => enrolled.plugin = Some(plugin),
            Err(error) => faults.push((table.name.clone(), format!("{}: {}", table.component, chain(&error)))),
        }
        roster.insert(table.name.clone(), enrolled);
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
        // What this process was started from, even if another file has that name by now.
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
) -> anyhow::Result<(Option<Supervisor>, Option<(Found, mpsc::UnboundedReceiver<Event>)>)> {
    let Some(keeper) = keeper else { return Ok((None, None)) };
    let processes = config.service.iter().filter_map(|service| {
        let process = service.process.clone()?;
        Some(ServiceProcess {
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
    // At once, before anything can happen that nobody hears of.
    let events = supervisor.subscribe();
    Ok((Some(supervisor), Some((found, events))))
}

/// The keeper's children get absolute paths: its working directory is its own.
fn absolute(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot make {} absolute", path.display()))
}

fn probes(config: &Config, service: &ServiceConfig) -> ServiceProbes {
    ServiceProbes {
        service: service.name.clone(),
        probes: service.probe.clone(),
        breaker: config.breaker(service).clone(),
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

/// Services with dependencies before their dependents. The configuration was checked: there is no cycle.
fn order(services: &[ServiceConfig]) -> Vec<ServiceName> {
    let mut order: Vec<ServiceName> = Vec::new();
    let mut left: Vec<&ServiceConfig> = services.iter().collect();
    while !left.is_empty() {
        let known: BTreeSet<&ServiceName> = order.iter().collect();
        let (ready, later): (Vec<&ServiceConfig>, Vec<&ServiceConfig>) =
            left.iter().partition(|service| service.depends_on.iter().all(|needed| known.contains(needed)));
        // None is ready only in a cycle; then the order given is as good as any.
        let (ready, later) = if ready.is_empty() { (later, Vec::new()) } else { (ready, later) };
        order.extend(ready.iter().map(|service| service.name.clone()));
        left = later;
    }
    order
}

/// What the journal remembers.
async fn past(store: &Store, config: &Config, now: heald_model::Moment) -> anyhow::Result<Past> {
    let mut incidents = store.open_incidents().await.context("cannot read open incidents")?;
    incidents.extend(store.resolved_since(now - config.healing.reopen_within).await.context("cannot read incidents")?);
    let entries = store.entries_since(now - LEDGER_SPAN).await.context("cannot read the ledger")?;
    let catalog = store.learned().await.context("cannot read the catalog")?;
    Ok(Past { incidents, entries, catalog })
}
