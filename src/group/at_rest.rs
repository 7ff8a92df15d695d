//! What is still busy at the end of a test.

use super::{GroupStats, InPlaceGroup, TaskGroup};
use crate::testkit::{AtRest, Busy};
use std::future::Future;

fn tell(stats: &GroupStats, busy: &mut Busy) {
    busy.count("members running", stats.running as u64);
    busy.count("outcomes unread", stats.unread as u64);
}

impl<T: Send + 'static> AtRest for TaskGroup<T> {
    fn busy(&self, busy: &mut Busy) {
        tell(&self.stats(), busy);
    }
}

impl<F: Future> AtRest for InPlaceGroup<F> {
    fn busy(&self, busy: &mut Busy) {
        tell(&self.stats(), busy);
    }
}
