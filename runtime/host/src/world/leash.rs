//! What of its grant a plug-in still holds. The operator grants when it is loaded, and may take back at any time; all of its
//! instances look here, so that taking back reaches those at work.
//!
//! heald's own interfaces and HTTP ask at every call. Files, clocks and dice are built into the WASI context of an instance,
//! where nobody asks: when one of those is taken back, instances made before it are of an older generation, their calls are
//! stopped, and new ones are made without it. Nothing is ever given back: for that, the plug-in is loaded anew.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::config::Grant;
use crate::world::capability::Capability;

/// One plug-in's, shared by all of its instances.
pub(crate) struct Leash {
    granted: u8,
    /// Granted with nothing behind it.
    hollow: u8,
    held: AtomicU8,
    generation: AtomicU32,
    slipped: Notify,
}

impl Leash {
    pub(crate) fn of(grant: &Grant) -> Self {
        let granted = Capability::ALL.into_iter().filter(|capability| capability.is_granted(grant));
        let granted = granted.fold(0, |bits, capability| bits | capability.bit());
        let hollow = [
            (Capability::Http, grant.http.as_ref().is_some_and(Vec::is_empty)),
            (Capability::Files, grant.files.as_ref().is_some_and(Vec::is_empty)),
        ];
        let hollow = hollow.into_iter().filter(|(_, hollow)| *hollow);
        let hollow = hollow.fold(0, |bits, (capability, _)| bits | capability.bit());
        let (held, generation) = (AtomicU8::new(granted), AtomicU32::new(0));
        Self { granted, hollow, held, generation, slipped: Notify::new() }
    }

    /// Granted, and not taken back.
    pub(crate) fn holds(&self, capability: Capability) -> bool {
        self.held.load(Ordering::Acquire) & capability.bit() != 0
    }

    /// Holds it, and there is something behind it: an empty list of hosts or directories is an interface that leads nowhere.
    pub(crate) fn opens(&self, capability: Capability) -> bool {
        self.holds(capability) && self.hollow & capability.bit() == 0
    }

    /// Takes it back; true if it was held.
    pub(crate) fn revoke(&self, capability: Capability) -> bool {
        let held = self.held.fetch_and(!capability.bit(), Ordering::AcqRel) & capability.bit() != 0;
        if held && capability.is_built_in() {
            // After the bit: whoever sees the new generation sees what it lacks.
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.slipped.notify_waiters();
        }
        held
    }

    /// What an instance is made with. Read it before [`left`](Self::left): an instance that is too old is found out, one
    /// that has too much is not.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns once instances of that generation have more than is left.
    pub(crate) async fn outgrown(&self, generation: u32) {
        loop {
            let slipped = self.slipped.notified();
            if self.generation() != generation {
                return;
            }
            slipped.await;
        }
    }

    /// What is left of the grant for a new instance. An interface that was linked stays so, with nothing behind it.
    pub(crate) fn left<'g>(&self, grant: &'g Grant) -> Cow<'g, Grant> {
        if self.held.load(Ordering::Acquire) == self.granted {
            return Cow::Borrowed(grant);
        }
        let mut left = grant.clone();
        let keep = |capability| self.holds(capability);
        if let Some(http) = left.http.as_mut().filter(|_| !keep(Capability::Http)) {
            http.clear();
        }
        if let Some(files) = left.files.as_mut().filter(|_| !keep(Capability::Files)) {
            files.clear();
        }
        left.kv &= keep(Capability::Kv);
        left.process &= keep(Capability::Process);
        left.process_control &= keep(Capability::ProcessControl);
        left.clock &= keep(Capability::Clock);
        left.random &= keep(Capability::Random);
        Cow::Owned(left)
    }

    /// What was taken back.
    pub(crate) fn revoked(&self) -> Vec<Capability> {
        let granted = Capability::ALL.into_iter().filter(|capability| self.granted & capability.bit() != 0);
        granted.filter(|capability| !self.holds(*capability)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::config::Directory;

    fn everything() -> Grant {
        let directory = Directory { host: "/srv".into(), guest: "/srv".into(), write: true };
        Grant {
            http: Some(vec![serde_json::from_str("\"hooks.example.com\"").unwrap()]),
            kv: true,
            process: true,
            process_control: true,
            files: Some(vec![directory]),
            clock: true,
            random: true,
        }
    }

    #[test]
    fn each_capability_is_taken_back_alone_and_once() {
        for capability in Capability::ALL {
            let grant = everything();
            let leash = Leash::of(&grant);
            assert_eq!(*leash.left(&grant), grant);
            assert!(leash.revoke(capability) && !leash.revoke(capability));
            assert_eq!(leash.revoked(), [capability]);
            assert!(Capability::ALL.into_iter().all(|other| leash.holds(other) == (other != capability)));
            assert_ne!(*leash.left(&grant), grant, "{capability} is gone from what is left");
            assert_eq!(capability.as_str().parse(), Ok(capability));
        }
        assert!(
            "file".parse::<Capability>().unwrap_err().to_string().contains("`file` is no capability; there are http")
        );
    }

    #[test]
    fn what_was_not_granted_cannot_be_taken_back() {
        let leash = Leash::of(&Grant::default());
        assert!(!leash.revoke(Capability::Files));
        assert_eq!((leash.generation(), leash.revoked()), (0, Vec::new()));
    }

    #[test]
    fn only_what_is_built_into_instances_ends_a_generation() {
        let leash = Leash::of(&everything());
        let mut outgrown = pin!(leash.outgrown(0));
        let mut cx = Context::from_waker(Waker::noop());
        for asked in [Capability::Http, Capability::Kv, Capability::Process, Capability::ProcessControl] {
            leash.revoke(asked);
            assert_eq!(outgrown.as_mut().poll(&mut cx), Poll::Pending, "{asked}");
        }
        leash.revoke(Capability::Clock);
        assert_eq!(outgrown.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(leash.generation(), 1);
    }
}
