//! Lines in heald's log, and the panic hook that writes the last one.
//!
//! ```
//! heald_plugin::log::info!("{} of {} probes answer", 2, 3);
//! heald_plugin::log::warn!(facts: { cpu = 97.5, probe = "http" }; "the processor is busy");
//! ```
//!
//! Logging never fails and never blocks: the host drops and counts what is too much. Under a native test the lines are kept
//! for [`testing::logged`](crate::testing::logged).

use std::sync::Once;

use crate::Fact;
pub use crate::bindings::capabilities::heald::plugin::log::Level;
pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// Writes one line.
pub fn write(level: Level, message: &str, facts: &[Fact]) {
    #[cfg(target_family = "wasm")]
    crate::bindings::capabilities::heald::plugin::log::write(level, message, facts);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::remember(level, message, facts);
}

/// Says why before the trap: without it the host would learn only that the guest hit `unreachable`.
pub(crate) fn install_panic_hook() {
    static ONCE: Once = Once::new();
    // A native test has a hook of its own, and its panics are the test's business.
    if cfg!(target_family = "wasm") {
        ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string(), &[]))));
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, facts: { $($name:ident = $value:expr),* $(,)? }; $($text:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($($text)+),
            &[$($crate::Fact::new(::std::stringify!($name), $value)),*],
        )
    };
    ($level:ident, $($text:tt)+) => {
        $crate::log::write($crate::log::Level::$level, &::std::format!($($text)+), &[])
    };
}

/// A line at level trace; see [`crate::log`].
#[doc(hidden)]
#[macro_export]
macro_rules! __trace { ($($said:tt)+) => { $crate::__log!(Trace, $($said)+) }; }
/// A line at level debug; see [`crate::log`].
#[doc(hidden)]
#[macro_export]
macro_rules! __debug { ($($said:tt)+) => { $crate::__log!(Debug, $($said)+) }; }
/// A line at level info; see [`crate::log`].
#[doc(hidden)]
#[macro_export]
macro_rules! __info { ($($said:tt)+) => { $crate::__log!(Info, $($said)+) }; }
/// A line at level warn; see [`crate::log`].
#[doc(hidden)]
#[macro_export]
macro_rules! __warn { ($($said:tt)+) => { $crate::__log!(Warn, $($said)+) }; }
/// A line at level error; see [`crate::log`].
#[doc(hidden)]
#[macro_export]
macro_rules! __error { ($($said:tt)+) => { $crate::__log!(Error, $($said)+) }; }
