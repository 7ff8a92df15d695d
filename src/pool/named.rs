//! The settings of a queue with a name.

#![forbid(unsafe_code)]

use std::sync::Arc;

/// A queue of its own within a pool: for [`PoolBuilder::named_queue`](super::PoolBuilder::named_queue).
///
/// Tasks [choose it](super::PoolTask::queue) by its name. It has its own places, so that a full one turns away or holds up
/// only those who submit to it; and by its width it keeps workers free for other queues.
///
/// ```
/// use cofferdam::pool::{NamedQueue, WorkerPool};
///
/// // Of eight workers, at most two send mail at a time; a hundred mails more can wait.
/// let mail = NamedQueue::new("mail").width(2).capacity(100);
/// let (pool, workers) = WorkerPool::builder().workers(8).named_queue(mail).build()?;
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a queue does nothing until a pool is built with it"]
pub struct NamedQueue {
    pub(super) name: Arc<str>,
    /// `usize::MAX` for no bound.
    pub(super) width: usize,
    /// `None` for as many as the pool's own queue has.
    pub(super) capacity: Option<usize>,
}

impl NamedQueue {
    /// A queue with as many places as the pool's own, whose tasks may have all the workers.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), width: usize::MAX, capacity: None }
    }

    /// The most of its tasks that run at a time. By default it may have all the workers.
    pub fn width(mut self, most: usize) -> Self {
        self.width = most;
        self
    }

    /// How many of its tasks can wait, delayed ones included. By default as many as can in the pool's own queue.
    pub fn capacity(mut self, places: usize) -> Self {
        self.capacity = Some(places);
        self
    }
}
