//! The settings of a pool.

#![forbid(unsafe_code)]

use super::backlog::Backlog;
use super::crew::MAX_WORKERS;
use super::shared::{OnPanic, Settings, Shared};
use super::worker::Worker;
use super::{TaskPanic, WorkerPool, Workers};
use crate::ConfigError;
use crate::shim;
use crate::sync::Context;
use crate::sync::ring::Ring;
use crate::task::Spawn;
use crate::time::Clock;
use std::fmt;
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

    /// The pool, and the workers that the caller must see polled.
    ///
    /// # Errors
    /// More than 65,535 workers, or a queue for which there is no memory.
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
        let settings = Settings {
            name: self.name,
            clock: self.clock,
            task_timeout: (!self.task_timeout.is_zero()).then_some(self.task_timeout),
            tied: self.tied,
            base: self.base,
            on_panic: self.on_panic,
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
            .finish()
    }
}
