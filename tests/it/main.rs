//! One binary, a module per component and per house rule.

mod allocations;
mod architecture;
mod auto_traits;
mod backoff;
mod breaker;
mod bulkhead;
mod cancel;
mod cancel_token;
mod channel;
mod context;
mod counters;
mod errors;
mod gate;
mod observe;
mod oneshot;
mod pool;
mod retry;
mod runtimes;
mod semaphore;
mod stack;
mod support;
mod testkit;
mod throttle;
mod time;
mod token_bucket;
