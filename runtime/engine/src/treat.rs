//! The stages of a treatment: what is on offer, the guard's word, the act, the proof, the settling.
//!
//! [`Healer::treat`](crate::heal::Healer) strings them together. Each stage puts itself on record before the next begins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heald_model::{
    Attempt, Choice, Class, Decision, Desired, Ending, Entry, Fact, Incident, Intent, IntentId, Moment, Offer, Outcome,
    ProbeId, Proposal, Receipt, Record, Role, Ruling, Severity, Source, Stage,
};
use serde_json::json;

use crate::guard::{self, Case, Hold, Judgement, Permit};
use crate::heal::Healer;
use crate::ports::{ActionError, Durability};
use crate::verify::{Terms, Trial};
use crate::ward::Ward;

/// The implicit probe of a supervised process.
pub const PROCESS_PROBE: &str = "process";

impl Healer {
    /// What can be done for the service, with why the guard would withhold it now.
    pub(crate) fn offers(&self, ward: &Ward, incident: Option<&Incident>) -> Vec<Offer> {
        let mut offers = self.ports.actions.offers(&ward.spec.name);
        for offer in &mut offers {
            let proposal = Proposal { action: offer.action.name.clone(), parameters: json!({}), verify_within: None };
            let intent = self.intent(ward, incident, &proposal, offer.source.clone());
            let dependencies = self.dependencies(ward);
            let case = self.case(ward, incident, &dependencies);
            let hold = guard::objection(self.config(), &self.ledger(), &case, &intent);
            // What merely has to wait is not blocked: a policy should wait for the gentle remedy, not reach for a harsher one.
            let refused = hold.filter(|hold| hold.until.is_none());
            offer.blocked = refused.map(|hold| format!("{}: {}", hold.rule, hold.why));
        }
        offers
    }

    /// What a proposal would put on record if it were admitted now.
    pub(crate) fn intent(
        &self,
        ward: &Ward,
        incident: Option<&Incident>,
        proposal: &Proposal,
        source: Source,
    ) -> Intent {
        let now = self.now();
        let offers = self.ports.actions.offers(&ward.spec.name);
        let disruptive = offers
            .iter()
            .find(|offer| offer.action.name == proposal.action)
            .is_none_or(|offer| offer.action.disruptive);
        let class = match disruptive {
            false => Class::Message,
            true if matches!(proposal.action.as_str(), "start" | "restart") && self.has_died(ward) => Class::Restore,
            true => Class::Disrupt,
        };
        let leading = incident.and_then(Incident::leading);
        Intent {
            id: IntentId(self.id(now)),
            incident: incident.map(|incident| incident.id),
            service: ward.spec.name.clone(),
            signature: incident.map(|incident| incident.signature.clone()),
            action: proposal.action.clone(),
            parameters: proposal.parameters.clone(),
            class,
            source,
            at: now,
            cause: leading.and_then(|c| Fact::find_text(&c.finding.evidence, "cause")).map(str::to_owned),
            verify_within: proposal.verify_within.unwrap_or_else(|| window(ward)).min(self.config().verify_max),
        }
    }

    /// True if a process that heald should be running is not.
    pub(crate) fn has_died(&self, ward: &Ward) -> bool {
        let processes = self.ports.processes.of(&ward.spec.name);
        let accounted = processes.iter().filter(|process| process.pid.is_some() || process.finished).count();
        ward.spec.supervised && accounted < ward.spec.replicas as usize
    }

    /// True if every process of it ended for good.
    pub(crate) fn has_finished(&self, ward: &Ward) -> bool {
        let processes = self.ports.processes.of(&ward.spec.name);
        !processes.is_empty() && processes.iter().all(|process| process.finished)
    }

    /// True if an end is to be answered with a start, and somebody has answered already: the keeper in heald's absence, or an
    /// operator. What lives is not to be restarted because an earlier life ended.
    pub(crate) fn lives_again(&self, ward: &Ward, intent: &Intent) -> bool {
        let ended = matches!(intent.cause.as_deref(), Some("exit" | "signal" | "missing"));
        let starts = matches!(intent.action.as_str(), "start" | "restart");
        ended && starts && ward.spec.supervised && !self.has_died(ward) && !self.has_finished(ward)
    }

    fn case<'a>(
        &self,
        ward: &'a Ward,
        incident: Option<&'a Incident>,
        dependencies: &'a [heald_model::Dependency],
    ) -> Case<'a> {
        let died = self.ledger().account(&ward.spec.name).and_then(|account| account.death);
        Case {
            now: self.now(),
            seed: seed(ward.spec.name.as_str(), died.map_or(0, |death| death.at.nanos())),
            spec: &ward.spec,
            services: self.wards.len(),
            desired: self.desired(ward),
            halted: self.is_halted(),
            dependencies,
            incident,
            approved: incident.is_some_and(|incident| ward.lock().approved == Some(incident.id)),
            finished: self.has_finished(ward),
        }
    }

    /// Asks the guard. An admitted intent is in flight from this moment: judging and entering happen under one lock.
    pub(crate) fn judge(&self, ward: &Ward, incident: Option<&Incident>, intent: Intent) -> Judgement {
        let dependencies = self.dependencies(ward);
        let case = self.case(ward, incident, &dependencies);
        let mut ledger = self.ledger();
        let judgement = guard::judge(self.config(), &ledger, &case, intent);
        if let Judgement::Admit(permit) = &judgement {
            ledger.apply(&self.intended(permit.intent()), self.config());
        }
        judgement
    }

    fn intended(&self, intent: &Intent) -> Entry {
        let record = Record::Intended { intent: intent.clone() };
        Entry { at: intent.at, service: Some(intent.service.clone()), incident: intent.incident, record }
    }

    fn entry(&self, intent: &Intent, record: Record) -> Entry {
        Entry { at: self.now(), service: Some(intent.service.clone()), incident: intent.incident, record }
    }

    /// A decision goes on record when it differs from the last one; true if it does.
    pub(crate) fn note_decision(&self, ward: &Ward, incident: &Incident, decision: &Decision) -> bool {
        let said = format!("{} {} {}", decision.source, decision.verb(), decision.reason);
        let after = incident.attempts.last().map(|attempt| attempt.intent.id);
        let note = (incident.id, after, incident.reopened, said);
        let mut state = ward.lock();
        if state.decided.as_ref() == Some(&note) {
            return false;
        }
        state.decided = Some(note);
        drop(state);
        let record = Record::Decided { decision: decision.clone() };
        self.record(ward, vec![Entry::of_incident(self.now(), ward.spec.name.clone(), incident.id, record)]);
        true
    }

    /// Puts a hold on record when it changed, tells people where the rule says so, and answers when to ask again.
    pub(crate) fn withhold(&self, ward: &Ward, incident: &Incident, action: &str, hold: &Hold) -> Moment {
        let known = incident.held.as_ref().is_some_and(|held| held.rule == hold.rule && held.until == hold.until);
        if !known {
            let record = Record::Ruled { action: action.to_owned(), ruling: hold.ruling() };
            self.record(ward, vec![Entry::of_incident(self.now(), ward.spec.name.clone(), incident.id, record)]);
        }
        if hold.escalate {
            self.escalate(ward, incident, &hold.why);
        }
        hold.until.unwrap_or(Moment::NEVER)
    }

    /// Hands the incident to people, once, and answers when to look again: a dead process that is wanted running is still
    /// brought back, at the longest back-off.
    pub(crate) fn escalate(&self, ward: &Ward, incident: &Incident, why: &str) -> Moment {
        let now = self.now();
        if incident.stage != Stage::Escalated {
            tracing::error!(service = %ward.spec.name, incident = %incident.id, "escalated: {why}");
            let record = Record::Staged { stage: Stage::Escalated, why: why.to_owned() };
            self.record(ward, vec![Entry::of_incident(now, ward.spec.name.clone(), incident.id, record)]);
        }
        if self.has_died(ward) { now + self.config().backoff.max } else { Moment::NEVER }
    }

    /// After people were told about a process that does not stay up, it is still brought back at the longest back-off.
    pub(crate) fn insist(&self, ward: &Ward, incident: &Incident) -> Option<Decision> {
        let due = incident.stage == Stage::Escalated
            && self.has_died(ward)
            && self.now().since(incident.updated) >= self.config().backoff.max;
        due.then(|| Decision {
            choice: Choice::Act(Proposal { action: "restart".into(), parameters: json!({}), verify_within: None }),
            confidence: 0.1,
            reason: "people were told; a dead process is still tried now and then".into(),
            considered: Vec::new(),
            facts: Vec::new(),
            again_in: None,
            source: Source::Native,
        })
    }

    /// Does what is permitted, and sees it through to its ending. None: look again at once.
    pub(crate) async fn carry_out(&self, ward: &Arc<Ward>, permit: Permit) -> Option<Moment> {
        let intent = permit.intent().clone();
        if let Err(why) = self.intend(ward, &permit).await {
            return Some(why);
        }
        match self.perform(ward, permit).await {
            Ok(receipt) if intent.class == Class::Message => {
                let ending = Ending::Verified(Outcome::Unknown);
                self.record(ward, vec![self.entry(&intent, Record::Settled { intent: intent.id, ending })]);
                tracing::debug!(service = %intent.service, "{}", receipt.summary);
                Some(Moment::NEVER)
            }
            Ok(receipt) => {
                self.verify(ward, &intent, Some(&receipt)).await;
                None
            }
            // A message that cannot be sent is tried again in its time.
            Err(_) if intent.class == Class::Message => Some(self.now() + self.config().cooldown),
            // The next look is the level's business: the guard spaces what fails.
            Err(_) => None,
        }
    }

    /// Puts the intent on record before its effect. If the journal cannot be written, what brings back the dead goes on, with
    /// the intent in memory; everything else waits.
    pub(crate) async fn intend(&self, ward: &Ward, permit: &Permit) -> Result<(), Moment> {
        /// How soon a journal that failed is tried again.
        const RETRY: Duration = Duration::from_secs(1);
        let intent = permit.intent();
        let why = match intent.class {
            Class::Restore => "a dead process that is wanted running".to_owned(),
            class => format!("class {class}, within every rule"),
        };
        let ruled = Record::Ruled { action: intent.action.clone(), ruling: Ruling::Admit { why } };
        // Both bear the moment of the judgement.
        let entries = vec![Entry { at: intent.at, ..self.entry(intent, ruled) }, self.intended(intent)];
        if intent.class == Class::Disrupt {
            let mut state = ward.lock();
            state.approved = state.approved.filter(|approved| Some(*approved) != intent.incident);
        }
        self.record(ward, entries);
        if intent.incident.is_none() {
            tracing::info!(service = %intent.service, source = %intent.source, "intent: {} {}", intent.action, intent.service);
        }
        // Nothing more to write: this waits until what was handed over is safe.
        let Err(error) = self.ports.journal.commit(Vec::new(), Durability::Process).await else { return Ok(()) };
        tracing::error!(service = %intent.service, "intent is not on record: {error}");
        if intent.class == Class::Restore {
            return Ok(());
        }
        let ending = Ending::Withheld(error.to_string());
        self.record(ward, vec![self.entry(intent, Record::Settled { intent: intent.id, ending })]);
        Err(self.now() + RETRY)
    }

    /// The act itself.
    pub(crate) async fn perform(&self, ward: &Ward, permit: Permit) -> Result<Receipt, ActionError> {
        let intent = permit.intent().clone();
        let incident = intent.incident.and_then(|id| ward.lock().incidents.get(&id).cloned());
        let result = self.ports.actions.perform(permit, incident.as_ref()).await;
        match &result {
            Ok(receipt) => {
                let record = Record::Performed { intent: intent.id, receipt: receipt.clone() };
                self.record(ward, vec![self.entry(&intent, record)]);
            }
            Err(error) => {
                tracing::warn!(service = %intent.service, action = %intent.action, "{error}");
                let ending = Ending::Failed(error.to_string());
                self.settle(ward, &intent, ending);
            }
        }
        result
    }

    /// Waits for fresh samples to say whether it helped, settles the attempt, and takes back what made things worse.
    pub(crate) async fn verify(&self, ward: &Arc<Ward>, intent: &Intent, receipt: Option<&Receipt>) -> Outcome {
        let since = receipt.map_or_else(|| self.now(), |receipt| receipt.at);
        let (condition, severity) = intent
            .incident
            .and_then(|id| {
                ward.lock().incidents.get(&id).map(|incident| (incident.condition.clone(), incident.severity))
            })
            .unwrap_or_else(|| (String::new(), Severity::Info));
        let incarnation = receipt.and_then(|receipt| receipt.incarnation);
        let mut trial = Trial::new(Terms {
            condition,
            severity,
            since,
            incarnation,
            needed: needed(ward, intent),
            deadline: self.now() + intent.verify_within,
        });
        {
            let mut state = ward.lock();
            // A new process can have ended before anybody waited for it.
            state.series.values().flat_map(|series| &series.samples).for_each(|sample| trial.hear(sample));
            state.trial = Some(trial);
        }
        let mut bell = ward.bell.subscribe();
        self.ports.probes.expect(&ward.spec.name, incarnation);
        let (outcome, proof) = loop {
            let deadline = {
                let mut state = ward.lock();
                let stopped = self.desired(ward) == Desired::Stopped;
                let now = self.now();
                let Some(trial) = &state.trial else { break (Outcome::Unknown, Default::default()) };
                let verdict = trial.verdict(&state.concerns, now);
                // That a detector fell silent is no proof that nothing helped.
                let unconfirmed = verdict == Some(Outcome::NotHealed) && state.unconfirmed(trial.condition());
                let verdict = if unconfirmed { Some(Outcome::Unknown) } else { verdict };
                let verdict = verdict.or(stopped.then_some(Outcome::Unknown));
                if let Some(outcome) = verdict {
                    let proof = trial.proof();
                    state.trial = None;
                    break (outcome, proof);
                }
                trial.deadline
            };
            tokio::select! {
                biased;
                _ = bell.changed() => {}
                () = self.ports.clock.sleep_until(deadline) => {}
            }
        };
        self.record(ward, vec![self.entry(intent, Record::Proved { intent: intent.id, proof })]);
        if outcome == Outcome::Worse {
            self.take_back(ward, intent).await;
        }
        self.settle(ward, intent, Ending::Verified(outcome));
        self.resolve_if_quiet(ward);
        outcome
    }

    async fn take_back(&self, ward: &Ward, intent: &Intent) {
        let Some(attempt) =
            ward.attempt(intent).filter(|attempt| attempt.receipt.as_ref().is_some_and(|r| r.undo.is_some()))
        else {
            return;
        };
        match self.ports.actions.undo(guard::undo(&attempt), &attempt).await {
            Ok(receipt) => {
                let record = Record::Undone { intent: intent.id, summary: receipt.summary };
                self.record(ward, vec![self.entry(intent, record)]);
            }
            Err(error) => {
                tracing::error!(service = %intent.service, action = %intent.action, "cannot be undone: {error}")
            }
        }
    }

    /// Puts the ending on record and learns from it. Whoever waited for a place in the budget looks again.
    pub(crate) fn settle(&self, ward: &Ward, intent: &Intent, ending: Ending) {
        self.record(ward, vec![self.entry(intent, Record::Settled { intent: intent.id, ending })]);
        if let Some(attempt) = ward.attempt(intent) {
            self.catalog().absorb(&attempt);
        }
        self.take_turn();
    }

    /// After heald's own death: what was under way is asked about and verified by fresh samples, never blindly repeated.
    pub(crate) async fn resume(&self, ward: &Arc<Ward>) {
        let unsettled: Vec<Attempt> = {
            let state = ward.lock();
            state.incidents.values().filter_map(Incident::unsettled).cloned().collect()
        };
        for attempt in unsettled {
            let receipt = match attempt.receipt {
                Some(receipt) => Some(receipt),
                None => self.ports.actions.recall(&attempt.intent).await,
            };
            if receipt.is_none() && self.has_died(ward) {
                // That the process is not there is a fact that needs no probe: the effect never came.
                let ending = Ending::Verified(Outcome::Unknown);
                self.settle(ward, &attempt.intent, ending);
                continue;
            }
            self.verify(ward, &attempt.intent, receipt.as_ref()).await;
        }
    }

    /// Incidents of services that are no longer configured have nobody to tend them.
    pub(crate) fn resolve_orphans(&self) {
        let orphans = std::mem::take(&mut *self.orphans.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for orphan in orphans {
            let record = Record::Staged { stage: Stage::Resolved, why: "the service is no longer configured".into() };
            self.journal(vec![Entry::of_incident(self.now(), orphan.service, orphan.id, record)]);
        }
    }

    /// Orders outside any incident that were under way when heald died have nobody to go on with them: they are settled as not
    /// known, so that they hold no place.
    pub(crate) fn settle_strays(&self) {
        let strays: Vec<_> = {
            let ledger = self.ledger();
            ledger.flights().map(|(id, flight)| (*id, flight.clone())).collect()
        };
        for (intent, flight) in strays {
            let tended = flight.incident.is_some_and(|id| {
                self.wards.get(&flight.service).is_some_and(|ward| {
                    ward.lock().incidents.get(&id).is_some_and(|incident| incident.unsettled().is_some())
                })
            });
            if !tended {
                let record = Record::Settled { intent, ending: Ending::Verified(Outcome::Unknown) };
                let at = self.now();
                self.journal(vec![Entry { at, service: Some(flight.service), incident: flight.incident, record }]);
            }
        }
    }

    /// Returns when the ward's incidents are no longer what its tender last saw.
    pub(crate) async fn changed(&self, ward: &Ward, open: &[Incident]) {
        let mut bell = ward.bell.subscribe();
        let before: Vec<Outline> = open.iter().map(outline).collect();
        while ward.lock().open().into_iter().map(outline).collect::<Vec<_>>() == before {
            // The sender lives in the ward, which is borrowed here.
            let _ = bell.changed().await;
        }
    }
}

/// What makes a tender look again: which incident leads, and what holds in it.
#[derive(PartialEq)]
struct Outline {
    id: heald_model::IncidentId,
    reopened: u32,
    concerns: Vec<(Option<String>, Severity)>,
}

fn outline(incident: &Incident) -> Outline {
    let concerns = incident.concerns.iter().map(|concern| (concern.finding.subject.clone(), concern.finding.severity));
    Outline { id: incident.id, reopened: incident.reopened, concerns: concerns.collect() }
}

/// The verify window where the policy names none: the startup deadline plus successes times period, of the slowest probe.
fn window(ward: &Ward) -> Duration {
    let checks = ward.spec.probes.iter().map(|probe| probe.period * probe.success_threshold + probe.timeout).max();
    ward.spec.startup + checks.unwrap_or_default() + Duration::from_secs(1)
}

/// The probes that owe a verdict, and how many successes each.
fn needed(ward: &Ward, intent: &Intent) -> BTreeMap<ProbeId, u32> {
    let configured = ward.spec.probes.iter().filter(|probe| matches!(probe.role, Role::Liveness | Role::Readiness));
    let mut needed: BTreeMap<ProbeId, u32> =
        configured.map(|probe| (probe.id.clone(), probe.success_threshold.max(1))).collect();
    // A process that was brought back must stay for its first second, whatever else is asked of it.
    if ward.spec.supervised && (needed.is_empty() || matches!(intent.action.as_str(), "start" | "restart")) {
        needed.insert(ProbeId::from(PROCESS_PROBE), 1);
    }
    needed
}

/// A number that stays the same for one death of one service (FNV-1a, with the finaliser of SplitMix64).
fn seed(name: &str, salt: u64) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ salt, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
