//! A concurrency limit that is found out while it limits.

mod aimd;
mod algorithm;
mod builder;
mod control;
mod event;
mod gradient2;
mod guard;
mod probe;
mod vegas;
mod window;

pub use aimd::{Aimd, AimdBuilder};
pub use algorithm::{Algorithm, Fixed, Sample};
pub use builder::AdaptiveLimiterBuilder;
pub use event::{AdaptiveEvent, LimitReason};
pub use gradient2::{Gradient2, Gradient2Builder};
pub use guard::{Acquire, Guard, Handle, OwnedGuard};
pub use vegas::{Vegas, VegasBuilder};
pub use window::Statistic;

use super::{AcquireError, ConcurrencyLimiter, ConcurrencyStats, Partition, PartitionStats, Request};
use crate::ConfigError;
use crate::limit::concurrency;
use control::Control;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Finds out how much may be in flight: as much as keeps the callee busy, and no more.
///
/// Nobody knows the right limit in advance, and it changes: with the callee's size, its other callers, and what it does.
/// But it shows. Below it, calls take as long as they take; above it they wait for one another, and fail. So the limiter
/// times the calls that it lets through, sums up what ended within a window, and lets an [`Algorithm`] make a new limit of
/// it.
///
/// ```
/// use cofferdam::limit::concurrency::{AdaptiveLimiter, Vegas};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// # async fn call() -> Result<u16, &'static str> { Ok(200) }
/// let limiter = AdaptiveLimiter::builder(Vegas::new()).queue(50).build()?;
/// let guard = limiter.acquire().await?;
/// match call().await {
///     Ok(503) | Err("timeout") => guard.dropped(),
///     Ok(_) => guard.success(),
///     Err(_) => guard.ignore(),
/// }
/// assert_eq!(limiter.stats().in_flight, 0);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Which algorithm
/// | algorithm | looks at | take it where |
/// |---|---|---|
/// | [`Vegas`] | how many calls stand in the callee's queue | calls take about the same time; the shortest queue |
/// | [`Gradient2`] | how much slower calls are than in the long run | times vary; tolerates some queue |
/// | [`Aimd`] | drops, or times above a bound that you know | the callee says when it has too much |
/// | [`Fixed`] | nothing | the limit is known |
///
/// # How calls count
/// Times run from when a call was let through, so that they are without the time in the limiter's own queue. Successes are
/// timed; signs of overload and panics are drops; what is [ignored](Guard::ignore) or cancelled leaves no trace: an error
/// that comes fast would look like a fast callee. A window with fewer than
/// [`min_samples`](AdaptiveLimiterBuilder::min_samples) calls is thrown away whole.
///
/// # Cost
/// To record a call is a reading of the clock and a few atomic additions: no lock, no allocation. One call in a window ends
/// it and steps the algorithm.
///
/// # When to use something else
/// If you know the limit, a [`ConcurrencyLimiter`] or a semaphore. If the callee limits the rate, a rate limiter.
///
/// Clones are cheap and share the limit, the permits and the queue.
#[derive(Clone)]
pub struct AdaptiveLimiter {
    limiter: ConcurrencyLimiter,
    control: Arc<Control>,
}

/// What the end of a call says about the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It went well, and how long it took says something.
    Success,
    /// It ended in a sign of overload.
    Dropped,
    /// It says nothing.
    Ignored,
}

impl AdaptiveLimiter {
    crate::observe::watchable!(control);

    /// What gives it for as long as it is there, and does not keep it.
    #[cfg(any(feature = "telemetry", feature = "health"))]
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + use<> {
        let (limiter, control) = (self.limiter.weak(), Arc::downgrade(&self.control));
        move || Some(Self { limiter: limiter()?, control: control.upgrade()? })
    }

    /// A limiter that `algorithm` adjusts, with default settings.
    ///
    /// # Errors
    /// None with the algorithms that are here: as [`AdaptiveLimiterBuilder::build`].
    pub fn new(algorithm: impl Algorithm) -> Result<Self, ConfigError> {
        Self::builder(algorithm).build()
    }

    /// A limiter that `algorithm` adjusts.
    pub fn builder(algorithm: impl Algorithm) -> AdaptiveLimiterBuilder {
        AdaptiveLimiterBuilder::new(Box::new(algorithm))
    }

    /// Lets one call through, as soon as it is its turn.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue, and hands on what it was granted in the meantime.
    ///
    /// # Errors
    /// As [`ConcurrencyLimiter::acquire`].
    #[inline]
    pub fn acquire(&self) -> Acquire<&Self> {
        self.acquire_with(Request::new(1))
    }

    /// Lets one call through as `request` describes. A request for several permits is refused while the limit is lower.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`ConcurrencyLimiter::acquire_with`].
    #[inline]
    pub fn acquire_with(&self, request: Request) -> Acquire<&Self> {
        Acquire::new(self, request)
    }

    /// Lets one call through, with a guard that owns its share of the limiter.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned(&self) -> Acquire<Self> {
        self.acquire_with_owned(Request::new(1))
    }

    /// What `request` describes, owned.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_with`](Self::acquire_with).
    pub fn acquire_with_owned(&self, request: Request) -> Acquire<Self> {
        Acquire::new(self.clone(), request)
    }

    /// Lets one call through, if it may go now.
    ///
    /// # Errors
    /// As [`ConcurrencyLimiter::try_acquire`].
    #[inline]
    pub fn try_acquire(&self) -> Result<Guard<&Self>, AcquireError> {
        self.try_acquire_with(Request::new(1))
    }

    /// What `request` describes, if it may go now.
    ///
    /// # Errors
    /// As [`ConcurrencyLimiter::try_acquire_with`].
    #[inline]
    pub fn try_acquire_with(&self, request: Request) -> Result<Guard<&Self>, AcquireError> {
        self.try_enter(self, request, None)
    }

    /// Lets one call through at `now`, if it may go. For a time of your own; say how it ended with
    /// [`Guard::record_at`].
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_at(&self, now: Instant) -> Result<Guard<&Self>, AcquireError> {
        self.try_enter(self, Request::new(1), Some(now))
    }

    /// Lets one call through, if it may go now, with a guard that owns its share of the limiter.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedGuard, AcquireError> {
        self.try_enter(self.clone(), Request::new(1), None)
    }

    /// As [`try_acquire_at`](Self::try_acquire_at), owned.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned_at(&self, now: Instant) -> Result<OwnedGuard, AcquireError> {
        self.try_enter(self.clone(), Request::new(1), Some(now))
    }

    #[inline]
    fn try_enter<H: Handle>(
        &self,
        handle: H,
        request: Request,
        now: Option<Instant>,
    ) -> Result<Guard<H>, AcquireError> {
        match concurrency::try_acquire(handle.limiter(), request) {
            Ok(permit) => Ok(Guard::new(permit, handle, now)),
            Err(error) => {
                self.look(now);
                Err(error)
            }
        }
    }

    /// Somebody is kept out.
    #[inline]
    fn look(&self, now: Option<Instant>) {
        self.control.look(&self.limiter, || self.control.at(now));
    }

    /// How much may be in flight now.
    pub fn limit(&self) -> u32 {
        self.limiter.limit()
    }

    /// The partition of this name; see [`ConcurrencyLimiter::partition`].
    pub fn partition(&self, name: &str) -> Option<Partition> {
        self.limiter.partition(name)
    }

    /// Everything at about one moment.
    pub fn stats(&self) -> AdaptiveStats {
        let ConcurrencyStats { limit, available, waiting, shed, .. } = self.limiter.stats();
        let (updates, thin_windows, probing) = self.control.counters();
        let in_flight = self.control.in_flight();
        AdaptiveStats { limit, in_flight, available, waiting, shed, updates, thin_windows, probing }
    }

    /// What one partition is doing.
    pub fn partition_stats(&self, partition: Partition) -> PartitionStats {
        self.limiter.partition_stats(partition)
    }

    /// Ends all waits with an error and refuses all further requests. Calls under way go on. Idempotent.
    pub fn close(&self) {
        self.limiter.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.limiter.is_closed()
    }
}

impl fmt::Debug for AdaptiveLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (updates, thin_windows, probing) = self.control.counters();
        f.debug_struct("AdaptiveLimiter")
            .field("in_flight", &self.control.in_flight())
            .field("updates", &updates)
            .field("thin_windows", &thin_windows)
            .field("probing", &probing)
            .field("limiter", &self.limiter)
            .finish()
    }
}

/// What an [`AdaptiveLimiter`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptiveStats {
    /// How much may be in flight now.
    pub limit: u32,
    /// How much is.
    pub in_flight: u32,
    /// How much more could begin now.
    pub available: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that were shed by the discipline.
    pub shed: u64,
    /// Windows that the algorithm has taken in.
    pub updates: u64,
    /// Windows that were thrown away, with too few calls in them.
    pub thin_windows: u64,
    /// Whether the limit is lowered to measure how fast calls are without a queue.
    pub probing: bool,
}
