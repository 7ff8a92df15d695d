//! Real threads, a bounded amount of work, and sums that must come out. Optimised, and under the address sanitizer: see
//! `.ci/run`.

#[path = "stress/breaker.rs"]
mod breaker;
#[path = "stress/channel.rs"]
mod channel;
#[path = "stress/keyed.rs"]
mod keyed;
#[path = "stress/owned.rs"]
mod owned;
#[path = "stress/pool.rs"]
mod pool;
#[path = "stress/semaphore.rs"]
mod semaphore;
#[path = "stress/signals.rs"]
mod signals;
#[path = "stress/telemetry.rs"]
mod telemetry;
#[path = "stress/tiered.rs"]
mod tiered;
#[path = "stress/token_bucket.rs"]
mod token_bucket;

/// Rounds for each thread: fewer where every step is checked at run time.
const ROUNDS: usize = if cfg!(debug_assertions) { 3_000 } else { 30_000 };

/// Threads at once: more than processors, so that some are always in the middle of something.
const THREADS: usize = 6;

/// Runs `work` on all threads at once, with a source of randomness each.
fn on_threads(work: impl Fn(usize, &mut fastrand::Rng) + Sync) {
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(index, &mut fastrand::Rng::with_seed(index as u64)));
        }
    });
}
