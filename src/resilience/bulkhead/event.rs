//! What a bulkhead tells those who observe it.

use crate::resilience::Rejection;
use std::time::Duration;

/// Something an observer of a [`Bulkhead`](super::Bulkhead) may want to know. Delivered outside the bulkhead's locks, by
/// the thread that caused it; events of several threads come in no particular order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkheadEvent {
    /// A call has got its place.
    #[non_exhaustive]
    Admitted {
        /// The bulkhead.
        name: &'static str,
        /// Places that are taken, this one included.
        running: u32,
        /// How long it waited for it; zero if it did not, or nobody was observing when it came.
        waited: Duration,
    },
    /// A call waits.
    #[non_exhaustive]
    Queued {
        /// The bulkhead.
        name: &'static str,
        /// Calls that wait, this one included.
        waiting: usize,
    },
    /// A call was refused.
    #[non_exhaustive]
    Rejected {
        /// The bulkhead.
        name: &'static str,
        /// What the call is told.
        rejection: Rejection,
    },
    /// A place was given back.
    #[non_exhaustive]
    Finished {
        /// The bulkhead.
        name: &'static str,
        /// Places that are still taken.
        running: u32,
        /// How long it was held, if somebody was observing when it was taken.
        held: Option<Duration>,
    },
    /// Other settings were [put in force](super::Bulkhead::set). If the number of places is another, `Resized` has told of that.
    #[non_exhaustive]
    SettingsChanged {
        /// The bulkhead.
        name: &'static str,
        /// How many calls may wait from now on.
        queue: u32,
    },
    /// The number of places was changed.
    #[non_exhaustive]
    Resized {
        /// The bulkhead.
        name: &'static str,
        /// The old number.
        from: u32,
        /// The new one.
        to: u32,
    },
}
