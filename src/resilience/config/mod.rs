//! Settings of policies and stacks: plain data, to be read from configuration, checked, built, and changed while it runs.
//!
//! Each policy has a struct of settings whose fields are named as the methods of its builder, with the same defaults. With
//! the feature `serde` they are read from and written to any format: durations are texts such as `250ms` or `1h 30min`,
//! rates as [`Quota`](crate::limit::Quota) reads them, and a field that is not known is an error. [`StackSettings`] has one
//! for each policy of the order that suits most calls, and makes a [`StandardStack`].
//!
//! What can be said by a function alone (which results are failures, what is worth a retry) is no setting: for that, build
//! the stack by hand from the settings of its policies.
//!
//! # Settings of policies that are in no stack of settings
//! [`CacheSettings`] and `ChaosSettings` (with the feature `chaos`) are for policies that have types of the call in them: the stack is put
//! behind the one, and in front of the other. Both change what is in use: `apply`.
//!
//! A [`Fallback`](crate::resilience::Fallback) has no settings. What it gives is a value of the call's own type or a function of the error, and which errors it runs
//! for is a function, too; all that a text could say is its name, and whether it is there. Where the value stands in configuration,
//! read it as any other, and give it to [`Fallback::value`](crate::resilience::Fallback::value); where it is to change while it is in use, give
//! [`Fallback::with`](crate::resilience::Fallback::with) a function that reads it each time. Whether it is there is an `Option`, which is a
//! policy as well.

mod backoff;
mod breaker;
mod bulkhead;
mod cache;
#[cfg(feature = "chaos")]
mod chaos;
#[cfg(feature = "serde")]
mod env;
mod error;
mod hedge;
mod reload;
mod retry;
mod stack;
mod standard;
mod throttle;
#[cfg(feature = "serde")]
mod window;

pub use backoff::{BackoffSettings, BackoffShape};
pub use breaker::BreakerSettings;
pub use bulkhead::{BulkheadSettings, OrderSettings};
pub use cache::CacheSettings;
#[cfg(feature = "chaos")]
pub use chaos::ChaosSettings;
#[cfg(feature = "serde")]
pub use env::{EnvError, from_env, from_vars};
pub use error::{Problem, SettingsError};
pub use hedge::{HedgeDelay, HedgeSettings, Hedging, NoHedge};
pub use reload::{Reader, Reload, ReloadEvent, Reloadable};
pub use retry::{BudgetSettings, RetrySettings};
pub use stack::{HedgedSettings, StackSettings};
pub use standard::{HedgedStack, StandardPolicies, StandardStack};
pub use throttle::ThrottleSettings;
