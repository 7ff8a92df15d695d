//! What is seen of a pool by those who look into it.

#![forbid(unsafe_code)]

use super::ledger::LiveTask;
use super::retry::DeadLetters;
use super::shared::Shared;
use super::stats::PoolStats;
use super::{TaskStatus, WorkerPool};
use crate::shim::Arc;
use std::time::Duration;

/// A pool at one moment.
pub(crate) struct PoolLook {
    pub(crate) stats: PoolStats,
    pub(crate) capacity: Option<usize>,
    pub(crate) closed: bool,
    pub(crate) dead_letters: usize,
    /// The longest wait of a task that is due.
    pub(crate) oldest: Option<Duration>,
    /// The oldest of those that have not ended.
    pub(crate) tasks: Vec<LiveTask>,
}

impl WorkerPool {
    /// What looks at it, with the oldest `most` of its tasks, for as long as it is there, and does not keep it.
    pub(crate) fn weak_view(&self, most: usize) -> impl Fn() -> Option<PoolLook> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || Some(shared.upgrade()?.look(most))
    }
}

impl Shared {
    fn look(&self, most: usize) -> PoolLook {
        let ledger = self.settings.ledger.as_ref();
        let mut tasks = ledger.map(|ledger| ledger.live(self.settings.clock.now())).unwrap_or_default();
        let oldest = match self.backlog.managed() {
            Some(managed) => managed.oldest(),
            None => {
                let pending = tasks.iter().filter(|task| task.status == TaskStatus::Pending);
                pending.map(|task| task.lasted).max()
            }
        };
        tasks.truncate(most);
        PoolLook {
            stats: self.stats(),
            capacity: self.capacity(0),
            closed: self.backlog.is_closed(),
            dead_letters: DeadLetters::new(self).len(),
            oldest,
            tasks,
        }
    }
}
