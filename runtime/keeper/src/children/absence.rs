//! The fallbacks of the children, applied while there is no runtime.
//!
//! It restarts only what the runtime allowed beforehand. It decides nothing while a runtime is in charge.

use tracing::warn;

use super::Children;
use crate::fallback;
use crate::protocol::{ChildOrigin, SlotId};

impl Children {
    /// Starts again every child whose fallback is due.
    pub(crate) fn apply_fallbacks(&mut self, now_us: u64) {
        let due: Vec<SlotId> = self.fallbacks().filter(|(at, _)| *at <= now_us).map(|(_, slot)| slot.clone()).collect();
        for id in due {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let incarnation = slot.incarnation + 1;
            let Some(fallback) = &mut slot.fallback else { continue };
            fallback.tries = fallback.tries.saturating_add(1);
            fallback.spawn.spawn = format!("{}~{incarnation}", fallback.asked);
            let request = fallback.spawn.clone();
            match self.start(&request, ChildOrigin::Fallback) {
                Ok(child) => {
                    warn!(slot = %id, pid = child.pid, incarnation, "restarted without a runtime, as its configuration says");
                    if let Some(fallback) = self.slots.get_mut(&id).and_then(|slot| slot.fallback.as_mut()) {
                        fallback.ended = None;
                    }
                }
                Err(refusal) => {
                    warn!(slot = %id, %refusal, "cannot be restarted without a runtime");
                    if let Some(fallback) = self.slots.get_mut(&id).and_then(|slot| slot.fallback.as_mut()) {
                        fallback.ended = fallback.ended.map(|(end, _)| (end, now_us));
                    }
                }
            }
        }
    }

    /// When each fallback is due.
    fn fallbacks(&self) -> impl Iterator<Item = (u64, &SlotId)> {
        let hold = self.ledger.restart_hold();
        let empty = self.slots.iter().filter(|(id, slot)| slot.live.is_none() && !hold.covers(&id.service));
        empty.filter_map(|(id, slot)| {
            let fallback = slot.fallback.as_ref()?;
            let (end, ended_us) = fallback.ended?;
            let wanted = fallback::wants_restart(&fallback.spawn.fallback, end);
            wanted.then(|| (ended_us + fallback::pause_us(&fallback.spawn.fallback, fallback.tries), id))
        })
    }

    /// When the next fallback is due.
    pub(crate) fn next_fallback(&self) -> Option<u64> {
        self.fallbacks().map(|(at, _)| at).min()
    }
}
