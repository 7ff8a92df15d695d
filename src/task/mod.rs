//! How work that must run by itself reaches an executor, what it takes along, how it owns what it
//! borrows from, and what becomes of it.

#[cfg(any(feature = "group", feature = "resilience"))]
mod batch;
mod carry;
#[cfg(feature = "resilience")]
mod owned;
#[cfg(any(feature = "group", feature = "health", feature = "resilience"))]
#[cfg_attr(not(feature = "group"), allow(dead_code, reason = "it is made by the rooms behind features"))]
mod panic;
#[cfg(any(feature = "pool", feature = "resilience", feature = "stream"))]
mod park;
mod spawn;

#[cfg(any(feature = "group", feature = "resilience"))]
pub(crate) use batch::{AsTheyCome, Finished, InOrder};
#[cfg(any(feature = "group", feature = "resilience"))]
pub use batch::{Ended, ItemError, Items};
pub use carry::{Carried, Carrier, Carrying, Errand};
#[cfg(feature = "pool")]
pub(crate) use carry::{pick_up, surround};
#[cfg(feature = "resilience")]
pub(crate) use owned::{Begin, Outcome, Owned};
#[cfg(any(feature = "group", feature = "health"))]
pub(crate) use panic::Caught;
#[cfg(any(feature = "group", feature = "health", feature = "resilience"))]
pub use panic::Panic;
#[cfg(any(feature = "pool", feature = "resilience", feature = "stream"))]
pub(crate) use park::block_on;
pub use spawn::*;
