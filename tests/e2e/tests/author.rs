//! A plug-in's first minutes, in every language: written by `heald plugin new`, built, tested by its own tests and by its
//! scenario, and put to work.
//!
//! What takes minutes the first time (npm's and pip's packages, what cargo builds) is kept under the target directory: the
//! projects lie there, and only what differs from a new one is written anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use heald_harness::{Mode, Stub, free_port, until};

use crate::setup::{HEALD, PATIENCE, lives, start, victim};

const ROLES: [&str; 3] = ["detector", "policy", "action"];

/// What of a role's configuration makes its scenario fail.
const UNFIT: [&str; 3] = [r#"{"limit": 1000}"#, r#"{"tries": 1}"#, r#"{"prefix": "other"}"#];

fn place() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("author")
}

/// heald, in this directory. Its own outer cargo says nothing to it.
fn heald(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(HEALD);
    command.args(arguments).current_dir(directory);
    command.env("CARGO_TARGET_DIR", place().join("rust/target")).env("XDG_CACHE_HOME", place().join("cache"));
    command.output().unwrap()
}

/// The same, where it must succeed. What it printed.
fn says(directory: &Path, arguments: &[&str]) -> String {
    let output = heald(directory, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "heald {arguments:?} in {}: {text}{errors}", directory.display());
    text
}

/// Another program, which must succeed.
fn run(directory: &Path, program: &str, arguments: &[&str], env: &[(&str, &str)]) {
    let output = Command::new(program).args(arguments).current_dir(directory).envs(env.iter().copied()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed (tests/setup.sh installs it): {error}"));
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&text));
}

/// A project as `heald plugin new` writes it, where an earlier one may have left its tools.
fn project(name: &str, role: &str, lang: &str, at: &str) -> PathBuf {
    let new = tempfile::tempdir().unwrap();
    let said = says(new.path(), &["plugin", "new", name, "--role", role, "--lang", lang]);
    assert!(said.contains("heald plugin build"), "it says how to go on: {said}");
    let directory = place().join(at);
    renew(&new.path().join(name), &directory);
    directory
}

/// Makes `to` hold the files of `from`; what is the same is not touched, so that cargo sees that.
fn renew(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            renew(&path, &to.join(&name));
            // Sources that an earlier template had would be compiled along.
            for old in std::fs::read_dir(to.join(&name)).unwrap().map(|old| old.unwrap().path()) {
                if !path.join(old.file_name().unwrap()).exists() && old.is_file() {
                    std::fs::remove_file(old).unwrap();
                }
            }
        } else if std::fs::read(to.join(&name)).ok() != std::fs::read(&path).ok() {
            std::fs::copy(&path, to.join(&name)).unwrap();
        }
    }
}

/// Builds it; the path of what came of it.
fn build(directory: &Path, name: &str) -> PathBuf {
    let began = Instant::now();
    let said = says(directory, &["plugin", "build"]);
    println!("{}: built and loaded in {:.1?}", directory.display(), began.elapsed());
    assert!(said.contains(&format!("dist/{name}.wasm")) && said.contains("sha256"), "{said}");
    directory.join(format!("dist/{name}.wasm"))
}

/// Plays its scenario: as it is, and with a configuration with which it must fail.
fn play(directory: &Path, component: &Path, role: &str) {
    let began = Instant::now();
    let scenarios: Vec<_> =
        std::fs::read_dir(directory.join("scenarios")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(scenarios.len(), 1);
    let test = ["plugin", "test", component.to_str().unwrap(), scenarios[0].to_str().unwrap()];
    says(directory, &test);
    let unfit = UNFIT[ROLES.iter().position(|each| *each == role).unwrap()];
    let output = heald(directory, &[&test[..], &["--config", unfit]].concat());
    assert!(!output.status.success(), "{role}: with {unfit} its scenario cannot pass");
    println!("{}: its scenario played in {:.1?}", directory.display(), began.elapsed());
}

/// What takes long to compile is compiled once at a time: it takes 350 MiB each.
static LARGE: Mutex<()> = Mutex::new(());

/// A plug-in with an interpreter in it takes half a minute to compile in an unoptimised heald, so one role of three is built,
/// unless everything is asked for.
fn roles_of_large_ones() -> &'static [&'static str] {
    if std::env::var("HEALD_SOAK").is_ok_and(|soak| soak == "full") { &ROLES } else { &ROLES[..1] }
}

#[test]
fn rust_in_every_role() {
    for role in ROLES {
        let name = format!("rust-{role}");
        let directory = project(&name, role, "rust", &format!("rust/{role}"));
        let component = build(&directory, &name);
        play(&directory, &component, role);
        let target = place().join("rust/target");
        run(&directory, "cargo", &["test", "--quiet", "--locked"], &[("CARGO_TARGET_DIR", target.to_str().unwrap())]);
        assert!(std::fs::metadata(&component).unwrap().len() < 200_000, "a plug-in in Rust is small");
    }
}

#[test]
fn c_in_every_role() {
    for role in ROLES {
        let name = format!("c-{role}");
        let directory = project(&name, role, "c", &format!("c/{role}"));
        let component = build(&directory, &name);
        let imports = heald_plugin_build::imports(&std::fs::read(&component).unwrap()).unwrap();
        assert!(imports.iter().all(|name| name.starts_with("heald:plugin/")), "{imports:?}");
        play(&directory, &component, role);
    }
}

#[test]
fn javascript() {
    let _turn = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
    for role in ROLES {
        let name = format!("js-{role}");
        // The first lies above the others, which so find its node_modules.
        let directory =
            project(&name, role, "js", &if role == ROLES[0] { "js".to_owned() } else { format!("js/{role}") });
        run(&directory, "node", &["--test", "test/"], &[]);
        if roles_of_large_ones().contains(&role) {
            let component = build(&directory, &name);
            play(&directory, &component, role);
        }
    }
}

#[test]
fn python() {
    let _turn = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
    for role in roles_of_large_ones() {
        let name = format!("python-{role}");
        let directory = project(&name, role, "python", &format!("python/{role}"));
        let component = build(&directory, &name);
        let path = [("PYTHONPATH", "src:.heald/bindings"), ("PYTHONDONTWRITEBYTECODE", "1")];
        run(&directory, ".heald/venv/bin/python", &["-m", "unittest", "discover", "test"], &path);
        play(&directory, &component, role);
    }
}

#[test]
fn a_new_detector_and_a_new_policy_heal_a_service() {
    let detector = project("long-queue", "detector", "rust", "heals/detector");
    let policy = project("remedy", "policy", "c", "heals/policy");
    let (detector, policy) = (build(&detector, "long-queue"), build(&policy, "remedy"));
    let answers = |length: u32| {
        Mode::Body(format!(r#"{{"status": "UP", "details": {{"custom_metrics": {{"queue_length": {length}}}}}}}"#))
    };
    let stub = Stub::on(free_port(), answers(250));
    let heald = start(&format!(
        r#"
[[plugin]]
name = "long-queue"
component = "{}"
config = {{ limit = 100, samples = 3 }}
[[plugin]]
name = "remedy"
component = "{}"
[healing]
detectors = ["availability", "long-queue"]
policies = ["remedy", "rules"]
{}
[[service.probe]]
kind = "http"
url = "http://{}/"
period = "200ms"
"#,
        detector.display(),
        policy.display(),
        victim("web"),
        stub.address()
    ));
    until(PATIENCE, "a second life", || lives(&heald, "web").len(), |count| *count == 2);
    stub.set(answers(3));
    let incident = heald.incident(PATIENCE, "web", "it is healed", |incident| {
        incident["condition"] == "queue-too-long" && incident["stage"] == "resolved"
    });
    let story = incident["timeline"].to_string();
    assert!(story.contains("long-queue") && story.contains("remedy"), "both had a hand in it: {story}");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |directory: &Path, arguments: &[&str]| {
        let output = heald(directory, arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(fails(folder.path(), &["plugin", "build"]).contains("heald plugin new"));
    says(folder.path(), &["plugin", "new", "mine", "--role", "policy", "--lang", "c"]);
    assert!(fails(folder.path(), &["plugin", "new", "mine", "--role", "policy"]).contains("nothing was written"));
    let mine = folder.path().join("mine");
    let change = |file: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(mine.join(file)).unwrap();
        assert!(text.contains(from), "{from} in {file}");
        std::fs::write(mine.join(file), text.replace(from, to)).unwrap();
    };
    change("src/plugin.c", "static uint32_t tries;", "static uint32_t tries");
    let said = fails(&mine, &["plugin", "build"]);
    assert!(said.contains("plugin.c") && said.contains("expected ';'"), "the compiler's own words: {said}");
    change("src/plugin.c", "static uint32_t tries", "static uint32_t tries;");
    change("heald-plugin.toml", "role = \"policy\"", "role = \"detector\"");
    let said = fails(&mine, &["plugin", "build"]);
    assert!(said.contains("says it is a detector and exports a policy"), "{said}");
    assert!(!mine.join("dist/mine.wasm").exists(), "what heald would not take is not put where one looks for it");
    change("heald-plugin.toml", "role = \"detector\"", "role = \"policy\"");
    change("heald-plugin.toml", "summary", "sumary");
    let said = fails(&mine, &["plugin", "build"]);
    assert!(said.contains("heald-plugin.toml") && said.contains("sumary"), "{said}");
}
