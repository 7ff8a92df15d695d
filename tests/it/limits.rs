//! Limits: algorithms, the engine around them, keys, tiers, concurrency. A binary of its own, because one for all is too much
//! for one compiler.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]
#![allow(
    clippy::async_yields_async,
    clippy::result_large_err,
    clippy::forget_non_drop,
    reason = "futures of futures, refused futures and forgotten guards are what is tested"
)]

mod admission;
mod algorithms;
mod all_of;
mod concurrency;
mod feedback;
mod keyed;
mod limiter;
#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
mod throttle;
mod tiered;
mod token_bucket;
