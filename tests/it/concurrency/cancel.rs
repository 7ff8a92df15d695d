//! Every future dropped at every await point, in the midst of others.

use super::ms;
use cofferdam::limit::concurrency::{Discipline, Fixed, Request};
use cofferdam::limit::{AdaptiveLimiter, ConcurrencyLimiter};
use cofferdam::resilience::AdaptiveBulkhead;
use cofferdam::sync::Order;
use cofferdam::testkit::{DropPoint, Sim, SimTask, drop_at_every_await_in_sim, yield_now};
use std::time::Duration;

fn disciplines() -> [Discipline; 4] {
    [
        Discipline::Order(Order::Fifo),
        Discipline::AdaptiveLifo { interval: ms(3) },
        Discipline::ControlledDelay { target: ms(2), interval: ms(4), lifo: false },
        Discipline::ControlledDelay { target: ms(2), interval: ms(4), lifo: true },
    ]
}

fn finish(sim: &Sim, tasks: Vec<SimTask<()>>) {
    sim.run(async {
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(sim.time().armed(), 0, "a timer leaked");
}

fn limiter(sim: &Sim, discipline: Discipline, partitioned: bool) -> ConcurrencyLimiter {
    let builder = ConcurrencyLimiter::builder(3).discipline(discipline).clock(sim.clock());
    let builder = if partitioned { builder.partition("a", 50).partition("b", 30) } else { builder };
    builder.build().expect("valid")
}

/// Others who come and go meanwhile.
fn others(sim: &Sim, limiter: &ConcurrencyLimiter) -> Vec<SimTask<()>> {
    (0..4)
        .map(|other| {
            let (limiter, clock) = (limiter.clone(), sim.clock());
            let partition = limiter.partition(["a", "b"][other % 2]).unwrap_or_default();
            let request = Request::new(1 + other as u32 % 3).partition(partition);
            let pause = Duration::from_millis(sim.random_below(4));
            sim.spawn(format!("other {other}"), async move {
                for _ in 0..2 {
                    let permit = limiter.acquire_with(request).await;
                    clock.sleep(pause).await;
                    drop(permit);
                    yield_now().await;
                }
            })
        })
        .collect()
}

#[test]
fn an_acquisition_leaks_no_permit_and_strands_nobody() {
    for (discipline, partitioned) in disciplines().into_iter().flat_map(|d| [(d, false), (d, true)]) {
        for limit in [Duration::MAX, ms(2)] {
            let points = drop_at_every_await_in_sim(0..40, |sim| {
                let limiter = limiter(sim, discipline, partitioned);
                let others = others(sim, &limiter);
                let (under_test, clock) = (limiter.clone(), sim.clock());
                let future = async move {
                    let permit = under_test.acquire_with_owned(Request::new(2).wait_limit(limit)).await;
                    clock.sleep(ms(2)).await;
                    drop(permit);
                };
                (future, move |sim: &Sim, point: DropPoint| {
                    finish(sim, others);
                    let stats = limiter.stats();
                    let now = (stats.in_flight, stats.available, stats.waiting);
                    assert_eq!(now, (0, 3, 0), "{discipline:?} {point:?}");
                    let rest = limiter.partition_stats(Default::default());
                    assert_eq!((rest.in_flight, rest.waiting), (0, 0));
                })
            });
            assert!(points >= 40 * 2, "{discipline:?}: only {points} points");
        }
    }
}

// S2
#[test]
fn a_call_through_the_policy_leaves_nothing_in_flight_and_no_sample() {
    for discipline in disciplines() {
        let points = drop_at_every_await_in_sim(0..40, |sim| {
            let adaptive = AdaptiveLimiter::builder(Fixed(2))
                .queue(10)
                .discipline(discipline)
                .window(ms(1))
                .min_samples(1)
                .clock(sim.clock())
                .build()
                .expect("valid");
            let bulkhead = AdaptiveBulkhead::new(adaptive.clone());
            let tasks: Vec<_> = (0..3)
                .map(|task| {
                    let (bulkhead, clock) = (bulkhead.clone(), sim.clock());
                    sim.spawn(format!("other {task}"), async move {
                        let _ = bulkhead
                            .call(|| async {
                                clock.sleep(ms(2)).await;
                                Err::<(), ()>(())
                            })
                            .await;
                    })
                })
                .collect();
            let clock = sim.clock();
            let future = async move {
                let call = bulkhead.call(|| async {
                    clock.sleep(ms(2)).await;
                    Err::<(), ()>(())
                });
                let _ = call.await;
            };
            (future, move |sim: &Sim, point: DropPoint| {
                finish(sim, tasks);
                let stats = adaptive.stats();
                assert_eq!((stats.in_flight, stats.available, stats.waiting), (0, 2, 0), "{point:?}");
                assert_eq!(
                    (stats.updates, stats.thin_windows),
                    (0, 0),
                    "errors and cancelled calls are no samples"
                );
            })
        });
        assert!(points >= 40 * 2, "only {points} points");
    }
}
