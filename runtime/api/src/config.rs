//! The `[server]` section of the configuration, and opening the ports it names.
//!
//! It refuses to listen where others could reach an API that asks for no key.

use std::io;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, lookup_host};

/// Where the API listens and who may call it from a browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Addresses such as `127.0.0.1:8003` or `localhost:8003`; port 0 takes a free one.
    pub listen: Vec<String>,
    /// Origins whose pages may call the API, such as `https://ops.example.com`; `*` is every origin. Pages that this
    /// machine serves itself always may. The API also answers to these origins' host names, beside its own.
    pub cors_origins: Vec<String>,
    /// Listen beyond loopback although the API asks for no key. Everybody who reaches the port may then stop services.
    pub insecure_bind: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: vec!["127.0.0.1:8003".into()], cors_origins: Vec::new(), insecure_bind: false }
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is no address.
    #[error("server.listen names no address")]
    Nowhere,
    /// The text is no address.
    #[error("server.listen: `{address}` is not an address; write host:port such as 127.0.0.1:8003")]
    Address {
        /// The configured address.
        address: String,
        /// The resolver's error.
        #[source]
        source: io::Error,
    },
    /// Other machines could reach the address.
    #[error(
        "server.listen: {address} can be reached from other machines and the API asks for no key; listen on 127.0.0.1 or set server.insecure_bind = true"
    )]
    Exposed {
        /// The configured address.
        address: String,
    },
    /// Another process listens there.
    #[error("cannot listen on {address}: the port is in use")]
    InUse {
        /// The configured address.
        address: String,
    },
    /// The system refused.
    #[error("cannot listen on {address}")]
    Refused {
        /// The configured address.
        address: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl ServerConfig {
    /// Opens every port, or none.
    ///
    /// # Errors
    ///
    /// When an address is invalid, exposed, in use or refused.
    pub async fn bind(&self) -> Result<Vec<TcpListener>, BindError> {
        if self.listen.is_empty() {
            return Err(BindError::Nowhere);
        }
        let mut resolved = Vec::new();
        for address in &self.listen {
            resolved.push((address, self.resolve(address).await?));
        }
        let mut listeners = Vec::new();
        for (address, sockets) in resolved {
            listeners.push(TcpListener::bind(sockets.as_slice()).await.map_err(|source| refused(address, source))?);
        }
        Ok(listeners)
    }

    async fn resolve(&self, address: &str) -> Result<Vec<SocketAddr>, BindError> {
        let failed = |source| BindError::Address { address: address.into(), source };
        let sockets: Vec<SocketAddr> = lookup_host(address).await.map_err(failed)?.collect();
        if !self.insecure_bind && !sockets.iter().all(|socket| socket.ip().is_loopback()) {
            return Err(BindError::Exposed { address: address.into() });
        }
        Ok(sockets)
    }
}

fn refused(address: &str, source: io::Error) -> BindError {
    let address = address.into();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Refused { address, source },
    }
}
