//! Tasks that give way, and those who wait for room meanwhile.

use super::*;
use cofferdam::pool::{RetryPolicy, Worker};
use cofferdam::task::{Carried, Carrier};
use cofferdam::time::Backoff;
use std::future::poll_fn;
use std::task::Poll;

/// Half of its places are told of at a time.
const QUEUE: usize = 8;

/// A pool whose queue is full of `task`, and how many of those in line were told.
fn crowded<F>(workers: usize, task: impl Fn() -> F) -> (WorkerPool, Vec<Polled<Worker>>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pool, workers) = pool(workers, QUEUE);
    for _ in 0..QUEUE {
        pool.try_execute(task()).unwrap();
    }
    (pool, workers.map(Polled::new).collect())
}

/// The first time its worker polls it again at once, the second time the executor has its turn.
async fn give_way_twice() {
    yield_now().await;
    yield_now().await;
}

// WP1
#[test]
fn a_task_that_gives_way_is_polled_again_at_once_and_then_the_executor_has_its_turn() {
    let (pool, workers) = pool(1, 4);
    let mut worker = Polled::new(workers.into_iter().next().unwrap());
    let polls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&polls);
    let counted = |times: usize| {
        let seen = Arc::clone(&seen);
        async move {
            for _ in 0..times {
                seen.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        }
    };
    pool.try_execute(counted(1)).unwrap();
    pool.try_execute(counted(1)).unwrap();
    assert!(worker.poll().is_none());
    assert_eq!((pool.stats().completed, worker.wakes()), (2, 0), "neither needs the executor");
    pool.try_execute(counted(5)).unwrap();
    polls.store(0, Ordering::Relaxed);
    let before = worker.wakes();
    for so_far in [(2, 1), (4, 2), (5, 2)] {
        assert_eq!(pool.stats().completed, 2);
        assert!(worker.poll().is_none());
        assert_eq!((polls.load(Ordering::Relaxed), worker.wakes() - before), so_far);
    }
    assert_eq!(pool.stats().completed, 3);
}

// WP1
#[test]
fn a_second_poll_of_a_task_that_gives_way_counts_as_two_tasks_of_a_workers_turn() {
    let (pool, workers) = pool(1, 256);
    let mut worker = Polled::new(workers.into_future());
    for _ in 0..256 {
        pool.try_execute(yield_now()).unwrap();
    }
    let mut completed = Vec::new();
    for _ in 0..4 {
        assert!(worker.poll().is_none());
        completed.push(pool.stats().completed);
    }
    assert_eq!(completed, [43, 86, 129, 172]);
}

// WP16
#[test]
fn a_task_that_gives_way_as_it_fails_is_not_repeated_before_its_time() {
    let time = ManualClock::new();
    let (pool, workers) = WorkerPool::builder().workers(1).managed().clock(time.clock()).build().unwrap();
    let mut worker = Polled::new(workers.into_future());
    let policy = RetryPolicy::new(2).unwrap().backoff(Backoff::fixed(SECOND));
    let attempts = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&attempts);
    let attempt = move || {
        made.fetch_add(1, Ordering::Relaxed);
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(Err::<(), _>("not yet"))
        })
    };
    let handle = pool.retry_task(&policy, attempt).try_submit().unwrap();
    settle(&mut worker);
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    time.advance(SECOND);
    settle(&mut worker);
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert!(Polled::new(handle).poll().unwrap().unwrap().is_err());
}

// WP6, WP7, WP8
#[test]
fn a_task_that_gives_way_after_its_end_is_not_polled_again() {
    let ends: [fn(&WorkerPool, &ManualClock, &Context); 3] = [
        |_, time, _| time.advance(SECOND),
        |_, _, base| assert!(base.cancel("over")),
        |pool, _, _| drop(Polled::new(pool.shutdown(Duration::ZERO)).poll()),
    ];
    let is_cut_off = ends.map(|end| {
        let (time, base) = (ManualClock::new(), Context::background().child());
        let builder = WorkerPool::builder().workers(1).queue(1).clock(time.clock()).context(base.clone());
        let (pool, mut worker) = driven(builder.task_timeout(SECOND));
        let inside = pool.clone();
        let handle = pool
            .try_submit(async move {
                end(&inside, &time, &base);
                yield_now().await;
            })
            .unwrap();
        settle(&mut worker);
        assert_eq!(balanced(pool.stats()).ended(), 1);
        Polled::new(handle).poll().unwrap().is_err()
    });
    assert_eq!(is_cut_off, [true; 3]);
}

// WP2
#[test]
fn those_in_line_are_not_told_of_places_one_by_one_by_tasks_that_give_way() {
    let (pool, mut workers) = crowded(1, give_way_twice);
    let worker = &mut workers[0];
    let mut waiting: Vec<_> = (0..QUEUE).map(|_| Polled::new(pool.execute(async {}))).collect();
    for waiting in &mut waiting {
        assert!(waiting.poll().is_none());
    }
    let told = |waiting: &[Polled<_>]| waiting.iter().filter(|waiting| waiting.wakes() > 0).count();
    // The first task is begun and gives way; then it ends and the second one does.
    for taken in 1..=2 {
        assert_eq!(told(&waiting), 0, "it is back soon");
        assert!(worker.poll().is_none());
        assert_eq!(pool.stats().running, 1);
        assert_eq!(pool.stats().completed, taken - 1);
    }
    // Two places, and twice given way.
    assert_eq!(told(&waiting), 2);
}

// WP2
#[test]
fn a_task_that_gives_way_again_and_again_does_not_keep_its_place_from_those_in_line() {
    let (pool, mut workers) = crowded(1, || async {
        loop {
            yield_now().await;
        }
    });
    let mut waiting = Polled::new(pool.execute(async {}));
    assert!(waiting.poll().is_none());
    // Its place, and thrice given way.
    for _ in 0..3 {
        assert_eq!(waiting.wakes(), 0);
        assert!(workers[0].poll().is_none());
    }
    assert_eq!(waiting.wakes(), 1);
    assert!(waiting.poll().unwrap().is_ok());
}

// WP2
#[test]
fn those_in_line_are_told_at_once_of_the_place_of_a_task_that_waits() {
    let (pool, mut workers) = crowded(1, || async {
        give_way_twice().await;
        pending().await
    });
    let mut waiting = Polled::new(pool.execute(async {}));
    assert!(waiting.poll().is_none());
    assert!(workers[0].poll().is_none());
    assert_eq!(waiting.wakes(), 0, "it has given way");
    assert!(workers[0].poll().is_none());
    assert_eq!(waiting.wakes(), 1, "it waits");
}

// WP2
#[test]
fn a_worker_that_is_dropped_tells_those_in_line_of_what_it_was_about_to() {
    let (pool, mut workers) = crowded(2, give_way_twice);
    let mut waiting = Polled::new(pool.execute(async {}));
    assert!(waiting.poll().is_none());
    assert!(workers[0].poll().is_none());
    assert_eq!(waiting.wakes(), 0);
    drop(workers.remove(0));
    assert_eq!(waiting.wakes(), 1);
}

// WP6
#[test]
fn a_task_that_gives_way_is_cancelled_in_place_of_its_next_poll() {
    let (pool, workers) = pool(1, 1);
    let mut worker = Polled::new(workers.into_future());
    let polls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&polls);
    let handle = pool
        .try_submit(async move {
            loop {
                seen.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        })
        .unwrap();
    assert!(worker.poll().is_none());
    assert!(worker.poll().is_none());
    assert!(handle.cancel());
    assert!(worker.poll().is_none());
    assert_eq!(polls.load(Ordering::Relaxed), 4, "twice in each of its worker's");
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
}

// WP6
#[test]
fn a_task_that_gives_way_and_then_waits_is_reached_by_its_cancellation() {
    let (pool, workers) = pool(1, 1);
    let mut worker = Polled::new(workers.into_future());
    let handle = pool
        .try_submit(async {
            yield_now().await;
            pending::<()>().await
        })
        .unwrap();
    assert!(settle(&mut worker).is_none());
    let before = worker.wakes();
    assert!(handle.cancel());
    assert!(worker.wakes() > before);
    assert!(worker.poll().is_none());
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
}

// WP2
#[test]
fn who_waits_for_a_limited_time_is_not_refused_beside_a_place_of_which_nobody_has_told_it() {
    let time = ManualClock::new();
    let (pool, workers) = WorkerPool::builder().workers(1).queue(QUEUE).clock(time.clock()).build().unwrap();
    let mut worker = Polled::new(workers.into_future());
    for _ in 0..QUEUE {
        pool.try_execute(give_way_twice()).unwrap();
    }
    let mut waiting: Vec<_> = (0..2).map(|_| Polled::new(pool.submit_timeout(ready(()), SECOND))).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.poll().is_none()));
    assert!(worker.poll().is_none());
    time.advance(SECOND);
    assert!(waiting[0].poll().unwrap().is_ok());
    assert!(waiting[1].poll().unwrap().unwrap_err().is_timeout());
}

// WP2
#[test]
fn who_hands_in_many_takes_all_places_to_which_no_one_else_is_invited() {
    let (pool, workers) = pool(2, QUEUE);
    let mut workers: Vec<_> = workers.map(Polled::new).collect();
    pool.try_execute(async {}).unwrap();
    pool.try_execute(pending()).unwrap();
    pool.try_execute(async {}).unwrap();
    for _ in 3..QUEUE {
        pool.try_execute(give_way_twice()).unwrap();
    }
    let mut many = Polled::new(pool.execute_all((0..5).map(|_| async {})));
    let mut invited = Polled::new(pool.execute(async {}));
    let mut waiting = Polled::new(pool.execute(async {}));
    assert!(many.poll().is_none() && invited.poll().is_none() && waiting.poll().is_none());
    // Two places, of which two are told.
    assert!(workers[0].poll().is_none());
    assert_eq!((many.wakes(), invited.wakes(), waiting.wakes()), (1, 1, 0));
    // And two, of which no one is told yet.
    assert!(workers[1].poll().is_none());
    assert_eq!((pool.stats().queued, waiting.wakes()), (4, 0));
    assert!(many.poll().is_none());
    assert_eq!(pool.stats().queued, 7, "all but the one place of the other");
    assert!(invited.poll().unwrap().is_ok());
    assert_eq!(pool.stats().queued, 8);
    // The rest of the many is behind who waited meanwhile.
    assert_eq!(pool.stats().waiting, 2);
    drop(workers);
    assert!(waiting.poll().unwrap().is_err());
    assert_eq!(many.poll().unwrap().unwrap_err().accepted(), 3);
}

// WP2
#[test]
fn no_one_is_invited_to_a_place_that_who_hands_in_many_is_about_to_take() {
    /// Lets the worker run while a task is on its way.
    struct Meanwhile(Arc<Mutex<Option<Polled<Worker>>>>);
    impl Carrier for Meanwhile {
        fn pick_up(&self) -> Option<Box<dyn Carried>> {
            if let Some(worker) = &mut *self.0.lock().unwrap() {
                for _ in 0..QUEUE {
                    assert!(worker.poll().is_none());
                }
            }
            None
        }
    }
    let meanwhile = Arc::default();
    let builder = WorkerPool::builder().workers(1).queue(2 * QUEUE);
    let (pool, workers) = builder.carry(Meanwhile(Arc::clone(&meanwhile))).build().unwrap();
    let mut worker = Polled::new(workers.into_iter().next().unwrap());
    let gate = Arc::new(Gate::new(false));
    let opens = Arc::clone(&gate);
    pool.try_execute(async move { opens.wait().await }).unwrap();
    for _ in 0..2 {
        pool.try_execute(async {}).unwrap();
    }
    for _ in 3..2 * QUEUE {
        pool.try_execute(async {
            loop {
                yield_now().await;
            }
        })
        .unwrap();
    }
    let mut many = Polled::new(pool.execute_all((0..4).map(|_| async {})));
    let mut waiting = Polled::new(pool.execute(async {}));
    assert!(many.poll().is_none() && waiting.poll().is_none());
    // A place that is told, and three that are not yet.
    assert!(worker.poll().is_none());
    gate.open();
    assert!(worker.poll().is_none());
    assert_eq!((pool.stats().queued, many.wakes(), waiting.wakes()), (12, 1, 0));
    *meanwhile.lock().unwrap() = Some(worker);
    assert_eq!(many.poll().unwrap().unwrap().len(), 4);
    assert_eq!((pool.stats().queued, waiting.wakes()), (16, 0));
    assert_eq!(pool.stats().waiting, 1);
}

// WP2
#[test]
fn places_that_who_hands_in_many_had_to_itself_are_open_to_others_afterwards() {
    /// Fills the pool while a task is on its way.
    struct Fills(Arc<Mutex<Option<WorkerPool>>>);
    impl Carrier for Fills {
        fn pick_up(&self) -> Option<Box<dyn Carried>> {
            let pool = self.0.lock().unwrap().take();
            while pool.as_ref().is_some_and(|pool| pool.try_execute(pending()).is_ok()) {}
            None
        }
    }
    for in_vain in [false, true] {
        let fills = Arc::default();
        let builder = WorkerPool::builder().workers(1).queue(QUEUE).carry(Fills(Arc::clone(&fills)));
        let (pool, workers) = builder.build().unwrap();
        let mut worker = Polled::new(workers.into_iter().next().unwrap());
        for _ in 0..QUEUE {
            pool.try_execute(async {}).unwrap();
        }
        let mut many = Polled::new(pool.execute_all((0..3).map(|_| pending())));
        assert!(many.poll().is_none());
        assert!(worker.poll().is_none());
        assert_eq!((pool.stats().queued, many.wakes()), (0, 1));
        if in_vain {
            *fills.lock().unwrap() = Some(pool.clone());
            assert!(many.poll().is_none());
        } else {
            assert_eq!(many.poll().unwrap().unwrap().len(), 3);
            while pool.try_execute(pending()).is_ok() {}
        }
        let mut waiting = Polled::new(pool.execute(async {}));
        assert!(waiting.poll().is_none());
        // One place.
        assert!(worker.poll().is_none());
        assert_eq!(pool.stats().queued, QUEUE as u64 - 1);
        assert_eq!((many.wakes(), waiting.wakes()), if in_vain { (2, 0) } else { (1, 1) });
    }
}
