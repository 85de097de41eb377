//! TLS for requests to the outside. It trusts the machine's own certificate authorities, or Mozilla's where the machine
//! has none, and those that the host was started with. It refuses to speak without checking certificates.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::endpoint::EndpointHost;

/// The configuration is made when the first request needs it: reading the machine's authorities takes milliseconds, and
/// most hosts never send a request.
#[derive(Default)]
pub(crate) struct Tls {
    authorities: Vec<Vec<u8>>,
    config: OnceLock<Result<Arc<ClientConfig>, rustls::Error>>,
}

impl Tls {
    /// `authorities` are certificates, as DER, that are trusted beside the machine's.
    pub(crate) fn new(authorities: Vec<Vec<u8>>) -> Self {
        Self { authorities, config: OnceLock::new() }
    }

    /// Makes the handshake. The server has to prove that it is this host, whatever address was connected to.
    pub(crate) async fn connect(&self, host: &EndpointHost, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config.get_or_init(|| configure(&self.authorities)).clone().map_err(io::Error::other)?;
        let name = match host {
            EndpointHost::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
            EndpointHost::Address(ip) => ServerName::from(*ip),
        };
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn configure(authorities: &[Vec<u8>]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // A machine's store often holds some certificates that cannot be parsed; the others are used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for authority in authorities {
        roots.add(CertificateDer::from(authority.clone()))?;
    }
    // The provider is named, because a process that links two providers has no default one.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Why the handshake failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The server could not prove that it is the wanted host.
    Certificate,
    /// The server sent an alert.
    Alert(u8),
    /// Anything else.
    Protocol,
}

impl TlsFailure {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Self::Certificate,
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(code(*alert)),
            _ => Self::Protocol,
        }
    }
}

fn code(alert: AlertDescription) -> u8 {
    u8::from(alert)
}
