//! What the engine asks of a queue: who has been charged for what, in what order, and when each is due.
//!
//! Two lines exist: the one of [`Gcra`](crate::limit::Gcra), whose arithmetic lets a waiter leave in constant time, and
//! [`Plan`](super::Plan) for every other algorithm. Both are kept under the limiter's mutex.

use crate::limit::{Algorithm, Denied};
use crate::wait::{Slot, Wakes};
use std::pin::Pin;
use std::task::Waker;

/// What a waiter wants.
#[derive(Debug)]
pub struct Want {
    pub(in crate::limit) n: u64,
    /// Place in the order of charging.
    pub(in crate::limit) seq: u64,
    /// Where it stands, in the terms of its line.
    pub(in crate::limit) step: u128,
    /// The last nanosecond at which it is still interested.
    pub(in crate::limit) limit: u64,
    /// Why it cannot be served any more. Then it holds no charge.
    pub(in crate::limit) verdict: Option<Denied>,
}

/// A request that is willing to wait.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub(in crate::limit) n: u64,
    pub(in crate::limit) now: u64,
    /// The last nanosecond at which it is still interested.
    pub(in crate::limit) limit: u64,
    /// The limiter is paused, until then: nobody is admitted, and dues are reckoned from there on.
    pub(in crate::limit) held: Option<u64>,
}

/// How asking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The tokens were there and are the asker's.
    Admitted,
    /// In line.
    Queued,
}

/// What has come of those who waited.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub(in crate::limit) waiting: usize,
    pub(in crate::limit) granted: u64,
    pub(in crate::limit) cancelled: u64,
}

/// The line of one limiter or one key. Times are nanoseconds since its epoch.
#[allow(private_interfaces, reason = "sealed: nobody outside can name the line or call it")]
pub trait Line<A>: Send + 'static {
    fn new(algorithm: A, state: A::State) -> Self
    where
        A: Algorithm;

    fn algorithm(&self) -> &A;

    /// What a newcomer finds: the state behind everybody in line. `None` if it has to be planned anew first.
    fn state(&self) -> Option<&A::State>
    where
        A: Algorithm;

    /// The [`state`](Self::state), if what is taken of it need not be known to the line one by one.
    fn shared(&self) -> Option<&A::State>
    where
        A: Algorithm,
    {
        self.state()
    }

    /// The settings, and the [`state`](Self::state), planned anew if need be.
    fn planned(&mut self) -> (&A, &A::State)
    where
        A: Algorithm;

    /// Whether `n` tokens are there behind everybody in line, without taking them.
    fn check(&mut self, now: u64, n: u64) -> Result<(), Denied>
    where
        A: Algorithm,
    {
        let (algorithm, state) = self.planned();
        algorithm.check(state, now, n)
    }

    /// As decided without the line meanwhile.
    fn set_state(&mut self, state: A::State)
    where
        A: Algorithm;

    /// Takes `n` tokens if they are there behind everybody in line.
    fn take(&mut self, now: u64, n: u64) -> Result<(), Denied>;

    /// When `n` tokens would be had by one who came now, and stood behind everybody; reckoned from the end of a pause.
    fn foresee(&mut self, ask: Ask) -> Result<u64, Denied>;

    /// Takes `n` tokens, or queues for them if they come by the limit. `waker` was cloned before the mutex; what is left over
    /// is to be dropped after it.
    fn wait(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>, ask: Ask) -> Result<Entry, Denied>;

    /// Takes `n` tokens, now or promised. Gives its number and its instant.
    fn promise(&mut self, n: u64, now: u64) -> Result<(u64, u64), Denied>;

    /// When the first waiter is due.
    fn due(&self) -> Option<u64>;

    /// Gives a waiter its present waker; leftovers are dropped after the mutex.
    fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker>;

    /// Ends the waits that can never be served and, unless `held`, those that are due. False if `wakes` ran out of room:
    /// wake, and call again.
    fn settle(&mut self, now: u64, held: bool, wakes: &mut Wakes) -> bool;

    /// A waiter gives up. `None` if it is not in line (any more).
    fn leave(&mut self, slot: Pin<&Slot<Want>>, now: u64) -> Option<Option<Waker>>;

    /// A grant that nobody took.
    fn give_back(&mut self, want: &Want, now: u64);

    /// A reservation is given up before its instant.
    fn withdraw(&mut self, n: u64, seq: u64, now: u64);

    /// Puts up to `n` tokens in.
    fn refund(&mut self, n: u64, now: u64);

    /// Leaves at most `n` tokens.
    fn drain_to(&mut self, n: u64, now: u64);

    /// Goes on with other settings, or with the same at the beginning or the end of a pause: what has come in so far came by the
    /// old ones, and everybody in line is planned anew from `now` or from the end of the pause. Waiters who cannot be served
    /// any more, or not in the time they had, get their verdict; promised instants stand.
    fn retime(&mut self, next: A, now: u64, held: Option<u64>);

    fn counts(&self) -> Counts;

    /// What is left to be done when the mutex has been let go of: at other limiters.
    fn afterwards(&mut self) -> Option<Box<dyn FnOnce()>> {
        None
    }
}
