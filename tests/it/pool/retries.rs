//! WP16, WP19, RB9: tasks that are repeated, and what is kept of those that failed for good.

use super::*;
use cofferdam::pool::{Outcome, PoolEvent, Retried, RetryPolicy, TaskFuture, TaskStatus, Verdict};
use cofferdam::time::Backoff;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

const MS: Duration = Duration::from_millis(1);

struct World {
    pool: WorkerPool,
    workers: Polled<<Workers as IntoFuture>::IntoFuture>,
    time: ManualClock,
    events: Arc<Mutex<Vec<PoolEvent>>>,
}

impl World {
    fn new(set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Self {
        let (time, events) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&events);
        let builder = WorkerPool::builder()
            .workers(1)
            .queue(8)
            .managed()
            .history(16)
            .clock(time.clock())
            .observer(move |event: &PoolEvent| seen.lock().unwrap().push(*event));
        let (pool, workers) = driven(set(builder));
        Self { pool, workers, time, events }
    }

    fn settle(&mut self) {
        settle(&mut self.workers);
    }

    fn after(&mut self, time: Duration) {
        self.time.advance(time);
        self.settle();
    }

    /// (attempt, delay) of each retry.
    fn retries(&self) -> Vec<(u32, Duration)> {
        let retry = |event: &PoolEvent| match *event {
            PoolEvent::Retrying { attempt, delay, .. } => Some((attempt, delay)),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(retry).collect()
    }
}

fn policy(attempts: u32) -> RetryPolicy<&'static str> {
    RetryPolicy::new(attempts).unwrap().backoff(Backoff::exponential(SECOND))
}

/// A factory whose attempts fail so many times, and how often it was called.
fn failing(
    times: usize,
) -> (impl FnMut() -> std::future::Ready<Result<usize, &'static str>> + Send + 'static, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let make = move || {
        let call = count.fetch_add(1, Ordering::Relaxed);
        ready(if call < times { Err("busy") } else { Ok(call) })
    };
    (make, calls)
}

fn calls(calls: &AtomicUsize) -> usize {
    calls.load(Ordering::Relaxed)
}

#[test]
fn a_task_that_fails_goes_back_into_the_queue_and_holds_no_worker_while_it_waits() {
    let mut world = World::new(|builder| builder);
    let (make, called) = failing(2);
    let handle = world.pool.retry_task(&policy(5), make).try_submit().unwrap();
    let id = handle.id();
    world.settle();
    assert_eq!((calls(&called), world.pool.status(id)), (1, Some(TaskStatus::Retrying)));
    let stats = balanced(world.pool.stats());
    assert_eq!((stats.queued, stats.running, stats.retried), (1, 0, 1));
    // The only worker is free.
    let other = world.pool.try_submit(ready(7)).unwrap();
    world.settle();
    assert_eq!(Polled::new(other).poll().unwrap().unwrap(), 7);
    world.after(SECOND - MS);
    assert_eq!(calls(&called), 1);
    world.after(MS);
    assert_eq!(calls(&called), 2);
    world.after(2 * SECOND - MS);
    assert_eq!((calls(&called), handle.is_finished()), (2, false));
    world.after(MS);
    assert_eq!(world.retries(), [(1, SECOND), (2, 2 * SECOND)]);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(2));
    let stats = balanced(world.pool.stats());
    assert_eq!((stats.completed, stats.failed, stats.retried, stats.submitted), (2, 0, 2, 2));
    assert!(world.pool.dead_letters().is_empty());
    let report = world.pool.record(id).unwrap().report.unwrap();
    assert_eq!((report.outcome, report.attempts, report.waited), (Outcome::Completed, 3, Duration::ZERO));
    assert_eq!(world.time.armed(), 0);
}

#[test]
fn after_the_last_attempt_the_handle_has_the_last_error_and_a_letter_is_kept() {
    let mut world = World::new(|builder| builder);
    let (make, called) = failing(9);
    let handle = world.pool.retry_task(&policy(2), make).try_submit().unwrap();
    world.settle();
    world.after(SECOND);
    assert_eq!(calls(&called), 2);
    let id = handle.id();
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Err("busy"));
    let letters = world.pool.dead_letters().list();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.task, letter.outcome, letter.attempts), (id, Outcome::Failed, 2));
    assert_eq!(letter.error.as_deref(), Some("busy"));
    assert_eq!(letter.at, world.time.clock().wall());
    let stats = balanced(world.pool.stats());
    assert_eq!((stats.completed, stats.failed, stats.retried), (1, 1, 1));
    assert_eq!(world.pool.status(id), Some(TaskStatus::Ended(Outcome::Failed)));
    let events = world.events.lock().unwrap();
    assert_eq!(events.last(), Some(&PoolEvent::DeadLettered { task: id, displaced: None }));
}

// WP19
#[test]
fn the_verdict_on_an_error_requeues_buries_or_discards_the_task() {
    let judge = |error: &&'static str| match *error {
        "later" => Verdict::RetryAfter(3 * SECOND),
        "requeue" => Verdict::RetryAfter(Duration::ZERO),
        "poison" => Verdict::DeadLetter,
        _ => Verdict::Discard,
    };
    let policy = policy(9).judge(judge);
    let mut world = World::new(|builder| builder);
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |name, errors: &'static [&'static str]| {
        let (order, mut errors) = (Arc::clone(&order), errors.iter());
        let make = move || {
            order.lock().unwrap().push(name);
            ready(errors.next().map_or(Ok(()), |error| Err(*error)))
        };
        world.pool.retry_task(&policy, make).try_submit().unwrap()
    };
    let later = task("later", &["later"]);
    let back = task("back", &["requeue"]);
    let poison = task("poison", &["poison"]);
    let discard = task("discard", &["no"]);
    world.after(MS);
    assert_eq!(
        *order.lock().unwrap(),
        ["later", "back", "poison", "discard", "back"],
        "to the end of the queue"
    );
    assert_eq!(world.pool.dead_letters().list()[0].task, poison.id());
    world.after(3 * SECOND);
    assert_eq!(Polled::new(later).poll().unwrap().unwrap(), Ok(()));
    assert_eq!(Polled::new(back).poll().unwrap().unwrap(), Ok(()));
    assert_eq!(Polled::new(poison).poll().unwrap().unwrap(), Err("poison"));
    let discarded = discard.id();
    assert_eq!(Polled::new(discard).poll().unwrap().unwrap(), Err("no"));
    assert_eq!(world.pool.dead_letters().len(), 1);
    assert_eq!(world.pool.status(discarded), Some(TaskStatus::Ended(Outcome::Failed)));
    assert_eq!(balanced(world.pool.stats()).failed, 2);
}

#[test]
fn a_task_between_attempts_takes_a_place_and_is_not_refused_one() {
    let mut world = World::new(|builder| builder.queue(1));
    let (make, _) = failing(1);
    let handle = world.pool.retry_task(&policy(2), make).try_submit().unwrap();
    world.settle();
    assert!(world.pool.try_execute(ready(())).unwrap_err().is_full(), "the place is taken");
    world.after(SECOND);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(1));
    // While it runs its place is given away; it comes back all the same.
    let gate = Arc::new(Gate::new(false));
    let wait = Arc::clone(&gate);
    let mut first = true;
    let make = move || {
        let (wait, fails) = (Arc::clone(&wait), std::mem::take(&mut first));
        async move {
            wait.wait().await;
            if fails { Err("busy") } else { Ok(()) }
        }
    };
    let handle = world.pool.retry_task(&policy(2), make).try_submit().unwrap();
    world.settle();
    let other = world.pool.try_submit(pending::<()>()).unwrap();
    gate.open();
    world.settle();
    let stats = balanced(world.pool.stats());
    assert_eq!((stats.queued, stats.running), (1, 1));
    other.cancel();
    world.after(SECOND);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(()));
}

#[test]
fn a_task_between_attempts_is_cancelled_at_once() {
    for way in ["by its handle", "by its number", "with its context"] {
        let mut world = World::new(|builder| builder.tied(true));
        let request = Context::background().child();
        let dropped = Arc::new(AtomicUsize::new(0));
        let mine = Dropped(Arc::clone(&dropped));
        let mut called = 0;
        let make = move || {
            let _ = &mine;
            called += 1;
            assert_eq!(called, 1, "it is not made again");
            ready(Err::<(), _>("busy"))
        };
        let task = world.pool.retry_task(&policy(9), make);
        let handle = request.scope_sync(|| task.try_submit()).unwrap();
        world.settle();
        assert!(!handle.is_finished());
        match way {
            "by its handle" => assert!(handle.cancel()),
            "by its number" => assert!(world.pool.cancel(handle.id(), "not needed")),
            _ => assert!(request.cancel("the client has gone")),
        }
        world.settle();
        assert!(handle.is_finished(), "{way}: without any time");
        let record = world.pool.record(handle.id()).unwrap();
        assert_eq!((record.status, record.attempts), (TaskStatus::Ended(Outcome::Cancelled), 1), "{way}");
        assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
        assert_eq!(calls(&dropped), 1, "{way}: and nothing is kept of it");
        assert_eq!(balanced(world.pool.stats()).cancelled, 1);
        assert_eq!(world.time.armed(), 0, "{way}");
    }
}

#[test]
fn a_task_is_not_repeated_if_its_context_would_end_before() {
    let mut world = World::new(|builder| builder.tied(true));
    let request = Context::background().with_clock(world.time.clock()).with_timeout(2 * SECOND);
    let (make, called) = failing(9);
    let task = world.pool.retry_task(&policy(9), make);
    let handle = request.scope_sync(|| task.try_submit()).unwrap();
    world.settle();
    world.after(SECOND);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Err("busy"), "2 s more are too long");
    assert_eq!(calls(&called), 2);
}

#[test]
fn a_panic_or_a_limit_ends_the_task_and_makes_a_letter_of_it() {
    let mut world = World::new(|builder| builder.task_timeout(2 * SECOND));
    let policy = RetryPolicy::<&str>::new(9).unwrap().backoff(Backoff::fixed(SECOND));
    let panics = world.pool.retry_task(&policy, || async { panic!("oh") as Result<(), _> });
    let panics = panics.try_submit().unwrap();
    let clock = world.time.clock();
    let mut turn = 0;
    let slow = move || {
        let clock = clock.clone();
        turn += 1;
        let works = turn < 3;
        async move {
            clock.sleep(if works { SECOND } else { 9 * SECOND }).await;
            Err::<(), _>("busy")
        }
    };
    let slow = world.pool.retry_task(&policy, slow).try_submit().unwrap();
    world.settle();
    for _ in 0..4 {
        // Each attempt has the whole limit for itself.
        world.after(SECOND);
        assert!(!slow.is_finished());
    }
    world.after(2 * SECOND);
    assert!(Polled::new(slow).poll().unwrap().unwrap_err().is_timeout());
    assert!(Polled::new(panics).poll().unwrap().unwrap_err().is_panic());
    let letters = world.pool.dead_letters().list();
    let short: Vec<_> =
        letters.iter().map(|letter| (letter.outcome, letter.attempts, letter.error.as_deref())).collect();
    let limit = Some("the task ran longer than its limit of 2s");
    assert_eq!(short, [(Outcome::Panicked, 1, Some("oh")), (Outcome::TimedOut, 3, limit)]);
}

// WP16
#[test]
fn dead_letters_are_bounded_and_the_oldest_gives_way() {
    let mut world = World::new(|builder| builder.dead_letters(2));
    let once = RetryPolicy::new(1).unwrap();
    let mut submit = |text: &'static str| {
        let task = world.pool.retry_task(&once, move || ready(Err::<(), _>(text)));
        let id = task.try_execute().unwrap();
        world.settle();
        id
    };
    let (first, second, third) = (submit("a"), submit("b"), submit("c"));
    let letters = world.pool.dead_letters();
    let tasks: Vec<_> = letters.list().iter().map(|letter| letter.task).collect();
    assert_eq!((tasks, letters.displaced()), (vec![second, third], 1));
    let events = world.events.lock().unwrap();
    assert_eq!(events.last(), Some(&PoolEvent::DeadLettered { task: third, displaced: Some(first) }));
    drop(events);
    assert!(letters.requeue(first).unwrap_err().is_unknown());
    assert!(letters.discard(second) && !letters.discard(second));
    assert_eq!((letters.clear(), letters.len()), (1, 0));

    let mut none = World::new(|builder| builder.dead_letters(0));
    none.pool.retry_task(&once, || ready(Err::<(), _>("x"))).try_execute().unwrap();
    none.settle();
    let letters = none.pool.dead_letters();
    assert_eq!((letters.len(), letters.displaced()), (0, 0));
    assert_eq!(none.pool.stats().failed, 1);
}

#[test]
fn a_dead_letter_can_be_sent_again_with_all_its_attempts() {
    let mut world = World::new(|builder| builder.queue(1));
    let (make, called) = failing(5);
    let first = world.pool.retry_task(&policy(2), make).try_execute().unwrap();
    world.settle();
    world.after(SECOND);
    assert_eq!(calls(&called), 2);
    let letters = world.pool.dead_letters();
    // No room: it stays.
    let gate = Arc::new(Gate::new(false));
    let wait = Arc::clone(&gate);
    world.pool.try_execute(async move { wait.wait().await }).unwrap();
    settle(&mut world.workers);
    world.pool.try_execute(ready(())).unwrap();
    let error = letters.requeue(first).unwrap_err();
    assert!(error.is_full() && !error.is_unknown() && !error.is_closed());
    assert_eq!(error.to_string(), "worker pool: all 1 places of the queue are taken");
    assert_eq!(letters.len(), 1);
    gate.open();
    settle(&mut world.workers);
    let second = letters.requeue(first).unwrap();
    assert!(second > first && letters.is_empty());
    settle(&mut world.workers);
    world.time.advance(SECOND);
    settle(&mut world.workers);
    assert_eq!(calls(&called), 4);
    assert_eq!(letters.list()[0].task, second, "it has failed again");
    assert_eq!(letters.requeue_all().0, 1);
    settle(&mut world.workers);
    world.time.advance(SECOND);
    settle(&mut world.workers);
    assert_eq!((calls(&called), letters.len()), (6, 0), "at last");
    let (make, _) = failing(9);
    let last = world.pool.retry_task(&policy(1), make).try_execute().unwrap();
    settle(&mut world.workers);
    world.pool.close();
    let (requeued, error) = letters.requeue_all();
    assert!(requeued == 0 && error.unwrap().is_closed());
    assert_eq!(letters.list()[0].task, last);
}

#[test]
fn a_factory_that_panics_can_be_sent_again() {
    let mut world = World::new(|builder| builder);
    let mut turn = 0;
    let make = move || {
        turn += 1;
        assert!(turn > 1, "not yet");
        ready(Ok::<_, &str>(()))
    };
    let task = world.pool.retry_task(&policy(2), make).try_execute().unwrap();
    world.settle();
    let again = world.pool.dead_letters().requeue(task).unwrap();
    world.settle();
    assert_eq!(world.pool.status(again), Some(TaskStatus::Ended(Outcome::Completed)));
}

#[test]
fn a_closed_pool_still_repeats_and_one_that_is_shut_down_does_not() {
    for limit in [None, Some(Duration::ZERO)] {
        let mut world = World::new(|builder| builder);
        let (make, called) = failing(1);
        let handle = world.pool.retry_task(&policy(2), make).try_submit().unwrap();
        world.settle();
        let mut end =
            Polled::new(limit.map_or_else(|| world.pool.drain(), |limit| world.pool.shutdown(limit)));
        let report = end.poll();
        assert_eq!(report.is_some(), limit.is_some());
        world.after(SECOND);
        let result = Polled::new(handle).poll().unwrap();
        match limit {
            None => {
                assert_eq!((result.unwrap(), calls(&called)), (Ok(1), 2));
                assert!(end.poll().unwrap().is_clean());
            }
            Some(_) => {
                assert!(result.unwrap_err().is_dropped());
                assert_eq!((report.unwrap().stats.dropped, calls(&called)), (1, 1));
            }
        }
        balanced(world.pool.stats());
    }
}

#[test]
fn a_pool_that_is_not_managed_gives_the_task_back() {
    let (pool, _workers) = WorkerPool::builder().workers(1).build().unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let mine = Dropped(Arc::clone(&dropped));
    let make = move || {
        let _ = &mine;
        ready(Ok::<_, &str>(()))
    };
    let refused = pool.retry_task(&policy(2), make).try_submit().unwrap_err();
    assert!(refused.is_unsupported());
    let task: Retried<_, _, _> = refused.into_inner();
    assert!(format!("{task:?}").contains("max_attempts: 2"));
    assert_eq!(calls(&dropped), 0);
    drop(task);
    assert_eq!(calls(&dropped), 1);
}

#[test]
fn a_policy_needs_an_attempt() {
    let error = RetryPolicy::<&str>::new(0).unwrap_err();
    assert_eq!((error.knob(), error.value()), ("max_attempts", "0"));
    assert_eq!(policy(3).clone().max_attempts(), 3);
}

#[test]
fn the_wrapper_is_around_all_attempts_of_a_task() {
    let wrapped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&wrapped);
    let mut world = World::new(|builder| {
        builder.wrap(move |task: TaskFuture| {
            count.fetch_add(1, Ordering::Relaxed);
            task
        })
    });
    let (make, called) = failing(2);
    let handle = world.pool.retry_task(&policy(3), make).try_submit().unwrap();
    let (make, detached) = failing(2);
    world.pool.retry_task(&policy(3), make).try_execute().unwrap();
    world.settle();
    world.after(SECOND);
    world.after(2 * SECOND);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(2));
    assert_eq!((calls(&called), calls(&detached), calls(&wrapped)), (3, 3, 2));
}

// Everything at once: each task has one end, nothing is kept or lost, whoever cancels, drops or shuts down.
#[test]
fn every_repeated_task_ends_in_exactly_one_way_whatever_happens() {
    Sim::for_seeds(0..200, |sim| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let ends = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ends);
        let pool = WorkerPool::builder()
            .workers(2)
            .queue(3)
            .managed()
            .clock(sim.clock())
            .dead_letters(3)
            .history(4)
            .observer(move |event: &PoolEvent| {
                count.fetch_add(usize::from(matches!(event, PoolEvent::Ended(_))), Ordering::Relaxed);
            })
            .start(sim)
            .unwrap();
        let mut made = 0;
        let report = sim.run(async {
            let policy = RetryPolicy::new(3).unwrap().backoff(Backoff::fixed(2 * MS));
            let mut handles = Vec::new();
            for _ in 0..8 {
                let (clock, mine, fate) = (sim.clock(), Dropped(Arc::clone(&dropped)), sim.random_below(5));
                made += 1;
                let mut turn = 0;
                let make = move || {
                    let (clock, _mine) = (clock.clone(), &mine);
                    turn += 1;
                    assert!(fate != 4 || turn == 1, "grain");
                    async move {
                        clock.sleep(MS).await;
                        if turn > fate { Ok(()) } else { Err("busy") }
                    }
                };
                let handle = pool.retry_task(&policy, make).submit().await.unwrap();
                match sim.random_below(4) {
                    0 => handles.push(handle.cancel_on_drop()),
                    1 => drop(handle),
                    _ => handles.push(handle),
                }
                if sim.random_below(3) == 0 {
                    sim.clock().sleep(MS).await;
                }
            }
            for _ in 0..sim.random_below(4) {
                handles.pop();
                sim.clock().sleep(MS).await;
            }
            let _ = pool.dead_letters().requeue_all();
            let report = pool.shutdown(MS * sim.random_below(20) as u32).await;
            for handle in handles {
                assert!(handle.is_finished());
                assert!(handle.now_or_never().is_some());
            }
            report
        });
        let stats = balanced(report.stats);
        assert_eq!(stats.ended(), stats.submitted);
        assert_eq!(calls(&ends) as u64, stats.submitted);
        let letters = pool.dead_letters();
        assert_eq!(made - calls(&dropped), letters.len(), "only letters keep a factory");
        letters.clear();
        assert_eq!(calls(&dropped), made);
    });
}

#[test]
fn a_submission_of_a_repeated_task_dropped_anywhere_leaves_nothing_behind() {
    let points = drop_at_every_await_in_sim(0..10, |sim| {
        let pool = WorkerPool::builder().workers(1).queue(1).managed().clock(sim.clock()).start(sim).unwrap();
        let dropped = Arc::new(AtomicUsize::new(0));
        let (ours, count, clock) = (pool.clone(), Arc::clone(&dropped), sim.clock());
        let body = async move {
            for _ in 0..3 {
                let (mine, clock) = (Dropped(Arc::clone(&count)), clock.clone());
                let make = move || {
                    let (clock, _mine) = (clock.clone(), &mine);
                    async move {
                        clock.sleep(MS).await;
                        Err::<(), _>("busy")
                    }
                };
                let policy = policy(2).judge(|_| Verdict::RetryAfter(MS));
                let handle = ours.retry_task(&policy, make).submit().await.unwrap().cancel_on_drop();
                ours.retry_task(&policy, || ready(Ok(()))).submit().await.unwrap().await.unwrap().unwrap();
                assert_eq!(handle.await.unwrap(), Err("busy"));
            }
        };
        let check = move |sim: &Sim, _: _| {
            let report = sim.run(pool.drain());
            let stats = balanced(report.stats);
            assert_eq!(stats.ended(), stats.submitted);
            assert_eq!(stats.failed as usize, pool.dead_letters().len());
            pool.dead_letters().clear();
            assert_eq!(Arc::strong_count(&dropped), 1);
            assert_eq!(sim.time().armed(), 0);
        };
        (body, check)
    });
    assert!(points > 0);
}

#[test]
fn a_task_that_was_begun_in_time_is_repeated_after_its_expiry_and_not_after_its_deadline() {
    let mut world = World::new(|builder| builder);
    let deadline = world.time.clock().now() + 2 * SECOND;
    let policy = RetryPolicy::new(4).unwrap().backoff(Backoff::fixed(SECOND));
    let (make, called) = failing(2);
    let task = world.pool.retry_task(&policy, make).expires_in(SECOND).try_submit().unwrap();
    let (make, late) = failing(9);
    let ended = world.pool.retry_task(&policy, make).deadline(deadline).try_submit().unwrap();
    world.settle();
    world.after(SECOND);
    world.after(SECOND);
    assert_eq!((Polled::new(task).poll().unwrap().unwrap(), calls(&called)), (Ok(2), 3));
    assert!(Polled::new(ended).poll().unwrap().unwrap_err().is_expired());
    assert_eq!(calls(&late), 2);
}

// WP19
#[test]
fn a_task_that_is_requeued_stands_behind_all_that_wait_however_coarse_the_clock() {
    let mut world = World::new(|builder| builder);
    let order = Arc::new(Mutex::new(Vec::new()));
    let policy = policy(3).judge(|_| Verdict::RetryAfter(Duration::ZERO));
    let seen = Arc::clone(&order);
    let make = move || {
        seen.lock().unwrap().push("again");
        ready(Err::<(), _>("busy"))
    };
    let again = world.pool.retry_task(&policy, make).try_submit().unwrap();
    for name in ["first", "second"] {
        let order = Arc::clone(&order);
        world.pool.try_execute(async move { order.lock().unwrap().push(name) }).unwrap();
    }
    // No time goes by.
    world.settle();
    assert_eq!(*order.lock().unwrap(), ["again", "first", "second", "again", "again"]);
    assert!(again.is_finished());
}

// WP8, WP16
#[test]
fn a_wrapper_may_poll_its_task_by_a_waker_of_its_own() {
    let wrap = |task: TaskFuture| async move {
        let mut inside = FuturesUnordered::from_iter([task]);
        while inside.next().await.is_some() {}
    };
    let mut world = World::new(|builder| builder.wrap(wrap));
    let (make, called) = failing(2);
    let handle = world.pool.retry_task(&policy(5), make).try_submit().unwrap();
    world.settle();
    world.after(SECOND - MS);
    assert_eq!(calls(&called), 1);
    world.after(MS);
    assert_eq!(calls(&called), 2);
    world.after(2 * SECOND);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(2));
}

// WP8, WP16
#[test]
fn a_wrapper_may_have_its_task_polled_elsewhere() {
    let (elsewhere, dropped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let tasks = Arc::clone(&elsewhere);
    let wrap = move |task: TaskFuture| {
        let done = Arc::new(Gate::new(false));
        let opens = Arc::clone(&done);
        tasks.lock().unwrap().push(Polled::new(async move {
            task.await;
            opens.open();
        }));
        async move { done.wait().await }
    };
    let mut world = World::new(|builder| builder.wrap(wrap));
    let mine = Dropped(Arc::clone(&dropped));
    let (mut make, called) = failing(1);
    let make = move || {
        let _mine = &mine;
        make()
    };
    let handle = world.pool.retry_task(&policy(5), make).try_submit().unwrap();
    let mut task = {
        world.settle();
        elsewhere.lock().unwrap().pop().unwrap()
    };
    assert!(settle(&mut task).is_none());
    world.settle();
    assert_eq!((calls(&called), world.pool.stats().retried, world.pool.stats().running), (1, 1, 0));
    world.after(SECOND);
    assert!(settle(&mut task).is_some());
    world.settle();
    assert_eq!((calls(&called), Polled::new(handle).poll().unwrap().unwrap()), (2, Ok(1)));
    drop(task);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

// WP16, WP19
#[test]
fn a_wrapper_that_polls_by_the_workers_waker_wakes_nobody_between_attempts() {
    let wakes = |set: fn(PoolBuilder) -> PoolBuilder| {
        let mut world = World::new(set);
        let (make, calls) = failing(2);
        let handle = world.pool.retry_task(&policy(3), make).try_submit().unwrap();
        world.settle();
        world.after(SECOND);
        world.after(2 * SECOND);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(2));
        world.workers.wakes()
    };
    assert_eq!(wakes(|builder| builder.wrap(|task| task)), wakes(|builder| builder));
}
