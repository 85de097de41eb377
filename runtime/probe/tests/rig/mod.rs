//! A test rig for the prober: a real clock, given processes, and a server that misbehaves on demand.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heald_control::{ProbeBoard, ProbeStatus};
use heald_engine::ports::{Clock, Entropy, Processes};
use heald_model::ProcessState;
use heald_model::{Moment, Sample, ServiceName};
use heald_probe::{
    BreakerConfig, ProbeConfig, ProbeError, ProbeKind, Prober, ProberPorts, ServiceProbes, StatusChange,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longer than any of this takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap())
}

struct RealClock;

#[async_trait::async_trait]
impl Clock for RealClock {
    fn now(&self) -> Moment {
        now()
    }

    async fn sleep_until(&self, then: Moment) {
        tokio::time::sleep(then.since(now())).await;
    }
}

struct Dice;

impl Entropy for Dice {
    fn id(&self, _: Moment) -> uuid::Uuid {
        uuid::Uuid::nil()
    }

    fn roll(&self) -> u64 {
        0
    }
}

#[derive(Default)]
pub(crate) struct Told(Mutex<BTreeMap<ServiceName, Vec<ProcessState>>>);

impl Told {
    pub(crate) fn tell(&self, service: &str, processes: Vec<ProcessState>) {
        self.0.lock().unwrap().insert(service.into(), processes);
    }
}

impl Processes for Told {
    fn of(&self, service: &ServiceName) -> Vec<ProcessState> {
        self.0.lock().unwrap().get(service).cloned().unwrap_or_default()
    }
}

/// A started prober and all that comes out of it.
pub(crate) struct TestRig {
    pub(crate) prober: Prober,
    pub(crate) samples: mpsc::UnboundedReceiver<Sample>,
    pub(crate) changes: mpsc::UnboundedReceiver<StatusChange>,
    pub(crate) processes: Arc<Told>,
}

impl TestRig {
    pub(crate) fn start(services: Vec<ServiceProbes>) -> Self {
        Self::open(services, Arc::default(), None).unwrap()
    }

    pub(crate) fn with(services: Vec<ServiceProbes>, processes: Arc<Told>) -> Self {
        Self::open(services, processes, None).unwrap()
    }

    pub(crate) fn spread(services: Vec<ServiceProbes>, seed: u64) -> Self {
        Self::open(services, Arc::default(), Some(seed)).unwrap()
    }

    fn open(services: Vec<ServiceProbes>, processes: Arc<Told>, spread: Option<u64>) -> Result<Self, ProbeError> {
        let (samples, seen) = mpsc::unbounded_channel();
        let (changes, changed) = mpsc::unbounded_channel();
        let outside = ProberPorts {
            clock: Arc::new(RealClock),
            entropy: Arc::new(Dice),
            processes: processes.clone(),
            samples: Arc::new(samples),
            changes,
        };
        let prober = Prober::start(services, outside, spread)?;
        Ok(Self { prober, samples: seen, changes: changed, processes })
    }

    pub(crate) fn pulse(&self, service: &str) -> ProbeStatus {
        let name = ServiceName::from(service);
        self.prober.pulses().into_iter().find(|(found, _)| *found == name).unwrap().1
    }

    pub(crate) async fn check(&self, service: &str) -> ProbeStatus {
        self.prober.check_now(Some(&[service.into()])).await;
        self.pulse(service)
    }

    /// The next sample that fits.
    pub(crate) async fn sample(&mut self, fits: impl Fn(&Sample) -> bool) -> Sample {
        let next = async {
            loop {
                let sample = self.samples.recv().await.unwrap();
                if fits(&sample) {
                    return sample;
                }
            }
        };
        tokio::time::timeout(DEADLINE, next).await.expect("no such sample came")
    }

    /// What has come up to now.
    pub(crate) fn seen(&mut self) -> Vec<Sample> {
        std::iter::from_fn(|| self.samples.try_recv().ok()).collect()
    }

    pub(crate) async fn until(&self, service: &str, what: &str, holds: impl Fn(&ProbeStatus) -> bool) -> ProbeStatus {
        let begun = Instant::now();
        loop {
            let pulse = self.pulse(service);
            if holds(&pulse) {
                return pulse;
            }
            assert!(begun.elapsed() < DEADLINE, "{service} is never {what}: {pulse:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Why these services cannot be checked.
pub(crate) fn refused(services: Vec<ServiceProbes>) -> ProbeError {
    TestRig::open(services, Arc::default(), None).err().expect("it started")
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A service whose timers stay out of the way: the first check at once, the next in an hour.
pub(crate) fn service(name: &str, probes: Vec<ProbeConfig>) -> ServiceProbes {
    ServiceProbes { probes, ..ServiceProbes::new(name.into()) }
}

pub(crate) fn fixed(open: Duration) -> BreakerConfig {
    BreakerConfig { open, open_max: Some(open), ..BreakerConfig::default() }
}

pub(crate) fn http(url: impl Into<String>) -> ProbeConfig {
    ProbeConfig { url: Some(url.into()), ..slow(ProbeKind::Http) }
}

pub(crate) fn tcp(port: u16) -> ProbeConfig {
    ProbeConfig { address: Some(format!("127.0.0.1:{port}")), ..slow(ProbeKind::Tcp) }
}

pub(crate) fn exec(script: &str) -> ProbeConfig {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    ProbeConfig { command: Some(command), timeout: Duration::from_secs(5), ..slow(ProbeKind::Exec) }
}

fn slow(kind: ProbeKind) -> ProbeConfig {
    let (period, timeout) = (Duration::from_secs(3_600), Duration::from_secs(5));
    ProbeConfig { period, timeout, ..ProbeConfig::new(kind) }
}

/// What the server does to who connects.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with this code and no body.
    Code(u16),
    /// Answers 200 with this body.
    Body(String),
    /// Says nothing.
    Hang,
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Sends headers for ever, one byte after the other.
    Drip,
}

/// A server on a port that stays reserved while nobody listens.
pub(crate) struct Stub {
    pub(crate) port: u16,
    _reserved: OwnedFd,
    act: Arc<Mutex<Act>>,
    hits: Arc<AtomicU64>,
    asked: Arc<Mutex<String>>,
    serving: Option<JoinHandle<()>>,
}

fn bound(port: u16) -> OwnedFd {
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    socket
}

impl Stub {
    /// Nobody listens.
    pub(crate) fn silent() -> Self {
        let reserved = bound(0);
        let port = SocketAddrV4::try_from(rustix::net::getsockname(&reserved).unwrap()).unwrap().port();
        Self {
            port,
            _reserved: reserved,
            act: Arc::new(Mutex::new(Act::Hang)),
            hits: Arc::default(),
            asked: Arc::default(),
            serving: None,
        }
    }

    pub(crate) fn serving(act: Act) -> Self {
        let mut stub = Self::silent();
        stub.serve(act);
        stub
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/health?deep=1", self.port)
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub(crate) fn asked(&self) -> String {
        self.asked.lock().unwrap().clone()
    }

    /// Serves so from now on.
    pub(crate) fn serve(&mut self, act: Act) {
        *self.act.lock().unwrap() = act;
        if self.serving.is_some() {
            return;
        }
        let socket = bound(self.port);
        listen(&socket, 64).unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (act, hits, asked) = (self.act.clone(), self.hits.clone(), self.asked.clone());
        self.serving = Some(tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                hits.fetch_add(1, Ordering::SeqCst);
                let act = act.lock().unwrap().clone();
                tokio::spawn(answer(stream, act, asked.clone()));
            }
        }));
    }

    /// Refuses from now on.
    pub(crate) async fn refuse(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}

async fn answer(mut stream: tokio::net::TcpStream, act: Act, asked: Arc<Mutex<String>>) {
    let mut head = vec![0; 4_096];
    let Ok(length) = stream.read(&mut head).await else { return };
    *asked.lock().unwrap() = String::from_utf8_lossy(&head[..length]).into_owned();
    let bytes = match act {
        Act::Code(code) => format!("HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        Act::Body(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        Act::Raw(bytes) => bytes,
        Act::Hang => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        Act::Drip => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
    };
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
}
