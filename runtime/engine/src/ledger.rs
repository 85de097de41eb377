//! The one ledger of every action, operators' included: what the guard's rules count. It is a fold of journal entries and of
//! nothing else, so a runtime that comes back after a crash judges as the one before would have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use heald_model::{
    Class, Ending, Entry, IncidentId, Intent, IntentId, Moment, Outcome, Record, Replica, ServiceName, Signature,
    Source, Stage,
};

use crate::config::HealingConfig;

/// Signatures, actions and incidents of a service that are remembered; only the newest matter to the rules.
const REMEMBERED: usize = 64;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: Moment,
    /// How long it had been up.
    pub lived: Duration,
}

/// What is counted of one copy of a service: its lives and deaths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lives {
    /// When heald brought it back, within the start limit's time; oldest first.
    pub starts: VecDeque<Moment>,
    /// Restarts since it last stayed up.
    pub streak: u32,
    /// The last unwanted end.
    pub death: Option<Death>,
    /// Unwanted ends, each within `reopen_within` of the one before.
    pub deaths: u32,
    /// The first of these.
    pub dying_since: Option<Moment>,
    /// When this life began.
    began: Option<Moment>,
    /// The newest life that is known to have ended.
    ended: u64,
}

/// What is counted of one signature of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tries {
    /// Disruptive attempts that did not heal, or that healed for a short while only.
    pub failures: u32,
    /// How often it came back after an attempt had healed it.
    pub relapses: u32,
    /// The copies on which it came back after a completed remedy.
    pub relapsed_on: BTreeSet<Replica>,
    /// When something was last counted.
    counted: Moment,
    /// Since when the service is well; None: it is not.
    well_since: Option<Moment>,
}

impl Tries {
    /// True once the service has been well for that long: what was counted counts no longer.
    pub fn is_over(&self, now: Moment, within: Duration) -> bool {
        self.well_since.is_some_and(|well| now.since(well) > within)
    }
}

/// What is counted of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Its copies.
    pub lives: BTreeMap<Replica, Lives>,
    /// When each disruptive action was last admitted.
    pub last: BTreeMap<String, Moment>,
    /// When each message was last sent, by incident.
    pub told: BTreeMap<(String, Option<IncidentId>), Moment>,
    /// What was tried against each signature.
    pub tries: BTreeMap<Signature, Tries>,
    /// The signature of each incident's newest attempt, and whether that healed.
    newest: BTreeMap<IncidentId, (Signature, bool)>,
    /// When a dependency last returned.
    pub dependency_returned: Option<Moment>,
}

/// An action that has begun and is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// On which service.
    pub service: ServiceName,
    /// Of which class.
    pub class: Class,
    /// On which copy; None: on all of them.
    pub instance: Option<Replica>,
    /// In which incident.
    pub incident: Option<IncidentId>,
    /// Against what.
    pub signature: Option<Signature>,
    /// Which action.
    pub action: String,
}

/// The copy that an intent is about; None: all of them.
pub fn instance(intent: &Intent) -> Option<Replica> {
    let replica = intent.parameters.get("replica")?;
    Some(Replica::from(replica.as_str().map_or_else(|| replica.to_string(), str::to_owned)))
}

/// Every account, and what is in flight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    accounts: BTreeMap<ServiceName, Account>,
    flights: BTreeMap<IntentId, Flight>,
}

impl Ledger {
    /// The fold of these entries, oldest first, as it stands at `now`. A wall clock that was ahead when they were written holds up
    /// nothing: no restore waits for a time that has not come, and every other rule at most its longest.
    pub fn of(entries: &[Entry], config: &HealingConfig, now: Moment) -> Self {
        let mut ledger = Self::default();
        let mut ahead = BTreeSet::new();
        for entry in entries {
            if entry.at > now {
                ledger.apply(&Entry { at: now, ..entry.clone() }, config);
                ahead.extend(entry.service.clone());
            } else {
                ledger.apply(entry, config);
            }
        }
        ahead.iter().for_each(|service| ledger.free_restores(service));
        ledger
    }

    /// The account of a service, if anything was ever counted.
    pub fn account(&self, service: &ServiceName) -> Option<&Account> {
        self.accounts.get(service)
    }

    /// The actions in flight for a service.
    pub fn flights_of(&self, service: &ServiceName) -> impl Iterator<Item = (&IntentId, &Flight)> {
        self.flights.iter().filter(move |(_, flight)| flight.service == *service)
    }

    /// All that is in flight.
    pub fn flights(&self) -> impl Iterator<Item = (&IntentId, &Flight)> {
        self.flights.iter()
    }

    /// How many services are under an action of this class.
    pub fn in_flight(&self, class: Class) -> usize {
        let services: BTreeSet<_> =
            self.flights.values().filter(|flight| flight.class == class).map(|flight| &flight.service).collect();
        services.len()
    }

    /// Takes in one journal entry. Taking the same one twice changes nothing.
    pub fn apply(&mut self, entry: &Entry, config: &HealingConfig) {
        let Some(service) = &entry.service else { return };
        match &entry.record {
            Record::Intended { intent } => self.intended(service, intent, entry.at, config),
            Record::Settled { intent, ending } => self.settled(service, *intent, ending, entry.at, config),
            Record::Relapsed { signature, instance, .. } => {
                let tries = self.tries(service, signature, entry.at, config);
                tries.failures = tries.failures.saturating_add(1);
                tries.relapses = tries.relapses.saturating_add(1);
                tries.relapsed_on.extend(instance.clone());
            }
            Record::ProcessStarted { replica, .. } => {
                self.account_mut(service).lives.entry(replica.clone()).or_default().began = Some(entry.at);
            }
            Record::ProcessExited { replica, wanted, incarnation, .. } => {
                let lives = self.account_mut(service).lives.entry(replica.clone()).or_default();
                lives.ended(*incarnation, *wanted, entry.at, config);
            }
            Record::Opened { .. } => {
                for tries in self.account_mut(service).tries.values_mut() {
                    if !tries.is_over(entry.at, config.reopen_within) {
                        tries.well_since = None;
                    }
                }
            }
            Record::Staged { stage: Stage::Resolved, .. } => self.resolved(service, entry.incident, entry.at),
            Record::DependencyReturned { .. } => {
                self.free_restores(service);
                self.account_mut(service).dependency_returned = Some(entry.at);
            }
            Record::Reset { .. } => {
                self.free_restores(service);
                let account = self.account_mut(service);
                account.last.clear();
                account.told.clear();
                account.tries.clear();
            }
            _ => {}
        }
    }

    fn intended(&mut self, service: &ServiceName, intent: &Intent, at: Moment, config: &HealingConfig) {
        let flight = Flight {
            service: intent.service.clone(),
            class: intent.class,
            instance: instance(intent),
            incident: intent.incident,
            signature: intent.signature.clone(),
            action: intent.action.clone(),
        };
        if self.flights.insert(intent.id, flight).is_some() {
            return;
        }
        let account = self.account_mut(service);
        match intent.class {
            // An operator's order is no start of heald's.
            Class::Restore if matches!(intent.source, Source::Operator(_)) => {}
            Class::Restore => {
                let its = instance(intent);
                if let Some(replica) = its.clone().or_else(|| account.lives.is_empty().then(|| Replica::from("0"))) {
                    account.lives.entry(replica).or_default();
                }
                let of = account.lives.iter_mut().filter(|(replica, _)| its.as_ref().is_none_or(|its| its == *replica));
                of.for_each(|(_, lives)| lives.started(at, config));
            }
            Class::Disrupt => {
                account.last.insert(intent.action.clone(), at);
            }
            Class::Message => {
                account.told.insert((intent.action.clone(), intent.incident), at);
                while account.told.len() > REMEMBERED {
                    let oldest = account.told.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone());
                    oldest.map(|oldest| account.told.remove(&oldest));
                }
            }
        }
    }

    fn settled(
        &mut self,
        service: &ServiceName,
        intent: IntentId,
        ending: &Ending,
        at: Moment,
        config: &HealingConfig,
    ) {
        let Some(flight) = self.flights.remove(&intent) else { return };
        let (Some(signature), Class::Restore | Class::Disrupt) = (flight.signature, flight.class) else { return };
        let healed = *ending == Ending::Verified(Outcome::Healed);
        let failed = matches!(ending, Ending::Verified(Outcome::NotHealed | Outcome::Worse) | Ending::Failed(_));
        if flight.class == Class::Disrupt && failed {
            let tries = self.tries(service, &signature, at, config);
            tries.failures = tries.failures.saturating_add(1);
        }
        if let (Some(incident), true) = (flight.incident, healed || failed) {
            let newest = &mut self.account_mut(service).newest;
            newest.insert(incident, (signature, healed));
            while newest.len() > REMEMBERED {
                newest.pop_first();
            }
        }
    }

    /// An incident is over. A recovery that no action of ours preceded starts anew; otherwise what was tried counts until the
    /// service has been well for a while.
    fn resolved(&mut self, service: &ServiceName, incident: Option<IncidentId>, at: Moment) {
        let Some(account) = self.accounts.get_mut(service) else { return };
        let newest = incident.and_then(|incident| account.newest.remove(&incident));
        if let Some((signature, false)) = newest
            && let Some(tries) = account.tries.get_mut(&signature)
        {
            // How often it came back after a remedy is remembered all the same: a service that is ill now and then recovers by
            // itself between two restarts, too.
            tries.failures = 0;
        }
        account.tries.values_mut().for_each(|tries| tries.well_since = Some(at));
    }

    /// What holds back the restores of a service is forgotten.
    fn free_restores(&mut self, service: &ServiceName) {
        for lives in self.account_mut(service).lives.values_mut() {
            lives.streak = 0;
            lives.deaths = 0;
            lives.dying_since = None;
            lives.starts.clear();
            lives.death = None;
        }
    }

    fn tries(
        &mut self,
        service: &ServiceName,
        signature: &Signature,
        at: Moment,
        config: &HealingConfig,
    ) -> &mut Tries {
        let account = self.account_mut(service);
        account.tries.retain(|known, tries| known == signature || !tries.is_over(at, config.reopen_within));
        while account.tries.len() > REMEMBERED {
            let oldest = account.tries.iter().min_by_key(|(_, tries)| tries.counted).map(|(known, _)| known.clone());
            oldest.map(|oldest| account.tries.remove(&oldest));
        }
        let tries = account.tries.entry(signature.clone()).or_default();
        if tries.is_over(at, config.reopen_within) {
            *tries = Tries::default();
        }
        tries.counted = at;
        tries.well_since = None;
        tries
    }

    fn account_mut(&mut self, service: &ServiceName) -> &mut Account {
        self.accounts.entry(service.clone()).or_default()
    }
}

impl Lives {
    fn started(&mut self, at: Moment, config: &HealingConfig) {
        self.streak = self.streak.saturating_add(1);
        self.starts.push_back(at);
        let horizon = at - config.start_limit.within;
        while self.starts.front().is_some_and(|start| *start < horizon) {
            self.starts.pop_front();
        }
    }

    fn ended(&mut self, incarnation: u64, wanted: bool, at: Moment, config: &HealingConfig) {
        if incarnation <= self.ended {
            return;
        }
        self.ended = incarnation;
        let began = self.began.take();
        if wanted {
            return;
        }
        // Not knowing when it began (an adopted process) is no reason to hold it back.
        let lived = began.map_or(config.backoff.calm, |began| at.since(began));
        if lived >= config.backoff.calm {
            self.streak = 0;
        }
        let again = self.death.is_some_and(|before| at.since(before.at) <= config.reopen_within);
        self.deaths = if again { self.deaths.saturating_add(1) } else { 1 };
        self.dying_since = self.dying_since.filter(|_| again).or(Some(at));
        self.death = Some(Death { at, lived });
    }
}
