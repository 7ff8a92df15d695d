//! The managed queue: classes and ageing, delays, expiry, named queues, limits of single tasks.

use super::*;
use cofferdam::pool::{NamedQueue, PoolTask, Priority, RetryPolicy};
use cofferdam::time::Backoff;

type Log = Arc<Mutex<Vec<&'static str>>>;

fn managed() -> PoolBuilder {
    WorkerPool::builder().workers(1).queue(100).managed()
}

fn note(log: &Log, name: &'static str) -> impl Future<Output = ()> + Send + 'static + use<> {
    let log = Arc::clone(log);
    async move { log.lock().unwrap().push(name) }
}

fn noted(log: &Log) -> Vec<&'static str> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn task<'a>(
    pool: &'a WorkerPool,
    log: &Log,
    name: &'static str,
) -> PoolTask<'a, impl Future<Output = ()> + Send + 'static + use<>> {
    pool.task(note(log, name))
}

// WP14
#[test]
fn higher_classes_come_first_and_within_a_class_who_came_first() {
    let (pool, mut workers) = driven(managed());
    let log = Log::default();
    for (name, priority) in [
        ("n1", Priority::Normal),
        ("l1", Priority::Low),
        ("c1", Priority::Critical),
        ("h1", Priority::High),
        ("n2", Priority::Normal),
        ("c2", Priority::Critical),
        ("h2", Priority::High),
        ("l2", Priority::Low),
    ] {
        task(&pool, &log, name).priority(priority).try_execute().unwrap();
    }
    pool.try_execute(note(&log, "n3")).unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["c1", "c2", "h1", "h2", "n1", "n2", "n3", "l1", "l2"]);
}

// WP18
#[test]
fn a_delayed_task_is_run_at_its_time_and_costs_nothing_before() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let log = Log::default();
    assert_eq!(time.armed(), 0);
    settle(&mut workers);
    task(&pool, &log, "later").delay(2 * SECOND).try_execute().unwrap();
    task(&pool, &log, "sooner").at(time.clock().now() + SECOND).try_execute().unwrap();
    task(&pool, &log, "now").try_execute().unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["now"]);
    assert_eq!((pool.stats().queued, pool.stats().delayed, time.armed()), (2, 2, 1));
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!((noted(&log), time.armed()), (vec!["sooner"], 1));
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!((noted(&log), time.armed()), (vec!["later"], 0));
}

// WP14
#[test]
fn a_task_that_has_waited_one_interval_longer_counts_as_one_class_higher() {
    for (waited, first) in [(9, "new"), (10, "new"), (11, "old")] {
        let time = ManualClock::new();
        let (pool, mut workers) = driven(managed().clock(time.clock()).ageing(10 * SECOND));
        let log = Log::default();
        task(&pool, &log, "old").try_execute().unwrap();
        time.advance(SECOND * waited);
        task(&pool, &log, "new").priority(Priority::High).try_execute().unwrap();
        settle(&mut workers);
        assert_eq!(noted(&log)[0], first, "{waited} s");
    }
}

// WP14, S72
#[test]
fn no_class_starves_another_while_workers_work() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()).ageing(10 * SECOND));
    let log = Log::default();
    task(&pool, &log, "low").priority(Priority::Low).try_execute().unwrap();
    let mut rounds = 0;
    loop {
        // Always two critical tasks more than are done in a second.
        for _ in 0..2 {
            task(&pool, &log, "critical").priority(Priority::Critical).try_execute().unwrap();
        }
        let clock = time.clock();
        pool.task(async move { clock.sleep(SECOND).await })
            .priority(Priority::Critical)
            .try_execute()
            .unwrap();
        workers.poll();
        time.advance(SECOND);
        rounds += 1;
        if noted(&log).contains(&"low") {
            break;
        }
    }
    // Three classes of ten seconds, and the one that is just run.
    assert!((30..=32).contains(&rounds), "{rounds}");
}

// WP14
#[test]
fn a_class_is_strict_when_nothing_ages() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()).ageing(Duration::MAX));
    let log = Log::default();
    task(&pool, &log, "old").try_execute().unwrap();
    time.advance(Duration::from_secs(1 << 30));
    task(&pool, &log, "new").priority(Priority::High).try_execute().unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["new", "old"]);
}

// WP15
#[test]
fn a_named_queue_has_no_more_workers_than_its_width_and_leaves_the_rest_to_others() {
    Sim::for_seeds(0..50, |sim| {
        let mail = NamedQueue::new("mail").width(2);
        let pool = WorkerPool::builder().workers(4).queue(40).named_queue(mail).clock(sim.clock());
        let pool = pool.start(sim).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        sim.run(async {
            let mut handles = Vec::new();
            for _ in 0..10 {
                let (now, most, clock) = (now.clone(), most.clone(), sim.clock());
                let mail = async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    clock.sleep(SECOND).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                };
                handles.push(pool.task(mail).queue("mail").submit().await.unwrap());
            }
            for _ in 0..10 {
                let clock = sim.clock();
                handles.push(pool.submit(async move { clock.sleep(SECOND).await }).await.unwrap());
            }
            for handle in handles {
                handle.await.unwrap();
            }
        });
        assert_eq!(most.load(Ordering::Relaxed), 2);
        // Ten of each by two workers each: no worker is idle beside a task that it may run.
        assert_eq!(sim.time().elapsed(), 5 * SECOND);
    });
}

// WP15
#[test]
fn a_full_queue_turns_away_its_own_and_nobody_else() {
    let mail = NamedQueue::new("mail").capacity(2);
    let (pool, mut workers) = driven(managed().named_queue(mail));
    let log = Log::default();
    for _ in 0..2 {
        task(&pool, &log, "mail").queue("mail").delay(SECOND).try_execute().unwrap();
    }
    let error = task(&pool, &log, "mail").queue("mail").try_execute().unwrap_err();
    assert!(error.is_full());
    assert_eq!(error.to_string(), "worker pool: all 2 places of the queue are taken");
    task(&pool, &log, "other").try_execute().unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["other"]);
    let error = task(&pool, &log, "x").queue("post").try_execute().unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.to_string(), "worker pool: there is no queue named \"post\"");
}

// WP2, WP15
#[test]
fn those_who_wait_for_room_in_one_queue_do_not_wait_for_another() {
    let time = ManualClock::new();
    let mail = NamedQueue::new("mail").capacity(1);
    let (pool, mut workers) = driven(managed().queue(1).clock(time.clock()).named_queue(mail));
    let log = Log::default();
    task(&pool, &log, "d1").delay(SECOND).try_execute().unwrap();
    task(&pool, &log, "m1").queue("mail").delay(2 * SECOND).try_execute().unwrap();
    let mut for_mail = Polled::new(task(&pool, &log, "m2").queue("mail").execute());
    let mut for_own = Polled::new(task(&pool, &log, "d2").execute());
    let mut expiring = Polled::new(task(&pool, &log, "e").queue("mail").expires_in(SECOND).execute());
    assert!(for_mail.poll().is_none() && for_own.poll().is_none() && expiring.poll().is_none());
    assert_eq!(pool.stats().waiting, 3);
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    // Too old before there was room.
    assert!(expiring.poll().unwrap().unwrap_err().is_expired());
    assert!(for_own.poll().unwrap().is_ok());
    assert!(for_mail.poll().is_none());
    time.advance(SECOND);
    settle(&mut workers);
    assert!(for_mail.poll().unwrap().is_ok());
    settle(&mut workers);
    assert_eq!((noted(&log), pool.stats().waiting), (vec!["d1", "d2", "m1", "m2"], 0));
}

// WP2
#[test]
fn a_limit_on_the_wait_for_room_and_an_expiry_are_told_apart() {
    let time = ManualClock::new();
    let (pool, _workers) = driven(managed().queue(1).clock(time.clock()));
    pool.try_execute(async {}).unwrap();
    let waits = |limit, expiry| Polled::new(pool.task(async {}).expires_in(expiry).submit_timeout(limit));
    let mut limited = waits(SECOND, 2 * SECOND);
    let mut expiring = waits(2 * SECOND, SECOND);
    assert!(limited.poll().is_none() && expiring.poll().is_none());
    time.advance(SECOND);
    assert!(limited.poll().unwrap().unwrap_err().is_timeout());
    let error = expiring.poll().unwrap().unwrap_err();
    assert!(error.is_expired());
    assert_eq!(error.to_string(), "worker pool: the task expired before there was room");
    assert_eq!((time.armed(), pool.stats().waiting), (0, 0));
}

// WP6, WP18
#[test]
fn a_task_that_is_too_old_when_its_turn_comes_is_never_run() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let (log, drops) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let held = Dropped(drops.clone());
    let old = pool.task(async move { drop(held) }).expires_in(SECOND).try_submit().unwrap();
    task(&pool, &log, "young").expires_in(SECOND + Duration::from_nanos(1)).try_execute().unwrap();
    time.advance(SECOND);
    settle(&mut workers);
    let error = futures_executor::block_on(old).unwrap_err();
    assert!(error.is_expired() && !error.is_dropped() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task expired before its turn came");
    assert_eq!((noted(&log), drops.load(Ordering::Relaxed)), (vec!["young"], 1));
    let stats = balanced(pool.stats());
    assert_eq!((stats.expired, stats.completed), (1, 1));
    // What cannot run in time is refused before any effect.
    for refused in [
        task(&pool, &log, "x").expires_in(Duration::ZERO),
        task(&pool, &log, "x").delay(SECOND).expires_in(SECOND),
        task(&pool, &log, "x").deadline(time.clock().now()),
    ] {
        assert!(refused.try_execute().unwrap_err().is_expired());
    }
    assert_eq!(pool.stats().submitted, 2);
}

// CTX3, CTX10
#[test]
fn a_tasks_own_limit_runs_from_its_beginning_in_place_of_the_pools() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().workers(4).clock(time.clock()).task_timeout(3 * SECOND));
    let start = time.clock().now();
    let endless = || pool.task(pending::<()>());
    let mut pools = endless().try_submit().unwrap();
    let mut shorter = endless().timeout(SECOND).delay(SECOND).try_submit().unwrap();
    let unlimited = endless().timeout(Duration::ZERO).try_submit().unwrap();
    let mut until = endless().timeout(9 * SECOND).deadline(start + 4 * SECOND).try_submit().unwrap();
    settle(&mut workers);
    let mut ended_by = |seconds: u32| {
        while time.elapsed() < SECOND * seconds {
            time.advance(SECOND);
            settle(&mut workers);
        }
        [&pools, &shorter, &unlimited, &until].map(JoinHandle::is_finished)
    };
    assert_eq!(ended_by(1), [false; 4]);
    assert_eq!(ended_by(2), [false, true, false, false]);
    assert_eq!(ended_by(3), [true, true, false, false]);
    assert_eq!(ended_by(60), [true, true, false, true]);
    let error = |handle: &mut JoinHandle<()>| {
        let error = futures_executor::block_on(handle).unwrap_err();
        assert!(error.is_timeout());
        error.to_string()
    };
    assert_eq!(error(&mut pools), "the task ran longer than its limit of 3s");
    assert_eq!(error(&mut shorter), "the task ran longer than its limit of 1s");
    assert_eq!(error(&mut until), "the task ran longer than its limit of 4s");
    assert!(unlimited.cancel());
    settle(&mut workers);
    assert_eq!((pool.stats().timed_out, time.armed()), (3, 0));
}

// WP18
#[test]
fn delayed_tasks_take_places() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().queue(2).clock(time.clock()));
    for _ in 0..2 {
        pool.task(async {}).delay(SECOND).try_execute().unwrap();
    }
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
    time.advance(SECOND);
    settle(&mut workers);
    pool.try_execute(async {}).unwrap();
}

// WP5, WP18
#[test]
fn a_drain_waits_for_what_is_delayed_and_a_shutdown_only_for_so_long() {
    Sim::for_seeds(0..50, |sim| {
        let start = || managed().workers(3).clock(sim.clock()).start(sim).unwrap();
        let begin = sim.time().elapsed();
        let (drained, cut) = (start(), start());
        sim.run(async {
            for pool in [&drained, &cut] {
                pool.task(async {}).delay(SECOND).execute().await.unwrap();
                pool.task(async {}).delay(3 * SECOND).execute().await.unwrap();
            }
            let report = cut.shutdown(2 * SECOND).await;
            assert_eq!((report.stats.completed, report.stats.dropped), (1, 1));
            assert_eq!(sim.time().elapsed() - begin, 2 * SECOND);
            let report = drained.drain().await;
            assert!(report.is_clean());
            assert_eq!(report.stats.completed, 2);
            assert_eq!(sim.time().elapsed() - begin, 3 * SECOND);
        });
        // Every worker has ended.
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
    });
}

// CTX15
#[test]
fn one_timer_is_armed_for_the_pool_and_nobody_is_woken_before_its_time() {
    let time = ManualClock::new();
    let (pool, workers) = managed().workers(3).clock(time.clock()).build().unwrap();
    let mut workers: Vec<_> = workers.map(Polled::new).collect();
    for delay in [5, 7, 3] {
        pool.task(async {}).delay(SECOND * delay).try_execute().unwrap();
    }
    for worker in &mut workers {
        assert!(worker.poll().is_none());
    }
    assert_eq!(time.armed(), 1);
    assert_eq!(time.next_deadline(), Some(time.clock().now() + 3 * SECOND));
    let wakes = |workers: &[Polled<_>]| workers.iter().map(Polled::wakes).sum::<u64>();
    let before = wakes(&workers);
    time.advance(2 * SECOND);
    assert_eq!(wakes(&workers), before);
    time.advance(SECOND);
    assert_eq!(wakes(&workers), before + 1, "the keeper alone");
}

#[test]
fn a_pool_that_is_not_managed_refuses_options_and_takes_tasks_without() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4));
    let log = Log::default();
    let error = task(&pool, &log, "x").delay(SECOND).try_execute().unwrap_err();
    assert!(error.is_unsupported());
    assert_eq!(error.to_string(), "worker pool: its queue is not managed: no options of single tasks");
    task(&pool, &log, "plain").try_execute().unwrap();
    settle(&mut workers);
    assert_eq!(noted(&log), ["plain"]);
}

#[test]
fn settings_of_a_managed_pool_that_cannot_be_are_refused_by_name() {
    let message = |builder: PoolBuilder| builder.build().unwrap_err().to_string();
    let pool = || WorkerPool::builder().workers(1);
    assert_eq!(message(pool().ageing(Duration::ZERO)), "worker pool: ageing = 0ns: must be above zero");
    assert_eq!(
        message(pool().queue(0).managed()),
        "worker pool: queue = 0: must be above zero in a managed pool"
    );
    assert_eq!(
        message(pool().named_queue(NamedQueue::new("a").width(0))),
        "worker pool: width = 0: must be above zero"
    );
    assert_eq!(
        message(pool().named_queue(NamedQueue::new("a").capacity(0))),
        "worker pool: capacity = 0: must be above zero in a managed pool"
    );
    assert_eq!(
        message(pool().named_queue(NamedQueue::new("a")).named_queue(NamedQueue::new("a"))),
        "worker pool: named_queue = a: must have a name of its own"
    );
    assert_eq!(message(pool().scale_after(SECOND)), "worker pool: scale_after = 1s: needs `workers_between`");
    assert_eq!(
        message(pool().workers_between(1, 2)),
        "worker pool: workers_between = 1 to 2: needs `start_owned`: all of a pair are there from the start"
    );
    for (min, max) in [(0, 1), (2, 1)] {
        let error = pool().workers_between(min, max).start_owned(|_| {}).unwrap_err();
        assert_eq!((error.knob(), error.rule()), ("workers_between", "must be 1 at least, and in order"));
    }
}

// WP7, WP18
#[test]
fn a_delayed_task_that_is_cancelled_frees_its_place_and_is_waited_for_by_nobody() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().queue(1).clock(time.clock()));
    let (log, drops) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let held = Dropped(drops.clone());
    let delayed = pool.task(async move { drop(held) }).delay(60 * SECOND).try_submit().unwrap();
    settle(&mut workers);
    let mut next = Polled::new(task(&pool, &log, "next").delay(SECOND).submit());
    assert!(next.poll().is_none());
    assert!(delayed.cancel() && !delayed.cancel());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.queued, stats.delayed), (1, 0, 0));
    // Whoever waited for room has it, and a drain ends with the last cancellation, not at the time it was for.
    let next = next.poll().unwrap().unwrap();
    let mut drain = Polled::new(pool.drain());
    assert!(drain.poll().is_none());
    drop(next.cancel_on_drop());
    let report = drain.poll().unwrap();
    assert_eq!((report.stats.cancelled, report.is_clean()), (2, true));
    assert!(settle(&mut workers).is_some(), "the workers have ended");
    assert_eq!((noted(&log).len(), time.armed()), (0, 0));
}

// WP7
#[test]
fn a_delayed_task_that_has_begun_is_cancelled_like_any_other() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let delayed = pool.task(pending::<()>()).delay(SECOND).try_submit().unwrap();
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!(pool.stats().running, 1);
    assert!(delayed.cancel());
    settle(&mut workers);
    assert!(futures_executor::block_on(delayed).unwrap_err().is_cancelled());
    assert_eq!(balanced(pool.stats()).cancelled, 1);
}

// WP15, WP16
#[test]
fn a_task_that_has_come_back_runs_in_the_books_of_its_queue() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let policy = RetryPolicy::new(2).unwrap().backoff(Backoff::exponential(SECOND));
    let (gate, calls) = (Arc::new(Gate::new(false)), Arc::new(AtomicUsize::new(0)));
    let attempt = {
        let gate = Arc::clone(&gate);
        move || {
            let (gate, call) = (Arc::clone(&gate), calls.fetch_add(1, Ordering::Relaxed));
            async move {
                if call == 0 {
                    return Err("no");
                }
                gate.wait().await;
                Ok(())
            }
        }
    };
    let handle = pool.retry_task(&policy, attempt).try_submit().unwrap();
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    let books = pool.queue_stats("").unwrap();
    assert_eq!((books.queued, books.running, books.submitted, books.ended), (0, 1, 1, 0));
    gate.open();
    settle(&mut workers);
    let books = pool.queue_stats("").unwrap();
    assert_eq!((books.queued, books.running, books.submitted, books.ended), (0, 0, 1, 1));
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Ok(()));
}

// WP15
#[test]
fn each_queue_has_books_of_its_own() {
    let time = ManualClock::new();
    let mail = NamedQueue::new("mail").width(1).capacity(5);
    let builder = managed().workers(3).named_queue(mail).clock(time.clock());
    let (pool, mut workers) = driven(builder);
    let books = |queue| {
        let books = pool.queue_stats(queue).unwrap();
        assert_eq!(books.submitted, (books.queued + books.running) as u64 + books.ended, "{books:?}");
        let counts = (books.queued, books.delayed, books.running, books.submitted, books.ended);
        (counts, books.oldest)
    };
    assert_eq!(pool.queue_stats("post"), None);
    assert_eq!(books("mail"), ((0, 0, 0, 0, 0), None));
    let bounds = |queue| pool.queue_stats(queue).map(|books| (books.width, books.capacity));
    assert_eq!(bounds("mail"), Some((Some(1), Some(5))));
    assert_eq!(bounds(""), Some((None, Some(100))));

    let gate = Arc::new(Gate::new(false));
    for _ in 0..2 {
        pool.task(gate.wait_owned()).queue("mail").try_execute().unwrap();
        time.advance(SECOND);
    }
    pool.task(async {}).queue("mail").delay(3 * SECOND).try_execute().unwrap();
    pool.try_execute(async {}).unwrap();
    assert_eq!(books("mail"), ((3, 1, 0, 3, 0), Some(2 * SECOND)));
    assert_eq!(books(""), ((1, 0, 0, 1, 0), Some(Duration::ZERO)));

    // By its width the second one waits on, though there are workers.
    settle(&mut workers);
    assert_eq!(books("mail"), ((2, 1, 1, 3, 0), Some(SECOND)));
    assert_eq!(books(""), ((0, 0, 0, 1, 1), None));
    time.advance(SECOND);
    assert_eq!(books("mail"), ((2, 1, 1, 3, 0), Some(2 * SECOND)));
    gate.open();
    settle(&mut workers);
    assert_eq!(books("mail"), ((1, 1, 0, 3, 2), None));
    time.advance(2 * SECOND);
    settle(&mut workers);
    assert_eq!(books("mail"), ((0, 0, 0, 3, 3), None));
    // A pool with one queue has it in the books of the whole.
    assert_eq!(self::pool(1, 1).0.queue_stats(""), None);
}

// WP15, WP16
#[test]
fn a_task_that_comes_back_waits_in_the_books_of_its_queue() {
    let time = ManualClock::new();
    let (pool, mut workers) = driven(managed().clock(time.clock()));
    let policy = RetryPolicy::new(2).unwrap().backoff(Backoff::exponential(SECOND));
    let handle = pool.retry_task(&policy, || async { Err::<(), _>("no") }).try_submit().unwrap();
    settle(&mut workers);
    let books = pool.queue_stats("").unwrap();
    assert_eq!((books.queued, books.delayed, books.running, books.submitted, books.ended), (1, 1, 0, 1, 0));
    drop(handle);
}
