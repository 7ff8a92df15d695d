//! The rules of the specification that hold for every algorithm, each by its number.

use super::{ns, rate};
use cofferdam::limit::{
    Algorithm, Fixed, Gcra, Leaky, Quota, Rate, Several, SlidingCounter, SlidingLog, Spacing, WarmUp,
};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const MS: u64 = 1_000_000;

/// How many single tokens a poller gets, who asks every so many nanoseconds until `end`, as often as he gets one.
fn polled<A: Algorithm>(algorithm: &A, every: u64, end: u64) -> u64 {
    let (mut state, mut admitted) = (algorithm.fresh(0), 0);
    for now in (0..=end).step_by(every as usize) {
        while algorithm.take(&mut state, now, 1).is_ok() {
            admitted += 1;
        }
    }
    admitted
}

// S31
#[test]
fn eleven_in_seven_milliseconds_are_exactly_that() {
    let quota = Quota::new(rate(11, 7 * MS), 5);
    let rated = 11 * 300 / 7;
    let (every, end) = (500, 300 * MS);
    assert_eq!(polled(&Gcra::new(quota), every, end), 5 + rated);
    assert_eq!(polled(&Leaky::from(quota), every, end), 5 + rated);
    assert_eq!(polled(&Several::new([quota, Quota::per_second(100_000)]).unwrap(), every, end), 5 + rated);
    assert_eq!(polled(&Spacing::new(quota.rate()).slack(4), every, end), 5 + rated);
    // Windows begin at 0 and at every seventh millisecond.
    assert_eq!(polled(&Fixed::new(11, ms(7)).unwrap(), every, end), 11 * (300 / 7 + 1));
    assert_eq!(polled(&SlidingLog::new(11, ms(7)).unwrap(), every, end), 11 * (300 / 7 + 1));
}

// S32
#[test]
fn a_rate_of_zero_gives_its_burst_and_never_another() {
    fn once<A: Algorithm>(algorithm: &A, burst: u64) {
        let mut state = algorithm.fresh(7);
        for _ in 0..burst {
            algorithm.take(&mut state, 7, 1).unwrap();
        }
        for now in [7, 1_000_000_000, u64::MAX] {
            let denied = algorithm.take(&mut state, now, 1).unwrap_err();
            assert!(denied.is_never() && !denied.exceeds_burst() && denied.retry_after().is_none());
            assert_eq!(algorithm.charge(&mut state, now, 1), Err(denied));
            assert_eq!(algorithm.available(&state, now), 0);
        }
        assert_eq!(algorithm.fresh_at(&state), u64::MAX);
    }
    once(&Gcra::new(Quota::zero(3)), 3);
    once(&Leaky::new(3, Rate::ZERO), 3);
    once(&Several::new([Quota::zero(3), Quota::per_second(9)]).unwrap(), 3);
    once(&Spacing::new(Rate::ZERO), 1);
    once(&Spacing::new(Rate::ZERO).slack(2), 3);
    once(&WarmUp::new(Rate::ZERO, ms(9)).unwrap(), 1);
}

// S32
#[test]
fn a_limit_of_zero_admits_nothing() {
    fn nothing<A: Algorithm>(algorithm: &A) {
        let mut state = algorithm.fresh(0);
        assert!(algorithm.take(&mut state, 0, 1).unwrap_err().is_never());
        assert!(algorithm.charge(&mut state, 0, 1).unwrap_err().is_never());
        assert_eq!((algorithm.take(&mut state, 0, 0), algorithm.capacity()), (Ok(()), 0));
    }
    nothing(&Fixed::new(0, ms(9)).unwrap());
    nothing(&SlidingCounter::new(0, ms(9)).unwrap());
    nothing(&SlidingLog::new(0, ms(9)).unwrap());
    nothing(&Leaky::new(0, Rate::per_second(1)));
    nothing(&Spacing::new(Rate::per_second(1)).largest(0));
}

// S32
#[test]
fn without_limit_everything_is_admitted() {
    fn all<A: Algorithm>(algorithm: &A) {
        let mut state = algorithm.fresh(3);
        for n in [1, u64::MAX, u64::MAX] {
            assert_eq!(algorithm.take(&mut state, 3, n), Ok(()));
            assert_eq!(algorithm.charge(&mut state, 0, n), Ok(0));
        }
        assert_eq!(algorithm.available(&state, 0), u64::MAX);
        assert_eq!(algorithm.fresh_at(&state), 0);
    }
    all(&Gcra::new(Quota::unlimited()));
    all(&Leaky::from(Quota::unlimited()));
    all(&Several::new([Quota::unlimited(), Quota::unlimited()]).unwrap());
    all(&Spacing::new(Rate::UNLIMITED).slack(4));
    all(&WarmUp::new(Rate::UNLIMITED, ms(9)).unwrap());
}

// S33
#[test]
fn none_is_always_there_and_too_many_never_are() {
    fn both<A: Algorithm>(algorithm: &A) {
        let mut state = algorithm.fresh(0);
        assert!(algorithm.take(&mut state, 0, 4).unwrap_err().exceeds_burst());
        assert!(algorithm.charge(&mut state, 0, 4).unwrap_err().exceeds_burst());
        assert_eq!(algorithm.take(&mut state, 0, 0), Ok(()));
        assert_eq!(algorithm.take(&mut state, 0, 3), Ok(()));
        assert_eq!(algorithm.take(&mut state, 0, 0), Ok(()));
        assert_eq!(algorithm.charge(&mut state, 0, 0), Ok(0));
        assert!(!algorithm.take(&mut state, 0, 3).unwrap_err().is_never());
    }
    let second = Duration::from_secs(1);
    both(&Gcra::new(Quota::per_second(3)));
    both(&Leaky::new(3, Rate::per_second(3)));
    both(&Several::new([Quota::per_second(3), Quota::per_minute(9)]).unwrap());
    both(&Fixed::new(3, second).unwrap());
    both(&SlidingCounter::new(3, second).unwrap());
    both(&SlidingLog::new(3, second).unwrap());
    both(&Spacing::new(Rate::per_second(3)).largest(3));
    both(&WarmUp::new(Rate::per_second(3), second).unwrap().largest(3));
}

// S39
#[test]
fn an_hour_of_idling_after_a_debt_is_no_credit() {
    const HOUR: u64 = 3_600_000 * MS;
    fn after_a_debt<A: Algorithm>(algorithm: &A) -> u64 {
        let mut state = algorithm.fresh(0);
        for _ in 0..3 {
            algorithm.charge(&mut state, 0, 5).unwrap();
        }
        (0..100).filter(|_| algorithm.take(&mut state, HOUR, 1).is_ok()).count() as u64
    }
    let second = Duration::from_secs(1);
    assert_eq!(after_a_debt(&Gcra::new(Quota::per_second(5))), 5);
    assert_eq!(after_a_debt(&Leaky::new(5, Rate::per_second(5))), 5);
    assert_eq!(after_a_debt(&Several::new([Quota::per_second(5), Quota::per_minute(9)]).unwrap()), 5);
    assert_eq!(after_a_debt(&Fixed::new(5, second).unwrap()), 5);
    assert_eq!(after_a_debt(&SlidingCounter::new(5, second).unwrap()), 5);
    assert_eq!(after_a_debt(&SlidingLog::new(5, second).unwrap()), 5);
    assert_eq!(after_a_debt(&Spacing::new(Rate::per_second(5))), 1);
    assert_eq!(after_a_debt(&Spacing::new(Rate::per_second(5)).slack(2)), 3);
    assert_eq!(after_a_debt(&WarmUp::new(Rate::per_second(5), second).unwrap()), 1);
}

// S40
#[test]
fn what_has_come_in_by_the_old_rate_is_kept() {
    let (slow, fast) = (Rate::per_second(20), Rate::per_second(40));
    let empty = |rate| Several::new([Quota::new(rate, 1), Quota::per_second(1000)]).unwrap();
    let mut state = empty(slow).fresh(0);
    empty(slow).take(&mut state, 0, 1).unwrap();
    let mut state = empty(slow).carry(&empty(fast), &state, 25 * MS);
    assert_eq!(empty(fast).charge(&mut state, 25 * MS, 1), Ok(37 * MS + MS / 2));
    let bucket = |rate| Leaky::new(1, rate);
    let mut state = bucket(slow).at_level(0, 1);
    state = bucket(slow).carry(&bucket(fast), &state, 25 * MS);
    assert_eq!(bucket(fast).charge(&mut state, 25 * MS, 1), Ok(37 * MS + MS / 2));
}

// S41
#[test]
fn a_clock_that_steps_back_mints_nothing() {
    fn emptied<A: Algorithm>(algorithm: &A) {
        const SECOND: u64 = 1_000 * MS;
        let mut state = algorithm.fresh(0);
        while algorithm.take(&mut state, SECOND, 1).is_ok() {}
        for now in [0, SECOND - 1, SECOND / 2, 1, SECOND] {
            assert!(algorithm.take(&mut state, now, 1).is_err(), "{algorithm:?} at {now}");
            assert_eq!(algorithm.available(&state, now), 0);
        }
    }
    let second = Duration::from_secs(1);
    emptied(&Gcra::new(Quota::per_second(5)));
    emptied(&Leaky::new(5, Rate::per_second(5)));
    emptied(&Several::new([Quota::per_second(5), Quota::per_minute(9)]).unwrap());
    emptied(&Fixed::new(5, second).unwrap());
    emptied(&SlidingCounter::new(5, second).unwrap());
    emptied(&SlidingLog::new(5, second).unwrap());
    emptied(&Spacing::new(Rate::per_second(5)));
    emptied(&WarmUp::new(Rate::per_second(5), second).unwrap());
}

// S42
#[test]
fn around_an_edge_the_fixed_window_gives_twice_and_the_others_do_not() {
    fn second_four<A: Algorithm>(algorithm: &A) -> usize {
        let mut state = algorithm.fresh(0);
        for _ in 0..4 {
            algorithm.take(&mut state, 499 * MS, 1).unwrap();
        }
        (0..4).filter(|_| algorithm.take(&mut state, 500 * MS, 1).is_ok()).count()
    }
    assert_eq!(second_four(&Fixed::new(4, ms(500)).unwrap()), 4);
    assert_eq!(second_four(&SlidingCounter::new(4, ms(500)).unwrap()), 0);
    assert_eq!(second_four(&SlidingLog::new(4, ms(500)).unwrap()), 0);
}

#[test]
fn windows_without_a_length_are_refused_by_name() {
    let texts = |window: Duration| {
        [
            Fixed::new(1, window).unwrap_err().to_string(),
            SlidingCounter::new(1, window).unwrap_err().to_string(),
            SlidingLog::new(1, window).unwrap_err().to_string(),
        ]
    };
    for (name, text) in
        ["fixed window", "sliding window counter", "sliding window log"].iter().zip(texts(ns(0)))
    {
        assert_eq!(text, format!("{name}: window = 0ns: must be longer than zero"));
    }
    for text in texts(Duration::MAX) {
        assert!(text.ends_with("must be under 584 years"), "{text}");
    }
}
