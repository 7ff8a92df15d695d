//! Slow start against the formulas as they are published, in floating point.

use super::{cases, interval, ns, rate, steps};
use cofferdam::limit::{Algorithm, Rate, WarmUp};
use proptest::prelude::*;
use std::time::Duration;

fn warm_up(rate: Rate, length: Duration, factor: u32) -> WarmUp {
    WarmUp::new(rate, length).unwrap().cold(factor).unwrap()
}

/// Guava's limiter, with a factor: permits are stored in silence, and cost more the more there are.
struct Published {
    stable: f64,
    warn: f64,
    max: f64,
    slope: f64,
    warm_up: f64,
    stored: f64,
    next: f64,
}

impl Published {
    fn new(settings: &WarmUp) -> Self {
        let c = f64::from(settings.cold_factor());
        let (q, warm_up) = (settings.rate().as_per_second_f64() / 1e9, settings.warm_up().as_nanos() as f64);
        let warn = warm_up * q / (c - 1.0);
        let max = warn + 2.0 * warm_up * q / (1.0 + c);
        let slope = (c - 1.0) / q / (max - warn);
        Self { stable: 1.0 / q, warn, max, slope, warm_up, stored: max, next: 0.0 }
    }

    /// The area below the line of intervals.
    fn area(&self, stored: f64) -> f64 {
        let above = (stored - self.warn).max(0.0);
        stored * self.stable + self.slope * above * above / 2.0
    }

    fn charge(&mut self, now: f64, n: f64) -> f64 {
        if now > self.next {
            self.stored = (self.stored + (now - self.next) / self.warm_up * self.max).min(self.max);
            self.next = now;
        }
        let due = self.next;
        let spent = n.min(self.stored);
        self.next += self.area(self.stored) - self.area(self.stored - spent) + (n - spent) * self.stable;
        self.stored -= spent;
        due
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_curve_is_the_published_one(
        (count, period) in (1..1000u64, 10_000..2_000_000u64),
        (tokens, part, factor) in (1..60u64, 0..30_000u64, 2..9u32),
        steps in steps(),
    ) {
        let rate = rate(count, period);
        let settings = warm_up(rate, ns(interval(rate) * tokens + part), factor);
        let (mut state, mut published) = (settings.fresh(0), Published::new(&settings));
        let (mut now, mut last) = (0, None::<(u64, u64)>);
        let start = settings.interval(&state, 0).as_nanos() as u64;
        for (done, step) in steps.into_iter().enumerate() {
            now += step.later * interval(rate) / 4;
            let due = settings.charge(&mut state, now, step.n).unwrap();
            let by_formula = published.charge(now as f64, step.n as f64);
            // Less than a nanosecond for each request, and what floating point loses.
            let error = due as f64 - by_formula;
            prop_assert!((-1.0 - done as f64..100.0).contains(&error), "{due} instead of {by_formula}");
            // Never faster than the stable rate, never slower than the cold one.
            if let Some((before, n)) = last {
                let fastest = u128::from(n) * rate.period().as_nanos() / u128::from(count);
                prop_assert!(u128::from(due - before) + 1 >= fastest);
                let slowest = (fastest + 1) * u128::from(factor) + 2;
                prop_assert!(u128::from(due - before) <= slowest.max((now.saturating_sub(before)).into()));
            }
            prop_assert!(settings.interval(&state, now).as_nanos() as u64 <= start.max(interval(rate) * u64::from(factor) + 1));
            last = Some((due, step.n));
        }
    }

    #[test]
    fn from_cold_to_warm_takes_as_long_as_was_said(count in 1..1000u64, seconds in 1..100u64, factor in 2..9u32) {
        let (rate, length) = (Rate::per_second(count), Duration::from_secs(seconds));
        let settings = warm_up(rate, length, factor);
        let mut state = settings.fresh(0);
        // As many as lie between the coldest and the threshold: 2 warm q / (1 + c), rounded up.
        let tokens = (2 * seconds * count).div_ceil(u64::from(factor) + 1);
        for _ in 0..tokens {
            settings.charge(&mut state, 0, 1).unwrap();
        }
        let warm = settings.charge(&mut state, 0, 1).unwrap();
        let (least, token) = (length.as_nanos() as u64, interval(rate));
        prop_assert!((least..=least + token + tokens + 1).contains(&warm), "{warm} instead of {length:?}");
        prop_assert_eq!(settings.interval(&state, warm), ns(1_000_000_000u64.div_ceil(count)));
    }
}

#[test]
fn a_silence_cools_it_in_proportion() {
    let settings = warm_up(Rate::per_second(100), Duration::from_secs(2), 3);
    let mut state = settings.fresh(0);
    let mut now = 0;
    for _ in 0..200 {
        now = settings.charge(&mut state, now, 1).unwrap();
    }
    let next = now + 10_000_000;
    let after = |silence: u64| settings.interval(&state, next + silence * 1_000_000).as_micros();
    // Of 200 permits 100 are above the threshold; a silence of 10 ms stores one.
    assert_eq!(settings.charge(&mut state.clone(), now, 1), Ok(next));
    assert_eq!([0, 1_000, 1_500, 2_000, 9_000].map(after), [10_000, 10_000, 19_900, 29_900, 29_900]);
    assert_eq!(settings.fresh_at(&state), next + 2_000_000_000);
}

#[test]
fn half_its_rate_keeps_it_warm_and_a_third_does_not() {
    let settings = warm_up(Rate::per_second(100), Duration::from_secs(2), 3);
    let steady = |every: u64| {
        let (mut state, mut now) = (settings.fresh(0), 0);
        for _ in 0..5000 {
            now = settings.charge(&mut state, now + every * 1_000_000, 1).unwrap();
        }
        (settings.interval(&state, now).as_micros() + 500) / 1000
    };
    assert_eq!([0, 20, 30].map(steady), [10, 10, 20]);
}

#[test]
fn bad_settings_are_refused_by_name() {
    let hundred = WarmUp::new(Rate::per_second(100), Duration::from_secs(1)).unwrap();
    let fine = Rate::per(u64::MAX, ns(1)).unwrap();
    let cases = [
        (WarmUp::new(Rate::ZERO, Duration::ZERO), "warm-up limiter: warm-up = 0ns: must be longer than zero"),
        (
            WarmUp::new(Rate::ZERO, Duration::MAX),
            "warm-up limiter: warm-up = 18446744073709551615.999999999s: must be under 584 years",
        ),
        (
            WarmUp::new(fine, Duration::from_secs(5_000_000_000)),
            "warm-up limiter: warm-up = 5000000000s: must be shorter at such a rate",
        ),
        (hundred.cold(1), "warm-up limiter: cold factor = 1: must be at least 2"),
        (
            WarmUp::new(fine, Duration::from_secs(100)).unwrap().cold(u32::MAX),
            "warm-up limiter: cold factor = 4294967295: must be smaller for so long a warm-up",
        ),
    ];
    for (result, text) in cases {
        assert_eq!(result.unwrap_err().to_string(), text);
    }
    assert_eq!(format!("{:?}", hundred.largest(7)), "WarmUp(100/s after 1s from 1/3 largest 7)");
}

#[test]
fn what_is_taken_and_given_back_warms_nothing() {
    let settings = warm_up(Rate::per_second(100), Duration::from_secs(2), 3);
    let (mut state, mut now) = (settings.fresh(0), 0);
    for _ in 0..200 {
        now = settings.charge(&mut state, now, 1).unwrap();
        settings.refund(&mut state, now, 1);
    }
    assert_eq!(settings.interval(&state, now), settings.interval(&settings.fresh(now), now));
}

// S40
#[test]
fn it_stays_as_cold_as_it_was_under_another_rate() {
    let settings = warm_up(Rate::per_second(100), Duration::from_secs(2), 3);
    let faster = warm_up(Rate::per_second(1000), Duration::from_secs(4), 3);
    let mut state = settings.fresh(0);
    for _ in 0..50 {
        settings.charge(&mut state, 0, 1).unwrap();
    }
    let now = settings.charge(&mut state.clone(), 0, 1).unwrap();
    // Half the way to the threshold: twice the stable interval.
    assert_eq!(settings.interval(&state, now).as_micros(), 19_900);
    let carried = settings.carry(&faster, &state, now);
    assert_eq!(faster.interval(&carried, now).as_nanos(), 1_999_500);
    // And without limit it was as cold as can be.
    let endless = warm_up(Rate::UNLIMITED, Duration::from_secs(1), 3);
    let carried = endless.carry(&settings, &endless.fresh(0), 5);
    assert_eq!(settings.interval(&carried, 5).as_micros(), 29_900);
}
