//! Sums of what is watched are those of what was done, whoever reads them meanwhile.

use crate::{ROUNDS, on_threads};
use cofferdam::limit::concurrency::{AdaptiveLimiter, Aimd, ConcurrencyLimiter, Discipline};
use cofferdam::limit::{Keyed, KeyedEvent, Quota};
use cofferdam::resilience::Bulkhead;
use cofferdam::sync::{Order, Semaphore};
use cofferdam::telemetry::{Sample, Telemetry, Value};
use cofferdam::testkit::Polled;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The sum of a counter over all series whose labels are these.
fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> u64 {
    let found = samples.iter().filter(|sample| sample.name == name);
    let found = found.filter(|sample| labels.iter().all(|(label, value)| sample.label(label) == Some(value)));
    found.map(|sample| if let Value::Counter(sum) = sample.value { sum } else { 0 }).sum()
}

/// What the threads have asked for, and what they got.
#[derive(Default)]
struct Done {
    asked: AtomicU64,
    got: AtomicU64,
    dropped: AtomicU64,
}

impl Done {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn of(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Asks for something in one of three ways: now, waiting, and waiting without patience.
macro_rules! ask {
    ($done:ident, $rng:ident, $component:ident) => {{
        Done::add(&$done.asked);
        match $rng.u8(0..3) {
            0 => {
                if let Ok(held) = $component.try_acquire() {
                    Done::add(&$done.got);
                    drop(held);
                }
            }
            1 => {
                if let Ok(held) = futures_executor::block_on($component.acquire()) {
                    Done::add(&$done.got);
                    drop(held);
                }
            }
            _ => {
                let mut wait = Polled::new($component.acquire());
                match wait.poll() {
                    Some(Ok(held)) => {
                        Done::add(&$done.got);
                        drop(held);
                    }
                    Some(Err(_)) => {}
                    None => Done::add(&$done.dropped),
                }
            }
        }
    }};
}

#[test]
fn requests_add_up_by_how_they_ended() {
    let telemetry = Telemetry::new();
    let semaphore = Arc::new(Semaphore::new(2));
    let fifo = ConcurrencyLimiter::builder(2).queue(3).build().unwrap();
    let discipline = Discipline::AdaptiveLifo { interval: Duration::from_micros(50) };
    let line = ConcurrencyLimiter::builder(2).discipline(discipline).queue(3).build().unwrap();
    let order = Order::Priority { ageing: Duration::from_micros(50) };
    let bulkhead = Bulkhead::builder(2).queue(3).order(order).build().unwrap();
    let aimd = Aimd::builder().initial(2).max(3).build().unwrap();
    let adaptive = AdaptiveLimiter::builder(aimd).window(Duration::from_millis(1)).queue(3).build().unwrap();
    telemetry.watch("it", &semaphore).unwrap();
    telemetry.watch("fifo", &fifo).unwrap();
    telemetry.watch("line", &line).unwrap();
    telemetry.watch("it", &bulkhead).unwrap();
    telemetry.watch("it", &adaptive).unwrap();
    let done: [Done; 5] = Default::default();
    on_threads(|thread, rng| {
        let [of_semaphore, of_fifo, of_line, of_bulkhead, of_adaptive] = &done;
        for round in 0..ROUNDS / 2 {
            ask!(of_semaphore, rng, semaphore);
            ask!(of_fifo, rng, fifo);
            ask!(of_line, rng, line);
            ask!(of_bulkhead, rng, bulkhead);
            ask!(of_adaptive, rng, adaptive);
            if thread == 0 && round % 100 == 0 {
                let now = telemetry.samples();
                let asked = sum(&now, "cofferdam_concurrency_requests_total", &[("name", "fifo")]);
                assert!(asked <= Done::of(&of_fifo.asked), "{asked} are told of that were not asked for");
            }
        }
    });
    let samples = telemetry.samples();
    for (at, (name, watched, got, cancelled)) in [
        ("semaphore_requests", "it", "acquired", "cancelled"),
        ("concurrency_requests", "fifo", "acquired", "cancelled"),
        ("concurrency_requests", "line", "acquired", "cancelled"),
        ("bulkhead_calls", "it", "admitted", ""),
        ("adaptive_requests", "it", "acquired", "cancelled"),
    ]
    .into_iter()
    .enumerate()
    {
        let done = &done[at];
        let full = format!("cofferdam_{name}_total");
        let of = |outcome| sum(&samples, &full, &[("name", watched), ("outcome", outcome)]);
        let dropped = Done::of(&done.dropped);
        assert_eq!(of(got), Done::of(&done.got), "{name} {watched}");
        // A bulkhead does not tell of calls that are dropped while they wait.
        let told = if cancelled.is_empty() { dropped } else { of(cancelled) };
        assert_eq!(told, dropped, "{name} {watched}");
        let all = sum(&samples, &full, &[("name", watched)]) + if cancelled.is_empty() { dropped } else { 0 };
        assert_eq!(all, Done::of(&done.asked), "{name} {watched}: each has ended once");
    }
}

#[test]
fn events_of_keys_are_as_many_as_the_books_say() {
    let limiter =
        Keyed::<u64>::builder(Quota::per_second(1_000_000).burst(2)).capacity(16).shards(2).build().unwrap();
    let counts: Arc<[AtomicU64; 4]> = Arc::default();
    let counted = Arc::clone(&counts);
    limiter.observe(move |event: &KeyedEvent<u64>| {
        let [allowed, denied, full, forgotten] = &*counted;
        Done::add(match event {
            KeyedEvent::Allowed { .. } => allowed,
            KeyedEvent::Denied { .. } => denied,
            KeyedEvent::TooManyKeys { .. } => full,
            KeyedEvent::Forgotten { .. } => forgotten,
            _ => return,
        });
    });
    on_threads(|_, rng| {
        for _ in 0..ROUNDS {
            let key = rng.u64(0..40);
            match rng.u8(0..20) {
                0 => drop(limiter.remove(&key)),
                1 => drop(limiter.remove_idle()),
                _ => drop(limiter.try_acquire(&key)),
            }
        }
    });
    let stats = limiter.stats();
    let told = counts.each_ref().map(Done::of);
    let gone = stats.expired + stats.evicted + stats.removed;
    assert_eq!(told, [stats.decided.allowed, stats.decided.denied, stats.rejected, gone]);
    assert_eq!(stats.inserted, gone + stats.keys as u64);
}
