//! The channel: nobody sleeps beside what it waits for, nothing is lost at the close, cancelled wake-ups are passed on.
//!
//! A lost wake-up shows as loom's "deadlock". The values are boxed, so that a value received twice or never is a double
//! free or a leak; that they are handed over in order is modelled with the ring.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a receiver that is going to sleep sees the value, or its sender sees it | 2 | 4 | `enter` that does not look at the ring again; `load_seq_cst` a plain load; the flag set after the look |
//! | the same for a sender and room | 2 | 4 | the same |
//! | two woken by one wake-up: the first wakes the second | 3 | 2 | `leave` that does not settle; `wake_one` that sets the state after the outcome |
//! | the same for senders | 3 | 2 | the same |
//! | a woken receiver that finds nothing is woken again | 3 | 3 | `enter` that leaves `ON_THE_WAY` set |
//! | a woken receiver that is dropped passes its wake-up on | 3 | 3 | `leave` that forgets the outcome; that does not settle |
//! | a woken sender that is dropped passes its wake-up on | 3 | 3 | the same |
//! | polled again with another waker, that one is woken | 2 | 4 | `enter` that keeps the old waker; that overlooks an outcome set since |
//! | the last sender ends the wait, after what it has sent | 2 | 4 | `close` that does not wake receivers; `enter` that calls a closed ring idle |
//! | a close ends a waiting send with its value | 2 | 3 | `close` that does not wake senders; `enter` that calls a closed ring idle |
//! | the last receiver beside a send leaves no value behind | 2 | 4 | drained before the close instead of after; not at all |
//! | a displacing send wakes the receiver | 2 | 4 | `force_send` that does not notify |

use cofferdam_loom::sync::{Receiver, Sender, channel};
use loom::future::block_on;
use loom::thread;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn boxes(capacity: usize, values: impl IntoIterator<Item = u32>) -> (Sender<Box<u32>>, Receiver<Box<u32>>) {
    let (tx, rx) = channel(capacity).unwrap();
    for value in values {
        tx.try_send(Box::new(value)).unwrap();
    }
    (tx, rx)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_receiver_going_to_sleep_sees_the_value_or_is_seen() {
    bounded(4, || {
        let (tx, rx) = boxes(2, []);
        let sender = thread::spawn(move || {
            tx.try_send(Box::new(1)).unwrap();
            tx
        });
        assert_eq!(*block_on(rx.recv()).unwrap(), 1);
        drop(sender.join().unwrap());
    });
}

#[test]
fn a_sender_going_to_sleep_sees_the_room_or_is_seen() {
    bounded(4, || {
        let (tx, rx) = boxes(1, [1]);
        let receiver = thread::spawn(move || {
            assert_eq!(*rx.try_recv().unwrap(), 1);
            rx
        });
        block_on(tx.send(Box::new(2))).unwrap();
        assert_eq!(*receiver.join().unwrap().try_recv().unwrap(), 2);
    });
}

#[test]
fn the_first_receiver_woken_wakes_the_second() {
    bounded(2, || {
        let (tx, rx) = boxes(2, []);
        let other = rx.clone();
        let receivers = [rx, other].map(|rx| thread::spawn(move || *block_on(rx.recv()).unwrap()));
        tx.try_send(Box::new(1)).unwrap();
        tx.try_send(Box::new(2)).unwrap();
        let sum: u32 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
        assert_eq!(sum, 3);
    });
}

#[test]
fn the_first_sender_woken_wakes_the_second() {
    bounded(2, || {
        let (tx, rx) = boxes(2, [1, 2]);
        let other = tx.clone();
        let senders = [(tx, 3), (other, 4)]
            .map(|(tx, value)| thread::spawn(move || block_on(tx.send(Box::new(value))).unwrap()));
        assert_eq!((*rx.try_recv().unwrap(), *rx.try_recv().unwrap()), (1, 2));
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(rx.drain().map(|value| *value).sum::<u32>(), 7);
    });
}

#[test]
fn a_woken_receiver_that_finds_nothing_is_woken_again() {
    bounded(3, || {
        let (tx, rx) = boxes(2, []);
        let there = rx.clone();
        let receiver = thread::spawn(move || *block_on(there.recv()).unwrap());
        let mut other = pin!(rx.recv());
        let mut got = 0;
        if let Poll::Ready(value) = poll_once(other.as_mut()) {
            unreachable!("{value:?} from an empty channel");
        }
        tx.try_send(Box::new(1)).unwrap();
        got += rx.try_recv().map_or(0, |value| *value);
        tx.try_send(Box::new(2)).unwrap();
        // Not polled any more: if it was woken, its drop must wake the receiver.
        other.set(rx.recv());
        got += receiver.join().unwrap();
        got += rx.drain().map(|value| *value).sum::<u32>();
        assert_eq!(got, 3);
    });
}

#[test]
fn a_woken_receiver_that_is_dropped_passes_it_on() {
    bounded(3, || {
        let (tx, rx) = boxes(2, []);
        let there = rx.clone();
        let mut cancelled = pin!(rx.recv());
        assert!(poll_once(cancelled.as_mut()).is_pending());
        let receiver = thread::spawn(move || *block_on(there.recv()).unwrap());
        let sender = thread::spawn(move || tx.try_send(Box::new(1)).map(|()| tx).unwrap());
        cancelled.set(rx.recv());
        assert_eq!(receiver.join().unwrap(), 1);
        drop(sender.join().unwrap());
    });
}

#[test]
fn a_woken_sender_that_is_dropped_passes_it_on() {
    bounded(3, || {
        let (tx, rx) = boxes(1, [1]);
        let there = tx.clone();
        let mut cancelled = pin!(tx.send(Box::new(2)));
        assert!(poll_once(cancelled.as_mut()).is_pending());
        let sender = thread::spawn(move || block_on(there.send(Box::new(3))).unwrap());
        let receiver = thread::spawn(move || rx.try_recv().map(|_| rx).unwrap());
        cancelled.set(tx.send(Box::new(4)));
        sender.join().unwrap();
        assert_eq!(*receiver.join().unwrap().try_recv().unwrap(), 3);
    });
}

#[test]
fn polled_again_with_another_waker_that_one_is_woken() {
    bounded(4, || {
        let (tx, rx) = boxes(1, []);
        let mut recv = pin!(rx.recv());
        assert!(poll_once(recv.as_mut()).is_pending());
        let sender = thread::spawn(move || tx.try_send(Box::new(1)).map(|()| tx).unwrap());
        assert_eq!(*block_on(recv).unwrap(), 1);
        drop(sender.join().unwrap());
    });
}

#[test]
fn the_last_sender_ends_the_wait_after_what_it_has_sent() {
    bounded(4, || {
        let (tx, rx) = boxes(1, []);
        let sender = thread::spawn(move || {
            tx.try_send(Box::new(1)).unwrap();
            drop(tx);
        });
        assert_eq!(*block_on(rx.recv()).unwrap(), 1);
        assert!(block_on(rx.recv()).unwrap_err().is_closed());
        sender.join().unwrap();
    });
}

#[test]
fn a_close_ends_a_waiting_send_with_its_value() {
    bounded(3, || {
        let (tx, rx) = boxes(1, [1]);
        let receiver = thread::spawn(move || {
            rx.close();
            rx
        });
        let error = block_on(tx.send(Box::new(2))).unwrap_err();
        assert!(error.is_closed());
        assert_eq!(*error.into_inner(), 2);
        let rx = receiver.join().unwrap();
        assert!(rx.drain().map(|value| *value).eq([1]));
        assert!(block_on(rx.recv()).is_err());
    });
}

#[test]
fn the_last_receiver_beside_a_send_leaves_no_value_behind() {
    bounded(4, || {
        let (tx, rx) = boxes(1, []);
        let receiver = thread::spawn(move || drop(rx));
        let sent = tx.try_send(Box::new(1)).is_ok();
        receiver.join().unwrap();
        assert_eq!(tx.len(), 0, "sent: {sent}");
        assert!(tx.is_closed());
    });
}

#[test]
fn a_displacing_send_wakes_the_receiver() {
    bounded(4, || {
        let (tx, rx) = boxes(1, []);
        let sender = thread::spawn(move || {
            let displaced = tx.force_send(Box::new(1)).unwrap();
            (displaced.is_none(), tx)
        });
        assert_eq!(*block_on(rx.recv()).unwrap(), 1);
        assert!(sender.join().unwrap().0);
    });
}
