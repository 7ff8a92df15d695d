//! What is still busy at the end of a test.

#![forbid(unsafe_code)]

use super::{Gate, Semaphore};
use crate::testkit::{AtRest, Busy};

impl AtRest for Semaphore {
    fn busy(&self, busy: &mut Busy) {
        busy.count("permits out", u64::from(self.in_use()));
        busy.count("waiters", self.waiting() as u64);
    }
}

impl AtRest for Gate {
    fn busy(&self, busy: &mut Busy) {
        busy.count("waiters", self.waiters() as u64);
    }
}
