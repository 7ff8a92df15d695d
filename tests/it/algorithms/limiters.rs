//! Every algorithm as a limiter, in virtual time: decided by the word or the mutex as by the pure algorithm, and waited for in
//! line.

use super::{cases, interval, ns, quotas, rate, rates, windows};
use cofferdam::limit::{
    Acquire, Algorithm, Fixed, FixedWindow, Leaky, LeakyBucket, Limiter, MultiQuota, Quota, Rate, Several,
    Shaper, SlidingCounter, SlidingLog, SlidingWindow, SlidingWindowLog, Spacing, WarmUp, WarmUpLimiter,
};
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn limiter<A: Algorithm>(algorithm: &A) -> (ManualClock, Limiter<A>) {
    let time = ManualClock::new();
    let limiter = Limiter::builder(algorithm.clone()).clock(time.clock()).build().unwrap();
    (time, limiter)
}

fn waiting<A: Algorithm>(acquire: Acquire<'_, A>) -> Polled<Acquire<'_, A>> {
    let mut polled = Polled::new(acquire);
    assert!(polled.poll().is_none());
    polled
}

#[derive(Clone, Debug)]
enum Op {
    /// In sixteenths of the unit.
    Advance(u64),
    /// For so many windows and more.
    Leap(u64),
    Take(u64),
    /// At a time that was read earlier.
    TakeBefore(u64, u64),
    Refund(u64),
    DrainTo(u64),
    /// To the other settings, or back.
    Set,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..20u64).prop_map(Op::Advance),
        1 => (0..40u32).prop_map(|bits| Op::Leap(1 << bits)),
        8 => prop_oneof![9 => 0..7u64, 1 => any::<u64>()].prop_map(Op::Take),
        1 => (0..20u64, 1..4u64).prop_map(|(back, n)| Op::TakeBefore(back, n)),
        1 => (0..5u64).prop_map(Op::Refund),
        1 => (0..5u64).prop_map(Op::DrainTo),
        1 => Just(Op::Set),
    ];
    prop::collection::vec(op, 1..70)
}

/// The limiter says what the algorithm says of a state that nobody packs.
fn decides_as_the_algorithm<A: Algorithm>(algorithm: &A, other: &A, unit: u64, ops: &[Op]) {
    let (time, limiter) = limiter(algorithm);
    let (start, mut now) = (time.clock().now(), 0u64);
    let (mut present, mut next) = (algorithm.clone(), other.clone());
    let mut state = algorithm.fresh(0);
    for op in ops {
        match *op {
            Op::Advance(later) => now += (later * unit).div_ceil(16),
            Op::Leap(windows) => {
                let later = now.saturating_add(windows.saturating_mul(unit));
                now = if later < 1 << 62 { later } else { now };
            }
            Op::Take(n) => {
                let expected = present.take(&mut state, now, n);
                assert_eq!(limiter.try_acquire_many(n), expected, "{n} at {now}: {state:?}");
            }
            Op::TakeBefore(back, n) => {
                let before = now.saturating_sub(back * unit / 16);
                // Before its word begins it may know less, which is never more.
                if limiter.try_acquire_at(n, start + ns(before)).is_ok() {
                    assert_eq!(present.take(&mut state, before, n), Ok(()), "{n} at {before}: {state:?}");
                }
            }
            Op::Refund(n) => {
                present.refund(&mut state, now, n);
                limiter.refund(n);
            }
            Op::DrainTo(n) => {
                present.drain_to(&mut state, now, n);
                limiter.drain_to(n);
            }
            Op::Set => {
                state = present.carry(&next, &state, now);
                std::mem::swap(&mut present, &mut next);
                limiter.set(present.clone());
            }
        }
        time.advance_to(start + ns(now));
        assert_eq!(limiter.available(), present.available(&state, now), "at {now}: {state:?}");
        for n in [1, 3] {
            assert_eq!(limiter.peek(n), present.take(&mut state.clone(), now, n), "{n} at {now}: {state:?}");
        }
    }
}

fn limits() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 1..9u64, 1 => 1..1_000_000u64, 1 => any::<u64>(), 1 => Just((1 << 26) - 1), 1 => Just(1 << 39)]
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn fixed_windows_decide_as_the_algorithm(
        (limit, window, offset) in (limits(), windows(), any::<u32>()),
        (other, longer) in (limits(), windows()),
        ops in ops(),
    ) {
        // Long enough for a word, for most.
        let fixed = Fixed::new(limit, ns(window * 1000)).unwrap().offset(ns(offset.into()));
        decides_as_the_algorithm(&fixed, &Fixed::new(other, ns(longer)).unwrap(), window * 1000, &ops);
    }

    #[test]
    fn sliding_windows_decide_as_the_algorithm(
        (limit, window) in (limits(), windows()),
        (other, longer) in (limits(), windows()),
        ops in ops(),
    ) {
        let counter = |limit, window| SlidingCounter::new(limit, ns(window)).unwrap();
        decides_as_the_algorithm(&counter(limit, window * 1000), &counter(other, longer), window * 1000, &ops);
        decides_as_the_algorithm(&counter(limit, window), &counter(other, window), window, &ops);
        let log = |limit, window| SlidingLog::new(limit, ns(window)).unwrap();
        decides_as_the_algorithm(&log(limit, window), &log(other, longer), window, &ops);
    }

    #[test]
    fn leaky_buckets_decide_as_the_algorithm(
        (quota, other) in (quotas(), quotas()),
        (rate, faster, slack, largest) in (rates(), rates(), 0..4u64, prop_oneof![Just(u64::MAX), 1..9u64]),
        ops in ops(),
    ) {
        decides_as_the_algorithm(&Leaky::from(quota), &Leaky::from(other), 4 * interval(quota.rate()), &ops);
        let spacing = Spacing::new(rate).slack(slack).largest(largest);
        decides_as_the_algorithm(&spacing, &Spacing::new(faster), 4 * interval(rate), &ops);
        let several = Several::new([quota, other]).unwrap();
        decides_as_the_algorithm(&several, &Several::new([other]).unwrap(), 4 * interval(quota.rate()), &ops);
    }
}

/// What every limiter does for those who wait, by what the algorithm says of each in turn. `step` is a while, and the limiter is
/// empty after taking all.
fn serves_a_line<A: Algorithm>(algorithm: &A, all: u64, amounts: &[u64]) {
    let empty = || {
        let (time, limiter) = limiter(algorithm);
        let mut state = algorithm.fresh(0);
        assert!(limiter.try_acquire_many(all).is_ok());
        algorithm.take(&mut state, 0, all).unwrap();
        (time, limiter, state)
    };
    let advance_to = |time: &ManualClock, nanos: u64| time.advance(ns(nanos) - time.elapsed());

    // First come, first served, each at its instant, with one wake and one timer; nobody barges in.
    let (time, line, mut state) = empty();
    let mut queue: Vec<_> = amounts.iter().map(|n| waiting(line.acquire_many(*n))).collect();
    let due: Vec<u64> = amounts.iter().map(|n| algorithm.charge(&mut state, 0, *n).unwrap()).collect();
    assert_eq!((time.armed(), line.stats().waiting), (1, amounts.len()));
    for served in 0..amounts.len() {
        if due[served] > time.elapsed().as_nanos() as u64 {
            advance_to(&time, due[served] - 1);
            assert_eq!(queue[served].wakes(), 0, "before {} of {due:?}: {algorithm:?}", due[served]);
            assert!(line.try_acquire().is_err(), "barged in at {}: {algorithm:?}", due[served] - 1);
        }
        advance_to(&time, due[served]);
        assert_eq!(queue[served].wakes(), 1, "at {} of {due:?}: {algorithm:?}", due[served]);
    }
    assert!(queue.iter_mut().all(|waiter| waiter.poll().unwrap().is_ok() && waiter.wakes() == 1));
    assert_eq!((time.armed(), line.stats().granted), (0, amounts.len() as u64));

    // Who gives up is as one who never came, and those behind move up.
    let (time, line, mut state) = empty();
    let mut queue: Vec<_> = amounts.iter().map(|n| waiting(line.acquire_many(*n))).collect();
    drop(queue.remove(0));
    let due: Vec<u64> = amounts[1..].iter().map(|n| algorithm.charge(&mut state, 0, *n).unwrap()).collect();
    for (waiter, due) in queue.iter_mut().zip(due) {
        if due > time.elapsed().as_nanos() as u64 {
            advance_to(&time, due - 1);
            assert!(waiter.poll().is_none(), "before {due} of {algorithm:?}");
        }
        advance_to(&time, due);
        assert!(waiter.poll().unwrap().is_ok(), "at {due} of {algorithm:?}");
    }

    // A limit on the wait is exact, also behind others.
    let (time, line, mut state) = empty();
    let first = algorithm.charge(&mut state, 0, amounts[0]).unwrap();
    let second = algorithm.charge(&mut state, 0, amounts[1]).unwrap();
    let late = |n, limit| Polled::new(line.acquire_many_timeout(n, ns(limit))).poll().unwrap().unwrap_err();
    assert_eq!(late(amounts[0], first - 1).retry_after(), Some(ns(first)));
    let mut just = waiting(line.acquire_many_timeout(amounts[0], ns(first)));
    assert_eq!(late(amounts[1], second - 1).retry_after(), Some(ns(second)));
    let mut in_time = waiting(line.acquire_many_timeout(amounts[1], ns(second)));
    advance_to(&time, second);
    assert!(just.poll().unwrap().is_ok() && in_time.poll().unwrap().is_ok());

    // More than can be had at once is known at once.
    if let Some(more) = algorithm.capacity().checked_add(1) {
        assert!(Polled::new(line.acquire_many(more)).poll().unwrap().unwrap_err().exceeds_burst());
    }
}

const WINDOW: Duration = Duration::from_millis(1000);

// S34 to S36, RL8
#[test]
fn every_limiter_serves_its_line() {
    let amounts = [1, 4, 1, 2, 3, 1, 1];
    serves_a_line(&Fixed::new(4, WINDOW).unwrap(), 4, &amounts);
    serves_a_line(&SlidingCounter::new(4, WINDOW).unwrap(), 4, &amounts);
    serves_a_line(&SlidingLog::new(4, WINDOW).unwrap(), 4, &amounts);
    serves_a_line(&Leaky::new(4, Rate::per_second(3)), 4, &amounts);
    serves_a_line(&Spacing::new(Rate::per_second(3)), 4, &amounts);
    serves_a_line(&WarmUp::new(Rate::per_second(3), WINDOW).unwrap(), 4, &amounts);
    serves_a_line(&Several::new([Quota::per_second(4), Quota::per_minute(20)]).unwrap(), 4, &amounts);
}

// S35
#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    fn waits<A: Algorithm>(algorithm: &A) {
        let (time, line) = limiter(algorithm);
        assert!(line.try_acquire_many(4).is_ok());
        let mut alone = algorithm.fresh(0);
        algorithm.take(&mut alone, 0, 4).unwrap();
        let due = algorithm.charge(&mut alone, 0, 4).unwrap();
        let mut large = waiting(line.acquire_many(4));
        let mut small = Vec::new();
        for part in 1..=20 {
            small.push(waiting(line.acquire()));
            assert!(line.try_acquire().is_err());
            time.advance(ns(due * part / 20) - time.elapsed());
            assert_eq!(large.wakes(), u64::from(part == 20), "{part} of 20, {algorithm:?}");
        }
        assert!(large.poll().unwrap().is_ok());
    }
    waits(&Fixed::new(4, WINDOW).unwrap());
    waits(&SlidingCounter::new(4, WINDOW).unwrap());
    waits(&SlidingLog::new(4, WINDOW).unwrap());
    waits(&Leaky::new(4, Rate::per_second(3)));
    waits(&Spacing::new(Rate::per_second(3)));
    waits(&WarmUp::new(Rate::per_second(3), WINDOW).unwrap());
    waits(&Several::new([Quota::per_second(4), Quota::per_minute(20)]).unwrap());
}

// S2, S36: dropped at every await, it leaves nobody asleep, and what was admitted is what the algorithm admits.
#[test]
fn a_wait_that_is_dropped_anywhere_leaves_no_trace() {
    fn leaves_no_trace<A: Algorithm, B: Algorithm>(algorithm: &A, bound: &B) {
        let points = drop_at_every_await_in_sim(0..60, |sim| {
            let line = Limiter::<A>::builder(algorithm.clone()).clock(sim.clock()).build().unwrap();
            let start = sim.clock().now();
            let log = Arc::new(Mutex::new(Vec::new()));
            let admitted = {
                let (log, clock) = (Arc::clone(&log), sim.clock());
                move |n| log.lock().unwrap().push(((clock.now() - start).as_nanos() as u64, n))
            };
            for id in 0..4u64 {
                let (line, clock, admitted) = (line.clone(), sim.clock(), admitted.clone());
                let (delay, n) = (sim.random_below(2000), 1 + sim.random_below(4));
                sim.spawn(format!("other {id}"), async move {
                    clock.sleep(Duration::from_millis(delay)).await;
                    line.acquire_many(n).await.unwrap();
                    admitted(n);
                });
            }
            let (mine, clock, n) = (line.clone(), sim.clock(), 1 + sim.random_below(4));
            let under_test = async move {
                clock.sleep(Duration::from_millis(100)).await;
                for _ in 0..3 {
                    mine.acquire_many(n).await.unwrap();
                    admitted(n);
                }
            };
            let bound = bound.clone();
            let check = move |sim: &Sim, _point: _| {
                sim.advance(Duration::from_secs(400) - (sim.clock().now() - start));
                assert_eq!((line.stats().waiting, sim.time().armed()), (0, 0));
                assert_eq!(line.available(), line.capacity());
                let mut state = bound.fresh(0);
                let log = log.lock().unwrap();
                assert!(log.len() >= 4, "the others were served: {log:?}");
                for (at, n) in log.iter() {
                    assert_eq!(bound.take(&mut state, *at, *n), Ok(()), "{bound:?}: {log:?}");
                }
            };
            (under_test, check)
        });
        assert!(points >= 60);
    }
    fn exactly<A: Algorithm>(algorithm: &A) {
        leaves_no_trace(algorithm, algorithm);
    }
    exactly(&Fixed::new(4, WINDOW).unwrap());
    exactly(&SlidingCounter::new(4, WINDOW).unwrap());
    exactly(&SlidingLog::new(4, WINDOW).unwrap());
    exactly(&Leaky::new(4, Rate::per_second(4)));
    exactly(&Several::new([Quota::per_second(4), Quota::per_minute(20)]).unwrap());
    let stable = Spacing::new(Rate::per_second(4));
    exactly(&stable);
    // How warm it is depends on who was there in between.
    leaves_no_trace(&WarmUp::new(Rate::per_second(4), WINDOW).unwrap(), &stable);
}

// S41: of the window before the one in which the word begins, the count still matters to times in that one.
#[test]
fn a_word_that_begins_later_forgets_nothing_that_counts() {
    // So many that only a few windows can be counted from a base.
    let limit = (1 << 26) - 1;
    let (time, window) = limiter(&SlidingCounter::new(limit, WINDOW).unwrap());
    let start = time.clock().now();
    time.advance(Duration::from_millis(8_900));
    assert!(window.try_acquire_many(limit).is_ok());
    time.advance(Duration::from_millis(2_100));
    // It drains nothing, and moves the base, to somewhat before now.
    window.drain_to(limit);
    let then = start + Duration::from_millis(9_300);
    assert!(window.try_acquire_at(limit * 3 / 10 + 1, then).is_err());
    assert!(window.try_acquire_at(limit * 3 / 10, then).is_ok());
}

#[test]
fn the_limiters_have_constructors_and_gauges() {
    let hour = Duration::from_secs(3600);
    assert!(FixedWindow::new(3, hour).unwrap().try_acquire_many(3).is_ok());
    assert!(SlidingWindow::new(3, hour).unwrap().try_acquire_many(4).unwrap_err().exceeds_burst());
    assert_eq!(SlidingWindowLog::new(3, hour).unwrap().available(), 3);
    let bucket = LeakyBucket::new(5, Rate::ZERO);
    bucket.try_acquire_many(3).unwrap();
    assert_eq!((bucket.level(), bucket.leak()), (3, Rate::ZERO));
    assert_eq!(Shaper::new(rate(3, 7)).rate(), rate(3, 7));
    let cold = WarmUpLimiter::new(Rate::per_hour(1), hour).unwrap();
    assert!(cold.interval() > hour);
    let several = MultiQuota::new([Quota::zero(5), Quota::zero(3)]).unwrap();
    assert_eq!((several.binding(3), several.binding(4), several.available()), (None, Some(1), 3));
    assert!(FixedWindow::new(1, Duration::ZERO).is_err() && MultiQuota::new([]).is_err());
}

#[test]
fn a_refusal_of_many_windows_ahead_says_so() {
    // Of 18 years each, so that the numbers of nanoseconds end before those of windows.
    let window = ns(1 << 59);
    fn ahead<A: Algorithm>(algorithm: &A) {
        let (_time, limiter) = limiter(algorithm);
        for _ in 0..40 {
            if let Ok(reservation) = limiter.reserve(1) {
                reservation.commit();
            }
        }
        let denied = limiter.try_acquire().unwrap_err();
        assert!(denied.retry_after() > Some(ns(1 << 63)), "{denied}");
    }
    ahead(&Fixed::new(1, window).unwrap());
    ahead(&SlidingCounter::new(1, window).unwrap());
}

#[test]
fn settings_that_differ_only_beyond_the_word_are_told_apart() {
    let (_time, limiter) = limiter(&Spacing::new(Rate::per_second(1)).slack(1));
    limiter.set(Spacing::new(Rate::per_second(1)).slack(1 + (1 << 55)));
    limiter.refund(u64::MAX);
    for n in 0..20 {
        assert!(limiter.try_acquire().is_ok(), "{n}");
    }
}
