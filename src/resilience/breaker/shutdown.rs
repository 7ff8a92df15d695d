//! The end: refuse new calls, wait for those that run.

use super::CircuitBreaker;
use super::machine::Machine;
use crate::shim::{Ordering, fence};
use crate::time::Sleep;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long to wait before looking again, should a call have ended without noticing that somebody waits.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits for the calls of a breaker that is shut down to end; see [`CircuitBreaker::shutdown`].
///
/// # Cancel safety
/// Dropping it loses nothing: the breaker stays shut down, and another call of `shutdown` waits for the same.
#[derive(Debug)]
#[must_use = "the breaker refuses calls from now on; await this to know when those let through have ended"]
pub struct Drained<'a> {
    breaker: &'a CircuitBreaker,
    look_again: Option<Sleep>,
}

impl<'a> Drained<'a> {
    pub(super) fn new(breaker: &'a CircuitBreaker) -> Self {
        Self { breaker, look_again: None }
    }
}

impl Future for Drained<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.breaker.machine.is_drained() || self.wait(cx);
        if ready {
            self.look_again = None;
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drained<'_> {
    /// Asks to be woken, and looks once more.
    fn wait(&mut self, cx: &mut Context<'_>) -> bool {
        let machine = &self.breaker.machine;
        let waker = cx.waker().clone();
        let mut control = machine.control.lock();
        let known = control.drainers.iter().any(|known| known.will_wake(&waker));
        let superfluous = if known {
            Some(waker)
        } else {
            control.drainers.push(waker);
            None
        };
        drop(control);
        drop(superfluous);
        // The last call may have ended between the look and the lock.
        if machine.is_drained() {
            return true;
        }
        // A call that ends at the very moment of the shutdown may do so without seeing it: telling it would put a
        // fence on the way out of every call. So look again, now and then.
        loop {
            let sleep = self.look_again.get_or_insert_with(|| machine.epoch.clock().sleep(LOOK_AGAIN));
            if Pin::new(sleep).poll(cx).is_pending() {
                return false;
            }
            self.look_again = None;
            if machine.is_drained() {
                return true;
            }
        }
    }
}

impl Machine {
    /// Whether no call runs, in a breaker that lets none through any more.
    fn is_drained(&self) -> bool {
        // ORDERING: with the sequentially consistent addition in `let_through`: a call that did not see the shutdown is
        // in the sum. (Here and between the two threads that end the last two calls.)
        fence(Ordering::SeqCst);
        let (ended, admitted) = self.ended_and_admitted();
        ended == admitted
    }

    /// A call has ended in a breaker that is shut down.
    #[cold]
    pub(super) fn wake_drained(&self) {
        if self.is_drained() {
            let drainers = std::mem::take(&mut self.control.lock().drainers);
            for waker in drainers {
                waker.wake();
            }
        }
    }
}
