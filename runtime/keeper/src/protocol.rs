//! The protocol between keeper and runtime: plain data, and the framing that carries it over a stream socket.
//!
//! Each frame is a length (four bytes, little endian) and one JSON value. It is a stream and not packets, because the
//! first [`Hello`] names every child and would outgrow a socket's largest packet with a few hundred of them. This module
//! opens no socket and reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of this protocol. Keeper and runtime are the same image, but an upgraded runtime can meet the keeper of
/// the release before. It attaches with its version and is refused by name, not by a parse error.
pub const VERSION: u32 = 2;

/// The largest frame that either side accepts. A [`Hello`] with ten thousand children takes about 4 MiB; more is an
/// error.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;

/// The longest [`SpawnRequest::tag`]. It is kept for every child, in memory and in the ledger.
pub const MAX_TAG: usize = 4096;

/// The environment variable with the spawn id, which every supervised process carries. It finds a survivor whose keeper
/// died between starting it and recording it.
pub const SPAWN_VARIABLE: &str = "HEALD_SPAWN";

/// The id of a slot for a process. At most one child lives in a slot at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotId {
    /// The service.
    pub service: String,
    /// The replica, from 0.
    pub replica: u32,
}

impl std::fmt::Display for SlotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.replica)
    }
}

/// A request of the runtime to the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeRequest {
    /// The runtime chooses it, and the answer repeats it.
    pub id: u64,
    /// The command.
    pub ask: KeeperCommand,
}

/// What a runtime can ask of the keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperCommand {
    /// The runtime takes over. The answer is a [`Hello`]; before it, the keeper sends nothing.
    Attach {
        /// The [`VERSION`] of the runtime.
        version: u32,
    },
    /// The runtime is alive. The answer says that the keeper is, too.
    Beat,
    /// Start a process.
    Spawn(Box<SpawnRequest>),
    /// Asks what a spawn request was answered. It serves intents on record whose effect is not known.
    Recall {
        /// The spawn id.
        spawn: String,
    },
    /// Signal a child.
    Signal(SignalRequest),
    /// These exits are on record, so the keeper may forget them.
    Acknowledge {
        /// The spawn ids of the ended children.
        spawns: Vec<String>,
    },
    /// From now on this is what is not started again while there is no runtime. It replaces what was said before.
    HoldRestarts(RestartHold),
    /// The runtime is about to do something that may end it, such as taking a plug-in back into use after safe mode; `None`
    /// once that went well. If the runtime ends meanwhile, the next ones are told in [`Hello::suspects`].
    Trying {
        /// The name of what is tried.
        what: Option<String>,
    },
    /// The runtime is about to exit and must not be started again.
    Shutdown {
        /// Leave the children running for the next keeper, which adopts them without their output. Otherwise they are
        /// stopped.
        leave_children: bool,
    },
}

/// A process to start. The same spawn id again gets the first answer again and starts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpawnRequest {
    /// The id of the intent. A request that is repeated after a crash means the same process.
    pub spawn: String,
    /// The slot of the process; `place` on the wire. The request is refused while another child lives there.
    #[serde(rename = "place")]
    pub slot: SlotId,
    /// Program and arguments. A program without a slash is looked up in `env`'s `PATH`.
    pub command: Vec<String>,
    /// The whole environment: the child sees this, [`SPAWN_VARIABLE`] and nothing else.
    pub env: BTreeMap<String, String>,
    /// Working directory; the keeper's own if absent.
    pub cwd: Option<PathBuf>,
    /// User and group to run as; the keeper's own if absent.
    pub user: Option<User>,
    /// Where the output goes; it is discarded if absent.
    pub log: Option<Log>,
    /// What to do if the process ends while there is no runtime.
    pub fallback: Fallback,
    /// How the process is stopped when the keeper itself ends.
    pub stop: StopSettings,
    /// Data of the runtime that is returned with the child.
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

/// What the keeper does about an ended child while there is no runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// When an ended child is started again.
    pub restart: FallbackRestart,
    /// Exit codes that count as success for [`FallbackRestart::OnFailure`]. 0 need not be named.
    pub success_codes: Vec<i32>,
    /// The first pause before a restart. It doubles with every start that did not last.
    pub backoff_ms: u64,
}

/// What the keeper does not start again while there is no runtime, whatever the fallback of a child says. The keeper
/// writes it down, so its own restart does not end it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartHold {
    /// All healing is halted: nothing is started again. The next runtime is told.
    pub halted: bool,
    /// These services are not started again, because an operator paused or stopped them.
    pub services: BTreeSet<String>,
}

impl RestartHold {
    /// Whether an ended child of this service stays as it is.
    pub fn covers(&self, service: &str) -> bool {
        self.halted || self.services.contains(service)
    }
}

/// When an ended child is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallbackRestart {
    /// After every end.
    Always,
    /// After a signal or an exit code that is no success.
    OnFailure,
    /// Never.
    Never,
}

/// How a child is stopped: the stop signal, then continue, then kill after the grace. It always concerns the whole
/// process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSettings {
    /// The number of the stop signal.
    pub signal: i32,
    /// The grace: how long after the stop signal the group is killed.
    pub grace_ms: u64,
}

/// A signal for one child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// The spawn id of the child. Unlike a PID it names one process for ever.
    pub spawn: String,
    /// The signal's number.
    pub signal: i32,
    /// True for the whole process group, false for its leader alone.
    pub group: bool,
    /// The child is meant to end, so its fallback no longer applies.
    pub retire: bool,
}

/// A message of the keeper to the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperMessage {
    /// The answer to [`KeeperCommand::Attach`].
    Hello(Box<Hello>),
    /// The answer to any other request.
    Answer {
        /// The request's id.
        id: u64,
        /// The result.
        answer: Result<KeeperReply, KeeperRefusal>,
    },
    /// A child has ended, and so has the rest of its process group.
    Exited(Exit),
    /// A notice for the operator that no request asked for.
    Notice {
        /// The notice in words.
        text: String,
    },
}

/// Everything that a runtime needs to take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The [`VERSION`] of the keeper.
    pub version: u32,
    /// The kernel's boot id. The PIDs, start times and monotonic times below belong to this boot.
    pub boot: String,
    /// The keeper's PID.
    pub keeper: u32,
    /// How many runtimes the keeper has started, this one included.
    pub runtime_starts: u64,
    /// Safe mode, if the runtime is to begin with native rules only.
    pub safe_mode: Option<SafeMode>,
    /// What earlier runtimes [tried](KeeperCommand::Trying) when they died. What went well later is not in it.
    pub suspects: BTreeSet<String>,
    /// Whether all healing was halted when a runtime last said so.
    pub halted: bool,
    /// How the previous runtime ended, if there was one.
    pub previous: Option<RuntimeEnd>,
    /// All living children.
    pub children: Vec<Child>,
    /// The exits that are not acknowledged, oldest first.
    pub exits: Vec<Exit>,
    /// How many exits were dropped before they were acknowledged.
    pub exits_dropped: u64,
    /// The newest incarnation of each slot, empty slots included.
    pub incarnations: Vec<IncarnationCount>,
}

/// Safe mode: the runtime died repeatedly, so the next one begins with native rules only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafeMode {
    /// Why it began.
    pub why: String,
    /// When it ends if no runtime dies meanwhile, on the monotonic clock, in microseconds.
    pub until_us: u64,
    /// The how manieth in a row it is, from 1. Each lasts twice as long as the one before.
    pub times: u32,
}

/// How a runtime ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeEnd {
    /// How it ended.
    pub end: End,
    /// The keeper killed it for its silence.
    pub silent: bool,
    /// When it ended, on the monotonic clock, in microseconds.
    pub ended_us: u64,
}

/// The newest incarnation of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncarnationCount {
    /// The slot; `place` on the wire.
    #[serde(rename = "place")]
    pub slot: SlotId,
    /// Its newest incarnation; the first is 1.
    pub incarnation: u64,
}

/// A living child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Child {
    /// The id it was spawned under.
    pub spawn: String,
    /// The slot; `place` on the wire.
    #[serde(rename = "place")]
    pub slot: SlotId,
    /// The incarnation of the slot, from 1.
    pub incarnation: u64,
    /// Process id, and process group id.
    pub pid: u32,
    /// The start time in clock ticks since boot (`/proc/PID/stat`). Together with PID and boot id it identifies the
    /// process.
    pub start_ticks: u64,
    /// When the child was started, on the monotonic clock, in microseconds.
    pub started_us: u64,
    /// Why the keeper has the child.
    pub origin: ChildOrigin,
    /// The tag of the request.
    pub tag: String,
}

/// Why the keeper has a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildOrigin {
    /// A runtime asked for it.
    Asked,
    /// The keeper applied the fallback while there was no runtime.
    Fallback,
    /// The child survived an earlier keeper. Its output is lost and its exit code will not be known, so it should be
    /// replaced soon.
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
    /// When it ended, on the monotonic clock, in microseconds.
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
    /// The end is not known: the process was no child of this keeper, and the kernel tells only the parent.
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

/// The result of a request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeeperReply {
    /// The process was started. It may have ended by now; its exit is reported separately and later.
    Spawned(Child),
    /// What the spawn request was answered, or `None` if no answer is remembered. Then nothing was started under that
    /// id, or its exit was acknowledged and more than a thousand answers came after it.
    Recalled(Option<Result<Child, Box<KeeperRefusal>>>),
    /// The signal was sent.
    Signalled,
    /// The request was noted.
    Noted,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum KeeperRefusal {
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
    /// Another child lives in the slot. Two children never run side by side in a slot.
    #[error("slot {} is taken by PID {} (incarnation {})", .0.slot, .0.pid, .0.incarnation)]
    Occupied(Child),
    /// No living child has this spawn id.
    #[error("no living child has the spawn id {0}")]
    NoSuchChild(String),
    /// The system did not deliver the signal.
    #[error("cannot send signal {signal}: {reason}")]
    Signal {
        /// The signal's number.
        signal: i32,
        /// The error in words.
        reason: String,
    },
    /// The keeper is stopping.
    #[error("the keeper is stopping")]
    Stopping,
    /// The request is invalid.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The runtime speaks another version.
    #[error("the keeper speaks protocol version {0}")]
    Version(u32),
}

/// Why a frame cannot be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The frame is longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is longer than the allowed {MAX_FRAME}")]
    TooLong(usize),
    /// The frame is not the expected JSON.
    #[error("a frame is not the expected JSON")]
    Malformed(#[source] serde_json::Error),
}

/// Appends `value` as one frame to `out`. After an error `out` is as before.
pub fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    let body = serde_json::to_vec(value).map_err(ProtocolError::Malformed)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let length = length.ok_or(ProtocolError::TooLong(body.len()))?;
    out.reserve(4 + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// Puts frames together from pieces of a stream.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 && self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes arrive. After an error the stream cannot be used any more.
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

    fn frames(requests: &[RuntimeRequest]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for request in requests {
            encode(request, &mut bytes).unwrap();
        }
        bytes
    }

    #[test]
    fn frames_survive_any_cut() {
        let requests = [
            RuntimeRequest { id: 1, ask: KeeperCommand::Attach { version: VERSION } },
            RuntimeRequest { id: 2, ask: KeeperCommand::Acknowledge { spawns: vec!["a".into(), "b".into()] } },
            RuntimeRequest { id: 3, ask: KeeperCommand::Beat },
        ];
        let bytes = frames(&requests);
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut seen: Vec<RuntimeRequest> = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(request) = decoder.decode().unwrap() {
                    seen.push(request);
                }
            }
            assert_eq!(seen, requests, "cut every {cut} bytes");
        }
    }

    /// An upgraded runtime can meet the keeper of the release before, so the names on the wire must not change.
    #[test]
    fn names_on_the_wire_stay() {
        let slot = SlotId { service: "web".into(), replica: 1 };
        let child = Child {
            spawn: "s".into(),
            slot: slot.clone(),
            incarnation: 2,
            pid: 3,
            start_ticks: 4,
            started_us: 5,
            origin: ChildOrigin::Asked,
            tag: String::new(),
        };
        let spawned = KeeperMessage::Answer { id: 1, answer: Ok(KeeperReply::Spawned(child)) };
        assert_eq!(
            serde_json::to_string(&spawned).unwrap(),
            r#"{"answer":{"id":1,"answer":{"Ok":{"spawned":{"spawn":"s","place":{"service":"web","replica":1},"incarnation":2,"pid":3,"start_ticks":4,"started_us":5,"origin":"asked","tag":""}}}}}"#
        );
        let signal = SignalRequest { spawn: "s".into(), signal: 15, group: true, retire: false };
        assert_eq!(
            serde_json::to_string(&RuntimeRequest { id: 7, ask: KeeperCommand::Signal(signal) }).unwrap(),
            r#"{"id":7,"ask":{"signal":{"spawn":"s","signal":15,"group":true,"retire":false}}}"#
        );
        let hold = RestartHold { halted: true, services: BTreeSet::from(["web".into()]) };
        assert_eq!(
            serde_json::to_string(&RuntimeRequest { id: 8, ask: KeeperCommand::HoldRestarts(hold) }).unwrap(),
            r#"{"id":8,"ask":{"hold_restarts":{"halted":true,"services":["web"]}}}"#
        );
        assert_eq!(
            serde_json::to_string(&IncarnationCount { slot, incarnation: 9 }).unwrap(),
            r#"{"place":{"service":"web","replica":1},"incarnation":9}"#
        );
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_on_both_sides() {
        let request = RuntimeRequest { id: 1, ask: KeeperCommand::Acknowledge { spawns: vec!["x".repeat(MAX_FRAME)] } };
        let mut out = vec![7];
        assert!(matches!(encode(&request, &mut out), Err(ProtocolError::TooLong(_))));
        assert_eq!(out, [7]);
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.decode::<RuntimeRequest>(), Err(ProtocolError::TooLong(_))));
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic() {
        let mut decoder = Decoder::default();
        decoder.push(&[2, 0, 0, 0, b'n', b'o']);
        assert!(matches!(decoder.decode::<RuntimeRequest>(), Err(ProtocolError::Malformed(_))));
    }
}
