//! Weighted, cancel-safe counting semaphore on any executor.

#![forbid(unsafe_code)]

mod acquire;
mod builder;
mod engine;
mod error;
mod event;
mod order;
mod permit;
mod queue;
#[cfg(feature = "telemetry")]
mod waiters;

pub use acquire::{Acquire, AcquireTimeout};
pub use builder::SemaphoreBuilder;
pub use error::{AcquireError, TryAcquireError};
pub use event::SemaphoreEvent;
pub use order::{Order, Priority, Request};
pub use permit::{Handle, OwnedPermit, Permit};

use crate::ConfigError;
use crate::observe::Observers;
use crate::shim::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::time::{Clock, Epoch};
use engine::{CLOSED, clamp, free, permits};
use order::Rule;
use queue::Queue;
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Permits that are taken, waited for, and come back by being dropped.
///
/// Weighted: a request may ask for any number of permits up to the capacity; one that asks for more is refused at once
/// instead of waiting for what can never come. Everything that waits is cancel safe: drop the future at any point and
/// nothing is lost, neither permits nor the wake-up of the next in line.
///
/// ```
/// use cofferdam::sync::Semaphore;
///
/// # futures_executor::block_on(async {
/// let connections = Semaphore::new(10);
/// let one = connections.acquire().await?;
/// let three = connections.acquire_many(3).await?;
/// assert_eq!(connections.available(), 6);
/// drop((one, three));
/// assert_eq!(connections.available(), 10);
/// # Ok::<(), cofferdam::sync::AcquireError>(())
/// # }).unwrap();
/// ```
///
/// # Fairness
/// By [`Order`]: strict FIFO unless the [builder](Self::builder) says otherwise.
///
/// # Lock-free operations
/// `try_acquire*`, an acquisition that finds permits, `available`, `is_closed`, and a release that finds nobody waiting
/// are one or two atomic operations. Entering the queue, leaving it and handing over take a short lock; wakers are
/// called after it.
///
/// # Memory ordering
/// What happened before a permit was dropped happens before the acquisition that gets it returns.
///
/// # When to use something else
/// For one permit around data, a mutex says more. To bound how many calls run *and* how many wait, with a time limit,
/// take the bulkhead of the resilience room, which is made of this.
///
/// # State
///
/// One word decides everything that need not wait:
///
/// | bits | name | meaning |
/// |---|---|---|
/// | 0 | `CLOSED` | no acquisition succeeds any more; set under the lock, for good |
/// | 1 | `QUEUED` | a waiter is linked that has not been woken; set under the lock before it is linked, cleared under the lock when there is none (possibly later than that) |
/// | 2..23 | invited | barging order: waiters that were woken to compete and have not come yet |
/// | 23 | `WATCHED` | somebody observes: no acquisition takes permits in passing, so that all are told of; set once |
/// | 24..64 | free | free permits, signed: capacity minus what is out; negative after a shrink below what is in use |
///
/// | transition | by | when |
/// |---|---|---|
/// | free - n | compare-and-swap | an acquisition that need not wait; strict orders only while not `QUEUED` |
/// | free + n | fetch-add | a permit is dropped; if it finds `QUEUED`, it takes the lock and hands over (barging: unless as many are invited as there are free permits) |
/// | free - n | fetch-sub under the lock | a waiter is granted (strict orders: nobody else can take meanwhile) |
/// | invited + 1 | fetch-add under the lock | barging: a waiter is woken; with the last one asleep `QUEUED` goes too |
/// | invited - 1 | under the lock | it came and took permits (in the same operation), came too late (and `QUEUED` is set again), or was dropped |
/// | free +- d | fetch-add under the lock | the capacity is changed by d |
///
/// Why no wake-up is lost: a waiter sets `QUEUED` with a read-modify-write and looks at the free permits *in the value
/// that this returned*. All changes of the word are totally ordered; a release comes either before it, and the waiter
/// sees the permits, or after it, and the release sees `QUEUED` and goes for the lock, which the waiter holds until it
/// is linked.
pub struct Semaphore {
    word: AtomicU64,
    /// The bits that keep an acquisition from taking free permits in passing.
    barred: u64,
    rule: Rule,
    /// Nanoseconds of waiting that are worth one class.
    ageing: u64,
    /// Barging: releases that left it to the invited.
    passed: AtomicU32,
    /// That of the queue, for those who do not want its lock.
    capacity: AtomicU32,
    queue: Mutex<Queue>,
    epoch: Epoch,
    name: Cow<'static, str>,
    /// Once somebody observes. No checker need see how they get here: the word says so.
    observers: OnceLock<Box<Observers<SemaphoreEvent>>>,
}

impl Semaphore {
    /// A strict first-come-first-served semaphore with all `permits` free.
    pub fn new(permits: u32) -> Self {
        Self::builder(permits).assemble(permits)
    }

    /// Starts a semaphore of `capacity` permits with other than default settings.
    ///
    /// ```
    /// use cofferdam::sync::{Order, Semaphore};
    ///
    /// let semaphore = Semaphore::builder(4).order(Order::Barging).name("uploads").build()?;
    /// assert_eq!(semaphore.capacity(), 4);
    /// # Ok::<(), cofferdam::ConfigError>(())
    /// ```
    pub fn builder(capacity: u32) -> SemaphoreBuilder {
        SemaphoreBuilder::new(capacity)
    }

    /// One permit, as soon as it is this caller's turn.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line, and hands on what it was granted in the meantime.
    ///
    /// # Errors
    /// Closed; capacity zero; the current [`Context`](super::Context) has ended.
    #[inline]
    pub fn acquire(&self) -> Acquire<&Self> {
        self.acquire_with(Request::new(1))
    }

    /// `n` permits at once.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); also zero permits, and more than the capacity.
    #[inline]
    pub fn acquire_many(&self, n: u32) -> Acquire<&Self> {
        self.acquire_with(Request::new(n))
    }

    /// The whole capacity in one request: everybody else out. Two callers cannot block each other half-way.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_all(&self) -> Acquire<&Self> {
        self.acquire_with(Request::all())
    }

    /// What `request` describes.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many); also as many waiting as the request allows.
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
    /// As [`acquire`](Self::acquire); also the limit has passed.
    pub fn acquire_timeout(&self, limit: Duration) -> AcquireTimeout<&Self> {
        self.acquire().timeout(limit)
    }

    /// `n` permits, waiting at most `limit` for them.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many); also the limit has passed.
    pub fn acquire_many_timeout(&self, n: u32, limit: Duration) -> AcquireTimeout<&Self> {
        self.acquire_many(n).timeout(limit)
    }

    /// One permit that owns its share of the semaphore, for `'static` tasks.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned(self: &Arc<Self>) -> Acquire<Arc<Self>> {
        self.acquire_with_owned(Request::new(1))
    }

    /// `n` permits, owned.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    pub fn acquire_many_owned(self: &Arc<Self>, n: u32) -> Acquire<Arc<Self>> {
        self.acquire_with_owned(Request::new(n))
    }

    /// What `request` describes, owned. For a time limit: [`Acquire::timeout`].
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// As [`acquire_with`](Self::acquire_with).
    pub fn acquire_with_owned(self: &Arc<Self>, request: Request) -> Acquire<Arc<Self>> {
        Acquire::new(Arc::clone(self), request)
    }

    /// One permit, if it may be had now.
    ///
    /// # Errors
    /// None free, or (in strict orders) others wait for it; closed; capacity zero.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<&Self>, TryAcquireError> {
        self.try_acquire_many(1)
    }

    /// `n` permits, if they may be had now.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); also zero permits, and more than the capacity.
    #[inline]
    pub fn try_acquire_many(&self, n: u32) -> Result<Permit<&Self>, TryAcquireError> {
        self.try_take(n)?;
        Ok(Permit::new(self, n))
    }

    /// The whole capacity, if all of it is free.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_all(&self) -> Result<Permit<&Self>, TryAcquireError> {
        Ok(Permit::new(self, self.try_take_all()?))
    }

    /// One owned permit, if it may be had now.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(self: &Arc<Self>) -> Result<Permit<Arc<Self>>, TryAcquireError> {
        self.try_acquire_many_owned(1)
    }

    /// `n` owned permits, if they may be had now.
    ///
    /// # Errors
    /// As [`try_acquire_many`](Self::try_acquire_many).
    pub fn try_acquire_many_owned(self: &Arc<Self>, n: u32) -> Result<Permit<Arc<Self>>, TryAcquireError> {
        self.try_take(n)?;
        Ok(Permit::new(Arc::clone(self), n))
    }

    /// How many permits are free. Zero while a shrink waits for permits to come back.
    #[inline]
    pub fn available(&self) -> u32 {
        // Relaxed: a look, out of date when it returns.
        clamp(free(self.word.load(Ordering::Relaxed)))
    }

    /// How many permits there are, free and in use.
    pub fn capacity(&self) -> u32 {
        self.queue.lock().capacity
    }

    /// What asks for more than this is refused: the capacity, or nothing at all where a capacity of zero holds up.
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn most(&self) -> u32 {
        self.queue.lock().most()
    }

    /// How many permits are in use; more than the capacity while a shrink waits for them.
    pub fn in_use(&self) -> u32 {
        self.stats().in_use
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue.lock().len()
    }

    /// Everything at one moment.
    pub fn stats(&self) -> SemaphoreStats {
        self.stats_of(&self.queue.lock())
    }

    fn stats_of(&self, queue: &Queue) -> SemaphoreStats {
        let free = free(self.word.load(Ordering::Relaxed));
        SemaphoreStats {
            capacity: queue.capacity,
            available: clamp(free),
            in_use: clamp(i64::from(queue.capacity) - free),
            waiting: queue.len(),
        }
    }

    /// The name, for errors and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes the capacity and returns the old one.
    ///
    /// More permits are handed to waiters at once. Fewer take effect at once for free permits, and as they are dropped
    /// for those in use; nobody is interrupted. A waiter that wants more than the new capacity gets an error.
    pub fn resize(&self, capacity: u32) -> u32 {
        let mut queue = self.queue.lock();
        let old = queue.capacity;
        self.set_capacity(&mut queue, capacity);
        // In two's complement this lowers the high bits where `capacity` is the smaller, and leaves the flags alone.
        self.word.fetch_add(permits(capacity).wrapping_sub(permits(old)), Ordering::AcqRel);
        drop(queue);
        self.follow_capacity();
        self.tell_resized(old, capacity);
        old
    }

    /// Adds permits that [`SemaphoreBuilder::initial`] held back, without changing the capacity.
    ///
    /// # Errors
    /// More than are still held back.
    pub fn add_permits(&self, n: u32) -> Result<(), ConfigError> {
        let mut queue = self.queue.lock();
        let Some(withheld) = queue.withheld.checked_sub(n) else {
            drop(queue);
            return Err(ConfigError::new("semaphore", "permits", n, "must not be above what is held back"));
        };
        queue.withheld = withheld;
        self.word.fetch_add(permits(n), Ordering::Release);
        drop(queue);
        self.hand_over();
        Ok(())
    }

    /// Ends all waits with an error and refuses all further requests. Permits that are out stay valid. Idempotent.
    pub fn close(&self) {
        self.close_first();
    }

    /// As [`close`](Self::close); says whether it was this call that did.
    pub(crate) fn close_first(&self) -> bool {
        let queue = self.queue.lock();
        let before = self.word.fetch_or(CLOSED, Ordering::AcqRel);
        drop(queue);
        self.end_waits();
        let is_first = before & CLOSED == 0;
        if is_first {
            self.tell_closed();
        }
        is_first
    }

    /// Whether it was closed.
    #[inline]
    pub fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the RMW in `close`: what the closer did before is visible.
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Lowers the capacity by permits that are out and will not come back.
    fn forget(&self, n: u32) {
        let mut queue = self.queue.lock();
        let capacity = queue.capacity.saturating_sub(n);
        // What a shrink still waits for has come back by this; more than the capacity cannot be forgotten.
        let short = n - (queue.capacity - capacity);
        self.set_capacity(&mut queue, capacity);
        self.word.fetch_add(permits(short), Ordering::AcqRel);
        drop(queue);
        self.follow_capacity();
    }

    fn clock(&self) -> &Clock {
        self.epoch.clock()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Semaphore");
        out.field("name", &self.name).field("order", &self.rule).field("available", &self.available());
        // Whatever is written to may ask this semaphore.
        let shown = self.queue.try_lock().map(|queue| (queue.capacity, queue.len()));
        match shown {
            Some((capacity, waiting)) => out.field("capacity", &capacity).field("waiting", &waiting),
            None => out.field("queue", &format_args!("<locked>")),
        };
        out.field("closed", &self.is_closed()).finish()
    }
}

/// A semaphore at one moment; see [`Semaphore::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SemaphoreStats {
    /// Permits in all.
    pub capacity: u32,
    /// Free permits.
    pub available: u32,
    /// Permits in use; above the capacity while a shrink waits for them.
    pub in_use: u32,
    /// Requests that wait.
    pub waiting: usize,
}
