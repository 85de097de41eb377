//! Links WASI, and shows each instance its own part of it.
//!
//! It never links sockets, or the interface that receives requests.

use wasmtime::component::Linker;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::{LinkOptions, http};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtxView, WasiHttpView};

use crate::config::Grant;
use crate::world::capability::Capability;
use crate::world::context::Context;

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.sealed().wasi()
    }
}

impl WasiHttpView for Context {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        // The grant is checked at every use of the interface, so that a revoked one ends with the very next request.
        let held = self.holds(Capability::Http);
        let sealed = self.sealed();
        if !held {
            sealed.close();
        }
        sealed.http()
    }
}

/// Links what every WASI guest may have, and files and requests if they are granted. `imports` has checked before what
/// the component imports.
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
        http::types::add_to_linker::<_, WasiHttp>(linker, &LinkOptions::default().into(), Context::http)?;
        http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, Context::http)?;
    }
    Ok(())
}
