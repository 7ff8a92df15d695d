//! The rate of each client: a limit by key for everyone who comes, in bounded memory.
//!
//! A client is known by what its `x-client` header says, else by its address. Whoever has been idle so long that his limit is as
//! good as new is forgotten. When all that are known are busy, a new one is refused: he could be anybody, so he must not cost
//! others their place.

use crate::args::Limits;
use cofferdam::ConfigError;
use cofferdam::limit::{Keyed, KeyedStats, Quota};
use cofferdam::telemetry::{Telemetry, WatchError};
use cofferdam::time::Clock;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Clients that are known at most.
const KNOWN: usize = 8192;
/// A longer name is none.
const NAME_LENGTH: usize = 64;
/// Said to who can never be let through.
const NEVER: Duration = Duration::from_secs(3600);

/// Whose limit the other fields speak of.
pub(crate) const SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");
pub(crate) const CLIENT_SCOPE: &str = "client";
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET_AFTER: HeaderName = HeaderName::from_static("x-ratelimit-reset-after");

pub(crate) struct Clients {
    limiter: Keyed<String>,
    quota: Quota,
    allowed: AtomicU64,
    limited: AtomicU64,
}

pub(crate) struct ClientsStats {
    pub(crate) allowed: u64,
    pub(crate) limited: u64,
    pub(crate) keys: KeyedStats,
}

/// A request above its client's rate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AboveRate {
    /// Until the next is let through.
    pub(crate) wait: Duration,
    pub(crate) text: String,
    burst: u64,
    remaining: u64,
}

impl AboveRate {
    /// The numbers, for the client.
    pub(crate) fn say(&self, headers: &mut HeaderMap) {
        headers.insert(SCOPE, HeaderValue::from_static(CLIENT_SCOPE));
        headers.insert(LIMIT, self.burst.into());
        headers.insert(REMAINING, self.remaining.into());
        // In thousandths, rounded up.
        let millis = self.wait.as_nanos().div_ceil(1_000_000);
        if let Ok(value) = HeaderValue::from_str(&format!("{}.{:03}", millis / 1000, millis % 1000)) {
            headers.insert(RESET_AFTER, value);
        }
    }
}

impl Clients {
    pub(crate) fn new(limits: &Limits, clock: &Clock) -> Result<Self, ConfigError> {
        let limiter = Keyed::builder(limits.client_rate)
            .capacity(KNOWN)
            .clock(clock.clone())
            .name("clients")
            .build()?;
        let (allowed, limited) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { limiter, quota: limits.client_rate, allowed, limited })
    }

    /// Lets a request of this client through, or says how long to wait.
    pub(crate) fn admit(&self, name: Option<&str>, address: IpAddr) -> Result<(), AboveRate> {
        // No name may pass for an address.
        let is_name = |name: &&str| !name.is_empty() && name.len() <= NAME_LENGTH && !name.starts_with('@');
        let decision = match name.filter(is_name) {
            Some(name) => self.decide(name),
            None => self.decide(&format!("@{}", address.to_canonical())),
        };
        let count = if decision.is_ok() { &self.allowed } else { &self.limited };
        count.fetch_add(1, Ordering::Relaxed);
        decision
    }

    fn decide(&self, key: &str) -> Result<(), AboveRate> {
        self.limiter.try_acquire(key).map_err(|denied| AboveRate {
            wait: denied.retry_after().unwrap_or(NEVER),
            text: match denied.is_full() {
                true => "too many clients at once".to_owned(),
                false => format!("client above its rate of {}", self.quota),
            },
            burst: self.quota.burst_size(),
            remaining: if denied.is_full() { 0 } else { self.limiter.available(key) },
        })
    }

    pub(crate) fn watched(&self, telemetry: &Telemetry) -> Result<(), WatchError> {
        telemetry.watch("clients", &self.limiter)
    }

    pub(crate) fn quota(&self) -> Quota {
        self.quota
    }

    /// Those who could be let through the fewest times now, and how many times.
    pub(crate) fn busiest(&self, most: usize) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        self.limiter.for_each(|key, state| all.push((key, state.available)));
        all.sort_by(|a, b| a.1.cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        all.truncate(most);
        all
    }

    pub(crate) fn stats(&self) -> ClientsStats {
        ClientsStats {
            allowed: self.allowed.load(Ordering::Relaxed),
            limited: self.limited.load(Ordering::Relaxed),
            keys: self.limiter.stats(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam::testkit::ManualClock;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn clients(rate: Quota) -> (Clients, ManualClock) {
        let time = ManualClock::new();
        let limits = Limits { client_rate: rate, ..Limits::none() };
        (Clients::new(&limits, &time.clock()).unwrap(), time)
    }

    #[test]
    fn each_name_and_each_address_has_a_rate_of_its_own() {
        let (clients, time) = clients(Quota::per_second(2));
        for _ in 0..2 {
            assert_eq!(clients.admit(Some("a"), HOME), Ok(()));
            assert_eq!(clients.admit(None, HOME), Ok(()));
        }
        let wait = |name| clients.admit(name, HOME).unwrap_err().wait;
        assert_eq!(wait(Some("a")), Duration::from_millis(500));
        assert_eq!(wait(None), Duration::from_millis(500));
        assert_eq!(wait(Some("@127.0.0.1")), Duration::from_millis(500), "passes for an address");
        assert_eq!(clients.admit(Some("b"), HOME), Ok(()));
        time.advance(Duration::from_millis(500));
        assert_eq!(clients.admit(Some("a"), HOME), Ok(()));
        let stats = clients.stats();
        assert_eq!((stats.allowed, stats.limited, stats.keys.keys), (6, 3, 3));
    }

    #[test]
    fn a_refusal_carries_the_limiters_numbers() {
        let (clients, _time) = clients(Quota::per_minute(40).burst(1));
        assert_eq!(clients.admit(Some("a"), HOME), Ok(()));
        let mut headers = HeaderMap::new();
        clients.admit(Some("a"), HOME).unwrap_err().say(&mut headers);
        let value = |name: &str| headers[name].to_str().unwrap();
        assert_eq!((value("x-ratelimit-limit"), value("x-ratelimit-remaining")), ("1", "0"));
        assert_eq!((value("x-ratelimit-reset-after"), value("x-ratelimit-scope")), ("1.500", "client"));
    }

    #[test]
    fn the_idle_make_room_and_else_a_new_client_is_refused() {
        let (clients, time) = clients(Quota::per_second(1));
        for index in 0..KNOWN {
            assert_eq!(clients.admit(Some(&format!("c{index}")), HOME), Ok(()));
        }
        let refused = clients.admit(Some("late"), HOME).unwrap_err();
        assert_eq!((refused.text.as_str(), clients.stats().keys.keys), ("too many clients at once", KNOWN));
        time.advance(Duration::from_secs(1));
        assert_eq!(clients.admit(Some("late"), HOME), Ok(()));
        let keys = clients.stats().keys;
        assert!(keys.expired >= 1 && keys.keys <= KNOWN && keys.evicted == 0);
    }

    #[test]
    fn the_busiest_are_those_who_could_send_the_least() {
        let (clients, _time) = clients(Quota::per_second(9));
        for (name, requests) in [("idle", 1), ("greedy", 7), ("b", 3), ("a", 3)] {
            (0..requests).for_each(|_| clients.admit(Some(name), HOME).unwrap());
        }
        let busiest = clients.busiest(3);
        let named = |name: &str, available| (name.to_owned(), available);
        assert_eq!(busiest, [named("greedy", 2), named("a", 6), named("b", 6)]);
    }

    #[test]
    fn an_overlong_name_is_none() {
        let (clients, _time) = clients(Quota::per_second(1));
        assert_eq!(clients.admit(Some(&"x".repeat(65)), HOME), Ok(()));
        assert!(clients.admit(Some(&"y".repeat(65)), HOME).is_err());
    }
}
