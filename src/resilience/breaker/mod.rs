//! The circuit breaker: stops calling what does not answer.
//!
//! # States
//!
//! | state | lets through | an outcome | leaves it |
//! |---|---|---|---|
//! | closed | every call | is counted and judged | when one of the rules says so, to open |
//! | open | none until its break is over | is late | with the first call after its break, to half-open |
//! | half-open | a few calls on trial, or a share of them | is counted and judged | by the verdict of its trials, to open or to closed; if they are overdue, to open |
//! | metrics only | every call | is counted and judged, an observer told | by hand |
//! | forced closed | every call | is counted | by hand |
//! | disabled | every call | is not even counted | by hand |
//! | forced open | none | is late | by hand |
//! | shut down | none | is late | never |
//!
//! By hand any state but the last can become any of closed ([`reset`](CircuitBreaker::reset)), metrics only, forced
//! closed, disabled, forced open and shut down; closed and half-open can become open ([`trip`](CircuitBreaker::trip),
//! [`trip_for`](CircuitBreaker::trip_for), [`trip_until`](CircuitBreaker::trip_until)).
//! Asking for the state it is in changes nothing, except that a [`reset`](CircuitBreaker::reset) of a closed breaker
//! begins a new generation and forgets the failures that are counted; asking for anything else is an
//! [`IllegalTransition`].
//!
//! Each change begins a new *generation*. An outcome belongs to the generation in which its call was let through: when
//! that has passed, it is *late*, is counted as such, and changes nothing. (Generations are 32 bits and wrap: a call
//! would have to outlast four thousand million changes of state to be taken for a present one.)
//!
//! # When a closed breaker opens
//!
//! | rule | looks at |
//! |---|---|
//! | [`failure_threshold`](Builder::failure_threshold) | failures in a row |
//! | [`failures_in_window`](Builder::failures_in_window) | failures in the [window](Window): m of n |
//! | [`failure_rate`](Builder::failure_rate) | the share of failures in the window, with [enough calls](Builder::minimum_calls) in it |
//! | [`slow_rate`](Builder::slow_rate) | the share of [slow](Builder::slow_call) calls in the window, with enough calls in it |
//! | [`Outcome::Trip`] | one outcome |
//!
//! One is enough. Each outcome is judged when it comes in, successes included (a success may complete the calls that a rate needs,
//! may be slow, and may be the first after older ones have left a window of time), together with what is in the window then.
//!
//! # What is lock-free
//!
//! | operation | |
//! |---|---|
//! | letting a call through: closed, metrics only, forced closed, disabled | lock-free; one atomic addition, no clock |
//! | its success, with no window and no failures counted | wait-free; on the first threads of the process not one atomic read-modify-write |
//! | its success, with a window of calls | as with none, once an outcome was judged with enough calls in the window |
//! | its failure or a slow call, or a success before that, with a window of calls | lock-free; one compare-and-swap, four more with every twelfth call since (with none, if those are more than the window holds) |
//! | its outcome, with a window of time | lock-free; one compare-and-swap and a look at the clock; at most 512 more with the first of a new part of the window |
//! | its failure, below the threshold; a success after failures | lock-free |
//! | refusing: open, half-open with its trials out, forced open, shut down | lock-free; one look at the clock (forced open, shut down: none) |
//! | [`state`](CircuitBreaker::state) | lock-free, but for a half-open breaker whose trials may be overdue |
//! | changing the state or the settings; trials, and refusing by the share of a ramp; waiting for the end | under a short lock |
//!
//! None of them allocates, but for a change of state or settings.
//!
//! # Other settings
//!
//! What [`set`](CircuitBreaker::set) does to a breaker that is in use:
//!
//! | | stays | changes at once | begins anew |
//! |---|---|---|---|
//! | closed, metrics only | state, running calls, failures in a row, window; of the latter three none if the window's kind or size is another | the rules, for the next outcome | the window and the failures in a row, if the window's kind or size is another: running calls are late then |
//! | open | state, number of opens | the end of the break: its beginning and the new length (not where somebody said until when) | |
//! | half-open | state, number of opens | | the trials, at the first step: running trials are late |
//! | the others | state | | |
//! | all | counts, observers, name, clock | | |
//!
//! # When not to use one
//!
//! A breaker helps a caller who has something better to do than to wait, and a callee that recovers if left alone. It does
//! not limit load: a callee that is merely slow under too many calls wants a bulkhead or a rate limit.

#![forbid(unsafe_code)]

mod builder;
mod call;
mod calm;
mod check;
mod config;
mod error;
mod event;
mod guard;
mod judge;
mod keyed;
mod machine;
mod outcome;
mod posted;
mod rules;
mod set;
mod settle;
mod shutdown;
mod state;
mod stats;
mod transition;
mod trial;
mod verdict;
mod window;
mod word;

pub use builder::Builder;
pub use call::{Classified, Guarded};
pub use config::{OnCancel, OnOverdue, Trip};
pub use error::{IllegalTransition, Open};
pub use event::{BreakerEvent, Trigger};
pub use guard::{Guard, Handle, OwnedGuard};
pub use keyed::{KeyedBreaker, KeyedBreakerBuilder, KeyedOpen};
pub use outcome::{ByDefault, Classify, Outcome};
pub use rules::Window;
#[cfg(feature = "serde")]
pub(super) use rules::{Kind as WindowKind, PARTS};
pub use shutdown::Drained;
pub use state::State;
pub use stats::{BreakerStats, WindowCounts};

use crate::ConfigError;
use crate::limit::Idle;
use crate::observe::{Observe, Observers};
use crate::shim::Ordering;
use crate::time::Clock;
use config::Config;
use machine::Machine;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use word::Word;

/// A circuit breaker. Clones share it; see [the module](self) for its states.
///
/// # Examples
///
/// Around a call:
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
///
/// # async fn fetch() -> Result<String, std::io::Error> { Err(std::io::ErrorKind::ConnectionRefused.into()) }
/// # futures_executor::block_on(async {
/// let breaker = CircuitBreaker::quick_failover().name("inventory").build()?;
/// for _ in 0..3 {
///     assert!(breaker.call(fetch).await.is_err_and(|error| error.inner().is_some()));
/// }
/// let refused = breaker.call(fetch).await.unwrap_err();
/// assert!(refused.is_circuit_open());
/// assert!(refused.retry_after().is_some_and(|after| after.as_secs() <= 10));
/// # Ok::<(), cofferdam::ConfigError>(())
/// # }).unwrap();
/// ```
///
/// By hand, where begin and end of a call are far apart:
///
/// ```
/// use cofferdam::resilience::CircuitBreaker;
///
/// let breaker = CircuitBreaker::new();
/// let guard = breaker.try_acquire()?;
/// // ... the call ...
/// guard.success();
/// # Ok::<(), cofferdam::resilience::breaker::Open>(())
/// ```
#[derive(Clone)]
pub struct CircuitBreaker {
    machine: Arc<Machine>,
}

impl CircuitBreaker {
    /// With the default settings: opens after 5 failures in a row, for 30 seconds; then lets through at most 3 calls on
    /// trial, and closes after 2 successes.
    pub fn new() -> Self {
        Self::assemble(Builder::NAME, Config::default(), Clock::system(), Observers::new(), State::Closed)
    }

    /// With settings of your own.
    pub const fn builder() -> Builder {
        Builder::new()
    }

    /// Settings for a callee that can be done without: 3 failures, 10 seconds, 2 trials, 1 success.
    pub const fn quick_failover() -> Builder {
        Builder::preset(3, 10, 2, 1)
    }

    /// Settings for a callee that is needed and steady: 10 failures, 60 seconds, 5 trials, 3 successes.
    pub const fn conservative() -> Builder {
        Builder::preset(10, 60, 5, 3)
    }

    /// Settings for a callee that must be spared: 2 failures, 45 seconds, 1 trial, 1 success.
    pub const fn aggressive() -> Builder {
        Builder::preset(2, 45, 1, 1)
    }

    fn assemble(
        name: &'static str,
        config: Config,
        clock: Clock,
        observers: Observers<BreakerEvent>,
        state: State,
    ) -> Self {
        let begins = if state == State::Open { State::Closed } else { state };
        let breaker = Self { machine: Arc::new(Machine::new(name, config, clock, observers, begins)) };
        if state == State::Open {
            // Cannot be illegal, from closed.
            let _ = breaker.trip();
        }
        breaker
    }

    crate::observe::watchable!(machine, [], Self, |machine| Self { machine });

    /// The clock of its times.
    #[cfg(feature = "telemetry")]
    pub(crate) fn clock(&self) -> &Clock {
        self.machine.epoch.clock()
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.machine.name
    }

    /// Lets a call through, or not, now. Tell the guard how the call ended.
    ///
    /// The first call after a break is let through on trial, and takes one of the trials' places.
    ///
    /// # Errors
    /// Not let through: [`Open`].
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Guard<&Self>, Open> {
        match self.machine.admit(self.machine.now()) {
            Ok(ticket) => Ok(Guard::new(self, ticket)),
            Err(refused) => Err(self.machine.refusal(refused)),
        }
    }

    /// As [`try_acquire`](Self::try_acquire), at the time `now`.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_at(&self, now: Instant) -> Result<Guard<&Self>, Open> {
        match self.machine.admit(self.machine.at(now)) {
            Ok(ticket) => Ok(Guard::new(self, ticket)),
            Err(refused) => Err(self.machine.refusal(refused)),
        }
    }

    /// As [`try_acquire`](Self::try_acquire), with a guard that can go anywhere: it holds a clone of the breaker.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(&self) -> Result<OwnedGuard, Open> {
        match self.machine.admit(self.machine.now()) {
            Ok(ticket) => Ok(Guard::new(self.clone(), ticket)),
            Err(refused) => Err(self.machine.refusal(refused)),
        }
    }

    /// As [`try_acquire_owned`](Self::try_acquire_owned), at the time `now`.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned_at(&self, now: Instant) -> Result<OwnedGuard, Open> {
        match self.machine.admit(self.machine.at(now)) {
            Ok(ticket) => Ok(Guard::new(self.clone(), ticket)),
            Err(refused) => Err(self.machine.refusal(refused)),
        }
    }

    /// What the breaker is doing, as a call would find it now: an open one whose break is over is half-open, although
    /// that becomes an event only with the next call.
    ///
    /// Asking changes nothing and takes no place.
    #[inline]
    pub fn state(&self) -> State {
        self.machine.state(self.machine.now())
    }

    /// As [`state`](Self::state), at the time `now`.
    pub fn state_at(&self, now: Instant) -> State {
        self.machine.state(self.machine.at(now))
    }

    /// Makes the changes that time has brought about, and says where that leads. For those who want the events on time
    /// and do not want to wait for the next call: the breaker itself has no timer.
    pub fn poll_transition(&self) -> State {
        self.machine.poll_transition(self.machine.now().nanos())
    }

    /// As [`poll_transition`](Self::poll_transition), at the time `now`.
    pub fn poll_transition_at(&self, now: Instant) -> State {
        self.machine.poll_transition(self.machine.at(now).nanos())
    }

    /// Closes it with nothing counted against the callee: from open or half-open, and out of every state that was
    /// entered by hand. The calls that are running no longer count.
    ///
    /// Of a closed breaker with no failures counted observers hear nothing.
    ///
    /// # Errors
    /// If it is shut down.
    pub fn reset(&self) -> Result<(), IllegalTransition> {
        self.machine.force(State::Closed, Trigger::Reset, true)
    }

    /// Opens it for a break, as one failure too many would; it recovers by itself. An open breaker stays as it is.
    ///
    /// # Errors
    /// If it is in a state that was entered by hand.
    pub fn trip(&self) -> Result<(), IllegalTransition> {
        self.machine.trip(self.machine.now().nanos(), None)
    }

    /// Opens it for so long, whatever the settings; it recovers by itself. Of an open breaker the break gets this end.
    ///
    /// # Errors
    /// If it is in a state that was entered by hand.
    pub fn trip_for(&self, duration: Duration) -> Result<(), IllegalTransition> {
        let now = self.machine.now().nanos();
        self.machine.trip(now, Some(now.saturating_add(config::nanos(duration))))
    }

    /// As [`trip_for`](Self::trip_for), until `end`. If that has passed, the next call is let through on trial.
    ///
    /// # Errors
    /// As there.
    pub fn trip_until(&self, end: Instant) -> Result<(), IllegalTransition> {
        let end = self.machine.at(end).nanos();
        self.machine.trip(self.machine.now().nanos(), Some(end))
    }

    /// The settings that are in force, to change some of them:
    ///
    /// ```
    /// use cofferdam::resilience::CircuitBreaker;
    ///
    /// let breaker = CircuitBreaker::new();
    /// breaker.set(breaker.settings().failure_threshold(3))?;
    /// # Ok::<(), cofferdam::ConfigError>(())
    /// ```
    pub fn settings(&self) -> Builder {
        let knobs = self.machine.control.lock().config.knobs.clone();
        Builder::of(self.name(), knobs)
    }

    /// Puts other settings in force. What becomes of the state, the window and the calls that run, [the module](self)
    /// has in a table.
    ///
    /// The name, the clock, the observers and the initial state of `settings` are not looked at: those stay. Allocates; calls the
    /// function of [`recovery_with`](Builder::recovery_with) for the present break.
    ///
    /// # Errors
    /// As [`Builder::build`]; then nothing has changed.
    pub fn set(&self, settings: Builder) -> Result<(), ConfigError> {
        self.machine.set(settings.config()?);
        Ok(())
    }

    /// Refuses all calls until told otherwise, whatever the time and the outcomes of calls.
    ///
    /// # Errors
    /// If it is shut down.
    pub fn force_open(&self) -> Result<(), IllegalTransition> {
        self.machine.force(State::ForcedOpen, Trigger::Manual, false)
    }

    /// Lets all calls through until told otherwise. Outcomes are counted, but not judged.
    ///
    /// # Errors
    /// If it is shut down.
    pub fn force_closed(&self) -> Result<(), IllegalTransition> {
        self.machine.force(State::ForcedClosed, Trigger::Manual, false)
    }

    /// Lets all calls through until told otherwise, and does not even count how they end.
    ///
    /// # Errors
    /// If it is shut down.
    pub fn disable(&self) -> Result<(), IllegalTransition> {
        self.machine.force(State::Disabled, Trigger::Manual, false)
    }

    /// Lets all calls through until told otherwise, counts outcomes, and tells observers when it would have opened: a
    /// dry run.
    ///
    /// # Errors
    /// If it is shut down.
    pub fn metrics_only(&self) -> Result<(), IllegalTransition> {
        self.machine.force(State::MetricsOnly, Trigger::Manual, false)
    }

    /// Refuses all calls for good, at once. The future waits for those that were let through to end (a guard that is
    /// forgotten without being dropped never does).
    ///
    /// It can be called any number of times; every caller gets the same answer.
    #[doc(alias = "close")]
    pub fn shutdown(&self) -> Drained<'_> {
        // Cannot be illegal: it is where every state may go.
        let _ = self.machine.force(State::ShutDown, Trigger::Shutdown, false);
        Drained::new(self)
    }

    /// Adds one that wants to know of events from now on.
    ///
    /// An observer lives as long as the breaker: one that holds the breaker itself keeps both alive for ever.
    pub fn observe(&self, observer: impl Observe<BreakerEvent>) {
        self.machine.observers.add(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &Observers<BreakerEvent> {
        &self.machine.observers
    }

    /// How many times an observer has panicked.
    pub fn observer_panics(&self) -> u64 {
        self.machine.observers.panics()
    }

    /// What it has counted.
    pub fn stats(&self) -> BreakerStats {
        let machine = &*self.machine;
        let tally = &machine.tally;
        let rejected = tally.sum::<{ machine::REJECTED }>();
        // Before those that it is a part of, so that it is not more than they are.
        let slow = tally.sum::<{ machine::SLOW }>();
        let successes = tally.sum::<{ machine::SUCCEEDED }>();
        let failures = tally.sum::<{ machine::FAILED }>();
        let ignored = tally.sum::<{ machine::IGNORED }>();
        let cancelled = tally.sum::<{ machine::CANCELLED }>();
        let late = tally.sum::<{ machine::LATE }>();
        let unrecorded = tally.sum::<{ machine::UNRECORDED }>();
        let ended = successes + failures + ignored + cancelled + late + unrecorded;
        // After the others, so that it is not less than they are together.
        let admitted = tally.sum::<{ machine::ADMITTED }>();
        let now = machine.now().nanos();
        let state = machine.state(machine.at_nanos(now));
        let noted = |at: &crate::shim::AtomicU64| {
            at.load(Ordering::Relaxed).checked_sub(1).map(|at| machine.instant(at))
        };
        let (last_success, last_failure) = (noted(&machine.last_success), noted(&machine.last_failure));
        let control = machine.control.lock();
        let word = machine.load_locked();
        let judges = matches!(word.state(), State::Closed | State::MetricsOnly);
        BreakerStats {
            state,
            requests: rejected + admitted,
            running: admitted.saturating_sub(ended),
            successes,
            failures,
            ignored,
            cancelled,
            rejected,
            late,
            unrecorded,
            slow,
            consecutive_failures: if judges { word.failures() } else { 0 },
            window: machine.counts(word, now).map(WindowCounts::from),
            consecutive_opens: machine.opens(word),
            state_changes: control.changes,
            resets: control.resets,
            last_change: control.changed_at.map(|at| machine.instant(at)),
            last_success,
            last_failure,
        }
    }
}

/// Closed, with nothing running and nothing counted against the callee (successes in a window may be), and no clone elsewhere.
impl Idle for CircuitBreaker {
    fn is_idle(&self) -> bool {
        let stats = self.stats();
        let in_use = stats.running > 0 || Arc::strong_count(&self.machine) > 1;
        let held = stats.window.unwrap_or_default();
        let counted = stats.consecutive_failures > 0 || stats.consecutive_opens > 0;
        let counted = counted || held.failures > 0 || held.slow > 0;
        stats.state == State::Closed && !in_use && !counted
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state as it was last changed: no look at the clock, and no lock.
        let word: Word = self.machine.load();
        f.debug_struct("CircuitBreaker")
            .field("name", &self.name())
            .field("state", &word.state())
            .finish_non_exhaustive()
    }
}
