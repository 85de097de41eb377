//! The plug-ins of a running heald: loaded from the configuration and from a watched folder, cast for each service, replaced
//! while everything runs.
//!
//! Every change goes one way ([`Platform::change`]): load off the threads that heal, cast all services anew, try what is new, and
//! only then swap, for all services between two looks. Whatever fails on the way leaves things as they were and says why. Calls
//! under way end on what they began with.
//!
//! | file | |
//! |---|---|
//! | `roster` | what is known of each plug-in, and how it is used |
//! | `casting` | who is asked about which service, in which part |
//! | `rehearsal` | trying a plug-in before it is used |
//! | `orders` | what operators ask: reload, enable, disable, promote, revoke |
//! | `folder` | the watched folder |
//! | `canary` | judging plug-ins on trial |
//! | `standing` | what was decided, over restarts |
//! | `components` | every component that ran, for explaining and replaying |

mod canary;
mod casting;
mod components;
mod folder;
mod orders;
mod rehearsal;
mod roster;
mod standing;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use heald_engine::plugins::PluginMode;
use heald_engine::ports::{Clock, Journal};
use heald_engine::{Cast, Consultants, Healer};
use heald_host::{Capability, Host, HostError, Plugin, PluginConfig, SectionError};
use heald_model::{Entry, Fault, FaultCause, Moment, PluginName, PluginRef, Record, ServiceName};
use heald_store::{Store, StoreConfig};

pub use casting::{Casting, chain};
pub use components::{Components, components_dir};
pub use roster::{Enrolled, Origin, Roster, nameless};

use crate::actions::Hands;
use crate::config::Config;
use roster::Use;
use standing::{Standing, StandingFile};

/// So long heald's start waits for plug-ins. From the cache each takes some milliseconds; compiling one with an interpreter in it
/// takes seconds, once, and the native rules answer meanwhile.
const HASTE: Duration = Duration::from_secs(3);

/// The plug-ins of a running heald.
pub struct Platform {
    host: Host,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    components: Components,
    standing: StandingFile,
    /// What was decided, by name: it holds while a file is away, too.
    standings: Mutex<BTreeMap<PluginName, Standing>>,
    roster: RwLock<Roster>,
    /// What was still being compiled when heald had to begin.
    late: Mutex<Vec<(PluginName, Fetching)>>,
    /// The folder as it was when it was first read.
    scanned: Mutex<folder::Stamps>,
    /// No plug-in is loaded, now or later.
    idle: bool,
    /// Held while something changes: one change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Who is asked about each service now, in words: what need not be swapped is left alone.
    billed: Mutex<BTreeMap<ServiceName, String>>,
    stage: OnceLock<Stage>,
}

/// Where plug-ins are put to use.
pub struct Stage {
    /// The healing.
    pub healer: Arc<Healer>,
    /// The actions.
    pub hands: Arc<Hands>,
    /// The consultations.
    pub consultants: Arc<Consultants>,
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

/// Where it stands in writing what was decided about plug-ins.
fn standing_path(store: &StoreConfig) -> std::path::PathBuf {
    store.path.with_extension("plugins.json")
}

impl Platform {
    /// Loads every plug-in of the configuration and of the folder; what cannot be loaded is on the roster with the reason. With
    /// `idle` none is loaded: heald died repeatedly, and plug-ins stay out of it.
    pub async fn open(parts: Parts, idle: bool) -> (Arc<Self>, Casting, Vec<String>) {
        let Parts { host, config, clock, store } = parts;
        let (standing, known, note) = StandingFile::open(standing_path(&config.store));
        let platform = Self {
            host,
            components: Components::at(components_dir(&config.store)),
            config,
            clock,
            store,
            standing,
            standings: Mutex::new(known.clone()),
            late: Mutex::default(),
            scanned: Mutex::default(),
            idle,
            roster: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            billed: Mutex::default(),
            stage: OnceLock::new(),
        };
        let mut roster = Roster::new();
        for table in &platform.config.plugin {
            let standing = known.get(&table.name).cloned().unwrap_or_default();
            roster.insert(table.name.clone(), Enrolled::new(table.clone(), Origin::Configuration, standing));
        }
        let (scanned, found) = folder::scan(platform.config.plugins.folder.as_deref());
        *platform.scanned.lock().unwrap_or_else(PoisonError::into_inner) = scanned;
        for dropped in found {
            let name = dropped.table.name.clone();
            if let Some(known) = roster.get_mut(&name) {
                let why = "the watched folder has a file of that name too, which is not used";
                tracing::error!(plugin = %name, "{why}");
                known.why = Some(why.into());
                continue;
            }
            let (standing, why) = (known.get(&name).cloned().unwrap_or_default(), dropped.problem.clone());
            roster.insert(name, Enrolled { why, ..dropped.enrol(standing) });
        }
        if !idle {
            platform.load_all(&mut roster).await;
        }
        let casting = Casting::of(&platform.config, &roster).await;
        for (name, why) in &casting.faults {
            tracing::error!(plugin = %name, "cannot be used: {why}");
            if let Some(enrolled) = roster.get_mut(name) {
                enrolled.why = Some(why.clone());
            }
        }
        *platform.billed() = casting.casts.iter().map(|(service, cast)| (service.clone(), bill(cast))).collect();
        *platform.roster_mut() = roster;
        (Arc::new(platform), casting, note.into_iter().collect())
    }

    /// Puts it to use: puts on record what could not be loaded, watches the folder, judges trials. Returns the tasks.
    pub fn start(self: &Arc<Self>, stage: Stage) -> Vec<tokio::task::JoinHandle<()>> {
        for enrolled in self.roster().values() {
            let Some(why) = &enrolled.why else { continue };
            stage.healer.faulted(None, &enrolled.reference(), &Fault::new(FaultCause::Load, why.clone()));
        }
        // Set once, here.
        let _ = self.stage.set(stage);
        if self.idle {
            return Vec::new();
        }
        for (name, enrolled) in self.roster() {
            self.follow_trial(&name, &enrolled);
        }
        let mut tasks = vec![tokio::spawn(Arc::clone(self).judge_trials()), tokio::spawn(Arc::clone(self).load_late())];
        if let Some(folder) = self.config.plugins.folder.clone() {
            tasks.push(tokio::spawn(Arc::clone(self).watch(folder)));
        }
        tasks
    }

    /// Loads all at once. What is built in is waited for; the others only for a moment, since what takes long to compile must not
    /// keep heald from healing: it comes later.
    async fn load_all(&self, roster: &mut Roster) {
        let mut fetching = Vec::new();
        for enrolled in roster.values_mut().filter(|enrolled| enrolled.why.is_none()) {
            if enrolled.table.component.starts_with("builtin:") {
                self.load(enrolled).await;
                continue;
            }
            let (host, table) = (self.host.clone(), effective(enrolled));
            fetching.push((enrolled.table.name.clone(), tokio::spawn(async move { host.fetch(&table).await })));
        }
        let haste = tokio::time::Instant::now() + HASTE;
        for (name, mut fetch) in fetching {
            let Some(enrolled) = roster.get_mut(&name) else { continue };
            match tokio::time::timeout_at(haste, &mut fetch).await {
                Ok(fetched) => self.settle(enrolled, joined(fetched)).await,
                Err(_) => {
                    enrolled.loading = true;
                    self.late.lock().unwrap_or_else(PoisonError::into_inner).push((name, fetch));
                }
            }
        }
    }

    /// Takes in what there was no time for at the start.
    async fn load_late(self: Arc<Self>) {
        let late = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, fetch) in late {
            let fetched = joined(fetch.await);
            let _turn = self.changing.lock().await;
            let mut roster = self.roster();
            // It may have been reloaded or taken away meanwhile.
            let Some(mut candidate) = roster.get(&name).filter(|enrolled| enrolled.loading).cloned() else { continue };
            candidate.loading = false;
            self.settle(&mut candidate, fetched).await;
            let (reference, why, enrolled) = (candidate.reference(), candidate.why.clone(), candidate.clone());
            roster.insert(name.clone(), candidate);
            let refused = match why {
                None => self.change(roster.clone(), Some(&name)).await.err(),
                why => why,
            };
            match refused {
                None => {
                    self.follow_trial(&name, &enrolled);
                    self.tell(reference, "loaded", "heald", "it took longer than the start");
                }
                Some(why) => {
                    let failed = Enrolled { plugin: None, why: Some(why.clone()), ..enrolled };
                    self.enlist(roster, failed);
                    self.reject(&name, why);
                }
            }
        }
    }

    /// Reads, verifies and compiles, off the threads that heal. What ran before is not touched; a failure is noted.
    async fn load(&self, enrolled: &mut Enrolled) {
        let fetched = self.host.fetch(&effective(enrolled)).await;
        self.settle(enrolled, fetched).await;
    }

    /// Notes what became of a load.
    async fn settle(&self, enrolled: &mut Enrolled, fetched: Result<Plugin, HostError>) {
        match fetched {
            Ok(plugin) => {
                // What was revoked from its name is revoked from this version too.
                let revoked = enrolled.standing.revoked.iter().filter_map(|word| word.parse::<Capability>().ok());
                revoked.for_each(|capability| {
                    plugin.revoke(capability);
                });
                let (kept, component) = (self.components.clone(), enrolled.table.component.clone());
                let digest = plugin.reference().digest.clone();
                let keeping = tokio::task::spawn_blocking(move || kept.keep(&component, &digest));
                // It says itself what goes wrong.
                let _ = keeping.await;
                (enrolled.plugin, enrolled.why, enrolled.since) = (Some(plugin), None, self.clock.now());
            }
            Err(error) => {
                let why = format!("{}: {}", enrolled.table.component, chain(&error));
                tracing::error!(plugin = %enrolled.table.name, "cannot be used: {why}");
                (enrolled.plugin, enrolled.why) = (None, Some(why));
            }
        }
    }

    /// The one way in which what runs is changed: the roster as it is to be is cast, what is new is tried, and then all is
    /// swapped. An error leaves everything as it was. Whoever calls it holds `changing`.
    async fn change(&self, roster: Roster, new: Option<&PluginName>) -> Result<(), String> {
        let casting = Casting::of(&self.config, &roster).await;
        if let Some(new) = new {
            if let Some((_, why)) = casting.faults.iter().find(|(name, _)| name == new) {
                return Err(why.clone());
            }
            rehearsal::rehearse(new, &casting, &self.store, self.clock.now()).await?;
        }
        *self.roster_mut() = roster;
        let Some(stage) = self.stage.get() else { return Ok(()) };
        stage.hands.offer(casting.actions);
        stage.consultants.recast(casting.profiles);
        let mut billed = self.billed();
        for (service, cast) in casting.casts {
            let bill = bill(&cast);
            if billed.insert(service.clone(), bill.clone()).as_ref() != Some(&bill) {
                stage.healer.recast(&service, cast);
            }
        }
        Ok(())
    }

    /// Forgets how a plug-in's trial went, and begins another if it is still on one.
    fn try_anew(&self, name: &PluginName, enrolled: &Enrolled) {
        if let Some(stage) = self.stage.get() {
            stage.healer.end_trial(name);
        }
        self.follow_trial(name, enrolled);
    }

    /// Begins a plug-in's trial, if it is used so and is on none.
    fn follow_trial(&self, name: &PluginName, enrolled: &Enrolled) {
        let Some(stage) = self.stage.get() else { return };
        match enrolled.used() {
            Use::Shadow | Use::Canary if stage.healer.trial(name).is_none() => stage.healer.begin_trial(name),
            _ => {}
        }
    }

    /// Keeps how a plug-in stands, durably.
    async fn keep_standing(self: &Platform, name: &PluginName, standing: &Standing) -> std::io::Result<()> {
        let all = {
            let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
            standings.insert(name.clone(), standing.clone());
            standings.clone()
        };
        let file = self.standing.clone();
        tokio::task::spawn_blocking(move || file.write(all)).await.map_err(std::io::Error::other)?
    }

    /// What was decided about the plug-in of that name.
    fn standing_of(&self, name: &PluginName) -> Standing {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Puts a move of a plug-in on record, and says it in the log.
    fn tell(&self, plugin: PluginRef, to: &str, by: &str, why: impl Into<String>) {
        let why = why.into();
        tracing::info!(plugin = %plugin, by, "{to}: {why}");
        let record = Record::PluginMoved { plugin, to: to.to_owned(), by: by.to_owned(), why };
        self.store.write(vec![Entry::of_heald(self.clock.now(), record)]);
    }

    fn roster(&self) -> Roster {
        self.roster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn roster_mut(&self) -> std::sync::RwLockWriteGuard<'_, Roster> {
        self.roster.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn billed(&self) -> std::sync::MutexGuard<'_, BTreeMap<ServiceName, String>> {
        self.billed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }
}

/// A cast in words that differ whenever anybody in it does, or plays another part.
fn bill(cast: &Cast) -> String {
    use std::fmt::Write as _;
    let mut bill = String::new();
    for member in &cast.detectors {
        let (at, part) = (Arc::as_ptr(&member.plugin).cast::<()>(), member.part);
        let _ = write!(bill, "{} {at:p} {part:?} {:?} {:?};", member.plugin.plugin(), member.trial, member.against);
    }
    bill.push('/');
    for member in &cast.policies {
        let (at, part) = (Arc::as_ptr(&member.plugin).cast::<()>(), member.part);
        let _ = write!(bill, "{} {at:p} {part:?} {:?} {:?};", member.plugin.plugin(), member.trial, member.against);
    }
    let _ = write!(bill, "/{:?}", cast.missing);
    bill
}

/// A plug-in being read and compiled.
type Fetching = tokio::task::JoinHandle<Result<Plugin, HostError>>;

fn joined(fetched: Result<Result<Plugin, HostError>, tokio::task::JoinError>) -> Result<Plugin, HostError> {
    match fetched {
        Ok(fetched) => fetched,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nobody aborts it.
        Err(_) => Err(SectionError::NotComponent("its loading was given up").into()),
    }
}

/// A plug-in's table as it is loaded: one that only watches sends nothing and writes nothing, whatever it was granted.
fn effective(enrolled: &Enrolled) -> PluginConfig {
    let mut table = enrolled.table.clone();
    let promoted = enrolled.standing.decided.as_ref().is_some_and(|decided| decided.word == standing::Word::Promoted);
    if table.mode == PluginMode::Shadow && !promoted {
        let grant = &mut table.grant;
        // The interface stays, with nobody behind it: a guest that imports it still loads.
        grant.http = grant.http.take().map(|_| Vec::new());
        grant.files.iter_mut().flatten().for_each(|directory| directory.write = false);
    }
    table
}
