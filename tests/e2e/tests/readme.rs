//! The README's walk-through, as it is written there: from `heald plugin new` to the plug-in healing a real service.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use heald_harness::{free_port, within};
use rustix::process::{Pid, Signal, kill_process};

use crate::setup::HEALD;

/// Building a plug-in from nothing compiles its dependencies.
const BUILD: Duration = Duration::from_secs(300);

/// The fenced block of the walk-through that begins with this line.
fn block(language: &str, first: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let chapter = text.split("\n## ").find(|chapter| chapter.starts_with("Write a plug-in")).expect("the chapter");
    let mut blocks = chapter.split("```").skip(1).step_by(2);
    let found = blocks.find(|block| {
        block
            .strip_prefix(language)
            .and_then(|rest| rest.strip_prefix('\n'))
            .is_some_and(|rest| rest.starts_with(first))
    });
    let found = found.unwrap_or_else(|| panic!("README has no {language} block that begins with {first}"));
    found.split_once('\n').unwrap().1.to_owned()
}

/// A reader at a terminal: a folder, a port of its own, and `heald` on the path.
struct Reader {
    folder: tempfile::TempDir,
    port: u16,
    heald: Option<Child>,
}

impl Reader {
    fn new() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(HEALD, folder.path().join("bin/heald")).unwrap();
        let reader = Self { folder, port, heald: None };
        let service = free_port().to_string();
        for (language, first, name) in [("python", "# worker.py", "worker.py"), ("toml", "# heald.toml", "heald.toml")]
        {
            let text = block(language, first);
            assert!(text.contains("9000"), "{text}");
            std::fs::write(reader.path(name), text.replace("9000", &service)).unwrap();
        }
        reader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.args(["-c", line]).current_dir(self.folder.path()).env("PATH", path).env("PORT", self.port.to_string());
        // What is built is built once for all who read, as on a machine where something was built before.
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("authors");
        command.env("CARGO_TARGET_DIR", shared.join("target")).env("npm_config_cache", shared.join("npm"));
        command.stdin(Stdio::null());
        command
    }

    /// Types a line and waits for its end.
    fn types(&self, line: &str) -> Output {
        let began = Instant::now();
        let output = self.command(line).output().unwrap();
        println!("$ {line}   ({:.1} s)\n{}", began.elapsed().as_secs_f64(), String::from_utf8_lossy(&output.stdout));
        output
    }

    fn leaves_running(&mut self, line: &str) {
        let line = line.trim_end_matches('&').trim();
        // In the place of the shell, so that it can be ended.
        self.heald = Some(self.command(&format!("exec {line}")).process_group(0).spawn().unwrap());
        within(Duration::from_secs(30), "heald answers", || {
            self.command("heald status").output().unwrap().status.success().then_some(())
        });
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(mut heald) = self.heald.take() {
            let pid = Pid::from_raw(i32::try_from(heald.id()).unwrap()).unwrap();
            let _ = kill_process(pid, Signal::TERM);
            let _ = heald.wait();
        }
        if std::thread::panicking() {
            println!("---- heald.log\n{}", std::fs::read_to_string(self.path("heald.log")).unwrap_or_default());
        }
    }
}

fn walk_through(language: &str) {
    let mut reader = Reader::new();
    let script = block("console", "$ heald plugin new");
    let lines: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert!(lines.len() >= 7, "{script}");
    for line in lines {
        let line =
            line.split("  #").next().unwrap_or(line).trim().replace("--lang rust", &format!("--lang {language}"));
        if line.ends_with('&') {
            reader.leaves_running(&line);
        } else if line.starts_with("heald plugin list") {
            // What carries an interpreter takes its time to compile, the more so in an unoptimised heald.
            within(BUILD, "the plug-in is listed as running", || {
                let listed = String::from_utf8(reader.types(&line).stdout).unwrap();
                listed.lines().any(|line| line.contains("queue") && line.contains("running")).then_some(())
            });
        } else if line.starts_with("heald why") {
            let story = within(Duration::from_secs(90), "the plug-in heals the service", || {
                let told = reader.types(&line);
                let story = String::from_utf8(told.stdout).unwrap();
                (told.status.success() && story.contains("healed")).then_some(story)
            });
            assert!(story.contains("queue-too-long") && story.contains("restart"), "{story}");
        } else {
            let began = Instant::now();
            let output = reader.types(&line);
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(began.elapsed() < BUILD, "{line} took {:?}", began.elapsed());
        }
    }
}

#[test]
fn the_walk_through_works_in_rust() {
    walk_through("rust");
}

#[test]
fn the_walk_through_works_in_javascript() {
    walk_through("js");
}
