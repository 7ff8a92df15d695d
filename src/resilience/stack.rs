//! Policies around an operation, in the order in which they are written.

use super::lint::{self, Allowed, Lint, LintCode};
use super::{
    Admission, Attempt, Bulkhead, Call, Chain, CircuitBreaker, Component, Fallback, Hedge, Once, Operation,
    Policy, Retry, Single, Throttle, Timeout,
};
use crate::limit::Algorithm;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// Policies around an operation, outermost first as written.
///
/// Statically typed and unboxed: a stack around a ready operation costs what its policies cost, and allocates nothing.
/// It adds nothing that the policies lack; each can be used alone.
///
/// A policy may be shared between stacks: clones of one share what it counts and holds. So do clones of a stack; a call
/// borrows it.
///
/// # The order that suits most calls
///
/// ```text
/// timeout (total) > retry > breaker > throttle > bulkhead > timeout (attempt) > operation
/// ```
///
/// The total timeout bounds what the caller waits for. The retry is outside the breaker, so that each attempt is judged
/// and an open circuit ends the run; outside the bulkhead, so that nothing is held while it sleeps; and outside the
/// throttle, so that retries pay for themselves. The attempt's timeout is innermost: it is the breaker's business that
/// attempts time out, and waiting in the bulkhead is not the callee's fault. An [`Admission`] is in the place of the
/// breaker, or just inside it. A [`Hedge`], where the operation may be run twice, is just inside the retry: each hedge is
/// judged, limited and timed like any attempt.
pub struct Stack<P = ()> {
    policy: P,
    allowed: Allowed,
}

impl Stack {
    /// No policies yet.
    pub const fn new() -> Self {
        Self { policy: (), allowed: Allowed::NOTHING }
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Clone> Clone for Stack<P> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), allowed: self.allowed }
    }
}

impl<P> Stack<P> {
    /// Adds a policy inside all those added so far.
    pub fn layer<Inner>(self, policy: Inner) -> Stack<Chain<P, Inner>> {
        Stack { policy: Chain::new(self.policy, policy), allowed: self.allowed }
    }

    /// Runs an operation under the policies. `op` makes the future of one attempt each time it is called.
    ///
    /// # Cancel safety
    /// Dropping the future drops the attempt that is running and gives back what the policies held for it.
    ///
    /// # Errors
    /// The operation's own error, or why a policy refused, ended or gave up the call.
    #[inline]
    pub fn call<'a, T, E, F, Fut>(&'a self, op: F) -> Call<<&'a P as Policy<Operation<F, Fut>>>::Attempt>
    where
        &'a P: Policy<Operation<F, Fut>>,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.policy.around(Operation::new(op)))
    }

    /// Runs an operation that cannot be run twice, under policies none of which makes a second attempt.
    ///
    /// ```
    /// use cofferdam::resilience::{Stack, Timeout};
    /// use std::time::Duration;
    ///
    /// # futures_executor::block_on(async {
    /// let stack = Stack::new().timeout(Timeout::total(Duration::from_secs(1)));
    /// let body = String::from("sent once");
    /// let sent = stack.call_once(|| async { Ok::<String, ()>(body) }).await;
    /// assert_eq!(sent.unwrap(), "sent once");
    /// # });
    /// ```
    ///
    /// # Cancel safety
    /// As [`call`](Self::call).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_once<'a, T, E, F, Fut>(&'a self, op: F) -> Call<<&'a P as Policy<Once<F, Fut>>>::Attempt>
    where
        P: Single,
        &'a P: Policy<Once<F, Fut>>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.policy.around(Once::new(op)))
    }

    /// Adds a [`Retry`].
    pub fn retry<J>(self, retry: Retry<J>) -> Stack<Chain<P, Retry<J>>> {
        self.layer(retry)
    }

    /// Adds a [`Hedge`].
    pub fn hedge<J>(self, hedge: Hedge<J>) -> Stack<Chain<P, Hedge<J>>> {
        self.layer(hedge)
    }

    /// Adds a [`CircuitBreaker`], whose clones are the same breaker. One with its own view of failures, a
    /// [`Classified`](super::breaker::Classified), is added as a [`layer`](Self::layer).
    pub fn breaker(self, breaker: CircuitBreaker) -> Stack<Chain<P, CircuitBreaker>> {
        self.layer(breaker)
    }

    /// Adds a [`Throttle`], whose clones take from the same limiter.
    pub fn throttle<A: Algorithm>(self, throttle: Throttle<A>) -> Stack<Chain<P, Throttle<A>>> {
        self.layer(throttle)
    }

    /// Adds an [`Admission`], whose clones share what they count.
    pub fn admission<C>(self, admission: Admission<C>) -> Stack<Chain<P, Admission<C>>> {
        self.layer(admission)
    }

    /// Adds a [`Bulkhead`], or an `Arc` of one; clones share their places, also from stack to stack.
    pub fn bulkhead(self, bulkhead: impl Into<Bulkhead>) -> Stack<Chain<P, Bulkhead>> {
        self.layer(bulkhead.into())
    }

    /// Adds a [`Fallback`].
    pub fn fallback<R, H>(self, fallback: Fallback<R, H>) -> Stack<Chain<P, Fallback<R, H>>> {
        self.layer(fallback)
    }

    /// Adds a [`Timeout`].
    pub fn timeout(self, timeout: Timeout) -> Stack<Chain<P, Timeout>> {
        self.layer(timeout)
    }
}

impl<P: Component> Stack<P> {
    /// The policies, outermost first.
    pub fn describe(&self) -> Vec<Layer> {
        let mut layers = Vec::new();
        self.policy.describe(&mut layers);
        layers
    }

    /// What is known to go wrong with policies in this order, but for what was [allowed](Self::allow). Empty for a good
    /// stack: assert it in a test.
    ///
    /// ```
    /// use cofferdam::resilience::{Bulkhead, LintCode, Retry, Stack};
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let stack = Stack::new().bulkhead(Bulkhead::new(8)?).retry(Retry::builder().build()?);
    /// let lints = stack.lint();
    /// assert_eq!(lints[0].code(), LintCode::BulkheadOutsideRetry);
    /// assert_eq!(
    ///     lints[0].to_string(),
    ///     "bulkhead-outside-retry: bulkhead around retry: a place is held while the retry sleeps"
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn lint(&self) -> Vec<Lint> {
        let mut lints = lint::lint(&self.describe());
        lints.retain(|lint| !self.allowed.contains(lint.code()));
        lints
    }

    /// Says that what this code warns of is meant.
    #[must_use]
    pub fn allow(self, code: LintCode) -> Self {
        Self { allowed: self.allowed.and(code), ..self }
    }
}

impl<P: Single> Single for Stack<P> {}

/// A stack is a policy: it can be a layer of another.
impl<P: Component> Component for Stack<P> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        self.policy.describe(layers);
    }
}

impl<'a, A: Attempt, P> Policy<A> for &'a Stack<P>
where
    &'a P: Policy<A>,
{
    type Attempt = <&'a P as Policy<A>>::Attempt;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        self.policy.around(inner)
    }
}

impl<P: Component> fmt::Debug for Stack<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stack").field(&self.describe()).finish()
    }
}

/// What a layer of a stack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// [`Retry`](super::Retry)
    #[non_exhaustive]
    Retry {
        /// At most so many attempts, the first included.
        max_attempts: u32,
    },
    /// [`Timeout`](super::Timeout)
    #[non_exhaustive]
    Timeout {
        /// The limit, if there is one and it does not depend on the attempt.
        limit: Option<Duration>,
        /// What it limits.
        scope: super::Scope,
        /// Whether what it ends runs on by itself: [`DetachingTimeout`](super::DetachingTimeout).
        detaches: bool,
    },
    /// [`Hedge`](super::Hedge)
    #[non_exhaustive]
    Hedge {
        /// At most so many attempts beside the first.
        max_hedges: u32,
        /// Whether a [`Budget`](super::Budget) bounds the hedges of all calls together.
        has_budget: bool,
    },
    /// [`CircuitBreaker`](super::CircuitBreaker)
    CircuitBreaker,
    /// [`Bulkhead`](super::Bulkhead)
    Bulkhead,
    /// [`Throttle`](super::Throttle)
    #[non_exhaustive]
    Throttle {
        /// How long a call may wait for its tokens.
        wait_limit: Duration,
    },
    /// [`Admission`](super::Admission)
    Admission,
    /// [`Fallback`](super::Fallback)
    Fallback,
    /// A [`Cache`](super::Cache) of what is inside
    Cache,
    /// Faults on purpose: `Chaos`, with feature `chaos`
    Chaos,
    /// A policy of the user's own.
    Custom,
}

/// One policy of a stack, as [`Stack::describe`] lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    kind: Kind,
    name: &'static str,
}

impl Layer {
    /// A policy of this kind and name.
    pub const fn new(kind: Kind, name: &'static str) -> Self {
        Self { kind, name }
    }

    /// A policy of the user's own.
    pub const fn custom(name: &'static str) -> Self {
        Self::new(Kind::Custom, name)
    }

    /// What it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The kind in one word, and the name where it says more: `retry`, `bulkhead(orders)`.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            Kind::Retry { .. } => "retry",
            Kind::Timeout { .. } => "timeout",
            Kind::CircuitBreaker => "circuit breaker",
            Kind::Bulkhead => "bulkhead",
            Kind::Throttle { .. } => "throttle",
            Kind::Hedge { .. } => "hedge",
            Kind::Admission => "admission",
            Kind::Fallback => "fallback",
            Kind::Cache => "cache",
            Kind::Chaos => "chaos",
            Kind::Custom => return f.write_str(self.name),
        };
        if self.name == word { f.write_str(word) } else { write!(f, "{word}({})", self.name) }
    }
}
