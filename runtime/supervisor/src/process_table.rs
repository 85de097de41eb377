//! The process table: the newest incarnation of every replica, as far as the keeper reported it.
//!
//! It is pure: it turns messages of the keeper into processes and events.

use std::collections::{BTreeMap, BTreeSet};

use heald_keeper::protocol::{Child, Exit, Hello, SlotId};
use heald_model::{Moment, ServiceName};

use crate::event::{Ended, ProcessEvent, ReplicaProcess};

/// Maps the keeper's monotonic microseconds to moments of the runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockAnchor {
    pub(crate) moment: Moment,
    pub(crate) monotonic_us: u64,
}

impl ClockAnchor {
    pub(crate) fn moment(&self, us: u64) -> Moment {
        let nanos = self.moment.nanos();
        let away = us.abs_diff(self.monotonic_us).saturating_mul(1000);
        let then = if us < self.monotonic_us { nanos.saturating_sub(away) } else { nanos.saturating_add(away) };
        Moment::from_nanos(then)
    }
}

/// The newest incarnation in every slot.
#[derive(Debug)]
pub(crate) struct ProcessTable {
    clock_anchor: ClockAnchor,
    /// The digest of each service's configuration, which is compared with the tag of a process.
    digests: BTreeMap<ServiceName, String>,
    processes: BTreeMap<SlotId, ReplicaProcess>,
    counts: BTreeMap<SlotId, u64>,
    /// The spawn ids of processes that were asked to end.
    asked: BTreeSet<String>,
}

impl ProcessTable {
    pub(crate) fn new(clock_anchor: ClockAnchor, digests: BTreeMap<ServiceName, String>) -> Self {
        Self { clock_anchor, digests, processes: BTreeMap::new(), counts: BTreeMap::new(), asked: BTreeSet::new() }
    }

    /// Takes in the hello. Returns the processes that ended in the absence of a runtime, oldest first.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Vec<ReplicaProcess> {
        for count in &hello.incarnations {
            self.counts.insert(count.slot.clone(), count.incarnation);
        }
        for child in &hello.children {
            self.insert(self.process(child));
        }
        let ended: Vec<ReplicaProcess> = hello.exits.iter().map(|exit| self.ended_process(exit)).collect();
        ended.iter().for_each(|process| self.insert(process.clone()));
        ended
    }

    /// Takes in the answer to a spawn request. Returns no event if the process is already known.
    pub(crate) fn started(&mut self, child: &Child) -> Option<ProcessEvent> {
        let known = self.processes.get(&child.slot).is_some_and(|process| process.incarnation >= child.incarnation);
        if known {
            return None;
        }
        let process = self.process(child);
        self.insert(process.clone());
        Some(ProcessEvent::Started(process))
    }

    /// Takes in an exit.
    pub(crate) fn ended(&mut self, exit: &Exit) -> ProcessEvent {
        let process = self.ended_process(exit);
        self.asked.remove(&exit.child.spawn);
        self.insert(process.clone());
        ProcessEvent::Exited(process)
    }

    /// Marks a process as ready.
    pub(crate) fn ready(&mut self, slot: &SlotId, incarnation: u64) -> Option<ProcessEvent> {
        let process = self.processes.get_mut(slot)?;
        let news = process.incarnation == incarnation && process.is_running() && !process.ready;
        process.ready |= news;
        news.then(|| ProcessEvent::Ready(process.clone()))
    }

    /// Marks a process as asked to end.
    pub(crate) fn ask(&mut self, spawn: &str) {
        self.asked.insert(spawn.to_owned());
    }

    /// The newest process of a slot.
    pub(crate) fn at(&self, slot: &SlotId) -> Option<&ReplicaProcess> {
        self.processes.get(slot)
    }

    /// The living process of a slot.
    pub(crate) fn living(&self, slot: &SlotId) -> Option<&ReplicaProcess> {
        self.processes.get(slot).filter(|process| process.is_running())
    }

    /// The newest process of every slot.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ReplicaProcess> {
        self.processes.values()
    }

    /// The newest incarnation of a slot.
    pub(crate) fn incarnation(&self, slot: &SlotId) -> u64 {
        self.counts.get(slot).copied().unwrap_or(0)
    }

    fn insert(&mut self, process: ReplicaProcess) {
        let slot = SlotId { service: process.service.to_string(), replica: process.replica };
        let count = self.counts.entry(slot.clone()).or_default();
        *count = process.incarnation.max(*count);
        if self.processes.get(&slot).is_none_or(|before| before.incarnation <= process.incarnation) {
            self.processes.insert(slot, process);
        }
    }

    fn process(&self, child: &Child) -> ReplicaProcess {
        let service = ServiceName::from(child.slot.service.as_str());
        ReplicaProcess {
            outdated: self.digests.get(&service).is_some_and(|digest| *digest != child.tag),
            service,
            replica: child.slot.replica,
            incarnation: child.incarnation,
            spawn: child.spawn.clone(),
            pid: child.pid,
            started: self.clock_anchor.moment(child.started_us),
            ready: false,
            origin: child.origin,
            ended: None,
        }
    }

    fn ended_process(&self, exit: &Exit) -> ReplicaProcess {
        let known = self.processes.get(&exit.child.slot).filter(|process| process.spawn == exit.child.spawn);
        let ended = Ended {
            end: exit.end,
            at: self.clock_anchor.moment(exit.ended_us),
            asked: self.asked.contains(&exit.child.spawn),
        };
        ReplicaProcess {
            ready: known.is_some_and(|process| process.ready),
            ended: Some(ended),
            ..self.process(&exit.child)
        }
    }
}

#[cfg(test)]
mod tests {
    use heald_keeper::protocol::{ChildOrigin, End, IncarnationCount};

    use super::*;

    fn slot(replica: u32) -> SlotId {
        SlotId { service: "web".into(), replica }
    }

    fn child(replica: u32, incarnation: u64) -> Child {
        Child {
            spawn: format!("s{replica}.{incarnation}"),
            slot: slot(replica),
            incarnation,
            pid: 100,
            start_ticks: 0,
            started_us: 1_000_000 * incarnation,
            origin: ChildOrigin::Asked,
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
            safe_mode: None,
            suspects: BTreeSet::new(),
            halted: false,
            previous: None,
            children,
            exits,
            exits_dropped: 0,
            incarnations: vec![IncarnationCount { slot: slot(7), incarnation: 12 }],
        }
    }

    fn table() -> ProcessTable {
        let clock_anchor = ClockAnchor { moment: Moment::from_millis(100_000), monotonic_us: 10_000_000 };
        ProcessTable::new(clock_anchor, BTreeMap::from([(ServiceName::from("web"), "now".to_owned())]))
    }

    #[test]
    fn the_hello_says_who_lives_and_who_died() {
        let mut table = table();
        let mut other = child(1, 4);
        other.tag = "before".into();
        let ended = table.hello(&hello(vec![child(0, 3), other], vec![exit(0, 1), exit(0, 2), exit(2, 9)]));
        assert_eq!(ended.iter().map(|process| process.incarnation).collect::<Vec<_>>(), [1, 2, 9]);
        assert_eq!(table.living(&slot(0)).unwrap().incarnation, 3);
        assert!(table.living(&slot(1)).unwrap().outdated);
        assert!(table.living(&slot(2)).is_none());
        assert_eq!(table.at(&slot(2)).unwrap().ended.as_ref().unwrap().end, End::Code(1));
        assert_eq!(table.incarnation(&slot(7)), 12);
        assert_eq!(table.incarnation(&slot(2)), 9);
    }

    #[test]
    fn times_are_told_in_the_runtimes_moments() {
        let mut table = table();
        table.started(&child(0, 1));
        assert_eq!(table.at(&slot(0)).unwrap().started, Moment::from_millis(91_000));
        let ProcessEvent::Exited(process) = table.ended(&exit(0, 1)) else { panic!() };
        assert_eq!(process.uptime(), Some(std::time::Duration::from_millis(500)));
    }

    #[test]
    fn a_repeated_answer_is_no_news_and_raises_nobody() {
        let mut table = table();
        assert!(table.started(&child(0, 1)).is_some());
        assert_eq!(table.started(&child(0, 1)), None);
        table.ended(&exit(0, 1));
        assert_eq!(table.started(&child(0, 1)), None);
        assert!(table.living(&slot(0)).is_none());
        assert!(table.started(&child(0, 2)).is_some());
        table.ended(&exit(0, 1));
        assert!(table.living(&slot(0)).is_some(), "an old end does not bury the living");
    }

    #[test]
    fn ready_is_said_once_and_of_the_life_that_was_meant() {
        let mut table = table();
        table.started(&child(0, 1));
        assert!(table.ready(&slot(0), 1).is_some());
        assert_eq!(table.ready(&slot(0), 1), None);
        table.ended(&exit(0, 1));
        table.started(&child(0, 2));
        assert_eq!(table.ready(&slot(0), 1), None);
        assert!(!table.at(&slot(0)).unwrap().ready);
    }

    #[test]
    fn an_end_that_was_asked_for_is_told_as_such() {
        let mut table = table();
        table.started(&child(0, 1));
        table.ask("s0.1");
        let ProcessEvent::Exited(process) = table.ended(&exit(0, 1)) else { panic!() };
        assert!(process.ended.unwrap().asked);
    }
}
