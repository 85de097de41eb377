//! JavaScript: componentize-js, which puts the source and SpiderMonkey into one component.

use std::path::Path;

use serde::Deserialize;

use super::fresh::Inputs;
use super::tool::Tool;
use super::{Manifest, SCRATCH};
use crate::Error;

const SOURCE: &str = "src/plugin.js";
const PACKAGE: &str = "@bytecodealliance/componentize-js";
const FIX: &str = "install Node.js 20 or newer with npm (Debian: apt-get install nodejs npm)";
const SCRIPT: &str = include_str!("componentize.mjs");

pub(super) fn build(directory: &Path, manifest: &Manifest, note: &mut dyn FnMut(&str)) -> Result<Vec<u8>, Error> {
    if !is_installed(directory)? {
        note("npm install (once: componentize-js and what it needs, about 400 MB)");
        Tool::new("npm", FIX, directory)
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .run("installing what package.json asks for")?;
    }
    let (wit, world) = super::world(directory, manifest)?;
    let scratch = directory.join(SCRATCH);
    super::make_directory(&scratch)?;
    let out = scratch.join("component.wasm");
    let inputs = Inputs::of(directory, &["src", "package.json", "package-lock.json"], &wit, &[SCRIPT, &world])?;
    if inputs.made(&out) {
        note("nothing has changed since the last build");
        return super::read(&out);
    }
    note("componentize-js (some seconds)");
    // From standard input, so that the import is looked up from the project.
    Tool::new("node", FIX, directory)
        .args(["--input-type=module", "-"])
        .args([Path::new(SOURCE), &wit, Path::new(&world), &out])
        .input(SCRIPT)
        .run("making a component of the JavaScript")?;
    inputs.note(&out)?;
    super::read(&out)
}

#[derive(Deserialize)]
struct Package {
    #[serde(default)]
    version: String,
    #[serde(default, rename = "devDependencies")]
    dev_dependencies: std::collections::BTreeMap<String, String>,
}

/// Whether node would find the very version that the project asks for: in its own `node_modules`, or one further up.
fn is_installed(directory: &Path) -> Result<bool, Error> {
    let wanted = package(&directory.join("package.json"))?;
    let wanted = wanted.dev_dependencies.get(PACKAGE);
    let found = directory.ancestors().map(|place| place.join("node_modules").join(PACKAGE).join("package.json"));
    let Some(found) = found.into_iter().find(|path| path.is_file()) else { return Ok(false) };
    Ok(Some(&package(&found)?.version) == wanted)
}

fn package(path: &Path) -> Result<Package, Error> {
    let text = super::read(path)?;
    serde_json::from_slice(&text).map_err(|source| Error::Schema { path: path.to_owned(), source })
}
