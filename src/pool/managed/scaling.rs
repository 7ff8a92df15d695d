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
}

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
        Self { min, max, live: min, busy: 0, age, vacant, scaler: None, until: u64::MAX }
    }

    pub(super) fn is_fixed(&self) -> bool {
        self.min == self.max
    }

    /// All workers are busy, there could be more, and a task will have waited too long before the next look.
    fn is_late(&self, oldest: Option<u64>) -> bool {
        self.busy >= self.live
            && self.live < self.max
            && oldest.is_some_and(|oldest| oldest.saturating_add(self.age) < self.until)
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
}

impl Plan {
    /// The waker of who adds workers, if it has to look.
    pub(super) fn scaler(&mut self) -> Option<Waker> {
        if self.scaling.scaler.is_some() && (self.is_done() || self.scaling.is_late(self.oldest())) {
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
        let oldest = self.oldest();
        if self.scaling.is_late(oldest) {
            let at = oldest.unwrap_or(0).saturating_add(self.scaling.age);
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
