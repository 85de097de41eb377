//! C: clang with a libc for WebAssembly. The bindings lie in the project, generated; a core module comes out, and a component
//! is made of it here.

use std::path::{Path, PathBuf};

use super::tool::{Tool, first_of};
use super::{Manifest, SCRATCH};
use crate::Error;

const SOURCES: &str = "src";
const GENERATED: &str = "gen";
/// The newest clang is tried first. Older ones know nothing of what the bindings ask of a linker.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=30;
const FIX: &str = "install clang with a linker and a libc for WebAssembly (Debian: apt-get install clang-22 lld-22 \
                   libclang-rt-22-dev-wasm32 wasi-libc), or set WASI_SDK_PATH to a wasi-sdk";

pub(super) fn build(directory: &Path, manifest: &Manifest, note: &mut dyn FnMut(&str)) -> Result<Vec<u8>, Error> {
    if let Some(more) = manifest.capabilities.iter().find(|name| *name != "log") {
        return Err(Error::NoWit { capability: more.clone(), language: manifest.lang.word() });
    }
    let scratch = directory.join(SCRATCH);
    super::make_directory(&scratch)?;
    let out = scratch.join("module.wasm");
    let mut parts = super::files(&directory.join(SOURCES), "c")?;
    parts.extend(super::files(&directory.join(GENERATED), "c")?);
    parts.extend(super::files(&directory.join(GENERATED), "o")?);
    note("clang");
    Tool::new(clang(), FIX, directory)
        // Debian's libc lies under the target's old name, which new compilers deplore.
        .args(["--target=wasm32-wasi", "-Wno-deprecated"])
        .args(["-Oz", "-std=c17", "-Wall", "-Wextra"])
        .args(["-I", GENERATED])
        // A library: it has no main, and its exports are what keeps code alive.
        .args(["-mexec-model=reactor", "-nostartfiles", "-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,--strip-debug"])
        .args(["-o".as_ref(), out.as_os_str()])
        .args(parts)
        .run("compiling the C")?;
    crate::component(&super::read(&out)?)
}

fn clang() -> PathBuf {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        return Path::new(&sdk).join("bin/clang");
    }
    first_of(VERSIONS.rev().map(|version| format!("clang-{version}")).chain(["clang".to_owned()]))
        .unwrap_or_else(|| "clang".into())
}
