//! What is still busy at the end of a test.

use super::breaker::KeyedBreaker;
use super::{Budget, Bulkhead, Cache, CircuitBreaker};
use crate::testkit::{AtRest, Busy};
use std::hash::Hash;

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

/// Of all keys together.
impl<K: Hash + Eq + Clone> AtRest for KeyedBreaker<K> {
    fn busy(&self, busy: &mut Busy) {
        let mut running = 0;
        self.for_each(|_, breaker| running += breaker.stats().running);
        busy.count("calls running", running);
    }
}

/// One by [share](Budget::share), that is: the others do not know what is under way.
impl AtRest for Budget {
    fn busy(&self, busy: &mut Busy) {
        let (calls, retries) = self.under_way();
        busy.count("calls running", calls);
        busy.count("retries running", retries);
    }
}

impl<K, V, E> AtRest for Cache<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn busy(&self, busy: &mut Busy) {
        busy.count("loads running", self.stats().loading as u64);
    }
}
