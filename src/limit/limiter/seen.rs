//! How often the clock went back.

use crate::time::Epoch;

/// What the clock has said to those who held the mutex while they read it: their readings are in the order of time, so one
/// that is less than the last is the clock's doing, and nobody's who was slow to come to the mutex.
#[derive(Default)]
pub(super) struct Seen {
    last: u64,
    backward: u64,
}

impl Seen {
    /// Reads the clock. Under the mutex.
    pub(super) fn read(&mut self, epoch: &Epoch) -> u64 {
        let now = epoch.nanos();
        self.backward += u64::from(now < self.last);
        self.last = now;
        now
    }

    pub(super) fn backward(&self) -> u64 {
        self.backward
    }
}
