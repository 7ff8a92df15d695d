//! A bound on how many calls run at once, and on how many wait for that.

use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Reason, Rejection, Single};
use crate::ConfigError;
use crate::sync::{Acquire, AcquireError, Order, Permit, Request, Semaphore, context};
use crate::time::{Alarm, Clock, Deadline};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
/// the bound on it is exact.
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
/// # Where it sits
/// Inside a retry, so that no place is held while it sleeps, and outside the attempt's timeout, so that the wait for a
/// place is not held against the callee.
///
/// # When to use something else
/// Not for a rate: ten calls at once may be ten a minute or ten thousand. That is a [`Throttle`](super::Throttle)'s work.
/// Where nobody knows how many calls the callee can take, an [`AdaptiveBulkhead`](super::AdaptiveBulkhead) finds out.
///
/// Clones are cheap and share the places and the queue.
#[derive(Clone)]
pub struct Bulkhead(Arc<Inner>);

struct Inner {
    semaphore: Semaphore,
    clock: Clock,
    queue: u32,
    wait_limit: Duration,
    name: &'static str,
}

impl Bulkhead {
    /// At most `running` calls at once; further ones are refused.
    ///
    /// # Errors
    /// Zero.
    pub fn new(running: u32) -> Result<Self, ConfigError> {
        Self::builder(running).build()
    }

    /// At most `running` calls at once, with other than default settings.
    pub fn builder(running: u32) -> BulkheadBuilder {
        BulkheadBuilder {
            running,
            queue: 0,
            wait_limit: Duration::MAX,
            order: Order::default(),
            name: "bulkhead",
            clock: Clock::system(),
        }
    }

    /// Runs an operation when there is a place for it; `op` is not called before.
    ///
    /// # Cancel safety
    /// Dropping the future drops what runs and gives back the place, or leaves the queue.
    ///
    /// # Errors
    /// The operation's own; or [full](Error::is_full): no place, and no room to wait for one or not in time; or
    /// [closed](Error::is_closed); or the surrounding work was cancelled before the wait, or is out of time.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<BulkheadAttempt<'_, Once<F, Fut>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// Changes how many calls may run at once, and returns the old number. More are let in at once; fewer take effect as
    /// calls end. Zero keeps everybody out, those who wait included.
    pub fn resize(&self, running: u32) -> u32 {
        self.0.semaphore.resize(running)
    }

    /// Refuses all further calls, those who wait included. Running calls go on. Idempotent.
    pub fn close(&self) {
        self.0.semaphore.close();
    }

    /// What it is doing.
    pub fn stats(&self) -> BulkheadStats {
        let stats = self.0.semaphore.stats();
        BulkheadStats { running: stats.in_use, limit: stats.capacity, waiting: stats.waiting }
    }
}

impl Inner {
    #[cold]
    fn refused(&self, error: &AcquireError) -> Rejection {
        if let Some(ended) = error.context_error() {
            return Rejection::ended(self.name, ended);
        }
        if error.is_closed() {
            return Rejection::new(self.name, Reason::Closed);
        }
        // A full queue, or a capacity of zero.
        self.full(Duration::ZERO)
    }

    #[cold]
    fn full(&self, waited: Duration) -> Rejection {
        let stats = self.semaphore.stats();
        let waiting = u32::try_from(stats.waiting).unwrap_or(u32::MAX);
        Rejection::full(self.name, stats.capacity, waiting, waited)
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
        let Inner { semaphore, queue, wait_limit, .. } = &*self.0;
        f.debug_struct("Bulkhead")
            .field("queue", queue)
            .field("wait_limit", &limit(*wait_limit))
            .field("semaphore", semaphore)
            .finish()
    }
}

/// The limit, if it is one.
fn limit(wait_limit: Duration) -> Option<Duration> {
    (wait_limit < Duration::MAX).then_some(wait_limit)
}

/// What a [`Bulkhead`] is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadStats {
    /// Calls that run.
    pub running: u32,
    /// How many may.
    pub limit: u32,
    /// Calls that wait.
    pub waiting: usize,
}

/// Builds a [`Bulkhead`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BulkheadBuilder {
    running: u32,
    queue: u32,
    wait_limit: Duration,
    order: Order,
    name: &'static str,
    clock: Clock,
}

impl BulkheadBuilder {
    /// How many calls may wait for a place. Default: none.
    pub fn queue(self, queue: u32) -> Self {
        Self { queue, ..self }
    }

    /// How long a call may wait for a place, counted from when it finds none. Default: without limit.
    pub fn wait_limit(self, wait_limit: Duration) -> Self {
        Self { wait_limit, ..self }
    }

    /// Who of those who wait comes first. Default: whoever came first.
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// What errors call it. Default: "bulkhead".
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The clock of the wait limit. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The policy.
    ///
    /// # Errors
    /// No place at all; a wait limit without a queue to wait in; an order that the semaphore refuses.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let Self { running, queue, wait_limit, order, name, clock } = self;
        if running == 0 {
            return Err(ConfigError::new("bulkhead", "running", 0, "must be at least 1"));
        }
        if queue == 0 && wait_limit != Duration::MAX {
            let value = format_args!("{wait_limit:?}");
            return Err(ConfigError::new("bulkhead", "wait_limit", value, "needs a queue to wait in"));
        }
        let semaphore = Semaphore::builder(running).order(order).name(name).clock(clock.clone()).build()?;
        Ok(Bulkhead(Arc::new(Inner { semaphore, clock, queue, wait_limit, name })))
    }
}

impl fmt::Debug for BulkheadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder")
            .field("running", &self.running)
            .field("queue", &self.queue)
            .field("wait_limit", &limit(self.wait_limit))
            .field("order", &self.order)
            .field("name", &self.name)
            .field("clock", &self.clock)
            .finish()
    }
}

impl Component for Bulkhead {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Bulkhead, self.0.name));
    }
}

impl Single for Bulkhead {}

impl<'a, A: Attempt> Policy<A> for &'a Bulkhead {
    type Attempt = BulkheadAttempt<'a, A>;

    #[inline]
    fn around(self, inner: A) -> BulkheadAttempt<'a, A> {
        BulkheadAttempt { policy: &self.0, inner, place: None, waiting: None }
    }
}

pin_project! {
    /// What is inside a [`Bulkhead`].
    pub struct BulkheadAttempt<'a, A> {
        policy: &'a Inner,
        // Before the place: what runs is dropped before its place is given to others.
        #[pin]
        inner: A,
        place: Option<Permit<&'a Semaphore>>,
        #[pin]
        waiting: Option<Waiting<'a>>,
    }
}

pin_project! {
    /// A call in the queue.
    struct Waiting<'a> {
        #[pin]
        acquire: Acquire<&'a Semaphore>,
        alarm: Alarm,
        // Whether it is the deadline of the surrounding work that ends the wait.
        ambient: bool,
    }
}

/// Gets in line, and waits for a place, but not for too long.
#[inline(never)]
fn wait<'a>(
    policy: &'a Inner,
    mut waiting: Pin<&mut Option<Waiting<'a>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Permit<&'a Semaphore>, Rejection>> {
    if waiting.is_none() {
        let acquire = policy.semaphore.acquire_with(Request::new(1).max_waiting(policy.queue));
        waiting.set(Some(Waiting { acquire, alarm: Alarm::default(), ambient: false }));
    }
    let Some(this) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
    let mut this = this.project();
    let mut acquired = this.acquire.as_mut().poll(cx);
    if acquired.is_pending() {
        let alarm = this.alarm.poll(&policy.clock, cx, |clock| {
            let limit = match policy.wait_limit {
                Duration::MAX => Deadline::NEVER,
                limit => Deadline::after(clock.now(), limit),
            };
            let deadline = context::deadline();
            *this.ambient = deadline < limit;
            limit.min(deadline)
        });
        ready!(alarm);
        // A place that was handed over between the two looks is in time.
        acquired = this.acquire.poll(cx);
    }
    let ambient = *this.ambient;
    waiting.set(None);
    Poll::Ready(match acquired {
        Poll::Ready(acquired) => acquired.map_err(|error| policy.refused(&error)),
        Poll::Pending if ambient => Err(Rejection::new(policy.name, Reason::DeadlineExceeded)),
        Poll::Pending => Err(policy.full(policy.wait_limit)),
    })
}

impl<A: Attempt> Attempt for BulkheadAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let policy: &Inner = this.policy;
        if this.place.is_none() {
            if this.waiting.is_none() && !context::can_end() {
                match policy.semaphore.try_acquire() {
                    Ok(place) => *this.place = Some(place),
                    Err(error) if policy.queue == 0 && error.is_no_permits() => {
                        return Poll::Ready(Err(policy.full(Duration::ZERO).into()));
                    }
                    Err(_) => {}
                }
            }
            if this.place.is_none() {
                match ready!(wait(policy, this.waiting, cx)) {
                    Ok(place) => *this.place = Some(place),
                    Err(rejection) => return Poll::Ready(Err(rejection.into())),
                }
            }
        }
        let outcome = ready!(this.inner.poll_attempt(cx));
        *this.place = None;
        Poll::Ready(outcome)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.waiting.set(None);
        this.inner.cancel();
        *this.place = None;
    }
}

impl<A: super::Fork> super::Fork for BulkheadAttempt<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self { policy: self.policy, inner: self.inner.fork()?, place: None, waiting: None })
    }
}

impl<A: fmt::Debug> fmt::Debug for BulkheadAttempt<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("running", &self.place.is_some())
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
