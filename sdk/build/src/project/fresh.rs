//! Whether anything has changed since the last build. Interpreters in a component take seconds to make and come out a little
//! different each time, which would have heald compile them anew as well.

use std::path::{Path, PathBuf};

use crate::Error;

/// What would be written over and over, and goes into no component.
const IGNORED: &str = "__pycache__";

/// All that goes into a component, name and contents one after the other.
pub(super) struct Inputs(Vec<u8>);

impl Inputs {
    /// The files and directories of these names, as far as they are there, the contract, and words that the build adds.
    pub(super) fn of(directory: &Path, names: &[&str], wit: &Path, words: &[&str]) -> Result<Self, Error> {
        let mut all = Vec::from(env!("CARGO_PKG_VERSION"));
        for word in words {
            all.extend_from_slice(word.as_bytes());
        }
        for path in names.iter().map(|name| directory.join(name)).chain([wit.to_owned()]) {
            take_in(&path, &mut all)?;
        }
        Ok(Self(all))
    }

    /// Whether `out` was made of exactly these.
    pub(super) fn made(&self, out: &Path) -> bool {
        out.is_file() && std::fs::read(beside(out)).is_ok_and(|before| before == self.0)
    }

    /// Remembers that `out` was made of these.
    pub(super) fn note(&self, out: &Path) -> Result<(), Error> {
        super::write(&beside(out), &self.0)
    }
}

fn beside(out: &Path) -> PathBuf {
    out.with_extension("inputs")
}

fn take_in(path: &Path, all: &mut Vec<u8>) -> Result<(), Error> {
    if path.is_dir() {
        let broken = |source| Error::Read { path: path.to_owned(), source };
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(broken)? {
            entries.push(entry.map_err(broken)?.path());
        }
        entries.sort();
        return entries.iter().filter(|entry| !entry.ends_with(IGNORED)).try_for_each(|entry| take_in(entry, all));
    }
    if path.is_file() {
        all.extend_from_slice(format!("\0{}\0", path.display()).as_bytes());
        all.extend(super::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_anywhere_in_the_sources_is_seen() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir_all(at("src/inner")).unwrap();
        std::fs::write(at("src/inner/logic.js"), "1").unwrap();
        std::fs::write(at("out.wasm"), "").unwrap();
        let inputs = || Inputs::of(place.path(), &["src", "package.json"], &at("wit"), &["detector"]).unwrap();
        assert!(!inputs().made(&at("out.wasm")), "never built");
        inputs().note(&at("out.wasm")).unwrap();
        assert!(inputs().made(&at("out.wasm")));
        std::fs::create_dir(at("src/__pycache__")).unwrap();
        std::fs::write(at("src/__pycache__/x"), "").unwrap();
        assert!(inputs().made(&at("out.wasm")), "what Python leaves behind is no source");
        std::fs::write(at("src/inner/logic.js"), "2").unwrap();
        assert!(!inputs().made(&at("out.wasm")));
        inputs().note(&at("out.wasm")).unwrap();
        std::fs::write(at("package.json"), "{}").unwrap();
        assert!(!inputs().made(&at("out.wasm")), "a new file counts");
        inputs().note(&at("out.wasm")).unwrap();
        std::fs::remove_file(at("out.wasm")).unwrap();
        assert!(!inputs().made(&at("out.wasm")), "there is nothing to reuse");
    }
}
