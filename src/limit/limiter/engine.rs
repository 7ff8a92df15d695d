//! What the engine needs of an algorithm beside the decision.

use super::followers::Follow;
use super::line::Line;
use super::word::{Packed, Params, Step};
use crate::limit::Algorithm;
use crate::time::{Clock, Epoch};
use std::sync::Weak;

/// The hidden half of [`Algorithm`]: the line in which its waiters stand, and how its state is packed into a word so that it
/// decides without a lock. An algorithm that leaves the packing alone decides under a short mutex.
#[allow(private_interfaces, reason = "sealed: nobody outside can name what it is given, or call it")]
pub trait Engine: Sized {
    /// Its line of waiters.
    type Line: Line<Self>;

    /// Whether it is made of other limiters. Then its clock is theirs, and nothing of it can be a member of such a set.
    const COMPOSITE: bool = false;

    /// Whether its state is ever packed into a word. One that is not is spared all that keeps a word up to date.
    const PACKED: bool = true;

    /// From when on a limiter counts its time.
    fn epoch(&self, clock: Clock) -> Epoch {
        Epoch::new(clock)
    }

    /// A limiter has been made of it, which wants to hear of changes elsewhere.
    fn started(&self, limiter: Weak<dyn Follow>) {
        drop(limiter);
    }

    /// [`refund`](Algorithm::refund) of tokens that were charged as of `due`, which may not be the last: others may have been
    /// taken since. No later stretch of time holds more by it.
    fn give_back(&self, state: &mut Self::State, due: u64, now: u64, n: u64)
    where
        Self: Algorithm,
    {
        let _ = due;
        self.refund(state, now, n);
    }

    /// What [`step`](Self::step) needs to know of the settings, and of the base.
    fn params(&self, base: u64) -> Params {
        let _ = base;
        [0; 4]
    }

    /// For how many nanoseconds from its base a word can hold every state that promises nothing; 0 if there is no such word.
    fn span(&self) -> u64 {
        0
    }

    /// The state relative to a base, in nanoseconds since the epoch; `None` if it does not fit.
    fn encode(&self, state: &Self::State, base: u64) -> Option<u64>
    where
        Self: Algorithm,
    {
        let _ = (state, base);
        None
    }

    /// The state of which these are the bits. Called only for bits that [`encode`](Self::encode) or [`step`](Self::step) made.
    fn decode(&self, bits: u64, base: u64) -> Self::State
    where
        Self: Algorithm,
    {
        let _ = bits;
        self.fresh(base)
    }

    /// [`take`](Algorithm::take) on a packed state, `since` nanoseconds after the base. It may be given parameters, a state
    /// and a time that do not belong together; the result is thrown away then, so it must not panic, and need not be right.
    fn step(params: &Params, packed: Packed, since: u64, n: u64) -> Step {
        let _ = (params, packed, since, n);
        Step::Slow
    }
}
