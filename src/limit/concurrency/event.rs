//! What a limiter tells those who observe it, and when.
//!
//! All of it is told by whoever has asked for permits, when he holds them or knows that he does not: outside of all locks, once
//! for each end. One that nobody observes is asked whether anybody does, and no more.

use super::error::Kind;
use super::{ConcurrencyLimiter, Inner};
use crate::observe::Observe;
use std::time::Duration;

/// Something an observer of a [`ConcurrencyLimiter`] may want to know. Told of by the thread that caused it, outside the limiter's
/// locks; events of several threads come in no particular order, those of one request as they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConcurrencyEvent {
    /// A request has its permits.
    #[non_exhaustive]
    Acquired {
        /// How many.
        permits: u32,
        /// How long it waited; zero if it did not, or began to before anybody observed.
        waited: Duration,
    },
    /// A request waits.
    #[non_exhaustive]
    Queued {
        /// For how many.
        permits: u32,
        /// Requests that wait, this one included.
        waiting: usize,
    },
    /// A request was refused: there were no permits now, the queue was full, it wanted more than the limit, the limiter is closed
    /// or was closed while it waited, or the work around it has ended.
    #[non_exhaustive]
    Refused {
        /// How many it wanted.
        permits: u32,
        /// How long it waited, as above.
        waited: Duration,
    },
    /// A request has waited as long as it may.
    #[non_exhaustive]
    TimedOut {
        /// How many it wanted.
        permits: u32,
        /// How long it waited, as above.
        waited: Duration,
    },
    /// A request was sent away by the [discipline](super::Discipline).
    #[non_exhaustive]
    Shed {
        /// How many it wanted.
        permits: u32,
        /// How long it waited, as above.
        waited: Duration,
    },
    /// A request was dropped while it waited, or before it had taken what it was granted.
    #[non_exhaustive]
    Cancelled {
        /// How many it wanted.
        permits: u32,
        /// How long it waited, as above.
        waited: Duration,
    },
    /// The limit was changed.
    #[non_exhaustive]
    Resized {
        /// The old one.
        from: u32,
        /// The new one.
        to: u32,
    },
    /// It was closed.
    Closed,
}

impl ConcurrencyLimiter {
    /// Shows all events from now on to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<ConcurrencyEvent>) {
        self.inner.observers.add(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &crate::observe::Observers<ConcurrencyEvent> {
        &self.inner.observers
    }
}

impl Inner {
    /// A request that has ended: with its permits, or why without.
    #[inline]
    pub(super) fn tell_ended(&self, permits: u32, refusal: Option<&Kind>, since: u64) {
        if self.observers.may_be_watched() {
            self.ended(permits, refusal, since);
        }
    }

    #[cold]
    #[inline(never)]
    fn ended(&self, permits: u32, refusal: Option<&Kind>, since: u64) {
        let waited = self.waited(since);
        self.observers.emit(|| match refusal {
            None => ConcurrencyEvent::Acquired { permits, waited },
            Some(Kind::Timeout { .. }) => ConcurrencyEvent::TimedOut { permits, waited },
            Some(Kind::Shed { .. }) => ConcurrencyEvent::Shed { permits, waited },
            Some(Kind::Full { .. } | Kind::Above { .. } | Kind::Closed | Kind::Ended(_)) => {
                ConcurrencyEvent::Refused { permits, waited }
            }
        });
    }

    /// A request that waits from now on; since when, if anybody wants to know: one more than the nanoseconds of the semaphore, or 0.
    #[cold]
    pub(super) fn tell_queued(&self, permits: u32) -> u64 {
        if !self.observers.may_be_watched() {
            return 0;
        }
        let waiting = self.waiting();
        self.observers.emit(|| ConcurrencyEvent::Queued { permits, waiting });
        self.semaphore.epoch().nanos().saturating_add(1)
    }

    pub(super) fn tell_cancelled(&self, permits: u32, since: u64) {
        if self.observers.may_be_watched() {
            let waited = self.waited(since);
            self.observers.emit(|| ConcurrencyEvent::Cancelled { permits, waited });
        }
    }

    fn waited(&self, since: u64) -> Duration {
        let Some(since) = since.checked_sub(1) else { return Duration::ZERO };
        Duration::from_nanos(self.semaphore.epoch().nanos().saturating_sub(since))
    }
}
