//! The managed backlog without its lock and its clock: where each task is, and who is to look.

use super::lane::{Lane, Mark, Rank};
use super::scaling::Scaling;
use super::store::{At, Store};
use super::{Terms, Ticket};
use crate::pool::slot::Job;
use crate::wait::Wakes;
use std::collections::BTreeSet;
use std::task::Waker;

pub(super) struct Plan {
    store: Store<Held>,
    pub(super) lanes: Box<[Lane]>,
    /// Tasks that are not due: their marks say when they will be.
    delayed: BTreeSet<Mark>,
    ageing: u64,
    /// The latest time that anybody brought.
    pub(super) now: u64,
    pub(super) pushed: u64,
    /// Tasks taken out, less those that came back.
    pub(super) popped: u64,
    /// Tasks in line.
    pub(super) ready: usize,
    pub(super) closed: bool,
    /// Nothing is begun any more, or comes back.
    aborted: bool,
    keeper: Option<Keeper>,
    pub(super) scaling: Scaling,
}

/// A task that waits.
struct Held {
    job: Job,
    mark: Mark,
    terms: Terms,
    is_delayed: bool,
}

/// The idle worker that keeps the time.
struct Keeper {
    worker: usize,
    /// When its timer fires at the latest.
    until: u64,
    /// `None` while it was woken and has not looked.
    waker: Option<Waker>,
}

/// What a worker without work is to do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pool) enum Rest {
    /// Look at the queue again.
    Look,
    Sleep,
    /// Sleep, and look again at that time.
    Keep(u64),
}

/// Who must be told, after the lock.
#[derive(Default)]
#[must_use]
pub(in crate::pool) struct Call {
    /// A sleeper, if there is one, has something to do: a task, the time to keep, or the end, of which it tells the next.
    pub(in crate::pool) anyone: bool,
    /// The worker that keeps the time: something is due earlier.
    pub(in crate::pool) keeper: Option<Waker>,
    /// Who adds workers.
    pub(in crate::pool) scaler: Option<Waker>,
    /// Not needed any more: dropped outside of the lock.
    pub(in crate::pool) stale: Option<Waker>,
}

impl Call {
    /// Tells who keeps the time and who adds workers.
    pub(in crate::pool) fn wake(self) {
        let Self { keeper, scaler, stale, .. } = self;
        drop(stale);
        let mut wakes = Wakes::new();
        for waker in [keeper, scaler].into_iter().flatten() {
            wakes.push(waker);
        }
        wakes.wake();
    }
}

impl Plan {
    pub(super) fn new(store: usize, lanes: Box<[Lane]>, ageing: u64, scaling: Scaling) -> Option<Self> {
        Some(Self {
            store: Store::new(store)?,
            lanes,
            delayed: BTreeSet::new(),
            ageing,
            now: 0,
            pushed: 0,
            popped: 0,
            ready: 0,
            closed: false,
            aborted: false,
            keeper: None,
            scaling,
        })
    }

    /// Tasks that wait, due or not.
    pub(super) fn held(&self) -> usize {
        self.ready + self.delayed.len()
    }

    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Time goes on: what has become due gets in line.
    pub(super) fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some(mark) = self.delayed.first().copied().filter(|mark| mark.since <= self.now) {
            self.delayed.pop_first();
            if let Some(held) = self.store.get_mut(mark.at) {
                held.is_delayed = false;
                if let Some(lane) = self.lanes.get_mut(usize::from(held.terms.lane)) {
                    lane.delayed -= 1;
                    lane.line_up(held.terms.priority, mark);
                    self.ready += 1;
                }
            }
        }
    }

    /// Puts a task where it waits, from `since` on if it is due.
    fn hold(&mut self, job: Job, id: u64, terms: Terms, since: u64) {
        let is_delayed = terms.due > self.now;
        let since = if is_delayed { terms.due } else { since };
        let at = self.store.insert(Held { job, mark: Mark { since, id, at: 0 }, terms, is_delayed });
        let mark = Mark { since, id, at };
        if let Some(held) = self.store.get_mut(at) {
            held.mark = mark;
        }
        let Some(lane) = self.lanes.get_mut(usize::from(terms.lane)) else { return };
        lane.held += 1;
        if is_delayed {
            lane.delayed += 1;
            self.delayed.insert(mark);
        } else {
            lane.line_up(terms.priority, mark);
            self.ready += 1;
        }
    }

    /// Whether the lane takes a task in.
    pub(super) fn has_room(&self, lane: u16) -> bool {
        self.lanes.get(usize::from(lane)).is_some_and(|lane| !lane.is_full())
    }

    /// Takes a task in: the lane has room, and nothing is closed.
    pub(super) fn push(&mut self, job: Job, terms: Terms, now: u64) -> (u64, Call) {
        self.advance(now);
        let id = self.pushed;
        self.pushed += 1;
        if let Some(lane) = self.lanes.get_mut(usize::from(terms.lane)) {
            lane.submitted += 1;
        }
        self.hold(job, id, terms, self.now);
        (id, self.call())
    }

    /// Takes a task back that was begun, to the end of the line if it is due. It has no place to be refused. Comes back if the
    /// backlog was aborted.
    pub(super) fn readmit(&mut self, job: Job, id: u64, terms: Terms, now: u64) -> Result<Call, Job> {
        if self.aborted {
            return Err(job);
        }
        self.advance(now);
        self.popped -= 1;
        let since = self.lanes.get_mut(usize::from(terms.lane)).map_or(self.now, |lane| {
            lane.returned += 1;
            lane.end(terms.priority, self.now, id)
        });
        self.hold(job, id, terms, since);
        Ok(self.call())
    }

    /// A task that is not due. It is quick if it is known when it will be.
    fn find_delayed(&self, id: u64, due: Option<u64>) -> Option<Mark> {
        let Some(due) = due else { return self.delayed.iter().find(|mark| mark.id == id).copied() };
        let from = Mark { since: due, id, at: At::MIN };
        self.delayed.range(from..).next().copied().filter(|mark| mark.since == due && mark.id == id)
    }

    /// A delayed task gets in line before it is due.
    pub(super) fn hasten(&mut self, id: u64, due: Option<u64>, now: u64) -> Call {
        self.advance(now);
        if let Some(mark) = self.find_delayed(id, due) {
            self.delayed.remove(&mark);
            let mark = Mark { since: self.now, ..mark };
            if let Some(held) = self.store.get_mut(mark.at) {
                held.mark = mark;
                held.is_delayed = false;
                if let Some(lane) = self.lanes.get_mut(usize::from(held.terms.lane)) {
                    lane.delayed -= 1;
                    lane.line_up(held.terms.priority, mark);
                    self.ready += 1;
                }
            }
        }
        self.call()
    }

    /// The task whose turn it is.
    fn next(&self) -> Option<(Rank, usize, usize)> {
        let lanes = self.lanes.iter().enumerate();
        lanes.filter_map(|(at, lane)| lane.next(self.ageing).map(|first| (first.rank, at, first.class))).min()
    }

    /// Takes the task out whose turn it is, for a worker, which does not keep the time any more.
    pub(super) fn pop(&mut self, worker: usize, now: u64) -> (Option<(Job, u64, Ticket)>, Call) {
        self.advance(now);
        let stale = self.resign(worker);
        let Some((_, at, class)) = self.next() else {
            return (None, Call { stale, ..Call::default() });
        };
        let taken = self.take(at, class);
        (taken, Call { stale, ..self.call() })
    }

    fn take(&mut self, lane: usize, class: usize) -> Option<(Job, u64, Ticket)> {
        let line = self.lanes.get_mut(lane)?;
        let mark = line.pop(class)?;
        line.held -= 1;
        line.running += 1;
        self.ready -= 1;
        self.popped += 1;
        self.scaling.busy += 1;
        let held = self.store.remove(mark.at)?;
        let is_expired = held.terms.expires <= self.now;
        Some((held.job, mark.id, Ticket { terms: held.terms, is_expired, came_back: false }))
    }

    /// A task of that lane that ran, or was to run, is over or has come back.
    pub(super) fn release(&mut self, ticket: &Ticket) {
        self.scaling.busy = self.scaling.busy.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(usize::from(ticket.terms.lane)) {
            lane.running = lane.running.saturating_sub(1);
            lane.returned = lane.returned.saturating_sub(usize::from(ticket.came_back));
        }
    }

    /// Takes a task out, as the backlog is aborted: the one whose turn it would be if its lane were wide enough; after all of
    /// those, the one that would be due first.
    pub(super) fn sweep(&mut self, now: u64) -> Option<(Job, u64)> {
        self.aborted = true;
        self.advance(now);
        let first = self.lanes.iter().filter_map(|lane| lane.first(self.ageing)).min();
        let at = first.map(|first| first.at).or_else(|| self.delayed.first().map(|mark| mark.at))?;
        let taken = self.withdraw(at)?;
        self.popped += 1;
        Some(taken)
    }

    /// Takes a task out that is due at that time.
    pub(super) fn withdraw_delayed(&mut self, id: u64, due: u64) -> Option<Job> {
        let mark = self.find_delayed(id, Some(due))?;
        let (job, _) = self.withdraw(mark.at)?;
        self.popped += 1;
        Some(job)
    }

    /// Takes a task out of wherever it waits.
    fn withdraw(&mut self, at: At) -> Option<(Job, u64)> {
        let Held { job, mark, terms, is_delayed } = self.store.remove(at)?;
        if let Some(lane) = self.lanes.get_mut(usize::from(terms.lane)) {
            lane.held -= 1;
            if is_delayed {
                lane.delayed -= 1;
                self.delayed.remove(&mark);
            } else if lane.remove(terms.priority, mark) {
                self.ready -= 1;
            }
        }
        Some((job, mark.id))
    }

    pub(super) fn is_over(&self) -> bool {
        self.closed && self.held() == 0
    }

    /// Whether nothing will be begun any more.
    pub(super) fn is_done(&self) -> bool {
        self.aborted || self.is_over()
    }

    /// Whether a task could be begun now, or there will be none.
    pub(super) fn has_work(&self) -> bool {
        self.is_over() || self.next().is_some()
    }

    /// Whether a sleeper would have something to do: a task, the end, or the time to keep.
    pub(super) fn calls(&self) -> bool {
        self.has_work() || self.keeper.is_none() && !self.delayed.is_empty()
    }

    /// Whom a change concerns.
    pub(super) fn call(&mut self) -> Call {
        let mut call = Call { anyone: self.calls(), ..Call::default() };
        if let (Some(keeper), Some(first)) = (&mut self.keeper, self.delayed.first()) {
            if first.since < keeper.until {
                call.keeper = keeper.waker.take();
            }
        }
        call.scaler = self.scaler();
        call
    }

    /// A worker is among the sleepers and looks once more.
    pub(super) fn rest(&mut self, worker: usize, waker: Waker, now: u64) -> (Rest, Option<Waker>) {
        self.advance(now);
        if self.has_work() {
            return (Rest::Look, Some(waker));
        }
        let Some(first) = self.delayed.first() else {
            return (Rest::Sleep, self.resign(worker).or(Some(waker)));
        };
        let until = first.since;
        match &mut self.keeper {
            Some(keeper) if keeper.worker != worker => (Rest::Sleep, Some(waker)),
            keeper => {
                let old = keeper.replace(Keeper { worker, until, waker: Some(waker) });
                (Rest::Keep(until), old.and_then(|old| old.waker))
            }
        }
    }

    /// The worker does not keep the time, or not any more. The waker is to be dropped.
    pub(super) fn resign(&mut self, worker: usize) -> Option<Waker> {
        if self.keeper.as_ref().is_some_and(|keeper| keeper.worker == worker) {
            return self.keeper.take().and_then(|keeper| keeper.waker);
        }
        None
    }

    /// Since when the task has waited that has waited longest, of those that may be begun; or will wait, as it is not due.
    pub(super) fn oldest(&self) -> Option<u64> {
        let delayed = self.delayed.first().map(|mark| mark.since);
        self.lanes.iter().filter_map(Lane::oldest).chain(delayed).min()
    }
}
