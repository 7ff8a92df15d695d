//! Those who want to know nothing of tasks but how long they waited and ran.
//!
//! They are told without the ledger's lock, numbers and boxes: a job carries the time of its submission in a word that it has
//! anyway, and its worker keeps the list of whom to tell while it has work.

use crate::observe::Attached;
use crate::panics::contain;
use crate::pool::event::Outcome;
use crate::shim::{AtomicU64, Mutex, Ordering, serial};
use std::sync::Arc;
use std::time::Duration;

/// Told by the workers, outside every lock.
pub(crate) trait Meter: Send + Sync + 'static {
    /// A task is taken up for the first time, so long after it was accepted.
    fn waited(&self, waited: Duration);

    /// A task that was taken up has ended; workers had it so long.
    fn ran(&self, outcome: Outcome, ran: Duration);
}

type List = Arc<[(u64, Arc<dyn Meter>)]>;

pub(in crate::pool) struct Meters(Arc<Board>);

/// Shared with those who may go, so that they keep nothing of the pool.
struct Board {
    /// Twice the changes of the list, and one if there is anybody on it. Changed under the list's lock.
    version: AtomicU64,
    list: Mutex<List>,
}

/// What a worker knows of them: whom to tell, at that version.
#[derive(Default)]
pub(in crate::pool) struct Known {
    version: u64,
    list: Option<List>,
}

impl Board {
    /// Puts another list in place of the one there, which comes back to be dropped without the lock.
    fn change(&self, next: impl FnOnce(&List) -> List) -> List {
        let mut list = self.list.lock();
        let next = next(&list);
        // Relaxed, here and below: it says that there is another list, which is read under its lock.
        let version = (self.version.load(Ordering::Relaxed) & !1) + 2 + u64::from(!next.is_empty());
        self.version.store(version, Ordering::Relaxed);
        std::mem::replace(&mut *list, next)
    }
}

impl Meters {
    pub(super) fn new() -> Self {
        Self(Arc::new(Board { version: AtomicU64::new(0), list: Mutex::new(Arc::new([])) }))
    }

    #[inline]
    pub(in crate::pool) fn is_anyone(&self) -> bool {
        self.0.version.load(Ordering::Relaxed) & 1 != 0
    }

    /// Tells this one, too, until what comes back is dropped.
    pub(super) fn attach(&self, meter: impl Meter) -> Attached {
        let (id, meter): (_, Arc<dyn Meter>) = (serial(), Arc::new(meter));
        drop(self.0.change(|list| list.iter().cloned().chain([(id, meter)]).collect()));
        let board = Arc::downgrade(&self.0);
        Attached::new(move || {
            if let Some(board) = board.upgrade() {
                drop(board.change(|list| list.iter().filter(|(other, _)| *other != id).cloned().collect()));
            }
        })
    }

    /// Tells all of them; a worker that does so again and again has them [at hand](Known).
    pub(super) fn tell(&self, tell: impl Fn(&dyn Meter)) {
        if self.is_anyone() {
            // It may be the last hold on one that has gone meanwhile; a panic of that must not come between an event's number and
            // its being shown.
            contain(|| Known::default().tell(self, tell));
        }
    }
}

impl Known {
    #[inline]
    pub(in crate::pool) fn is_anyone(&self) -> bool {
        self.list.is_some()
    }

    /// Tells all that there are now.
    #[inline]
    pub(in crate::pool) fn tell(&mut self, meters: &Meters, tell: impl Fn(&dyn Meter)) {
        let version = meters.0.version.load(Ordering::Relaxed);
        if self.version != version || self.list.is_none() {
            self.look(meters);
        }
        for (_, meter) in self.list.iter().flat_map(|list| &**list) {
            tell(&**meter);
        }
    }

    #[inline(never)]
    fn look(&mut self, meters: &Meters) {
        let list = meters.0.list.lock();
        let now = Self { version: meters.0.version.load(Ordering::Relaxed), list: Some(Arc::clone(&list)) };
        drop(list);
        let before = std::mem::replace(self, now);
        // Without the lock, as it may be the last hold on what is foreign; nor does that keep the others from being told.
        contain(|| drop(before));
    }
}
