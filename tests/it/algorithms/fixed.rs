//! The fixed window against a recount of each window.

use super::{Log, Step, cases, limits, most_in, ns, steps, walk, windows};
use cofferdam::limit::{Algorithm, Fixed};
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn fixed(limit: u64, window: u64) -> Fixed {
    Fixed::new(limit, ns(window)).unwrap()
}

/// The beginning of the first window, from now and the last admission on, that has room.
fn first_with_room(limit: u64, window: u64, phase: u64, log: &Log, now: u64, n: u64) -> u64 {
    let number = |at: u64| (u128::from(at) + u128::from(phase)) / u128::from(window);
    let last = log.last().map_or(0, |(at, _)| *at);
    let mut at = number(now.max(last));
    loop {
        let used: u64 = log.iter().filter(|(then, _)| number(*then) == at).map(|(_, n)| n).sum();
        if used + n <= limit {
            return now.max((at * u128::from(window)).saturating_sub(phase.into()) as u64);
        }
        at += 1;
    }
}

proptest! {
    #![proptest_config(cases())]

    // S42
    #[test]
    fn each_window_admits_its_limit_and_no_more(
        (limit, window, offset) in (limits(), windows(), any::<u32>()),
        steps in steps(),
    ) {
        let phase = u64::from(offset) % window;
        let fixed = fixed(limit, window).offset(ns(offset.into()));
        let log = walk(&fixed, window, &steps, |log, now, n| first_with_room(limit, window, phase, log, now, n));
        let number = |at: u64| (at + phase) / window;
        for (at, _) in &log {
            let used: u64 = log.iter().filter(|(then, _)| number(*then) == number(*at)).map(|(_, n)| n).sum();
            prop_assert!(used <= limit);
        }
        prop_assert!(most_in(&log, window) <= 2 * limit);
    }
}

#[test]
fn whoever_asks_often_enough_gets_every_token() {
    let (limit, window) = (7, 10);
    let often = vec![Step { later: 1, n: 1, waits: false }; 16 * 50];
    let log = walk(&fixed(limit, window), window, &often, |log, now, n| {
        first_with_room(limit, window, 0, log, now, n)
    });
    let seen = log.iter().filter(|(at, _)| *at < 400).count() as u64;
    assert_eq!(seen, 400 / window * limit);
}

#[test]
fn edges_are_where_they_are_put() {
    let starts = |fixed: Fixed| {
        let mut state = fixed.fresh(0);
        fixed.take(&mut state, 0, fixed.limit()).unwrap();
        (0..3).map(|_| fixed.charge(&mut state, 0, fixed.limit()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(starts(fixed(2, 100)), [100, 200, 300]);
    assert_eq!(starts(fixed(2, 100).offset(ns(30))), [70, 170, 270]);
    assert_eq!(starts(fixed(2, 100).offset(ns(1230))), [70, 170, 270]);
    let minute = |epoch: SystemTime| Fixed::new(2, Duration::from_secs(60)).unwrap().aligned(epoch).phase();
    assert_eq!(minute(UNIX_EPOCH), Duration::ZERO);
    assert_eq!(minute(UNIX_EPOCH + Duration::from_secs(1_700_000_000)), Duration::from_secs(20));
    assert_eq!(minute(UNIX_EPOCH - Duration::from_secs(1)), Duration::from_secs(59));
    assert_eq!(minute(UNIX_EPOCH - Duration::from_secs(120)), Duration::ZERO);
}

#[test]
fn what_was_used_stays_used_under_other_settings() {
    let (four, six) = (fixed(4, 100), fixed(6, 100));
    let mut state = four.fresh(0);
    four.take(&mut state, 210, 3).unwrap();
    assert_eq!(six.available(&four.carry(&six, &state, 250), 250), 3);
    let two = fixed(2, 100);
    let carried = four.carry(&two, &state, 250);
    assert_eq!((two.available(&carried, 250), two.available(&carried, 300)), (0, 2));
    // It counts in the window of the new length that holds the present.
    let longer = fixed(4, 1000);
    let carried = four.carry(&longer, &state, 250);
    assert_eq!((longer.available(&carried, 999), longer.available(&carried, 1000)), (1, 4));
    // Of a window that is over nothing does.
    assert_eq!(two.available(&four.carry(&two, &state, 301), 301), 2);
    // A promise counts where it falls.
    four.charge(&mut state, 250, 4).unwrap();
    let shorter = fixed(5, 50);
    let carried = four.carry(&shorter, &state, 250);
    assert_eq!([299, 300, 349, 350].map(|at| shorter.available(&carried, at)), [0, 1, 1, 5]);
}

#[test]
fn a_refund_goes_to_the_window_that_was_charged() {
    let four = fixed(4, 100);
    let mut state = four.fresh(0);
    four.take(&mut state, 10, 4).unwrap();
    four.refund(&mut state, 20, 1);
    assert_eq!(four.available(&state, 20), 1);
    // One of a window that is over is gone.
    four.refund(&mut state, 100, 3);
    assert_eq!(four.available(&state, 100), 4);
    four.take(&mut state, 100, 2).unwrap();
    four.refund(&mut state, 110, 100);
    assert_eq!(four.available(&state, 110), 4);
}
