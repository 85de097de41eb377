//! The archivist: takes what is kept for replay, packs it on a thread of its own, and hands it to the journal's thread to be written.
//!
//! Packing takes time, and neither who heals nor the journal's thread is to spend it. So its queue is short, and what does not fit
//! is dropped, as is everything while the database refuses: the journal loses no entry for it. Looks are numbered when they are
//! handed over; one that was dropped leaves a gap that shows, and nothing is put on the tape of its service until the next
//! checkpoint.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heald_engine::calls::{Kept, Look};
use heald_model::ServiceName;

use crate::calls::PackedCall;
use crate::tape::{PackedChunk, Reel};
use crate::writer::{Job, Plight};

/// Kept things that wait to be packed: some seconds of a hundred services in trouble.
const QUEUE: usize = 1024;
/// Packed ones that wait to be written, and how many go into one transaction: a millisecond or two, which an intent can wait for.
const WAITING: usize = 256;
const PORTION: usize = 16;
/// Looks of a service in one chunk, and how long the first of them may wait for the others.
const LOOKS: usize = 600;
const PATIENCE: Duration = Duration::from_secs(300);
/// That things are dropped is said so often.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What is kept, packed.
#[derive(Debug)]
pub(crate) enum Packed {
    Call(PackedCall),
    Chunk(PackedChunk),
}

impl Packed {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Call(call) => call.len(),
            Self::Chunk(chunk) => chunk.len(),
        }
    }

    pub(crate) fn insert(&self, connection: &rusqlite::Connection) -> rusqlite::Result<()> {
        match self {
            Self::Call(call) => call.insert(connection),
            Self::Chunk(chunk) => chunk.insert(connection),
        }
    }
}

/// What has happened to kept things.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    dropped: AtomicU64,
    complained: Mutex<Option<Instant>>,
    /// Packed and not yet written.
    pub(crate) waiting: AtomicUsize,
}

impl Tally {
    /// So many are lost; said now and then.
    pub(crate) fn lose(&self, count: usize, why: &str) {
        let dropped = self.dropped.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if count > 0 && complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            *complained = Some(Instant::now());
            tracing::warn!(dropped, why, "calls or looks are not kept; explain and replay will not know of them");
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

enum Item {
    Kept(Kept, u64),
    /// Everything that was handed over before is to be on its way to the journal's thread.
    Flush(tokio::sync::oneshot::Sender<()>),
    Close,
}

/// The archivist's desk: where things are handed over.
#[derive(Debug)]
pub(crate) struct Archivist {
    desk: SyncSender<Item>,
    numbers: Mutex<HashMap<ServiceName, u64>>,
    tally: Arc<Tally>,
    plight: Arc<Plight>,
    tape: bool,
    calls: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kept(..) => "Kept",
            Self::Flush(_) => "Flush",
            Self::Close => "Close",
        })
    }
}

impl Archivist {
    /// Starts the thread. What is not to be kept at all is not even packed.
    pub(crate) fn start(
        jobs: Sender<Job>,
        plight: Arc<Plight>,
        tally: Arc<Tally>,
        (tape, calls): (bool, bool),
    ) -> io::Result<Self> {
        let (desk, queue) = sync_channel(QUEUE);
        let bench = Bench {
            jobs,
            plight: Arc::clone(&plight),
            tally: Arc::clone(&tally),
            reels: HashMap::new(),
            packed: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("journal-archive".into()).spawn(move || bench.run(&queue))?;
        Ok(Self { desk, numbers: Mutex::default(), tally, plight, tape, calls, thread: Mutex::new(Some(thread)) })
    }

    /// Takes something to be kept, if there is room.
    pub(crate) fn take(&self, kept: Kept) {
        let number = match &kept {
            Kept::Call(_) if !self.calls => return,
            Kept::Look(_) if !self.tape => return,
            Kept::Call(_) => 0,
            Kept::Look(look) => self.number(&look.service),
        };
        if self.plight.get().is_some() {
            return self.tally.lose(1, "the journal cannot be written");
        }
        match self.desk.try_send(Item::Kept(kept, number)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.tally.lose(1, "more comes than can be written"),
            Err(TrySendError::Disconnected(_)) => self.tally.lose(1, "the journal is closed"),
        }
    }

    fn number(&self, service: &ServiceName) -> u64 {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get_mut(service) {
            *number += 1;
            return *number;
        }
        numbers.insert(service.clone(), 1);
        1
    }

    /// Sends everything that was handed over so far on its way, unfinished chunks too.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = tokio::sync::oneshot::channel();
        let mut item = Item::Flush(done);
        // The queue is short-lived; a full one has room again in milliseconds.
        while let Err(TrySendError::Full(back)) = self.desk.try_send(item) {
            item = back;
            tokio::task::yield_now().await;
        }
        let _ = flushed.await;
    }

    /// Packs what is left, and ends.
    pub(crate) fn close(&self) {
        let _ = self.desk.send(Item::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the archivist's thread has panicked");
        }
    }
}

/// The archivist's thread.
#[derive(Debug)]
struct Bench {
    jobs: Sender<Job>,
    plight: Arc<Plight>,
    tally: Arc<Tally>,
    reels: HashMap<ServiceName, Reel>,
    packed: Vec<Packed>,
}

impl Bench {
    fn run(mut self, queue: &Receiver<Item>) {
        loop {
            let waiting = self.reels.values().filter(|reel| !reel.is_empty());
            let due = waiting.map(|reel| reel.since() + PATIENCE).min();
            let wait = due.map_or(PATIENCE, |due| due.saturating_duration_since(Instant::now()));
            match queue.recv_timeout(wait) {
                Ok(Item::Kept(kept, number)) => self.take(kept, number),
                Ok(Item::Flush(done)) => {
                    self.cut(|_| true);
                    self.hand_over();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.cut(|reel| reel.since().elapsed() >= PATIENCE),
                Ok(Item::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.cut(|_| true);
                    return self.hand_over();
                }
            }
            self.hand_over();
        }
    }

    fn take(&mut self, kept: Kept, number: u64) {
        match kept {
            Kept::Call(call) => match PackedCall::of(*call) {
                Ok(call) => self.packed.push(Packed::Call(call)),
                Err(error) => self.tally.lose(1, &error.to_string()),
            },
            Kept::Look(look) => self.splice(*look, number),
        }
    }

    /// Puts a look behind the one before it.
    fn splice(&mut self, look: Look, number: u64) {
        let service = look.service.clone();
        let follows = self.reels.get(&service).is_some_and(|reel| reel.next() == number);
        if look.checkpoint.is_some() || !follows {
            self.wind(&service);
        }
        if look.checkpoint.is_some() {
            self.reels.insert(service.clone(), Reel::begin(number));
        } else if !follows {
            // What went before is lost, and this means nothing without it.
            self.reels.remove(&service);
            return self.tally.lose(1, "a look before it is lost");
        }
        let Some(reel) = self.reels.get_mut(&service) else { return };
        if let Err(error) = reel.push(look) {
            self.tally.lose(1, &error.to_string());
            self.reels.remove(&service);
        } else if reel.len() >= LOOKS {
            self.wind(&service);
        }
    }

    /// Makes chunks of the reels for which it is time.
    fn cut(&mut self, due: impl Fn(&Reel) -> bool) {
        let due = self.reels.iter().filter(|(_, reel)| !reel.is_empty() && due(reel));
        let services: Vec<ServiceName> = due.map(|(service, _)| service.clone()).collect();
        services.iter().for_each(|service| self.wind(service));
    }

    /// Makes a chunk of a service's reel, and begins the next where it ends.
    fn wind(&mut self, service: &ServiceName) {
        let Some(reel) = self.reels.get_mut(service).filter(|reel| !reel.is_empty()) else { return };
        let next = Reel::begin(reel.next());
        let mut full = mem::replace(reel, next);
        let count = full.len();
        match full.press().and_then(|()| PackedChunk::of(service, full)) {
            Ok(chunk) => self.packed.push(Packed::Chunk(chunk)),
            Err(error) => self.tally.lose(count, &error.to_string()),
        }
    }

    fn hand_over(&mut self) {
        while !self.packed.is_empty() {
            let rest = self.packed.split_off(self.packed.len().min(PORTION));
            let portion = mem::replace(&mut self.packed, rest);
            if self.plight.get().is_some() {
                self.tally.lose(portion.len(), "the journal cannot be written");
            } else if self.tally.waiting.load(Ordering::Relaxed) >= WAITING {
                self.tally.lose(portion.len(), "more comes than can be written");
            } else {
                self.tally.waiting.fetch_add(portion.len(), Ordering::Relaxed);
                let _ = self.jobs.send(Job::Shelve(portion));
            }
        }
    }
}
