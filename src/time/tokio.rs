//! The tokio runtime's time.

use super::{Sleep, Timer};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::runtime::{Handle, TryCurrentError};

/// Follows `tokio::time`, so also `tokio::time::pause` and `advance`.
pub(super) struct TokioTimer {
    runtime: Handle,
}

impl TokioTimer {
    pub(super) fn current() -> Result<Self, TryCurrentError> {
        Handle::try_current().map(|runtime| Self { runtime })
    }
}

/// The runtime's now, wherever this is called.
fn now(runtime: &Handle) -> Instant {
    let _context = runtime.enter();
    tokio::time::Instant::now().into_std()
}

impl Timer for TokioTimer {
    fn now(&self) -> Instant {
        now(&self.runtime)
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let _context = self.runtime.enter();
        let sleep = tokio::time::sleep_until(tokio::time::Instant::from_std(deadline));
        Sleep::new(TokioSleep {
            runtime: Some(self.runtime.clone()),
            deadline,
            // A task that uses up its budget at every poll would never see its own timeout otherwise.
            sleep: tokio::task::unconstrained(sleep),
        })
    }
}

pin_project! {
    struct TokioSleep<S> {
        // Until the first poll.
        runtime: Option<Handle>,
        deadline: Instant,
        #[pin]
        sleep: S,
    }
}

impl<S: Future<Output = ()>> Future for TokioSleep<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        // Tokio's wheel has ticks of a millisecond and turns only when the runtime is idle: it would let a deadline
        // that has passed wait for the next tick.
        if this.runtime.take().is_some_and(|runtime| now(&runtime) >= *this.deadline) {
            return Poll::Ready(());
        }
        this.sleep.poll(cx)
    }
}
