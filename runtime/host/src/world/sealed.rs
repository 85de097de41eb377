//! The part of WASI that one instance gets: standard output goes into the log, there are no arguments and no environment, clocks
//! stand still and randomness is derived unless the operator grants real ones, and of files and hosts there is what was granted.
//!
//! It has no sockets.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView};

use crate::bindings::heald::plugin::log::Level;
use crate::config::{Directory, Grant};
use crate::world::ambient::{Ambient, Dice, StoppedClock};
use crate::world::http::{self, Wire};
use crate::world::outgoing::Outgoing;
use crate::world::output::Lines;
use crate::world::voice::Voice;

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

/// Open files, requests, streams and the like that an instance may hold at once. Each of them is memory of the host, or a
/// descriptor of its process.
const RESOURCES: usize = 256;

/// The world that one instance sees, and what it holds of it.
pub(crate) struct Sealed {
    ctx: WasiCtx,
    http: WasiHttpCtx,
    wire: Wire,
    table: ResourceTable,
}

impl Sealed {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            ctx: WasiCtxBuilder::new().build(),
            http: http::context(),
            wire: Wire::nowhere(),
            table: ResourceTable::new(),
        }
    }

    /// A call begins, and will be over at `until`.
    pub(crate) fn open(&mut self, until: Instant) {
        self.wire.open(until);
    }

    /// Sends nothing until the next call.
    pub(crate) fn close(&mut self) {
        self.wire.close();
    }

    pub(crate) fn wasi(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }

    pub(crate) fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, hooks: &mut self.wire, table: &mut self.table }
    }
}

/// Whether each granted directory has a path of its own within the plug-in.
pub(crate) fn judge_paths(grant: &Grant) -> Result<(), DirectoryError> {
    let mut seen = BTreeSet::new();
    match grant.files.iter().flatten().find(|directory| !seen.insert(&directory.guest)) {
        Some(twice) => Err(DirectoryError::SamePath { guest: twice.guest.clone() }),
        None => Ok(()),
    }
}

/// Makes the world that one instance sees.
pub(crate) fn seal(
    grant: &Grant,
    outgoing: &Arc<Outgoing>,
    ambient: &Arc<Ambient>,
    voice: &Voice,
) -> Result<Sealed, DirectoryError> {
    let mut wasi = WasiCtxBuilder::new();
    wasi.stdout(Lines { voice: voice.clone(), level: Level::Info });
    wasi.stderr(Lines { voice: voice.clone(), level: Level::Error });
    wasi.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    if !grant.clock {
        wasi.wall_clock(StoppedClock(Arc::clone(ambient))).monotonic_clock(StoppedClock(Arc::clone(ambient)));
    }
    if !grant.random {
        wasi.secure_random(Dice(Arc::clone(ambient))).insecure_random(Dice(Arc::clone(ambient)));
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
    Ok(Sealed { ctx: wasi.build(), http: http::context(), wire: Wire::new(Arc::clone(outgoing)), table })
}
