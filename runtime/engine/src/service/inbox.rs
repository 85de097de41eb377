//! What a service's task is told: samples, and news of everything else.
//!
//! Samples are bounded: when a slow detector falls behind, the oldest are dropped and counted, the newest are kept. News are few
//! and never dropped. The inbox looks at nothing that it carries.

use std::collections::VecDeque;
use std::sync::Mutex;

use heald_model::{Order, OrderError, OrderOutcome, Sample, Source};
use tokio::sync::{Notify, oneshot};

use crate::service::{ServiceSetup, lock};

/// Samples that wait at most: ten seconds of a hundred probes that look every second.
const WAITING_SAMPLES: usize = 1_000;

/// An order whose turn has not come.
pub(crate) struct WaitingOrder {
    pub(crate) order: Order,
    pub(crate) source: Source,
    /// True: it waits out every rule that can end; false: only for its turn and for a place in a budget.
    pub(crate) patient: bool,
    /// Where the answer goes. Closed: nobody waits for it any more.
    pub(crate) reply: oneshot::Sender<Result<OrderOutcome, OrderError>>,
}

/// What a service's task is told beside samples.
pub(crate) enum News {
    /// Carry this order out when its turn comes.
    Order(WaitingOrder),
    /// What the operator wants has changed, of this service or of all.
    Desired,
    /// Forget what was tried and what holds healing back.
    Reset { by: String, reply: oneshot::Sender<()> },
    /// Allow the next disruptive action.
    Approve { by: String, reply: oneshot::Sender<Result<(), OrderError>> },
    /// The service is configured like this from now on.
    Setup(Box<ServiceSetup>),
    /// Other plug-ins are asked from now on.
    Plugins,
    /// A dependency serves again.
    DependencyReturned,
    /// The service is no longer configured: end.
    End,
}

/// What the task takes out.
pub(crate) enum Mail {
    /// One piece of news.
    News(News),
    /// All samples that waited, and how many were dropped before them.
    Samples(Vec<Sample>, u64),
}

#[derive(Default)]
struct Queue {
    samples: VecDeque<Sample>,
    news: VecDeque<News>,
    dropped: u64,
}

/// The inbox of one service's task.
#[derive(Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Notify,
}

impl Inbox {
    /// Puts a sample in; if there are too many, the oldest is dropped.
    pub(crate) fn put(&self, sample: Sample) {
        let mut queue = lock(&self.queue);
        if queue.samples.len() >= WAITING_SAMPLES {
            queue.samples.pop_front();
            queue.dropped += 1;
        }
        queue.samples.push_back(sample);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Puts news in.
    pub(crate) fn tell(&self, news: News) {
        lock(&self.queue).news.push_back(news);
        self.arrived.notify_one();
    }

    /// Waits for the next piece of mail; news come before samples.
    pub(crate) async fn next(&self) -> Mail {
        loop {
            // `notify_one` keeps a permit, so what arrives between the look and the wait is not missed.
            if let Some(mail) = self.take() {
                return mail;
            }
            self.arrived.notified().await;
        }
    }

    fn take(&self) -> Option<Mail> {
        let mut queue = lock(&self.queue);
        if let Some(news) = queue.news.pop_front() {
            return Some(Mail::News(news));
        }
        if queue.samples.is_empty() {
            return None;
        }
        let dropped = std::mem::take(&mut queue.dropped);
        Some(Mail::Samples(queue.samples.drain(..).collect(), dropped))
    }
}

#[cfg(test)]
mod tests {
    use heald_model::Moment;

    use super::*;

    fn sample(millis: u64) -> Sample {
        Sample::new("web".into(), "http".into(), Moment::from_millis(millis))
    }

    #[tokio::test]
    async fn the_newest_samples_are_kept_and_the_dropped_ones_are_counted() {
        let inbox = Inbox::default();
        (0..WAITING_SAMPLES as u64 + 3).for_each(|millis| inbox.put(sample(millis)));
        let Mail::Samples(samples, dropped) = inbox.next().await else { panic!("samples were put in") };
        assert_eq!((samples.len(), dropped), (WAITING_SAMPLES, 3));
        assert_eq!(samples.first().map(|sample| sample.at), Some(Moment::from_millis(3)));
        inbox.put(sample(0));
        assert!(matches!(inbox.next().await, Mail::Samples(_, 0)), "what was counted once is not counted again");
    }

    #[tokio::test]
    async fn news_come_before_samples_and_none_is_lost() {
        let inbox = Inbox::default();
        inbox.put(sample(0));
        (0..3).for_each(|_| inbox.tell(News::DependencyReturned));
        for _ in 0..3 {
            assert!(matches!(inbox.next().await, Mail::News(News::DependencyReturned)));
        }
        assert!(matches!(inbox.next().await, Mail::Samples(..)));
    }
}
