//! How much a plug-in may make heald write about one service: bytes of its answers, and conditions that nobody has heard of. Pure.
//!
//! Both are buckets that fill at a steady rate. What an ordinary plug-in says of an ordinary fault is far below; one that invents a
//! new reason or a new condition in every call is stopped before it fills the disk. It judges no content.

use std::collections::HashMap;

use heald_model::{Moment, PluginName, ServiceName};

/// How large a bucket is, and how much comes into it each second.
#[derive(Clone, Copy, Debug)]
struct Size {
    holds: f64,
    per_second: f64,
}

/// Answers: an ordinary decision has some hundred bytes.
const BYTES: Size = Size { holds: 1_048_576.0, per_second: 16_384.0 };
/// Conditions: one detector of a service with a hundred copies may find all of them ill at once.
const CONDITIONS: Size = Size { holds: 128.0, per_second: 0.1 };

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Moment,
}

impl Bucket {
    fn full(size: Size, now: Moment) -> Self {
        Self { left: size.holds, at: now }
    }

    /// Takes so much out; false if there is not so much.
    fn take(&mut self, size: Size, amount: usize, now: Moment) -> bool {
        let came = now.since(self.at).as_secs_f64() * size.per_second;
        self.left = (self.left + came).min(size.holds);
        self.at = self.at.max(now);
        let enough = amount as f64 <= self.left;
        if enough {
            self.left -= amount as f64;
        }
        enough
    }
}

/// What each plug-in may still say of each service.
#[derive(Debug, Default)]
pub(crate) struct Allowances(HashMap<(PluginName, ServiceName), (Bucket, Bucket)>);

impl Allowances {
    /// An answer of so many bytes; false if that is more than the plug-in may still say.
    pub(crate) fn bytes(&mut self, plugin: &PluginName, service: &ServiceName, bytes: usize, now: Moment) -> bool {
        self.of(plugin, service, now).0.take(BYTES, bytes, now)
    }

    /// So many conditions that did not hold before; false if that is more than the plug-in may still find.
    pub(crate) fn conditions(&mut self, plugin: &PluginName, service: &ServiceName, new: usize, now: Moment) -> bool {
        new == 0 || self.of(plugin, service, now).1.take(CONDITIONS, new, now)
    }

    /// The service is gone.
    pub(crate) fn forget(&mut self, service: &ServiceName) {
        self.0.retain(|(_, known), _| known != service);
    }

    fn of(&mut self, plugin: &PluginName, service: &ServiceName, now: Moment) -> &mut (Bucket, Bucket) {
        let full = || (Bucket::full(BYTES, now), Bucket::full(CONDITIONS, now));
        self.0.entry((plugin.clone(), service.clone())).or_insert_with(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1_000)
    }

    #[test]
    fn sixty_four_new_conditions_in_each_look_are_stopped_and_an_ordinary_outage_is_not() {
        let (plugin, web, db) = (PluginName::from("d"), ServiceName::from("web"), ServiceName::from("db"));
        let mut allowances = Allowances::default();
        let taken = (0..60).filter(|second| allowances.conditions(&plugin, &web, 64, at(*second))).count();
        assert_eq!(taken, 2);
        assert!(allowances.conditions(&plugin, &db, 100, at(60)), "another service has its own");
        assert!((0..60).all(|minute| allowances.conditions(&plugin, &db, 5, at(60 + minute * 60))));
    }

    #[test]
    fn large_answers_are_stopped_and_ordinary_ones_are_not() {
        let (plugin, web) = (PluginName::from("p"), ServiceName::from("web"));
        let mut allowances = Allowances::default();
        let taken = (0..600).filter(|second| allowances.bytes(&plugin, &web, 40_000, at(*second))).count();
        assert!((200..300).contains(&taken), "the rate and the bucket: {taken}");
        let mut allowances = Allowances::default();
        assert!((0..10_000).all(|n| allowances.bytes(&plugin, &web, 800, at(n / 10))), "ten decisions a second");
    }
}
