//! WP1-WP3, WP5-WP11: size and room, the ways in, the ways to end, shutdown, the books.

mod batches;
mod carried;
mod endings;
mod foreign;
mod giving_way;
mod hand_back;
mod handles;
mod lanes;
mod messages;
mod notes;
mod order;
mod retries;
mod scaling;
mod shutdown;
mod size;
mod threads;
mod turns;
mod ways_in;

use cofferdam::pool::{JoinHandle, PoolBuilder, PoolStats, ShutdownReport, WorkerPool, Workers};
use cofferdam::sync::{Context, Gate};
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use std::cell::RefCell;
use std::future::{Future, IntoFuture, pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn pool(workers: usize, queue: usize) -> (WorkerPool, Workers) {
    WorkerPool::builder().workers(workers).queue(queue).build().unwrap()
}

/// A pool whose workers are polled together by hand.
fn driven(builder: PoolBuilder) -> (WorkerPool, Polled<<Workers as IntoFuture>::IntoFuture>) {
    let (pool, workers) = builder.build().unwrap();
    (pool, Polled::new(workers.into_future()))
}

/// Polls until nothing is left to be done.
fn settle<F: Future>(polled: &mut Polled<F>) -> Option<F::Output> {
    loop {
        let before = polled.wakes();
        if let Some(output) = polled.poll() {
            return Some(output);
        }
        if polled.wakes() == before {
            return None;
        }
    }
}

/// The sum that must always hold.
#[track_caller]
fn balanced(stats: PoolStats) -> PoolStats {
    assert_eq!(stats.submitted, stats.queued + stats.running + stats.ended(), "{stats:?}");
    stats
}

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);
impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
