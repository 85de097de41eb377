//! What a host is started with. It holds no behaviour.

use std::path::PathBuf;

use crate::code::compile::Compiler;
use crate::code::embedded::Embedded;
use crate::code::trust::Trust;
use crate::world::network::Network;
use crate::world::processes::Reach;

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
