//! Limits, breakers and semaphores by key, in virtual time.

mod bounds;
mod events;
mod foreign;
mod limits;
mod map;
mod model;
mod waits;

use cofferdam::limit::{Gcra, Keyed, KeyedBuilder, Quota};
use cofferdam::testkit::ManualClock;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn builder<K>(quota: Quota) -> (ManualClock, KeyedBuilder<K, Gcra>) {
    let time = ManualClock::new();
    let builder = KeyedBuilder::new(quota).clock(time.clock());
    (time, builder)
}

fn keyed<K: std::hash::Hash + Eq>(quota: Quota) -> (ManualClock, Keyed<K>) {
    let (time, builder) = builder(quota);
    (time, builder.build().unwrap())
}
