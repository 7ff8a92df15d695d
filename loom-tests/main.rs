//! The models: every interleaving, up to a bound on preemptions, of small programs over each state machine.
//!
//! Run with `cargo loom` (an alias in `.cargo/config.toml`).

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

#[allow(dead_code, unreachable_pub, unused_macros, unused_imports, reason = "as above")]
#[path = "../src/observe.rs"]
mod observe;
#[allow(dead_code, reason = "a private room, compiled here since others name it")]
#[path = "../src/panics.rs"]
mod panics;
#[allow(
    dead_code,
    unused_imports,
    reason = "private rooms, compiled here so that they can be modelled directly"
)]
#[path = "../src/shim.rs"]
mod shim;
#[allow(dead_code, reason = "as above")]
#[path = "../src/sync/ring.rs"]
mod sync_ring;
#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "../src/wait/mod.rs"]
mod wait;

#[allow(dead_code, unused_imports, reason = "as above")]
#[path = "../src/sync/striped.rs"]
mod striped;

#[allow(dead_code, reason = "as above")]
#[path = "../src/stream/generator/slot.rs"]
mod generator_slot;
#[allow(dead_code, reason = "as above")]
#[path = "../src/stream/generator/tray.rs"]
mod tray;

#[allow(dead_code, reason = "as above")]
#[path = "../src/resilience/breaker/window/mod.rs"]
mod window;

/// Where that room looks for the counters.
mod sync {
    pub(crate) use crate::striped;
}

mod all_of;
mod breaker;
mod breaker_windows;
mod budget;
mod cache;
mod cancel;
mod channel;
mod concurrency;
mod counters;
mod gate;
mod generator;
mod group;
mod keyed;
mod latch;
mod map;
mod observing;
mod oneshot;
mod overhear;
mod pool;
mod pool_managed;
mod pool_tasks;
mod race;
mod registry;
mod reload;
mod ring;
mod semaphore;
mod semaphore_watched;
mod tiered;
mod token_bucket;
mod wait_list;
mod windows;
