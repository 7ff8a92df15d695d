//! What a limiter tells those who observe it, and what it counts if it is to.
//!
//! Both are behind one pointer, which a decision finds null where nobody wants either.

use super::inner::Inner;
use crate::limit::{Algorithm, Denied};
use crate::observe::Observers;
use crate::shim::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Something an observer of a [`Limiter`](super::Limiter) may want to know. Told of by the thread that caused it, outside the
/// limiter's lock; events of several threads come in no particular order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimiterEvent {
    /// A request had its tokens on the spot.
    #[non_exhaustive]
    Allowed {
        /// How many.
        tokens: u64,
    },
    /// A request was refused: on the spot, or while it waited, since the settings were changed.
    #[non_exhaustive]
    Denied {
        /// How, and when it can be tried again.
        denied: Denied,
    },
    /// A request found as many waiting as may.
    #[non_exhaustive]
    QueueFull {
        /// How many tokens it wanted.
        tokens: u64,
    },
    /// A request waits.
    #[non_exhaustive]
    Queued {
        /// For how many tokens.
        tokens: u64,
    },
    /// A request that waited has its tokens.
    #[non_exhaustive]
    Granted {
        /// How many.
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
    /// Other settings are in force, or will be after those that are temporary.
    Changed,
    /// Nobody is admitted any more.
    #[non_exhaustive]
    Paused {
        /// For how long; `None` until it is resumed.
        pause: Option<Duration>,
    },
    /// A pause was ended.
    Resumed,
    /// What was there above so many tokens was taken away.
    #[non_exhaustive]
    Drained {
        /// How many there may be left.
        to: u64,
    },
}

/// For those who want to know.
#[derive(Default)]
pub(super) struct Watch {
    counted: AtomicBool,
    pub(super) allowed: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) observers: Observers<LimiterEvent>,
    /// Who wants to see all but the decisions.
    pub(super) others: Observers<LimiterEvent>,
}

/// Relaxed, here and below: statistics.
impl Watch {
    pub(super) fn count(&self) {
        self.counted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::Relaxed)
    }

    #[inline(never)]
    fn decided(&self, tokens: u64, decision: Result<(), Denied>) {
        if self.is_counted() {
            let counter = if decision.is_ok() { &self.allowed } else { &self.denied };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.observers.emit(|| match decision {
            Ok(()) => LimiterEvent::Allowed { tokens },
            Err(denied) => LimiterEvent::Denied { denied },
        });
    }

    fn tell(&self, event: impl FnOnce() -> LimiterEvent) {
        if self.observers.may_be_watched() || self.others.may_be_watched() {
            let event = event();
            self.observers.emit(|| event);
            self.others.emit(|| event);
        }
    }
}

impl<A: Algorithm> Inner<A> {
    /// A request was decided on the spot.
    #[inline]
    pub(super) fn tell_decided(&self, tokens: u64, decision: &Result<(), Denied>) {
        if let Some(watch) = self.watch.get() {
            watch.decided(tokens, *decision);
        }
    }

    /// A request that would wait found too many doing so.
    pub(super) fn tell_full(&self, tokens: u64) {
        let Some(watch) = self.watch.get() else { return };
        if watch.is_counted() {
            watch.denied.fetch_add(1, Ordering::Relaxed);
        }
        watch.tell(|| LimiterEvent::QueueFull { tokens });
    }

    /// Whatever else has happened. The event is not made if nobody observes.
    pub(super) fn tell(&self, event: impl FnOnce() -> LimiterEvent) {
        if let Some(watch) = self.watch.get() {
            watch.tell(event);
        }
    }

    /// How long somebody has waited who came at `since`.
    pub(super) fn waited(&self, since: u64) -> Duration {
        Duration::from_nanos(self.epoch.nanos().saturating_sub(since))
    }
}
