//! One value, or the news that there will be none; CTX1.

use cofferdam::sync::oneshot;
use cofferdam::testkit::{Polled, Sim, WakeCounter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

#[test]
fn a_value_sent_before_the_first_poll_is_there() {
    let (tx, rx) = oneshot::channel();
    tx.send("value").unwrap();
    assert_eq!(Polled::new(rx).poll(), Some(Ok("value")));
}

#[test]
fn a_waiting_receiver_is_woken_once_by_the_value() {
    let (tx, rx) = oneshot::channel();
    let mut rx = Polled::new(rx);
    assert_eq!(rx.poll(), None);
    assert_eq!(rx.poll(), None);
    tx.send(7).unwrap();
    assert_eq!((rx.wakes(), rx.poll()), (1, Some(Ok(7))));
}

#[test]
fn only_the_latest_waker_is_woken() {
    let (tx, mut rx) = oneshot::channel();
    let (old, new) = (WakeCounter::new(), WakeCounter::new());
    for counter in [&old, &new] {
        let waker = counter.waker();
        assert!(Pin::new(&mut rx).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    tx.send(1).unwrap();
    assert_eq!((old.count(), new.count()), (0, 1));
}

#[test]
fn a_sender_that_goes_without_sending_wakes_the_receiver_with_an_error() {
    let (tx, rx) = oneshot::channel::<()>();
    let mut rx = Polled::new(rx);
    assert!(rx.poll().is_none());
    drop(tx);
    assert_eq!(rx.wakes(), 1);
    let error = rx.poll().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "oneshot: closed without a value");
}

#[test]
fn a_value_for_a_receiver_that_is_gone_comes_back() {
    let (tx, rx) = oneshot::channel();
    drop(rx);
    assert!(tx.is_closed());
    assert_eq!(tx.send("back"), Err("back"));
}

#[test]
fn a_closed_receiver_still_gives_what_was_sent_before() {
    let (tx, mut rx) = oneshot::channel();
    tx.send(1).unwrap();
    rx.close();
    assert!(!rx.is_terminated());
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(rx.is_terminated());
}

#[test]
fn after_close_a_value_comes_back_and_the_receiver_learns_that_there_is_none() {
    let (tx, mut rx) = oneshot::channel();
    rx.close();
    assert!(rx.try_recv().unwrap_err().is_closed());
    assert_eq!(tx.send(1), Err(1));
    assert!(rx.try_recv().unwrap_err().is_closed());
    assert!(Polled::new(rx).poll().unwrap().is_err());
}

#[test]
fn trying_says_empty_then_the_value_then_closed() {
    let (tx, mut rx) = oneshot::channel();
    let error = rx.try_recv().unwrap_err();
    assert!(error.is_empty() && !error.is_closed());
    assert_eq!(error.to_string(), "oneshot: no value yet");
    tx.send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    let error = rx.try_recv().unwrap_err();
    assert!(error.is_closed() && !error.is_empty());
    assert_eq!(error.to_string(), "oneshot: closed without a value");
}

#[test]
fn a_sender_that_waits_for_the_end_is_woken_by_close_and_by_drop() {
    for close in [true, false] {
        let (mut tx, mut rx) = oneshot::channel::<()>();
        let mut closed = Polled::new(tx.closed());
        assert!(closed.poll().is_none());
        if close {
            rx.close();
            assert_eq!(closed.wakes(), 1);
            drop(rx);
        } else {
            drop(rx);
        }
        assert_eq!(closed.wakes(), 1, "woken once, not again by the drop");
        assert_eq!(closed.poll(), Some(()));
    }
}

#[test]
fn each_value_is_dropped_once_wherever_it_ends() {
    // CTX1
    let witness = Arc::new(());
    let alive = || Arc::strong_count(&witness) - 1;

    let (tx, rx) = oneshot::channel();
    tx.send(Arc::clone(&witness)).unwrap();
    assert_eq!(alive(), 1);
    drop(rx);
    assert_eq!(alive(), 0, "sent and not received");

    let (tx, rx) = oneshot::channel();
    drop(rx);
    drop(tx.send(Arc::clone(&witness)));
    assert_eq!(alive(), 0, "come back");

    let (tx, mut rx) = oneshot::channel();
    tx.send(Arc::clone(&witness)).unwrap();
    let value = rx.try_recv().unwrap();
    drop(rx);
    assert_eq!(alive(), 1, "received");
    drop(value);
    assert_eq!(alive(), 0);
}

#[test]
fn replies_arrive_in_every_order_of_tasks() {
    Sim::for_seeds(0..50, |sim| {
        let (tx, rx) = oneshot::channel();
        let (ask, asked) = oneshot::channel();
        sim.spawn("server", async move {
            let question: u32 = asked.await.unwrap();
            tx.send(question + 1).unwrap();
        });
        let answer = sim.spawn("client", async move {
            ask.send(41).unwrap();
            rx.await.unwrap()
        });
        assert_eq!(sim.run(answer), 42);
    });
}
