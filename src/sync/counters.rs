//! Counts over the last so many seconds.

#![forbid(unsafe_code)]

use crate::ConfigError;
use crate::shim::{AtomicU64, Ordering};
use crate::time::{Clock, Epoch};
use std::fmt;
use std::time::{Duration, Instant};

/// Counts `KINDS` kinds of events over a sliding window of time: a ring of buckets, without a lock.
///
/// Use it to ask "how many of these in the last ten seconds" of a stream of events too dense to keep one by one. Where
/// events are few and the edge of the window must be exact to the nanosecond, keep the instants instead.
///
/// ```
/// use cofferdam::sync::Window;
/// use std::time::Duration;
///
/// const SUCCESS: usize = 0;
/// const FAILURE: usize = 1;
///
/// let window = Window::<2>::new(Duration::from_secs(10), 10)?;
/// window.record::<SUCCESS>();
/// window.record::<FAILURE>();
/// window.record::<FAILURE>();
/// assert_eq!(window.sums(), [1, 2]);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
///
/// # What the window covers
///
/// Time is cut into buckets of `length / buckets` (rounded down to a nanosecond) whose edges are fixed when the window
/// is made and do not move with the traffic. A sum covers the bucket of its instant and the `buckets - 1` before it: at
/// least `(buckets - 1) / buckets` of the length, at most all of it. An event is gone at the latest one length after
/// it happened.
///
/// # Under concurrency
///
/// Each cell of the ring packs the number of its bucket together with the count, so moving on to a new bucket and
/// counting the first event in it are one step; there is no rotation to race with, and nothing to clear after a long
/// silence.
///
/// * An event is counted once, in the bucket of its own instant.
/// * A sum that an event happens before counts it, as long as the event is in the window of *every* instant that was
///   used by then. (An event recorded with a later clock reading, one length ahead, takes the cell of the oldest bucket:
///   a sum at an older reading has then lost that bucket early.)
/// * A sum beside running records is not one moment's picture: it may count an event and miss an earlier one that was
///   recorded by another thread while it summed. It never counts one twice.
/// * An event recorded a whole length late (by a thread that read the clock and was then put to sleep) finds its cell
///   taken by a later bucket and is dropped: it is out of the window.
///
/// A sum counts what was recorded at instants later than its own, too; a clock that steps back forgets nothing.
///
/// # Limits
///
/// A bucket counts up to about one event for every two nanoseconds of its width and saturates there. Time runs for 584
/// years.
pub struct Window<const KINDS: usize> {
    /// | bits | what |
    /// |---|---|
    /// | the low `count_bits` | events in the bucket, saturating |
    /// | the rest | number of the bucket: nanoseconds since the epoch, divided by the width |
    ///
    /// `count_bits` is the binary logarithm of the width, so the number of every bucket there can be in 2^64
    /// nanoseconds fits into the rest: numbers do not wrap.
    cells: Box<[[AtomicU64; KINDS]]>,
    width: u64,
    count_bits: u32,
    epoch: Epoch,
}

impl<const KINDS: usize> Window<KINDS> {
    /// An empty window over `length` in so many `buckets`, on the system's clock.
    ///
    /// # Errors
    /// As [`with_clock`](Self::with_clock).
    pub fn new(length: Duration, buckets: usize) -> Result<Self, ConfigError> {
        Self::with_clock(length, buckets, Clock::system())
    }

    /// An empty window on a clock of your choice.
    ///
    /// # Errors
    /// There must be between 1 and 65,536 buckets, each at least a microsecond wide, and less than 584 years in all.
    pub fn with_clock(length: Duration, buckets: usize, clock: Clock) -> Result<Self, ConfigError> {
        let error = |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("window", knob, value, rule));
        if buckets == 0 || buckets > 1 << 16 {
            return error("buckets", &buckets, "must be between 1 and 65536");
        }
        let Ok(nanos) = u64::try_from(length.as_nanos()) else {
            return error("length", &format_args!("{length:?}"), "must be less than 584 years");
        };
        let width = nanos / buckets as u64;
        if width < 1_000 {
            return error(
                "length",
                &format_args!("{length:?}"),
                "must be at least a microsecond for each bucket",
            );
        }
        Ok(Self::of_width(width, buckets, clock))
    }

    /// Of buckets so many nanoseconds wide, for those who know that both numbers are in bounds; others are brought there.
    pub(crate) fn of_width(width: u64, buckets: usize, clock: Clock) -> Self {
        const { assert!(KINDS > 0, "a window counts at least one kind of event") };
        let width = width.max(1_000);
        let cell = |_| std::array::from_fn(|_| AtomicU64::new(0));
        let cells = (0..buckets.clamp(1, 1 << 16)).map(cell).collect();
        Self { cells, width, count_bits: width.ilog2(), epoch: Epoch::new(clock) }
    }

    /// Counts an event of kind `KIND` now.
    #[inline]
    pub fn record<const KIND: usize>(&self) {
        self.add_nanos::<KIND>(1, self.epoch.nanos());
    }

    /// Counts an event of kind `KIND` at `now`.
    #[inline]
    pub fn record_at<const KIND: usize>(&self, now: Instant) {
        self.add_at::<KIND>(1, now);
    }

    /// Counts `n` events of kind `KIND` at `now`.
    #[inline]
    pub fn add_at<const KIND: usize>(&self, n: u64, now: Instant) {
        self.add_nanos::<KIND>(n, self.epoch.nanos_at(now));
    }

    /// The events of each kind in the window that ends now.
    pub fn sums(&self) -> [u64; KINDS] {
        self.sums_nanos(self.epoch.nanos())
    }

    /// The events of each kind in the window that ends at `now`.
    pub fn sums_at(&self, now: Instant) -> [u64; KINDS] {
        self.sums_nanos(self.epoch.nanos_at(now))
    }

    /// The events of kind `KIND` in the window that ends at `now`.
    pub fn sum_at<const KIND: usize>(&self, now: Instant) -> u64 {
        const { assert!(KIND < KINDS, "no such kind") };
        self.sums_at(now)[KIND]
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.cells.len()
    }

    /// The width of a bucket.
    pub fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    /// What the window covers at most: all buckets.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.width.saturating_mul(self.cells.len() as u64))
    }

    #[inline]
    fn add_nanos<const KIND: usize>(&self, n: u64, nanos: u64) {
        const { assert!(KIND < KINDS, "no such kind") };
        let bucket = nanos / self.width;
        let full = (1 << self.count_bits) - 1;
        let Some(cell) = self.cells.get((bucket % self.cells.len() as u64) as usize) else { return };
        let cell = &cell[KIND];
        // Relaxed throughout: a cell is one word and no other memory hangs on it. Who knows of an event by other means
        // (it happens before the sum) sees it in the cell, by coherence.
        let mut seen = cell.load(Ordering::Relaxed);
        loop {
            let of = seen >> self.count_bits;
            let count = match of.cmp(&bucket) {
                std::cmp::Ordering::Less => n.min(full),
                std::cmp::Ordering::Equal if seen & full == full => return,
                std::cmp::Ordering::Equal => (seen & full).saturating_add(n).min(full),
                std::cmp::Ordering::Greater => return,
            };
            let next = bucket << self.count_bits | count;
            match cell.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    fn sums_nanos(&self, nanos: u64) -> [u64; KINDS] {
        let bucket = nanos / self.width;
        let full = (1 << self.count_bits) - 1;
        // What an empty cell of the oldest bucket in the window holds: cells below it are of buckets before, those from
        // it on are in the window or later. No bit is shifted out: that bucket is a number that a cell can hold.
        let oldest = (bucket + 1).saturating_sub(self.cells.len() as u64) << self.count_bits;
        let mut sums = [0_u64; KINDS];
        for cell in &self.cells {
            for (sum, cell) in sums.iter_mut().zip(cell) {
                // Relaxed: see `add_nanos`.
                let seen = cell.load(Ordering::Relaxed);
                let count = if seen >= oldest { seen & full } else { 0 };
                *sum = sum.saturating_add(count);
            }
        }
        sums
    }
}

impl<const KINDS: usize> fmt::Debug for Window<KINDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("kinds", &KINDS)
            .field("buckets", &self.buckets())
            .field("width", &self.width())
            .finish_non_exhaustive()
    }
}
