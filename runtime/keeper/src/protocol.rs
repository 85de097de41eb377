//! What keeper and runtime say to each other: plain data, and the framing that carries it over a stream socket.
//!
//! Each frame is a length (four bytes, little endian) and one JSON value. A stream and not packets, because the first
//! [`Hello`] names every child and would outgrow a socket's largest packet with a few hundred of them. This module opens
//! no socket and reads no clock.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of this protocol. Keeper and runtime are the same image, but an upgraded runtime can meet the keeper of
/// the release before: it attaches with the version it speaks and is refused by name, not by a parse error.
pub const VERSION: u32 = 1;

/// The largest frame either side accepts. A [`Hello`] with ten thousand children takes about 4 MiB; more is a fault.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// The longest [`Spawn::tag`]: it is kept for every child, in memory and in the ledger.
pub const MAX_TAG: usize = 4096;

/// The environment variable every supervised process carries: its spawn id. It is how a survivor is found whose keeper
/// died between starting it and writing it down.
pub const SPAWN_VARIABLE: &str = "HEALD_SPAWN";

/// One seat for a process: at most one child lives in it at a time, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The service's name.
    pub service: String,
    /// Which of its replicas, from 0.
    pub replica: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.replica)
    }
}

/// Runtime to keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the runtime; the answer carries it back.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a runtime can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// "I am in charge from now on." Answered by a [`Hello`]; before it, the keeper says nothing.
    Attach {
        /// The [`VERSION`] the runtime speaks.
        version: u32,
    },
    /// "I am alive." Not answered.
    Beat,
    /// Start a process.
    Spawn(Box<Spawn>),
    /// What was this spawn answered, if it was ever asked? For an intent on record whose effect is not known.
    Recall {
        /// The spawn id.
        spawn: String,
    },
    /// Signal a child.
    Signal(Signal),
    /// These ends are on record; the keeper may forget them.
    Acknowledge {
        /// The spawn ids of the ended children.
        spawns: Vec<String>,
    },
    /// "I shall exit now, do not bring me back."
    Shutdown {
        /// Leave the children running for the next keeper to adopt (their output is lost), instead of stopping them.
        leave_children: bool,
    },
}

/// A process to start. The same `spawn` again gets the first answer again and starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// The intent's id: who repeats it after a crash means the same process.
    pub spawn: String,
    /// The seat it takes. Refused while another child lives there.
    pub place: Place,
    /// Program and arguments. A program without a slash is looked up in `env`'s `PATH`.
    pub command: Vec<String>,
    /// The whole environment: the child sees this, [`SPAWN_VARIABLE`] and nothing else.
    pub env: BTreeMap<String, String>,
    /// Working directory; the keeper's own if absent.
    pub cwd: Option<PathBuf>,
    /// User and group to run as; the keeper's own if absent.
    pub user: Option<User>,
    /// Where its output goes; discarded if absent.
    pub log: Option<Log>,
    /// What to do when it ends while no runtime is there to decide.
    pub fallback: Fallback,
    /// How it is stopped when the keeper itself goes.
    pub stop: Stop,
    /// Anything the runtime wants to find again with the child.
    pub tag: String,
}

/// A user by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id. Supplementary groups are dropped.
    pub gid: u32,
}

/// A log file that the keeper alone writes. Full files are renamed to `path.1`, `path.2` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The file; standard output and standard error both go there, in the order written.
    pub path: PathBuf,
    /// The size from which a new file is begun at the next line end.
    pub max_bytes: u64,
    /// How many full files are kept beside the current one.
    pub keep: u32,
}

/// The restart line: applied by the keeper alone, and only when there is no runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// When an ended child is started again.
    pub restart: Restart,
    /// Exit codes that count as success for [`Restart::OnFailure`]. 0 need not be named.
    pub success_codes: Vec<i32>,
    /// The first pause before starting it again; it doubles with every start that did not last.
    pub backoff_ms: u64,
}

/// When an ended child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whatever the end was.
    Always,
    /// After a signal or an exit code that is no success.
    OnFailure,
    /// Not at all.
    Never,
}

/// How a child is stopped: signal, then continue, then, after the grace, kill; always the whole process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The polite signal's number.
    pub signal: i32,
    /// How long it has before the group is killed.
    pub grace_ms: u64,
}

/// A signal for one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// Which child. A spawn id names one process for ever, unlike a PID.
    pub spawn: String,
    /// The signal's number.
    pub signal: i32,
    /// The whole process group, or its leader alone.
    pub group: bool,
    /// The child is meant to end: its restart line no longer counts.
    pub retire: bool,
}

/// Keeper to runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The answer to [`Ask::Attach`].
    Hello(Box<Hello>),
    /// The answer to any other request (but [`Ask::Beat`]).
    Answer {
        /// The request's id.
        id: u64,
        /// What came of it.
        answer: Result<Done, Refusal>,
    },
    /// A child has ended, and so has the rest of its process group.
    Exited(Exit),
    /// Something the operator should know that no request asked for.
    Notice {
        /// In words.
        text: String,
    },
}

/// Everything a runtime needs to take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The [`VERSION`] the keeper speaks.
    pub version: u32,
    /// The kernel's boot id: PIDs, start times and monotonic times below are of this boot.
    pub boot: String,
    /// The keeper's PID.
    pub keeper: u32,
    /// Start times of the runtime itself, this one included.
    pub runtime_starts: u64,
    /// Whether this runtime was started in safe mode.
    pub safe_mode: bool,
    /// How the runtime before this one ended, if there was one.
    pub previous: Option<RuntimeEnd>,
    /// Every child alive.
    pub children: Vec<Child>,
    /// Ends nobody has acknowledged, oldest first.
    pub exits: Vec<Exit>,
    /// Ends that had to be forgotten before anybody acknowledged them.
    pub exits_dropped: u64,
    /// How many incarnations each place has had, places without a living child included.
    pub incarnations: Vec<Count>,
}

/// How a runtime ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEnd {
    /// Its exit.
    pub end: End,
    /// The keeper killed it for being silent.
    pub silent: bool,
    /// When, on the monotonic clock, in microseconds.
    pub ended_us: u64,
}

/// The newest incarnation of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The place.
    pub place: Place,
    /// Its newest incarnation; the first is 1.
    pub incarnation: u64,
}

/// A living child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Child {
    /// The id it was spawned under.
    pub spawn: String,
    /// Where it sits.
    pub place: Place,
    /// Counts up from 1 in each place.
    pub incarnation: u64,
    /// Process id, and process group id.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`): with PID and boot id, an identity.
    pub start_ticks: u64,
    /// When it was started, on the monotonic clock, in microseconds.
    pub started_us: u64,
    /// How it came to be ours.
    pub origin: Origin,
    /// The runtime's own words.
    pub tag: String,
}

/// How a child came to be the keeper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A runtime asked for it.
    Asked,
    /// The keeper applied its restart line while there was no runtime.
    Fallback,
    /// It outlived an earlier keeper. Its output is lost and its exit code will not be known: better replaced soon.
    Adopted,
}

/// The end of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    /// The child as it was.
    pub child: Child,
    /// How it ended.
    pub end: End,
    /// When, on the monotonic clock, in microseconds.
    pub ended_us: u64,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// It left a core dump.
        core: bool,
    },
    /// It was no child of this keeper (adopted, or gone before it could be): the kernel tells its parent alone.
    Unknown,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core: false } => write!(f, "signal {signal}"),
            Self::Signal { signal, core: true } => write!(f, "signal {signal}, core dumped"),
            Self::Unknown => write!(f, "unknown end"),
        }
    }
}

/// A request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The process runs its program, or has by now ended: an exit is told apart, and later.
    Spawned(Child),
    /// The answer that spawn got, or none that is remembered: then nothing was started under that id, or so long ago that
    /// its end was acknowledged and more than a thousand answers came after it.
    Recalled(Option<Result<Child, Box<Refusal>>>),
    /// The signal was sent.
    Signalled,
    /// Noted.
    Noted,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The program could not be started; nothing runs.
    #[error("cannot start {program}: {reason}")]
    Exec {
        /// The program.
        program: String,
        /// The system's error number, 0 if it had none.
        errno: i32,
        /// The error in words.
        reason: String,
    },
    /// Another child lives there. Two copies are never started side by side.
    #[error("{} is taken by PID {} (incarnation {})", .0.place, .0.pid, .0.incarnation)]
    Occupied(Child),
    /// No living child has this spawn id.
    #[error("no living child was spawned as {0}")]
    NoSuchChild(String),
    /// The system would not deliver the signal.
    #[error("cannot send signal {signal}: {reason}")]
    Signal {
        /// The signal's number.
        signal: i32,
        /// The error in words.
        reason: String,
    },
    /// The keeper is on its way out.
    #[error("the keeper is stopping")]
    Stopping,
    /// The request makes no sense.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The runtime speaks another version.
    #[error("the keeper speaks protocol version {0}")]
    Version(u32),
}

/// A frame that cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than the {MAX_FRAME} that are allowed")]
    TooLong(usize),
    /// Not the JSON expected.
    #[error("a frame cannot be understood")]
    Malformed(#[source] serde_json::Error),
}

/// Appends `value` as one frame to `out`; on an error `out` is as before.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let body = serde_json::to_vec(value).map_err(ProtocolError::Malformed)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let length = length.ok_or(ProtocolError::TooLong(body.len()))?;
    out.reserve(4 + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// Puts frames together from whatever pieces a socket gives.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Takes in bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 && self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are there. After an error the stream cannot be trusted any more.
    pub fn decode<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ProtocolError> {
        let waiting = self.bytes.get(self.read..).unwrap_or_default();
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(ProtocolError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            self.bytes.drain(..self.read);
            self.read = 0;
            return Ok(None);
        };
        let value = serde_json::from_slice(body).map_err(ProtocolError::Malformed)?;
        self.read += 4 + length;
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(requests: &[Request]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in requests {
            encode(request, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_survive_any_cut() {
        let requests = [
            Request { id: 1, ask: Ask::Attach { version: VERSION } },
            Request { id: 2, ask: Ask::Acknowledge { spawns: vec!["a".into(), "b".into()] } },
            Request { id: 3, ask: Ask::Beat },
        ];
        let bytes = frames(&requests);
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen: Vec<Request> = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(request) = decoder.decode().unwrap() {
                    seen.push(request);
                }
            }
            assert_eq!(seen, requests, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_on_both_sides() {
        let request = Request { id: 1, ask: Ask::Acknowledge { spawns: vec!["x".repeat(MAX_FRAME)] } };
        let mut out = vec![7];
        assert!(matches!(encode(&request, &mut out), Err(ProtocolError::TooLong(_))));
        assert_eq!(out, [7]);
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.decode::<Request>(), Err(ProtocolError::TooLong(_))));
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic() {
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 0, 0, b'n', b'o']);
        assert!(matches!(decoder.decode::<Request>(), Err(ProtocolError::Malformed(_))));
    }
}
