//! Against a plain reference: whole numbers of tokens in plain buckets, all or none.

use super::build;
use cofferdam::limit::tiered::{Request, Tier};
use cofferdam::limit::{Quota, Rate, Tiered};
use cofferdam::testkit::Polled;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// `count` tokens each second, counted in parts of which a second's worth of nanoseconds makes a token.
struct Plain {
    count: u64,
    burst: u64,
    level: u128,
    last: u64,
}

const TOKEN: u128 = 1_000_000_000;

impl Plain {
    fn new(count: u64, burst: u64) -> Self {
        Self { count, burst, level: u128::from(burst) * TOKEN, last: 0 }
    }

    fn missing(&mut self, now: u64, n: u64) -> Option<u64> {
        let come = u128::from(now - self.last) * u128::from(self.count);
        self.level = (self.level + come).min(u128::from(self.burst) * TOKEN);
        self.last = now;
        let missing = (u128::from(n) * TOKEN).saturating_sub(self.level);
        if n > self.burst { None } else { Some(missing.div_ceil(u128::from(self.count)) as u64) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    rates: [u64; 3],
    bursts: [u64; 3],
}

fn settings() -> impl Strategy<Value = Settings> {
    ([1..20_u64, 1..20, 1..20], [1..8_u64, 1..8, 1..8]).prop_map(|(rates, bursts)| Settings { rates, bursts })
}

#[derive(Clone, Copy, Debug)]
struct Ask {
    after: u64,
    route: usize,
    user: Option<usize>,
    n: u64,
}

fn ask() -> impl Strategy<Value = Ask> {
    let after = prop_oneof![Just(0), 0..400_000_000_u64, Just(1)];
    (after, 0..3_usize, prop::option::of(0..3_usize), 1..4_u64).prop_map(|(after, route, user, n)| Ask {
        after,
        route,
        user,
        n,
    })
}

const ROUTES: [&str; 3] = ["/a", "/b/7", "/c"];
const USERS: [&str; 3] = ["x", "y", "z"];

fn limiter(settings: Settings) -> (cofferdam::testkit::ManualClock, Tiered) {
    let quota = |tier: usize| Quota::new(Rate::per_second(settings.rates[tier]), settings.bursts[tier]);
    build(Tiered::builder().global(quota(0)).default_route(quota(1)).resource(quota(2)))
}

fn request(ask: &Ask) -> Request<'static> {
    let request = Request::new("GET", ROUTES[ask.route]).tokens(ask.n);
    ask.user.map_or(request, |user| request.user(USERS[user]))
}

/// The buckets of a request: tier and which.
fn buckets(ask: &Ask) -> Vec<(usize, usize)> {
    let user = ask.user.map(|user| (2, user));
    [Some((0, 0)), Some((1, ask.route)), user].into_iter().flatten().collect()
}

proptest! {
    // S43, MT1, MT17
    #[test]
    fn a_request_is_decided_and_charged_as_by_plain_buckets(
        settings in settings(),
        asks in prop::collection::vec(ask(), 1..60),
    ) {
        let (time, limiter) = limiter(settings);
        let mut plain: BTreeMap<(usize, usize), Plain> = BTreeMap::new();
        let mut now = 0;
        for ask in &asks {
            now += ask.after;
            time.advance(Duration::from_nanos(ask.after));
            let mut waits = Vec::new();
            for bucket in buckets(ask) {
                let (rate, burst) = (settings.rates[bucket.0], settings.bursts[bucket.0]);
                let known = plain.entry(bucket).or_insert_with(|| Plain::new(rate, burst));
                waits.push((bucket, known.missing(now, ask.n)));
            }
            let longest = |wait: Option<u64>| wait.unwrap_or(u64::MAX);
            let worst = waits.iter().rev().max_by_key(|(_, wait)| longest(*wait)).copied();
            match limiter.try_acquire(request(ask)) {
                Ok(()) => {
                    prop_assert!(waits.iter().all(|(_, wait)| *wait == Some(0)), "{:?} {:?}", ask, waits);
                    for bucket in buckets(ask) {
                        plain.get_mut(&bucket).unwrap().level -= u128::from(ask.n) * TOKEN;
                    }
                }
                Err(refusal) => {
                    let ((tier, _), wait) = worst.unwrap();
                    prop_assert_eq!(refusal.retry_after(), wait.map(Duration::from_nanos));
                    prop_assert_eq!(refusal.tier(), [Tier::Global, Tier::Route, Tier::Resource][tier]);
                    prop_assert_eq!(refusal.is_never(), wait.is_none());
                }
            }
            // Nothing was charged in part.
            for (tier, _) in buckets(ask) {
                let known = &plain[&buckets(ask)[tier.min(buckets(ask).len() - 1)]];
                let bucket = limiter.bucket([Tier::Global, Tier::Route, Tier::Resource][tier], request(ask)).unwrap();
                prop_assert_eq!(u128::from(bucket.available()), known.level / TOKEN);
            }
        }
    }

    // MT10, MT11: with waiting, priorities, giving up, resumes and refusals in between.
    #[test]
    fn no_bucket_ever_admits_more_than_its_burst_and_rate_over_any_interval(
        settings in settings(),
        asks in prop::collection::vec((ask(), 0..4_u8, any::<u8>()), 1..60),
    ) {
        let (time, limiter) = limiter(settings);
        let clock = time.clock();
        let start = clock.now();
        let mut admitted: BTreeMap<(usize, usize), Vec<(u128, u64)>> = BTreeMap::new();
        let mut waits: Vec<(Ask, Polled<_>)> = Vec::new();
        // Steps of a millisecond, so that grants are seen when they are made.
        let note = |admitted: &mut BTreeMap<_, Vec<_>>, ask: &Ask| {
            for bucket in buckets(ask) {
                admitted.entry(bucket).or_default().push(((clock.now() - start).as_nanos(), ask.n));
            }
        };
        for (ask, way, die) in &asks {
            for _ in 0..ask.after / 1_000_000 {
                time.advance(Duration::from_millis(1));
                waits.retain_mut(|(ask, wait)| {
                    let done = if wait.wakes() > 0 { wait.poll() } else { None };
                    if let Some(Ok(())) = done {
                        note(&mut admitted, ask);
                    }
                    done.is_none()
                });
            }
            match way {
                0 if limiter.try_acquire(request(ask)).is_ok() => note(&mut admitted, ask),
                1 if !waits.is_empty() => drop(waits.swap_remove(usize::from(*die) % waits.len())),
                2 | 3 => {
                    let priority = [cofferdam::sync::Priority::Low, cofferdam::sync::Priority::High][usize::from(die % 2)];
                    let mut wait = Polled::new(limiter.acquire(request(ask).priority(priority)));
                    match wait.poll() {
                        Some(Ok(())) => note(&mut admitted, ask),
                        Some(Err(_)) => {}
                        None => waits.push((*ask, wait)),
                    }
                }
                _ => {}
            }
        }
        for ((tier, which), grants) in &admitted {
            let (rate, burst) = (u128::from(settings.rates[*tier]), u128::from(settings.bursts[*tier]));
            for (at, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for (to, n) in &grants[at..] {
                    sum += u128::from(*n);
                    // A grant may have been made up to a step before it was seen.
                    let most = burst * TOKEN + rate * (to - from + 1_000_000);
                    prop_assert!(sum * TOKEN <= most, "bucket {:?}: {} in {}", (tier, which), sum, to - from);
                }
            }
        }
        // Whoever waits is served in the end, and then nothing is left over.
        for _ in 0..200 {
            time.advance(Duration::from_secs(1));
        }
        for (ask, mut wait) in waits {
            prop_assert!(wait.poll().is_some_and(|taken| taken.is_ok()), "{:?} waits for ever", ask);
            prop_assert_eq!(wait.wakes(), 1);
        }
        prop_assert_eq!((time.armed(), limiter.stats().waiting), (0, 0));
        time.advance(Duration::from_secs(100));
        prop_assert_eq!(limiter.global().available(), settings.bursts[0]);
        prop_assert_eq!(limiter.stats().active_buckets, 0);
    }
}
