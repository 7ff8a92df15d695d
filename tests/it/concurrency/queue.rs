//! Disciplines: who goes first, and who is sent away.

use super::{hold, ms};
use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{Acquire, Discipline, OwnedPermit, Request};
use cofferdam::sync::{Order, Priority};
use cofferdam::testkit::{ManualClock, Polled};
use std::future::Future;
use std::time::Duration;

type Wait = Polled<Acquire<ConcurrencyLimiter>>;

struct Queue {
    time: ManualClock,
    limiter: ConcurrencyLimiter,
    held: Vec<OwnedPermit>,
    waits: Vec<(u64, Wait)>,
}

impl Queue {
    /// One permit, which is taken.
    fn new(discipline: impl Into<Discipline>) -> Self {
        let time = ManualClock::new();
        let builder = ConcurrencyLimiter::builder(1).discipline(discipline).clock(time.clock());
        let limiter = builder.build().unwrap();
        let held = hold(&limiter, 1);
        Self { time, limiter, held, waits: Vec::new() }
    }

    fn elapsed(&self) -> u64 {
        self.time.elapsed().as_millis() as u64
    }

    /// Somebody comes, and is known by when.
    fn comes(&mut self) {
        self.comes_with(Request::new(1));
    }

    fn comes_with(&mut self, request: Request) {
        let mut wait = Polled::new(self.limiter.acquire_with_owned(request));
        assert!(wait.poll().is_none());
        self.waits.push((self.elapsed(), wait));
    }

    fn pass(&mut self, millis: u64) {
        self.time.advance(ms(millis));
    }

    /// The permit comes free: who has it next.
    fn next(&mut self) -> Option<u64> {
        self.held.clear();
        let mut next = None;
        for (came, wait) in &mut self.waits {
            if let Some(permit) = wait.poll().and_then(Result::ok) {
                assert!(next.replace(*came).is_none(), "one permit, two who have it");
                self.held.push(permit);
            }
        }
        self.forget(next);
        next
    }

    fn forget(&mut self, came: Option<u64>) {
        if let Some(at) = self.waits.iter().position(|(other, _)| Some(*other) == came) {
            drop(self.waits.remove(at));
        }
    }

    /// Who has been told that it is shed; only those who were woken are looked at.
    fn shed(&mut self) -> Vec<u64> {
        let mut shed = Vec::new();
        self.waits.retain_mut(|(came, wait)| {
            let told = wait.wakes() > 0 && wait.poll().is_some_and(|end| end.unwrap_err().is_shed());
            if told {
                shed.push(*came);
            }
            !told
        });
        shed
    }
}

const N: Duration = Duration::from_millis(200);
const M: Duration = Duration::from_millis(10);

const fn controlled(lifo: bool) -> Discipline {
    Discipline::ControlledDelay { target: M, interval: N, lifo }
}

#[test]
fn in_lifo_the_newest_goes_first_and_in_fifo_the_oldest() {
    for (order, expected) in [(Order::Fifo, [0, 1, 2]), (Order::Lifo, [2, 1, 0])] {
        let mut queue = Queue::new(order);
        for _ in 0..3 {
            queue.comes();
            queue.pass(1);
        }
        assert_eq!([queue.next(), queue.next(), queue.next()], expected.map(Some), "{order:?}");
    }
}

// S72
#[test]
fn a_higher_class_goes_first_unless_a_lower_one_has_aged() {
    let mut queue = Queue::new(Order::Priority { ageing: ms(100) });
    let of = |priority| Request::new(1).priority(priority);
    queue.comes_with(of(Priority::Low));
    queue.pass(10);
    queue.comes_with(of(Priority::High));
    queue.pass(10);
    queue.comes_with(of(Priority::Normal));
    assert_eq!([queue.next(), queue.next()], [Some(10), Some(20)], "by class, not by arrival");
    queue.pass(190);
    queue.comes_with(of(Priority::High));
    assert_eq!(queue.next(), Some(0), "two classes below, and more than twice the ageing before");
    assert_eq!(queue.next(), Some(210));
}

// S80: LIFO only while overloaded
#[test]
fn the_newest_goes_first_only_once_the_queue_has_not_been_empty_for_an_interval() {
    let mut queue = Queue::new(Discipline::AdaptiveLifo { interval: N });
    for _ in 0..4 {
        queue.comes();
        queue.pass(50);
    }
    // At 200 the queue is as old as the interval.
    assert_eq!(queue.next(), Some(150));
    assert_eq!(queue.next(), Some(100));
    assert_eq!([queue.next(), queue.next()], [Some(50), Some(0)]);
    assert_eq!(queue.limiter.waiting(), 0, "empty once: a new count");
    queue.comes();
    queue.pass(100);
    queue.comes();
    queue.pass(99);
    assert_eq!(queue.next(), Some(200), "the oldest: 199 ms, not 200");
    queue.pass(1);
    queue.comes();
    assert_eq!(queue.next(), Some(400));
    assert_eq!(queue.time.armed(), 0, "nobody is shed, so no timer is needed");
}

// S80, as it is written there
#[test]
fn in_an_overloaded_queue_12_ms_are_too_long_and_in_a_fresh_one_150_are_not() {
    for lifo in [false, true] {
        let mut queue = Queue::new(controlled(lifo));
        // Never empty for 250 ms: each has somebody behind it before it is served.
        queue.comes();
        for _ in 0..3 {
            queue.pass(60);
            queue.comes();
            assert_eq!(queue.next(), Some(queue.elapsed() - 60), "served within the interval, oldest first");
        }
        queue.pass(12);
        queue.comes();
        assert_eq!(queue.next(), Some(180));
        queue.pass(46);
        queue.comes();
        assert_eq!(queue.elapsed(), 238);
        assert_eq!(queue.limiter.stats().shed, 1, "that of 192, seen when the next came");
        queue.pass(12);
        assert_eq!(queue.next(), None, "12 ms, where 10 are allowed");
        assert_eq!(queue.limiter.stats().shed, 2);
        queue.waits.clear();

        // It has been empty.
        queue.held = hold(&queue.limiter, 1);
        queue.comes();
        let came = queue.elapsed();
        queue.pass(150);
        assert_eq!(queue.next(), Some(came));
    }
}

// S80
#[test]
fn allowed_is_what_is_not_longer() {
    let mut queue = Queue::new(controlled(false));
    queue.comes();
    queue.pass(195);
    queue.comes();
    queue.pass(10);
    assert_eq!(queue.next(), Some(195), "waited for 10 ms, and the queue is 205 old");
    assert_eq!(queue.limiter.stats().shed, 1);
    let mut queue = Queue::new(controlled(false));
    queue.comes();
    queue.pass(200);
    assert_eq!(queue.next(), Some(0), "for the interval, at its very end");
}

// S80: "nobody may wait for ever"
#[test]
fn who_is_shed_is_told_without_a_permit_coming_free() {
    let mut queue = Queue::new(controlled(true));
    for _ in 0..4 {
        queue.comes();
        queue.pass(65);
    }
    // Came at 0, 65, 130, 195; it is 260.
    assert_eq!(queue.shed(), [0, 65, 130, 195]);
    assert_eq!((queue.limiter.waiting(), queue.limiter.stats().shed, queue.time.armed()), (0, 4, 0));
    let mut queue = Queue::new(controlled(true));
    queue.comes();
    queue.pass(195);
    queue.comes();
    queue.pass(5);
    assert_eq!(queue.shed(), [0; 0], "at the very end of the interval it may still be served");
    queue.time.advance(Duration::from_nanos(1));
    assert_eq!(queue.shed(), [0]);
    queue.pass(5);
    assert_eq!(queue.shed(), [195]);
    let error = {
        queue.comes();
        queue.pass(201);
        queue.waits[0].1.poll().unwrap().unwrap_err()
    };
    assert!(error.is_shed() && error.is_temporary());
    assert_eq!(
        error.to_string(),
        "concurrency limiter: shed: waited for more than 200ms in an overloaded queue"
    );
}

#[test]
fn the_earlier_of_wait_limit_and_discipline_ends_a_wait_and_is_named() {
    let mut queue = Queue::new(controlled(true));
    queue.comes_with(Request::new(1).wait_limit(ms(50)));
    queue.comes_with(Request::new(1).wait_limit(ms(500)));
    queue.pass(50);
    assert!(queue.waits[0].1.poll().unwrap().unwrap_err().is_timeout());
    queue.pass(151);
    assert!(queue.waits[1].1.poll().unwrap().unwrap_err().is_shed());
    assert_eq!(queue.limiter.stats().shed, 1, "a timeout is not shed");
}

#[test]
fn a_full_queue_makes_room_of_those_who_are_only_still_to_be_told() {
    let time = ManualClock::new();
    let builder = ConcurrencyLimiter::builder(1).discipline(controlled(false)).queue(1).clock(time.clock());
    let limiter = builder.build().unwrap();
    let _held = hold(&limiter, 1);
    let mut first = Polled::new(limiter.acquire());
    assert!(first.poll().is_none());
    assert!(Polled::new(limiter.acquire()).poll().unwrap().unwrap_err().is_full());
    time.advance(ms(201));
    let mut second = Polled::new(limiter.acquire());
    assert!(second.poll().is_none());
    assert!(first.poll().unwrap().unwrap_err().is_shed());
    assert_eq!((limiter.waiting(), limiter.stats().shed), (1, 1));
}

#[test]
fn a_waker_may_use_the_limiter() {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    struct Reenters(ConcurrencyLimiter);
    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {
            assert!(self.0.try_acquire().is_err());
            assert_eq!(self.0.stats().in_flight, 1);
        }
    }
    let queue = Queue::new(controlled(true));
    let waker = Waker::from(Arc::new(Reenters(queue.limiter.clone())));
    let mut wait = Box::pin(queue.limiter.acquire());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(queue.held);
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}
