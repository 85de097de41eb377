//! Builds `plugins/` into components, precompiles them for the host's engine, and writes the table that `lib.rs` includes.
//!
//! Everything lands in `OUT_DIR`; the guests' own target directory lies beside it (see [`guests_dir`]), so that check, clippy
//! and test share one build of them.

// A build script speaks to cargo on its standard output.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use heald_plugin_build::{Guest, Workspace};
use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let plugins = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?)
        .join("../../plugins")
        .canonicalize()?;
    println!("cargo::rerun-if-changed=build.rs");
    let guests = Workspace::at(&plugins).target_dir(guests_dir(&out)?).build()?;
    let mut table = String::from("&[\n");
    for guest in &guests {
        for input in &guest.inputs {
            println!("cargo::rerun-if-changed={}", input.display());
        }
        table.push_str(&embed(guest, &out)?);
    }
    table.push_str("]\n");
    std::fs::write(out.join("table.rs"), table)?;
    Ok(())
}

/// `target/<profile>/build/heald-builtin-<hash>/out` is unique to each kind of outer build; `target/<profile>` is not.
fn guests_dir(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let profile = out.ancestors().nth(3).ok_or("OUT_DIR is not where cargo puts it")?;
    Ok(profile.join("guests"))
}

/// Writes the component and its machine code to files, and returns the row that names them.
fn embed(guest: &Guest, out: &Path) -> Result<String, Box<dyn Error>> {
    let component = guest.component()?;
    let name = heald_plugin_build::metadata(&component)?.name;
    let precompiled = heald_host::precompile(&component)?;
    let wasm = out.join(format!("{name}.wasm"));
    let machine = out.join(format!("{name}.cwasm"));
    std::fs::write(&wasm, &component)?;
    std::fs::write(&machine, precompiled)?;
    let digest = Sha256::digest(&component).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    });
    Ok(format!(
        "    Builtin {{ name: {name:?}, component: include_bytes!({wasm:?}), precompiled: include_bytes!({machine:?}), \
         digest: {digest:?} }},\n"
    ))
}
