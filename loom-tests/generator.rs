//! What a generator and an emitter in another task share.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | no value is lost, their order is kept, and a parked generator is woken by the next one | 2 | 3 | |
//! | an emit that found no room is woken by the pop that makes it | 2 | 3 | |
//! | two emits at once both arrive | 3 | 2 | |
//!
//! A wake-up that is lost shows as a deadlock.

use crate::generator_slot::{Popped, Slot};
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;
use std::task::Poll;

fn emit(slot: &Slot<u32>, value: u32) {
    let mut value = Some(value);
    block_on(poll_fn(|cx| slot.poll_emit(&mut value, cx.waker())));
}

/// As a generator does whose producer emits elsewhere: announces its waker where it is new or was parked, and pops.
fn next(slot: &Slot<u32>) -> u32 {
    let mut tells = true;
    block_on(poll_fn(|cx| {
        if std::mem::replace(&mut tells, false) {
            slot.announce(cx.waker().clone());
        }
        match slot.pop(false) {
            Popped::Value(value) => Poll::Ready(value),
            Popped::Parked => {
                tells = true;
                Poll::Pending
            }
            Popped::Over => panic!("nobody has closed it"),
        }
    }))
}

#[test]
fn values_of_another_thread_arrive_in_their_order() {
    for ahead in [0, 1] {
        loom::model(move || {
            let slot = Arc::new(Slot::new(ahead));
            let thread = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || (1..=2).for_each(|value| emit(&slot, value)))
            };
            assert_eq!((next(&slot), next(&slot)), (1, 2));
            thread.join().unwrap();
        });
    }
}

#[test]
fn emits_of_two_threads_both_arrive() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let slot = Arc::new(Slot::new(0));
        let threads = [1, 2].map(|value| {
            let slot = Arc::clone(&slot);
            thread::spawn(move || emit(&slot, value))
        });
        assert_eq!(next(&slot) + next(&slot), 3);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
