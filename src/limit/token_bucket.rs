//! The token bucket: the generic cell rate algorithm as a limiter.

use super::{Gcra, Limiter, LimiterBuilder, Quota, Rate};

/// Admits at a rate, and at most a burst at once.
///
/// The bucket starts full, fills continuously at the [`Quota`]'s rate and holds its burst. A cheap handle: clones share the
/// bucket. All it can do is in the docs of [`Limiter`].
///
/// # Exact
/// Integers from end to end: over any time `t`, exactly `burst + rate * t` tokens are admitted to whoever asks often enough.
/// It is the generic cell rate algorithm, a token bucket whose whole state is one number. Instants of those who wait or
/// reserve are exact too, and rounded up to the nanosecond when they are told; a timer that fires late does not push back
/// those behind. A clock that goes back admits nobody twice: it only makes them wait.
///
/// # Deciding
/// Lock-free, but for quotas that need more than 2^55 units for a full bucket, with `c` units to a nanosecond where the rate is
/// `c` tokens per period in lowest terms: one in ten years (`c` is 1, and 2^55 ns are a year), or `777777/d` with its full
/// burst (`c` is 259259). They are as exact as the others. The word also counts from a base that must be moved now and then:
/// every year or two for `100/s`, every few tens of milliseconds for a prime number of thousand millions a second. The
/// decision that moves it takes the mutex too.
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
/// let hourly = TokenBucket::new(Quota::per_hour(1));
/// hourly.acquire().await?;
/// let error = hourly.acquire_timeout(Duration::from_secs(1)).await.unwrap_err();
/// assert!(error.is_too_late());
/// # Ok::<(), cofferdam::limit::WaitError>(())
/// # }).unwrap();
/// ```
pub type TokenBucket = Limiter<Gcra>;

/// Builds a [`TokenBucket`].
pub type TokenBucketBuilder = LimiterBuilder<Gcra>;

impl Limiter<Gcra> {
    /// A full bucket on the system's clock.
    pub fn new(quota: Quota) -> Self {
        Self::of(quota)
    }

    /// Tokens in the bucket now, with their fraction, for gauges; negative by what waiters and reservations have been
    /// promised beyond what is there, infinite without limit.
    pub fn tokens(&self) -> f64 {
        self.look(|gcra, tat, now| gcra.tokens(*tat, now))
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.algorithm().quota()
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.quota().rate()
    }

    /// The burst in force: the most that can be taken at once.
    pub fn burst(&self) -> u64 {
        self.quota().burst_size()
    }

    /// Changes the quota; see [`set`](Self::set).
    pub fn set_quota(&self, quota: Quota) {
        self.set(quota);
    }

    /// Changes the rate and leaves the burst; see [`set`](Self::set).
    pub fn set_rate(&self, rate: Rate) {
        self.set_with(|gcra| Quota::new(rate, gcra.quota().burst_size()).into());
    }

    /// Changes the burst and leaves the rate; see [`set`](Self::set). A larger bucket is not fuller at first.
    pub fn set_burst(&self, burst: u64) {
        self.set_with(|gcra| gcra.quota().burst(burst).into());
    }
}
