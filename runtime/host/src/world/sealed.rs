//! The part of WASI that one instance gets. Standard output goes into the log. There are no arguments and no
//! environment. Clocks and randomness are derived from the call unless the operator grants real ones. Files and hosts
//! are those that were granted.
//!
//! There are no sockets.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use crate::bindings::heald::plugin::log::Level;
use crate::config::{Directory, Grant};
use crate::world::ambient::{Ambient, SeededRandom, StoppedClock};
use crate::world::guest_log::GuestLog;
use crate::world::http::{self, HttpGate};
use crate::world::outgoing::AllowedHosts;
use crate::world::output::OutputLog;

/// Why granted directories cannot be shown to a plug-in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A granted directory cannot be opened.
    #[error("the granted directory {path} cannot be opened")]
    Open {
        /// The directory on this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two granted directories would be seen at one path.
    #[error("two granted directories are both seen as {guest}; give them different `guest` paths")]
    SamePath {
        /// The path within the plug-in.
        guest: String,
    },
}

/// Open files, requests, streams and the like that one instance may hold. Each of them takes memory of the host, or a
/// descriptor of its process.
const RESOURCES: usize = 256;

/// The part of WASI that one instance sees, and what the instance holds of it.
pub(crate) struct SealedWasi {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    gate: HttpGate,
    table: ResourceTable,
}

impl SealedWasi {
    /// An empty part.
    pub(crate) fn empty() -> Self {
        Self {
            ctx: WasiCtxBuilder::new().build(),
            http: http::context(),
            gate: HttpGate::nowhere(),
            table: ResourceTable::new(),
        }
    }

    /// Begins a call, which ends at `until`.
    pub(crate) fn open(&mut self, until: Instant) {
        self.gate.open(until);
    }

    /// Ends the call: nothing is sent until the next one.
    pub(crate) fn close(&mut self) {
        self.gate.close();
    }

    pub(crate) fn wasi(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    pub(crate) fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, hooks: &mut self.gate, table: &mut self.table }
    }
}

/// Refuses two granted directories at one path within the plug-in.
pub(crate) fn judge_paths(grant: &Grant) -> Result<(), DirectoryError> {
    let mut seen = BTreeSet::new();
    match grant.files.iter().flatten().find(|directory| !seen.insert(&directory.guest)) {
        Some(twice) => Err(DirectoryError::SamePath { guest: twice.guest.clone() }),
        None => Ok(()),
    }
}

/// Makes the part of WASI that one instance sees.
pub(crate) fn seal(
    grant: &Grant,
    outgoing: &Arc<AllowedHosts>,
    ambient: &Arc<Ambient>,
    log: &GuestLog,
) -> Result<SealedWasi, DirectoryError> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(OutputLog { log: log.clone(), level: Level::Info });
    wasi.stderr(OutputLog { log: log.clone(), level: Level::Error });
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    if !grant.clock {
        wasi.wall_clock(StoppedClock(Arc::clone(ambient))).monotonic_clock(StoppedClock(Arc::clone(ambient)));
    }
    if !grant.random {
        wasi.secure_random(SeededRandom(Arc::clone(ambient))).insecure_random(SeededRandom(Arc::clone(ambient)));
        wasi.insecure_random_seed(0);
    }
    for directory in grant.files.iter().flatten() {
        let Directory { host, guest, write } = directory;
        let perms = if *write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(host, guest, perms)
            .map_err(|source| DirectoryError::Open { path: host.clone(), source: source.into() })?;
    }
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES);
    Ok(SealedWasi { ctx: wasi.build(), http: http::context(), gate: HttpGate::new(Arc::clone(outgoing)), table })
}
