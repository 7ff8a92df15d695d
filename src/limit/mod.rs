//! Rate limiting: pure decisions over exact integers, and thin waiting faces.
//!
//! A [`Rate`] is an exact rational, a [`Quota`] a rate with a burst, a [`TokenBucket`] admits by a quota. All three are
//! integers from end to end: no float and no truncated interval decides anything, so that over any stretch of time
//! exactly `burst + rate * time` tokens are admitted and none is lost.
//!
//! How much at once, in place of how often: [`concurrency`].

#![forbid(unsafe_code)]

mod admission;
mod algorithm;
mod all_of;
pub mod concurrency;
mod denied;
pub mod feedback;
mod gcra;
mod keyed;
mod limiter;
mod quota;
mod rate;
#[cfg(feature = "serde")]
mod serialized;
mod text;
pub mod tiered;
mod token_bucket;

pub use admission::{
    AdmissionBuilder, AdmissionControl, AdmissionPermit, AdmissionStats, Answer, NotAdmitted,
    OwnedAdmissionPermit,
};
pub use algorithm::Algorithm;
pub use all_of::{AllOf, Joint, JointBuilder, Member};
pub use concurrency::{AdaptiveLimiter, ConcurrencyLimiter};
pub use denied::{Denied, WaitError};
pub use feedback::Feedback;
pub use gcra::Gcra;
pub use keyed::{
    AcquireKey, CreateError, Idle, KeyDenied, KeyState, KeyWaitError, Keyed, KeyedBuilder, KeyedMap,
    KeyedMapBuilder, KeyedMapStats, KeyedStats, Seeded, SeededHasher, TooManyKeys, WhenFull,
};
pub use limiter::{Acquire, Decided, Limiter, LimiterBuilder, LimiterStats, Reservation};
pub use quota::Quota;
pub use rate::Rate;
pub use tiered::Tiered;
pub use token_bucket::{TokenBucket, TokenBucketBuilder};
