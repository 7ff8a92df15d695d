//! Something else in place of a failure.

mod answer;
mod attempt;
mod event;
mod recover;

pub use answer::{Answer, Answering, Path};
pub use attempt::FallbackAttempt;
pub use event::{FallbackEvent, FallbackStats};
pub use recover::{AsyncRecovery, Backend, By, ByAsync, Handle, Handled, Recover, Value, When};

use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Rejection, Single};
use crate::observe::{Observe, Observers};
use crate::shim::{AtomicU64, Ordering};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// Gives something else when what is inside fails: a value, the result of a function of the error, what a cache still has,
/// the answer of another backend.
///
/// | made by | gives |
/// |---|---|
/// | [`Fallback::value`] | always the same |
/// | [`Fallback::with`] | what a function makes of the error |
/// | [`Fallback::with_async`] | what an async function makes of the error |
/// | [`Fallback::backend`] | the answer of another call, with policies of its own |
/// | [`Cache::fallback`](super::cache::Cache::fallback) | what the cache has, however old |
///
/// ```
/// use cofferdam::resilience::{Error, Fallback, Stack};
///
/// # futures_executor::block_on(async {
/// let stack = Stack::new().fallback(Fallback::with(|error: &Error<&str>| match error {
///     Error::Inner("no such user") => Err("no such user"),
///     _ => Ok(String::from("guest")),
/// }));
/// let name = stack.call(|| async { Err("database down") }).await;
/// assert_eq!(name, Ok(String::from("guest")));
/// # });
/// ```
///
/// # What it runs for
/// For all errors but a cancellation of the surrounding work, unless [`handle`](Self::handle) says otherwise. A caller who
/// drops the call gets nothing, and nothing runs for him. A panic is no error: it passes through.
///
/// # When it fails itself
/// Its error [takes the place](Error::FallbackFailed) of the original, which stays as its source.
///
/// # Which path was taken
/// [`answer`](Self::answer), and [`Stack::answer`](super::Stack::answer) for a whole stack, say so with each result;
/// [`observe`](Self::observe) tells of each use, [`stats`](Self::stats) counts them.
///
/// # Where it sits
/// Outermost, as a rule. Inside a retry it turns the first failure into a success, and the retry never retries: the
/// lint says so. A breaker around it sees the fallback's results, one inside it those of the callee.
///
/// # When to use something else
/// Where a wrong answer is worse than none. A fallback that is not noticed is an outage that is not noticed: observe it.
///
/// Clones share what is counted, and the observers.
#[derive(Clone)]
pub struct Fallback<R, H = Handled> {
    recover: R,
    handle: H,
    name: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    used: AtomicU64,
    failed: AtomicU64,
    observers: Observers<FallbackEvent>,
}

impl Shared {
    fn stats(&self) -> FallbackStats {
        // Relaxed: statistics.
        FallbackStats { used: self.used.load(Ordering::Relaxed), failed: self.failed.load(Ordering::Relaxed) }
    }
}

impl<R> Fallback<R> {
    /// By any [`Recover`]: one of your own, say.
    pub fn new(recover: R) -> Self {
        Self { recover, handle: Handled, name: "fallback", shared: Arc::default() }
    }
}

impl<T: Clone> Fallback<Value<T>> {
    /// This value.
    pub fn value(value: T) -> Self {
        Self::new(Value(value))
    }
}

impl<F> Fallback<By<F>> {
    /// What `f` makes of the error.
    pub fn with<T, E>(f: F) -> Self
    where
        F: Fn(&Error<E>) -> Result<T, E>,
    {
        Self::new(By(f))
    }
}

impl<F> Fallback<ByAsync<F>> {
    /// What the future that `f` makes of the error comes to.
    pub fn with_async<T, E, Fut>(f: F) -> Self
    where
        F: Fn(&Error<E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Self::new(ByAsync(f))
    }
}

impl<F> Fallback<Backend<F>> {
    /// The answer of another call, which may have policies of its own.
    ///
    /// ```
    /// use cofferdam::resilience::{Error, Fallback, Stack, Timeout};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # futures_executor::block_on(async {
    /// let replica = Arc::new(Stack::new().timeout(Timeout::total(Duration::from_millis(50))));
    /// let fallback = Fallback::backend(move |_: &Error<&str>| {
    ///     let replica = Arc::clone(&replica);
    ///     async move { replica.call(|| async { Ok("from the replica") }).await }
    /// });
    /// let row = fallback.call(|| async { Err("primary down") }).await;
    /// assert_eq!(row, Ok("from the replica"));
    /// # });
    /// ```
    pub fn backend<T, E, Fut>(f: F) -> Self
    where
        F: Fn(&Error<E>) -> Fut,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        Self::new(Backend(f))
    }
}

impl<R, H> Fallback<R, H> {
    /// Runs for those errors of which `handle` says so, a cancellation of the surrounding work included.
    pub fn handle<E, P>(self, handle: P) -> Fallback<R, When<P>>
    where
        P: Fn(&Error<E>) -> bool,
    {
        let Self { recover, name, shared, .. } = self;
        Fallback { recover, handle: When(handle), name, shared }
    }

    /// What errors call it. Default: "fallback".
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Runs an operation, and the fallback if it fails.
    ///
    /// # Cancel safety
    /// Dropping the future drops what is running, the operation or the fallback; nothing else is started.
    ///
    /// # Errors
    /// The operation's own, if it is not [handled](Self::handle) or there is nothing to fall back to; or the fallback's.
    #[inline]
    #[allow(clippy::type_complexity, reason = "an alias would only hide it")]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<FallbackAttempt<'_, Once<F, Fut>, E, R::Future, R, H>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        R: Recover<T, E>,
        H: Handle<E>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// As [`call`](Self::call), and says which path was taken.
    ///
    /// ```
    /// use cofferdam::resilience::fallback::Path;
    /// use cofferdam::resilience::{Error, Fallback};
    ///
    /// # futures_executor::block_on(async {
    /// let fallback = Fallback::value(0);
    /// let answer = fallback.answer(|| async { Err("down") }).await.unwrap();
    /// assert_eq!((answer.value, answer.path), (0, Path::Fallback(Error::Inner("down"))));
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn answer<T, E, F, Fut>(&self, op: F) -> Answering<'_, Once<F, Fut>, E, R::Future, R, H>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        R: Recover<T, E>,
        H: Handle<E>,
    {
        Answering::new(self.around(Once::new(op)))
    }

    /// How often it ran.
    pub fn stats(&self) -> FallbackStats {
        self.shared.stats()
    }

    crate::observe::watchable!(shared, [R, H], FallbackStats, |shared| shared.stats());

    /// Shows all further events to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<FallbackEvent>) {
        self.shared.observers.add(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &crate::observe::Observers<FallbackEvent> {
        &self.shared.observers
    }

    /// Relaxed: statistics.
    fn tell(&self, cause: Option<Rejection>, own: Option<Option<Rejection>>) {
        let Self { name, shared, .. } = self;
        let name = *name;
        match own {
            None => {
                shared.used.fetch_add(1, Ordering::Relaxed);
                shared.observers.emit(|| FallbackEvent::Used { name, cause });
            }
            Some(own) => {
                shared.failed.fetch_add(1, Ordering::Relaxed);
                shared.observers.emit(|| FallbackEvent::Failed { name, cause, own });
            }
        }
    }
}

impl<R, H> fmt::Debug for Fallback<R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<R, H> Component for Fallback<R, H> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Fallback, self.name));
    }
}

impl<R, H> Single for Fallback<R, H> {}

impl<'a, A, R, H> Policy<A> for &'a Fallback<R, H>
where
    A: Attempt,
    R: Recover<A::Ok, A::Err>,
    H: Handle<A::Err>,
{
    type Attempt = FallbackAttempt<'a, A, A::Err, R::Future, R, H>;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        FallbackAttempt::new(self, inner)
    }
}
