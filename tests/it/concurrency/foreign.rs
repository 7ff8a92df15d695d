//! Foreign code at the worst moment: wakers that act when they are cloned or dropped, writers that look back, and threads
//! that pass through the line.

use super::{IN_ORDER, hold, secs};
use crate::support::hostile;
use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::Discipline;
use cofferdam::sync::Gate;
use cofferdam::testkit::ManualClock;
use std::fmt::{self, Write as _};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{self, Poll, Wake, Waker};
use std::thread;

/// With a line of its own.
fn in_line(limit: u32) -> ConcurrencyLimiter {
    let builder = ConcurrencyLimiter::builder(limit);
    builder.discipline(Discipline::AdaptiveLifo { interval: secs(3600) }).build().unwrap()
}

#[test]
fn a_waker_that_panics_when_it_is_not_needed_loses_no_permit() {
    let limiter = in_line(1);
    let held = hold(&limiter, 1);
    // The permit comes back between the first look, which finds none, and the second, in line.
    let (waker, _hook) = hostile(Box::new(move || drop(held)));
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let acquire = pin!(limiter.acquire());
        acquire.poll(&mut task::Context::from_waker(&waker)).map(drop)
    }));
    assert!(polled.is_err(), "its panic passes through");
    assert_eq!((limiter.in_flight(), limiter.available(), limiter.waiting()), (0, 1, 0));
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_timer_that_panics_when_it_is_disarmed_loses_no_permit() {
    struct Last;
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Last {
        fn drop(&mut self) {
            panic!("as told");
        }
    }
    for discipline in IN_ORDER {
        let time = ManualClock::new();
        let builder = ConcurrencyLimiter::builder(1).discipline(discipline).clock(time.clock());
        let limiter = builder.build().unwrap();
        let held = hold(&limiter, 1);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut acquire = pin!(limiter.acquire_timeout(secs(3600)));
            let waker = Waker::from(Arc::new(Last));
            assert!(acquire.as_mut().poll(&mut task::Context::from_waker(&waker)).is_pending());
            drop(waker);
            // The queue gives up its own to wake it; the timer has the last.
            drop(held);
            acquire.poll(&mut task::Context::from_waker(Waker::noop())).map(drop)
        }));
        assert!(polled.is_err(), "its panic passes through");
        assert_eq!((limiter.in_flight(), limiter.available(), limiter.waiting()), (0, 1, 0));
    }
}

/// Looks at what is written by writing it once more.
struct LooksBack<'a>(&'a dyn fmt::Debug, String);

impl fmt::Write for LooksBack<'_> {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        write!(self.1, "{:?}", self.0)
    }
}

#[test]
fn a_writer_may_ask_what_it_is_told_of() {
    let (limiter, gate) = (ConcurrencyLimiter::new(1).unwrap(), Gate::new(true));
    let mut writer = LooksBack(&limiter, String::new());
    write!(writer, "{limiter:?}").unwrap();
    assert!(!writer.1.contains("<locked>"), "written to under the lock: {}", writer.1);
    let whole = format!("{gate:?}");
    let mut writer = LooksBack(&gate, String::new());
    write!(writer, "{gate:?}").unwrap();
    assert_eq!(writer.1.replace(&whole, ""), "", "written to under the lock");
}

// Who may be about to get in line is counted before it is known that he is not; he keeps nobody out.
#[test]
fn where_there_are_permits_for_all_nobody_is_refused() {
    let limiter = in_line(8);
    let barrier = Arc::new(Barrier::new(2));
    let in_the_way = {
        let (limiter, barrier) = (limiter.clone(), Arc::clone(&barrier));
        thread::spawn(move || {
            barrier.wait();
            (0..100_000)
                .filter(|_| {
                    let acquire = pin!(limiter.acquire_many(9));
                    let polled = acquire.poll(&mut task::Context::from_waker(Waker::noop()));
                    !matches!(polled, Poll::Ready(Err(error)) if error.exceeds_limit())
                })
                .count()
        })
    };
    barrier.wait();
    let refused = (0..100_000).filter(|_| limiter.try_acquire().is_err()).count();
    assert_eq!((refused, in_the_way.join().unwrap()), (0, 0));
}
