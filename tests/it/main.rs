//! What all rooms share: vocabulary, `sync`, the testkit; the house rules; and the tables with a row for everything: runtimes,
//! auto traits, allocations, cancellation. Limits, policies and work in motion have binaries of their own.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]
#![allow(
    clippy::async_yields_async,
    clippy::result_large_err,
    clippy::forget_non_drop,
    reason = "futures of futures, refused futures and forgotten guards are what is tested"
)]

mod allocations;
mod architecture;
mod auto_traits;
mod backoff;
mod cancel;
mod cancel_token;
mod channel;
mod context;
mod counters;
mod errors;
mod gate;
mod observe;
mod oneshot;
mod runtimes;
mod semaphore;
mod serde;
#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
mod testkit;
mod time;
