//! What is still busy at the end of a test.

#![forbid(unsafe_code)]

use super::WorkerPool;
use crate::testkit::{AtRest, Busy};

impl AtRest for WorkerPool {
    fn busy(&self, busy: &mut Busy) {
        let stats = self.stats();
        busy.count("tasks queued", stats.queued);
        busy.count("tasks running", stats.running);
        busy.count("waiters", stats.waiting as u64);
    }
}
