//! Foreign code that panics.

use super::{build, secs};
use cofferdam::limit::tiered::{Acquire, Request};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::sync::Priority;
use cofferdam::testkit::Polled;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn on_wake(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnWake(act)))
}

fn is_pending(future: Pin<&mut impl Future>, waker: &Waker) -> bool {
    future.poll(&mut Context::from_waker(waker)).is_pending()
}

// A newcomer who goes before others serves them, and stands in the queue already when one of their wakers panics.
#[test]
fn a_newcomer_that_a_panic_of_another_meets_is_in_the_queue_and_leaves_it() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1).burst(2)));
    let limiter: &'static Tiered = Box::leak(Box::new(limiter));
    let (a, b) = (Request::new("GET", "/a"), Request::new("GET", "/b"));
    assert!(limiter.try_acquire(a.tokens(2)).is_ok() && limiter.try_acquire(b.tokens(2)).is_ok());
    let newcomer: Arc<Mutex<Option<Pin<Box<Acquire<'static>>>>>> = Arc::default();
    // At the instant at which the others are due, but before the limiter's own timer.
    let mut timer = Box::pin(time.clock().sleep(secs(1)));
    let come = on_wake({
        let newcomer = Arc::clone(&newcomer);
        move || {
            let mut high = Box::pin(limiter.acquire(a.tokens(2).priority(Priority::High)));
            let poll = AssertUnwindSafe(|| is_pending(high.as_mut(), Waker::noop()));
            assert!(catch_unwind(poll).is_err());
            *newcomer.lock().unwrap() = Some(high);
        }
    });
    assert!(is_pending(timer.as_mut(), &come));
    let mut low = Polled::new(limiter.acquire(a));
    assert!(low.poll().is_none());
    let mut hostile = Box::pin(limiter.acquire(b));
    assert!(is_pending(hostile.as_mut(), &on_wake(|| panic!("a hostile waker"))));
    time.advance(secs(1));
    let newcomer = newcomer.lock().unwrap().take().unwrap();
    assert!(low.poll().is_none());
    drop(newcomer);
    assert!(low.poll().is_some_and(|taken| taken.is_ok()));
    assert!(!is_pending(hostile.as_mut(), Waker::noop()));
    assert_eq!((limiter.stats().waiting, time.armed()), (0, 0));
}
