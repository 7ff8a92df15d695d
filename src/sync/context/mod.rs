//! What follows the work: cancellation, a deadline, request-scoped values.

#![forbid(unsafe_code)]

mod current;
mod error;
mod run;
mod values;

#[allow(unused_imports, reason = "rooms behind features ask it")]
pub(crate) use current::{can_end, capture, check, deadline, is_any};
pub use error::ContextError;
pub use run::{RunInContext, Scope};

use super::{CancelToken, Cause};
use crate::time::{Clock, Deadline};
use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};
use values::Values;

/// What a request takes along wherever it is worked on: cancellation with a cause, an absolute deadline, and typed
/// values.
///
/// Dropping a future cancels it. A context adds what dropping cannot do: it reaches spawned work, it says why, it lets
/// whoever is about to wait see that there is no time left, and it carries the request's own data without threading
/// arguments through every layer.
///
/// A context is made [`current`](Self::current) for every poll of a future by [`scope`](Self::scope) and
/// [`run`](Self::run), on any executor and across threads.
///
/// # What a wait does with it
/// The waits of this crate look at the current context once, before they have any effect. What happens to it afterwards
/// does not end a wait that is under way, unless the table says so: for that, run the work that waits with
/// [`run`](Self::run).
///
/// | wait | the context has ended before | its deadline is too near | it ends meanwhile |
/// |---|---|---|---|
/// | a semaphore, a channel, a pool's queue | refused at once | waits | waits on |
/// | a rate limiter, which knows its wait | refused at once | refused at once, nothing taken | waits on |
/// | a bulkhead | refused at once | waits until the deadline | the deadline ends the wait, a cancellation does not |
/// | a retry's sleep | gives up at once | gives up at once | a cancellation ends the sleep |
/// | a gate, a oneshot, a channel as a stream | waits | waits | waits on |
/// | anything inside [`run`](Self::run) | not polled | | dropped on the spot |
///
/// # Deriving one from another
///
/// | method | cancelling it | deadline | values |
/// |---|---|---|---|
/// | [`child`](Self::child) | leaves this one alone | same | same |
/// | [`with_deadline`](Self::with_deadline), [`with_timeout`](Self::with_timeout) | leaves this one alone | the earlier one | same |
/// | [`with_value`](Self::with_value) | cancels this one too | same | one more |
/// | [`with_clock`](Self::with_clock) | cancels this one too | same, on another clock | same |
/// | [`keep_only`](Self::keep_only) | cancels this one too | same | only those listed |
/// | [`detached`](Self::detached) | there is nothing to cancel | none | same |
///
/// Whatever cancels a context cancels all that was derived from it, except what was detached.
///
/// Values are for data about the request (ids, credentials, a language), not for optional arguments of a function. A
/// look-up walks the values newest first, so a handful of them is fine and a hundred is not.
///
/// ```
/// use cofferdam::sync::Context;
/// use std::time::Duration;
///
/// #[derive(Debug, PartialEq)]
/// struct RequestId(u32);
///
/// async fn handler() -> u32 {
///     Context::current().value::<RequestId>().map_or(0, |id| id.0)
/// }
///
/// # futures_executor::block_on(async {
/// let request = Context::background().with_timeout(Duration::from_secs(5)).with_value(RequestId(7));
/// assert_eq!(request.run(handler()).await.unwrap(), 7);
///
/// request.cancel("the client has hung up");
/// let error = request.run(handler()).await.unwrap_err();
/// assert_eq!(error.to_string(), "cancelled: the client has hung up");
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Context {
    token: Option<CancelToken>,
    deadline: Deadline,
    clock: Clock,
    values: Values,
}

impl Context {
    /// The root: never cancelled, no deadline, no values, the system's clock. Costs nothing.
    pub const fn background() -> Self {
        Self { token: None, deadline: Deadline::NEVER, clock: Clock::system(), values: Values::NONE }
    }

    /// The context of the running future; the background where there is none.
    pub fn current() -> Self {
        current::current()
    }

    /// The same, to be cancelled on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        let token = self.token.as_ref().map_or_else(CancelToken::new, CancelToken::child);
        Self { token: Some(token), ..self.clone() }
    }

    /// A child that ends at `deadline`, or at this context's own deadline if that is earlier.
    #[must_use]
    pub fn with_deadline(&self, deadline: impl Into<Deadline>) -> Self {
        Self { deadline: self.deadline.min(deadline.into()), ..self.child() }
    }

    /// A child that ends `limit` from now on the context's clock, or at this context's own deadline if that is earlier.
    #[must_use]
    pub fn with_timeout(&self, limit: Duration) -> Self {
        self.with_deadline(Deadline::after(self.clock.now(), limit))
    }

    /// The same with the deadline measured by another clock.
    #[must_use]
    pub fn with_clock(&self, clock: Clock) -> Self {
        Self { clock, ..self.clone() }
    }

    /// The same with one more value. It hides an earlier value of the same type.
    #[must_use]
    pub fn with_value<T: Send + Sync + 'static>(&self, value: T) -> Self {
        Self { values: self.values.with(value), ..self.clone() }
    }

    /// The same with no values but those of the listed types: what may cross a boundary. An empty list lets none cross.
    ///
    /// ```
    /// use cofferdam::sync::Context;
    /// use std::any::TypeId;
    ///
    /// struct TraceId(u64);
    /// struct Password(&'static str);
    ///
    /// let inside = Context::background().with_value(TraceId(1)).with_value(Password("hunter2"));
    /// let outside = inside.keep_only(&[TypeId::of::<TraceId>()]);
    /// assert_eq!(outside.value::<TraceId>().unwrap().0, 1);
    /// assert!(outside.value::<Password>().is_none());
    /// ```
    #[must_use]
    pub fn keep_only(&self, types: &[TypeId]) -> Self {
        Self { values: self.values.keep_only(types), ..self.clone() }
    }

    /// The values and the clock alone, with no cancellation and no deadline: for work that was accepted and must go on
    /// when the one who asked for it has gone.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { token: None, deadline: Deadline::NEVER, ..self.clone() }
    }

    /// Cancels this context and all derived from it. The first cause stays; says whether it was this one.
    ///
    /// The background, and what is detached from everything, cannot be cancelled: take a [`child`](Self::child).
    pub fn cancel(&self, cause: impl Into<Cause>) -> bool {
        self.token.as_ref().is_some_and(|token| token.cancel_with(cause))
    }

    /// Its cancellation, if it can be cancelled at all.
    pub fn token(&self) -> Option<&CancelToken> {
        self.token.as_ref()
    }

    /// Whether it is cancelled. A deadline that has passed is not a cancellation.
    pub fn is_cancelled(&self) -> bool {
        self.token.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// Why it is cancelled; `None` if it is not.
    pub fn cause(&self) -> Option<Cause> {
        self.token.as_ref().and_then(CancelToken::cause)
    }

    /// When it ends.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The clock that measures the deadline.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Time left until the deadline: zero once it has passed, `None` if there is none.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.instant().and_then(|_| self.deadline.remaining(self.clock.now()))
    }

    /// Whether the deadline has passed.
    pub fn is_expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// The value of type `T`, if there is one.
    pub fn value<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.values.find()
    }

    /// Whether work in this context may go on. Reads the clock only if there is a deadline.
    ///
    /// # Errors
    /// The context is cancelled, or its deadline has passed; cancellation is named first.
    pub fn check(&self) -> Result<(), ContextError> {
        self.check_with(|| self.clock.now())
    }

    /// As [`check`](Self::check), for the instant `now`.
    ///
    /// # Errors
    /// The context is cancelled, or its deadline is not after `now`; cancellation is named first.
    pub fn check_at(&self, now: Instant) -> Result<(), ContextError> {
        self.check_with(|| now)
    }

    fn check_with(&self, now: impl FnOnce() -> Instant) -> Result<(), ContextError> {
        if let Some(cause) = self.cause() {
            return Err(ContextError::Cancelled { cause });
        }
        if self.deadline != Deadline::NEVER && self.deadline.has_passed(now()) {
            return Err(ContextError::DeadlineExceeded);
        }
        Ok(())
    }

    /// Whether it has any values.
    #[allow(dead_code, reason = "asked by the rooms behind features")]
    pub(crate) fn has_values(&self) -> bool {
        self.values.any()
    }

    /// Whether it can be cancelled or has a deadline.
    fn can_end(&self) -> bool {
        self.token.is_some() || self.deadline != Deadline::NEVER
    }

    /// Makes this the current context for every poll of `future`, and for its drop. It does not end the future: see
    /// [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope::new(self.clone(), future)
    }

    /// Makes this the current context while `body` runs.
    pub fn scope_sync<R>(&self, body: impl FnOnce() -> R) -> R {
        let mut context = self.clone();
        let _current = current::enter(&mut context);
        body()
    }

    /// Runs `future` in this context until it is ready, or the context is cancelled, or its deadline passes, whichever is
    /// first; `future` is then dropped on the spot.
    ///
    /// In a context that has ended before the first poll `future` is never polled, and it is never polled after a
    /// cancellation. A result beats the clock: the future is polled before the timer, so one that is ready at the very
    /// deadline has won. The timer is armed only once the future is pending, and nothing is allocated for the wait for
    /// the cancellation.
    ///
    /// # Errors
    /// The context was cancelled, or its deadline passed.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn run<F: Future>(&self, future: F) -> RunInContext<F> {
        RunInContext::new(self.clone(), future)
    }
}

/// A context that is cancelled with the token, and cancels it.
impl From<CancelToken> for Context {
    fn from(token: CancelToken) -> Self {
        Self { token: Some(token), ..Self::background() }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cancelled", &self.is_cancelled())
            .field("deadline", &self.deadline)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
