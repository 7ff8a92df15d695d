//! The algorithms as formulas: one step at a time.

use super::ms;
use cofferdam::limit::concurrency::adaptive::{AimdBuilder, Gradient2Builder, VegasBuilder};
use cofferdam::limit::concurrency::{Aimd, Algorithm, Fixed, Gradient2, Sample, Vegas};
use proptest::prelude::*;
use std::time::Duration;

/// A window that was full, of calls that took so long.
fn full(in_flight: u32, millis: u64) -> Sample {
    Sample::new(100, in_flight).rtt(ms(millis))
}

fn aimd() -> AimdBuilder {
    Aimd::builder().initial(20).slow_start(false)
}

fn vegas() -> VegasBuilder {
    Vegas::builder().initial(20).slow_start(false).probe_every(0)
}

fn gradient2() -> Gradient2Builder {
    Gradient2::builder().initial(20).slow_start(false).probe_every(0)
}

#[test]
fn aimd_adds_one_and_takes_a_tenth() {
    let mut limit = aimd().max(22).min(18).timeout(ms(100)).build().unwrap();
    assert_eq!(
        limit.update(&full(10, 100)),
        21,
        "half of the limit in flight, and not later than the timeout"
    );
    assert_eq!(limit.update(&full(10, 100)), 21, "less than half");
    assert_eq!(limit.update(&full(21, 1)), 22);
    assert_eq!(limit.update(&full(21, 1)), 22, "never above the most");
    assert_eq!(limit.update(&full(21, 101)), 19, "19.8, rounded down");
    assert_eq!(limit.update(&full(21, 1).drops(20)), 18, "17.1, and never below the least");
    let mut harder = aimd().backoff(0.5).step(3).build().unwrap();
    assert_eq!(harder.update(&full(20, 1)), 23);
    assert_eq!(harder.update(&Sample::new(0, 20).drops(9)), 11, "nothing but drops");
}

#[test]
fn a_tolerated_share_of_drops_is_no_sign() {
    let mut limit = aimd().tolerated_drops(0.1).build().unwrap();
    assert_eq!(limit.update(&Sample::new(90, 20).drops(10)), 21);
    assert_eq!(limit.update(&Sample::new(89, 20).drops(11)), 18);
    let mut strict = vegas().tolerated_drops(0.0).build().unwrap();
    assert!(strict.update(&full(20, 1).drops(1)) < 20);
}

#[test]
fn vegas_goes_by_the_length_of_the_queue() {
    // log 20 = 1.301; alpha is 3.9, beta 7.8.
    let known = |second: u64, drops: u32| {
        let mut limit = vegas().build().unwrap();
        assert_eq!(limit.update(&full(5, 100)), 20, "less than half: it only learns the time");
        limit.update(&full(20, second).drops(drops))
    };
    assert_eq!(known(100, 0), 27, "no queue: + beta");
    assert_eq!(known(105, 0), 27, "0.95 rounded up is 1, not above log");
    assert_eq!(known(110, 0), 21, "2, below alpha: + log");
    assert_eq!(known(125, 0), 20, "4: between alpha and beta");
    assert_eq!(known(160, 0), 18, "7.5, so 8 is above beta: - log, 18.7");
}

#[test]
fn vegas_shrinks_by_a_logarithm_for_a_long_queue_and_for_drops() {
    let mut limit = vegas().build().unwrap();
    limit.update(&full(5, 100));
    assert_eq!(limit.update(&full(20, 200)), 18, "10 in the queue: 18.7");
    assert_eq!(limit.update(&full(20, 100).drops(50)), 17, "17.4");
    assert_eq!(limit.update(&full(1, 300)), 16, "also with few in flight");
}

#[test]
fn gradient2_goes_by_how_much_slower_calls_are() {
    let mut limit = gradient2().build().unwrap();
    assert_eq!(limit.update(&full(20, 100)), 20, "20 + 0.2 * 4 = 20.8");
    assert_eq!(limit.update(&full(20, 100)), 21, "21.6");
    assert_eq!(limit.update(&full(9, 100)), 21, "less than half in flight");
    // long is (100 + 100 + 100 + 400) / 4 = 175, g = 262.5 / 400 = 0.656: 0.8 * 21.6 + 0.2 * 0.656 * 21.6 = 20.1
    assert_eq!(limit.update(&full(21, 400)), 20, "nothing for the queue");
    assert_eq!(limit.update(&full(20, 400).drops(50)), 18, "a tenth for drops");
}

/// CL#134: near 1, but not at it, what is added for the queue would keep the limit rising.
#[test]
fn gradient2_adds_nothing_for_the_queue_below_a_gradient_of_one() {
    let mut limit = gradient2().tolerance(1.0).initial(100).build().unwrap();
    limit.update(&full(10, 100));
    let before = limit.limit();
    // long is about 100, g about 0.97: 100 * 0.97 + 4 would be more than 100.
    for _ in 0..3 {
        assert!(limit.update(&full(100, 104)) <= before);
    }
}

#[test]
fn gradient2_forgets_an_overload_that_is_over() {
    let mut limit = gradient2().initial(100).build().unwrap();
    for _ in 0..10 {
        limit.update(&full(10, 1000));
    }
    // The long run is far above: it comes down by a twentieth a window, until calls twice as slow are noticed again.
    for _ in 0..60 {
        limit.update(&full(10, 100));
    }
    let before = limit.limit();
    assert!(limit.update(&full(100, 500)) < before);
}

/// S76: what is in flight when it is measured.
#[test]
fn a_probe_measures_at_a_few_calls_and_gives_the_limit_back() {
    let seeded = || cofferdam::time::Rng::with_seed(1);
    let vegas = Vegas::builder().slow_start(false).probe_every(12).rng(seeded()).build().unwrap();
    let gradient = Gradient2::builder().slow_start(false).probe_every(12).rng(seeded()).build().unwrap();
    let algorithms: [Box<dyn Algorithm>; 2] = [Box::new(vegas), Box::new(gradient)];
    for mut limit in algorithms {
        let windows = (0..9).find(|_| {
            limit.update(&full(limit.limit(), 100));
            limit.is_probing()
        });
        assert!(windows.is_some(), "the first comes after a sixth");
        assert_eq!(limit.limit(), 3);
        for _ in 0..50 {
            assert_eq!(limit.update(&full(20, 100)), 3, "calls from before are not counted, however many");
        }
        assert_eq!(limit.update(&Sample::new(49, 3).rtt(ms(50))), 3, "one is missing");
        assert!(limit.update(&Sample::new(1, 3).rtt(ms(50))) >= 20);
        assert!(!limit.is_probing());
    }
}

#[test]
fn a_probe_in_which_nothing_comes_back_is_given_up() {
    let mut limit = Vegas::builder().probe_every(1).build().unwrap();
    limit.update(&full(20, 100));
    assert!(limit.is_probing());
    let windows = (0..100).find(|_| limit.update(&Sample::new(0, 0)) > 3).unwrap();
    assert_eq!(windows, 19);
}

/// S76: "when the limit sits at minimum for k windows force a probe".
#[test]
fn a_limit_stuck_at_its_minimum_forces_a_probe() {
    let mut limit = Vegas::builder().initial(10).min(10).probe_every(1_000_000).build().unwrap();
    limit.update(&full(1, 10));
    let windows = (1..).find(|_| {
        assert_eq!(limit.update(&full(11, 100)), 10);
        limit.is_probing()
    });
    assert_eq!(windows, Some(5));
    // The ten of the minimum are as few as there may be.
    assert_eq!(limit.update(&full(10, 100)), 10);
    assert!(!limit.is_probing());
    assert!(limit.update(&full(11, 100)) > 10, "what was taken for a queue is how long calls take");
}

#[test]
fn a_window_with_hardly_anything_in_flight_is_a_probe_for_nothing() {
    let mut limit = vegas().probe_every(60).build().unwrap();
    limit.update(&full(20, 50));
    for _ in 0..10 {
        limit.update(&full(3, 100));
    }
    assert!(!limit.is_probing());
    let before = limit.limit();
    assert!(limit.update(&full(20, 101)) > before, "100 is the baseline now, not 50");
}

// CL#35
#[test]
fn slow_start_grows_by_half_until_the_first_sign() {
    let mut limit = Aimd::builder().initial(20).build().unwrap();
    assert_eq!([0; 3].map(|_| limit.update(&full(100, 10))), [30, 45, 67]);
    assert_eq!(limit.update(&full(100, 10).drops(50)), 60);
    assert_eq!(limit.update(&full(100, 10)), 61, "and never again");
    let mut limit = Gradient2::builder().initial(20).probe_every(0).build().unwrap();
    assert_eq!([0; 2].map(|_| limit.update(&full(100, 10))), [30, 45]);
    assert_eq!(limit.update(&full(100, 20)), 45, "a sign: 13.3 in the long run; 0.8 for the queue");
    let mut limit = Vegas::builder().initial(20).probe_every(0).build().unwrap();
    assert_eq!([0; 2].map(|_| limit.update(&full(100, 10))), [30, 45]);
    assert_eq!(limit.update(&full(100, 20)), 43);
}

#[test]
fn a_fixed_limit_is_one() {
    let mut limit = Fixed(7);
    assert_eq!((limit.update(&full(100, 1).drops(1000)), limit.limit(), limit.is_probing()), (7, 7, false));
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let knob = |error: cofferdam::ConfigError| (error.component(), error.knob());
    for (builder, expected) in [
        (aimd().min(0), "min"),
        (aimd().min(30).max(29).initial(30), "max"),
        (aimd().min(21), "initial"),
        (aimd().max(19), "initial"),
        (aimd().tolerated_drops(1.0), "tolerated_drops"),
        (aimd().tolerated_drops(f64::NAN), "tolerated_drops"),
        (aimd().backoff(0.0), "backoff"),
        (aimd().backoff(1.0), "backoff"),
        (aimd().step(0), "step"),
    ] {
        assert_eq!(knob(builder.build().unwrap_err()), ("aimd", expected));
    }
    for (builder, expected) in
        [(vegas().min(0), "min"), (vegas().alpha(0), "alpha"), (vegas().beta(3), "beta")]
    {
        assert_eq!(knob(builder.build().unwrap_err()), ("vegas", expected));
    }
    for (builder, expected) in [
        (gradient2().max(0), "max"),
        (gradient2().tolerance(0.9), "tolerance"),
        (gradient2().drift(f64::NAN), "drift"),
        (gradient2().smoothing(0.0), "smoothing"),
        (gradient2().smoothing(1.1), "smoothing"),
        (gradient2().queue(0), "queue"),
        (gradient2().long_windows(0), "long_windows"),
    ] {
        assert_eq!(knob(builder.build().unwrap_err()), ("gradient2", expected));
    }
    assert!(gradient2().tolerance(1.0).smoothing(1.0).drift(1.0).tolerated_drops(0.0).build().is_ok());
}

fn sample() -> impl Strategy<Value = Sample> {
    let nanos = prop_oneof![Just(0u64), 1u64..10, 1u64..10_000_000_000, Just(u64::MAX)];
    let counts = (0u32..2000, prop_oneof![Just(0u32), 0u32..2000, Just(u32::MAX)], 0u32..3000);
    (counts, prop::option::of(nanos)).prop_map(|((successes, drops, in_flight), nanos)| {
        let sample = Sample::new(successes, in_flight).drops(drops);
        nanos.map_or(sample, |nanos| sample.rtt(Duration::from_nanos(nanos)))
    })
}

proptest! {
    // S77
    #[test]
    fn whatever_comes_the_limit_is_within_its_bounds(
        min in 1u32..50, more in 0u32..100, samples in prop::collection::vec(sample(), 1..200), slow in any::<bool>(),
    ) {
        let max = min + more;
        let algorithms: [Box<dyn Algorithm>; 3] = [
            Box::new(Aimd::builder().min(min).max(max).initial(max).timeout(ms(100)).slow_start(slow).build().unwrap()),
            Box::new(Vegas::builder().min(min).max(max).initial(min).probe_every(7).slow_start(slow).build().unwrap()),
            Box::new(Gradient2::builder().min(min).max(max).initial(max).probe_every(7).slow_start(slow).build().unwrap()),
        ];
        for mut algorithm in algorithms {
            for sample in &samples {
                let limit = algorithm.update(sample);
                prop_assert!((min..=max).contains(&limit), "{limit} after {sample:?}");
                prop_assert_eq!(limit, algorithm.limit());
            }
        }
    }
}
