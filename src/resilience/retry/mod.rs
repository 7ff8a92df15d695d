//! Trying again.

mod attempt;
mod blocking;
mod builder;
mod call;
mod event;
mod judge;
mod judges;
mod mark;
mod run;
mod stats;

pub use attempt::RetryAttempt;
pub use builder::RetryBuilder;
pub use call::{RetryExt, Retrying};
pub use event::{DelaySource, Next, RetryEvent};
pub use judge::{Judge, Lent, Retryable, Verdict};
pub use judges::{AbortOn, AbortOnCause, AfterError, DelayBy, Notify, OnGiveUp, When, WhenCause, WhenOk};
pub(in crate::resilience) use judges::{is_marked, judged_by};
pub use mark::AttemptMark;
pub use stats::RetryStats;

use super::{Attempt, Budget, Call, Component, Error, Kind, Layer, Operation, Policy, Scope};
use crate::observe::Observers;
use crate::shim::Mutex;
use crate::time::{Backoff, Clock, Spread};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Tries again what failed, after a delay, a bounded number of times.
///
/// ```
/// use cofferdam::resilience::Retry;
/// use cofferdam::time::Backoff;
/// use std::io;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let retry = Retry::builder()
///     .max_attempts(3)
///     .backoff(Backoff::exponential(Duration::from_millis(1)))
///     .when(|error: &io::Error| error.kind() == io::ErrorKind::TimedOut)
///     .build()?;
///
/// let mut calls = 0;
/// let outcome = retry
///     .call(|| {
///         calls += 1;
///         let outcome = if calls < 3 { Err(io::ErrorKind::TimedOut.into()) } else { Ok("there") };
///         async move { outcome }
///     })
///     .await;
/// assert_eq!(outcome.unwrap(), "there");
/// # Ok(())
/// # })
/// # }
/// ```
///
/// For an operation at hand there is [`RetryExt`]: `operation.retry(&policy).await`; for one that blocks,
/// [`call_sync`](Self::call_sync).
///
/// # What is tried again
/// By default every error of the operation, timeouts inside, and rate limits that say when; not what an open circuit, a
/// full bulkhead or a load shedder refused: see [`Error::is_retryable`](super::Error::is_retryable). Narrow it with
/// [`when`](RetryBuilder::when) and [`abort_on`](RetryBuilder::abort_on), widen it with [`when_ok`](RetryBuilder::when_ok),
/// or judge whole outcomes with [`judge`](RetryBuilder::judge).
///
/// # What comes out
/// | last outcome | comes out |
/// |---|---|
/// | a success that stands | it |
/// | an error of the operation that is not to be retried | it |
/// | a refusal that is not to be retried, at the first attempt | it |
/// | the same later | [`Exhausted`](super::Exhausted), with the operation's last error as source |
/// | an error, with no further attempt to be had | `Exhausted`, unless `max_attempts` is 1 |
/// | a success to be retried, with no further attempt to be had | it |
///
/// # Where it sits
/// Outside breaker, bulkhead and rate limiter: each attempt is judged and pays for itself, and nothing is held while it
/// sleeps. Retries multiply: three layers of three attempts make 27 calls of one. Have one layer retry, and give it a
/// [`Budget`]; where you cannot know who is outside, let the inner ones [yield](RetryBuilder::yield_to_outer).
///
/// # Deadlines and cancellation
/// No attempt is slept for that would begin at or after the deadline of the current [`Context`](crate::sync::Context): the
/// run ends at once with the last outcome. A sleep ends when the context is cancelled.
///
/// # When to use something else
/// An operation that must not take effect twice must not be tried twice, unless the callee can tell.
///
/// Clones are cheap, and share the budget, the observers, the counts and the generator of jitter.
#[derive(Clone)]
pub struct Retry<J = Retryable> {
    settings: Settings,
    judge: J,
}

/// All of a retry but its judge.
#[derive(Clone)]
struct Settings {
    max_attempts: u32,
    /// Whether there is anything to do when a run begins.
    has_beginning: bool,
    /// Whether a retry needs no more than to be counted.
    is_plain: bool,
    marks: bool,
    yields: bool,
    trim: bool,
    wait_for_breaker: bool,
    keep_errors: usize,
    backoff: Backoff,
    budget: Option<Budget>,
    max_duration: Option<Duration>,
    reset_after: Option<Duration>,
    attempt_timeout: Option<Duration>,
    server_delay_cap: Duration,
    name: &'static str,
    clock: Clock,
    shared: Arc<Shared>,
}

/// What the first attempt of a call does not read.
struct Shared {
    observers: Observers<RetryEvent>,
    counters: stats::Counters,
    /// `None`: the thread's generator.
    rng: Option<Mutex<fastrand::Rng>>,
}

impl Retry {
    /// Starts a retry of 3 attempts with the default [`Backoff`].
    pub fn builder() -> RetryBuilder {
        RetryBuilder::new()
    }
}

impl<J> Retry<J> {
    /// The name, as errors call it.
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    /// At most so many attempts, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    /// Those who see its [events](RetryEvent).
    pub fn observers(&self) -> &Observers<RetryEvent> {
        &self.settings.shared.observers
    }

    crate::observe::watchable!(settings.shared, [J], RetryStats, |shared| shared.counters.stats());

    /// What came of the runs so far, of all clones.
    pub fn stats(&self) -> RetryStats {
        self.settings.shared.counters.stats()
    }

    /// Runs an operation. `op` makes the future of one attempt each time it is called.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt or the sleep that is under way; a retry that was paid for and had not begun
    /// is given back to the budget.
    ///
    /// # Errors
    /// See [the table](Self#what-comes-out).
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<RetryAttempt<'_, Lent<'_, J>, Operation<F, Fut>, E>>
    where
        J: Judge<T, E>,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Operation::new(op)))
    }

    /// As [`call`](Self::call), for an operation that blocks. The thread sleeps between attempts, by the policy's clock; an
    /// [attempt timeout](RetryBuilder::attempt_timeout) does not apply, as a call that blocks cannot be ended by anybody.
    ///
    /// ```
    /// use cofferdam::resilience::Retry;
    /// use cofferdam::time::Backoff;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let retry = Retry::builder().backoff(Backoff::ZERO).build()?;
    /// let mut calls = 0;
    /// let outcome = retry.call_sync(|| {
    ///     calls += 1;
    ///     if calls < 3 { Err("not yet") } else { Ok(calls) }
    /// });
    /// assert_eq!(outcome, Ok(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn call_sync<T, E>(&self, op: impl FnMut() -> Result<T, E>) -> Result<T, Error<E>>
    where
        J: Judge<T, E>,
    {
        blocking::run(&self.settings, Lent(&self.judge), op)
    }
}

impl Settings {
    /// What the delays of one run keep.
    fn spread(&self) -> Spread {
        self.backoff.spread(self.shared.rng.as_ref().map(|rng| rng.lock().fork()))
    }
}

impl<'a, J, A> Policy<A> for &'a Retry<J>
where
    A: Attempt,
    J: Judge<A::Ok, A::Err>,
{
    type Attempt = RetryAttempt<'a, Lent<'a, J>, A, A::Err>;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        RetryAttempt::new(&self.settings, Lent(&self.judge), inner)
    }
}

/// An [attempt timeout](RetryBuilder::attempt_timeout) is a layer of its own.
impl<J> Component for Retry<J> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        let Settings { name, max_attempts, attempt_timeout, .. } = self.settings;
        layers.push(Layer::new(Kind::Retry { max_attempts }, name));
        if attempt_timeout.is_some() {
            let kind = Kind::Timeout { limit: attempt_timeout, scope: Scope::Attempt, detaches: false };
            layers.push(Layer::new(kind, name));
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("name", &self.name)
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("budget", &self.budget)
            .field("max_duration", &self.max_duration)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("stats", &self.shared.counters.stats())
            .finish_non_exhaustive()
    }
}

impl<J> fmt::Debug for Retry<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
