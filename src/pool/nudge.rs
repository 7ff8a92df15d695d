//! A place for one waker that somebody else may wake.

#![forbid(unsafe_code)]

use crate::shim::Mutex;
use std::task::Waker;

/// Holds the waker of a task that one party sets and any other may wake. Its lock orders the two: who sets a waker and
/// *then* looks at a flag, while the other raises the flag and *then* wakes, cannot both miss.
#[derive(Default)]
pub(super) struct Nudge(Mutex<Option<Waker>>);

impl Nudge {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn with(waker: Waker) -> Self {
        Self(Mutex::new(Some(waker)))
    }

    /// Sets the waker. Called by one party only.
    pub(super) fn set(&self, waker: &Waker) {
        if self.0.lock().as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        // Cloned and dropped outside the lock: both are the executor's code.
        let waker = waker.clone();
        let old = self.0.lock().replace(waker);
        drop(old);
    }

    pub(super) fn take(&self) -> Option<Waker> {
        self.0.lock().take()
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }
}
