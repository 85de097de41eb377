//! Safe mode in the runtime: heald died repeatedly, so it begins with native rules only, says so everywhere, and takes its
//! plug-ins back one by one after a calm.
//!
//! The keeper decides when safe mode begins and how long it lasts.

use std::sync::Arc;

use heald_api::SafeMode;
use heald_engine::Healer;
use heald_engine::ports::Clock;
use heald_model::{Entry, Moment, Record};
use heald_platform::Platform;
use tokio::sync::watch;

/// Safe mode as the keeper found it, for people.
pub fn shown(found: &heald_supervisor::SafeMode) -> SafeMode {
    SafeMode { why: found.why.clone(), until: found.until, times: found.times, ending: false }
}

/// What is said when a runtime begins in safe mode.
pub fn announcement(found: &heald_supervisor::SafeMode, now: Moment) -> String {
    let left = found.until.since(now).as_secs();
    format!(
        "safe mode: {}; native rules only, no plug-in is used; the plug-ins come back one by one in {left} s if heald does not \
         die again",
        found.why
    )
}

/// Waits for the calm, takes the plug-ins back, and goes on with the tasks that look after them.
pub async fn leave(
    until: Moment,
    state: watch::Sender<Option<SafeMode>>,
    healer: Arc<Healer>,
    platform: Arc<Platform>,
    clock: Arc<dyn Clock>,
) {
    clock.sleep_until(until).await;
    say(&healer, clock.as_ref(), "safe mode ends: heald takes its plug-ins back, one by one");
    state.send_modify(|safe_mode| {
        if let Some(safe_mode) = safe_mode {
            safe_mode.ending = true;
        }
    });
    let tasks = platform.come_back().await;
    state.send_replace(None);
    say(&healer, clock.as_ref(), "safe mode has ended: the plug-ins are back in use");
    for task in tasks {
        if let Err(error) = task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Tells the log and the event stream.
fn say(healer: &Healer, clock: &dyn Clock, text: &str) {
    tracing::warn!("{text}");
    healer.witness(Entry::of_heald(clock.now(), Record::Note { text: text.to_owned() }));
}
