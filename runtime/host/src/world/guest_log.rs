//! The log lines of guests, cleaned, bounded and rate-limited, and the last error line before a trap.
//!
//! It never fails and never blocks. Lines beyond the limit are dropped and counted, and the next line that passes
//! carries the count.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use heald_model::PluginName;

use crate::bindings::heald::plugin::log::Level;
use crate::bindings::heald::plugin::types::{FactResult as Fact, ScalarResult as Scalar};
use crate::text;

/// Lines that one plug-in may write at once, and lines per second after that.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;
/// Characters of one line, its facts included.
const LINE: usize = 1_024;
/// Facts of one line; more are left out.
const FACTS: usize = 16;

/// Limits the lines of all instances of one plug-in together.
pub(crate) struct LogLimiter {
    plugin: PluginName,
    bucket: Mutex<Bucket>,
    dropped: AtomicU64,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
    /// Dropped since the last line that was let through.
    dropped: u64,
}

impl LogLimiter {
    pub(crate) fn new(plugin: PluginName) -> Self {
        let bucket = Bucket { tokens: BURST, filled: Instant::now(), dropped: 0 };
        Self { plugin, bucket: Mutex::new(bucket), dropped: AtomicU64::new(0) }
    }

    /// Lines dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Some: the line passes; the number counts the lines dropped before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(bucket.filled).as_secs_f64() * PER_SECOND;
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.dropped))
    }

    fn write(&self, level: Level, line: impl FnOnce() -> String) {
        // The macros need a level that is known at compile time, hence five arms.
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

/// The log of one instance.
#[derive(Clone)]
pub(crate) struct GuestLog {
    limiter: Arc<LogLimiter>,
    inner: Arc<GuestLogInner>,
}

/// What the clones of one log share.
#[derive(Default)]
struct GuestLogInner {
    last_error: Mutex<Option<String>>,
    /// Whether there may be a last error.
    has_error: AtomicBool,
    /// A replay writes nothing: the live call wrote the lines.
    muted: AtomicBool,
    /// Bytes of standard output and error since the call began.
    printed: AtomicUsize,
}

impl GuestLog {
    pub(crate) fn new(limiter: Arc<LogLimiter>) -> Self {
        Self { limiter, inner: Arc::default() }
    }

    /// Begins a call. It forgets the error of the call before; muted, the log writes nothing.
    pub(crate) fn begin(&self, muted: bool) {
        if self.inner.has_error.load(Ordering::Relaxed) {
            self.inner.has_error.store(false, Ordering::Relaxed);
            self.last_error();
        }
        self.inner.muted.store(muted, Ordering::Relaxed);
        self.inner.printed.store(0, Ordering::Relaxed);
    }

    /// Bytes of standard output and error since the call began.
    pub(crate) fn printed_bytes(&self) -> usize {
        self.inner.printed.load(Ordering::Relaxed)
    }

    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.inner.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, level: Level, line: impl FnOnce() -> String) {
        if !self.inner.muted.load(Ordering::Relaxed) {
            self.limiter.write(level, line);
        }
    }

    /// Writes one line of a guest.
    pub(crate) fn line(&self, level: Level, message: &str, facts: &[Fact]) {
        if level == Level::Error {
            // The SDK's panic hook writes here just before the trap.
            self.inner.has_error.store(true, Ordering::Relaxed);
            *self.error() = Some(text::clean(message, LINE));
        }
        self.write(level, || render(message, facts));
    }

    /// Writes one line of a guest's standard output or error. A printed panic has several lines, so the last error
    /// joins them.
    pub(crate) fn printed(&self, level: Level, line: &str) {
        self.inner.printed.fetch_add(line.len(), Ordering::Relaxed);
        if level == Level::Error {
            self.inner.has_error.store(true, Ordering::Relaxed);
            let mut error = self.error();
            let error = error.get_or_insert_default();
            let separator = if error.is_empty() { "" } else { " " };
            let left = LINE.saturating_sub(error.len());
            error.push_str(separator);
            error.push_str(&text::clean(line, left));
        }
        self.write(level, || text::clean(line, LINE));
    }

    /// Takes the last error line.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.error().take()
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
        let limiter = LogLimiter::new("chatty".into());
        let now = Instant::now();
        let passed = (0..1_000).filter(|_| limiter.admit(now).is_some()).count();
        assert_eq!(passed, 50);
        assert_eq!(limiter.dropped(), 950);
        assert_eq!(
            limiter.admit(now + Duration::from_millis(100)),
            Some(950),
            "one line is earned, and says how many it lost"
        );
        assert_eq!(limiter.admit(now + Duration::from_millis(100)), None);
        assert_eq!(limiter.dropped(), 951);
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
    fn the_last_error_is_taken_once() {
        let log = GuestLog::new(Arc::new(LogLimiter::new("p".into())));
        log.line(Level::Error, "panicked at src/lib.rs:7:1: no samples", &[]);
        log.line(Level::Info, "not these", &[]);
        assert_eq!(log.last_error().as_deref(), Some("panicked at src/lib.rs:7:1: no samples"));
        assert_eq!(log.last_error(), None);
    }
}
