//! Settings, as the user makes them.

use super::config::{Closes, Config, Growth, Knobs};
use super::{BreakerEvent, CircuitBreaker, OnCancel, OnOverdue, State, Trip, Window};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::time::Clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`CircuitBreaker`]; see [`CircuitBreaker::builder`].
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
/// use cofferdam::resilience::breaker::Window;
/// use std::time::Duration;
///
/// let breaker = CircuitBreaker::builder()
///     .name("inventory")
///     // Half of the calls of the last 30 seconds failed, of at least twenty; or eight in ten were slow.
///     .window(Window::time(Duration::from_secs(30)))
///     .minimum_calls(20)
///     .failure_rate(0.5)
///     .slow_call(Duration::from_millis(500))
///     .slow_rate(0.8)
///     // Or the last ten all failed.
///     .failure_threshold(10)
///     .build()?;
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
///
/// # Choosing
///
/// Count what says that the callee is unwell, not what says that the caller was wrong: an HTTP 4xx is no failure
/// (see [`classify`](CircuitBreaker::classify)). Three to five failures suit a callee whose absence must be noticed soon, five to
/// ten a stable one, ten to twenty a batch. Give a callee that restarts quickly 5 to 15 seconds, most 30 to 60, one that has to
/// warm up 60 to 300.
///
/// Failures in a row see a callee that is gone, at no cost. A rate sees one that fails now and then, which many successes in between
/// hide from the former. A window of calls takes the same evidence at any pace of calls; with few calls it may be old. A window of
/// time forgets by itself; with few calls it may never hold enough.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    name: &'static str,
    knobs: Knobs,
    initial: State,
    clock: Clock,
    observers: Vec<Arc<dyn Observe<BreakerEvent>>>,
}

impl Builder {
    pub(super) const NAME: &'static str = "circuit breaker";

    pub(super) const fn new() -> Self {
        Self {
            name: Self::NAME,
            knobs: Knobs::DEFAULT,
            initial: State::Closed,
            clock: Clock::system(),
            observers: Vec::new(),
        }
    }

    /// The three numbers of a preset, and the recovery time.
    pub(super) const fn preset(failures: u32, recovery_secs: u64, requests: u32, successes: u32) -> Self {
        let mut builder = Self::new();
        builder.knobs.failure_threshold = Some(failures);
        builder.knobs.recovery_time = Duration::from_secs(recovery_secs);
        builder.knobs.half_open_requests = requests;
        builder.knobs.closes = Closes::Successes(successes);
        builder
    }

    /// The settings of a breaker that is there.
    pub(super) fn of(name: &'static str, knobs: Knobs) -> Self {
        Self { name, knobs, ..Self::new() }
    }

    /// The name in refusals and events. Default: "circuit breaker".
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// So many failures in a row open it. Default: 5, or never where another rule opens it.
    ///
    /// The rules can be combined: the breaker opens as soon as one of them says so. Each looks at every outcome, successes
    /// included, when it comes in.
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.knobs.failure_threshold = Some(failures);
        self
    }

    /// Over which calls rates are computed. Default: the last 100 calls, if a rule below needs a window.
    ///
    /// With a window and no rule that looks at it the breaker only [counts](super::BreakerStats::window).
    pub const fn window(mut self, window: Window) -> Self {
        self.knobs.window = Some(window);
        self
    }

    /// No rate is judged with fewer calls than this in the window. Default: 10, or as many as the window holds if those are
    /// fewer.
    pub const fn minimum_calls(mut self, calls: u32) -> Self {
        self.knobs.minimum_calls = Some(calls);
        self
    }

    /// So many failures in the window open it, however few or many calls there are: m of n.
    pub const fn failures_in_window(mut self, failures: u32) -> Self {
        self.knobs.failures_in_window = Some(failures);
        self
    }

    /// This share of failures among the calls of the window, or more, opens it: more than 0, and 1 at most.
    ///
    /// Shares are known to a thousand-millionth.
    pub const fn failure_rate(mut self, share: f64) -> Self {
        self.knobs.failure_rate = Some(share);
        self
    }

    /// A call that takes longer than this is slow, whether it succeeds or fails. Costs each call two looks at the clock.
    ///
    /// Slow calls are counted, and told to observers; they open the breaker only by [`slow_rate`](Self::slow_rate).
    pub const fn slow_call(mut self, limit: Duration) -> Self {
        self.knobs.slow_call = Some(limit);
        self
    }

    /// This share of slow calls among the calls of the window, or more, opens it: more than 0, and 1 at most.
    ///
    /// In half-open it is the share of the trials, if [`half_open_rate`](Self::half_open_rate) is set, too; else one slow
    /// trial opens it, as one failure would.
    pub const fn slow_rate(mut self, share: f64) -> Self {
        self.knobs.slow_rate = Some(share);
        self
    }

    /// Whether a call that is dropped after it has become slow is counted as a slow one (and not as a failure). Default: no.
    ///
    /// For a breaker under a timeout that is meant to see a callee that hangs: the timeout drops the call.
    pub const fn count_cancelled_slow(mut self, count: bool) -> Self {
        self.knobs.count_cancelled_slow = count;
        self
    }

    /// Whether to note when the last call succeeded and when the last one failed. Default: no, since it costs each call a look
    /// at the clock, and a word that all threads write.
    pub const fn timestamps(mut self, note: bool) -> Self {
        self.knobs.timestamps = note;
        self
    }

    /// How long it stays open. Default: 30 seconds.
    pub const fn recovery_time(mut self, recovery_time: Duration) -> Self {
        self.knobs.recovery_time = recovery_time;
        self
    }

    /// Each time it opens again without having been closed in between, the break is so many times longer. Default: 1.
    ///
    /// With a recovery time of 2 s and a factor of 3: 2 s, 6 s, 18 s, ..., and 2 s again after it has been closed.
    pub fn recovery_growth(mut self, factor: f64) -> Self {
        self.knobs.growth = Growth::Factor(factor);
        self
    }

    /// Computes each break. The function must be quick and depend on nothing but its argument: it is called whenever the
    /// breaker may be about to open (with a trial that ends, too) and when [settings change](CircuitBreaker::set), outside its
    /// lock. If it panics, the break is the recovery time.
    pub fn recovery_with(mut self, length: impl Fn(&Trip) -> Duration + Send + Sync + 'static) -> Self {
        self.knobs.growth = Growth::With(Arc::new(length));
        self
    }

    /// No break is longer, neither by growth, nor as computed by [`recovery_with`](Self::recovery_with), nor because the
    /// callee asked for it with [`Outcome::RetryAfter`](super::Outcome::RetryAfter). Default: ten recovery times, but at least five minutes.
    pub const fn recovery_cap(mut self, cap: Duration) -> Self {
        self.knobs.recovery_cap = Some(cap);
        self
    }

    /// How many calls a half-open breaker lets through before the verdict. Default: 3.
    pub const fn half_open_requests(mut self, requests: u32) -> Self {
        self.knobs.half_open_requests = requests;
        self
    }

    /// So many successes close a half-open breaker. (One failure opens it.) Default: 2. In place of
    /// [`half_open_rate`](Self::half_open_rate): the last of the two counts.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.knobs.closes = Closes::Successes(successes);
        self
    }

    /// This share of failures among the [trials](Self::half_open_requests), or more, opens a half-open breaker, fewer close
    /// it: more than 0, and 1 at most. As soon as it is certain: with four trials and a share of 0.5, two failures open it and three
    /// successes close it. In place of [`success_threshold`](Self::success_threshold).
    pub const fn half_open_rate(mut self, share: f64) -> Self {
        self.knobs.closes = Closes::FailuresBelow(share);
        self
    }

    /// Recover step by step: a half-open breaker lets at most this share of those who come through, each share until
    /// its trials have given a verdict, and closes after the last. Each step has its own
    /// [`half_open_requests`](Self::half_open_requests) trials and needs the full number of successes; a verdict against the callee
    /// opens the breaker at any of them. Default: one step with no limit but the number of trials.
    ///
    /// With `&[0.1, 0.25, 0.5]`, ten trials and eight successes: every tenth call until eight have succeeded, then every
    /// fourth, then every other. The first to come in each step is let through. Choose enough trials: no more than those run at a
    /// time, whatever the share.
    ///
    /// The results of trials of an earlier step are late. An empty slice means no steps.
    pub fn half_open_ramp(mut self, shares: &[f64]) -> Self {
        self.knobs.ramp = (!shares.is_empty()).then(|| shares.into());
        self
    }

    /// How long the trials of a half-open breaker may take to give a verdict, counted from its first trial, and anew
    /// from a trial that begins when no other is under way. Default: the recovery time (30 s if that is zero).
    ///
    /// A trial that hangs would otherwise keep the breaker half-open for ever. See also [`on_overdue`](Self::on_overdue).
    pub const fn half_open_limit(mut self, limit: Option<Duration>) -> Self {
        self.knobs.half_open_limit = Some(limit);
        self
    }

    /// What happens when [`half_open_limit`](Self::half_open_limit) has passed. Default: it opens again.
    pub const fn on_overdue(mut self, on_overdue: OnOverdue) -> Self {
        self.knobs.on_overdue = on_overdue;
        self
    }

    /// How long a trial keeps its place to itself: after that another call may take the place, and the first of the two
    /// to end is the one that counts. Default: as for [`half_open_limit`](Self::half_open_limit), the recovery time.
    pub const fn trial_lease(mut self, lease: Option<Duration>) -> Self {
        self.knobs.trial_lease = Some(lease);
        self
    }

    /// What a dropped call says about the callee. Default: nothing.
    pub const fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.knobs.on_cancel = on_cancel;
        self
    }

    /// Whether the breaker does anything. A breaker that is not enabled begins as [`State::Disabled`];
    /// [`reset`](CircuitBreaker::reset) enables it. Default: true.
    pub const fn enabled(self, enabled: bool) -> Self {
        self.initial_state(if enabled { State::Closed } else { State::Disabled })
    }

    /// The state in which it begins: closed, open for one break, or one of those that are entered by hand. Default: closed.
    pub const fn initial_state(mut self, state: State) -> Self {
        self.initial = state;
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
        self.check_initial_state()?;
        let config = self.knobs.clone().check()?;
        Ok(self.build_checked(config))
    }

    pub(super) fn check_initial_state(&self) -> Result<(), ConfigError> {
        if matches!(self.initial, State::HalfOpen | State::ShutDown) {
            let rule = "must not be one that only calls or a shutdown lead to";
            return Err(ConfigError::new(Self::NAME, "initial_state", self.initial, rule));
        }
        Ok(())
    }

    pub(super) fn name_given(&self) -> &'static str {
        self.name
    }

    pub(super) fn source_of_time(&self) -> Clock {
        self.clock.clone()
    }

    /// This, but with what can be changed later from `other`.
    pub(super) fn with_knobs_of(self, other: Self) -> Self {
        Self { knobs: other.knobs, ..self }
    }

    /// The settings for a breaker that is there, by [`CircuitBreaker::set`].
    pub(super) fn config(self) -> Result<Config, ConfigError> {
        self.knobs.check()
    }

    pub(super) fn build_checked(self, config: Config) -> CircuitBreaker {
        let observers = Observers::new();
        for observer in self.observers {
            observers.add(move |event: &BreakerEvent| observer.observe(event));
        }
        CircuitBreaker::assemble(self.name, config, self.clock, observers, self.initial)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let knobs = &self.knobs;
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("failure_threshold", &knobs.failure_threshold)
            .field("window", &knobs.window)
            .field("failure_rate", &knobs.failure_rate)
            .field("slow_rate", &knobs.slow_rate)
            .field("recovery_time", &knobs.recovery_time)
            .field("half_open_requests", &knobs.half_open_requests)
            .field("initial_state", &self.initial)
            .finish_non_exhaustive()
    }
}
