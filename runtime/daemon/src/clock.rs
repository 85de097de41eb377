//! The real time, and real dice.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use heald_engine::ports::{Clock, Entropy};
use heald_model::Moment;
use uuid::{NoContext, Timestamp, Uuid};

/// The wall clock in microseconds as it was at the start, carried on by the monotonic one: it never runs backwards, whatever is done to the
/// machine's clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    wall: Moment,
    mono: Instant,
}

impl SystemClock {
    /// A clock set by the machine's.
    pub fn start() -> Arc<Self> {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Arc::new(Self { wall: whole(Moment::EPOCH + wall), mono: Instant::now() })
    }
}

/// In whole microseconds: what is finer is noise, and would be a quarter of the tape that replays are made from.
fn whole(moment: Moment) -> Moment {
    Moment::from_nanos(moment.nanos() / 1_000 * 1_000)
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        whole(self.wall + self.mono.elapsed())
    }

    async fn sleep_until(&self, then: Moment) {
        if then == Moment::NEVER {
            return std::future::pending().await;
        }
        tokio::time::sleep_until((self.mono + then.since(self.wall)).into()).await;
    }
}

/// Random numbers of the operating system, and ids that sort by time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn id(&self, now: Moment) -> Uuid {
        let (seconds, nanos) = (now.nanos() / 1_000_000_000, now.nanos() % 1_000_000_000);
        Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, u32::try_from(nanos).unwrap_or(0)))
    }

    fn roll(&self) -> u64 {
        rand::random()
    }
}
