//! Wakers and producers that panic, or do more than they should, in the middle of a generator's work.

use super::poll_one;
use crate::support::{hostile, panic_message};
use cofferdam::stream::{Emitter, generator};
use cofferdam::testkit::WakeCounter;
use futures_executor::block_on;
use futures_util::Stream;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// Panics when it is to wake somebody.
struct Bomb;

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("the waker");
    }
}

fn bomb() -> Waker {
    Waker::from(Arc::new(Bomb))
}

/// One poll by that waker.
fn poll_by(waker: &Waker, future: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
    future.poll(&mut Context::from_waker(waker))
}

#[test]
fn a_waker_that_panics_loses_no_value_and_keeps_nobody_asleep() {
    let (sender, receiver) = cofferdam::sync::oneshot::channel();
    let mut numbers = generator(|y: Emitter<u32>| async move {
        let _ = sender.send(y);
        std::future::pending::<()>().await;
    });
    assert!(poll_one(&mut numbers).is_pending());
    let y = block_on(receiver).unwrap();
    let (mut first, mut second, mut third) = (pin!(y.emit(1)), pin!(y.emit(2)), pin!(y.emit(3)));
    let counters = [WakeCounter::new(), WakeCounter::new()];
    assert!(poll_by(&bomb(), first.as_mut()).is_pending());
    assert!(poll_by(&counters[0].waker(), second.as_mut()).is_pending());
    assert!(poll_by(&counters[1].waker(), third.as_mut()).is_pending());
    assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the waker");
    assert_eq!(counters.each_ref().map(WakeCounter::count), [1, 1]);
    assert_eq!(numbers.ready(), 1);
    assert!(poll_by(Waker::noop(), second.as_mut()).is_pending());
    assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(1)));
    assert!(poll_by(Waker::noop(), first).is_ready());
    assert!(poll_by(Waker::noop(), second).is_pending());
    assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(2)));
}

/// It was left by an emit that found another value before its own.
#[test]
fn a_waker_that_panics_costs_neither_the_value_nor_the_producer() {
    for ahead in [0, 1] {
        let mut numbers = generator(|y: Emitter<u32>| async move {
            for number in 0..ahead {
                y.emit(number).await;
            }
            let (mut own, mut other) = (Box::pin(y.emit(ahead)), Box::pin(y.emit(ahead + 1)));
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls > 1 {
                    return Poll::Ready(());
                }
                assert!(own.as_mut().poll(cx).is_pending());
                assert!(other.as_mut().poll(&mut Context::from_waker(&bomb())).is_pending());
                Poll::Pending
            })
            .await;
            other.await;
        })
        .prefetch(ahead as usize);
        assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the waker", "{ahead}");
        assert!(block_on(numbers.collect()).into_iter().eq(0..ahead + 2), "{ahead}");
    }
}

#[test]
fn an_end_is_given_out_behind_a_waker_that_panics() {
    let mut numbers = generator(|y: Emitter<u32>| async move {
        poll_fn(|cx| {
            assert!(Pin::new(&mut y.emit(1)).poll(cx).is_pending());
            assert!(Pin::new(&mut y.emit(2)).poll(&mut Context::from_waker(&bomb())).is_pending());
            Poll::Ready(())
        })
        .await;
        Err::<(), _>("broken")
    });
    assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the waker");
    assert_eq!(block_on(numbers.collect()), [Ok(1), Err("broken")]);
}

/// Emits, and is at its end at once.
struct Brittle(Emitter<u32>);

impl Future for Brittle {
    type Output = Result<(), &'static str>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(Pin::new(&mut self.0.emit(1)).poll(cx).is_pending());
        Poll::Ready(Err("broken"))
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("the drop");
    }
}

#[test]
fn a_producer_that_panics_as_it_is_dropped_loses_nothing() {
    let mut numbers = generator(Brittle);
    assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the drop");
    assert_eq!(numbers.ready(), 1);
    assert_eq!(block_on(numbers.collect()), [Ok(1), Err("broken")]);
}

#[test]
fn a_waker_that_panics_as_it_is_dropped_keeps_the_generator_from_nothing() {
    let (sender, receiver) = cofferdam::sync::oneshot::channel();
    let mut numbers = generator(|y: Emitter<u32>| async move {
        let _ = sender.send(y);
        std::future::pending::<()>().await;
    })
    .prefetch(1);
    assert!(poll_one(&mut numbers).is_pending());
    let y = block_on(receiver).unwrap();
    assert!(poll_by(Waker::noop(), pin!(y.emit(1))).is_ready());
    assert!(poll_by(Waker::noop(), pin!(y.emit(2))).is_pending());
    // Between the first look, which finds no room, and the second one, the generator gives the values out and parks.
    let (counter, numbers) = (WakeCounter::new(), Arc::new(Mutex::new(Box::pin(numbers))));
    let (waker, _hook) = hostile({
        let (waker, numbers) = (counter.waker(), Arc::clone(&numbers));
        Box::new(move || {
            let mut numbers = numbers.lock().unwrap();
            for number in 1..=2 {
                assert_eq!(poll_one(&mut *numbers), Poll::Ready(Some(number)));
            }
            assert!(numbers.as_mut().poll_next(&mut Context::from_waker(&waker)).is_pending());
        })
    });
    assert_eq!(panic_message(|| _ = poll_by(&waker, pin!(y.emit(3)))), "as told");
    assert_eq!(counter.count(), 1);
    assert_eq!(poll_one(&mut *numbers.lock().unwrap()), Poll::Ready(Some(3)));
}
