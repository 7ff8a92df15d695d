//! Limits of several tiers, in virtual time.

mod decisions;
mod events;
mod hostile;
mod memory;
mod model;
mod routes;
mod servers;
mod waits;

use cofferdam::limit::Tiered;
use cofferdam::limit::tiered::TieredBuilder;
use cofferdam::testkit::ManualClock;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn build(builder: TieredBuilder) -> (ManualClock, Tiered) {
    let time = ManualClock::new();
    let limiter = builder.clock(time.clock()).build().unwrap();
    (time, limiter)
}
