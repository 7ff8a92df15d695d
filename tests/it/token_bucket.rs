//! The token bucket and its quotas, in virtual time.

mod course;
mod limits;
mod model;
mod quota;
mod reservations;
mod waits;

use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::testkit::ManualClock;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn bucket(quota: Quota) -> (ManualClock, TokenBucket) {
    with_initial(quota, quota.burst_size())
}

fn with_initial(quota: Quota, tokens: u64) -> (ManualClock, TokenBucket) {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(quota).clock(time.clock()).initial(tokens).build().unwrap();
    (time, bucket)
}
