//! Hot paths for callgrind: `counts NAME` runs one of them a thousand times inside a function that callgrind is told to
//! collect, `counts` lists their names. Single-threaded, so the counts are exact for one compiler and one binary.

use cofferdam::sync::{Order, Semaphore};
use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The function that callgrind collects.
#[inline(never)]
fn measured(mut path: impl FnMut()) {
    for _ in 0..1000 {
        path();
    }
}

#[inline(always)]
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A hot path with its set-up.
type Path = (&'static str, fn());

const PATHS: &[Path] = &[
    ("semaphore_try_acquire", || {
        let semaphore = Semaphore::new(64);
        measured(|| drop(black_box(&semaphore).try_acquire()));
    }),
    ("semaphore_acquire_ready", || {
        let semaphore = Semaphore::new(64);
        measured(|| drop(poll(black_box(&semaphore).acquire())));
    }),
    ("semaphore_enqueue_cancel", || {
        let semaphore = Semaphore::new(1);
        let _held = semaphore.try_acquire();
        measured(|| assert!(poll(black_box(&semaphore).acquire()).is_pending()));
    }),
    ("semaphore_hand_off", || hand_off(Order::Fifo)),
    ("semaphore_hand_off_barging", || hand_off(Order::Barging)),
];

fn hand_off(order: Order) {
    let semaphore = Semaphore::builder(1).order(order).build().expect("a semaphore");
    let semaphore = &semaphore;
    measured(|| {
        let held = semaphore.try_acquire();
        let mut waiter = pin!(semaphore.acquire());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiter.as_mut().poll(&mut cx).is_pending());
        drop(held);
        assert!(waiter.as_mut().poll(&mut cx).is_ready());
    });
}

fn main() {
    let wanted = std::env::args().nth(1);
    for (name, run) in PATHS {
        match &wanted {
            None => println!("{name}"),
            Some(wanted) if wanted == name => run(),
            Some(_) => {}
        }
    }
}
