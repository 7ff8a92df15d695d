//! Permits: how many, how heavy, how they come back; the same whichever queue is behind them.

use super::{IN_ORDER, hold, ms};
use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{Discipline, Request};
use cofferdam::sync::{Context, Order};
use cofferdam::testkit::{ManualClock, Polled};
use std::time::Duration;

fn for_both_queues(limit: u32, test: impl Fn(ConcurrencyLimiter, ManualClock)) {
    for discipline in IN_ORDER {
        let time = ManualClock::new();
        let builder = ConcurrencyLimiter::builder(limit).discipline(discipline).clock(time.clock());
        test(builder.build().unwrap(), time);
    }
}

// CL1, CL2, CL8
#[test]
fn permits_are_taken_by_weight_and_counted_exactly() {
    for_both_queues(10, |limiter, _| {
        let one = limiter.try_acquire().unwrap();
        let four = Polled::new(limiter.acquire_many(4)).poll().unwrap().unwrap();
        let owned = limiter.try_acquire_owned().unwrap();
        let stats = limiter.stats();
        assert_eq!((stats.limit, stats.in_flight, stats.available, stats.waiting), (10, 6, 4, 0));
        assert_eq!((limiter.in_flight(), limiter.available(), limiter.limit()), (6, 4, 10));
        assert!((stats.utilisation() - 0.6).abs() < 1e-9);
        assert!(limiter.try_acquire_many(5).unwrap_err().is_full());
        drop((one, owned));
        assert_eq!((four.permits(), limiter.in_flight()), (4, 4));
        drop(four);
        assert_eq!((limiter.in_flight(), limiter.available()), (0, 10));
    });
}

// CL1: zero passes
#[test]
fn no_permits_are_let_through_whatever_is_in_flight() {
    for_both_queues(1, |limiter, _| {
        let held = hold(&limiter, 1);
        let mut waiting = Polled::new(limiter.acquire());
        assert!(waiting.poll().is_none());
        let health = limiter.try_acquire_many(0).unwrap();
        let check = Polled::new(limiter.acquire_many(0)).poll().unwrap().unwrap();
        assert_eq!((health.permits(), check.permits(), limiter.in_flight()), (0, 0, 1));
        drop((health, check));
        assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 1));
        drop(held);
    });
}

// CL5
#[test]
fn more_than_the_limit_is_refused_at_once() {
    for_both_queues(3, |limiter, _| {
        let error = limiter.try_acquire_many(4).unwrap_err();
        assert!(error.exceeds_limit() && !error.is_temporary());
        assert_eq!(error.to_string(), "concurrency limiter: 4 permits wanted, above the limit of 3");
        let error = Polled::new(limiter.acquire_many(4)).poll().unwrap().unwrap_err();
        assert!(error.exceeds_limit());
        assert_eq!(limiter.available(), 3);
    });
}

// CL4
#[test]
fn what_is_held_back_at_the_start_counts_as_in_flight_until_it_is_added() {
    for discipline in IN_ORDER {
        let builder = ConcurrencyLimiter::builder(4).discipline(discipline);
        let limiter = builder.clone().initial(1).build().unwrap();
        assert_eq!((limiter.available(), limiter.in_flight()), (1, 3));
        let held = hold(&limiter, 1);
        let mut waiting = Polled::new(limiter.acquire());
        assert!(waiting.poll().is_none());
        limiter.add_permits(1).unwrap();
        assert!(waiting.poll().unwrap().is_ok());
        assert_eq!(limiter.add_permits(3).unwrap_err().knob(), "permits");
        drop(held);
        assert_eq!(builder.initial(9).build().unwrap().available(), 4, "clamped");
    }
}

// CL3
#[test]
fn a_limit_of_zero_is_a_mistake() {
    let error = ConcurrencyLimiter::new(0).unwrap_err();
    assert_eq!(error.to_string(), "concurrency limiter: limit = 0: must be at least 1");
    for_both_queues(2, |limiter, _| {
        assert_eq!(limiter.resize(0).unwrap_err().knob(), "limit");
        assert_eq!(limiter.limit(), 2, "nothing has changed");
    });
}

// S69, CL3
#[test]
fn a_shrink_waits_for_permits_to_come_back_and_admits_nobody_before() {
    for_both_queues(4, |limiter, _| {
        let mut held = hold(&limiter, 4);
        assert_eq!(limiter.resize(2).unwrap(), 4);
        let mut waiting = Polled::new(limiter.acquire());
        assert!(waiting.poll().is_none());
        for left in [3, 2] {
            held.pop();
            assert!(waiting.poll().is_none() && limiter.try_acquire().is_err());
            assert_eq!((limiter.in_flight(), limiter.available()), (left, 0));
        }
        held.pop();
        assert!(waiting.poll().unwrap().is_ok());
    });
}

// S69
#[test]
fn a_growth_wakes_at_once_and_a_hopeless_wait_ends() {
    for_both_queues(3, |limiter, _| {
        let _held = hold(&limiter, 3);
        let mut large = Polled::new(limiter.acquire_many(3));
        let mut small = Polled::new(limiter.acquire_many(2));
        assert!(large.poll().is_none() && small.poll().is_none());
        assert_eq!(limiter.resize(2).unwrap(), 3);
        assert!(large.poll().unwrap().unwrap_err().exceeds_limit());
        assert!(small.poll().is_none());
        assert_eq!(limiter.resize(5).unwrap(), 2);
        assert_eq!(small.wakes(), 1);
        let permit = small.poll().unwrap().unwrap();
        assert_eq!((permit.permits(), limiter.in_flight(), limiter.available()), (2, 5, 0));
    });
}

// S66
#[test]
fn the_first_in_line_is_served_first_however_much_it_wants() {
    for_both_queues(2, |limiter, _| {
        let mut held = hold(&limiter, 2);
        let mut two = Polled::new(limiter.acquire_many(2));
        let mut one = Polled::new(limiter.acquire());
        assert!(two.poll().is_none() && one.poll().is_none());
        held.pop();
        assert!(two.poll().is_none() && one.poll().is_none());
        assert!(limiter.try_acquire().unwrap_err().is_full(), "newcomers do not overtake");
        held.pop();
        let both = two.poll().unwrap().unwrap();
        assert!(one.poll().is_none());
        drop(both);
        assert!(one.poll().unwrap().is_ok());
    });
}

// S67
#[test]
fn one_that_gives_up_lets_the_next_move_up_and_passes_on_what_it_was_granted() {
    for_both_queues(2, |limiter, _| {
        let mut held = hold(&limiter, 2);
        let mut two = Polled::new(limiter.acquire_many(2));
        let mut one = Polled::new(limiter.acquire());
        let mut last = Polled::new(limiter.acquire());
        assert!(two.poll().is_none() && one.poll().is_none() && last.poll().is_none());
        held.pop();
        drop(two);
        assert_eq!(one.wakes(), 1, "it fits");
        drop(one);
        assert!(last.poll().unwrap().is_ok(), "granted, not polled, dropped: passed on");
        assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 0));
    });
}

// S68
#[test]
fn a_full_queue_refuses_at_once_and_a_waiter_leaves_at_its_limit() {
    for discipline in IN_ORDER {
        let time = ManualClock::new();
        let builder = ConcurrencyLimiter::builder(1).queue(1).wait_limit(ms(100)).clock(time.clock());
        let limiter = builder.discipline(discipline).build().unwrap();
        let held = hold(&limiter, 1);
        let mut second = Polled::new(limiter.acquire());
        assert!(second.poll().is_none());
        let error = Polled::new(limiter.acquire()).poll().unwrap().unwrap_err();
        assert!(error.is_full() && error.is_temporary());
        assert_eq!(error.to_string(), "concurrency limiter: full: all permits of 1 taken, 1 requests wait");
        time.advance(ms(99));
        assert!(second.poll().is_none());
        time.advance(ms(1));
        let error = second.poll().unwrap().unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.to_string(), "concurrency limiter: no permit within 100ms");
        assert_eq!((limiter.waiting(), time.armed()), (0, 0));
        let mut own = Polled::new(limiter.acquire_with(Request::new(1).wait_limit(ms(5))));
        assert!(own.poll().is_none());
        time.advance(ms(5));
        drop(held);
        assert!(own.poll().unwrap().is_ok(), "at the very limit is in time");
        assert_eq!((limiter.in_flight(), time.armed()), (0, 0));
    }
}

// S58
#[test]
fn nobody_waits_past_the_deadline_of_the_surrounding_work() {
    for_both_queues(1, |limiter, time| {
        let held = hold(&limiter, 1);
        let context = Context::background().with_clock(time.clock()).with_timeout(ms(50));
        let mut waiting = Polled::new(context.scope(limiter.acquire_timeout(ms(1000))));
        assert!(waiting.poll().is_none());
        time.advance(ms(50));
        let error = waiting.poll().unwrap().unwrap_err();
        assert!(error.context_error().is_some_and(|ended| ended.is_deadline_exceeded()));
        drop(held);
        let error = Polled::new(context.scope(limiter.acquire())).poll().unwrap().unwrap_err();
        assert!(error.context_error().is_some(), "nor takes what is free after it");
        assert_eq!((limiter.in_flight(), limiter.waiting(), time.armed()), (0, 0, 0));
    });
}

#[test]
fn a_close_ends_all_waits_and_leaves_what_is_in_flight() {
    for_both_queues(1, |limiter, _| {
        let held = hold(&limiter, 1);
        let mut waits: Vec<_> = (0..40).map(|_| Polled::new(limiter.acquire())).collect();
        assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
        limiter.close();
        assert!(waits.iter_mut().all(|wait| wait.poll().unwrap().unwrap_err().is_closed()));
        assert!(limiter.is_closed() && limiter.try_acquire().unwrap_err().is_closed());
        assert!(Polled::new(limiter.acquire()).poll().unwrap().unwrap_err().is_closed());
        assert_eq!((limiter.in_flight(), limiter.waiting()), (1, 0));
        drop(held);
        assert_eq!(limiter.in_flight(), 0);
    });
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let builder = || ConcurrencyLimiter::builder(1);
    let delay = |target, interval| Discipline::ControlledDelay { target, interval, lifo: true };
    let partitioned = |order: Order| builder().partition("a", 50).discipline(order);
    let ageing = Order::Priority { ageing: ms(1) };
    for (builder, knob) in [
        (builder().queue(0).wait_limit(ms(1)), "wait_limit"),
        (builder().discipline(Discipline::AdaptiveLifo { interval: Duration::ZERO }), "interval"),
        (builder().discipline(delay(ms(1), Duration::ZERO)), "interval"),
        (builder().discipline(delay(Duration::ZERO, ms(1))), "target"),
        (builder().discipline(delay(ms(2), ms(1))), "target"),
        (builder().discipline(Order::Priority { ageing: Duration::ZERO }), "ageing"),
        (partitioned(Order::Barging), "discipline"),
        (partitioned(ageing), "discipline"),
        (builder().partition("a", 0), "partition"),
        (builder().partition("a", 60).partition("b", 41), "partition"),
        (builder().partition("a", 1).partition("a", 1), "partition"),
    ] {
        assert_eq!(builder.build().unwrap_err().knob(), knob);
    }
    assert!(builder().queue(0).build().is_ok() && partitioned(Order::Lifo).build().is_ok());
}

// S78
#[test]
fn clones_share_the_permits() {
    for_both_queues(3, |limiter, _| {
        let twin = limiter.clone();
        let _held = (hold(&limiter, 2), hold(&twin, 1));
        assert!(limiter.try_acquire().is_err() && twin.try_acquire().is_err());
    });
}
