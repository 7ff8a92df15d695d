//! The keys of one shard that somebody waits for: a line each, and one timer for all of them.
//!
//! While somebody waits, the key's state is in its line, and the key is not forgotten; with the last waiter the state goes back.

use super::shelf::Id;
use crate::limit::Algorithm;
use crate::limit::alarm::{Alarm, Orders};
use crate::limit::limiter::line::{Ask, Counts, Line};
use hashbrown::HashTable;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub(super) struct Lines<A: Algorithm> {
    all: HashTable<Waiting<A>>,
    /// When the first of each line is due. Outdated where a line says otherwise; those are dropped when they come up, or when
    /// there are too many.
    dues: BinaryHeap<Reverse<(u64, Id)>>,
    pub(super) alarm: Alarm,
}

struct Waiting<A: Algorithm> {
    id: Id,
    /// As in `dues`; `u64::MAX` is not there.
    due: u64,
    /// Its settings are no longer those that it began with.
    retimed: bool,
    /// Waiters are linked to it, so it stays where it is.
    line: Box<A::Line>,
}

impl<A: Algorithm> Lines<A> {
    pub(super) fn new() -> Self {
        Self { all: HashTable::new(), dues: BinaryHeap::new(), alarm: Alarm::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&mut self, id: Id) -> Option<&mut A::Line> {
        self.all.find_mut(id.full(), |waiting| waiting.id == id).map(|waiting| &mut *waiting.line)
    }

    /// A line for the key that has none.
    pub(super) fn begin(&mut self, id: Id, algorithm: A, state: A::State) {
        let line = Box::new(A::Line::new(algorithm, state));
        let waiting = Waiting { id, due: u64::MAX, retimed: false, line };
        self.all.insert_unique(id.full(), waiting, |waiting| waiting.id.full());
    }

    /// Ends the line of a key. Gives the state that it leaves, in terms of `algorithm`.
    pub(super) fn end(&mut self, id: Id, algorithm: &A, now: u64) -> Option<(A::State, Counts)> {
        let found = self.all.find_entry(id.full(), |waiting| waiting.id == id).ok()?;
        let (Waiting { mut line, retimed, .. }, _) = found.remove();
        let state = state::<A>(&mut line, now);
        // A line may count in units of its own after a change.
        let state = if retimed { line.algorithm().carry(algorithm, &state, now) } else { state };
        Some((state, line.counts()))
    }

    /// Looks at a line anew: its first waiter has changed.
    pub(super) fn note(&mut self, id: Id) {
        self.set_due(id, |line| line.due().unwrap_or(u64::MAX));
    }

    /// Has a line settled whatever is due: something in it has changed.
    pub(super) fn hurry(&mut self, id: Id) {
        self.set_due(id, |_| 0);
    }

    fn set_due(&mut self, id: Id, due: impl FnOnce(&A::Line) -> u64) {
        let Some(waiting) = self.all.find_mut(id.full(), |waiting| waiting.id == id) else { return };
        let due = due(&waiting.line);
        if due == waiting.due {
            return;
        }
        waiting.due = due;
        if due != u64::MAX {
            self.dues.push(Reverse((due, id)));
        }
        const SPARE: usize = 64;
        let Self { all, dues, .. } = self;
        if dues.len() > 2 * all.len() + SPARE {
            dues.retain(|Reverse((due, id))| is_current(all, *due, *id));
        }
    }

    /// The line that is due first.
    fn first(&mut self) -> Option<(u64, Id)> {
        while let Some(Reverse((due, id))) = self.dues.peek() {
            if is_current(&self.all, *due, *id) {
                return Some((*due, *id));
            }
            self.dues.pop();
        }
        None
    }

    /// A line that is due at `now`.
    pub(super) fn due(&mut self, now: u64) -> Option<Id> {
        self.first().filter(|(due, _)| *due <= now).map(|(_, id)| id)
    }

    /// What the timer is to do.
    pub(super) fn orders(&mut self) -> Orders {
        let due = self.first().map(|(due, _)| due);
        self.alarm.set(due)
    }

    /// Lets the line of a key go on under other limits.
    pub(super) fn retime(&mut self, id: Id, algorithm: &A, now: u64) {
        if let Some(waiting) = self.all.find_mut(id.full(), |waiting| waiting.id == id) {
            waiting.retimed = true;
            waiting.line.retime(algorithm.clone(), now, None);
        }
        self.hurry(id);
    }

    pub(super) fn ids(&self) -> Vec<Id> {
        self.all.iter().map(|waiting| waiting.id).collect()
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = Counts> {
        self.all.iter().map(|waiting| waiting.line.counts())
    }

    /// Gives back memory.
    pub(super) fn shrink(&mut self) {
        self.all.shrink_to_fit(|waiting| waiting.id.full());
        self.dues.shrink_to_fit();
    }
}

fn is_current<A: Algorithm>(all: &HashTable<Waiting<A>>, due: u64, id: Id) -> bool {
    all.find(id.full(), |waiting| waiting.id == id).is_some_and(|waiting| waiting.due == due)
}

/// The state behind everybody in line.
pub(super) fn state<A: Algorithm>(line: &mut A::Line, now: u64) -> A::State {
    if line.state().is_none() {
        // Planned anew by being asked.
        let _ = line.foresee(Ask { n: 0, now, limit: u64::MAX, held: None });
    }
    let fresh = line.algorithm().fresh(now);
    line.state().cloned().unwrap_or(fresh)
}
