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
        Timeout { future, clock: self.clone(), limit: Limit::After(limit), alarm: Alarm::default() }
    }

    /// Runs `future` until `deadline` at the latest. The future is polled before the clock.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn timeout_at<F: Future>(&self, deadline: impl Into<Deadline>, future: F) -> Timeout<F> {
        Timeout { future, clock: self.clone(), limit: Limit::At(deadline.into()), alarm: Alarm::default() }
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
        alarm: Alarm,
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
        let alarm = this.alarm.poll(this.clock, cx, |clock| match *this.limit {
            Limit::After(limit) => Deadline::after(clock.now(), limit),
            Limit::At(deadline) => deadline,
        });
        alarm.map(|()| Err(Elapsed))
    }
}

/// The timer of something that may be done before anybody needs the time: armed when it is first polled, and not before.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Sleep>);

impl Alarm {
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) const UNARMED: Self = Self(None);

    /// Arms the timer, the first time, and is ready when it goes off.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        clock: &Clock,
        cx: &mut Context<'_>,
        deadline: impl FnOnce(&Clock) -> Deadline,
    ) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| {
            deadline(clock).instant().map_or_else(Sleep::never, |at| clock.sleep_until(at))
        });
        Pin::new(sleep).poll(cx)
    }

    /// As [`poll`](Self::poll), with the deadline `limit` after the first time.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    #[inline]
    pub(crate) fn poll_after(&mut self, clock: &Clock, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| match clock.now().checked_add(limit) {
            None => Sleep::never(),
            Some(at) if limit.is_zero() => clock.sleep_until(at),
            Some(at) => clock.sleep_ahead(at),
        });
        Pin::new(sleep).poll(cx)
    }

    /// Disarms the timer; the next poll arms it anew.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    #[inline]
    pub(crate) fn disarm(&mut self) {
        // Looked at first: the drop of a timer is a call, and most alarms were never armed.
        if self.0.is_some() {
            self.0 = None;
        }
    }
}
