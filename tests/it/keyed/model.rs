//! Against a plain reference: an unbounded map of the same algorithm.

use super::builder;
use cofferdam::limit::{Algorithm, Gcra, Quota, WhenFull};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Take(u64, u64),
    Refund(u64, u64),
    Drain(u64, u64),
    Remove(u64),
    Override(u64, Quota),
    NoOverride(u64),
    All(Quota),
    RemoveIdle,
    Shrink,
    Advance(u64),
}

fn quota() -> impl Strategy<Value = Quota> {
    (1..5_u64, 1..6_u64, 1..4_u64)
        .prop_map(|(tokens, seconds, burst)| format!("{tokens}/{seconds}s burst {burst}").parse().unwrap())
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..12_u64;
    prop_oneof![
        12 => (key.clone(), 0..4_u64).prop_map(|(key, n)| Step::Take(key, n)),
        2 => (key.clone(), 0..3_u64).prop_map(|(key, n)| Step::Refund(key, n)),
        1 => (key.clone(), 0..3_u64).prop_map(|(key, n)| Step::Drain(key, n)),
        1 => key.clone().prop_map(Step::Remove),
        1 => (key.clone(), quota()).prop_map(|(key, quota)| Step::Override(key, quota)),
        1 => key.prop_map(Step::NoOverride),
        1 => quota().prop_map(Step::All),
        1 => Just(Step::RemoveIdle),
        1 => Just(Step::Shrink),
        6 => (0..3_000_000_000_u64).prop_map(Step::Advance),
    ]
}

/// Every key for ever, and what each key is limited by.
struct Reference {
    all: Gcra,
    own: HashMap<u64, Gcra>,
    states: HashMap<u64, u128>,
    now: u64,
}

impl Reference {
    fn of(&self, key: u64) -> Gcra {
        self.own.get(&key).copied().unwrap_or(self.all)
    }

    fn state(&self, key: u64) -> u128 {
        let fresh = self.of(key).fresh(self.now);
        self.states.get(&key).copied().unwrap_or(fresh)
    }

    fn is_idle(&self, key: u64) -> bool {
        self.idle_at(key) <= self.now
    }

    fn idle_at(&self, key: u64) -> u64 {
        self.states.get(&key).map_or(0, |state| self.of(key).fresh_at(state))
    }

    fn busy(&self) -> usize {
        self.states.keys().filter(|key| !self.is_idle(**key)).count()
    }

    fn change(&mut self, key: u64, next: Gcra) {
        let old = self.of(key);
        if self.is_idle(key) {
            // As one that was never seen.
            self.states.remove(&key);
        } else if let Some(state) = self.states.get_mut(&key) {
            *state = old.carry(&next, state, self.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // S44: forgetting idle keys is not noticed, and a key is refused for want of room, or evicted, only if none is idle.
    #[test]
    fn a_bounded_limiter_decides_as_an_unbounded_one(
        first in quota(), capacity in 1..9_usize, shards in 0..3_u32, evict: bool,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (time, builder) = builder::<u64>(first);
        let policy = if evict { WhenFull::EvictIdleMost } else { WhenFull::RejectNew };
        let limiter = builder.capacity(capacity).overrides(12).shards(1 << shards).when_full(policy).build().unwrap();
        let mut reference = Reference {
            all: Gcra::new(first), own: HashMap::new(), states: HashMap::new(), now: 0,
        };
        for step in steps {
            let comer = match step {
                Step::Take(key, _) | Step::Drain(key, _) => Some(key),
                _ => None,
            };
            match step {
                Step::Take(key, n) => {
                    let mut state = reference.state(key);
                    let expected = reference.of(key).take(&mut state, reference.now, n);
                    let is_new = reference.is_idle(key);
                    match limiter.try_acquire_many(&key, n) {
                        Err(full) if full.is_full() => {
                            prop_assert!(!evict && is_new && expected.is_ok() && n > 0);
                            prop_assert_eq!(reference.busy(), capacity, "refused with room to spare");
                            let first = reference.states.keys().filter(|key| !reference.is_idle(**key));
                            let first = first.map(|key| reference.idle_at(*key)).min().unwrap();
                            let after = full.retry_after().unwrap();
                            prop_assert!(after <= Duration::from_nanos(first - reference.now), "told too late");
                        }
                        result => {
                            prop_assert_eq!(result.map_err(|denied| denied.denied().unwrap()), expected);
                            if n > 0 && expected.is_ok() {
                                reference.states.insert(key, state);
                            }
                        }
                    }
                }
                Step::Refund(key, n) => {
                    limiter.refund(&key, n);
                    let (algorithm, now) = (reference.of(key), reference.now);
                    if let Some(state) = reference.states.get_mut(&key) {
                        algorithm.refund(state, now, n);
                    }
                }
                Step::Drain(key, n) => {
                    let mut state = reference.state(key);
                    reference.of(key).drain_to(&mut state, reference.now, n);
                    match limiter.drain_to(&key, n) {
                        Ok(()) => drop(reference.states.insert(key, state)),
                        Err(_) => prop_assert!(!evict && reference.busy() == capacity),
                    }
                }
                Step::Remove(key) => {
                    let removed = limiter.remove(&key);
                    prop_assert!(removed || reference.is_idle(key));
                    reference.states.remove(&key);
                }
                Step::Override(key, quota) => {
                    limiter.set_override(key, quota).unwrap();
                    reference.change(key, quota.into());
                    reference.own.insert(key, quota.into());
                }
                Step::NoOverride(key) => {
                    reference.change(key, reference.all);
                    prop_assert_eq!(limiter.remove_override(&key), reference.own.remove(&key));
                }
                Step::All(quota) => {
                    limiter.set(quota);
                    for key in 0..12 {
                        if !reference.own.contains_key(&key) {
                            reference.change(key, quota.into());
                        }
                    }
                    reference.all = quota.into();
                }
                Step::RemoveIdle => {
                    limiter.remove_idle();
                    prop_assert_eq!(limiter.len(), reference.busy());
                }
                Step::Shrink => limiter.shrink(),
                Step::Advance(nanos) => {
                    time.advance(Duration::from_nanos(nanos));
                    reference.now += nanos;
                }
            }
            prop_assert!(limiter.len() <= capacity);
            // Who was evicted: of those that are not idle, the one that would be first.
            let busy = |key: &u64| !reference.is_idle(*key);
            let gone: Vec<u64> = reference.states.keys().copied().filter(busy).filter(|key| !limiter.contains(key)).collect();
            prop_assert!(gone.len() <= usize::from(evict), "forgotten: {:?}", gone);
            for key in &gone {
                let at = reference.idle_at(*key);
                let first = (0..12).filter(|other| limiter.contains(other) && Some(*other) != comer);
                let first = first.map(|other| reference.idle_at(other)).min().unwrap_or(u64::MAX);
                prop_assert!(at <= first, "{} was evicted before its time", key);
                prop_assert!(reference.busy() > capacity);
                reference.states.remove(key);
            }
            for key in 0..12 {
                prop_assert_eq!(limiter.available(&key), reference.of(key).available(&reference.state(key), reference.now));
            }
        }
    }
}
