//! The fix catalog: what was tried against what, and how it went.
//!
//! A pure fold over settled attempts. It asks no clock and rolls no dice, and the order in which attempts are absorbed
//! does not matter, so the engine's memory, the store's projection and a rebuild from the journal agree. It refuses to
//! learn from what proves nothing: an attempt that is under way, was withheld, or that no probe could judge.

use std::collections::BTreeMap;
use std::time::Duration;

use heald_model::{Attempt, Ending, Experience, Moment, Outcome, ServiceName, Signature};
use serde::{Deserialize, Serialize};

/// So many of the newest recoveries are kept per line: enough for a 90th percentile that moves when the service does,
/// and small enough to be rewritten with every success.
const RECOVERIES: usize = 64;

/// The prior of the chance of success, Beta(1, 1): nothing is known, so every chance is as likely as any other.
const PRIOR: f64 = 1.0;

/// What a line of the catalog is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FixKey {
    /// What was wrong.
    pub signature: Signature,
    /// What was done.
    pub action: String,
    /// For which service; None: over all.
    pub service: Option<ServiceName>,
}

impl FixKey {
    /// The two lines an attempt belongs to: over all services, and its own. None if it has no signature (an operator's
    /// action outside any incident).
    pub fn of(attempt: &Attempt) -> Option<[Self; 2]> {
        let signature = attempt.intent.signature.clone()?;
        let action = attempt.intent.action.clone();
        let all = Self { signature, action, service: None };
        let own = Self { service: Some(attempt.intent.service.clone()), ..all.clone() };
        Some([all, own])
    }
}

/// The numbers of one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixRecord {
    /// How often it was tried to a verdict.
    pub tries: u32,
    /// How often it healed.
    pub successes: u32,
    /// The newest recoveries: when each was settled and how long it had taken, oldest first.
    pub recoveries: Vec<(Moment, Duration)>,
}

impl FixRecord {
    fn succeed(&mut self, settled: Moment, took: Duration) {
        self.successes = self.successes.saturating_add(1);
        let place = self.recoveries.partition_point(|known| *known <= (settled, took));
        self.recoveries.insert(place, (settled, took));
        if self.recoveries.len() > RECOVERIES {
            self.recoveries.remove(0);
        }
    }

    fn take_back(&mut self, settled: Moment, took: Duration) {
        self.successes = self.successes.saturating_sub(1);
        if let Some(place) = self.recoveries.iter().position(|known| *known == (settled, took)) {
            self.recoveries.remove(place);
        }
    }

    /// The line as policies and people see it.
    pub fn experience(&self, key: &FixKey) -> Experience {
        let mut took: Vec<Duration> = self.recoveries.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        let count = u32::try_from(took.len()).unwrap_or(u32::MAX);
        Experience {
            signature: key.signature.clone(),
            action: key.action.clone(),
            service: key.service.clone(),
            tries: self.tries,
            successes: self.successes,
            alpha: PRIOR + f64::from(self.successes),
            beta: PRIOR + f64::from(self.tries.saturating_sub(self.successes)),
            recovery: took.iter().sum::<Duration>().checked_div(count),
            recovery_p90: took.get((took.len() * 9).div_ceil(10).saturating_sub(1)).copied(),
        }
    }
}

/// What an attempt teaches; None: nothing.
///
/// An action that reported an error counts as a failure: it did not heal, and a policy that is not told so would choose
/// it for ever.
pub fn lesson(attempt: &Attempt) -> Option<bool> {
    match &attempt.ending {
        Ending::Verified(Outcome::Healed) => Some(true),
        Ending::Verified(Outcome::NotHealed | Outcome::Worse) | Ending::Failed(_) => Some(false),
        Ending::Verified(Outcome::Unknown) | Ending::Withheld(_) | Ending::Unsettled => None,
    }
}

/// The fix catalog.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    lines: BTreeMap<FixKey, FixRecord>,
}

impl Catalog {
    /// Learns from an attempt that is over. Each attempt must be given once.
    pub fn absorb(&mut self, attempt: &Attempt) {
        let (Some(healed), Some(keys)) = (lesson(attempt), FixKey::of(attempt)) else { return };
        let took = attempt.took.unwrap_or_default();
        for key in keys {
            let tally = self.lines.entry(key).or_default();
            tally.tries = tally.tries.saturating_add(1);
            if healed {
                tally.succeed(attempt.intent.at + took, took);
            }
        }
    }

    /// What this attempt had healed came back: its success is a failure. The attempt must be given once, as it was absorbed.
    pub fn relapse(&mut self, attempt: &Attempt) {
        let (Some(true), Some(keys)) = (lesson(attempt), FixKey::of(attempt)) else { return };
        let took = attempt.took.unwrap_or_default();
        for key in keys {
            if let Some(record) = self.lines.get_mut(&key) {
                record.take_back(attempt.intent.at + took, took);
            }
        }
    }

    /// What is known of a signature: per action, over all services first, then service by service.
    pub fn experience(&self, signature: &Signature) -> Vec<Experience> {
        let first = FixKey { signature: signature.clone(), action: String::new(), service: None };
        let lines = self.lines.range(first..).take_while(|(key, _)| key.signature == *signature);
        lines.map(|(key, tally)| tally.experience(key)).collect()
    }

    /// Every line, by signature, action and service.
    pub fn all(&self) -> Vec<Experience> {
        self.lines.iter().map(|(key, tally)| tally.experience(key)).collect()
    }

    /// The numbers of one line.
    pub fn line(&self, key: &FixKey) -> Option<&FixRecord> {
        self.lines.get(key)
    }

    /// Puts a line in place, as it was read from where it is kept.
    pub fn put(&mut self, key: FixKey, tally: FixRecord) {
        self.lines.insert(key, tally);
    }

    /// Every line as it is kept.
    pub fn lines(&self) -> impl Iterator<Item = (&FixKey, &FixRecord)> {
        self.lines.iter()
    }
}

impl Extend<(FixKey, FixRecord)> for Catalog {
    fn extend<T: IntoIterator<Item = (FixKey, FixRecord)>>(&mut self, lines: T) {
        self.lines.extend(lines);
    }
}

impl IntoIterator for Catalog {
    type Item = (FixKey, FixRecord);
    type IntoIter = std::collections::btree_map::IntoIter<FixKey, FixRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use heald_model::{Class, Intent, IntentId, Source};
    use uuid::Uuid;

    use super::*;

    fn attempt(service: &str, at: u64, took: u64, ending: Ending) -> Attempt {
        Attempt {
            intent: Intent {
                id: IntentId(Uuid::from_u128(u128::from(at))),
                incident: None,
                service: service.into(),
                signature: Some("service-down".into()),
                action: "restart".into(),
                parameters: serde_json::Value::Null,
                class: Class::Restore,
                source: Source::Native,
                at: Moment::from_millis(at),
                cause: None,
                verify_within: Duration::from_secs(1),
            },
            receipt: None,
            proof: None,
            ending,
            undone: false,
            relapsed: false,
            took: Some(Duration::from_millis(took)),
        }
    }

    fn line(catalog: &Catalog, service: Option<&str>) -> Experience {
        let known = catalog.experience(&"service-down".into());
        known.into_iter().find(|e| e.service.as_ref().map(ServiceName::as_str) == service).unwrap()
    }

    #[test]
    fn each_verdict_counts_for_the_service_and_over_all() {
        let mut catalog = Catalog::default();
        catalog.absorb(&attempt("web", 1, 100, Ending::Verified(Outcome::Healed)));
        catalog.absorb(&attempt("web", 2, 300, Ending::Verified(Outcome::Healed)));
        catalog.absorb(&attempt("web", 3, 900, Ending::Verified(Outcome::NotHealed)));
        catalog.absorb(&attempt("db", 4, 900, Ending::Verified(Outcome::Worse)));
        catalog.absorb(&attempt("db", 5, 0, Ending::Failed("no such file".into())));
        let web = line(&catalog, Some("web"));
        assert_eq!((web.tries, web.successes, web.alpha, web.beta), (3, 2, 3.0, 2.0));
        assert_eq!(web.recovery, Some(Duration::from_millis(200)));
        assert_eq!(web.recovery_p90, Some(Duration::from_millis(300)));
        let all = line(&catalog, None);
        assert_eq!((all.tries, all.successes, all.alpha, all.beta), (5, 2, 3.0, 4.0));
        let db = line(&catalog, Some("db"));
        assert_eq!((db.tries, db.successes, db.recovery, db.recovery_p90), (2, 0, None, None));
    }

    #[test]
    fn what_proves_nothing_teaches_nothing() {
        let mut catalog = Catalog::default();
        catalog.absorb(&attempt("web", 1, 0, Ending::Unsettled));
        catalog.absorb(&attempt("web", 2, 0, Ending::Withheld("paused".into())));
        catalog.absorb(&attempt("web", 3, 0, Ending::Verified(Outcome::Unknown)));
        let mut unsigned = attempt("web", 4, 0, Ending::Verified(Outcome::Healed));
        unsigned.intent.signature = None;
        catalog.absorb(&unsigned);
        assert_eq!(catalog, Catalog::default());
    }

    #[test]
    fn a_relapse_turns_the_success_into_a_failure() {
        let mut catalog = Catalog::default();
        let healed = attempt("web", 1, 100, Ending::Verified(Outcome::Healed));
        catalog.absorb(&healed);
        catalog.absorb(&attempt("web", 2, 300, Ending::Verified(Outcome::Healed)));
        catalog.relapse(&healed);
        let web = line(&catalog, Some("web"));
        assert_eq!((web.tries, web.successes, web.recovery), (2, 1, Some(Duration::from_millis(300))));
    }

    #[test]
    fn the_order_of_learning_does_not_matter() {
        let endings = [Outcome::Healed, Outcome::NotHealed, Outcome::Healed];
        let attempts: Vec<Attempt> =
            (0..200).map(|n| attempt("web", n, n * 7 % 50, Ending::Verified(endings[n as usize % 3]))).collect();
        let mut forward = Catalog::default();
        attempts.iter().for_each(|a| forward.absorb(a));
        let mut backward = Catalog::default();
        attempts.iter().rev().for_each(|a| backward.absorb(a));
        assert_eq!(forward, backward);
        let kept = forward.lines().map(|(_, tally)| tally.recoveries.len()).max();
        assert_eq!(kept, Some(RECOVERIES), "the memory is bounded");
    }

    #[test]
    fn the_90th_percentile_is_the_nearest_rank() {
        let mut catalog = Catalog::default();
        for n in 1..=10 {
            catalog.absorb(&attempt("web", n, n * 10, Ending::Verified(Outcome::Healed)));
        }
        assert_eq!(line(&catalog, Some("web")).recovery_p90, Some(Duration::from_millis(90)));
    }

    #[test]
    fn experience_is_of_one_signature_only() {
        let mut catalog = Catalog::default();
        let mut other = attempt("web", 1, 1, Ending::Verified(Outcome::Healed));
        other.intent.signature = Some("service-down/x".into());
        catalog.absorb(&other);
        catalog.absorb(&attempt("web", 2, 1, Ending::Verified(Outcome::Healed)));
        assert_eq!(catalog.experience(&"service-down".into()).len(), 2);
        assert_eq!(catalog.all().len(), 4);
        assert!(catalog.experience(&"service".into()).is_empty());
    }
}
