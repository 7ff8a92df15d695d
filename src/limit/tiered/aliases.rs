//! Which routes a server keeps in one bucket, as it has said.
//!
//! One short mutex of its own, taken alone; where no server has ever named a bucket it is not touched.

use super::bucket::is_tighter;
use super::key::BuildThrough;
use super::quotas::Quotas;
use super::store::Store;
use super::tier::Plan;
use crate::shim::{AtomicUsize, Mutex, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) struct Aliases {
    table: Mutex<Store<u128, Alias>>,
    known: AtomicUsize,
}

#[derive(Clone, Debug)]
pub(super) struct Alias {
    /// The fingerprint of the server's bucket.
    pub(super) base: u128,
    /// What the server calls it.
    pub(super) name: Arc<str>,
    /// That of the route itself.
    pub(super) own: Plan,
    /// The slowest of the quotas of the routes in it.
    pub(super) plan: Plan,
    /// How long it is kept when nobody uses it.
    pub(super) life: u64,
}

impl Aliases {
    pub(super) fn new(most: usize) -> Self {
        Self { table: Mutex::new(Store::new(most)), known: AtomicUsize::new(0) }
    }

    pub(super) fn of(&self, route: u128, now: u64) -> Option<Alias> {
        // Relaxed: whoever has not heard of it yet asks at the same time as the server said so.
        if self.known.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut table = self.table.lock();
        let at = table.find(&route, now)?;
        table.get(at).cloned()
    }

    /// The plan of a server's bucket, if any route is known to be in it.
    pub(super) fn plan_of(&self, base: u128) -> Option<Plan> {
        self.table.lock().iter().find(|(_, alias)| alias.base == base).map(|(_, alias)| alias.plan)
    }

    /// Says whether there was room for it. All routes of that bucket go by its plan then.
    pub(super) fn learn(&self, route: u128, alias: &Alias, now: u64) -> bool {
        let mut table = self.table.lock();
        let at = table.find(&route, now);
        let known = match at.and_then(|at| table.get_mut(at)) {
            Some(known) => {
                *known = alias.clone();
                true
            }
            None => {
                let in_use = |alias: &Alias, idle| idle < alias.life;
                table.insert(route, now, |_| false, in_use, |_| alias.clone()).is_some()
            }
        };
        if known {
            for (_, other) in table.iter_mut().filter(|(_, other)| other.base == alias.base) {
                other.plan = alias.plan;
            }
        }
        self.known.store(table.len(), Ordering::Relaxed);
        known
    }

    /// Finds the slowest routes anew, as quotas have changed: the server's buckets that go by another plan from now on.
    pub(super) fn replan(&self, quotas: &Quotas) -> Vec<(u128, Plan)> {
        if self.known.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut table = self.table.lock();
        let mut slowest: HashMap<u128, Plan, BuildThrough> = HashMap::default();
        for (_, alias) in table.iter() {
            let plan = slowest.entry(alias.base).or_insert(alias.own);
            if is_tighter(quotas.of(alias.own), quotas.of(*plan)) {
                *plan = alias.own;
            }
        }
        for (_, alias) in table.iter_mut() {
            match slowest.get(&alias.base) {
                Some(plan) if *plan != alias.plan => alias.plan = *plan,
                _ => {}
            }
        }
        slowest.into_iter().collect()
    }

    pub(super) fn clear(&self, now: u64) {
        self.table.lock().sweep(now, |_, _, _| true);
        self.known.store(0, Ordering::Relaxed);
    }
}
