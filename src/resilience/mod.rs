//! Policies that keep a call from making things worse, and the stack that composes them.

#![forbid(unsafe_code)]

mod adaptive;
pub mod admission;
pub mod breaker;
mod budget;
mod bulkhead;
mod causes;
mod error;
mod hedge;
mod lint;
mod policy;
mod rejection;
mod retry;
mod stack;
mod throttle;
mod timeout;

pub use adaptive::*;
pub use admission::Admission;
pub use breaker::CircuitBreaker;
pub use budget::{Budget, QuotaBudgetBuilder, RatioBudgetBuilder, ShareBudgetBuilder};
pub use bulkhead::*;
pub use causes::{NotRetryable, causes};
pub use error::*;
pub use hedge::*;
pub use lint::{Lint, LintCode};
pub use policy::*;
pub use rejection::*;
pub use retry::*;
pub use stack::*;
pub use throttle::*;
pub use timeout::*;
