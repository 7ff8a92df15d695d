//! The guard of a call that was let through.

use super::machine::{End, Ticket};
use super::{CircuitBreaker, Outcome};
use std::fmt;
use std::time::Instant;

/// How a guard holds on to its breaker: by reference, or by a clone.
pub trait Handle: sealed::Sealed {
    #[doc(hidden)]
    fn breaker(&self) -> &CircuitBreaker;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::CircuitBreaker {}
    impl Sealed for super::CircuitBreaker {}
}

impl Handle for &CircuitBreaker {
    #[inline]
    fn breaker(&self) -> &CircuitBreaker {
        self
    }
}

impl Handle for CircuitBreaker {
    #[inline]
    fn breaker(&self) -> &CircuitBreaker {
        self
    }
}

/// A guard that owns its share of the breaker.
pub type OwnedGuard = Guard<CircuitBreaker>;

/// A call that was let through, to be settled once.
///
/// Dropped without having been settled, it counts as cancelled, which is neutral (see
/// [`OnCancel`](super::OnCancel)); dropped by a panic, it counts as a failure.
///
/// It belongs to the state in which the call was let through: if that has changed by the time it is settled, a success
/// or failure is counted as late and changes nothing.
#[must_use = "a guard that is not settled counts as a cancelled call"]
#[clippy::has_significant_drop]
pub struct Guard<H: Handle> {
    handle: H,
    ticket: Ticket,
    live: bool,
}

impl<H: Handle> Guard<H> {
    #[inline]
    pub(super) fn new(handle: H, ticket: Ticket) -> Self {
        Self { handle, ticket, live: true }
    }

    /// The call succeeded.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The call failed.
    #[inline]
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// The call says nothing about the callee.
    #[inline]
    pub fn ignore(self) {
        self.record(Outcome::Ignore);
    }

    /// The call ended so.
    #[inline(always)]
    pub fn record(mut self, outcome: Outcome) {
        self.live = false;
        let machine = &self.handle.breaker().machine;
        machine.settle(self.ticket, End::Judged(outcome), machine.now());
    }

    /// The call ended so at `now`.
    ///
    /// All times that a breaker is given should be of one clock. A window of time goes on to the latest one, and never back: by a
    /// time far ahead it forgets what it holds, and until then keeps all that comes in. Another [`window`](super::Builder::window)
    /// begins with the time of its own first outcome.
    pub fn record_at(mut self, outcome: Outcome, now: Instant) {
        self.live = false;
        let machine = &self.handle.breaker().machine;
        machine.settle(self.ticket, End::Judged(outcome), machine.at(now));
    }

    /// The breaker.
    pub fn breaker(&self) -> &CircuitBreaker {
        self.handle.breaker()
    }
}

impl<H: Handle> Drop for Guard<H> {
    #[inline]
    fn drop(&mut self) {
        if self.live {
            let end = if std::thread::panicking() { End::Judged(Outcome::Failure) } else { End::Cancelled };
            let machine = &self.handle.breaker().machine;
            machine.settle(self.ticket, end, machine.now());
        }
    }
}

impl<H: Handle> fmt::Debug for Guard<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("let_through_in", &self.ticket.word.state()).finish_non_exhaustive()
    }
}
