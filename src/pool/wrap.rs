//! What the pool's wrapper does around each task.

#![forbid(unsafe_code)]

use super::link::{Link, Request};
use crate::shim::Mutex;
use crate::task::BoxTask;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Makes a future of a task that does something before, around or after it.
pub(super) type Wrapper = Arc<dyn Fn(TaskFuture) -> BoxTask + Send + Sync>;

/// A task as the pool's wrapper gets it: a future that is ready when the task has its result, which goes to the task's
/// handle by a way of its own. See [`PoolBuilder::wrap`](super::PoolBuilder::wrap).
///
/// # Cancel safety
/// Dropped before it is ready, it drops the task, which is then cancelled.
#[must_use = "a task that is not awaited is cancelled"]
pub struct TaskFuture(BoxTask);

impl Future for TaskFuture {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for TaskFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFuture").finish_non_exhaustive()
    }
}

/// What passes between a submitter, a task and its wrapper.
pub(super) struct Parcel<F: Future> {
    /// The task, until it is begun. Locked while the wrapped task is pushed: a refused one is still the submitter's.
    pub(super) task: Mutex<Option<F>>,
    output: Mutex<Option<F::Output>>,
}

impl<F: Future> Parcel<F> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { task: Mutex::new(None), output: Mutex::new(None) })
    }
}

/// A task and the wrapper that will have it.
pub(super) struct Wrapped<F: Future> {
    parcel: Arc<Parcel<F>>,
    wrapper: Wrapper,
    running: Option<BoxTask>,
    link: Arc<Link>,
}

impl<F: Future> Wrapped<F> {
    pub(super) fn new(parcel: &Arc<Parcel<F>>, wrapper: &Wrapper, link: Arc<Link>) -> Self {
        Self { parcel: Arc::clone(parcel), wrapper: Arc::clone(wrapper), running: None, link }
    }
}

impl<F: Future> Drop for Wrapped<F> {
    fn drop(&mut self) {
        // The task may live on elsewhere: no waker of its own keeps it.
        self.link.part();
    }
}

impl<F> Future for Wrapped<F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.link.enter(cx.waker());
        let task = if this.running.is_none() { this.parcel.task.lock().take() } else { None };
        if let Some(task) = task {
            let parcel = Arc::clone(&this.parcel);
            let task = async move {
                let output = task.await;
                let old = parcel.output.lock().replace(output);
                drop(old);
            };
            this.running = Some((this.wrapper)(TaskFuture(Box::pin(task))));
        }
        if let Some(running) = &mut this.running {
            if running.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.running = None;
        }
        let output = this.parcel.output.lock().take();
        if output.is_none() {
            // The wrapper has not let the task come to its end.
            this.link.ask(Request::Cancel);
        }
        output.map_or(Poll::Pending, Poll::Ready)
    }
}
