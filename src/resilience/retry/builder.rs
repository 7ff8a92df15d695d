//! Settings of a retry.

use super::{Budget, Retry, Retryable, Verdict, When};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::resilience::Error;
use crate::shim::Mutex;
use crate::time::{Backoff, Clock, Rng};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Retry`].
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBuilder<J = Retryable>(Retry<J>);

impl RetryBuilder {
    pub(super) fn new() -> Self {
        Self(Retry {
            max_attempts: 3,
            backoff: Backoff::default(),
            judge: Retryable,
            budget: None,
            max_duration: None,
            trim: false,
            server_delay_cap: Duration::from_secs(60),
            wait_for_breaker: false,
            marks: false,
            yields: false,
            has_beginning: false,
            rng: None,
            name: "retry",
            clock: Clock::system(),
            observers: Arc::new(Observers::new()),
        })
    }
}

impl<J> RetryBuilder<J> {
    /// How many attempts are made at most, the first included: 3 means two retries. Default: 3.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        Self(Retry { max_attempts, ..self.0 })
    }

    /// How long to wait between attempts. Default: the default [`Backoff`]. Another one replaces all of that: its cap and
    /// its jitter, too, which the constructors of a backoff start without.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self(Retry { backoff, ..self.0 })
    }

    /// Which of the operation's own errors are tried again. What policies inside refuse is judged as by default. Replaces
    /// an earlier [`judge`](Self::judge). Default: all.
    pub fn when<E, F: Fn(&E) -> bool>(self, retryable: F) -> RetryBuilder<When<F>> {
        self.with(When(retryable))
    }

    /// Judges whole outcomes: successes that are none, errors that say how long to wait, refusals of policies inside.
    /// Replaces an earlier [`when`](Self::when).
    ///
    /// ```
    /// use cofferdam::resilience::{Error, Retry, Verdict};
    /// use std::time::Duration;
    ///
    /// struct Response { status: u16, retry_after: Option<Duration> }
    ///
    /// let retry = Retry::builder()
    ///     .judge(|outcome: &Result<Response, Error<std::io::Error>>| match outcome {
    ///         Ok(Response { status: 503, retry_after: Some(after) }) => Verdict::RetryAfter(*after),
    ///         Ok(Response { status: 500.., .. }) => Verdict::Retry,
    ///         Err(error) if error.is_retryable() => Verdict::Retry,
    ///         _ => Verdict::Done,
    ///     })
    ///     .build()?;
    /// # Ok::<(), cofferdam::ConfigError>(())
    /// ```
    pub fn judge<T, E, F: Fn(&Result<T, Error<E>>) -> Verdict>(self, judge: F) -> RetryBuilder<F> {
        self.with(judge)
    }

    /// Bounds the retries of all calls together. Default: no such bound.
    pub fn budget(self, budget: Budget) -> Self {
        Self(Retry { budget: Some(budget), ..self.0 })
    }

    /// No attempt begins later than this after the first. One that is running is not cut short: that is a timeout's work.
    /// Default: no such bound.
    pub fn max_duration(self, max_duration: Duration) -> Self {
        Self(Retry { max_duration: Some(max_duration), ..self.0 })
    }

    /// Whether a delay that would end after `max_duration` is cut short for one last attempt there, instead of giving up
    /// at once. Default: no.
    pub fn trim(self, trim: bool) -> Self {
        Self(Retry { trim, ..self.0 })
    }

    /// The longest time for which an attempt may send us away, be it the callee ([`Verdict::RetryAfter`]) or a policy
    /// inside that knows when: a throttle of our own that asks for longer is asked again when this is over, too early.
    /// Default: a minute.
    pub fn server_delay_cap(self, cap: Duration) -> Self {
        Self(Retry { server_delay_cap: cap, ..self.0 })
    }

    /// Whether an open circuit inside is tried again when the breaker will let calls through, instead of ending the run.
    /// Default: no.
    pub fn wait_for_breaker(self, wait: bool) -> Self {
        Self(Retry { wait_for_breaker: wait, ..self.0 })
    }

    /// Whether each attempt runs in a [`Context`](crate::sync::Context) that knows its number, as an
    /// [`AttemptMark`](super::AttemptMark): for the operation to see, and for inner retries to
    /// [yield](Self::yield_to_outer). The mark follows the context, also into spawned work; it costs an allocation for
    /// each attempt. Default: no.
    pub fn mark_attempts(self, mark: bool) -> Self {
        Self(Retry { marks: mark, ..self.0 })
    }

    /// Whether it makes one attempt only when it runs inside an attempt of another retry that
    /// [marks](Self::mark_attempts) them, so that attempts do not multiply. Default: no.
    pub fn yield_to_outer(self, yields: bool) -> Self {
        Self(Retry { yields, ..self.0 })
    }

    /// Where jitter comes from: each run that needs it forks a generator off this one. Default: the thread's generator.
    pub fn rng(self, rng: Rng) -> Self {
        Self(Retry { rng: Some(Arc::new(Mutex::new(rng))), ..self.0 })
    }

    /// What errors and events call it. Default: "retry".
    pub fn name(self, name: &'static str) -> Self {
        Self(Retry { name, ..self.0 })
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self(Retry { clock, ..self.0 })
    }

    /// Adds an observer of its [events](super::RetryEvent).
    pub fn observer(self, observer: impl Observe<super::RetryEvent>) -> Self {
        self.0.observers.add(observer);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// No attempts at all; trimming without a longest duration.
    pub fn build(self) -> Result<Retry<J>, ConfigError> {
        if self.0.max_attempts == 0 {
            return Err(ConfigError::new("retry", "max_attempts", 0, "must be at least 1"));
        }
        if self.0.trim && self.0.max_duration.is_none() {
            return Err(ConfigError::new("retry", "trim", true, "needs a max_duration to trim to"));
        }
        let has_beginning =
            self.0.budget.is_some() || self.0.max_duration.is_some() || self.0.marks || self.0.yields;
        Ok(Retry { has_beginning, ..self.0 })
    }

    fn with<K>(self, judge: K) -> RetryBuilder<K> {
        let Retry {
            max_attempts,
            backoff,
            judge: _,
            budget,
            max_duration,
            trim,
            server_delay_cap,
            wait_for_breaker,
            marks,
            yields,
            has_beginning,
            rng,
            name,
            clock,
            observers,
        } = self.0;
        RetryBuilder(Retry {
            max_attempts,
            backoff,
            judge,
            budget,
            max_duration,
            trim,
            server_delay_cap,
            wait_for_breaker,
            marks,
            yields,
            has_beginning,
            rng,
            name,
            clock,
            observers,
        })
    }
}

impl<J> fmt::Debug for RetryBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryBuilder").field(&self.0).finish()
    }
}
