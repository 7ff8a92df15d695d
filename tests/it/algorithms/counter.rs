//! The sliding window counter against a recount of the two windows.

use super::{Log, Step, cases, limits, most_in, ns, steps, walk, windows};
use cofferdam::limit::{Algorithm, SlidingCounter};
use proptest::prelude::*;

fn counter(limit: u64, window: u64) -> SlidingCounter {
    SlidingCounter::new(limit, ns(window)).unwrap()
}

/// Tokens in a window.
fn used(log: &Log, window: u64, number: u64) -> u128 {
    log.iter().filter(|(at, _)| at / window == number).map(|(_, n)| u128::from(*n)).sum()
}

fn fits(limit: u64, window: u64, log: &Log, at: u64, n: u64) -> bool {
    let (number, into) = (at / window, at % window);
    let last = number.checked_sub(1).map_or(0, |number| used(log, window, number));
    let present = used(log, window, number) + u128::from(n);
    last * u128::from(window - into) + present * u128::from(window) <= u128::from(limit) * u128::from(window)
}

/// The first instant, from now and the last admission on, at which it fits: by trying all of them, or by halving where it can
/// only become true as time goes on, within a window.
fn first_that_fits(limit: u64, window: u64, log: &Log, now: u64, n: u64) -> u64 {
    let begin = now.max(log.last().map_or(0, |(at, _)| *at));
    for number in 0..4 {
        let from = begin.max((begin / window + number) * window);
        let until = (begin / window + number + 1) * window;
        let fits = |at| fits(limit, window, log, at, n);
        if window <= 100 {
            if let Some(first) = (from..until).find(|at| fits(*at)) {
                return first;
            }
        } else if fits(until - 1) {
            let (mut low, mut high) = (from, until - 1);
            while low < high {
                let middle = low + (high - low) / 2;
                if fits(middle) { high = middle } else { low = middle + 1 }
            }
            return low;
        }
    }
    panic!("{n} of {limit} per {window} fit nowhere: {log:?}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_decision_is_that_of_the_formula((limit, window) in (limits(), windows()), steps in steps()) {
        let log = walk(&counter(limit, window), window, &steps, |log, now, n| {
            first_that_fits(limit, window, log, now, n)
        });
        for (index, (at, _)) in log.iter().enumerate() {
            let so_far = log[..=index].to_vec();
            prop_assert!(used(&so_far, window, at / window) <= u128::from(limit));
            // The stated error: a part of the last window.
            let number = (at / window).checked_sub(1);
            let last = number.map_or(0, |number| used(&so_far, window, number));
            let error = last * u128::from(at % window) / u128::from(window);
            let real: u64 = so_far.iter().filter(|(then, _)| at - then < window).map(|(_, n)| n).sum();
            prop_assert!(u128::from(real) <= u128::from(limit) + error);
        }
        prop_assert!(most_in(&log, window) < 2 * limit.max(1));
    }
}

#[test]
fn whoever_asks_often_enough_gets_what_the_formula_gives() {
    let often = vec![Step { later: 1, n: 1, waits: false }; 16 * 50];
    let log = walk(&counter(10, 16), 16, &often, |log, now, n| first_that_fits(10, 16, log, now, n));
    // The first window is full; from then on the tokens of the last one come free evenly.
    let per_window = |number: u64| used(&log, 16, number);
    assert_eq!((per_window(0), per_window(1), per_window(20)), (10, 9, 9));
}

#[test]
fn all_of_the_last_window_at_its_end_is_the_worst_case() {
    let ten = counter(10, 100);
    let mut state = ten.fresh(0);
    ten.take(&mut state, 99, 10).unwrap();
    let late: u64 = (100..199).map(|at| u64::from(ten.take(&mut state, at, 1).is_ok())).sum();
    // 19 within 100 nanoseconds, less than twice the limit.
    assert_eq!(late, 9);
}

#[test]
fn the_instant_may_be_two_windows_on() {
    let ten = counter(10, 100);
    let mut state = ten.fresh(0);
    ten.take(&mut state, 50, 10).unwrap();
    assert_eq!(ten.charge(&mut state.clone(), 50, 1), Ok(110));
    assert_eq!(ten.charge(&mut state.clone(), 50, 9), Ok(190));
    assert_eq!(ten.charge(&mut state, 50, 10), Ok(200));
    // And behind a promise.
    assert_eq!(ten.charge(&mut state, 50, 5), Ok(350));
}

#[test]
fn counts_stay_under_another_limit_and_are_rounded_up_for_another_window() {
    let ten = counter(10, 100);
    let mut state = ten.fresh(0);
    ten.take(&mut state, 50, 7).unwrap();
    ten.take(&mut state, 100, 1).unwrap();
    let twelve = counter(12, 100);
    // 7 * 0.67 + 1 are used.
    assert_eq!(twelve.available(&ten.carry(&twelve, &state, 133), 133), 6);
    let longer = counter(12, 1000);
    let carried = ten.carry(&longer, &state, 133);
    assert_eq!((longer.available(&carried, 133), longer.available(&carried, 999)), (6, 6));
    assert_eq!(longer.available(&carried, 1500), 9);
}

#[test]
fn a_refund_goes_to_the_present_window_first() {
    let ten = counter(10, 100);
    let mut state = ten.fresh(0);
    ten.take(&mut state, 50, 4).unwrap();
    ten.take(&mut state, 150, 3).unwrap();
    ten.refund(&mut state, 150, 5);
    // 2 are left of the 4, of which half count.
    assert_eq!(ten.available(&state, 150), 9);
    ten.refund(&mut state, 150, 5);
    assert_eq!(ten.available(&state, 150), 10);
}
