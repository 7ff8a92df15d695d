//! From the submission to the start of a task, while the workers are mostly idle.

use crate::peers::{AsyncChannel, Crossfire, Detach, Flume, Kanal, ours, smol, tokio_spawn};
use crate::threads::{self, Threads};
use cofferdam_benches::{Runtime, now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a task is submitted, and how many are.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) tasks: u32,
}

/// At the first the workers fall asleep after each task, at the second after most.
pub(crate) const PACES: [Pace; 2] = [
    Pace { name: "1k", every: Duration::from_millis(1), tasks: 1_000 },
    Pace { name: "10k", every: Duration::from_micros(100), tasks: 10_000 },
];

/// What a task has to do once it runs.
struct Note {
    taken: Arc<[AtomicU64]>,
    nth: usize,
    submitted: Instant,
}

impl Note {
    fn take(self) {
        let latency = self.submitted.elapsed().as_nanos() as u64;
        self.taken[self.nth].store(latency.max(1), Ordering::Release);
    }
}

/// The nanoseconds from submission to start, the least first.
fn measure(pace: Pace, put: impl Fn(Note)) -> Vec<u64> {
    let taken: Arc<[AtomicU64]> = (0..pace.tasks).map(|_| AtomicU64::new(0)).collect();
    let start = now();
    for nth in 0..pace.tasks {
        let early = (start + pace.every * nth).saturating_duration_since(now());
        if !early.is_zero() {
            #[allow(clippy::disallowed_methods, reason = "a bench keeps a pace")]
            std::thread::sleep(early);
        }
        put(Note { taken: Arc::clone(&taken), nth: nth as usize, submitted: now() });
    }
    let wait = |latency: &AtomicU64| {
        loop {
            match latency.load(Ordering::Acquire) {
                0 => std::thread::yield_now(),
                latency => return latency,
            }
        }
    };
    let mut all: Vec<u64> = taken.iter().map(wait).collect();
    all.sort_unstable();
    all
}

/// Everybody's latencies at this pace.
pub(crate) fn round(pace: Pace) -> Vec<(&'static str, Vec<u64>)> {
    macro_rules! peer {
        ($name:literal, $runtime:ident, $start:expr) => {{
            let running = Runtime::$runtime.start();
            let peer = $start(&running);
            let put = |note: Note| pollster::block_on(Detach::put(&peer, async { note.take() }));
            ($name, measure(pace, put))
        }};
    }
    let pool = threads::Ours::start();
    vec![
        peer!("cofferdam", TokioMulti, ours),
        peer!("tokio-spawn", TokioMulti, tokio_spawn),
        peer!("async-channel", TokioMulti, AsyncChannel::start),
        peer!("flume", TokioMulti, Flume::start),
        peer!("kanal", TokioMulti, Kanal::start),
        peer!("crossfire", TokioMulti, Crossfire::start),
        peer!("cofferdam-async-executor", AsyncExecutor, ours),
        peer!("async-executor", AsyncExecutor, smol),
        ("cofferdam-threads", measure(pace, |note| pool.execute(|| note.take()))),
    ]
}

/// The middle and the 99th of a hundred, in microseconds.
pub(crate) fn quantiles(all: &[u64]) -> (f64, f64) {
    let at = |percent: usize| all.get(all.len() * percent / 100).map_or(0.0, |&nanos| nanos as f64 / 1000.0);
    (at(50), at(99))
}
