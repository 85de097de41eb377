//! The implicit probe of a supervised process: whether it is alive, and which resources it uses.
//!
//! It measures the process itself and not its children. The owner of a process reports its exit. A process that is gone, or
//! a zombie, at two looks while its owner says nothing is a failed sample.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use heald_model::ProcessState;
use heald_model::{Moment, PROCESS_PROBE, ProbeId, Replica, Sample};
use tokio::time::Instant;

use crate::body::quantised;
use crate::monitor::MonitoredService;
use crate::proc::{ResourceLimits, Usage};

/// A process that has lived this long counts as started.
const SETTLED: Duration = Duration::from_secs(1);
/// CPU usage over a shorter time than this reflects the kernel's tick rather than the process.
const SHORTEST: Duration = Duration::from_millis(100);
/// How often the limits are read again. They change rarely, and reading them costs more than measuring.
const LIMITS: Duration = Duration::from_secs(30);

/// After this long a process that was gone is looked at again: its exit may be on its way.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// What is kept between two measurements of the processes of one service.
#[derive(Default)]
pub(crate) struct Gauges {
    measured: Mutex<BTreeMap<Replica, Gauge>>,
    /// Since when a process that should run was found gone, by copy and incarnation.
    gone: Mutex<BTreeMap<(Replica, u64), Instant>>,
}

struct Gauge {
    incarnation: u64,
    pid: u32,
    limits: ResourceLimits,
    limits_read: Instant,
    cpu_seconds: f64,
    cpu_read: Instant,
    cpu: Option<f64>,
}

impl Gauges {
    /// Measures every running replica. Returns how long until the next young process counts as started, if there is one.
    pub(crate) fn measure(&self, monitored: &MonitoredService) -> Option<Duration> {
        let processes = monitored.ports.processes.of(&monitored.service);
        let now = monitored.ports.clock.now();
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|(replica, incarnation), _| {
            let same = |process: &ProcessState| process.replica == *replica && process.incarnation == *incarnation;
            processes.iter().any(|process| same(process) && process.ended.is_none())
        });
        let mut gauges = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.retain(|replica, _| processes.iter().any(|process| process.replica == *replica));
        monitored.retain(&processes.iter().map(|process| monitored.replica(&process.replica)).collect::<Vec<_>>());
        let mut next = None::<Duration>;
        for process in processes.iter().filter(|process| process.ended.is_none()) {
            let Some(pid) = process.pid else { continue };
            let age = now.since(process.started);
            if let Some(rest) = SETTLED.checked_sub(age).filter(|rest| !rest.is_zero()) {
                next = Some(next.map_or(rest, |next| next.min(rest)));
            }
            if let Some(usage) = Usage::of(pid) {
                let mut sample = sample(monitored, process, now);
                sample.ok = (age >= SETTLED).then_some(true);
                fill(&mut sample, &mut gauges, process, pid, &usage);
                monitored.measured(sample);
                continue;
            }
            let since = gone.entry((process.replica.clone(), process.incarnation)).or_insert_with(Instant::now);
            if since.elapsed() < SECOND_LOOK {
                next = Some(next.map_or(SECOND_LOOK, |next| next.min(SECOND_LOOK)));
                continue;
            }
            let mut sample = sample(monitored, process, now);
            sample.ok = Some(false);
            sample.fault = Some("missing".to_owned());
            sample.message = Some(format!("process {pid} has ended, and the keeper does not say how"));
            monitored.measured(sample);
        }
        next
    }
}

fn sample(monitored: &MonitoredService, process: &ProcessState, now: Moment) -> Sample {
    Sample {
        replica: monitored.replica(&process.replica),
        incarnation: Some(process.incarnation),
        ..Sample::new(monitored.service.clone(), ProbeId::from(PROCESS_PROBE), now)
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
            let limits = ResourceLimits::of(pid);
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
            self.limits = ResourceLimits::of(self.pid);
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
