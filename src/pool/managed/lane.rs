//! One queue of a managed pool: its classes, its width, its places.

use super::store::At;
use crate::pool::stats::QueueStats;
use crate::sync::Priority;
use std::collections::VecDeque;
use std::time::Duration;

const CLASSES: usize = Priority::Critical as usize + 1;

/// A task in line. In order: who has waited longest, then who came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    /// When it began to wait for a worker: nanoseconds of the backlog's epoch.
    pub(super) since: u64,
    pub(super) id: u64,
    pub(super) at: At,
}

/// The place of a task among all that could be begun; the least is next.
pub(super) type Rank = (u64, u64, u64);

/// The task of a lane that is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct First {
    pub(super) rank: Rank,
    pub(super) class: usize,
    pub(super) at: At,
}

pub(super) struct Lane {
    /// The most of its tasks that run at a time.
    width: usize,
    /// Its places; `usize::MAX` for no bound.
    pub(super) capacity: usize,
    /// Its tasks that wait, those included that are not due.
    pub(super) held: usize,
    pub(super) delayed: usize,
    pub(super) running: usize,
    /// Of those running, how many wait again: their workers have not let go of them.
    pub(super) returned: usize,
    pub(super) submitted: u64,
    classes: [VecDeque<Mark>; CLASSES],
}

impl Lane {
    pub(super) fn new(width: usize, capacity: usize) -> Self {
        Self {
            width,
            capacity,
            held: 0,
            delayed: 0,
            running: 0,
            returned: 0,
            submitted: 0,
            classes: Default::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.held >= self.capacity
    }

    pub(super) fn free(&self) -> usize {
        self.capacity.saturating_sub(self.held)
    }

    /// In line, behind all of its class that have waited as long.
    pub(super) fn line_up(&mut self, class: Priority, mark: Mark) {
        let Some(line) = self.classes.get_mut(class as usize) else { return };
        if line.back().is_none_or(|last| *last < mark) {
            line.push_back(mark);
        } else {
            // It has waited longer: it became due before others came.
            let place = line.partition_point(|other| *other < mark);
            line.insert(place, mark);
        }
    }

    /// When a task of that number began to wait that is to stand behind all of its class, also behind those that came at
    /// the same time: clocks can be coarse.
    pub(super) fn end(&self, class: Priority, now: u64, id: u64) -> u64 {
        let last = self.classes.get(class as usize).and_then(VecDeque::back);
        let before = last.filter(|last| (last.since, last.id) > (now, id));
        before.map_or(now, |last| last.since.saturating_add(1))
    }

    /// Which class is next, if one of its tasks may be begun now.
    pub(super) fn next(&self, ageing: u64) -> Option<First> {
        if self.running < self.width { self.first(ageing) } else { None }
    }

    /// As [`next`](Self::next), however many of its tasks run.
    pub(super) fn first(&self, ageing: u64) -> Option<First> {
        let first = |(class, line): (usize, &VecDeque<Mark>)| {
            let mark = line.front()?;
            let below = (CLASSES - 1 - class) as u64;
            let rank = (mark.since.saturating_add(ageing.saturating_mul(below)), below, mark.id);
            Some(First { rank, class, at: mark.at })
        };
        self.classes.iter().enumerate().filter_map(first).min()
    }

    pub(super) fn pop(&mut self, class: usize) -> Option<Mark> {
        self.classes.get_mut(class)?.pop_front()
    }

    /// Takes a task out of line.
    pub(super) fn remove(&mut self, class: Priority, mark: Mark) -> bool {
        let Some(line) = self.classes.get_mut(class as usize) else { return false };
        let found = line.binary_search(&mark);
        found.is_ok_and(|place| line.remove(place).is_some())
    }

    /// Since when the task has waited that has waited longest, of those that may be begun now.
    pub(super) fn oldest(&self) -> Option<u64> {
        if self.running >= self.width {
            return None;
        }
        self.since()
    }

    /// As [`oldest`](Self::oldest), of all in line.
    fn since(&self) -> Option<u64> {
        self.classes.iter().filter_map(|line| line.front().map(|mark| mark.since)).min()
    }

    pub(super) fn stats(&self, now: u64) -> QueueStats {
        let running = self.running.saturating_sub(self.returned);
        let bound = |most: usize| (most != usize::MAX).then_some(most);
        QueueStats {
            width: bound(self.width),
            capacity: bound(self.capacity),
            queued: self.held,
            delayed: self.delayed,
            running,
            oldest: self.since().map(|since| Duration::from_nanos(now.saturating_sub(since))),
            submitted: self.submitted,
            ended: self.submitted.saturating_sub((self.held + running) as u64),
        }
    }
}
