//! What the benches have in common: guests built from source, a world that is stood in for, percentiles and memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

pub mod bare;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use heald_engine::ports::{Clock, Entropy, Processes};
use heald_model::{Blob, Observation, ProcessState};
use heald_model::{Breaker, Moment, ProbeId, Role, Sample, Series, ServiceName, ServiceView};
use heald_plugin_build::Workspace;
use serde_json::json;
use uuid::Uuid;

/// The real time, from a moment that is easy to read.
pub struct RealClock(pub Instant);

impl RealClock {
    /// From now on.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for RealClock {
    fn now(&self) -> Moment {
        Moment::from_millis(1_700_000_000_000) + self.0.elapsed()
    }
    async fn sleep_until(&self, then: Moment) {
        match then {
            Moment::NEVER => std::future::pending().await,
            then => tokio::time::sleep(then.since(self.now())).await,
        }
    }
}

/// Real dice.
pub struct Dice;

impl Entropy for Dice {
    fn id(&self, _: Moment) -> Uuid {
        Uuid::from_u128(rand::random())
    }
    fn roll(&self) -> u64 {
        rand::random()
    }
}

/// No processes.
pub struct Nobody;

impl Processes for Nobody {
    fn of(&self, _: &ServiceName) -> Vec<ProcessState> {
        Vec::new()
    }
}

/// A guest of `tests/guests`, built from source.
pub fn guest(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let guests = Workspace::at(root.join("tests/guests")).target_dir(target.join("bench-guests")).package(name);
    guests.build().unwrap()[0].component().unwrap()
}

/// The same component as another version: with a custom section of its own, and so another digest.
pub fn version(component: &[u8], number: u32) -> Vec<u8> {
    let mut section = vec![b'v'];
    section.extend(number.to_le_bytes());
    let mut whole = component.to_vec();
    // Id 0: custom; then the length, the length of the name, and the name.
    whole.extend([0, u8::try_from(section.len() + 1).unwrap(), 1]);
    whole.extend(section);
    whole
}

/// A service of that name that is well.
pub fn service(name: &str) -> ServiceView {
    ServiceView {
        name: ServiceName::from(name),
        tags: vec!["tier-1".into()],
        depends_on: Vec::new(),
        wanted: 1,
        running: 1,
        ready: 1,
        breaker: Breaker::Closed,
        metadata: json!({}),
        facts: Vec::new(),
    }
}

/// Sorted durations, to be asked for percentiles.
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of these.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }

    /// The value below which this share of them is, 0..1.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    /// In one line, in microseconds.
    pub fn tell(&self) -> String {
        let micros = |share: f64| self.at(share).as_secs_f64() * 1e6;
        let (p50, p90, p99, max) = (micros(0.5), micros(0.9), micros(0.99), micros(1.0));
        format!("p50 {p50:.1} us   p90 {p90:.1} us   p99 {p99:.1} us   max {max:.1} us   ({} times)", self.0.len())
    }
}

/// Bytes of this process that are in memory.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The newest sample and 1 KiB of state, as the engine shows them; [`bare::observation`] is the same.
pub fn observation() -> Observation {
    let at = Moment::from_nanos(1_000_000_000);
    let service = service("web");
    let sample = Sample {
        ok: Some(true),
        latency: Some(Duration::from_millis(12)),
        status: Some(200),
        cpu: Some(50.0),
        memory: Some(40.0),
        values: BTreeMap::from([("memory_bytes".to_owned(), 5e7), ("open_fds".to_owned(), 12.0)]),
        ..Sample::new(service.name.clone(), ProbeId::from("http"), at)
    };
    let series = Series {
        probe: ProbeId::from("http"),
        role: Role::Liveness,
        replica: None,
        period: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        samples: VecDeque::from([sample]),
        fresh: 1,
    };
    let now = at + Duration::from_millis(1);
    Observation { now, seed: 7, service, series: vec![series], state: Some(Blob(vec![0; 1 << 10])) }
}
