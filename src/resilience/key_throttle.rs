//! The limit of one key as a policy.

use super::policy::relay;
use super::{Attempt, Component, Error, Fork, Kind, Layer, Policy, Rejection, Single};
use crate::limit::{AcquireKey, Algorithm, Denied, Gcra, KeyDenied, KeyWaitError, Keyed, Seeded};
use crate::sync::{Context as TaskContext, context};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Lets calls begin at the rate that a [`Keyed`] limiter has for one key, and refuses the rest, or lets them wait for a while:
/// a [`Throttle`](super::Throttle) for whoever the call is for.
///
/// It is made for a call, or kept for all calls of a key; what counts is the limiter's, and its clones' too.
///
/// ```
/// use cofferdam::limit::{Keyed, Quota};
/// use cofferdam::resilience::{KeyThrottle, Stack};
///
/// # futures_executor::block_on(async {
/// let by_user = Keyed::<String>::new(Quota::per_hour(1));
/// for (user, refused) in [("ada", false), ("ada", true), ("bob", false)] {
///     let stack = Stack::new().layer(KeyThrottle::new(by_user.clone(), user.to_owned()));
///     let outcome = stack.call(|| async { Ok::<_, ()>("served") }).await;
///     assert_eq!(outcome.is_err_and(|error| error.is_rate_limited()), refused);
/// }
/// # });
/// ```
///
/// That there is no room for a new key is a refusal of the same kind.
pub struct KeyThrottle<K, A: Algorithm = Gcra, S = Seeded> {
    limiter: Keyed<K, A, S>,
    key: K,
    tokens: u64,
    wait_limit: Duration,
    name: &'static str,
}

impl<K, A: Algorithm, S> KeyThrottle<K, A, S> {
    /// One token of `key` for each call; calls that find none are refused.
    pub fn new(limiter: Keyed<K, A, S>, key: K) -> Self {
        Self { limiter, key, tokens: 1, wait_limit: Duration::ZERO, name: "throttle" }
    }

    /// The same with so many tokens for each call. With none at all, nothing is limited; with more than the key's burst,
    /// nothing is let through. Default: 1.
    #[must_use]
    pub fn tokens(self, tokens: u64) -> Self {
        Self { tokens, ..self }
    }

    /// The same with calls that wait for their tokens for as long as this; one that would wait longer is refused at once.
    /// Default: no wait at all.
    #[must_use]
    pub fn wait_limit(self, wait_limit: Duration) -> Self {
        Self { wait_limit, ..self }
    }

    /// The same with another name, for errors. Default: "throttle".
    #[must_use]
    pub fn name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K, A, S> KeyThrottle<K, A, S>
where
    K: Hash + Eq + Clone,
    A: Algorithm,
    S: BuildHasher,
{
    /// Without waiting.
    fn decide(&self) -> Result<(), Rejection> {
        if context::can_end() {
            TaskContext::current().check().map_err(|ended| Rejection::ended(self.name, &ended))?;
        }
        self.limiter.try_acquire_many(&self.key, self.tokens).map_err(|denied| match denied {
            KeyDenied::Denied(denied) => self.denied(denied),
            KeyDenied::TooManyKeys(full) => Rejection::rate_limited(self.name, full.retry_after()),
        })
    }

    fn poll_wait<'a>(
        &'a self,
        mut waiting: Pin<&mut Option<AcquireKey<'a, K, K, A, S>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Rejection>>
    where
        K: Send + 'static,
        S: Send + Sync + 'static,
    {
        if waiting.is_none() {
            let acquire = self.limiter.acquire_many_timeout(&self.key, self.tokens, self.wait_limit);
            waiting.set(Some(acquire));
        }
        let Some(acquire) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
        let acquired = ready!(acquire.poll(cx));
        waiting.set(None);
        Poll::Ready(acquired.map_err(|error| self.refused(&error)))
    }

    fn denied(&self, denied: Denied) -> Rejection {
        Rejection::rate_limited(self.name, denied.retry_after())
    }

    #[cold]
    fn refused(&self, error: &KeyWaitError) -> Rejection {
        match error {
            KeyWaitError::Denied(denied) => self.denied(*denied),
            KeyWaitError::TooManyKeys(full) => Rejection::rate_limited(self.name, full.retry_after()),
            KeyWaitError::Ended(ended) => Rejection::ended(self.name, ended),
        }
    }
}

impl<K: fmt::Debug, A: Algorithm, S> fmt::Debug for KeyThrottle<K, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyThrottle")
            .field("name", &self.name)
            .field("key", &self.key)
            .field("tokens", &self.tokens)
            .field("wait_limit", &self.wait_limit)
            .finish_non_exhaustive()
    }
}

impl<K: Clone, A: Algorithm, S> Clone for KeyThrottle<K, A, S> {
    fn clone(&self) -> Self {
        let Self { tokens, wait_limit, name, .. } = *self;
        Self { limiter: self.limiter.clone(), key: self.key.clone(), tokens, wait_limit, name }
    }
}

impl<K, A: Algorithm, S> Component for KeyThrottle<K, A, S> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Throttle { wait_limit: self.wait_limit }, self.name));
    }
}

impl<K, A: Algorithm, S> Single for KeyThrottle<K, A, S> {}

impl<'a, I, K, A, S> Policy<I> for &'a KeyThrottle<K, A, S>
where
    I: Attempt,
    K: Hash + Eq + Clone + Send + 'static,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    type Attempt = KeyThrottleAttempt<'a, I, K, A, S>;

    #[inline]
    fn around(self, inner: I) -> Self::Attempt {
        KeyThrottleAttempt { policy: self, inner, through: false, waiting: None }
    }
}

pin_project! {
    /// What is inside a [`KeyThrottle`].
    pub struct KeyThrottleAttempt<'a, I, K, A = Gcra, S = Seeded>
    where
        K: Eq,
        A: Algorithm,
    {
        policy: &'a KeyThrottle<K, A, S>,
        #[pin]
        inner: I,
        // Whether it has its tokens.
        through: bool,
        #[pin]
        waiting: Option<AcquireKey<'a, K, K, A, S>>,
    }
}

impl<I, K, A, S> Attempt for KeyThrottleAttempt<'_, I, K, A, S>
where
    I: Attempt,
    K: Hash + Eq + Clone + Send + 'static,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    type Ok = I::Ok;
    type Err = I::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<I::Ok, Error<I::Err>>> {
        let mut this = self.project();
        let policy = *this.policy;
        if !*this.through {
            if policy.wait_limit.is_zero() {
                policy.decide()?;
            } else {
                let waiting = this.waiting.as_mut();
                ready!(policy.poll_wait(waiting, cx))?;
            }
            *this.through = true;
        }
        relay(this.inner.poll_attempt(cx), |_| *this.through = false)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.waiting.set(None);
        this.inner.cancel();
        *this.through = false;
    }
}

impl<I, K, A, S> Fork for KeyThrottleAttempt<'_, I, K, A, S>
where
    I: Fork,
    K: Hash + Eq + Clone + Send + 'static,
    A: Algorithm,
    S: BuildHasher + Send + Sync + 'static,
{
    fn fork(&self) -> Option<Self> {
        Some(Self { policy: self.policy, inner: self.inner.fork()?, through: false, waiting: None })
    }
}

impl<I: fmt::Debug, K: Eq, A: Algorithm, S> fmt::Debug for KeyThrottleAttempt<'_, I, K, A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyThrottleAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("through", &self.through)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
