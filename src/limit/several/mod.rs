//! Several quotas at once: all of them admit, or nothing is taken of any.

mod builder;
mod state;

pub use builder::SeveralBuilder;
pub use state::SeveralState;

use super::gcra::scale;
use super::limiter::{Engine, Plan};
use super::{Algorithm, Denied, Gcra, Limiter, Quota};
use crate::ConfigError;
use std::fmt;

const NAME: &str = "several quotas";

/// Several quotas that hold together, such as 10 a second and 200 a minute: a request takes from all of them, or from none.
///
/// A request is there at the first instant at which every quota admits it, and all are charged as of that instant. After a
/// refusal [`binding`](Self::binding) tells which quota has the longest wait.
///
/// # Error
/// None: each quota alone is exact as [`Gcra`] is, so over any stretch of time `t` the least of their `burst + rate * t` is
/// admitted, and whoever asks often enough loses none.
///
/// # Memory
/// 80 bytes for each state of up to four quotas, all of it inline; of more, those and 16 for each quota in a boxed slice.
///
/// ```
/// use cofferdam::limit::{Algorithm, Quota, Several};
///
/// let both = Several::builder()
///     .named("second", Quota::per_second(10))
///     .named("minute", Quota::per_minute(15))
///     .build()?;
/// let mut state = both.fresh(0);
/// assert!(both.take(&mut state, 0, 10).is_ok());
/// assert!(both.take(&mut state, 1_000_000_000, 6).is_err());
/// let binding = both.binding(&state, 1_000_000_000, 6).unwrap();
/// assert_eq!(both.name(binding), Some("minute"));
/// // Nothing was taken: five are still there.
/// assert_eq!(both.available(&state, 1_000_000_000), 5);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Several {
    tiers: Box<[Tier]>,
}

#[derive(Clone, PartialEq, Eq)]
struct Tier {
    name: Option<Box<str>>,
    gcra: Gcra,
}

/// When a quota has what is wanted; later ones are greater.
enum Wait {
    /// At `units`, of which it has `limit` to a nanosecond.
    Until {
        units: u128,
        limit: u64,
    },
    /// Past the end of time.
    Endless,
    Never,
}

impl Wait {
    fn is_longer_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Until { units: a, limit: by_a }, Self::Until { units: b, limit: by_b }) => {
                // As fractions: neither limit is zero, or it would be never.
                let (by_a, by_b) = (u128::from(*by_a).max(1), u128::from(*by_b).max(1));
                (a / by_a, (a % by_a) * by_b) > (b / by_b, (b % by_b) * by_a)
            }
            (Self::Never, other) => !matches!(other, Self::Never),
            (Self::Endless, other) => matches!(other, Self::Until { .. }),
            (Self::Until { .. }, _) => false,
        }
    }
}

impl Several {
    /// Of these quotas, without names.
    ///
    /// # Errors
    /// None at all.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, ConfigError> {
        quotas.into_iter().fold(Self::builder(), SeveralBuilder::quota).build()
    }

    /// Of quotas of which some have names.
    pub fn builder() -> SeveralBuilder {
        SeveralBuilder::default()
    }

    /// The quotas, in the order in which they were given.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = Quota> + '_ {
        self.tiers.iter().map(|tier| tier.gcra.quota())
    }

    /// The name of a quota, if it exists and has one.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.tiers.get(index)?.name.as_deref()
    }

    /// Which quota makes `n` tokens wait longest; `None` if they are there now. One that can never admit them makes them wait
    /// longest of all; of equals it is the first.
    pub fn binding(&self, state: &SeveralState, now: u64, n: u64) -> Option<usize> {
        self.longest(state, now, n).map(|(index, _)| index)
    }

    /// The quota that makes `n` tokens wait longest, and how long; `None` if all admit them now.
    fn longest(&self, state: &SeveralState, now: u64, n: u64) -> Option<(usize, Wait)> {
        let mut longest: Option<(usize, Wait)> = None;
        for (index, (tier, tat)) in self.tiers.iter().zip(state.times()).enumerate() {
            let Some(wait) = tier.wait(*tat, now, n) else { continue };
            if longest.as_ref().is_none_or(|(_, other)| wait.is_longer_than(other)) {
                longest = Some((index, wait));
            }
        }
        longest
    }

    /// The refusal of such a wait.
    fn denied(&self, wait: &Wait, now: u64, n: u64) -> Denied {
        let capacity = self.capacity();
        match *wait {
            Wait::Never => Denied::never(NAME, n, capacity),
            Wait::Endless => Denied::after_nanos(NAME, n, capacity, u64::MAX),
            Wait::Until { units, limit } => {
                let short = units.saturating_sub(u128::from(now) * u128::from(limit));
                let nanos = short.div_ceil(u128::from(limit).max(1));
                Denied::after_nanos(NAME, n, capacity, u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// The quota of `next` that is this one of `self`.
    fn predecessor(&self, next: &Self, index: usize) -> Option<usize> {
        match next.name(index) {
            None => {
                Some(index).filter(|index| self.tiers.get(*index).is_some_and(|tier| tier.name.is_none()))
            }
            name => self.tiers.iter().position(|tier| tier.name.as_deref() == name),
        }
    }
}

impl Tier {
    fn wait(&self, tat: u128, now: u64, n: u64) -> Option<Wait> {
        let terms = self.gcra.terms;
        if n > terms.burst {
            return Some(Wait::Never);
        }
        let top = terms.at(now).saturating_add(terms.depth());
        match terms.charge(tat, now, n) {
            Some(next) if next <= top => None,
            Some(_) | None if terms.limit == 0 => Some(Wait::Never),
            Some(next) => Some(Wait::Until { units: next - terms.depth(), limit: terms.limit }),
            None => Some(Wait::Endless),
        }
    }
}

impl fmt::Debug for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Several")?;
        f.debug_list().entries(&self.tiers).finish()
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}: ")?;
        }
        write!(f, "{}", self.gcra.quota())
    }
}

impl Engine for Several {
    type Line = Plan<Self>;

    const PACKED: bool = false;
}

impl Algorithm for Several {
    type State = SeveralState;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> SeveralState {
        SeveralState::new(self.tiers.iter().map(|tier| tier.gcra.fresh(now)))
    }

    /// Of the smallest burst.
    fn capacity(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.gcra.capacity()).min().unwrap_or(0)
    }

    fn charge(&self, state: &mut SeveralState, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 {
            return Ok(now);
        }
        let Some((_, wait)) = self.longest(state, now, n) else {
            self.take(state, now, n)?;
            return Ok(now);
        };
        let Wait::Until { units, limit } = wait else { return Err(self.denied(&wait, now, n)) };
        let mut next = state.clone();
        for (tier, tat) in self.tiers.iter().zip(next.times_mut()) {
            let terms = tier.gcra.terms;
            // As of the very instant, which may be within a nanosecond.
            let at = scale(units, terms.limit, limit, true);
            let charged = terms.charge((*tat).max(at), now, n);
            *tat = charged.ok_or_else(|| self.denied(&Wait::Endless, now, n))?;
        }
        *state = next;
        Ok(u64::try_from(units.div_ceil(u128::from(limit).max(1))).unwrap_or(u64::MAX))
    }

    #[inline]
    fn take(&self, state: &mut SeveralState, now: u64, n: u64) -> Result<(), Denied> {
        if n == 0 || state.change_all(&self.tiers, |tier, tat| tier.gcra.terms.taken(tat, now, n)) {
            return Ok(());
        }
        self.check(state, now, n)
    }

    fn check(&self, state: &SeveralState, now: u64, n: u64) -> Result<(), Denied> {
        match self.longest(state, now, n) {
            Some((_, wait)) if n > 0 => Err(self.denied(&wait, now, n)),
            _ => Ok(()),
        }
    }

    /// Of the quota that has fewest.
    fn available(&self, state: &SeveralState, now: u64) -> u64 {
        let tiers = self.tiers.iter().zip(state.times());
        tiers.map(|(tier, tat)| tier.gcra.available(tat, now)).min().unwrap_or(0)
    }

    /// To each quota.
    fn refund(&self, state: &mut SeveralState, now: u64, n: u64) {
        for (tier, tat) in self.tiers.iter().zip(state.times_mut()) {
            tier.gcra.refund(tat, now, n);
        }
    }

    /// Each quota.
    fn drain_to(&self, state: &mut SeveralState, now: u64, n: u64) {
        for (tier, tat) in self.tiers.iter().zip(state.times_mut()) {
            tier.gcra.drain_to(tat, now, n);
        }
    }

    /// A quota with a name goes on from the one that had the name, and one without from the one that had its place, if that had
    /// no name either. One that is new starts fresh.
    fn carry(&self, next: &Self, state: &SeveralState, now: u64) -> SeveralState {
        SeveralState::new(next.tiers.iter().enumerate().map(|(index, tier)| {
            let before = self.predecessor(next, index);
            let before = before.and_then(|index| self.tiers.get(index).zip(state.times().get(index)));
            before.map_or_else(|| tier.gcra.fresh(now), |(old, tat)| old.gcra.carry(&tier.gcra, tat, now))
        }))
    }

    fn fresh_at(&self, state: &SeveralState) -> u64 {
        let tiers = self.tiers.iter().zip(state.times());
        tiers.map(|(tier, tat)| tier.gcra.fresh_at(tat)).max().unwrap_or(0)
    }
}

/// Admits by several quotas at once; see [`Several`]. Decides under a short mutex.
///
/// ```
/// use cofferdam::limit::{Quota, MultiQuota};
///
/// let limiter = MultiQuota::new([Quota::per_second(10), Quota::per_minute(200)])?;
/// assert!(limiter.try_acquire_many(10).is_ok());
/// assert_eq!(limiter.binding(1), Some(0));
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub type MultiQuota = Limiter<Several>;

impl Limiter<Several> {
    /// Of these quotas, on the system's clock.
    ///
    /// # Errors
    /// None at all.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, ConfigError> {
        Ok(Self::of(Several::new(quotas)?))
    }

    /// Which quota makes `n` tokens wait longest now; see [`Several::binding`].
    pub fn binding(&self, n: u64) -> Option<usize> {
        self.look(|several, state, now| several.binding(state, now, n))
    }
}
