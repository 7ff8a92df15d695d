//! Cache: how long a value is good, who loads it, and what is kept.

mod flights;
mod kept;
mod model;
mod policy;
mod stale;

use cofferdam::resilience::cache::{Cached, Origin};
use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

type Numbers = Cache<u32, u32, &'static str>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn numbers(time: &ManualClock) -> Numbers {
    Cache::builder(1_000).ttl(ms(100)).clock(time.clock()).build().unwrap()
}

fn now<F: Future>(future: F) -> F::Output {
    Polled::new(future).poll().expect("ready at once")
}

async fn ok(n: u32) -> Result<u32, &'static str> {
    Ok(n)
}

async fn down() -> Result<u32, &'static str> {
    Err("down")
}

type Loaded = Result<Cached<u32>, Error<&'static str>>;

fn seen(loaded: Loaded) -> (u32, Origin) {
    let cached = loaded.unwrap();
    (*cached, cached.origin())
}
