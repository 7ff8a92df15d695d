//! The sliding window by a log: what was admitted, one by one, until it is a window old.

use super::{length, nanos};
use crate::ConfigError;
use crate::limit::limiter::{Engine, Plan};
use crate::limit::{Algorithm, Denied, Limiter};
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

const NAME: &str = "sliding window log";

/// For how many nanoseconds what is gone is kept, in case of a time that was read a little earlier.
const LAG: u64 = 10_000_000;

/// Keeps a log of the last window: never more than `limit` tokens in any stretch of time of its length.
///
/// What was taken at `t` counts until just before `t + window`, and is gone there.
///
/// # Error
/// None: no stretch of a window's length holds more than `limit`, and nobody is refused who would not make it more.
///
/// # Memory
/// 48 bytes for each state and 16 for each instant at which tokens were taken within the last window, so at most
/// `16 * limit` (twice that while the ring grows). What went out of the window in the last 10 ms, or in the last eighth of a
/// shorter one, is still in it, for the sake of times that come a little out of order, and so is what is promised ahead. Tokens
/// of one instant share an entry, whatever their number. Memory is given back as the log empties. For a large `limit` take
/// [`SlidingCounter`](super::SlidingCounter).
///
/// # Cost
/// To admit is amortised constant, but for a binary search in the log if it is nearly full; to refuse is that search.
///
/// ```
/// use cofferdam::limit::{Algorithm, SlidingLog};
/// use std::time::Duration;
///
/// let two = SlidingLog::new(2, Duration::from_nanos(100))?;
/// let mut state = two.fresh(0);
/// assert!(two.take(&mut state, 40, 1).is_ok());
/// assert!(two.take(&mut state, 90, 1).is_ok());
/// let denied = two.take(&mut state, 139, 1).unwrap_err();
/// assert_eq!(denied.retry_after(), Some(Duration::from_nanos(1)));
/// assert!(two.take(&mut state, 140, 1).is_ok());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SlidingLog {
    limit: u64,
    window: NonZeroU64,
}

/// What was taken within the last window, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// By instant, each once.
    runs: VecDeque<Run>,
    /// Tokens of all runs that were ever dropped, counted as in the runs.
    dropped: u64,
    /// Nothing is there at times before this: what counted then may have been dropped.
    floor: u64,
}

/// Tokens that were taken at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    at: u64,
    /// Tokens up to and with this run, modulo 2^64. All that are kept together are fewer than that.
    upto: u64,
}

impl SlidingLog {
    /// `limit` tokens in any stretch of `window`. A limit of 0 admits nothing.
    ///
    /// # Errors
    /// A window of zero, or of 584 years and more.
    pub fn new(limit: u64, window: Duration) -> Result<Self, ConfigError> {
        Ok(Self { limit, window: length(NAME, window)? })
    }

    /// Tokens in a window.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// The length of a window.
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.window.get())
    }

    /// When a run is gone.
    fn gone(&self, run: Run) -> u128 {
        u128::from(run.at) + u128::from(self.window.get())
    }

    /// The first instant from `now` on at which `n` more fit.
    fn first(&self, state: &LogState, now: u64, n: u64) -> Result<u128, Denied> {
        if n > self.limit {
            return Err(Denied::never(NAME, n, self.limit));
        }
        let from = u128::from(now.max(state.floor));
        let excess = (u128::from(state.kept()) + u128::from(n)).saturating_sub(self.limit.into());
        if excess == 0 {
            return Ok(from);
        }
        // The first run with which enough are gone: there is one, since `n` alone fits.
        let enough = state.runs.partition_point(|run| u128::from(state.upto(Some(run))) < excess);
        Ok(state.runs.get(enough).map_or(from, |run| from.max(self.gone(*run))))
    }

    /// Tokens that still count at `now`.
    fn alive(&self, state: &LogState, now: u64) -> u64 {
        let gone = state.runs.partition_point(|run| self.gone(*run) <= now.into());
        let last = gone.checked_sub(1).and_then(|last| state.runs.get(last));
        state.kept().wrapping_sub(state.upto(last))
    }

    /// Drops what was gone somewhat before `now`: others may come with a time that they read a little earlier. Makes room in
    /// the count for `n` more.
    fn prune(&self, state: &mut LogState, now: u64, n: u64) {
        self.drop_gone(state, now.saturating_sub(LAG.min(self.window.get() / 8)));
        if state.kept().checked_add(n).is_none() {
            self.drop_gone(state, now);
        }
        if state.runs.capacity() / 4 > state.runs.len() + 4 {
            state.runs.shrink_to(state.runs.len() * 2);
        }
    }

    fn drop_gone(&self, state: &mut LogState, then: u64) {
        while let Some(first) = state.runs.front().filter(|run| self.gone(**run) <= then.into()) {
            state.dropped = first.upto;
            state.floor = state.floor.max(then);
            state.runs.pop_front();
        }
    }
}

impl LogState {
    /// Tokens in the log.
    fn kept(&self) -> u64 {
        self.upto(self.runs.back())
    }

    /// Tokens in the log up to and with a run.
    fn upto(&self, run: Option<&Run>) -> u64 {
        run.map_or(0, |run| run.upto.wrapping_sub(self.dropped))
    }

    /// Logs `n` more at an instant, or at the last one if that is later: so they count for longer, and never less.
    fn push(&mut self, at: u64, n: u64) {
        let at = self.runs.back().map_or(at, |run| run.at.max(at));
        let before = self.runs.back().map_or(self.dropped, |run| run.upto);
        let upto = before.wrapping_add(n);
        match self.runs.back_mut() {
            Some(run) if run.at == at => run.upto = upto,
            _ => self.runs.push_back(Run { at, upto }),
        }
    }
}

impl fmt::Debug for SlidingLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlidingLog({} per {:?})", self.limit, self.window())
    }
}

impl Engine for SlidingLog {
    type Line = Plan<Self>;

    /// To their own instant, unless that is gone.
    fn give_back(&self, state: &mut LogState, due: u64, _: u64, n: u64) {
        let at = state.runs.partition_point(|run| run.at < due);
        let Some(run) = state.runs.get(at).filter(|run| run.at == due) else { return };
        let ahead = at.checked_sub(1).and_then(|ahead| state.runs.get(ahead));
        let there = state.upto(Some(run)) - state.upto(ahead);
        for run in state.runs.range_mut(at..) {
            run.upto = run.upto.wrapping_sub(n.min(there));
        }
        if n >= there {
            state.runs.remove(at);
        }
    }
}

impl Algorithm for SlidingLog {
    type State = LogState;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> LogState {
        LogState { runs: VecDeque::new(), dropped: 0, floor: now }
    }

    fn capacity(&self) -> u64 {
        self.limit
    }

    fn due(&self, state: &LogState, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 { Ok(now) } else { self.first(state, now, n).map(nanos) }
    }

    fn charge(&self, state: &mut LogState, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 {
            return Ok(now);
        }
        let due = nanos(self.first(state, now, n)?);
        if self.alive(state, now).checked_add(n).is_none() {
            // More than can be counted is promised already.
            return Err(Denied::after_nanos(NAME, n, self.limit, u64::MAX));
        }
        self.prune(state, now, n);
        state.push(due, n);
        Ok(due)
    }

    fn take(&self, state: &mut LogState, now: u64, n: u64) -> Result<(), Denied> {
        self.check(state, now, n)?;
        if n > 0 {
            self.prune(state, now, n);
            state.push(now, n);
        }
        Ok(())
    }

    fn check(&self, state: &LogState, now: u64, n: u64) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let due = self.first(state, now, n)?;
        if due > now.into() {
            return Err(Denied::after_nanos(NAME, n, self.limit, nanos(due - u128::from(now))));
        }
        Ok(())
    }

    fn available(&self, state: &LogState, now: u64) -> u64 {
        if now < state.floor {
            return 0;
        }
        self.limit.saturating_sub(self.alive(state, now))
    }

    /// From the last entries on.
    fn refund(&self, state: &mut LogState, _: u64, n: u64) {
        let keep = state.kept().saturating_sub(n);
        while !state.runs.is_empty() {
            let before = state.upto(state.runs.len().checked_sub(2).and_then(|last| state.runs.get(last)));
            if before < keep {
                break;
            }
            state.runs.pop_back();
        }
        if let Some(last) = state.runs.back_mut() {
            last.upto = state.dropped.wrapping_add(keep);
        }
    }

    fn drain_to(&self, state: &mut LogState, now: u64, n: u64) {
        let there = self.available(state, now);
        if there > n {
            self.prune(state, now, there - n);
            state.push(now, there - n);
        }
    }

    /// The log stays. What was dropped by a shorter window stays so.
    fn carry(&self, next: &Self, state: &LogState, now: u64) -> LogState {
        let mut state = state.clone();
        self.prune(&mut state, now, 0);
        next.prune(&mut state, now, 0);
        state
    }

    fn fresh_at(&self, state: &LogState) -> u64 {
        state.runs.back().map_or(state.floor, |run| nanos(self.gone(*run)).max(state.floor))
    }
}

/// Admits so many in any stretch of a window, exactly; see [`SlidingLog`]. Decides under a short mutex.
///
/// ```
/// use cofferdam::limit::SlidingWindowLog;
/// use std::time::Duration;
///
/// let window = SlidingWindowLog::new(2, Duration::from_secs(3600))?;
/// assert!(window.try_acquire_many(2).is_ok());
/// assert!(window.try_acquire().is_err());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub type SlidingWindowLog = Limiter<SlidingLog>;

impl Limiter<SlidingLog> {
    /// `limit` tokens in any stretch of `window`, on the system's clock.
    ///
    /// # Errors
    /// As [`SlidingLog::new`].
    pub fn new(limit: u64, window: Duration) -> Result<Self, ConfigError> {
        Ok(Self::of(SlidingLog::new(limit, window)?))
    }
}
