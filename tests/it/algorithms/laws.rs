//! The laws that `Algorithm` states, for every algorithm, over random settings, times, amounts and refunds.

use super::{cases, interval, limits, ns, quotas, rate, rates, windows};
use cofferdam::limit::{
    Algorithm, Fixed, Gcra, Leaky, Quota, Rate, Several, SlidingCounter, SlidingLog, Spacing, WarmUp,
};
use proptest::prelude::*;
use std::time::Duration;

struct Case<A> {
    algorithm: A,
    other: A,
    /// A sixteenth of the time in which something happens.
    unit: u64,
    /// So many nanoseconds before it is fresh, a state can be told from a fresh one, by taking `probe` tokens.
    resolution: Option<u64>,
    probe: u64,
    /// What is taken and refunded is as if it had not been.
    refunds_all: bool,
    /// What is drained to is what is left.
    drains_to_any: bool,
}

impl<A: Algorithm> Case<A> {
    fn new(algorithm: A, other: A, length: u64) -> Self {
        let probe = algorithm.capacity();
        let unit = (length / 16).max(1);
        Self { algorithm, other, unit, resolution: Some(1), probe, refunds_all: true, drains_to_any: true }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    Take(Amount),
    /// At a time before the last one.
    TakeBack(u64, Amount),
    Charge(Amount),
    Refund(Amount),
    DrainTo(Amount),
    /// To the other settings and back.
    Carry,
}

#[derive(Clone, Copy, Debug)]
enum Amount {
    Of(u64),
    All,
    Half,
    TooMany,
}

impl Amount {
    fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Of(n) => n,
            Self::All => capacity,
            Self::Half => capacity / 2 + 1,
            Self::TooMany => capacity.saturating_add(1),
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let amount = || {
        prop_oneof![
            8 => (0..8u64).prop_map(Amount::Of),
            1 => any::<u64>().prop_map(Amount::Of),
            1 => Just(Amount::All),
            1 => Just(Amount::Half),
            1 => Just(Amount::TooMany),
        ]
    };
    let op = prop_oneof![
        6 => prop_oneof![4 => 0..12u64, 2 => 0..50u64, 1 => 0..400u64].prop_map(Op::Advance),
        6 => amount().prop_map(Op::Take),
        1 => (0..40u64, amount()).prop_map(|(back, n)| Op::TakeBack(back, n)),
        3 => amount().prop_map(Op::Charge),
        2 => amount().prop_map(Op::Refund),
        1 => amount().prop_map(Op::DrainTo),
        1 => Just(Op::Carry),
    ];
    prop::collection::vec(op, 1..60)
}

fn text(state: &impl std::fmt::Debug) -> String {
    format!("{state:?}")
}

fn obeys<A: Algorithm>(case: &Case<A>, ops: &[Op]) {
    let (algorithm, capacity) = (&case.algorithm, case.algorithm.capacity());
    // Well after the epoch, so that times before it exist.
    let mut now = case.unit.saturating_mul(64);
    let mut state = algorithm.fresh(now);
    let mut latest = 0;
    assert!(algorithm.fresh_at(&state) <= now, "a fresh state is fresh");
    assert_eq!(algorithm.available(&state, now), capacity);
    for op in ops {
        match *op {
            Op::Advance(quarters) => now += case.unit.saturating_mul(quarters),
            Op::Take(n) => {
                let n = n.of(capacity);
                decides(case, &state, now, n);
                if algorithm.take(&mut state, now, n).is_ok() && n > 0 {
                    assert!(now >= latest, "{n} at {now} overtook what is due at {latest}");
                    latest = now;
                }
            }
            Op::TakeBack(back, n) => {
                let before = now.saturating_sub(back.saturating_mul(case.unit));
                decides(case, &state, before, n.of(capacity));
                let _ = algorithm.take(&mut state, before, n.of(capacity));
            }
            Op::Charge(n) => {
                let n = n.of(capacity);
                decides(case, &state, now, n);
                if let Ok(due) = algorithm.charge(&mut state, now, n) {
                    if n > 0 {
                        assert!(due >= latest.max(now), "{n} at {now} due at {due}, before {latest}");
                        latest = due;
                    }
                    newcomers_stand_behind(algorithm, &state, now, due);
                }
            }
            Op::Refund(n) => {
                algorithm.refund(&mut state, now, n.of(capacity));
                assert!(algorithm.available(&state, now) <= capacity);
                latest = 0;
            }
            Op::DrainTo(n) => {
                drains(case, &mut state, now, n.of(capacity));
                latest = 0;
            }
            Op::Carry => {
                let kept = algorithm.carry(algorithm, &state, now);
                assert_eq!(
                    decisions(case, &kept, now),
                    decisions(case, &state, now),
                    "the same settings change nothing: {state:?} became {kept:?}"
                );
                let there = algorithm.carry(&case.other, &state, now);
                assert!(case.other.available(&there, now) <= case.other.capacity());
                state = case.other.carry(algorithm, &there, now);
                latest = 0;
            }
        }
        looks_true(case, &state, now);
        becomes_fresh(case, &state, now);
    }
}

/// What is decided in a row from `now` on.
fn decisions<A: Algorithm>(case: &Case<A>, state: &A::State, now: u64) -> Vec<Result<u64, Option<Duration>>> {
    let (algorithm, capacity) = (&case.algorithm, case.algorithm.capacity());
    let mut state = state.clone();
    let amounts = [case.probe, 1, 2, capacity / 2 + 1, 1, case.probe, 1];
    let mut made = vec![Ok(algorithm.available(&state, now))];
    for (later, n) in amounts.into_iter().enumerate() {
        let now = now.saturating_add(case.unit * later as u64);
        made.push(algorithm.charge(&mut state, now, n).map_err(|denied| denied.retry_after()));
    }
    made
}

/// The laws of one decision, on copies.
fn decides<A: Algorithm>(case: &Case<A>, state: &A::State, now: u64, n: u64) {
    let (algorithm, capacity) = (&case.algorithm, case.algorithm.capacity());
    let (mut taken, mut charged) = (state.clone(), state.clone());
    let (take, charge) = (algorithm.take(&mut taken, now, n), algorithm.charge(&mut charged, now, n));
    if n == 0 {
        assert_eq!((take, charge), (Ok(()), Ok(now)));
        assert_eq!((text(&taken), text(&charged)), (text(state), text(state)));
        return;
    }
    if n > capacity {
        let (take, charge) = (take.unwrap_err(), charge.unwrap_err());
        assert!(take.is_never() && take.exceeds_burst() && charge == take);
        assert_eq!(take.limiter(), A::NAME);
    }
    match take {
        Ok(()) => {
            assert_eq!(charge, Ok(now), "{n} at {now}: taken");
            assert_eq!(text(&taken), text(&charged));
            if case.refunds_all {
                algorithm.refund(&mut taken, now, n);
                assert_eq!(
                    decisions(case, &taken, now),
                    decisions(case, state, now),
                    "{n} taken and given back at {now}: {state:?} became {taken:?}"
                );
            }
        }
        Err(denied) => {
            assert_eq!(text(&taken), text(state), "a refusal leaves the state as it was");
            assert_eq!((denied.limiter(), denied.wanted(), denied.burst()), (A::NAME, n, capacity));
            match denied.retry_after().map(|after| after.as_nanos() as u64) {
                None => assert_eq!(charge, Err(denied)),
                Some(after) => {
                    let due = now.saturating_add(after);
                    assert!(after > 0);
                    assert_eq!(charge.unwrap_or(u64::MAX), due, "{n} at {now}: {denied:?}");
                    if due < u64::MAX {
                        let at = |now| algorithm.take(&mut state.clone(), now, n);
                        assert_eq!(at(due), Ok(()), "{n} at {now}, told to come at {due}: {state:?}");
                        let early = at(due - 1).expect_err("too early");
                        assert_eq!(early.retry_after(), Some(ns(1)));
                    }
                }
            }
            if charge.is_err() {
                assert_eq!(text(&charged), text(state));
            }
        }
    }
}

fn newcomers_stand_behind<A: Algorithm>(algorithm: &A, state: &A::State, now: u64, due: u64) {
    for at in [now, now + (due - now) / 2, due.saturating_sub(1)] {
        if (now..due).contains(&at) {
            assert!(algorithm.take(&mut state.clone(), at, 1).is_err(), "at {at}, before {due}: {state:?}");
            assert_eq!(algorithm.available(state, at), 0);
        }
    }
}

fn drains<A: Algorithm>(case: &Case<A>, state: &mut A::State, now: u64, n: u64) {
    let algorithm = &case.algorithm;
    let (before, was) = (algorithm.available(state, now), text(state));
    algorithm.drain_to(state, now, n);
    let after = algorithm.available(state, now);
    if algorithm.fresh_at(state) == 0 {
        // Without limit there is nothing to drain.
        return;
    }
    if n >= before {
        assert_eq!(decisions(case, state, now)[0], Ok(before), "{was} became {state:?}");
    } else if case.drains_to_any {
        assert_eq!(after, n);
    } else {
        assert_eq!(after, 0);
    }
}

/// What is said to be there is there and no more; at earlier times no more is.
fn looks_true<A: Algorithm>(case: &Case<A>, state: &A::State, now: u64) {
    let (algorithm, capacity) = (&case.algorithm, case.algorithm.capacity());
    let there = algorithm.available(state, now);
    assert!(there <= capacity);
    assert_eq!(algorithm.take(&mut state.clone(), now, there), Ok(()));
    if there < u64::MAX {
        assert!(algorithm.take(&mut state.clone(), now, there + 1).is_err());
    }
    for back in [1, case.unit, case.unit * 5, case.unit * 20] {
        assert!(algorithm.available(state, now.saturating_sub(back)) <= there, "{back} before {now}");
    }
}

fn becomes_fresh<A: Algorithm>(case: &Case<A>, state: &A::State, now: u64) {
    let algorithm = &case.algorithm;
    let fresh_at = algorithm.fresh_at(state);
    // Where sums of times would run into the end of time.
    if fresh_at > u64::MAX / 4 || algorithm.capacity() == 0 {
        return;
    }
    for at in [fresh_at, fresh_at + 1, fresh_at + case.unit * 3] {
        if at >= now {
            assert_eq!(
                decisions(case, state, at),
                decisions(case, &algorithm.fresh(at), at),
                "fresh from {fresh_at} on: {state:?}"
            );
        }
    }
    let Some(resolution) = case.resolution else { return };
    let before = fresh_at.saturating_sub(resolution);
    if before >= now {
        assert_ne!(
            decisions(case, state, before),
            decisions(case, &algorithm.fresh(before), before),
            "not fresh before {fresh_at}: {state:?}"
        );
    }
}

fn several() -> impl Strategy<Value = (Several, u64)> {
    prop::collection::vec(quotas(), 1..7).prop_map(|quotas| {
        let unit = quotas.iter().map(|quota| interval(quota.rate())).max().unwrap_or(1);
        (Several::new(quotas).unwrap(), unit)
    })
}

fn warm_ups() -> impl Strategy<Value = (WarmUp, u64, u64)> {
    let rates = prop_oneof![1..2000u64, Just(1_000_000_007)]
        .prop_flat_map(|count| (Just(count), 1..2_000_000u64))
        .prop_map(|(count, period)| rate(count, period));
    (rates, 1..40u64, 2..9u32, 0..30u64).prop_map(|(rate, tokens, factor, part)| {
        let length = interval(rate) * tokens + part;
        let warm_up = WarmUp::new(rate, ns(length)).unwrap().cold(factor).unwrap();
        // As many as are stored at most.
        let probe = (length as f64 * rate.as_per_second_f64() / 1e9 * 2.0) as u64 + 2;
        (warm_up, length, probe)
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn of_the_token_bucket(quota in quotas(), other in quotas(), ops in ops()) {
        obeys(&Case::new(Gcra::new(quota), Gcra::new(other), 16 * interval(quota.rate()) / 4), &ops);
    }

    #[test]
    fn of_the_leaky_bucket(quota in quotas(), other in quotas(), ops in ops()) {
        obeys(&Case::new(Leaky::from(quota), Leaky::from(other), 16 * interval(quota.rate()) / 4), &ops);
    }

    #[test]
    fn of_the_fixed_window(
        (limit, window, offset) in (limits(), windows(), any::<u32>()),
        (other, longer) in (limits(), windows()),
        ops in ops(),
    ) {
        let fixed = Fixed::new(limit, ns(window)).unwrap().offset(ns(u64::from(offset)));
        obeys(&Case::new(fixed, Fixed::new(other, ns(longer)).unwrap(), window), &ops);
    }

    #[test]
    fn of_the_counter((limit, window) in (limits(), windows()), (other, longer) in (limits(), windows()), ops in ops()) {
        let counter = |limit, window| SlidingCounter::new(limit, ns(window)).unwrap();
        obeys(&Case::new(counter(limit, window), counter(other, longer), window), &ops);
    }

    #[test]
    fn of_the_log((limit, window) in (limits(), windows()), (other, longer) in (limits(), windows()), ops in ops()) {
        let log = |limit, window| SlidingLog::new(limit, ns(window)).unwrap();
        obeys(&Case::new(log(limit, window), log(other, longer), window), &ops);
    }

    #[test]
    fn of_the_shaper(
        rate in prop_oneof![9 => rates(), 1 => Just(Rate::ZERO), 1 => Just(Rate::UNLIMITED)],
        (slack, largest) in (0..4u64, prop_oneof![Just(u64::MAX), limits()]),
        other in rates(),
        ops in ops(),
    ) {
        let shaper = Spacing::new(rate).slack(slack).largest(largest);
        let mut case = Case::new(shaper, Spacing::new(other), 4 * interval(rate));
        case.drains_to_any = false;
        case.probe = largest.min(slack + 50);
        // What is missing of the slack shows only in many that come at once.
        case.resolution = (slack == 0).then_some(1);
        obeys(&case, &ops);
    }

    #[test]
    fn of_the_warm_up((warm_up, length, probe) in warm_ups(), (other, ..) in warm_ups(), ops in ops()) {
        let mut case = Case::new(warm_up, other, length);
        case.drains_to_any = false;
        case.refunds_all = false;
        case.probe = probe;
        case.resolution = Some(4);
        obeys(&case, &ops);
    }

    #[test]
    fn of_several_quotas((quotas, unit) in several(), (other, _) in several(), ops in ops()) {
        let mut case = Case::new(quotas, other, 4 * unit);
        // One that is not full shows only when the others are no longer in its way.
        case.resolution = None;
        obeys(&case, &ops);
    }
}

#[test]
fn of_rates_of_zero_and_without_limit() {
    let ops = [Op::Take(Amount::Of(1)), Op::Advance(3), Op::Charge(Amount::Of(2)), Op::Take(Amount::Of(1))];
    for rate in [Rate::ZERO, Rate::UNLIMITED] {
        let warm_up = WarmUp::new(rate, ns(50)).unwrap();
        let other = WarmUp::new(Rate::per_second(10), ns(50)).unwrap();
        let mut case = Case::new(warm_up, other, 50);
        (case.drains_to_any, case.refunds_all) = (false, false);
        obeys(&case, &ops);
        obeys(&Case::new(Gcra::new(Quota::new(rate, 3)), Gcra::new(Quota::per_second(3)), 50), &ops);
    }
}
