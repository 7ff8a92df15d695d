//! The ways in which a task ends, and that it ends in one of them.

use super::*;
use cofferdam::pool::TaskPanic;
use std::panic::panic_any;

// WP9
#[test]
fn a_panic_is_the_tasks_own_affair_and_its_payload_goes_to_handler_and_handle() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = seen.clone();
    let on_panic = move |panic: &TaskPanic<'_>| {
        record.lock().unwrap().push((panic.task().number(), panic.message().map(str::to_owned)));
        panic!("the handler's own");
    };
    let (pool, mut workers) =
        driven(WorkerPool::builder().workers(1).queue(8).name("mill").on_panic(on_panic));
    let text = pool.try_submit(async { panic!("grain {}", 7) }).unwrap();
    let value = pool.try_submit(async { panic_any(42_u32) }).unwrap();
    let late = pool
        .try_submit(async {
            yield_now().await;
            panic!("late");
        })
        .unwrap();
    pool.try_execute(async { panic!("nobody waits") }).unwrap();
    let after = pool.try_submit(ready("still here")).unwrap();
    settle(&mut workers);
    let error = Polled::new(text).poll().unwrap().unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task panicked: grain 7");
    assert_eq!(error.panic_message(), Some("grain 7"));
    let payload = Polled::new(value).poll().unwrap().unwrap_err().into_panic().unwrap();
    assert_eq!(payload.downcast_ref::<u32>(), Some(&42));
    assert!(Polled::new(late).poll().unwrap().unwrap_err().is_panic());
    assert_eq!(Polled::new(after).poll().unwrap().unwrap(), "still here");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        *seen.lock().unwrap(),
        [(0, text("grain 7")), (1, None), (2, text("late")), (3, text("nobody waits"))]
    );
    let stats = balanced(pool.stats());
    assert_eq!((stats.panicked, stats.completed), (4, 1));
}

/// Panics when it is dropped.
struct Mine;
impl Drop for Mine {
    fn drop(&mut self) {
        panic!("stepped on");
    }
}

// WP6, WP9
#[test]
fn a_future_that_panics_when_it_is_dropped_ends_its_task_and_no_worker() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    let endless = || {
        let mine = Mine;
        async move {
            let _mine = mine;
            pending::<()>().await;
        }
    };
    // While it runs: cancelled; by the panic of its drop it is not ended twice.
    let running = pool.try_submit(endless()).unwrap();
    settle(&mut workers);
    assert!(running.cancel());
    settle(&mut workers);
    assert!(Polled::new(running).poll().unwrap().unwrap_err().is_cancelled());
    // When it is done: a panic takes the place of the result, which is dropped.
    let drops = Arc::new(AtomicUsize::new(0));
    let result = Dropped(drops.clone());
    struct Done<T>(Option<T>, #[allow(dead_code)] Mine);
    impl<T: Unpin> Future for Done<T> {
        type Output = T;
        fn poll(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<T> {
            self.0.take().map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        }
    }
    let done = pool.try_submit(Done(Some(result), Mine)).unwrap();
    pool.try_execute(Done(Some(()), Mine)).unwrap();
    settle(&mut workers);
    assert!(Polled::new(done).poll().unwrap().is_err_and(|error| error.is_panic()));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    // In the queue, when the pool ends.
    let queued = pool.try_submit(endless()).unwrap();
    pool.try_execute(endless()).unwrap();
    drop(workers);
    assert!(Polled::new(queued).poll().unwrap().unwrap_err().is_dropped());
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.panicked, stats.dropped, stats.submitted), (1, 2, 2, 5));
}

// WP9
#[test]
fn a_result_that_panics_when_nobody_wants_it_harms_nobody() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    drop(pool.try_submit(async { Mine }).unwrap());
    let after = pool.try_submit(ready(1)).unwrap();
    settle(&mut workers);
    assert_eq!(Polled::new(after).poll().unwrap().unwrap(), 1);
    assert_eq!(balanced(pool.stats()).completed, 2);
}

// WP10, CTX3
#[test]
fn a_tasks_time_runs_from_its_beginning_and_not_from_its_submission() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(1).queue(4).clock(time.clock()).task_timeout(2 * SECOND);
    let (pool, mut workers) = driven(builder);
    let clock = time.clock();
    let sleep = |seconds: u32| {
        let clock = clock.clone();
        async move { clock.sleep(seconds * SECOND).await }
    };
    let in_time = pool.try_submit(sleep(1)).unwrap();
    let waits_a_second_then_in_time = pool.try_submit(sleep(2)).unwrap();
    let too_long = pool.try_submit(sleep(3)).unwrap();
    for _ in 0..6 {
        settle(&mut workers);
        time.advance(SECOND);
    }
    settle(&mut workers);
    assert!(Polled::new(in_time).poll().unwrap().is_ok());
    // Ready at the very limit: the result beats the clock.
    assert!(Polled::new(waits_a_second_then_in_time).poll().unwrap().is_ok());
    let error = Polled::new(too_long).poll().unwrap().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "the task ran longer than its limit of 2s");
    let stats = balanced(pool.stats());
    assert_eq!((stats.completed, stats.timed_out, time.armed()), (2, 1, 0));
}

// WP10
#[test]
fn a_limit_of_zero_is_none() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(1).clock(time.clock()).task_timeout(Duration::ZERO);
    let (pool, mut workers) = driven(builder);
    let gate = Arc::new(Gate::new(false));
    let waits = gate.clone();
    let handle = pool.try_submit(async move { waits.wait().await }).unwrap();
    settle(&mut workers);
    assert_eq!(time.armed(), 0);
    time.advance(1_000_000 * SECOND);
    gate.open();
    settle(&mut workers);
    assert!(Polled::new(handle).poll().unwrap().is_ok());
}

#[derive(Debug, PartialEq)]
struct RequestId(u32);

fn request_id() -> Option<u32> {
    Context::current().value::<RequestId>().map(|id| id.0)
}

// CTX7, CTX8
#[test]
fn a_task_sees_its_submitters_values_and_outlives_its_submitter() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    let request = Context::background().with_timeout(SECOND).with_value(RequestId(7));
    let gate = Arc::new(Gate::new(false));
    let waits = gate.clone();
    let task = async move {
        let before = request_id();
        waits.wait().await;
        (before, request_id(), Context::current().check().is_ok(), Context::current().deadline())
    };
    let handle = request.scope_sync(|| pool.try_submit(task)).unwrap();
    // The next one, and the worker, see nothing of it.
    let other = pool.try_submit(async { request_id() }).unwrap();
    settle(&mut workers);
    request.cancel("hung up");
    gate.open();
    settle(&mut workers);
    let (before, after, goes_on, deadline) = Polled::new(handle).poll().unwrap().unwrap();
    assert_eq!((before, after, goes_on), (Some(7), Some(7), true));
    assert_eq!(deadline, cofferdam::time::Deadline::NEVER);
    assert_eq!(Polled::new(other).poll().unwrap().unwrap(), None);
}

// CTX6, CTX8
#[test]
fn a_tied_task_ends_with_its_submitters_context() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8).tied(true));
    let request = Context::background().child().with_value(RequestId(7));
    let drops = Arc::new(AtomicUsize::new(0));
    let endless = || {
        let token = Dropped(drops.clone());
        async move {
            let _token = token;
            assert_eq!(request_id(), Some(7));
            pending::<()>().await;
        }
    };
    let running = request.scope_sync(|| pool.try_submit(endless())).unwrap();
    let queued = request.scope_sync(|| pool.try_submit(endless())).unwrap();
    let untied = pool.try_submit(ready(1)).unwrap();
    settle(&mut workers);
    request.cancel("hung up");
    settle(&mut workers);
    for handle in [running, queued] {
        let error = Polled::new(handle).poll().unwrap().unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.cause().unwrap().text(), Some("hung up"));
        assert_eq!(error.to_string(), "the task was cancelled: hung up");
    }
    assert!(Polled::new(untied).poll().unwrap().is_ok());
    assert_eq!((drops.load(Ordering::Relaxed), balanced(pool.stats()).cancelled), (2, 2));
    // A deadline counts as well.
    let late = Context::background().with_clock(time.clock()).with_timeout(SECOND);
    let handle = late.scope_sync(|| pool.try_submit(pending::<()>())).unwrap();
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    let error = Polled::new(handle).poll().unwrap().unwrap_err();
    assert!(error.context().unwrap().is_deadline_exceeded());
    assert_eq!(time.armed(), 0);
}

// WP8
#[test]
fn the_pools_own_context_is_the_tasks_and_ends_the_pool() {
    let base = Context::background().child().with_value(RequestId(1));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(2).context(base.clone()));
    let own = pool.try_submit(async { request_id() }).unwrap();
    let request = Context::background().with_value(RequestId(2));
    let theirs = request.scope_sync(|| pool.try_submit(async { request_id() })).unwrap();
    settle(&mut workers);
    assert_eq!(Polled::new(own).poll().unwrap().unwrap(), Some(1));
    assert_eq!(Polled::new(theirs).poll().unwrap().unwrap(), Some(2));
    // One worker runs, the other sleeps.
    let running = pool.try_submit(pending::<()>()).unwrap();
    settle(&mut workers);
    base.cancel("over");
    let error = pool.try_submit(ready(1)).unwrap_err();
    assert!(error.context().unwrap().is_cancelled());
    assert!(settle(&mut workers).is_some());
    let error = Polled::new(running).poll().unwrap().unwrap_err();
    assert_eq!(error.cause().unwrap().text(), Some("over"));
    assert!(pool.is_closed() && !pool.is_draining());
    assert_eq!(balanced(pool.stats()).cancelled, 1);
    assert_eq!(Polled::new(pool.drain()).poll().unwrap().interrupted, 1);
}

// WP6, WP11
#[test]
fn every_accepted_task_ends_in_exactly_one_way_whatever_happens() {
    Sim::for_seeds(0..300, |sim| {
        let ended = Arc::new([const { AtomicU64::new(0) }; 5]);
        let builder = WorkerPool::builder().workers(3).queue(4).clock(sim.clock());
        let pool = builder.task_timeout(Duration::from_millis(8)).start(sim).unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        for producer in 0..3 {
            let (pool, ended, accepted, clock) = (pool.clone(), ended.clone(), accepted.clone(), sim.clock());
            let fates: Vec<_> = (0..20).map(|_| (sim.random_below(10), sim.random_below(12))).collect();
            let other = sim.clone();
            sim.spawn(format!("producer {producer}"), async move {
                for (fate, pause) in fates {
                    let task_clock = clock.clone();
                    let pause = Duration::from_millis(pause);
                    let task = async move {
                        task_clock.sleep(pause).await;
                        assert!(fate != 0, "the fate of some");
                    };
                    let Ok(handle) = pool.submit(task).await else { continue };
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let (ended, clock) = (ended.clone(), clock.clone());
                    other.spawn("waiter", async move {
                        if fate == 1 {
                            clock.sleep(Duration::from_millis(3)).await;
                            handle.cancel();
                        }
                        let way = match handle.await {
                            Ok(()) => 0,
                            Err(error) if error.is_panic() => 1,
                            Err(error) if error.is_cancelled() => 2,
                            Err(error) if error.is_timeout() => 3,
                            Err(error) => {
                                assert!(error.is_dropped());
                                4
                            }
                        };
                        ended[way].fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
        let limit = Duration::from_millis(20 + sim.random_below(80));
        let clock = sim.clock();
        let report = sim.run(async {
            clock.sleep(limit).await;
            balanced(pool.stats());
            pool.shutdown(limit).await
        });
        sim.run_until_idle();
        let stats = balanced(report.stats);
        let ways = [stats.completed, stats.panicked, stats.cancelled, stats.timed_out, stats.dropped];
        assert_eq!(ended.iter().map(|way| way.load(Ordering::Relaxed)).collect::<Vec<_>>(), ways);
        assert_eq!(stats.submitted, accepted.load(Ordering::Relaxed));
        assert_eq!((stats.queued, stats.running), (0, 0));
        assert_eq!(sim.tasks(), 0, "somebody waits for ever");
        sim.advance(SECOND);
        assert_eq!(sim.time().armed(), 0);
    });
}

/// A value of a context that panics when it is dropped.
struct Bomb(Arc<AtomicUsize>);
impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::panic::resume_unwind(Box::new("bomb"));
    }
}

// WP6, WP8
#[test]
fn values_of_a_context_that_panic_when_dropped_stop_nobody_who_clears_the_queue() {
    for managed in [false, true] {
        let builder = WorkerPool::builder().workers(1).queue(8);
        let (pool, workers) = driven(if managed { builder.managed() } else { builder });
        let dropped = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let context = Context::background().with_value(Bomb(Arc::clone(&dropped)));
                let handle = context.scope_sync(|| pool.try_submit(pending::<()>())).unwrap();
                drop(context);
                handle
            })
            .collect();
        let report = Polled::new(pool.shutdown(Duration::ZERO)).poll().unwrap();
        assert_eq!((balanced(report.stats).dropped, dropped.load(Ordering::Relaxed)), (3, 3));
        for handle in handles {
            assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());
        }
        drop(workers);
    }
}
