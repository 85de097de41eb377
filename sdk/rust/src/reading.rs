//! Questions that a plug-in asks of what it was given. Nothing here judges; it only looks up.

use crate::{Ending, Incident, Offer, Outcome, Question, Sample, Scalar, Series, Service, Severity};

impl Series {
    /// The newest sample. The host sends at least one; a series without is no news.
    pub fn newest(&self) -> Option<&Sample> {
        self.samples.last()
    }

    /// The samples that were in no earlier call, oldest first.
    pub fn fresh(&self) -> &[Sample] {
        let fresh = usize::try_from(self.fresh).unwrap_or(usize::MAX);
        let past = self.samples.len().saturating_sub(fresh);
        self.samples.get(past..).unwrap_or_default()
    }

    /// What a detector has yet to look at: what is fresh if it remembers this series, else all that was sent. The host may
    /// drop a state at any time and then sends the past along; whoever looked at fresh samples only would forget it.
    pub fn unseen(&self, remembered: bool) -> &[Sample] {
        if remembered { self.fresh() } else { &self.samples }
    }

    /// What within the service it watches: the replica where there is one, else the probe. Fit for a finding's subject.
    pub fn subject(&self) -> &str {
        self.replica.as_deref().unwrap_or(&self.probe)
    }

    /// A key for it in a detector's memory.
    pub fn key(&self) -> String {
        match &self.replica {
            None => self.probe.clone(),
            Some(replica) => format!("{}@{replica}", self.probe),
        }
    }

    /// What `sample`, one of this series, measured under that name: `cpu`, `memory` (percent), `error_rate` (0..1),
    /// `latency_ms`, `status` (the code), or a custom metric. None is not measured, never zero.
    pub fn value(&self, sample: &Sample, name: &str) -> Option<f64> {
        match name {
            "cpu" => sample.cpu,
            "memory" => sample.memory,
            "error_rate" => sample.error_rate,
            "latency_ms" => sample.latency_ms(),
            "status" => sample.status.map(f64::from),
            custom => {
                let place = self.metrics.iter().position(|metric| metric == custom)?;
                sample.values.get(place).copied().flatten()
            }
        }
    }

    /// [`value`](Self::value) of the newest sample.
    pub fn newest_value(&self, name: &str) -> Option<f64> {
        self.value(self.newest()?, name)
    }
}

impl Sample {
    /// Latency in milliseconds.
    pub fn latency_ms(&self) -> Option<f64> {
        // 2^53 ns is 104 days: no latency loses precision here.
        self.latency.map(|nanoseconds| nanoseconds as f64 / 1e6)
    }
}

impl Service {
    /// The fact of that name, if the host states it.
    pub fn fact(&self, name: &str) -> Option<&Scalar> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value)
    }

    /// Is it tagged so?
    pub fn is_tagged(&self, tag: &str) -> bool {
        self.tags.iter().any(|each| each == tag)
    }
}

impl crate::Finding {
    /// The fact of that name in its evidence.
    pub fn fact(&self, name: &str) -> Option<&Scalar> {
        self.evidence.iter().find(|fact| fact.name == name).map(|fact| &fact.value)
    }
}

impl Incident {
    /// The finding that leads it.
    pub fn leading(&self) -> Option<&crate::Finding> {
        self.concerns.first().map(|concern| &concern.finding)
    }

    /// Attempts of this incident itself; `attempts` holds those of the last 24 hours of the service.
    pub fn own_attempts(&self) -> impl DoubleEndedIterator<Item = &crate::Attempt> {
        self.attempts.iter().filter(|attempt| attempt.incident == self.id)
    }
}

impl Question {
    /// The offer of that name.
    pub fn offer(&self, action: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.action.name == action)
    }

    /// Is it on offer, and would the guard let it pass now?
    pub fn can(&self, action: &str) -> bool {
        self.offer(action).is_some_and(|offer| offer.blocked.is_none())
    }
}

impl Ending {
    /// Was it tried, and did not help? What the guard withheld, what is still under way, and what no probe could judge do
    /// not count: they prove nothing against the remedy.
    pub fn is_spent(&self) -> bool {
        match self {
            Self::Verified(Outcome::NotHealed | Outcome::Worse) | Self::Failed(_) => true,
            Self::Verified(Outcome::Healed | Outcome::Unknown) | Self::Withheld(_) | Self::Unsettled => false,
        }
    }
}

impl Severity {
    /// Its name: `info`, `warning`, `error`, `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl Scalar {
    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Truth(_) | Self::Text(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Truth(_) | Self::Number(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{sample, series};

    #[test]
    fn only_the_tail_is_fresh() {
        let mut seen = series("http").samples([sample().cpu(1.0), sample().cpu(2.0), sample().cpu(3.0)]).build();
        seen.fresh = 2;
        assert_eq!(seen.fresh().iter().filter_map(|sample| sample.cpu).collect::<Vec<_>>(), [2.0, 3.0]);
        // A host that claims more than it sends breaks nothing.
        seen.fresh = 9;
        assert_eq!(seen.fresh().len(), 3);
    }

    #[test]
    fn values_are_found_by_name() {
        let seen = series("http").samples([sample().latency_ms(12.5).status(503).value("open_fds", 7.0)]).build();
        assert_eq!(seen.newest_value("latency_ms"), Some(12.5));
        assert_eq!(seen.newest_value("status"), Some(503.0));
        assert_eq!(seen.newest_value("open_fds"), Some(7.0));
        assert_eq!(seen.newest_value("cpu"), None);
        assert_eq!(seen.newest_value("unheard_of"), None);
    }
}
