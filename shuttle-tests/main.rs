//! Random schedules, thousands of them, of what loom cannot enumerate: many tasks over semaphore, channel and pool at once.
//! Sequentially consistent, so orderings are loom's business; a failing schedule is printed and can be replayed.
//!
//! | property | tasks | schedules | planted bug it was seen to catch |
//! |---|---|---|---|
//! | permits add up | 6 | 1,000 random, 1,000 PCT | a cancelled acquisition that keeps what it was granted |
//! | each accepted task has one outcome (pool, semaphore, channel) | 9 | as above | a task withdrawn from the queue that is not counted |
//! | cancellation and gate reach everybody | 6 | as above | a child born beside the cancellation that is not marked |
//! | channels | see `channel.rs` | | |
//!
//! Run with `cargo shuttle` (an alias in `.cargo/config.toml`).

mod channel;

use cofferdam_shuttle::pool::WorkerPool;
use cofferdam_shuttle::sync::{CancelToken, Gate, Order, Semaphore, channel};
use cofferdam_shuttle::task::BoxTask;
use shuttle::future::{block_on, spawn};
use shuttle::rand::{Rng, thread_rng};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

/// Under uniformly random schedules, and under PCT's, which find orderings of a given depth.
fn explore(body: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(body, 1_000);
    shuttle::check_pct(body, 1_000, 3);
}

fn spawner(task: BoxTask) {
    drop(spawn(task));
}

/// Polls a few times, then drops: a cancellation at some await point.
fn give_up(future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..thread_rng().gen_range(1..3) {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        shuttle::thread::yield_now();
    }
}

/// Six tasks take weighted permits and give up now and then.
fn permits(order: Order) {
    let semaphore = Arc::new(Semaphore::builder(3).order(order).build().unwrap());
    let holding = Arc::new(AtomicU32::new(0));
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (semaphore, holding) = (semaphore.clone(), holding.clone());
            shuttle::thread::spawn(move || {
                for _ in 0..2 {
                    let weight = thread_rng().gen_range(1..=3);
                    if thread_rng().gen_bool(0.3) {
                        give_up(semaphore.acquire_many(weight));
                        continue;
                    }
                    let permit = block_on(semaphore.acquire_many(weight)).unwrap();
                    assert!(holding.fetch_add(weight, Ordering::SeqCst) + weight <= 3);
                    shuttle::thread::yield_now();
                    holding.fetch_sub(weight, Ordering::SeqCst);
                    drop(permit);
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
}

#[test]
fn permits_add_up_in_strict_order() {
    explore(|| permits(Order::Fifo));
}

#[test]
fn permits_add_up_in_barging_order() {
    explore(|| permits(Order::Barging));
}

/// A pool of two workers whose tasks share one permit and report through a channel, while others cancel and the pool is
/// drained.
#[test]
fn every_accepted_task_has_one_outcome() {
    explore(|| {
        let pool = WorkerPool::builder().workers(2).queue(2).start(&spawner).unwrap();
        let permit = Arc::new(Semaphore::new(1));
        let (sender, receiver) = channel::<u32>(8).unwrap();
        let submitters: Vec<_> = (0..3)
            .map(|index| {
                let (pool, permit, sender) = (pool.clone(), permit.clone(), sender.clone());
                shuttle::thread::spawn(move || {
                    let mut accepted = 0;
                    for _ in 0..2 {
                        let (permit, sender) = (permit.clone(), sender.clone());
                        let task = async move {
                            let _permit = permit.acquire().await;
                            let _ = sender.send(1).await;
                        };
                        if let Ok(handle) = block_on(pool.submit(task)) {
                            accepted += 1;
                            if index == 0 {
                                handle.cancel();
                            }
                            let _ = block_on(handle);
                        }
                    }
                    accepted
                })
            })
            .collect();
        drop(sender);
        let accepted: u64 = submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum();
        block_on(pool.drain());
        let stats = pool.stats();
        assert_eq!((stats.submitted, stats.ended()), (accepted, accepted), "{stats:?}");
        let mut reported = 0;
        while receiver.try_recv().is_ok() {
            reported += 1;
        }
        assert!(reported <= accepted && reported >= stats.completed, "{reported} of {stats:?}");
        assert_eq!(permit.available(), 1);
    });
}

/// A tree of tokens is cancelled while children are born; all of them wait at a gate that opens meanwhile.
#[test]
fn cancellation_and_gate_reach_everybody() {
    explore(|| {
        let root = CancelToken::new();
        let gate = Arc::new(Gate::new(false));
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let (root, gate) = (root.clone(), gate.clone());
                shuttle::thread::spawn(move || {
                    let child = root.child().child();
                    block_on(gate.wait());
                    block_on(child.cancelled());
                })
            })
            .collect();
        gate.open();
        root.cancel();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert_eq!(gate.waiters(), 0);
    });
}
