//! The wall-clock deadline of a guest call, and the time the call took. It knows nothing of guests: it runs futures.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// Why a call was stopped. Its future is dropped, and with it the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It did not end in time.
    Late,
    /// Its instance had more than is still granted.
    Revoked,
}

/// The time that a call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// From beginning to end.
    pub wall: Duration,
    /// Time on a thread: the guest's own, and that of host calls that did not wait.
    pub busy: Duration,
}

/// Runs a call until it ends, until its deadline, or until its grant is `revoked`.
///
/// Nearly every call ends the first time it is polled. Only a call that does not gets a timer, because making one costs
/// as much as a small call. A guest that computes is polled at every tick, so it stops soon after its grant is revoked,
/// and so does one that waits in a host call.
pub(crate) async fn timed<F: Future>(
    call: F,
    wall: Duration,
    revoked: impl Future<Output = ()>,
) -> (Result<F::Output, Cut>, Spent) {
    let began = Instant::now();
    let mut call = pin!(call);
    let mut revoked = pin!(revoked);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    let mut busy = Duration::ZERO;
    let mut polled = began;
    let output = poll_fn(|cx| {
        if alarm.is_some() {
            polled = Instant::now();
        }
        let poll = call.as_mut().poll(cx);
        let now = Instant::now();
        busy += now - polled;
        match poll {
            Poll::Ready(output) => Poll::Ready((Ok(output), now)),
            Poll::Pending => {
                let left = wall.saturating_sub(now - began);
                let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
                match revoked.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready((Err(Cut::Revoked), now)),
                    Poll::Pending => alarm.as_mut().poll(cx).map(|()| (Err(Cut::Late), now)),
                }
            }
        }
    });
    let (output, ended) = output.await;
    (output, Spent { wall: ended - began, busy })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_too_long_is_late() {
        let (output, _) = timed(pending::<()>(), Duration::from_secs(3), pending()).await;
        assert_eq!(output, Err(Cut::Late));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_ends_with_its_grant() {
        let revoked = tokio::time::sleep(Duration::from_secs(1));
        let (output, _) = timed(pending::<()>(), Duration::from_secs(3), revoked).await;
        assert_eq!(output, Err(Cut::Revoked));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_a_little_is_not() {
        let call = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            7
        };
        assert_eq!(timed(call, Duration::from_secs(3), pending()).await.0, Ok(7));
    }

    #[test]
    fn a_call_that_never_waits_needs_no_timer() {
        // No runtime here: making a timer would panic.
        let mut call = pin!(timed(std::future::ready(7), Duration::ZERO, pending()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let Poll::Ready((output, spent)) = call.as_mut().poll(&mut cx) else { panic!("it waits") };
        assert_eq!(output, Ok(7));
        assert_eq!(spent.wall, spent.busy);
    }
}
