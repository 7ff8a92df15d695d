//! L5. The worker pool.
//!
//! A [`WorkerPool`] is a bounded queue of tasks and a number of workers that run them, on any executor: the workers
//! are plain futures, which the user polls or gives to a [`Spawn`](crate::task::Spawn).
//!
//! # The ways of a task
//!
//! | state | where it is | next |
//! |---|---|---|
//! | offered | in the submitter's future | queued, or given back with the reason |
//! | delayed | in a managed queue, until it is due | queued; cancelled by its handle; dropped or handed back when the pool ends |
//! | queued | in the queue | running; expired; cancelled by its handle; dropped or handed back when the pool ends |
//! | running | in its worker | completed; panicked; cancelled by its handle, its context, or the end of the pool; timed out; dropped with its worker |
//!
//! Each accepted task takes exactly one of the seven ways to end, which its handle is told and [`PoolStats`] counts.
//!
//! A task that [may be repeated](WorkerPool::retry_task) goes from running back to queued after an error, until it ends.
//!
//! # What a pool knows of its tasks
//!
//! Beyond [`PoolStats`], only what it was built for: [events](PoolBuilder::observer) on the spot, [reports](PoolBuilder::reports)
//! of ends as a stream, the [status](PoolBuilder::history) of each task by its number, and the
//! [dead letters](WorkerPool::dead_letters).
//!
//! # What costs what
//!
//! | operation | lock-free | allocations |
//! |---|---|---|
//! | `execute`, with room | yes, unless it wakes a worker | none; 1 for a future of more than 384 bytes |
//! | `submit`, with room | likewise | none in steady state: memory of up to 384 bytes for future, result and state is recycled; 1 for more |
//! | `submit_all`, `execute_all` | likewise | 2 for all: a buffer, and the handles |
//! | either, inside a [`Context`](crate::sync::Context) | likewise | 1 more, for the context |
//! | a refusal | yes | 1: the error, which has the future, is boxed, so that results are small |
//! | waiting for room | takes a lock | none |
//! | a worker taking up and ending a task | yes, unless it wakes somebody | none |
//! | [`JoinHandle`]: waiting, cancelling | yes, unless the task is suspended | none |
//! | [`stats`](WorkerPool::stats) | a lock for `waiting` | none |
//!
//! An unbounded queue takes a lock for each push and pop; a [managed](PoolBuilder::managed) one takes a lock for each push,
//! pop and end of a task, and reads the clock for the first two. An idle pool does nothing at all: no timer, no polling; one
//! with delayed tasks has one timer, for the first of them.
//!
//! # Who runs when
//!
//! A worker runs up to 128 tasks before it lets its executor run something else, unless it runs out of them or one has to wait.
//! One that gives way (wakes itself in its poll, as `yield_now` of most libraries does; tokio's wakes later) is polled again at
//! once, as no other task of the pool could run in its place; if it then gives way again, the executor has its turn. A second poll
//! counts as two tasks, so the executor waits for 43 of them at the most. So a long computation that gives way every 100 µs holds
//! the executor's thread for 200 µs at a time, and many that give way once each hold it for up to 8.6 ms: for two thirds of what
//! as many computations would that do not. A task that has waited for something before, one that may be repeated, and one in a
//! [wrapper](PoolBuilder::wrap) go by way of the executor each time.
//!
//! # Many workers
//!
//! Of a bounded queue that is not managed. Atomic read-modify-writes per task, counted by a build whose atomics count, in rounds
//! of 64 tasks on one worker, which sleeps and is woken once a round:
//!
//! | way in | all | of them on lines that everybody writes |
//! |---|---|---|
//! | `execute` | 2.05 | 2: the tail by its submitter, the head by its worker |
//! | `submit`, joined when it has ended | 4.05 | 2; the others are the task's own cell |
//! | `submit`, awaited before | 6.05 | 2 |
//! | `execute_all`, 64 at a time | 1.06 | 1: the head, and the tail once for 64 |
//! | `submit_all`, 64 at a time | 3.06 | 1 |
//!
//! With four submitters on two threads it is 2.04. Everything else that is shared is read and seldom written: whether somebody
//! sleeps, waits for room, or has ended the pool. A worker counts what it has ended on a line of its own, with a load and a
//! store. The place in the queue goes over with the task, and back a lap later, between two that do not contend for it.
//!
//! So tail and head are the limit. One line serves one claim after another. Where that takes *s*, no number of workers takes up
//! more than 1/*s* tasks; *n* workers with tasks of *t* are kept busy while *t* is well above *n s*. By simulation (tasks of
//! exponential length, *s* = 50 ns, which is a guess for one socket and not a measurement: there was a machine of two processors
//! only), the share of their time in which workers run tasks:
//!
//! | workers | tasks of 100 ns | 1 µs | 3 µs | 10 µs |
//! |---|---|---|---|---|
//! | 2 | 0.62 | 0.96 | 0.98 | 0.99 |
//! | 8 | 0.25 | 0.95 | 0.98 | 0.99 |
//! | 64 | 0.03 | 0.31 | 0.90 | 0.99 |
//! | 64, eight queues | 0.25 | 0.95 | 0.98 | 0.99 |
//!
//! Tasks that are shorter than three microseconds on 64 workers call for several pools, or for more work in each task. Several
//! queues in one pool would serve eight times as many claims, and would cost the order of the tasks, a bound and a batch that are
//! exact, and a search through all of them before a worker lies down. They are not built: tasks that are worth a pool are longer.
//! On two processors they were measured, with empty tasks: a queue for each worker, where submitters prefer the queue of the
//! worker whose thread they are on, and workers take from the others' when their own is empty, was slower than one queue on 23
//! of 24 workloads (up to twice the time for a task) and level on one. Two pools of one worker each, with each submitter bound to
//! one of them, run 1.6 to 2.6 times as many tasks with four submitters on the threads of the workers, and 0.6 to 1.2 times with
//! four on threads of their own: what they gain they gain by not sharing at all.

#[cfg(feature = "testkit")]
mod at_rest;
mod backlog;
mod builder;
mod by_id;
mod carry;
mod crew;
mod error;
mod event;
mod extras;
mod handle;
mod ledger;
mod link;
mod load;
mod managed;
mod message;
mod named;
mod nudge;
mod options;
mod reports;
mod retry;
mod room;
mod shared;
mod shutdown;
mod slot;
mod stats;
mod submit;
mod submit_all;
#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
mod threads;
mod unstarted;
#[cfg(feature = "telemetry")]
mod view;
mod worker;
mod workers;
mod wrap;

pub use crate::sync::Priority;
pub use builder::PoolBuilder;
pub use error::{JoinError, SubmitAllError, SubmitError};
pub use event::{Outcome, PoolEvent, TaskReport};
pub use handle::{JoinHandle, TaskId};
#[cfg(feature = "telemetry")]
pub(crate) use ledger::Meter;
pub use ledger::{ContextStats, LiveTask, TaskRecord, TaskStatus};
pub use message::{Codec, FrameCodec, FrameError, Handlers, Handling, Message, MessageError};
pub use named::NamedQueue;
pub use options::PoolTask;
pub use reports::Reports;
pub use retry::{DeadLetter, DeadLetters, RequeueError, Retried, RetryPolicy, Verdict};
pub use shutdown::Shutdown;
pub use stats::{PoolStats, QueueStats, ShutdownReport};
pub use submit::{Arranged, Detached, Joined, ManyMode, Mode, Plain, Submit, Way};
pub use submit_all::SubmitAll;
#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
pub use threads::Threads;
pub use unstarted::{HandBack, UnstartedTask};
pub use worker::Worker;
pub use workers::{Driver, Workers};
pub use wrap::TaskFuture;

use crate::shim::{Arc, Ordering};
use shared::Shared;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// A bounded queue of tasks, and workers that run them.
///
/// For limiting how much work is done at a time *and* how much may wait, with back-pressure on those who bring it: a full
/// queue makes [`submit`](Self::submit) wait. For limiting concurrency alone, in the caller's own task, a
/// [`Semaphore`](crate::sync::Semaphore) is simpler. Tasks should await rather than block: one that blocks holds its
/// worker and its executor's thread.
///
/// Clones are handles on one pool. When the last one is dropped the pool is closed: what is queued still runs, and then
/// the workers end. (A task that holds a handle on its own pool keeps it open.)
///
/// ```
/// use cofferdam::pool::WorkerPool;
///
/// # futures_executor::block_on(async {
/// let (pool, workers) = WorkerPool::builder().workers(4).queue(100).build().unwrap();
/// // `workers.spawn_on(&spawner)` gives them to an executor. Here they run in the same task as their user.
/// let work = async {
///     let answer = pool.submit(async { 6 * 7 }).await.unwrap();
///     assert_eq!(answer.await.unwrap(), 42);
///     pool.drain().await
/// };
/// let (report, ()) = futures_util::future::join(work, workers.into_future()).await;
/// assert!(report.is_clean());
/// assert_eq!(report.stats.completed, 1);
/// # });
/// # use std::future::IntoFuture;
/// ```
///
/// # Fairness
///
/// Tasks are begun in the order in which they were accepted, unless the pool is [managed](PoolBuilder::managed): then by
/// [class and age](PoolBuilder::ageing). Submitters that wait for room are woken in the order of their
/// arrival, and while one waits, newcomers wait behind it. Between being woken and being polled a submitter can be
/// overtaken; it then goes back to the head of the line, and after the fourth time its place is kept.
pub struct WorkerPool {
    shared: Arc<Shared>,
}

impl WorkerPool {
    /// Settings, all with defaults: as many workers as the machine has processors, and twice as many places in the queue.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }

    fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Submits a task, waiting for room if there is none; its result comes by the handle.
    ///
    /// The task runs in the submitter's [`Context`](crate::sync::Context), if there is one; whether it also ends with it is
    /// the pool's setting [`tied`](PoolBuilder::tied).
    ///
    /// # Errors
    /// The pool is closed, or the current context has ended. The future comes back in the error.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has submitted nothing.
    #[inline]
    pub fn submit<F>(&self, future: F) -> Submit<'_, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Submit::new(&self.shared, future, None, Plain(()))
    }

    /// As [`submit`](Self::submit), waiting at most `limit` for room.
    ///
    /// # Errors
    /// As `submit`; also there was no room within the limit.
    ///
    /// # Cancel safety
    /// As `submit`.
    pub fn submit_timeout<F>(&self, future: F, limit: Duration) -> Submit<'_, F>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        Submit::new(&self.shared, future, Some(limit), Plain(()))
    }

    /// Submits a task if there is room now, and nobody waits for it.
    ///
    /// # Errors
    /// There is no room, the pool is closed, or the current context has ended. The future comes back in the error.
    #[inline]
    pub fn try_submit<F>(&self, future: F) -> Result<JoinHandle<F::Output>, SubmitError<F>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.try_submit::<F, Joined, _>(future, &Plain(()))
    }

    /// As [`submit`](Self::submit), for a task whose end is of no interest: there is no handle, and a small future needs
    /// no memory of its own. A panic of it is counted, and shown to the pool's panic handler.
    ///
    /// # Errors
    /// As `submit`.
    ///
    /// # Cancel safety
    /// As `submit`.
    #[inline]
    pub fn execute<F>(&self, future: F) -> Submit<'_, F, Detached>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Submit::new(&self.shared, future, None, Plain(()))
    }

    /// As [`execute`](Self::execute), waiting at most `limit` for room.
    ///
    /// # Errors
    /// As [`submit_timeout`](Self::submit_timeout).
    ///
    /// # Cancel safety
    /// As `submit`.
    pub fn execute_timeout<F>(&self, future: F, limit: Duration) -> Submit<'_, F, Detached>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Submit::new(&self.shared, future, Some(limit), Plain(()))
    }

    /// As [`try_submit`](Self::try_submit), without a handle.
    ///
    /// # Errors
    /// As `try_submit`.
    #[inline]
    pub fn try_execute<F>(&self, future: F) -> Result<(), SubmitError<F>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.shared.try_submit::<F, Detached, _>(future, &Plain(()))
    }

    /// Submits many tasks, waiting for room whenever there is none; their results come by the handles, in the order of the
    /// iterator.
    ///
    /// As many tasks as there is room for, up to 64, are taken in at once, for little more than the price of one. While there is
    /// room they are not mixed with the tasks of others.
    ///
    /// # Errors
    /// The pool is closed, or the current context has ended. The error has the handles of those accepted before, the tasks that
    /// were taken from the iterator and not accepted, and the rest of the iterator.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, what was accepted so far runs on, without handles; up to 64 tasks that were taken from the
    /// iterator and not accepted yet are dropped.
    pub fn submit_all<I>(&self, futures: I) -> SubmitAll<'_, I::IntoIter, Joined>
    where
        I: IntoIterator,
        I::Item: Future + Send + 'static,
        <I::Item as Future>::Output: Send + 'static,
    {
        SubmitAll::new(&self.shared, futures.into_iter())
    }

    /// As [`submit_all`](Self::submit_all), for tasks whose ends are of no interest: they have no handles, and small futures
    /// need no memory of their own. The result is one unit for each.
    ///
    /// # Errors
    /// As `submit_all`.
    ///
    /// # Cancel safety
    /// As `submit_all`.
    pub fn execute_all<I>(&self, futures: I) -> SubmitAll<'_, I::IntoIter, Detached>
    where
        I: IntoIterator,
        I::Item: Future<Output = ()> + Send + 'static,
    {
        SubmitAll::new(&self.shared, futures.into_iter())
    }

    /// A task to be submitted with options of its own: priority, queue, delay, expiry, limits. They need a
    /// [managed](PoolBuilder::managed) pool.
    ///
    /// ```
    /// use cofferdam::pool::{Priority, WorkerPool};
    /// use std::time::Duration;
    ///
    /// # futures_executor::block_on(async {
    /// let (pool, workers) = WorkerPool::builder().workers(4).managed().build().unwrap();
    /// let work = async {
    ///     let task = pool.task(async { "sent" }).priority(Priority::High).expires_in(Duration::from_secs(5));
    ///     assert_eq!(task.submit().await.unwrap().await.unwrap(), "sent");
    ///     pool.drain().await
    /// };
    /// futures_util::future::join(work, workers.into_future()).await;
    /// # });
    /// # use std::future::IntoFuture;
    /// ```
    pub fn task<F>(&self, future: F) -> PoolTask<'_, F> {
        PoolTask::new(&self.shared, future)
    }

    /// Takes in no more tasks; what is queued still runs, delayed tasks at their time, and then the workers end. False if that was so already.
    ///
    /// Every submission that was accepted before this returns runs, every later one is refused, and those who wait for
    /// room are told.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Closes the pool, when first polled, and waits until all that was accepted has come to its end, however long that
    /// takes.
    ///
    /// Anybody may wait, at any time, any number of times: all get the same report.
    ///
    /// # Cancel safety
    /// Dropping it gives up waiting; the pool stays closed.
    pub fn drain(&self) -> Shutdown {
        Shutdown::new(Arc::clone(&self.shared), None)
    }

    /// Closes the pool, when first polled, and gives it `limit` to finish. Then it drops what is still queued, and cancels
    /// what runs: each such task is dropped in place of its next poll, and waited for. Their handles are told.
    ///
    /// Several may call it; the earliest limit counts, and all get the same report, which says what was cut off.
    ///
    /// # Cancel safety
    /// Dropping it gives up waiting, and with it this limit; the pool stays closed.
    pub fn shutdown(&self, limit: Duration) -> Shutdown {
        Shutdown::new(Arc::clone(&self.shared), Some(limit))
    }

    /// Whether the pool takes in no more tasks.
    pub fn is_closed(&self) -> bool {
        self.shared.backlog.is_closed()
    }

    /// Whether the pool is closed and has not finished what it has taken in.
    pub fn is_draining(&self) -> bool {
        self.is_closed() && self.shared.end.lock().report.is_none()
    }

    /// The books.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// What the [queue](NamedQueue) of that name holds; the empty name is that of tasks that name none. `None` if there is no such
    /// queue, or the pool is not [managed](PoolBuilder::managed).
    pub fn queue_stats(&self, queue: &str) -> Option<QueueStats> {
        self.shared.backlog.managed()?.queue_stats(queue)
    }

    /// Places in the queue: 0 without a queue, `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity(0)
    }

    // The books, whether it is closed, and its capacity: no handle, which would keep it open.
    crate::observe::watchable!(shared, [], (PoolStats, bool, Option<usize>), |shared| {
        (shared.stats(), shared.backlog.is_closed(), shared.capacity(0))
    });

    /// The name.
    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }
}

impl Clone for WorkerPool {
    fn clone(&self) -> Self {
        // Relaxed: whoever clones holds a handle, so that the count is not at its end.
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        // ORDERING: AcqRel: what was submitted by any handle comes before the close by the last.
        if self.shared.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.close();
        }
    }
}

impl fmt::Debug for WorkerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WorkerPool");
        out.field("name", &self.name()).field("capacity", &self.capacity());
        if let Some(stats) = self.shared.try_stats() {
            out.field("stats", &stats);
        }
        out.finish_non_exhaustive()
    }
}

/// A panic in a task, as the pool's panic handler sees it.
#[derive(Clone, Copy)]
pub struct TaskPanic<'a> {
    pool: &'a str,
    task: TaskId,
    payload: &'a (dyn Any + Send),
}

impl<'a> TaskPanic<'a> {
    /// The name of the pool.
    pub fn pool(&self) -> &'a str {
        self.pool
    }

    /// The number of the task.
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The text of the panic, if it has one. (Where it happened is known to the process's panic hook alone.)
    pub fn message(&self) -> Option<&'a str> {
        error::message(self.payload)
    }

    /// What the task panicked with.
    pub fn payload(&self) -> &'a (dyn Any + Send) {
        self.payload
    }
}

impl fmt::Debug for TaskPanic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPanic")
            .field("pool", &self.pool)
            .field("task", &self.task)
            .field("message", &self.message())
            .finish_non_exhaustive()
    }
}
