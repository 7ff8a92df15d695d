//! The books of a pool.

#![forbid(unsafe_code)]

use super::backlog::Backlog;
use super::error::Ending;
use super::nudge::Nudge;
use crate::shim::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::time::Duration;

/// What a pool is doing and has done.
///
/// Every accepted task is in exactly one place: `submitted` is always the sum of `queued`, `running` and the seven ways
/// to end, which are `completed`, `panicked`, `cancelled`, `timed_out`, `expired`, `dropped` and `handed_back`. Those eight never go back. While tasks
/// come and go, `queued` and `running` are a little out of date; when they do not, all are exact. A task is counted
/// before its handle gets ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers of the pool, which is how many tasks can run at a time.
    pub workers: usize,
    /// Tasks in the queue, those included that are not due.
    pub queued: u64,
    /// Of those queued, how many are not due.
    pub delayed: u64,
    /// Tasks that workers have begun and not ended.
    pub running: u64,
    /// Submitters that wait for room.
    pub waiting: usize,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that came to their own end, whatever their result says.
    pub completed: u64,
    /// Tasks that may be repeated and ended with an error for good, among those `completed`.
    pub failed: u64,
    /// How often a task went back into the queue after an attempt that failed.
    pub retried: u64,
    /// Tasks that panicked.
    pub panicked: u64,
    /// Tasks that were cancelled: by their handle, by their context, or while they ran when the time to shut down was
    /// over.
    pub cancelled: u64,
    /// Tasks that ran longer than their limit.
    pub timed_out: u64,
    /// Tasks that were too old when their turn came, and never ran.
    pub expired: u64,
    /// Tasks that never ran, or whose worker was dropped with them, because the pool came to its end.
    pub dropped: u64,
    /// Tasks that were never begun, and were given back when the pool came to its end; see
    /// [`Shutdown::hand_back`](super::Shutdown::hand_back).
    pub handed_back: u64,
}

impl PoolStats {
    /// Tasks that have ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.completed
            + self.panicked
            + self.cancelled
            + self.timed_out
            + self.expired
            + self.dropped
            + self.handed_back
    }
}

/// What one queue of a managed pool holds, all at one moment; see [`WorkerPool::queue_stats`](super::WorkerPool::queue_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// The most of its tasks that run at a time; `None` for as many as there are workers.
    pub width: Option<usize>,
    /// Its places; `None` for no bound.
    pub capacity: Option<usize>,
    /// Tasks in it, those included that are not due.
    pub queued: usize,
    /// Of those queued, how many are not due.
    pub delayed: usize,
    /// Tasks of it that workers have taken up. They take width until their worker has let go of them, which is after their
    /// handles are ready.
    pub running: usize,
    /// How long the task has waited that has waited longest, of those that are due: since it was accepted, became due or came
    /// back for another attempt. `None` if there is none.
    pub oldest: Option<Duration>,
    /// Tasks that were accepted.
    pub submitted: u64,
    /// Tasks that are neither queued nor running any more. `submitted` is always the sum of the three.
    pub ended: u64,
}

/// How a shutdown went; the same for everyone who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The books at the end: nothing is queued or running.
    pub stats: PoolStats,
    /// Tasks that were running when the time was over, among those `cancelled`.
    pub interrupted: u64,
}

impl ShutdownReport {
    /// Whether every task that was accepted came to its end in time: none was interrupted, dropped, or handed back.
    pub fn is_clean(&self) -> bool {
        self.interrupted == 0 && self.stats.dropped == 0 && self.stats.handed_back == 0
    }
}

/// What one worker counts, and how it is reached. Only the worker writes, so that counting is a load and a store.
#[derive(Default)]
pub(super) struct Seat {
    tally: Tally,
    /// Wakes the worker when it waits for its task to go on.
    pub(super) nudge: Nudge,
}

#[derive(Default)]
struct Tally {
    completed: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    panicked: AtomicU64,
    cancelled: AtomicU64,
    timed_out: AtomicU64,
    expired: AtomicU64,
    dropped: AtomicU64,
    /// Jobs that turned out to be empty: their tasks were withdrawn from the queue.
    shells: AtomicU64,
    interrupted: AtomicU64,
}

/// Everybody's counters.
pub(super) struct Books {
    pub(super) seats: Box<[CachePadded<Seat>]>,
    /// What was dropped or found empty by others than the workers, who may be several.
    dropped: AtomicU64,
    handed_back: AtomicU64,
    shells: AtomicU64,
    /// Tasks that were begun with values of their submitters.
    propagated: AtomicU64,
    /// Tasks cancelled in the queue. Shared with their cells by address; see P5 in `slot`.
    pub(super) withdrawn: Arc<CachePadded<AtomicU64>>,
}

impl Books {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            seats: (0..workers).map(|_| CachePadded::default()).collect(),
            dropped: AtomicU64::new(0),
            handed_back: AtomicU64::new(0),
            shells: AtomicU64::new(0),
            propagated: AtomicU64::new(0),
            withdrawn: Arc::default(),
        }
    }

    /// A worker's task has ended: by a result, if there is no `ending`.
    #[inline]
    pub(super) fn ended(&self, worker: usize, ending: Option<Ending>) {
        let Some(Seat { tally, .. }) = self.seats.get(worker).map(|seat| &**seat) else { return };
        let counter = match ending {
            None => &tally.completed,
            Some(Ending::Panicked) => &tally.panicked,
            Some(Ending::Cancelled) => &tally.cancelled,
            Some(Ending::TimedOut) => &tally.timed_out,
            Some(Ending::Expired) => &tally.expired,
            Some(Ending::Dropped) => &tally.dropped,
            // Not by a worker.
            Some(Ending::HandedBack) => return,
        };
        bump(counter);
    }

    /// A worker's job was empty.
    pub(super) fn shell(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            bump(&seat.tally.shells);
        }
    }

    /// A worker's task is about to end, with an error for good.
    pub(super) fn failed(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            bump(&seat.tally.failed);
        }
    }

    /// A worker's task goes back into the queue.
    pub(super) fn retried(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            bump(&seat.tally.retried);
        }
    }

    pub(super) fn interrupted(&self, worker: usize) {
        if let Some(seat) = self.seats.get(worker) {
            bump(&seat.tally.interrupted);
        }
    }

    pub(super) fn propagated(&self) {
        // Relaxed: nothing but the number comes of it.
        self.propagated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn propagations(&self) -> u64 {
        self.propagated.load(Ordering::Relaxed)
    }

    /// A job was given back.
    pub(super) fn handed_back(&self) {
        // ORDERING: Release pairs with the Acquire in `ends`.
        self.handed_back.fetch_add(1, Ordering::Release);
    }

    /// Somebody who is no worker has ended a job.
    pub(super) fn swept(&self, shell: bool) {
        let counter = if shell { &self.shells } else { &self.dropped };
        // ORDERING: Release pairs with the Acquire in `ends`.
        counter.fetch_add(1, Ordering::Release);
    }

    /// All that were popped and have ended; the ways are in `stats`.
    fn ends(&self, stats: &mut PoolStats) -> u64 {
        // ORDERING: Acquire: a task's end is read before its pop, and that before its push.
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let mut shells = read(&self.shells);
        stats.dropped = read(&self.dropped);
        stats.handed_back = read(&self.handed_back);
        for seat in &self.seats {
            stats.completed += read(&seat.tally.completed);
            stats.failed += read(&seat.tally.failed);
            stats.retried += read(&seat.tally.retried);
            stats.panicked += read(&seat.tally.panicked);
            stats.cancelled += read(&seat.tally.cancelled);
            stats.timed_out += read(&seat.tally.timed_out);
            stats.expired += read(&seat.tally.expired);
            stats.dropped += read(&seat.tally.dropped);
            shells += read(&seat.tally.shells);
        }
        stats.ended() + shells
    }

    pub(super) fn stats(&self, backlog: &Backlog) -> PoolStats {
        let mut stats = PoolStats { workers: self.seats.len(), ..PoolStats::default() };
        if let Some(managed) = backlog.managed() {
            stats.workers = managed.workers().unwrap_or(stats.workers);
            stats.delayed = managed.delayed() as u64;
        }
        let ended = self.ends(&mut stats);
        stats.running = backlog.popped().saturating_sub(ended).min(self.seats.len() as u64);
        // After the shells: each was counted here first.
        stats.cancelled += self.withdrawn.load(Ordering::Acquire);
        let gone = stats.ended() + stats.running;
        // What is neither running nor at its end is queued. (The pushes are read last, so there are enough.)
        stats.submitted = backlog.pushed().max(gone);
        stats.queued = stats.submitted - gone;
        stats.delayed = stats.delayed.min(stats.queued);
        stats
    }

    /// The report, if nothing is queued or running any more and nothing will be.
    pub(super) fn report(&self, backlog: &Backlog) -> Option<ShutdownReport> {
        let mut ends = PoolStats::default();
        // Read in this order, equal numbers were equal all at once.
        if !backlog.is_closed() || self.ends(&mut ends) != backlog.pushed() {
            return None;
        }
        let interrupted = self.seats.iter().map(|seat| seat.tally.interrupted.load(Ordering::Acquire)).sum();
        Some(ShutdownReport { stats: self.stats(backlog), interrupted })
    }
}

#[inline]
fn bump(counter: &AtomicU64) {
    // Relaxed: we are the only writer.
    let count = counter.load(Ordering::Relaxed);
    // ORDERING: Release pairs with the Acquire in `ends`.
    counter.store(count.wrapping_add(1), Ordering::Release);
}
