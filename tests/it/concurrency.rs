//! Concurrency limits: permits, the queue for them, and limits that are found out.

mod adaptive;
mod algorithms;
mod cancel;
mod events;
mod foreign;
mod model;
mod partitions;
mod permits;
mod policy;
mod queue;
mod server;
mod simulated;

use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{Discipline, OwnedPermit};
use cofferdam::sync::Order;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// First come, first served: in the semaphore's queue, and in the limiter's own line.
const IN_ORDER: [Discipline; 2] =
    [Discipline::Order(Order::Fifo), Discipline::AdaptiveLifo { interval: Duration::from_secs(3600) }];

/// Takes them one by one.
fn hold(limiter: &ConcurrencyLimiter, permits: usize) -> Vec<OwnedPermit> {
    (0..permits).map(|_| limiter.try_acquire_owned().expect("free")).collect()
}
