//! One clock for every component, deadlines, timeouts, backoff and jitter.
//!
//! Nothing else in the crate reads the time or arms a timer. A [`Clock`] is a cheap handle that every component takes;
//! by default it is the system's monotonic clock. Put a [`ManualClock`](crate::testkit::ManualClock) or a
//! [`Sim`](crate::testkit::Sim) behind it and an hour passes in a microsecond.

#![forbid(unsafe_code)]

mod backoff;
mod clock;
mod deadline;
mod epoch;
mod jitter;
mod number;
#[cfg(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))]
mod reactor;
mod system;
#[cfg(any(test, not(all(feature = "async-io", not(any(cofferdam_loom, cofferdam_shuttle))))))]
mod thread;
mod timeout;
#[allow(dead_code, reason = "hosts timers without a reactor, and those of `testkit`")]
pub(crate) mod timers;
#[cfg(feature = "tokio")]
mod tokio;

#[allow(unused_imports, reason = "rooms behind features keep it")]
pub(crate) use backoff::Spread;
pub use backoff::{Backoff, Delays};
pub use clock::{Clock, Sleep, Timer};
pub use deadline::Deadline;
#[allow(unused_imports, reason = "rooms behind features keep their own time from it")]
pub(crate) use epoch::Epoch;
/// The generator from which jitter comes, where you give it one: `fastrand`'s.
pub use fastrand::Rng;
pub use jitter::*;
#[allow(unused_imports, reason = "rooms behind features arm it")]
pub(crate) use timeout::Alarm;
pub use timeout::{Elapsed, Timeout, timeout};
