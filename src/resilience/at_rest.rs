//! What is still busy at the end of a test.

use super::{Bulkhead, CircuitBreaker};
use crate::testkit::{AtRest, Busy};

impl AtRest for CircuitBreaker {
    fn busy(&self, busy: &mut Busy) {
        busy.count("calls running", self.stats().running);
    }
}

impl AtRest for Bulkhead {
    fn busy(&self, busy: &mut Busy) {
        let stats = self.stats();
        busy.count("places taken", u64::from(stats.running));
        busy.count("waiters", stats.waiting as u64);
    }
}
