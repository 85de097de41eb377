//! The log: one JSON object a line for machines, text for people on a terminal.
//!
//! A line has `timestamp` (UTC, microseconds, no offset), `level` (DEBUG, INFO, WARNING, ERROR, CRITICAL), `logger`, `message`,
//! and the event's own fields. An error with the field `critical = true` is CRITICAL.
//!
//! Lines are written by a thread of their own: a reader that stalls must not hold up healing. If it stalls for long, lines
//! are dropped and counted, and the count is said as soon as there is room. The keeper may have no second thread and says little;
//! its lines are written where they arise. Control characters never reach a terminal.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context as Spans, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use heald_config::{LogConfig, LogLevel};

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere
    #[default]
    Auto,
    /// One JSON object a line
    Json,
    /// For people
    Text,
}

/// Lines that wait for the disk or the terminal: a burst of some seconds at the pace of a large incident, a few MB.
const WAITING_LINES: usize = 8_192;
/// So long the end of the process waits for a reader that stalls.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What heald's own crates are called; what others say is only wanted when something is wrong.
const OWN: &str = "heald";

/// The way to the writer's thread, for as long as the process lives.
static LINES: OnceLock<SyncSender<LogLine>> = OnceLock::new();

/// Writes out what waits when it is dropped. The log itself goes on until the process ends.
#[derive(Debug)]
#[must_use = "hold it until the process ends, or the last lines are lost"]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        flush();
    }
}

/// Begins to log, for the whole process. `narrated`: standard output tells another story, so lines go to the file alone.
///
/// # Errors
/// When the file cannot be opened, or somebody logs already.
pub fn start(config: &LogConfig, format: LogFormat, narrated: bool) -> anyhow::Result<Logging> {
    let (shape, file) = shape(config, format, narrated)?;
    let (lines, waiting) = sync_channel(WAITING_LINES);
    let layer = LogLayer { shape, way: Way::Thread(lines.clone()), dropped: AtomicU64::new(0) };
    tracing_subscriber::registry().with(layer.with_filter(filter(config.level))).try_init()?;
    let named = std::thread::Builder::new().name("log".into());
    named.spawn(move || write(&waiting, file)).context("the log's thread cannot be started")?;
    let _ = LINES.set(lines);
    Ok(Logging(()))
}

/// The same for a process that must stay a single thread.
///
/// # Errors
/// As [`start`].
pub fn start_without_thread(config: &LogConfig, format: LogFormat, narrated: bool) -> anyhow::Result<()> {
    let (shape, file) = shape(config, format, narrated)?;
    let layer = LogLayer { shape, way: Way::Here(Mutex::new(file)), dropped: AtomicU64::new(0) };
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter(config.level))).try_init()?)
}

fn shape(config: &LogConfig, format: LogFormat, narrated: bool) -> anyhow::Result<(LogShape, Option<File>)> {
    let file = if config.file.as_os_str().is_empty() { None } else { Some(open(&config.file)?) };
    let terminal = stdout().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let stdout = match (narrated, text) {
        (true, _) => Stdout::Nothing,
        (false, false) => Stdout::Json,
        (false, true) => Stdout::Text { colour: terminal && std::env::var_os("NO_COLOR").is_none() },
    };
    Ok((LogShape { stdout, file: file.is_some() }, file))
}

/// Returns when all that was logged so far is written, or is not going to be. For whoever ends the process without returning
/// from `main`.
pub fn flush() {
    let (done, written) = sync_channel(1);
    // Behind everything that waits; a full queue in front of a reader that stalled is not waited for.
    if LINES.get().is_some_and(|lines| lines.try_send(LogLine::Flush(done)).is_ok()) {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
    }
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.with_context(|| format!("the log file {} cannot be opened", path.display()))
}

fn filter(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warning => tracing::Level::WARN,
        LogLevel::Error | LogLevel::Critical => tracing::Level::ERROR,
    };
    Targets::new().with_target(OWN, own).with_default(own.min(tracing::Level::WARN))
}

/// What goes to whom.
#[derive(Debug)]
enum LogLine {
    /// Ready text, with its newline.
    Text { stdout: Option<String>, file: Option<String> },
    /// Say so when everything before this is written.
    Flush(SyncSender<()>),
}

fn write(lines: &Receiver<LogLine>, mut file: Option<File>) {
    for line in lines {
        match line {
            LogLine::Text { stdout, file: copy } => put(stdout.as_deref(), file.as_mut().zip(copy.as_deref())),
            LogLine::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Nobody can be told that the log cannot be written, and healing goes on without.
fn put(text: Option<&str>, copy: Option<(&mut File, &str)>) {
    if let Some(text) = text {
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    if let Some((file, copy)) = copy {
        let _ = file.write_all(copy.as_bytes());
    }
}

#[derive(Debug, Clone, Copy)]
enum Stdout {
    Nothing,
    Json,
    Text { colour: bool },
}

#[derive(Debug, Clone, Copy)]
struct LogShape {
    stdout: Stdout,
    file: bool,
}

/// How a line gets out.
enum Way {
    /// By the writer's thread.
    Thread(SyncSender<LogLine>),
    /// Where it arises.
    Here(Mutex<Option<File>>),
}

struct LogLayer {
    shape: LogShape,
    way: Way,
    dropped: AtomicU64,
}

impl LogLayer {
    /// False: there was no room.
    fn say(&self, entry: &LogEntry) -> bool {
        let json = || entry.json() + "\n";
        let (stdout, file) = match self.shape.stdout {
            Stdout::Nothing => (None, self.shape.file.then(json)),
            Stdout::Json => {
                let line = json();
                (Some(line.clone()), self.shape.file.then_some(line))
            }
            Stdout::Text { colour } => (Some(entry.text(colour) + "\n"), self.shape.file.then(json)),
        };
        match &self.way {
            Way::Thread(lines) => lines.try_send(LogLine::Text { stdout, file }).is_ok(),
            Way::Here(own) => {
                let mut own = own.lock().unwrap_or_else(PoisonError::into_inner);
                put(stdout.as_deref(), own.as_mut().zip(file.as_deref()));
                true
            }
        }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Spans<'_, S>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut entry = LogEntry::new(Timestamp::now(), LogLevel::Warning, "heald::logging");
            entry.message = format!("{dropped} lines of the log were dropped: nobody read them in time");
            if !self.say(&entry) {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => LogLevel::Error,
            tracing::Level::WARN => LogLevel::Warning,
            tracing::Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        };
        let mut entry = LogEntry::new(Timestamp::now(), level, event.metadata().target());
        event.record(&mut entry);
        if !self.say(&entry) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One line before it has a form.
#[derive(Debug)]
struct LogEntry {
    at: Timestamp,
    level: LogLevel,
    logger: String,
    message: String,
    fields: Map<String, Value>,
}

impl LogEntry {
    fn new(at: Timestamp, level: LogLevel, target: &str) -> Self {
        Self { at, level, logger: target.replace("::", "."), message: String::new(), fields: Map::new() }
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("critical", Value::Bool(true)) if self.level == LogLevel::Error => self.level = LogLevel::Critical,
            // The four keys of every line are taken.
            (name @ ("timestamp" | "level" | "logger" | "message"), value) => {
                self.fields.insert(format!("field.{name}"), value);
            }
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }

    fn json(&self) -> String {
        let mut line = String::with_capacity(192);
        let text = |text: &str| Value::from(text).to_string();
        // In this order, which a map would not keep.
        let _ = write!(
            line,
            "{{\"timestamp\":\"{}\",\"level\":\"{}\",\"logger\":{},\"message\":{}",
            self.at.strftime("%Y-%m-%dT%H:%M:%S%.6f"),
            self.level.as_str(),
            text(&self.logger),
            text(&self.message),
        );
        for (name, value) in &self.fields {
            let _ = write!(line, ",{}:{value}", text(name));
        }
        line.push('}');
        line
    }

    fn text(&self, colour: bool) -> String {
        let (on, dim, off) = if colour { (colour_of(self.level), "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let mut line = format!(
            "{dim}{}{off} {on}{:<8}{off} {}",
            self.at.strftime("%H:%M:%S%.3f"),
            self.level.as_str(),
            plain(&self.message),
        );
        for (name, value) in &self.fields {
            let value = match value {
                Value::String(text) => plain(text),
                value => value.to_string(),
            };
            let _ = write!(line, " {dim}{name}={off}{value}");
        }
        let _ = write!(line, " {dim}({}){off}", self.logger);
        line
    }
}

/// What a guest or a service says may hold anything; a terminal would obey it.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

const fn colour_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "\x1b[2m",
        LogLevel::Info => "\x1b[32m",
        LogLevel::Warning => "\x1b[33m",
        LogLevel::Error | LogLevel::Critical => "\x1b[31m",
    }
}

impl Visit for LogEntry {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let chain = std::iter::successors(Some(value), |error| error.source()).map(ToString::to_string);
        self.add(field, chain.collect::<Vec<_>>().join(": ").into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is logged within, as it would reach standard output.
    fn logged(shape: LogShape, level: LogLevel, within: impl FnOnce()) -> Vec<(String, Option<String>)> {
        let (lines, waiting) = sync_channel(64);
        let layer = LogLayer { shape, way: Way::Thread(lines), dropped: AtomicU64::new(0) };
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter(level)));
        tracing::subscriber::with_default(subscriber, within);
        let text = |line| match line {
            LogLine::Text { stdout, file } => (stdout.unwrap_or_default(), file),
            LogLine::Flush(_) => panic!("nobody said so"),
        };
        waiting.try_iter().map(text).collect()
    }

    const JSON: LogShape = LogShape { stdout: Stdout::Json, file: false };

    #[test]
    fn a_line_is_one_json_object_with_its_four_keys_first() {
        let error = std::io::Error::other(anyhow::anyhow!("inner"));
        let lines = logged(JSON, LogLevel::Info, || {
            tracing::info!(target: "heald_engine::heal", service = "web\n", tries = 3, ratio = 0.5, ok = true, "No action {}", "required");
            tracing::error!(target: "heald", error = &error as &dyn std::error::Error, level = "x");
        });
        assert_eq!(lines.len(), 2);
        let (first, file) = &lines[0];
        assert!(first.starts_with("{\"timestamp\":\"") && first.ends_with("}\n"), "{first}");
        assert_eq!(first.matches('\n').count(), 1, "one line whatever it holds");
        assert!(file.is_none());
        let value: Value = serde_json::from_str(first).unwrap();
        let stamp = value["timestamp"].as_str().unwrap();
        assert_eq!(stamp.len(), "2026-11-22T10:00:00.000001".len());
        assert!(stamp.chars().all(|c| c.is_ascii_digit() || "-T:.".contains(c)), "no offset: {stamp}");
        assert_eq!((&value["level"], &value["logger"]), (&"INFO".into(), &"heald_engine.heal".into()));
        assert_eq!(value["message"], "No action required");
        assert_eq!((&value["service"], &value["tries"]), (&"web\n".into(), &3.into()));
        assert_eq!((&value["ratio"], &value["ok"]), (&0.5.into(), &true.into()));
        let second: Value = serde_json::from_str(&lines[1].0).unwrap();
        assert_eq!((&second["level"], &second["field.level"]), (&"ERROR".into(), &"x".into()));
        assert_eq!(second["error"], "inner");
    }

    #[test]
    fn levels_are_spelled_out_and_kept_to() {
        let all = || {
            tracing::trace!(target: "heald", "t");
            tracing::debug!(target: "heald", "d");
            tracing::info!(target: "heald", "i");
            tracing::warn!(target: "heald", "w");
            tracing::error!(target: "heald", "e");
            tracing::error!(target: "heald", critical = true, "c");
            tracing::info!(target: "hyper", "noise");
            tracing::warn!(target: "hyper", "signal");
        };
        let levels = |level| -> Vec<String> {
            let value = |(line, _): (String, _)| serde_json::from_str::<Value>(&line).unwrap();
            let words = logged(JSON, level, all).into_iter().map(value);
            words.map(|v| format!("{}:{}", v["level"].as_str().unwrap(), v["message"].as_str().unwrap())).collect()
        };
        assert_eq!(levels(LogLevel::Info), ["INFO:i", "WARNING:w", "ERROR:e", "CRITICAL:c", "WARNING:signal"]);
        assert_eq!(levels(LogLevel::Debug)[0], "DEBUG:d");
        assert_eq!(levels(LogLevel::Error), ["ERROR:e", "CRITICAL:c"]);
    }

    #[test]
    fn text_is_for_people_and_the_file_still_gets_json() {
        let shape = LogShape { stdout: Stdout::Text { colour: false }, file: true };
        let lines = logged(shape, LogLevel::Info, || tracing::warn!(target: "heald::x", port = 8002, "evil \u{1b}[2J"));
        let (text, file) = &lines[0];
        assert!(text.contains("WARNING  evil \u{fffd}[2J port=8002 (heald.x)"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert!(serde_json::from_str::<Value>(file.as_deref().unwrap()).is_ok());
        let colour = LogShape { stdout: Stdout::Text { colour: true }, file: false };
        assert!(logged(colour, LogLevel::Info, || tracing::warn!(target: "heald", "x"))[0].0.contains("\u{1b}[33m"));
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_nothing_else() {
        let (lines, waiting) = sync_channel(2);
        let layer = LogLayer { shape: JSON, way: Way::Thread(lines), dropped: AtomicU64::new(0) };
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..5 {
                tracing::info!(number, "line");
            }
            assert_eq!(waiting.try_iter().count(), 2);
            tracing::info!("there is room again");
        });
        let rest: Vec<String> = waiting.try_iter().map(|line| format!("{line:?}")).collect();
        assert!(rest[0].contains("3 lines of the log were dropped"), "{rest:?}");
        assert!(rest[1].contains("there is room again"));
    }

    #[test]
    fn the_file_is_made_with_its_directory_and_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/heald.log");
        for _ in 0..2 {
            open(&path).unwrap().write_all(b"x\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "x\nx\n");
    }
}
