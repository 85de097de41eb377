//! WASI as a plug-in gets it: sealed. Standard output goes into the log, there are no arguments and no environment, clocks
//! stand still and dice are loaded unless the operator grants real ones, and of files and hosts there is what was granted.
//!
//! Sockets are never linked.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use heald_model::Moment;
use rand::TryRng;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::heald::plugin::log::Level;
use crate::config::{Directory, Grant};
use crate::error::HostError;
use crate::world::context::Context;
use crate::world::http::{self, Outgoing, Wire};
use crate::world::leash::Capability;
use crate::world::voice::Voice;

/// Open files, requests, streams and the like that an instance may hold at once. Each of them is memory of the host, or a
/// descriptor of its process.
const RESOURCES: usize = 256;

/// The `now` and the `seed` of the call under way, for clocks and dice that the operator did not grant.
#[derive(Default)]
pub(crate) struct Ambient {
    now: AtomicU64,
    dice: AtomicU64,
}

impl Ambient {
    pub(crate) fn set(&self, now: Moment, seed: u64) {
        self.now.store(now.nanos(), Ordering::Relaxed);
        self.dice.store(seed, Ordering::Relaxed);
    }

    /// SplitMix64: small, good enough to be no one's secret, and the same for the same seed.
    fn roll(&self) -> u64 {
        let state = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

struct StoppedClock(Arc<Ambient>);

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.now.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for StoppedClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }
}

struct Dice(Arc<Ambient>);

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The high half is the better one.
        Ok(u32::try_from(self.0.roll() >> 32).unwrap_or_default())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.roll())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let roll = self.0.roll().to_le_bytes();
            chunk.copy_from_slice(roll.get(..chunk.len()).unwrap_or(&roll));
        }
        Ok(())
    }
}

/// A guest's standard output or error, line by line into its voice.
#[derive(Clone)]
struct Lines {
    voice: Voice,
    level: Level,
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter::new(self.clone()))
    }

    // The default would write from a task of its own: too late for a guest's last words.
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LineWriter::new(self.clone()))
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

struct LineWriter {
    lines: Lines,
    partial: Vec<u8>,
}

/// The longest line that is waited for; what is longer is two.
const LONGEST_LINE: usize = 4_096;

impl LineWriter {
    fn new(lines: Lines) -> Self {
        Self { lines, partial: Vec::new() }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || self.partial.len() >= LONGEST_LINE {
                self.end_line();
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial);
        if !line.trim().is_empty() {
            self.lines.voice.printed(self.lines.level, &line);
        }
        self.partial.clear();
    }
}

#[async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take_in(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LONGEST_LINE)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.take_in(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.end_line();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.end_line();
    }
}

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

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.sealed().wasi()
    }
}

impl WasiHttpView for Context {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        // Asked at every use of the interface, so that a grant that is taken back is gone for the very next request.
        let held = self.holds(Capability::Http);
        let sealed = self.sealed();
        if !held {
            sealed.close();
        }
        sealed.http()
    }
}

/// Makes the world that one instance sees.
pub(crate) fn seal(
    grant: &Grant,
    outgoing: &Arc<Outgoing>,
    ambient: &Arc<Ambient>,
    voice: &Voice,
) -> Result<Sealed, HostError> {
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
            .map_err(|source| HostError::Directory { path: host.clone(), source: source.into() })?;
    }
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES);
    Ok(Sealed { ctx: wasi.build(), http: http::context(), wire: Wire::new(Arc::clone(outgoing)), table })
}

/// Links what every WASI guest may have, and files and requests if they are granted. Which of it a component imports was checked before.
pub(crate) fn link(linker: &mut Linker<Context>, grant: &Grant) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, |context| context.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |context| context.ctx().ctx.random())?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, Context::cli)?;
    if grant.files.is_some() {
        filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, Context::filesystem)?;
        filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, Context::filesystem)?;
    }
    if grant.http.is_some() {
        http::link(linker)?;
    }
    Ok(())
}
