//! What is not at rest is named.

use crate::support::panic_message;
use cofferdam::limit::concurrency::ConcurrencyLimiter;
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::{Bulkhead, CircuitBreaker};
use cofferdam::sync::{Gate, Semaphore};
use cofferdam::testkit::{AtRest, Busy, LeakCheck, ManualClock, Polled, Sim};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn each_leak_is_named_and_what_is_at_rest_is_not() {
    let time = ManualClock::new();
    let (semaphore, gate, breaker) = (Arc::new(Semaphore::new(2)), Gate::new(false), CircuitBreaker::new());
    let quota = "1/s burst 1".parse::<Quota>().expect("a quota");
    let bucket = TokenBucket::builder(quota).clock(time.clock()).build().expect("valid");
    let limiter = ConcurrencyLimiter::new(1).expect("valid");
    let bulkhead = Bulkhead::builder(1).queue(1).build().expect("valid");
    let check = LeakCheck::new()
        .of("permits", &semaphore)
        .of("gate", &gate)
        .of("breaker", &breaker)
        .of("bucket", &bucket)
        .of("limiter", &limiter)
        .of("bulkhead", &bulkhead)
        .of("time", &time);
    check.assert();

    let all = semaphore.try_acquire_many(2).expect("free");
    let mut waits = Polled::new(semaphore.acquire());
    let mut at_the_gate = Polled::new(gate.wait());
    let guard = breaker.try_acquire().expect("closed");
    bucket.try_acquire().expect("full");
    let mut for_a_token = Polled::new(bucket.acquire());
    let permit = limiter.try_acquire().expect("free");
    let mut for_a_permit = Polled::new(limiter.acquire());
    let place = bulkhead.try_acquire().expect("free");
    let mut for_a_place = Polled::new(bulkhead.acquire());
    assert!(waits.poll().is_none() && at_the_gate.poll().is_none() && for_a_token.poll().is_none());
    assert!(for_a_permit.poll().is_none() && for_a_place.poll().is_none());
    let expected = [
        "permits: permits out: 2",
        "permits: waiters: 1",
        "gate: waiters: 1",
        "breaker: calls running: 1",
        "bucket: waiters: 1",
        "limiter: permits out: 1",
        "limiter: waiters: 1",
        "bulkhead: places taken: 1",
        "bulkhead: waiters: 1",
        "time: armed timers: 1",
    ];
    assert_eq!(check.leaks(), expected);
    let message = panic_message(|| check.assert());
    assert!(message.starts_with("not at rest:\n  permits: permits out: 2\n"), "{message}");

    drop((waits, all, at_the_gate, guard, for_a_token));
    drop((for_a_permit, permit, for_a_place, place));
    check.assert();
}

#[test]
fn tasks_of_a_world_and_of_a_pool_are_leaks() {
    let sim = Sim::new(0);
    let pool = WorkerPool::builder().workers(1).queue(4).clock(sim.clock()).start(&sim).expect("valid");
    sim.run_until_idle();
    pool.try_execute(pending()).expect("room");
    pool.try_execute(async {}).expect("room");
    sim.run_until_idle();
    let check = LeakCheck::new().of("pool", &pool).of("world", &sim);
    let leaks = check.leaks();
    assert_eq!(leaks[..2], ["pool: tasks queued: 1", "pool: tasks running: 1"]);
    assert!(leaks[2].starts_with("world: tasks: "), "{leaks:?}");
    sim.run(pool.shutdown(Duration::ZERO));
    sim.run_until_idle();
    check.assert();
}

#[test]
fn what_you_make_can_be_asked_too() {
    struct Connections(u64);
    impl AtRest for Connections {
        fn busy(&self, busy: &mut Busy) {
            busy.count("open", self.0);
            busy.count(format!("of pool {}", 7), self.0 * 2);
        }
    }
    LeakCheck::new().of("none", &Connections(0)).assert();
    assert_eq!(LeakCheck::new().of("db", &Connections(1)).leaks(), ["db: open: 1", "db: of pool 7: 2"]);
}
