//! What is measured between two steps of an algorithm: counters that many threads add to, and one at a time empties.
//!
//! Nothing is lost where a window ends while a call is recorded: each number is one word, added to by a read-modify-write
//! and emptied by another, so what was added is either in what was taken out or in what comes next. How many succeeded and
//! how long they took is the same word, so that no average is of more calls than took the time. Between words a call may be
//! on both sides of the edge, its time in the window before its share in the histogram: that moves it, and changes no sum.

use super::algorithm::Sample;
use crate::shim::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What of the times of a window is its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statistic {
    /// Their average: two words, whatever happens. The default.
    #[default]
    Average,
    /// The time within which that many of a hundred calls were done; of the higher, as in a histogram of eight steps to a
    /// doubling (1.2 kB). The 90th looks at the slow ones, the 50th is not moved by a few of them.
    Percentile(u8),
}

/// The sum is in units of so many bits less than nanoseconds.
const UNIT: u32 = 6;
const SUM_BITS: u32 = 44;
const SUM_MAX: u64 = (1 << SUM_BITS) - 1;
/// The longest time, 18 minutes: a thousand of those are the sum.
const LONGEST: u64 = 1 << 34;
/// Half of what the count and the sum can be: a window that has so much is over.
const COUNT_HALF: u64 = 1 << (64 - SUM_BITS - 1);
const SUM_HALF: u64 = 1 << (SUM_BITS - 1);

/// Steps of the histogram to a doubling, in bits.
const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
/// From a unit to the longest time.
const BUCKETS: usize = (LONGEST.trailing_zeros() as usize + 2) * STEPS;

pub(super) struct Window {
    /// How many succeeded (20 bits), and how long they took together, in units.
    times: AtomicU64,
    drops: AtomicU32,
    in_flight: AtomicU32,
    /// The fastest that succeeded, in nanoseconds.
    fastest: AtomicU64,
    histogram: Option<Box<[AtomicU32]>>,
    statistic: Statistic,
}

/// What was taken out.
pub(super) struct Taken {
    pub(super) sample: Sample,
    /// In nanoseconds.
    pub(super) fastest: Option<u64>,
}

impl Window {
    pub(super) fn new(statistic: Statistic) -> Self {
        let histogram = match statistic {
            Statistic::Average => None,
            Statistic::Percentile(_) => Some((0..BUCKETS).map(|_| AtomicU32::new(0)).collect()),
        };
        Self {
            times: AtomicU64::new(0),
            drops: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            fastest: AtomicU64::new(u64::MAX),
            histogram,
            statistic,
        }
    }

    /// A call that took so many nanoseconds. True if the window has as many as it takes (`enough`), or can.
    #[inline]
    pub(super) fn succeeded(&self, nanos: u64, in_flight: u32, enough: u32) -> bool {
        let units = (nanos >> UNIT).min(LONGEST);
        self.saw(in_flight);
        // Relaxed, as all here: see the top of the file for why nothing is lost. A guess that spares an operation.
        if nanos < self.fastest.load(Ordering::Relaxed) {
            self.fastest.fetch_min(nanos, Ordering::Relaxed);
        }
        if let Some(bucket) = self.histogram.as_ref().and_then(|buckets| buckets.get(bucket(units))) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let before = self.times.fetch_add(1 << SUM_BITS | units, Ordering::Relaxed);
        let (count, sum) = (before >> SUM_BITS, before & SUM_MAX);
        count + 1 >= u64::from(enough).min(COUNT_HALF) || sum >= SUM_HALF
    }

    /// A call that ended in a sign of overload.
    pub(super) fn dropped(&self, in_flight: u32) {
        self.saw(in_flight);
        self.drops.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn saw(&self, in_flight: u32) {
        if in_flight > self.in_flight.load(Ordering::Relaxed) {
            self.in_flight.fetch_max(in_flight, Ordering::Relaxed);
        }
    }

    /// Empties it.
    pub(super) fn take(&self) -> Taken {
        let times = self.times.swap(0, Ordering::Relaxed);
        let (count, sum) = (times >> SUM_BITS, times & SUM_MAX);
        let average = sum.checked_div(count).map(|_| Duration::from_nanos((sum << UNIT) / count.max(1)));
        let rtt = match self.statistic {
            Statistic::Average => average,
            // An empty histogram: its calls are on the other side of the edge.
            Statistic::Percentile(percent) => self.percentile(percent).or(average),
        };
        let fastest = self.fastest.swap(u64::MAX, Ordering::Relaxed);
        let sample = Sample {
            rtt,
            successes: u32::try_from(count).unwrap_or(u32::MAX),
            drops: self.drops.swap(0, Ordering::Relaxed),
            in_flight: self.in_flight.swap(0, Ordering::Relaxed),
        };
        Taken { sample, fastest: (fastest < u64::MAX).then_some(fastest) }
    }

    /// The upper edge of the bucket of the call, and empties the histogram.
    fn percentile(&self, percent: u8) -> Option<Duration> {
        let buckets = self.histogram.as_ref()?;
        // Counted twice, first what there is and then what is taken out: no room is needed to keep it.
        let total: u64 = buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed))).sum();
        let rank = (total * u64::from(percent)).div_ceil(100).max(1);
        let (mut seen, mut found) = (0, None);
        for (at, bucket) in buckets.iter().enumerate() {
            if bucket.load(Ordering::Relaxed) == 0 {
                continue;
            }
            seen += u64::from(bucket.swap(0, Ordering::Relaxed));
            if seen >= rank && found.is_none() {
                found = Some(Duration::from_nanos(upper(at) << UNIT));
            }
        }
        found
    }
}

/// The bucket of a time in units: by its highest bit and the three that follow.
fn bucket(units: u64) -> usize {
    if units < STEPS as u64 {
        return units as usize;
    }
    let octave = units.ilog2() - STEP_BITS;
    (octave as usize) * STEPS + (units >> octave) as usize
}

/// The first time in units that is above a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64 + 1;
    }
    let octave = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) as u64 + 1) << octave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_below_their_edge_and_not_below_the_one_before() {
        let mut rng = fastrand::Rng::with_seed(7);
        for units in (0..2000).chain((0..2000).map(|_| rng.u64(..LONGEST))).chain([LONGEST]) {
            let at = bucket(units);
            assert!(at < BUCKETS, "{units}");
            assert!(units < upper(at), "{units} in {at}");
            assert!(at == 0 || units >= upper(at - 1), "{units} in {at}");
        }
    }

    #[test]
    fn a_window_is_over_before_its_count_or_its_sum_runs_over() {
        let window = Window::new(Statistic::Average);
        let over = (1..).find(|_| window.succeeded(u64::MAX, 1, u32::MAX));
        assert_eq!(over, Some(513), "half a sum of the longest times, and the one that finds it");
        assert_eq!(window.take().sample.rtt, Some(Duration::from_nanos(LONGEST << UNIT)));
        let over = (1..).find(|_| window.succeeded(1, 1, u32::MAX));
        assert_eq!(over, Some(1 << 19));
        assert_eq!(window.take().sample.successes, 1 << 19);
    }
}
