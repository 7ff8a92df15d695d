//! Rate limiting: pure decisions over exact integers, and thin waiting faces.
//!
//! A [`Rate`] is an exact rational, a [`Quota`] a rate with a burst, a [`TokenBucket`] admits by a quota. All three are
//! integers from end to end: no float and no truncated interval decides anything, so that over any stretch of time
//! exactly `burst + rate * time` tokens are admitted and none is lost.

#![forbid(unsafe_code)]

mod algorithm;
mod denied;
mod gcra;
mod keyed;
mod limiter;
mod quota;
mod rate;
mod text;
mod token_bucket;

pub use algorithm::Algorithm;
pub use denied::{Denied, WaitError};
pub use gcra::Gcra;
pub use keyed::{
    AcquireKey, CreateError, Idle, KeyDenied, KeyState, KeyWaitError, Keyed, KeyedBuilder, KeyedMap,
    KeyedMapBuilder, KeyedMapStats, KeyedStats, Seeded, SeededHasher, TooManyKeys, WhenFull,
};
pub use limiter::{Acquire, Decided, Limiter, LimiterBuilder, LimiterStats, Reservation};
pub use quota::Quota;
pub use rate::Rate;
pub use token_bucket::{TokenBucket, TokenBucketBuilder};
