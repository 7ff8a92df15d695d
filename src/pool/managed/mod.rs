//! The managed backlog: tasks in classes, in queues of their own, and tasks that are not due.
//!
//! A pool has it in place of the ring if a setting asks for it. It is a lock around a few lists.
//!
//! # Where a task is
//!
//! | place | counted in | moved on by | to |
//! |---|---|---|---|
//! | delayed: a set ordered by the time at which it is due | its queue's places | whoever holds the lock when it is due | in line |
//! | in line: its queue's list for its class, who waited longest first | its queue's places | a worker, when it is next and its queue has width left | a worker |
//! | with a worker | its queue's width | the worker | its end, or back (`readmit`): delayed or in line |
//!
//! A task that is too old when a worker takes it is not run: it ends as *expired*. When the pool is aborted, whoever aborts
//! it takes out all that wait, due or not.
//!
//! # Who is next
//!
//! Of the tasks in line whose queue has width left the one with the least of
//!
//! > *since* + *ageing* × (classes above its own)
//!
//! where *since* is when it was accepted, or, for a delayed task, when it became due. At the same value the higher class
//! comes first, then who was accepted first. So a task that has waited one interval of ageing longer counts as one class
//! higher; all age alike, so the order of two tasks does not change while they wait; and within a class it is first come,
//! first served.
//!
//! # Places and width
//!
//! A submission is accepted if its queue holds fewer tasks than it has places; delayed ones count. A task that comes back
//! is not refused: it was with a worker, so a queue holds at most its places and one task for each worker. A task takes
//! width from the moment at which a worker takes it until that worker has ended it or given it back.
//!
//! # Who keeps the time
//!
//! While something is due later and a worker sleeps, one of the sleepers is the *keeper*: its timer is armed for the
//! first task that is due. No other worker has one, and a pool of which nothing is due later has none.
//!
//! | event | keeper |
//! |---|---|
//! | a worker lies down, and there is none | becomes it, and goes to the end of the list of sleepers, so that it is woken for other work last |
//! | a delayed task is due before the keeper's timer | is woken, to arm it anew |
//! | its timer fires | looks at the queue, finds what is due |
//! | it takes a task, ends, or is dropped | none; if there are delayed tasks and sleepers, one is woken, and becomes it |
//!
//! # Why no task is left beside a sleeper
//!
//! *A backlog calls* when a task in line could be begun, when all is over, or when something is due later and there is no
//! keeper. *If the backlog calls, no worker sleeps, or one is awake and will look.*
//!
//! Whoever makes it call (a push, a task that comes back, a close, a worker that resigns) does so under the lock and
//! afterwards looks for sleepers; a worker that goes to sleep is in the list before it looks under the lock. So one sees
//! the other, as with the ring (see `crew`). A worker that looks takes one task, and looks whether the backlog still
//! calls before it runs it; if so, it wakes a sleeper. Time and the end of a task with width can make the backlog call
//! without a push: the first is what the keeper is for, and after the second the worker itself looks.
//!
//! # How the number of workers changes
//!
//! | event | by | workers |
//! |---|---|---|
//! | all workers are busy, and a task in line has waited for `scale_after` | the scaler, a future of its own that alone starts workers | one more, up to the most |
//! | a worker has been idle for `idle_timeout`, nothing is in line, there are more than the least | the worker, out of the list of sleepers, under the lock | it ends |
//!
//! The scaler sleeps without a timer unless all workers are busy and a task is in line, or will be: nobody else then keeps
//! the time. Whoever brings that about, by a push or by taking a task, wakes it. After a worker that the executor has
//! dropped in place of starting it the next one is tried after a while. So a worker that ends while a task is pushed either sees the task, or is gone
//! before: then either others are idle and were woken, or all are busy, and the scaler is told.

#![forbid(unsafe_code)]

mod alarm;
mod lane;
mod plan;
mod scaler;
mod scaling;
mod store;

pub(super) use alarm::Alarm;
pub(super) use plan::{Call, Rest};
pub(super) use scaler::Scaler;

use super::handle::TaskId;
use super::room::Room;
use super::slot::Job;
use super::stats::QueueStats;
use crate::shim::Mutex;
use crate::sync::Priority;
use crate::sync::ring::{PopError, PushError};
use crate::time::{Clock, Epoch};
use crossbeam_utils::CachePadded;
use lane::Lane;
use plan::Plan;
use scaling::{Growth, Scaling};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// What was asked for with a task. Times are nanoseconds of the backlog's epoch.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub(super) priority: Priority,
    pub(super) lane: u16,
    /// Not begun before.
    pub(super) due: u64,
    /// Not begun from then on.
    pub(super) expires: u64,
    /// Dropped, if it runs then.
    pub(super) deadline: u64,
    /// In place of the pool's; zero for none.
    pub(super) timeout: Option<Duration>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            priority: Priority::Normal,
            lane: 0,
            due: 0,
            expires: u64::MAX,
            deadline: u64::MAX,
            timeout: None,
        }
    }
}

/// What a worker knows of a task besides the job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ticket {
    pub(super) terms: Terms,
    /// It is too late to begin it.
    pub(super) is_expired: bool,
    /// The task was taken back: it waits again, while its worker has not let go of it.
    pub(super) came_back: bool,
}

/// A queue, as the builder asks for it.
pub(super) struct LaneSpec {
    pub(super) name: Arc<str>,
    /// `usize::MAX` for no bound.
    pub(super) width: usize,
    pub(super) capacity: usize,
}

pub(super) struct Spec {
    /// The first is that of tasks that name none.
    pub(super) lanes: Vec<LaneSpec>,
    pub(super) ageing: Duration,
    pub(super) workers: (usize, usize),
    pub(super) scale_after: Duration,
}

pub(super) struct Managed {
    epoch: Epoch,
    plan: CachePadded<Mutex<Plan>>,
    /// Of all lanes but the first, whose room is the pool's.
    pub(super) rooms: Box<[Room]>,
    names: Box<[Arc<str>]>,
}

impl Managed {
    /// `None` if there is no memory for so many places.
    pub(super) fn new(spec: Spec, clock: Clock) -> Option<Self> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (min, max) = spec.workers;
        // What has no bound grows as it is used.
        let bounded = spec.lanes.iter().map(|lane| lane.capacity).filter(|&capacity| capacity != usize::MAX);
        let places = bounded.fold(max, usize::saturating_add);
        let lanes = spec.lanes.iter().map(|lane| Lane::new(lane.width, lane.capacity)).collect();
        let scaling = Scaling::new(min, max, nanos(spec.scale_after));
        let plan = Plan::new(places, lanes, nanos(spec.ageing), scaling)?;
        Some(Self {
            epoch: Epoch::new(clock),
            plan: CachePadded::new(Mutex::new(plan)),
            rooms: spec.lanes.iter().skip(1).map(|_| Room::default()).collect(),
            names: spec.lanes.into_iter().map(|lane| lane.name).collect(),
        })
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The instant of a time, or `None` past the end of time.
    pub(super) fn instant(&self, nanos: u64) -> Option<Instant> {
        self.epoch.instant(nanos)
    }

    /// The number of the lane of that name.
    pub(super) fn lane(&self, name: &str) -> Option<u16> {
        let at = self.names.iter().position(|known| **known == *name)?;
        u16::try_from(at).ok()
    }

    /// Takes a task in, to run when it is due; `job` is called if, and only if, that succeeds.
    pub(super) fn push_with<F: FnOnce() -> Job>(
        &self,
        terms: Terms,
        job: F,
    ) -> Result<(TaskId, Call), PushError<F>> {
        self.push_at(terms, self.epoch.nanos(), job)
    }

    /// As [`push_with`](Self::push_with), at this time.
    pub(super) fn push_at<F: FnOnce() -> Job>(
        &self,
        terms: Terms,
        now: u64,
        job: F,
    ) -> Result<(TaskId, Call), PushError<F>> {
        let mut plan = self.plan.lock();
        if plan.closed {
            return Err(PushError::Closed(job));
        }
        if !plan.has_room(terms.lane) {
            return Err(PushError::Full(job));
        }
        let (id, call) = plan.push(job(), terms, now);
        Ok((TaskId(id), call))
    }

    /// Takes a task back that a worker had, to run when it is due, under the terms on which it was taken in. It keeps its
    /// number and needs no place. Its worker must [`release`](Self::release) its ticket, and then heed the call.
    ///
    /// # Errors
    /// The pool was aborted: the job comes back, and is to be dropped.
    pub(super) fn readmit(
        &self,
        job: Job,
        id: TaskId,
        ticket: &Ticket,
        due: Option<Instant>,
    ) -> Result<Call, Job> {
        let due = due.map_or(0, |due| self.epoch.nanos_at(due));
        let now = self.epoch.nanos();
        self.plan.lock().readmit(job, id.0, Terms { due, ..ticket.terms }, now)
    }

    /// A task that waits for its time, which is `due` if that is known, is to be taken up at once. Nothing happens if it
    /// does not wait any more.
    pub(super) fn hasten(&self, id: TaskId, due: Option<Instant>) -> Call {
        let (now, due) = (self.epoch.nanos(), due.map(|due| self.epoch.nanos_at(due)));
        self.plan.lock().hasten(id.0, due, now)
    }

    /// Takes the task out whose turn it is, for the worker of that number, and puts it in the place of `job`, which must
    /// be empty.
    pub(super) fn pop(
        &self,
        mut job: Pin<&mut Job>,
        worker: usize,
        ticket: &mut Ticket,
    ) -> (Result<TaskId, PopError>, Call) {
        let now = self.epoch.nanos();
        let mut plan = self.plan.lock();
        let (taken, call) = plan.pop(worker, now);
        match taken {
            Some((popped, id, its)) => {
                *ticket = its;
                job.as_mut().refill(popped);
                (Ok(TaskId(id)), call)
            }
            None if plan.is_over() => (Err(PopError::Closed), call),
            None => (Err(PopError::Empty), call),
        }
    }

    /// Takes a task out that waits for its time, which is `due`.
    pub(super) fn withdraw(&self, id: TaskId, due: u64) -> Option<(Job, Call)> {
        let mut plan = self.plan.lock();
        let job = plan.withdraw_delayed(id.0, due)?;
        Some((job, plan.call()))
    }

    /// As the pool is aborted: takes a task out, due or not, in the order in which they would be begun.
    pub(super) fn sweep(&self, job: Pin<&mut Job>) -> Option<TaskId> {
        let now = self.epoch.nanos();
        let (swept, id) = self.plan.lock().sweep(now)?;
        job.refill(swept);
        Some(TaskId(id))
    }

    /// A worker is done with its task, or has given it back.
    pub(super) fn release(&self, ticket: &Ticket) {
        self.plan.lock().release(ticket);
    }

    /// What a worker is to do that is in the list of sleepers.
    pub(super) fn rest(&self, worker: usize, waker: &Waker) -> Rest {
        let (now, waker) = (self.epoch.nanos(), waker.clone());
        let (rest, stale) = self.plan.lock().rest(worker, waker, now);
        drop(stale);
        rest
    }

    /// Whether there are more workers than the least.
    pub(super) fn has_spare(&self) -> bool {
        self.plan.lock().scaling.has_spare()
    }

    /// A worker that is out of the list of sleepers has been idle for long: whether it is to end, and whom that concerns.
    pub(super) fn retire(&self, worker: usize) -> Option<Call> {
        let mut plan = self.plan.lock();
        if !plan.retire(worker) {
            return None;
        }
        let stale = plan.resign(worker);
        Some(Call { stale, ..plan.call() })
    }

    /// Whom the state of things concerns.
    pub(super) fn review(&self) -> Call {
        self.plan.lock().call()
    }

    /// A worker has ended, or was dropped.
    pub(super) fn gone(&self, worker: usize) -> Call {
        let mut plan = self.plan.lock();
        plan.scaling.gone(worker);
        let stale = plan.resign(worker);
        Call { stale, ..plan.call() }
    }

    /// A worker was handed to the executor.
    fn started(&self, worker: usize) {
        let now = self.epoch.nanos();
        self.plan.lock().scaling.started(worker, now);
    }

    /// What who adds workers is to do.
    fn grow(&self, waker: &Waker) -> Growth {
        let (now, waker) = (self.epoch.nanos(), waker.clone());
        let (growth, stale) = self.plan.lock().grow(waker, now);
        drop(stale);
        growth
    }

    /// Takes nothing in any more; whom that concerns. `None` if that was so already.
    pub(super) fn close(&self) -> Option<Call> {
        let mut plan = self.plan.lock();
        if std::mem::replace(&mut plan.closed, true) {
            return None;
        }
        Some(plan.call())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.plan.lock().closed
    }

    /// Whether a sleeper would have something to do.
    pub(super) fn calls(&self) -> bool {
        self.plan.lock().calls()
    }

    /// Tasks in line.
    pub(super) fn ready(&self) -> usize {
        self.plan.lock().ready
    }

    pub(super) fn delayed(&self) -> usize {
        self.plan.lock().delayed()
    }

    pub(super) fn pushed(&self) -> u64 {
        self.plan.lock().pushed
    }

    pub(super) fn popped(&self) -> u64 {
        self.plan.lock().popped
    }

    /// How many workers there are, if that changes.
    pub(super) fn workers(&self) -> Option<usize> {
        let plan = self.plan.lock();
        (!plan.scaling.is_fixed()).then_some(plan.scaling.live)
    }

    /// Free places of a lane.
    pub(super) fn free(&self, lane: u16) -> usize {
        self.plan.lock().lanes.get(usize::from(lane)).map_or(0, Lane::free)
    }

    /// The books of the lane of that name, of one moment.
    pub(super) fn queue_stats(&self, name: &str) -> Option<QueueStats> {
        let lane = self.lane(name)?;
        let now = self.epoch.nanos();
        let plan = self.plan.lock();
        // Others may have brought a later time meanwhile.
        plan.lanes.get(usize::from(lane)).map(|lane| lane.stats(now.max(plan.now)))
    }

    /// How long the task has waited that has waited longest, of those of all lanes that are due.
    #[cfg(feature = "telemetry")]
    pub(super) fn oldest(&self) -> Option<std::time::Duration> {
        let now = self.epoch.nanos();
        let plan = self.plan.lock();
        plan.lanes.iter().filter_map(|lane| lane.stats(now.max(plan.now)).oldest).max()
    }

    /// Places of the lane that has the fewest.
    pub(super) fn least_capacity(&self) -> usize {
        self.plan.lock().lanes.iter().map(|lane| lane.capacity).min().unwrap_or(usize::MAX)
    }

    /// Places of a lane; `None` for no bound.
    pub(super) fn capacity(&self, lane: u16) -> Option<usize> {
        let plan = self.plan.lock();
        let capacity = plan.lanes.get(usize::from(lane))?.capacity;
        (capacity != usize::MAX).then_some(capacity)
    }
}
