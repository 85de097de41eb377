//! The replay writer: it packs calls and looks for replay on a thread of its own, and hands the packed data to the
//! journal's writer.
//!
//! Packing takes time that neither the healing loop nor the journal's writer may lose. So the queue is short, and what
//! does not fit is dropped. Everything is dropped while the database cannot be written: no journal entry waits behind
//! replay data. Looks are numbered when they are handed over. A dropped look leaves a visible gap, and the tape of its
//! service pauses until the next checkpoint.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heald_model::ServiceName;
use heald_model::{Recording, TapeEntry};

use crate::calls::PackedCall;
use crate::health::{ReplayCounters, WriterHealth};
use crate::jobs::{Packed, WriterJob};
use crate::tape::{ChunkBuilder, PackedChunk};

/// How many calls and looks may wait to be packed: some seconds of a hundred services in trouble.
const QUEUE: usize = 1024;
/// How many packed items may wait to be written, and how many go into one transaction. A transaction takes a millisecond
/// or two, which an intent can wait for.
const WAITING: usize = 256;
const PORTION: usize = 16;
/// How many looks of a service go into one chunk, and how long the first look may wait for the others.
const LOOKS: usize = 600;
const PATIENCE: Duration = Duration::from_secs(300);

enum ReplayItem {
    Recording(Recording, u64),
    /// Hands over everything that came before, then answers.
    Flush(tokio::sync::oneshot::Sender<()>),
    Close,
}

/// The queue's end that takes calls and looks.
#[derive(Debug)]
pub(crate) struct ReplayWriter {
    queue: SyncSender<ReplayItem>,
    numbers: Mutex<HashMap<ServiceName, u64>>,
    counters: Arc<ReplayCounters>,
    health: Arc<WriterHealth>,
    tape: bool,
    calls: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for ReplayItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Recording(..) => "Recording",
            Self::Flush(_) => "Flush",
            Self::Close => "Close",
        })
    }
}

impl ReplayWriter {
    /// Starts the thread. A kind of data that is not wanted is not packed.
    pub(crate) fn start(
        jobs: Sender<WriterJob>,
        health: Arc<WriterHealth>,
        counters: Arc<ReplayCounters>,
        (tape, calls): (bool, bool),
    ) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let worker = ReplayWorker {
            jobs,
            health: Arc::clone(&health),
            counters: Arc::clone(&counters),
            builders: HashMap::new(),
            packed: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("journal-archive".into()).spawn(move || worker.run(&items))?;
        Ok(Self { queue, numbers: Mutex::default(), counters, health, tape, calls, thread: Mutex::new(Some(thread)) })
    }

    /// Takes a call or a look, if there is room.
    pub(crate) fn take(&self, kept: Recording) {
        let number = match &kept {
            Recording::Call(_) if !self.calls => return,
            Recording::Tape(_) if !self.tape => return,
            Recording::Call(_) => 0,
            Recording::Tape(look) => self.number(&look.service),
        };
        if self.health.get().is_some() {
            return self.counters.count_dropped(1, "the journal cannot be written");
        }
        match self.queue.try_send(ReplayItem::Recording(kept, number)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.counters.count_dropped(1, "they arrive faster than they can be written"),
            Err(TrySendError::Disconnected(_)) => self.counters.count_dropped(1, "the journal is closed"),
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

    /// Hands everything that was taken so far to the writer, unfinished chunks included.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = tokio::sync::oneshot::channel();
        let mut item = ReplayItem::Flush(done);
        // A full queue has room again in milliseconds.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(item) {
            item = back;
            tokio::task::yield_now().await;
        }
        let _ = flushed.await;
    }

    /// Packs what is left and ends the thread.
    pub(crate) fn close(&self) {
        let _ = self.queue.send(ReplayItem::Close);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the replay writer's thread has panicked");
        }
    }
}

/// The state of the replay writer's thread.
#[derive(Debug)]
struct ReplayWorker {
    jobs: Sender<WriterJob>,
    health: Arc<WriterHealth>,
    counters: Arc<ReplayCounters>,
    builders: HashMap<ServiceName, ChunkBuilder>,
    packed: Vec<Packed>,
}

impl ReplayWorker {
    fn run(mut self, items: &Receiver<ReplayItem>) {
        loop {
            let waiting = self.builders.values().filter(|builder| !builder.is_empty());
            let due = waiting.map(|builder| builder.since() + PATIENCE).min();
            let wait = due.map_or(PATIENCE, |due| due.saturating_duration_since(Instant::now()));
            match items.recv_timeout(wait) {
                Ok(ReplayItem::Recording(kept, number)) => self.take(kept, number),
                Ok(ReplayItem::Flush(done)) => {
                    self.finish_due(|_| true);
                    self.hand_over();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.finish_due(|builder| builder.since().elapsed() >= PATIENCE),
                Ok(ReplayItem::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.finish_due(|_| true);
                    return self.hand_over();
                }
            }
            self.hand_over();
        }
    }

    fn take(&mut self, kept: Recording, number: u64) {
        match kept {
            Recording::Call(call) => match PackedCall::of(*call) {
                Ok(call) => self.packed.push(Packed::Call(call)),
                Err(error) => self.counters.count_dropped(1, &error.to_string()),
            },
            Recording::Tape(look) => self.append(*look, number),
        }
    }

    /// Appends a look to the chunk of its service.
    fn append(&mut self, look: TapeEntry, number: u64) {
        let service = look.service.clone();
        let follows = self.builders.get(&service).is_some_and(|builder| builder.next() == number);
        if look.checkpoint.is_some() || !follows {
            self.finish_chunk(&service);
        }
        if look.checkpoint.is_some() {
            self.builders.insert(service.clone(), ChunkBuilder::begin(number));
        } else if !follows {
            // The previous looks are lost, and this look cannot be understood without them.
            self.builders.remove(&service);
            return self.counters.count_dropped(1, "the look before it was lost");
        }
        let Some(builder) = self.builders.get_mut(&service) else { return };
        if let Err(error) = builder.push(look) {
            self.counters.count_dropped(1, &error.to_string());
            self.builders.remove(&service);
        } else if builder.len() >= LOOKS {
            self.finish_chunk(&service);
        }
    }

    /// Finishes the chunks that are due.
    fn finish_due(&mut self, due: impl Fn(&ChunkBuilder) -> bool) {
        let due = self.builders.iter().filter(|(_, builder)| !builder.is_empty() && due(builder));
        let services: Vec<ServiceName> = due.map(|(service, _)| service.clone()).collect();
        services.iter().for_each(|service| self.finish_chunk(service));
    }

    /// Finishes the chunk of a service and begins the next one.
    fn finish_chunk(&mut self, service: &ServiceName) {
        let Some(builder) = self.builders.get_mut(service).filter(|builder| !builder.is_empty()) else { return };
        let next = ChunkBuilder::begin(builder.next());
        let mut full = mem::replace(builder, next);
        let count = full.len();
        match full.encode_pending().and_then(|()| PackedChunk::of(service, full)) {
            Ok(chunk) => self.packed.push(Packed::Chunk(chunk)),
            Err(error) => self.counters.count_dropped(count, &error.to_string()),
        }
    }

    fn hand_over(&mut self) {
        while !self.packed.is_empty() {
            let rest = self.packed.split_off(self.packed.len().min(PORTION));
            let portion = mem::replace(&mut self.packed, rest);
            if self.health.get().is_some() {
                self.counters.count_dropped(portion.len(), "the journal cannot be written");
            } else if self.counters.waiting.load(Ordering::Relaxed) >= WAITING {
                self.counters.count_dropped(portion.len(), "they arrive faster than they can be written");
            } else {
                self.counters.waiting.fetch_add(portion.len(), Ordering::Relaxed);
                let _ = self.jobs.send(WriterJob::WritePacked(portion));
            }
        }
    }
}
