//! The one ledger of every action, operators' included: what the guard's rules count. It is a fold of journal entries, so a
//! runtime that comes back after a crash judges as the one before would have.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heald_model::{Class, Ending, Entry, IncidentId, IntentId, Moment, Outcome, Record, ServiceName, Stage};

use crate::config::HealingConfig;

/// Incidents are many, services few: only the newest of a service matter to the rules.
const REMEMBERED: usize = 16;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: Moment,
    /// How long it had been up.
    pub lived: Duration,
}

/// What is counted of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// When dead processes of it were brought back, within the start limit's time; oldest first.
    pub starts: VecDeque<Moment>,
    /// Restarts since it last stayed up.
    pub streak: u32,
    /// The last unwanted end of a process of it.
    pub death: Option<Death>,
    /// When its processes began, by replica.
    began: BTreeMap<String, Moment>,
    /// When each disruptive action was last admitted.
    pub last: BTreeMap<String, Moment>,
    /// When each message was last sent, by incident.
    pub told: BTreeMap<(String, Option<IncidentId>), Moment>,
    /// The newest life that is known to have ended, by replica.
    ended: BTreeMap<String, u64>,
    /// Disruptive attempts that did not heal, by incident.
    pub failures: BTreeMap<IncidentId, u32>,
}

/// An action that has begun and is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// On which service.
    pub service: ServiceName,
    /// Of which class.
    pub class: Class,
    /// In which incident.
    pub incident: Option<IncidentId>,
    /// Which action.
    pub action: String,
}

/// Every account, and what is in flight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    accounts: BTreeMap<ServiceName, Account>,
    flights: BTreeMap<IntentId, Flight>,
}

impl Ledger {
    /// The account of a service, if anything was ever counted.
    pub fn account(&self, service: &ServiceName) -> Option<&Account> {
        self.accounts.get(service)
    }

    /// The action in flight for a service.
    pub fn flight_of(&self, service: &ServiceName) -> Option<(&IntentId, &Flight)> {
        self.flights.iter().find(|(_, flight)| flight.service == *service)
    }

    /// All that is in flight.
    pub fn flights(&self) -> impl Iterator<Item = (&IntentId, &Flight)> {
        self.flights.iter()
    }

    /// How many services are under an action of this class.
    pub fn in_flight(&self, class: Class) -> usize {
        self.flights.values().filter(|flight| flight.class == class).count()
    }

    /// Takes in one journal entry. Taking the same one twice changes nothing.
    pub fn apply(&mut self, entry: &Entry, config: &HealingConfig) {
        let Some(service) = &entry.service else { return };
        match &entry.record {
            Record::Intended { intent } => {
                let flight = Flight {
                    service: intent.service.clone(),
                    class: intent.class,
                    incident: intent.incident,
                    action: intent.action.clone(),
                };
                if self.flights.insert(intent.id, flight).is_some() {
                    return;
                }
                let account = self.accounts.entry(service.clone()).or_default();
                match intent.class {
                    Class::Restore => {
                        account.streak = account.streak.saturating_add(1);
                        account.starts.push_back(entry.at);
                        let horizon = entry.at - config.start_limit.within;
                        while account.starts.front().is_some_and(|start| *start < horizon) {
                            account.starts.pop_front();
                        }
                    }
                    Class::Disrupt => {
                        account.last.insert(intent.action.clone(), entry.at);
                    }
                    Class::Message => {
                        account.told.insert((intent.action.clone(), intent.incident), entry.at);
                        while account.told.len() > REMEMBERED {
                            account.told.pop_first();
                        }
                    }
                }
            }
            Record::Settled { intent, ending } => self.settle(service, *intent, ending),
            Record::ProcessStarted { replica, .. } => {
                self.accounts.entry(service.clone()).or_default().began.insert(replica.to_string(), entry.at);
            }
            Record::ProcessExited { replica, wanted, incarnation, .. } => {
                let account = self.accounts.entry(service.clone()).or_default();
                let ended = account.ended.entry(replica.to_string()).or_default();
                if *incarnation <= *ended {
                    return;
                }
                *ended = *incarnation;
                let began = account.began.remove(replica.as_str());
                if !wanted {
                    // Not knowing when it began (an adopted process) is no reason to hold it back.
                    let lived = began.map_or(config.backoff.calm, |began| entry.at.since(began));
                    if lived >= config.backoff.calm {
                        account.streak = 0;
                    }
                    account.death = Some(Death { at: entry.at, lived });
                }
            }
            // What is over is over: should it come back, its remedies may be tried anew.
            Record::Staged { stage: Stage::Resolved, .. } => {
                if let (Some(account), Some(incident)) = (self.accounts.get_mut(service), entry.incident) {
                    account.failures.remove(&incident);
                }
            }
            Record::Reset { .. } => self.forgive(service, true),
            _ => {}
        }
    }

    /// Forgets what holds a service back: on an operator's reset all of it, on its dependency's return only the back-off.
    pub fn forgive(&mut self, service: &ServiceName, all: bool) {
        if let Some(account) = self.accounts.get_mut(service) {
            account.streak = 0;
            account.starts.clear();
            if all {
                account.last.clear();
                account.told.clear();
                account.failures.clear();
            }
        }
    }

    fn settle(&mut self, service: &ServiceName, intent: IntentId, ending: &Ending) {
        let Some(flight) = self.flights.remove(&intent) else { return };
        let (Class::Disrupt, Some(incident)) = (flight.class, flight.incident) else { return };
        let account = self.accounts.entry(service.clone()).or_default();
        match ending {
            Ending::Verified(Outcome::Healed) => {
                account.failures.remove(&incident);
            }
            Ending::Verified(Outcome::NotHealed | Outcome::Worse) | Ending::Failed(_) => {
                *account.failures.entry(incident).or_default() += 1;
            }
            Ending::Verified(Outcome::Unknown) | Ending::Withheld(_) | Ending::Unsettled => {}
        }
        while account.failures.len() > REMEMBERED {
            account.failures.pop_first();
        }
    }
}
