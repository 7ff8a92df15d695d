//! Windows and the shaper as words: what each packs, against itself and against what is done under the mutex.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a new fixed window is begun once, and never above its limit | 3 | none | a store in place of the compare-exchange |
//! | a refund and a decision at the edge lose and mint nothing | 2 | none | `freeze` that does not set the slow bit |
//! | the last window of a sliding one is moved on once | 3 | none | a store in place of the compare-exchange |
//! | of the shaper one leaves at a time | 3 | none | a store in place of the compare-exchange |
//! | no decision on a window counted from an old base | 2 | 3 | no new generation where only the base has moved |

use cofferdam_loom::limit::{
    Algorithm, Fixed, FixedWindow, Limiter, Rate, Shaper, SlidingCounter, SlidingWindow, Spacing,
};
use cofferdam_loom::testkit::ManualClock;
use loom::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

fn limiter<A: Algorithm>(algorithm: A) -> (ManualClock, Limiter<A>) {
    let time = ManualClock::new();
    let limiter = Limiter::builder(algorithm).clock(time.clock()).build().unwrap();
    (time, limiter)
}

/// How many of three, each on a thread, are admitted at `now`.
fn three_at<A: Algorithm>(limiter: &Limiter<A>, now: Instant) -> usize {
    let others: Vec<_> = (0..2)
        .map(|_| {
            let limiter = limiter.clone();
            thread::spawn(move || limiter.try_acquire_at(1, now).is_ok())
        })
        .collect();
    let mine = limiter.try_acquire_at(1, now).is_ok();
    others.into_iter().map(|other| other.join().unwrap()).filter(|ok| *ok).count() + usize::from(mine)
}

/// S42
#[test]
fn a_new_fixed_window_is_begun_once() {
    bounded(None, || {
        let (time, window): (_, FixedWindow) = limiter(Fixed::new(2, SECOND).unwrap());
        let start = time.clock().now();
        assert!(window.try_acquire_at(2, start).is_ok());
        assert_eq!(three_at(&window, start + SECOND), 2);
    });
}

/// S46
#[test]
fn a_refund_and_a_decision_at_the_edge_lose_and_mint_nothing() {
    bounded(None, || {
        let (time, window): (_, FixedWindow) = limiter(Fixed::new(2, SECOND).unwrap());
        assert!(window.try_acquire_at(2, time.clock().now()).is_ok());
        time.advance(SECOND);
        let now = time.clock().now();
        let other = {
            let window = window.clone();
            thread::spawn(move || window.refund(1))
        };
        let taken = (0..3).filter(|_| window.try_acquire_at(1, now).is_ok()).count() as u64;
        other.join().unwrap();
        // What was used in the window that is over cannot be had back; of the new one it may have been one.
        assert!(taken >= 2 && taken + window.available() <= 3, "{taken} and {}", window.available());
        assert!(taken + window.available() >= 2);
    });
}

#[test]
fn the_last_window_is_moved_on_once() {
    bounded(None, || {
        let (time, window): (_, SlidingWindow) = limiter(SlidingCounter::new(4, SECOND).unwrap());
        let start = time.clock().now();
        assert!(window.try_acquire_at(4, start).is_ok());
        let half = start + SECOND * 3 / 2;
        assert_eq!(three_at(&window, half), 2);
        assert_eq!(window.available_at(start + SECOND * 7 / 4), 1);
    });
}

/// RL4
#[test]
fn of_the_shaper_one_leaves_at_a_time() {
    bounded(None, || {
        let (time, shaper): (_, Shaper) = limiter(Spacing::new(Rate::per_second(1)));
        assert_eq!(three_at(&shaper, time.clock().now() + SECOND), 1);
    });
}

/// S31: the word looks the same before and after the move, but for its generation.
#[test]
fn no_decision_on_a_window_counted_from_an_old_base() {
    bounded(Some(3), || {
        // So many that only 2^16 windows of 20 us can be counted from a base: a second and a bit.
        let (limit, length) = (1 << 39, Duration::from_micros(20));
        let (time, window): (_, FixedWindow) = limiter(Fixed::new(limit, length).unwrap());
        let early = time.clock().now() + Duration::from_millis(900);
        let later = time.clock().now() + Duration::from_millis(1200);
        time.advance_to(later);
        let other = {
            let window = window.clone();
            thread::spawn(move || window.drain_to(limit))
        };
        // Taken before the move it is in a window that is over; counted from the new base it would be in one to come.
        let _ = window.try_acquire_at(1, early);
        other.join().unwrap();
        assert_eq!(window.available_at(later), limit);
    });
}
