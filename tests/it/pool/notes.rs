//! What a pool notes of its tasks: events, reports, history, contexts; and its wrapper.

use super::*;
use cofferdam::pool::{Outcome, PoolEvent, TaskId, TaskRecord, TaskReport, TaskStatus};
use cofferdam::time::{Clock, Sleep, Timer};
use futures_util::{FutureExt, StreamExt};
use std::any::TypeId;
use std::sync::OnceLock;
use std::time::Instant;

type Events = Arc<Mutex<Vec<PoolEvent>>>;

/// A builder of a pool on a clock of our own whose events are kept.
fn observed(workers: usize, queue: usize) -> (PoolBuilder, ManualClock, Events) {
    let (time, events) = (ManualClock::new(), Events::default());
    let seen = Arc::clone(&events);
    let builder = WorkerPool::builder()
        .workers(workers)
        .queue(queue)
        .clock(time.clock())
        .observer(move |event: &PoolEvent| seen.lock().unwrap().push(*event));
    (builder, time, events)
}

fn take(events: &Events) -> Vec<PoolEvent> {
    std::mem::take(&mut *events.lock().unwrap())
}

/// The events in few words.
fn told(events: &Events) -> Vec<String> {
    let short = |event| match event {
        PoolEvent::Submitted { task, queued } => format!("{task} submitted, {queued} queued"),
        PoolEvent::Started { task, attempt, waited, worker } => {
            format!("{task} started {attempt} by {worker} after {waited:?}")
        }
        PoolEvent::Ended(report) => format!("{} {}", report.task, report.outcome),
        PoolEvent::WorkerStarted { worker } => format!("worker {worker} started"),
        PoolEvent::WorkerStopped { worker } => format!("worker {worker} stopped"),
        other => format!("{other:?}"),
    };
    take(events).into_iter().map(short).collect()
}

fn report_of(events: Vec<PoolEvent>) -> Vec<TaskReport> {
    events
        .into_iter()
        .filter_map(|event| if let PoolEvent::Ended(report) = event { Some(report) } else { None })
        .collect()
}

// WP12, WP23
#[test]
fn observers_are_told_of_each_step_of_a_task_and_of_each_worker() {
    let (builder, time, events) = observed(1, 8);
    let (pool, mut workers) = driven(builder);
    let handle = pool.try_submit(yield_now()).unwrap();
    time.advance(SECOND);
    pool.try_execute(ready(())).unwrap();
    assert_eq!(told(&events), ["#0 submitted, 1 queued", "#1 submitted, 2 queued"]);
    settle(&mut workers);
    assert_eq!(
        told(&events),
        [
            "worker 0 started",
            "#0 started 1 by 0 after 1s",
            "#0 completed",
            "#1 started 1 by 0 after 0ns",
            "#1 completed"
        ]
    );
    drop(handle);
    pool.close();
    assert!(settle(&mut workers).is_some());
    assert_eq!(told(&events), ["worker 0 stopped"]);
    assert_eq!(pool.observers().unwrap().panics(), 0);
}

// WP12: a worker that is dropped has stopped too; one that was never polled has not started.
#[test]
fn a_dropped_worker_is_told_of_if_it_had_started() {
    let (builder, _, events) = observed(2, 8);
    let (pool, mut workers) = builder.build().unwrap();
    let (first, second) = (workers.next().unwrap(), workers.next().unwrap());
    let mut first = Polled::new(first);
    assert!(first.poll().is_none());
    drop((first, second));
    assert_eq!(told(&events), ["worker 0 started", "worker 0 stopped"]);
    assert!(pool.is_closed());
}

// WP4, WP6: each way to end has its report, with how long the task waited and ran.
#[test]
fn each_task_has_one_report_that_says_how_it_ended() {
    let (builder, time, events) = observed(1, 16);
    let (pool, mut workers) = driven(builder.task_timeout(10 * SECOND).reports(16));
    let reports = pool.reports().unwrap();
    let clock = time.clock();
    let done = pool.try_submit(async move { clock.sleep(2 * SECOND).await }).unwrap();
    let panics = pool.try_submit(async { panic!("oh") }).unwrap();
    let cancelled = pool.try_submit(pending::<()>()).unwrap();
    let withdrawn = pool.try_submit(pending::<()>()).unwrap();
    let slow = pool.try_submit(pending::<()>()).unwrap();
    time.advance(SECOND);
    settle(&mut workers);
    withdrawn.cancel();
    time.advance(2 * SECOND);
    settle(&mut workers);
    cancelled.cancel();
    settle(&mut workers);
    time.advance(10 * SECOND);
    settle(&mut workers);
    let never = pool.try_submit(pending::<()>()).unwrap();
    settle(&mut workers);
    let unbegun = pool.try_submit(pending::<()>()).unwrap();
    drop(workers);
    let ends = report_of(take(&events));
    let short = |report: &TaskReport| {
        let TaskReport { task, outcome, attempts, waited, ran, worker, .. } = *report;
        (task.number(), outcome, attempts, waited.as_secs(), ran.as_secs(), worker)
    };
    use Outcome::*;
    assert_eq!(
        ends.iter().map(short).collect::<Vec<_>>(),
        [
            (0, Completed, 1, 1, 2, Some(0)),
            (1, Panicked, 1, 3, 0, Some(0)),
            (2, Cancelled, 1, 3, 0, Some(0)),
            (3, Cancelled, 0, 3, 0, None),
            (4, TimedOut, 1, 3, 10, Some(0)),
            (5, Dropped, 1, 0, 0, Some(0)),
            (6, Dropped, 0, 0, 0, None),
        ]
    );
    // The stream says the same, and ends with the pool.
    assert_eq!(reports.missed(), 0);
    assert_eq!(reports.collect::<Vec<_>>().now_or_never().unwrap(), ends);
    balanced(pool.stats());
    drop((done, panics, slow, never, unbegun));
}

// WP4
#[test]
fn reports_that_nobody_reads_give_way_to_newer_ones_and_are_counted() {
    let (builder, _, _) = observed(1, 64);
    let (pool, mut workers) = driven(builder.reports(4));
    let mut reports = pool.reports().unwrap();
    for _ in 0..10 {
        pool.try_execute(ready(())).unwrap();
    }
    settle(&mut workers);
    assert_eq!(pool.stats().completed, 10, "workers do not wait for readers");
    let kept: Vec<_> = std::iter::from_fn(|| reports.try_next()).map(|report| report.task.number()).collect();
    assert_eq!(kept, [6, 7, 8, 9]);
    assert_eq!(reports.missed(), 6);
    assert!(reports.next().now_or_never().is_none(), "the pool goes on");
    pool.close();
    settle(&mut workers);
    assert_eq!(reports.next().now_or_never(), Some(None));
}

// WP17
#[test]
fn the_history_says_where_a_task_is_and_forgets_the_oldest_that_have_ended() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8).history(2));
    let gate = Arc::new(Gate::new(false));
    let waits = Arc::clone(&gate);
    let first = pool.try_submit(async move { waits.wait().await }).unwrap();
    let others: Vec<_> = (0..3).map(|n| pool.try_submit(ready(n)).unwrap()).collect();
    let status = |n: usize| pool.status(others[n].id());
    assert_eq!(pool.status(first.id()), Some(TaskStatus::Pending));
    settle(&mut workers);
    assert_eq!(pool.status(first.id()), Some(TaskStatus::Running));
    assert_eq!(status(0), Some(TaskStatus::Pending));
    assert_eq!(pool.history().len(), 4);
    gate.open();
    settle(&mut workers);
    assert_eq!((pool.status(first.id()), status(0)), (None, None));
    let ended = Some(TaskStatus::Ended(Outcome::Completed));
    assert_eq!((status(1), status(2)), (ended, ended));
    assert!(status(1).unwrap().is_ended());
    let tasks: Vec<_> = pool.history().iter().map(|record| record.task).collect();
    assert_eq!(tasks, [others[1].id(), others[2].id()]);
    let record: TaskRecord = pool.record(others[2].id()).unwrap();
    assert_eq!((record.attempts, record.report.unwrap().outcome), (1, Outcome::Completed));
}

// CTX9, WP7
#[test]
fn a_task_is_cancelled_by_its_number_in_the_queue_and_while_it_runs() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8).history(8));
    let dropped = Arc::new(AtomicUsize::new(0));
    let mine = Dropped(Arc::clone(&dropped));
    let runs = pool.try_submit(async move { (pending::<()>().await, drop(mine)) }).unwrap();
    let waits = pool.try_submit(async { unreachable!("cancelled in the queue") }).unwrap();
    settle(&mut workers);
    assert!(pool.cancel(waits.id(), "not needed"));
    assert!(!pool.cancel(waits.id(), "twice"));
    assert!(pool.cancel(runs.id(), "too slow"));
    settle(&mut workers);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert!(!pool.cancel(runs.id(), "has ended"));
    let error = Polled::new(runs).poll().unwrap().unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.cause().unwrap().text(), Some("too slow"));
    let ended = Some(TaskStatus::Ended(Outcome::Cancelled));
    assert_eq!(pool.status(waits.id()), ended);
    let error = Polled::new(waits).poll().unwrap().unwrap_err();
    assert_eq!(error.cause().unwrap().text(), Some("not needed"));
    assert_eq!(balanced(pool.stats()).cancelled, 2);
    assert_eq!(pool.context_stats().cancelled, 2);
}

// CTX9: a detached task's context is not its submitter's; a tied one's ends with it. Either way the pool's own end cuts it.
#[test]
fn the_context_of_a_task_is_its_own_and_still_ends_with_what_it_is_tied_to() {
    for tied in [false, true] {
        let base = Context::background().child();
        let builder = WorkerPool::builder().workers(1).queue(8).history(8).tied(tied).context(base.clone());
        let (pool, mut workers) = driven(builder);
        let request = Context::background().child().with_value(7_u8);
        let handle = request.scope_sync(|| pool.try_submit(pending::<()>())).unwrap();
        settle(&mut workers);
        let context = pool.context(handle.id()).unwrap();
        assert_eq!(context.value::<u8>(), Some(&7));
        request.cancel("the client has gone");
        settle(&mut workers);
        assert_eq!(handle.is_finished(), tied);
        assert_eq!(pool.stats().running, u64::from(!tied));
        let own = pool.try_submit(pending::<()>()).unwrap();
        settle(&mut workers);
        base.cancel("over");
        settle(&mut workers);
        let report = Polled::new(pool.drain()).poll().unwrap();
        assert_eq!(report.interrupted, 1, "tied: {tied}");
        assert!(pool.context(own.id()).is_none());
        drop(own);
    }
}

// CTX12
#[test]
fn the_statistics_of_contexts_say_how_they_ended_and_how_long_they_lived() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(1).queue(8).history(0).clock(time.clock());
    let (pool, mut workers) = driven(builder.tied(true).task_timeout(9 * SECOND));
    let request = Context::background().with_clock(time.clock()).with_timeout(3 * SECOND).with_value(1_u8);
    let late = request.scope_sync(|| pool.try_submit(pending::<()>())).unwrap();
    let slow = pool.try_submit(pending::<()>()).unwrap();
    let quick = pool.try_submit(ready(())).unwrap();
    assert_eq!(pool.context_stats().active, 3);
    settle(&mut workers);
    time.advance(3 * SECOND);
    settle(&mut workers);
    assert_eq!((pool.context_stats().active, pool.context_stats().timed_out), (2, 1));
    time.advance(9 * SECOND);
    settle(&mut workers);
    let stats = pool.context_stats();
    assert_eq!((stats.active, stats.timed_out, stats.cancelled, stats.ended), (0, 2, 0, 3));
    assert_eq!((stats.longest, stats.average), (12 * SECOND, 9 * SECOND));
    assert_eq!(stats.propagated, 1);
    drop((late, slow, quick));
}

// CTX7
#[test]
fn a_task_sees_those_values_of_its_submitter_that_may_cross() {
    #[derive(Debug)]
    struct Secret;
    let see = || async {
        (Context::current().value::<u8>().copied(), Context::current().value::<Secret>().is_some())
    };
    let request = Context::background().with_value(7_u8).with_value(Secret);
    let other = Context::background().with_value(Secret);
    let builder = || WorkerPool::builder().workers(1).queue(8);
    let all = (builder(), (Some(7), true), 2);
    let some = (builder().carry_only(&[TypeId::of::<u8>()]), (Some(7), false), 1);
    let none = (builder().carry_only(&[]), (None, false), 0);
    for (builder, expected, propagated) in [all, some, none] {
        let (pool, mut workers) = driven(builder);
        let handle = request.scope_sync(|| pool.try_submit(see())).unwrap();
        other.scope_sync(|| pool.try_execute(ready(()))).unwrap();
        pool.try_execute(ready(())).unwrap();
        settle(&mut workers);
        assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), expected);
        assert_eq!(pool.context_stats().propagated, propagated);
    }
}

// WP10
#[test]
fn the_wrapper_is_around_each_poll_of_a_task_and_in_its_context() {
    thread_local!(static INSIDE: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) });
    let log = |what| INSIDE.with_borrow_mut(|inside| inside.push(what));
    let wrap = move |task: cofferdam::pool::TaskFuture| {
        assert_eq!(Context::current().value::<u8>(), Some(&7), "in the task's context");
        async move {
            log("before");
            let mut task = std::pin::pin!(task);
            std::future::poll_fn(|cx| {
                log("enter");
                let polled = task.as_mut().poll(cx);
                log("leave");
                polled
            })
            .await;
            log("after");
        }
    };
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1).wrap(wrap));
    let request = Context::background().with_value(7_u8);
    let handle = request
        .scope_sync(|| {
            pool.try_submit(async move {
                log("one");
                yield_now().await;
                log("two");
                42
            })
        })
        .unwrap();
    // A refused task comes back as it was.
    let refused = pool.try_submit(ready("mine")).unwrap_err();
    assert_eq!(refused.into_inner().now_or_never(), Some("mine"));
    settle(&mut workers);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), 42);
    assert_eq!(
        INSIDE.with_borrow(Vec::clone),
        ["before", "enter", "one", "leave", "enter", "two", "leave", "after"]
    );
}

// WP10, WP9: what the wrapper does is part of the task.
#[test]
fn a_task_that_the_wrapper_drops_is_cancelled_and_a_wrapper_that_panics_is_the_tasks_panic() {
    let skip = Arc::new(AtomicUsize::new(0));
    let turn = Arc::clone(&skip);
    let wrap = move |task| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        assert!(turn != 1, "no");
        async move {
            if turn != 0 {
                task.await
            }
        }
    };
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8).wrap(wrap).history(8));
    let dropped = Arc::new(AtomicUsize::new(0));
    let mine = Dropped(Arc::clone(&dropped));
    let skipped = pool.try_submit(async move { drop(mine) }).unwrap();
    let panics = pool.try_submit(ready(1)).unwrap();
    let goes_on = pool.try_submit(ready(2)).unwrap();
    let ids = [skipped.id(), panics.id(), goes_on.id()];
    settle(&mut workers);
    assert!(Polled::new(skipped).poll().unwrap().unwrap_err().is_cancelled());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(Polled::new(panics).poll().unwrap().unwrap_err().panic_message(), Some("no"));
    assert_eq!(Polled::new(goes_on).poll().unwrap().unwrap(), 2);
    let stats = balanced(pool.stats());
    assert_eq!((stats.completed, stats.panicked, stats.cancelled), (1, 1, 1));
    let status = |id: TaskId| pool.status(id).unwrap();
    let expected = [Outcome::Cancelled, Outcome::Panicked, Outcome::Completed];
    assert_eq!(ids.map(status), expected.map(TaskStatus::Ended));
}

// S21, WP12: an observer may ask the pool, hand tasks in, and panic.
#[test]
fn an_observer_may_call_back_and_panic() {
    let pool_cell = Arc::new(Mutex::new(None::<WorkerPool>));
    let seen = Arc::clone(&pool_cell);
    let builder = WorkerPool::builder().workers(1).queue(8).history(8).observer(move |event: &PoolEvent| {
        let pool = seen.lock().unwrap().clone();
        if let (PoolEvent::Ended(report), Some(pool)) = (event, pool) {
            assert_eq!(pool.status(report.task), Some(TaskStatus::Ended(Outcome::Completed)));
            if report.task.number() == 0 {
                pool.try_execute(ready(())).unwrap();
                panic!("the observer's own");
            }
        }
    });
    let (pool, mut workers) = driven(builder);
    *pool_cell.lock().unwrap() = Some(pool.clone());
    pool.try_execute(ready(())).unwrap();
    settle(&mut workers);
    assert_eq!(balanced(pool.stats()).completed, 2);
    assert_eq!(pool.observers().unwrap().panics(), 1);
    pool_cell.lock().unwrap().take();
}

// S21: with many workers and submitters at once, a task's events come in order.
#[test]
fn events_of_a_task_are_seen_in_the_order_in_which_they_happened() {
    Sim::for_seeds(0..50, |sim| {
        let events = Events::default();
        let seen = Arc::clone(&events);
        let pool = WorkerPool::builder()
            .workers(3)
            .queue(2)
            .clock(sim.clock())
            .history(1)
            .observer(move |event: &PoolEvent| seen.lock().unwrap().push(*event))
            .start(sim)
            .unwrap();
        sim.run(async {
            let submitters: Vec<_> = (0..4)
                .map(|n| {
                    let pool = pool.clone();
                    sim.spawn(format!("submitter {n}"), async move {
                        for _ in 0..5 {
                            pool.execute(yield_now()).await.unwrap();
                        }
                    })
                })
                .collect();
            for submitter in submitters {
                submitter.await;
            }
            assert!(pool.drain().await.is_clean());
        });
        let mut stage = std::collections::HashMap::new();
        for event in take(&events) {
            match event {
                PoolEvent::Submitted { task, .. } => assert_eq!(stage.insert(task, 1), None),
                PoolEvent::Started { task, .. } => assert_eq!(stage.insert(task, 2), Some(1)),
                PoolEvent::Ended(report) => assert_eq!(stage.insert(report.task, 3), Some(2)),
                _ => {}
            }
        }
        assert_eq!(stage.len(), 20);
        assert!(stage.values().all(|stage| *stage == 3));
    });
}

// CTX1: a submission in a pool that notes and wraps can be dropped at every await, and nothing is noted of it.
#[test]
fn a_submission_dropped_while_it_waits_leaves_no_record() {
    let points = drop_at_every_await_in_sim(0..10, |sim| {
        let pool = WorkerPool::builder().workers(1).queue(1).clock(sim.clock()).history(9).wrap(|task| task);
        let pool = pool.start(sim).unwrap();
        let ours = pool.clone();
        let body = async move {
            ours.submit(yield_now()).await.unwrap().await.unwrap();
            ours.submit(yield_now()).await.unwrap().await.unwrap();
            ours.submit(yield_now()).await.unwrap().await.unwrap();
        };
        let check = move |sim: &Sim, _: _| {
            let report = sim.run(pool.drain());
            let noted = pool.history();
            assert_eq!(noted.len() as u64, report.stats.submitted);
            assert!(noted.iter().all(|record| record.status.is_ended()));
            assert_eq!(pool.context_stats().active, 0);
        };
        (body, check)
    });
    assert!(points > 0);
}

// CTX9: a task that waits for its time need not wait for it to be cancelled.
#[test]
fn a_delayed_task_that_is_cancelled_by_its_number_ends_at_once() {
    let time = ManualClock::new();
    let (pool, mut workers) =
        driven(WorkerPool::builder().workers(1).queue(2).managed().history(8).clock(time.clock()));
    let delayed = |seconds| pool.task(pending::<()>()).delay(seconds * SECOND).try_submit().unwrap();
    let (first, second) = (delayed(5), delayed(9));
    settle(&mut workers);
    assert!(pool.cancel(second.id(), "not needed"));
    settle(&mut workers);
    assert_eq!((first.is_finished(), second.is_finished()), (false, true));
    assert_eq!(balanced(pool.stats()).queued, 1);
    drop((first, second));
}

#[test]
fn a_clock_may_look_at_the_notes() {
    #[derive(Clone)]
    struct Curious(Arc<OnceLock<WorkerPool>>, Clock);
    impl Timer for Curious {
        fn now(&self) -> Instant {
            if let Some(pool) = self.0.get() {
                let _ = pool.context_stats();
            }
            self.1.now()
        }

        fn sleep_until(&self, _: Instant) -> Sleep {
            Sleep::never()
        }
    }
    let (done, is_done) = std::sync::mpsc::channel();
    // On a thread of its own, as it could wait for itself.
    std::thread::spawn(move || {
        let curious = Curious(Arc::default(), ManualClock::new().clock());
        let builder = WorkerPool::builder().workers(1).queue(2).managed().history(4);
        let (pool, mut workers) = driven(builder.clock(Clock::new(curious.clone())));
        assert!(curious.0.set(pool.clone()).is_ok());
        let handle = pool.try_submit(async { 7 }).unwrap();
        settle(&mut workers);
        done.send(Polled::new(handle).poll().unwrap().unwrap()).unwrap();
    });
    assert_eq!(is_done.recv_timeout(10 * SECOND), Ok(7));
}

#[test]
fn a_pool_that_may_be_observed_tells_of_the_tasks_that_come_when_it_is() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4).observed());
    pool.try_execute(ready(())).unwrap();
    settle(&mut workers);
    // In a context, so that it carries something all the same.
    let context = Context::background().with_value(7_u32);
    context.scope_sync(|| pool.try_execute(ready(())).unwrap());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let observers = pool.observers().expect("it may be");
    observers.add(move |event: &PoolEvent| seen.lock().unwrap().push(*event));
    settle(&mut workers);
    assert_eq!(*events.lock().unwrap(), []);
    pool.try_execute(ready(())).unwrap();
    settle(&mut workers);
    let events = events.lock().unwrap();
    let [PoolEvent::Submitted { task, .. }, PoolEvent::Started { .. }, PoolEvent::Ended(report)] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((task.number(), report.task.number()), (2, 2));
    assert_eq!(balanced(pool.stats()).completed, 3);
}
