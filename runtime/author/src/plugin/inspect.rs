//! `heald plugin inspect`: what a file is, what it asks for and who signed it, read without running or compiling any of it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use heald_host::{Inspection, Interface, Suggested};
use serde_json::Value;

/// `heald plugin inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArgs {
    /// The plug-in's file
    #[arg(value_name = "FILE.wasm")]
    pub file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Has it looked at; a file that heald would never load is shown all the same, and is a failure.
///
/// # Errors
/// When it cannot be read, or is no component.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    Ok(if look(args, &mut io::stdout().lock())? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if heald would load it, were it granted what it asks for.
fn look(args: &InspectArgs, out: &mut dyn Write) -> anyhow::Result<bool> {
    let seen = heald_host::inspect(&read(&args.file)?).with_context(|| args.file.display().to_string())?;
    let told = if args.json { serde_json::to_string_pretty(&seen)? + "\n" } else { tell(&args.file, &seen) };
    out.write_all(told.as_bytes())?;
    Ok(seen.problems.is_empty())
}

/// The bytes of a plug-in's file.
pub(super) fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn tell(file: &Path, seen: &Inspection) -> String {
    let mut text = String::new();
    let _ = match seen.name.as_str() {
        "" => writeln!(text, "{} says nothing of itself", file.display()),
        name => writeln!(text, "{} {}: {}", shown(name), shown(&seen.version), shown(&seen.summary)),
    };
    let none = |words: &[String]| if words.is_empty() { "-".to_owned() } else { words.join(", ") };
    let _ = writeln!(text, "\nroles         {}", none(&seen.roles));
    let asks = match seen.capabilities.as_slice() {
        [] => "nothing but the log".to_owned(),
        some => some.join(", "),
    };
    let _ = writeln!(text, "asks for      {asks}");
    let _ = writeln!(text, "suggests      {}", limits(seen.limits));
    let _ = writeln!(text, "digest        {}", seen.digest);
    for (at, signature) in seen.signatures.iter().enumerate() {
        let by = signature.key.map_or_else(|| "nobody knows".to_owned(), |key| key.to_string());
        let word = if signature.valid { String::new() } else { "  NOT VALID".to_owned() };
        let _ = writeln!(text, "{}{by}{word}", if at == 0 { "signed by     " } else { "              " });
    }
    if seen.signatures.is_empty() {
        text.push_str("signed by     nobody\n");
    }
    let sizes = seen.sizes;
    let _ = writeln!(
        text,
        "size          {} bytes: code {}, data {}, custom sections {}; core modules {}",
        sizes.file, sizes.code, sizes.data, sizes.custom, sizes.modules
    );
    let made: Vec<String> = seen
        .producers
        .iter()
        .map(|one| format!("{} {}", shown(&one.name), shown(&one.version)).trim_end().to_owned())
        .collect();
    let _ = writeln!(text, "made with     {}", none(&made));
    interfaces(&mut text, "exports", &seen.exports);
    interfaces(&mut text, "imports", &seen.imports);
    if !seen.schema.is_null() {
        text.push_str("\nconfiguration\n");
        settings(&mut text, &seen.schema);
    }
    for problem in &seen.problems {
        let _ = writeln!(text, "\nPROBLEM  {}", shown(problem));
    }
    text
}

/// A file's own words are a stranger's: nothing in them is obeyed by a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn limits(limits: Suggested) -> String {
    let mut words = Vec::new();
    if limits.cpu_ms > 0 {
        words.push(format!("{} ms of processor time a call", limits.cpu_ms));
    }
    if limits.memory_mib > 0 {
        words.push(format!("{} MiB of memory", limits.memory_mib));
    }
    if words.is_empty() { "no limits".to_owned() } else { words.join(", ") }
}

fn interfaces(text: &mut String, title: &str, all: &[Interface]) {
    let _ = writeln!(text, "\n{title}");
    if all.is_empty() {
        text.push_str("  nothing\n");
    }
    for interface in all {
        let version = interface.version.as_ref().map(|version| format!("@{version}")).unwrap_or_default();
        let functions = interface.functions.join(" ");
        let line = format!("  {}{version}  {functions}", shown(&interface.name));
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

/// The fields of a schema, a line each; the whole is a `--json` away.
fn settings(text: &mut String, schema: &Value) {
    let fields = schema.get("properties").and_then(Value::as_object);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in fields.into_iter().flatten() {
        let kind = field.get("type").and_then(Value::as_str).unwrap_or("any");
        let default = field.get("default").map(|value| format!(" = {value}")).unwrap_or_default();
        let must = if required.contains(&name.as_str()) { ", required" } else { "" };
        let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let line = format!("  {} ({kind}{default}{must})  {}", shown(name), shown(about));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if fields.is_none_or(serde_json::Map::is_empty) {
        let open = schema.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false));
        text.push_str(if open { "  names of the operator's choice; --json shows the schema\n" } else { "  none\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(name: &str) -> &'static [u8] {
        heald_builtin::all().iter().find(|builtin| builtin.name == name).unwrap().component
    }

    #[test]
    fn a_builtin_is_told_at_a_glance() {
        let seen = heald_host::inspect(builtin("detect-availability")).unwrap();
        let told = tell(Path::new("x.wasm"), &seen);
        for words in [
            "detect-availability 0.1.0: ",
            "\nroles         detector\n",
            "\nasks for      nothing but the log\n",
            "\nsuggests      5 ms of processor time a call, 16 MiB of memory\n",
            "\nsigned by     nobody\n",
            "heald:plugin/detect@0.1.0  configure",
            "\n  heald:plugin/log@0.1.0  write\n",
            "\n  flapping (object",
            &seen.digest,
        ] {
            assert!(told.contains(words), "{words}\n{told}");
        }
        let files = heald_host::inspect(builtin("act-clear-cache")).unwrap();
        assert!(
            tell(Path::new("x.wasm"), &files).contains("asks for      clock, files\n"),
            "{}",
            tell(Path::new("x"), &files)
        );
    }

    #[test]
    fn what_a_file_says_moves_no_terminal() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn what_is_no_plugin_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        std::fs::write(&file, "hello").unwrap();
        let ask = |json| {
            let mut out = Vec::new();
            look(&InspectArgs { file: file.clone(), json }, &mut out)
                .map(|good| (good, String::from_utf8(out).unwrap()))
        };
        let error = ask(false).unwrap_err();
        assert!(format!("{error:#}").contains("no WebAssembly"), "{error:#}");
        // One that is a component and no plug-in is shown, and is a failure.
        std::fs::write(&file, b"\0asm\x0d\0\x01\0").unwrap();
        let (good, told) = ask(false).unwrap();
        assert!(!good && told.contains("PROBLEM  it exports nothing"), "{told}");
        let (good, told) = ask(true).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        assert!(!good && told["problems"].as_array().is_some_and(|problems| problems.len() == 1), "{told}");
    }
}
