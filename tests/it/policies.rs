//! Policies of resilience, and what composes them.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]
#![allow(
    clippy::async_yields_async,
    clippy::result_large_err,
    clippy::forget_non_drop,
    reason = "futures of futures, refused futures and forgotten guards are what is tested"
)]

mod breaker;
mod budget;
mod bulkhead;
mod cache;
mod chaos;
mod config;
mod fallback;
mod hedge;
mod map;
mod owned;
mod presets;
mod registry;
mod retry;
mod stack;
#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
mod timeout;
mod tower;
