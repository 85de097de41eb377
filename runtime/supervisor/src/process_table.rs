//! Who lives where, as far as this runtime was told. Pure: it turns what the keeper says into processes and events.

use std::collections::{BTreeMap, BTreeSet};

use heald_keeper::protocol::{Child, Exit, Hello, Place};
use heald_model::{Moment, ServiceName};

use crate::event::{Ended, Event, Process};

/// Ties the keeper's monotonic microseconds to the runtime's moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchor {
    pub(crate) moment: Moment,
    pub(crate) monotonic_us: u64,
}

impl Anchor {
    fn moment(&self, us: u64) -> Moment {
        let nanos = self.moment.nanos();
        let away = us.abs_diff(self.monotonic_us).saturating_mul(1000);
        let then = if us < self.monotonic_us { nanos.saturating_sub(away) } else { nanos.saturating_add(away) };
        Moment::from_nanos(then)
    }
}

/// The newest life of every place.
#[derive(Debug)]
pub(crate) struct Roster {
    anchor: Anchor,
    /// The configuration's digest by service: what a process's tag is compared with.
    digests: BTreeMap<ServiceName, String>,
    seats: BTreeMap<Place, Process>,
    counts: BTreeMap<Place, u64>,
    /// Spawn ids of those that were asked to end.
    asked: BTreeSet<String>,
}

impl Roster {
    pub(crate) fn new(anchor: Anchor, digests: BTreeMap<ServiceName, String>) -> Self {
        Self { anchor, digests, seats: BTreeMap::new(), counts: BTreeMap::new(), asked: BTreeSet::new() }
    }

    /// Takes in the hello. Returns those that ended while no runtime was there, oldest first.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Vec<Process> {
        for count in &hello.incarnations {
            self.counts.insert(count.place.clone(), count.incarnation);
        }
        for child in &hello.children {
            self.sit(self.process(child));
        }
        let ended: Vec<Process> = hello.exits.iter().map(|exit| self.dead(exit)).collect();
        ended.iter().for_each(|process| self.sit(process.clone()));
        ended
    }

    /// A spawn was answered. Nothing is new when it was the answer to a repeated one.
    pub(crate) fn started(&mut self, child: &Child) -> Option<Event> {
        let known = self.seats.get(&child.place).is_some_and(|process| process.incarnation >= child.incarnation);
        if known {
            return None;
        }
        let process = self.process(child);
        self.sit(process.clone());
        Some(Event::Started(process))
    }

    /// An end was told.
    pub(crate) fn ended(&mut self, exit: &Exit) -> Event {
        let process = self.dead(exit);
        self.asked.remove(&exit.child.spawn);
        self.sit(process.clone());
        Event::Exited(process)
    }

    /// Somebody found it ready.
    pub(crate) fn ready(&mut self, place: &Place, incarnation: u64) -> Option<Event> {
        let process = self.seats.get_mut(place)?;
        let news = process.incarnation == incarnation && process.is_running() && !process.ready;
        process.ready |= news;
        news.then(|| Event::Ready(process.clone()))
    }

    /// This one is going to be asked to end.
    pub(crate) fn ask(&mut self, spawn: &str) {
        self.asked.insert(spawn.to_owned());
    }

    /// The newest life of a place.
    pub(crate) fn at(&self, place: &Place) -> Option<&Process> {
        self.seats.get(place)
    }

    /// Who lives in a place.
    pub(crate) fn living(&self, place: &Place) -> Option<&Process> {
        self.seats.get(place).filter(|process| process.is_running())
    }

    /// The newest life of every place.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Process> {
        self.seats.values()
    }

    /// How many lives a place has had.
    pub(crate) fn incarnation(&self, place: &Place) -> u64 {
        self.counts.get(place).copied().unwrap_or(0)
    }

    fn sit(&mut self, process: Process) {
        let place = Place { service: process.service.to_string(), replica: process.replica };
        let count = self.counts.entry(place.clone()).or_default();
        *count = process.incarnation.max(*count);
        if self.seats.get(&place).is_none_or(|before| before.incarnation <= process.incarnation) {
            self.seats.insert(place, process);
        }
    }

    fn process(&self, child: &Child) -> Process {
        let service = ServiceName::from(child.place.service.as_str());
        Process {
            outdated: self.digests.get(&service).is_some_and(|digest| *digest != child.tag),
            service,
            replica: child.place.replica,
            incarnation: child.incarnation,
            spawn: child.spawn.clone(),
            pid: child.pid,
            started: self.anchor.moment(child.started_us),
            ready: false,
            origin: child.origin,
            ended: None,
        }
    }

    fn dead(&self, exit: &Exit) -> Process {
        let known = self.seats.get(&exit.child.place).filter(|process| process.spawn == exit.child.spawn);
        let ended = Ended {
            end: exit.end,
            at: self.anchor.moment(exit.ended_us),
            asked: self.asked.contains(&exit.child.spawn),
        };
        Process { ready: known.is_some_and(|process| process.ready), ended: Some(ended), ..self.process(&exit.child) }
    }
}

#[cfg(test)]
mod tests {
    use heald_keeper::protocol::{Count, End, Origin};

    use super::*;

    fn place(replica: u32) -> Place {
        Place { service: "web".into(), replica }
    }

    fn child(replica: u32, incarnation: u64) -> Child {
        Child {
            spawn: format!("s{replica}.{incarnation}"),
            place: place(replica),
            incarnation,
            pid: 100,
            start_ticks: 0,
            started_us: 1_000_000 * incarnation,
            origin: Origin::Asked,
            tag: "now".into(),
        }
    }

    fn exit(replica: u32, incarnation: u64) -> Exit {
        Exit { child: child(replica, incarnation), end: End::Code(1), ended_us: 1_000_000 * incarnation + 500_000 }
    }

    fn hello(children: Vec<Child>, exits: Vec<Exit>) -> Hello {
        Hello {
            version: 1,
            boot: String::new(),
            keeper: 1,
            runtime_starts: 1,
            safe_mode: false,
            previous: None,
            children,
            exits,
            exits_dropped: 0,
            incarnations: vec![Count { place: place(7), incarnation: 12 }],
        }
    }

    fn roster() -> Roster {
        let anchor = Anchor { moment: Moment::from_millis(100_000), monotonic_us: 10_000_000 };
        Roster::new(anchor, BTreeMap::from([(ServiceName::from("web"), "now".to_owned())]))
    }

    #[test]
    fn the_hello_says_who_lives_and_who_died() {
        let mut roster = roster();
        let mut other = child(1, 4);
        other.tag = "before".into();
        let ended = roster.hello(&hello(vec![child(0, 3), other], vec![exit(0, 1), exit(0, 2), exit(2, 9)]));
        assert_eq!(ended.iter().map(|process| process.incarnation).collect::<Vec<_>>(), [1, 2, 9]);
        assert_eq!(roster.living(&place(0)).unwrap().incarnation, 3);
        assert!(roster.living(&place(1)).unwrap().outdated);
        assert!(roster.living(&place(2)).is_none());
        assert_eq!(roster.at(&place(2)).unwrap().ended.as_ref().unwrap().end, End::Code(1));
        assert_eq!(roster.incarnation(&place(7)), 12);
        assert_eq!(roster.incarnation(&place(2)), 9);
    }

    #[test]
    fn times_are_told_in_the_runtimes_moments() {
        let mut roster = roster();
        roster.started(&child(0, 1));
        assert_eq!(roster.at(&place(0)).unwrap().started, Moment::from_millis(91_000));
        let Event::Exited(process) = roster.ended(&exit(0, 1)) else { panic!() };
        assert_eq!(process.uptime(), Some(std::time::Duration::from_millis(500)));
    }

    #[test]
    fn a_repeated_answer_is_no_news_and_raises_nobody() {
        let mut roster = roster();
        assert!(roster.started(&child(0, 1)).is_some());
        assert_eq!(roster.started(&child(0, 1)), None);
        roster.ended(&exit(0, 1));
        assert_eq!(roster.started(&child(0, 1)), None);
        assert!(roster.living(&place(0)).is_none());
        assert!(roster.started(&child(0, 2)).is_some());
        roster.ended(&exit(0, 1));
        assert!(roster.living(&place(0)).is_some(), "an old end does not bury the living");
    }

    #[test]
    fn ready_is_said_once_and_of_the_life_that_was_meant() {
        let mut roster = roster();
        roster.started(&child(0, 1));
        assert!(roster.ready(&place(0), 1).is_some());
        assert_eq!(roster.ready(&place(0), 1), None);
        roster.ended(&exit(0, 1));
        roster.started(&child(0, 2));
        assert_eq!(roster.ready(&place(0), 1), None);
        assert!(!roster.at(&place(0)).unwrap().ready);
    }

    #[test]
    fn an_end_that_was_asked_for_is_told_as_such() {
        let mut roster = roster();
        roster.started(&child(0, 1));
        roster.ask("s0.1");
        let Event::Exited(process) = roster.ended(&exit(0, 1)) else { panic!() };
        assert!(process.ended.unwrap().asked);
    }
}
