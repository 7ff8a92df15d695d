//! A second attempt beside the first.

mod attempt;
mod builder;
mod event;
mod latencies;
mod race;

pub use attempt::HedgeAttempt;
pub use builder::HedgeBuilder;
pub use event::{HedgeEvent, HedgeStats, Suppressed};
pub use latencies::{Latencies, LatenciesBuilder};

use super::retry::{Judge, Lent, Retryable};
use super::{Budget, Call, Component, Fork, Kind, Layer, Operation, Policy, Single};
use crate::observe::Observers;
use crate::time::Clock;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Starts a second attempt beside one that is slow, and takes whichever comes first: for reads of which a few are far slower
/// than the rest, through no fault of their own.
///
/// ```
/// use cofferdam::resilience::{Budget, Hedge};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let hedge = Hedge::after(Duration::from_millis(20)).budget(Budget::ratio(0.05).build()?).build()?;
/// let answer = hedge.call(|| async { Ok::<_, std::io::Error>("from whichever replica is quick") }).await;
/// assert!(answer.is_ok());
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # How a call goes
///
/// | happens | then |
/// |---|---|
/// | the first attempt is ready at its first poll | it comes out: no timer, no clock, no allocation |
/// | the delay has passed, and again | a hedge begins, up to [`max_hedges`](HedgeBuilder::max_hedges), if the budget can pay |
/// | an attempt succeeds | the others are dropped, and then it comes out |
/// | an attempt fails in a way to be tried again | the others go on; the next hedge begins [at once](OnFailure) |
/// | an attempt fails in a way not to be tried again | the others are dropped, and it comes out |
/// | a policy inside refuses a hedge | the others go on, as if it had not begun |
/// | none is left | the error of the first attempt comes out, or [that of the last](HedgeBuilder::last_error) |
///
/// What is to be tried again a [judge](Judge) says, as for a [`Retry`](super::Retry); one that says after how long holds back
/// the next hedge as long.
///
/// A delay of zero starts all hedges at once, [`Duration::MAX`] starts them only for failures.
///
/// All attempts are driven by the caller's task. A hedge allocates when it begins.
///
/// # The operation
/// Its closure is cloned for each hedge, with all that it has captured; one that captures what cannot be cloned, or borrows it
/// mutably, does not compile. What can be run only once ([`Stack::call_once`](super::Stack::call_once)) is run once, however
/// slow it is. Inside, [`HedgeMark`] tells attempts apart: to ask another replica, say.
///
/// # When to use something else
/// An operation that must not take effect twice must not be hedged. A callee that is slow since it has too much to do gets
/// more of it: give it a [`Budget`].
///
/// Source: J. Dean and L. Barroso, "The Tail at Scale", CACM 2013.
///
/// Clones share the budget, the latencies, the observers and the counts.
#[derive(Clone)]
pub struct Hedge<J = Retryable> {
    settings: Settings,
    judge: J,
}

/// All of a hedge but its judge.
#[derive(Clone)]
struct Settings {
    delay: Delay,
    max_hedges: u32,
    /// Whether there is anything to do when a call begins.
    has_beginning: bool,
    marks: bool,
    last_error: bool,
    on_failure: OnFailure,
    budget: Option<Budget>,
    name: &'static str,
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
enum Delay {
    Fixed(Duration),
    Quantile { latencies: Latencies, least: Duration, most: Duration },
}

#[derive(Default)]
struct Shared {
    observers: Observers<HedgeEvent>,
    counters: event::Counters,
}

/// What a failure to be tried again brings about, while hedges are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnFailure {
    /// The next hedge begins at once.
    #[default]
    StartNext,
    /// The next hedge begins when its delay has passed.
    WaitForDelay,
    /// The failure comes out, and the others are dropped.
    ReturnNow,
}

/// Which attempt of a hedged call this is, in the current [`Context`](crate::sync::Context) of a hedge that
/// [marks](HedgeBuilder::mark_attempts) them.
///
/// ```
/// use cofferdam::resilience::{Hedge, HedgeMark};
/// use cofferdam::sync::Context;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let replicas = ["a", "b", "c"];
/// let hedge = Hedge::after(Duration::ZERO).max_hedges(2).mark_attempts(true).build()?;
/// let answer = hedge.call(|| async {
///     let number = Context::current().value::<HedgeMark>().map_or(0, |mark| mark.number());
///     let replica = replicas[number as usize];
///     if replica == "c" { Ok(replica) } else { Err("down") }
/// });
/// assert_eq!(answer.await, Ok("c"));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgeMark {
    policy: &'static str,
    number: u32,
}

impl HedgeMark {
    /// The name of the hedge.
    pub const fn policy(&self) -> &'static str {
        self.policy
    }

    /// 0 for the first attempt, the number of the hedge for others.
    pub const fn number(&self) -> u32 {
        self.number
    }
}

impl Hedge {
    /// Hedges what takes longer than this.
    pub fn after(delay: Duration) -> HedgeBuilder {
        HedgeBuilder::new(Delay::Fixed(delay))
    }

    /// Hedges what takes longer than a quantile of the calls before: with 0.95, one in twenty. Nothing is hedged for its
    /// slowness before there are enough calls.
    ///
    /// First attempts that succeed are recorded. So are those that a hedge has beaten, by the time that they had taken by
    /// then: they took longer than the delay, and that is all that the quantile needs to know. If they were left out, those
    /// that are recorded would all be quick ones, and the delay would shrink from window to window.
    ///
    /// ```
    /// use cofferdam::resilience::{Budget, Hedge, Latencies};
    /// use std::time::Duration;
    ///
    /// let hedge = Hedge::after_quantile(Latencies::builder(0.95).build()?)
    ///     .least_delay(Duration::from_millis(2))
    ///     .budget(Budget::ratio(0.1).build()?)
    ///     .build()?;
    /// # Ok::<(), cofferdam::ConfigError>(())
    /// ```
    pub fn after_quantile(latencies: Latencies) -> HedgeBuilder {
        HedgeBuilder::new(Delay::Quantile { latencies, least: Duration::ZERO, most: Duration::MAX })
    }
}

impl<J> Hedge<J> {
    /// The name, as events call it.
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    /// After how long a call that begins now is hedged; `None`: not for its slowness.
    pub fn delay(&self) -> Option<Duration> {
        self.settings.delay()
    }

    /// Those who see its [events](HedgeEvent).
    pub fn observers(&self) -> &Observers<HedgeEvent> {
        &self.settings.shared.observers
    }

    crate::observe::watchable!(settings.shared, [J], HedgeStats, |shared| shared.counters.stats());

    /// Counts, of all clones.
    pub fn stats(&self) -> HedgeStats {
        self.settings.shared.counters.stats()
    }

    /// Runs an operation. `op`, and clones of it, make the future of one attempt each time they are called.
    ///
    /// # Cancel safety
    /// Dropping the future drops all attempts that are under way.
    ///
    /// # Errors
    /// See [the table](Self#how-a-call-goes).
    #[inline]
    #[allow(clippy::type_complexity, reason = "a call names what it is made of")]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<HedgeAttempt<'_, Lent<'_, J>, Operation<F, Fut>, T, E>>
    where
        J: Judge<T, E>,
        F: FnMut() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
    {
        Call::new(self.around(Operation::new(op)))
    }
}

impl Settings {
    fn delay(&self) -> Option<Duration> {
        match &self.delay {
            Delay::Fixed(delay) => (*delay < Duration::MAX).then_some(*delay),
            Delay::Quantile { latencies, least, most } => {
                latencies.quantile().map(|quantile| quantile.max(*least).min(*most))
            }
        }
    }
}

/// What can be run only once is run once.
impl<J> Single for Hedge<J> {}

impl<'a, J, A> Policy<A> for &'a Hedge<J>
where
    A: Fork,
    J: Judge<A::Ok, A::Err>,
{
    type Attempt = HedgeAttempt<'a, Lent<'a, J>, A, A::Ok, A::Err>;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        HedgeAttempt::new(&self.settings, Lent(&self.judge), inner)
    }
}

impl<J> Component for Hedge<J> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        let Settings { max_hedges, ref budget, name, .. } = self.settings;
        layers.push(Layer::new(Kind::Hedge { max_hedges, has_budget: budget.is_some() }, name));
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("name", &self.name)
            .field("delay", &self.delay)
            .field("max_hedges", &self.max_hedges)
            .field("budget", &self.budget)
            .field("stats", &self.shared.counters.stats())
            .finish_non_exhaustive()
    }
}

impl<J> fmt::Debug for Hedge<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
