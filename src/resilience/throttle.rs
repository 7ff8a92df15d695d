//! A rate limiter as a policy.

use super::policy::relay;
use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Rejection, Single};
use crate::ConfigError;
use crate::limit::{self, Algorithm, Denied, Gcra, Limiter, WaitError};
use crate::sync::context;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Lets calls begin at the rate of a [`Limiter`] of any kind, a [`TokenBucket`](limit::TokenBucket) say, and refuses the rest, or
/// lets them wait for a while.
///
/// A refusal says [when](Error::retry_after) the tokens will be there. Clones of the bucket are the same bucket: several
/// throttles, and whatever else takes from it, share its rate.
///
/// One of a limiter that is [paused](Limiter::pause) until it is resumed names no time, as nobody knows it. Any other that names
/// none is for good, as long as the bucket's quota stays what it is: the rate is zero and the burst is
/// spent, or the burst has been lowered below what a call takes. Nobody waits for that, whatever the
/// [`wait_limit`](ThrottleBuilder::wait_limit); the error is neither [temporary](Error::is_temporary) nor
/// [retryable](Error::is_retryable).
///
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
/// use cofferdam::resilience::Throttle;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let bucket = TokenBucket::new(Quota::per(1, Duration::from_secs(60))?);
/// let throttle = Throttle::builder(bucket).name("mail").build()?;
/// assert_eq!(throttle.call(|| async { Ok::<_, ()>("sent") }).await, Ok("sent"));
/// let error = throttle.call(|| async { Ok::<_, ()>("sent") }).await.unwrap_err();
/// assert!(error.is_rate_limited());
/// assert!(error.retry_after().unwrap() > Duration::from_secs(59));
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Tokens are spent, not lent
/// A call that has been let through has spent its tokens, however it ends. One that is dropped while it waits has not.
///
/// # Where it sits
/// Inside a retry, so that retries are within the rate, and inside a breaker: a refusal of the throttle is no failure of
/// the callee, and an open circuit spends no tokens.
///
/// # When to use something else
/// To bound how many calls run at once: a [`Bulkhead`](super::Bulkhead).
#[derive(Clone)]
pub struct Throttle<A: Algorithm = Gcra> {
    bucket: Limiter<A>,
    tokens: u64,
    wait_limit: Duration,
    name: &'static str,
}

impl<A: Algorithm> Throttle<A> {
    /// One token for each call; calls that find none are refused.
    pub fn new(bucket: Limiter<A>) -> Self {
        Self { bucket, tokens: 1, wait_limit: Duration::ZERO, name: "throttle" }
    }

    /// With other than default settings.
    pub fn builder(bucket: Limiter<A>) -> ThrottleBuilder<A> {
        ThrottleBuilder(Self::new(bucket))
    }

    /// The bucket.
    pub fn bucket(&self) -> &Limiter<A> {
        &self.bucket
    }

    /// Runs an operation when it has its tokens; `op` is not called before.
    ///
    /// # Cancel safety
    /// Dropping the future while it waits gives the tokens back; dropping it later drops the operation.
    ///
    /// # Errors
    /// The operation's own; or [rate limited](Error::is_rate_limited): the tokens are not there, and would not be in time;
    /// or the surrounding work is cancelled or out of time.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<ThrottleAttempt<'_, Once<F, Fut>, A>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// Without waiting.
    #[inline]
    fn decide(&self) -> Result<(), Rejection> {
        if context::can_end() {
            return self.decide_in_context();
        }
        self.bucket.try_acquire_many(self.tokens).map_err(|denied| self.denied(denied))
    }

    #[cold]
    fn decide_in_context(&self) -> Result<(), Rejection> {
        let context = crate::sync::Context::current();
        context.check().map_err(|ended| Rejection::ended(self.name, &ended))?;
        self.bucket.try_acquire_many(self.tokens).map_err(|denied| self.denied(denied))
    }

    #[cold]
    fn denied(&self, denied: Denied) -> Rejection {
        match denied.retry_after() {
            None if !denied.is_never() => Rejection::paused(self.name),
            after => Rejection::rate_limited(self.name, after),
        }
    }

    #[cold]
    fn refused(&self, error: &WaitError) -> Rejection {
        match error {
            WaitError::Denied(denied) => self.denied(*denied),
            WaitError::QueueFull { limit } => {
                let waiting = u32::try_from(*limit).unwrap_or(u32::MAX);
                Rejection::full(self.name, 0, waiting, Duration::ZERO)
            }
            WaitError::Ended(ended) => Rejection::ended(self.name, ended),
        }
    }
}

impl<A: Algorithm> fmt::Debug for Throttle<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("name", &self.name)
            .field("tokens", &self.tokens)
            .field("wait_limit", &self.wait_limit)
            .field("bucket", &self.bucket)
            .finish()
    }
}

/// Builds a [`Throttle`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ThrottleBuilder<A: Algorithm = Gcra>(Throttle<A>);

impl<A: Algorithm> ThrottleBuilder<A> {
    /// How many tokens a call takes. Default: 1.
    pub fn tokens(self, tokens: u64) -> Self {
        Self(Throttle { tokens, ..self.0 })
    }

    /// How long a call may wait for its tokens; one that would wait longer is refused at once. [`Duration::MAX`] is as long
    /// as it takes. Default: no wait at all.
    pub fn wait_limit(self, wait_limit: Duration) -> Self {
        Self(Throttle { wait_limit, ..self.0 })
    }

    /// What errors call it. Default: "throttle".
    pub fn name(self, name: &'static str) -> Self {
        Self(Throttle { name, ..self.0 })
    }

    /// The policy.
    ///
    /// # Errors
    /// No tokens, which would limit nothing; more than the bucket holds, which would let nothing through.
    pub fn build(self) -> Result<Throttle<A>, ConfigError> {
        let tokens = self.0.tokens;
        if tokens == 0 {
            return Err(ConfigError::new("throttle", "tokens", tokens, "must be at least 1"));
        }
        if tokens > self.0.bucket.capacity() {
            return Err(ConfigError::new(
                "throttle",
                "tokens",
                tokens,
                "must not be above the bucket's burst",
            ));
        }
        Ok(self.0)
    }
}

impl<A: Algorithm> Component for Throttle<A> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Throttle { wait_limit: self.wait_limit }, self.name));
    }
}

impl<A: Algorithm> Single for Throttle<A> {}

impl<'a, I: Attempt, A: Algorithm> Policy<I> for &'a Throttle<A> {
    type Attempt = ThrottleAttempt<'a, I, A>;

    #[inline]
    fn around(self, inner: I) -> ThrottleAttempt<'a, I, A> {
        ThrottleAttempt { policy: self, inner, through: false, waiting: None }
    }
}

pin_project! {
    /// What is inside a [`Throttle`].
    pub struct ThrottleAttempt<'a, I, A = Gcra>
    where
        A: Algorithm,
    {
        policy: &'a Throttle<A>,
        #[pin]
        inner: I,
        // Whether it has its tokens.
        through: bool,
        #[pin]
        waiting: Option<limit::Acquire<'a, A>>,
    }
}

impl<I: Attempt, A: Algorithm> Attempt for ThrottleAttempt<'_, I, A> {
    type Ok = I::Ok;
    type Err = I::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<I::Ok, Error<I::Err>>> {
        let mut this = self.project();
        let policy: &Throttle<A> = this.policy;
        if !*this.through {
            let decided = if policy.wait_limit.is_zero() {
                policy.decide()
            } else {
                ready!(wait(policy, this.waiting.as_mut(), cx))
            };
            if let Err(rejection) = decided {
                return Poll::Ready(Err(rejection.into()));
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

impl<I: super::Fork, A: Algorithm> super::Fork for ThrottleAttempt<'_, I, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self { policy: self.policy, inner: self.inner.fork()?, through: false, waiting: None })
    }
}

fn wait<'a, A: Algorithm>(
    policy: &'a Throttle<A>,
    mut waiting: Pin<&mut Option<limit::Acquire<'a, A>>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Rejection>> {
    if waiting.is_none() {
        waiting.set(Some(policy.bucket.acquire_many_timeout(policy.tokens, policy.wait_limit)));
    }
    let Some(acquire) = waiting.as_mut().as_pin_mut() else { return Poll::Pending };
    let acquired = ready!(acquire.poll(cx));
    waiting.set(None);
    Poll::Ready(acquired.map_err(|error| policy.refused(&error)))
}

impl<I: fmt::Debug, A: Algorithm> fmt::Debug for ThrottleAttempt<'_, I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleAttempt")
            .field("waiting", &self.waiting.is_some())
            .field("through", &self.through)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
