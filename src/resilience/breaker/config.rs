//! Settings.

use super::word::{MAX_FAILURES, MAX_TRIALS};
use super::{BreakerEvent, CircuitBreaker, State};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::time::Clock;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What a call that is dropped before it ends says about the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnCancel {
    /// Nothing: the caller went away.
    #[default]
    Neutral,
    /// A failure, if the call had been running for longer than this. For a breaker under a timeout, so that a callee
    /// that hangs is seen to; costs each call a look at the clock.
    FailureIfOlderThan(Duration),
}

/// What a half-open breaker does when its trials give no verdict in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnOverdue {
    /// Opens again, for the next break.
    #[default]
    Open,
    /// Closes.
    Close,
}

/// A breaker opens: what the length of its break may depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trip {
    /// How often it has opened since it was last closed, by evidence or by hand; 0 for the first time.
    pub opens: u32,
    /// Failures in a row that opened it; 0 if those were not what did.
    pub failures: u32,
    /// How long the callee asked to be left alone in the outcome that opened it.
    pub retry_after: Option<Duration>,
}

#[derive(Clone)]
enum Growth {
    Factor(f64),
    With(Arc<dyn Fn(&Trip) -> Duration + Send + Sync>),
}

/// The settings of a breaker, checked. Durations are nanoseconds, `u64::MAX` being for ever.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) name: &'static str,
    pub(super) failure_threshold: u32,
    recovery_time: Duration,
    recovery_cap: Duration,
    growth: Growth,
    pub(super) half_open_requests: u32,
    pub(super) success_threshold: u32,
    pub(super) verdict_within: u64,
    pub(super) trial_lease: u64,
    pub(super) on_overdue: OnOverdue,
    pub(super) on_cancel: OnCancel,
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Config {
    /// Whether each call has to know when it began.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        matches!(self.on_cancel, OnCancel::FailureIfOlderThan(_))
    }

    /// The length of the break that begins with `trip`. Runs the user's function: no lock may be held.
    pub(super) fn break_nanos(&self, trip: &Trip) -> u64 {
        let length = match &self.growth {
            Growth::Factor(factor) => grown(self.recovery_time, *factor, trip.opens),
            // It may run in the drop of a guard while another panic unwinds: its own must not get out.
            Growth::With(length) => {
                catch_unwind(AssertUnwindSafe(|| length(trip))).unwrap_or(self.recovery_time)
            }
        };
        nanos(length.max(trip.retry_after.unwrap_or_default()).min(self.recovery_cap))
    }
}

fn grown(base: Duration, factor: f64, opens: u32) -> Duration {
    if opens == 0 || factor == 1.0 {
        return base;
    }
    let seconds = base.as_secs_f64() * factor.powi(i32::try_from(opens).unwrap_or(i32::MAX));
    Duration::try_from_secs_f64(seconds).unwrap_or(if base.is_zero() { base } else { Duration::MAX })
}

/// Builds a [`CircuitBreaker`]; see [`CircuitBreaker::builder`].
///
/// # Choosing
///
/// Count what says that the callee is unwell, not what says that the caller was wrong: an HTTP 4xx is no failure
/// (see [`classify`](CircuitBreaker::classify)). Three to five failures suit a callee whose absence must be noticed soon, five to
/// ten a stable one, ten to twenty a batch. Give a callee that restarts quickly 5 to 15 seconds, most 30 to 60, one that has to
/// warm up 60 to 300.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    name: &'static str,
    failure_threshold: u32,
    recovery_time: Duration,
    recovery_cap: Option<Duration>,
    growth: Growth,
    half_open_requests: u32,
    success_threshold: u32,
    half_open_limit: Option<Option<Duration>>,
    trial_lease: Option<Option<Duration>>,
    on_overdue: OnOverdue,
    on_cancel: OnCancel,
    enabled: bool,
    clock: Clock,
    observers: Vec<Arc<dyn Observe<BreakerEvent>>>,
}

impl Builder {
    pub(super) const fn new() -> Self {
        Self {
            name: "circuit breaker",
            failure_threshold: 5,
            recovery_time: Duration::from_secs(30),
            recovery_cap: None,
            growth: Growth::Factor(1.0),
            half_open_requests: 3,
            success_threshold: 2,
            half_open_limit: None,
            trial_lease: None,
            on_overdue: OnOverdue::Open,
            on_cancel: OnCancel::Neutral,
            enabled: true,
            clock: Clock::system(),
            observers: Vec::new(),
        }
    }

    /// The three numbers of a preset, and the recovery time.
    pub(super) const fn preset(failures: u32, recovery_secs: u64, requests: u32, successes: u32) -> Self {
        let mut builder = Self::new();
        builder.failure_threshold = failures;
        builder.recovery_time = Duration::from_secs(recovery_secs);
        builder.half_open_requests = requests;
        builder.success_threshold = successes;
        builder
    }

    /// The name in refusals and events. Default: "circuit breaker".
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// So many failures in a row open it. Default: 5.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    /// How long it stays open. Default: 30 seconds.
    pub const fn recovery_time(mut self, recovery_time: Duration) -> Self {
        self.recovery_time = recovery_time;
        self
    }

    /// Each time it opens again without having been closed in between, the break is so many times longer. Default: 1.
    ///
    /// With a recovery time of 2 s and a factor of 3: 2 s, 6 s, 18 s, ..., and 2 s again after it has been closed.
    pub fn recovery_growth(mut self, factor: f64) -> Self {
        self.growth = Growth::Factor(factor);
        self
    }

    /// Computes each break. The function must be quick and depend on nothing but its argument; it is called once or
    /// twice when the breaker opens, outside its lock. If it panics, the break is the recovery time.
    pub fn recovery_with(mut self, length: impl Fn(&Trip) -> Duration + Send + Sync + 'static) -> Self {
        self.growth = Growth::With(Arc::new(length));
        self
    }

    /// No break is longer, neither by growth, nor as computed by [`recovery_with`](Self::recovery_with), nor because the
    /// callee asked for it with [`Outcome::RetryAfter`](super::Outcome::RetryAfter). Default: ten recovery times, but at least five minutes.
    pub const fn recovery_cap(mut self, cap: Duration) -> Self {
        self.recovery_cap = Some(cap);
        self
    }

    /// How many calls a half-open breaker lets through before the verdict. Default: 3.
    pub const fn half_open_requests(mut self, requests: u32) -> Self {
        self.half_open_requests = requests;
        self
    }

    /// So many successes close a half-open breaker. (One failure opens it.) Default: 2.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.success_threshold = successes;
        self
    }

    /// How long the trials of a half-open breaker may take to give a verdict, counted from its first trial, and anew
    /// from a trial that begins when no other is under way. Default: the recovery time (30 s if that is zero).
    ///
    /// A trial that hangs would otherwise keep the breaker half-open for ever. See also [`on_overdue`](Self::on_overdue).
    pub const fn half_open_limit(mut self, limit: Option<Duration>) -> Self {
        self.half_open_limit = Some(limit);
        self
    }

    /// What happens when [`half_open_limit`](Self::half_open_limit) has passed. Default: it opens again.
    pub const fn on_overdue(mut self, on_overdue: OnOverdue) -> Self {
        self.on_overdue = on_overdue;
        self
    }

    /// How long a trial keeps its place to itself: after that another call may take the place, and the first of the two
    /// to end is the one that counts. Default: as for [`half_open_limit`](Self::half_open_limit), the recovery time.
    pub const fn trial_lease(mut self, lease: Option<Duration>) -> Self {
        self.trial_lease = Some(lease);
        self
    }

    /// What a dropped call says about the callee. Default: nothing.
    pub const fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// Whether the breaker does anything. A breaker that is not enabled begins as [`State::Disabled`];
    /// [`reset`](CircuitBreaker::reset) enables it. Default: true.
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The source of time. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Adds one that wants to know of [`BreakerEvent`]s.
    ///
    /// An observer lives as long as the breaker: one that holds the breaker itself keeps both alive for ever.
    pub fn observer(mut self, observer: impl Observe<BreakerEvent>) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// The breaker.
    ///
    /// # Errors
    /// A setting that makes no sense by itself, or together with another.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        self.check()?;
        Ok(self.build_checked())
    }

    pub(super) fn build_checked(self) -> CircuitBreaker {
        // What a limit is when nobody has said: the recovery time, unless that is none at all.
        let default = if self.recovery_time.is_zero() { Duration::from_secs(30) } else { self.recovery_time };
        let limit = |set: Option<Option<Duration>>| set.unwrap_or(Some(default)).map_or(u64::MAX, nanos);
        let observers = Observers::new();
        for observer in self.observers {
            observers.add(move |event: &BreakerEvent| observer.observe(event));
        }
        let config = Config {
            name: self.name,
            failure_threshold: self.failure_threshold,
            recovery_time: self.recovery_time,
            recovery_cap: self.recovery_cap.unwrap_or_else(|| default_cap(self.recovery_time)),
            growth: self.growth,
            half_open_requests: self.half_open_requests,
            success_threshold: self.success_threshold,
            verdict_within: limit(self.half_open_limit),
            trial_lease: limit(self.trial_lease),
            on_overdue: self.on_overdue,
            on_cancel: self.on_cancel,
        };
        let state = if self.enabled { State::Closed } else { State::Disabled };
        CircuitBreaker::assemble(config, self.clock, observers, state)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let fail = |knob, value: &dyn fmt::Display, rule| {
            Err(ConfigError::new("circuit breaker", knob, value, rule))
        };
        if self.failure_threshold == 0 {
            return fail("failure_threshold", &0, "must be at least 1");
        }
        if self.failure_threshold > MAX_FAILURES {
            return fail("failure_threshold", &self.failure_threshold, "must be at most 134217727");
        }
        if self.half_open_requests == 0 {
            return fail("half_open_requests", &0, "must be at least 1");
        }
        if self.half_open_requests > MAX_TRIALS {
            return fail("half_open_requests", &self.half_open_requests, "must be at most 511");
        }
        if self.success_threshold == 0 {
            return fail("success_threshold", &0, "must be at least 1");
        }
        if self.success_threshold > self.half_open_requests {
            let rule = "must be at most half_open_requests: more successes cannot come in";
            return fail("success_threshold", &self.success_threshold, rule);
        }
        if let Growth::Factor(factor) = self.growth {
            if !(factor.is_finite() && factor >= 1.0) {
                return fail("recovery_growth", &factor, "must be a finite number of at least 1");
            }
        }
        if let Some(cap) = self.recovery_cap.filter(|cap| *cap < self.recovery_time) {
            let rule = "must be at least recovery_time";
            return fail("recovery_cap", &format_args!("{cap:?}"), rule);
        }
        if self.half_open_limit == Some(Some(Duration::ZERO)) {
            return fail("half_open_limit", &"0ns", "must be more than zero: no trial could end in time");
        }
        if self.trial_lease == Some(Some(Duration::ZERO)) {
            return fail("trial_lease", &"0ns", "must be more than zero: every call would be a trial");
        }
        if self.trial_lease == Some(None) && self.half_open_limit == Some(None) {
            let rule =
                "must be set where half_open_limit is none: a hung trial would block the breaker for ever";
            return fail("trial_lease", &"none", rule);
        }
        Ok(())
    }
}

fn default_cap(recovery_time: Duration) -> Duration {
    recovery_time.saturating_mul(10).max(Duration::from_secs(300))
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("failure_threshold", &self.failure_threshold)
            .field("recovery_time", &self.recovery_time)
            .field("half_open_requests", &self.half_open_requests)
            .field("success_threshold", &self.success_threshold)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
