//! The processes of the service that a call is about: to look at, and, within `perform` and `undo`, to touch.
//!
//! A plug-in names no service: it sees and touches those of the one it was called for, through what the daemon gave the host for
//! that. It refuses to scale, which heald's supervisor does not do; `reload` is the signal HUP.

use std::sync::Arc;

use heald_engine::ports::ProcessState;
use heald_model::ServiceName;
use serde_json::{Value, json};
use wasmtime::Result;

use crate::bindings::heald::plugin::process::{self, Child};
use crate::bindings::heald::plugin::process_control;
use crate::bindings::heald::plugin::types::Error as Said;
use crate::text;
use crate::world::capability::Capability;
use crate::world::context::Context;
use crate::world::heard::Tell;
use crate::world::processes::{Touch, TouchError};

/// Processes that are shown of one service.
const CHILDREN: usize = 256;
/// Characters of a replica's name, and of a signal's: the longest is `SIGVTALRM`.
const REPLICA: usize = 128;
const SIGNAL: usize = 16;
/// Characters of what is said about a process that was not touched.
const WORDS: usize = 512;

impl process::Host for Context {
    fn children(&mut self) -> Result<Result<Vec<Child>, Said>> {
        self.called(0)?;
        self.hear("process.children", || Value::Null, Self::look)
    }
}

impl Context {
    fn look(&self) -> Result<Vec<Child>, Said> {
        let call = self.call_with(Capability::Process)?;
        let processes = self.premises.reach.processes.as_ref().ok_or_else(nobody)?;
        let children = processes.of(&call.service).into_iter().take(CHILDREN);
        Ok(children.map(|state| child(state, call.ready)).collect())
    }

    /// Who does the touching, and whose processes.
    fn hand(&self) -> Result<(Arc<dyn Touch>, ServiceName), Said> {
        // First, so that the answer in `evaluate` and `decide` is the same whatever is granted.
        if !self.call().is_some_and(|call| call.touch) {
            return Err(Said::Denied("processes are touched within `perform` and `undo` only".to_owned()));
        }
        let call = self.call_with(Capability::ProcessControl)?;
        let control = self.premises.reach.control.as_ref().ok_or_else(nobody)?;
        Ok((Arc::clone(control), call.service.clone()))
    }

    async fn touch(&mut self, order: Order, replica: Option<String>) -> Result<Result<(), Said>> {
        let name = if let Order::Signal(name) = &order { name.len() } else { 0 };
        self.called(replica.as_ref().map_or(0, String::len) + name)?;
        let hand = judge(&order, replica.as_deref()).and_then(|()| self.hand());
        let (control, service) = match hand {
            Ok(hand) => hand,
            Err(said) => return Ok(Err(said)),
        };
        // In a task of its own, to be seen through: a guest that is stopped meanwhile must not leave a service stopped that was
        // to be restarted.
        let deed = tokio::spawn(async move {
            let replica = replica.as_deref();
            match &order {
                Order::Start => control.start(&service, replica).await,
                Order::Stop => control.stop(&service, replica).await,
                Order::Restart => control.restart(&service, replica).await,
                Order::Signal(name) => control.signal(&service, replica, name).await,
            }
        });
        let done = deed.await.map_err(|_| Said::Unavailable("heald is shutting down".to_owned()));
        Ok(done.and_then(|done| done.map_err(Said::from)))
    }
}

enum Order {
    Start,
    Stop,
    Restart,
    Signal(String),
}

fn judge(order: &Order, replica: Option<&str>) -> Result<(), Said> {
    if replica.is_some_and(|replica| replica.len() > REPLICA) {
        return Err(Said::NotFound(format!("no replica has a name of more than {REPLICA} bytes")));
    }
    match order {
        Order::Signal(name) if name.starts_with("SIG") => {
            Err(Said::BadInput("signals are named without SIG: `HUP`".to_owned()))
        }
        Order::Signal(name) if name.is_empty() || name.len() > SIGNAL => {
            Err(Said::BadInput("that is no name of a signal; `HUP` is one".to_owned()))
        }
        _ => Ok(()),
    }
}

fn nobody() -> Said {
    Said::Unavailable("this heald runs no processes".to_owned())
}

impl From<TouchError> for Said {
    fn from(error: TouchError) -> Self {
        match error {
            TouchError::NotFound(text) => Self::NotFound(text::clean(&text, WORDS)),
            TouchError::BadInput(text) => Self::BadInput(text::clean(&text, WORDS)),
            TouchError::Failed(text) => Self::Other(text::clean(&text, WORDS)),
        }
    }
}

/// `ready`: every running copy of the service is.
fn child(state: ProcessState, ready: bool) -> Child {
    let running = state.pid.is_some() && state.ended.is_none();
    Child {
        replica: state.replica.as_str().to_owned(),
        pid: state.pid.unwrap_or_default(),
        running,
        ready: running && ready,
        started: state.started.nanos(),
        restarts: u32::try_from(state.incarnation.saturating_sub(1)).unwrap_or(u32::MAX),
        // The supervisor tells that it ended, not how.
        status: None,
    }
}

impl process_control::Host for Context {
    async fn start(&mut self, replica: Option<String>) -> Result<Result<(), Said>> {
        self.touch(Order::Start, replica).await
    }

    async fn stop(&mut self, replica: Option<String>) -> Result<Result<(), Said>> {
        self.touch(Order::Stop, replica).await
    }

    async fn restart(&mut self, replica: Option<String>) -> Result<Result<(), Said>> {
        self.touch(Order::Restart, replica).await
    }

    async fn reload(&mut self, replica: Option<String>) -> Result<Result<(), Said>> {
        self.touch(Order::Signal("HUP".to_owned()), replica).await
    }

    async fn signal(&mut self, replica: Option<String>, name: String) -> Result<Result<(), Said>> {
        self.touch(Order::Signal(name), replica).await
    }

    async fn scale(&mut self, _: u32) -> Result<Result<(), Said>> {
        self.called(0)?;
        Ok(Err(match self.hand() {
            Ok(_) => Said::Unsupported("heald's supervisor does not scale".to_owned()),
            Err(said) => said,
        }))
    }
}

impl Tell for Vec<Child> {
    fn tell(&self) -> Value {
        let tell = |child: &Child| {
            json!({
                "replica": child.replica, "pid": child.pid, "running": child.running, "ready": child.ready,
                "started": child.started, "restarts": child.restarts, "status": child.status,
            })
        };
        self.iter().map(tell).collect()
    }

    fn hear(told: &Value) -> Option<Self> {
        let number = |child: &Value, name: &str| child.get(name).and_then(Value::as_u64);
        let hear = |child: &Value| {
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
        told.as_array()?.iter().map(hear).collect()
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
        let told = children.tell();
        assert_eq!(Vec::<Child>::hear(&told).unwrap().tell(), told);
        assert!(Vec::<Child>::hear(&json!([{"replica": "0"}])).is_none());
    }

    #[test]
    fn signals_are_named_without_sig() {
        let judge = |name: &str| judge(&Order::Signal(name.to_owned()), None);
        assert!(judge("HUP").is_ok());
        assert!(matches!(judge("SIGHUP"), Err(Said::BadInput(_))));
        assert!(matches!(judge(""), Err(Said::BadInput(_))));
    }
}
