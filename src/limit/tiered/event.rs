//! What a limiter by route tells those who observe it.

use super::inner::Inner;
use super::{Refusal, Tiered, WaitError};
use crate::observe::Observe;
use std::time::Duration;

/// Something an observer of a [`Tiered`] may want to know. Told of by the thread that caused it, outside the limiter's locks;
/// events of several threads come in no particular order, those of one request as they happen.
///
/// Which tier it was that refused a request or has it wait, and by which of its buckets, stands in the [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TieredEvent {
    /// A request was admitted on the spot.
    #[non_exhaustive]
    Admitted {
        /// How many tokens it took in each of its tiers.
        tokens: u64,
    },
    /// A request was refused: on the spot, or while it waited, by a pause or other quotas.
    #[non_exhaustive]
    Refused {
        /// What it was told.
        refusal: Refusal,
    },
    /// A request found as many waiting as may.
    #[non_exhaustive]
    QueueFull {
        /// What it was told.
        refusal: Refusal,
    },
    /// A request waits.
    #[non_exhaustive]
    Queued {
        /// Where, and for how long at least.
        refusal: Refusal,
    },
    /// A request that waited was admitted.
    #[non_exhaustive]
    Granted {
        /// How many tokens it took in each of its tiers.
        tokens: u64,
        /// How long it waited.
        waited: Duration,
    },
    /// A request was dropped while it waited, or before it had seen that it was granted.
    #[non_exhaustive]
    Cancelled {
        /// How many tokens it wanted.
        tokens: u64,
        /// How long it waited.
        waited: Duration,
    },
}

impl Tiered {
    /// Shows all events from now on to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<TieredEvent>) {
        self.inner.observers.add(observer);
    }

    /// How many times an observer has panicked.
    pub fn observer_panics(&self) -> u64 {
        self.inner.observers.panics()
    }
}

impl Inner {
    /// A request was decided on the spot.
    pub(super) fn tell_decided(&self, tokens: u64, decision: &Result<(), Refusal>) {
        self.observers.emit(|| match decision {
            Ok(()) => TieredEvent::Admitted { tokens },
            Err(refusal) => TieredEvent::Refused { refusal: refusal.clone() },
        });
    }

    /// A request has ended that could have waited: since when, if it did.
    #[inline]
    pub(super) fn tell_ended(&self, tokens: u64, since: Option<u64>, result: &Result<(), WaitError>) {
        if self.observers.may_be_watched() {
            self.ended(tokens, since, result);
        }
    }

    #[cold]
    fn ended(&self, tokens: u64, since: Option<u64>, result: &Result<(), WaitError>) {
        let event = match result {
            Ok(()) => match since {
                None => TieredEvent::Admitted { tokens },
                Some(since) => TieredEvent::Granted { tokens, waited: self.waited(since) },
            },
            Err(WaitError::Refused(refusal)) => TieredEvent::Refused { refusal: refusal.clone() },
            Err(WaitError::Full(refusal)) => TieredEvent::QueueFull { refusal: refusal.clone() },
            // Nothing was asked for.
            Err(WaitError::Ended(_)) => return,
        };
        self.observers.show(&event);
    }

    pub(super) fn tell_cancelled(&self, tokens: u64, since: u64) {
        self.observers.emit(|| TieredEvent::Cancelled { tokens, waited: self.waited(since) });
    }

    fn waited(&self, since: u64) -> Duration {
        Duration::from_nanos(self.epoch.nanos().saturating_sub(since))
    }
}
