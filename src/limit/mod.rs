//! Rate limiting: pure decisions over exact integers, and thin waiting faces.
//!
//! A [`Rate`] is an exact rational, a [`Quota`] a rate with a burst, a [`TokenBucket`] admits by a quota. All three are
//! integers from end to end: no float and no truncated interval decides anything, so that over any stretch of time
//! exactly `burst + rate * time` tokens are admitted and none is lost.

#![forbid(unsafe_code)]

mod algorithm;
mod denied;
mod gcra;
mod leaky;
mod quota;
mod rate;
mod several;
mod spacing;
mod text;
mod token_bucket;
mod warm_up;
mod wide;
mod window;

pub use algorithm::Algorithm;
pub use denied::{Denied, WaitError};
pub use gcra::Gcra;
pub use leaky::Leaky;
pub use quota::Quota;
pub use rate::Rate;
pub use several::{Several, SeveralBuilder, SeveralState};
pub use spacing::Spacing;
pub use token_bucket::{Acquire, Decided, Reservation, TokenBucket, TokenBucketBuilder, TokenBucketStats};
pub use warm_up::{WarmUp, WarmUpState};
pub use window::{CounterState, Fixed, FixedState, LogState, SlidingCounter, SlidingLog};
