//! All tiers or none, and what a refusal says.

use super::{build, ms, secs};
use cofferdam::limit::tiered::{Request, ResourceTiers, Tier};
use cofferdam::limit::{Quota, Rate, Tiered};

const GET: Request<'static> = Request::new("GET", "/orders");

fn available(limiter: &Tiered, request: Request<'_>) -> [Option<u64>; 5] {
    Tier::ALL.map(|tier| limiter.bucket(tier, request).map(|bucket| bucket.available()))
}

// S43, MT1
#[test]
fn what_one_tier_refuses_is_charged_in_none() {
    let (_, limiter) =
        build(Tiered::builder().global(Quota::per_second(3)).default_route(Quota::per_second(2)));
    let admitted = (0..4).filter(|_| limiter.try_acquire(GET).is_ok()).count();
    assert_eq!((admitted, limiter.global().available()), (2, 1));
    // And the other way round: what the global tier refuses leaves the others as they are.
    let other = Request::new("GET", "/users").resource("7");
    assert!(limiter.try_acquire(other).is_ok());
    assert_eq!(limiter.try_acquire(other).unwrap_err().tier(), Tier::Global);
    assert_eq!(available(&limiter, other), [Some(0), Some(1), Some(19), None, None]);
}

// MT2
#[test]
fn the_defaults_are_100_50_and_20_a_second_and_at_once() {
    let (time, limiter) = build(Tiered::builder().resource_tiers(ResourceTiers::Each));
    let all = GET.resource("r").sub_resource("s").user("u");
    assert_eq!(available(&limiter, all), [Some(100), Some(50), Some(20), Some(20), Some(20)]);
    let counts = [(all, 20), (GET, 30), (Request::new("GET", "/a"), 50), (Request::new("GET", "/b"), 0)];
    for (request, wanted) in counts {
        let admitted = (0..200).filter(|_| limiter.try_acquire(request).is_ok()).count();
        assert_eq!(admitted, wanted, "{request:?}");
    }
    time.advance(secs(1));
    assert_eq!(available(&limiter, all), [Some(100), Some(50), Some(20), Some(20), Some(20)]);
}

// MT2, S40
#[test]
fn each_quota_is_changed_while_it_runs_and_settles_first() {
    let (time, limiter) = build(
        Tiered::builder()
            .resource_tiers(ResourceTiers::Each)
            .route("GET /orders", Quota::per_second(20).burst(1)),
    );
    let all = GET.resource("r").sub_resource("s").user("u");
    assert!(limiter.try_acquire(all).is_ok());
    time.advance(ms(25));
    // Half a token has come at the old rate; the rest comes at the new one.
    limiter.set_route_quota("GET /orders", Quota::per_second(40).burst(1)).unwrap();
    let refusal = limiter.try_acquire(all).unwrap_err();
    assert_eq!((refusal.tier(), refusal.retry_after()), (Tier::Route, Some(ms(25) / 2)));
    for (tier, burst) in Tier::ALL.into_iter().zip([9, 8, 7, 6, 5]) {
        limiter.set_quota(tier, Quota::per_second(burst));
        assert_eq!(limiter.quota(tier), Quota::per_second(burst));
    }
    // The buckets that are there go by it, but for the route with a quota of its own; and those to come.
    let bursts = |request| {
        time.advance(secs(10));
        available(&limiter, request)
    };
    assert_eq!(bursts(all), [Some(9), Some(1), Some(7), Some(6), Some(5)]);
    let new = Request::new("PUT", "/new").resource("x").sub_resource("y").user("z");
    assert_eq!(bursts(new), [Some(9), Some(8), Some(7), Some(6), Some(5)]);
    let error = limiter.set_route_quota("GET /nowhere", Quota::per_second(1)).unwrap_err();
    assert_eq!((error.component(), error.knob()), ("tiered limiter", "route"));
}

// MT17
#[test]
fn a_refusal_says_where_how_much_and_how_long() {
    let (time, limiter) = build(
        Tiered::builder()
            .global(Quota::per_second(10))
            .default_route(Quota::per_second(2))
            .resource(Quota::per_second(4).burst(1)),
    );
    let request = GET.resource("7");
    assert!(limiter.try_acquire(request).is_ok());
    let refusal = limiter.try_acquire(request).unwrap_err();
    assert_eq!(
        (refusal.tier(), refusal.bucket(), refusal.is_global()),
        (Tier::Resource, "resource 7", false)
    );
    assert_eq!((refusal.wanted(), refusal.limit(), refusal.remaining()), (1, 1, 0));
    assert_eq!(
        (refusal.retry_after(), refusal.is_never(), refusal.is_paused()),
        (Some(ms(250)), false, false)
    );
    assert_eq!(
        refusal.to_string(),
        "tiered limiter: resource bucket \"resource 7\": 1 wanted, 0 of 1 there: to be had in 250ms"
    );
    // The longest wait of several: the route's by now.
    assert!(limiter.try_acquire(GET).is_ok());
    let refusal = limiter.try_acquire(request).unwrap_err();
    assert_eq!(
        (refusal.tier(), refusal.bucket(), refusal.retry_after()),
        (Tier::Route, "GET /orders", Some(ms(500)))
    );
    // It is true: at that instant, and not before.
    time.advance(ms(500) - std::time::Duration::from_nanos(1));
    assert!(limiter.try_acquire(request).is_err());
    time.advance(std::time::Duration::from_nanos(1));
    assert!(limiter.try_acquire(request).is_ok());
    // The whole.
    let wide = Request::new("GET", "/wide");
    while limiter.try_acquire(Request::new("GET", "/a").tokens(1)).is_ok() {}
    limiter.global().drain_to(0);
    let refusal = limiter.try_acquire(wide).unwrap_err();
    assert_eq!((refusal.tier(), refusal.is_global(), refusal.limit()), (Tier::Global, true, 10));
}

// MT17, S33, RL10
#[test]
fn never_is_said_and_goes_before_any_wait() {
    let (_, limiter) = build(
        Tiered::builder().route("GET /none", Quota::new(Rate::ZERO, 1)).global(Quota::per_minute(1).burst(5)),
    );
    let none = Request::new("GET", "/none");
    assert!(limiter.try_acquire(none).is_ok());
    limiter.global().drain_to(0);
    let refusal = limiter.try_acquire(none).unwrap_err();
    assert_eq!((refusal.tier(), refusal.is_never(), refusal.retry_after()), (Tier::Route, true, None));
    assert!(!refusal.exceeds_burst());
    assert!(refusal.to_string().ends_with("0 of 1 there: the rate is zero"), "{refusal}");
    let many = limiter.try_acquire(GET.tokens(51)).unwrap_err();
    assert_eq!((many.tier(), many.is_never(), many.exceeds_burst()), (Tier::Global, true, true));
    assert!(many.to_string().ends_with("never so many at once"), "{many}");
    // Nothing is always there.
    assert!(limiter.try_acquire(none.tokens(0)).is_ok());
}

// MT5
#[test]
fn resources_are_one_tier_or_one_each() {
    let all = GET.resource("r").sub_resource("s").user("u");
    let (_, one) = build(Tiered::builder());
    let name = |limiter: &Tiered, tier, request| {
        limiter.bucket(tier, request).map(|bucket| bucket.name().to_string())
    };
    assert_eq!(name(&one, Tier::Resource, all).as_deref(), Some("resource r"));
    assert_eq!(
        name(&one, Tier::Resource, GET.sub_resource("s").user("u")).as_deref(),
        Some("sub-resource s")
    );
    assert_eq!(name(&one, Tier::Resource, GET.user("u")).as_deref(), Some("user u"));
    assert_eq!(name(&one, Tier::Resource, GET), None);
    assert_eq!((name(&one, Tier::SubResource, all), name(&one, Tier::User, all)), (None, None));
    // A user and a resource of the same name are two.
    assert!(one.try_acquire(GET.user("x").tokens(20)).is_ok());
    assert!(one.try_acquire(GET.resource("x").tokens(20)).is_ok());
    assert!(one.try_acquire(GET.user("x")).is_err());

    let (_, each) = build(Tiered::builder().resource_tiers(ResourceTiers::Each).user(Quota::per_second(1)));
    assert_eq!(name(&each, Tier::SubResource, all).as_deref(), Some("sub-resource r/s"));
    assert_eq!(name(&each, Tier::User, all).as_deref(), Some("user u"));
    assert!(each.try_acquire(all).is_ok());
    assert_eq!(available(&each, all), [Some(99), Some(49), Some(19), Some(19), Some(0)]);
    assert_eq!(each.try_acquire(all).unwrap_err().tier(), Tier::User);
    // A part of the same name of another resource is another one.
    assert_eq!(available(&each, all.resource("q"))[3], Some(20));
}

// S46
#[test]
fn a_refund_gives_back_in_every_tier_and_never_above_the_burst() {
    let (_, limiter) = build(Tiered::builder());
    let request = GET.user("u").tokens(3);
    assert!(limiter.try_acquire(request).is_ok());
    limiter.refund(request.tokens(2));
    assert_eq!(available(&limiter, request), [Some(99), Some(49), Some(19), None, None]);
    limiter.refund(request.tokens(9));
    assert_eq!(available(&limiter, request), [Some(100), Some(50), Some(20), None, None]);
}

// S41
#[test]
fn a_clock_that_goes_back_admits_nobody_twice() {
    let (time, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    let start = time.clock().now();
    time.advance(secs(1));
    assert!(limiter.try_acquire(GET).is_ok());
    time.set(start);
    assert!(limiter.try_acquire(GET).is_err());
    time.advance(secs(1));
    assert!(limiter.try_acquire(GET).is_err());
    assert!(limiter.try_acquire_at(GET, start + secs(2)).is_ok());
}

#[test]
fn a_look_takes_and_counts_nothing() {
    let (_, limiter) = build(Tiered::builder().default_route(Quota::per_second(1)));
    assert!(limiter.peek(GET).is_ok() && limiter.peek(GET).is_ok());
    assert!(limiter.try_acquire(GET).is_ok());
    assert_eq!(limiter.peek(GET).unwrap_err().retry_after(), Some(secs(1)));
    assert_eq!(limiter.stats().requests, 1);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let knob = |builder: cofferdam::limit::tiered::TieredBuilder| builder.build().unwrap_err().knob();
    assert_eq!(knob(Tiered::builder().max_buckets(0)), "max_buckets");
    assert_eq!(knob(Tiered::builder().bucket_life(ms(0))), "bucket_life");
    for share in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        assert_eq!(knob(Tiered::builder().preemptive(share)), "preemptive", "{share}");
    }
    assert_eq!(knob(Tiered::builder().major_parameters([""])), "major_parameters");
    assert_eq!(knob(Tiered::builder().major_parameters(["a", "b", "a"])), "major_parameters");
}
