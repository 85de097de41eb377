//! What guests say: their log lines, cleaned, bounded and rate-limited, and their last words before a trap.
//!
//! It never fails and never blocks. What is too much is dropped and counted, and the count goes with the next line that is
//! let through.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heald_model::PluginName;

use crate::bindings::heald::plugin::log::Level;
use crate::bindings::heald::plugin::types::{FactResult as Fact, ScalarResult as Scalar};
use crate::text;

/// Lines that one plug-in may write at once, and for how many it is allowed per second after that.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;
/// Characters of one line, its facts included.
const LINE: usize = 1_024;
/// Facts of one line; more are left out.
const FACTS: usize = 16;

/// Lets so many lines through, for all instances of one plug-in together.
pub(crate) struct Gate {
    plugin: PluginName,
    bucket: Mutex<Bucket>,
    dropped: AtomicU64,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
    /// Dropped since the last line that was let through.
    unsaid: u64,
}

impl Gate {
    pub(crate) fn new(plugin: PluginName) -> Self {
        let bucket = Bucket { tokens: BURST, filled: Instant::now(), unsaid: 0 };
        Self { plugin, bucket: Mutex::new(bucket), dropped: AtomicU64::new(0) }
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Some: the line may pass, and so many were dropped before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(bucket.filled).as_secs_f64() * PER_SECOND;
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.unsaid += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.unsaid))
    }

    fn say(&self, level: Level, line: impl FnOnce() -> String) {
        // The macros want a level known at compile time, hence the five arms.
        macro_rules! say {
            ($level:ident) => {
                if tracing::enabled!(target: "heald::plugin", tracing::Level::$level) {
                    if let Some(dropped) = self.admit(Instant::now()) {
                        let (plugin, line) = (&self.plugin, line());
                        if dropped == 0 {
                            tracing::event!(target: "heald::plugin", tracing::Level::$level, %plugin, "{line}");
                        } else {
                            tracing::event!(target: "heald::plugin", tracing::Level::$level, %plugin, dropped, "{line}");
                        }
                    }
                }
            };
        }
        match level {
            Level::Trace => say!(TRACE),
            Level::Debug => say!(DEBUG),
            Level::Info => say!(INFO),
            Level::Warn => say!(WARN),
            Level::Error => say!(ERROR),
        }
    }
}

/// One instance's way to be heard.
#[derive(Clone)]
pub(crate) struct Voice {
    gate: Arc<Gate>,
    mouth: Arc<Mouth>,
}

/// What the copies of one voice share.
#[derive(Default)]
struct Mouth {
    last_words: Mutex<Option<String>>,
    /// There may be last words.
    spoke: AtomicBool,
    /// A replay: it was said before.
    mute: AtomicBool,
    /// Bytes of standard output and error since the call began.
    printed: AtomicUsize,
}

impl Voice {
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate, mouth: Arc::default() }
    }

    /// A call begins. What was said before has nothing to do with how this one ends; muted, nothing of it is written.
    pub(crate) fn begin(&self, mute: bool) {
        if self.mouth.spoke.load(Ordering::Relaxed) {
            self.mouth.spoke.store(false, Ordering::Relaxed);
            self.last_words();
        }
        self.mouth.mute.store(mute, Ordering::Relaxed);
        self.mouth.printed.store(0, Ordering::Relaxed);
    }

    /// Bytes of standard output and error since the call began.
    pub(crate) fn printed_bytes(&self) -> usize {
        self.mouth.printed.load(Ordering::Relaxed)
    }

    fn words(&self) -> MutexGuard<'_, Option<String>> {
        self.mouth.last_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, level: Level, line: impl FnOnce() -> String) {
        if !self.mouth.mute.load(Ordering::Relaxed) {
            self.gate.say(level, line);
        }
    }

    /// One line, as a guest wrote it.
    pub(crate) fn line(&self, level: Level, message: &str, facts: &[Fact]) {
        if level == Level::Error {
            // The SDK's panic hook writes here just before the trap.
            self.mouth.spoke.store(true, Ordering::Relaxed);
            *self.words() = Some(text::clean(message, LINE));
        }
        self.say(level, || render(message, facts));
    }

    /// One line of a guest's standard output or error. A panic that is printed has several lines, so they are put together.
    pub(crate) fn printed(&self, level: Level, line: &str) {
        self.mouth.printed.fetch_add(line.len(), Ordering::Relaxed);
        if level == Level::Error {
            self.mouth.spoke.store(true, Ordering::Relaxed);
            let mut words = self.words();
            let words = words.get_or_insert_default();
            let separator = if words.is_empty() { "" } else { " " };
            let left = LINE.saturating_sub(words.len());
            words.push_str(separator);
            words.push_str(&text::clean(line, left));
        }
        self.say(level, || text::clean(line, LINE));
    }

    /// The last error line since this was asked before.
    pub(crate) fn last_words(&self) -> Option<String> {
        self.words().take()
    }
}

fn render(message: &str, facts: &[Fact]) -> String {
    let mut line = text::clean(message, LINE);
    for fact in facts.iter().take(FACTS) {
        let left = LINE.saturating_sub(line.len());
        if left == 0 {
            break;
        }
        let value = match &fact.value {
            Scalar::Truth(truth) => truth.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => format!("{:?}", text::clean(text, LINE)),
        };
        line.push_str(&text::clean(&format!(" {}={value}", fact.name), left));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let gate = Gate::new("chatty".into());
        let now = Instant::now();
        let passed = (0..1_000).filter(|_| gate.admit(now).is_some()).count();
        assert_eq!(passed, 50);
        assert_eq!(gate.dropped(), 950);
        assert_eq!(
            gate.admit(now + Duration::from_millis(100)),
            Some(950),
            "one line is earned, and says how many it lost"
        );
        assert_eq!(gate.admit(now + Duration::from_millis(100)), None);
        assert_eq!(gate.dropped(), 951);
    }

    #[test]
    fn a_line_is_clean_and_bounded() {
        let facts: Vec<_> =
            (0..100).map(|n| Fact { name: format!("f{n}"), value: Scalar::Text("x\u{1b}[31m".repeat(100)) }).collect();
        let line = render("red \u{1b}[31malert\r\nforged line", &facts);
        assert!(line.starts_with("red [31malert forged line f0="), "{line}");
        assert!(line.len() <= LINE + 4, "{}", line.len());
        assert!(!line.chars().any(char::is_control));
    }

    #[test]
    fn the_last_words_are_told_once() {
        let voice = Voice::new(Arc::new(Gate::new("p".into())));
        voice.line(Level::Error, "panicked at src/lib.rs:7:1: no samples", &[]);
        voice.line(Level::Info, "not these", &[]);
        assert_eq!(voice.last_words().as_deref(), Some("panicked at src/lib.rs:7:1: no samples"));
        assert_eq!(voice.last_words(), None);
    }
}
