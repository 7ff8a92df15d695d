//! A bound on how many calls run at once, and on how many wait for that.

mod attempt;
mod builder;
mod event;
mod place;
mod set;
mod wait;

pub use attempt::BulkheadAttempt;
pub use builder::BulkheadBuilder;
pub use event::BulkheadEvent;
pub use place::{AcquirePlace, Place};
pub use set::AtZero;

use super::{Call, Component, Error, Kind, Layer, Once, Policy, Reason, Rejection, Shortage, Single};
use crate::ConfigError;
use crate::limit::ConcurrencyLimiter;
use crate::limit::concurrency::{AcquireError, Partition, Request, Shortcut};
use crate::observe::{Observe, Observers};
use crate::shim::{AtomicU64, Ordering};
use crate::sync::Priority;
use set::Made;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Lets a bounded number of calls run at once, a bounded number wait, each for a bounded time, and refuses the rest at
/// once.
///
/// One bulkhead for each thing depended on: when it is slow, the calls that wait for it do not take everything else down.
///
/// ```
/// use cofferdam::resilience::Bulkhead;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let bulkhead = Bulkhead::builder(10).queue(20).wait_limit(Duration::from_millis(100)).name("search").build()?;
/// let hits = bulkhead.call(|| async { Ok::<_, ()>(3) }).await;
/// assert_eq!(hits, Ok(3));
/// assert_eq!(bulkhead.stats().running, 0);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Fairness
/// First come, first served, unless the [builder](BulkheadBuilder::order) says otherwise. A full queue refuses at once;
/// the bound on it is exact. A refusal says [why](super::Shortage): no place, no room in the queue, or no place in time.
///
/// # Deadlines and cancellation
/// Nobody waits past the deadline of the current [`Context`](crate::sync::Context), nor takes a place after it. One that
/// is cancelled is refused at once, but a cancellation does not reach a call that waits already, or runs, unless the
/// work is inside [`Context::run`](crate::sync::Context::run).
///
/// # Deadlocks
/// A call that makes another under the same bulkhead holds a place while it waits for one: with one place it waits for
/// itself, with more it takes only as many such calls at once. Without a queue the inner one is refused instead; with a
/// queue, a [`wait_limit`](BulkheadBuilder::wait_limit) or a deadline is what ends it. Give the inner call a bulkhead of
/// its own.
///
/// # Places that outlive a call
/// A place is held as long as the call runs. Where work goes on after its caller has stopped waiting for it (in a task, on
/// another thread), the call would give its place back too early, and more would run than the bulkhead allows. Give the
/// work the place itself: [`acquire`](Self::acquire) and [`call_with_place`](Self::call_with_place) hand out one that is owned.
///
/// # Shared between callers that differ
/// Clones share the places and the queue. How a clone asks is its own: [`priority`](Self::priority),
/// [`partition`](Self::partition), [`places`](Self::places) and [`wait_limit`](Self::wait_limit) make a clone whose calls
/// ask otherwise.
///
/// ```
/// use cofferdam::resilience::{Bulkhead, Stack};
/// use cofferdam::sync::{Order, Priority};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let ageing = Duration::from_secs(1);
/// let database = Bulkhead::builder(10).queue(50).order(Order::Priority { ageing }).name("database").build()?;
/// let pages = Stack::new().bulkhead(database.clone().priority(Priority::High));
/// let reports = Stack::new().bulkhead(database.clone().priority(Priority::Low).places(2));
/// # let _ = (pages, reports);
/// # Ok(())
/// # }
/// ```
///
/// # Where it sits
/// Inside a retry, so that no place is held while it sleeps, and outside the attempt's timeout, so that the wait for a
/// place is not held against the callee.
///
/// # When to use something else
/// Not for a rate: ten calls at once may be ten a minute or ten thousand. That is a [`Throttle`](super::Throttle)'s work.
/// Where nobody knows how many calls the callee can take, an [`AdaptiveBulkhead`](super::AdaptiveBulkhead) finds out.
///
/// Clones are cheap.
#[derive(Clone)]
pub struct Bulkhead {
    inner: Arc<Inner>,
    /// To the places of the request.
    shortcut: Option<Shortcut>,
    request: Request,
}

/// What the clones share. The places and the queue are those of a [`ConcurrencyLimiter`].
struct Inner {
    limiter: ConcurrencyLimiter,
    made: Made,
    name: &'static str,
    observers: Observers<BulkheadEvent>,
    refused: Refused,
}

/// Counts of refusals. Relaxed: statistics.
#[derive(Default)]
struct Refused {
    no_place: AtomicU64,
    queue_full: AtomicU64,
    too_late: AtomicU64,
    shed: AtomicU64,
}

impl Bulkhead {
    fn of(inner: Arc<Inner>, request: Request) -> Self {
        let shortcut = inner.limiter.shortcut(request);
        Self { inner, shortcut, request }
    }

    /// At most `running` calls at once; further ones are refused.
    ///
    /// # Errors
    /// Zero.
    pub fn new(running: u32) -> Result<Self, ConfigError> {
        Self::builder(running).build()
    }

    /// At most `running` calls at once, with other than default settings.
    pub fn builder(running: u32) -> BulkheadBuilder {
        BulkheadBuilder::new(running)
    }

    /// The same bulkhead, whose calls through this clone are of another class: for a bulkhead whose
    /// [order](BulkheadBuilder::order) is [`Order::Priority`](crate::sync::Order::Priority). Default: normal.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { request: self.request.priority(priority), ..self }
    }

    /// The same bulkhead, whose calls through this clone are on account of a
    /// [partition](BulkheadBuilder::partition). Default: the rest.
    #[must_use]
    pub fn partition(self, partition: Partition) -> Self {
        Self { request: self.request.partition(partition), ..self }
    }

    /// The same bulkhead, where a call through this clone takes `places` places. With none it is always let through.
    /// Default: 1.
    #[must_use]
    pub fn places(self, places: u32) -> Self {
        Self::of(self.inner, self.request.permits(places))
    }

    /// The same bulkhead, whose calls through this clone wait at most so long. Default: the builder's
    /// [wait limit](BulkheadBuilder::wait_limit). Without effect if there is no queue.
    #[must_use]
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self { request: self.request.wait_limit(limit), ..self }
    }

    /// The partition of this name, if there is one.
    pub fn find_partition(&self, name: &str) -> Option<Partition> {
        self.inner.limiter.partition(name)
    }

    /// Runs an operation when there is a place for it; `op` is not called before.
    ///
    /// # Cancel safety
    /// Dropping the future drops what runs and gives back the place, or leaves the queue.
    ///
    /// # Errors
    /// The operation's own; or [full](Error::is_full): no place, and no room to wait for one or not in time; or
    /// [shed](Error::is_shed) by the order of the queue; or [closed](Error::is_closed); or the surrounding work was cancelled
    /// before the wait, or is out of time.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<BulkheadAttempt<'_, Once<F, Fut>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// As [`call`](Self::call), but the operation gets the place, to hold for longer than the call.
    ///
    /// ```
    /// use cofferdam::resilience::Bulkhead;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # futures_executor::block_on(async {
    /// let uploads = Bulkhead::new(4)?;
    /// let (send, wait) = std::sync::mpsc::channel::<()>();
    /// let task = uploads
    ///     .call_with_place(|place| async {
    ///         let work = std::thread::spawn(move || {
    ///             let _place = place;
    ///             wait.recv().is_ok()
    ///         });
    ///         Ok::<_, ()>(work)
    ///     })
    ///     .await
    ///     .unwrap();
    /// assert_eq!(uploads.stats().running, 1, "the call is over, its work is not");
    /// send.send(()).unwrap();
    /// task.join().unwrap();
    /// assert_eq!(uploads.stats().running, 0);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future drops what runs, or leaves the queue. The place is given back when whoever holds it drops it.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with_place<T, E, F, Fut>(
        &self,
        op: F,
    ) -> impl Future<Output = Result<T, Error<E>>> + use<T, E, F, Fut>
    where
        F: FnOnce(Place) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let place = self.acquire();
        async move {
            let place = place.await?;
            op(place).await.map_err(Error::Inner)
        }
    }

    /// A place of one's own, as soon as it is this caller's turn.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue, and hands on the place that it was granted in the meantime.
    ///
    /// # Errors
    /// As [`call`](Self::call), but for the operation's own.
    pub fn acquire(&self) -> AcquirePlace {
        AcquirePlace::new(self)
    }

    /// A place of one's own, if one may be had now.
    ///
    /// # Errors
    /// No place, or others wait for it; closed.
    pub fn try_acquire(&self) -> Result<Place, Rejection> {
        if let Some(rejection) = self.refuse_now() {
            return Err(rejection);
        }
        match self.inner.limiter.try_acquire_with(self.request) {
            Ok(permit) => Ok(Place::new(self.clone(), permit, None)),
            // Not for want of room in the queue: it would not have waited there.
            Err(error) => Err(self.inner.refused(&error, false)),
        }
    }

    /// A refusal, where no lock is needed for it: no place is free, and there is no queue to wait in.
    #[inline(always)]
    fn refuse_now(&self) -> Option<Rejection> {
        // Only the number is made out of line: a refusal that came back through memory would be waited for.
        let limit = self.limit_if_full()?;
        Some(self.inner.full(limit))
    }

    #[inline(never)]
    fn limit_if_full(&self) -> Option<u32> {
        let Self { inner, shortcut, request } = self;
        let limit = shortcut.as_ref()?.is_full(request)?;
        if inner.limiter.queue() > 0 {
            return None;
        }
        inner.refused.no_place.fetch_add(1, Ordering::Relaxed);
        let name = inner.name;
        inner.observers.emit(|| BulkheadEvent::Rejected { name, rejection: inner.full(limit) });
        Some(limit)
    }

    /// Changes how many calls may run at once, and returns the old number. More are let in at once; fewer take effect as
    /// calls end, nobody is interrupted. Zero keeps everybody out: those who wait and those who come are refused, or held up, as
    /// [`at_zero`](BulkheadBuilder::at_zero) says. [`set`](Self::set) changes the queue as well.
    pub fn resize(&self, running: u32) -> u32 {
        let old = self.inner.limiter.resize_to(running);
        let name = self.inner.name;
        self.inner.observers.emit(|| BulkheadEvent::Resized { name, from: old, to: running });
        old
    }

    /// Refuses all further calls, those who wait included. Running calls go on. Idempotent.
    pub fn close(&self) {
        self.inner.limiter.close();
    }

    /// What it is doing, and whom it has refused.
    pub fn stats(&self) -> BulkheadStats {
        let stats = self.inner.limiter.stats();
        let Refused { no_place, queue_full, too_late, shed } = &self.inner.refused;
        BulkheadStats {
            running: stats.in_flight,
            limit: stats.limit,
            waiting: stats.waiting,
            refused_no_place: no_place.load(Ordering::Relaxed),
            refused_queue_full: queue_full.load(Ordering::Relaxed),
            refused_too_late: too_late.load(Ordering::Relaxed),
            shed: shed.load(Ordering::Relaxed),
        }
    }

    crate::observe::watchable!(inner, [], Self, |inner| Self::of(inner, Request::new(1)));

    /// What has the places and the queue.
    #[cfg(feature = "health")]
    pub(crate) fn limiter(&self) -> &ConcurrencyLimiter {
        &self.inner.limiter
    }

    /// What gives its counts, and whether it is closed, for as long as it is there, and does not keep it.
    #[cfg(feature = "telemetry")]
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<(BulkheadStats, bool)> + Send + Sync + use<> {
        let (inner, request) = (Arc::downgrade(&self.inner), self.request);
        move || {
            let bulkhead = Self::of(inner.upgrade()?, request);
            Some((bulkhead.stats(), bulkhead.inner.limiter.is_closed()))
        }
    }

    /// Shows all further events to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<BulkheadEvent>) {
        self.inner.observers.add(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &Observers<BulkheadEvent> {
        &self.inner.observers
    }

    /// What errors call it.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }
}

impl Inner {
    /// No place of so many, and nobody waits.
    #[inline(always)]
    fn full(&self, limit: u32) -> Rejection {
        Rejection::full_for_want_of(Shortage::Places, self.name, limit, 0, Duration::ZERO)
    }

    /// `queued` if there is a queue that could have taken it.
    #[cold]
    fn refused(&self, error: &AcquireError, queued: bool) -> Rejection {
        let rejection = self.rejection(error, queued);
        let name = self.name;
        self.observers.emit(|| BulkheadEvent::Rejected { name, rejection });
        rejection
    }

    fn rejection(&self, error: &AcquireError, queued: bool) -> Rejection {
        if let Some(ended) = error.context_error() {
            return Rejection::ended(self.name, ended);
        }
        if error.is_closed() {
            return Rejection::new(self.name, Reason::Closed);
        }
        if error.is_shed() {
            self.refused.shed.fetch_add(1, Ordering::Relaxed);
            return Rejection::new(self.name, Reason::Shed);
        }
        let (counter, shortage) = match () {
            () if error.is_timeout() => (&self.refused.too_late, Shortage::Time),
            () if error.is_full() && queued => (&self.refused.queue_full, Shortage::Queue),
            // None free, or the limit is below what the call takes.
            () => (&self.refused.no_place, Shortage::Places),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // As it was when there was no place, if that was looked at.
        let (limit, waiting) = error.seen().unwrap_or_else(|| {
            let stats = self.limiter.stats();
            (stats.limit, stats.waiting)
        });
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let waited = error.waited().unwrap_or_default();
        Rejection::full_for_want_of(shortage, self.name, limit, waiting, waited)
    }
}

/// Another handle on the shared one.
impl From<Arc<Self>> for Bulkhead {
    fn from(shared: Arc<Self>) -> Self {
        Self::clone(&shared)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { limiter, name, .. } = &*self.inner;
        f.debug_struct("Bulkhead")
            .field("name", name)
            .field("queue", &limiter.queue())
            .field("request", &self.request)
            .field("limiter", limiter)
            .finish()
    }
}

/// What a [`Bulkhead`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadStats {
    /// Places that are taken: calls that run, if each takes one. Above the limit while a shrink waits for them.
    pub running: u32,
    /// How many places there are.
    pub limit: u32,
    /// Calls that wait.
    pub waiting: usize,
    /// Calls that were refused since there was no place, and no queue or no will to wait in it.
    pub refused_no_place: u64,
    /// Calls that were refused since the queue was full.
    pub refused_queue_full: u64,
    /// Calls that found no place within their wait limit.
    pub refused_too_late: u64,
    /// Calls that the order of the queue has sent away.
    pub shed: u64,
}

impl Component for Bulkhead {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Bulkhead, self.inner.name));
    }
}

impl Single for Bulkhead {}
