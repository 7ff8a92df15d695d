//! Models of the ring, compiled here from its source.
//!
//! Every model also checks, by loom's `UnsafeCell` in each cell of the ring, that no value is touched by two at once.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | values come out once and in order, also from one cell | 2 | 3 | stamp of a push stored `Relaxed`; stamp of a pop stored `Relaxed` |
//! | a push after one's own pop finds room (no transient "full") | 2 | 3 | `push` says "full" whenever the stamp is a lap behind |
//! | a pop after one's own push finds a value (no transient "empty") | 2 | 3 | `pop` says "empty" whenever the cell is not stamped |
//! | two pushers and a popper lose and double nothing | 3 | 3 | claim of the tail stored instead of compared |
//! | who is not seen as a sleeper sees the value himself | 2 | 3 | `load_seq_cst` a plain `Acquire` load |
//! | the same for room | 2 | 3 | the same |
//! | a value is pushed before the close and received, or after it and given back | 2 | 3 | `push` compares against the tail without the closed bit |
//! | displacing beside a pop and a close gives each value to one | 3 | 3 | `displace` stores the tail (closed bit lost); the cell read before the head is claimed |
//! | a batch beside a pop takes each value once | 2 | 3 | `pop_many` adds to the head instead of comparing |
//! | a batch pushed beside a push and a close is taken in or refused, each value once | 3 | 3 | `push_many` adds to the tail instead of comparing; it does not look at the stamps |
//! | what is left is dropped once | 1 | 3 | - |

use crate::shim::load_seq_cst;
use crate::sync_ring::{PopError, PushError, Ring};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::num::NonZeroUsize;

fn ring<T>(capacity: usize) -> Arc<Ring<T>> {
    Arc::new(Ring::new(NonZeroUsize::new(capacity).unwrap()).unwrap())
}

fn bounded(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Pops, waiting for a value.
fn pop<T>(ring: &Ring<T>) -> T {
    loop {
        match ring.pop() {
            Ok((value, _)) => return value,
            Err(PopError::Empty) => thread::yield_now(),
            Err(PopError::Closed) => panic!("closed"),
        }
    }
}

/// Pushes, waiting for room.
fn push<T>(ring: &Ring<T>, mut value: T) {
    loop {
        match ring.push(value) {
            Ok(_) => return,
            Err(PushError::Full(back)) => value = back,
            Err(PushError::Closed(_)) => panic!("closed"),
        }
        thread::yield_now();
    }
}

#[test]
fn values_come_out_once_and_in_order_through_one_cell() {
    bounded(3, || {
        let ring = ring(1);
        let there = Arc::clone(&ring);
        let producer = thread::spawn(move || {
            push(&there, Box::new(1));
            push(&there, Box::new(2));
        });
        assert_eq!(*pop(&ring), 1);
        assert_eq!(*pop(&ring), 2);
        producer.join().unwrap();
        assert_eq!(ring.pop().unwrap_err(), PopError::Empty);
    });
}

#[test]
fn a_push_after_ones_own_pop_finds_room() {
    bounded(3, || {
        let ring = ring(2);
        ring.push(1).unwrap();
        ring.push(2).unwrap();
        let there = Arc::clone(&ring);
        let slow = thread::spawn(move || there.pop().unwrap().0);
        let mine = ring.pop().unwrap().0;
        ring.push(3).expect("one of two cells is free");
        assert_eq!(mine + slow.join().unwrap(), 3);
    });
}

#[test]
fn a_pop_after_ones_own_push_finds_a_value() {
    bounded(3, || {
        let ring = ring(2);
        let there = Arc::clone(&ring);
        let slow = thread::spawn(move || there.push(1).unwrap());
        ring.push(2).unwrap();
        let got = ring.pop().expect("one value at least").0;
        slow.join().unwrap();
        assert_eq!(got + ring.pop().unwrap().0, 3);
    });
}

#[test]
fn two_pushers_and_a_popper_lose_and_double_nothing() {
    bounded(3, || {
        let ring = ring(2);
        let pushers: Vec<_> = [1, 2]
            .into_iter()
            .map(|value| {
                let ring = Arc::clone(&ring);
                thread::spawn(move || ring.push(Box::new(value)).map(drop).unwrap())
            })
            .collect();
        assert_eq!(*pop(&ring) + *pop(&ring), 3);
        for pusher in pushers {
            pusher.join().unwrap();
        }
        assert_eq!(ring.len(), 0);
    });
}

#[test]
fn who_is_not_seen_as_a_sleeper_sees_the_value() {
    bounded(3, || {
        let ring = ring(1);
        let sleepers = Arc::new(AtomicUsize::new(0));
        let (there, known) = (Arc::clone(&ring), Arc::clone(&sleepers));
        let pusher = thread::spawn(move || {
            there.push(1).unwrap();
            load_seq_cst(&known) == 1
        });
        sleepers.fetch_add(1, Ordering::SeqCst);
        let saw = ring.poppable().is_some();
        assert!(pusher.join().unwrap() || saw);
    });
}

#[test]
fn who_is_not_seen_as_a_sleeper_sees_the_room() {
    bounded(3, || {
        let ring = ring(1);
        ring.push(1).unwrap();
        let sleepers = Arc::new(AtomicUsize::new(0));
        let (there, known) = (Arc::clone(&ring), Arc::clone(&sleepers));
        let popper = thread::spawn(move || {
            there.pop().unwrap();
            load_seq_cst(&known) == 1
        });
        sleepers.fetch_add(1, Ordering::SeqCst);
        let saw = ring.pushable().is_some();
        assert!(popper.join().unwrap() || saw);
    });
}

#[test]
fn a_push_comes_before_the_close_or_fails() {
    bounded(3, || {
        let ring = ring(2);
        let there = Arc::clone(&ring);
        let pusher = thread::spawn(move || there.push(1).is_ok());
        assert!(ring.close());
        assert!(!ring.close());
        let received = match ring.pop() {
            Ok(_) => true,
            Err(PopError::Closed) => false,
            Err(PopError::Empty) => panic!("a closed ring says so"),
        };
        assert_eq!(pusher.join().unwrap(), received);
        assert_eq!(ring.pop().unwrap_err(), PopError::Closed);
    });
}

#[test]
fn displacing_beside_a_pop_and_a_close_gives_each_value_to_one() {
    bounded(3, || {
        let ring = ring(1);
        ring.push(1).unwrap();
        let there = Arc::clone(&ring);
        let displacer = thread::spawn(move || match there.displace(2) {
            Ok((_, displaced)) => displaced.unwrap_or(0),
            Err(PushError::Closed(back)) => back,
            Err(PushError::Full(_)) => panic!("displacing finds room"),
        });
        let there = Arc::clone(&ring);
        let popper = thread::spawn(move || there.pop().map_or(0, |(value, _)| value));
        ring.close();
        let mut sum = displacer.join().unwrap() + popper.join().unwrap();
        while let Ok((value, _)) = ring.pop() {
            sum += value;
        }
        assert_eq!(sum, 3);
        assert_eq!(ring.pop().unwrap_err(), PopError::Closed);
    });
}

#[test]
fn a_batch_beside_a_pop_takes_each_value_once() {
    bounded(3, || {
        let ring = ring(2);
        ring.push(Box::new(1)).unwrap();
        ring.push(Box::new(2)).unwrap();
        let there = Arc::clone(&ring);
        let popper = thread::spawn(move || there.pop().map_or(0, |(value, _)| *value));
        let mut values = Vec::with_capacity(2);
        let mut sum = 0;
        if let Ok((count, _)) = ring.pop_many(&mut values, NonZeroUsize::MAX) {
            assert_eq!(count, values.len());
            assert!(values.is_sorted());
            sum += values.iter().map(|value| **value).sum::<i32>();
        }
        sum += popper.join().unwrap();
        while let Ok((value, _)) = ring.pop() {
            sum += *value;
        }
        assert_eq!(sum, 3);
    });
}

#[test]
fn a_batch_pushed_beside_a_push_and_a_close_goes_in_once() {
    bounded(3, || {
        let ring = ring(3);
        push(&ring, Box::new(1));
        let there = Arc::clone(&ring);
        let popper = thread::spawn(move || there.pop().map_or(0, |(value, _)| *value));
        let there = Arc::clone(&ring);
        let pusher = thread::spawn(move || {
            let pushed = there.push(Box::new(10)).is_ok();
            there.close();
            if pushed { 10 } else { 0 }
        });
        let mut made = 0;
        let pushed = ring.push_many(NonZeroUsize::new(2).unwrap(), || {
            made += 1;
            Box::new(100)
        });
        match pushed {
            Ok((count, _)) => assert!((1..=2).contains(&count) && made == count as i32),
            Err(_) => assert_eq!(made, 0),
        }
        let mut sum = popper.join().unwrap();
        let expected = 1 + pusher.join().unwrap() + 100 * made;
        while let Ok((value, _)) = ring.pop() {
            sum += *value;
        }
        assert_eq!(sum, expected);
    });
}

#[test]
fn what_is_left_is_dropped_once() {
    bounded(3, || {
        let witness = Arc::new(());
        let ring = ring(3);
        for _ in 0..3 {
            ring.push(Arc::clone(&witness)).unwrap();
        }
        drop(ring.pop().unwrap());
        drop(ring);
        assert_eq!(Arc::strong_count(&witness), 1);
    });
}
