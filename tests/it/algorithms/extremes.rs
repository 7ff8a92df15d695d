//! At the ends of the numbers: nothing overflows, nothing is minted, and what cannot be said is said to be never in time.

use super::{ns, rate};
use cofferdam::limit::{
    Algorithm, Fixed, Gcra, Leaky, Quota, Several, SlidingCounter, SlidingLog, Spacing, WarmUp,
};
use std::time::Duration;

const TIMES: [u64; 8] = [0, 1, 1_000_000_000, 1 << 40, 1 << 63, u64::MAX - 2, u64::MAX - 1, u64::MAX];
const AMOUNTS: [u64; 7] = [0, 1, 2, 1 << 32, u64::MAX / 2, u64::MAX - 1, u64::MAX];

/// Every time with every amount, in every order that matters.
fn survives<A: Algorithm>(algorithm: &A) {
    for begin in TIMES {
        for n in AMOUNTS {
            let mut state = algorithm.fresh(begin);
            // At the end of time not all of it can be counted.
            if begin <= 1 {
                assert_eq!(algorithm.available(&state, begin), algorithm.capacity());
            }
            for now in TIMES {
                for m in AMOUNTS {
                    let there = algorithm.available(&state, now);
                    let took = algorithm.take(&mut state, now, m);
                    assert_eq!(
                        took.is_ok(),
                        m == 0 || m <= there,
                        "{m} of {there} at {now} of {algorithm:?}"
                    );
                    assert!(algorithm.available(&state, now) <= there);
                    let _ = took.map_err(|denied| denied.retry_after());
                }
                let mut ahead = state.clone();
                for m in [n, 1, algorithm.capacity(), n] {
                    if let Ok(due) = algorithm.charge(&mut ahead, now, m) {
                        assert!(due >= now);
                    }
                    let _ = algorithm.fresh_at(&ahead);
                }
                let mut other = algorithm.carry(algorithm, &ahead, now);
                algorithm.drain_to(&mut other, now, n);
                algorithm.refund(&mut other, now, n);
                algorithm.refund(&mut ahead, now, n);
                assert!(algorithm.available(&ahead, now) <= algorithm.capacity());
                assert!(algorithm.available(&other, now) <= algorithm.capacity());
            }
        }
    }
}

/// (tokens, nanoseconds): zero, one in ever so long, a thousand million a second and more, all there is in a nanosecond.
const RATES: [(u64, u64); 10] = [
    (0, 1),
    (1, u64::MAX),
    (1, 31_536_000_000_000_000),
    (1, 1_000_000_000),
    (1_000_000_000, 1_000_000_000),
    (3_000_000_000, 1_000_000_000),
    (u32::MAX as u64, 1),
    (u64::MAX, 1),
    (u64::MAX, u64::MAX - 1),
    (u64::MAX - 58, 1_000_000_007),
];

const SIZES: [u64; 6] = [0, 1, 5, u32::MAX as u64, u64::MAX - 1, u64::MAX];

#[test]
fn rates_and_bursts_at_the_ends_of_the_numbers() {
    for (count, period) in RATES {
        let rate = rate(count, period);
        for size in SIZES {
            let quota = Quota::new(rate, size);
            survives(&Gcra::new(quota));
            survives(&Leaky::from(quota));
            survives(&Several::new([quota, Quota::per_second(7).burst(size)]).unwrap());
            survives(&Spacing::new(rate).slack(size));
            survives(&Spacing::new(rate).largest(size));
        }
        for warm_up in [1, 1_000_000_000, 1 << 59] {
            let Ok(warm_up) = WarmUp::new(rate, ns(warm_up)) else { continue };
            survives(&warm_up);
            for factor in [2, 1000, u32::MAX] {
                if let Ok(colder) = warm_up.cold(factor) {
                    survives(&colder);
                }
            }
        }
    }
}

#[test]
fn windows_at_the_ends_of_the_numbers() {
    for window in [1, 2, 3, 1_000_000_000, 1 << 63, u64::MAX - 1, u64::MAX] {
        for limit in SIZES {
            let fixed = Fixed::new(limit, ns(window)).unwrap();
            survives(&fixed);
            survives(&fixed.offset(ns(window - 1)));
            survives(&fixed.offset(Duration::MAX));
            survives(&SlidingCounter::new(limit, ns(window)).unwrap());
            survives(&SlidingLog::new(limit, ns(window)).unwrap());
        }
    }
}

#[test]
fn what_is_past_the_end_of_time_is_never_taken_there() {
    fn once<A: Algorithm>(algorithm: &A) {
        let mut state = algorithm.fresh(u64::MAX);
        assert_eq!(algorithm.take(&mut state, u64::MAX, algorithm.capacity()), Ok(()));
        for _ in 0..3 {
            assert!(algorithm.take(&mut state, u64::MAX, 1).is_err(), "{algorithm:?}: {state:?}");
            assert_eq!(algorithm.charge(&mut state, u64::MAX, 1).unwrap_or(u64::MAX), u64::MAX);
        }
        assert_eq!(algorithm.fresh_at(&state), u64::MAX);
    }
    for window in [1, 7, 1_000_000_000, u64::MAX] {
        once(&Fixed::new(3, ns(window)).unwrap());
        once(&SlidingCounter::new(3, ns(window)).unwrap());
        once(&SlidingLog::new(3, ns(window)).unwrap());
    }
    for quota in [Quota::per_second(3), Quota::new(rate(1, u64::MAX), 3), Quota::new(rate(7, 5), 3)] {
        once(&Gcra::new(quota));
        once(&Leaky::from(quota));
        once(&Several::new([quota]).unwrap());
        once(&Spacing::new(quota.rate()).largest(3));
        once(&WarmUp::new(quota.rate(), ns(100)).unwrap().largest(3));
    }
}

#[test]
fn a_year_is_as_exact_as_a_second() {
    const YEAR: u64 = 31_536_000_000_000_000;
    let yearly = Gcra::new(Quota::new(rate(1, YEAR), 1));
    let mut state = yearly.fresh(0);
    yearly.take(&mut state, 0, 1).unwrap();
    assert!(yearly.take(&mut state, YEAR - 1, 1).is_err());
    assert!(yearly.take(&mut state, YEAR, 1).is_ok());
    let window = SlidingCounter::new(1, ns(YEAR)).unwrap();
    let mut state = window.fresh(0);
    window.take(&mut state, 5, 1).unwrap();
    assert_eq!(window.charge(&mut state, 6, 1), Ok(2 * YEAR));
}

// S31: three thousand million a second, polled every seventh nanosecond.
#[test]
fn more_than_one_to_a_nanosecond() {
    let quota = Quota::new(rate(3_000_000_000, 1_000_000_000), 30);
    let gcra = Gcra::new(quota);
    let leaky = Leaky::from(quota);
    let spacing = Spacing::new(quota.rate()).slack(29);
    let (mut tokens, mut level, mut next) = (gcra.fresh(0), leaky.fresh(0), spacing.fresh(0));
    for now in (0..7_000).step_by(7) {
        let due = if now == 0 { 30 } else { 21 };
        gcra.take(&mut tokens, now, due).unwrap();
        leaky.take(&mut level, now, due).unwrap();
        assert!(gcra.take(&mut tokens, now, 1).is_err() && leaky.take(&mut level, now, 1).is_err());
        for _ in 0..due {
            spacing.take(&mut next, now, 1).unwrap();
        }
        assert!(spacing.take(&mut next, now, 1).is_err());
    }
}
