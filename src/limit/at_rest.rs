//! What is still busy at the end of a test.

use super::concurrency::ConcurrencyLimiter;
use super::{Algorithm, Limiter};
use crate::testkit::{AtRest, Busy};

impl<A: Algorithm> AtRest for Limiter<A> {
    fn busy(&self, busy: &mut Busy) {
        busy.count("waiters", self.stats().waiting as u64);
    }
}

impl AtRest for ConcurrencyLimiter {
    fn busy(&self, busy: &mut Busy) {
        busy.count("permits out", u64::from(self.in_flight()));
        busy.count("waiters", self.waiting() as u64);
    }
}
