//! One task with options of its own.

#![forbid(unsafe_code)]

use super::error::SubmitError;
use super::handle::JoinHandle;
use super::managed::{Managed, Terms};
use super::shared::Shared;
use super::submit::{Arranged, Detached, Fault, Joined, Submit};
use crate::shim::Arc;
use crate::sync::Priority;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

/// A task on its way into a pool, with options of its own; see [`WorkerPool::task`](super::WorkerPool::task).
///
/// The options need a [managed](super::PoolBuilder::managed) pool: any other refuses a task that has one, with an error
/// that [says so](SubmitError::is_unsupported), and takes a task that has none.
///
/// Durations count from the call of `submit`, `execute` or one of their kin, not from the moment at which there is room.
#[derive(Clone)]
#[must_use = "a task is not submitted until `submit`, `execute` or one of their kin is called"]
pub struct PoolTask<'a, F> {
    shared: &'a Arc<Shared>,
    future: F,
    options: Options,
}

#[derive(Clone, Debug, Default)]
struct Options {
    priority: Priority,
    queue: Option<Box<str>>,
    due: Option<When>,
    expires: Option<When>,
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    /// It goes back into the queue between its attempts.
    comes_back: bool,
}

#[derive(Clone, Copy, Debug)]
enum When {
    In(Duration),
    At(Instant),
}

impl When {
    fn instant(self, now: Instant) -> Option<Instant> {
        match self {
            Self::In(duration) => now.checked_add(duration),
            Self::At(instant) => Some(instant),
        }
    }
}

impl<'a, F> PoolTask<'a, F> {
    pub(super) fn new(shared: &'a Arc<Shared>, future: F) -> Self {
        Self { shared, future, options: Options::default() }
    }

    /// Of a task that goes back into the queue between its attempts.
    pub(super) fn retrying(shared: &'a Arc<Shared>, future: F) -> Self {
        let options = Options { comes_back: true, ..Options::default() };
        Self { shared, future, options }
    }

    /// Its class; by default [`Priority::Normal`]. Which task is next is told by class and by how long they have waited:
    /// see [`PoolBuilder::ageing`](super::PoolBuilder::ageing).
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// The [named queue](super::PoolBuilder::named_queue) that it is for; by default the pool's own.
    pub fn queue(mut self, name: &str) -> Self {
        self.options.queue = Some(name.into());
        self
    }

    /// It is not begun before that time has passed. Until then it has a place in its queue, and no worker.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.due = Some(When::In(delay));
        self
    }

    /// As [`delay`](Self::delay): it is not begun before that instant.
    pub fn at(mut self, instant: Instant) -> Self {
        self.options.due = Some(When::At(instant));
        self
    }

    /// It is not begun once that time has passed. If its turn comes later than that, it ends as
    /// [expired](super::JoinError::is_expired); if that happens while it waits for room, or it was to be delayed for
    /// longer, it is [refused](SubmitError::is_expired).
    pub fn expires_in(mut self, limit: Duration) -> Self {
        self.options.expires = Some(When::In(limit));
        self
    }

    /// As [`expires_in`](Self::expires_in): it is not begun from that instant on.
    pub fn expires_at(mut self, instant: Instant) -> Self {
        self.options.expires = Some(When::At(instant));
        self
    }

    /// How long it may run, from the moment its worker begins it, in place of the
    /// [pool's limit](super::PoolBuilder::task_timeout); 0 is no limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.timeout = Some(limit);
        self
    }

    /// It must be over by that instant: from then on it is not begun, and if it runs then it is dropped, as one is that
    /// has [run for too long](super::JoinError::is_timeout). A shorter [`timeout`](Self::timeout) or
    /// [expiry](Self::expires_in) is not affected.
    pub fn deadline(mut self, instant: Instant) -> Self {
        self.options.deadline = Some(instant);
        self
    }

    pub(super) fn arrange(self) -> (&'a Shared, F, Arranged) {
        let Self { shared, future, options } = self;
        let arranged = match shared.backlog.managed() {
            Some(managed) => options.arrange(managed, shared),
            None => {
                let fault = options.is_set().then_some(Fault::Unmanaged);
                Arranged { terms: Terms::default(), fault, expires: None, pool: None }
            }
        };
        (shared, future, arranged)
    }
}

impl Options {
    fn is_set(&self) -> bool {
        self.priority != Priority::Normal
            || self.queue.is_some()
            || self.due.is_some()
            || self.expires.is_some()
            || self.deadline.is_some()
            || self.timeout.is_some()
            || self.comes_back
    }

    fn arrange(self, managed: &Managed, shared: &Arc<Shared>) -> Arranged {
        let now = managed.epoch().clock().now();
        let nanos = |at: Instant| managed.epoch().nanos_at(at);
        // A time past the end of time never comes.
        let due = self.due.map_or(0, |due| due.instant(now).map_or(u64::MAX, nanos));
        let expires = self.expires.and_then(|expires| expires.instant(now));
        let expires = [expires, self.deadline].into_iter().flatten().min();
        let (lane, unknown) = match self.queue {
            None => (0, None),
            Some(name) => match managed.lane(&name) {
                Some(lane) => (lane, None),
                None => (0, Some(Fault::NoSuchQueue(name))),
            },
        };
        let terms = Terms {
            priority: self.priority,
            lane,
            due,
            expires: expires.map_or(u64::MAX, nanos),
            deadline: self.deadline.map_or(u64::MAX, nanos),
            timeout: self.timeout,
        };
        let in_vain = (terms.expires != u64::MAX && terms.due >= terms.expires).then_some(Fault::Expired);
        let pool = (terms.due != 0).then(|| Arc::clone(shared));
        Arranged { terms, fault: unknown.or(in_vain), expires, pool }
    }
}

impl<'a, F> PoolTask<'a, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    /// As [`WorkerPool::submit`](super::WorkerPool::submit).
    ///
    /// # Errors
    /// As there; also the task has expired, or the pool cannot do what was asked for.
    ///
    /// # Cancel safety
    /// As there.
    pub fn submit(self) -> Submit<'a, F, Joined, Arranged> {
        let (shared, future, way) = self.arrange();
        Submit::new(shared, future, None, way)
    }

    /// As [`WorkerPool::submit_timeout`](super::WorkerPool::submit_timeout).
    ///
    /// # Errors
    /// As [`submit`](Self::submit); also there was no room within the limit.
    ///
    /// # Cancel safety
    /// As there.
    pub fn submit_timeout(self, limit: Duration) -> Submit<'a, F, Joined, Arranged> {
        let (shared, future, way) = self.arrange();
        Submit::new(shared, future, Some(limit), way)
    }

    /// As [`WorkerPool::try_submit`](super::WorkerPool::try_submit).
    ///
    /// # Errors
    /// As [`submit`](Self::submit); also there is no room.
    pub fn try_submit(self) -> Result<JoinHandle<F::Output>, SubmitError<F>> {
        let (shared, future, way) = self.arrange();
        shared.try_submit::<F, Joined, _>(future, &way)
    }
}

impl<'a, F> PoolTask<'a, F>
where
    F: Future<Output = ()> + Send + 'static,
{
    /// As [`WorkerPool::execute`](super::WorkerPool::execute).
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    /// As there.
    pub fn execute(self) -> Submit<'a, F, Detached, Arranged> {
        let (shared, future, way) = self.arrange();
        Submit::new(shared, future, None, way)
    }

    /// As [`WorkerPool::execute_timeout`](super::WorkerPool::execute_timeout).
    ///
    /// # Errors
    /// As [`submit_timeout`](Self::submit_timeout).
    ///
    /// # Cancel safety
    /// As there.
    pub fn execute_timeout(self, limit: Duration) -> Submit<'a, F, Detached, Arranged> {
        let (shared, future, way) = self.arrange();
        Submit::new(shared, future, Some(limit), way)
    }

    /// As [`WorkerPool::try_execute`](super::WorkerPool::try_execute).
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_execute(self) -> Result<(), SubmitError<F>> {
        let (shared, future, way) = self.arrange();
        shared.try_submit::<F, Detached, _>(future, &way)
    }
}

impl<F> fmt::Debug for PoolTask<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolTask")
            .field("pool", &self.shared.settings.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
