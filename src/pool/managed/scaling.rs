//! How many workers there are, and whether there should be more.

use super::plan::Plan;
use std::task::Waker;

/// The workers of a pool whose number changes. Where it does not, `min`, `live` and `max` are one.
pub(super) struct Scaling {
    min: usize,
    max: usize,
    /// Workers that are there.
    pub(super) live: usize,
    /// Workers that have a task.
    pub(super) busy: usize,
    /// Age of a task beyond which there should be one more worker.
    age: u64,
    /// Numbers that no worker has.
    vacant: Vec<usize>,
    /// Who adds workers, while it waits.
    scaler: Option<Waker>,
    /// When it looks again in any case; `u64::MAX` for never.
    until: u64,
    /// No worker is started before: the executor has refused the last one.
    not_before: u64,
}

/// At least so long, in nanoseconds, no worker is started after one that the executor has refused.
const PAUSE: u64 = 100_000_000;

/// What who adds workers is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Start a worker of this number, and ask again.
    Start(usize),
    /// Ask again at that time, or when woken.
    At(u64),
    /// Ask again when woken.
    Wait,
    /// There will be no more.
    Over,
}

impl Scaling {
    pub(super) fn new(min: usize, max: usize, age: u64) -> Self {
        // So that the lowest is the next.
        let vacant = (min..max).rev().collect();
        Self { min, max, live: min, busy: 0, age, vacant, scaler: None, until: u64::MAX, not_before: 0 }
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.min == self.max
    }

    /// When there is to be one more worker, if that is before the next look: all are busy, there could be more, and a task
    /// will have waited too long.
    fn late(&self, oldest: Option<u64>) -> Option<u64> {
        if self.busy < self.live || self.live >= self.max {
            return None;
        }
        let at = oldest?.saturating_add(self.age).max(self.not_before);
        Some(at).filter(|&at| at < self.until)
    }

    /// Whether there are more workers than the least.
    pub(super) fn has_spare(&self) -> bool {
        self.live > self.min
    }

    /// A worker is gone.
    pub(super) fn gone(&mut self, worker: usize) {
        self.live = self.live.saturating_sub(1);
        self.vacant.push(worker);
    }

    /// A worker was handed to the executor. If it is gone already, the next one is started after a while.
    pub(super) fn started(&mut self, worker: usize, now: u64) {
        if self.vacant.contains(&worker) {
            self.not_before = now.saturating_add(self.age.max(PAUSE));
        }
    }
}

impl Plan {
    /// The waker of who adds workers, if it has to look.
    pub(super) fn scaler(&mut self) -> Option<Waker> {
        if self.scaling.scaler.is_some() && (self.is_done() || self.scaling.late(self.oldest()).is_some()) {
            return self.scaling.scaler.take();
        }
        None
    }

    /// Decides on one more worker. `waker` is who asks; the waker that comes back is to be dropped.
    pub(super) fn grow(&mut self, waker: Waker, now: u64) -> (Growth, Option<Waker>) {
        self.advance(now);
        self.scaling.until = u64::MAX;
        if self.is_done() {
            return (Growth::Over, Some(waker));
        }
        if let Some(at) = self.scaling.late(self.oldest()) {
            if at <= self.now {
                if let Some(worker) = self.scaling.vacant.pop() {
                    self.scaling.live += 1;
                    return (Growth::Start(worker), Some(waker));
                }
            }
            self.scaling.until = at;
            return (Growth::At(at), self.scaling.scaler.replace(waker));
        }
        (Growth::Wait, self.scaling.scaler.replace(waker))
    }

    /// Whether a worker that has been idle for long may go, which is out of the list of sleepers. If so, it is gone.
    pub(super) fn retire(&mut self, worker: usize) -> bool {
        let goes = self.scaling.has_spare() && !self.has_work();
        if goes {
            self.scaling.gone(worker);
        }
        goes
    }
}
