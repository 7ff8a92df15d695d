//! What a generator and an emitter in another task share.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a generator that parks is woken by a value that comes meanwhile | 2 | 3 | `PARKED` set in a turn of the latch after the one that found nothing |
//! | an emit that found no room is woken by the pop that makes it | 2 | 3 | its waker left in a turn after the one that found no room; a pop that wakes nobody |
//! | an emit elsewhere keeps its hands off the tray during a poll | 2 | 3 | `is_inside` that asks only whether anybody polls |
//! | so does one on a thread that has polled before | 2 | 3 | `end` that leaves the name where it is |
//! | what is emitted behind a value of another thread comes behind it | 2 | 3 | `lay` without a look at the word; what was laid down put at the end of the queue |
//! | a value that comes as the stream ends is given out, or not taken | 2 | 3 | `CLOSED` set in a turn of the latch after the one that found nothing |
//!
//! A wake-up that is lost shows as a deadlock, and two threads on the tray as an access that loom refuses.

use crate::generator_slot::{Outlet, Popped, Slot};
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// One poll of the generator, whose producer emits `own` until it has.
fn poll(outlet: &mut Outlet<u32>, waker: &Waker, own: &mut Option<u32>) -> Poll<u32> {
    poll_with(outlet, waker, |slot| {
        if own.is_some() {
            let _ = slot.poll_emit(own, waker);
        }
    })
}

fn poll_with(outlet: &mut Outlet<u32>, waker: &Waker, producer: impl FnOnce(&Slot<u32>)) -> Poll<u32> {
    if outlet.begin() {
        let slot = Arc::clone(outlet.tray());
        if let Some(value) = outlet.run(waker, || producer(&slot)) {
            return Poll::Ready(value);
        }
    }
    match outlet.pop(waker, false) {
        Popped::Value(value) => Poll::Ready(value),
        Popped::Parked => Poll::Pending,
        Popped::Over => panic!("nobody has closed it"),
    }
}

/// One poll of an emit that finds room.
fn emit(slot: &Slot<u32>, value: u32) {
    let mut value = Some(value);
    let _ = slot.poll_emit(&mut value, Waker::noop());
    assert_eq!(value, None);
}

#[test]
fn a_value_of_another_thread_wakes_the_generator() {
    loom::model(|| {
        let mut outlet = Outlet::with(0);
        let thread = {
            let slot = Arc::clone(outlet.tray());
            thread::spawn(move || emit(&slot, 7))
        };
        let value = block_on(poll_fn(|cx| poll(&mut outlet, cx.waker(), &mut None)));
        assert_eq!(value, 7);
        thread.join().unwrap();
    });
}

#[test]
fn an_emit_without_room_is_woken_by_the_pop() {
    loom::model(|| {
        let outlet = Outlet::with(0);
        let slot = Arc::clone(outlet.tray());
        emit(&slot, 7);
        let thread =
            thread::spawn(move || assert!(matches!(outlet.pop(Waker::noop(), false), Popped::Value(7))));
        // What it waits for is that the first value is taken.
        let mut nothing = None;
        block_on(poll_fn(|cx| slot.poll_emit(&mut nothing, cx.waker())));
        thread.join().unwrap();
    });
}

#[test]
fn an_emit_elsewhere_does_not_touch_what_is_laid_down_in_a_poll() {
    for ahead in [0, 1] {
        loom::model(move || {
            let mut outlet = Outlet::with(ahead);
            let thread = {
                let slot = Arc::clone(outlet.tray());
                thread::spawn(move || emit(&slot, 7))
            };
            let (waker, mut own) = (Waker::noop(), Some(1));
            let mut values = vec![poll(&mut outlet, waker, &mut own)];
            thread.join().unwrap();
            values.push(poll(&mut outlet, waker, &mut own));
            values.sort();
            assert_eq!(values, [Poll::Ready(1), Poll::Ready(7)]);
        });
    }
}

#[test]
fn a_thread_that_has_polled_is_elsewhere_when_another_one_polls() {
    loom::model(|| {
        let mut outlet = Outlet::with(0);
        let slot = Arc::clone(outlet.tray());
        assert_eq!(poll(&mut outlet, Waker::noop(), &mut Some(1)), Poll::Ready(1));
        let thread = thread::spawn(move || {
            let mut own = Some(2);
            let value = poll(&mut outlet, Waker::noop(), &mut own);
            (value, outlet, own)
        });
        emit(&slot, 7);
        let (first, mut outlet, mut own) = thread.join().unwrap();
        let mut values = [first, poll(&mut outlet, Waker::noop(), &mut own)];
        values.sort();
        assert_eq!(values, [Poll::Ready(2), Poll::Ready(7)]);
    });
}

#[test]
fn values_come_in_the_order_in_which_threads_see_them_emitted() {
    for ahead in [0, 1] {
        loom::model(move || {
            let mut outlet = Outlet::with(ahead);
            let (before, after) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let thread = {
                let (slot, before, after) =
                    (Arc::clone(outlet.tray()), Arc::clone(&before), Arc::clone(&after));
                thread::spawn(move || {
                    let is_second = after.load(Ordering::Acquire);
                    emit(&slot, 7);
                    before.store(true, Ordering::Release);
                    is_second
                })
            };
            if ahead == 1 {
                emit(outlet.tray(), 0);
            }
            let (mut own, mut is_first, mut is_second) = (Some(1), false, None);
            let mut thread = Some(thread);
            let mut values = Vec::new();
            while values.len() < 2 + ahead {
                let waker = Waker::noop();
                let polled = poll_with(&mut outlet, waker, |slot| {
                    if own.is_some() {
                        let seen = before.load(Ordering::Acquire);
                        let _ = slot.poll_emit(&mut own, waker);
                        is_first = seen;
                        after.store(own.is_none(), Ordering::Release);
                    }
                });
                if let Poll::Ready(value) = polled {
                    values.push(value);
                }
                if let Some(thread) = thread.take() {
                    is_second = Some(thread.join().unwrap());
                }
            }
            let is_second = is_second.unwrap();
            let place = |value| values.iter().position(|known| *known == value).unwrap();
            assert!(!is_first || place(7) < place(1), "{values:?}");
            assert!(!is_second || place(1) < place(7), "{values:?}");
        });
    }
}

#[test]
fn at_the_end_no_value_is_taken_that_is_not_given_out() {
    loom::model(|| {
        let outlet = Outlet::with(0);
        let thread = {
            let slot = Arc::clone(outlet.tray());
            thread::spawn(move || {
                let mut value = Some(7);
                let _ = slot.poll_emit(&mut value, Waker::noop());
                value.is_none()
            })
        };
        let mut is_given = false;
        while let Popped::Value(value) = outlet.pop(Waker::noop(), true) {
            assert_eq!(value, 7);
            is_given = true;
        }
        outlet.close();
        assert_eq!(thread.join().unwrap(), is_given);
    });
}
