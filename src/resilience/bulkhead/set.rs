//! Other settings for a bulkhead that is in use.

use super::{Bulkhead, BulkheadBuilder, BulkheadEvent};
use crate::ConfigError;
use crate::limit::concurrency::Discipline;
use std::borrow::Cow;

/// What becomes of calls while a bulkhead has no places at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum AtZero {
    /// Those who wait and those who come are refused, as if it were closed, until there are places again.
    #[default]
    Refuse,
    /// It pauses: those who wait go on waiting and those who come get in line, within the bounds of the queue, until there are places
    /// again or their wait limit has passed. Without a queue whoever comes is refused.
    Wait,
}

/// What cannot be changed.
pub(super) struct Made {
    pub(super) order: Discipline,
    pub(super) partitions: Vec<(Cow<'static, str>, u32)>,
    pub(super) at_zero: AtZero,
}

impl Bulkhead {
    /// Puts other settings in force, for all clones: how many calls may [run](Self::resize), how many may wait, and how long. The name and
    /// the clock stay as they are.
    ///
    /// A smaller queue sends nobody away who waits already; it takes in nobody until there is room by the new bound. Who waits already
    /// keeps the wait limit with which it began. A [wait limit of a clone](Self::wait_limit) goes before that of the settings, as
    /// ever.
    ///
    /// ```
    /// use cofferdam::resilience::Bulkhead;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let bulkhead = Bulkhead::new(8)?;
    /// bulkhead.set(&Bulkhead::builder(16).queue(32).wait_limit(Duration::from_millis(250)))?;
    /// assert_eq!(bulkhead.stats().limit, 16);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`build`](BulkheadBuilder::build); an order, partitions or an [`at_zero`](BulkheadBuilder::at_zero) other than those that it was
    /// made with. Then nothing has changed.
    pub fn set(&self, settings: &BulkheadBuilder) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        let (running, queue, wait_limit) = settings.changeable(&inner.made)?;
        // Before the places: who is let in line by these is served by those.
        inner.limiter.set_queue(queue, wait_limit);
        if inner.limiter.limit() != running {
            self.resize(running);
        }
        let name = inner.name;
        inner.observers.emit(|| BulkheadEvent::SettingsChanged { name, queue });
        Ok(())
    }
}
