//! The oneshot: the value has one owner at every moment, and nobody sleeps beside what it waits for.
//!
//! loom's `UnsafeCell` around the value reports an access that is not ordered after the other side's; a leaked or doubled
//! `Arc` shows a value that was lost or dropped twice.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a value reaches the receiver that is going to sleep | 2 | 4 | `poll_recv` that does not look again; that sets its bit before the waker; `send` that does not wake; `VALUE` set `Relaxed` |
//! | a sender that goes wakes the receiver | 2 | 4 | `sender_gone` that does not wake |
//! | send beside drop: the value goes to one side and is dropped once | 2 | 4 | `VALUE` set `Relaxed`; set although the value came back |
//! | send beside close and try: one side has the value | 2 | 4 | `VALUE` set after `RECEIVER_CLOSED` |
//! | close and drop wake the sender that waits for them | 2 | 4 | `poll_receiver_closed` that does not look again; `close_receiver` that does not wake |
//! | polled again with another waker, that one is woken | 2 | 4 | `poll_recv` that keeps the old waker |

use cofferdam_loom::sync::oneshot;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

#[test]
fn a_value_reaches_the_receiver_going_to_sleep() {
    bounded(4, || {
        let (tx, rx) = oneshot::channel();
        let sender = thread::spawn(move || tx.send(Box::new(1)).unwrap());
        assert_eq!(*block_on(rx).unwrap(), 1);
        sender.join().unwrap();
    });
}

#[test]
fn a_sender_that_goes_wakes_the_receiver() {
    bounded(4, || {
        let (tx, rx) = oneshot::channel::<()>();
        let sender = thread::spawn(move || drop(tx));
        assert!(block_on(rx).is_err());
        sender.join().unwrap();
    });
}

#[test]
fn send_beside_drop_gives_the_value_to_one_side() {
    bounded(4, || {
        let value = Arc::new(());
        let (tx, rx) = oneshot::channel();
        let receiver = thread::spawn(move || drop(rx));
        let back = tx.send(Arc::clone(&value));
        drop(back);
        receiver.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

#[test]
fn send_beside_close_and_try_gives_the_value_to_one_side() {
    bounded(4, || {
        let (tx, mut rx) = oneshot::channel();
        let receiver = thread::spawn(move || {
            rx.close();
            rx.try_recv().map_err(|error| assert!(error.is_closed())).is_ok()
        });
        let sent = tx.send(Box::new(1)).is_ok();
        assert_eq!(sent, receiver.join().unwrap());
    });
}

#[test]
fn close_wakes_the_sender_that_waits_for_it() {
    bounded(4, || {
        let (mut tx, mut rx) = oneshot::channel::<()>();
        let receiver = thread::spawn(move || {
            rx.close();
            rx
        });
        block_on(tx.closed());
        assert!(tx.is_closed());
        drop(receiver.join().unwrap());
    });
}

#[test]
fn drop_wakes_the_sender_that_waits_for_it() {
    bounded(4, || {
        let (mut tx, rx) = oneshot::channel::<()>();
        let receiver = thread::spawn(move || drop(rx));
        block_on(tx.closed());
        assert!(tx.is_closed());
        receiver.join().unwrap();
    });
}

#[test]
fn polled_again_with_another_waker_that_one_is_woken() {
    bounded(4, || {
        let (tx, mut rx) = oneshot::channel();
        let first = Pin::new(&mut rx).poll(&mut Context::from_waker(Waker::noop()));
        assert!(first.is_pending());
        let sender = thread::spawn(move || tx.send(1).unwrap());
        assert_eq!(block_on(rx), Ok(1));
        sender.join().unwrap();
    });
}
