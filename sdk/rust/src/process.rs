//! The processes of the service that a call is about. With the cargo features `process`, to look at them, and `process-control`, to
//! touch them.
//!
//! ```
//! use heald_plugin::process;
//!
//! # fn call() -> Result<(), heald_plugin::Error> {
//! let restless = process::children()?.iter().any(|child| child.restarts > 5);
//! # Ok(())
//! # }
//! # call().unwrap();
//! ```
//!
//! A plug-in that uses this says so (`capabilities: &["log", "process"]`, `"process-control"`) and has to be granted it:
//! `grant = { process = true, process_control = true }`. No plug-in sees the processes of another service than the one it is asked
//! about. Under a native test, [`testing::double`](crate::testing::double) says what there is, and writes down what was ordered.

#[cfg(feature = "process")]
mod look {
    pub use crate::bindings::capabilities::heald::plugin::process::Child;

    /// The processes of the service this call is about; none if heald does not run it. `pid` is 0 while it does not run, and
    /// `ready` is true only if every running copy of the service is. How a process ended heald does not tell yet: `status` is
    /// none.
    ///
    /// # Errors
    /// `denied` in `configure` and `describe` and once the grant is revoked, `unavailable` in a heald that runs no processes.
    pub fn children() -> Result<Vec<Child>, crate::Error> {
        #[cfg(target_family = "wasm")]
        return crate::bindings::capabilities::heald::plugin::process::children();
        #[cfg(not(target_family = "wasm"))]
        return crate::testing::double::process::children();
    }
}

#[cfg(feature = "process")]
pub use look::{Child, children};

/// Orders to them: within `perform` and `undo`, else `denied`. Replica none: all of them. An order that was given is carried out even
/// if the call ends meanwhile.
#[cfg(feature = "process-control")]
pub mod control {
    use crate::Error;
    #[cfg(target_family = "wasm")]
    use crate::bindings::capabilities::heald::plugin::process_control as host;
    #[cfg(not(target_family = "wasm"))]
    use crate::testing::double::process_control as host;

    /// Starts what does not run.
    pub fn start(replica: Option<&str>) -> Result<(), Error> {
        host::start(replica)
    }

    /// Stops it: TERM, and KILL after the service's grace period.
    pub fn stop(replica: Option<&str>) -> Result<(), Error> {
        host::stop(replica)
    }

    /// Stops and starts it.
    pub fn restart(replica: Option<&str>) -> Result<(), Error> {
        host::restart(replica)
    }

    /// Has it read its configuration anew, which is the signal `HUP`.
    pub fn reload(replica: Option<&str>) -> Result<(), Error> {
        host::reload(replica)
    }

    /// Sends a signal by its name without SIG: `USR1`.
    pub fn signal(replica: Option<&str>, name: &str) -> Result<(), Error> {
        host::signal(replica, name)
    }

    /// Has so many copies run. heald's own supervisor answers `unsupported`.
    pub fn scale(wanted: u32) -> Result<(), Error> {
        host::scale(wanted)
    }
}
