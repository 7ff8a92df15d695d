//! What is still busy at the end of a test.

use super::concurrency::{AdaptiveLimiter, ConcurrencyLimiter};
use super::{AdmissionControl, Algorithm, Keyed, Limiter, Tiered};
use crate::testkit::{AtRest, Busy};
use std::hash::{BuildHasher, Hash};

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

impl AtRest for AdaptiveLimiter {
    fn busy(&self, busy: &mut Busy) {
        let stats = self.stats();
        busy.count("calls running", u64::from(stats.in_flight));
        busy.count("waiters", stats.waiting as u64);
    }
}

impl<K: Hash + Eq, A: Algorithm, S: BuildHasher> AtRest for Keyed<K, A, S> {
    fn busy(&self, busy: &mut Busy) {
        busy.count("waiters", self.stats().waiting as u64);
    }
}

impl AtRest for Tiered {
    fn busy(&self, busy: &mut Busy) {
        busy.count("waiters", self.stats().waiting as u64);
    }
}

impl AtRest for AdmissionControl {
    fn busy(&self, busy: &mut Busy) {
        busy.count("calls running", self.stats().running);
    }
}
