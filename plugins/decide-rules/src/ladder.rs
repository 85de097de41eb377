//! Where on a rule's ladder an incident stands, read from what was tried.

use heald_plugin::{Ending, Outcome, Question};

use crate::rule::{Rule, Rung};

/// Where it stands.
#[derive(Debug)]
pub(crate) struct Climb {
    /// The rung to take; one past the last when all are used up.
    place: usize,
    /// How often that one was tried in vain.
    used: u32,
    /// Rungs that were left out, and why.
    pub(crate) left_out: Vec<(String, String)>,
}

impl Climb {
    /// Reads the attempts, and leaves out what cannot be had now.
    pub(crate) fn of(question: &Question, rule: &Rule) -> Self {
        let rungs: Vec<_> = rule.rungs().collect();
        let mut climb = Self { place: 0, used: 0, left_out: Vec::new() };
        for attempt in question.incident.own_attempts() {
            match &attempt.ending {
                Ending::Verified(Outcome::Healed) => climb = Self { place: 0, used: 0, left_out: Vec::new() },
                ending if ending.is_spent() => climb.spend(&rungs, &attempt.action),
                _ => {}
            }
        }
        climb.settle(question, &rungs);
        climb
    }

    /// The rung to take; none when all are used up.
    pub(crate) fn rung<'a>(&self, rule: &'a Rule) -> Option<&'a Rung> {
        rule.rungs().nth(self.place)
    }

    pub(crate) fn place_from_one(&self) -> u32 {
        u32::try_from(self.place + 1).unwrap_or(u32::MAX)
    }

    /// How many times this makes at the rung.
    pub(crate) fn attempt(&self) -> u32 {
        self.used + 1
    }

    /// An attempt that did not help. Rungs below the one that was tried had been left out, so they are passed; an action
    /// that is no rung from here on was somebody else's idea.
    fn spend(&mut self, rungs: &[&Rung], action: &str) {
        let rest = rungs.iter().enumerate().skip(self.place);
        let Some((place, rung)) = rest.into_iter().find(|(_, rung)| rung.action == action) else { return };
        let used = if place == self.place { self.used + 1 } else { 1 };
        (self.place, self.used) = if used >= rung.times { (place + 1, 0) } else { (place, used) };
    }

    /// Moves on to the first rung that can be had. One that is withheld gives way to the next; if all that are left are
    /// withheld or words, the first that was not refused outright is proposed all the same, and the guard makes it wait.
    fn settle(&mut self, question: &Question, rungs: &[&Rung]) {
        let (mut waiting, mut missing) = (None, None);
        for (place, rung) in rungs.iter().enumerate().skip(self.place) {
            let mut leave_out = |why: String| self.left_out.push((rung.action.clone(), why));
            if rung.is_word() {
                break;
            }
            match question.offer(&rung.action) {
                None if question.offers.is_empty() => return self.move_to(place),
                None => {
                    leave_out("not on offer".to_owned());
                    missing.get_or_insert(place);
                }
                Some(offer) => match &offer.blocked {
                    None => return self.move_to(place),
                    Some(why) => {
                        leave_out(format!("withheld: {why}"));
                        if waiting.is_none() && !was_refused(question, &rung.action) {
                            waiting = Some(place);
                        }
                    }
                },
            }
        }
        let word = rungs.iter().enumerate().skip(self.place).find(|(_, rung)| rung.is_word()).map(|(place, _)| place);
        // Where nothing was tried and nothing can be had, the first wish is told as it is: heald says what is not on offer, and why.
        let wish = missing.filter(|_| waiting.is_none() && word.is_none() && self.place == 0 && self.used == 0);
        let proposed = waiting.or(wish);
        if let Some(place) = proposed {
            self.left_out.retain(|(action, _)| rungs.get(place).is_none_or(|rung| rung.action != *action));
        }
        self.move_to(proposed.or(word).unwrap_or(rungs.len()));
    }

    fn move_to(&mut self, place: usize) {
        if place != self.place {
            (self.place, self.used) = (place, 0);
        }
    }
}

/// Was the last thing that came of this action in this incident a refusal? Then proposing it again would go in circles.
fn was_refused(question: &Question, action: &str) -> bool {
    let mut last = question.incident.own_attempts().rev().filter(|attempt| attempt.action == action);
    last.next().is_some_and(|attempt| matches!(attempt.ending, Ending::Withheld(_)))
}
