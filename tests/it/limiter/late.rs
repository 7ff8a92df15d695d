//! What happens between the instant at which somebody in line is due and the moment at which his timer fires, or at which
//! he looks.

use super::{ms, waiting};
use cofferdam::limit::{
    Algorithm, Fixed, Gcra, Leaky, Limiter, Quota, Rate, Several, SlidingCounter, SlidingLog, Spacing,
};
use cofferdam::testkit::ManualClock;
use std::time::Duration;

/// On a clock of its own, with all spent.
fn spent<A: Algorithm>(algorithm: A, n: u64) -> (ManualClock, Limiter<A>) {
    let time = ManualClock::new();
    let limiter = Limiter::builder(algorithm).clock(time.clock()).build().unwrap();
    limiter.try_acquire_many(n).unwrap();
    (time, limiter)
}

// S36
#[test]
fn what_is_taken_past_a_late_timer_stays_taken_when_the_waiter_gives_up() {
    fn stays<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 5);
        let waiter = waiting(limiter.acquire());
        let mut behind = waiting(limiter.acquire());
        // The time has come, and the timer not yet.
        let late = time.clock().now() + ms(10_000);
        limiter.try_acquire_at(3, late).unwrap();
        drop(waiter);
        let more = (0..9).take_while(|_| limiter.try_acquire_at(1, late).is_ok()).count();
        assert!(more <= 2, "{more} more than five by {limiter:?}");
        time.advance(ms(10_000));
        assert!(behind.poll().unwrap().is_ok());
    }
    stays(Leaky::new(5, Rate::per_second(5)));
    stays(Several::new([Quota::per_second(5), Quota::per_minute(300)]).unwrap());
    stays(Fixed::new(5, ms(1000)).unwrap());
    stays(SlidingCounter::new(5, ms(1000)).unwrap());
    stays(SlidingLog::new(5, ms(1000)).unwrap());
}

// S34
#[test]
fn who_is_told_by_new_settings_hears_how_long_it_would_be_from_now() {
    let (_time, limiter) = spent(Leaky::new(1, Rate::per_second(1)), 1);
    let mut waiters =
        [waiting(limiter.acquire_timeout(ms(9000))), waiting(limiter.acquire_timeout(ms(9000)))];
    limiter.set(Leaky::new(1, Rate::per_minute(12)));
    assert!(waiters[0].poll().is_none());
    assert_eq!(waiters[1].poll().unwrap().unwrap_err().retry_after(), Some(ms(10_000)));
}

// MT9, S34
#[test]
fn who_is_told_when_a_pause_begins_hears_of_the_pause() {
    let (_time, limiter) = spent(Spacing::new(Rate::per_second(1)), 1);
    let mut waiter = waiting(limiter.acquire_timeout(ms(3000)));
    limiter.pause_for(ms(10_000));
    let told = waiter.poll().unwrap().unwrap_err();
    assert_eq!(told.retry_after(), Some(ms(10_000)));
    assert!(told.to_string().contains("paused"), "{told}");
}

// S36, S42
#[test]
fn a_grant_given_back_in_a_later_window_makes_no_room_in_that_one() {
    fn makes_none<A: Algorithm>(algorithm: A, later: Duration) {
        let (time, limiter) = spent(algorithm, 2);
        let granted = waiting(limiter.acquire());
        time.advance(later);
        assert_eq!(granted.wakes(), 1);
        limiter.try_acquire_many(2).unwrap();
        drop(granted);
        assert!(limiter.try_acquire().is_err(), "a third in the window of {limiter:?}");
    }
    makes_none(Fixed::new(2, ms(1000)).unwrap(), ms(2500));
    makes_none(SlidingCounter::new(2, ms(1000)).unwrap(), ms(3000));
    makes_none(SlidingLog::new(2, ms(1000)).unwrap(), ms(2500));
}

// S36
#[test]
fn a_grant_given_back_in_its_window_is_there_again() {
    fn is_there<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 2);
        let granted = waiting(limiter.acquire_many(2));
        time.advance(ms(2100));
        assert_eq!((granted.wakes(), limiter.available()), (1, 0));
        drop(granted);
        assert!(limiter.try_acquire_many(2).is_ok());
    }
    is_there(Fixed::new(2, ms(2000)).unwrap());
    is_there(SlidingLog::new(2, ms(2000)).unwrap());
}

// S37
#[test]
fn what_is_put_back_does_not_overfill_what_has_been_promised() {
    fn holds<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 2);
        let reservation = limiter.reserve(2).unwrap();
        let due = reservation.commit();
        limiter.refund(2);
        time.advance_to(due);
        let beside = (0..9).take_while(|_| limiter.try_acquire().is_ok()).count();
        assert_eq!(beside, 0, "beside the two that were promised by {limiter:?}");
    }
    holds(Leaky::new(2, Rate::per_second(2)));
    holds(Fixed::new(2, ms(1000)).unwrap());
    holds(SlidingCounter::new(2, ms(1000)).unwrap());
    holds(SlidingLog::new(2, ms(1000)).unwrap());
}

// S36, S37
#[test]
fn a_grant_given_back_does_not_overfill_what_has_been_promised_behind_it() {
    fn holds<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 2);
        let granted = waiting(limiter.acquire_many(2));
        time.advance(ms(2000));
        assert_eq!(granted.wakes(), 1);
        let due = limiter.reserve(2).unwrap().commit();
        drop(granted);
        time.advance_to(due);
        let beside = (0..9).take_while(|_| limiter.try_acquire().is_ok()).count();
        assert_eq!(beside, 0, "beside the two that were promised by {limiter:?}");
    }
    holds(Leaky::new(2, Rate::per_second(1)));
    holds(Fixed::new(2, ms(2000)).unwrap());
    holds(SlidingLog::new(2, ms(2000)).unwrap());
}

// S37
#[test]
fn whoever_waits_behind_a_promise_is_not_let_in_beside_it_by_what_is_put_back() {
    fn holds<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 2);
        let due = limiter.reserve(2).unwrap().commit();
        let mut behind = waiting(limiter.acquire());
        limiter.refund(2);
        time.advance_to(due);
        assert!(behind.poll().is_none(), "beside the two that were promised by {limiter:?}");
        // And with a promise behind him, which is the last that there is when he has been let in.
        let last = limiter.reserve(2).unwrap().commit();
        time.advance(ms(1000));
        assert_eq!(behind.wakes(), 1);
        drop(behind);
        limiter.refund(2);
        time.advance_to(last);
        assert!(limiter.try_acquire().is_err(), "beside the last two by {limiter:?}");
    }
    holds(Leaky::new(2, Rate::per_second(2)));
    holds(Fixed::new(2, ms(1000)).unwrap());
    holds(SlidingLog::new(2, ms(1000)).unwrap());
}

// MT9
#[test]
fn what_is_drained_in_a_pause_with_somebody_in_line_is_gone_when_it_ends() {
    let time = ManualClock::new();
    let limiter: Limiter<Leaky> =
        Limiter::builder(Leaky::new(5, Rate::per_second(10))).clock(time.clock()).build().unwrap();
    limiter.pause_for(ms(100));
    let mut waiter = waiting(limiter.acquire_many(5));
    limiter.drain_to(0);
    time.advance(ms(499));
    assert!(waiter.poll().is_none(), "five tokens take half a second from empty");
    time.advance(ms(1));
    assert!(waiter.poll().unwrap().is_ok());
}

// MT9
#[test]
fn who_is_due_when_it_is_drained_keeps_his_tokens() {
    let (time, limiter) = spent(Leaky::new(5, Rate::per_second(10)), 5);
    let mut waiter = waiting(limiter.acquire());
    time.advance(ms(250));
    limiter.drain_to(0);
    assert!(waiter.poll().unwrap().is_ok());
    assert_eq!(limiter.available(), 0);
}

// S41: the jump is counted, once, and mints nothing.
#[test]
fn a_clock_that_goes_back_is_counted_once_for_each_time() {
    fn counted<A: Algorithm>(algorithm: A) {
        let (time, limiter) = spent(algorithm, 5);
        let start = time.clock().now();
        let back = |limiter: &Limiter<A>| limiter.stats().clock_steps_back;
        time.set(start + ms(10));
        assert_eq!(back(&limiter), 0);
        time.set(start);
        assert!(limiter.try_acquire().is_err());
        assert_eq!((back(&limiter), back(&limiter)), (1, 1), "seen by who looks");
        time.set(start + ms(10));
        assert!(limiter.try_acquire().is_err(), "no time is earned twice");
        assert_eq!(back(&limiter), 1, "forward is no step back");
        // Seen when the settings are changed, or when somebody is served.
        time.set(start + ms(5));
        limiter.resume();
        time.set(start + ms(4));
        limiter.drain_to(1);
        let mut waiter = waiting(limiter.acquire());
        time.set(start + ms(60_000));
        assert!(waiter.poll().unwrap().is_ok());
        time.set(start + ms(50_000));
        assert_eq!(back(&limiter), 4);
    }
    let quota = Quota::per_second(1).burst(5);
    counted(Gcra::new(quota));
    counted(Leaky::from(quota));
    counted(SlidingLog::new(5, ms(1000)).unwrap());
}
