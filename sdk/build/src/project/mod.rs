//! An author's project, in any of the languages that there are templates for: recognised, its tools set up within it, built.
//!
//! A Rust project is a `Cargo.toml`, and the SDK's macros say what the plug-in is. Any other is a `heald-plugin.toml`
//! ([`Manifest`]), and what that says is written into the component. Everything that is made on the way lies in the project's
//! `.heald` (Rust: `target`, JavaScript: `node_modules`), and nothing is installed outside the project.

mod c;
mod fresh;
mod javascript;
mod manifest;
mod python;
mod rust;
mod tool;

use std::path::{Path, PathBuf};

pub use manifest::{Language, Manifest, RoleName, SuggestedLimits};

use crate::{Error, Metadata, imports, metadata};

/// What is made on the way, and may be deleted at any time.
const SCRATCH: &str = ".heald";
/// The contract's text, in every project that is not Rust's alone.
const WIT: &str = "wit";

/// A plug-in's project.
#[derive(Debug, Clone)]
pub struct Project {
    directory: PathBuf,
    /// None: a cargo project.
    manifest: Option<Manifest>,
}

/// A plug-in that was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The component, with what it says of itself in it.
    pub component: Vec<u8>,
    /// The same, read back.
    pub metadata: Metadata,
}

impl Project {
    /// Recognises the project in this directory.
    pub fn at(directory: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read { path: directory.to_owned(), source };
        // Tools are run in it, and then relative paths would mean something else.
        let directory = directory.canonicalize().map_err(read)?;
        let said = directory.join(manifest::FILE);
        if said.is_file() {
            return Ok(Self { manifest: Some(Manifest::read(&said)?), directory });
        }
        if directory.join("Cargo.toml").is_file() {
            return Ok(Self { manifest: None, directory });
        }
        Err(Error::NoProject { directory, wanted: manifest::FILE })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it is written in.
    pub fn language(&self) -> Language {
        self.manifest.as_ref().map_or(Language::Rust, |manifest| manifest.lang)
    }

    /// Builds it. `note` is told, a line each, what is going on: setting the tools up takes minutes the first time.
    ///
    /// A Rust project may be a workspace and hold several plug-ins; any other has one.
    pub fn build(&self, note: &mut dyn FnMut(&str)) -> Result<Vec<Built>, Error> {
        let Some(manifest) = &self.manifest else { return rust::build(&self.directory, note) };
        let metadata = manifest.metadata(&self.directory)?;
        let component = match manifest.lang {
            Language::Rust => return rust::build(&self.directory, note),
            Language::JavaScript => javascript::build(&self.directory, manifest, note)?,
            Language::Python => python::build(&self.directory, manifest, note)?,
            Language::C => c::build(&self.directory, manifest, note)?,
        };
        Ok(vec![Built::new(crate::say(component, &metadata)?)?])
    }
}

impl Built {
    fn new(component: Vec<u8>) -> Result<Self, Error> {
        let metadata = metadata(&component)?;
        agree(&component, &metadata)?;
        Ok(Self { component, metadata })
    }
}

/// An operator grants what the plug-in says it needs, so what it says must be all that it imports.
fn agree(component: &[u8], metadata: &Metadata) -> Result<(), Error> {
    let unsaid = |import: &String| {
        let needed = capability(import)?;
        (!metadata.capabilities.iter().any(|said| said == &needed)).then_some((import.clone(), needed))
    };
    match imports(component)?.iter().find_map(unsaid) {
        None => Ok(()),
        Some((import, capability)) => Err(Error::Unsaid { import, capability }),
    }
}

/// What has to be granted for this import; None: nothing. An import that no heald knows is its own name here.
fn capability(import: &str) -> Option<String> {
    let (interface, _) = import.split_once('@').unwrap_or((import, ""));
    match interface.split_once('/')? {
        ("heald:plugin", "types") => None,
        ("heald:plugin", ours) => Some(ours.to_owned()),
        ("wasi:io" | "wasi:cli" | "wasi:clocks" | "wasi:random", _) => None,
        (package, _) => Some(package.to_owned()),
    }
}

/// The world to build against: that of the role, or one of the plug-in's own that imports what else it needs, written to the
/// scratch directory. The first is where the WIT is, the second the world's name.
fn world(directory: &Path, manifest: &Manifest) -> Result<(PathBuf, String), Error> {
    let contract = directory.join(WIT);
    let role = manifest.role.word();
    let more: Vec<_> = manifest.capabilities.iter().filter(|name| *name != "log").collect();
    if more.is_empty() {
        return Ok((contract, role.to_owned()));
    }
    let mut text = format!("package local:{role};\nworld {role} {{\n  include heald:plugin/{role}@0.1.0;\n");
    for name in more {
        if !["kv", "process", "process-control"].contains(&name.as_str()) {
            return Err(Error::NoWit { capability: name.clone(), language: manifest.lang.word() });
        }
        text.push_str(&format!("  import heald:plugin/{name}@0.1.0;\n"));
    }
    text.push_str("}\n");
    let own = directory.join(SCRATCH).join(WIT);
    let package = own.join("deps/heald-plugin");
    make_directory(&package)?;
    for file in files(&contract, "wit")? {
        let name = file.file_name().unwrap_or_default();
        std::fs::copy(&file, package.join(name)).map_err(|source| Error::Read { path: file.clone(), source })?;
    }
    write(&own.join("world.wit"), text.as_bytes())?;
    Ok((own, role.to_owned()))
}

/// The files in a directory that end so, sorted.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, Error> {
    let broken = |source| Error::Read { path: directory.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        if path.extension().is_some_and(|kind| kind == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_import_needs_is_a_capability() {
        for (import, needed) in [
            ("heald:plugin/log@0.1.0", Some("log")),
            ("heald:plugin/types@0.1.0", None),
            ("heald:plugin/process-control@0.1.0", Some("process-control")),
            ("wasi:io/poll@0.2.6", None),
            ("wasi:filesystem/types@0.2.6", Some("wasi:filesystem")),
            ("wasi:http/outgoing-handler@0.2.6", Some("wasi:http")),
        ] {
            assert_eq!(capability(import).as_deref(), needed, "{import}");
        }
    }

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        place
    }

    const SAID: &str = "lang = \"js\"\nrole = \"policy\"\nname = \"x\"\nversion = \"1.0.0\"\nsummary = \"s\"\n";

    #[test]
    fn a_project_is_recognised_or_its_lack_explained() {
        let place = project(&[("heald-plugin.toml", SAID), ("Cargo.toml", "")]);
        assert_eq!(Project::at(place.path()).unwrap().language(), Language::JavaScript);
        let place = project(&[("Cargo.toml", "")]);
        assert_eq!(Project::at(place.path()).unwrap().language(), Language::Rust);
        let place = project(&[]);
        let said = Project::at(place.path()).unwrap_err().to_string();
        assert!(said.contains("heald-plugin.toml") && said.contains("heald plugin new"), "{said}");
    }

    #[test]
    fn more_capabilities_make_a_world_of_its_own() {
        let place = project(&[("wit/plugin.wit", "package heald:plugin@0.1.0;")]);
        let manifest = |capabilities: &str| toml::from_str(&format!("{SAID}capabilities = {capabilities}")).unwrap();
        let (wit, name) = world(place.path(), &manifest("[\"log\"]")).unwrap();
        assert_eq!((wit, name.as_str()), (place.path().join("wit"), "policy"));
        let (wit, name) = world(place.path(), &manifest("[\"log\", \"kv\"]")).unwrap();
        let text = std::fs::read_to_string(wit.join("world.wit")).unwrap();
        assert!(text.contains("include heald:plugin/policy@0.1.0;\n  import heald:plugin/kv@0.1.0;"), "{text}");
        assert!(wit.join("deps/heald-plugin/plugin.wit").is_file());
        assert_eq!(name, "policy");
        let refused = world(place.path(), &manifest("[\"wasi:http\"]")).unwrap_err();
        assert!(matches!(refused, Error::NoWit { .. }), "{refused}");
    }
}
