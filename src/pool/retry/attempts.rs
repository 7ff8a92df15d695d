//! The future of a task that is repeated.

#![forbid(unsafe_code)]

use super::{RetryPolicy, Verdict};
use crate::pool::error::Refusal;
use crate::pool::handle::TaskId;
use crate::pool::link::{Failure, Link, Request};
use crate::pool::managed::Terms;
use crate::pool::shared::Shared;
use crate::pool::submit::{Arranged, Detached};
use crate::shim::Mutex;
use crate::sync::Context as WorkContext;
use crate::time::Delays;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A task that is made anew for each attempt, on its way into a pool; see
/// [`WorkerPool::retry_task`](crate::pool::WorkerPool::retry_task).
pub struct Retried<M, F, E>(pub(in crate::pool) Attempts<M, F, E>);

impl<M, F, E> fmt::Debug for Retried<M, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retried").field("policy", &self.0.recipe.policy).finish_non_exhaustive()
    }
}

/// What outlives a task, so that a dead letter can make it anew.
struct Recipe<M, F, E> {
    /// Not here while it is called: no foreign code runs under the lock.
    factory: Mutex<Option<M>>,
    policy: RetryPolicy<E>,
    made: PhantomData<fn() -> F>,
}

/// The factory, which goes back where it was taken from, also if it panics.
struct Lent<'a, M>(&'a Mutex<Option<M>>, Option<M>);

impl<M> Drop for Lent<'_, M> {
    fn drop(&mut self) {
        let factory = self.1.take();
        let old = std::mem::replace(&mut *self.0.lock(), factory);
        drop(old);
    }
}

/// Makes an ended task anew.
pub(in crate::pool) trait Revive: Send + Sync {
    /// Submits it once more, if there is room.
    fn revive(self: Arc<Self>, pool: &Shared, terms: Terms) -> Result<TaskId, Refusal>;
}

impl<M, F, T, E> Revive for Recipe<M, F, E>
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    fn revive(self: Arc<Self>, pool: &Shared, terms: Terms) -> Result<TaskId, Refusal> {
        let task = Retried(Attempts::of(self));
        pool.try_submit::<Retried<M, F, E>, Detached, _>(task, &Arranged::on(terms))
            .map_err(|refused| refused.into_parts().1)
    }
}

pin_project! {
    /// One after the other, as many futures of a factory as it takes. Between two of them it asks its worker to be put back
    /// into the queue; it then has nothing that is pinned.
    pub(in crate::pool) struct Attempts<M, F, E> {
        recipe: Arc<Recipe<M, F, E>>,
        link: Arc<Link>,
        // Boxed, as refused tasks are handed back by value.
        delays: Box<Delays>,
        failures: u32,
        #[pin]
        current: Option<F>,
    }
}

impl<M, F, T, E> Attempts<M, F, E>
where
    M: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: fmt::Display + Send + 'static,
{
    pub(in crate::pool) fn new(policy: &RetryPolicy<E>, factory: M) -> Self {
        let factory = Mutex::new(Some(factory));
        Self::of(Arc::new(Recipe { factory, policy: policy.clone(), made: PhantomData }))
    }

    fn of(recipe: Arc<Recipe<M, F, E>>) -> Self {
        let revive: Arc<dyn Revive> = recipe.clone();
        Self {
            delays: Box::new(recipe.policy.backoff.delays()),
            link: Arc::new(Link::to(revive)),
            recipe,
            failures: 0,
            current: None,
        }
    }

    /// By which it speaks to its worker.
    pub(in crate::pool) fn link(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
}

impl<M, F, T, E> Future for Attempts<M, F, E>
where
    M: FnMut() -> F,
    F: Future<Output = Result<T, E>>,
    E: fmt::Display,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.project();
        if this.current.is_none() {
            let mut lent = Lent(&this.recipe.factory, None);
            lent.1 = lent.0.lock().take();
            let made = lent.1.as_mut().map(|factory| factory());
            drop(lent);
            this.current.set(made);
        }
        let Some(current) = this.current.as_mut().as_pin_mut() else {
            // The factory is gone: there is nothing to wait for.
            this.link.ask(Request::Cancel);
            return Poll::Pending;
        };
        let result = ready!(current.poll(cx));
        this.current.set(None);
        let Err(error) = result else { return Poll::Ready(result) };
        *this.failures += 1;
        let policy = &this.recipe.policy;
        let verdict = (policy.judge)(&error);
        let delay = match verdict {
            _ if *this.failures >= policy.max_attempts => None,
            Verdict::Retry => Some(this.delays.next_delay()),
            Verdict::RetryAfter(delay) => Some(delay),
            Verdict::DeadLetter | Verdict::Discard => None,
        };
        match delay.filter(|delay| is_in_time(*delay)) {
            Some(delay) => {
                this.link.again(delay, cx.waker());
                Poll::Pending
            }
            None => {
                this.link.fail(match verdict {
                    Verdict::Discard => Failure::Discarded,
                    _ => Failure::Dead(error.to_string().into()),
                });
                Poll::Ready(Err(error))
            }
        }
    }
}

/// Whether the task's context lets it go on after so long a wait.
fn is_in_time(delay: Duration) -> bool {
    WorkContext::current().remaining().is_none_or(|left| delay < left)
}
