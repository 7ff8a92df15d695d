//! Tokens taken ahead of time.

use super::Limiter;
use super::line::Line;
use crate::limit::{Algorithm, Denied, Gcra};
use std::fmt;
use std::time::{Duration, Instant};

/// Tokens that are the holder's from a known instant on.
///
/// [`commit`](Self::commit) keeps them; dropping the reservation without that cancels it. Cancelling before the instant
/// gives back `n` tokens less those that were reserved after it: their instants have been promised, and stand. (That is the
/// token bucket's rule; of the other algorithms one that has promises or grants behind it gives back nothing.) At a later time
/// nothing is given back.
///
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
/// use cofferdam::time::Clock;
///
/// # futures_executor::block_on(async {
/// let clock = Clock::system();
/// let bucket = TokenBucket::new(Quota::per_second(100).burst(10));
/// let reservation = bucket.reserve(10)?;
/// let due = reservation.commit();
/// clock.sleep_until(due).await;
/// # Ok::<(), cofferdam::limit::Denied>(())
/// # }).unwrap();
/// ```
#[must_use = "a reservation that is dropped is cancelled"]
pub struct Reservation<A: Algorithm = Gcra> {
    limiter: Limiter<A>,
    n: u64,
    seq: u64,
    due_nanos: u64,
    due: Instant,
    open: bool,
}

impl<A: Algorithm> Reservation<A> {
    /// `Denied` if its instant is past the end of time; then it is cancelled.
    pub(super) fn new(limiter: Limiter<A>, n: u64, seq: u64, due_nanos: u64) -> Result<Self, Denied> {
        match limiter.inner.epoch.instant(due_nanos) {
            Some(due) => Ok(Self { limiter, n, seq, due_nanos, due, open: true }),
            None => {
                give_back(&limiter, n, seq, limiter.inner.epoch.nanos());
                Err(Denied::never(A::NAME, n, limiter.capacity()))
            }
        }
    }

    /// From when on the tokens may be used.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// How many.
    pub fn tokens(&self) -> u64 {
        self.n
    }

    /// How long after `now` that is; zero once it has come.
    pub fn delay_from(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Keeps the tokens: to be used at the instant that comes back.
    pub fn commit(mut self) -> Instant {
        self.open = false;
        self.due
    }

    /// Gives them back now, as far as may be; see the type.
    pub fn cancel(self) {}

    /// As [`cancel`](Self::cancel), at a time that the caller has read from the limiter's clock.
    pub fn cancel_at(mut self, now: Instant) {
        let now = self.limiter.inner.epoch.nanos_at(now);
        self.close(now);
    }

    fn close(&mut self, now: u64) {
        if std::mem::take(&mut self.open) && now <= self.due_nanos {
            give_back(&self.limiter, self.n, self.seq, now);
        }
    }
}

fn give_back<A: Algorithm>(limiter: &Limiter<A>, n: u64, seq: u64, now: u64) {
    let ((), changed) = limiter.inner.change(now, |ledger| ledger.line.withdraw(n, seq, now));
    changed.serve_all();
}

impl<A: Algorithm> Drop for Reservation<A> {
    fn drop(&mut self) {
        if self.open {
            self.close(self.limiter.inner.epoch.nanos());
        }
    }
}

impl<A: Algorithm> fmt::Debug for Reservation<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("tokens", &self.n).field("due", &self.due).finish_non_exhaustive()
    }
}
