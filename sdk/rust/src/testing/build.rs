//! Samples and series, with everything unmeasured unless said.

use crate::{Replicas, Sample, Series, Service};

/// A sample that measured nothing and passed.
pub fn sample() -> SampleBuilder {
    SampleBuilder { sample: empty(Some(true)), values: Vec::new() }
}

fn empty(ok: Option<bool>) -> Sample {
    Sample {
        at: 0,
        incarnation: Some(1),
        ok,
        fault: None,
        reported: None,
        latency: None,
        status: None,
        cpu: None,
        memory: None,
        error_rate: None,
        values: Vec::new(),
    }
}

/// See [`sample`].
#[derive(Debug, Clone)]
pub struct SampleBuilder {
    pub(super) sample: Sample,
    pub(super) values: Vec<(String, f64)>,
}

impl SampleBuilder {
    /// Not ok, for that reason: `refused`, `timeout`, `status`, `body`, `exit`, `signal`, ...
    pub fn fault(mut self, fault: &str) -> Self {
        self.sample.ok = Some(false);
        self.sample.fault = Some(fault.to_owned());
        self
    }
    /// The prober gave no verdict.
    pub fn no_verdict(mut self) -> Self {
        self.sample.ok = None;
        self
    }
    /// When, in nanoseconds; otherwise one period after the one before.
    pub fn at(mut self, at: u64) -> Self {
        self.sample.at = at;
        self
    }
    /// Which life of the process it saw.
    pub fn incarnation(mut self, incarnation: u64) -> Self {
        self.sample.incarnation = Some(incarnation);
        self
    }
    /// The service's own word.
    pub fn reported(mut self, word: &str) -> Self {
        self.sample.reported = Some(word.to_owned());
        self
    }
    /// Status or exit code, or a negative signal.
    pub fn status(mut self, code: i32) -> Self {
        self.sample.status = Some(code);
        self
    }
    /// Latency in milliseconds.
    pub fn latency_ms(mut self, milliseconds: f64) -> Self {
        self.sample.latency = Some((milliseconds * 1e6) as u64);
        self
    }
    /// Percent of the quota.
    pub fn cpu(mut self, percent: f64) -> Self {
        self.sample.cpu = Some(percent);
        self
    }
    /// Percent of the limit.
    pub fn memory(mut self, percent: f64) -> Self {
        self.sample.memory = Some(percent);
        self
    }
    /// Failed share, 0..1.
    pub fn error_rate(mut self, share: f64) -> Self {
        self.sample.error_rate = Some(share);
        self
    }
    /// A custom metric.
    pub fn value(mut self, name: &str, value: f64) -> Self {
        self.values.push((name.to_owned(), value));
        self
    }
}

/// A liveness series of one second period and thresholds 1, with no samples yet.
pub fn series(probe: &str) -> SeriesBuilder {
    SeriesBuilder {
        series: Series {
            probe: probe.to_owned(),
            role: "liveness".to_owned(),
            replica: None,
            period: 1_000_000_000,
            failure_threshold: 1,
            success_threshold: 1,
            metrics: Vec::new(),
            samples: Vec::new(),
            fresh: 0,
        },
    }
}

/// See [`series`].
#[derive(Debug, Clone)]
pub struct SeriesBuilder {
    series: Series,
}

impl SeriesBuilder {
    /// `liveness`, `readiness`, `startup` or `metrics`.
    pub fn role(mut self, role: &str) -> Self {
        self.series.role = role.to_owned();
        self
    }
    /// Which replica it watches.
    pub fn replica(mut self, replica: &str) -> Self {
        self.series.replica = Some(replica.to_owned());
        self
    }
    /// Failures and successes in a row that make a change.
    pub fn thresholds(mut self, failure: u32, success: u32) -> Self {
        self.series.failure_threshold = failure;
        self.series.success_threshold = success;
        self
    }
    /// Appends samples, all of them fresh; each one period after the one before unless it says when.
    pub fn samples(mut self, samples: impl IntoIterator<Item = SampleBuilder>) -> Self {
        for each in samples {
            self.push(each);
        }
        self
    }
    /// As the host would send it.
    pub fn build(self) -> Series {
        self.series
    }

    pub(super) fn push(&mut self, built: SampleBuilder) -> u64 {
        let SampleBuilder { mut sample, values } = built;
        if sample.at == 0 {
            sample.at = self.series.samples.last().map_or(0, |last| last.at) + self.series.period;
        }
        for (name, value) in values {
            let known = self.series.metrics.iter().position(|metric| *metric == name);
            let place = known.unwrap_or_else(|| {
                self.series.metrics.push(name);
                self.series.metrics.len() - 1
            });
            if sample.values.len() <= place {
                sample.values.resize(place + 1, None);
            }
            if let Some(slot) = sample.values.get_mut(place) {
                *slot = Some(value);
            }
        }
        for earlier in self.series.samples.iter_mut().chain([&mut sample]) {
            earlier.values.resize(self.series.metrics.len(), None);
        }
        let at = sample.at;
        self.series.samples.push(sample);
        self.series.fresh += 1;
        at
    }

    pub(super) fn is(&self, probe: &str) -> bool {
        self.series.probe == probe
    }

    /// What the host would send now: the newest `keep` samples, of which those not yet sent are fresh.
    pub(super) fn send(&mut self, keep: usize) -> Series {
        let mut sent = self.series.clone();
        let fresh = usize::try_from(sent.fresh).unwrap_or(usize::MAX);
        let drop = sent.samples.len().saturating_sub(keep.max(fresh).max(1));
        sent.samples.drain(..drop);
        self.series.fresh = 0;
        sent
    }

    pub(super) fn last(&self, keep: usize) -> Self {
        let mut kept = self.clone();
        let drop = kept.series.samples.len().saturating_sub(keep);
        kept.series.samples.drain(..drop);
        kept
    }
}

/// A service without tags, dependencies or facts, one replica wanted and running.
pub fn service(name: &str) -> Service {
    Service {
        name: name.to_owned(),
        tags: Vec::new(),
        depends_on: Vec::new(),
        replicas: Replicas { wanted: 1, running: 1, ready: 1 },
        breaker: "closed".to_owned(),
        metadata: "{}".to_owned(),
        facts: Vec::new(),
    }
}
