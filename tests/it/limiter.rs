//! What every limiter can do while it runs, in virtual time: pauses, limits that hold for a while, jitter, a bounded queue.

mod drains;
mod events;
mod hostile;
mod jitter;
mod late;
mod pauses;
mod queue;
mod temporary;

use cofferdam::limit::{Acquire, Algorithm, Quota, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn with_initial(quota: Quota, tokens: u64) -> (ManualClock, TokenBucket) {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(quota).clock(time.clock()).initial(tokens).build().unwrap();
    (time, bucket)
}

fn waiting<A: Algorithm>(acquire: Acquire<'_, A>) -> Polled<Acquire<'_, A>> {
    let mut polled = Polled::new(acquire);
    assert!(polled.poll().is_none());
    polled
}
