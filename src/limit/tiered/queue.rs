//! Those who wait, in order, and the pass that serves them. Guarded by the limiter's mutex.
//!
//! # The order
//! By priority, then by arrival; a wait ages: one class is worth so much time. Each waiter has its place when it comes, and
//! nothing moves it.
//!
//! # A pass
//! goes through the waiters in order and tries to take all that each wants. Whoever is refused blocks the bucket for which he
//! has to wait the longest, and nobody behind takes from a blocked bucket: it is kept for whoever came first. All others may
//! overtake: what they take will be there again before he can use it, or as the next rule has it. If the global bucket is blocked, nobody is served any more. One alarm is set for the
//! earliest instant at which somebody may be served, or has waited long enough.
//!
//! Who is refused by one bucket after another would starve if each went to others meanwhile. So whoever waited for one bucket,
//! finds his tokens there, and is refused by another one, keeps all of his buckets below the global one until that one is
//! there too; but for no longer than he has waited himself, and not for one that is paused.

use super::bucket::{Bucket, Promised};
use super::engine::Engine;
use super::key::{BuildThrough, Key};
use super::routes::{Names, Ticket};
use super::shards::{Charged, Naming, Places, Purpose, Shards, Tiers, bit, is_longer, refusal};
use super::{Refusal, Tier};
use crate::limit::alarm::Alarm;
use crate::sync::Priority;
use crate::wait::{List, Outcome, Slot, Wakes};
use std::collections::HashSet;
use std::pin::Pin;
use std::task::Waker;

/// What a waiter wants, and how it stands.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) ticket: Ticket,
    pub(super) names: Names,
    /// Its buckets, as they were at the last look.
    pub(super) places: Places,
    /// Its place in line.
    pub(super) order: u64,
    pub(super) since: u64,
    /// Until when it waits.
    pub(super) limit: u64,
    /// Tiers whose buckets it waits for.
    pub(super) waits_for: Tiers,
    /// Whether it blocks all of its buckets.
    pub(super) holds_all: bool,
    /// What it was told last, and when.
    pub(super) refusal: Refusal,
    pub(super) refused_at: u64,
    /// What a granted one has taken.
    pub(super) charged: Option<Charged>,
}

/// What has happened to those who waited.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    pub(super) queued: u64,
    pub(super) dropped: u64,
    pub(super) granted: u64,
    pub(super) cancelled: u64,
    pub(super) total: u128,
    pub(super) longest: u64,
}

pub(super) struct Queue {
    list: List<Want>,
    /// Not before the last in line.
    last: u64,
    blocked: Blocked,
    /// The last pass was left in the middle: nobody knows what is blocked.
    unfinished: bool,
    /// When to look again; `u64::MAX` is not by itself.
    due: u64,
    pub(super) alarm: Alarm,
    pub(super) most: usize,
    ageing: u64,
    pub(super) waits: Waits,
}

#[derive(Default)]
struct Blocked {
    global: bool,
    keys: HashSet<Key, BuildThrough>,
}

/// A bucket, as it will be for who stands behind others.
struct Promise {
    tier: Tier,
    promised: Promised,
    refusal: Refusal,
}

impl Promise {
    fn finish(mut self, tokens: u64, now: u64) -> Refusal {
        let retry = self.promised.charge(now, tokens).map(|due| due.saturating_sub(now));
        Refusal { retry, ..self.refusal }
    }
}

impl Queue {
    pub(super) fn new(most: usize, ageing: u64) -> Self {
        Self {
            list: List::new(),
            last: 0,
            blocked: Blocked::default(),
            unfinished: false,
            due: u64::MAX,
            alarm: Alarm::default(),
            most,
            ageing,
            waits: Waits::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// When to look at it again.
    pub(super) fn due(&self) -> Option<u64> {
        (!self.list.is_empty()).then_some(self.due)
    }

    /// The place in line of who comes now.
    pub(super) fn order(&self, now: u64, priority: Priority) -> u64 {
        let classes_above = Priority::Critical as u64 - priority as u64;
        now.saturating_add(self.ageing.saturating_mul(classes_above))
    }

    /// Whether that is behind everybody.
    pub(super) fn is_last(&self, order: u64) -> bool {
        self.list.is_empty() || order >= self.last
    }

    /// Tiers of a newcomer whose buckets are kept for those who wait.
    pub(super) fn blocks(&self, places: &Places) -> Tiers {
        if self.list.is_empty() {
            return 0;
        }
        if self.unfinished {
            return bit(Tier::Global);
        }
        self.blocked.tiers(places)
    }

    /// What a newcomer is told who stands behind those of lower or equal `order`: the longest of the waits for its buckets, at
    /// the earliest. (Earlier than it will be if those ahead have to wait for other buckets too.) No wait at all if there is
    /// enough for all of them and for him.
    pub(super) fn estimate(
        &mut self,
        engine: &Engine,
        places: &Places,
        tokens: u64,
        order: u64,
        now: u64,
        names: &dyn Naming,
    ) -> Refusal {
        let look = |tier, bucket: &Bucket| Promise {
            tier,
            promised: bucket.promise(now),
            refusal: refusal(tier, bucket, tokens, now, None),
        };
        let mut global = engine.shards.with_global(|bucket| look(Tier::Global, bucket));
        let mut narrow: Vec<_> = places
            .iter()
            .flatten()
            .filter_map(|place| {
                engine.shards.with(Some(place), now, names, |bucket| look(place.key.tier, bucket))
            })
            .collect();
        self.list.for_each(|want| {
            if want.order > order {
                return;
            }
            for Promise { tier, promised, .. } in narrow.iter_mut().chain([&mut global]) {
                let same = *tier == Tier::Global || key_of(places, *tier) == key_of(&want.places, *tier);
                if same && want.blocks() & bit(*tier) != 0 {
                    // Who can never be served takes nothing.
                    let _ = promised.charge(now, want.ticket.tokens);
                }
            }
        });
        let mut longest = global.finish(tokens, now);
        for promise in narrow {
            let refusal = promise.finish(tokens, now);
            if is_longer(refusal.retry, longest.retry) {
                longest = refusal;
            }
        }
        longest
    }

    /// Puts a newcomer in line; says whether a pass is needed, as it does not stand at the end. Leftovers of the waker are
    /// for the caller to drop after the mutex.
    pub(super) fn join(&mut self, slot: Pin<&Slot<Want>>, want: Want, waker: Waker) -> bool {
        self.waits.queued += 1;
        let last = self.is_last(want.order);
        if last {
            self.last = want.order;
            self.due = self.due.min(want.limit);
            if self.list.is_empty() {
                self.blocked.clear();
                self.unfinished = false;
                self.due = want.limit;
            }
            let retry_at = want.refusal.retry.map_or(u64::MAX, |retry| want.refused_at.saturating_add(retry));
            if self.blocked.tiers(&want.places) == 0 {
                self.due = self.due.min(retry_at);
            }
            self.blocked.add(&want.places, want.waits_for);
            self.list.push_back(slot, want, waker);
        } else {
            let mut line = List::new();
            line.push_back(slot, want, waker);
            line.move_back(slot, &mut self.list, &mut None, |ahead, ours| ahead.order <= ours.order);
        }
        !last
    }

    /// Gives a waiter its present waker; leftovers are dropped after the mutex.
    pub(super) fn set_waker(&mut self, slot: Pin<&Slot<Want>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        self.list.set_waker(slot, fresh)
    }

    /// A waiter gives up. `None` if it is not in line (any more). A pass is needed then.
    pub(super) fn leave(&mut self, slot: Pin<&Slot<Want>>) -> Option<(Want, Option<Waker>)> {
        let left = self.list.unlink(slot)?;
        self.waits.cancelled += 1;
        Some(left)
    }

    /// Serves all who can be served at `now`. False if `wakes` ran out of room: wake, and call again.
    pub(super) fn pass(&mut self, engine: &Engine, now: u64, wakes: &mut Wakes) -> bool {
        let Self { list, blocked, due, waits, unfinished, .. } = self;
        blocked.clear();
        *due = u64::MAX;
        let done = list.settle(wakes, |want| {
            let outcome = want.look(engine, now, blocked, waits);
            if outcome.is_none() {
                *due = (*due).min(want.look_again(now));
                blocked.add(&want.places, want.blocks());
            }
            outcome
        });
        *unfinished = !done;
        if list.is_empty() {
            self.last = 0;
        }
        done
    }
}

impl Want {
    /// Tries to take what it wants. `None`: it goes on waiting.
    fn look(&mut self, engine: &Engine, now: u64, blocked: &Blocked, waits: &mut Waits) -> Option<Outcome> {
        (self.places, self.names.shared) = engine.places(&self.ticket, now);
        let kept = blocked.tiers(&self.places);
        if kept != 0 {
            (self.waits_for, self.holds_all) = (kept, false);
            return self.ends_at(now);
        }
        match engine.shards.decide(&self.places, self.ticket.tokens, now, &self.names, Purpose::Again) {
            Ok(overflow) => {
                self.charged = Some(Shards::charged(self.places, overflow, self.ticket.tokens));
                waits.granted += 1;
                let waited = now.saturating_sub(self.since);
                waits.total += u128::from(waited);
                waits.longest = waits.longest.max(waited);
                Some(Outcome::Granted)
            }
            Err(refusal) => {
                let tier = bit(refusal.tier);
                let fair = refusal.retry.is_some_and(|retry| retry <= now.saturating_sub(self.since));
                let passed_on = self.waits_for & tier == 0;
                self.holds_all = (self.holds_all || passed_on) && fair && !refusal.paused;
                self.waits_for = tier;
                (self.refusal, self.refused_at) = (refusal, now);
                let due = self.refusal.retry.map(|retry| now.saturating_add(retry));
                // Too late is known at once.
                if due.is_some_and(|due| due <= self.limit) { None } else { Some(Outcome::Impossible) }
            }
        }
    }

    /// Ends a wait whose time is over.
    fn ends_at(&mut self, now: u64) -> Option<Outcome> {
        if now < self.limit {
            return None;
        }
        self.refusal = self.refusal.clone().after(now.saturating_sub(self.refused_at));
        Some(Outcome::Impossible)
    }

    /// When it may be served, if it is the first to wait for its buckets, or gives up.
    fn look_again(&self, now: u64) -> u64 {
        if self.refused_at != now {
            return self.limit;
        }
        self.refusal.retry.map_or(u64::MAX, |retry| now.saturating_add(retry)).min(self.limit)
    }

    /// What it keeps from those behind.
    fn blocks(&self) -> Tiers {
        if self.holds_all { self.waits_for | !bit(Tier::Global) } else { self.waits_for }
    }
}

impl Blocked {
    fn clear(&mut self) {
        self.global = false;
        self.keys.clear();
    }

    fn add(&mut self, places: &Places, tiers: Tiers) {
        self.global |= tiers & bit(Tier::Global) != 0;
        let keys = places.iter().flatten().map(|place| place.key);
        self.keys.extend(keys.filter(|key| tiers & bit(key.tier) != 0));
    }

    /// Which tiers of a request are blocked.
    fn tiers(&self, places: &Places) -> Tiers {
        let global = if self.global { bit(Tier::Global) } else { 0 };
        if self.keys.is_empty() {
            return global;
        }
        let keys = places.iter().flatten().map(|place| place.key);
        keys.filter(|key| self.keys.contains(key)).fold(global, |tiers, key| tiers | bit(key.tier))
    }
}

fn key_of(places: &Places, tier: Tier) -> Option<Key> {
    places.get(tier.index().checked_sub(1)?)?.map(|place| place.key)
}
