//! Trying again.

mod attempt;
mod budget;
mod builder;
mod judge;

pub use attempt::{AttemptMark, RetryAttempt};
pub use budget::{Budget, QuotaBudgetBuilder, RatioBudgetBuilder};
pub use builder::RetryBuilder;
pub use judge::{Judge, Retryable, Verdict, When};

use super::{Attempt, Call, Component, GaveUp, Kind, Layer, Operation, Policy};
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
/// # What is tried again
/// By default every error of the operation, timeouts inside, and rate limits that say when; not what an open circuit, a
/// full bulkhead or a load shedder refused: see [`Error::is_retryable`](super::Error::is_retryable). Narrow it with
/// [`when`](RetryBuilder::when), or judge whole outcomes with [`judge`](RetryBuilder::judge).
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
/// Clones are cheap, and share the budget, the observers and the generator of jitter.
#[derive(Clone)]
pub struct Retry<J = Retryable> {
    max_attempts: u32,
    backoff: Backoff,
    judge: J,
    budget: Option<Budget>,
    max_duration: Option<Duration>,
    trim: bool,
    server_delay_cap: Duration,
    wait_for_breaker: bool,
    marks: bool,
    yields: bool,
    /// Whether there is anything to do when a run begins.
    has_beginning: bool,
    // Shared, unlike the rest, which the first attempt of every call reads.
    rng: Option<Arc<Mutex<fastrand::Rng>>>,
    name: &'static str,
    clock: Clock,
    observers: Arc<Observers<RetryEvent>>,
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
        self.name
    }

    /// At most so many attempts, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Those who see its [events](RetryEvent).
    pub fn observers(&self) -> &Observers<RetryEvent> {
        &self.observers
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
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<RetryAttempt<'_, J, Operation<F, Fut>, E>>
    where
        J: Judge<T, E>,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Operation::new(op)))
    }

    /// What the delays of one run keep.
    fn spread(&self) -> Spread {
        self.backoff.spread(self.rng.as_ref().map(|rng| rng.lock().fork()))
    }
}

impl<'a, J, A> Policy<A> for &'a Retry<J>
where
    A: Attempt,
    J: Judge<A::Ok, A::Err>,
{
    type Attempt = RetryAttempt<'a, J, A, A::Err>;

    #[inline]
    fn around(self, inner: A) -> RetryAttempt<'a, J, A, A::Err> {
        RetryAttempt::new(self, inner)
    }
}

impl<J> Component for Retry<J> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Retry { max_attempts: self.max_attempts }, self.name));
    }
}

impl<J> fmt::Debug for Retry<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("name", &self.name)
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("budget", &self.budget)
            .field("max_duration", &self.max_duration)
            .finish_non_exhaustive()
    }
}

/// What a [`Retry`] does. Attempts are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// An attempt came out badly, and the next one follows after a delay.
    #[non_exhaustive]
    Scheduled {
        /// The name of the retry.
        policy: &'static str,
        /// The attempt that came out badly.
        attempt: u32,
        /// How long until the next.
        delay: Duration,
    },
    /// A call succeeded, but not at its first attempt.
    #[non_exhaustive]
    Recovered {
        /// The name of the retry.
        policy: &'static str,
        /// How many attempts it took.
        attempts: u32,
    },
    /// A call is not tried again although it came out badly.
    #[non_exhaustive]
    GaveUp {
        /// The name of the retry.
        policy: &'static str,
        /// How many attempts were made.
        attempts: u32,
        /// Why there is no further one.
        reason: GaveUp,
    },
}
