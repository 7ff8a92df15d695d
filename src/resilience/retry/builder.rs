//! Settings of a retry.

use super::judges::{followed_by, judged_by};
use super::{Retry, RetryEvent, Retryable, Settings, Shared, stats::Counters};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::resilience::Budget;
use crate::shim::Mutex;
use crate::time::{Backoff, Clock, Rng};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Retry`].
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBuilder<J = Retryable> {
    settings: Settings,
    judge: J,
    observers: Observers<RetryEvent>,
    rng: Option<Rng>,
}

impl RetryBuilder {
    pub(super) fn new() -> Self {
        let shared = Shared { observers: Observers::new(), counters: Counters::default(), rng: None };
        let settings = Settings {
            max_attempts: 3,
            has_beginning: false,
            is_plain: false,
            marks: false,
            yields: false,
            trim: false,
            wait_for_breaker: false,
            keep_errors: 0,
            backoff: Backoff::default(),
            budget: None,
            max_duration: None,
            reset_after: None,
            attempt_timeout: None,
            server_delay_cap: Duration::from_secs(60),
            name: "retry",
            clock: Clock::system(),
            shared: Arc::new(shared),
        };
        Self { settings, judge: Retryable, observers: Observers::new(), rng: None }
    }
}

impl<J> RetryBuilder<J> {
    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        set(&mut settings);
        Self { settings, ..self }
    }

    fn with_judge<K>(self, change: impl FnOnce(J) -> K) -> RetryBuilder<K> {
        let Self { settings, judge, observers, rng } = self;
        RetryBuilder { settings, judge: change(judge), observers, rng }
    }

    judged_by!(RetryBuilder<J>);
    followed_by!(RetryBuilder<J>);

    /// How many attempts are made at most, the first included: 3 means two retries; [`u32::MAX`] means no end. Default: 3.
    pub fn max_attempts(self, max_attempts: u32) -> Self {
        self.set(|settings| settings.max_attempts = max_attempts)
    }

    /// How long to wait between attempts. Default: the default [`Backoff`]. Another one replaces all of that: its cap and
    /// its jitter, too, which the constructors of a backoff start without.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(|settings| settings.backoff = backoff)
    }

    /// Bounds the retries of all calls together. Default: no such bound.
    pub fn budget(self, budget: Budget) -> Self {
        self.set(|settings| settings.budget = Some(budget))
    }

    /// No attempt is due later than this after the first. One that is running is not cut short: that is a timeout's work, and
    /// a timer that goes off late makes the attempt late. Default: no such bound.
    pub fn max_duration(self, max_duration: Duration) -> Self {
        self.set(|settings| settings.max_duration = Some(max_duration))
    }

    /// Whether a delay that would end after `max_duration` is cut short for one last attempt there, instead of giving up
    /// at once. Default: no.
    pub fn trim(self, trim: bool) -> Self {
        self.set(|settings| settings.trim = trim)
    }

    /// Ends an attempt that takes longer, as a [`Timeout`](crate::resilience::Timeout) just inside this retry would: the
    /// error carries this retry's name. Default: no limit.
    pub fn attempt_timeout(self, limit: Duration) -> Self {
        self.set(|settings| settings.attempt_timeout = Some(limit))
    }

    /// An attempt that fails after it has run for so long starts everything anew: the count of attempts, the delays, the
    /// longest duration. For what is meant to run on and on, a connection say, of which a failure once a day is not the
    /// tenth of a series. Default: never.
    pub fn reset_after(self, quiet: Duration) -> Self {
        self.set(|settings| settings.reset_after = Some(quiet))
    }

    /// The longest time for which an attempt may send us away, be it the callee
    /// ([`Verdict::RetryAfter`](super::Verdict::RetryAfter)) or a policy inside that knows when: a throttle of our own that
    /// asks for longer is asked again when this is over, too early. Default: a minute.
    pub fn server_delay_cap(self, cap: Duration) -> Self {
        self.set(|settings| settings.server_delay_cap = cap)
    }

    /// Whether an open circuit inside is tried again when the breaker will let calls through, instead of ending the run.
    /// Default: no.
    pub fn wait_for_breaker(self, wait: bool) -> Self {
        self.set(|settings| settings.wait_for_breaker = wait)
    }

    /// How many of the errors before the last one an [exhausted](crate::resilience::Exhausted::earlier) error carries, the
    /// latest of them. They stay in memory while the run lasts. Default: none.
    pub fn keep_errors(self, most: usize) -> Self {
        self.set(|settings| settings.keep_errors = most)
    }

    /// Whether each attempt runs in a [`Context`](crate::sync::Context) that knows its number, as an
    /// [`AttemptMark`](super::AttemptMark): for the operation to see, and for inner retries to
    /// [yield](Self::yield_to_outer). The mark follows the context, also into spawned work; it costs an allocation for
    /// each attempt. Default: no.
    pub fn mark_attempts(self, mark: bool) -> Self {
        self.set(|settings| settings.marks = mark)
    }

    /// Whether it makes one attempt only when it runs inside an attempt of another retry that
    /// [marks](Self::mark_attempts) them, so that attempts do not multiply. Default: no.
    pub fn yield_to_outer(self, yields: bool) -> Self {
        self.set(|settings| settings.yields = yields)
    }

    /// Where jitter comes from: each run that needs it forks a generator off this one. Default: the thread's generator.
    pub fn rng(self, rng: Rng) -> Self {
        Self { rng: Some(rng), ..self }
    }

    /// What errors and events call it. Default: "retry".
    pub fn name(self, name: &'static str) -> Self {
        self.set(|settings| settings.name = name)
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        self.set(|settings| settings.clock = clock)
    }

    /// Adds an observer of its [events](RetryEvent).
    pub fn observer(self, observer: impl Observe<RetryEvent>) -> Self {
        self.observers.add(observer);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// No attempts at all; trimming without a longest duration; a quiet time of zero, after which every failure would be the
    /// first; a limit of zero for attempts.
    pub fn build(self) -> Result<Retry<J>, ConfigError> {
        let Self { mut settings, judge, observers, rng } = self;
        let error = |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("retry", knob, value, rule));
        if settings.max_attempts == 0 {
            return error("max_attempts", &0, "must be at least 1");
        }
        if settings.trim && settings.max_duration.is_none() {
            return error("trim", &true, "needs a max_duration to trim to");
        }
        if settings.reset_after == Some(Duration::ZERO) {
            return error("reset_after", &"0ns", "must be more than nothing");
        }
        if settings.attempt_timeout == Some(Duration::ZERO) {
            return error("attempt_timeout", &"0ns", "must be more than nothing");
        }
        settings.has_beginning = settings.budget.is_some()
            || settings.max_duration.is_some()
            || settings.reset_after.is_some()
            || settings.attempt_timeout.is_some()
            || settings.marks
            || settings.yields;
        settings.is_plain =
            !settings.has_beginning && settings.keep_errors == 0 && settings.backoff.is_immediate();
        let rng = rng.map(Mutex::new);
        settings.shared = Arc::new(Shared { observers, counters: Counters::default(), rng });
        Ok(Retry { settings, judge })
    }
}

impl<J> fmt::Debug for RetryBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RetryBuilder").field(&self.settings).finish()
    }
}
