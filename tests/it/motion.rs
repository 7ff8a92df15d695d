//! Work in motion: pools, groups, streams, slices.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]
#![allow(
    clippy::async_yields_async,
    clippy::result_large_err,
    clippy::forget_non_drop,
    reason = "futures of futures, refused futures and forgotten guards are what is tested"
)]

mod group;
mod parallel;
mod pool;
mod stream;
#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
