//! What was released of the contract stays as it is: `wit/README.md` says what is promised, and this holds it to that.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod frozen;
mod items;
mod promise;

use std::path::PathBuf;

use items::Package;

fn wit() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

#[test]
fn the_contract_keeps_what_was_released() {
    let released = frozen::packages(&wit().join("released")).unwrap_or_else(|broken| panic!("{}", broken.join("\n")));
    let current = Package::read(&wit()).unwrap();
    assert_eq!(current.name, "heald:plugin");
    let broken = promise::broken(&released, &current);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
