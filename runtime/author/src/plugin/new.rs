//! `heald plugin new`: writes a project from the templates in the binary. It needs no network, and overwrites nothing.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

/// All there is to write from: path and contents. See the build script.
static TEMPLATES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// Longer names are no help to anybody.
const LONGEST_NAME: usize = 60;

/// Crates that a Rust project has beside itself, and words that Rust keeps for itself.
const TAKEN: [&str; 14] = [
    "heald-plugin",
    "serde",
    "serde-json",
    "alloc",
    "core",
    "std",
    "test",
    "self",
    "super",
    "crate",
    "match",
    "loop",
    "type",
    "mod",
];

/// `heald plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// What it shall be called, such as queue-length
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it shall be
    #[arg(long, value_enum)]
    pub role: RoleWord,
    /// What it shall be written in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Lang,
    /// Where to; a new directory of its name, here, unless said
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What a plug-in is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// Turns samples into findings
    Detector,
    /// Decides what to do about an incident
    Policy,
    /// Does something
    Action,
}

impl RoleWord {
    const fn word(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Policy => "policy",
            Self::Action => "action",
        }
    }

    const fn summary(self) -> &'static str {
        match self {
            Self::Detector => "finds queues that are too long",
            Self::Policy => "knows one remedy for one condition, and passes on everything else",
            Self::Action => "writes a line into the log",
        }
    }
}

/// What a plug-in is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// Small and fast: 60 KB, a call takes microseconds
    Rust,
    /// JavaScript: 12 MB, a call takes a millisecond
    Js,
    /// 18 MB, a call takes a fraction of a millisecond
    Python,
    /// Smallest and bare: 50 KB, a call takes microseconds
    C,
}

impl Lang {
    const fn word(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Js => "js",
            Self::Python => "python",
            Self::C => "c",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Js => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    /// How its own tests are run, where there are any, and that it is only after a build.
    const fn tests(self) -> Option<(&'static str, bool)> {
        match self {
            Self::Rust => Some(("cargo test", false)),
            Self::Js => Some(("npm test", false)),
            Self::Python => Some(("PYTHONPATH=src:.heald/bindings python3 -m unittest discover test", true)),
            Self::C => None,
        }
    }

    /// What else it can be granted, in words for the manifest.
    const fn capabilities(self) -> &'static str {
        match self {
            Self::Rust | Self::Js | Self::Python => "there are kv, process and process-control beside it.",
            Self::C => "the bindings in gen/ are made for it alone.",
        }
    }
}

/// Writes the project.
///
/// # Errors
/// When the name is no name, when the directory is taken, or when it cannot be written.
pub fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    let NewArgs { name, role, lang, .. } = args;
    check_name(name, *lang)?;
    let directory = args.dir.clone().unwrap_or_else(|| PathBuf::from(name));
    ensure_free(&directory)?;
    let files = project(name, *role, *lang);
    for (path, contents) in &files {
        let path = directory.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    let (role, lang_name, count) = (role.word(), lang.name(), files.len());
    writeln!(out, "{name}: a {role} in {lang_name}, {count} files in {}\n", directory.display())?;
    writeln!(out, "    cd {}", directory.display())?;
    let mut steps = vec![
        ("heald plugin build".to_owned(), format!("makes dist/{name}.wasm")),
        (format!("heald plugin test dist/{name}.wasm scenarios/*.toml"), "plays the scenarios to it".to_owned()),
    ];
    if let Some((command, after_build)) = lang.tests() {
        steps.insert(usize::from(after_build), (command.to_owned(), "runs its own tests".to_owned()));
    }
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
    for (command, what) in steps {
        writeln!(out, "    {command:width$}  # {what}")?;
    }
    writeln!(out, "\nREADME.md says how to use it.")?;
    Ok(ExitCode::SUCCESS)
}

/// A name is in file names, configurations, URLs and, for Rust, in code.
fn check_name(name: &str, lang: Lang) -> anyhow::Result<()> {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit());
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase()) && name.split('-').all(part);
    if !is_name {
        let better = suggestion(name).map(|better| format!("; how about {better}?")).unwrap_or_default();
        bail!(
            "`{name}` is no name for a plug-in: lower-case letters, digits and single dashes between them, beginning with a \
             letter{better}"
        );
    }
    ensure!(name.len() <= LONGEST_NAME, "`{name}` is too long a name: {LONGEST_NAME} letters are the most");
    ensure!(
        lang != Lang::Rust || !TAKEN.contains(&name),
        "`{name}` cannot be the name of a Rust crate here, it is taken; how about {name}-plugin?"
    );
    Ok(())
}

/// The nearest name.
fn suggestion(name: &str) -> Option<String> {
    let mut better = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        // queueLength, QUEUE_LENGTH and "queue length" are all queue-length.
        let begins_word = letter.is_ascii_uppercase() && before.is_ascii_lowercase();
        if (begins_word || !letter.is_ascii_alphanumeric()) && !better.is_empty() && !better.ends_with('-') {
            better.push('-');
        }
        if letter.is_ascii_alphabetic() || (letter.is_ascii_digit() && !better.is_empty()) {
            better.push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    let better = better.trim_matches('-');
    (!better.is_empty() && better.len() <= LONGEST_NAME).then(|| better.to_owned())
}

fn ensure_free(directory: &Path) -> anyhow::Result<()> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => ensure!(
            entries.next().is_none(),
            "{} is there already, and not empty: nothing was written; name another place with --dir",
            directory.display()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write to {}", directory.display())),
    }
    Ok(())
}

/// Every file of the project: where, and what.
fn project(name: &str, role: RoleWord, lang: Lang) -> Vec<(String, Vec<u8>)> {
    let (role_word, lang_word) = (role.word(), lang.word());
    let own = TEMPLATES.iter().find(|(path, _)| *path == format!("{lang_word}/README.part.md"));
    let own = own.map_or(Cow::Borrowed(""), |(_, text)| String::from_utf8_lossy(text));
    let words = [
        // First, as there may be other words in it.
        ("{{language}}", own.as_ref()),
        ("{{name}}", name),
        ("{{role}}", role_word),
        ("{{lang}}", lang_word),
        ("{{summary}}", role.summary()),
        ("{{capabilities}}", lang.capabilities()),
    ];
    let mut files: Vec<_> = TEMPLATES
        .iter()
        .filter_map(|(path, contents)| Some((place(path, role_word, lang_word)?, filled(contents, &words))))
        .collect();
    files.sort();
    files
}

/// Where in the project a template belongs, if it does.
fn place(template: &str, role: &str, lang: &str) -> Option<String> {
    let (first, rest) = template.split_once('/')?;
    match first {
        "wit" => Some(template.to_owned()),
        "sdk" => (lang == "rust").then(|| format!("vendor/heald-plugin/{rest}")),
        "shared" if rest == "heald-plugin.toml" => (lang != "rust").then(|| rest.to_owned()),
        "shared" => rest.strip_prefix(role)?.strip_prefix('/').map(str::to_owned),
        _ if first == lang => {
            let inner = rest.strip_prefix("common/").or_else(|| rest.strip_prefix(role)?.strip_prefix('/'))?;
            // A file of its real name would be heeded within the templates already.
            Some(if inner == "gitignore" { ".gitignore".to_owned() } else { inner.to_owned() })
        }
        _ => None,
    }
}

fn filled(contents: &[u8], words: &[(&str, &str)]) -> Vec<u8> {
    match std::str::from_utf8(contents) {
        Ok(text) if text.contains("{{") => {
            let filled = words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value));
            filled.into_bytes()
        }
        _ => contents.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [RoleWord; 3] = [RoleWord::Detector, RoleWord::Policy, RoleWord::Action];
    const LANGS: [Lang; 4] = [Lang::Rust, Lang::Js, Lang::Python, Lang::C];

    #[test]
    fn every_project_is_whole_and_has_no_gaps_left() {
        for (role, lang) in ROLES.into_iter().flat_map(|role| LANGS.map(|lang| (role, lang))) {
            let files = project("my-plugin", role, lang);
            let names: Vec<_> = files.iter().map(|(path, _)| path.as_str()).collect();
            for needed in ["README.md", "config.schema.json", ".gitignore", "wit/plugin.wit"] {
                assert!(names.contains(&needed), "{role:?} {lang:?}: {needed} of {names:?}");
            }
            let manifest = if lang == Lang::Rust { "Cargo.toml" } else { "heald-plugin.toml" };
            assert!(names.contains(&manifest), "{role:?} {lang:?}: {names:?}");
            for (path, contents) in &files {
                let text = String::from_utf8_lossy(contents);
                // Rust's own `{{` in a format text is another matter.
                let gap = text.find("{{").filter(|_| !path.ends_with(".rs"));
                assert_eq!(gap, None, "{role:?} {lang:?}: {path}");
            }
            let mut once = names.clone();
            once.dedup();
            assert_eq!(once, names, "nothing is written twice");
        }
    }

    #[test]
    fn the_sdk_is_cut_loose_from_the_workspace() {
        let files = project("x", RoleWord::Policy, Lang::Rust);
        let (_, manifest) = files.iter().find(|(path, _)| path == "vendor/heald-plugin/Cargo.toml").unwrap();
        let manifest = String::from_utf8_lossy(manifest);
        assert!(!manifest.contains("workspace"), "{manifest}");
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_bindings_for_c_are_those_of_the_contract() {
        use sha2::{Digest, Sha256};
        let find = |path: &str| TEMPLATES.iter().find(|(name, _)| *name == path).unwrap().1;
        let digest = Sha256::digest(find("wit/plugin.wit"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        for role in ROLES.map(RoleWord::word) {
            let header = String::from_utf8_lossy(find(&format!("c/{role}/gen/{role}.h")));
            let first = header.lines().next().unwrap();
            assert!(
                first.ends_with(&digest),
                "wit/plugin.wit has changed: run sdk/templates/c/regenerate.sh, then see that the templates compile"
            );
        }
    }

    #[test]
    fn a_bad_name_is_explained() {
        for name in ["a", "queue-length", "x2-y3"] {
            check_name(name, Lang::Rust).unwrap();
        }
        for (name, better) in [
            ("Queue Length", "queue-length"),
            ("queueLength", "queue-length"),
            ("QUEUE_LENGTH", "queue-length"),
            ("-x--y-", "x-y"),
            ("2fast", "fast"),
        ] {
            let said = check_name(name, Lang::C).unwrap_err().to_string();
            assert!(said.contains(&format!("how about {better}?")), "{name}: {said}");
            check_name(better, Lang::C).unwrap();
        }
        assert!(!check_name("!", Lang::C).unwrap_err().to_string().contains("how about"));
        assert!(check_name(&"x".repeat(61), Lang::C).is_err());
        check_name("serde", Lang::C).unwrap();
        assert!(check_name("serde", Lang::Rust).unwrap_err().to_string().contains("serde-plugin"));
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let args = NewArgs {
            name: "mine".to_owned(),
            role: RoleWord::Policy,
            lang: Lang::C,
            dir: Some(place.path().to_owned()),
        };
        new(&args).unwrap();
        assert!(place.path().join("src/plugin.c").is_file());
        std::fs::write(place.path().join("src/plugin.c"), "changed").unwrap();
        assert!(new(&args).unwrap_err().to_string().contains("nothing was written"));
        assert_eq!(std::fs::read_to_string(place.path().join("src/plugin.c")).unwrap(), "changed");
    }
}
