//! What is still busy at the end of a test.

#![forbid(unsafe_code)]

use super::{Gate, Receiver, Semaphore, Sender};
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

impl<T> AtRest for Sender<T> {
    fn busy(&self, busy: &mut Busy) {
        busy.count("values", self.len() as u64);
    }
}

impl<T> AtRest for Receiver<T> {
    fn busy(&self, busy: &mut Busy) {
        busy.count("values", self.len() as u64);
    }
}
