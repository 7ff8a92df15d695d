//! Rate limiting: pure decisions over exact integers, and thin waiting faces.
//!
//! A [`Rate`] is an exact rational, a [`Quota`] a rate with a burst, a [`TokenBucket`] admits by a quota. All three are
//! integers from end to end: no float and no truncated interval decides anything, so that over any stretch of time
//! exactly `burst + rate * time` tokens are admitted and none is lost.

#![forbid(unsafe_code)]

mod algorithm;
mod all_of;
mod denied;
mod gcra;
mod leaky;
mod limiter;
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
pub use all_of::{AllOf, Joint, JointBuilder, Member};
pub use denied::{Denied, WaitError};
pub use gcra::Gcra;
pub use leaky::{Leaky, LeakyBucket};
pub use limiter::{Acquire, Decided, Limiter, LimiterBuilder, LimiterStats, Reservation};
pub use quota::Quota;
pub use rate::Rate;
pub use several::{Several, SeveralBuilder, SeveralQuotas, SeveralState};
pub use spacing::{Shaper, Spacing};
pub use token_bucket::{TokenBucket, TokenBucketBuilder};
pub use warm_up::{WarmUp, WarmUpLimiter, WarmUpState};
pub use window::{
    CounterState, Fixed, FixedState, FixedWindow, LogState, SlidingCounter, SlidingLog, SlidingWindow,
    SlidingWindowLog,
};
