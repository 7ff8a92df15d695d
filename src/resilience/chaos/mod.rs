//! Faults on purpose: what a service does when what it depends on is slow, fails or panics is best seen before it happens.

mod attempt;
mod builder;
mod plan;
mod rate;
mod skew;

pub use attempt::ChaosAttempt;
pub use builder::ChaosBuilder;
pub use plan::Plan;
pub use rate::{IntoDelay, IntoRate, IntoSwitch};
pub use skew::{ClockSkew, ClockSkewBuilder, ClockSkewStats};

use super::{Attempt, Call, Component, Kind, Layer, Once, Policy, Single};
use crate::observe::{Observe, Observers};
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::time::Clock;
use rate::{Rate, Switch};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Makes some calls slow, fail, panic, hang, be cancelled or come out otherwise, at random, by rate and seed.
///
/// Everything outside of it takes what it does for the callee's doing: an injected error is an
/// [`Inner`](super::Error::Inner) one, which breakers count and retries try again.
///
/// ```
/// use cofferdam::resilience::{Chaos, Retry, Stack};
/// use cofferdam::time::Backoff;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let retry = Retry::builder().max_attempts(20).backoff(Backoff::fixed(Duration::ZERO)).build()?;
/// let chaos = Chaos::builder().fault(0.5, || "injected").seed(42).build();
/// let stack = Stack::new().retry(retry).layer(chaos.clone());
/// assert_eq!(stack.call(|| async { Ok(7) }).await, Ok(7), "in the end");
/// assert!(chaos.stats().faults < 20);
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Or from text, as of a command line: see [`Plan`].
///
/// # What is decided when
/// The rules are gone through in the order in which they were given, at the beginning of each attempt: each injects if a random number below
/// 1 is below its rate, for itself. The first that ends the attempt (a fault, an outcome, a panic) ends it; what delays it adds up; of
/// those that cancel it, the shortest counts. Rates and the switch may be functions, of a feature flag, say, and are asked for each attempt. A rate is clamped to 0 to 1; what is no number is 0.
///
/// The numbers follow from the [seed](ChaosBuilder::seed) and the count of decisions so far, so a program that makes its calls in the same
/// order gets the same faults.
///
/// # Cancellation
/// A [cancelled](ChaosBuilder::cancel) attempt begins, and what is inside is dropped on its way, as a caller who goes away would drop
/// it: that is where cleaning up is forgotten. What is outside gets a [cancellation](super::Error::is_cancelled), as if the surrounding work had
/// been cancelled: a retry gives up, a breaker counts nothing, a fallback does not run unless told to.
///
/// # Clocks
/// A clock that is wrong is nothing that happens to a call: see [`ClockSkew`].
///
/// # Other rules while it is in use
/// By [`set`](Self::set).
///
/// # Where it sits
/// Innermost, in the place of the callee: whatever is inside of it is spared. The lint says so.
///
/// # When to use something else
/// Never in a build that is not meant for it: it is there only with the feature `chaos`, which no other feature turns on.
///
/// Clones share the count of decisions.
pub struct Chaos<T, E> {
    inner: Arc<Inner<T, E>>,
}

struct Inner<T, E> {
    /// Those in force. An attempt keeps those with which it began.
    rules: Mutex<Arc<Rules<T, E>>>,
    /// By kind.
    injected: [AtomicU64; 7],
    clock: Clock,
    name: &'static str,
    observers: Observers<ChaosEvent>,
}

struct Rules<T, E> {
    rules: Box<[Rule<T, E>]>,
    switch: Switch,
    seed: u64,
    decisions: AtomicU64,
}

/// What is injected, and how often.
struct Rule<T, E> {
    rate: Rate,
    injection: Injection<T, E>,
}

type Made<R> = Box<dyn Fn() -> R + Send + Sync>;
type Behaviour = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Injection<T, E> {
    Latency(Made<Duration>),
    Hang,
    Cancel(Made<Duration>),
    Behaviour(Made<Behaviour>),
    Fault(Made<E>),
    Outcome(Made<Result<T, E>>),
    Panic(&'static str),
}

impl<T, E> Injection<T, E> {
    fn kind(&self) -> Injected {
        match self {
            Self::Latency(_) => Injected::Latency,
            Self::Hang => Injected::Hang,
            Self::Behaviour(_) => Injected::Behaviour,
            Self::Fault(_) => Injected::Fault,
            Self::Outcome(_) => Injected::Outcome,
            Self::Panic(_) => Injected::Panic,
            Self::Cancel(_) => Injected::Cancel,
        }
    }
}

/// What was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Injected {
    /// A delay before the call.
    Latency,
    /// A call that never ends, until somebody ends it.
    Hang,
    /// Work before the call.
    Behaviour,
    /// An error in place of the call.
    Fault,
    /// A result in place of the call.
    Outcome,
    /// A panic in place of the call.
    Panic,
    /// The call is cancelled on its way, unless it ends before that.
    Cancel,
}

/// What a [`Chaos`] tells those who observe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChaosEvent {
    /// Something was injected.
    #[non_exhaustive]
    Injected {
        /// The policy.
        name: &'static str,
        /// What.
        kind: Injected,
    },
}

/// How often a [`Chaos`] has injected what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosStats {
    /// Delays.
    pub latencies: u64,
    /// Calls that never end.
    pub hangs: u64,
    /// Work before the call.
    pub behaviours: u64,
    /// Errors.
    pub faults: u64,
    /// Results.
    pub outcomes: u64,
    /// Panics.
    pub panics: u64,
    /// Cancellations, those that a call has forestalled by its end included.
    pub cancels: u64,
}

impl<T, E> Chaos<T, E> {
    /// Rules to be added.
    pub fn builder() -> ChaosBuilder<T, E> {
        ChaosBuilder::new()
    }

    /// Runs an operation, or does something else to it.
    ///
    /// # Cancel safety
    /// Dropping the future drops what is running.
    ///
    /// # Errors
    /// The operation's own, an injected one, or an injected cancellation.
    ///
    /// # Panics
    /// If a panic is injected.
    pub fn call<F, Fut>(&self, op: F) -> Call<ChaosAttempt<'_, Once<F, Fut>, T, E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Once::new(op)))
    }

    /// How often it has injected what.
    pub fn stats(&self) -> ChaosStats {
        let count = |kind: Injected| {
            // Relaxed: a statistic.
            self.inner.injected.get(kind as usize).map_or(0, |count| count.load(Ordering::Relaxed))
        };
        ChaosStats {
            latencies: count(Injected::Latency),
            hangs: count(Injected::Hang),
            behaviours: count(Injected::Behaviour),
            faults: count(Injected::Fault),
            outcomes: count(Injected::Outcome),
            panics: count(Injected::Panic),
            cancels: count(Injected::Cancel),
        }
    }

    /// Puts the rules, the switch and the seed of `settings` in force, for all clones; decisions are counted from none again. The name and
    /// the clock stay as they are. An attempt that is under way goes on with the rules with which it began.
    ///
    /// ```
    /// use cofferdam::resilience::Chaos;
    ///
    /// # futures_executor::block_on(async {
    /// let chaos = Chaos::builder().fault(1.0, || "injected").build();
    /// assert!(chaos.call(|| async { Ok(7) }).await.is_err());
    /// chaos.set(Chaos::builder());
    /// assert_eq!(chaos.call(|| async { Ok(7) }).await, Ok(7));
    /// # });
    /// ```
    pub fn set(&self, settings: ChaosBuilder<T, E>) {
        let rules = settings.into_rules();
        let old = std::mem::replace(&mut *self.inner.rules.lock(), rules);
        // Holds functions of the user's: outside the lock.
        drop(old);
    }

    /// Shows all further events to `observer`, of all clones.
    pub fn observe(&self, observer: impl Observe<ChaosEvent>) {
        self.inner.observers.add(observer);
    }
}

impl<T, E> Inner<T, E> {
    fn rules(&self) -> Arc<Rules<T, E>> {
        Arc::clone(&self.rules.lock())
    }

    /// Whether this rule injects now.
    fn strikes(&self, rules: &Rules<T, E>, rule: &Rule<T, E>) -> bool {
        let rate = rule.rate.get();
        // Relaxed: the number is all there is to it.
        let decision = rules.decisions.fetch_add(1, Ordering::Relaxed);
        if !rate::strikes(rules.seed, decision, rate) {
            return false;
        }
        let (name, kind) = (self.name, rule.injection.kind());
        if let Some(count) = self.injected.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.observers.emit(|| ChaosEvent::Injected { name, kind });
        true
    }
}

impl<T, E> Clone for Chaos<T, E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T, E> fmt::Debug for Chaos<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = self.inner.rules();
        let kinds: Vec<_> = rules.rules.iter().map(|rule| rule.injection.kind()).collect();
        f.debug_struct("Chaos")
            .field("name", &self.inner.name)
            .field("rules", &kinds)
            .field("seed", &rules.seed)
            .finish_non_exhaustive()
    }
}

impl<T, E> Component for Chaos<T, E> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Chaos, self.inner.name));
    }
}

impl<T, E> Single for Chaos<T, E> {}

impl<'a, A: Attempt<Ok = T, Err = E>, T, E> Policy<A> for &'a Chaos<T, E> {
    type Attempt = ChaosAttempt<'a, A, T, E>;

    fn around(self, inner: A) -> ChaosAttempt<'a, A, T, E> {
        ChaosAttempt::new(self, inner)
    }
}
