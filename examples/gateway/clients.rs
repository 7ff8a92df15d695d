//! The rate of each client: a token bucket for everyone who is known, in a table that cannot grow without bound.
//!
//! A client is known by what its `x-client` header says, else by its address. A bucket that is full again is like a new
//! one, so it can be forgotten without anybody noticing; when the table is full of clients that are not idle, further
//! ones share one bucket.

use crate::args::Limits;
use crate::tally::lock;
use cofferdam::ConfigError;
use cofferdam::limit::{Denied, Quota, TokenBucket};
use cofferdam::time::Clock;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Names and addresses that are known at most, each.
const KNOWN: usize = 4096;
/// A longer name is none.
const NAME_LENGTH: usize = 64;
/// A full table is searched for the idle no more often than this.
const SWEEP: Duration = Duration::from_millis(100);
/// Said to who can never be let through.
const NEVER: Duration = Duration::from_secs(3600);

pub(crate) struct Clients {
    quota: Quota,
    clock: Clock,
    names: Mutex<Table<Box<str>>>,
    addresses: Mutex<Table<IpAddr>>,
    /// Whom the table has no room for.
    crowd: TokenBucket,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    allowed: AtomicU64,
    limited: AtomicU64,
    forgotten: AtomicU64,
    crowded: AtomicU64,
}

struct Table<K> {
    buckets: HashMap<K, TokenBucket>,
    swept: Option<Instant>,
}

pub(crate) struct ClientsStats {
    pub(crate) allowed: u64,
    pub(crate) limited: u64,
    /// Clients in the table.
    pub(crate) known: u64,
    /// Clients that were taken out of it.
    pub(crate) forgotten: u64,
    /// Decisions by the bucket of those without one.
    pub(crate) crowded: u64,
}

impl Clients {
    pub(crate) fn new(limits: &Limits, clock: &Clock) -> Result<Self, ConfigError> {
        Ok(Self {
            quota: limits.rate,
            clock: clock.clone(),
            names: Mutex::new(Table::new()),
            addresses: Mutex::new(Table::new()),
            crowd: bucket(limits.rate, clock)?,
            counts: Counts::default(),
        })
    }

    /// Lets a request of this client through, or says how long to wait.
    pub(crate) fn admit(&self, name: Option<&str>, address: IpAddr) -> Result<(), Duration> {
        let decision = if self.quota.rate().is_unlimited() {
            Ok(())
        } else {
            match name.filter(|name| !name.is_empty() && name.len() <= NAME_LENGTH) {
                Some(name) => self.decide(&self.names, name, || name.into()),
                None => self.decide(&self.addresses, &address, || address),
            }
        };
        let count = if decision.is_ok() { &self.counts.allowed } else { &self.counts.limited };
        count.fetch_add(1, Ordering::Relaxed);
        decision.map_err(|denied| denied.retry_after().unwrap_or(NEVER))
    }

    fn decide<K, Q>(&self, table: &Mutex<Table<K>>, key: &Q, own: impl FnOnce() -> K) -> Result<(), Denied>
    where
        K: Hash + Eq + std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let now = self.clock.now();
        let mut table = lock(table);
        if let Some(bucket) = table.buckets.get(key) {
            return bucket.try_acquire_at(1, now);
        }
        if table.buckets.len() >= KNOWN {
            let forgotten = table.sweep(now);
            self.counts.forgotten.fetch_add(forgotten as u64, Ordering::Relaxed);
        }
        let known = table.buckets.len() < KNOWN;
        match bucket(self.quota, &self.clock) {
            Ok(bucket) if known => table.buckets.entry(own()).or_insert(bucket).try_acquire_at(1, now),
            _ => {
                drop(table);
                self.counts.crowded.fetch_add(1, Ordering::Relaxed);
                self.crowd.try_acquire_at(1, now)
            }
        }
    }

    pub(crate) fn stats(&self) -> ClientsStats {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ClientsStats {
            allowed: load(&self.counts.allowed),
            limited: load(&self.counts.limited),
            known: (lock(&self.names).buckets.len() + lock(&self.addresses).buckets.len()) as u64,
            forgotten: load(&self.counts.forgotten),
            crowded: load(&self.counts.crowded),
        }
    }
}

impl<K: Hash + Eq> Table<K> {
    fn new() -> Self {
        Self { buckets: HashMap::new(), swept: None }
    }

    /// Forgets those whose bucket is full; returns how many they were.
    fn sweep(&mut self, now: Instant) -> usize {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return 0;
        }
        self.swept = Some(now);
        let before = self.buckets.len();
        self.buckets.retain(|_, bucket| bucket.available_at(now) < bucket.burst());
        before - self.buckets.len()
    }
}

fn bucket(quota: Quota, clock: &Clock) -> Result<TokenBucket, ConfigError> {
    TokenBucket::builder(quota).clock(clock.clone()).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam::testkit::ManualClock;
    use std::net::Ipv4Addr;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn clients(rate: Quota) -> (Clients, ManualClock) {
        let time = ManualClock::new();
        let limits = Limits { rate, attempt_timeout: Duration::from_secs(1), in_flight: 1 };
        (Clients::new(&limits, &time.clock()).unwrap(), time)
    }

    #[test]
    fn each_name_and_each_address_has_a_rate_of_its_own() {
        let (clients, time) = clients(Quota::per_second(2));
        for _ in 0..2 {
            assert_eq!(clients.admit(Some("a"), HOME), Ok(()));
            assert_eq!(clients.admit(None, HOME), Ok(()));
        }
        assert_eq!(clients.admit(Some("a"), HOME), Err(Duration::from_millis(500)));
        assert_eq!(clients.admit(None, HOME), Err(Duration::from_millis(500)));
        assert_eq!(clients.admit(Some("b"), HOME), Ok(()));
        time.advance(Duration::from_millis(500));
        assert_eq!(clients.admit(Some("a"), HOME), Ok(()));
        let stats = clients.stats();
        assert_eq!((stats.allowed, stats.limited, stats.known), (6, 2, 3));
    }

    #[test]
    fn a_full_table_forgets_the_idle_and_else_makes_the_rest_a_crowd() {
        let (clients, time) = clients(Quota::per_second(1));
        for index in 0..KNOWN {
            assert_eq!(clients.admit(Some(&format!("c{index}")), HOME), Ok(()));
        }
        assert_eq!(clients.admit(Some("late"), HOME), Ok(()));
        assert!(clients.admit(Some("later"), HOME).is_err(), "the crowd has one bucket");
        assert_eq!((clients.stats().crowded, clients.stats().known), (2, KNOWN as u64));
        time.advance(Duration::from_secs(1));
        assert_eq!(clients.admit(Some("late"), HOME), Ok(()));
        let stats = clients.stats();
        assert_eq!((stats.crowded, stats.known, stats.forgotten), (2, 1, KNOWN as u64));
    }

    #[test]
    fn an_overlong_name_is_none() {
        let (clients, _time) = clients(Quota::per_second(1));
        assert_eq!(clients.admit(Some(&"x".repeat(65)), HOME), Ok(()));
        assert!(clients.admit(Some(&"y".repeat(65)), HOME).is_err());
    }
}
