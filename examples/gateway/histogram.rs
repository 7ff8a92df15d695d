//! Latencies: counted in buckets whose width is a sixty-fourth of their value, so that any percentile is right to 1.6 %.

use std::time::Duration;

/// Buckets per doubling.
const SUB: u64 = 64;
const SUB_BITS: u32 = SUB.trailing_zeros();

/// A histogram of microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// What came after `earlier`, which was this one. The largest is that of all.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Self {
            counts: self.counts.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect(),
            total: self.total.saturating_sub(earlier.total),
            max: self.max,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// The smallest recorded latency (rounded up to its bucket's end, at most the largest recorded one) that at least
    /// `per_mille` of all are not above; `None` if nothing was recorded.
    pub(crate) fn percentile(&self, per_mille: u64) -> Option<Duration> {
        // The nearest-rank definition: the ceil(p * n)-th smallest, counted from one.
        let rank = (u128::from(self.total) * u128::from(per_mille)).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros(bucket_end(bucket).min(self.max)));
            }
        }
        None
    }
}

/// Values below `SUB` have a bucket each; above, each doubling has `SUB` of them.
fn bucket(micros: u64) -> usize {
    let magnitude = micros.max(1).ilog2();
    if magnitude < SUB_BITS {
        return micros as usize;
    }
    let shift = magnitude - SUB_BITS;
    ((u64::from(shift) * SUB) + (micros >> shift)) as usize
}

/// The largest value of a bucket.
fn bucket_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let start = (bucket - shift * SUB) << shift;
    start + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in micros {
            histogram.record(Duration::from_micros(micros));
        }
        histogram
    }

    #[test]
    fn what_came_since_is_a_histogram_of_its_own() {
        let earlier = of([1, 2, 3]);
        let mut all = earlier.clone();
        all.merge(&of([10, 20, 5000]));
        let recent = all.since(&earlier);
        assert_eq!((recent.total, micros(&recent, 10), micros(&recent, 1000)), (3, 10, 5000));
        assert_eq!(all.since(&all).percentile(500), None);
        assert_eq!(all.since(&Histogram::default()).total, 6);
    }

    fn micros(histogram: &Histogram, per_mille: u64) -> u64 {
        histogram.percentile(per_mille).unwrap().as_micros() as u64
    }

    #[test]
    fn buckets_cover_every_value_once_and_in_order() {
        let mut next = 0;
        for bucket_index in 0..bucket(u64::MAX) {
            let end = bucket_end(bucket_index);
            assert_eq!(bucket(next), bucket_index, "start {next}");
            assert_eq!(bucket(end), bucket_index, "end {end}");
            next = end + 1;
        }
        assert_eq!(bucket_end(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn small_values_are_exact() {
        let histogram = of(1..=50);
        assert_eq!(micros(&histogram, 500), 25);
        assert_eq!(micros(&histogram, 980), 49);
        assert_eq!(micros(&histogram, 981), 50);
        assert_eq!(micros(&histogram, 1000), 50);
    }

    #[test]
    fn the_rank_is_the_nearest() {
        assert_eq!(micros(&of([10]), 1), 10);
        assert_eq!(micros(&of([10, 20]), 500), 10);
        assert_eq!(micros(&of([10, 20]), 501), 20);
        assert_eq!(micros(&of([10, 20, 30]), 999), 30);
    }

    #[test]
    fn large_values_are_right_to_a_sixty_fourth_and_never_above_the_largest() {
        let histogram = of((1..=1000).map(|n| n * 977));
        for per_mille in [1, 10, 500, 990, 999, 1000] {
            let exact = per_mille * 977;
            let got = micros(&histogram, per_mille);
            assert!(got >= exact && got - exact <= exact / SUB, "{per_mille}: {got} for {exact}");
        }
        assert_eq!(micros(&histogram, 1000), 977_000);
        assert_eq!(micros(&of([u64::MAX]), 500), u64::MAX);
    }

    #[test]
    fn merging_is_recording_into_one() {
        let mut merged = of([1, 5, 900]);
        merged.merge(&of([70_000, 2]));
        let whole = of([1, 5, 900, 70_000, 2]);
        assert_eq!(merged.counts, whole.counts);
        assert_eq!((merged.total, merged.max), (5, 70_000));
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(Histogram::default().percentile(500), None);
    }
}
