//! What is not at rest is named.

use crate::support::panic_message;
use cofferdam::group::{InPlaceGroup, TaskGroup};
use cofferdam::limit::concurrency::{AdaptiveLimiter, ConcurrencyLimiter, Fixed};
use cofferdam::limit::tiered::Request;
use cofferdam::limit::{AdmissionControl, Keyed, Quota, Tiered, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::breaker::KeyedBreaker;
use cofferdam::resilience::{Budget, Bulkhead, Cache, CircuitBreaker, Retry};
use cofferdam::sync::{Gate, Semaphore, channel};
use cofferdam::testkit::{AtRest, Busy, LeakCheck, ManualClock, Polled, Sim};
use cofferdam::time::Backoff;
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

#[test]
fn calls_waiters_loads_and_members_are_leaks() {
    let time = ManualClock::new();
    let adaptive = AdaptiveLimiter::builder(Fixed(1)).queue(1).clock(time.clock()).build().expect("valid");
    let quota = Quota::per_second(1).burst(1);
    let keyed = Keyed::<u64>::builder(quota).clock(time.clock()).build().expect("valid");
    let tiered = Tiered::builder().default_route(quota).clock(time.clock()).build().expect("valid");
    let admission = AdmissionControl::new();
    let breakers = KeyedBreaker::<u64>::new(CircuitBreaker::builder()).expect("valid");
    let (budget, quotas) =
        (Budget::share(1.0).build().expect("valid"), Budget::quota(10).build().expect("valid"));
    let cache = Cache::<u64, u64, ()>::new(8).expect("valid");
    let (sender, receiver) = channel::<u8>(2).expect("valid");
    let check = LeakCheck::new()
        .of("adaptive", &adaptive)
        .of("keyed", &keyed)
        .of("tiered", &tiered)
        .of("admission", &admission)
        .of("breakers", &breakers)
        .of("budget", &budget)
        .of("quotas", &quotas)
        .of("cache", &cache)
        .of("sender", &sender)
        .of("receiver", &receiver);
    check.assert();

    let guard = adaptive.try_acquire().expect("free");
    let mut for_a_call = Polled::new(adaptive.acquire());
    keyed.try_acquire(&1).expect("there");
    let mut for_a_key = Polled::new(keyed.acquire(&1));
    let request = Request::new("GET", "/a");
    tiered.try_acquire(request).expect("there");
    let mut for_a_route = Polled::new(tiered.acquire(request));
    let admitted = admission.try_acquire().expect("not shed");
    let of_a_key = breakers.try_acquire(&1).expect("closed");
    let retry = |budget: &Budget| {
        let backoff = Backoff::fixed(Duration::from_secs(1));
        Retry::builder().budget(budget.clone()).backoff(backoff).clock(time.clock()).build().expect("valid")
    };
    let (retry, another) = (retry(&budget), retry(&quotas));
    let mut retried = Polled::new(retry.call(|| std::future::ready(Err::<(), _>(()))));
    let mut paid = Polled::new(another.call(|| std::future::ready(Err::<(), _>(()))));
    let mut load = Polled::new(cache.get_or_load(&1, pending));
    sender.try_send(1).expect("room");
    assert!(for_a_call.poll().is_none() && for_a_key.poll().is_none() && for_a_route.poll().is_none());
    assert!(retried.poll().is_none() && paid.poll().is_none() && load.poll().is_none());
    let expected = [
        "adaptive: calls running: 1",
        "adaptive: waiters: 1",
        "keyed: waiters: 1",
        "tiered: waiters: 1",
        "admission: calls running: 1",
        "breakers: calls running: 1",
        "budget: calls running: 1",
        "budget: retries running: 1",
        "cache: loads running: 1",
        "sender: values: 1",
        "receiver: values: 1",
    ];
    assert_eq!(check.leaks(), expected);
    drop((for_a_call, guard, for_a_key, for_a_route, admitted, of_a_key));
    drop((retried, paid, load));
    receiver.try_recv().expect("a value");
    check.assert();
}

#[test]
fn members_of_groups_are_leaks_until_somebody_has_asked_for_their_outcome() {
    let sim = Sim::new(1);
    let mut spawned = TaskGroup::<u8>::new(sim.clone());
    let mut in_place = InPlaceGroup::new();
    spawned.try_spawn(async { 1 }).expect("room");
    spawned.try_spawn(pending()).expect("room");
    in_place.try_spawn(pending::<u8>()).expect("room");
    sim.run_until_idle();
    let check = LeakCheck::new().of("spawned", &spawned).of("in place", &in_place);
    let expected =
        ["spawned: members running: 1", "spawned: outcomes unread: 1", "in place: members running: 1"];
    assert_eq!(check.leaks(), expected);
    spawned.cancel("over");
    in_place.cancel("over");
    let _ = sim.run(async { (spawned.join_all().await, in_place.join_all().await) });
    LeakCheck::new().of("spawned", &spawned).of("in place", &in_place).assert();
}
