//! Policies that keep a call from making things worse, and the stack that composes them.

#![forbid(unsafe_code)]

mod adaptive;
pub mod admission;
#[cfg(feature = "testkit")]
mod at_rest;
pub mod breaker;
mod budget;
mod bulkhead;
pub mod cache;
mod causes;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod config;
mod error;
pub mod fallback;
mod hedge;
#[cfg(feature = "http")]
mod http;
mod key_throttle;
mod lint;
pub mod map;
mod owned;
mod policy;
pub mod presets;
pub mod registry;
mod rejection;
mod retry;
mod stack;
mod throttle;
mod timeout;

pub use adaptive::*;
pub use admission::Admission;
pub use breaker::CircuitBreaker;
pub use budget::{Budget, BudgetStats, QuotaBudgetBuilder, RatioBudgetBuilder, ShareBudgetBuilder};
pub use bulkhead::*;
pub use cache::Cache;
pub use causes::{NotRetryable, causes};
#[cfg(feature = "chaos")]
pub use chaos::Chaos;
pub use error::*;
pub use fallback::Fallback;
pub use hedge::*;
pub use key_throttle::{KeyThrottle, KeyThrottleAttempt};
pub use lint::{Lint, LintCode};
pub use map::{Ended, ItemError, Map};
pub use owned::OwnedCall;
pub use policy::*;
pub use registry::Registry;
pub use rejection::*;
pub use retry::*;
pub use stack::*;
pub use throttle::*;
pub use timeout::*;
