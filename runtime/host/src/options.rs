//! The options that a host is started with. It holds no behaviour.

use std::path::PathBuf;

use crate::code::compile::Compiler;
use crate::code::embedded::Embedded;
use crate::code::trust::Trust;
use crate::world::network::Network;
use crate::world::processes::ProcessAccess;

/// What a host is started with.
#[derive(Clone, Default)]
pub struct Options {
    /// What `builtin:NAME` can mean.
    pub builtins: Vec<Embedded>,
    /// Where compiled plug-ins are kept, for this user alone; None: they are compiled at every start.
    pub cache: Option<PathBuf>,
    /// Whose signatures count.
    pub trust: Trust,
    /// What compiles components of 1 MiB and more into the cache; None, or no cache: this process does.
    pub compiler: Option<Compiler>,
    /// The processes that plug-ins can be granted.
    pub processes: ProcessAccess,
    /// How the network is reached.
    pub network: Network,
}
