//! What a host is started with: the plug-ins in the binary, whom it trusts, where it keeps what it compiled, and what of the world
//! its plug-ins can be granted. It holds no behaviour.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use heald_engine::ports::{ProcessState, Processes};
use heald_model::ServiceName;

use crate::code::embedded::Embedded;
use crate::code::key::PublicKey;
use crate::world::resolve::{Resolver, SystemResolver};

/// What a host is started with.
#[derive(Clone, Default)]
pub struct Options {
    /// What `builtin:NAME` can mean.
    pub builtins: Vec<Embedded>,
    /// Where compiled plug-ins are kept, for this user alone; None: nowhere, everything is compiled anew.
    pub cache: Option<PathBuf>,
    /// Whose signatures count.
    pub trust: Trust,
    /// How components of 1 MiB and more are compiled, into the cache; None, or no cache: in this process.
    pub compiler: Option<Compiler>,
    /// What of the world can be granted.
    pub reach: Reach,
    /// How the outside is reached.
    pub network: Network,
}

/// How hosts that plug-ins may send requests to are found and recognised.
#[derive(Clone)]
pub struct Network {
    /// Who tells the addresses of names.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates, as DER, that are trusted as authorities beside those of the machine.
    pub authorities: Vec<Vec<u8>>,
}

impl Default for Network {
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver::default()), authorities: Vec::new() }
    }
}

/// Whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Nothing is loaded that no trusted key signed. Built-ins are part of the binary.
    pub require_signed: bool,
    /// Whose.
    pub keys: Vec<PublicKey>,
}

/// A program that compiles components: started as `PROGRAM ARGUMENTS... IN OUT`, it does what [`compile_file`](crate::compile_file)
/// does. Interpreters in a component take seconds and hundreds of MiB to compile, which a process that ends gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program; heald's own image.
    pub program: PathBuf,
    /// Its arguments before the two paths.
    pub arguments: Vec<String>,
}

/// What of the world plug-ins can be granted, beyond files and the network.
#[derive(Clone, Default)]
pub struct Reach {
    /// The processes to look at; None: there are none.
    pub processes: Option<Arc<dyn Processes>>,
    /// And to touch.
    pub control: Option<Arc<dyn Touch>>,
}

/// What a plug-in's action may do to the processes of the service it was called for. Who implements it need not ask the guard: the
/// action itself had its permit.
#[async_trait]
pub trait Touch: Send + Sync {
    /// Starts what does not run; replica None: all.
    async fn start(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops.
    async fn stop(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Stops and starts.
    async fn restart(&self, service: &ServiceName, replica: Option<&str>) -> Result<(), TouchError>;
    /// Sends a signal, by its name without SIG.
    async fn signal(&self, service: &ServiceName, replica: Option<&str>, name: &str) -> Result<(), TouchError>;
    /// The processes as they stand.
    fn children(&self, service: &ServiceName) -> Vec<ProcessState>;
}

/// Why a process was not touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TouchError {
    /// heald runs no such service or copy.
    #[error("{0}")]
    NotFound(String),
    /// What was asked for makes no sense, such as a signal that does not exist.
    #[error("{0}")]
    BadInput(String),
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
}
