//! Settings of a hedge, and whether a stack has one.

use super::BudgetSettings;
use super::error::Problems;
use crate::ConfigError;
use crate::resilience::{Budget, Component, Hedge, HedgeBuilder, Latencies, OnFailure};
use crate::time::Clock;
use std::fmt;
use std::time::Duration;

/// After how long a call is hedged.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum HedgeDelay {
    /// See [`Hedge::after`].
    Fixed(#[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration"))] Duration),
    /// See [`Hedge::after_quantile`].
    Quantile {
        /// Of how long calls take.
        quantile: f64,
        /// For how long a call is remembered, and for twice that at most. 30 s unless told otherwise.
        #[cfg_attr(
            feature = "serde",
            serde(with = "crate::limit::serialized::duration", default = "thirty_seconds")
        )]
        window: Duration,
        /// So many calls must be remembered before there is a quantile. 100 unless told otherwise.
        #[cfg_attr(feature = "serde", serde(default = "hundred"))]
        min_samples: u32,
        /// The shortest delay. None unless told otherwise.
        #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration", default))]
        least_delay: Duration,
        /// The longest delay. None unless told otherwise.
        #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration::optional", default))]
        most_delay: Option<Duration>,
    },
}

#[cfg(feature = "serde")]
const fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

#[cfg(feature = "serde")]
const fn hundred() -> u32 {
    100
}

/// Settings of a [`Hedge`]; see its [builder](HedgeBuilder), whose defaults they have.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct HedgeSettings {
    /// After how long: in configuration `{ fixed: 50ms }`, or `{ quantile: { quantile: 0.95, .. } }`.
    pub delay: HedgeDelay,
    /// How many attempts a call may have beside the first. 1 unless told otherwise.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub max_hedges: u32,
    /// What a failure brings about: in configuration `start_next`, `wait_for_delay` or `return_now`. The first, unless told
    /// otherwise.
    #[cfg_attr(feature = "serde", serde(default))]
    pub on_failure: OnFailure,
    /// Whether, when all attempts have failed, the last failure comes out. Not unless told so.
    #[cfg_attr(feature = "serde", serde(default))]
    pub last_error: bool,
    /// Whether attempts are marked with their number. Not unless told so.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mark_attempts: bool,
    /// What all calls together may spend on hedges. Without it they share the budget of the retry, if that has one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub budget: Option<BudgetSettings>,
}

#[cfg(feature = "serde")]
const fn one() -> u32 {
    1
}

/// What a hedge shares with the one that is made of changed settings.
#[derive(Clone, Default)]
pub(super) struct HedgeParts {
    latencies: Option<Latencies>,
    /// One of its own.
    pub(super) budget: Option<Budget>,
}

impl HedgeSettings {
    /// One hedge after so long.
    pub const fn new(delay: HedgeDelay) -> Self {
        Self {
            delay,
            max_hedges: 1,
            on_failure: OnFailure::StartNext,
            last_error: false,
            mark_attempts: false,
            budget: None,
        }
    }

    /// A builder with these settings but for the budget, which is made to be shared: see [`BudgetSettings::build`].
    ///
    /// # Errors
    /// As [`LatenciesBuilder::build`](crate::resilience::LatenciesBuilder::build).
    pub fn builder(&self, clock: &Clock) -> Result<HedgeBuilder, ConfigError> {
        Ok(self.builder_with(self.latencies(clock)?).clock(clock.clone()))
    }

    fn latencies(&self, clock: &Clock) -> Result<Option<Latencies>, ConfigError> {
        let HedgeDelay::Quantile { quantile, window, min_samples, .. } = self.delay else { return Ok(None) };
        let latencies = Latencies::builder(quantile).window(window).min_samples(min_samples);
        latencies.clock(clock.clone()).build().map(Some)
    }

    fn builder_with(&self, latencies: Option<Latencies>) -> HedgeBuilder {
        let builder = match (&self.delay, latencies) {
            (HedgeDelay::Quantile { least_delay, most_delay, .. }, Some(latencies)) => {
                let builder = Hedge::after_quantile(latencies).least_delay(*least_delay);
                builder.most_delay(most_delay.unwrap_or(Duration::MAX))
            }
            // A quantile of nothing is never known.
            (HedgeDelay::Quantile { .. }, None) => Hedge::after(Duration::MAX),
            (HedgeDelay::Fixed(delay), _) => Hedge::after(*delay),
        };
        builder
            .max_hedges(self.max_hedges)
            .on_failure(self.on_failure)
            .last_error(self.last_error)
            .mark_attempts(self.mark_attempts)
    }

    /// What is kept when other settings change.
    pub(super) fn parts(&self, clock: &Clock, problems: &mut Problems) -> HedgeParts {
        let budget = self.budget.as_ref().and_then(|budget| budget.make("hedge", clock, problems));
        let latencies = problems.of("hedge.delay.quantile", self.latencies(clock)).flatten();
        HedgeParts { latencies, budget }
    }

    /// Of `new`, which is made of these settings, and `old`, which is made of others: what is in use from now on.
    pub(super) fn keep(&self, others: &Self, new: &mut HedgeParts, old: &HedgeParts) {
        if self.budget == others.budget {
            new.budget.clone_from(&old.budget);
        }
        let remembered = |settings: &Self| match settings.delay {
            HedgeDelay::Quantile { quantile, window, min_samples, .. } => {
                Some((quantile, window, min_samples))
            }
            HedgeDelay::Fixed(_) => None,
        };
        if remembered(self) == remembered(others) {
            new.latencies.clone_from(&old.latencies);
        }
    }

    /// The hedge, which shares the budget `shared` if it has none of its own.
    pub(super) fn make(
        &self,
        name: &'static str,
        clock: &Clock,
        parts: &HedgeParts,
        shared: Option<&Budget>,
        problems: &mut Problems,
    ) -> Option<Hedge> {
        let mut builder = self.builder_with(parts.latencies.clone()).name(name).clock(clock.clone());
        // The retry around it counts the calls.
        if let Some(budget) = parts.budget.clone().or_else(|| shared.map(Budget::spender)) {
            builder = builder.budget(budget);
        }
        let built = builder.build();
        let is_delay = built.as_ref().is_err_and(|error| error.knob() == "least_delay");
        problems.of(if is_delay { "hedge.delay.quantile" } else { "hedge" }, built)
    }
}

/// Whether a stack has a hedge in it: [`NoHedge`], or [`HedgeSettings`].
///
/// It is a matter of types since a hedged operation has to be [`Fork`](crate::resilience::Fork): its closure can be cloned,
/// and is safe to run twice.
pub trait Hedging: sealed::Sealed + Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl Hedging for NoHedge {}
impl Hedging for HedgeSettings {}

/// The settings of a hedge that cannot be: of a stack without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there never is one")]
pub enum NoHedge {}

pub(super) mod sealed {
    use super::{Component, Hedge, HedgeSettings, NoHedge};

    pub trait Sealed {
        /// What is in the place of the hedge.
        type Layer: Component + Clone + Send + Sync + 'static;

        fn layer(hedge: Option<Hedge>) -> Self::Layer;

        fn settings(&self) -> &HedgeSettings;
    }

    impl Sealed for NoHedge {
        type Layer = ();

        fn layer(_: Option<Hedge>) -> Self::Layer {}

        fn settings(&self) -> &HedgeSettings {
            match *self {}
        }
    }

    impl Sealed for HedgeSettings {
        type Layer = Option<Hedge>;

        fn layer(hedge: Option<Hedge>) -> Self::Layer {
            hedge
        }

        fn settings(&self) -> &HedgeSettings {
            self
        }
    }
}

/// Is never written.
#[cfg(feature = "serde")]
impl serde::Serialize for NoHedge {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

/// Is always an error: these settings are for calls that may not be run twice.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for NoHedge {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "a hedge is only in the settings of a stack that may run its calls twice",
        ))
    }
}
