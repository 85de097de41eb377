//! Resolves a granted name to addresses that may be connected to. It judges every address and keeps them for a minute,
//! so that heald connects to what it judged.
//!
//! An answer with one forbidden address is refused as a whole: such a mixture is no accident.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::world::address::{self, AddressClass};
use crate::world::endpoint::EndpointHost;

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is used. Long enough that a name does not change between the requests of one action, short enough
/// that a service that moves is found again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Look-ups at the same time, for all plug-ins together. Each blocks a thread, and cannot be cancelled.
const LOOKUPS: usize = 4;

/// Resolves names. Tests bring their own.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of a name.
    ///
    /// # Errors
    /// When the name is unknown, or no resolver answers.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Debug)]
pub struct SystemResolver {
    turns: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        // The thread holds the permit, because it goes on even when nobody waits for it.
        let looking_up = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        });
        looking_up.await.map_err(io::Error::other)?
    }
}

/// Why a host cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("its name was not resolved within {}", heald_model::time::text::format(PATIENCE))]
    Late,
    #[error("its name cannot be resolved")]
    Failed(#[source] io::Error),
    #[error("its name has no address")]
    Nowhere,
    #[error("{0} is among its addresses: {1}")]
    Never(IpAddr, &'static str),
    #[error("{0} is among its addresses, which is private")]
    Private(IpAddr),
}

/// The addresses that one plug-in's names resolved to.
#[derive(Default)]
pub(crate) struct Pins(Mutex<HashMap<String, Pin>>);

struct Pin {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

impl Pins {
    /// The addresses of a host, all judged. `private` allows private ones.
    pub(crate) async fn addresses(
        &self,
        resolver: &dyn Resolver,
        host: &EndpointHost,
        private: bool,
    ) -> Result<Arc<[IpAddr]>, Unresolved> {
        let name = match host {
            EndpointHost::Address(ip) => return judged([*ip].into(), private),
            // No resolver decides what this machine is.
            EndpointHost::Name(name) if name == "localhost" => {
                return judged([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into(), private);
            }
            EndpointHost::Name(name) => name,
        };
        let addresses = match self.pinned(name) {
            Some(addresses) => addresses,
            None => {
                let answer = tokio::time::timeout(PATIENCE, resolver.resolve(name)).await;
                answer.map_err(|_| Unresolved::Late)?.map_err(Unresolved::Failed)?.into()
            }
        };
        // Remembered addresses are judged too: another grant of the same name may be stricter.
        let addresses = judged(addresses, private)?;
        self.pin(name, &addresses);
        Ok(addresses)
    }

    /// Forgets a host where nobody answers: the next request resolves and judges it again.
    pub(crate) fn forget(&self, host: &EndpointHost) {
        if let EndpointHost::Name(name) = host {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }

    fn pinned(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        let pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.get(name).filter(|pin| pin.until > Instant::now()).map(|pin| Arc::clone(&pin.addresses))
    }

    /// Only granted names come here, so there are never more than the grant has. Using a pin does not prolong it.
    fn pin(&self, name: &str, addresses: &Arc<[IpAddr]>) {
        let now = Instant::now();
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.get(name).is_none_or(|pin| pin.until <= now) {
            pins.insert(name.to_owned(), Pin { addresses: Arc::clone(addresses), until: now + REMEMBERED });
        }
    }
}

fn judged(addresses: Arc<[IpAddr]>, private: bool) -> Result<Arc<[IpAddr]>, Unresolved> {
    for ip in addresses.iter() {
        match address::class(*ip) {
            AddressClass::Never(why) => return Err(Unresolved::Never(*ip, why)),
            AddressClass::Private if !private => return Err(Unresolved::Private(*ip)),
            AddressClass::Private | AddressClass::Public => {}
        }
    }
    if addresses.is_empty() { Err(Unresolved::Nowhere) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers in turn; the last answer is the one from then on.
    struct Scripted(Mutex<VecDeque<Vec<IpAddr>>>);

    impl Scripted {
        fn of(answers: &[&[&str]]) -> Self {
            let answers = answers.iter().map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
            Self(Mutex::new(answers.collect()))
        }
    }

    #[async_trait]
    impl Resolver for Scripted {
        async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let mut answers = self.0.lock().unwrap();
            let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            Ok(next.unwrap_or_default())
        }
    }

    fn name() -> EndpointHost {
        EndpointHost::Name("example.com".into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_pinned_for_a_minute_and_what_comes_next_is_judged_anew() {
        let (pins, flips) = (Pins::default(), Scripted::of(&[&["93.184.216.34"], &["127.0.0.1"]]));
        for _ in 0..3 {
            assert_eq!(
                *pins.addresses(&flips, &name(), false).await.unwrap(),
                ["93.184.216.34".parse::<IpAddr>().unwrap()]
            );
            tokio::time::advance(Duration::from_secs(19)).await;
        }
        tokio::time::advance(Duration::from_secs(19)).await;
        assert!(matches!(pins.addresses(&flips, &name(), false).await, Err(Unresolved::Private(_))));
        assert!(pins.addresses(&flips, &name(), true).await.is_ok());
        assert!(
            matches!(pins.addresses(&flips, &name(), false).await, Err(Unresolved::Private(_))),
            "even from memory"
        );
    }

    #[tokio::test]
    async fn one_bad_address_spoils_the_answer() {
        for bad in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::ffff:169.254.169.254"] {
            let mixed = Scripted::of(&[&["93.184.216.34", bad]]);
            assert!(Pins::default().addresses(&mixed, &name(), false).await.is_err(), "{bad}");
        }
        let metadata = Scripted::of(&[&["169.254.169.254"]]);
        assert!(matches!(Pins::default().addresses(&metadata, &name(), true).await, Err(Unresolved::Never(..))));
        assert!(matches!(Pins::default().addresses(&Scripted::of(&[]), &name(), true).await, Err(Unresolved::Nowhere)));
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_at_may_have_moved() {
        let (pins, moves) = (Pins::default(), Scripted::of(&[&["93.184.216.34"], &["1.1.1.1"]]));
        pins.addresses(&moves, &name(), false).await.unwrap();
        pins.forget(&name());
        assert_eq!(*pins.addresses(&moves, &name(), false).await.unwrap(), ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_does_not_answer_is_not_waited_for() {
        struct SilentResolver;
        #[async_trait]
        impl Resolver for SilentResolver {
            async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
                std::future::pending().await
            }
        }
        assert!(matches!(Pins::default().addresses(&SilentResolver, &name(), false).await, Err(Unresolved::Late)));
    }

    #[tokio::test]
    async fn no_resolver_is_asked_what_this_machine_is() {
        let lies = Scripted::of(&[&["93.184.216.34"]]);
        let local = Pins::default().addresses(&lies, &EndpointHost::Name("localhost".into()), true).await.unwrap();
        assert!(local.iter().all(IpAddr::is_loopback));
    }
}
