//! From the ends of calls to the limit: records them, and lets one at a time step the algorithm.

use super::algorithm::{Algorithm, Sample};
use super::window::{Taken, Window};
use super::{AdaptiveEvent, AdaptiveLimiterBuilder, LimitReason, Outcome};
use crate::limit::ConcurrencyLimiter;
use crate::observe::Observers;
use crate::shim::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::time::{Deadline, Epoch};
use crate::wait::Panicked;
use std::time::{Duration, Instant};

/// In place of the end of the window: somebody is ending it.
const BUSY: u64 = u64::MAX;
/// Windows do not end by their number of calls.
const NO_NUMBER: u32 = u32::MAX;

pub(super) struct Control {
    pub(super) epoch: Epoch,
    window: Window,
    /// Permits of calls under way.
    in_flight: AtomicU32,
    /// The nanosecond at which the window is over, or `BUSY`: whoever puts that there owns the algorithm.
    ends: AtomicU64,
    /// The number of calls with which the window is over, while the algorithm probes.
    enough: AtomicU32,
    /// Taken out by its owner, who calls it without the lock: it may be foreign code.
    algorithm: Mutex<Option<Box<dyn Algorithm>>>,
    min_samples: u32,
    shortest: u64,
    longest: u64,
    floor: u64,
    updates: AtomicU64,
    thin: AtomicU64,
    pub(super) observers: Observers<AdaptiveEvent>,
}

/// What a call was when it began.
#[derive(Clone, Copy)]
pub(super) struct Start {
    nanos: u64,
    permits: u32,
    in_flight: u32,
}

impl Control {
    pub(super) fn new(builder: AdaptiveLimiterBuilder, epoch: Epoch) -> Self {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(BUSY - 1);
        let AdaptiveLimiterBuilder {
            algorithm,
            window,
            longest_window,
            min_samples,
            statistic,
            rtt_floor,
            ..
        } = builder;
        Self {
            epoch,
            window: Window::new(statistic),
            in_flight: AtomicU32::new(0),
            ends: AtomicU64::new(nanos(window)),
            enough: AtomicU32::new(if algorithm.is_probing() { min_samples } else { NO_NUMBER }),
            algorithm: Mutex::new(Some(algorithm)),
            min_samples,
            shortest: nanos(window),
            longest: nanos(longest_window.max(window)),
            floor: nanos(rtt_floor).max(1),
            updates: AtomicU64::new(0),
            thin: AtomicU64::new(0),
            observers: Observers::new(),
        }
    }

    pub(super) fn at(&self, now: Option<Instant>) -> u64 {
        now.map_or_else(|| self.epoch.nanos(), |now| self.epoch.nanos_at(now))
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&self, permits: u32, nanos: u64) -> Start {
        // Relaxed, as all accesses to it: a measurement; the permits are what limits.
        let in_flight = self.in_flight.fetch_add(permits, Ordering::Relaxed).saturating_add(permits);
        Start { nanos, permits, in_flight }
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A call ends, and its permit is still out.
    #[inline]
    pub(super) fn end(
        &self,
        limiter: &ConcurrencyLimiter,
        start: Start,
        outcome: Outcome,
        now: impl FnOnce() -> u64,
    ) {
        self.in_flight.fetch_sub(start.permits, Ordering::Relaxed);
        if outcome == Outcome::Ignored {
            return;
        }
        let now = now();
        let mut full = false;
        if outcome == Outcome::Dropped {
            self.window.dropped(start.in_flight);
        } else {
            let nanos = now.saturating_sub(start.nanos);
            if nanos < self.floor {
                return;
            }
            // Relaxed: how many are enough may be out of date by a window.
            let enough = self.enough.load(Ordering::Relaxed);
            full = self.window.succeeded(nanos, start.in_flight, enough);
        }
        // Relaxed: decided by the compare-exchange.
        let ends = self.ends.load(Ordering::Relaxed);
        if ends != BUSY && (full || now >= ends) {
            self.turn(limiter, ends, now);
        }
    }

    /// Somebody was refused: a probe whose calls hang is over in time all the same.
    #[cold]
    pub(super) fn look(&self, limiter: &ConcurrencyLimiter, now: impl FnOnce() -> u64) {
        // Relaxed: as above.
        if self.enough.load(Ordering::Relaxed) == NO_NUMBER {
            return;
        }
        let (ends, now) = (self.ends.load(Ordering::Relaxed), now());
        if ends != BUSY && now >= ends {
            self.turn(limiter, ends, now);
        }
    }

    /// When somebody who waits has to [`look`](Self::look) again: a probe ends by calls, and there may be none.
    pub(super) fn look_again(&self) -> Option<Deadline> {
        // Relaxed: as above.
        if self.enough.load(Ordering::Relaxed) == NO_NUMBER {
            return None;
        }
        let ends = match self.ends.load(Ordering::Relaxed) {
            // The next is at least so long.
            BUSY => self.epoch.nanos().saturating_add(self.shortest),
            ends => ends,
        };
        self.epoch.instant(ends).map(Deadline::at)
    }

    /// Ends a window, if nobody else does.
    #[cold]
    fn turn(&self, limiter: &ConcurrencyLimiter, ends: u64, now: u64) {
        // ORDERING: Acquire pairs with the Release of `Owner::drop`: the algorithm is back, and what the last owner wrote is
        // seen.
        if self.ends.compare_exchange(ends, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        let mut owner = Owner { control: self, algorithm: self.algorithm.lock().take(), next: now };
        let Taken { sample, fastest } = self.window.take();
        let twice = fastest.unwrap_or(0).saturating_mul(2);
        owner.next = now.saturating_add(twice.clamp(self.shortest, self.longest)).min(BUSY - 1);
        let Some(algorithm) = &mut owner.algorithm else { return };
        let probing = self.enough.load(Ordering::Relaxed) != NO_NUMBER;
        if sample.successes.saturating_add(sample.drops) < self.min_samples && !probing {
            self.thin.fetch_add(1, Ordering::Relaxed);
            self.observers.emit(|| AdaptiveEvent::WindowDropped { sample });
            return;
        }
        let mut panicked = Panicked::default();
        let mut stepped = None;
        panicked.catch(|| stepped = Some(self.step(&mut **algorithm, &sample)));
        let from = limiter.limit();
        if let Some((to, reason)) = stepped.filter(|(to, _)| *to != from) {
            // Inside the turn, so that of two limits the later one stays, and is told of later. It is not zero.
            panicked.catch(|| drop(limiter.resize(to)));
            self.observers.emit(|| AdaptiveEvent::LimitChanged { from, to, reason, sample });
        }
        drop(owner);
        panicked.resume();
    }

    /// The limit from now on, and why.
    fn step(&self, algorithm: &mut dyn Algorithm, sample: &Sample) -> (u32, LimitReason) {
        let limit = algorithm.update(sample).max(1);
        let enough = if algorithm.is_probing() { self.min_samples } else { NO_NUMBER };
        self.enough.store(enough, Ordering::Relaxed);
        self.updates.fetch_add(1, Ordering::Relaxed);
        (limit, algorithm.reason())
    }

    /// Steps of the algorithm, windows with too few calls for one, and whether it probes.
    pub(super) fn counters(&self) -> (u64, u64, bool) {
        let probing = self.enough.load(Ordering::Relaxed) != NO_NUMBER;
        (self.updates.load(Ordering::Relaxed), self.thin.load(Ordering::Relaxed), probing)
    }
}

/// Who ends the window. When it goes, also after a panic of the algorithm or of a waker, the algorithm is back and the next
/// window begins.
struct Owner<'a> {
    control: &'a Control,
    algorithm: Option<Box<dyn Algorithm>>,
    next: u64,
}

impl Drop for Owner<'_> {
    fn drop(&mut self) {
        *self.control.algorithm.lock() = self.algorithm.take();
        // ORDERING: Release pairs with the Acquire of `turn`.
        self.control.ends.store(self.next, Ordering::Release);
    }
}
