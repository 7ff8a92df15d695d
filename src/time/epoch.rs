//! Nanoseconds since a component was made: what fits into an atomic.

use super::Clock;
#[cfg(feature = "quanta")]
use super::clock::Source;
use std::time::{Duration, Instant};

/// A clock with the instant from which a component counts its nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Epoch {
    clock: Clock,
    start: Instant,
    #[cfg(feature = "quanta")]
    start_raw: u64,
}

#[allow(dead_code, reason = "used by the rooms behind features")]
impl Epoch {
    pub(crate) fn new(clock: Clock) -> Self {
        #[cfg(feature = "quanta")]
        let start_raw = match &clock.0 {
            Source::Quanta(quanta) => quanta.clock.raw(),
            _ => 0,
        };
        let start = clock.now();
        Self {
            clock,
            start,
            #[cfg(feature = "quanta")]
            start_raw,
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Nanoseconds from the epoch until now.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        #[cfg(feature = "quanta")]
        if let Source::Quanta(quanta) = &self.clock.0 {
            return quanta.clock.delta_as_nanos(self.start_raw, quanta.clock.raw());
        }
        self.nanos_at(self.clock.now())
    }

    /// Nanoseconds from the epoch until `now`; 0 for instants before it, the largest number 584 years after it.
    #[inline]
    pub(crate) fn nanos_at(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }

    /// The instant `nanos` after the epoch, or `None` past the end of time.
    pub(crate) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.start.checked_add(Duration::from_nanos(nanos))
    }
}

/// The time-stamp counter, laid along the system's timeline at the moment of construction.
#[cfg(feature = "quanta")]
pub(crate) struct Quanta {
    clock: quanta::Clock,
    anchor: Instant,
    anchor_raw: u64,
}

#[cfg(feature = "quanta")]
impl Quanta {
    pub(super) fn new() -> Self {
        let clock = quanta::Clock::new();
        let anchor = super::system::now();
        let anchor_raw = clock.raw();
        Self { clock, anchor, anchor_raw }
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        let nanos = self.clock.delta_as_nanos(self.anchor_raw, self.clock.raw());
        self.anchor + Duration::from_nanos(nanos)
    }
}
