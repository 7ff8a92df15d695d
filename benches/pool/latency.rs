//! From the submission to the start of a task, while the workers are mostly idle.

use crate::peers::{AsyncChannel, Crossfire, Detach, Flume, Kanal, ours, smol, tokio_spawn};
use crate::threads::{self, Threads};
use cofferdam_benches::{Runtime, now};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a task is submitted, and how many are in a round.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) name: &'static str,
    pub(crate) every: Duration,
    pub(crate) tasks: u32,
}

/// At the first the workers fall asleep after each task, at the second after most.
pub(crate) const PACES: [Pace; 2] = [
    Pace { name: "1k", every: Duration::from_millis(1), tasks: 300 },
    Pace { name: "10k", every: Duration::from_micros(100), tasks: 3_000 },
];

/// The first tasks of a round are not counted: threads start.
const WARM_UP: u32 = 20;

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

/// The nanoseconds from submission to start.
fn measure(pace: Pace, put: impl Fn(Note)) -> Vec<u64> {
    let tasks = WARM_UP + pace.tasks;
    let taken: Arc<[AtomicU64]> = (0..tasks).map(|_| AtomicU64::new(0)).collect();
    let start = now();
    for nth in 0..tasks {
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
    taken.iter().map(wait).skip(WARM_UP as usize).collect()
}

type Contender = (&'static str, fn(Pace) -> Vec<u64>);

fn contenders() -> Vec<Contender> {
    macro_rules! peer {
        ($name:literal, $runtime:ident, $start:expr) => {
            ($name, |pace| {
                let running = Runtime::$runtime.start();
                let peer = $start(&running);
                measure(pace, |note| pollster::block_on(Detach::put(&peer, async { note.take() })))
            })
        };
    }
    vec![
        peer!("cofferdam", TokioMulti, ours),
        peer!("tokio-spawn", TokioMulti, tokio_spawn),
        peer!("async-channel", TokioMulti, AsyncChannel::start),
        peer!("flume", TokioMulti, Flume::start),
        peer!("kanal", TokioMulti, Kanal::start),
        peer!("crossfire", TokioMulti, Crossfire::start),
        peer!("cofferdam-async-executor", AsyncExecutor, ours),
        peer!("async-executor", AsyncExecutor, smol),
        ("cofferdam-threads", |pace| {
            let pool = threads::Ours::start();
            measure(pace, |note| pool.execute(|| note.take()))
        }),
    ]
}

/// Everybody's latencies at this pace, the least first. There are as many rounds as contenders, and each begins with another one:
/// who is first in a process finds it cold.
pub(crate) fn latencies(pace: Pace) -> Vec<(&'static str, Vec<u64>)> {
    let contenders = contenders();
    let mut all: Vec<_> = contenders.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for round in 0..contenders.len() {
        for nth in 0..contenders.len() {
            let nth = (nth + round) % contenders.len();
            all[nth].1.extend((contenders[nth].1)(pace));
        }
    }
    for (_, taken) in &mut all {
        taken.sort_unstable();
    }
    all
}

/// The middle and the 99th of a hundred, in microseconds.
pub(crate) fn quantiles(all: &[u64]) -> (f64, f64) {
    let at = |percent: usize| all.get(all.len() * percent / 100).map_or(0.0, |&nanos| nanos as f64 / 1000.0);
    (at(50), at(99))
}
