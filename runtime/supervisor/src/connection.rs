//! The connection to the keeper, on tokio: it sends requests and heartbeats, and receives answers and news.
//!
//! It knows ids and frames, and not their meaning.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heald_keeper::protocol::{
    Decoder, Hello, KeeperCommand, KeeperMessage, KeeperRefusal, KeeperReply, ProtocolError, RuntimeRequest, VERSION,
    encode,
};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// How long a keeper may take to answer an attach.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);

/// A request fails when nothing at all was heard of the keeper for this long. A keeper that is only busy answers others
/// meanwhile, and the beats.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A timer that fires this late means that the runtime was stopped or starved.
const OWN_STALL: Duration = Duration::from_secs(1);

type PendingAnswers = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Result<KeeperReply, KeeperRefusal>>>>>;

/// Why the keeper cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The keeper has ended. The runtime will end with it.
    #[error("the keeper is gone")]
    Gone,
    /// The keeper did not answer.
    #[error("the keeper does not answer")]
    Silent,
    /// The keeper refused the attach.
    #[error("the keeper refuses this runtime")]
    Refused(#[source] KeeperRefusal),
    /// A frame cannot be understood, or is too long to be sent.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The socket failed.
    #[error("the keeper's socket failed")]
    Io(#[from] io::Error),
}

/// The connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct KeeperConnection {
    requests: AtomicU64,
    waiting: PendingAnswers,
    out: mpsc::UnboundedSender<Vec<u8>>,
    closed: watch::Receiver<bool>,
    heard: watch::Receiver<Instant>,
    tasks: [JoinHandle<()>; 2],
}

/// When a heartbeat is due, and whether to send it.
pub(crate) struct Heartbeat {
    pub(crate) every: Duration,
    pub(crate) alive: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

/// The stream of a keeper that has answered the attach. Nobody listens to it yet.
pub(crate) struct AttachedStream {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
}

/// Attaches. From then on the keeper sends its news to this runtime.
pub(crate) async fn attach(stream: std::os::unix::net::UnixStream) -> Result<(AttachedStream, Hello), ConnectionError> {
    stream.set_nonblocking(true)?;
    let (mut reader, mut writer) = UnixStream::from_std(stream)?.into_split();
    let mut bytes = Vec::new();
    encode(&RuntimeRequest { id: 0, ask: KeeperCommand::Attach { version: VERSION } }, &mut bytes)?;
    write(&mut writer, &bytes).await?;
    let mut decoder = Decoder::default();
    let attaching = tokio::time::timeout(ATTACH_TIMEOUT, await_hello(&mut reader, &mut decoder));
    let hello = attaching.await.map_err(|_| ConnectionError::Silent)??;
    Ok((AttachedStream { reader, writer, decoder }, hello))
}

impl KeeperConnection {
    /// Opens the connection. `news` is called with every message that is no answer. It is also called with the answer to
    /// a spawn request, before the caller gets that answer, so that it always learns of a child before the child's exit.
    pub(crate) fn open(
        stream: AttachedStream,
        beat: Heartbeat,
        news: impl Fn(&KeeperMessage) + Send + 'static,
    ) -> Self {
        let AttachedStream { reader, writer, decoder } = stream;
        let waiting = PendingAnswers::default();
        let (out, outgoing) = mpsc::unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let (hearing, heard) = watch::channel(Instant::now());
        let news = move |message: &KeeperMessage| {
            hearing.send_replace(Instant::now());
            if is_news(message) {
                news(message);
            }
        };
        let tasks = [
            tokio::spawn(receive(reader, decoder, Arc::clone(&waiting), news, closing)),
            tokio::spawn(send_requests(writer, outgoing, beat)),
        ];
        Self { requests: AtomicU64::new(1), waiting, out, closed, heard, tasks }
    }

    /// Sends a command and waits for the answer.
    pub(crate) async fn ask(&self, ask: KeeperCommand) -> Result<Result<KeeperReply, KeeperRefusal>, ConnectionError> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::new();
        encode(&RuntimeRequest { id, ask }, &mut bytes)?;
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        if *self.closed.borrow() || self.out.send(bytes).is_err() {
            return Err(ConnectionError::Gone);
        }
        tokio::select! {
            biased;
            answer = answered => answer.map_err(|_| ConnectionError::Gone),
            () = self.silent_since(Instant::now()) => {
                // A late answer to a spawn request is still news.
                self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                Err(ConnectionError::Silent)
            }
        }
    }

    /// How long nothing was heard of the keeper.
    pub(crate) fn silence(&self) -> Duration {
        self.heard.borrow().elapsed()
    }

    /// Returns when nothing was heard of the keeper for too long, counted from `asked` at the earliest.
    async fn silent_since(&self, mut asked: Instant) {
        loop {
            let due = asked.max(*self.heard.borrow()) + ASK_TIMEOUT;
            tokio::time::sleep_until(due).await;
            if due.elapsed() > OWN_STALL {
                // This runtime itself stood still, so the keeper is not to blame.
                asked = Instant::now();
            } else if asked.max(*self.heard.borrow()) + ASK_TIMEOUT <= Instant::now() {
                return;
            }
        }
    }

    /// Returns when the keeper has ended.
    pub(crate) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the task that would report the end has ended itself.
        let _ = closed.wait_for(|closed| *closed).await;
    }
}

impl Drop for KeeperConnection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn await_hello(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> Result<Hello, ConnectionError> {
    loop {
        match decoder.decode::<KeeperMessage>()? {
            Some(KeeperMessage::Hello(hello)) => return Ok(*hello),
            Some(KeeperMessage::Answer { answer: Err(refusal), .. }) => return Err(ConnectionError::Refused(refusal)),
            Some(_) => {}
            None => read(reader, decoder).await?,
        }
    }
}

/// Receives messages until the keeper has ended. Then every waiting caller gets an error.
async fn receive(
    mut reader: OwnedReadHalf,
    mut decoder: Decoder,
    waiting: PendingAnswers,
    news: impl Fn(&KeeperMessage) + Send + 'static,
    closing: watch::Sender<bool>,
) {
    let error = loop {
        match decoder.decode::<KeeperMessage>() {
            Ok(Some(message)) => dispatch(message, &waiting, &news),
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

/// Whether the supervisor is told of a message, and not only whoever waits for the answer.
fn is_news(message: &KeeperMessage) -> bool {
    matches!(message, KeeperMessage::Answer { answer: Ok(KeeperReply::Spawned(_)), .. })
        || !matches!(message, KeeperMessage::Answer { .. })
}

fn dispatch(message: KeeperMessage, waiting: &PendingAnswers, news: &impl Fn(&KeeperMessage)) {
    news(&message);
    if let KeeperMessage::Answer { id, answer } = message {
        let asker = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // The caller may have stopped waiting.
        drop(asker.map(|asker| asker.send(answer)));
    }
}

/// Sends requests and heartbeats.
async fn send_requests(mut writer: OwnedWriteHalf, mut outgoing: mpsc::UnboundedReceiver<Vec<u8>>, beat: Heartbeat) {
    let mut ticks = tokio::time::interval(beat.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse = Vec::new();
    if encode(&RuntimeRequest { id: 0, ask: KeeperCommand::Beat }, &mut pulse).is_err() {
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

async fn read(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> Result<(), ConnectionError> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        reader.readable().await?;
        match reader.try_read(&mut bytes) {
            Ok(0) => return Err(ConnectionError::Gone),
            Ok(count) => {
                decoder.push(bytes.get(..count).unwrap_or_default());
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn write(writer: &mut OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), ConnectionError> {
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
