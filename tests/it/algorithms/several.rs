//! Several quotas at once, against each of them alone.

use super::{Log, cases, interval, quotas, rate, steps, walk};
use cofferdam::limit::{Algorithm, Gcra, Quota, Rate, Several};
use proptest::prelude::*;
use std::time::Duration;

/// From when on `n` more keep every stretch of time, of each quota, below its burst and its rate. Every token takes a whole
/// number of nanoseconds.
fn first_that_fits(quotas: &[Quota], log: &Log, now: u64, n: u64) -> u64 {
    let mut due = now.max(log.last().map_or(0, |(at, _)| *at));
    for quota in quotas {
        let token = quota.rate().period().as_nanos() as u64;
        let mut since = n;
        for (at, n) in log.iter().rev() {
            since += n;
            due = due.max((at + since * token).saturating_sub(quota.burst_size() * token));
        }
    }
    due
}

proptest! {
    #![proptest_config(cases())]

    // RL20
    #[test]
    fn every_quota_is_kept_over_every_stretch_and_nobody_is_refused_in_vain(
        quotas in prop::collection::vec((1..50u64, 6..20u64), 1..7),
        steps in steps(),
    ) {
        let quotas: Vec<_> = quotas.into_iter().map(|(each, burst)| Quota::new(rate(1, each), burst)).collect();
        let several = Several::new(quotas.clone()).unwrap();
        walk(&several, 40, &steps, |log, now, n| first_that_fits(&quotas, log, now, n));
    }

    // The instants are those of the quotas alone, and the binding one has the last.
    #[test]
    fn all_admit_or_nobody_is_charged(quotas in prop::collection::vec(quotas(), 1..7), steps in steps()) {
        let several = Several::new(quotas.clone()).unwrap();
        let unit = quotas.iter().map(|quota| interval(quota.rate())).max().unwrap();
        let mut alone: Vec<_> = quotas.iter().map(|quota| (Gcra::new(*quota), 0u128)).collect();
        let (mut state, mut now) = (several.fresh(0), 0u64);
        for step in steps {
            now += step.later * unit / 4;
            let n = step.n;
            let wait = |(gcra, tat): &(Gcra, u128)| {
                let denied = gcra.take(&mut tat.clone(), now, n).err()?;
                Some(denied.retry_after().unwrap_or(Duration::MAX))
            };
            let longest = alone.iter().filter_map(wait).max();
            let there = alone.iter().map(|(gcra, tat)| gcra.available(tat, now)).min().unwrap();
            prop_assert_eq!(several.available(&state, now), there);
            prop_assert_eq!(several.binding(&state, now, n).and_then(|index| wait(&alone[index])), longest);
            match several.take(&mut state, now, n) {
                Ok(()) => {
                    prop_assert_eq!(longest, None);
                    for (gcra, tat) in &mut alone {
                        gcra.take(tat, now, n).unwrap();
                    }
                }
                Err(denied) => {
                    prop_assert_eq!(denied.retry_after(), longest.filter(|wait| *wait != Duration::MAX));
                }
            }
        }
    }

    // One quota alone is the token bucket, to the part of a nanosecond.
    #[test]
    fn one_alone_is_the_token_bucket(quota in quotas(), steps in steps()) {
        let (one, gcra) = (Several::new([quota]).unwrap(), Gcra::new(quota));
        let twice = Several::new([quota, quota]).unwrap();
        let (mut state, mut both, mut tat, mut now) = (one.fresh(0), twice.fresh(0), gcra.fresh(0), 0);
        for step in steps {
            now += step.later * interval(quota.rate()) / 4;
            let expected = if step.waits {
                gcra.charge(&mut tat, now, step.n)
            } else {
                gcra.take(&mut tat, now, step.n).map(|()| now)
            };
            for (several, state) in [(&one, &mut state), (&twice, &mut both)] {
                let found = if step.waits {
                    several.charge(state, now, step.n)
                } else {
                    several.take(state, now, step.n).map(|()| now)
                };
                prop_assert_eq!(
                    found.map_err(|denied| denied.retry_after()),
                    expected.map_err(|denied| denied.retry_after())
                );
            }
        }
    }
}

// S43, of quotas instead of tiers
#[test]
fn a_refusal_charges_no_quota_and_names_the_one_with_the_longest_wait() {
    let both = Several::builder()
        .named("burst", Quota::per_second(3))
        .named("minute", Quota::per_minute(4))
        .quota(Quota::zero(6))
        .build()
        .unwrap();
    let mut state = both.fresh(0);
    both.take(&mut state, 0, 2).unwrap();
    let named = |state: &_, now, n| both.binding(state, now, n).map(|index| both.name(index).unwrap_or("-"));
    assert_eq!(named(&state, 0, 1), None);
    assert_eq!(named(&state, 0, 2), Some("burst"));
    assert_eq!(named(&state, 0, 3), Some("minute"));
    // Above a burst there is no wait that helps, the first such quota is named.
    assert_eq!(named(&state, 0, 4), Some("burst"));
    assert!(both.take(&mut state, 0, 2).is_err());
    assert_eq!(both.available(&state, 0), 1);
    assert_eq!(both.charge(&mut state, 0, 2), Ok(333_333_334));
    // Of the six two are left, and they are the last.
    both.take(&mut state, 60_000_000_000, 2).unwrap();
    assert_eq!(named(&state, 900_000_000_000, 1), Some("-"));
    assert!(both.take(&mut state, 900_000_000_000, 1).unwrap_err().is_never());
}

#[test]
fn states_of_more_than_four_are_boxed_and_decide_alike() {
    let quotas = |count: u64| Several::new((0..count).map(|i| Quota::per_second(10 + i))).unwrap();
    for count in 1..9 {
        let several = quotas(count);
        let mut state = several.fresh(0);
        assert_eq!(several.quotas().len() as u64, count);
        several.take(&mut state, 0, 10).unwrap();
        assert_eq!(
            several.take(&mut state, 0, 1).unwrap_err().retry_after(),
            Some(Duration::from_millis(100))
        );
    }
    assert_eq!(size_of::<<Several as Algorithm>::State>(), 80);
}

#[test]
fn quotas_go_on_by_name_and_by_place() {
    let build = |quotas: &[(&str, u64)]| {
        let builder = quotas.iter().fold(Several::builder(), |builder, (name, count)| match *name {
            "" => builder.quota(Quota::per_second(*count)),
            name => builder.named(name, Quota::per_second(*count)),
        });
        builder.build().unwrap()
    };
    let old = build(&[("a", 10), ("b", 20), ("", 30)]);
    let mut state = old.fresh(0);
    old.take(&mut state, 0, 8).unwrap();
    let carried = |quotas: &[(&str, u64)]| {
        let next = build(quotas);
        next.available(&old.carry(&next, &state, 0), 0)
    };
    assert_eq!(carried(&[("b", 20), ("x", 100), ("", 90)]), 12);
    assert_eq!(carried(&[("a", 5)]), 2);
    assert_eq!(carried(&[("x", 100), ("y", 50)]), 50);
    assert_eq!(carried(&[("x", 100), ("y", 50), ("", 30)]), 22);
    // In another place one without a name is another.
    assert_eq!(carried(&[("", 30)]), 30);
}

#[test]
fn who_waits_is_charged_everywhere_as_of_the_instant_at_which_he_is_admitted() {
    let (fast, slow) = (Quota::new(rate(1, 10), 5), Quota::new(rate(1, 1000), 6));
    let one = Several::builder().named("fast", fast).build().unwrap();
    let mut state = one.fresh(0);
    one.take(&mut state, 0, 5).unwrap();
    // The new one is full, and stays so while the old one keeps him waiting.
    let both = Several::builder().named("fast", fast).named("slow", slow).build().unwrap();
    let mut state = one.carry(&both, &state, 0);
    assert_eq!(both.charge(&mut state, 0, 5), Ok(50));
    assert_eq!(both.charge(&mut state, 0, 2), Ok(50 + 1000));
}

#[test]
fn bad_settings_are_refused_by_name() {
    let none = Several::new([]).unwrap_err();
    assert_eq!(none.to_string(), "several quotas: quotas = 0: must be at least 1");
    let ten = Quota::per_second(10);
    let twice = Several::builder().named("day", ten).quota(ten).named("day", ten).build().unwrap_err();
    assert_eq!(twice.to_string(), "several quotas: name = day: must not be given twice");
    let two = Several::builder().quota(ten).named("day", Quota::new(Rate::per_hour(1), 3)).build().unwrap();
    assert_eq!(format!("{two:?}"), "Several[10/s, day: 1/h burst 3]");
}
