//! Against a reference that cannot be wrong: a map from keys to values and times.

use super::*;
use cofferdam::testkit::Sim;
use std::collections::HashMap;

#[test]
fn at_every_step_it_is_what_a_plain_map_would_be() {
    const TTL: u64 = 10;
    const STALE: u64 = 5;
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let time = ManualClock::new();
        let cache: Numbers =
            Cache::builder(1_000).ttl(ms(TTL)).stale_if_error(ms(STALE)).clock(time.clock()).build().unwrap();
        // The value, and when it is no longer fresh.
        let mut map = HashMap::<u32, (u32, u64)>::new();
        let mut at = 0;
        for step in 0..400_u32 {
            let key = sim.random_below(8) as u32;
            let fresh = map.get(&key).filter(|(_, until)| at < *until).map(|(value, _)| *value);
            let usable = map.get(&key).filter(|(_, until)| at < *until + STALE).map(|(value, _)| *value);
            match sim.random_below(9) {
                0 => {
                    cache.insert(key, step);
                    map.insert(key, (step, at + TTL));
                }
                1 => {
                    let ttl = sim.random_below(20);
                    cache.insert_for(key, step, ms(ttl));
                    map.remove(&key);
                    if ttl > 0 {
                        map.insert(key, (step, at + ttl));
                    }
                }
                2 => {
                    cache.invalidate(&key);
                    map.remove(&key);
                }
                3 => {
                    let by = sim.random_below(8);
                    time.advance(ms(by));
                    at += by;
                }
                4 => {
                    let got = now(cache.get_or_load(&key, || ok(step))).unwrap();
                    assert_eq!(*got, fresh.unwrap_or(step), "seed {seed} step {step}");
                    if fresh.is_none() {
                        map.insert(key, (step, at + TTL));
                    }
                }
                5 => {
                    let got = now(cache.get_or_load(&key, down)).ok();
                    assert_eq!(got.as_deref().copied(), usable, "seed {seed} step {step}");
                }
                6 => {
                    assert_eq!(*now(cache.refresh(&key, || ok(step))).unwrap(), step);
                    map.insert(key, (step, at + TTL));
                }
                7 if sim.random_below(8) == 0 => {
                    let old = map.len();
                    map.retain(|_, (_, until)| at < *until + STALE);
                    assert_eq!(cache.remove_expired(), old - map.len(), "seed {seed} step {step}");
                }
                8 if sim.random_below(16) == 0 => {
                    cache.invalidate_all();
                    map.clear();
                }
                _ => assert_eq!(cache.get(&key).as_deref().copied(), fresh, "seed {seed} step {step}"),
            }
            assert_eq!(cache.stats().entries, map.len(), "seed {seed} step {step}");
        }
    }
}
