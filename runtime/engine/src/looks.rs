//! Looks that come before anything is done or said about a service: at itself, and at what it needs. Nothing is judged here.

use std::time::Duration;

use heald_model::{Breaker, Desired, Incident, Moment};

use crate::context::Context;
use crate::service::Service;

/// Has the service looked at now, through an open circuit too; a look that is under way is waited for.
pub(crate) fn ask_for_look(ctx: &Context, service: &Service) {
    /// A look that never ends is asked for again.
    const LOOK: Duration = Duration::from_secs(5);
    let now = ctx.now();
    let mut state = service.lock();
    if state.look_asked.is_some_and(|asked| now.since(asked) < LOOK) {
        return;
    }
    state.look_asked = Some(now);
    drop(state);
    ctx.ports.probes.expect(&service.name, None);
}

/// What the service needs and has yet to be judged, if anything: it may have failed first, and it explains the incident then.
pub(crate) fn unclear_dependency(ctx: &Context, service: &Service, incident: &Incident, now: Moment) -> Option<String> {
    let fell_ill = incident.concerns.iter().map(|concern| concern.since).min()?;
    service.spec().depends_on.iter().find_map(|name| {
        let needed = ctx.services.get(name).filter(|needed| ctx.desired(needed) == Desired::Running)?;
        let spec = needed.spec();
        let checks = needed.lock().checks(&spec.probes)?;
        // A suspended check takes longer until enough have failed; any other that comes to no end explains nothing for ever.
        let circuit = ctx.ports.probes.breaker(name);
        let suspended = checks.failing && matches!(circuit, Breaker::Open | Breaker::HalfOpen);
        let too_late = now.since(fell_ill) > checks.judged_within && !suspended;
        if needed.up() == Some(false) || too_late || !(checks.failing || checks.ended < fell_ill) {
            return None;
        }
        ask_for_look(ctx, &needed);
        Some(match checks.failing {
            true => format!("{name}, which {} needs, fails its checks too; it is judged first", service.name),
            false => format!("{name} was not checked since {} fell ill; it is looked at first", service.name),
        })
    })
}
