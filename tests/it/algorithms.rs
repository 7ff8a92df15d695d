//! The limiting algorithms, without a clock: their laws, and each against a reference that recounts everything.

mod counter;
mod extremes;
mod fixed;
mod laws;
mod limiters;
mod log;
mod rules;
mod several;
mod spacing;
mod warm_up;

use cofferdam::limit::{Algorithm, Quota, Rate};
use proptest::prelude::*;
use std::time::Duration;

fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// `count` in each `period` nanoseconds.
fn rate(count: u64, period: u64) -> Rate {
    Rate::per(count, ns(period)).unwrap()
}

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// In nanoseconds; some that divide nothing.
fn windows() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1..40u64,
        1 => Just(1_000_000_007),
        1 => Just(86_400_000_000_000),
        1 => 1..u64::from(u32::MAX),
    ]
}

fn limits() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1..12u64, 1 => Just(777_777), 1 => 0..u64::from(u32::MAX)]
}

fn rates() -> impl Strategy<Value = Rate> {
    let counts = prop_oneof![1..12u64, Just(1_000_000_007), Just(777_777), 1..u64::from(u32::MAX)];
    let periods = prop_oneof![
        1..30u64,
        Just(1_000_000_000),
        Just(7_000_000),
        Just(1_000_000_009),
        Just(86_400_000_000_000),
        1..u64::from(u32::MAX),
    ];
    (counts, periods).prop_map(|(count, period)| rate(count, period))
}

/// The time of a token, rounded up; 1 for never.
fn interval(rate: Rate) -> u64 {
    u64::try_from(rate.period().as_nanos()).unwrap().checked_div(rate.count()).map_or(1, |nanos| nanos + 1)
}

fn quotas() -> impl Strategy<Value = Quota> {
    let zero = (0..9u64).prop_map(Quota::zero);
    prop_oneof![
        12 => (rates(), limits()).prop_map(|(rate, burst)| Quota::new(rate, burst)),
        1 => zero,
        1 => Just(Quota::unlimited()),
    ]
}

/// A request of a walk: how long after the one before, for how much, and whether it waits for it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// In sixteenths of the walk's unit of time.
    later: u64,
    n: u64,
    waits: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![4 => Just(0), 6 => 0..16u64, 3 => 0..80u64];
    let step = (later, 1..6u64, prop::bool::weighted(0.2));
    prop::collection::vec(step.prop_map(|(later, n, waits)| Step { later, n, waits }), 1..90)
}

/// What was admitted: when, and how much.
type Log = Vec<(u64, u64)>;

/// Walks an algorithm along the steps, next to a reference that is told what was admitted so far, and says from when on the
/// next request may be.
fn walk<A: Algorithm>(
    algorithm: &A,
    unit: u64,
    steps: &[Step],
    mut reference: impl FnMut(&Log, u64, u64) -> u64,
) -> Log {
    let (mut state, mut now, mut log) = (algorithm.fresh(0), 0u64, Log::new());
    for step in steps {
        now += (u128::from(step.later) * u128::from(unit)).div_ceil(16) as u64;
        let n = step.n.min(algorithm.capacity());
        if n == 0 {
            continue;
        }
        let due = reference(&log, now, n);
        if step.waits {
            assert_eq!(
                algorithm.charge(&mut state, now, n),
                Ok(due),
                "{n} at {now} of {algorithm:?}: {log:?}"
            );
            log.push((due, n));
        } else {
            match algorithm.take(&mut state, now, n) {
                Ok(()) => {
                    assert_eq!(due, now, "{n} at {now} of {algorithm:?}: {log:?}");
                    log.push((now, n));
                }
                Err(denied) => {
                    let after = denied.retry_after().map(|after| after.as_nanos() as u64);
                    assert_eq!(after, Some(due - now), "{n} at {now} of {algorithm:?}: {log:?}");
                    assert!(due > now);
                }
            }
        }
    }
    log
}

/// The most that the log has in any stretch of so many nanoseconds.
fn most_in(log: &Log, length: u64) -> u64 {
    let from = |begin: u64| log.iter().filter(move |(at, _)| *at >= begin && at - begin < length);
    log.iter().map(|(begin, _)| from(*begin).map(|(_, n)| n).sum()).max().unwrap_or(0)
}
