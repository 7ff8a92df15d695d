//! What servers say takes effect on the right bucket; pauses.

use super::{build, ms, secs};
use cofferdam::limit::tiered::{Request, Tier};
use cofferdam::limit::{Feedback, Quota, Tiered};
use cofferdam::testkit::{ManualClock, Polled};
use std::time::{Duration, SystemTime};

const A: Request<'static> = Request::new("GET", "/a");
const B: Request<'static> = Request::new("GET", "/b");

fn limiter() -> (ManualClock, Tiered) {
    build(Tiered::builder())
}

/// How many are admitted now.
fn burst(limiter: &Tiered, request: Request<'_>) -> usize {
    (0..200).take_while(|_| limiter.try_acquire(request).is_ok()).count()
}

// S45
#[test]
fn every_acquire_waits_until_the_reset_and_a_later_response_does_not_shorten_it() {
    let (time, limiter) = limiter();
    limiter.heed_fields(A, [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset-After", "4")]);
    let refusal = limiter.try_acquire(A).unwrap_err();
    assert_eq!((refusal.tier(), refusal.bucket(), refusal.is_paused()), (Tier::Route, "GET /a", true));
    assert_eq!((refusal.retry_after(), refusal.remaining()), (Some(secs(4)), 0));
    let mut waits: Vec<_> = (0..3).map(|_| Polled::new(limiter.acquire(A))).collect();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
    limiter.heed_fields(A, [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1")]);
    limiter.heed_fields(A, [("Retry-After", "2")]);
    time.advance(ms(3999));
    assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
    time.advance(ms(1));
    assert!(waits.iter_mut().all(|wait| wait.poll().is_some_and(|taken| taken.is_ok()) && wait.wakes() == 1));
    // It was full again by then.
    assert_eq!(burst(&limiter, A), 47);
}

// S45
#[test]
fn only_resuming_shortens_a_pause() {
    let (time, limiter) = limiter();
    limiter.heed_fields(A, [("Retry-After", "100")]);
    let bucket = limiter.bucket(Tier::Route, A).unwrap();
    assert_eq!(bucket.paused_until(), Some(time.clock().now() + secs(100)));
    bucket.pause_for(secs(5));
    bucket.pause_until(time.clock().now() + secs(5));
    assert_eq!(bucket.paused_until(), Some(time.clock().now() + secs(100)));
    bucket.resume();
    assert!(!bucket.is_paused() && limiter.try_acquire(A).is_ok());
    limiter.heed_fields(A, [("Retry-After", "1")]);
    assert_eq!(bucket.paused_until(), Some(time.clock().now() + secs(1)));
    time.advance(secs(1));
    assert!(!bucket.is_paused() && limiter.try_acquire(A).is_ok());
}

// MT7
#[test]
fn feedback_takes_effect_on_the_route_it_is_about_or_on_everything() {
    let (_, limiter) = limiter();
    limiter.heed_fields(A, [("Retry-After", "1")]);
    assert!(limiter.try_acquire(A).is_err() && limiter.try_acquire(B).is_ok());
    limiter.heed_fields(A, [("Retry-After", "2"), ("X-RateLimit-Global", "true")]);
    let refusal = limiter.try_acquire(B).unwrap_err();
    assert_eq!((refusal.tier(), refusal.is_global(), refusal.is_paused()), (Tier::Global, true, true));
    assert_eq!(refusal.retry_after(), Some(secs(2)));
    // The longest wait is named.
    assert_eq!(limiter.try_acquire(A).unwrap_err().tier(), Tier::Global);
    limiter.global().resume();
    assert!(limiter.try_acquire(B).is_ok());
    // By major parameter.
    let (_, limiter) = build(Tiered::builder().major_parameters(["c"]).route("/c/{c}", Quota::per_second(9)));
    let (one, two) = (Request::new("GET", "/c/1"), Request::new("GET", "/c/2"));
    limiter.heed_fields(one, [("Retry-After", "2")]);
    assert!(limiter.try_acquire(one).is_err() && limiter.try_acquire(two).is_ok());
}

// MT7
#[test]
fn what_remains_and_the_limit_are_believed_where_they_are_less() {
    let (time, limiter) = limiter();
    limiter.heed_fields(A, [("X-RateLimit-Remaining", "3"), ("X-RateLimit-Reset-After", "10")]);
    assert_eq!(burst(&limiter, A), 3);
    time.advance(secs(1));
    assert_eq!(burst(&limiter, A), 50);
    // More than there is, is not there.
    limiter.heed_fields(A, [("X-RateLimit-Remaining", "40")]);
    assert_eq!(burst(&limiter, A), 0);
    // A limit caps the burst; with its window, the rate as well.
    limiter.heed_fields(A, [("X-RateLimit-Limit", "5")]);
    time.advance(secs(1));
    assert_eq!(burst(&limiter, A), 5);
    let bucket = limiter.bucket(Tier::Route, A).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(50).burst(5));
    limiter.heed_fields(A, [("RateLimit-Policy", "\"a\";q=10;w=60")]);
    assert_eq!(bucket.quota(), Quota::per_minute(10));
    // A looser one gives back what was configured and no more; none at all is absurd.
    limiter.heed_fields(A, [("RateLimit-Policy", "\"a\";q=1000;w=1")]);
    assert_eq!(bucket.quota(), Quota::per_second(50));
    limiter.heed_fields(A, [("X-RateLimit-Limit", "0")]);
    assert_eq!(bucket.quota(), Quota::per_second(50));
    // Another setting goes by the server's limit as well.
    limiter.heed_fields(A, [("X-RateLimit-Limit", "5")]);
    limiter.set_quota(Tier::Route, Quota::per_second(7));
    assert_eq!(bucket.quota(), Quota::per_second(7).burst(5));
}

// S45, MT7
#[test]
fn dates_are_read_by_the_wall_clock_and_absurd_waits_clamped() {
    let (time, limiter) = build(Tiered::builder().max_pause(secs(30)));
    time.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_760));
    let mut headers = http::HeaderMap::new();
    headers.insert("Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
    let said = limiter.heed_headers(A, &headers);
    assert_eq!(said.retry_after, Some(secs(17)));
    assert_eq!(limiter.try_acquire(A).unwrap_err().retry_after(), Some(secs(17)));
    let said = limiter.heed_fields(B, [("Retry-After", "86400")]);
    assert_eq!((said.retry_after, said.clamped), (Some(secs(30)), 1));
    assert_eq!(limiter.try_acquire(B).unwrap_err().retry_after(), Some(secs(30)));
    // What says nothing changes nothing, and makes no bucket.
    limiter.heed_fields(Request::new("GET", "/c"), [("Content-Type", "text/plain")]);
    assert!(limiter.find(Tier::Route, Request::new("GET", "/c")).is_none());
}

// MT8
#[test]
fn routes_of_one_server_bucket_share_it() {
    let (time, limiter) = limiter();
    assert_eq!(burst(&limiter, A), 50);
    assert!(limiter.try_acquire(B).is_ok());
    time.advance(ms(100));
    let same = [("X-RateLimit-Bucket", "abcd")];
    // What the route was charged comes along.
    limiter.heed_fields(A, same);
    assert_eq!(limiter.bucket(Tier::Route, A).unwrap().available(), 5);
    limiter.heed_fields(B, same);
    assert_eq!(burst(&limiter, B), 5);
    let refusal = limiter.try_acquire(A).unwrap_err();
    assert_eq!((refusal.bucket(), refusal.retry_after()), ("server bucket abcd", Some(ms(20))));
    limiter.heed_fields(A, [("X-RateLimit-Bucket", "abcd"), ("Retry-After", "3")]);
    assert_eq!(limiter.try_acquire(B).unwrap_err().retry_after(), Some(secs(3)));
    // A third route is not in it, and one that the server puts elsewhere takes along what it knows.
    assert!(limiter.try_acquire(Request::new("GET", "/c")).is_ok());
    limiter.heed_fields(B, [("X-RateLimit-Bucket", "other")]);
    assert_eq!(limiter.try_acquire(B).unwrap_err().bucket(), "server bucket other");
    limiter.bucket(Tier::Route, B).unwrap().resume();
    assert!(limiter.try_acquire(B).is_err() || limiter.try_acquire(A).is_err());
    limiter.reset();
    assert_eq!((burst(&limiter, A), burst(&limiter, B)), (50, 50));
}

// MT8, MT6
#[test]
fn a_server_bucket_is_split_by_major_parameters_all_the_same() {
    let (_, limiter) = build(
        Tiered::builder()
            .major_parameters(["c"])
            .route("GET /c/{c}", Quota::per_second(3))
            .route("PUT /c/{c}", Quota::per_second(2)),
    );
    let of = |method, path| Request::new(method, path);
    assert!(limiter.try_acquire(of("GET", "/c/1")).is_ok());
    limiter.bucket(Tier::Route, of("GET", "/c/2")).unwrap().pause_for(secs(9));
    for method in ["GET", "PUT"] {
        limiter.heed_fields(of(method, "/c/1"), [("X-RateLimit-Bucket", "x")]);
    }
    // The slower quota of both, what was taken and what was paused, each in its own.
    let bucket = limiter.bucket(Tier::Route, of("PUT", "/c/1")).unwrap();
    assert_eq!((&*bucket.name(), bucket.quota()), ("server bucket x c=1", Quota::per_second(2)));
    assert_eq!(burst(&limiter, of("PUT", "/c/1")), 2);
    let refusal = limiter.try_acquire(of("PUT", "/c/2")).unwrap_err();
    assert_eq!((refusal.bucket(), refusal.retry_after()), ("server bucket x c=2", Some(secs(9))));
    assert!(limiter.try_acquire(of("PUT", "/c/3")).is_ok());
    // Settings of the route that it goes by reach it.
    limiter.set_route_quota("PUT /c/{c}", Quota::per_second(1)).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(1));
}

// MT8: those who wait come along.
#[test]
fn who_waits_for_a_route_waits_for_its_server_bucket_from_then_on() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let mut wait = Polled::new(limiter.acquire(A));
    assert!(wait.poll().is_none());
    limiter.heed_fields(B, [("X-RateLimit-Bucket", "x"), ("Retry-After", "5")]);
    limiter.heed_fields(A, [("X-RateLimit-Bucket", "x")]);
    time.advance(ms(4999));
    assert!(wait.poll().is_none());
    time.advance(ms(1));
    assert!(wait.poll().is_some_and(|taken| taken.is_ok()));
    assert_eq!(time.armed(), 0);
}

// MT12
#[test]
fn pre_emptive_mode_spreads_what_remains_over_the_time_to_the_reset() {
    let (time, limiter) = build(Tiered::builder().preemptive(0.2));
    let said = |remaining: &str, reset: &str| {
        let fields = [
            ("X-RateLimit-Limit", "50"),
            ("X-RateLimit-Remaining", remaining),
            ("X-RateLimit-Reset-After", reset),
        ];
        limiter.heed_fields(A, fields);
    };
    // Plenty: as fast as configured.
    said("11", "10");
    assert_eq!(burst(&limiter, A), 11);
    time.advance(secs(1));
    // A fifth: one every two seconds, until the reset.
    said("5", "10");
    let mut admitted = Vec::new();
    for at in 0..=10_000 {
        if at % 100 == 0 && limiter.try_acquire(A).is_ok() {
            admitted.push(at);
        }
        time.advance(ms(1));
    }
    assert_eq!(admitted, [0, 2000, 4000, 6000, 8000, 10_000]);
    assert!(burst(&limiter, A) > 40);
    time.advance(secs(1));
    // A refusal says when; a wait lasts so long; a new word sets a new pace, without another token at once.
    said("4", "2");
    assert!(limiter.try_acquire(A).is_ok());
    let refusal = limiter.try_acquire(A).unwrap_err();
    assert_eq!((refusal.retry_after(), refusal.is_paused()), (Some(ms(500)), false));
    said("3", "3");
    assert_eq!(limiter.try_acquire(A).unwrap_err().retry_after(), Some(ms(500)));
    let mut wait = Polled::new(limiter.acquire(A));
    assert!(wait.poll().is_none());
    time.advance(ms(500));
    assert!(wait.poll().is_some_and(|taken| taken.is_ok()));
    assert_eq!(limiter.try_acquire(A).unwrap_err().retry_after(), Some(secs(1)));
    // Plenty again, or a resume, and it goes on as before.
    said("50", "3");
    assert!(limiter.try_acquire(A).is_ok() && limiter.try_acquire(A).is_ok());
    said("3", "3");
    assert!(limiter.try_acquire(A).is_ok() && limiter.try_acquire(A).is_err());
    limiter.bucket(Tier::Route, A).unwrap().resume();
    assert!(limiter.try_acquire(A).is_ok());
    // Nothing remains: a pause, as without it.
    said("0", "3");
    assert!(limiter.try_acquire(A).unwrap_err().is_paused());
}

// MT12: without it, only what remains counts.
#[test]
fn without_pre_emptive_mode_what_remains_may_go_at_once() {
    let (_, limiter) = limiter();
    limiter.heed_fields(
        A,
        [("X-RateLimit-Limit", "50"), ("X-RateLimit-Remaining", "5"), ("X-RateLimit-Reset-After", "10")],
    );
    assert_eq!(burst(&limiter, A), 5);
}

// MT9
#[test]
fn buckets_of_every_tier_are_paused_resumed_drained_and_reset() {
    let (time, limiter) = limiter();
    let request = A.user("u");
    for tier in [Tier::Global, Tier::Route, Tier::Resource] {
        let bucket = limiter.bucket(tier, request).unwrap();
        let full = bucket.quota().burst_size();
        bucket.pause_for(secs(2));
        assert_eq!((bucket.is_paused(), bucket.paused_until()), (true, Some(time.clock().now() + secs(2))));
        let refusal = limiter.try_acquire(request).unwrap_err();
        assert_eq!((refusal.tier(), refusal.is_paused(), refusal.retry_after()), (tier, true, Some(secs(2))));
        assert!(refusal.to_string().contains("paused"), "{refusal}");
        bucket.pause_until(time.clock().now() + secs(3));
        time.advance(secs(2));
        assert!(bucket.is_paused());
        bucket.resume();
        assert!(!bucket.is_paused() && limiter.try_acquire(request).is_ok());
        bucket.drain_to(0);
        assert_eq!(bucket.available(), 0);
        bucket.pause_for(Duration::MAX);
        assert!(bucket.is_paused() && limiter.try_acquire(request).is_err());
        bucket.reset();
        assert_eq!((bucket.available(), bucket.is_paused()), (full, false));
        assert_eq!(bucket.tier(), tier);
    }
    let all = limiter.bucket(Tier::Route, A).unwrap();
    all.pause_for(secs(9));
    limiter.global().drain_to(0);
    limiter.reset();
    assert!(limiter.try_acquire(A).is_ok());
}

// MT9
#[test]
fn who_waits_is_woken_by_a_resume_a_refund_a_reset_and_another_quota() {
    type Change = fn(&Tiered);
    let changes: [(&str, Change); 6] = [
        ("resume", |limiter| limiter.bucket(Tier::Route, A).unwrap().resume()),
        ("reset of the bucket", |limiter| limiter.bucket(Tier::Route, A).unwrap().reset()),
        ("reset of all", |limiter| limiter.reset()),
        ("resume of all", |limiter| limiter.global().resume()),
        ("quota", |limiter| limiter.set_quota(Tier::Global, Quota::unlimited())),
        ("refund", |limiter| limiter.refund(A)),
    ];
    for (name, change) in changes {
        let (time, limiter) = build(Tiered::builder().global(Quota::per_second(1)));
        match name {
            "resume" | "reset of the bucket" => limiter.bucket(Tier::Route, A).unwrap().pause_for(secs(60)),
            "resume of all" => limiter.global().pause_for(secs(60)),
            _ => assert!(limiter.try_acquire(A).is_ok()),
        }
        let mut wait = Polled::new(limiter.acquire(A));
        assert!(wait.poll().is_none(), "{name}");
        assert_eq!((wait.wakes(), time.armed()), (0, 1), "{name}");
        change(&limiter);
        assert_eq!((wait.wakes(), time.armed()), (1, 0), "{name}");
        assert!(wait.poll().is_some_and(|taken| taken.is_ok()), "{name}");
    }
}

// MT9: a pause reaches those who wait already.
#[test]
fn a_pause_makes_those_who_wait_wait_longer_or_tells_them_that_it_is_too_late() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let mut patient = Polled::new(limiter.acquire(A));
    let mut hurried = Polled::new(limiter.acquire_timeout(B, secs(2)));
    assert!(patient.poll().is_none() && hurried.poll().is_some());
    assert!(limiter.try_acquire(B).is_err());
    let mut hurried = Polled::new(limiter.acquire_timeout(B, secs(2)));
    assert!(hurried.poll().is_none());
    limiter.heed(A, &Feedback::read([("Retry-After", "5")], SystemTime::UNIX_EPOCH));
    limiter.heed_fields(B, [("Retry-After", "5")]);
    let error = hurried.poll().unwrap().unwrap_err();
    assert!(error.is_too_late() && error.refusal().unwrap().is_paused());
    assert_eq!(error.retry_after(), Some(secs(5)));
    time.advance(ms(4999));
    assert_eq!(patient.wakes(), 0);
    time.advance(ms(1));
    assert!(patient.poll().is_some_and(|taken| taken.is_ok()));
}

// MT8
#[test]
fn a_shared_bucket_goes_by_the_slower_route_whichever_that_is_by_now() {
    let routes = Tiered::builder().route("/a", Quota::per_second(2)).route("/b", Quota::per_second(5));
    let (_, limiter) = build(routes);
    for request in [A, B] {
        limiter.heed_fields(request, [("X-RateLimit-Bucket", "x")]);
    }
    let bucket = limiter.bucket(Tier::Route, A).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(2));
    limiter.set_route_quota("/a", Quota::per_second(50)).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(5));
    limiter.set_route_quota("/a", Quota::per_second(4)).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(4));
    limiter.set_route_quota("/b", Quota::per_second(1)).unwrap();
    assert_eq!(bucket.quota(), Quota::per_second(1));
}

// MT8, S36
#[test]
fn a_grant_that_nobody_takes_goes_back_to_the_bucket_that_the_server_has_named_since() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.try_acquire(A).is_ok());
    let mut granted = Polled::new(limiter.acquire(A));
    assert!(granted.poll().is_none());
    time.advance(secs(1));
    assert_eq!(granted.wakes(), 1);
    limiter.heed_fields(A, [("X-RateLimit-Bucket", "x")]);
    assert_eq!(limiter.bucket(Tier::Route, A).unwrap().available(), 0);
    drop(granted);
    assert_eq!(limiter.bucket(Tier::Route, A).unwrap().available(), 1);
}

// S45: also what was read from a body.
#[test]
fn no_pause_is_longer_than_a_server_is_believed() {
    let (_, limiter) = build(Tiered::builder().max_pause(secs(30)));
    let mut feedback = Feedback::default();
    feedback.retry_after = Some(Duration::MAX);
    limiter.heed(A, &feedback);
    assert_eq!(limiter.try_acquire(A).unwrap_err().retry_after(), Some(secs(30)));
}
