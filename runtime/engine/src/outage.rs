//! Too many at once: services that were well and fall ill within a minute. Past a limit it is probably not them, but what they
//! share (the network, the machine, heald's own sight), and touching all of them would make things worse. Pure.
//!
//! Services that were never seen well do not count, nor do those with an ill dependency.

use std::collections::BTreeMap;
use std::time::Duration;

use heald_model::{Moment, ServiceName};

/// Within this time they must have fallen ill.
const WITHIN: Duration = Duration::from_secs(60);
/// So long it is left alone before one service is tried.
const TRIAL_AFTER: Duration = Duration::from_secs(600);
/// Fewer services than this are never too many.
const AT_LEAST: usize = 4;

/// What is held because too many fell ill at once.
#[derive(Clone, Debug)]
struct Latched {
    since: Moment,
    count: usize,
    /// The service that may be healed to see whether healing helps.
    trial: Option<ServiceName>,
}

/// The services that are ill, and whether they are too many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outage {
    ill: BTreeMap<ServiceName, Moment>,
    latched: Option<Latched>,
}

/// How many services may fall ill within a minute before it is too many.
fn limit(services: usize, share: f64) -> usize {
    AT_LEAST.max((services as f64 * share).floor() as usize)
}

impl Outage {
    /// A service that was well fell ill. What people should be told, if these are now too many.
    pub(crate) fn fell_ill(
        &mut self,
        service: &ServiceName,
        services: usize,
        share: f64,
        now: Moment,
    ) -> Option<String> {
        self.ill.insert(service.clone(), now);
        let count = self.ill.values().filter(|since| now.since(**since) <= WITHIN).count();
        if self.latched.is_some() || count <= limit(services, share) {
            return None;
        }
        self.latched = Some(Latched { since: now, count, trial: None });
        Some(format!(
            "{count} of {services} services fell ill within a minute: probably it is not them; \
             nothing that still runs is touched until half of them are well, or `heald resume --all`"
        ))
    }

    /// A service is well again, or gone. True if this ends the hold.
    pub(crate) fn recovered(&mut self, service: &ServiceName, services: usize, share: f64) -> bool {
        self.ill.remove(service);
        let tried = self.latched.as_ref().is_some_and(|latched| latched.trial.as_ref() == Some(service));
        let over = tried || self.ill.len() <= limit(services, share) / 2;
        over && self.latched.take().is_some()
    }

    /// An operator ends the hold. True if there was one.
    pub(crate) fn end(&mut self) -> bool {
        self.ill.clear();
        self.latched.take().is_some()
    }

    /// Why the service is not to be touched, if so.
    pub(crate) fn hold(&self, service: &ServiceName, now: Moment) -> Option<String> {
        let latched = self.latched.as_ref()?;
        let may_be_tried = match &latched.trial {
            Some(trial) => trial == service,
            None => now.since(latched.since) >= TRIAL_AFTER,
        };
        (!may_be_tried).then(|| format!("{} services fell ill within a minute; probably it is not them", latched.count))
    }

    /// When one service may be tried, if that is to come.
    pub(crate) fn trial_at(&self) -> Option<Moment> {
        self.latched.as_ref().filter(|latched| latched.trial.is_none()).map(|latched| latched.since + TRIAL_AFTER)
    }

    /// The service is touched: if anything is held, this is the trial.
    pub(crate) fn touched(&mut self, service: &ServiceName) {
        if let Some(latched) = &mut self.latched {
            latched.trial.get_or_insert_with(|| service.clone());
        }
    }

    /// The trial did not help: the next one comes after another while.
    pub(crate) fn trial_failed(&mut self, service: &ServiceName, now: Moment) {
        if let Some(latched) = self.latched.as_mut().filter(|latched| latched.trial.as_ref() == Some(service)) {
            (latched.since, latched.trial) = (now, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1_000)
    }

    fn name(number: usize) -> ServiceName {
        ServiceName::from(format!("s{number}"))
    }

    /// Of ten services, so many fall ill, one a second.
    fn ill(count: usize) -> (Outage, Vec<Option<String>>) {
        let mut outage = Outage::default();
        let told = (0..count).map(|number| outage.fell_ill(&name(number), 10, 0.5, at(number as u64))).collect();
        (outage, told)
    }

    #[test]
    fn half_of_them_are_not_too_many_and_one_more_is_told_once() {
        let (outage, told) = ill(5);
        assert!(told.iter().all(Option::is_none));
        assert_eq!(outage.hold(&name(0), at(5)), None);
        let (outage, told) = ill(8);
        assert_eq!(told.iter().flatten().count(), 1);
        assert!(outage.hold(&name(0), at(8)).is_some());
        let mut small = Outage::default();
        assert!((0..4).all(|number| small.fell_ill(&name(number), 4, 0.5, at(0)).is_none()), "four are never too many");
    }

    #[test]
    fn falling_ill_one_after_the_other_is_no_outage() {
        let mut outage = Outage::default();
        let told = (0..9).filter_map(|number| outage.fell_ill(&name(number), 10, 0.5, at(number as u64 * 30)));
        assert_eq!(told.count(), 0);
    }

    #[test]
    fn it_ends_when_half_the_limit_is_left_or_an_operator_says_so() {
        let (mut outage, _) = ill(6);
        let ends: Vec<bool> = (0..6).map(|number| outage.recovered(&name(number), 10, 0.5)).collect();
        assert_eq!(ends, [false, false, false, true, false, false]);
        let (mut outage, _) = ill(6);
        assert!(outage.end());
        assert_eq!(outage.hold(&name(0), at(7)), None);
    }

    #[test]
    fn after_ten_minutes_one_service_is_tried_and_its_recovery_ends_it() {
        let (mut outage, _) = ill(6);
        assert_eq!(outage.trial_at(), Some(at(605)));
        assert!(outage.hold(&name(2), at(604)).is_some());
        assert_eq!(outage.hold(&name(2), at(605)), None);
        outage.touched(&name(2));
        assert!(outage.hold(&name(3), at(606)).is_some(), "one at a time");
        outage.trial_failed(&name(2), at(620));
        assert!(outage.hold(&name(2), at(621)).is_some());
        outage.touched(&name(3));
        assert!(outage.recovered(&name(3), 10, 0.5), "healing helps, so it was them");
    }
}
