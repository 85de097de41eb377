//! The platform itself: what is loaded, and the one way in which it changes. Its parts are the watched folder, the orders of operators,
//! the judgement of canaries, and the status of each plug-in.

mod canary;
mod folder;
mod orders;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use heald_control::PluginMode;
use heald_engine::ports::{Clock, Journal};
use heald_engine::{Healer, PluginChain, PluginSlot};
use heald_host::{Capability, Host, HostError, Plugin, PluginConfig, SectionError};
use heald_model::{Entry, Fault, FaultCause, Moment, PluginName, PluginRef, Record, ServiceName};
use heald_store::{Store, StoreConfig};
use heald_supervisor::Supervisor;

use heald_config::{Config, chain};

use crate::action_executor::ActionExecutor;
use crate::chain_resolver::ChainResolver;
use crate::components::{Components, components_dir};
use crate::consult::Consultants;
use crate::overrides::{OverrideFile, OverrideKind, Overrides, PluginOverride};
use crate::registry::{PluginOrigin, PluginRegistry, RegisteredPlugin, Use, nameless};
use crate::self_test;

/// The longest time that heald's start waits for plug-ins. Loading one from the cache takes some milliseconds. Compiling one with an
/// interpreter in it takes seconds, once; the native rules answer until then.
const HASTE: Duration = Duration::from_secs(3);

/// After safe mode a plug-in is in use for this long before the next one is taken back: a few looks at every service.
const TRIED: Duration = Duration::from_secs(3);

/// The plug-ins of a running heald.
pub struct Platform {
    host: Host,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    components: Components,
    override_file: OverrideFile,
    overrides: Mutex<Overrides>,
    registry: RwLock<PluginRegistry>,
    /// The plug-ins that were still loading when heald began.
    late: Mutex<Vec<(PluginName, Fetching)>>,
    /// The watched folder as it was at the first look.
    scanned: Mutex<folder::Stamps>,
    /// Safe mode: no plug-in is loaded by heald itself. [`come_back`](Self::come_back) ends it.
    idle: AtomicBool,
    /// Plug-ins of which heald may have died. They are left out until an operator takes them into use again.
    suspects: Mutex<BTreeSet<PluginName>>,
    /// Whoever changes plug-ins holds it: there is one change at a time.
    changing: tokio::sync::Mutex<()>,
    /// The plug-ins that each service has now: a service whose plug-ins stay the same is left alone.
    in_use: Mutex<BTreeMap<ServiceName, PluginChain>>,
    ports: OnceLock<PlatformPorts>,
}

/// The parts of heald that use plug-ins.
pub struct PlatformPorts {
    /// The healer asks detectors and policies.
    pub healer: Arc<Healer>,
    /// The executor offers the actions.
    pub executor: Arc<ActionExecutor>,
    /// The consultants answer questions from outside.
    pub consultants: Arc<Consultants>,
    /// Tells the keeper which plug-in is tried, in case heald dies of it; None without a keeper.
    pub supervisor: Option<Supervisor>,
}

/// What a platform is made of.
pub struct Parts {
    /// Where plug-ins run.
    pub host: Host,
    /// What is configured.
    pub config: Arc<Config>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The journal.
    pub store: Arc<Store>,
}

/// The path of the file of overrides.
fn override_path(store: &StoreConfig) -> std::path::PathBuf {
    store.path.with_extension("plugins.json")
}

impl Platform {
    /// Loads every plug-in of the configuration and of the folder. One that cannot be loaded is in the registry with the reason. With
    /// `idle` no plug-in is loaded: heald died repeatedly, and plug-ins might be why. The `suspects` are left out in any case: heald
    /// died when it took them into use.
    pub async fn open(
        parts: Parts,
        idle: bool,
        suspects: BTreeSet<PluginName>,
    ) -> (Arc<Self>, ChainResolver, Vec<String>) {
        let Parts { host, config, clock, store } = parts;
        let (override_file, mut overrides, note) = OverrideFile::open(override_path(&config.store));
        if let Some(note) = &note {
            tracing::error!("{note}");
            match store.plugin_moves().await {
                Ok(moves) if override_file.is_broken() => overrides.recall(&moves),
                Ok(_) => {}
                Err(error) => tracing::error!("nor does the journal tell what was decided about plug-ins: {error}"),
            }
        }
        let platform = Self {
            host,
            components: Components::at(components_dir(&config.store)),
            config,
            clock,
            store,
            override_file,
            overrides: Mutex::new(overrides.clone()),
            late: Mutex::default(),
            scanned: Mutex::default(),
            idle: AtomicBool::new(idle),
            suspects: Mutex::new(suspects.clone()),
            registry: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            in_use: Mutex::default(),
            ports: OnceLock::new(),
        };
        let mut registry = PluginRegistry::new();
        for table in &platform.config.plugin {
            let plugin_override = overrides.of(table);
            registry.insert(
                table.name.clone(),
                RegisteredPlugin::new(table.clone(), PluginOrigin::Configuration, plugin_override),
            );
        }
        let (scanned, found) = folder::scan(platform.config.plugins.folder.clone()).await;
        *platform.scanned.lock().unwrap_or_else(PoisonError::into_inner) = scanned;
        let mut clashes = Vec::new();
        for dropped in found {
            let name = dropped.table.name.clone();
            if registry.contains_key(&name) {
                clashes.push(name);
                continue;
            }
            let plugin_override = overrides.of(&dropped.table);
            registry.insert(name, dropped.register(plugin_override));
        }
        for name in suspects {
            if let Some(registered) = registry.get_mut(&name) {
                let why = format!(
                    "heald died when it took {name} into use, so it is left out; `heald plugin reload {name}` tries it again"
                );
                tracing::error!(plugin = %name, "{why}");
                registered.why = Some(why);
            }
        }
        if !idle {
            platform.load_all(&mut registry).await;
        }
        for name in clashes {
            let why = "the watched folder has a file of that name too, which is not used";
            tracing::error!(plugin = %name, "{why}");
            if let Some(registered) = registry.get_mut(&name) {
                registered.why.get_or_insert(why.into());
            }
        }
        let resolved = ChainResolver::of(&platform.config, &registry).await;
        for (name, why) in &resolved.faults {
            tracing::error!(plugin = %name, "cannot be used: {why}");
            if let Some(registered) = registry.get_mut(name) {
                registered.why = Some(why.clone());
            }
        }
        *platform.in_use() = resolved.chains.clone();
        *platform.registry_mut() = registry;
        (Arc::new(platform), resolved, note.into_iter().collect())
    }

    /// Reports the plug-ins that could not be loaded, watches the folder and judges trials. Returns the tasks.
    pub fn start(self: &Arc<Self>, ports: PlatformPorts) -> Vec<tokio::task::JoinHandle<()>> {
        for registered in self.registry().values() {
            // Whoever disabled a plug-in need not hear what else is wrong with it.
            let Some(why) = registered.why.as_ref().filter(|_| !registered.disabled()) else { continue };
            ports.healer.plugins().faulted(None, &registered.reference(), &Fault::new(FaultCause::Load, why.clone()));
        }
        let plugins = ports.healer.plugins();
        if self.override_file.is_broken()
            && let Some(why) = self.overrides.lock().unwrap_or_else(PoisonError::into_inner).unknown()
        {
            let why = format!("the decisions about plug-ins cannot be read: {why}");
            plugins.faulted(None, &nameless(&self.override_file.name()), &Fault::new(FaultCause::Load, why));
        } else {
            plugins.gone(&nameless(&self.override_file.name()), "the decisions about plug-ins can be read again");
        }
        // What was removed from the configuration or the folder while heald was away.
        let known = self.registry();
        for name in plugins.with_incident() {
            if name != self.override_file.name() && !known.contains_key(&name) {
                plugins.gone(&nameless(&name), "the plug-in was removed");
            }
        }
        // Only `start` sets it, and it is called once.
        let _ = self.ports.set(ports);
        if self.is_idle() { Vec::new() } else { self.start_tasks() }
    }

    /// True in safe mode: plug-ins are not loaded by heald itself.
    fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Takes the plug-ins back into use after safe mode, one by one, and starts the tasks that look after them. The keeper knows which
    /// one is tried: if heald dies of it, it is left out from then on.
    pub async fn come_back(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let names: Vec<PluginName> = self.registry().into_keys().collect();
        for name in names {
            self.trying(Some(&name)).await;
            if self.take_back(&name).await {
                tokio::time::sleep(TRIED).await;
            }
        }
        self.trying(None).await;
        self.idle.store(false, Ordering::Relaxed);
        self.start_tasks()
    }

    /// Loads a plug-in that was left out in safe mode, and takes it into use; false if there is nothing to do.
    async fn take_back(&self, name: &PluginName) -> bool {
        let _turn = self.changing.lock().await;
        let registry = self.registry();
        let left_out = |registered: &&RegisteredPlugin| registered.plugin.is_none() && registered.why.is_none();
        let Some(mut candidate) = registry.get(name).filter(left_out).cloned() else { return false };
        self.load(&mut candidate).await;
        self.take_into_use(registry, candidate, "safe mode has ended").await;
        true
    }

    /// Tells the keeper which plug-in is tried, or that the last one did no harm.
    async fn trying(&self, name: Option<&PluginName>) {
        let Some(supervisor) = self.ports.get().and_then(|ports| ports.supervisor.as_ref()) else { return };
        if let Err(error) = supervisor.trying(name.map(ToString::to_string)).await {
            tracing::warn!("the keeper does not know which plug-in is tried: {error}");
        }
    }

    /// An operator takes a plug-in into use of which heald may have died before. The keeper knows that it is tried; once it did no harm
    /// for a while it is suspected no more.
    async fn try_suspect(self: &Platform, name: &PluginName) {
        let suspected = self.suspects.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let supervisor = self.ports.get().and_then(|ports| ports.supervisor.clone()).filter(|_| suspected);
        let Some(supervisor) = supervisor else { return };
        self.trying(Some(name)).await;
        tokio::spawn(async move {
            tokio::time::sleep(TRIED).await;
            if let Err(error) = supervisor.trying(None).await {
                tracing::warn!("the keeper still suspects a plug-in: {error}");
            }
        });
    }

    /// Watches the folder, judges trials, and loads what was late.
    fn start_tasks(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        for (name, registered) in self.registry() {
            self.follow_trial(&name, &registered);
        }
        let mut tasks = vec![tokio::spawn(Arc::clone(self).judge_trials()), tokio::spawn(Arc::clone(self).load_late())];
        if let Some(folder) = self.config.plugins.folder.clone() {
            tasks.push(tokio::spawn(Arc::clone(self).watch(folder)));
        }
        tasks
    }

    /// Loads all plug-ins at once. It waits for built-in ones, and for a moment for the others: a long compilation must not delay
    /// healing, so such a plug-in comes later.
    async fn load_all(&self, registry: &mut PluginRegistry) {
        let mut fetching = Vec::new();
        for registered in registry.values_mut().filter(|registered| registered.why.is_none()) {
            if registered.table.component.starts_with("builtin:") {
                self.load(registered).await;
                continue;
            }
            let (host, table) = (self.host.clone(), effective(registered));
            fetching.push((registered.table.name.clone(), tokio::spawn(async move { host.fetch(&table).await })));
        }
        let haste = tokio::time::Instant::now() + HASTE;
        for (name, mut fetch) in fetching {
            let Some(registered) = registry.get_mut(&name) else { continue };
            match tokio::time::timeout_at(haste, &mut fetch).await {
                Ok(fetched) => self.settle(registered, joined(fetched)).await,
                Err(_) => {
                    registered.loading = true;
                    self.late.lock().unwrap_or_else(PoisonError::into_inner).push((name, fetch));
                }
            }
        }
    }

    /// Takes the plug-ins into use that were still loading at the start.
    async fn load_late(self: Arc<Self>) {
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, fetch) in late {
            let fetched = joined(fetch.await);
            let _turn = self.changing.lock().await;
            let registry = self.registry();
            // An operator may have reloaded it, or somebody taken it away.
            let Some(mut candidate) = registry.get(&name).filter(|registered| registered.loading).cloned() else {
                continue;
            };
            candidate.loading = false;
            self.settle(&mut candidate, fetched).await;
            self.take_into_use(registry, candidate, "it took longer than the start").await;
        }
    }

    /// Takes a plug-in into use that was loaded after the start. The caller holds `changing`.
    async fn take_into_use(&self, mut registry: PluginRegistry, candidate: RegisteredPlugin, why: &str) {
        let (name, reference, registered) = (candidate.table.name.clone(), candidate.reference(), candidate.clone());
        let failed = candidate.why.clone();
        registry.insert(name.clone(), candidate);
        let refused = match failed {
            None => self.change(registry.clone(), Some(&name)).await.err(),
            failed => failed,
        };
        match refused {
            None => {
                self.follow_trial(&name, &registered);
                self.tell(reference, "loaded", "heald", why);
            }
            Some(why) => {
                let failed = RegisteredPlugin { plugin: None, why: Some(why.clone()), ..registered };
                self.list_unused(registry, failed);
                self.reject(&name, why);
            }
        }
    }

    /// Reads, verifies and compiles a plug-in off the threads that heal. What runs is not touched; a failure is noted in `registered`.
    async fn load(&self, registered: &mut RegisteredPlugin) {
        let fetched = self.host.fetch(&effective(registered)).await;
        self.settle(registered, fetched).await;
    }

    /// Notes the result of a load.
    async fn settle(&self, registered: &mut RegisteredPlugin, fetched: Result<Plugin, HostError>) {
        match fetched {
            Ok(plugin) => {
                // A capability that was revoked from the name is revoked from this version too.
                let revoked =
                    registered.plugin_override.revoked.iter().filter_map(|word| word.parse::<Capability>().ok());
                revoked.for_each(|capability| {
                    plugin.revoke(capability);
                });
                let (kept, component) = (self.components.clone(), registered.table.component.clone());
                let digest = plugin.reference().digest.clone();
                let keeping = tokio::task::spawn_blocking(move || kept.keep(&component, &digest));
                // `keep` logs what goes wrong.
                let _ = keeping.await;
                (registered.plugin, registered.why, registered.since) = (Some(plugin), None, self.clock.now());
            }
            Err(error) => {
                let why = format!("{}: {}", registered.table.component, chain(&error));
                tracing::error!(plugin = %registered.table.name, "cannot be used: {why}");
                (registered.plugin, registered.why) = (None, Some(why));
            }
        }
    }

    /// Changes what runs to the plug-ins of `registry`: resolves all chains, tests the `new` plug-in, then swaps. There is no other way.
    /// An error leaves everything as it was. The caller holds `changing`.
    async fn change(&self, registry: PluginRegistry, new: Option<&PluginName>) -> Result<(), String> {
        let resolved = ChainResolver::of(&self.config, &registry).await;
        if let Some(new) = new {
            if let Some((_, why)) = resolved.faults.iter().find(|(name, _)| name == new) {
                return Err(why.clone());
            }
            self_test::self_test(new, &resolved, &self.store, self.clock.now()).await?;
        }
        *self.registry_mut() = registry;
        let Some(ports) = self.ports.get() else { return Ok(()) };
        ports.executor.offer(resolved.actions);
        ports.consultants.recast(resolved.profiles);
        let mut in_use = self.in_use();
        for (service, chain) in resolved.chains {
            let before = in_use.insert(service.clone(), chain.clone());
            if !before.is_some_and(|before| same_plugins(&before, &chain)) {
                ports.healer.plugins().set_plugins(&service, chain);
            }
        }
        Ok(())
    }

    /// Ends a plug-in's trial, and begins another if the plug-in is still a shadow or a canary.
    fn restart_trial(&self, name: &PluginName, registered: &RegisteredPlugin) {
        if let Some(ports) = self.ports.get() {
            ports.healer.plugins().end_trial(name);
        }
        self.follow_trial(name, registered);
    }

    /// Begins the trial of a shadow or a canary that has none yet.
    fn follow_trial(&self, name: &PluginName, registered: &RegisteredPlugin) {
        let Some(ports) = self.ports.get() else { return };
        match registered.used() {
            Use::Shadow | Use::Canary if ports.healer.plugins().trial(name).is_none() => {
                ports.healer.plugins().begin_trial(name)
            }
            _ => {}
        }
    }

    /// Writes the override of a plug-in durably.
    async fn keep_override(
        self: &Platform,
        name: &PluginName,
        plugin_override: &PluginOverride,
    ) -> std::io::Result<()> {
        let all = {
            let mut overrides = self.overrides.lock().unwrap_or_else(PoisonError::into_inner);
            overrides.set(name.clone(), plugin_override.clone());
            overrides.clone()
        };
        let file = self.override_file.clone();
        let was_broken = file.is_broken();
        tokio::task::spawn_blocking(move || file.write(&all)).await.map_err(std::io::Error::other)??;
        if was_broken {
            let why = "the file was set aside, and a new one has what is decided from now on";
            self.gone(&nameless(&self.override_file.name()), why);
        }
        Ok(())
    }

    /// The override of the plug-in of this table.
    fn override_of(&self, table: &PluginConfig) -> PluginOverride {
        self.overrides.lock().unwrap_or_else(PoisonError::into_inner).of(table)
    }

    /// What was wrong with a plug-in is over: its incident is resolved.
    fn gone(&self, plugin: &PluginRef, why: &str) {
        if let Some(ports) = self.ports.get() {
            ports.healer.plugins().gone(plugin, why);
        }
    }

    /// Records a move of a plug-in in the journal and logs it.
    fn tell(&self, plugin: PluginRef, to: &str, by: &str, why: impl Into<String>) {
        let why = why.into();
        tracing::info!(plugin = %plugin, by, "{to}: {why}");
        let record = Record::PluginMoved { plugin, to: to.to_owned(), by: by.to_owned(), why };
        self.store.write(vec![Entry::of_heald(self.clock.now(), record)]);
    }

    fn registry(&self) -> PluginRegistry {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn registry_mut(&self) -> std::sync::RwLockWriteGuard<'_, PluginRegistry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_use(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, PluginChain>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }
}

/// True if both have the same instances of the same plug-ins, in the same order and the same parts.
fn same_plugins(one: &PluginChain, other: &PluginChain) -> bool {
    same_members(&one.detectors, &other.detectors)
        && same_members(&one.policies, &other.policies)
        && one.missing == other.missing
}

fn same_members<T: ?Sized>(some: &[PluginSlot<T>], others: &[PluginSlot<T>]) -> bool {
    let same = |one: &PluginSlot<T>, other: &PluginSlot<T>| {
        // By address: two instances of one plug-in with different settings are different.
        std::ptr::addr_eq(Arc::as_ptr(&one.plugin), Arc::as_ptr(&other.plugin))
            && (one.part, &one.trial, &one.against) == (other.part, &other.trial, &other.against)
    };
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| same(one, other))
}

/// A plug-in being read and compiled.
type Fetching = tokio::task::JoinHandle<Result<Plugin, HostError>>;

fn joined(fetched: Result<Result<Plugin, HostError>, tokio::task::JoinError>) -> Result<Plugin, HostError> {
    match fetched {
        Ok(fetched) => fetched,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // No code aborts this task.
        Err(_) => Err(SectionError::NotComponent("its loading was given up").into()),
    }
}

/// The table with which a plug-in is loaded. A shadow sends nothing and writes nothing, whatever it is granted.
fn effective(registered: &RegisteredPlugin) -> PluginConfig {
    let mut table = registered.table.clone();
    let promoted =
        registered.plugin_override.decided.as_ref().is_some_and(|decided| decided.word == OverrideKind::Promoted);
    if table.mode == PluginMode::Shadow && !promoted {
        let grant = &mut table.grant;
        // The interface stays linked and allows no host: a guest that imports it still loads.
        grant.http = grant.http.take().map(|_| Vec::new());
        grant.files.iter_mut().flatten().for_each(|directory| directory.write = false);
    }
    table
}
