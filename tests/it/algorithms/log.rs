//! The sliding window log against a plain list of all that was admitted.

use super::{Log, Step, cases, limits, most_in, ns, steps, walk, windows};
use cofferdam::limit::{Algorithm, SlidingLog};
use proptest::prelude::*;

fn log(limit: u64, window: u64) -> SlidingLog {
    SlidingLog::new(limit, ns(window)).unwrap()
}

/// The first instant, from now and the last admission on, at which it fits. Only what goes can make room, so it is one at
/// which something does, or the first of all.
fn first_that_fits(limit: u64, window: u64, log: &Log, now: u64, n: u64) -> u64 {
    let begin = now.max(log.last().map_or(0, |(at, _)| *at));
    let fits = |at: u64| {
        let alive: u64 = log.iter().filter(|(then, _)| at < then + window).map(|(_, n)| n).sum();
        alive + n <= limit
    };
    let gone = log.iter().map(|(then, _)| then + window).filter(|at| *at >= begin);
    std::iter::once(begin).chain(gone).filter(|at| fits(*at)).min().unwrap()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_stretch_of_a_window_has_more_and_nobody_is_refused_in_vain(
        (limit, window) in (limits(), windows()),
        steps in steps(),
    ) {
        let log = walk(&log(limit, window), window, &steps, |log, now, n| {
            first_that_fits(limit, window, log, now, n)
        });
        prop_assert!(most_in(&log, window) <= limit);
    }
}

#[test]
fn whoever_asks_often_enough_gets_every_token() {
    let often = vec![Step { later: 1, n: 1, waits: false }; 16 * 50];
    let admitted = walk(&log(7, 16), 16, &often, |log, now, n| first_that_fits(7, 16, log, now, n));
    assert_eq!(admitted.len(), 7 * 50);
}

#[test]
fn what_is_a_window_old_is_gone() {
    let three = log(3, 100);
    let mut state = three.fresh(0);
    three.take(&mut state, 10, 2).unwrap();
    three.take(&mut state, 60, 1).unwrap();
    assert_eq!([109, 110, 159, 160].map(|at| three.available(&state, at)), [0, 2, 2, 3]);
    assert_eq!(three.charge(&mut state, 60, 3), Ok(160));
    assert_eq!(three.fresh_at(&state), 260);
}

#[test]
fn the_log_goes_with_what_it_holds() {
    let many = log(100_000, 1_000_000);
    let mut state = many.fresh(0);
    for at in 0..100_000 {
        many.take(&mut state, at, 1).unwrap();
    }
    assert!(many.take(&mut state, 100_000, 1).is_err());
    let entries = |state: &<SlidingLog as Algorithm>::State| format!("{state:?}").matches("Run {").count();
    assert_eq!(entries(&state), 100_000);
    // An eighth of a window after they are gone they are dropped.
    many.take(&mut state, 1_174_999, 1).unwrap();
    assert_eq!(entries(&state), 50_001);
    many.take(&mut state, 1_224_998, 1).unwrap();
    assert_eq!(entries(&state), 3);
    // Of one instant there is one entry.
    many.take(&mut state, 1_224_998, 70_000).unwrap();
    assert_eq!(entries(&state), 3);
}

#[test]
fn the_log_stays_under_other_settings() {
    let (five, three) = (log(5, 100), log(3, 50));
    let mut state = five.fresh(0);
    five.take(&mut state, 10, 2).unwrap();
    five.take(&mut state, 70, 3).unwrap();
    let shorter = five.carry(&three, &state, 80);
    assert_eq!([80, 119, 120].map(|at| three.available(&shorter, at)), [0, 0, 3]);
    let longer = log(5, 1000);
    let carried = five.carry(&longer, &state, 80);
    assert_eq!([80, 1009, 1010, 1070].map(|at| longer.available(&carried, at)), [0, 0, 2, 5]);
}

#[test]
fn a_refund_takes_the_last_entries_back() {
    let five = log(5, 100);
    let mut state = five.fresh(0);
    for at in [10, 20, 30] {
        five.take(&mut state, at, 1).unwrap();
    }
    five.refund(&mut state, 40, 2);
    assert_eq!([40, 109, 110].map(|at| five.available(&state, at)), [4, 4, 5]);
    five.take(&mut state, 50, 4).unwrap();
    five.refund(&mut state, 60, 1);
    assert_eq!([60, 110, 149, 150].map(|at| five.available(&state, at)), [1, 2, 2, 5]);
    five.refund(&mut state, 60, 100);
    assert_eq!(five.available(&state, 60), 5);
}

// S41
#[test]
fn times_that_come_a_little_out_of_order_are_decided_exactly() {
    let two = log(2, 100);
    let mut state = two.fresh(0);
    two.take(&mut state, 110, 1).unwrap();
    // Somebody else had read the time a little earlier.
    two.take(&mut state, 105, 1).unwrap();
    assert!(two.take(&mut state, 105, 1).is_err());
    // Both count from the later one.
    assert_eq!([209, 210].map(|at| two.available(&state, at)), [0, 2]);
    // Back to where something is no longer known there is nothing.
    two.take(&mut state, 230, 1).unwrap();
    assert_eq!([217, 218, 230].map(|at| two.available(&state, at)), [0, 1, 1]);
}
