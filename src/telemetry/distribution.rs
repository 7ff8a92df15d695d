//! Durations by range.

use super::Histogram;
use crate::panics::contain;
use crate::shim::{AtomicBool, AtomicU64, Ordering};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The upper bounds of the ranges, in nanoseconds and in seconds.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    nanos: Arc<[u64]>,
    /// For each number of bits, how many bounds have fewer: a duration need be compared with those alone that have as many as
    /// it has, which are one or two.
    shorter: Arc<[u8; 66]>,
    pub(super) seconds: Arc<[f64]>,
}

impl Bounds {
    pub(super) fn new(bounds: &[Duration]) -> Self {
        let nanos = bounds.iter().map(|bound| u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX)).collect();
        let nanos: Arc<[u64]> = nanos;
        // There are at most 200.
        let shorter = std::array::from_fn(|bits| nanos.partition_point(|bound| length(*bound) < bits) as u8);
        Self {
            nanos,
            shorter: Arc::new(shorter),
            seconds: bounds.iter().map(Duration::as_secs_f64).collect(),
        }
    }

    /// How many bounds are below.
    #[inline]
    fn below(&self, nanos: u64) -> usize {
        let bits = length(nanos);
        let [from, to] =
            [bits, bits + 1].map(|bits| self.shorter.get(bits).map_or(0, |&shorter| usize::from(shorter)));
        let as_long = self.nanos.get(from..to).unwrap_or_default();
        from + as_long.partition_point(|bound| *bound < nanos)
    }
}

/// In bits.
#[inline]
fn length(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
}

/// Counts durations by range, and passes them on.
pub(super) struct Distribution {
    on: Arc<AtomicBool>,
    bounds: Bounds,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
    sinks: Vec<Box<dyn Histogram>>,
}

impl Distribution {
    pub(super) fn new(on: Arc<AtomicBool>, bounds: Bounds, sinks: Vec<Box<dyn Histogram>>) -> Self {
        let counts = (0..=bounds.nanos.len()).map(|_| AtomicU64::new(0)).collect();
        Self { on, bounds, counts, nanos: AtomicU64::new(0), sinks }
    }

    /// Of so many nanoseconds. False if it is switched off.
    fn record(&self, nanos: u64) -> bool {
        // Relaxed, here and below: these numbers guard no memory.
        if !self.on.load(Ordering::Relaxed) {
            return false;
        }
        if let Some(count) = self.counts.get(self.bounds.below(nanos)) {
            self.nanos.fetch_add(nanos, Ordering::Relaxed);
            // ORDERING: Release: what was done before is seen by whoever sees the count; see `Timing::counted`.
            count.fetch_add(1, Ordering::Release);
        }
        if !self.sinks.is_empty() {
            let seconds = nanos as f64 / 1e9;
            for sink in &self.sinks {
                contain(|| sink.record(seconds));
            }
        }
        true
    }

    pub(super) fn snapshot(&self) -> HistogramSnapshot {
        let counts: Vec<_> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramSnapshot {
            bounds: Arc::clone(&self.bounds.seconds),
            counts,
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

/// Where a component's durations go: a handle that is made once, when it is watched, and cheap to clone.
#[derive(Clone)]
pub struct Timing(pub(super) Option<Arc<Distribution>>);

impl Timing {
    /// One more.
    #[inline]
    pub fn record(&self, duration: Duration) {
        if let Some(distribution) = &self.0 {
            distribution.record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// As [`record`](Self::record), of so many nanoseconds; false if it is not counted.
    #[cfg(feature = "resilience")]
    #[inline]
    pub(super) fn count(&self, nanos: u64) -> bool {
        self.0.as_ref().is_some_and(|distribution| distribution.record(nanos))
    }

    /// How many there were.
    #[cfg(feature = "resilience")]
    pub(super) fn counted(&self) -> u64 {
        let Some(distribution) = &self.0 else { return 0 };
        // ORDERING: Acquire: pairs with the addition in `record`.
        distribution.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timing").field("kept", &self.0.is_some()).finish()
    }
}

/// Durations by range, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    bounds: Arc<[f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl HistogramSnapshot {
    /// The upper bounds of the ranges, in seconds; the last range has none.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many fell into each range, its upper bound included: one more than there are bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in seconds; while some are being recorded, it may be ahead of the counts.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// A bound that so large a share of them did not exceed: as exact as the ranges are. `None` of none, and infinite if
    /// it is in the last range.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = (share.clamp(0.0, 1.0) * all as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return Some(self.bounds.get(at).copied().unwrap_or(f64::INFINITY));
            }
        }
        Some(f64::INFINITY)
    }
}
