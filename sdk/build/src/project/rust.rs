//! Rust: cargo, for the guests' target. The macros of the SDK have it all said in the file already.

use std::path::Path;

use super::Built;
use crate::{Error, Workspace};

pub(super) fn build(directory: &Path, note: &mut dyn FnMut(&str)) -> Result<Vec<Built>, Error> {
    note("cargo build for WebAssembly (the first time, cargo fetches and builds what it depends on)");
    let mut workspace = Workspace::at(directory).write_lock_file();
    // An author who told cargo where to build meant this build too.
    if let Some(target_dir) = std::env::var_os("CARGO_TARGET_DIR") {
        workspace = workspace.target_dir(directory.join(target_dir));
    }
    let guests = workspace.build()?;
    if guests.is_empty() {
        return Err(Error::NoGuest { directory: directory.to_owned() });
    }
    guests.iter().map(|guest| Built::new(guest.component()?)).collect()
}
