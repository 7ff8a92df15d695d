//! How work that must run by itself reaches an executor, and how it owns what it borrows from.

#[cfg(feature = "resilience")]
mod owned;
#[cfg(any(feature = "pool", feature = "resilience"))]
mod park;
mod spawn;

#[cfg(feature = "resilience")]
pub(crate) use owned::{Begin, Outcome, Owned};
#[cfg(any(feature = "pool", feature = "resilience"))]
pub(crate) use park::block_on;
pub use spawn::*;
