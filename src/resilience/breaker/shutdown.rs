//! The end: refuse new calls, wait for those that run.

use super::CircuitBreaker;
use super::machine::Machine;
use crate::shim::{Ordering, fence};
use crate::time::Sleep;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long to wait before looking again, should a call have ended without noticing that somebody waits. Each time twice as
/// long.
///
/// # Why this cannot be done without
///
/// The end of a call counts it (a store), and then looks whether the breaker is shut down (a load). The shutdown says so (a
/// read-modify-write), and then looks whether all calls are counted (loads). For one of the two to see the other, each must
/// keep its second step from being done before its first: the shutdown's read-modify-write does, but a store and a later load
/// of another word may be done in either order (by x86, too: the store waits in the store buffer), unless there is a fence or a
/// read-modify-write between them. Without one, both may miss the other, and nobody is left to wake the waiter. That
/// fence would cost every call of every breaker as much again as letting it through does, for the sake of one moment at
/// the end of some breakers. (An operating system could put the fence into the other threads on behalf of the shutdown, by
/// `membarrier`; none does everywhere, and no safe Rust asks for it.)
///
/// A store that was missed is seen as soon as it has left its processor's buffer: as a rule some nanoseconds later, and later
/// still if the thread is preempted before it has come to it; nobody can know how much. So only a call that ends in the very
/// moment of the shutdown, and is the last one, is noticed by looking again; all others wake the waiter. Because the time
/// doubles, there are at most as many looks as it takes doublings of a millisecond to wait for the calls that run (20 in a
/// quarter of an hour), and the waiter is late by no more than it has waited.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Waits for the calls of a breaker that is shut down to end; see [`CircuitBreaker::shutdown`].
///
/// # Cancel safety
/// Dropping it loses nothing: the breaker stays shut down, and another call of `shutdown` waits for the same.
#[derive(Debug)]
#[must_use = "the breaker refuses calls from now on; await this to know when those let through have ended"]
pub struct Drained<'a> {
    breaker: &'a CircuitBreaker,
    /// Its number among those that wait, if it does.
    number: Option<u64>,
    look_again: Option<Sleep>,
    interval: Duration,
}

impl<'a> Drained<'a> {
    pub(super) fn new(breaker: &'a CircuitBreaker) -> Self {
        Self { breaker, number: None, look_again: None, interval: LOOK_AGAIN }
    }
}

impl Future for Drained<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.breaker.machine.is_drained() || self.wait(cx);
        if ready {
            self.look_again = None;
            self.leave();
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
        let stale = machine.control.lock().drainers.put(&mut self.number, waker);
        drop(stale);
        // The last call may have ended between the look and the lock.
        if machine.is_drained() {
            return true;
        }
        loop {
            let interval = self.interval;
            let sleep = self.look_again.get_or_insert_with(|| machine.epoch.clock().sleep(interval));
            if Pin::new(sleep).poll(cx).is_pending() {
                return false;
            }
            self.look_again = None;
            self.interval = interval.saturating_mul(2);
            if machine.is_drained() {
                return true;
            }
        }
    }
}

impl Drained<'_> {
    /// It does not wait any more.
    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            let waker = self.breaker.machine.control.lock().drainers.remove(number);
            drop(waker);
        }
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Those who wait for the last call to end.
#[derive(Default)]
pub(super) struct Drainers {
    next: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Drainers {
    /// In place of the waker that it had. That one comes back, to be dropped without the lock.
    fn put(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let number = *number.get_or_insert_with(|| {
            self.next += 1;
            self.next
        });
        match self.waiting.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => Some(std::mem::replace(known, waker)),
            None => {
                self.waiting.push((number, waker));
                None
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waker> {
        let at = self.waiting.iter().position(|(known, _)| *known == number)?;
        Some(self.waiting.swap_remove(at).1)
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
            let waiting = std::mem::take(&mut self.control.lock().drainers.waiting);
            for (_, waker) in waiting {
                waker.wake();
            }
        }
    }
}
