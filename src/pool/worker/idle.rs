//! What a worker of a managed pool does while there is nothing to do: it keeps the time, or goes.

#![forbid(unsafe_code)]

use super::{Hand, Resting};
use crate::panics::contain;
use crate::pool::managed::{Alarm, Managed, Rest as Next};
use crate::pool::shared::Shared;
use crate::time::Sleep;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

/// The timers of a worker that sleeps in a managed pool.
#[derive(Default)]
pub(super) struct Idle {
    /// Of the worker that keeps the time.
    alarm: Alarm,
    /// Of one worker more than the least: when it goes.
    end: Option<Sleep>,
}

impl Hand {
    /// In the list of sleepers of a managed pool: whether there is still nothing to do. Sees to it that some sleeper's
    /// timer is armed for what is due later.
    #[inline(never)]
    pub(super) fn keep_time(
        self: Pin<&mut Self>,
        shared: &Shared,
        managed: &Managed,
        cx: &mut Context<'_>,
    ) -> bool {
        let this = self.project();
        let alarm = &mut this.idle.alarm;
        loop {
            let until = match managed.rest(*this.index, cx.waker()) {
                Next::Look => return false,
                Next::Sleep => None,
                Next::Keep(until) => Some(until),
            };
            if until.is_some() && !alarm.is_set() {
                shared.crew.stand_back(this.rest.as_ref());
            }
            alarm.set(until, managed);
            if !alarm.has_gone_off(cx) {
                return true;
            }
        }
    }

    /// Whether this worker has been idle for so long that it may end.
    #[inline]
    pub(super) fn is_idle_for_long(self: Pin<&mut Self>, shared: &Shared, cx: &mut Context<'_>) -> bool {
        let Some(limit) = shared.settings.idle_timeout else { return false };
        let end = &mut self.project().idle.end;
        if !shared.backlog.managed().is_some_and(Managed::has_spare) {
            *end = None;
            return false;
        }
        let sleep = end.get_or_insert_with(|| shared.settings.clock.sleep(limit));
        Pin::new(sleep).poll(cx).is_ready()
    }

    /// This worker has been idle for long: it ends, unless it is needed after all.
    pub(super) fn retire(mut self: Pin<&mut Self>, shared: &Shared, searching: &mut bool) -> Resting {
        self.as_mut().get_up(shared, searching);
        let Some(managed) = shared.backlog.managed().filter(|_| !*searching) else { return Resting::No };
        let this = self.project();
        // The seat keeps nothing of a worker that is gone. Once it is, the seat may be another one's at once.
        *this.reachable = None;
        if let Some(seat) = shared.books.seats.get(*this.index) {
            contain(|| drop(seat.nudge.take()));
        }
        match managed.retire(*this.index) {
            None => Resting::No,
            Some(call) => {
                contain(|| shared.heed(call));
                Resting::Done
            }
        }
    }
}

impl Idle {
    pub(super) fn clear(&mut self) {
        if self.alarm.is_set() || self.end.is_some() {
            // Timers may be the user's.
            contain(|| *self = Self::default());
        }
    }
}
