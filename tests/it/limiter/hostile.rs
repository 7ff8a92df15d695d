//! Foreign code that panics, comes back, or gives others up: wakers, and what `Debug` writes to.

use super::{ms, secs, waiting, with_initial};
use cofferdam::limit::{Acquire, AllOf, Joint, Quota, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};
use std::fmt::{self, Write};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

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

fn panics(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

// S67: those behind it are served at their own instants all the same.
#[test]
fn a_panicking_waker_takes_nothing_with_it() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(1), 0);
    let broken = on_wake(|| panic!("a broken waker"));
    let mut first = Box::pin(bucket.acquire());
    assert!(is_pending(first.as_mut(), &broken));
    let mut second = waiting(bucket.acquire());
    assert!(panics(|| time.advance(secs(1))));
    assert_eq!(time.armed(), 1, "for the one behind");
    time.advance(secs(1));
    assert!(second.poll().unwrap().is_ok());
    assert!(!is_pending(first.as_mut(), Waker::noop()));
}

// S67: more than are woken at a time.
#[test]
fn a_panicking_waker_takes_none_of_a_crowd_with_it() {
    let (_time, bucket) = with_initial(Quota::per_second(1).burst(100), 0);
    let broken = on_wake(|| panic!("a broken waker"));
    let mut first = Box::pin(bucket.acquire());
    assert!(is_pending(first.as_mut(), &broken));
    let mut others: Vec<_> = (0..99).map(|_| waiting(bucket.acquire())).collect();
    assert!(panics(|| bucket.refund(100)));
    assert!(others.iter_mut().all(|wait| wait.poll().is_some_and(|result| result.is_ok())));
}

// S67: neither those who wait for it among others, nor what goes to the members of a set.
#[test]
fn a_panicking_waker_keeps_no_news_from_sets_and_members() {
    let time = ManualClock::new();
    let bucket = |quota| TokenBucket::builder(quota).clock(time.clock()).initial(0).build().unwrap();
    let member = bucket(Quota::per_hour(1).burst(2));
    let all = AllOf::of(Joint::builder().with("member", member.clone()).build().unwrap());
    let broken = on_wake(|| panic!("a broken waker"));
    let mut first = Box::pin(member.acquire());
    assert!(is_pending(first.as_mut(), &broken));
    let mut of_all = waiting_for(&all);
    assert!(panics(|| member.refund(2)));
    assert!(of_all.poll().unwrap().is_ok());
}

fn waiting_for(all: &AllOf) -> Polled<Acquire<'_, Joint>> {
    let mut wait = Polled::new(all.acquire());
    assert!(wait.poll().is_none());
    wait
}

// S36: who is told that he cannot be served holds nothing that he could give back.
#[test]
fn giving_up_after_the_verdict_mints_nothing() {
    let (time, bucket) = with_initial(Quota::per_second(1).burst(5), 0);
    let bucket: &'static TokenBucket = Box::leak(Box::new(bucket));
    type Waits = Arc<Mutex<Vec<Pin<Box<Acquire<'static>>>>>>;
    let others = Waits::default();
    let waker = on_wake({
        let others = Arc::clone(&others);
        move || {
            // From the end: those there are not told yet.
            while let Some(last) = { others.lock().unwrap().pop() } {
                drop(last);
            }
        }
    });
    let mut first = Box::pin(bucket.acquire_many(5));
    assert!(is_pending(first.as_mut(), &waker));
    for _ in 0..40 {
        let mut wait = Box::pin(bucket.acquire_many(5));
        assert!(is_pending(wait.as_mut(), Waker::noop()));
        others.lock().unwrap().push(wait);
    }
    let mut one = waiting(bucket.acquire());
    bucket.set_burst(4);
    assert!(others.lock().unwrap().is_empty());
    assert_eq!((bucket.stats().waiting, bucket.tokens()), (1, -1.0));
    time.advance(ms(999));
    assert_eq!(one.wakes(), 0);
    time.advance(ms(1));
    assert!(one.poll().unwrap().is_ok());
    assert_eq!(bucket.tokens(), 0.0);
}

// No lock is held while others write.
#[test]
fn a_writer_may_ask_the_limiter_that_it_is_shown() {
    struct Asking(TokenBucket, u64);

    impl Write for Asking {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            self.1 = self.0.available();
            Ok(())
        }
    }

    let (shown, is_shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (_time, bucket) = with_initial(Quota::per_second(5), 3);
        let mut asking = Asking(bucket.clone(), 0);
        write!(asking, "{bucket:?}").unwrap();
        shown.send(asking.1).unwrap();
    });
    assert_eq!(is_shown.recv_timeout(secs(20)), Ok(3));
}

// A waker may call whatever it likes.
#[test]
fn a_waker_may_come_back_with_any_call() {
    let (time, bucket) = with_initial(Quota::per_second(10).burst(2), 0);
    let bucket: &'static TokenBucket = Box::leak(Box::new(bucket));
    let now = time.clock();
    let waker = on_wake(move || {
        let _ = bucket.try_acquire();
        let _ = bucket.peek_at(1, now.now());
        let _ = bucket.reserve(1).map(|reservation| reservation.cancel());
        bucket.refund(1);
        bucket.drain_to(1);
        bucket.pause_for(ms(10));
        bucket.set_temporarily(Quota::per_second(20).burst(2), ms(10));
        bucket.clear_temporary();
        bucket.set_burst(3);
        bucket.resume();
        let _ = (bucket.stats(), bucket.available(), bucket.tokens(), format!("{bucket:?}"));
        let mut wait = Box::pin(bucket.acquire());
        let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    });
    let mut waits: Vec<_> = (0..40).map(|_| Box::pin(bucket.acquire())).collect();
    for wait in &mut waits {
        assert!(is_pending(wait.as_mut(), &waker));
    }
    time.advance(secs(60));
    assert!(waits.iter_mut().all(|wait| {
        matches!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }));
    assert_eq!((bucket.stats().waiting, time.armed()), (0, 0));
}
