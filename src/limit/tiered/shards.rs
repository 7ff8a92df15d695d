//! All buckets, and the decision over several of them at once.
//!
//! # Locks
//! A decision locks the shards of its buckets by rising number, then the global bucket; under a shard's lock, settings of new
//! buckets are read under a third. That is the order, for everybody; none of them is held across an await or while foreign
//! code runs. So a request is charged in all of its tiers or in none, and nobody sees half of it.
//!
//! # Memory
//! A shard holds at most its share of the buckets. A new key takes the place of the bucket that has been idle the longest of
//! those that decide as fresh ones do; what is not full again, is paused or paced, or has learned its server's limit within
//! its life, keeps its place. Where the few idle-most buckets of a shard are all active, the new key shares the overflow bucket
//! of its shard and tier: it is limited with the others that found no room, and no active limit is forgotten for it. A pause of
//! the overflow bucket goes on in buckets that are made in the meantime, as one of them may be what it was meant for. (Those who
//! wait for an overflow bucket keep their order only among those of their own key.)

use super::bucket::{Bucket, Ready, Short};
use super::key::Key;
use super::quotas::Quotas;
use super::store::Store;
use super::tier::{Plan, TIERS};
use super::{Refusal, Tier};
use crate::limit::Quota;
use crate::shim::{Mutex, MutexGuard};
use std::sync::Arc;

/// The most shards; fewer where there are few buckets.
const MOST_SHARDS: usize = 16;
/// Buckets of a shard for which another one pays.
const WORTH_A_SHARD: usize = 64;
/// Old buckets that go for each new one.
const EXPIRED_FOR_A_NEW_ONE: usize = 2;

/// Tiers below the global one.
const NARROW: usize = TIERS - 1;

/// A bucket of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) plan: Plan,
}

/// The buckets of a request below the global one: route, resource, sub-resource, user.
pub(super) type Places = [Option<Place>; NARROW];

/// How buckets that do not exist yet are to be called.
pub(super) trait Naming {
    fn name(&self, tier: Tier) -> Arc<str>;

    /// What the major parameters add to the name of a route.
    fn suffix(&self) -> String;
}

/// What a decision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request's first: takes, and is counted.
    Take,
    /// One more of a request that was counted.
    Again,
    /// To know.
    Peek,
}

/// A bit for each tier.
pub(super) type Tiers = u8;

pub(super) const fn bit(tier: Tier) -> Tiers {
    1 << tier.index()
}

/// What was taken, so that it can be given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charged {
    places: Places,
    /// Tiers whose key had no bucket of its own.
    overflow: Tiers,
    tokens: u64,
}

impl Charged {
    /// As it stands when the route's bucket has become another one; an overflow bucket does not.
    pub(super) fn moved_to(&self, places: &Places) -> Self {
        let places = if self.overflow & bit(Tier::Route) == 0 { *places } else { self.places };
        Self { places, ..*self }
    }
}

pub(super) struct Shards {
    shards: Box<[Mutex<Shard>]>,
    global: Mutex<Bucket>,
    quotas: Mutex<Quotas>,
    life: u64,
}

struct Shard {
    store: Store<Key, Bucket>,
    overflow: [Option<Box<Bucket>>; NARROW],
    tally: Tally,
}

/// Decisions on requests whose route is in this shard.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) admitted: u64,
    pub(super) refused: [u64; TIERS],
    /// Decisions by an overflow bucket.
    pub(super) overflowed: u64,
    pub(super) evicted: u64,
    pub(super) buckets: usize,
    pub(super) active: usize,
}

/// Where a bucket is: in which of the locked shards, and where in it; without a place there it is the overflow bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    guard: usize,
    at: Option<usize>,
}

/// A bucket that takes part in a decision, and what it has said.
#[derive(Clone, Copy, Debug)]
struct Seat {
    tier: Tier,
    spot: Spot,
    ready: Ready,
}

impl Seat {
    const EMPTY: Self = Self { tier: Tier::Global, spot: Spot { guard: 0, at: None }, ready: Ready::NOTHING };
}

/// The shards of a request, locked.
struct Locked<'a> {
    guards: [Option<MutexGuard<'a, Shard>>; NARROW],
    /// Which of them is that of each place.
    of: [usize; NARROW],
}

impl Shards {
    pub(super) fn new(most: usize, life: u64, quotas: Quotas) -> Self {
        let wanted = (most / WORTH_A_SHARD).clamp(1, MOST_SHARDS);
        // A power of two, so that a key is sorted in by its bits.
        let count = if wanted.is_power_of_two() { wanted } else { wanted.next_power_of_two() / 2 };
        let shard = |_| {
            let (store, tally) = (Store::new(most / count), Tally::default());
            Mutex::new(Shard { store, overflow: [const { None }; NARROW], tally })
        };
        let plan = Plan::Default(Tier::Global);
        let global = Bucket::new(Arc::from("global"), plan, quotas.of(plan), 0);
        Self {
            shards: (0..count).map(shard).collect(),
            global: Mutex::new(global),
            quotas: Mutex::new(quotas),
            life,
        }
    }

    fn number_of(&self, key: &Key) -> usize {
        // The map uses the low bits and the highest; these are in between.
        (key.spread() >> 40) as usize & (self.shards.len() - 1)
    }

    fn lock(&self, number: usize) -> Option<MutexGuard<'_, Shard>> {
        self.shards.get(number).map(Mutex::lock)
    }

    /// Locks all shards of a request, by rising number.
    #[inline]
    fn lock_all(&self, places: &Places) -> Locked<'_> {
        let mut locked = Locked { guards: [const { None }; NARROW], of: [0; NARROW] };
        if let ([Some(place), None, None, None], [first, ..]) = (places, &mut locked.guards) {
            *first = self.lock(self.number_of(&place.key));
            return locked;
        }
        let mut numbers = [usize::MAX; NARROW];
        for (number, place) in numbers.iter_mut().zip(places) {
            *number = place.as_ref().map_or(usize::MAX, |place| self.number_of(&place.key));
        }
        let mut from = 0;
        for (index, guard) in locked.guards.iter_mut().enumerate() {
            let next = numbers
                .iter()
                .fold(usize::MAX, |next, number| if *number < from { next } else { next.min(*number) });
            if next == usize::MAX {
                break;
            }
            *guard = self.lock(next);
            for (of, number) in locked.of.iter_mut().zip(&numbers) {
                *of = if *number == next { index } else { *of };
            }
            from = next + 1;
        }
        locked
    }

    /// The bucket of a key, made if there is none.
    #[inline]
    fn locate(
        &self,
        shard: &mut Shard,
        guard: usize,
        place: &Place,
        now: u64,
        others: &[Seat],
        names: &dyn Naming,
    ) -> Option<Spot> {
        if let Some(at) = shard.store.find(&place.key, now) {
            return Some(Spot { guard, at: Some(at) });
        }
        self.make(shard, guard, place, now, others, names)
    }

    #[cold]
    fn make(
        &self,
        shard: &mut Shard,
        guard: usize,
        place: &Place,
        now: u64,
        others: &[Seat],
        names: &dyn Naming,
    ) -> Option<Spot> {
        let (tier, life) = (place.key.tier, self.life);
        let worth_keeping = |bucket: &Bucket, idle| bucket.is_worth_keeping(now, idle, life);
        let Shard { store, overflow, tally } = shard;
        store.expire(now, life, EXPIRED_FOR_A_NEW_ONE, worth_keeping);
        let overflow = overflow.get_mut(tier.index() - 1)?;
        let taken = |at| others.iter().any(|seat| seat.spot == Spot { guard, at: Some(at) });
        let quota = |plan| self.quotas.lock().of(plan);
        let paused_until = overflow.as_ref().map_or(0, |overflow| overflow.paused_until);
        let fresh = |since| {
            let (name, quota) = (names.name(tier), quota(place.plan));
            let mut bucket = Bucket::new(name, place.plan, quota, since);
            // It may be this key that was paused while there was no room for it.
            bucket.pause_until(paused_until);
            if tier == Tier::Route { bucket.split_by(&names.suffix()) } else { bucket }
        };
        let at = store.insert(place.key, now, taken, worth_keeping, fresh);
        if at.is_none() {
            tally.overflowed += 1;
            let (plan, since) = (Plan::Default(tier), store.no_earlier(now));
            overflow.get_or_insert_with(|| {
                let name = Arc::from(format!("{tier} overflow"));
                Box::new(Bucket::new(name, plan, quota(plan), since))
            });
        }
        Some(Spot { guard, at })
    }

    /// Takes `tokens` in the global bucket and in all places, or in none. Gives the tiers that went by an overflow bucket.
    pub(super) fn decide(
        &self,
        places: &Places,
        tokens: u64,
        now: u64,
        names: &dyn Naming,
        purpose: Purpose,
    ) -> Result<Tiers, Refusal> {
        let mut locked = self.lock_all(places);
        let (mut seats, mut count) = ([Seat::EMPTY; NARROW], 0);
        for (place, guard) in places.iter().zip(locked.of) {
            let Some(place) = place else { continue };
            let Some(Some(shard)) = locked.guards.get_mut(guard) else { continue };
            let (known, free) = seats.split_at_mut(count);
            let spot = self.locate(shard, guard, place, now, known, names);
            if let (Some(seat), Some(spot)) = (free.first_mut(), spot) {
                *seat = Seat { tier: place.key.tier, spot, ..Seat::EMPTY };
                count += 1;
            }
        }
        let seats = seats.split_at_mut(count).0;
        let mut global = self.global.lock();
        let mut worst = Worst { tokens, now, longest: None };
        let everything = worst.look_at(Tier::Global, &global);
        for Seat { tier, spot, ready } in seats.iter_mut() {
            if let Some(bucket) = locked.bucket(spot, *tier) {
                *ready = worst.look_at(*tier, bucket);
            }
        }
        let refusal = worst.longest;
        if purpose == Purpose::Take {
            // By the shard of the route.
            let first = seats.first().map_or(0, |seat| seat.spot.guard);
            if let Some(Some(shard)) = locked.guards.get_mut(first) {
                shard.tally.count(refusal.as_ref().map(|refusal| refusal.tier));
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let mut overflow = 0;
        if purpose != Purpose::Peek {
            global.commit(everything, now, tokens);
            for Seat { tier, spot, ready } in seats.iter() {
                overflow |= if spot.at.is_none() { bit(*tier) } else { 0 };
                if let Some(bucket) = locked.bucket(spot, *tier) {
                    bucket.commit(*ready, now, tokens);
                }
            }
        }
        Ok(overflow)
    }

    fn route_of(&self, places: &Places) -> usize {
        places.iter().flatten().next().map_or(0, |place| self.number_of(&place.key))
    }

    /// Counts a request that was refused without a decision, as others wait for its buckets.
    pub(super) fn count_refusal(&self, places: &Places, tier: Tier) {
        if let Some(mut shard) = self.lock(self.route_of(places)) {
            shard.tally.count(Some(tier));
        }
    }

    /// Gives back what was taken and not used.
    pub(super) fn refund(&self, charged: &Charged, now: u64) {
        for place in charged.places.iter().flatten() {
            let (tier, number) = (place.key.tier, self.number_of(&place.key));
            let Some(mut shard) = self.lock(number) else { continue };
            let overflowed = charged.overflow & bit(tier) != 0;
            let at = if overflowed { None } else { shard.store.find(&place.key, now) };
            // One that is gone was as good as fresh.
            if overflowed || at.is_some() {
                if let Some(bucket) = shard.bucket(at, tier) {
                    bucket.refund(now, charged.tokens);
                }
            }
        }
        self.global.lock().refund(now, charged.tokens);
    }

    /// What [`decide`](Self::decide) has taken, by what it gave.
    pub(super) fn charged(places: Places, overflow: Tiers, tokens: u64) -> Charged {
        Charged { places, overflow, tokens }
    }

    /// Looks at the bucket of a place, or changes it; of the global one without a place.
    pub(super) fn with<R>(
        &self,
        place: Option<&Place>,
        now: u64,
        names: &dyn Naming,
        with: impl FnOnce(&mut Bucket) -> R,
    ) -> Option<R> {
        let Some(place) = place else { return Some(self.with_global(with)) };
        let mut shard = self.lock(self.number_of(&place.key))?;
        let spot = self.locate(&mut shard, 0, place, now, &[], names)?;
        shard.bucket(spot.at, place.key.tier).map(with)
    }

    pub(super) fn with_global<R>(&self, with: impl FnOnce(&mut Bucket) -> R) -> R {
        with(&mut self.global.lock())
    }

    /// Whether a place has a bucket of its own. Does not count as a use of it.
    pub(super) fn is_known(&self, place: &Place) -> bool {
        self.lock(self.number_of(&place.key)).is_some_and(|shard| shard.store.contains(&place.key))
    }

    pub(super) fn quotas(&self) -> Quotas {
        self.quotas.lock().clone()
    }

    pub(super) fn quota(&self, plan: Plan) -> Quota {
        self.quotas.lock().of(plan)
    }

    /// Changes a setting, and all buckets that go by it. A bucket that is made meanwhile is made by the new setting or is met
    /// on the way: whoever makes it reads the setting under its shard's lock.
    pub(super) fn set_quota(&self, plan: Plan, quota: Quota, now: u64) {
        self.quotas.lock().set(plan, quota);
        if plan == Plan::Default(Tier::Global) {
            self.global.lock().set_quota(quota, now);
        }
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { store, overflow, .. } = &mut *shard;
            let overflow = overflow.iter_mut().flatten().map(|bucket| &mut **bucket);
            let buckets = store.iter_mut().map(|(_, bucket)| bucket).chain(overflow);
            for bucket in buckets.filter(|bucket| bucket.plan == plan) {
                bucket.set_quota(quota, now);
            }
        }
    }

    /// The buckets of a route, by its major parameters.
    pub(super) fn of_route(&self, base: u128) -> Vec<(Key, Bucket)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let of_route = |key: &Key| key.tier == Tier::Route && key.base == base;
            found.extend(shard.store.iter().filter(|(key, _)| of_route(key)).cloned());
        }
        found
    }

    /// Lets the buckets of a route go by another plan.
    pub(super) fn adopt(&self, base: u128, plan: Plan, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let quota = self.quota(plan);
            for (key, bucket) in shard.store.iter_mut() {
                if key.tier == Tier::Route && key.base == base && bucket.plan != plan {
                    bucket.adopt(plan, quota, now);
                }
            }
        }
    }

    /// As [`of_route`](Self::of_route); they are gone then.
    pub(super) fn take_route(&self, base: u128, now: u64) -> Vec<(Key, Bucket)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let of_route = |key: &Key, _: &Bucket, _| key.tier == Tier::Route && key.base == base;
            found.extend(shard.lock().store.sweep(now, of_route));
        }
        found
    }

    /// Removes what has been idle for its life and is not active. Says how many.
    pub(super) fn sweep(&self, now: u64) -> usize {
        let life = self.life;
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let gone =
                |_: &Key, bucket: &Bucket, idle| idle >= life && !bucket.is_worth_keeping(now, idle, life);
            let gone = shard.store.sweep(now, gone);
            shard.store.evicted += gone.len() as u64;
            shard.store.forget(now, !gone.is_empty());
            removed += gone.len();
        }
        removed
    }

    /// Forgets all that was taken and said.
    pub(super) fn reset(&self, now: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.overflow = [const { None }; NARROW];
            shard.store.sweep(now, |_, _, _| true);
            shard.store.reset_forgotten();
        }
        self.global.lock().reset(now);
    }

    pub(super) fn tally(&self, now: u64) -> Tally {
        let mut sum = Tally::default();
        for shard in &self.shards {
            let shard = shard.lock();
            let Tally { admitted, refused, overflowed, .. } = shard.tally;
            sum.admitted += admitted;
            sum.overflowed += overflowed;
            sum.evicted += shard.store.evicted;
            sum.buckets += shard.store.len();
            sum.active += shard.store.iter().filter(|(_, bucket)| bucket.is_active(now)).count();
            for (sum, refused) in sum.refused.iter_mut().zip(refused) {
                *sum += refused;
            }
        }
        sum
    }
}

impl Shard {
    #[inline]
    fn bucket(&mut self, at: Option<usize>, tier: Tier) -> Option<&mut Bucket> {
        match at {
            Some(at) => self.store.get_mut(at),
            None => self.overflow.get_mut(tier.index().checked_sub(1)?)?.as_deref_mut(),
        }
    }
}

impl Tally {
    fn count(&mut self, refused_by: Option<Tier>) {
        match refused_by.and_then(|tier| self.refused.get_mut(tier.index())) {
            Some(refused) => *refused += 1,
            None => self.admitted += 1,
        }
    }
}

impl Locked<'_> {
    #[inline]
    fn bucket(&mut self, spot: &Spot, tier: Tier) -> Option<&mut Bucket> {
        self.guards.get_mut(spot.guard)?.as_mut()?.bucket(spot.at, tier)
    }
}

/// Who refuses for the longest.
struct Worst {
    tokens: u64,
    now: u64,
    longest: Option<Refusal>,
}

impl Worst {
    #[inline]
    fn look_at(&mut self, tier: Tier, bucket: &Bucket) -> Ready {
        bucket.check(self.now, self.tokens).unwrap_or_else(|Short(retry)| {
            self.refused(tier, bucket, retry);
            Ready::NOTHING
        })
    }

    #[cold]
    fn refused(&mut self, tier: Tier, bucket: &Bucket, retry: Option<u64>) {
        if self.longest.as_ref().is_none_or(|longest| is_longer(retry, longest.retry)) {
            self.longest = Some(refusal(tier, bucket, self.tokens, self.now, retry));
        }
    }
}

pub(super) fn refusal(tier: Tier, bucket: &Bucket, wanted: u64, now: u64, retry: Option<u64>) -> Refusal {
    Refusal {
        tier,
        bucket: Arc::clone(&bucket.name),
        wanted,
        limit: bucket.limit(),
        remaining: bucket.available(now),
        retry,
        paused: bucket.is_paused(now),
    }
}

/// Of two waits, `None` being for ever.
pub(super) fn is_longer(retry: Option<u64>, than: Option<u64>) -> bool {
    let key = |retry: Option<u64>| (retry.is_none(), retry);
    key(retry) > key(than)
}
