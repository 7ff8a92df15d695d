//! Every public future, dropped at every await point in the midst of others who want the same: nothing leaks, and nobody
//! is left waiting.

use cofferdam::sync::{CancelToken, Context, Gate, Order, Request, Semaphore, channel, oneshot};
use cofferdam::testkit::{DropPoint, Sim, SimTask, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::Clock;
use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

const ORDERS: [Order; 4] =
    [Order::Fifo, Order::Lifo, Order::Priority { ageing: Duration::from_millis(2) }, Order::Barging];

/// Waits for all tasks, whoever was dropped.
fn finish(sim: &Sim, tasks: Vec<SimTask<()>>) {
    sim.run(async {
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(sim.time().armed(), 0, "a timer leaked");
}

mod semaphore {
    use super::*;

    fn semaphore(sim: &Sim, order: Order) -> Arc<Semaphore> {
        Arc::new(Semaphore::builder(3).order(order).clock(sim.clock()).build().expect("valid"))
    }

    /// Others who come and go while the future under test waits, holds and is dropped.
    fn others(sim: &Sim, semaphore: &Arc<Semaphore>) -> Vec<SimTask<()>> {
        (1..=4)
            .map(|other| {
                let (semaphore, clock) = (Arc::clone(semaphore), sim.clock());
                let (weight, pause) = (1 + other % 3, sim.random_below(3) as u32);
                sim.spawn(format!("other {other}"), async move {
                    for _ in 0..2 {
                        let permit = semaphore.acquire_many(weight).await.expect("open");
                        clock.sleep(pause * MILLI).await;
                        drop(permit);
                        yield_now().await;
                    }
                })
            })
            .collect()
    }

    fn conserves<F: Future>(under_test: impl Fn(Arc<Semaphore>, Clock) -> F) {
        for order in ORDERS {
            let points = drop_at_every_await_in_sim(0..60, |sim| {
                let semaphore = semaphore(sim, order);
                let others = others(sim, &semaphore);
                let future = under_test(Arc::clone(&semaphore), sim.clock());
                let check = move |sim: &Sim, point: DropPoint| {
                    finish(sim, others);
                    assert_eq!(
                        (semaphore.available(), semaphore.in_use(), semaphore.waiting()),
                        (3, 0, 0),
                        "{order:?} {point:?}"
                    );
                };
                (future, check)
            });
            // Not polled; then for most seeds in the wait, and in the sleep with the permits in hand.
            assert!(points >= 60 * 3, "{order:?}: only {points} points");
        }
    }

    #[test]
    fn an_acquisition_leaks_no_permit_and_strands_nobody() {
        conserves(|semaphore, clock| async move {
            let _permit = semaphore.acquire_many(2).await;
            clock.sleep(2 * MILLI).await;
        });
    }

    #[test]
    fn an_owned_acquisition_of_everything_leaks_nothing() {
        conserves(|semaphore, clock| async move {
            let _permit = semaphore.acquire_with_owned(Request::new(3)).await;
            clock.sleep(2 * MILLI).await;
        });
    }

    #[test]
    fn an_acquisition_with_a_limit_leaks_neither_permit_nor_timer() {
        conserves(|semaphore, clock| async move {
            for limit in [1, 100] {
                let _permit = semaphore.acquire_many_timeout(2, limit * MILLI).await;
                clock.sleep(MILLI).await;
            }
        });
    }

    // Many seeds of everything at once: random weights, limits, cancellations and resizes.
    #[test]
    fn whatever_happens_no_more_is_out_than_there_is_and_all_comes_back() {
        for order in ORDERS {
            Sim::for_seeds(0..150, |sim| {
                let semaphore = semaphore(sim, order);
                let out = Arc::new(AtomicU32::new(0));
                let mut tasks = Vec::new();
                for task in 0..8 {
                    let (semaphore, clock, own, out) =
                        (Arc::clone(&semaphore), sim.clock(), sim.clone(), Arc::clone(&out));
                    tasks.push(sim.spawn(format!("task {task}"), async move {
                        for _ in 0..5 {
                            let weight = 1 + own.random_below(3) as u32;
                            let limit = own.random_below(4) as u32 * MILLI;
                            let hold = own.random_below(3) as u32 * MILLI;
                            let held = async {
                                let permit = match own.random_below(3) {
                                    0 => semaphore.try_acquire_many(weight).ok(),
                                    1 => semaphore.acquire_many(weight).await.ok(),
                                    _ => semaphore.acquire_many_timeout(weight, limit).await.ok(),
                                };
                                if permit.is_some() {
                                    let now = out.fetch_add(weight, Ordering::Relaxed) + weight;
                                    assert!(now <= 3, "{now} out of 3");
                                    let _back = OnDrop(|| drop(out.fetch_sub(weight, Ordering::Relaxed)));
                                    clock.sleep(hold).await;
                                }
                            };
                            // Half of them are cancelled from outside, at some time.
                            let patience = own.random_below(4) as u32 * MILLI;
                            if own.random_below(2) == 0 {
                                let _ = clock.timeout(patience, held).await;
                            } else {
                                held.await;
                            }
                        }
                    }));
                }
                finish(sim, tasks);
                assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0), "{order:?}");
            });
        }
    }

    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
}

mod gate {
    use super::*;

    #[test]
    fn a_wait_leaves_nothing_in_the_line_and_releases_reach_the_others() {
        let points = drop_at_every_await_in_sim(0..60, |sim| {
            let gate = Arc::new(Gate::new(false));
            let mut tasks: Vec<_> = (0..3)
                .map(|other| {
                    let gate = Arc::clone(&gate);
                    let wait = gate.wait_owned();
                    sim.spawn(format!("other {other}"), wait)
                })
                .collect();
            let (opener, clock) = (Arc::clone(&gate), sim.clock());
            tasks.push(sim.spawn("opener", async move {
                clock.sleep(MILLI).await;
                opener.pulse();
            }));
            let waits = gate.wait_owned();
            let under_test = async move {
                yield_now().await;
                waits.await;
            };
            (under_test, move |sim: &Sim, point: DropPoint| {
                finish(sim, tasks);
                assert_eq!(gate.waiters(), 0, "{point:?}");
            })
        });
        assert!(points >= 60 * 5, "only {points} points");
    }
}

mod channels {
    use super::*;

    // Every value is received once, or comes back, or goes with the future that held it: none is lost or doubled.
    #[test]
    fn a_channel_loses_no_value_to_a_receiver_that_gives_up() {
        let points = drop_at_every_await_in_sim(0..100, |sim| {
            let (sender, receiver) = channel::<u32>(2).expect("valid");
            let got = Arc::new(AtomicU32::new(0));
            let (theirs, ours) = (Arc::clone(&got), Arc::clone(&got));
            let mut tasks: Vec<_> = (0..3)
                .map(|from| {
                    let (sender, pause) = (sender.clone(), sim.random_below(3) as u32);
                    let clock = sim.clock();
                    sim.spawn(format!("sender {from}"), async move {
                        for bit in 0..3 {
                            sender.send(1 << (3 * from + bit)).await.expect("open");
                            clock.sleep(pause * MILLI).await;
                        }
                    })
                })
                .collect();
            drop(sender);
            let other = receiver.clone();
            tasks.push(sim.spawn("other receiver", async move {
                while let Ok(value) = other.recv().await {
                    assert_eq!(theirs.fetch_add(value, Ordering::Relaxed) & value, 0, "twice");
                    yield_now().await;
                }
            }));
            let under_test = async move {
                for _ in 0..4 {
                    match receiver.recv().await {
                        Ok(value) => assert_eq!(ours.fetch_add(value, Ordering::Relaxed) & value, 0, "twice"),
                        Err(_) => return,
                    }
                }
            };
            (under_test, move |sim: &Sim, point: DropPoint| {
                finish(sim, tasks);
                assert_eq!(got.load(Ordering::Relaxed), (1 << 9) - 1, "{point:?}");
            })
        });
        assert!(points >= 100 * 3, "only {points} points");
    }

    #[test]
    fn a_channel_strands_nobody_when_a_sender_gives_up() {
        let points = drop_at_every_await_in_sim(0..100, |sim| {
            let (sender, receiver) = channel::<u32>(1).expect("valid");
            let mut tasks: Vec<_> = (0..2)
                .map(|from| {
                    let sender = sender.clone();
                    sim.spawn(format!("sender {from}"), async move {
                        for _ in 0..3 {
                            sender.send(1).await.expect("open");
                        }
                    })
                })
                .collect();
            let (clock, got) = (sim.clock(), Arc::new(AtomicU32::new(0)));
            let sum = Arc::clone(&got);
            tasks.push(sim.spawn("receiver", async move {
                while let Ok(value) = receiver.recv().await {
                    sum.fetch_add(value, Ordering::Relaxed);
                    clock.sleep(MILLI).await;
                }
            }));
            let sent = Arc::new(AtomicU32::new(0));
            let known = Arc::clone(&sent);
            let under_test = async move {
                for _ in 0..2 {
                    sender.send(100).await.expect("open");
                    known.fetch_add(1, Ordering::Relaxed);
                }
            };
            (under_test, move |sim: &Sim, point: DropPoint| {
                finish(sim, tasks);
                let (got, sent) = (got.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
                // The channel says that a send that is dropped has sent nothing, or its future was done.
                assert_eq!((got % 100, got / 100), (6, sent), "{point:?}");
            })
        });
        assert!(points >= 100 * 3, "only {points} points");
    }

    #[test]
    fn a_oneshot_wakes_either_side_when_the_other_goes() {
        let points = drop_at_every_await_in_sim(0..50, |sim| {
            let (mut sender, receiver) = oneshot::channel::<Arc<()>>();
            let value = Arc::new(());
            let (ours, clock) = (Arc::clone(&value), sim.clock());
            let other = sim.spawn("sender", async move {
                let _ = clock.timeout(MILLI, sender.closed()).await;
                let _ = sender.send(ours);
            });
            let under_test = async move {
                yield_now().await;
                assert!(receiver.await.is_ok());
            };
            (under_test, move |sim: &Sim, point: DropPoint| {
                finish(sim, vec![other]);
                assert_eq!(Arc::strong_count(&value), 1, "{point:?}");
            })
        });
        assert_eq!(points, 50 * 5);
    }
}

mod cancellation {
    use super::*;

    #[test]
    fn runs_until_cancelled_let_go_of_their_token_and_of_what_they_ran() {
        let points = drop_at_every_await_in_sim(0..40, |sim| {
            let token = CancelToken::new();
            let held = Arc::new(());
            let other = sim.spawn("other", {
                let token = token.clone();
                async move { drop(token.cancelled().await) }
            });
            let (canceller, clock) = (token.clone(), sim.clock());
            let canceller = sim.spawn("canceller", async move {
                clock.sleep(3 * MILLI).await;
                canceller.cancel();
            });
            let (clock, ours, inside) = (sim.clock(), token.child(), Arc::clone(&held));
            let under_test = async move {
                clock.sleep(MILLI).await;
                let forever = async move {
                    let _inside = inside;
                    pending::<()>().await;
                };
                assert!(ours.run(forever).await.is_err());
            };
            (under_test, move |sim: &Sim, point: DropPoint| {
                assert_eq!(Arc::strong_count(&held), 1, "{point:?}");
                finish(sim, vec![other, canceller]);
            })
        });
        assert!(points >= 40 * 5, "only {points} points");
    }

    #[test]
    fn a_run_in_a_context_disarms_its_deadline_and_restores_the_current_one() {
        let points = drop_at_every_await_in_sim(0..40, |sim| {
            let clock = sim.clock();
            let context = Context::background().with_clock(clock.clone()).with_timeout(5 * MILLI);
            let under_test = async move {
                let _ = context.run(async { clock.sleep(MILLI).await }).await;
                let _ = context.run(pending::<()>()).await;
            };
            (under_test, |sim: &Sim, point: DropPoint| {
                assert_eq!(sim.time().armed(), 0, "{point:?}");
                assert!(Context::current().deadline().instant().is_none(), "{point:?}");
            })
        });
        assert_eq!(points, 40 * 5);
    }
}
