//! The restart line: what the keeper does about an ended child when no runtime is there to judge. Pure; deliberately dumb,
//! because judgement is the runtime's.

use crate::protocol::{End, Fallback, Restart};

/// The longest pause between two starts.
const LONGEST_MS: u64 = 60_000;

/// The shortest pause from the second start on, whatever the line says: a child that dies at once must not spin.
const SHORTEST_MS: u64 = 100;

/// A child that lived this long has earned a fresh count.
pub(crate) const LASTED_US: u64 = 60_000_000;

/// Whether a child that ended so is to be started again.
pub(crate) fn wants_restart(line: &Fallback, end: End) -> bool {
    match (line.restart, end) {
        (Restart::Always, _) => true,
        (Restart::Never, _) => false,
        (Restart::OnFailure, End::Code(code)) => code != 0 && !line.success_codes.contains(&code),
        // An end nobody saw may have been a failure; two copies are no danger, since nobody lives there.
        (Restart::OnFailure, End::Signal { .. } | End::Unknown) => true,
    }
}

/// The pause before the next start, after so many that did not last.
pub(crate) fn pause_us(line: &Fallback, tries: u32) -> u64 {
    let first = line.backoff_ms.min(LONGEST_MS);
    let pause = match tries {
        0 => first,
        _ => first.max(SHORTEST_MS).saturating_mul(1_u64.checked_shl(tries.min(32)).unwrap_or(u64::MAX)),
    };
    pause.min(LONGEST_MS) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(restart: Restart) -> Fallback {
        Fallback { restart, success_codes: vec![3], backoff_ms: 0 }
    }

    #[test]
    fn each_line_restarts_what_it_says() {
        let killed = End::Signal { signal: 9, core: false };
        let table = [
            (Restart::Always, End::Code(0), true),
            (Restart::Always, killed, true),
            (Restart::Never, killed, false),
            (Restart::OnFailure, End::Code(0), false),
            (Restart::OnFailure, End::Code(3), false),
            (Restart::OnFailure, End::Code(1), true),
            (Restart::OnFailure, killed, true),
            (Restart::OnFailure, End::Unknown, true),
        ];
        for (restart, end, wanted) in table {
            assert_eq!(wants_restart(&line(restart), end), wanted, "{restart:?} {end:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let pauses: Vec<u64> = (0..12).map(|tries| pause_us(&line(Restart::Always), tries) / 1000).collect();
        assert_eq!(pauses, [0, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(pause_us(&line(Restart::Always), u32::MAX), LONGEST_MS * 1000);
    }
}
