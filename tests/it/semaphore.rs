//! SEM1-SEM12, S66-S70: permits, order, cancellation, resize, close.

mod events;
mod model;

use cofferdam::sync::{AcquireError, Context, Order, OwnedPermit, Permit, Priority, Request, Semaphore};
use cofferdam::testkit::{ManualClock, Polled};
use std::sync::Arc;
use std::time::Duration;

const ORDERS: [Order; 4] =
    [Order::Fifo, Order::Lifo, Order::Barging, Order::Priority { ageing: Duration::from_secs(1) }];

fn with_order(capacity: u32, order: Order) -> Semaphore {
    Semaphore::builder(capacity).order(order).build().unwrap()
}

type Granted<'a> = Result<Permit<&'a Semaphore>, AcquireError>;

/// Polls all and returns the indices that are ready, keeping their permits in `held`.
fn sweep<'a, F: Future<Output = Granted<'a>>>(
    waiters: &mut [Option<Polled<F>>],
    held: &mut Vec<Permit<&'a Semaphore>>,
) -> Vec<usize> {
    let mut ready = Vec::new();
    for (index, waiter) in waiters.iter_mut().enumerate() {
        if let Some(result) = waiter.as_mut().and_then(Polled::poll) {
            held.push(result.unwrap());
            *waiter = None;
            ready.push(index);
        }
    }
    ready
}

#[test]
fn permits_are_counted_by_weight_in_every_order() {
    for order in ORDERS {
        let semaphore = with_order(5, order);
        let two = semaphore.try_acquire_many(2).unwrap();
        let three = semaphore.try_acquire_many(3).unwrap();
        assert!(semaphore.try_acquire().unwrap_err().is_no_permits());
        assert_eq!((semaphore.available(), semaphore.in_use(), semaphore.capacity()), (0, 5, 5));
        drop(two);
        assert_eq!(semaphore.available(), 2);
        drop(three);
        assert_eq!((semaphore.available(), semaphore.in_use()), (5, 0));
    }
}

#[test]
fn initial_permits_can_be_fewer_and_come_later() {
    // SEM2
    let semaphore = Semaphore::builder(3).initial(1).build().unwrap();
    let mut second = Polled::new(semaphore.acquire_many(2));
    assert!(second.poll().is_none());
    assert_eq!((semaphore.available(), semaphore.in_use()), (1, 2));
    semaphore.add_permits(2).unwrap();
    assert_eq!(second.poll().unwrap().unwrap().permits(), 2);
    let error = semaphore.add_permits(4).unwrap_err();
    assert_eq!(error.to_string(), "semaphore: permits = 4: must not be above what is held back");
    let error = Semaphore::builder(3).initial(4).build().unwrap_err();
    assert_eq!((error.knob(), error.value()), ("initial", "4"));
}

#[test]
fn what_can_never_be_granted_is_refused_at_once_and_takes_nothing() {
    // SEM4, S66
    for order in ORDERS {
        let semaphore = with_order(3, order);
        let held = semaphore.try_acquire().unwrap();
        let error = Polled::new(semaphore.acquire_many(4)).poll().unwrap().unwrap_err();
        assert!(error.exceeds_capacity());
        assert_eq!(error.to_string(), "semaphore: 4 permits wanted, above the capacity of 3");
        assert!(Polled::new(semaphore.acquire_many(0)).poll().unwrap().unwrap_err().is_zero());
        assert!(semaphore.try_acquire_many(4).unwrap_err().exceeds_capacity());
        assert!(semaphore.try_acquire_many(0).unwrap_err().is_zero());
        assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0));
        drop(held);
    }
    let empty = Semaphore::new(0);
    assert!(Polled::new(empty.acquire()).poll().unwrap().unwrap_err().exceeds_capacity());
    assert!(Polled::new(empty.acquire_all()).poll().unwrap().is_err());
}

#[test]
fn fifo_serves_in_order_and_a_large_head_is_not_overtaken() {
    // SEM3, S66
    let semaphore = Semaphore::new(2);
    let (a, b) = (semaphore.try_acquire().unwrap(), semaphore.try_acquire().unwrap());
    let mut large = Polled::new(semaphore.acquire_many(2));
    let mut small = Polled::new(semaphore.acquire());
    assert!(large.poll().is_none() && small.poll().is_none());
    drop(a);
    assert!(large.poll().is_none() && small.poll().is_none());
    let error = semaphore.try_acquire().unwrap_err();
    assert!(error.is_no_permits(), "a newcomer does not overtake");
    assert_eq!(error.to_string(), "semaphore: 1 permits wanted, 1 free for others who wait");
    drop(b);
    assert!(small.poll().is_none());
    let large = large.poll().unwrap().unwrap();
    assert!(small.poll().is_none());
    drop(large);
    assert!(small.poll().is_some());
}

#[test]
fn a_release_wakes_as_many_waiters_as_it_can_serve() {
    for order in ORDERS {
        let semaphore = with_order(40, order);
        let held: Vec<_> = (0..2).map(|_| semaphore.try_acquire_many(20).unwrap()).collect();
        let mut waiters: Vec<_> = (0..50).map(|_| Some(Polled::new(semaphore.acquire()))).collect();
        assert!(sweep(&mut waiters, &mut Vec::new()).is_empty());
        drop(held);
        let woken = waiters.iter().flatten().filter(|waiter| waiter.wakes() > 0).count();
        assert_eq!(woken, 40, "{order:?}: exactly min(permits, waiters), over several wake batches");
        let mut got = Vec::new();
        assert_eq!(sweep(&mut waiters, &mut got).len(), 40, "{order:?}");
        drop(got);
        assert_eq!(sweep(&mut waiters, &mut Vec::new()).len(), 10, "{order:?}: the rest follow");
    }
}

#[test]
fn two_permits_returned_one_by_one_wake_two_waiters() {
    for order in ORDERS {
        let semaphore = with_order(2, order);
        let (a, b) = (semaphore.try_acquire().unwrap(), semaphore.try_acquire().unwrap());
        let (mut first, mut second) = (Polled::new(semaphore.acquire()), Polled::new(semaphore.acquire()));
        assert!(first.poll().is_none() && second.poll().is_none());
        drop(a);
        drop(b);
        assert_eq!((first.wakes(), second.wakes()), (1, 1), "{order:?}");
        assert!(first.poll().is_some() && second.poll().is_some(), "{order:?}");
    }
}

#[test]
fn lifo_serves_the_newest_first() {
    let semaphore = with_order(1, Order::Lifo);
    let mut held = vec![semaphore.try_acquire().unwrap()];
    let mut waiters: Vec<_> = (0..3).map(|_| Some(Polled::new(semaphore.acquire()))).collect();
    sweep(&mut waiters, &mut held);
    let mut order = Vec::new();
    for _ in 0..3 {
        held.clear();
        order.extend(sweep(&mut waiters, &mut held));
    }
    assert_eq!(order, [2, 1, 0]);
}

#[test]
fn priority_serves_classes_first_and_the_aged_before_the_new() {
    // SEM10, S72
    let time = ManualClock::new();
    let order = Order::Priority { ageing: Duration::from_secs(1) };
    let semaphore = Semaphore::builder(1).order(order).clock(time.clock()).build().unwrap();
    let mut held = vec![semaphore.try_acquire().unwrap()];
    let ask = |priority| {
        let mut waiter = Polled::new(semaphore.acquire_with(Request::new(1).priority(priority)));
        assert!(waiter.poll().is_none());
        Some(waiter)
    };
    let mut waiters = vec![ask(Priority::Low)];
    time.advance(Duration::from_millis(1999));
    waiters.push(ask(Priority::Normal));
    waiters.push(ask(Priority::High)); // 1.999 s behind, two classes up: still before the low one
    waiters.push(ask(Priority::Critical));
    time.advance(Duration::from_millis(2));
    waiters.push(ask(Priority::High)); // the low one has aged by two classes now
    let mut served = Vec::new();
    for _ in 0..5 {
        held.clear();
        served.extend(sweep(&mut waiters, &mut held));
    }
    assert_eq!(served, [3, 2, 0, 4, 1]);
    let error = Semaphore::builder(1).order(Order::Priority { ageing: Duration::ZERO }).build().unwrap_err();
    assert_eq!(error.knob(), "ageing");
}

#[test]
fn strict_hand_off_waits_for_a_future_nobody_polls_and_barging_does_not() {
    for (order, free_for_others) in [(Order::Fifo, false), (Order::Barging, true)] {
        let semaphore = with_order(1, order);
        let held = semaphore.try_acquire().unwrap();
        let mut stuck = Polled::new(semaphore.acquire());
        let mut live = Polled::new(semaphore.acquire());
        assert!(stuck.poll().is_none() && live.poll().is_none());
        drop(held); // `stuck` is granted, or woken; nobody polls it any more
        assert_eq!(semaphore.try_acquire().is_ok(), free_for_others, "{order:?}");
        let releases = (0..64)
            .take_while(|_| {
                drop(semaphore.try_acquire());
                live.wakes() == 0
            })
            .count();
        assert_eq!(releases < 8, free_for_others, "{order:?}: others are woken within eight releases");
        assert_eq!(live.poll().is_some(), free_for_others, "{order:?}");
        // Dropping the stuck future mends the strict order too.
        drop(stuck);
        let live = if free_for_others { semaphore.try_acquire().is_ok() } else { live.poll().is_some() };
        assert!(live, "{order:?}");
    }
}

#[test]
fn a_woken_waiter_that_comes_too_late_keeps_its_place() {
    let semaphore = with_order(1, Order::Barging);
    let held = semaphore.try_acquire().unwrap();
    let (mut first, mut second) = (Polled::new(semaphore.acquire()), Polled::new(semaphore.acquire()));
    assert!(first.poll().is_none() && second.poll().is_none());
    drop(held);
    let barger = semaphore.try_acquire().unwrap();
    assert!(first.poll().is_none(), "too late");
    drop(barger);
    assert_eq!((first.wakes(), second.wakes()), (2, 0), "still the first in line");
    assert!(first.poll().is_some());
}

#[test]
fn a_dropped_waiter_passes_on_what_it_was_granted_or_woken_for() {
    // SEM12, S67
    for order in ORDERS {
        let semaphore = with_order(2, order);
        let held = semaphore.try_acquire_many(2).unwrap();
        let mut first = Polled::new(semaphore.acquire_many(2));
        assert!(first.poll().is_none());
        let mut second = Polled::new(semaphore.acquire());
        if order != Order::Lifo {
            assert!(second.poll().is_none());
        }
        drop(held);
        drop(first);
        assert!(second.poll().is_some(), "{order:?}");
        assert_eq!((semaphore.available(), semaphore.waiting()), (2, 0), "{order:?}");
    }
}

#[test]
fn a_large_head_that_gives_up_lets_the_small_ones_behind_it_through() {
    for order in [Order::Fifo, Order::Priority { ageing: Duration::from_secs(1) }] {
        let semaphore = with_order(3, order);
        let _held = semaphore.try_acquire_many(1).unwrap();
        let mut large = Polled::new(semaphore.acquire_many(3));
        let mut small = Polled::new(semaphore.acquire_many(2));
        assert!(large.poll().is_none() && small.poll().is_none());
        drop(large);
        assert_eq!(small.wakes(), 1, "{order:?}");
        assert!(small.poll().is_some(), "{order:?}");
    }
}

#[test]
fn try_acquire_succeeds_after_the_last_waiter_gave_up() {
    for order in ORDERS {
        let semaphore = with_order(2, order);
        let held = semaphore.try_acquire().unwrap();
        let mut waiter = Polled::new(semaphore.acquire_many(2));
        assert!(waiter.poll().is_none());
        drop(waiter);
        assert!(semaphore.try_acquire().is_ok(), "{order:?}: nobody waits, one is free");
        drop(held);
        assert_eq!(semaphore.available(), 2);
    }
}

#[test]
fn two_who_want_everything_do_not_block_each_other() {
    // SEM8
    for order in ORDERS {
        let semaphore = with_order(4, order);
        let held = semaphore.try_acquire().unwrap();
        let (mut a, mut b) = (Polled::new(semaphore.acquire_all()), Polled::new(semaphore.acquire_all()));
        assert!(a.poll().is_none() && b.poll().is_none());
        drop(held);
        let (first, mut other) = match a.poll() {
            Some(permit) => (permit.unwrap(), b),
            None => (b.poll().unwrap().unwrap(), a),
        };
        assert_eq!(first.permits(), 4);
        assert!(other.poll().is_none());
        drop(first);
        assert_eq!(other.poll().unwrap().unwrap().permits(), 4, "{order:?}");
        assert_eq!(semaphore.try_acquire_all().unwrap().permits(), 4);
    }
}

#[test]
fn time_limits_end_the_wait_and_a_grant_at_the_limit_counts() {
    // SEM5
    let time = ManualClock::new();
    let semaphore = Semaphore::builder(1).name("db").clock(time.clock()).build().unwrap();
    let held = semaphore.try_acquire().unwrap();
    let mut waiter = Polled::new(semaphore.acquire_timeout(Duration::from_millis(100)));
    assert!(waiter.poll().is_none());
    time.advance(Duration::from_nanos(99_999_999));
    assert!(waiter.poll().is_none());
    time.advance(Duration::from_nanos(1));
    let error = waiter.poll().unwrap().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "db: no permit within 100ms");
    assert_eq!((semaphore.waiting(), time.armed()), (0, 0));

    let mut waiter = Polled::new(semaphore.acquire_many_timeout(1, Duration::from_millis(100)));
    assert!(waiter.poll().is_none());
    time.advance(Duration::from_millis(100));
    drop(held);
    assert!(waiter.poll().unwrap().is_ok(), "granted and timed out at once: granted");
    drop(waiter);
    assert_eq!(time.armed(), 0);

    let mut ready = Polled::new(semaphore.acquire_timeout(Duration::MAX));
    assert!(ready.poll().unwrap().is_ok());
}

#[test]
fn a_bound_on_who_may_wait_refuses_the_next() {
    // S68, for the bulkhead
    let semaphore = Semaphore::new(1);
    let held = semaphore.try_acquire().unwrap();
    let request = Request::new(1).max_waiting(1);
    let mut first = Polled::new(semaphore.acquire_with(request));
    assert!(first.poll().is_none());
    let error = Polled::new(semaphore.acquire_with(request)).poll().unwrap().unwrap_err();
    assert!(error.is_queue_full());
    assert_eq!(error.to_string(), "semaphore: 1 requests wait already");
    drop(held);
    assert!(first.poll().unwrap().is_ok());
    let none_waits = Request::new(1).max_waiting(0);
    let held = Polled::new(semaphore.acquire_with(none_waits)).poll().unwrap().unwrap();
    assert!(Polled::new(semaphore.acquire_with(none_waits)).poll().unwrap().is_err());
    drop(held);
    assert!(semaphore.try_acquire().is_ok(), "a refusal leaves no trace");
}

#[test]
fn growing_wakes_and_shrinking_is_absorbed_as_permits_return() {
    // SEM9, S69
    for order in ORDERS {
        let semaphore = with_order(4, order);
        let mut held: Vec<_> = (0..4).map(|_| semaphore.try_acquire().unwrap()).collect();
        assert_eq!(semaphore.resize(2), 4);
        assert_eq!((semaphore.available(), semaphore.in_use(), semaphore.capacity()), (0, 4, 2));
        held.pop();
        held.pop();
        assert!(semaphore.try_acquire().is_err(), "{order:?}");
        assert_eq!((semaphore.available(), semaphore.in_use()), (0, 2));
        held.pop();
        held.push(semaphore.try_acquire().unwrap());
        let mut waiter = Polled::new(semaphore.acquire_many(2));
        assert!(waiter.poll().is_none());
        semaphore.resize(4);
        assert_eq!(waiter.wakes(), 1, "{order:?}");
        let got = waiter.poll().unwrap().unwrap();
        drop(held);
        drop(got);
        assert_eq!((semaphore.available(), semaphore.in_use(), semaphore.capacity()), (4, 0, 4));
    }
}

#[test]
fn a_shrink_ends_waits_that_became_hopeless_and_trims_those_for_all() {
    for order in ORDERS {
        let semaphore = with_order(4, order);
        let held = semaphore.try_acquire_many(4).unwrap();
        let mut hopeless = Polled::new(semaphore.acquire_many(3));
        let mut all = Polled::new(semaphore.acquire_all());
        assert!(hopeless.poll().is_none() && all.poll().is_none());
        semaphore.resize(2);
        let error = hopeless.poll().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "semaphore: 3 permits wanted, above the capacity of 2");
        assert!(all.poll().is_none());
        drop(held);
        assert_eq!(all.poll().unwrap().unwrap().permits(), 2, "{order:?}");
        let _held = semaphore.try_acquire_all().unwrap();
        let mut last = Polled::new(semaphore.acquire_all());
        assert!(last.poll().is_none());
        semaphore.resize(0);
        assert!(last.poll().unwrap().is_err(), "{order:?}");
    }
}

#[test]
fn close_ends_all_waits_and_refuses_what_comes() {
    // SEM11
    for order in ORDERS {
        let semaphore = with_order(1, order);
        let held = semaphore.try_acquire().unwrap();
        let mut waiters: Vec<_> = (0..40).map(|_| Polled::new(semaphore.acquire())).collect();
        for waiter in &mut waiters {
            assert!(waiter.poll().is_none());
        }
        semaphore.close();
        semaphore.close();
        for waiter in &mut waiters {
            assert_eq!(waiter.wakes(), 1);
            assert!(waiter.poll().unwrap().unwrap_err().is_closed());
        }
        assert!(semaphore.is_closed());
        drop(held);
        assert_eq!(semaphore.in_use(), 0);
        assert!(semaphore.try_acquire().unwrap_err().is_closed());
        let error = Polled::new(semaphore.acquire()).poll().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "semaphore: closed");
        semaphore.resize(7);
        assert!(semaphore.try_acquire().unwrap_err().is_closed(), "a resize does not re-open");
    }
}

#[test]
fn permits_split_merge_and_are_forgotten() {
    let semaphore = Arc::new(Semaphore::new(6));
    let mut five: OwnedPermit = semaphore.try_acquire_many_owned(5).unwrap();
    assert!(five.split(6).is_none());
    let two = five.split(2).unwrap();
    assert_eq!((five.permits(), two.permits(), semaphore.available()), (3, 2, 1));
    five.merge(two).unwrap();
    assert_eq!(five.permits(), 5);
    let other = Arc::new(Semaphore::new(1));
    let foreign = other.try_acquire_owned().unwrap();
    let foreign = five.merge(foreign).unwrap_err();
    assert_eq!(foreign.permits(), 1);
    five.split(4).unwrap().forget();
    assert_eq!((semaphore.capacity(), semaphore.in_use(), semaphore.available()), (2, 1, 1));
    drop(five);
    assert_eq!((semaphore.capacity(), semaphore.available()), (2, 2));
    // Forgetting what a shrink was still waiting for.
    let all = semaphore.try_acquire_all().unwrap();
    semaphore.resize(1);
    all.forget();
    assert_eq!((semaphore.capacity(), semaphore.available(), semaphore.in_use()), (0, 0, 0));
    semaphore.resize(3);
    assert_eq!(semaphore.available(), 3);
}

#[test]
fn a_finished_future_that_is_polled_again_stays_pending() {
    let semaphore = Semaphore::new(1);
    let mut ready = Polled::new(semaphore.acquire());
    drop(ready.poll().unwrap());
    assert!(ready.poll().is_none());
    assert_eq!(semaphore.available(), 1);
}

#[test]
fn the_extremes_of_capacity_count_exactly() {
    let semaphore = Semaphore::new(u32::MAX);
    let all = semaphore.try_acquire_many(u32::MAX).unwrap();
    assert_eq!((semaphore.available(), semaphore.in_use()), (0, u32::MAX));
    semaphore.resize(0);
    assert_eq!((semaphore.available(), semaphore.in_use(), semaphore.capacity()), (0, u32::MAX, 0));
    semaphore.resize(u32::MAX);
    drop(all);
    assert_eq!((semaphore.available(), semaphore.in_use()), (u32::MAX, 0));
}

#[test]
fn a_waker_may_call_back_into_the_semaphore() {
    // Law 4: wakers run outside the lock, on every path that wakes.
    use std::task::{Wake, Waker};
    struct Reenter(Arc<Semaphore>);
    impl Wake for Reenter {
        fn wake(self: Arc<Self>) {
            drop(self.0.try_acquire());
            assert!(self.0.stats().capacity <= 9);
        }
    }
    type Way = fn(&Semaphore, OwnedPermit);
    let ways: [Way; 4] = [
        |_, held| drop(held),
        |semaphore, _held| semaphore.close(),
        |semaphore, _held| assert_eq!(semaphore.resize(9), 1),
        |_, held| held.forget(),
    ];
    for order in ORDERS {
        for way in ways {
            let semaphore = Arc::new(with_order(1, order));
            let held = semaphore.try_acquire_owned().unwrap();
            let waker = Waker::from(Arc::new(Reenter(Arc::clone(&semaphore))));
            let mut waiters: Vec<_> = (0..20).map(|_| Box::pin(semaphore.acquire_owned())).collect();
            for waiter in &mut waiters {
                assert!(waiter.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
            }
            way(&semaphore, held);
        }
    }
}

#[test]
fn an_ended_context_is_refused_before_any_effect() {
    // CTX2
    let semaphore = Semaphore::new(1);
    let context = Context::background().child();
    context.cancel("shutting down");
    let mut refused = Polled::new(context.scope(semaphore.acquire()));
    let error = refused.poll().unwrap().unwrap_err();
    assert!(error.context_error().unwrap().is_cancelled());
    assert!(error.to_string().starts_with("semaphore: "), "{error}");
    assert!(std::error::Error::source(&error).is_some());
    let time = ManualClock::new();
    let semaphore = Semaphore::builder(1).clock(time.clock()).build().unwrap();
    let context = Context::background().with_clock(time.clock()).with_timeout(Duration::from_secs(1));
    assert!(Polled::new(context.scope(semaphore.acquire())).poll().unwrap().is_ok());
    time.advance(Duration::from_secs(1));
    let error = Polled::new(context.scope(semaphore.acquire())).poll().unwrap().unwrap_err();
    assert!(error.context_error().unwrap().is_deadline_exceeded());
    assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
}

#[test]
fn debug_does_not_block() {
    let semaphore = Semaphore::builder(2).name("cpu").build().unwrap();
    let shown = format!("{semaphore:?}");
    assert!(shown.contains("cpu") && shown.contains("available: 2"), "{shown}");
}

#[test]
fn what_is_held_back_can_be_added_once_whatever_is_out() {
    // S70: adding is not a way to release twice.
    let semaphore = Semaphore::builder(3).initial(1).build().unwrap();
    let one = semaphore.try_acquire().unwrap();
    assert!(semaphore.add_permits(3).is_err(), "two are held back, however many are in use");
    semaphore.add_permits(2).unwrap();
    assert!(semaphore.add_permits(1).is_err());
    drop(one);
    assert_eq!((semaphore.available(), semaphore.in_use()), (3, 0));
}

#[test]
fn of_two_that_are_equally_far_the_higher_class_goes_first() {
    // SEM10: the place where a newcomer looks for permits is the place where it stands in line.
    let time = ManualClock::new();
    let order = Order::Priority { ageing: Duration::from_secs(1) };
    let semaphore = Semaphore::builder(2).order(order).clock(time.clock()).build().unwrap();
    let _held = semaphore.try_acquire().unwrap();
    let mut low = Polled::new(semaphore.acquire_with(Request::new(2).priority(Priority::Low)));
    assert!(low.poll().is_none());
    time.advance(Duration::from_secs(3));
    let mut critical = Polled::new(semaphore.acquire_with(Request::new(1).priority(Priority::Critical)));
    assert!(critical.poll().is_some(), "first in line beside a free permit");
}

/// A waker that runs `0` when it is woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> OnWake<F> {
    fn waker(action: F) -> std::task::Waker {
        Arc::new(Self(action)).into()
    }
}

impl<F: Fn() + Send + Sync + 'static> std::task::Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn poll_with<F: Future>(future: std::pin::Pin<&mut F>, waker: &std::task::Waker) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(waker)) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

fn panics(action: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).is_err()
}

#[test]
fn a_panicking_waker_takes_nothing_with_it() {
    // S67: on each way in which others are woken, those behind the panic are served all the same.
    type Way = fn(&Semaphore, OwnedPermit);
    let ways: [Way; 4] = [
        |_, held| drop(held),
        |semaphore, _held| assert_eq!(semaphore.resize(80), 40),
        |semaphore, _held| semaphore.close(),
        |_, _released_by_unwinding| panic!("another reason"),
    ];
    for order in ORDERS {
        for (way, act) in ways.iter().enumerate() {
            let semaphore = Arc::new(with_order(40, order));
            let held = semaphore.try_acquire_many_owned(40).unwrap();
            let waker = OnWake::waker(|| panic!("a broken waker"));
            let mut broken: Vec<_> = (0..3).map(|_| Box::pin(semaphore.acquire())).collect();
            for future in &mut broken {
                assert!(poll_with(future.as_mut(), &waker).is_none());
            }
            let mut waiters: Vec<_> = (0..37).map(|_| Polled::new(semaphore.acquire())).collect();
            assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_none()));
            assert!(panics(|| act(&semaphore, held)), "{order:?}, way {way}");
            let woken = waiters.iter().filter(|waiter| waiter.wakes() == 1).count();
            assert_eq!(woken, 37, "{order:?}, way {way}");
        }
    }
}

#[test]
fn a_panicking_waker_of_a_hopeless_head_leaves_room_to_the_next() {
    let semaphore = Semaphore::new(40);
    let _held = semaphore.try_acquire_many(10).unwrap();
    let mut broken = Box::pin(semaphore.acquire_many(35));
    assert!(poll_with(broken.as_mut(), &OnWake::waker(|| panic!("a broken waker"))).is_none());
    let mut next = Polled::new(semaphore.acquire_many(20));
    assert!(next.poll().is_none());
    assert!(panics(|| assert_eq!(semaphore.resize(34), 40)));
    assert!(next.poll().unwrap().is_ok());
}

#[test]
fn nobody_is_granted_anything_once_closed() {
    // SEM11: not even by a permit that comes back in the middle of it.
    for order in ORDERS {
        let semaphore = Arc::new(with_order(1, order));
        let held = std::sync::Mutex::new(semaphore.try_acquire_owned().ok());
        let waker = OnWake::waker(move || {
            let returned = held.lock().unwrap().take();
            drop(returned);
        });
        let mut waiters: Vec<_> = (0..40).map(|_| Box::pin(semaphore.acquire())).collect();
        for waiter in &mut waiters {
            assert!(poll_with(waiter.as_mut(), &waker).is_none());
        }
        semaphore.close();
        assert_eq!(semaphore.available(), 1);
        for waiter in &mut waiters {
            assert!(poll_with(waiter.as_mut(), &waker).unwrap().unwrap_err().is_closed(), "{order:?}");
        }
    }
}
