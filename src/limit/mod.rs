//! Rate limiting: pure decisions over exact integers, and thin waiting faces.
//!
//! A [`Rate`] is an exact rational, a [`Quota`] a rate with a burst, a [`TokenBucket`] admits by a quota. All three are
//! integers from end to end: no float and no truncated interval decides anything, so that over any stretch of time
//! exactly `burst + rate * time` tokens are admitted and none is lost.
//!
//! # Which limiter when
//! | limiter | use it for | its error bound | memory | decides |
//! |---|---|---|---|---|
//! | [`TokenBucket`] | a rate with bursts | exact: `burst + rate * t` in any time `t` | 16 bytes | lock-free |
//! | [`LeakyBucket`] | the same, seen as a level | exact: `capacity + leak * t` | 16 bytes | lock-free |
//! | [`Shaper`] | work that leaves evenly spaced | exact: `rate * t` and the last request | 16 bytes | lock-free |
//! | [`WarmUpLimiter`] | the same, slowly while cold | never faster than its rate | 32 bytes | short mutex |
//! | [`FixedWindow`] | quotas of a calendar | twice its limit in a window's length | 16 bytes | lock-free |
//! | [`SlidingWindow`] | so many in the last hour, cheaply | an estimate: under twice, in the worst case | 24 bytes | lock-free |
//! | [`SlidingWindowLog`] | so many in the last hour, exactly | exact | 48 bytes and 16 for each admission in the window | short mutex |
//! | [`MultiQuota`] | so many a second and so many a minute | exact, each | 80 bytes up to four quotas | short mutex |
//!
//! | [`AllOf`] | the same over limiters that others share | exact, each; in all or in none | its members | their mutexes |
//! | [`Keyed`] | one of these for each key | as the limiter, for as long as the key is remembered | 56 to 108 bytes a key, `u64` keys | a shard's mutex |
//! | [`Tiered`] | all, by route and by resource at once, told by a server's headers | exact, each; in all or in none | bounded buckets | the buckets' mutexes |
//! | [`ConcurrencyLimiter`] | how many at once | exact | one word and a queue | lock-free |
//! | [`AdaptiveLimiter`] | as many at once as the server bears | what AIMD, Vegas or Gradient2 find out | that and a window of samples | lock-free |
//! | [`AdmissionControl`] | clients of an overloaded server | none: a probability | a window of counters | lock-free |
//!
//! The lock-free ones pack their state into a word; settings whose numbers are too large for it decide under the mutex, as
//! exactly.
//!
//! How much at once, in place of how often: [`concurrency`].

#![forbid(unsafe_code)]

mod admission;
mod alarm;
mod algorithm;
mod all_of;
#[cfg(feature = "testkit")]
mod at_rest;
pub mod concurrency;
mod denied;
pub mod feedback;
mod gcra;
mod keyed;
mod leaky;
mod limiter;
mod quota;
mod rate;
#[cfg(feature = "serde")]
pub(crate) mod serialized;
mod several;
mod spacing;
mod text;
pub mod tiered;
mod token_bucket;
mod warm_up;
mod wide;
mod window;

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
    AcquireKey, CreateError, Forgotten, Idle, KeyDenied, KeyState, KeyWaitError, Keyed, KeyedBuilder,
    KeyedEvent, KeyedMap, KeyedMapBuilder, KeyedMapStats, KeyedStats, Seeded, SeededHasher, TooManyKeys,
    WhenFull,
};
pub use leaky::{Leaky, LeakyBucket};
pub use limiter::{Acquire, Decided, Limiter, LimiterBuilder, LimiterEvent, LimiterStats, Reservation};
pub use quota::Quota;
pub use rate::Rate;
pub use several::{MultiQuota, Several, SeveralBuilder, SeveralState};
pub use spacing::{Shaper, Spacing};
pub use tiered::Tiered;
pub use token_bucket::{TokenBucket, TokenBucketBuilder};
pub use warm_up::{WarmUp, WarmUpLimiter, WarmUpState};
pub use window::{
    CounterState, Fixed, FixedState, FixedWindow, LogState, SlidingCounter, SlidingLog, SlidingWindow,
    SlidingWindowLog,
};
