//! What the handles and the workers of a pool share, and how it ends.
//!
//! # How a pool ends
//!
//! | state | left by | intake | queue | running |
//! |---|---|---|---|---|
//! | open | `close`, `drain`, `shutdown`, the last handle's drop; the steps below do it too | open | runs | runs |
//! | closed | the last task's end; `abort` | refuses | runs | runs |
//! | aborted (a limit, the base context's end, the last worker's drop) | the last task's end | refuses | is dropped by who aborts, and by the workers | is dropped in place of its next poll |
//! | over | | refuses | empty | nothing |
//!
//! "Over" is when the queue is closed and as many tasks have ended as were pushed. That is looked for, under the lock of
//! `end`, by whoever may have brought it about: who closes, who aborts, and each worker that finds the queue closed and
//! empty. A worker does so after every last task: either it sees the end of the queue itself, or it lies down first and
//! who closes wakes it. Sleeping workers are not asked; a pool whose workers are not polled any more can still end.

#![forbid(unsafe_code)]

use super::TaskPanic;
use super::backlog::Backlog;
use super::carry::Carry;
use super::crew::Crew;
use super::error::{Ending, JoinError, Refusal};
use super::event::TaskReport;
use super::extras::{Extras, Times};
use super::handle::TaskId;
use super::ledger::Ledger;
use super::link::Link;
use super::load::{Load, amid};
use super::managed::{Call, Managed, Terms};
use super::retry::Letters;
use super::room::Room;
use super::slot::Job;
use super::stats::{Books, PoolStats, ShutdownReport};
use super::unstarted::UnstartedTask;
use super::wrap::Wrapper;
use crate::panics::{contain, forget};
use crate::shim::{AtomicUsize, Mutex, Ordering, load_seq_cst};
use crate::sync::ring::PushError;
use crate::sync::{Context, ContextError, context};
use crate::task::Carrier;
use crate::time::Clock;
use crate::wait::{List, Outcome, wake_all};
use crossbeam_utils::CachePadded;
use std::any::Any;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

/// The most tasks after which a worker lets those in that wait for room.
const BATCH: usize = 128;

pub(super) type OnPanic = Arc<dyn Fn(&TaskPanic<'_>) + Send + Sync>;

pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) task_timeout: Option<Duration>,
    /// Whether tasks have limits, or terms of their own.
    pub(super) has_terms: bool,
    /// After which a worker ends, if there are more than the least.
    pub(super) idle_timeout: Option<Duration>,
    pub(super) tied: bool,
    pub(super) base: Option<Context>,
    pub(super) on_panic: Option<OnPanic>,
    pub(super) carry: Carry,
    pub(super) carrier: Option<Arc<dyn Carrier>>,
    pub(super) wrapper: Option<Wrapper>,
    pub(super) ledger: Option<Box<Ledger>>,
    pub(super) letters: Letters,
}

pub(super) struct Shared {
    // Before the books, which its jobs refer to.
    pub(super) backlog: Backlog,
    pub(super) books: Books,
    pub(super) crew: Crew,
    pub(super) room: Room,
    /// Without a queue: how many tasks are on their way or run. A place is a free worker.
    handover: Option<CachePadded<AtomicUsize>>,
    /// Tasks after which a worker lets those in that wait for room, if it does not come to rest before.
    pub(super) batch: usize,
    pub(super) settings: Settings,
    /// Whether a submission is always nothing but a push: there is no ledger, no wrapper and no carrier.
    plain: bool,
    /// Whether a task can be ended by its context.
    pub(super) heeds: bool,
    /// 1 once the pool was aborted.
    aborted: AtomicUsize,
    pub(super) handles: AtomicUsize,
    /// Workers that are neither done nor dropped.
    workers: AtomicUsize,
    pub(super) end: Mutex<End>,
}

#[derive(Default)]
pub(super) struct End {
    /// Why the pool was aborted, if it was its context.
    reason: Option<ContextError>,
    pub(super) report: Option<ShutdownReport>,
    pub(super) waiting: List<()>,
    /// Those who asked for what is left.
    pub(super) keepers: usize,
    pub(super) unstarted: Vec<UnstartedTask>,
}

impl Shared {
    /// With seats for `seats` workers, of whom `workers` are there at first.
    pub(super) fn new(
        backlog: Backlog,
        seats: usize,
        workers: usize,
        handover: bool,
        settings: Settings,
    ) -> Self {
        let batch = match &backlog {
            Backlog::Bounded(ring) => (ring.capacity() / 2).clamp(1, BATCH),
            Backlog::Unbounded(_) => BATCH,
            Backlog::Managed(managed) => (managed.least_capacity() / 2).clamp(1, BATCH),
        };
        let has_history = settings.ledger.as_ref().is_some_and(|ledger| ledger.has_history());
        Self {
            plain: settings.ledger.is_none() && settings.wrapper.is_none() && settings.carrier.is_none(),
            heeds: settings.tied || has_history,
            batch,
            backlog,
            books: Books::new(seats),
            crew: Crew::default(),
            room: Room::default(),
            handover: handover.then(CachePadded::default),
            settings,
            aborted: AtomicUsize::new(0),
            handles: AtomicUsize::new(1),
            workers: AtomicUsize::new(workers),
            end: Mutex::new(End::default()),
        }
    }

    /// Whether a submission is nothing but a push.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.plain || self.is_unnoted()
    }

    /// Whether there is a ledger alone, and nobody wants to know now.
    #[cold]
    fn is_unnoted(&self) -> bool {
        let Settings { ledger, wrapper, carrier, .. } = &self.settings;
        wrapper.is_none() && carrier.is_none() && !ledger.as_ref().is_some_and(|ledger| ledger.is_wanted())
    }

    /// Places in the queue of that number; `None` for no bound. All but managed backlogs have one queue.
    pub(super) fn capacity(&self, lane: u16) -> Option<usize> {
        match &self.backlog {
            _ if self.handover.is_some() => Some(0),
            Backlog::Bounded(ring) => Some(ring.capacity()),
            Backlog::Unbounded(_) => None,
            Backlog::Managed(managed) => managed.capacity(lane),
        }
    }

    /// Where submitters wait for room in that queue.
    #[inline(always)]
    pub(super) fn room(&self, lane: u16) -> &Room {
        match (lane, &self.backlog) {
            (1.., Backlog::Managed(managed)) => {
                managed.rooms.get(usize::from(lane) - 1).unwrap_or(&self.room)
            }
            _ => &self.room,
        }
    }

    /// Free places, kept ones included.
    pub(super) fn free(&self, lane: u16) -> usize {
        match (&self.handover, &self.backlog) {
            (Some(in_flight), _) => self.books.seats.len().saturating_sub(load_seq_cst(in_flight)),
            (None, Backlog::Bounded(ring)) => ring.capacity().saturating_sub(ring.len()),
            (None, Backlog::Unbounded(_)) => usize::MAX,
            (None, Backlog::Managed(managed)) => managed.free(lane),
        }
    }

    /// Looks at the contexts before a submission has any effect.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Refusal> {
        context::check(|| self.settings.clock.now()).map_err(Refusal::Context)?;
        match &self.settings.base {
            None => Ok(()),
            Some(base) => base.check().map_err(Refusal::Context),
        }
    }

    /// What a task takes along: the submitter's context as the task is to see it, if there is one.
    #[inline(always)]
    pub(super) fn extras(&self) -> Option<Box<Extras>> {
        if context::is_any() { self.capture() } else { None }
    }

    #[inline(never)]
    fn capture(&self) -> Option<Box<Extras>> {
        let context = context::capture()?;
        let context = if self.settings.tied { context } else { context.detached() };
        let (context, propagated) = self.settings.carry.through(context);
        Some(Box::new(Extras { context: Some(context), propagated, ..Extras::default() }))
    }

    /// What the submitter's carrier picks up.
    pub(super) fn load(&self) -> Option<Load> {
        Load::pick_up(&**self.settings.carrier.as_ref()?, &self.settings.name)
    }

    /// As [`extras`](Self::extras), with what the ledger needs, with the way by which the future reaches its worker, and with
    /// a place for what is carried.
    pub(super) fn extras_with(&self, link: Option<Arc<Link>>, has_load: bool) -> Option<Box<Extras>> {
        let extras = self.extras();
        let ledger =
            self.settings.ledger.as_ref().filter(|ledger| ledger.is_wanted() || ledger.meters.is_anyone());
        if link.is_none() && ledger.is_none() && !has_load {
            return extras;
        }
        let mut extras = extras.unwrap_or_default();
        extras.link = link;
        if let Some(ledger) = ledger {
            extras.times = Some(Times::new(self.settings.clock.now()));
            if ledger.has_history() {
                // Its own, to be cancelled by its number.
                let outer = extras.context.as_ref().or(self.settings.base.as_ref());
                extras.context = Some(outer.map_or_else(|| Context::background().child(), Context::child));
            }
        }
        Some(extras)
    }

    /// The time of a submission, if its durations are wanted; otherwise 0. Not under a lock: the clock may be the user's.
    #[inline(always)]
    pub(super) fn stamp(&self) -> u64 {
        self.settings.ledger.as_ref().map_or(0, |ledger| ledger.stamp())
    }

    /// Adds a job and sees to it that somebody runs it; `job` is called if, and only if, that succeeds.
    #[inline(always)]
    pub(super) fn push_with<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>> {
        let pushed = self.let_in(job, |job| self.backlog.push_with(job, |call| call.wake()));
        if pushed.is_ok() {
            self.crew.work_added(|| self.backlog.len());
        }
        pushed
    }

    /// Pushes; without a queue, only if a worker is free.
    #[inline(always)]
    fn let_in<F>(
        &self,
        job: F,
        push: impl FnOnce(F) -> Result<TaskId, PushError<F>>,
    ) -> Result<TaskId, PushError<F>> {
        if self.handover.is_some() && !self.enter() {
            return Err(if self.backlog.is_closed() { PushError::Closed(job) } else { PushError::Full(job) });
        }
        let pushed = push(job);
        if pushed.is_err() {
            self.leave();
        }
        pushed
    }

    /// Adds several jobs at once, as many as there is room for, up to `count`: how many, and the number of the first.
    /// `None` if this queue takes them one by one only. Nobody is woken: [`call_workers`](Self::call_workers).
    pub(super) fn push_many(
        &self,
        count: NonZeroUsize,
        job: impl FnMut() -> Job,
    ) -> Option<Result<(usize, TaskId), PushError<()>>> {
        match &self.backlog {
            Backlog::Bounded(ring) if self.handover.is_none() && self.is_plain() => {
                let pushed = ring.push_many(count, job);
                Some(pushed.map(|(count, position)| (count, TaskId(ring.ordinal(position)))))
            }
            _ => None,
        }
    }

    /// Sees to it that somebody runs what was added.
    #[inline]
    pub(super) fn call_workers(&self) {
        self.crew.work_added(|| self.backlog.len());
    }

    /// As [`push_with`](Self::push_with), on terms.
    pub(super) fn push_on<F: FnOnce() -> Job>(
        &self,
        managed: &Managed,
        terms: Terms,
        job: F,
    ) -> Result<TaskId, PushError<F>> {
        let (id, call) = managed.push_with(terms, job)?;
        self.heed(call);
        Ok(id)
    }

    /// As [`push_with`](Self::push_with), on terms if there are any, at [`now`](Managed::epoch) if that matters; but nobody is
    /// woken, and no clock is read: locks may be held. Whom it concerns must be told afterwards.
    pub(super) fn push_quietly<F: FnOnce() -> Job>(
        &self,
        terms: Option<&Terms>,
        now: u64,
        job: F,
    ) -> Result<(TaskId, Call), PushError<F>> {
        if let Some(managed) = self.backlog.managed() {
            return managed.push_at(terms.copied().unwrap_or_default(), now, job);
        }
        let id = self.let_in(job, |job| self.backlog.push_with(job, drop))?;
        Ok((id, Call { anyone: true, ..Call::default() }))
    }

    /// Notes that a task has ended, and tells what is carried with it; before the books do.
    #[cold]
    pub(super) fn note_end(&self, task: TaskId, extras: &mut Extras, ending: Option<Ending>) {
        if let Some(ledger) = self.settings.ledger.as_ref().filter(|_| extras.times.is_some()) {
            contain(|| {
                let now = self.settings.clock.now();
                let report = TaskReport::of(task, extras, ending, now);
                ledger.ended(report, extras, now);
            });
        }
        if let Some(load) = extras.load.take() {
            load.end(task, extras.attempts, extras.outcome(ending));
        }
    }

    /// Sees to it that those look whom a change of a managed backlog concerns.
    pub(super) fn heed(&self, call: Call) {
        if call.anyone {
            self.crew.work_added(|| self.backlog.len());
        }
        call.wake();
    }

    /// Without a queue: takes a free worker.
    #[cold]
    fn enter(&self) -> bool {
        let Some(in_flight) = &self.handover else { return true };
        let workers = self.books.seats.len();
        in_flight
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, |busy| (busy < workers).then_some(busy + 1))
            .is_ok()
    }

    /// Without a queue: a worker is free again. Says whether that was it.
    #[inline]
    pub(super) fn leave(&self) -> bool {
        let Some(in_flight) = &self.handover else { return false };
        // ORDERING: SeqCst: before the look at those in line, as a pop is.
        in_flight.fetch_sub(1, Ordering::SeqCst);
        true
    }

    /// Without a queue: there is a place fewer, free or not.
    pub(super) fn occupy(&self) {
        if let Some(in_flight) = &self.handover {
            // ORDERING: SeqCst, as all that count places.
            in_flight.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Lets those in line know of free places. A waker that panics is its executor's affair, not our worker's.
    #[inline]
    pub(super) fn admit(&self) {
        self.admit_to(&self.room, 0);
        if let Some(managed) = self.backlog.managed() {
            for (lane, room) in (1..).zip(&managed.rooms) {
                self.admit_to(room, lane);
            }
        }
    }

    #[inline]
    fn admit_to(&self, room: &Room, lane: u16) {
        if room.is_crowded() {
            contain(|| room.admit(|| self.free(lane)));
        }
    }

    fn rooms(&self) -> impl Iterator<Item = &Room> {
        let others = self.backlog.managed().map(|managed| &*managed.rooms).unwrap_or_default();
        std::iter::once(&self.room).chain(others)
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats { waiting: self.rooms().map(Room::waiting).sum(), ..self.books.stats(&self.backlog) }
    }

    /// For `Debug`, which must never block.
    pub(super) fn try_stats(&self) -> Option<PoolStats> {
        let waiting = self.room.try_waiting()?;
        let Backlog::Bounded(_) = self.backlog else { return None };
        Some(PoolStats { waiting, ..self.books.stats(&self.backlog) })
    }

    /// Stops the intake. False if that was so already.
    pub(super) fn close(&self) -> bool {
        let first = self.backlog.close(|call| self.heed(call));
        if first {
            self.rooms().for_each(Room::close);
            self.crew.wake_all();
            self.look_for_the_end();
        }
        first
    }

    #[inline]
    pub(super) fn is_aborted(&self) -> bool {
        load_seq_cst(&self.aborted) != 0
    }

    /// What a running task is told that is cut off.
    pub(super) fn reason(&self) -> Option<ContextError> {
        self.end.lock().reason.clone()
    }

    /// Ends the pool: nothing that is queued will run, and what runs is dropped as soon as its worker is polled.
    pub(super) fn abort(&self, reason: Option<ContextError>) {
        {
            let mut end = self.end.lock();
            // ORDERING: SeqCst: before the nudges; a worker sets its waker and then looks here.
            if self.aborted.swap(1, Ordering::SeqCst) == 0 {
                end.reason = reason;
            }
        }
        self.close();
        for seat in &self.books.seats {
            seat.nudge.wake();
        }
        let mut job = pin!(Job::empty());
        while let Some(task) = self.backlog.sweep(job.as_mut()) {
            self.sweep(job.as_mut(), task);
        }
        if let Some(managed) = self.backlog.managed() {
            // Of the delayed tasks' sake there are sleepers although the pool was closed.
            self.heed(managed.review());
        }
        self.look_for_the_end();
    }

    /// A task was cancelled that was to wait for its time. If it still does, that is its end.
    pub(super) fn withdraw(&self, task: TaskId, due: u64) {
        let Some(managed) = self.backlog.managed() else { return };
        let Some((job, call)) = managed.withdraw(task, due) else { return };
        self.sweep(pin!(job), task);
        self.heed(call);
        self.admit();
        self.look_for_the_end();
    }

    /// Gives back a job that will not run here, or drops it and says so to its handle.
    pub(super) fn sweep(&self, mut job: Pin<&mut Job>, task: TaskId) {
        let mut extras = job.as_mut().take_extras();
        // One that speaks to its worker cannot be without.
        let is_its_own = extras.as_ref().is_none_or(|extras| extras.link.is_none() && extras.attempts == 0);
        if is_its_own && self.end.lock().keepers > 0 {
            if let Some(job) = job.as_mut().lift() {
                return self.keep(job, extras, task);
            }
        }
        let context = extras.as_ref().and_then(|extras| extras.context.as_ref());
        let load = extras.as_ref().and_then(|extras| extras.load.as_ref());
        let shell =
            catch_unwind(AssertUnwindSafe(|| within(context, || amid(load, || job.as_mut().discard()))));
        let withdrawn = matches!(shell, Ok(Some(_)));
        if let Some(extras) = &mut extras {
            let ending = if withdrawn { Ending::Cancelled } else { Ending::Dropped };
            self.note_end(task, extras, Some(ending));
        }
        self.books.swept(withdrawn);
        job.resolve(Some(Box::new(JoinError::dropped())));
        if let Err(payload) = shell {
            self.panicked(task, &*payload);
            forget(payload);
        }
        // Contexts hold values of the user's, and there may be other jobs to be swept.
        contain(|| drop(extras));
    }

    /// Puts a job aside for those who asked for what is left.
    fn keep(&self, job: Job, mut extras: Option<Box<Extras>>, task: TaskId) {
        // It goes on with the task, and ends with it.
        let load = extras.as_mut().and_then(|extras| extras.load.take());
        if let Some(extras) = &mut extras {
            self.note_end(task, extras, Some(Ending::HandedBack));
        }
        let context = extras.and_then(|extras| extras.context);
        let context = context.or_else(|| self.settings.base.clone());
        let task = UnstartedTask::new(job, context, load, task);
        let mut end = self.end.lock();
        let unwanted = if end.keepers > 0 {
            end.unstarted.push(task);
            None
        } else {
            Some(task)
        };
        drop(end);
        // The last one has given up just now.
        contain(|| drop(unwanted));
        self.books.handed_back();
    }

    /// Everything has ended: says so to those who wait for it.
    pub(super) fn look_for_the_end(&self) {
        self.find_the_end();
        if let Some(ledger) = self.settings.ledger.as_ref().filter(|_| self.end.lock().report.is_some()) {
            ledger.over();
        }
    }

    fn find_the_end(&self) {
        wake_all(|wakes| {
            let mut end = self.end.lock();
            if end.report.is_none() {
                end.report = self.books.report(&self.backlog);
            }
            end.report.is_none() || end.waiting.settle(wakes, |()| Some(Outcome::Granted))
        });
    }

    /// There is a worker more.
    pub(super) fn worker_came(&self) {
        // Relaxed: the worker is not known to anybody yet.
        self.workers.fetch_add(1, Ordering::Relaxed);
    }

    /// A worker is gone. After the last one nothing can run any more.
    pub(super) fn worker_left(&self) {
        // ORDERING: AcqRel: the last one comes after all others.
        if self.workers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.abort(None);
        } else {
            self.look_for_the_end();
        }
    }

    /// Shows a panic to the handler, and holds that handler to its own.
    pub(super) fn panicked(&self, task: TaskId, payload: &(dyn Any + Send)) {
        if let Some(on_panic) = &self.settings.on_panic {
            let panic = TaskPanic { pool: &self.settings.name, task, payload };
            contain(|| on_panic(&panic));
        }
    }
}

/// Runs `body` in a task's context, if it has one.
#[inline]
pub(super) fn within<R>(context: Option<&Context>, body: impl FnOnce() -> R) -> R {
    match context {
        None => body(),
        Some(context) => context.scope_sync(body),
    }
}
