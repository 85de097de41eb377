//! The processes of the service that a call is about: guests look at them in every call, and touch them in `perform`
//! and `undo`.
//!
//! A plug-in names no service: it reaches the processes of the one it was called for, through what the daemon gave the
//! host. It refuses to scale, which heald's supervisor cannot do; `reload` is the signal HUP.

use std::sync::Arc;

use heald_model::ProcessState;
use heald_model::ServiceName;
use serde_json::{Value, json};
use wasmtime::Result;

use crate::bindings::heald::plugin::process::{self, Child};
use crate::bindings::heald::plugin::process_control;
use crate::bindings::heald::plugin::types::Error;
use crate::text;
use crate::world::capability::Capability;
use crate::world::context::Context;
use crate::world::processes::{Touch, TouchError};
use crate::world::recorder::Recordable;

/// Processes that are shown of one service.
const CHILDREN: usize = 256;
/// Bytes of a replica's name, and of a signal's: the longest is `SIGVTALRM`.
const REPLICA: usize = 128;
const SIGNAL: usize = 16;
/// Bytes of the reason why a process was not touched.
const WORDS: usize = 512;

impl process::Host for Context {
    fn children(&mut self) -> Result<Result<Vec<Child>, Error>> {
        self.called(0)?;
        self.answer("process.children", || Value::Null, Self::list_children)
    }
}

impl Context {
    fn list_children(&self) -> Result<Vec<Child>, Error> {
        let call = self.call_with(Capability::Process)?;
        let processes = self.access.processes.processes.as_ref().ok_or_else(nobody)?;
        let children = processes.of(&call.service).into_iter().take(CHILDREN);
        Ok(children.map(|state| child(state, call.ready)).collect())
    }

    /// What touches processes, and the service they belong to.
    fn control(&self) -> Result<(Arc<dyn Touch>, ServiceName), Error> {
        // This comes first, so that `evaluate` and `decide` get the same answer whatever is granted.
        if !self.call().is_some_and(|call| call.touch) {
            return Err(Error::Denied("processes are touched within `perform` and `undo` only".to_owned()));
        }
        let call = self.call_with(Capability::ProcessControl)?;
        let control = self.access.processes.control.as_ref().ok_or_else(nobody)?;
        Ok((Arc::clone(control), call.service.clone()))
    }

    async fn touch(&mut self, order: ProcessOrder, replica: Option<String>) -> Result<Result<(), Error>> {
        let name = if let ProcessOrder::Signal(name) = &order { name.len() } else { 0 };
        self.called(replica.as_ref().map_or(0, String::len) + name)?;
        let judged = judge(&order, replica.as_deref()).and_then(|()| self.control());
        let (control, service) = match judged {
            Ok(judged) => judged,
            Err(error) => return Ok(Err(error)),
        };
        // A task of its own finishes the order: a guest that is stopped meanwhile must not leave a service stopped that
        // was to be restarted.
        let work = tokio::spawn(async move {
            let replica = replica.as_deref();
            match &order {
                ProcessOrder::Start => control.start(&service, replica).await,
                ProcessOrder::Stop => control.stop(&service, replica).await,
                ProcessOrder::Restart => control.restart(&service, replica).await,
                ProcessOrder::Signal(name) => control.signal(&service, replica, name).await,
            }
        });
        let done = work.await.map_err(|_| Error::Unavailable("heald is shutting down".to_owned()));
        Ok(done.and_then(|done| done.map_err(Error::from)))
    }
}

enum ProcessOrder {
    Start,
    Stop,
    Restart,
    Signal(String),
}

fn judge(order: &ProcessOrder, replica: Option<&str>) -> Result<(), Error> {
    if replica.is_some_and(|replica| replica.len() > REPLICA) {
        return Err(Error::NotFound(format!("no replica has a name of more than {REPLICA} bytes")));
    }
    match order {
        ProcessOrder::Signal(name) if name.starts_with("SIG") => {
            Err(Error::BadInput("signals are named without SIG: `HUP`".to_owned()))
        }
        ProcessOrder::Signal(name) if name.is_empty() || name.len() > SIGNAL => {
            Err(Error::BadInput("that is no name of a signal; `HUP` is one".to_owned()))
        }
        _ => Ok(()),
    }
}

fn nobody() -> Error {
    Error::Unavailable("this heald runs no processes".to_owned())
}

impl From<TouchError> for Error {
    fn from(error: TouchError) -> Self {
        match error {
            TouchError::NotFound(text) => Self::NotFound(text::clean(&text, WORDS)),
            TouchError::BadInput(text) => Self::BadInput(text::clean(&text, WORDS)),
            TouchError::Failed(text) => Self::Other(text::clean(&text, WORDS)),
        }
    }
}

/// `ready` says whether every running copy of the service is ready.
fn child(state: ProcessState, ready: bool) -> Child {
    let running = state.pid.is_some() && state.ended.is_none();
    Child {
        replica: state.replica.as_str().to_owned(),
        pid: state.pid.unwrap_or_default(),
        running,
        ready: running && ready,
        started: state.started.nanos(),
        restarts: u32::try_from(state.incarnation.saturating_sub(1)).unwrap_or(u32::MAX),
        // The supervisor says that it ended, not how.
        status: None,
    }
}

impl process_control::Host for Context {
    async fn start(&mut self, replica: Option<String>) -> Result<Result<(), Error>> {
        self.touch(ProcessOrder::Start, replica).await
    }

    async fn stop(&mut self, replica: Option<String>) -> Result<Result<(), Error>> {
        self.touch(ProcessOrder::Stop, replica).await
    }

    async fn restart(&mut self, replica: Option<String>) -> Result<Result<(), Error>> {
        self.touch(ProcessOrder::Restart, replica).await
    }

    async fn reload(&mut self, replica: Option<String>) -> Result<Result<(), Error>> {
        self.touch(ProcessOrder::Signal("HUP".to_owned()), replica).await
    }

    async fn signal(&mut self, replica: Option<String>, name: String) -> Result<Result<(), Error>> {
        self.touch(ProcessOrder::Signal(name), replica).await
    }

    async fn scale(&mut self, _: u32) -> Result<Result<(), Error>> {
        self.called(0)?;
        Ok(Err(match self.control() {
            Ok(_) => Error::Unsupported("heald's supervisor does not scale".to_owned()),
            Err(error) => error,
        }))
    }
}

impl Recordable for Vec<Child> {
    fn to_record(&self) -> Value {
        let to_record = |child: &Child| {
            json!({
                "replica": child.replica, "pid": child.pid, "running": child.running, "ready": child.ready,
                "started": child.started, "restarts": child.restarts, "status": child.status,
            })
        };
        self.iter().map(to_record).collect()
    }

    fn from_record(recorded: &Value) -> Option<Self> {
        let number = |child: &Value, name: &str| child.get(name).and_then(Value::as_u64);
        let from_record = |child: &Value| {
            let status = child.get("status")?;
            Some(Child {
                replica: child.get("replica")?.as_str()?.to_owned(),
                pid: u32::try_from(number(child, "pid")?).ok()?,
                running: child.get("running")?.as_bool()?,
                ready: child.get("ready")?.as_bool()?,
                started: number(child, "started")?,
                restarts: u32::try_from(number(child, "restarts")?).ok()?,
                status: if status.is_null() { None } else { Some(i32::try_from(status.as_i64()?).ok()?) },
            })
        };
        recorded.as_array()?.iter().map(from_record).collect()
    }
}

#[cfg(test)]
mod tests {
    use heald_model::Moment;

    use super::*;

    fn state(pid: Option<u32>) -> ProcessState {
        let started = Moment::from_millis(7);
        let ended = if pid.is_some() { None } else { Some(started) };
        ProcessState { replica: "0".into(), incarnation: 3, pid, started, ended, finished: false }
    }

    #[test]
    fn a_child_is_ready_only_if_it_runs() {
        let running = child(state(Some(12)), true);
        assert_eq!((running.pid, running.running, running.ready, running.restarts), (12, true, true, 2));
        let ended = child(state(None), true);
        assert_eq!((ended.pid, ended.running, ended.ready), (0, false, false));
    }

    #[test]
    fn children_survive_a_record() {
        let children = vec![child(state(Some(12)), true), Child { status: Some(-9), ..child(state(None), false) }];
        let recorded = children.to_record();
        assert_eq!(Vec::<Child>::from_record(&recorded).unwrap().to_record(), recorded);
        assert!(Vec::<Child>::from_record(&json!([{"replica": "0"}])).is_none());
    }

    #[test]
    fn signals_are_named_without_sig() {
        let judge = |name: &str| judge(&ProcessOrder::Signal(name.to_owned()), None);
        assert!(judge("HUP").is_ok());
        assert!(matches!(judge("SIGHUP"), Err(Error::BadInput(_))));
        assert!(matches!(judge(""), Err(Error::BadInput(_))));
    }
}
