//! The settings of a pool.

#![forbid(unsafe_code)]

use super::backlog::Backlog;
use super::carry::Carry;
use super::crew::MAX_WORKERS;
use super::event::PoolEvent;
use super::ledger::Ledger;
use super::shared::{OnPanic, Settings, Shared};
use super::worker::Worker;
use super::wrap::Wrapper;
use super::{TaskFuture, TaskPanic, WorkerPool, Workers};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::shim;
use crate::sync::ring::Ring;
use crate::sync::{Context, channel_on};
use crate::task::Spawn;
use crate::time::Clock;
use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

const COMPONENT: &str = "worker pool";

/// Makes a [`WorkerPool`]; see [`WorkerPool::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    workers: usize,
    queue: Queue,
    name: Arc<str>,
    clock: Clock,
    task_timeout: Duration,
    tied: bool,
    base: Option<Context>,
    on_panic: Option<OnPanic>,
    carry: Carry,
    wrapper: Option<Wrapper>,
    observers: Vec<Arc<dyn Observe<PoolEvent>>>,
    reports: Option<usize>,
    history: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Queue {
    TwicePerWorker,
    Bounded(usize),
    Unbounded,
}

impl PoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            workers: 0,
            queue: Queue::TwicePerWorker,
            name: COMPONENT.into(),
            clock: Clock::system(),
            task_timeout: Duration::ZERO,
            tied: false,
            base: None,
            on_panic: None,
            carry: Carry::default(),
            wrapper: None,
            observers: Vec::new(),
            reports: None,
            history: None,
        }
    }

    /// How many tasks can run at a time. 0, the default, is the parallelism of the machine.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many tasks can wait for a worker; by default twice as many as there are workers. 0 is a pool without a queue:
    /// it takes in a task only when there is a worker free to run it.
    pub fn queue(mut self, capacity: usize) -> Self {
        self.queue = Queue::Bounded(capacity);
        self
    }

    /// A queue without a bound: submitting never waits, and nothing but the caller keeps it from growing until the memory
    /// is full. It is a list under a lock, slower than the bounded queue.
    pub fn unbounded(mut self) -> Self {
        self.queue = Queue::Unbounded;
        self
    }

    /// The name that errors and `Debug` show; by default "worker pool".
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// The clock of the limits; by default the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How long a task may run, from the moment its worker begins it. 0, the default, is no limit. A task that is over
    /// the limit is dropped at the await where it stands; one that never awaits cannot be stopped.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = limit;
        self
    }

    /// Whether a task ends with the context in which it was submitted. By default it does not: an accepted task is
    /// detached, sees the values of that context, and goes on when its submitter's request is cancelled or out of time. A
    /// tied task is then dropped, or never begun, and its handle is told why.
    ///
    /// In both cases a context that has already ended cannot submit.
    pub fn tied(mut self, tied: bool) -> Self {
        self.tied = tied;
        self
    }

    /// The pool's own context: tasks that were submitted outside any context run in it, and when it ends, the pool does,
    /// as by a [`shutdown`](WorkerPool::shutdown) without time.
    pub fn context(mut self, context: Context) -> Self {
        self.base = Some(context);
        self
    }

    /// Sees every panic of a task, on the worker's thread, before the task's handle does. A panic of its own is ignored.
    pub fn on_panic(mut self, handler: impl Fn(&TaskPanic<'_>) + Send + Sync + 'static) -> Self {
        self.on_panic = Some(Arc::new(handler));
        self
    }

    /// Does something around each task: `wrap` makes a future of it, which may do this and that before and after, and
    /// enter what it likes around each poll. It gets the task when a worker first takes it up, in the task's context, and
    /// its future is what the worker runs: the limit of a task, its cancellation and its panics are those of that future.
    ///
    /// A task that it does not bring to its end is cancelled. A second call replaces the first. Each task then costs
    /// three allocations more.
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    ///
    /// let builder = WorkerPool::builder().wrap(|task| async move {
    ///     // Here a log line, a span, a measurement.
    ///     task.await;
    /// });
    /// # drop(builder);
    /// ```
    pub fn wrap<W, F>(mut self, wrap: W) -> Self
    where
        W: Fn(TaskFuture) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.wrapper = Some(Arc::new(move |task| Box::pin(wrap(task))));
        self
    }

    /// Lets tasks see only values of these types of their submitter's context; none at all, if the list is empty. By
    /// default they see all.
    pub fn carry_only(mut self, types: &[TypeId]) -> Self {
        self.carry = Carry::Only(types.into());
        self
    }

    /// Adds an observer of the pool's [events](PoolEvent): it is called on the thread that submits or runs the task, and
    /// a slow one slows the pool down. For those who want to look from elsewhere there are [`reports`](Self::reports).
    pub fn observer(mut self, observer: impl Observe<PoolEvent>) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Keeps a report of each task's end until somebody takes it from [`WorkerPool::reports`], or until there are more than
    /// `capacity`: then the oldest gives way, and is counted. Workers never wait for readers.
    pub fn reports(mut self, capacity: usize) -> Self {
        self.reports = Some(capacity);
        self
    }

    /// Keeps the status of each task by its number: of all that have not ended, and of the last `capacity` that have. It
    /// also gives each task a context of its own, by which it can be [cancelled](WorkerPool::cancel) by its number.
    ///
    /// Each step of a task then takes a lock, and a task costs three allocations more.
    pub fn history(mut self, capacity: usize) -> Self {
        self.history = Some(capacity);
        self
    }

    /// What the pool notes of its tasks, if it notes anything.
    fn ledger(&self) -> Result<Option<Box<Ledger>>, ConfigError> {
        if self.observers.is_empty() && self.reports.is_none() && self.history.is_none() {
            return Ok(None);
        }
        let reports = match self.reports {
            None => None,
            Some(0) => return Err(ConfigError::new(COMPONENT, "reports", 0, "must be at least 1")),
            Some(capacity) => match channel_on(self.clock.clone(), capacity) {
                Ok(ends) => Some(ends),
                Err(_) => {
                    return Err(ConfigError::new(COMPONENT, "reports", capacity, "must fit into memory"));
                }
            },
        };
        let observers = Observers::new();
        for observer in &self.observers {
            let observer = Arc::clone(observer);
            observers.add(move |event: &PoolEvent| observer.observe(event));
        }
        Ok(Some(Box::new(Ledger::new(observers, reports, self.history))))
    }

    /// The pool, and the workers that the caller must see polled.
    ///
    /// # Errors
    /// More than 65,535 workers, no place for reports, or no memory for the queue or the reports.
    pub fn build(self) -> Result<(WorkerPool, Workers), ConfigError> {
        let workers = match self.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_WORKERS),
            workers => workers,
        };
        if workers > MAX_WORKERS {
            return Err(ConfigError::new(COMPONENT, "workers", workers, "must be at most 65535"));
        }
        let backlog = match self.queue {
            Queue::Unbounded => Backlog::unbounded(),
            Queue::TwicePerWorker => bounded(workers * 2)?,
            // On its way from the submitter to a free worker a task still is somewhere.
            Queue::Bounded(0) => bounded(workers)?,
            Queue::Bounded(capacity) => bounded(capacity)?,
        };
        let ledger = self.ledger()?;
        let settings = Settings {
            name: self.name,
            clock: self.clock,
            task_timeout: (!self.task_timeout.is_zero()).then_some(self.task_timeout),
            tied: self.tied,
            base: self.base,
            on_panic: self.on_panic,
            carry: self.carry,
            wrapper: self.wrapper,
            ledger,
        };
        let handover = matches!(self.queue, Queue::Bounded(0));
        let shared = shim::Arc::new(Shared::new(backlog, workers, handover, settings));
        let futures: Vec<_> =
            (0..workers).map(|index| Worker::new(shim::Arc::clone(&shared), index)).collect();
        Ok((WorkerPool::new(shared), Workers(futures.into_iter())))
    }

    /// [`build`](Self::build), with each worker given to an executor.
    ///
    /// # Errors
    /// As `build`.
    pub fn start(self, spawner: &(impl Spawn + ?Sized)) -> Result<WorkerPool, ConfigError> {
        let (pool, workers) = self.build()?;
        workers.spawn_on(spawner);
        Ok(pool)
    }
}

fn bounded(capacity: usize) -> Result<Backlog, ConfigError> {
    let ring = NonZeroUsize::new(capacity).and_then(|capacity| Ring::new(capacity).ok());
    ring.map(Backlog::Bounded)
        .ok_or_else(|| ConfigError::new(COMPONENT, "queue", capacity, "must fit into memory"))
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("workers", &self.workers)
            .field("queue", &self.queue)
            .field("name", &self.name)
            .field("clock", &self.clock)
            .field("task_timeout", &self.task_timeout)
            .field("tied", &self.tied)
            .field("base", &self.base)
            .field("on_panic", &self.on_panic.is_some())
            .field("carry", &self.carry)
            .field("wrap", &self.wrapper.is_some())
            .field("observers", &self.observers.len())
            .field("reports", &self.reports)
            .field("history", &self.history)
            .finish()
    }
}
