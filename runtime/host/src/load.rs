//! Loads a plug-in from a file, from bytes or from the binary: reads it, verifies it, compiles it or takes it from the
//! cache, compares it with the contract, and links it to what it is granted.
//!
//! Nothing of the plug-in runs here, and nothing is compiled before its signature is checked. Compiling takes 30 ms for
//! a small guest and seconds for one with an interpreter in it: [`Host::fetch`] does it off the threads that heal.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use heald_model::PluginRef;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::code::cache::Cache;
use crate::code::compile::{Elsewhere, LARGE, elsewhere};
use crate::code::contract::{self, ComponentShape, ContractError, PluginRole};
use crate::code::embedded::Embedded;
use crate::code::engine;
use crate::code::file::{self, FileError};
use crate::code::imports;
use crate::code::inspect::{self, Inspection, shape};
use crate::code::key::PublicKey;
use crate::code::metadata::Metadata;
use crate::code::section::{SectionError, recognise};
use crate::code::signature;
use crate::code::trust;
use crate::config::{Grant, PluginConfig};
use crate::error::HostError;
use crate::guest::adapter::{ContractAdapter, Spoken};
use crate::guest::instance::LoadedPlugin;
use crate::guest::stats::Counters;
use crate::guest::ticker::Ticker;
use crate::options::Options;
use crate::plugin::{Plugin, PluginFacts};
use crate::text::chain;
use crate::versions::SPOKEN;
use crate::world::context::{Context, PluginAccess};
use crate::world::grants::Grants;
use crate::world::guest_log::LogLimiter;
use crate::world::network::SharedNetwork;
use crate::world::outgoing::AllowedHosts;
use crate::world::sealed::judge_paths;
use crate::world::shelf::Shelves;
use crate::world::wasi;

/// What all plug-ins of a process share.
struct HostState {
    engine: Engine,
    ticker: Arc<Ticker>,
    options: Options,
    network: Arc<SharedNetwork>,
    /// The versions of the contract that plug-ins may speak.
    spoken: Spoken,
    /// What plug-ins keep in `kv`, by name. It outlives the plug-ins.
    shelves: Shelves,
    cache: Option<Cache>,
    /// Large components are compiled one at a time: two with an interpreter in them take 700 MiB.
    compiling: tokio::sync::Mutex<()>,
}

/// Loads and runs plug-ins. A process has one; its clones share everything.
#[derive(Clone)]
pub struct Host {
    state: Arc<HostState>,
}

impl Host {
    /// Starts wasmtime. `builtins` is what `builtin:NAME` can mean.
    ///
    /// # Errors
    /// When the machine refuses the address space or the thread.
    pub fn start(builtins: &[Embedded]) -> Result<Self, HostError> {
        Self::with(Options { builtins: builtins.to_vec(), ..Options::default() })
    }

    /// Starts wasmtime with these options.
    ///
    /// # Errors
    /// When the machine refuses the address space or the thread.
    pub fn with(options: Options) -> Result<Self, HostError> {
        Self::speaking(SPOKEN, options)
    }

    pub(crate) fn speaking(spoken: Spoken, options: Options) -> Result<Self, HostError> {
        let engine = engine::start()?;
        let ticker = Arc::new(Ticker::start(engine.clone()).map_err(HostError::Ticker)?);
        let cache = options.cache.as_ref().and_then(|path| {
            let opened = Cache::open(path, &engine);
            opened.inspect_err(|error| tracing::error!("plug-ins are compiled anew each time: {}", chain(error))).ok()
        });
        let compiling = tokio::sync::Mutex::default();
        let network = Arc::new(SharedNetwork::new(&options.network));
        let shelves = Shelves::default();
        Ok(Self { state: Arc::new(HostState { engine, ticker, options, cache, compiling, network, spoken, shelves }) })
    }

    /// Loads what a `[[plugin]]` table names. It reads the file every time, and compiles it in this process and on this
    /// thread, unless the cache has it. The command line and tests use it; a running heald uses [`fetch`](Self::fetch).
    ///
    /// # Errors
    /// When it cannot be read or compiled, is not trusted, breaks the contract, or wants more than it is granted.
    pub fn load(&self, config: &PluginConfig) -> Result<Plugin, HostError> {
        match self.builtin(config)? {
            Some(builtin) => self.load_builtin(config, builtin),
            None => self.load_bytes(config, &file::read(Path::new(&config.component))?),
        }
    }

    /// Loads a component from memory. Errors call it `config.component`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_bytes(&self, config: &PluginConfig, bytes: &[u8]) -> Result<Plugin, HostError> {
        let verified = self.verify(config, bytes.into())?;
        let component = self.component(config, &verified)?;
        self.link(config, &component, &verified)
    }

    /// Loads what a `[[plugin]]` table names without blocking the calling thread. Slow work is done on tokio's threads
    /// for that. A process of its own compiles a large component, if there is a [`Compiler`](crate::Compiler) and a
    /// cache to compile into; dropping the future ends that process.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn fetch(&self, config: &PluginConfig) -> Result<Plugin, HostError> {
        if let Some(builtin) = self.builtin(config)? {
            let (host, config) = (self.clone(), config.clone());
            return aside(move || host.load_builtin(&config, builtin)).await;
        }
        let (host, table) = (self.clone(), config.clone());
        let (verified, known) = aside(move || {
            let verified = host.verify(&table, file::read(Path::new(&table.component))?.into())?;
            let known = host.recall(&verified);
            if known.is_none() {
                host.promising(&table, &verified)?;
            }
            Ok((verified, known))
        })
        .await?;
        if known.is_none() {
            self.prepare(&verified).await?;
        }
        let (host, table) = (self.clone(), config.clone());
        aside(move || {
            let component = known.map_or_else(|| host.component(&table, &verified), Ok)?;
            host.link(&table, &component, &verified)
        })
        .await
    }

    /// The built-in plug-in that a table names; None: the table names a file.
    fn builtin(&self, config: &PluginConfig) -> Result<Option<Embedded>, HostError> {
        let Some(name) = config.component.strip_prefix("builtin:") else { return Ok(None) };
        let builtins = &self.state.options.builtins;
        match builtins.iter().find(|builtin| builtin.name == name) {
            Some(builtin) => Ok(Some(*builtin)),
            None => {
                let known = builtins.iter().map(|builtin| builtin.name.to_owned()).collect();
                Err(FileError::NoBuiltin { name: name.to_owned(), known }.into())
            }
        }
    }

    fn load_builtin(&self, config: &PluginConfig, builtin: Embedded) -> Result<Plugin, HostError> {
        let component = builtin.load(&self.state.engine)?;
        let verified = Verified { content: builtin.component.into(), digest: builtin.digest.to_owned(), signer: None };
        self.link(config, &component, &verified)
    }

    /// Checks a file before anything is made of it: its size, its kind and its signatures.
    fn verify<'b>(&self, config: &PluginConfig, mut bytes: Cow<'b, [u8]>) -> Result<Verified<'b>, HostError> {
        file::judge_size(&bytes)?;
        recognise(&bytes)?;
        let signer = trust::verify(&bytes, &self.state.options.trust)
            .map_err(|source| HostError::Signature { component: config.component.clone(), source })?;
        let digest = signature::digest(&bytes);
        let length = signature::split(&bytes).0.len();
        match &mut bytes {
            Cow::Borrowed(bytes) => *bytes = bytes.get(..length).unwrap_or(bytes),
            Cow::Owned(bytes) => bytes.truncate(length),
        }
        Ok(Verified { content: bytes, digest, signer })
    }

    fn recall(&self, verified: &Verified<'_>) -> Option<Component> {
        self.state.cache.as_ref()?.recall(&self.state.engine, &verified.digest)
    }

    /// Refuses a component before it is compiled, if its names alone break the contract.
    fn promising(&self, config: &PluginConfig, verified: &Verified<'_>) -> Result<(), HostError> {
        // The compiler reports a component that cannot be read.
        let Some(shape) = shape(&verified.content) else { return Ok(()) };
        fit(self.state.spoken, config, &verified.content, &shape).map(drop)
    }

    /// Takes the component from the cache, or compiles it on this thread.
    fn component(&self, config: &PluginConfig, verified: &Verified<'_>) -> Result<Component, HostError> {
        if let Some(known) = self.recall(verified) {
            return Ok(known);
        }
        self.promising(config, verified)?;
        let component = engine::compile(&self.state.engine, &verified.content)?;
        if let Some(cache) = &self.state.cache {
            match component.serialize() {
                Ok(code) => cache.keep(&verified.digest, &code),
                Err(error) => tracing::warn!("a compiled plug-in cannot be kept: {error:#}"),
            }
        }
        Ok(component)
    }

    /// Has another process compile a large component into the cache. Reading the cache afterwards shows whether it is
    /// there.
    async fn prepare(&self, verified: &Verified<'_>) -> Result<(), HostError> {
        let state = &self.state;
        let (Some(compiler), Some(cache)) = (&state.options.compiler, &state.cache) else { return Ok(()) };
        if verified.content.len() < LARGE {
            return Ok(());
        }
        let _turn = state.compiling.lock().await;
        if cache.holds(&verified.digest) {
            return Ok(());
        }
        match elsewhere(compiler, cache, &verified.content, &verified.digest).await {
            Ok(()) => Ok(()),
            Err(Elsewhere::Failed(error)) => Err(error.into()),
            Err(Elsewhere::Untried(why)) => {
                tracing::warn!("a large plug-in is compiled within heald, since another process cannot: {why}");
                Ok(())
            }
        }
    }

    fn link(&self, config: &PluginConfig, component: &Component, verified: &Verified<'_>) -> Result<Plugin, HostError> {
        let engine = &self.state.engine;
        let Verified { content, digest, signer } = verified;
        let shape = ComponentShape::of(engine, component);
        let Fit { adapter, roles, metadata, requested, grant, wasi } = fit(self.state.spoken, config, content, &shape)?;
        judge_paths(&grant)?;
        let pre = linked(engine, component, adapter, &grant, wasi)
            .map_err(|source| HostError::Link { plugin: config.name.clone(), source })?;
        let access = PluginAccess {
            grants: Arc::new(Grants::of(&grant)),
            shelf: self.state.shelves.of(&config.name),
            processes: self.state.options.processes.clone(),
        };
        let version = metadata.version.clone();
        let reference = PluginRef { name: config.name.clone(), version, digest: digest.clone() };
        let loaded = LoadedPlugin {
            engine: engine.clone(),
            ticker: Arc::clone(&self.state.ticker),
            reference,
            contract: adapter.contract(),
            roles,
            pre,
            grant,
            wasi,
            access: Arc::new(access),
            outgoing: Arc::new(AllowedHosts::of(&config.name, &config.grant, &self.state.network)),
            log_limiter: Arc::new(LogLimiter::new(config.name.clone())),
            counters: Counters::default(),
        };
        Ok(Plugin::new(loaded, PluginFacts { adapter, metadata, limits: config.limits, requested, signer: *signer }))
    }
}

/// Inspects a component, without compiling or running it.
///
/// # Errors
/// When the bytes are no component.
pub fn inspect(component: &[u8]) -> Result<Inspection, SectionError> {
    inspect::inspect(component, SPOKEN)
}

/// What a component is compared with the contract and its grant.
struct Fit {
    adapter: &'static dyn ContractAdapter,
    roles: Vec<PluginRole>,
    metadata: Metadata,
    requested: Vec<&'static str>,
    /// The part of its grant that it asked for.
    grant: Grant,
    /// Whether any of WASI has to be linked.
    wasi: bool,
}

fn fit(spoken: Spoken, config: &PluginConfig, bytes: &[u8], shape: &ComponentShape) -> Result<Fit, HostError> {
    let broken = |problem: ContractError| HostError::Contract { plugin: config.name.clone(), problem };
    let metadata = Metadata::of(bytes).map_err(|error| broken(ContractError::Metadata(error)))?;
    let (adapter, roles) = contract::spoken(shape, spoken).map_err(broken)?;
    if let Some(metadata) = &metadata {
        contract::agree(metadata, &roles).map_err(broken)?;
    }
    let requested = imports::requested(metadata.as_ref(), shape).map_err(broken)?;
    let grant = requested.of(&config.grant);
    let wasi = imports::imports(shape, adapter.contract(), &grant)
        .map_err(|refused| HostError::Imports { plugin: config.name.clone(), refused })?;
    Ok(Fit { adapter, roles, metadata: metadata.unwrap_or_default(), requested: requested.words, grant, wasi })
}

/// A component that passed the checks and may be compiled.
struct Verified<'b> {
    /// Without its signatures.
    content: Cow<'b, [u8]>,
    digest: String,
    signer: Option<PublicKey>,
}

/// Does slow work on a thread for that.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(HostError::GivenUp),
        },
    }
}

fn linked(
    engine: &Engine,
    component: &Component,
    adapter: &dyn ContractAdapter,
    grant: &Grant,
    wasi: bool,
) -> wasmtime::Result<InstancePre<Context>> {
    let mut linker = Linker::new(engine);
    adapter.link(&mut linker, grant)?;
    if wasi {
        wasi::link(&mut linker, grant)?;
    }
    linker.instantiate_pre(component)
}
