//! Primitives that wait.

#[cfg(feature = "testkit")]
mod at_rest;
mod cancel;
mod channel;
pub(crate) mod context;
mod counters;
mod gate;
pub mod oneshot;
#[allow(dead_code, reason = "the rooms behind features use the rest of it")]
pub(crate) mod ring;
mod semaphore;
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(crate) mod striped;

pub use cancel::*;
pub use channel::*;
pub use context::*;
pub use counters::*;
pub use gate::*;
pub use semaphore::*;
