//! What a semaphore tells those who observe it, and when.
//!
//! One that is observed has a bit in its word that bars the way in passing, so each acquisition takes the lock and tells of
//! itself after it. One that is not has no more to do than to find that bit clear, among those that it looks at anyway.

use super::engine::WATCHED;
use super::queue::Want;
use super::{Request, Semaphore};
#[cfg(any(feature = "telemetry", cofferdam_loom))]
use crate::observe::Attached;
use crate::observe::{Observe, Observers};
use crate::shim::Ordering;
use crate::wait::Outcome;
#[cfg(any(feature = "telemetry", cofferdam_loom))]
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Something an observer of a [`Semaphore`] may want to know. Told of by the thread that caused it, outside the semaphore's
/// lock; events of several threads come in no particular order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SemaphoreEvent {
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
    /// A request was refused: there were no permits now, the queue was full, it wanted more than there are, the semaphore is
    /// closed or was closed while it waited, or the work around it has ended.
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
    /// A request was dropped while it waited, or before it had taken what it was granted.
    #[non_exhaustive]
    Cancelled {
        /// How many it wanted.
        permits: u32,
        /// How long it waited, as above.
        waited: Duration,
    },
    /// The capacity was changed.
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

impl Semaphore {
    /// Shows all events from now on to `observer`. Each acquisition then takes the lock.
    pub fn observe(&self, observer: impl Observe<SemaphoreEvent>) {
        self.bar(|observers| observers.add(observer));
    }

    /// As [`observe`](Self::observe), until what comes back is dropped: then the way in passing is open again.
    #[cfg(any(feature = "telemetry", cofferdam_loom))]
    pub(crate) fn attach(self: &Arc<Self>, observer: impl Observe<SemaphoreEvent>) -> Attached {
        let attached = self.bar(|observers| observers.attach(observer));
        let semaphore = Arc::downgrade(self);
        Attached::new(move || {
            drop(attached);
            if let Some(semaphore) = semaphore.upgrade() {
                semaphore.unbar();
            }
        })
    }

    /// As telemetry does it, for the models.
    #[cfg(cofferdam_loom)]
    pub fn observe_for_a_while(self: &Arc<Self>, observer: impl Observe<SemaphoreEvent>) -> Attached {
        self.attach(observer)
    }

    /// Lets somebody look, and nobody pass. Under the lock, as [`unbar`](Self::unbar) is: so the bit says what the last of them has left.
    fn bar<R>(&self, add: impl FnOnce(&Observers<SemaphoreEvent>) -> R) -> R {
        let observers = self.observers.get_or_init(|| Box::new(Observers::new()));
        let queue = self.queue.lock();
        let added = add(observers);
        // Relaxed: it bars the way to those behind it. Who comes to the lock finds the observers by themselves.
        self.word.fetch_or(WATCHED, Ordering::Relaxed);
        drop(queue);
        added
    }

    #[cfg(any(feature = "telemetry", cofferdam_loom))]
    fn unbar(&self) {
        let queue = self.queue.lock();
        if self.observers.get().is_none_or(|observers| !observers.is_watched()) {
            // Relaxed: as above. Who is late takes the lock once more than he need.
            self.word.fetch_and(!WATCHED, Ordering::Relaxed);
        }
        drop(queue);
    }

    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.observers.get().is_some_and(|observers| observers.may_be_watched())
    }

    /// When a wait begins, one more than the nanoseconds since the epoch; 0 if nobody wants to know. The clock may be the user's: not under the lock.
    pub(super) fn wait_began(&self) -> u64 {
        if self.is_watched() { self.epoch.nanos().saturating_add(1) } else { 0 }
    }

    fn waited(&self, since: u64) -> Duration {
        let Some(since) = since.checked_sub(1) else { return Duration::ZERO };
        Duration::from_nanos(self.epoch.nanos().saturating_sub(since))
    }

    #[cold]
    fn emit(&self, event: impl FnOnce() -> SemaphoreEvent) {
        if let Some(observers) = self.observers.get() {
            observers.emit(event);
        }
    }

    /// An acquisition that was not to wait has ended.
    #[inline]
    pub(super) fn tell_tried<E>(&self, wanted: u32, result: &Result<u32, E>) {
        if self.is_watched() {
            let waited = Duration::ZERO;
            self.emit(|| match result {
                Ok(permits) => SemaphoreEvent::Acquired { permits: *permits, waited },
                Err(_) => SemaphoreEvent::Refused { permits: wanted, waited },
            });
        }
    }

    /// An acquisition has come to the queue.
    #[inline]
    pub(super) fn tell_entered<E>(&self, request: &Request, polled: &Poll<Result<u32, E>>) {
        if self.is_watched() {
            match polled {
                Poll::Ready(result) => self.tell_tried(request.permits, result),
                Poll::Pending => {
                    let stats = self.stats();
                    let permits = if request.all { stats.capacity } else { request.permits };
                    self.emit(|| SemaphoreEvent::Queued { permits, waiting: stats.waiting });
                }
            }
        }
    }

    /// A wait has ended by what came to it.
    #[inline]
    pub(super) fn tell_ended(&self, outcome: Outcome, want: &Want) {
        if self.is_watched() {
            let (permits, waited) = (want.permits, self.waited(want.since));
            self.emit(|| match outcome {
                Outcome::Granted => SemaphoreEvent::Acquired { permits, waited },
                Outcome::Closed | Outcome::Impossible => SemaphoreEvent::Refused { permits, waited },
            });
        }
    }

    /// A wait was given up: for its time limit, or with its future.
    #[inline]
    pub(super) fn tell_left(&self, want: &Want, timed_out: bool) {
        if self.is_watched() {
            let (permits, waited) = (want.permits, self.waited(want.since));
            self.emit(|| match timed_out {
                true => SemaphoreEvent::TimedOut { permits, waited },
                false => SemaphoreEvent::Cancelled { permits, waited },
            });
        }
    }

    #[inline]
    pub(super) fn tell_resized(&self, from: u32, to: u32) {
        if self.is_watched() && from != to {
            self.emit(|| SemaphoreEvent::Resized { from, to });
        }
    }

    #[inline]
    pub(super) fn tell_closed(&self) {
        if self.is_watched() {
            self.emit(|| SemaphoreEvent::Closed);
        }
    }
}

#[cfg(all(test, feature = "telemetry", not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_way_in_passing_is_open_again_when_nobody_looks() {
        let semaphore = Arc::new(Semaphore::new(1));
        let is_barred = || semaphore.word.load(Ordering::Relaxed) & WATCHED != 0;
        let attach = || semaphore.attach(|_: &SemaphoreEvent| ());
        let (one, two) = (attach(), attach());
        drop(one);
        assert!(is_barred(), "somebody does");
        drop(two);
        assert!(!is_barred() && !semaphore.is_watched());
        let three = attach();
        semaphore.observe(|_: &SemaphoreEvent| ());
        drop(three);
        assert!(is_barred(), "that one stays");
    }
}
