//! A heald made of cardboard behind the real API on a real socket, and a client.
#![allow(dead_code, unreachable_pub)]

mod shelf;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use heald_api::{Api, Phase, ServerConfig};
use heald_control::*;
use heald_model::*;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

pub use self::shelf::Shelf;

/// Everything the API can ask, in memory.
pub struct Cardboard {
    pub pulses: Mutex<Vec<(ServiceName, ProbeStatus)>>,
    pub host: Mutex<BTreeMap<String, f64>>,
    pub triggered: AtomicU64,
    pub orders: Mutex<Vec<Order>>,
    pub wishes: Mutex<Vec<(ServiceName, Desired, String)>>,
    pub said: Mutex<Vec<String>>,
    pub halted: AtomicBool,
    pub withheld: AtomicBool,
    pub asked: Mutex<Vec<(String, Metrics)>>,
    pub offered: Mutex<Vec<(ServiceName, Offer)>>,
    pub mode: Mutex<Mode>,
    pub learned: Mutex<Vec<Experience>>,
    pub incidents: Mutex<Vec<Incident>>,
    pub journal: Mutex<Vec<Row>>,
    pub rows: broadcast::Sender<Arc<Row>>,
    pub broken: AtomicBool,
}

pub const SERVICES: [&str; 3] = ["writer", "research", "backend"];

impl Cardboard {
    pub fn new() -> Arc<Self> {
        let pulses = SERVICES.map(|name| (name.into(), ProbeStatus::default())).into();
        Arc::new(Self {
            pulses: Mutex::new(pulses),
            host: Mutex::new([("cpu", 12.3), ("memory", 45.6), ("disk", 60.0)].map(|(n, v)| (n.into(), v)).into()),
            triggered: AtomicU64::new(0),
            orders: Mutex::default(),
            wishes: Mutex::default(),
            said: Mutex::default(),
            halted: AtomicBool::new(false),
            withheld: AtomicBool::new(false),
            asked: Mutex::default(),
            offered: Mutex::new(vec![
                ("writer".into(), offer("restart", Source::Native)),
                ("backend".into(), offer("restart", Source::Native)),
                ("writer".into(), offer("notify", Source::Native)),
            ]),
            mode: Mutex::default(),
            learned: Mutex::new(vec![experience("service-down", "restart", None)]),
            incidents: Mutex::default(),
            journal: Mutex::default(),
            rows: broadcast::channel(8).0,
            broken: AtomicBool::new(false),
        })
    }

    pub fn pulse(&self, service: &str, change: impl FnOnce(&mut ProbeStatus)) {
        let mut pulses = self.pulses.lock().unwrap();
        change(&mut pulses.iter_mut().find(|(name, _)| name.as_str() == service).unwrap().1);
    }

    /// One more note.
    pub fn append(&self, text: &str) -> u64 {
        self.record(|at| Entry::of_heald(at, Record::Note { text: text.into() }))
    }

    /// One more row, on record first and on the air then.
    pub fn record(&self, entry: impl FnOnce(Moment) -> Entry) -> u64 {
        let mut journal = self.journal.lock().unwrap();
        let seq = journal.last().map_or(1, |row| row.seq + 1);
        let row = Row {
            seq,
            node: "test".into(),
            epoch: 0,
            tenant: "default".into(),
            schema: 1,
            mono: 1,
            boot: Uuid::nil(),
            entry: entry(Moment::from_millis(seq)),
        };
        journal.push(row.clone());
        let _ = self.rows.send(Arc::new(row));
        seq
    }

    fn check(&self) -> Result<(), JournalError> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(JournalError::Unavailable("disk I/O error".into())),
            false => Ok(()),
        }
    }

    fn desired(&self, service: &str) -> Desired {
        let wishes = self.wishes.lock().unwrap();
        wishes.iter().rev().find(|wish| wish.0.as_str() == service).map_or(Desired::Running, |wish| wish.1)
    }

    fn known(&self, service: &ServiceName) -> Result<(), OrderError> {
        match SERVICES.contains(&service.as_str()) {
            true => Ok(()),
            false => Err(OrderError::NoService(service.clone())),
        }
    }
}

/// An action on offer; all but `notify` touch the service.
pub fn offer(action: &str, source: Source) -> Offer {
    let action = ActionInfo {
        name: action.into(),
        summary: format!("does {action}"),
        parameters: json!({"type": "object"}),
        disruptive: action != "notify",
        undoable: false,
        facts: Vec::new(),
    };
    Offer { action, source, blocked: None }
}

/// Seven of eight tries healed.
pub fn experience(signature: &str, action: &str, service: Option<&str>) -> Experience {
    Experience {
        signature: signature.into(),
        action: action.into(),
        service: service.map(ServiceName::from),
        tries: 8,
        successes: 7,
        alpha: 8.0,
        beta: 2.0,
        recovery: Some(Duration::from_millis(1500)),
        recovery_p90: None,
    }
}

pub fn intent(order: &Order) -> Intent {
    Intent {
        id: IntentId(Uuid::from_u128(7)),
        incident: None,
        service: order.service.clone(),
        signature: Some("service-down".into()),
        action: order.action.clone(),
        parameters: order.parameters.clone(),
        class: Class::Disrupt,
        source: Source::Operator(order.by.clone()),
        at: Moment::from_millis(1_000),
        cause: None,
        verify_within: Duration::from_secs(5),
    }
}

#[async_trait]
impl Control for Cardboard {
    fn services(&self) -> Vec<ServiceStatus> {
        assert!(!self.broken.load(Ordering::SeqCst), "the inside of heald");
        let status = |name: &str| ServiceStatus {
            name: name.into(),
            up: Some(true),
            breaker: Breaker::HalfOpen,
            desired: self.desired(name),
            mode: *self.mode.lock().unwrap(),
            processes: vec![ProcessState {
                replica: "0".into(),
                incarnation: 3,
                pid: Some(42),
                started: Moment::from_millis(5),
                ended: None,
                finished: false,
            }],
            incidents: Vec::new(),
            depends_on: vec!["db".into()],
            tags: vec!["demo".into()],
        };
        SERVICES.map(status).into()
    }

    fn offers(&self) -> Vec<(ServiceName, Offer)> {
        self.offered.lock().unwrap().clone()
    }

    async fn order(&self, order: Order) -> Result<OrderOutcome, OrderError> {
        self.known(&order.service)?;
        if order.action != "restart" && order.action != "clear-cache" {
            return Err(OrderError::NoAction {
                action: order.action,
                offered: vec!["restart".into(), "clear-cache".into()],
            });
        }
        if order.parameters.get("wanted").is_some_and(|wanted| !wanted.is_u64()) {
            return Err(OrderError::BadParameters("`wanted` must be a whole number".into()));
        }
        if self.withheld.load(Ordering::SeqCst) {
            return Err(OrderError::Withheld { rule: "cooldown".into(), why: "restarted 3 s ago".into() });
        }
        let done = OrderOutcome { intent: intent(&order), summary: "restarted as pid 43".into(), outcome: None };
        self.orders.lock().unwrap().push(order);
        Ok(done)
    }

    async fn set_desired(&self, service: &ServiceName, desired: Desired, by: &str) -> Result<(), OrderError> {
        self.known(service)?;
        self.check()?;
        self.wishes.lock().unwrap().push((service.clone(), desired, by.into()));
        Ok(())
    }

    async fn reset(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.known(service)?;
        self.said.lock().unwrap().push(format!("reset {service} {by}"));
        Ok(())
    }

    async fn approve(&self, service: &ServiceName, by: &str) -> Result<(), OrderError> {
        self.known(service)?;
        if service.as_str() == "backend" {
            return Err(OrderError::NothingToDo("nothing of backend waits to be approved".into()));
        }
        self.said.lock().unwrap().push(format!("approve {service} {by}"));
        Ok(())
    }

    async fn halt(&self, halted: bool, _by: &str) -> Result<(), OrderError> {
        self.halted.store(halted, Ordering::SeqCst);
        Ok(())
    }

    fn halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }
}

/// The rules of the older system: a finding above 80, 80 or 5 %, a restart above 85, 85 or a disk above 80.
#[async_trait]
impl Consult for Cardboard {
    async fn consult(&self, profile: &str, metrics: Metrics) -> Result<Consultation, ConsultError> {
        self.asked.lock().unwrap().push((profile.into(), metrics.clone()));
        let above = |name: &str, limit: f64| metrics.values.get(name).is_some_and(|value| *value > limit);
        let finding = |name: &str| Finding {
            condition: format!("high-{name}"),
            subject: None,
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: format!("{name} is high"),
            evidence: Vec::new(),
        };
        let limits = [("cpu", 80.0), ("memory", 80.0), ("error_rate", 0.05)];
        let findings = limits.into_iter().filter(|(name, limit)| above(name, *limit)).map(|(name, _)| finding(name));
        let act = above("cpu", 85.0) || above("memory", 85.0) || above("disk", 80.0);
        let proposal = Proposal { action: "restart".into(), parameters: json!({}), verify_within: None };
        let decision = Decision {
            choice: if act { Choice::Act(proposal) } else { Choice::NoAction },
            confidence: 0.9,
            reason: "by the rules".into(),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            source: Source::Native,
        };
        Ok(Consultation { findings: findings.collect(), decision })
    }
}

#[async_trait]
impl ProbeBoard for Cardboard {
    fn pulses(&self) -> Vec<(ServiceName, ProbeStatus)> {
        self.pulses.lock().unwrap().clone()
    }

    async fn check_now(&self, _only: Option<&[ServiceName]>) {
        self.triggered.fetch_add(1, Ordering::SeqCst);
        for name in SERVICES {
            self.pulse(name, |pulse| pulse.total_checks += 1);
        }
    }

    fn host(&self) -> BTreeMap<String, f64> {
        self.host.lock().unwrap().clone()
    }
}

#[async_trait]
impl History for Cardboard {
    async fn incidents(&self, query: IncidentQuery) -> Result<Page<Incident>, JournalError> {
        self.check()?;
        let fits = |incident: &&Incident| {
            query.service.as_ref().is_none_or(|service| incident.service == *service)
                && query.stage.is_none_or(|stage| incident.stage == stage)
                && (!query.open || incident.is_open())
        };
        let all: Vec<Incident> = self.incidents.lock().unwrap().iter().rev().filter(fits).cloned().collect();
        let total = all.len() as u64;
        let items = all.into_iter().skip(query.offset as usize).take(query.limit as usize);
        Ok(Page { items: items.map(|incident| Incident { timeline: Vec::new(), ..incident }).collect(), total })
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, JournalError> {
        Ok(self.incidents.lock().unwrap().iter().find(|incident| incident.id == id).cloned())
    }

    async fn attempts(
        &self,
        service: Option<ServiceName>,
        limit: u32,
        offset: u32,
    ) -> Result<Page<Attempt>, JournalError> {
        let incidents = self.incidents.lock().unwrap();
        let all: Vec<Attempt> = incidents.iter().rev().flat_map(|incident| incident.attempts.clone()).collect();
        let all: Vec<Attempt> =
            all.into_iter().filter(|a| service.as_ref().is_none_or(|s| a.intent.service == *s)).collect();
        let total = all.len() as u64;
        Ok(Page { items: all.into_iter().skip(offset as usize).take(limit as usize).collect(), total })
    }

    async fn catalog(&self) -> Result<Vec<Experience>, JournalError> {
        Ok(self.learned.lock().unwrap().clone())
    }

    async fn rows(&self, after: u64, limit: u32) -> Result<Vec<Row>, JournalError> {
        self.check()?;
        let journal = self.journal.lock().unwrap();
        Ok(journal.iter().filter(|row| row.seq > after).take(limit as usize).cloned().collect())
    }

    async fn newest(&self) -> Result<u64, JournalError> {
        Ok(self.journal.lock().unwrap().last().map_or(0, |row| row.seq))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Row>> {
        self.rows.subscribe()
    }
}

/// The API on a port of its own.
pub struct Face {
    pub heald: Arc<Cardboard>,
    pub shelf: Arc<Shelf>,
    pub phase: watch::Sender<Phase>,
    pub database: Arc<AtomicBool>,
    pub keeper_silent: Arc<AtomicBool>,
    pub safe_mode: watch::Sender<Option<heald_api::SafeMode>>,
    pub address: std::net::SocketAddr,
    pub served: tokio::task::JoinHandle<std::io::Result<()>>,
    pub end: tokio::sync::oneshot::Sender<()>,
}

pub async fn face() -> Face {
    face_with(ServerConfig::default()).await
}

pub async fn face_with(config: ServerConfig) -> Face {
    let shelf = Shelf::new();
    let heald = Cardboard::new();
    let (phase, seen) = watch::channel(Phase::Ready);
    let database = Arc::new(AtomicBool::new(true));
    let its = Arc::clone(&database);
    let keeper_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&keeper_silent);
    let (safe_mode, seen_mode) = watch::channel(None);
    let api = Api {
        control: heald.clone(),
        consult: heald.clone(),
        plugins: Arc::clone(&shelf) as _,
        board: heald.clone(),
        history: heald.clone(),
        phase: seen,
        database: Arc::new(move || its.load(Ordering::SeqCst)),
        keeper_silent: Arc::new(move || silent.load(Ordering::SeqCst).then_some(Duration::from_secs(4))),
        safe_mode: seen_mode,
        version: "0.1.0",
        started: Instant::now(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let router = heald_api::router(api, &config);
    let shutdown = async { drop(ended.await) };
    let served = tokio::spawn(heald_api::serve(vec![listener], router, shutdown));
    Face { heald, shelf, phase, database, keeper_silent, safe_mode, address, served, end }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Face {
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "", &[]).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::POST, path, body, &[]).await
    }

    pub async fn ask(&self, method: Method, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let (parts, body) = self.send(method, path, body, headers).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.into()).unwrap() }
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sender.send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await.unwrap()
    }
}

/// An incident with one attempt, in the given state.
pub fn incident(n: u64, service: &str, stage: Stage) -> Incident {
    let at = Moment::from_nanos(1_795_341_600_000_000_000 + n * 1_000);
    let id = IncidentId(Uuid::from_u128(u128::from(n) + 1));
    let concern = Concern {
        finding: Finding {
            condition: "service-down".into(),
            subject: None,
            severity: Severity::Error,
            score: 1.0,
            predicted: None,
            message: "HTTP 503".into(),
            evidence: vec![Fact::number("failures", 3.0), Fact::text("cause", "status")],
        },
        source: Source::Native,
        since: at,
    };
    let of = |record| Entry::of_incident(at, service.into(), id, record);
    let opened = Record::Opened { condition: "service-down".into(), concern, parent: None, reopened: 0 };
    let mut incident = Incident::open(&of(opened)).unwrap();
    let order = Order {
        service: service.into(),
        action: "clear-cache".into(),
        parameters: json!({"a": 1}),
        by: "me".into(),
        force: false,
    };
    let intent = Intent { incident: Some(id), ..intent(&order) };
    let receipt = Receipt {
        summary: "emptied".into(),
        changed: true,
        incarnation: None,
        facts: vec![Fact::number("files", 3.0)],
        undo: None,
        at,
    };
    let settled = Record::Settled { intent: intent.id, ending: Ending::Verified(Outcome::Healed) };
    for record in
        [Record::Intended { intent: intent.clone() }, Record::Performed { intent: intent.id, receipt }, settled]
    {
        incident.apply(&of(record));
    }
    incident.apply(&of(Record::Staged { stage, why: "because".into() }));
    incident
}

/// Waits for a state, at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within ten seconds");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
