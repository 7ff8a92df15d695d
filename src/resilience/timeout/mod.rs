//! A limit on the time of a call or of an attempt.

mod attempt;
mod builder;
mod detaching;

pub use attempt::TimeoutAttempt;
pub(super) use attempt::{OutcomeOf, within};
pub use builder::TimeoutBuilder;
pub use detaching::{Abandoned, DetachingAttempt, DetachingTimeout};

use super::{Attempt, Call, Component, Kind, Layer, Once, Policy, Scope, Single};
use crate::ConfigError;
use crate::observe::Observers;
use crate::shim::{AtomicU64, Ordering};
use crate::sync::Context as TaskContext;
use crate::task::Spawn;
use crate::time::Clock;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Ends what is inside it by dropping it when it takes longer than a limit.
///
/// The time is counted from the first poll that finds the inside pending. The inside is polled before the clock: a result
/// at the very limit has won, and what is ready at once costs no clock read and no timer. A limit of zero refuses without
/// calling; [`Duration::MAX`] is no limit at all.
///
/// Outside a retry it limits the whole call, inside it an attempt; say which with [`total`](Self::total) and
/// [`attempt`](Self::attempt), so that the error and the lints can.
///
/// ```
/// use cofferdam::resilience::Timeout;
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let timeout = Timeout::attempt(Duration::from_millis(5)).name("inventory");
/// let error = timeout.call(std::future::pending::<Result<(), ()>>).await.unwrap_err();
/// assert!(error.is_timeout());
/// assert_eq!(error.rejection().unwrap().policy(), "inventory");
/// # });
/// ```
///
/// # When to use something else
/// Work that was handed to another task or machine goes on when its future is dropped: give it a deadline of its own. A
/// future that blocks its thread cannot be ended by anybody. Work that must not be cut short, but need not be waited for,
/// is for a [`DetachingTimeout`].
///
/// Clones share the count and the observers.
#[derive(Clone)]
pub struct Timeout {
    /// Zero where `by` is set, so that one look tells what is usual.
    limit: Duration,
    by: Option<LimitBy>,
    scope: Scope,
    name: &'static str,
    clock: Clock,
    shared: Arc<Shared>,
}

type LimitBy = Arc<dyn Fn(&TaskContext) -> Duration + Send + Sync>;

#[derive(Default)]
struct Shared {
    observers: Observers<TimeoutEvent>,
    timed_out: AtomicU64,
}

impl Timeout {
    /// A limit on a whole call, for outside a retry.
    pub fn total(limit: Duration) -> Self {
        Self::builder(limit).scope(Scope::Total).build()
    }

    /// A limit on one attempt, for inside a retry.
    pub fn attempt(limit: Duration) -> Self {
        Self::builder(limit).build()
    }

    /// A limit with other than default settings.
    pub fn builder(limit: Duration) -> TimeoutBuilder {
        TimeoutBuilder::new(limit, None)
    }

    /// A limit that depends on the request, or on the attempt. `limit` is asked when an attempt begins, of the current
    /// [`Context`](crate::sync::Context): it carries what the request put there, and, inside a retry that
    /// [marks](super::RetryBuilder::mark_attempts) them, the number of the attempt.
    ///
    /// ```
    /// use cofferdam::resilience::{AttemptMark, Timeout};
    /// use cofferdam::sync::Context;
    /// use std::time::Duration;
    ///
    /// struct IsLarge;
    ///
    /// let timeout = Timeout::builder_by(|context: &Context| {
    ///     let attempt = context.value::<AttemptMark>().map_or(1, |mark| mark.number());
    ///     let base = if context.value::<IsLarge>().is_some() { 20 } else { 2 };
    ///     attempt * Duration::from_secs(base)
    /// })
    /// .build();
    /// ```
    pub fn builder_by(limit: impl Fn(&TaskContext) -> Duration + Send + Sync + 'static) -> TimeoutBuilder {
        TimeoutBuilder::new(Duration::ZERO, Some(Arc::new(limit)))
    }

    /// The same with another name, for errors. Default: "timeout".
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same on another clock. Default: the system's.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The limit; `None` if it depends on the request.
    pub fn limit(&self) -> Option<Duration> {
        self.by.is_none().then_some(self.limit)
    }

    /// How many calls or attempts it has ended, or refused for a limit of zero.
    pub fn timed_out(&self) -> u64 {
        // Relaxed: a look, out of date when it returns.
        self.shared.timed_out.load(Ordering::Relaxed)
    }

    crate::observe::watchable!(shared, [], u64, |shared| shared.timed_out.load(Ordering::Relaxed));

    /// Those who see its [events](TimeoutEvent).
    pub fn observers(&self) -> &Observers<TimeoutEvent> {
        &self.shared.observers
    }

    /// Runs an operation within the limit. With a limit of zero `op` is not called.
    ///
    /// # Cancel safety
    /// As cancel safe as the operation, which is dropped with it.
    ///
    /// # Errors
    /// The operation's own, or [timed out](super::Error::is_timeout).
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<TimeoutAttempt<'_, Once<F, Fut>>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// The same that stops to wait at its limit, and lets the work go on in a task of its own; see [`DetachingTimeout`]. At
    /// most `most` tasks are on their way at once.
    ///
    /// # Errors
    /// None at all may be on their way.
    pub fn detach(self, spawner: impl Spawn + 'static, most: u32) -> Result<DetachingTimeout, ConfigError> {
        DetachingTimeout::new(self, Arc::new(spawner), most)
    }

    /// What the limit is for an attempt that begins now.
    fn limit_now(&self) -> Duration {
        self.by.as_ref().map_or(self.limit, |by| by(&TaskContext::current()))
    }

    /// As layers and lints have it.
    fn layer(&self, detaches: bool) -> Layer {
        let limit = self.limit().filter(|limit| *limit < Duration::MAX);
        Layer::new(Kind::Timeout { limit, scope: self.scope, detaches }, self.name)
    }
}

impl Component for Timeout {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(self.layer(false));
    }
}

impl Single for Timeout {}

impl<'a, A: Attempt> Policy<A> for &'a Timeout {
    type Attempt = TimeoutAttempt<'a, A>;

    #[inline]
    fn around(self, inner: A) -> TimeoutAttempt<'a, A> {
        TimeoutAttempt::new(self, inner)
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("name", &self.name)
            .field("limit", &self.limit())
            .field("scope", &self.scope)
            .field("timed_out", &self.timed_out())
            .finish_non_exhaustive()
    }
}

/// What a [`Timeout`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutEvent {
    /// It has ended a call or an attempt, or refused it for a limit of zero.
    #[non_exhaustive]
    TimedOut {
        /// The name of the timeout.
        policy: &'static str,
        /// The time there was.
        limit: Duration,
        /// What the limit was for.
        scope: Scope,
        /// Whether the work goes on in a task of its own.
        detached: bool,
    },
    /// Work that went on in a task of its own has ended, too late for anybody to want its result.
    #[non_exhaustive]
    Late {
        /// The name of the timeout.
        policy: &'static str,
        /// Whether it succeeded.
        succeeded: bool,
    },
}
