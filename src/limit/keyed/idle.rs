//! What may be forgotten.

use crate::sync::Semaphore;

/// Says of a value of a [`KeyedMap`](super::KeyedMap) whether it may be forgotten.
pub trait Idle {
    /// Whether a new one would be as good: nothing is running, counted, waited for or decided that a new one would not know.
    ///
    /// Called with no lock held, at a time at which nobody else has a handle.
    fn is_idle(&self) -> bool;
}

/// All permits free, nobody waiting, not closed.
impl Idle for Semaphore {
    fn is_idle(&self) -> bool {
        let stats = self.stats();
        stats.available == stats.capacity && stats.waiting == 0 && !self.is_closed()
    }
}
