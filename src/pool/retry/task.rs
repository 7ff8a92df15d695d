//! Handing in tasks that are repeated.

#![forbid(unsafe_code)]

use super::{Attempts, Retried, RetryPolicy};
use crate::pool::error::SubmitError;
use crate::pool::handle::{JoinHandle, TaskId};
use crate::pool::options::PoolTask;
use crate::pool::submit::{Arranged, Detached, Joined, Submit};
use crate::pool::{DeadLetters, WorkerPool};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

impl WorkerPool {
    /// A task that is made anew by `factory` and tried again, as the policy says, while its result is an error. It needs a
    /// [managed](crate::pool::PoolBuilder::managed) pool, and has the [options](PoolTask) of any task.
    ///
    /// Between two attempts no worker has it: it goes back into its queue, where it is not due before the delay is over, and
    /// cannot be refused. It keeps its number, and its handle gets the last result. While it waits it is cancelled as any
    /// task in the queue is. It is not tried again if its context would end before.
    ///
    /// Limits of a task's time hold for each attempt. An attempt that is over its limit, or panics, ends the task: to have
    /// it tried again, let the factory's future have the limit, and be an error.
    ///
    /// A task that has failed for good is kept among the [dead letters](Self::dead_letters).
    ///
    /// ```
    /// use cofferdam::pool::{RetryPolicy, WorkerPool};
    /// use cofferdam::time::Backoff;
    /// use std::time::Duration;
    ///
    /// # futures_executor::block_on(async {
    /// let (pool, workers) = WorkerPool::builder().workers(4).managed().build()?;
    /// let policy = RetryPolicy::new(3)?.backoff(Backoff::exponential(Duration::from_millis(1)));
    /// let work = async {
    ///     let mut line = ["busy", "busy", "hello"].into_iter();
    ///     let dial = move || {
    ///         let answer = line.next();
    ///         async move { if answer == Some("busy") { Err("busy") } else { Ok(answer) } }
    ///     };
    ///     let handle = pool.retry_task(&policy, dial).submit().await?;
    ///     drop(pool);
    ///     Ok::<_, Box<dyn std::error::Error>>(handle.await?)
    /// };
    /// let (answer, ()) = futures_util::future::join(work, workers.into_future()).await;
    /// assert_eq!(answer?, Ok(Some("hello")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # use std::future::IntoFuture;
    /// ```
    pub fn retry_task<M, F, T, E>(
        &self,
        policy: &RetryPolicy<E>,
        factory: M,
    ) -> PoolTask<'_, Retried<M, F, E>>
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        PoolTask::retrying(&self.shared, Retried(Attempts::new(policy, factory)))
    }

    /// The tasks that were given up: see [`DeadLetter`](super::DeadLetter) and
    /// [`PoolBuilder::dead_letters`](crate::pool::PoolBuilder::dead_letters).
    pub fn dead_letters(&self) -> DeadLetters<'_> {
        DeadLetters::new(&self.shared)
    }
}

impl<'a, M, F, T, E> PoolTask<'a, Retried<M, F, E>>
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    /// As [`WorkerPool::submit`].
    ///
    /// # Errors
    /// As there; also the task has expired, or the pool cannot do what was asked for.
    ///
    /// # Cancel safety
    /// As there.
    pub fn submit(self) -> Submit<'a, Retried<M, F, E>, Joined, Arranged> {
        let (shared, task, way) = self.arrange();
        Submit::new(shared, task, None, way)
    }

    /// As [`WorkerPool::submit_timeout`].
    ///
    /// # Errors
    /// As [`submit`](Self::submit); also there was no room within the limit.
    ///
    /// # Cancel safety
    /// As there.
    pub fn submit_timeout(self, limit: Duration) -> Submit<'a, Retried<M, F, E>, Joined, Arranged> {
        let (shared, task, way) = self.arrange();
        Submit::new(shared, task, Some(limit), way)
    }

    /// As [`WorkerPool::try_submit`].
    ///
    /// # Errors
    /// As [`submit`](Self::submit); also there is no room.
    #[allow(clippy::type_complexity, reason = "as with the other tasks")]
    pub fn try_submit(self) -> Result<JoinHandle<Result<T, E>>, SubmitError<Retried<M, F, E>>> {
        let (shared, task, way) = self.arrange();
        shared.try_submit::<Retried<M, F, E>, Joined, _>(task, &way)
    }

    /// As [`WorkerPool::execute`], with the number of the task, by which its dead letter is found.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    ///
    /// # Cancel safety
    /// As there.
    pub fn execute(self) -> Submit<'a, Retried<M, F, E>, Detached, Arranged> {
        let (shared, task, way) = self.arrange();
        Submit::new(shared, task, None, way)
    }

    /// As [`WorkerPool::execute_timeout`], with the number of the task.
    ///
    /// # Errors
    /// As [`submit_timeout`](Self::submit_timeout).
    ///
    /// # Cancel safety
    /// As there.
    pub fn execute_timeout(self, limit: Duration) -> Submit<'a, Retried<M, F, E>, Detached, Arranged> {
        let (shared, task, way) = self.arrange();
        Submit::new(shared, task, Some(limit), way)
    }

    /// As [`WorkerPool::try_execute`], with the number of the task.
    ///
    /// # Errors
    /// As [`try_submit`](Self::try_submit).
    pub fn try_execute(self) -> Result<TaskId, SubmitError<Retried<M, F, E>>> {
        let (shared, task, way) = self.arrange();
        shared.try_submit::<Retried<M, F, E>, Detached, _>(task, &way)
    }
}

pin_project! {
    /// A future whose result is of no interest.
    pub(in crate::pool) struct Mute<F> {
        #[pin]
        pub(in crate::pool) future: F,
    }
}

impl<F: Future> Future for Mute<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let _ = ready!(self.project().future.poll(cx));
        Poll::Ready(())
    }
}
