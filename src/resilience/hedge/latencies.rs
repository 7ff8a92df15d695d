//! How long calls take, as a quantile of those of the last while.

use crate::ConfigError;
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::time::{Clock, Epoch};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A quantile of how long calls took: the time within which 95 of a hundred were done, say. For the delay of a
/// [`Hedge`](super::Hedge), or for limits of your own making. Clones are the same.
///
/// It remembers two windows of time, the one that is running and the one before it, and forgets the older one when the next
/// begins. There is no quantile before there are enough calls in them.
///
/// Memory is bounded: two histograms of 16 steps to a doubling, 5 KiB in all. The quantile is the upper end of its step, so
/// it is at most 1/16 too large, and never too small. What took longer than 73 minutes counts as that. Recording takes a short
/// lock, reading none but once in a window; what is read may be a thirty-second part of the calls behind.
///
/// Sources: the buckets of G. Tene's HdrHistogram; two of them in turn, as in tower's hedge.
///
/// ```
/// use cofferdam::resilience::Latencies;
/// use std::time::Duration;
///
/// let latencies = Latencies::builder(0.9).min_samples(10).build()?;
/// for millis in 1..=10 {
///     latencies.record(Duration::from_millis(millis));
/// }
/// let quantile = latencies.quantile().unwrap();
/// assert!((9.0..9.6).contains(&(quantile.as_secs_f64() * 1e3)));
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Latencies(Arc<Shared>);

struct Shared {
    quantile: f64,
    min_samples: u64,
    window: u64,
    epoch: Epoch,
    windows: Mutex<Windows>,
    /// The quantile in nanoseconds, or `UNKNOWN`.
    known: AtomicU64,
    /// When the running window ends, in nanoseconds of the epoch: from then on it must be computed anew. Both are written under
    /// the lock; whoever reads a new one of the two and an old one of the other takes a quantile that was right a moment ago.
    until: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

/// Steps to a doubling, in bits.
const FINENESS: u32 = 4;
const STEPS: u64 = 1 << FINENESS;
/// The longest time told apart: 2^42 ns.
const LONGEST: u64 = (1 << 42) - 1;
const BUCKETS: usize = place(LONGEST) + 1;

/// | nanoseconds | bucket |
/// |---|---|
/// | n < 16 | n |
/// | 2^e <= n < 2^(e + 1) | 16 (e - 3) + the four bits after the highest |
const fn place(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let e = nanos.ilog2();
    let step = (nanos >> (e - FINENESS)) & (STEPS - 1);
    ((e - FINENESS + 1) as u64 * STEPS + step) as usize
}

/// The largest number of nanoseconds in a bucket.
const fn end_of(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let (power, step) = (place / STEPS - 1, place % STEPS);
    ((STEPS + step + 1) << power) - 1
}

struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), total: 0 }
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

struct Windows {
    /// The number of the window that is running.
    number: u64,
    running: Histogram,
    before: Histogram,
    /// At so many in all the quantile is computed anew.
    next: u64,
}

impl Windows {
    /// Turns to window `number`; says whether anything was forgotten. A clock that went back changes nothing.
    fn turn(&mut self, number: u64) -> bool {
        let steps = number.saturating_sub(self.number);
        if steps == 0 {
            return false;
        }
        std::mem::swap(&mut self.running, &mut self.before);
        self.running.clear();
        if steps > 1 {
            self.before.clear();
        }
        self.number = number;
        true
    }

    fn total(&self) -> u64 {
        self.running.total + self.before.total
    }

    fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((quantile * self.total() as f64).ceil() as u64).max(1);
        let mut sum = 0;
        let both = self.running.counts.iter().zip(self.before.counts.iter());
        for (place, (running, before)) in both.enumerate() {
            sum += u64::from(*running) + u64::from(*before);
            if sum >= rank {
                return end_of(place);
            }
        }
        LONGEST
    }
}

impl Latencies {
    /// Of this quantile: 0.95 is the time within which 95 of a hundred calls are done. Defaults: 100 calls at least, windows of
    /// 30 s.
    pub fn builder(quantile: f64) -> LatenciesBuilder {
        LatenciesBuilder {
            quantile,
            min_samples: 100,
            window: Duration::from_secs(30),
            clock: Clock::system(),
        }
    }

    /// A call has taken so long, or was given up after it had.
    pub fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(LONGEST);
        // The clock may be the user's: it is read outside the lock.
        let number = self.0.epoch.nanos() / self.0.window;
        let mut windows = self.0.windows.lock();
        let turned = windows.turn(number);
        if let Some(count) = windows.running.counts.get_mut(place(nanos)) {
            *count = count.saturating_add(1);
            windows.running.total += 1;
        }
        if turned || windows.total() >= windows.next {
            self.0.compute(&mut windows);
        }
    }

    /// The quantile, once there are enough calls.
    pub fn quantile(&self) -> Option<Duration> {
        let now = self.0.epoch.nanos();
        // Relaxed: see `until`.
        if now >= self.0.until.load(Ordering::Relaxed) {
            // Once in a window, whoever comes first.
            let mut windows = self.0.windows.lock();
            windows.turn(now / self.0.window);
            self.0.compute(&mut windows);
        }
        let known = self.0.known.load(Ordering::Relaxed);
        (known != UNKNOWN).then_some(Duration::from_nanos(known))
    }
}

impl Shared {
    /// Computes the quantile anew.
    fn compute(&self, windows: &mut Windows) {
        let total = windows.total();
        let known = if total < self.min_samples {
            windows.next = self.min_samples;
            UNKNOWN
        } else {
            windows.next = total + (total / 32).max(1);
            windows.quantile(self.quantile)
        };
        // Relaxed: see `until`.
        self.known.store(known, Ordering::Relaxed);
        self.until.store((windows.number + 1).saturating_mul(self.window), Ordering::Relaxed);
    }
}

impl fmt::Debug for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latencies")
            .field("of", &self.0.quantile)
            .field("window", &Duration::from_nanos(self.0.window))
            .field("quantile", &self.quantile())
            .finish_non_exhaustive()
    }
}

/// Builds [`Latencies`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LatenciesBuilder {
    quantile: f64,
    min_samples: u32,
    window: Duration,
    clock: Clock,
}

impl LatenciesBuilder {
    /// So many calls must be remembered before there is a quantile. Default: 100.
    pub fn min_samples(self, min_samples: u32) -> Self {
        Self { min_samples, ..self }
    }

    /// How long a window is: a call is remembered for one at least, and for two at most. Default: 30 s.
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The empty memory.
    ///
    /// # Errors
    /// A quantile that is not between 0 and 1; no calls; a window outside a microsecond to a year.
    pub fn build(self) -> Result<Latencies, ConfigError> {
        let error =
            |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("latencies", knob, value, rule));
        if !(self.quantile > 0.0 && self.quantile < 1.0) {
            return error("quantile", &self.quantile, "must be a number between 0 and 1");
        }
        if self.min_samples == 0 {
            return error("min_samples", &0, "must be at least 1");
        }
        let window = self.window;
        if window < Duration::from_micros(1) || window > Duration::from_secs(366 * 86_400) {
            return error("window", &format_args!("{window:?}"), "must be from 1us to a year");
        }
        Ok(Latencies(Arc::new(Shared {
            quantile: self.quantile,
            min_samples: u64::from(self.min_samples),
            window: window.as_nanos() as u64,
            epoch: Epoch::new(self.clock),
            windows: Mutex::new(Windows {
                number: 0,
                running: Histogram::new(),
                before: Histogram::new(),
                next: 0,
            }),
            known: AtomicU64::new(UNKNOWN),
            until: AtomicU64::new(0),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_ends_at_most_a_sixteenth_above_it() {
        for n in (0..100_000).chain((17..42).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + (1 << (e - 3))]))
        {
            let end = end_of(place(n));
            assert!(n <= end && end - n <= n / 16, "{n} is in the bucket that ends at {end}");
            assert_eq!(place(end), place(n));
            assert_eq!(place(end + 1), place(n) + 1, "the buckets leave nothing out");
        }
    }
}
