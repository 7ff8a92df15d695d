//! The settings of a pool.

#![forbid(unsafe_code)]

use super::backlog::Backlog;
use super::carry::Carry;
use super::crew::MAX_WORKERS;
use super::event::PoolEvent;
use super::ledger::Ledger;
use super::load::Both;
use super::managed::{LaneSpec, Managed, Scaler, Spec};
use super::named::NamedQueue;
use super::retry::Letters;
use super::shared::{OnPanic, Settings, Shared};
use super::worker::Worker;
use super::wrap::Wrapper;
use super::{TaskFuture, TaskPanic, WorkerPool, Workers};
use crate::ConfigError;
use crate::observe::{Observe, Observers};
use crate::shim;
use crate::sync::ring::Ring;
use crate::sync::{Context, channel_on};
use crate::task::{Carrier, Spawn};
use crate::time::Clock;
use std::any::TypeId;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

const COMPONENT: &str = "worker pool";
const SCALE_AFTER: Duration = Duration::from_millis(100);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes a [`WorkerPool`]; see [`WorkerPool::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    workers: Crew,
    queue: Queue,
    /// The settings of a managed backlog, if there is to be one.
    managed: Option<Managing>,
    scale_after: Option<Duration>,
    idle_timeout: Option<Duration>,
    name: Arc<str>,
    clock: Clock,
    task_timeout: Duration,
    tied: bool,
    base: Option<Context>,
    on_panic: Option<OnPanic>,
    carry: Carry,
    carrier: Option<Arc<dyn Carrier>>,
    wrapper: Option<Wrapper>,
    observers: Vec<Arc<dyn Observe<PoolEvent>>>,
    observed: bool,
    reports: Option<usize>,
    history: Option<usize>,
    dead_letters: usize,
}

#[derive(Clone, Copy, Debug)]
enum Crew {
    /// 0 for the parallelism of the machine.
    Fixed(usize),
    Between(usize, usize),
}

#[derive(Clone, Debug)]
struct Managing {
    ageing: Duration,
    queues: Vec<NamedQueue>,
}

impl Default for Managing {
    fn default() -> Self {
        Self { ageing: Duration::from_secs(10), queues: Vec::new() }
    }
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
            workers: Crew::Fixed(0),
            queue: Queue::TwicePerWorker,
            managed: None,
            scale_after: None,
            idle_timeout: None,
            name: COMPONENT.into(),
            clock: Clock::system(),
            task_timeout: Duration::ZERO,
            tied: false,
            base: None,
            on_panic: None,
            carry: Carry::default(),
            carrier: None,
            wrapper: None,
            observers: Vec::new(),
            observed: false,
            reports: None,
            history: None,
            dead_letters: 1000,
        }
    }

    /// How many tasks can run at a time. 0, the default, is the parallelism of the machine.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Crew::Fixed(workers);
        self
    }

    /// A number of workers that follows the load: `min` at first, and never fewer; one more each time that all are busy and
    /// a task has waited for [`scale_after`](Self::scale_after), up to `max`; one less each time that one has been idle for
    /// [`idle_timeout`](Self::idle_timeout). It is [managed](Self::managed), and needs
    /// [`start_owned`](Self::start_owned). The default queue has twice `max` places.
    ///
    /// Workers are cheap where they only await: a fixed number is simpler, unless a worker is a thread or holds something.
    pub fn workers_between(mut self, min: usize, max: usize) -> Self {
        self.workers = Crew::Between(min, max);
        self
    }

    /// How long a task waits, all workers being busy, before there is one more; by default 100 ms. 0 adds one at once. For
    /// [`workers_between`](Self::workers_between).
    pub fn scale_after(mut self, age: Duration) -> Self {
        self.scale_after = Some(age);
        self
    }

    /// How long a worker is idle before it ends; by default a minute. For [`workers_between`](Self::workers_between).
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle_timeout = Some(limit);
        self
    }

    /// A managed queue, which knows priorities, named queues, delays, expiry and limits for single tasks: see
    /// [`WorkerPool::task`](WorkerPool::task). It is a few lists under a lock and looks at the clock for each task, and so is
    /// slower than the plain bounded queue, which is a ring without a lock.
    ///
    /// Delayed tasks take places of the queue, so that it is bounded all the same. A closed pool still runs them at their
    /// time, and ends after the last; [`shutdown`](WorkerPool::shutdown) drops those that are not due within its limit.
    pub fn managed(mut self) -> Self {
        self.managed.get_or_insert_default();
        self
    }

    /// How long a wait is worth one class of [`Priority`](super::Priority); by default 10 s. The pool is then
    /// [managed](Self::managed).
    ///
    /// The next task is the one with the least *since* + *ageing* × (classes above its own), where *since* is when it was
    /// accepted or became due: a task that has waited `ageing` longer than another counts as one class higher, so none
    /// starves. Within a class it is first come, first served. [`Duration::MAX`] makes classes strict.
    pub fn ageing(mut self, ageing: Duration) -> Self {
        self.managed.get_or_insert_default().ageing = ageing;
        self
    }

    /// One more queue, with its own places and width. The pool is then [managed](Self::managed).
    pub fn named_queue(mut self, queue: NamedQueue) -> Self {
        self.managed.get_or_insert_default().queues.push(queue);
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
    /// A task that it does not bring to its end is cancelled. A second call replaces the first. A task then costs five
    /// allocations more.
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

    /// Lets go along with each task what `carrier` finds to be current where it is submitted, and the task run amid that: a
    /// span, a context of tracing. It is asked by whoever submits, in whatever way, also many at once; a task that is delayed
    /// or repeated keeps what it was given, one that is [requeued](super::DeadLetters::requeue) gets what is current there.
    /// A second call adds another one, inside the first. (The crate's own context goes along by itself.)
    ///
    /// With the feature `tracing` there is a ready-made one, `TracingCarrier`, with `opentelemetry` `OpenTelemetryCarrier`.
    ///
    /// A task then costs two allocations more (one if what is carried has no size), and batches go in one by one.
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    ///
    /// thread_local!(static TENANT: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    ///
    /// let builder = WorkerPool::builder().carry(|| {
    ///     let tenant = TENANT.get();
    ///     move |poll: &mut dyn FnMut()| {
    ///         let before = TENANT.replace(tenant);
    ///         poll();
    ///         TENANT.set(before);
    ///     }
    /// });
    /// # drop(builder);
    /// ```
    pub fn carry(mut self, carrier: impl Carrier) -> Self {
        let carrier: Arc<dyn Carrier> = Arc::new(carrier);
        self.carrier = Some(match self.carrier {
            None => carrier,
            Some(outer) => Arc::new(Both(outer, carrier)),
        });
        self
    }

    /// Adds an observer of the pool's [events](PoolEvent): it is called on the thread that submits or runs the task, and
    /// a slow one slows the pool down. For those who want to look from elsewhere there are [`reports`](Self::reports). Each
    /// step of a task then takes a lock, and a task costs an allocation more.
    pub fn observer(mut self, observer: impl Observe<PoolEvent>) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Lets observers be added later, by way of [`WorkerPool::observers`]. From the first one on it costs what an
    /// [`observer`](Self::observer) costs, and until then next to nothing. Tasks that came before him are not told of.
    ///
    /// Telemetry that watches the pool then has its durations, too. Without a log to write that is no observer: a task costs a look
    /// at the clock as it is submitted, one as it begins and one as it ends, which serves for the beginning of the next if there is
    /// one; and no lock and no allocation.
    pub fn observed(mut self) -> Self {
        self.observed = true;
        self
    }

    /// Keeps a report of each task's end until somebody takes it from [`WorkerPool::reports`], or until there are more than
    /// `capacity`: then the oldest gives way, and is counted. Workers never wait for readers. A task costs an allocation more.
    pub fn reports(mut self, capacity: usize) -> Self {
        self.reports = Some(capacity);
        self
    }

    /// Keeps the status of each task by its number: of all that have not ended, and of the last `capacity` that have. It
    /// also gives each task a context of its own, by which it can be [cancelled](WorkerPool::cancel) by its number.
    ///
    /// Each step of a task then takes a lock, and a task costs two allocations more.
    pub fn history(mut self, capacity: usize) -> Self {
        self.history = Some(capacity);
        self
    }

    /// How many tasks are kept that [were given up](super::DeadLetter), the newest ones; by default 1,000. 0 keeps none.
    pub fn dead_letters(mut self, capacity: usize) -> Self {
        self.dead_letters = capacity;
        self
    }

    /// What the pool notes of its tasks, if it notes anything.
    fn ledger(&self) -> Result<Option<Box<Ledger>>, ConfigError> {
        let observed = self.observed || !self.observers.is_empty();
        if !observed && self.reports.is_none() && self.history.is_none() {
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
        Ok(Some(Box::new(Ledger::new(observers, reports, self.history, self.clock.clone()))))
    }

    /// The pool, and the workers that the caller must see polled.
    ///
    /// # Errors
    /// * More than 65,535 workers, no place for reports, or no memory for the queue or the reports.
    /// * A number of workers that changes: see [`start_owned`](Self::start_owned).
    /// * A managed pool without a queue; an ageing of 0; a named queue without width or places, or of a name that is taken.
    /// * Settings for a number of workers that changes, if it does not.
    pub fn build(self) -> Result<(WorkerPool, Workers), ConfigError> {
        if let Crew::Between(min, max) = self.workers {
            let bounds = format!("{min} to {max}");
            return Err(ConfigError::new(
                COMPONENT,
                "workers_between",
                bounds,
                "needs `start_owned`: all of a pair are there from the start",
            ));
        }
        self.assemble()
    }

    fn assemble(self) -> Result<(WorkerPool, Workers), ConfigError> {
        let (workers, most) = self.crew()?;
        let backlog = match self.queue {
            _ if self.managed.is_some() || workers != most => self.managed_backlog(workers, most)?,
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
            has_terms: !self.task_timeout.is_zero() || backlog.managed().is_some(),
            idle_timeout: (workers != most).then(|| self.idle_timeout.unwrap_or(IDLE_TIMEOUT)),
            task_timeout: (!self.task_timeout.is_zero()).then_some(self.task_timeout),
            tied: self.tied,
            base: self.base,
            on_panic: self.on_panic,
            carry: self.carry,
            carrier: self.carrier,
            wrapper: self.wrapper,
            ledger,
            letters: Letters::new(self.dead_letters),
        };
        let handover = matches!(self.queue, Queue::Bounded(0));
        let shared = shim::Arc::new(Shared::new(backlog, most, workers, handover, settings));
        let futures: Vec<_> =
            (0..workers).map(|index| Worker::new(shim::Arc::clone(&shared), index)).collect();
        Ok((WorkerPool::new(shared), Workers(futures.into_iter())))
    }

    /// How many workers there are at first, and at most.
    fn crew(&self) -> Result<(usize, usize), ConfigError> {
        let (min, max) = match self.workers {
            Crew::Between(min, max) => (min, max),
            Crew::Fixed(workers) => {
                let knobs = [("scale_after", self.scale_after), ("idle_timeout", self.idle_timeout)];
                for (knob, value) in knobs {
                    if let Some(value) = value {
                        let value = format!("{value:?}");
                        return Err(ConfigError::new(COMPONENT, knob, value, "needs `workers_between`"));
                    }
                }
                let workers = match workers {
                    0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_WORKERS),
                    workers => workers,
                };
                (workers, workers)
            }
        };
        if max > MAX_WORKERS {
            return Err(ConfigError::new(COMPONENT, "workers", max, "must be at most 65535"));
        }
        if min == 0 || min > max {
            let bounds = format!("{min} to {max}");
            return Err(ConfigError::new(
                COMPONENT,
                "workers_between",
                bounds,
                "must be 1 at least, and in order",
            ));
        }
        Ok((min, max))
    }

    fn managed_backlog(&self, min: usize, max: usize) -> Result<Backlog, ConfigError> {
        let capacity = match self.queue {
            Queue::TwicePerWorker => max * 2,
            Queue::Bounded(capacity) => capacity,
            Queue::Unbounded => usize::MAX,
        };
        let managing = self.managed.clone().unwrap_or_default();
        if managing.ageing.is_zero() {
            return Err(ConfigError::new(COMPONENT, "ageing", "0ns", "must be above zero"));
        }
        let mut lanes = vec![LaneSpec { name: "".into(), width: usize::MAX, capacity }];
        for queue in managing.queues {
            let taken = lanes.iter().any(|lane| lane.name == queue.name);
            if taken || lanes.len() > usize::from(u16::MAX) {
                return Err(ConfigError::new(
                    COMPONENT,
                    "named_queue",
                    queue.name,
                    "must have a name of its own",
                ));
            }
            if queue.width == 0 {
                return Err(ConfigError::new(COMPONENT, "width", 0, "must be above zero"));
            }
            let capacity = queue.capacity.unwrap_or(capacity);
            lanes.push(LaneSpec { name: queue.name, width: queue.width, capacity });
        }
        if let Some(lane) = lanes.iter().find(|lane| lane.capacity == 0) {
            let knob = if lane.name.is_empty() { "queue" } else { "capacity" };
            return Err(ConfigError::new(COMPONENT, knob, 0, "must be above zero in a managed pool"));
        }
        let scale_after = self.scale_after.unwrap_or(SCALE_AFTER);
        let spec = Spec { lanes, ageing: managing.ageing, workers: (min, max), scale_after };
        Managed::new(spec, self.clock.clone())
            .map(|managed| Backlog::Managed(Box::new(managed)))
            .ok_or_else(|| ConfigError::new(COMPONENT, "queue", capacity, "must fit into memory"))
    }

    /// [`build`](Self::build), with each worker given to an executor, which is kept to start more of them: for
    /// [`workers_between`](Self::workers_between).
    ///
    /// # Errors
    /// As `build`; also bounds that are not in order, or a least of 0.
    pub fn start_owned(self, spawner: impl Spawn + 'static) -> Result<WorkerPool, ConfigError> {
        let scales = matches!(self.workers, Crew::Between(..));
        let (pool, workers) = self.assemble()?;
        workers.spawn_on(&spawner);
        if scales {
            let spawner: Arc<dyn Spawn> = Arc::new(spawner);
            let scaler = Scaler::new(shim::Arc::clone(&pool.shared), Arc::clone(&spawner));
            spawner.spawn(Box::pin(scaler));
        }
        Ok(pool)
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
            .field("managed", &self.managed)
            .field("scale_after", &self.scale_after)
            .field("idle_timeout", &self.idle_timeout)
            .field("name", &self.name)
            .field("clock", &self.clock)
            .field("task_timeout", &self.task_timeout)
            .field("tied", &self.tied)
            .field("base", &self.base)
            .field("on_panic", &self.on_panic.is_some())
            .field("carry", &self.carry)
            .field("carrier", &self.carrier.is_some())
            .field("wrap", &self.wrapper.is_some())
            .field("observers", &self.observers.len())
            .field("reports", &self.reports)
            .field("history", &self.history)
            .field("dead_letters", &self.dead_letters)
            .finish()
    }
}
