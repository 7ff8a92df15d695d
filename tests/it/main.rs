//! One binary, a module per component and per house rule.

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
mod allocations;
mod architecture;
mod auto_traits;
mod backoff;
mod breaker;
mod budget;
mod bulkhead;
mod cache;
mod cancel;
mod cancel_token;
mod channel;
mod chaos;
mod concurrency;
mod config;
mod context;
mod counters;
mod errors;
mod fallback;
mod feedback;
mod gate;
mod group;
mod hedge;
mod keyed;
mod limiter;
mod map;
mod observe;
mod oneshot;
mod owned;
mod parallel;
mod pool;
mod presets;
mod registry;
mod retry;
mod runtimes;
mod semaphore;
mod serde;
mod stack;
mod stream;
mod support;
mod testkit;
mod throttle;
mod tiered;
mod time;
mod timeout;
mod token_bucket;
mod tower;
