//! Limits on how much is in flight at once: [fixed](ConcurrencyLimiter), and [found out](AdaptiveLimiter).

mod acquire;
pub mod adaptive;
mod builder;
mod discipline;
mod error;
mod event;
mod lane;
mod line;
mod permit;

pub use acquire::Acquire;
pub use adaptive::{
    AdaptiveEvent, AdaptiveLimiter, AdaptiveLimiterBuilder, AdaptiveStats, Aimd, Algorithm, Fixed, Gradient2,
    LimitReason, Outcome, Sample, Statistic, Vegas,
};
pub use builder::ConcurrencyLimiterBuilder;
pub use discipline::{Discipline, Partition, Request};
pub use error::AcquireError;
pub use event::ConcurrencyEvent;
pub use permit::{Handle, OwnedPermit, Permit};

use crate::ConfigError;
use crate::observe::Observers;
use crate::shim::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{self, Semaphore};
use crate::time::Clock;
use error::Kind;
use line::Line;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// At most `limit` in flight; the rest wait as their [`Discipline`] has it, or are refused.
///
/// Permits are guards, weighted: a request may ask for several, or for none, which are let through whatever is in flight.
/// One that asks for more than the limit is refused at once, as waiting would not help.
///
/// ```
/// use cofferdam::limit::ConcurrencyLimiter;
/// use cofferdam::limit::concurrency::{Discipline, Request};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// let limiter = ConcurrencyLimiter::builder(10)
///     .queue(100)
///     .discipline(Discipline::ControlledDelay {
///         target: Duration::from_millis(10),
///         interval: Duration::from_millis(100),
///         lifo: true,
///     })
///     .partition("live", 80)
///     .partition("batch", 20)
///     .build()?;
/// let live = limiter.partition("live").unwrap();
/// let permit = limiter.acquire_with(Request::new(1).partition(live)).await?;
/// assert_eq!(limiter.stats().in_flight, 1);
/// drop(permit);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # What accounts for the permits
/// A [`Semaphore`], for every discipline; for the orders that it has, its queue is the queue. The others have a line of
/// their own in front of it, in which alone they differ.
///
/// # Lock-free operations
/// `try_acquire*` that succeeds, an acquisition that finds permits, and a release that finds nobody waiting are two or three
/// atomic operations. Getting in line, leaving it and handing over take a short lock; wakers are called after it.
///
/// # Resizing
/// More permits are handed to those who wait at once. Fewer take effect at once where permits are free, and as they come
/// back for those in flight: nobody is interrupted, and nobody is let in until less is in flight than the new limit.
///
/// # When to use something else
/// If the limit is not known, an [`AdaptiveLimiter`] finds it. For calls that are to be refused by a policy among others,
/// take the bulkheads of the resilience room. For what happens so often a second, a [`TokenBucket`](crate::limit::TokenBucket).
///
/// Clones are cheap and share the permits and the queue.
#[derive(Clone)]
pub struct ConcurrencyLimiter {
    inner: Arc<Inner>,
}

struct Inner {
    /// All permits, and the queue where its own orders do.
    semaphore: Arc<Semaphore>,
    /// The queue otherwise.
    line: Option<Line>,
    discipline: Discipline,
    /// Of the partitions but the rest.
    names: Box<[Cow<'static, str>]>,
    queue: Bounds,
    clock: Clock,
    observers: Observers<ConcurrencyEvent>,
}

/// Of the queue. Relaxed: each is read for itself by whoever is about to wait.
struct Bounds {
    most: AtomicU32,
    /// In nanoseconds; the largest is no limit.
    wait: AtomicU64,
}

impl Bounds {
    fn new(most: u32, wait: Duration) -> Self {
        Self { most: AtomicU32::new(most), wait: AtomicU64::new(nanos(wait)) }
    }

    fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    fn wait(&self) -> Duration {
        match self.wait.load(Ordering::Relaxed) {
            u64::MAX => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Inner {
    fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The lane of a partition; the rest's for those that are not of this limiter.
    #[inline]
    fn lane(&self, partition: Partition) -> usize {
        let lane = usize::from(partition.0);
        if lane <= self.names.len() { lane } else { 0 }
    }

    fn waiting(&self) -> usize {
        self.line.as_ref().map_or_else(|| self.semaphore.waiting(), Line::waiting)
    }
}

impl ConcurrencyLimiter {
    /// At most `limit` in flight, first come, first served, any number waiting.
    ///
    /// # Errors
    /// Zero.
    pub fn new(limit: u32) -> Result<Self, ConfigError> {
        Self::builder(limit).build()
    }

    /// At most `limit` in flight, with other than default settings.
    pub fn builder(limit: u32) -> ConcurrencyLimiterBuilder {
        ConcurrencyLimiterBuilder::new(limit)
    }

    /// One permit, as soon as it is this caller's turn.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue, and hands on what it was granted in the meantime.
    ///
    /// # Errors
    /// The queue is full; the limiter's wait limit or the deadline of the current [`Context`](sync::Context) has passed, or
    /// it is cancelled; shed by the discipline; closed.
    #[inline]
    pub fn acquire(&self) -> Acquire<&Self> {
        self.acquire_with(Request::new(1))
    }

    /// `n` permits at once; none are let through at once.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also more than the limit.
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Acquire<&Self> {
        self.acquire_with(Request::new(n))
    }

    /// What `request` describes.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    #[inline]
    pub fn acquire_with(&self, request: Request) -> Acquire<&Self> {
        Acquire::new(self, request)
    }

    /// One permit, waiting at most `limit` for it. Being granted at the very limit is in time.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_timeout(&self, limit: Duration) -> Acquire<&Self> {
        self.acquire().timeout(limit)
    }

    /// One permit that owns its share of the limiter, for `'static` tasks.
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
    /// As [`acquire_many`](Self::acquire_many).
    pub fn acquire_with_owned(&self, request: Request) -> Acquire<Self> {
        Acquire::new(self.clone(), request)
    }

    /// One permit, if it may be had now.
    ///
    /// # Errors
    /// None free, or others wait for it; closed.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<&Self>, AcquireError> {
        self.try_acquire_with(Request::new(1))
    }

    /// `n` permits, if they may be had now; none may be had always.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); also more than the limit.
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> Result<Permit<&Self>, AcquireError> {
        self.try_acquire_with(Request::new(n))
    }

    /// What `request` describes, if it may be had now.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    #[inline]
    pub fn try_acquire_with(&self, request: Request) -> Result<Permit<&Self>, AcquireError> {
        try_acquire(self, request)
    }

    /// The shortest way to the permits of `request` and back, where there is one: no line of our own, and any permits at all.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn shortcut(&self, request: Request) -> Option<Shortcut> {
        let Inner { semaphore, line, .. } = &*self.inner;
        (line.is_none() && request.permits > 0).then(|| Shortcut(Arc::clone(semaphore)))
    }

    /// Gives back what `request` describes, which was taken without a guard, or whose guard was
    /// [handed over](Permit::hand_over).
    #[allow(dead_code, reason = "used by the rooms behind features")]
    #[inline(always)]
    pub(crate) fn give_back(&self, request: Request) {
        let inner = &*self.inner;
        match &inner.line {
            _ if request.permits == 0 => {}
            None => inner.semaphore.release(request.permits),
            Some(line) => line.release(&inner.semaphore, request.permits, inner.lane(request.partition)),
        }
    }

    /// One owned permit, if it may be had now.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, AcquireError> {
        self.try_acquire_with_owned(Request::new(1))
    }

    /// What `request` describes, owned, if it may be had now.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn try_acquire_with_owned(&self, request: Request) -> Result<OwnedPermit, AcquireError> {
        try_acquire(self.clone(), request)
    }

    /// The lock-free acquisition: true if the permits are taken.
    #[inline]
    fn take(&self, request: Request) -> bool {
        let (inner, n) = (&*self.inner, request.permits);
        match &inner.line {
            _ if n == 0 => true,
            None => inner.semaphore.take_free(n),
            Some(line) => line.take(&inner.semaphore, n, inner.lane(request.partition)),
        }
    }

    #[inline(always)]
    fn try_take(&self, request: Request) -> Result<(), AcquireError> {
        if self.take(request) {
            self.inner.tell_ended(request.permits, None, 0);
            Ok(())
        } else {
            self.try_take_slowly(request)
        }
    }

    /// Says why not, or takes after all.
    #[cold]
    fn try_take_slowly(&self, request: Request) -> Result<(), AcquireError> {
        let refusal = self.refuse_or_take(request);
        self.inner.tell_ended(request.permits, refusal.as_ref(), 0);
        refusal.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn refuse_or_take(&self, request: Request) -> Option<Kind> {
        let semaphore = &self.inner.semaphore;
        let n = request.permits;
        Some(match &self.inner.line {
            None => match semaphore.try_take(n) {
                Ok(()) => return None,
                Err(error) if error.is_closed() => Kind::Closed,
                Err(error) if error.exceeds_capacity() => Kind::Above { wanted: n, limit: self.limit() },
                Err(_) => self.full(),
            },
            Some(_) if semaphore.is_closed() => Kind::Closed,
            Some(line) => match semaphore.most() {
                most if n > most => Kind::Above { wanted: n, limit: self.limit() },
                _ if line.take_locked(semaphore, n, self.inner.lane(request.partition)) => return None,
                _ => self.full(),
            },
        })
    }

    fn full(&self) -> Kind {
        let Inner { semaphore, line, .. } = &*self.inner;
        match line {
            // Both under one lock.
            None => {
                let stats = semaphore.stats();
                Kind::Full { limit: stats.capacity, waiting: stats.waiting }
            }
            Some(line) => Kind::Full { limit: semaphore.capacity(), waiting: line.waiting() },
        }
    }

    /// As the semaphore refused it.
    #[cold]
    fn refused(&self, wanted: u32, error: &sync::AcquireError) -> Kind {
        match error.context_error() {
            Some(ended) => Kind::Ended(ended.clone()),
            None if error.is_closed() => Kind::Closed,
            None if error.is_queue_full() => self.full(),
            None => Kind::Above { wanted, limit: self.limit() },
        }
    }

    fn semaphore_request(&self, request: &Request) -> sync::Request {
        sync::Request::new(request.permits).priority(request.priority).max_waiting(self.inner.queue.most())
    }

    #[inline]
    fn release(&self, n: u32, lane: usize) {
        let inner = &*self.inner;
        match &inner.line {
            None => inner.semaphore.release(n),
            Some(line) => line.release(&inner.semaphore, n, lane),
        }
    }

    /// The partition of this name. `None` if there is none: what to do with work that belongs to no partition is for the
    /// caller to say; [`Partition::REST`] is there for it.
    pub fn partition(&self, name: &str) -> Option<Partition> {
        let at = self.inner.names.iter().position(|known| known == name)?;
        u16::try_from(at + 1).ok().map(Partition)
    }

    /// How much may be in flight.
    pub fn limit(&self) -> u32 {
        self.inner.semaphore.capacity()
    }

    /// How many permits are free. Zero while a shrink waits for permits to come back.
    #[inline]
    pub fn available(&self) -> u32 {
        self.inner.semaphore.available()
    }

    /// How much is in flight; more than the limit while a shrink waits for it.
    pub fn in_flight(&self) -> u32 {
        self.inner.semaphore.in_use()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    /// Everything at about one moment.
    pub fn stats(&self) -> ConcurrencyStats {
        let stats = self.inner.semaphore.stats();
        ConcurrencyStats {
            limit: stats.capacity,
            in_flight: stats.in_use,
            available: stats.available,
            waiting: self.waiting(),
            shed: self.inner.line.as_ref().map_or(0, Line::shed),
        }
    }

    /// What one partition is doing.
    pub fn partition_stats(&self, partition: Partition) -> PartitionStats {
        let Some(line) = self.inner.line.as_ref().filter(|_| !self.inner.names.is_empty()) else {
            return PartitionStats { percent: 100, in_flight: self.in_flight(), waiting: self.waiting() };
        };
        let (in_flight, waiting, percent) = line.lane(self.inner.lane(partition));
        PartitionStats { percent, in_flight, waiting }
    }

    /// Changes the limit and returns the old one. A request that waits for more than the new limit is refused.
    ///
    /// # Errors
    /// Zero: [close](Self::close) it, or keep out whom you want to keep out.
    pub fn resize(&self, limit: u32) -> Result<u32, ConfigError> {
        if limit == 0 {
            return Err(ConfigError::new("concurrency limiter", "limit", limit, "must be at least 1"));
        }
        Ok(self.resize_to(limit))
    }

    /// As [`resize`](Self::resize); zero refuses all who wait, and all who come, or [holds them
    /// up](ConcurrencyLimiterBuilder::waits_at_zero).
    pub(crate) fn resize_to(&self, limit: u32) -> u32 {
        let inner = &*self.inner;
        let old = inner.semaphore.resize(limit);
        if let Some(line) = &inner.line {
            line.follow_capacity(&inner.semaphore);
        }
        if old != limit {
            inner.observers.emit(|| ConcurrencyEvent::Resized { from: old, to: limit });
        }
        old
    }

    /// Changes how many may wait, and how long: for those who come from now on.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn set_queue(&self, most: u32, wait_limit: Duration) {
        self.inner.queue.most.store(most, Ordering::Relaxed);
        self.inner.queue.wait.store(nanos(wait_limit), Ordering::Relaxed);
    }

    /// How many may wait.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    #[inline]
    pub(crate) fn queue(&self) -> u32 {
        self.inner.queue.most()
    }

    #[allow(dead_code, reason = "asked by the policy")]
    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    crate::observe::watchable!(inner, [], Self, |inner| Self { inner });

    /// Adds permits that [`ConcurrencyLimiterBuilder::initial`] held back, without changing the limit.
    ///
    /// # Errors
    /// More than are still held back.
    pub fn add_permits(&self, n: u32) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        inner.semaphore.add_permits(n)?;
        if let Some(line) = &inner.line {
            line.hand_over(&inner.semaphore);
        }
        Ok(())
    }

    /// Ends all waits with an error and refuses all further requests. Permits that are out stay valid. Idempotent.
    pub fn close(&self) {
        let is_first = self.inner.semaphore.close_first();
        if let Some(line) = &self.inner.line {
            line.close();
        }
        if is_first {
            self.inner.observers.emit(|| ConcurrencyEvent::Closed);
        }
    }

    /// Whether it was closed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.inner.semaphore.is_closed()
    }
}

/// See [`ConcurrencyLimiter::shortcut`]. Whoever has one knows where the permits are counted, and need not ask his way there:
/// each step of it is a load that waits for the one before.
#[allow(dead_code, reason = "used by the rooms behind features")]
#[derive(Clone)]
pub(crate) struct Shortcut(Arc<Semaphore>);

#[allow(dead_code, reason = "used by the rooms behind features")]
impl Shortcut {
    /// Whether the permits of the request were taken, where that can be said without a lock and without a reason. They are to
    /// be [given back](Self::give_back).
    #[inline(always)]
    pub(crate) fn take(&self, request: &Request) -> bool {
        self.0.take_free(request.permits)
    }

    /// Whether the request is [full](AcquireError::is_full) with nobody waiting, where that can be said without a lock; then the
    /// limit.
    #[inline(always)]
    pub(crate) fn is_full(&self, request: &Request) -> Option<u32> {
        self.0.lacks(request.permits)
    }

    /// Gives back what was [taken](Self::take), or taken by a guard that was [handed over](Permit::hand_over).
    #[inline(always)]
    pub(crate) fn give_back(&self, request: &Request) {
        self.0.release(request.permits);
    }
}

#[inline(always)]
fn try_acquire<H: Handle>(handle: H, request: Request) -> Result<Permit<H>, AcquireError> {
    handle.limiter().try_take(request)?;
    let lane = handle.limiter().inner.lane(request.partition);
    Ok(Permit::new(handle, request.permits, lane))
}

impl fmt::Debug for ConcurrencyLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never blocks, so it does not count those who wait in a line of our own.
        f.debug_struct("ConcurrencyLimiter")
            .field("discipline", &self.inner.discipline)
            .field("partitions", &self.inner.names)
            .field("semaphore", &self.inner.semaphore)
            .finish()
    }
}

/// What a [`ConcurrencyLimiter`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConcurrencyStats {
    /// How many permits there are.
    pub limit: u32,
    /// Permits in flight; above the limit while a shrink waits for them.
    pub in_flight: u32,
    /// Free permits.
    pub available: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that were shed by the discipline.
    pub shed: u64,
}

impl ConcurrencyStats {
    /// What part of the limit is in flight: 0 is idle, 1 is full, more is a shrink that waits.
    pub fn utilisation(&self) -> f64 {
        f64::from(self.in_flight) / f64::from(self.limit.max(1))
    }
}

/// What one partition of a [`ConcurrencyLimiter`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStats {
    /// Its share of the limit.
    pub percent: u32,
    /// Its permits in flight.
    pub in_flight: u32,
    /// Its requests that wait.
    pub waiting: usize,
}
