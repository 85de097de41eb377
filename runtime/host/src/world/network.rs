//! The network as all plug-ins of a process share it: who resolves names, and which certificate authorities count.
//!
//! It sends nothing.

use std::sync::Arc;

use crate::world::resolve::{Resolver, SystemResolver};
use crate::world::tls::Tls;

/// How the hosts of grants are resolved and how they prove who they are.
#[derive(Clone)]
pub struct Network {
    /// Resolves names.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates, as DER, of authorities that are trusted beside those of the machine.
    pub authorities: Vec<Vec<u8>>,
}

impl Default for Network {
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver::default()), authorities: Vec::new() }
    }
}

/// The network as all plug-ins of a process share it.
pub(crate) struct SharedNetwork {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) tls: Tls,
}

impl SharedNetwork {
    pub(crate) fn new(network: &Network) -> Self {
        Self { resolver: Arc::clone(&network.resolver), tls: Tls::new(network.authorities.clone()) }
    }
}
