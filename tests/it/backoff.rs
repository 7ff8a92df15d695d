//! Backoff and jitter.

use cofferdam::time::{Backoff, Jitter, Rng};
use proptest::prelude::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn first(backoff: Backoff, n: usize) -> Vec<Duration> {
    backoff.into_iter().take(n).collect()
}

fn seeded(backoff: Backoff, seed: u64, n: usize) -> Vec<Duration> {
    backoff.delays_with(Rng::with_seed(seed)).take(n).collect()
}

#[test]
fn each_shape_grows_by_its_formula() {
    let base = ms(10);
    let shape = |backoff: Backoff| first(backoff, 6).iter().map(|d| d.as_millis() / 10).collect::<Vec<_>>();
    assert_eq!(shape(Backoff::fixed(base)), [1, 1, 1, 1, 1, 1]);
    assert_eq!(shape(Backoff::linear(base)), [1, 2, 3, 4, 5, 6]);
    assert_eq!(shape(Backoff::quadratic(base)), [1, 4, 9, 16, 25, 36]);
    assert_eq!(shape(Backoff::exponential(base)), [1, 2, 4, 8, 16, 32]);
    assert_eq!(shape(Backoff::fibonacci(base)), [1, 1, 2, 3, 5, 8]);
    assert_eq!(shape(Backoff::exponential(base).factor(3.0).unwrap()), [1, 3, 9, 27, 81, 243]);
    assert_eq!(first(Backoff::ZERO, 2), [Duration::ZERO; 2]);
}

#[test]
fn the_default_starts_at_100_ms_and_stays_under_30_s() {
    let backoff = Backoff::default();
    assert_eq!(backoff.delay(0), ms(100));
    assert_eq!(backoff.delay(8), ms(25_600));
    assert_eq!(backoff.delay(9), ms(30_000));
    assert!(backoff.jitter(Jitter::None) != backoff, "the default has jitter");
}

// S49
#[test]
fn the_maths_saturates_for_any_index_and_base() {
    let shapes = [Backoff::linear, Backoff::quadratic, Backoff::exponential, Backoff::fibonacci];
    for shape in shapes {
        for index in [10_000, u32::MAX - 1, u32::MAX] {
            assert_eq!(shape(DAY).cap(ms(1)).delay(index), ms(1));
            assert_eq!(shape(Duration::ZERO).delay(index), Duration::ZERO);
            assert_eq!(shape(Duration::MAX).delay(index), Duration::MAX);
        }
    }
    assert_eq!(Backoff::exponential(DAY).delay(10_000), Duration::MAX);
    assert_eq!(Backoff::fibonacci(DAY).delay(10_000), Duration::MAX);
    assert_eq!(Backoff::exponential(DAY).factor(1.0).unwrap().delay(u32::MAX), DAY);
    let delays = Backoff::exponential(Duration::MAX).jitter(Jitter::Decorrelated);
    assert_eq!(first(delays, 3), [Duration::MAX; 3]);
}

// S49
#[test]
fn a_factor_that_is_no_growth_is_refused() {
    for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 0.99] {
        let error = Backoff::exponential(ms(1)).factor(factor).unwrap_err();
        assert_eq!((error.component(), error.knob()), ("backoff", "factor"));
    }
    let error = Backoff::exponential(ms(1)).factor(f64::NAN).unwrap_err();
    assert_eq!(error.to_string(), "backoff: factor = NaN: must be a finite number of at least 1");
    for share in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        assert_eq!(Jitter::proportional(share).unwrap_err().knob(), "share");
    }
}

// S50
#[test]
fn a_seed_gives_the_documented_sequence() {
    // One 64-bit number per draw, scaled to the span by the high half of a product.
    let backoff = Backoff::exponential(ms(100)).cap(ms(300));
    let capped = [ms(100), ms(200), ms(300), ms(300)];
    let draw = |index: usize, span: Duration| {
        let mut rng = fastrand::Rng::with_seed(42);
        let number = (0..=index).map(|_| rng.u64(..)).last().unwrap();
        Duration::from_nanos(((u128::from(number) * (span.as_nanos() + 1)) >> 64) as u64)
    };
    let full: Vec<_> = (0..4).map(|i| draw(i, capped[i])).collect();
    assert_eq!(seeded(backoff.jitter(Jitter::Full), 42, 4), full);
    let equal: Vec<_> = (0..4).map(|i| capped[i] / 2 + draw(i, capped[i] / 2)).collect();
    assert_eq!(seeded(backoff.jitter(Jitter::Equal), 42, 4), equal);
    let mut previous = ms(100);
    let decorrelated: Vec<_> = (0..4)
        .map(|i| {
            previous = (ms(100) + draw(i, previous * 3 - ms(100))).min(ms(300));
            previous
        })
        .collect();
    assert_eq!(seeded(backoff.jitter(Jitter::Decorrelated), 42, 4), decorrelated);
    assert_ne!(seeded(backoff.jitter(Jitter::Full), 43, 4), full);
}

#[test]
fn a_reset_starts_over() {
    let mut delays = Backoff::exponential(ms(1)).jitter(Jitter::None).delays();
    assert_eq!((delays.next_delay(), delays.next_delay()), (ms(1), ms(2)));
    delays.reset();
    assert_eq!(delays.next_delay(), ms(1));
}

#[test]
fn jitter_uses_the_whole_span() {
    for (jitter, low, high) in
        [(Jitter::Full, 0, 100), (Jitter::Equal, 50, 100), (Jitter::proportional(0.5).unwrap(), 50, 150)]
    {
        let draws = seeded(Backoff::fixed(ms(100)).jitter(jitter), 7, 2_000);
        let millis: Vec<_> = draws.iter().map(|d| d.as_secs_f64() * 1e3).collect();
        let (least, most) =
            (millis.iter().copied().fold(f64::MAX, f64::min), millis.iter().copied().fold(0.0, f64::max));
        let mean = millis.iter().sum::<f64>() / 2_000.0;
        let (low, high) = (f64::from(low), f64::from(high));
        let span = high - low;
        assert!(least >= low && least < low + span * 0.01, "{jitter:?}: least {least}");
        assert!(most <= high && most > high - span * 0.01, "{jitter:?}: most {most}");
        assert!((mean - (low + high) / 2.0).abs() < span * 0.03, "{jitter:?}: mean {mean}");
    }
}

proptest! {
    // S49, S50
    #[test]
    fn every_delay_is_inside_its_bounds(
        base in any::<u64>().prop_map(Duration::from_nanos),
        scale in 1u32..=u32::MAX,
        cap in any::<u64>().prop_map(Duration::from_nanos),
        factor in 1.0f64..1e6,
        share in 0.0f64..=1.0,
        seed in any::<u64>(),
        shape in 0usize..5,
    ) {
        let base = base.saturating_mul(scale);
        let backoff = match shape {
            0 => Backoff::fixed(base),
            1 => Backoff::linear(base),
            2 => Backoff::quadratic(base),
            3 => Backoff::exponential(base).factor(factor).unwrap(),
            _ => Backoff::fibonacci(base),
        }.cap(cap);
        for index in 0..60 {
            prop_assert!(backoff.delay(index) <= backoff.delay(index + 1), "grows");
        }
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::proportional(share).unwrap()] {
            for (index, delay) in seeded(backoff.jitter(jitter), seed, 60).into_iter().enumerate() {
                let plain = backoff.delay(index as u32);
                prop_assert!(delay <= cap);
                match jitter {
                    Jitter::Full => prop_assert!(delay <= plain),
                    Jitter::Equal => prop_assert!(delay >= plain / 2 && delay <= plain),
                    Jitter::Decorrelated => prop_assert!(delay >= base.min(cap)),
                    _ => prop_assert!(delay.as_secs_f64() <= plain.as_secs_f64() * (1.0 + share) * 1.000_001 + 1e-9),
                }
            }
        }
    }
}

#[test]
fn no_cap_prints_as_none() {
    let text = |backoff: Backoff| format!("{backoff:?}");
    assert!(text(Backoff::fixed(ms(1))).contains("cap: None"));
    assert!(text(Backoff::fixed(ms(1)).cap(ms(2))).contains("cap: Some(2ms)"));
}

// In backon 1.6 jitter is added above `max_delay`: of 1600 delays, 1200 were longer
#[test]
fn a_cap_is_a_cap_with_any_jitter() {
    let cap = ms(4_000);
    let jitters =
        [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::proportional(0.5).unwrap()];
    for jitter in jitters {
        let backoff = Backoff::exponential(ms(1_000)).cap(cap).jitter(jitter);
        for seed in 0..200 {
            assert!(seeded(backoff, seed, 8).iter().all(|delay| *delay <= cap), "{jitter:?}");
        }
    }
}
