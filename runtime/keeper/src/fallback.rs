//! Fallbacks: what the keeper does about an ended child while there is no runtime.
//!
//! It is pure, and deliberately simple, because judgement is the runtime's.

use crate::protocol::{End, Fallback, FallbackRestart};

/// The longest pause between two starts.
const LONGEST_MS: u64 = 60_000;

/// The shortest pause from the second start on, so that a child that dies at once does not spin.
const SHORTEST_MS: u64 = 100;

/// A child that lived this long begins again with the first pause.
pub(crate) const LASTED_US: u64 = 60_000_000;

/// Whether the fallback starts a child again that ended like this.
pub(crate) fn wants_restart(fallback: &Fallback, end: End) -> bool {
    match (fallback.restart, end) {
        (FallbackRestart::Always, _) => true,
        (FallbackRestart::Never, _) => false,
        (FallbackRestart::OnFailure, End::Code(code)) => code != 0 && !fallback.success_codes.contains(&code),
        // An unknown end may have been a failure. A second copy cannot result, because the slot is empty.
        (FallbackRestart::OnFailure, End::Signal { .. } | End::Unknown) => true,
    }
}

/// The pause before the next start, after `tries` starts that did not last.
pub(crate) fn pause_us(fallback: &Fallback, tries: u32) -> u64 {
    let first = fallback.backoff_ms.min(LONGEST_MS);
    let pause = match tries {
        0 => first,
        _ => first.max(SHORTEST_MS).saturating_mul(1_u64.checked_shl(tries.min(32)).unwrap_or(u64::MAX)),
    };
    pause.min(LONGEST_MS) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fallback(restart: FallbackRestart) -> Fallback {
        Fallback { restart, success_codes: vec![3], backoff_ms: 0 }
    }

    #[test]
    fn each_line_restarts_what_it_says() {
        let killed = End::Signal { signal: 9, core: false };
        let table = [
            (FallbackRestart::Always, End::Code(0), true),
            (FallbackRestart::Always, killed, true),
            (FallbackRestart::Never, killed, false),
            (FallbackRestart::OnFailure, End::Code(0), false),
            (FallbackRestart::OnFailure, End::Code(3), false),
            (FallbackRestart::OnFailure, End::Code(1), true),
            (FallbackRestart::OnFailure, killed, true),
            (FallbackRestart::OnFailure, End::Unknown, true),
        ];
        for (restart, end, wanted) in table {
            assert_eq!(wants_restart(&fallback(restart), end), wanted, "{restart:?} {end:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let pauses: Vec<u64> =
            (0..12).map(|tries| pause_us(&fallback(FallbackRestart::Always), tries) / 1000).collect();
        assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(pause_us(&fallback(FallbackRestart::Always), u32::MAX), LONGEST_MS * 1000);
    }
}
