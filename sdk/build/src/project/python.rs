//! Python: componentize-py, in a virtual environment of the project's own. It puts the sources and CPython into one component.

use std::path::Path;

use super::fresh::Inputs;
use super::tool::{Tool, first_of};
use super::{Manifest, SCRATCH};
use crate::Error;

const SOURCES: &str = "src";
const MODULE: &str = "plugin";
const REQUIREMENTS: &str = "requirements.txt";
/// A copy of the requirements in the environment that they were installed in.
const STAMP: &str = "heald-requirements.txt";
const FIX: &str = "install Python 3.10 or newer with venv (Debian: apt-get install python3-venv)";

pub(super) fn build(directory: &Path, manifest: &Manifest, note: &mut dyn FnMut(&str)) -> Result<Vec<u8>, Error> {
    let scratch = directory.join(SCRATCH);
    let venv = scratch.join("venv");
    set_up(directory, &venv, note)?;
    let (wit, world) = super::world(directory, manifest)?;
    let out = scratch.join("component.wasm");
    let inputs = Inputs::of(directory, &[SOURCES, REQUIREMENTS], &wit, &[&world])?;
    if inputs.made(&out) {
        note("nothing has changed since the last build");
        return super::read(&out);
    }
    let componentize =
        || {
            Tool::new(venv.join("bin/componentize-py"), "requirements.txt must ask for componentize-py", directory)
                .args(["-d".as_ref(), wit.as_os_str(), "-w".as_ref(), world.as_ref()])
        };
    // For people, editors and tests: the component carries bindings of its own.
    let bindings = scratch.join("bindings");
    if bindings.exists() {
        std::fs::remove_dir_all(&bindings).map_err(|source| Error::Write { path: bindings.clone(), source })?;
    }
    componentize().args(["bindings".as_ref(), bindings.as_os_str()]).run("writing the Python bindings")?;
    note("componentize-py (some seconds)");
    componentize()
        // Without stubs it would import all of WASI, which a plug-in is not given.
        .args(["componentize", "--stub-wasi", MODULE, "-p", SOURCES, "-o"])
        .args([&out])
        .run("making a component of the Python")?;
    inputs.note(&out)?;
    super::read(&out)
}

fn set_up(directory: &Path, venv: &Path, note: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let wanted = super::read(&directory.join(REQUIREMENTS))?;
    if super::read(&venv.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    note("python -m venv and pip install (once: componentize-py)");
    super::make_directory(venv)?;
    let python = first_of(["python3", "python"].map(str::to_owned)).unwrap_or_else(|| "python3".into());
    Tool::new(python, FIX, directory).args(["-m", "venv"]).args([venv]).run("making a virtual environment")?;
    Tool::new(venv.join("bin/python"), FIX, directory)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS])
        .env("PYTHONNOUSERSITE", "1")
        .run("installing what requirements.txt asks for")?;
    super::write(&venv.join(STAMP), &wanted)
}
