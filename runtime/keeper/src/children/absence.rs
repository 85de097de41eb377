//! The restart lines, applied while there is no runtime.

use tracing::warn;

use super::Children;
use crate::fallback;
use crate::protocol::{Origin, Place};

impl Children {
    /// Starts again whoever's restart line is due.
    pub(crate) fn fall_back(&mut self, now_us: u64) {
        let due: Vec<Place> =
            self.fallbacks().filter(|(at, _)| *at <= now_us).map(|(_, place)| place.clone()).collect();
        for place in due {
            let Some(room) = self.rooms.get_mut(&place) else { continue };
            let incarnation = room.incarnation + 1;
            let Some(line) = &mut room.line else { continue };
            line.tries = line.tries.saturating_add(1);
            line.spawn.spawn = format!("{}~{incarnation}", line.asked);
            let request = line.spawn.clone();
            match self.start(&request, Origin::Fallback) {
                Ok(child) => {
                    warn!(%place, pid = child.pid, incarnation, "no runtime: restarted by the restart line");
                    if let Some(line) = self.rooms.get_mut(&place).and_then(|room| room.line.as_mut()) {
                        line.ended = None;
                    }
                }
                Err(refusal) => {
                    warn!(%place, %refusal, "no runtime, and the restart line failed");
                    if let Some(line) = self.rooms.get_mut(&place).and_then(|room| room.line.as_mut()) {
                        line.ended = line.ended.map(|(end, _)| (end, now_us));
                    }
                }
            }
        }
    }

    /// Whose restart line is due when.
    fn fallbacks(&self) -> impl Iterator<Item = (u64, &Place)> {
        self.rooms.iter().filter(|(_, room)| room.tenant.is_none()).filter_map(|(place, room)| {
            let line = room.line.as_ref()?;
            let (end, ended_us) = line.ended?;
            let wanted = fallback::wants_restart(&line.spawn.fallback, end);
            wanted.then(|| (ended_us + fallback::pause_us(&line.spawn.fallback, line.tries), place))
        })
    }

    /// When the next restart line is due.
    pub(crate) fn next_fall_back(&self) -> Option<u64> {
        self.fallbacks().map(|(at, _)| at).min()
    }
}
