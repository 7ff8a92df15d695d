//! Ends a future at a limit.

use super::{Clock, Deadline, Sleep};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Ends `future` after `limit` of the system's clock; see [`Clock::timeout`].
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Clock::system().timeout(limit, future)
}

impl Clock {
    /// Runs `future` for at most `limit`, counted from the first poll that finds it pending.
    ///
    /// The future is polled before the clock: one that is ready costs no clock read, and one that is ready at the very
    /// limit has won. A limit of zero therefore allows exactly one poll; a limit past the end of time is none.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout { future, clock: self.clone(), limit: Limit::After(limit), sleep: None }
    }

    /// Runs `future` until `deadline` at the latest. The future is polled before the clock.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn timeout_at<F: Future>(&self, deadline: impl Into<Deadline>, future: F) -> Timeout<F> {
        Timeout { future, clock: self.clone(), limit: Limit::At(deadline.into()), sleep: None }
    }
}

/// The time was up before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time limit has passed")
    }
}

impl std::error::Error for Elapsed {}

#[derive(Clone, Copy, Debug)]
enum Limit {
    After(Duration),
    At(Deadline),
}

pin_project! {
    /// The future of [`timeout`], [`Clock::timeout`] and [`Clock::timeout_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        clock: Clock,
        limit: Limit,
        sleep: Option<Sleep>,
    }
}

impl<F> Timeout<F> {
    /// The future, whose time is then no longer limited.
    pub fn into_inner(self) -> F {
        self.future
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // Armed only now: most futures under a timeout are ready before anybody needs the time.
        let sleep = this.sleep.get_or_insert_with(|| {
            let deadline = match *this.limit {
                Limit::After(limit) => Deadline::after(this.clock.now(), limit),
                Limit::At(deadline) => deadline,
            };
            deadline.instant().map_or_else(Sleep::never, |at| this.clock.sleep_until(at))
        });
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    }
}
