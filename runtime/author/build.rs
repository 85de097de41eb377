//! Lists what `heald plugin new` writes, so that the binary alone is enough: the templates, the contract, and the Rust SDK,
//! whose manifest is cut loose from this workspace.

// A build script speaks to cargo on its standard output.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("&[\n");
    for (folder, prefix) in [("sdk/templates", ""), ("sdk/rust", "sdk/"), ("wit", "wit/")] {
        let folder = root.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        for file in files(&folder)? {
            let name = file.strip_prefix(&folder)?.to_str().ok_or("file names are UTF-8")?;
            // The SDK's own is of this workspace; below is the one that is not.
            if folder.ends_with("sdk/rust") && name == "Cargo.toml" {
                continue;
            }
            writeln!(table, "    ({:?}, include_bytes!({file:?})),", format!("{prefix}{name}"))?;
        }
    }
    let manifest = out.join("sdk.toml");
    std::fs::write(&manifest, sdk(&root)?)?;
    writeln!(table, "    (\"sdk/Cargo.toml\", include_bytes!({manifest:?})),\n]")?;
    std::fs::write(out.join("templates.rs"), table)?;
    Ok(())
}

/// All files beneath a directory, sorted. None where there is no directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                found.extend(files(&path)?);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The SDK's manifest, with everything in it that it has from the workspace.
fn sdk(root: &Path) -> Result<String, Box<dyn Error>> {
    let read = |path: &str| -> Result<Table, Box<dyn Error>> {
        let path = root.join(path);
        println!("cargo::rerun-if-changed={}", path.display());
        Ok(std::fs::read_to_string(path)?.parse()?)
    };
    let workspace = read("Cargo.toml")?;
    let workspace = workspace.get("workspace").and_then(Value::as_table).ok_or("a workspace")?;
    let mut sdk = read("sdk/rust/Cargo.toml")?;
    for section in ["package", "dependencies"] {
        let shared = workspace.get(section).and_then(Value::as_table).ok_or(section)?;
        for (name, value) in sdk.get_mut(section).and_then(Value::as_table_mut).ok_or(section)?.iter_mut() {
            if value.get("workspace").is_some() {
                *value = shared.get(name).ok_or_else(|| format!("{name} is not in the workspace"))?.clone();
            }
        }
    }
    sdk.remove("lints");
    Ok(format!("# The SDK, as it came with heald {}.\n{}", env!("CARGO_PKG_VERSION"), toml::to_string(&sdk)?))
}
