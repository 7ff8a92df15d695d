//! Closing, draining, shutting down, and being dropped.

use super::*;

// WP5
#[test]
fn close_stops_the_intake_and_lets_the_queue_run() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let queued: Vec<_> = (0..2).map(|number| pool.try_submit(ready(number)).unwrap()).collect();
    let mut waiting = Polled::new(pool.submit(ready(2)));
    assert!(waiting.poll().is_none());
    assert!(!pool.is_closed());
    assert!(pool.close() && !pool.close());
    assert!(pool.is_closed() && pool.is_draining());
    // Those who wait for room are told, and get their futures back.
    assert_eq!(waiting.wakes(), 1);
    let error = waiting.poll().unwrap().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.to_string(), "worker pool: closed");
    assert_eq!(Polled::new(error.into_inner()).poll(), Some(2));
    assert!(pool.try_execute(async {}).unwrap_err().is_closed());
    assert!(Polled::new(pool.submit(ready(0))).poll().unwrap().unwrap_err().is_closed());
    assert!(settle(&mut workers).is_some());
    for (number, handle) in queued.into_iter().enumerate() {
        assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), number);
    }
    assert!(!pool.is_draining());
}

// WP5
#[test]
fn drain_finishes_what_was_accepted_and_tells_everyone_the_same() {
    Sim::for_seeds(0..50, |sim| {
        let pool = WorkerPool::builder().workers(2).queue(8).start(sim).unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..8 {
            let (done, clock) = (done.clone(), sim.clock());
            pool.try_execute(async move {
                clock.sleep(SECOND).await;
                done.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        }
        let reports: Vec<_> = (0..3).map(|_| sim.spawn("drain", pool.drain())).collect();
        let limited = sim.spawn("shutdown", pool.shutdown(100 * SECOND));
        let mut reports: Vec<ShutdownReport> = sim.run(async {
            let mut all = vec![limited.await];
            for report in reports {
                all.push(report.await);
            }
            all
        });
        // Also those who ask when it is over.
        reports.push(sim.run(pool.drain()));
        reports.push(sim.run(pool.shutdown(Duration::ZERO)));
        assert!(reports.windows(2).all(|pair| pair[0] == pair[1]), "{reports:?}");
        assert!(reports[0].is_clean());
        assert_eq!((reports[0].stats.completed, done.load(Ordering::Relaxed)), (8, 8));
        assert_eq!(sim.time().elapsed(), 4 * SECOND);
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
    });
}

// WP5
#[test]
fn shutdown_cancels_what_still_runs_at_the_limit_and_drops_what_never_ran() {
    Sim::for_seeds(0..50, |sim| {
        let pool =
            WorkerPool::builder().workers(2).queue(8).name("mill").clock(sim.clock()).start(sim).unwrap();
        let drops = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = [1, 100, 100, 100]
            .map(|seconds| {
                let (token, clock) = (Dropped(drops.clone()), sim.clock());
                pool.try_submit(async move {
                    let _token = token;
                    clock.sleep(seconds * SECOND).await;
                })
                .unwrap()
            })
            .into();
        sim.run_until_idle();
        // Several at once: the earliest limit counts.
        let patient = sim.spawn("patient", pool.shutdown(50 * SECOND));
        let report = sim.run(pool.shutdown(10 * SECOND));
        assert_eq!(sim.run(patient), report);
        assert_eq!(sim.time().elapsed(), 10 * SECOND);
        assert!(!report.is_clean());
        assert_eq!((report.interrupted, report.stats.cancelled), (2, 2));
        assert_eq!((report.stats.completed, report.stats.dropped), (1, 1));
        assert_eq!(drops.load(Ordering::Relaxed), 4);
        let outcomes: Vec<_> = handles
            .into_iter()
            .map(|handle| match sim.run(handle) {
                Ok(()) => "done".to_owned(),
                Err(error) => error.to_string(),
            })
            .collect();
        let (cancelled, dropped) = ("the task was cancelled", "the pool ended before the task did");
        assert_eq!(outcomes, ["done", cancelled, cancelled, dropped]);
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
    });
}

// WP5
#[test]
fn a_pool_whose_workers_are_not_polled_can_still_be_shut_down() {
    let (pool, workers) = pool(2, 4);
    let queued = pool.try_submit(ready(1)).unwrap();
    assert!(Polled::new(pool.drain()).poll().is_none());
    let report = Polled::new(pool.shutdown(Duration::ZERO)).poll().unwrap();
    assert_eq!((report.stats.dropped, report.interrupted), (1, 0));
    assert!(Polled::new(queued).poll().unwrap().unwrap_err().is_dropped());
    // Asleep is as good as not polled.
    drop(workers);
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(4));
    assert!(settle(&mut workers).is_none());
    assert!(Polled::new(pool.drain()).poll().is_some());
    // One that runs must be polled once more.
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(4));
    let running = pool.try_submit(pending::<()>()).unwrap();
    settle(&mut workers);
    let before = workers.wakes();
    let mut shutdown = Polled::new(pool.shutdown(Duration::ZERO));
    assert!(shutdown.poll().is_none());
    assert!(workers.wakes() > before);
    assert!(settle(&mut workers).is_some());
    assert_eq!(shutdown.wakes(), 1);
    assert_eq!(shutdown.poll().unwrap().interrupted, 1);
    assert!(running.is_finished());
}

// WP5
#[test]
fn a_dropped_shutdown_leaves_the_pool_closed_and_its_limit_behind() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4).clock(time.clock()));
    let gate = Arc::new(Gate::new(false));
    let waits = gate.clone();
    let handle = pool.try_submit(async move { waits.wait().await }).unwrap();
    settle(&mut workers);
    let mut shutdown = Polled::new(pool.shutdown(SECOND));
    assert!(shutdown.poll().is_none());
    assert!(pool.is_closed());
    drop(shutdown);
    assert_eq!(time.armed(), 0);
    time.advance(2 * SECOND);
    settle(&mut workers);
    gate.open();
    assert!(settle(&mut workers).is_some());
    assert!(Polled::new(handle).poll().unwrap().is_ok());
}

// WP5: nothing happens before the first poll.
#[test]
fn a_drain_that_is_never_polled_does_nothing() {
    let (pool, _workers) = pool(1, 1);
    drop(pool.drain());
    drop(pool.shutdown(Duration::ZERO));
    assert!(!pool.is_closed());
}

// Law 2
#[test]
fn the_last_handles_drop_closes_the_pool_and_the_queue_still_runs() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let another = pool.clone();
    let handle = pool.try_submit(ready(1)).unwrap();
    drop(pool);
    assert!(settle(&mut workers).is_none());
    let late = another.try_submit(ready(2)).unwrap();
    drop(another);
    assert!(settle(&mut workers).is_some());
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), 1);
    assert_eq!(Polled::new(late).poll().unwrap().unwrap(), 2);
}

// Law 2
#[test]
fn dropping_the_workers_closes_the_pool_and_reports_every_task() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let endless = || {
        let token = Dropped(drops.clone());
        async move {
            let _token = token;
            pending::<()>().await;
        }
    };
    let running = RefCell::new(pool.try_submit(endless()).unwrap());
    let mut awaited = Polled::new(std::future::poll_fn(|cx| Pin::new(&mut *running.borrow_mut()).poll(cx)));
    settle(&mut workers);
    assert!(awaited.poll().is_none());
    let queued = pool.try_submit(endless()).unwrap();
    pool.try_execute(endless()).unwrap();
    let mut waiting = Polled::new(pool.submit(endless()));
    assert!(waiting.poll().is_none());
    let mut drain = Polled::new(pool.drain());
    drop(workers);
    assert_eq!((awaited.wakes(), waiting.wakes()), (1, 1));
    assert!(awaited.poll().unwrap().unwrap_err().is_dropped());
    assert!(Polled::new(queued).poll().unwrap().unwrap_err().is_dropped());
    let refused = waiting.poll().unwrap().unwrap_err();
    assert!(refused.is_closed());
    assert_eq!(drops.load(Ordering::Relaxed), 3);
    drop(refused);
    assert_eq!(drops.load(Ordering::Relaxed), 4);
    assert_eq!(drain.poll().unwrap().stats.dropped, 3);
    assert!(pool.is_closed());
}

// Law 2
#[test]
fn a_worker_that_is_dropped_leaves_the_rest_to_the_others() {
    let (pool, mut workers) = pool(2, 4);
    let (first, second) = (workers.next().unwrap(), workers.next().unwrap());
    let (mut first, mut second) = (Polled::new(first), Polled::new(second));
    assert!(first.poll().is_none() && second.poll().is_none());
    // Woken for a task, and dropped before it can look: the other is woken in its place.
    let handle = pool.try_submit(ready(1)).unwrap();
    let woken = if first.wakes() > 0 { first } else { std::mem::replace(&mut second, first) };
    assert_eq!((woken.wakes(), second.wakes()), (1, 0));
    drop(woken);
    assert_eq!(second.wakes(), 1);
    assert!(second.poll().is_none());
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), 1);
    assert!(!pool.is_closed());
    // It was the last but one.
    drop(second);
    assert!(pool.is_closed());
}

// Law 2: a pool without a queue has a place fewer for each worker that is gone.
#[test]
fn a_dropped_worker_takes_its_place_along() {
    let (pool, mut workers) = pool(2, 0);
    let (first, second) = (workers.next().unwrap(), workers.next().unwrap());
    let (mut first, _second) = (Polled::new(first), second);
    let running = pool.try_submit(pending::<()>()).unwrap();
    assert!(first.poll().is_none());
    drop(first);
    assert!(Polled::new(running).poll().unwrap().unwrap_err().is_dropped());
    pool.try_execute(async {}).unwrap();
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
}

// Defect class 3: 20 pools, producers that go on until they are refused.
#[test]
fn whatever_was_accepted_before_a_drain_has_run_after_it() {
    Sim::for_seeds(0..100, |sim| {
        let pool = WorkerPool::builder().workers(2).queue(3).start(sim).unwrap();
        let (accepted, ran) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        for producer in 0..4 {
            let (pool, accepted, ran) = (pool.clone(), accepted.clone(), ran.clone());
            sim.spawn(format!("producer {producer}"), async move {
                loop {
                    let ran = ran.clone();
                    let task = async move {
                        yield_now().await;
                        ran.fetch_add(1, Ordering::Relaxed);
                    };
                    if pool.execute(task).await.is_err() {
                        break;
                    }
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (drain, turns) = (pool.drain(), sim.random_below(100));
        let report = sim.run(async {
            for _ in 0..turns {
                yield_now().await;
            }
            drain.await
        });
        assert!(report.is_clean());
        sim.run_until_idle();
        assert_eq!(ran.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed));
        assert_eq!(report.stats.completed, accepted.load(Ordering::Relaxed));
        assert_eq!(sim.tasks(), 0);
    });
}

// CTX15, defect class 21
#[test]
fn an_idle_pool_wakes_nobody_and_arms_nothing() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(4).queue(8).clock(time.clock()).task_timeout(SECOND);
    let (pool, workers) = builder.build().unwrap();
    let mut workers: Vec<_> = workers.map(Polled::new).collect();
    assert!(workers.iter_mut().all(|worker| worker.poll().is_none()));
    time.advance(1_000_000 * SECOND);
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 0);
    // One task wakes one worker, once.
    pool.try_execute(async {}).unwrap();
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 1);
    // And a second one, while the first worker is on its way, nobody else.
    pool.try_execute(async {}).unwrap();
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 1);
    let woken = workers.iter_mut().find(|worker| worker.wakes() == 1).unwrap();
    assert!(woken.poll().is_none());
    // It has woken the next when it found more than one to do.
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 2);
    assert!(workers.iter_mut().all(|worker| worker.poll().is_none()));
    time.advance(1_000_000 * SECOND);
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 2);
    assert_eq!((pool.stats().completed, time.armed()), (2, 0));
}

// A worker gives its executor a turn.
#[test]
fn a_worker_with_much_to_do_lets_others_run_between() {
    let (pool, workers) = pool(1, 1000);
    let mut worker = Polled::new(workers.into_iter().next().unwrap());
    for _ in 0..1000 {
        pool.try_execute(async {}).unwrap();
    }
    let mut polls = 0;
    while pool.stats().completed < 1000 {
        let (before, wakes) = (pool.stats().completed, worker.wakes());
        assert!(worker.poll().is_none());
        let stats = pool.stats();
        assert!(stats.completed - before <= 128);
        assert!(stats.completed == 1000 || worker.wakes() == wakes + 1);
        polls += 1;
    }
    assert!(polls >= 7);
}

// Law 4: handlers and wakers may call back.
#[test]
fn tasks_may_use_their_own_pool() {
    Sim::for_seeds(0..50, |sim| {
        let pool = WorkerPool::builder().workers(2).queue(1).start(sim).unwrap();
        let inner = pool.clone();
        let handle = sim.run(pool.submit(async move {
            let nested = inner.submit(async { 1 }).await.unwrap();
            inner.close();
            inner.stats();
            nested.await.unwrap() + 1
        }));
        assert_eq!(sim.run(handle.unwrap()).unwrap(), 2);
        drop(pool);
        sim.run_until_idle();
        assert_eq!(sim.tasks(), 0);
    });
}

mod drops {
    use super::*;
    use cofferdam::pool::NamedQueue;

    const MILLI: Duration = Duration::from_millis(1);

    /// Everybody else: a producer, and in the end a drain that must find its way.
    fn conserves<F: Future>(under_test: impl Fn(WorkerPool, Arc<AtomicUsize>) -> F) {
        conserves_in(WorkerPool::builder(), under_test);
    }

    fn conserves_in<F: Future>(builder: PoolBuilder, under_test: impl Fn(WorkerPool, Arc<AtomicUsize>) -> F) {
        let points = drop_at_every_await_in_sim(0..40, |sim| {
            let live = Arc::new(AtomicUsize::new(0));
            let pool = builder.clone().workers(2).queue(1).clock(sim.clock()).start(sim).unwrap();
            let others: Vec<_> = (0..3)
                .map(|other| {
                    let (pool, clock) = (pool.clone(), sim.clock());
                    let pause = Duration::from_millis(sim.random_below(3));
                    sim.spawn(format!("other {other}"), async move {
                        for _ in 0..3 {
                            let clock = clock.clone();
                            let task = async move { clock.sleep(pause).await };
                            if let Ok(handle) = pool.submit(task).await {
                                handle.await.unwrap();
                            }
                        }
                    })
                })
                .collect();
            let future = under_test(pool.clone(), live.clone());
            let check = move |sim: &Sim, point| {
                sim.run(async {
                    for other in others {
                        other.await;
                    }
                });
                let report = sim.run(pool.drain());
                let stats = balanced(report.stats);
                assert_eq!(stats.submitted, stats.completed + stats.cancelled + stats.expired, "{point:?}");
                assert_eq!(live.load(Ordering::Relaxed), 0, "a future was kept: {point:?}");
                assert_eq!(pool.stats().waiting, 0);
                sim.run_until_idle();
                assert_eq!((sim.tasks(), sim.time().armed()), (0, 0), "{point:?}");
            };
            (future, check)
        });
        assert!(points > 40 * 2, "{points}");
    }

    /// Counts how many of it there are.
    struct Live(Arc<AtomicUsize>);
    impl Live {
        fn new(count: &Arc<AtomicUsize>) -> Self {
            count.fetch_add(1, Ordering::Relaxed);
            Self(count.clone())
        }
    }
    impl Drop for Live {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_submission_dropped_anywhere_leaves_nothing_behind() {
        conserves(|pool, live| async move {
            for _ in 0..3 {
                let live = Live::new(&live);
                let _ = pool.execute(async move { drop(live) }).await;
            }
        });
    }

    #[test]
    fn a_limited_submission_dropped_anywhere_leaves_nothing_behind() {
        conserves(|pool, live| async move {
            for _ in 0..3 {
                let live = Live::new(&live);
                let task = async move { drop(live) };
                let _ = pool.submit_timeout(task, Duration::from_millis(1)).await;
            }
        });
    }

    #[test]
    fn a_handle_dropped_anywhere_leaves_nothing_behind() {
        conserves(|pool, live| async move {
            for _ in 0..3 {
                let live = Live::new(&live);
                let task = async move {
                    yield_now().await;
                    live
                };
                if let Ok(handle) = pool.submit(task).await {
                    drop(handle.cancel_on_drop().await);
                }
            }
        });
    }

    #[test]
    fn a_drain_dropped_anywhere_leaves_nothing_behind() {
        conserves(|pool, live| async move {
            let _live = Live::new(&live);
            yield_now().await;
            let _ = pool.drain().await;
        });
    }

    // WP15, WP18
    #[test]
    fn a_submission_with_options_dropped_anywhere_leaves_nothing_behind() {
        let mail = NamedQueue::new("mail").width(1).capacity(1);
        conserves_in(WorkerPool::builder().named_queue(mail), |pool, live| async move {
            for delay in 0..4 {
                let live = Live::new(&live);
                let task = pool.task(async move { drop(live) }).queue("mail").delay(delay * MILLI);
                let _ = task.expires_in(6 * MILLI).submit_timeout(3 * MILLI).await;
            }
        });
    }

    // WP7, WP18
    #[test]
    fn a_handle_on_a_delayed_task_dropped_anywhere_leaves_nothing_behind() {
        conserves_in(WorkerPool::builder().managed(), |pool, live| async move {
            for delay in 0..3 {
                let live = Live::new(&live);
                let task = async move {
                    yield_now().await;
                    live
                };
                if let Ok(handle) = pool.task(task).delay(delay * MILLI).submit().await {
                    drop(handle.cancel_on_drop().await);
                }
            }
        });
    }

    // A worker dropped at any point, with what it runs: everything is accounted for.
    #[test]
    fn a_worker_dropped_anywhere_loses_nothing_silently() {
        let points = drop_at_every_await_in_sim(0..60, |sim| {
            let (pool, mut workers) = pool(2, 2);
            let under_test = workers.next().unwrap();
            sim.spawn("other worker", workers.next().unwrap());
            let (ended, accepted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            for producer in 0..2 {
                let (pool, ended, accepted, clock) =
                    (pool.clone(), ended.clone(), accepted.clone(), sim.clock());
                sim.spawn(format!("producer {producer}"), async move {
                    for pause in 0..4 {
                        let clock = clock.clone();
                        let task = async move { clock.sleep(Duration::from_millis(pause)).await };
                        let Ok(handle) = pool.submit(task).await else { break };
                        accepted.fetch_add(1, Ordering::Relaxed);
                        if let Err(error) = handle.await {
                            assert!(error.is_dropped());
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // What ends the worker under test, if nothing else does.
            let (drain, clock) = (pool.drain(), sim.clock());
            let drain = sim.spawn("drain", async move {
                clock.sleep(SECOND).await;
                drain.await
            });
            let check = move |sim: &Sim, point| {
                let report = sim.run(drain);
                sim.run_until_idle();
                let stats = balanced(report.stats);
                assert!(stats.dropped <= 1, "{point:?}");
                assert_eq!(stats.submitted, accepted.load(Ordering::Relaxed), "{point:?}");
                assert_eq!(ended.load(Ordering::Relaxed), accepted.load(Ordering::Relaxed), "{point:?}");
                assert_eq!(sim.tasks(), 0, "{point:?}");
            };
            (under_test, check)
        });
        assert!(points > 60 * 4, "{points}");
    }
}
