//! Policies that keep a call from making things worse, and the stack that composes them.

#![forbid(unsafe_code)]

mod adaptive;
pub mod admission;
pub mod breaker;
mod bulkhead;
pub mod cache;
#[cfg(feature = "chaos")]
pub mod chaos;
pub mod config;
mod error;
pub mod fallback;
#[cfg(feature = "http")]
mod http;
mod key_throttle;
mod lint;
pub mod map;
mod owned;
mod policy;
pub mod registry;
mod rejection;
mod retry;
mod stack;
mod throttle;
mod timeout;

pub use adaptive::*;
pub use admission::Admission;
pub use breaker::CircuitBreaker;
pub use bulkhead::*;
pub use cache::Cache;
#[cfg(feature = "chaos")]
pub use chaos::Chaos;
pub use error::*;
pub use fallback::Fallback;
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
