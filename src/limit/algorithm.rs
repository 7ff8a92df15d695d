//! What all limiters have in common: a pure decision over (state, now, n).

use super::Denied;
use super::limiter::Engine;
use std::fmt;

/// How a limiter decides: pure functions of what it remembers, the time, and how much is wanted.
///
/// An algorithm is its settings; a [`State`](Self::State) is what one limiter, or one key of many, remembers. Times are
/// nanoseconds since an epoch of the caller's choice, one for each state. Nothing here reads a clock, locks or waits, so a
/// decision can be tested, replayed and simulated; [`Limiter`](super::Limiter) puts a clock and a queue around it, and
/// [`Keyed`](super::Keyed) a bounded map.
///
/// The trait is sealed: the engine needs more of an algorithm than this.
///
/// # The state may be ahead of the time
/// [`charge`](Self::charge) takes tokens that are not there yet: it moves the state to the instant at which they will be.
/// Whoever comes later is behind by arithmetic alone; a state with promises in it refuses newcomers until they are kept.
///
/// # Laws, which every algorithm is tested for
/// * A refusal leaves the state as it was; 0 tokens are always there and change nothing.
/// * More than [`capacity`](Self::capacity) is refused as [never](Denied::is_never), whatever the state.
/// * `take` succeeds exactly when `charge` would give an instant that is not after `now`, and then does the same.
/// * With times in order, the instants of successive charges never go back. A time before the last one finds fewer tokens,
///   never more.
/// * The instant of a refusal is exact: with nobody else around, it is the first at which the same request succeeds.
/// * From [`fresh_at`](Self::fresh_at) on the state decides as a fresh one does, and not before.
pub trait Algorithm: Engine + Clone + fmt::Debug + Send + Sync + 'static {
    /// What is remembered between decisions.
    type State: Clone + fmt::Debug + Send + Sync + 'static;

    /// What it is called in errors.
    const NAME: &'static str;

    /// The state of a limiter that begins at `now`, with all that it can hold.
    fn fresh(&self, now: u64) -> Self::State;

    /// The most that can be had at once.
    fn capacity(&self) -> u64;

    /// Takes `n` tokens, now or at the first instant after that at which they are there, behind all that was charged
    /// before. Gives that instant; `u64::MAX` is past the end of time.
    ///
    /// # Errors
    /// They can never be there.
    fn charge(&self, state: &mut Self::State, now: u64, n: u64) -> Result<u64, Denied>;

    /// The instant that [`charge`](Self::charge) would give, with nothing taken.
    ///
    /// # Errors
    /// As `charge`.
    fn due(&self, state: &Self::State, now: u64, n: u64) -> Result<u64, Denied> {
        self.charge(&mut state.clone(), now, n)
    }

    /// Takes `n` tokens if they are there now.
    ///
    /// # Errors
    /// They are not: the refusal says when, or never.
    fn take(&self, state: &mut Self::State, now: u64, n: u64) -> Result<(), Denied> {
        let mut next = state.clone();
        let due = self.charge(&mut next, now, n)?;
        if due > now {
            return Err(Denied::after_nanos(Self::NAME, n, self.capacity(), due - now));
        }
        *state = next;
        Ok(())
    }

    /// Whether `n` tokens are there now, without taking them.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    fn check(&self, state: &Self::State, now: u64, n: u64) -> Result<(), Denied> {
        self.take(&mut state.clone(), now, n)
    }

    /// How many tokens could be taken now.
    fn available(&self, state: &Self::State, now: u64) -> u64;

    /// Puts `n` tokens back that were taken last and not used, as far as the algorithm can: never more than a fresh state
    /// has.
    fn refund(&self, state: &mut Self::State, now: u64, n: u64);

    /// Leaves at most `n` tokens to be taken now.
    fn drain_to(&self, state: &mut Self::State, now: u64, n: u64);

    /// The state for other settings from `now` on: what has come in until now came by the old ones and is kept, as far as
    /// the new ones can hold it.
    fn carry(&self, next: &Self, state: &Self::State, now: u64) -> Self::State;

    /// From when on the state is as good as a fresh one; `u64::MAX` for never.
    fn fresh_at(&self, state: &Self::State) -> u64;
}
