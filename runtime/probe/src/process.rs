//! The implicit probe of a supervised process: is it alive, and what does it use?
//!
//! It measures the process itself, not what that starts. That a process ended is not seen here: whoever owns it tells.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use heald_engine::ports::ProcessState;
use heald_model::{Moment, PROCESS_PROBE, ProbeId, Replica, Sample};
use tokio::time::Instant;

use crate::body::quantised;
use crate::monitor::Watched;
use crate::proc::{Limits, Usage};

/// A process that lives so long has started; one that does not was never up.
const SETTLED: Duration = Duration::from_secs(1);
/// Busyness over a shorter time than this is the kernel's tick, not a measure.
const SHORTEST: Duration = Duration::from_millis(100);
/// Limits change rarely, and finding them costs more than measuring.
const LIMITS: Duration = Duration::from_secs(30);

/// What is remembered between two looks at one service's processes.
#[derive(Default)]
pub(crate) struct Gauges(Mutex<BTreeMap<Replica, Gauge>>);

struct Gauge {
    incarnation: u64,
    pid: u32,
    limits: Limits,
    limits_read: Instant,
    cpu_seconds: f64,
    cpu_read: Instant,
    cpu: Option<f64>,
}

impl Gauges {
    /// Looks at every copy that runs. Returns when the next of them will have lived long enough, if one has not yet.
    pub(crate) fn look(&self, watched: &Watched) -> Option<Duration> {
        let processes = watched.outside.processes.of(&watched.service);
        let now = watched.outside.clock.now();
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.retain(|replica, _| processes.iter().any(|process| process.replica == *replica));
        watched.retain(&processes.iter().map(|process| watched.replica(&process.replica)).collect::<Vec<_>>());
        let mut next = None::<Duration>;
        for process in processes.iter().filter(|process| process.ended.is_none()) {
            let Some(pid) = process.pid else { continue };
            let age = now.since(process.started);
            if let Some(rest) = SETTLED.checked_sub(age).filter(|rest| !rest.is_zero()) {
                next = Some(next.map_or(rest, |next| next.min(rest)));
            }
            if let Some(usage) = Usage::of(pid) {
                let mut sample = sample(watched, process, now);
                sample.ok = (age >= SETTLED).then_some(true);
                fill(&mut sample, &mut gauges, process, pid, &usage);
                watched.measured(sample);
            }
        }
        next
    }
}

fn sample(watched: &Watched, process: &ProcessState, now: Moment) -> Sample {
    Sample {
        replica: watched.replica(&process.replica),
        incarnation: Some(process.incarnation),
        ..Sample::new(watched.service.clone(), ProbeId::from(PROCESS_PROBE), now)
    }
}

fn fill(sample: &mut Sample, gauges: &mut BTreeMap<Replica, Gauge>, process: &ProcessState, pid: u32, usage: &Usage) {
    let now = Instant::now();
    let same = |gauge: &&mut Gauge| gauge.pid == pid && gauge.incarnation == process.incarnation;
    let limits = match gauges.get_mut(&process.replica).filter(same) {
        Some(gauge) => {
            gauge.update(usage, now);
            sample.cpu = gauge.cpu;
            gauge.limits
        }
        None => {
            let limits = Limits::of(pid);
            let gauge = Gauge {
                incarnation: process.incarnation,
                pid,
                limits,
                limits_read: now,
                cpu_seconds: usage.cpu_seconds,
                cpu_read: now,
                cpu: None,
            };
            gauges.insert(process.replica.clone(), gauge);
            limits
        }
    };
    if let Some(memory) = usage.memory {
        sample.memory = quantised(memory as f64 / limits.memory as f64 * 100.0);
        sample.values.insert("memory_bytes".to_owned(), memory as f64);
    }
    sample.values.insert("threads".to_owned(), usage.threads as f64);
    if let Some(open) = usage.open_fds {
        sample.values.insert("open_fds".to_owned(), open as f64);
    }
}

impl Gauge {
    fn update(&mut self, usage: &Usage, now: Instant) {
        if now - self.limits_read >= LIMITS {
            self.limits = Limits::of(self.pid);
            self.limits_read = now;
        }
        let passed = now - self.cpu_read;
        if passed >= SHORTEST {
            let used = (usage.cpu_seconds - self.cpu_seconds).max(0.0);
            self.cpu = quantised(used / passed.as_secs_f64() / self.limits.cpus * 100.0);
            self.cpu_seconds = usage.cpu_seconds;
            self.cpu_read = now;
        }
    }
}
