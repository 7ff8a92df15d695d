//! What runs the checks that are due.

use super::crowd::{Crowd, told};
use super::flight::round;
use super::state::Shared;
use crate::time::Sleep;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Rounds of checks that come without waiting in one poll, before others on the thread get their turn.
const AT_ONCE: usize = 16;

/// Runs the checks of a [`Health`](super::Health), each when it is due, for as long as a handle of that is left; see
/// [`Health::run`](super::Health::run).
///
/// Checks that are due at once run at once, all in the task in which this is polled: one that blocks the thread holds the others
/// up.
///
/// # Cancel safety
/// Dropping it drops the checks that it runs. They have found nothing, and another driver begins them anew.
#[must_use = "no check is run by itself unless this is polled"]
pub struct Driver(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Box::pin(async move {
            let drive = async {
                let _baton = shared.driver.take().await;
                drive(&shared).await;
            };
            // Its end is the end of all handles.
            let _ = shared.over.run(drive).await;
        }))
    }
}

async fn drive(shared: &Arc<Shared>) {
    let mut rounds: Crowd<u64, ()> = Crowd::new();
    let mut busy = BTreeSet::new();
    let mut alarm: Option<(Instant, Sleep)> = None;
    let mut changed = pin!(shared.changed.wait_owned());
    poll_fn(|cx| {
        for _ in 0..AT_ONCE {
            // Asked for before the look at what is due, so that no change falls between.
            while changed.as_mut().poll(cx).is_ready() {
                changed.set(shared.changed.wait_owned());
            }
            while let Some((serial, outcome)) = rounds.poll(cx) {
                busy.remove(&serial);
                if let Err(panic) = outcome {
                    // Nothing foreign is left in there that is not contained already.
                    drop(told(&panic));
                }
            }
            let now = shared.clock.now();
            let due = shared.due(now, &busy);
            if !due.is_empty() {
                for item in due {
                    busy.insert(item.serial);
                    rounds.add(item.serial, Box::pin(round(Arc::clone(shared), item)));
                }
                continue;
            }
            let Some(at) = shared.next_due(&busy) else {
                alarm = None;
                return Poll::Pending;
            };
            if alarm.as_ref().is_none_or(|(armed, _)| *armed != at) {
                alarm = Some((at, shared.clock.sleep_until(at)));
            }
            let rings = alarm.as_mut().is_some_and(|(_, sleep)| Pin::new(sleep).poll(cx).is_ready());
            if !rings {
                return Poll::Pending;
            }
            alarm = None;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
