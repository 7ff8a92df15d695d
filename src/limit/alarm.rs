//! The one timer of a limiter: armed for the first waiter, by nobody's future, when somebody waits.
//!
//! Arming is decided under the mutex and done outside it, as a timer is foreign code. Each decision has a number; a sleep
//! comes to rest in the alarm only if its number is still the last, so that of two threads which arm at once the later
//! decision stays, whichever is done first. Whatever fires, early, late or by mistake, only looks at the chain again.

use crate::time::Sleep;

#[derive(Default)]
pub(in crate::limit) struct Alarm {
    /// The nanosecond for which it is armed, or being armed.
    set_for: Option<u64>,
    decision: u64,
    sleep: Option<Sleep>,
}

/// What is left to do after the mutex is released. Drop it there if nothing is to be armed.
#[must_use]
pub(in crate::limit) struct Orders {
    /// To be disarmed.
    pub(in crate::limit) old: Option<Sleep>,
    /// To be armed: for when, and by which decision.
    pub(in crate::limit) arm: Option<(u64, u64)>,
}

impl Alarm {
    /// The first waiter is due at `due`, or nobody waits.
    pub(in crate::limit) fn set(&mut self, due: Option<u64>) -> Orders {
        if self.set_for == due {
            return Orders { old: None, arm: None };
        }
        self.set_for = due;
        self.decision += 1;
        Orders { old: self.sleep.take(), arm: due.map(|due| (due, self.decision)) }
    }

    /// It has fired, or should be looked at anew. The sleep is to be dropped after the mutex.
    pub(in crate::limit) fn reset(&mut self) -> Option<Sleep> {
        self.set_for = None;
        self.decision += 1;
        self.sleep.take()
    }

    /// Takes in an armed sleep, or gives it back if a later decision has been made.
    pub(in crate::limit) fn rest(&mut self, sleep: Sleep, decision: u64) -> Option<Sleep> {
        if decision != self.decision {
            return Some(sleep);
        }
        self.sleep.replace(sleep)
    }
}
