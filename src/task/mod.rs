//! How work that must run by itself reaches an executor, how it owns what it borrows from, and what becomes of it.

#[cfg(any(feature = "group", feature = "resilience"))]
mod batch;
#[cfg(feature = "stream")]
mod block_on;
#[cfg(feature = "resilience")]
mod owned;
#[cfg(any(feature = "group", feature = "resilience"))]
#[cfg_attr(not(feature = "group"), allow(dead_code, reason = "it is made by the rooms behind features"))]
mod panic;
mod spawn;

#[cfg(any(feature = "group", feature = "resilience"))]
pub(crate) use batch::{AsTheyCome, Finished, InOrder};
#[cfg(any(feature = "group", feature = "resilience"))]
pub use batch::{Ended, ItemError, Items};
#[cfg(feature = "stream")]
pub(crate) use block_on::block_on;
#[cfg(feature = "resilience")]
pub(crate) use owned::{Begin, Outcome, Owned};
#[cfg(feature = "group")]
pub(crate) use panic::Caught;
#[cfg(any(feature = "group", feature = "resilience"))]
pub use panic::Panic;
pub use spawn::*;
