//! Numbers of components that are watched are those of what was done.

use super::{SECOND, collected, number};
use cofferdam::group::TaskGroup;
use cofferdam::limit::concurrency::{AdaptiveLimiter, Aimd, ConcurrencyLimiter};
use cofferdam::limit::tiered::{Request, ResourceTiers};
use cofferdam::limit::{Keyed, KeyedEvent, KeyedMap, Quota, Tiered};
use cofferdam::resilience::breaker::KeyedBreaker;
use cofferdam::resilience::registry::Registry;
use cofferdam::resilience::{Budget, Bulkhead, Cache, CircuitBreaker, Retry};
use cofferdam::sync::{Semaphore, channel};
use cofferdam::telemetry::{Collector, Telemetry};
use cofferdam::testkit::{ManualClock, Polled, Sim};
use cofferdam::time::Backoff;
use futures_util::FutureExt;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn of_a_concurrency_limiter() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let limiter = ConcurrencyLimiter::builder(1).clock(time.clock()).build().expect("a limiter");
    telemetry.watch("it", &limiter).expect("the first");
    let held = limiter.try_acquire().expect("free");
    assert!(limiter.try_acquire().is_err());
    let (mut granted, mut late) =
        (Polled::new(limiter.acquire()), Polled::new(limiter.acquire_timeout(ms(500))));
    let mut dropped = Polled::new(limiter.acquire());
    assert!(granted.poll().is_none() && late.poll().is_none() && dropped.poll().is_none());
    time.advance(ms(500));
    assert!(late.poll().expect("late").is_err());
    let samples = telemetry.samples();
    let level = |what: &str| number(&samples, &format!("cofferdam_concurrency_{what}"), &[]);
    assert_eq!(["limit", "in_flight", "available", "waiting"].map(level), [1.0, 1.0, 0.0, 2.0].map(Some));
    drop((dropped, held));
    drop(granted.poll().expect("its turn").expect("open"));
    limiter.resize(2).expect("valid");
    limiter.close();
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_concurrency_requests_total", &[("outcome", outcome)]);
    let outcomes = ["acquired", "refused", "timed_out", "shed", "cancelled"];
    assert_eq!(outcomes.map(of), [2.0, 1.0, 1.0, 0.0, 1.0].map(Some));
    let waits = |outcome| collector.durations("cofferdam_concurrency_wait_seconds", &[("outcome", outcome)]);
    assert_eq!((waits("acquired"), waits("timed_out")), (vec![0.0, 0.5], vec![0.5]));
    let lines: Vec<_> = collector.lines().into_iter().map(|line| line.text).collect();
    assert_eq!(lines, ["concurrency it: resized from=1 to=2", "concurrency it: closed"]);
}

#[test]
fn of_an_adaptive_limiter() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let aimd = Aimd::builder().initial(4).slow_start(false).build().expect("an algorithm");
    let limiter = AdaptiveLimiter::builder(aimd).clock(time.clock()).window(ms(100)).min_samples(2);
    let limiter = limiter.build().expect("a limiter");
    telemetry.watch("it", &limiter).expect("the first");
    for _ in 0..2 {
        let guards: Vec<_> = (0..2).map(|_| limiter.try_acquire().expect("free")).collect();
        time.advance(ms(100));
        guards.into_iter().for_each(|guard| guard.success());
        time.advance(ms(100));
    }
    let samples = telemetry.samples();
    let of = |what: &str, labels: &[(&str, &str)]| {
        number(&samples, &format!("cofferdam_adaptive_{what}"), labels).expect("it is there")
    };
    assert_eq!(of("requests_total", &[("outcome", "acquired")]), 4.0);
    assert_eq!((of("windows_total", &[("outcome", "taken")]), of("limit", &[])), (1.0, 5.0));
    assert_eq!(of("windows_total", &[("outcome", "dropped")]), 1.0);
    assert_eq!(of("limit_changes_total", &[("reason", "calm")]), 1.0);
    assert_eq!(of("limit_changes_total", &[("reason", "drops")]), 0.0);
    assert_eq!(collector.lines()[0].text, "adaptive it: limit changed from=4 to=5 reason=calm");
}

#[test]
fn of_a_bulkhead() {
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let bulkhead = Bulkhead::builder(1).queue(1).clock(time.clock()).build().expect("a bulkhead");
    telemetry.watch("it", &bulkhead).expect("the first");
    let held = bulkhead.try_acquire().expect("free");
    assert!(bulkhead.try_acquire().is_err(), "no place");
    let mut waits = Polled::new(bulkhead.acquire());
    assert!(waits.poll().is_none());
    assert!(bulkhead.call(|| ready(Ok::<_, ()>(1))).now_or_never().expect("full").is_err());
    time.advance(SECOND);
    drop(held);
    drop(waits.poll().expect("its turn").expect("open"));
    let mut late = Polled::new(bulkhead.clone().wait_limit(SECOND).acquire());
    let held = bulkhead.try_acquire().expect("free");
    assert!(late.poll().is_none());
    time.advance(SECOND);
    assert!(late.poll().expect("late").is_err());
    bulkhead.close();
    assert!(bulkhead.try_acquire().is_err());
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_bulkhead_calls_total", &[("outcome", outcome)]);
    let outcomes = ["admitted", "no_place", "queue_full", "too_late", "shed", "ended"];
    assert_eq!(outcomes.map(of), [3.0, 1.0, 1.0, 1.0, 0.0, 1.0].map(Some));
    let level = |what: &str| number(&samples, &format!("cofferdam_bulkhead_{what}"), &[]);
    assert_eq!(["limit", "running", "waiting"].map(level), [1.0, 1.0, 0.0].map(Some));
    assert_eq!(
        collector.durations("cofferdam_bulkhead_wait_seconds", &[("outcome", "admitted")]),
        [0.0, 1.0, 0.0]
    );
    assert_eq!(collector.durations("cofferdam_bulkhead_wait_seconds", &[("outcome", "too_late")]), [1.0]);
    assert_eq!(collector.durations("cofferdam_bulkhead_held_seconds", &[]), [1.0, 0.0]);
    drop(held);
}

#[test]
fn of_a_budget_for_all_who_share_it() {
    let telemetry = Telemetry::new();
    let budget = Budget::quota(10).cost(5).build().expect("a budget");
    telemetry.watch("it", &budget).expect("the first");
    telemetry.watch("it", &budget.spender()).expect("it is the same");
    let retry = Retry::builder().max_attempts(4).backoff(Backoff::ZERO).budget(budget.clone());
    let retry = retry.build().expect("a retry");
    assert!(retry.call(|| ready(Err::<(), _>(1))).now_or_never().expect("ready").is_err());
    let stats = budget.stats();
    assert_eq!((stats.paid, stats.refused, stats.available), (2, 1, 0));
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_budget_requests_total", &[("outcome", outcome)]);
    assert_eq!((of("paid"), of("refused")), (Some(2.0), Some(1.0)));
    assert_eq!(number(&samples, "cofferdam_budget_available", &[]), Some(0.0));
}

#[test]
fn of_a_group_while_its_owner_has_it() {
    let sim = Sim::new(3);
    let telemetry = Telemetry::new();
    let mut group = TaskGroup::<u8>::new(sim.clone());
    telemetry.watch("it", &group).expect("the first");
    group.try_spawn(ready(1)).expect("room");
    group.try_spawn(async { if true { panic!("of the member") } else { 2 } }).expect("room");
    group.try_spawn(pending()).expect("room");
    sim.run_until_idle();
    let samples = telemetry.samples();
    let of = |outcome| number(&samples, "cofferdam_group_members_total", &[("outcome", outcome)]);
    let outcomes = ["completed", "panicked", "cancelled", "timed_out", "dropped"];
    assert_eq!(outcomes.map(of), [1.0, 1.0, 0.0, 0.0, 0.0].map(Some));
    assert_eq!(number(&samples, "cofferdam_group_spawned_total", &[]), Some(3.0));
    assert_eq!(number(&samples, "cofferdam_group_running", &[]), Some(1.0));
    assert_eq!(number(&samples, "cofferdam_group_unread", &[]), Some(2.0));
    drop(group);
    sim.run_until_idle();
    assert_eq!(telemetry.samples(), []);
}

#[test]
fn of_what_is_made_by_key_or_name() {
    let telemetry = Telemetry::new();
    let map = KeyedMap::<u64, Semaphore>::builder().capacity(1).build().expect("a map");
    let breakers =
        KeyedBreaker::<u64>::new(CircuitBreaker::builder().failure_threshold(1)).expect("breakers");
    let registry = Registry::new(|name| Ok::<_, std::io::Error>(name.len()));
    telemetry.watch("it", &map).expect("the first");
    telemetry.watch("it", &breakers).expect("the first");
    telemetry.watch("it", &registry).expect("the first");
    let held = map.get_or_create(&1, || Semaphore::new(1)).expect("room");
    let permit = held.try_acquire().expect("free");
    assert!(map.get_or_create(&2, || Semaphore::new(1)).is_err());
    drop(breakers.try_acquire(&1).map(|guard| guard.failure()));
    drop(breakers.try_acquire(&2).map(|guard| guard.success()));
    breakers.remove(&3);
    registry.get_or_create("counted by its length").expect("room");
    registry.replace("counted by its length", 1).expect("room");
    registry.remove("counted by its length");
    let samples = telemetry.samples();
    let of = |what: &str, labels: &[(&str, &str)]| {
        number(&samples, &format!("cofferdam_{what}"), labels).expect("it is there")
    };
    assert_eq!((of("keyed_map_keys", &[]), of("keyed_map_capacity", &[])), (1.0, 1.0));
    assert_eq!((of("keyed_map_created_total", &[]), of("keyed_map_rejected_total", &[])), (1.0, 1.0));
    assert_eq!((of("keyed_breaker_keys", &[]), of("keyed_breaker_created_total", &[])), (2.0, 2.0));
    assert_eq!(of("keyed_breaker_breakers", &[("state", "open")]), 1.0);
    assert_eq!(of("keyed_breaker_breakers", &[("state", "closed")]), 1.0);
    for change in ["added", "replaced", "removed"] {
        assert_eq!(of("registry_changes_total", &[("change", change)]), 1.0, "{change}");
    }
    assert_eq!(of("registry_names", &[]), 0.0);
    drop(permit);
}

#[test]
fn of_a_keyed_limiter_each_request_once_as_it_is_told_of() {
    let (telemetry, time) = (Telemetry::new(), ManualClock::new());
    let keyed = Keyed::<u64>::builder(Quota::per_second(1).burst(3)).clock(time.clock());
    let keyed = keyed.build().expect("a limiter");
    telemetry.watch("it", &keyed).expect("the first");
    let told: Arc<[AtomicU64; 4]> = Arc::default();
    let count = Arc::clone(&told);
    keyed.observe(move |event: &KeyedEvent<u64>| {
        let at = match event {
            KeyedEvent::Allowed { .. } => 0,
            KeyedEvent::Denied { .. } => 1,
            KeyedEvent::Granted { .. } => 2,
            KeyedEvent::Cancelled { .. } => 3,
            _ => return,
        };
        count[at].fetch_add(1, Ordering::Relaxed);
    });
    let of =
        |outcome| number(&telemetry.samples(), "cofferdam_keyed_requests_total", &[("outcome", outcome)]);
    let check = |what: &str, wanted: [u64; 4]| {
        assert_eq!(told.each_ref().map(|count| count.load(Ordering::Relaxed)), wanted, "told: {what}");
        let counted = ["allowed", "denied", "granted", "cancelled"].map(of);
        assert_eq!(counted, wanted.map(|count| Some(count as f64)), "counted: {what}");
    };
    keyed.drain_to(&7, 1).expect("room");
    check("what a server says is no request", [0, 0, 0, 0]);
    keyed.try_acquire(&7).expect("one is left");
    assert!(keyed.try_acquire(&7).is_err());
    assert!(Polled::new(keyed.acquire_timeout(&7, ms(500))).poll().expect("too late").is_err());
    check("on the spot", [1, 2, 0, 0]);
    let mut waiting = [1, 1, 3, 3].map(|tokens| Polled::new(keyed.acquire_many(&7, tokens)));
    assert!(waiting.iter_mut().all(|one| one.poll().is_none()));
    check("who waits has not been denied", [1, 2, 0, 0]);
    time.advance(ms(1000));
    let [mut granted, dropped, mut hopeless, unseen] = waiting;
    granted.poll().expect("its turn").expect("granted");
    drop(dropped);
    check("after a wait", [1, 2, 1, 1]);
    keyed.set(Quota::per_second(1).burst(2));
    assert!(hopeless.poll().expect("never").is_err());
    drop(unseen);
    check("the limits were changed meanwhile", [1, 3, 1, 2]);
}

#[test]
fn of_a_channel_by_either_end() {
    let telemetry = Telemetry::new();
    let (sender, receiver) = channel::<u8>(4).expect("a channel");
    telemetry.watch("it", &sender).expect("the first");
    telemetry.watch("it", &receiver).expect("it is the same");
    let another = sender.clone();
    sender.try_send(1).expect("room");
    another.try_send(2).expect("room");
    let samples = telemetry.samples();
    let of = |what: &str| number(&samples, &format!("cofferdam_channel_{what}"), &[]);
    assert_eq!(["values", "capacity", "senders", "receivers"].map(of), [2.0, 4.0, 2.0, 1.0].map(Some));
    drop((sender, another));
    assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_ok());
    assert!(receiver.try_recv().is_err_and(|error| error.is_closed()), "it is no sender that looks");
    drop(receiver);
    assert_eq!(telemetry.samples(), []);
}

#[test]
fn of_every_tier() {
    let telemetry = Telemetry::new();
    let once = Quota::per_second(1).burst(1);
    let many = Quota::per_second(100).burst(100);
    let tiered =
        Tiered::builder().global(many).default_route(many).resource(many).sub_resource(many).user(once);
    let tiered = tiered.resource_tiers(ResourceTiers::Each).build().expect("a limiter");
    telemetry.watch("it", &tiered).expect("the first");
    let request = Request::new("GET", "/a").user("ann");
    assert!(tiered.try_acquire(request).is_ok() && tiered.try_acquire(request).is_err());
    let samples = telemetry.samples();
    let of = |tier| number(&samples, "cofferdam_tiered_hits_total", &[("tier", tier)]);
    let tiers = ["global", "route", "resource", "sub_resource", "user"];
    assert_eq!(tiers.map(of), [0.0, 0.0, 0.0, 0.0, 1.0].map(Some));
}

#[test]
fn of_a_cache_no_load_counts_as_one_that_went_well_before_it_is_known_to_have_failed() {
    let telemetry = Telemetry::new();
    let cache = Cache::<u64, u64, ()>::new(8).expect("a cache");
    telemetry.watch("it", &cache).expect("the first");
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            for key in 0..20_000 {
                let load = cache.get_or_load(&key, || ready(Err(())));
                assert!(load.now_or_never().expect("ready").is_err());
            }
        });
        while !loading.is_finished() {
            let ok = number(&telemetry.samples(), "cofferdam_cache_loads_total", &[("outcome", "ok")]);
            assert_eq!(ok, Some(0.0));
            let stats = cache.stats();
            assert_eq!(stats.loads, stats.failed_loads);
        }
    });
    assert_eq!((cache.stats().loads, cache.stats().misses), (20_000, 20_000));
}

#[test]
fn of_a_cache_while_it_loads() {
    let telemetry = Telemetry::new();
    let cache = Cache::<u64, u64, ()>::new(8).expect("a cache");
    telemetry.watch("it", &cache).expect("the first");
    let mut load = Box::pin(cache.get_or_load(&1, pending));
    assert!(load.as_mut().now_or_never().is_none());
    assert_eq!(number(&telemetry.samples(), "cofferdam_cache_loading", &[]), Some(1.0));
    drop(load);
    assert_eq!(number(&telemetry.samples(), "cofferdam_cache_loading", &[]), Some(0.0));
}
