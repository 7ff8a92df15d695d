//! The token bucket.

mod acquire;
mod alarm;
mod builder;
mod chain;
mod inner;
mod reservation;
mod word;

pub use acquire::Acquire;
pub use builder::TokenBucketBuilder;
pub use reservation::Reservation;

use super::gcra::Terms;
use super::{Denied, Quota, Rate};
use crate::shim::Ordering;
use acquire::Limit;
use inner::Inner;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Admits at a rate, and at most a burst at once.
///
/// The bucket starts full, fills continuously at the [`Quota`]'s rate and holds its burst. A cheap handle: clones share the
/// bucket.
///
/// # Exact
/// Integers from end to end: over any time `t`, exactly `burst + rate * t` tokens are admitted to whoever asks often enough.
/// It is the generic cell rate algorithm, a token bucket whose whole state is one number. Instants of those who wait or
/// reserve are exact too, and rounded up to the nanosecond when they are told; a timer that fires late does not push back
/// those behind. A clock that goes back admits nobody twice: it only makes them wait.
///
/// # Deciding
/// | operation | lock |
/// |---|---|
/// | [`try_acquire`](Self::try_acquire) and its kin; [`acquire`](Self::acquire) where the tokens are there | lock-free: load and compare-exchange; a denial writes nothing |
/// | waiting, giving up, reserving, refunding, draining, changing the quota | a short mutex |
/// | every decision on a quota whose numbers are too large for a 56-bit word | the same mutex |
///
/// The last kind are quotas that need more than 2^55 units for a full bucket, with `c` units to a nanosecond where the rate is
/// `c` tokens per period in lowest terms: one in ten years (`c` is 1, and 2^55 ns are a year), or `777777/d` with its full
/// burst (`c` is 259259). They are as exact as the others. The word also counts from a base that must be moved now and then:
/// every year or two for `100/s`, every few tens of milliseconds for a prime number of thousand millions a second. The
/// decision that moves it takes the mutex too.
///
/// Reading the clock costs several times the decision. If you have the time already, [`try_acquire_at`](Self::try_acquire_at)
/// spares it; [`Clock::quanta`](crate::time::Clock) reads it cheaply.
///
/// # Fairness
/// Whoever waits has been charged when he came, so later ones stand behind him: first come, first served, nobody barges in,
/// and a large request is not starved by small ones. One timer serves the whole queue, each waiter is woken once, and no
/// waiter needs another one's future to be polled.
///
/// # When not to use it
/// To bound how many run at the same time, use a [`Semaphore`](crate::sync::Semaphore): a token is spent, not lent.
///
/// # Examples
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
///
/// let bucket = TokenBucket::new(Quota::per_second(2));
/// assert!(bucket.try_acquire().is_ok());
/// assert!(bucket.try_acquire().is_ok());
/// let denied = bucket.try_acquire().unwrap_err();
/// assert!(denied.retry_after().unwrap() <= std::time::Duration::from_millis(500));
/// ```
///
/// Waiting, on any executor:
///
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let bucket = TokenBucket::new(Quota::per_second(1000).burst(1));
/// for _ in 0..3 {
///     bucket.acquire().await?;
/// }
/// // A wait that would be too long is refused at once.
/// let error = bucket.acquire_timeout(Duration::from_nanos(1)).await.unwrap_err();
/// assert!(error.is_too_late());
/// # Ok::<(), cofferdam::limit::WaitError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct TokenBucket {
    inner: Arc<Inner>,
}

/// What a [`TokenBucket`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenBucketStats {
    /// Requests waiting now.
    pub waiting: usize,
    /// Requests that waited and got their tokens.
    pub granted: u64,
    /// Waits, grants and reservations that were given up before use.
    pub cancelled: u64,
    /// Requests admitted and denied on the spot, if the bucket was built to [count](TokenBucketBuilder::counted) them.
    pub decided: Option<Decided>,
}

/// Requests decided on the spot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decided {
    /// The tokens were there.
    pub allowed: u64,
    /// They were not.
    pub denied: u64,
}

impl TokenBucket {
    /// A full bucket on the system's clock.
    pub fn new(quota: Quota) -> Self {
        Self { inner: Arc::new(Inner::new(quota, quota.burst_size(), Default::default(), None, false)) }
    }

    /// A bucket with other settings.
    pub fn builder(quota: Quota) -> TokenBucketBuilder {
        TokenBucketBuilder::new(quota)
    }

    /// Takes a token if it is there now.
    ///
    /// # Errors
    /// It is not: [`Denied::retry_after`] says when it will be.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Denied> {
        self.inner.take(self.inner.epoch.nanos(), 1)
    }

    /// Takes `n` tokens if they are there now. None at all are always there.
    ///
    /// # Errors
    /// They are not, and [`Denied::retry_after`] says when they will be, or never: `n` is above the burst.
    #[inline]
    pub fn try_acquire_many(&self, n: u64) -> Result<(), Denied> {
        if n == 0 { Ok(()) } else { self.inner.take(self.inner.epoch.nanos(), n) }
    }

    /// As [`try_acquire_many`](Self::try_acquire_many), at a time that the caller has read from the bucket's clock.
    ///
    /// Times may come out of order. One that is before the last decision finds fewer tokens than are there, never more;
    /// those are there again when the time has caught up.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    #[inline]
    pub fn try_acquire_at(&self, n: u64, now: Instant) -> Result<(), Denied> {
        if n == 0 { Ok(()) } else { self.inner.take(self.inner.epoch.nanos_at(now), n) }
    }

    /// Waits for a token.
    ///
    /// # Fairness
    /// First come, first served; see the type.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready gives the token back, granted or not; those who wait behind move up.
    ///
    /// # Errors
    /// The token can never come (the rate is zero), or not before the deadline of the current
    /// [`Context`](crate::sync::Context), or that context has ended. Found out before waiting, with nothing taken.
    pub fn acquire(&self) -> Acquire<'_> {
        Acquire::new(self, 1, Limit::Never)
    }

    /// Waits for `n` tokens, to be taken all at once.
    ///
    /// # Fairness
    /// # Cancel safety
    /// # Errors
    /// As [`acquire`](Self::acquire); also, `n` is above the burst, then or by a later change of the quota.
    pub fn acquire_many(&self, n: u64) -> Acquire<'_> {
        Acquire::new(self, n, Limit::Never)
    }

    /// Waits for a token for at most `limit`, counted from the first poll. If it will not come in that time, this is
    /// known at once, and nobody waits. Waiting exactly that long is allowed.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also, the token would come too late, and [`Denied::retry_after`] says when.
    pub fn acquire_timeout(&self, limit: Duration) -> Acquire<'_> {
        Acquire::new(self, 1, Limit::After(limit))
    }

    /// Waits for `n` tokens for at most `limit`; see [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many) and [`acquire_timeout`](Self::acquire_timeout).
    pub fn acquire_many_timeout(&self, n: u64, limit: Duration) -> Acquire<'_> {
        Acquire::new(self, n, Limit::After(limit))
    }

    /// Takes `n` tokens now and says from when on they may be used.
    ///
    /// # Errors
    /// They can never be: `n` is above the burst, or the rate is zero and the burst is spent.
    pub fn reserve(&self, n: u64) -> Result<Reservation, Denied> {
        self.reserve_at_nanos(n, self.inner.epoch.nanos())
    }

    /// As [`reserve`](Self::reserve), at a time that the caller has read from the bucket's clock.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn reserve_at(&self, n: u64, now: Instant) -> Result<Reservation, Denied> {
        self.reserve_at_nanos(n, self.inner.epoch.nanos_at(now))
    }

    fn reserve_at_nanos(&self, n: u64, now: u64) -> Result<Reservation, Denied> {
        let (promised, ledger) = self.inner.change(now, |chain| chain.promise(n, now));
        drop(ledger);
        promised.and_then(|(seq, due)| Reservation::new(self.clone(), n, seq, due))
    }

    /// Whether `n` tokens are there now, without taking them.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn peek(&self, n: u64) -> Result<(), Denied> {
        self.peek_at_nanos(n, self.inner.epoch.nanos())
    }

    /// As [`peek`](Self::peek), at a time that the caller has read from the bucket's clock.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn peek_at(&self, n: u64, now: Instant) -> Result<(), Denied> {
        self.peek_at_nanos(n, self.inner.epoch.nanos_at(now))
    }

    fn peek_at_nanos(&self, n: u64, now: u64) -> Result<(), Denied> {
        let (tat, terms) = self.state();
        terms.take(tat, now, n).map(drop)
    }

    /// How many tokens can be taken now.
    pub fn available(&self) -> u64 {
        self.available_at_nanos(self.inner.epoch.nanos())
    }

    /// As [`available`](Self::available), at a time that the caller has read from the bucket's clock.
    pub fn available_at(&self, now: Instant) -> u64 {
        self.available_at_nanos(self.inner.epoch.nanos_at(now))
    }

    fn available_at_nanos(&self, now: u64) -> u64 {
        let (tat, terms) = self.state();
        terms.available(tat, now)
    }

    /// Tokens in the bucket now, with their fraction, for gauges; negative by what waiters and reservations have been
    /// promised beyond what is there, infinite without limit.
    pub fn tokens(&self) -> f64 {
        let now = self.inner.epoch.nanos();
        let (tat, terms) = self.state();
        if terms.cost == 0 {
            return f64::INFINITY;
        }
        let debt = tat.saturating_sub(terms.at(now).saturating_add(terms.depth()));
        (terms.level(tat, now) as f64 - debt as f64) / terms.cost as f64
    }

    fn state(&self) -> (u128, Terms) {
        self.inner.fast.read().unwrap_or_else(|| {
            let (state, ledger) =
                self.inner.change(self.inner.epoch.nanos(), |chain| (chain.tat, chain.terms));
            drop(ledger);
            state
        })
    }

    /// The quota.
    pub fn quota(&self) -> Quota {
        self.inner.lock().chain.quota
    }

    /// The rate.
    pub fn rate(&self) -> Rate {
        self.quota().rate()
    }

    /// The most that can be taken at once.
    pub fn burst(&self) -> u64 {
        self.quota().burst_size()
    }

    /// The name given to the builder.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_deref()
    }

    /// Changes the quota, from now on: what has come in until now came at the old rate and is kept, up to the new burst.
    ///
    /// Those who wait are planned anew. Who wants more than the new burst, or can no longer be served in the time he has,
    /// is told at once. The instants of reservations stand.
    pub fn set_quota(&self, quota: Quota) {
        self.set(|_| quota);
    }

    /// Changes the rate and leaves the burst; see [`set_quota`](Self::set_quota).
    pub fn set_rate(&self, rate: Rate) {
        self.set(|quota| Quota::new(rate, quota.burst_size()));
    }

    /// Changes the burst and leaves the rate; see [`set_quota`](Self::set_quota). A larger bucket is not fuller at first.
    pub fn set_burst(&self, burst: u64) {
        self.set(|quota| quota.burst(burst));
    }

    fn set(&self, next: impl Fn(Quota) -> Quota) {
        let now = self.inner.epoch.nanos();
        // Who is due was so at the old rate.
        self.inner.serve(self.inner.lock(), now);
        let ((), ledger) = self.inner.change(now, |chain| chain.retime(next(chain.quota), now));
        self.inner.serve(ledger, now);
    }

    /// Leaves at most `n` tokens in the bucket, for instance because a server has said that so many remain.
    pub fn drain_to(&self, n: u64) {
        let now = self.inner.epoch.nanos();
        let ((), ledger) = self.inner.change(now, |chain| chain.drain_to(n, now));
        drop(ledger);
    }

    /// Puts `n` tokens back that were taken and not used. They never lift the bucket above its burst; whoever waits is
    /// served by them first.
    pub fn refund(&self, n: u64) {
        let now = self.inner.epoch.nanos();
        let ((), ledger) = self.inner.change(now, |chain| chain.refund(n, now));
        self.inner.serve(ledger, now);
    }

    /// What it has done so far.
    pub fn stats(&self) -> TokenBucketStats {
        let ledger = self.inner.lock();
        let chain = &ledger.chain;
        TokenBucketStats {
            waiting: chain.waiting(),
            granted: chain.granted,
            cancelled: chain.cancelled,
            // Relaxed: statistics.
            decided: self.inner.tally.as_ref().map(|tally| Decided {
                allowed: tally.allowed.load(Ordering::Relaxed),
                denied: tally.denied.load(Ordering::Relaxed),
            }),
        }
    }
}

impl fmt::Debug for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TokenBucket");
        if let Some(name) = &self.inner.name {
            debug.field("name", name);
        }
        if let Some(ledger) = self.inner.try_lock() {
            debug.field("quota", &ledger.chain.quota).field("waiting", &ledger.chain.waiting());
        }
        debug.finish_non_exhaustive()
    }
}
