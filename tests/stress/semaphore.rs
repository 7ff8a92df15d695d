//! Permits add up, whatever is acquired, cancelled, resized and timed out at once.

use crate::{ROUNDS, on_threads};
use cofferdam::sync::{Order, Priority, Request, Semaphore};
use futures_executor::block_on;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

const ORDERS: [Order; 4] =
    [Order::Fifo, Order::Lifo, Order::Barging, Order::Priority { ageing: Duration::from_micros(50) }];

/// Polls up to `polls` times with a waker that does nothing, then drops: a cancellation at any moment.
fn give_up(semaphore: &Semaphore, weight: u32, polls: u32) {
    let mut future = pin!(semaphore.acquire_many(weight));
    for _ in 0..polls {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        std::hint::spin_loop();
    }
}

#[test]
fn never_more_holders_than_permits_and_none_lost() {
    for order in ORDERS {
        let semaphore = Arc::new(Semaphore::builder(4).order(order).build().unwrap());
        let holding = AtomicI64::new(0);
        on_threads(|_, rng| {
            for _ in 0..ROUNDS / 4 {
                let weight = rng.u32(1..=4);
                match rng.u8(0..8) {
                    0 | 1 => give_up(&semaphore, weight, rng.u32(1..4)),
                    2 => drop(semaphore.try_acquire_many(weight)),
                    3 => drop(block_on(semaphore.acquire_many_owned(weight)).unwrap()),
                    4 => {
                        let limit = Duration::from_micros(rng.u64(0..30));
                        drop(block_on(semaphore.acquire_many_timeout(weight, limit)));
                    }
                    _ => {
                        let class = [Priority::Low, Priority::High][usize::from(rng.bool())];
                        let request = Request::new(weight).priority(class);
                        let permit = block_on(semaphore.acquire_with(request)).unwrap();
                        let now = holding.fetch_add(i64::from(weight), Ordering::SeqCst) + i64::from(weight);
                        assert!(now <= 4, "{order:?}: {now} permits out of 4 are held");
                        holding.fetch_sub(i64::from(weight), Ordering::SeqCst);
                        drop(permit);
                    }
                }
            }
        });
        let stats = semaphore.stats();
        assert_eq!((stats.available, stats.in_use, stats.waiting), (4, 0, 0), "{order:?}");
    }
}

#[test]
fn resizing_under_load_keeps_the_books() {
    for order in ORDERS {
        let semaphore = Arc::new(Semaphore::builder(3).order(order).build().unwrap());
        on_threads(|index, rng| {
            for _ in 0..ROUNDS / 10 {
                if index == 0 {
                    semaphore.resize(rng.u32(1..=6));
                } else {
                    // A shrink may make the request hopeless: an error then, and never a wait for ever.
                    drop(block_on(semaphore.acquire_many(rng.u32(1..=2))));
                }
            }
        });
        semaphore.resize(5);
        let stats = semaphore.stats();
        assert_eq!((stats.capacity, stats.available, stats.in_use, stats.waiting), (5, 5, 0, 0), "{order:?}");
    }
}

#[test]
fn closing_under_load_lets_everybody_go() {
    for order in ORDERS {
        for _ in 0..ROUNDS / 300 {
            let semaphore = Arc::new(Semaphore::builder(2).order(order).build().unwrap());
            on_threads(|index, rng| {
                if index == 0 {
                    (0..rng.u32(0..200)).for_each(|_| std::hint::spin_loop());
                    semaphore.close();
                    return;
                }
                while let Ok(permit) = block_on(semaphore.acquire_many(rng.u32(1..=2))) {
                    drop(permit);
                }
            });
            let stats = semaphore.stats();
            assert_eq!((stats.available, stats.waiting), (2, 0), "{order:?}");
        }
    }
}
