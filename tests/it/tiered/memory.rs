//! How many buckets there are, which go, and what is counted.

use super::{build, ms, secs};
use cofferdam::limit::tiered::{Request, Tier};
use cofferdam::limit::{Quota, Tiered};
use cofferdam::testkit::Polled;
use std::time::Duration;

fn user(name: &str) -> Request<'_> {
    Request::new("GET", "/").user(name)
}

/// One route that is in nobody's way, and users of one token a second.
fn limiter(max_buckets: usize) -> (cofferdam::testkit::ManualClock, Tiered) {
    build(
        Tiered::builder()
            .max_buckets(max_buckets)
            .global(Quota::unlimited())
            .default_route(Quota::unlimited())
            .resource(Quota::per_second(1)),
    )
}

// MT13
#[test]
fn a_new_key_takes_the_place_of_the_idle_most_that_has_nothing_to_remember() {
    // The route and three users.
    let (time, limiter) = limiter(4);
    for name in ["a", "b", "c"] {
        assert!(limiter.try_acquire(user(name)).is_ok());
        time.advance(ms(400));
    }
    // At 1.2 s only a is full again.
    assert!(limiter.try_acquire(user("d")).is_ok());
    let known = |name| limiter.find(Tier::Resource, user(name)).is_some();
    assert_eq!(["a", "b", "c", "d"].map(known), [false, true, true, true]);
    assert_eq!((limiter.stats().buckets, limiter.stats().evicted), (4, 1));
    // b is still at its limit, and stays so.
    assert!(limiter.try_acquire(user("b")).is_err());
    assert!(limiter.find(Tier::Route, user("b")).is_some(), "what is in use stays");
}

// MT13: a request does not make room for one of its buckets by another one.
#[test]
fn the_buckets_of_a_request_do_not_push_each_other_out() {
    let (_, limiter) = limiter(1);
    assert!(limiter.try_acquire(user("a")).is_ok());
    assert_eq!((limiter.stats().evicted, limiter.stats().overflowed), (0, 1));
    assert!(limiter.find(Tier::Route, user("a")).is_some());
    assert_eq!(limiter.try_acquire(user("a")).unwrap_err().bucket(), "resource overflow");
}

// MT13
#[test]
fn an_active_limit_is_never_forgotten_and_new_keys_share_what_overflows() {
    let (time, limiter) = limiter(4);
    for name in ["a", "b", "c"] {
        assert!(limiter.try_acquire(user(name)).is_ok());
    }
    // All are at their limits: one more finds no room, and those that do share one bucket.
    assert!(limiter.try_acquire(user("d")).is_ok());
    for name in ["d", "e", "f"] {
        assert_eq!(limiter.try_acquire(user(name)).unwrap_err().bucket(), "resource overflow", "{name}");
    }
    for name in ["a", "b", "c"] {
        assert_eq!(limiter.try_acquire(user(name)).unwrap_err().bucket(), format!("user {name}"));
    }
    let stats = limiter.stats();
    assert_eq!((stats.buckets, stats.active_buckets, stats.evicted, stats.overflowed), (4, 3, 0, 4));
    // As soon as there is room they get their own.
    time.advance(secs(1));
    for name in ["d", "e", "f"] {
        assert!(limiter.try_acquire(user(name)).is_ok());
        assert!(limiter.find(Tier::Resource, user(name)).is_some());
    }
    assert_eq!(limiter.stats().buckets, 4);
}

// MT13
#[test]
fn a_paused_bucket_is_kept_however_full_and_idle_it_is() {
    let (time, limiter) = build(
        Tiered::builder()
            .max_buckets(3)
            .global(Quota::unlimited())
            .resource(Quota::unlimited())
            .bucket_life(secs(5)),
    );
    let paused = Request::new("GET", "/paused");
    limiter.heed_fields(paused, [("Retry-After", "100")]);
    for at in 0..50 {
        time.advance(secs(1));
        assert!(limiter.try_acquire(Request::new("GET", &format!("/route{at}"))).is_ok());
        assert!(limiter.stats().buckets <= 3);
    }
    limiter.sweep();
    assert_eq!(limiter.try_acquire(paused).unwrap_err().retry_after(), Some(secs(50)));
    // What a server has said about its limit is known for the life of the bucket.
    let (time, limiter) = build(Tiered::builder().max_buckets(1).bucket_life(secs(5)));
    let (known, other) = (Request::new("GET", "/known"), Request::new("GET", "/other"));
    limiter.heed_fields(known, [("X-RateLimit-Limit", "5")]);
    time.advance(ms(4999));
    assert!(limiter.try_acquire(other).is_ok());
    assert_eq!((limiter.stats().evicted, limiter.stats().overflowed), (0, 1));
    time.advance(ms(1));
    assert!(limiter.try_acquire(other).is_ok());
    assert!(limiter.find(Tier::Route, known).is_none());
}

// MT13
#[test]
fn idle_buckets_go_after_their_life_by_the_way_or_by_a_sweep() {
    let (time, limiter) = build(Tiered::builder().bucket_life(secs(10)).global(Quota::unlimited()));
    for at in 0..6 {
        assert!(limiter.try_acquire(Request::new("GET", &format!("/old{at}"))).is_ok());
    }
    time.advance(secs(10) - Duration::from_nanos(1));
    assert_eq!(limiter.sweep(), 0);
    assert!(limiter.try_acquire(Request::new("GET", "/old0")).is_ok());
    time.advance(Duration::from_nanos(1));
    assert_eq!((limiter.sweep(), limiter.stats().buckets), (5, 1));
    // Two for each new one.
    for at in 0..6 {
        limiter.bucket(Tier::Route, Request::new("GET", &format!("/old{at}"))).unwrap();
    }
    time.advance(secs(20));
    // (They may be in several shards, so not each new one finds two, but so many come by every shard.)
    for at in 0..1000 {
        assert!(limiter.try_acquire(Request::new("GET", &format!("/new{at}"))).is_ok());
    }
    assert_eq!((limiter.stats().buckets, limiter.stats().evicted), (1000, 11));
}

// MT13: the bound holds for any number of keys.
#[test]
fn a_hundred_thousand_keys_stay_within_the_bound() {
    let (time, limiter) = limiter(1000);
    for number in 0..100_000_u32 {
        let _ = limiter.try_acquire(user(&number.to_string()));
        if number % 1000 == 0 {
            time.advance(ms(50));
            assert!(limiter.stats().buckets <= 1000);
        }
    }
    let stats = limiter.stats();
    assert!(stats.buckets > 900 && stats.evicted > 3000 && stats.overflowed > 10_000, "{stats:?}");
}

// MT15
#[test]
fn a_bucket_is_warmed_up_and_looked_up() {
    let (_, limiter) = build(Tiered::builder().route("GET /users/{id}", Quota::per_second(5)));
    let request = Request::new("GET", "/users/7");
    assert!(limiter.find(Tier::Route, request).is_none());
    let bucket = limiter.bucket(Tier::Route, request).unwrap();
    assert_eq!(
        (&*bucket.name(), bucket.quota(), bucket.available()),
        ("GET /users/{id}", Quota::per_second(5), 5)
    );
    assert!(limiter.find(Tier::Route, Request::new("GET", "/users/8")).is_some(), "the same route");
    assert!(limiter.find(Tier::User, request.user("u")).is_none(), "not a tier of it");
    assert_eq!((limiter.stats().buckets, limiter.stats().requests), (1, 0));
    assert_eq!(limiter.find(Tier::Global, request).unwrap().available(), 100);
}

// MT14
#[test]
fn what_happens_is_counted() {
    let (time, limiter) = build(
        Tiered::builder()
            .global(Quota::per_second(4))
            .default_route(Quota::per_second(2))
            .resource(Quota::per_second(1))
            .max_waiting(2)
            .name("api"),
    );
    let (a, b) = (Request::new("GET", "/a"), Request::new("GET", "/b"));
    assert!(limiter.try_acquire(a.user("u")).is_ok());
    assert!(limiter.try_acquire(a.user("u")).is_err());
    assert!(limiter.try_acquire(a).is_ok() && limiter.try_acquire(a).is_err());
    assert!(limiter.try_acquire(b).is_ok() && limiter.try_acquire(b).is_ok());
    // The route's token comes after 500 ms, the global one after 250.
    let mut first = Polled::new(limiter.acquire(a));
    let mut second = Polled::new(limiter.acquire(a));
    assert!(first.poll().is_none() && second.poll().is_none());
    let full = Polled::new(limiter.acquire(a)).poll().unwrap().unwrap_err();
    assert!(full.is_full() && full.retry_after().is_some(), "{full}");
    assert!(full.to_string().ends_with("; and the queue is full"), "{full}");
    let third = limiter.acquire_timeout(a, ms(1));
    assert!(Polled::new(third).poll().unwrap().unwrap_err().is_too_late());
    assert_eq!((limiter.stats().waiting, time.armed()), (2, 1));
    time.advance(ms(500));
    assert!(first.poll().is_some());
    time.advance(ms(400));
    drop(second);
    let stats = limiter.stats();
    assert_eq!((stats.requests, stats.admitted), (10, 4));
    assert_eq!(Tier::ALL.map(|tier| stats.hits(tier)), [0, 5, 1, 0, 0]);
    assert_eq!((stats.waiting, stats.queued, stats.dropped, stats.granted, stats.cancelled), (0, 2, 1, 1, 1));
    assert_eq!((stats.total_wait, stats.longest_wait, stats.average_wait()), (ms(500), ms(500), ms(500)));
    assert_eq!((stats.buckets, stats.active_buckets), (3, 3));
    assert_eq!(
        (limiter.name(), format!("{limiter:?}")),
        (Some("api"), "Tiered { name: \"api\", waiting: 0, .. }".into())
    );
    // The true average of several.
    let mut waits: Vec<_> = [a, a].map(|request| Polled::new(limiter.acquire(request))).into_iter().collect();
    for wait in &mut waits {
        let _ = wait.poll();
    }
    time.advance(secs(2));
    let stats = limiter.stats();
    assert_eq!(stats.granted + stats.admitted, 7);
    assert_eq!(stats.average_wait(), stats.total_wait / stats.granted as u32);
    assert!(stats.average_wait() < stats.longest_wait || stats.granted == 1);
}

// MT13, S45
#[test]
fn a_pause_that_found_no_room_is_not_forgotten_when_there_is_some() {
    let (time, limiter) = build(Tiered::builder().max_buckets(1).default_route(Quota::per_second(1)));
    let (known, paused) = (Request::new("GET", "/known"), Request::new("GET", "/paused"));
    assert!(limiter.try_acquire(known).is_ok());
    limiter.heed_fields(paused, [("Retry-After", "100")]);
    assert_eq!(limiter.try_acquire(paused).unwrap_err().bucket(), "route overflow");
    time.advance(secs(2));
    let refusal = limiter.try_acquire(paused).unwrap_err();
    assert_eq!((refusal.bucket(), refusal.retry_after()), ("GET /paused", Some(secs(98))));
}

// MT13: an eviction at a later time does not make an earlier one find more.
#[test]
fn what_was_evicted_at_a_later_time_is_not_full_at_an_earlier_one() {
    let (time, limiter) = build(Tiered::builder().max_buckets(1).default_route(Quota::per_second(1)));
    let (first, other) = (Request::new("GET", "/first"), Request::new("GET", "/other"));
    let now = time.clock().now();
    assert!(limiter.try_acquire_at(first, now).is_ok());
    assert!(limiter.try_acquire_at(other.tokens(2), now + secs(1)).is_err());
    assert_eq!(limiter.stats().evicted, 1);
    assert!(limiter.try_acquire_at(first, now).is_err());
    assert!(limiter.try_acquire_at(first, now + secs(1)).is_ok());
}
