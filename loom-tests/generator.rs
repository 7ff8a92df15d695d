//! What a generator and an emitter in another task share.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a generator that parks is woken by a value that comes meanwhile | 2 | 3 | `parked` set in a turn of the latch after the one that found nothing |
//! | an emit that found no room is woken by the pop that makes it | 2 | 3 | its waker left in a turn after the one that found no room; a pop that wakes nobody |
//!
//! A wake-up that is lost shows as a deadlock.

use crate::generator_slot::{Popped, Slot};
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[test]
fn a_value_of_another_thread_wakes_the_generator() {
    loom::model(|| {
        let slot = Arc::new(Slot::new(0));
        let thread = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let polled = slot.poll_emit(&mut Some(7), Waker::noop());
                assert!(polled.is_pending() || slot.has_room(), "it was not popped");
            })
        };
        let value = block_on(poll_fn(|cx| {
            slot.announce(cx.waker().clone());
            match slot.pop(false) {
                Popped::Value(value) => Poll::Ready(value),
                Popped::Parked => Poll::Pending,
                Popped::Over => panic!("nobody has closed it"),
            }
        }));
        assert_eq!(value, 7);
        thread.join().unwrap();
    });
}

#[test]
fn an_emit_without_room_is_woken_by_the_pop() {
    loom::model(|| {
        let slot = Arc::new(Slot::new(0));
        assert!(slot.poll_emit(&mut Some(7), Waker::noop()).is_pending());
        let thread = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || assert!(matches!(slot.pop(false), Popped::Value(7))))
        };
        // What it waits for is that the first value is taken.
        let mut nothing = None;
        block_on(poll_fn(|cx| slot.poll_emit(&mut nothing, cx.waker())));
        thread.join().unwrap();
    });
}
