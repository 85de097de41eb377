//! What a plug-in still holds of its grant. The operator grants when the plug-in is loaded, and may revoke at any time.
//! All its instances look here, so that a revocation reaches those at work.
//!
//! heald's own interfaces and HTTP ask at every call. Files, clocks and randomness are built into the WASI context of
//! an instance, where nobody asks. When one of those is revoked, older instances belong to an older generation: their
//! calls are stopped, and new instances are made without it. It never gives anything back: for that, the plug-in is
//! loaded again.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use tokio::sync::Notify;

use crate::config::Grant;
use crate::world::capability::Capability;

/// The grants of one plug-in, shared by all its instances.
pub(crate) struct Grants {
    granted: u8,
    /// Granted, with no host or directory behind it.
    empty: u8,
    held: AtomicU8,
    generation: AtomicU32,
    revoked: Notify,
}

impl Grants {
    pub(crate) fn of(grant: &Grant) -> Self {
        let granted = Capability::ALL.into_iter().filter(|capability| capability.is_granted(grant));
        let granted = granted.fold(0, |bits, capability| bits | capability.bit());
        let empty = [
            (Capability::Http, grant.http.as_ref().is_some_and(Vec::is_empty)),
            (Capability::Files, grant.files.as_ref().is_some_and(Vec::is_empty)),
        ];
        let empty = empty.into_iter().filter(|(_, empty)| *empty);
        let empty = empty.fold(0, |bits, (capability, _)| bits | capability.bit());
        let (held, generation) = (AtomicU8::new(granted), AtomicU32::new(0));
        Self { granted, empty, held, generation, revoked: Notify::new() }
    }

    /// Whether a capability is granted and not revoked.
    pub(crate) fn holds(&self, capability: Capability) -> bool {
        self.held.load(Ordering::Acquire) & capability.bit() != 0
    }

    /// Whether a capability is held and leads somewhere: an empty list of hosts or directories leads nowhere.
    pub(crate) fn opens(&self, capability: Capability) -> bool {
        self.holds(capability) && self.empty & capability.bit() == 0
    }

    /// Revokes a capability; true if it was held.
    pub(crate) fn revoke(&self, capability: Capability) -> bool {
        let held = self.held.fetch_and(!capability.bit(), Ordering::AcqRel) & capability.bit() != 0;
        if held && capability.is_built_in() {
            // The bit is cleared first: whoever sees the new generation also sees what it lacks.
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.revoked.notify_waiters();
        }
        held
    }

    /// The generation of an instance that is made now. Read it before [`effective`](Self::effective): an instance with
    /// too old a generation is noticed, one with too many capabilities is not.
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns when instances of this generation have more than is still held.
    pub(crate) async fn outdated(&self, generation: u32) {
        loop {
            let revoked = self.revoked.notified();
            if self.generation() != generation {
                return;
            }
            revoked.await;
        }
    }

    /// The part of the grant that is still held. An interface that was linked stays linked, with nothing behind it.
    pub(crate) fn effective<'g>(&self, grant: &'g Grant) -> Cow<'g, Grant> {
        if self.held.load(Ordering::Acquire) == self.granted {
            return Cow::Borrowed(grant);
        }
        let mut effective = grant.clone();
        let keep = |capability| self.holds(capability);
        if let Some(http) = effective.http.as_mut().filter(|_| !keep(Capability::Http)) {
            http.clear();
        }
        if let Some(files) = effective.files.as_mut().filter(|_| !keep(Capability::Files)) {
            files.clear();
        }
        effective.kv &= keep(Capability::Kv);
        effective.process &= keep(Capability::Process);
        effective.process_control &= keep(Capability::ProcessControl);
        effective.clock &= keep(Capability::Clock);
        effective.random &= keep(Capability::Random);
        Cow::Owned(effective)
    }

    /// The revoked capabilities.
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
            let grants = Grants::of(&grant);
            assert_eq!(*grants.effective(&grant), grant);
            assert!(grants.revoke(capability) && !grants.revoke(capability));
            assert_eq!(grants.revoked(), [capability]);
            assert!(Capability::ALL.into_iter().all(|other| grants.holds(other) == (other != capability)));
            assert_ne!(*grants.effective(&grant), grant, "{capability} is gone from what is effective");
            assert_eq!(capability.as_str().parse(), Ok(capability));
        }
        assert!(
            "file".parse::<Capability>().unwrap_err().to_string().contains("`file` is no capability; there are http")
        );
    }

    #[test]
    fn what_was_not_granted_cannot_be_taken_back() {
        let grants = Grants::of(&Grant::default());
        assert!(!grants.revoke(Capability::Files));
        assert_eq!((grants.generation(), grants.revoked()), (0, Vec::new()));
    }

    #[test]
    fn only_what_is_built_into_instances_ends_a_generation() {
        let grants = Grants::of(&everything());
        let mut outdated = pin!(grants.outdated(0));
        let mut cx = Context::from_waker(Waker::noop());
        for asked in [Capability::Http, Capability::Kv, Capability::Process, Capability::ProcessControl] {
            grants.revoke(asked);
            assert_eq!(outdated.as_mut().poll(&mut cx), Poll::Pending, "{asked}");
        }
        grants.revoke(Capability::Clock);
        assert_eq!(outdated.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(grants.generation(), 1);
    }
}
