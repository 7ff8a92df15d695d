//! How work reaches an executor.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future handed to a [`Spawn`]: it owns its data, may move between threads, and answers to nobody.
pub type BoxTask = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Hands a future to an executor that will run it to its end.
///
/// Any closure that takes a [`BoxTask`] is one, which makes every executor one line away:
///
/// ```
/// use cofferdam::task::{BoxTask, Spawn};
///
/// let smol = |task: BoxTask| smol::spawn(task).detach();
/// let tokio = |task: BoxTask| drop(tokio::spawn(task));
/// # fn check(_: impl Spawn) {}
/// # check(smol);
/// # check(tokio);
/// ```
///
/// So is an `Arc` of one, and a reference to a closure. (A reference to any other `Spawn` cannot be one beside the closures:
/// what takes a spawner takes it by reference.)
///
/// Nothing in this crate spawns unless it was handed a `Spawn`.
pub trait Spawn: Send + Sync {
    /// Starts `task`. Must not run it in place.
    fn spawn(&self, task: BoxTask);
}

impl<F: Fn(BoxTask) + Send + Sync> Spawn for F {
    fn spawn(&self, task: BoxTask) {
        self(task);
    }
}

impl<S: Spawn + ?Sized> Spawn for Arc<S> {
    fn spawn(&self, task: BoxTask) {
        (**self).spawn(task);
    }
}
