//! A timeout that lets the work go on.

use super::attempt::within;
use super::{Timeout, TimeoutEvent};
use crate::ConfigError;
use crate::resilience::{
    Attempt, Call, Component, Error, Fork, Layer, Once, Policy, Reason, Rejection, Single,
};
use crate::shim::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Context as TaskContext, context};
use crate::task::Spawn;
use crate::time::Alarm;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Stops to wait for what is inside it when that takes longer than a limit, and lets it go on in a task of its own: for work
/// that must not be cut short. Made by [`Timeout::detach`].
///
/// The work runs in the caller's task until the limit, and is handed to the spawner then; what never comes to its limit is
/// never spawned. It keeps the [`Context`](crate::sync::Context) in which it ran. All that it holds stays held until it really
/// ends: put a bulkhead *inside*, by way of an `Arc`, and its place stays taken as long as the callee is busy.
///
/// How many are on their way is bounded. A call is refused as [full](Error::is_full) at once while all those are there, as it
/// might have to be the next. If calls that were let in come to their limits faster than that, those that are too many are
/// dropped like those of a plain timeout.
///
/// ```
/// use cofferdam::resilience::{Bulkhead, Timeout};
/// use cofferdam::task::BoxTask;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let timeout = Timeout::attempt(Duration::from_secs(2)).detach(|task: BoxTask| smol::spawn(task).detach(), 16)?;
/// let bulkhead = Arc::new(Bulkhead::new(64)?);
/// # smol::block_on(async {
/// let outcome = timeout
///     .call(move || async move { bulkhead.call(|| async { Ok::<_, std::io::Error>("written") }).await })
///     .await;
/// assert_eq!(outcome.unwrap(), "written");
/// # });
/// # Ok(())
/// # }
/// ```
///
/// # Cost
/// One allocation for each call, since what may have to move to another task must not be inside its caller's future.
///
/// # When to use something else
/// A [`Timeout`] ends the work, and so makes room for the next; whatever can be cut short should be.
#[derive(Clone)]
pub struct DetachingTimeout {
    timeout: Timeout,
    spawner: Arc<dyn Spawn>,
    late: Arc<Late>,
}

/// Of the work that goes on.
struct Late {
    most: u32,
    /// So many are on their way: at most `most`, taken and checked in one step.
    under_way: AtomicU32,
    detached: AtomicU64,
    dropped: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// What became of the work that came to its limit; see [`DetachingTimeout::abandoned`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abandoned {
    /// So much is on its way now.
    pub under_way: u32,
    /// So much was handed to the spawner in all.
    pub detached: u64,
    /// Dropped at its limit, since as much as may be was on its way.
    pub dropped: u64,
    /// Ended well, too late.
    pub succeeded: u64,
    /// Ended badly: in an error, in a panic, or dropped by their executor.
    pub failed: u64,
}

impl DetachingTimeout {
    pub(super) fn new(timeout: Timeout, spawner: Arc<dyn Spawn>, most: u32) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("timeout", "most", most, "must be at least 1"));
        }
        let zero = || AtomicU64::new(0);
        let late = Late {
            most,
            under_way: AtomicU32::new(0),
            detached: zero(),
            dropped: zero(),
            succeeded: zero(),
            failed: zero(),
        };
        Ok(Self { timeout, spawner, late: Arc::new(late) })
    }

    /// The timeout that it is but for what it does at its limit.
    pub fn timeout(&self) -> &Timeout {
        &self.timeout
    }

    /// What became of the work that came to its limit.
    pub fn abandoned(&self) -> Abandoned {
        // Relaxed: a look, out of date when it returns.
        Abandoned {
            under_way: self.late.under_way.load(Ordering::Relaxed),
            detached: self.late.detached.load(Ordering::Relaxed),
            dropped: self.late.dropped.load(Ordering::Relaxed),
            succeeded: self.late.succeeded.load(Ordering::Relaxed),
            failed: self.late.failed.load(Ordering::Relaxed),
        }
    }

    /// Runs an operation, and waits for it until the limit.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation, if it has not come to its limit.
    ///
    /// # Errors
    /// The operation's own, [timed out](Error::is_timeout), or [full](Error::is_full).
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<DetachingAttempt<'_, Once<F, Fut>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Call::new(self.around(Once::new(op)))
    }
}

impl Component for DetachingTimeout {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(self.timeout.layer(true));
    }
}

impl Single for DetachingTimeout {}

impl<'a, A: Fork + Send + 'static> Policy<A> for &'a DetachingTimeout {
    type Attempt = DetachingAttempt<'a, A>;

    fn around(self, inner: A) -> DetachingAttempt<'a, A> {
        DetachingAttempt { policy: self, template: Some(inner), running: None, alarm: Alarm::default() }
    }
}

/// What is inside a [`DetachingTimeout`].
pub struct DetachingAttempt<'a, A> {
    policy: &'a DetachingTimeout,
    /// Never polled: each attempt is a fork of it, or, if it cannot be forked, the thing itself.
    template: Option<A>,
    running: Option<(Pin<Box<A>>, Duration)>,
    alarm: Alarm,
}

/// Nothing in it is pinned: what runs is in a box.
impl<A> Unpin for DetachingAttempt<'_, A> {}

impl<A: Fork + Send + 'static> DetachingAttempt<'_, A> {
    /// Begins an attempt.
    fn begin(&mut self) -> Result<(), Rejection> {
        let DetachingTimeout { timeout, late, .. } = self.policy;
        // Relaxed: whether it is so still is decided when a place is taken.
        if late.under_way.load(Ordering::Relaxed) >= late.most {
            return Err(Rejection::full(timeout.name, late.most, 0, Duration::ZERO));
        }
        let limit = timeout.limit_now();
        if limit.is_zero() {
            return Err(timeout.expired(limit, false));
        }
        let forked = self.template.as_ref().and_then(Fork::fork);
        let Some(attempt) = forked.or_else(|| self.template.take()) else {
            return Err(Rejection::new("operation", Reason::Closed));
        };
        self.running = Some((Box::pin(attempt), limit));
        Ok(())
    }

    /// The attempt has come to its limit: it goes on elsewhere, if it may.
    fn expired(&mut self, limit: Duration) -> Rejection {
        let DetachingTimeout { timeout, late, spawner } = self.policy;
        let running = self.running.take();
        let place = Place::take(timeout, late);
        let rejection = timeout.expired(limit, place.is_some());
        match (running, place) {
            (Some((attempt, _)), Some(place)) => {
                let context = context::capture();
                spawner.spawn(Box::pin(GoesOn { attempt: Some(attempt), context, place: Some(place) }));
            }
            _ => drop(late.dropped.fetch_add(1, Ordering::Relaxed)),
        }
        rejection
    }
}

impl<A: Fork + Send + 'static> Attempt for DetachingAttempt<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = &mut *self;
        if this.running.is_none() {
            if let Err(rejection) = this.begin() {
                return Poll::Ready(Err(rejection.into()));
            }
        }
        let Some((attempt, limit)) = &mut this.running else { return Poll::Pending };
        let limit = *limit;
        match ready!(within(&mut this.alarm, &this.policy.timeout.clock, limit, attempt.as_mut(), cx)) {
            Some(outcome) => {
                this.running = None;
                Poll::Ready(outcome)
            }
            None => Poll::Ready(Err(this.expired(limit).into())),
        }
    }

    fn cancel(mut self: Pin<&mut Self>) {
        self.alarm.disarm();
        self.running = None;
    }
}

impl<A: Fork + Send + 'static> Fork for DetachingAttempt<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(self.policy.around(self.template.as_ref()?.fork()?))
    }
}

/// One of those that may be on their way.
struct Place {
    timeout: Timeout,
    late: Arc<Late>,
    /// Whether the work has succeeded.
    succeeded: bool,
}

impl Place {
    fn take(timeout: &Timeout, late: &Arc<Late>) -> Option<Self> {
        let take = |under_way: u32| (under_way < late.most).then_some(under_way + 1);
        // Relaxed: the count orders nothing but itself.
        late.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        late.detached.fetch_add(1, Ordering::Relaxed);
        Some(Self { timeout: timeout.clone(), late: Arc::clone(late), succeeded: false })
    }
}

/// However the work has ended: by itself, in a panic, or with its executor.
impl Drop for Place {
    fn drop(&mut self) {
        let Self { timeout, late, succeeded } = self;
        let succeeded = *succeeded;
        let count = if succeeded { &late.succeeded } else { &late.failed };
        count.fetch_add(1, Ordering::Relaxed);
        late.under_way.fetch_sub(1, Ordering::Relaxed);
        timeout.shared.observers.emit(|| TimeoutEvent::Late { policy: timeout.name, succeeded });
    }
}

/// Work that nobody waits for.
struct GoesOn<A> {
    // Before the place: it is over before its place is given to another.
    attempt: Option<Pin<Box<A>>>,
    context: Option<TaskContext>,
    place: Option<Place>,
}

impl<A: Attempt> Future for GoesOn<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(attempt) = &mut this.attempt else { return Poll::Ready(()) };
        let succeeded = match &this.context {
            None => ready!(attempt.as_mut().poll_attempt(cx)).is_ok(),
            Some(context) => ready!(context.scope_sync(|| attempt.as_mut().poll_attempt(cx))).is_ok(),
        };
        this.attempt = None;
        if let Some(place) = &mut this.place {
            place.succeeded = succeeded;
        }
        this.place = None;
        Poll::Ready(())
    }
}

impl fmt::Debug for DetachingTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachingTimeout")
            .field("timeout", &self.timeout)
            .field("most", &self.late.most)
            .field("abandoned", &self.abandoned())
            .finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for DetachingAttempt<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachingAttempt").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}
