//! The connection to the keeper, on tokio: requests out, answers and news in, beats in between. It understands ids and
//! frames, not what is said.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heald_keeper::protocol::{Ask, Decoder, Done, Hello, Message, ProtocolError, Refusal, Request, VERSION, encode};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// A keeper answers an attach from its loop: if not by then, it is no keeper.
const GREETING: Duration = Duration::from_secs(5);

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<Done, Refusal>>>>>;

/// Why nothing more can be asked.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The keeper is gone; so is this runtime, in a moment.
    #[error("the keeper is gone")]
    Gone,
    /// It did not greet.
    #[error("the keeper does not answer")]
    Silent,
    /// It speaks otherwise.
    #[error("the keeper refuses this runtime")]
    Refused(#[source] Refusal),
    /// It cannot be understood, or what should be sent is too long.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The socket failed.
    #[error("the keeper's socket failed")]
    Io(#[from] io::Error),
}

/// The connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Wire {
    requests: AtomicU64,
    waiting: Waiting,
    out: mpsc::UnboundedSender<Vec<u8>>,
    closed: watch::Receiver<bool>,
    tasks: [JoinHandle<()>; 2],
}

/// When a beat is due, and whether to send it.
pub(crate) struct Beat {
    pub(crate) every: Duration,
    pub(crate) alive: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

/// A keeper that has greeted, and is not listened to yet.
pub(crate) struct Greeted {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
}

/// Attaches: from now on the keeper tells this runtime.
pub(crate) async fn attach(stream: std::os::unix::net::UnixStream) -> Result<(Greeted, Hello), WireError> {
    stream.set_nonblocking(true)?;
    let (mut reader, mut writer) = UnixStream::from_std(stream)?.into_split();
    let mut bytes = Vec::new();
    encode(&Request { id: 0, ask: Ask::Attach { version: VERSION } }, &mut bytes)?;
    write(&mut writer, &bytes).await?;
    let mut decoder = Decoder::default();
    let greeting = tokio::time::timeout(GREETING, greet(&mut reader, &mut decoder));
    let hello = greeting.await.map_err(|_| WireError::Silent)??;
    Ok((Greeted { reader, writer, decoder }, hello))
}

impl Wire {
    /// Listens. `news` is called with every message that is no answer, and with every answer to a spawn before the one who
    /// asked gets it: what is told afterwards about that child, `news` hears afterwards.
    pub(crate) fn open(greeted: Greeted, beat: Beat, news: impl Fn(&Message) + Send + 'static) -> Self {
        let Greeted { reader, writer, decoder } = greeted;
        let waiting = Waiting::default();
        let (out, outgoing) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let tasks = [
            tokio::spawn(listen(reader, decoder, Arc::clone(&waiting), news, closing)),
            tokio::spawn(speak(writer, outgoing, beat)),
        ];
        Self { requests: AtomicU64::new(1), waiting, out, closed, tasks }
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Result<Done, Refusal>, WireError> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        encode(&Request { id, ask }, &mut bytes)?;
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        if *self.closed.borrow() || self.out.send(bytes).is_err() {
            return Err(WireError::Gone);
        }
        answered.await.map_err(|_| WireError::Gone)
    }

    /// Returns when the keeper is gone.
    pub(crate) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the task that would say so is gone itself.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn greet(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> Result<Hello, WireError> {
    loop {
        match decoder.decode::<Message>()? {
            Some(Message::Hello(hello)) => return Ok(*hello),
            Some(Message::Answer { answer: Err(refusal), .. }) => return Err(WireError::Refused(refusal)),
            Some(_) => {}
            None => read(reader, decoder).await?,
        }
    }
}

/// Reads until the keeper is gone; then everybody who waits learns so.
async fn listen(
    mut reader: OwnedReadHalf,
    mut decoder: Decoder,
    waiting: Waiting,
    news: impl Fn(&Message) + Send + 'static,
    closing: watch::Sender<bool>,
) {
    let error = loop {
        match decoder.decode::<Message>() {
            Ok(Some(message)) => deliver(message, &waiting, &news),
            Ok(None) => {
                if let Err(error) = read(&mut reader, &mut decoder).await {
                    break error;
                }
            }
            Err(error) => break error.into(),
        }
    };
    tracing::warn!(%error, "the connection to the keeper has ended");
    closing.send_replace(true);
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn deliver(message: Message, waiting: &Waiting, news: &impl Fn(&Message)) {
    if matches!(&message, Message::Answer { answer: Ok(Done::Spawned(_)), .. })
        || !matches!(&message, Message::Answer { .. })
    {
        news(&message);
    }
    if let Message::Answer { id, answer } = message {
        let asker = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Who asked may have stopped waiting.
        drop(asker.map(|asker| asker.send(answer)));
    }
}

/// Writes what is asked, and beats.
async fn speak(mut writer: OwnedWriteHalf, mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>, beat: Beat) {
    let mut ticks = tokio::time::interval(beat.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse = Vec::new();
    if encode(&Request { id: 0, ask: Ask::Beat }, &mut pulse).is_err() {
        return;
    }
    loop {
        let written = tokio::select! {
            bytes = outgoing.recv() => match bytes {
                Some(bytes) => write(&mut writer, &bytes).await,
                None => return,
            },
            _ = ticks.tick() => match &beat.alive {
                Some(alive) if !alive() => Ok(()),
                _ => write(&mut writer, &pulse).await,
            },
        };
        if written.is_err() {
            return;
        }
    }
}

async fn read(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> Result<(), WireError> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        reader.readable().await?;
        match reader.try_read(&mut bytes) {
            Ok(0) => return Err(WireError::Gone),
            Ok(count) => {
                decoder.push(bytes.get(..count).unwrap_or_default());
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), WireError> {
    while !bytes.is_empty() {
        writer.writable().await?;
        match writer.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
