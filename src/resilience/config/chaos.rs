//! Settings of faults on purpose.

use crate::resilience::Chaos;
use crate::resilience::chaos::{ChaosBuilder, Plan};

/// Settings of a [`Chaos`]; see its [builder](ChaosBuilder). They are there with the feature `chaos` alone.
///
/// What is injected, and at which rates, is one text: a [`Plan`]. What an injected error is, is of the callee's type: it is given to
/// [`builder`](Self::builder), and so a chaos is in no [`StackSettings`](super::StackSettings); it is put innermost, around the call.
///
/// ```
/// use cofferdam::resilience::Chaos;
/// use cofferdam::resilience::config::ChaosSettings;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let mut settings = ChaosSettings::default();
/// settings.plan = "error@100%".parse()?;
/// let chaos: Chaos<u32, &str> = settings.builder(|| "injected").build();
/// assert!(chaos.call(|| async { Ok(7) }).await.is_err());
///
/// settings.enabled = false;
/// settings.apply(&chaos, || "injected");
/// assert_eq!(chaos.call(|| async { Ok(7) }).await, Ok(7));
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct ChaosSettings {
    /// Whether anything is injected.
    pub enabled: bool,
    /// What is injected, and how often: in configuration a text such as `latency=50ms@10%, error@5%`. Nothing, unless told otherwise.
    pub plan: Plan,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl Default for ChaosSettings {
    fn default() -> Self {
        Self { enabled: true, plan: Plan::default(), seed: 0 }
    }
}

impl ChaosSettings {
    /// A builder with these settings, for a name and a clock. `fault` makes the errors of rules that inject one.
    ///
    /// The rules of the plan for the [clock](Plan::skew) are not in it.
    pub fn builder<T, E>(&self, fault: impl Fn() -> E + Clone + Send + Sync + 'static) -> ChaosBuilder<T, E> {
        self.plan.chaos(fault).enabled(self.enabled).seed(self.seed)
    }

    /// Puts these settings in force in a chaos that is in use: see [`Chaos::set`].
    pub fn apply<T, E>(&self, chaos: &Chaos<T, E>, fault: impl Fn() -> E + Clone + Send + Sync + 'static) {
        chaos.set(self.builder(fault));
    }
}
