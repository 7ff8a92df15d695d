//! The leaky bucket in both its forms: evenly spaced, and as a meter.

use super::{Log, cases, interval, ns, quotas, rate, rates, steps, walk};
use cofferdam::limit::{Algorithm, Gcra, Leaky, Quota, Rate, Spacing};
use proptest::prelude::*;

/// Units in a nanosecond and in a token.
fn units(rate: Rate) -> (u128, u128) {
    (rate.count().into(), rate.period().as_nanos())
}

proptest! {
    #![proptest_config(cases())]

    // RL4: over any stretch all but the last come to the rate and the slack at most, and nobody waits for longer than that.
    #[test]
    fn everyone_keeps_the_intervals_of_those_before(rate in rates(), slack in 0..4u64, steps in steps()) {
        let (nanosecond, token) = units(rate);
        let saved = u128::from(slack) * token;
        // The exact instants at which they left, and of the one who is asked for.
        let (mut left, mut asked) = (Vec::<u128>::new(), 0);
        walk(&Spacing::new(rate).slack(slack), 4 * interval(rate), &steps, |log: &Log, now, _| {
            if log.len() > left.len() {
                left.push(asked);
            }
            asked = u128::from(now) * nanosecond;
            let mut since = 0;
            for (instant, (_, n)) in left.iter().zip(log).rev() {
                since += u128::from(*n) * token;
                asked = asked.max((instant + since).saturating_sub(saved));
            }
            asked.div_ceil(nanosecond) as u64
        });
    }

    // RL3
    #[test]
    fn the_meter_decides_as_the_token_bucket_does(quota in quotas(), steps in steps()) {
        let (leaky, gcra) = (Leaky::from(quota), Gcra::new(quota));
        let (mut level, mut tokens, mut now) = (leaky.fresh(0), gcra.fresh(0), 0);
        for step in steps {
            now += step.later * interval(quota.rate()) / 4;
            if step.waits {
                let (a, b) = (leaky.charge(&mut level, now, step.n), gcra.charge(&mut tokens, now, step.n));
                prop_assert_eq!(a.map_err(|denied| denied.retry_after()), b.map_err(|denied| denied.retry_after()));
            } else {
                let (a, b) = (leaky.take(&mut level, now, step.n), gcra.take(&mut tokens, now, step.n));
                prop_assert_eq!(a.map_err(|denied| denied.retry_after()), b.map_err(|denied| denied.retry_after()));
            }
            prop_assert_eq!(leaky.level(&level, now), leaky.capacity() - gcra.available(&tokens, now));
        }
    }
}

// RL4
#[test]
fn what_waits_leaves_evenly_spaced() {
    let shaper = Spacing::new(rate(3, 10));
    let mut state = shaper.fresh(0);
    let due: Vec<u64> = (0..7).map(|_| shaper.charge(&mut state, 0, 1).unwrap()).collect();
    // Exact, and rounded up only when they are told: no drift.
    assert_eq!(due, [0, 4, 7, 10, 14, 17, 20]);
}

#[test]
fn a_silence_saves_up_nothing_beyond_the_slack() {
    let at_once = |slack| {
        let shaper = Spacing::new(rate(1, 10)).slack(slack);
        let mut state = shaper.fresh(0);
        (0..20).filter(|_| shaper.take(&mut state, 1_000_000, 1).is_ok()).count()
    };
    assert_eq!([at_once(0), at_once(1), at_once(5)], [1, 2, 6]);
}

#[test]
fn with_a_slack_a_poller_gets_the_whole_rate() {
    let polled = |slack| {
        let shaper = Spacing::new(rate(3, 10)).slack(slack);
        let mut state = shaper.fresh(0);
        (0..1000).filter(|now| shaper.take(&mut state, *now, 1).is_ok()).count()
    };
    // 3.33 nanoseconds each, polled by the nanosecond.
    assert_eq!([polled(0), polled(1)], [250, 1 + 300]);
}

#[test]
fn a_large_one_leaves_at_once_and_keeps_its_intervals() {
    let shaper = Spacing::new(rate(1, 10)).largest(50);
    let mut state = shaper.fresh(0);
    assert!(shaper.take(&mut state, 5, 51).unwrap_err().exceeds_burst());
    shaper.take(&mut state, 5, 50).unwrap();
    assert_eq!(shaper.take(&mut state, 5, 1).unwrap_err().retry_after(), Some(ns(500)));
    // Half of it was not used.
    shaper.refund(&mut state, 5, 25);
    assert_eq!(shaper.charge(&mut state, 5, 1), Ok(255));
}

// S40
#[test]
fn what_is_owed_comes_at_the_new_rate() {
    let (slow, fast) = (Spacing::new(Rate::per_second(20)), Spacing::new(Rate::per_second(40)));
    let mut state = slow.fresh(0);
    slow.take(&mut state, 0, 1).unwrap();
    let mut state = slow.carry(&fast, &state, 25_000_000);
    assert_eq!(fast.charge(&mut state, 25_000_000, 1), Ok(37_500_000));
}

#[test]
fn a_level_is_clamped_to_the_brim() {
    let bucket = Leaky::new(5, Rate::per_second(1));
    for (level, found) in [(0, 0), (3, 3), (5, 5), (900, 5)] {
        let state = bucket.at_level(7, level);
        assert_eq!((bucket.level(&state, 7), bucket.available(&state, 7)), (found, 5 - found));
    }
    // Rounded up while a part of a token has leaked.
    let state = bucket.at_level(0, 3);
    assert_eq!((bucket.level(&state, 1), bucket.available(&state, 1)), (3, 2));
    assert_eq!(bucket.level(&state, 1_000_000_000), 2);
    assert_eq!(Leaky::from(Quota::unlimited()).level(&0, 9), 0);
}

#[test]
fn it_is_fresh_when_the_slack_is_back() {
    let shaper = Spacing::new(rate(1, 10)).slack(3);
    let mut state = shaper.fresh(7);
    for _ in 0..3 {
        shaper.take(&mut state, 7, 1).unwrap();
    }
    assert_eq!(shaper.fresh_at(&state), 37);
}

#[test]
fn a_refusal_speaks_of_no_burst_where_there_is_none() {
    let refused = |rate, largest| {
        let shaper = Spacing::new(rate).largest(largest);
        let mut state = shaper.fresh(0);
        shaper.take(&mut state, 0, 2).unwrap();
        shaper.take(&mut state, 0, 1).unwrap_err().to_string()
    };
    let slow = Rate::per_second(1);
    assert_eq!(refused(slow, u64::MAX), "shaper: 1 wanted: to be had in 2s");
    assert_eq!(refused(slow, 9), "shaper: 1 wanted of a burst of 9: to be had in 2s");
    assert_eq!(refused(Rate::ZERO, u64::MAX), "shaper: 1 wanted, and the rate is zero");
}
