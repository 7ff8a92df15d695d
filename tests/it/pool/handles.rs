//! Results, and cancelling.

use super::*;

// WP3
#[test]
fn a_handle_gives_the_tasks_value() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(8));
    let mut early = Polled::new(pool.try_submit(async { "early".to_owned() }).unwrap());
    assert!(early.poll().is_none());
    let handle = pool.try_submit(async { Err::<(), _>("its own error") }).unwrap();
    assert!(!handle.is_finished());
    settle(&mut workers);
    assert_eq!(early.wakes(), 1);
    assert_eq!(early.poll().unwrap().unwrap(), "early");
    // A task's own error is a value: the task has completed.
    assert!(handle.is_finished());
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Err("its own error"));
    assert_eq!(balanced(pool.stats()).completed, 2);
}

// WP3
#[test]
fn tasks_are_numbered_in_the_order_of_acceptance() {
    for builder in [WorkerPool::builder().queue(3), WorkerPool::builder().unbounded()] {
        let (pool, mut workers) = driven(builder.workers(1));
        for round in 0..5 {
            for nth in 0..3 {
                let handle = pool.try_submit(async {}).unwrap();
                assert_eq!(handle.id().number(), round * 3 + nth);
            }
            settle(&mut workers);
        }
        assert_eq!(pool.stats().submitted, 15);
    }
}

// WP3
#[test]
fn a_handle_wakes_the_task_that_polled_it_last() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    let handle = RefCell::new(pool.try_submit(async { 1 }).unwrap());
    let again = || std::future::poll_fn(|cx| Pin::new(&mut *handle.borrow_mut()).poll(cx));
    let (mut first, mut second) = (Polled::new(again()), Polled::new(again()));
    assert!(first.poll().is_none() && second.poll().is_none() && second.poll().is_none());
    settle(&mut workers);
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    assert_eq!(second.poll().unwrap().unwrap(), 1);
    // Given out once.
    assert!(first.poll().is_none());
}

// WP3
#[test]
fn a_dropped_handle_detaches_the_task_and_its_result_is_dropped() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4));
    let result = || {
        let token = Dropped(drops.clone());
        async move { token }
    };
    drop(pool.try_submit(result()).unwrap());
    let mut polled = Polled::new(pool.try_submit(result()).unwrap());
    assert!(polled.poll().is_none());
    drop(polled);
    let unread = pool.try_submit(result()).unwrap();
    settle(&mut workers);
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    drop(unread);
    assert_eq!((drops.load(Ordering::Relaxed), balanced(pool.stats()).completed), (3, 3));
}

// WP7
#[test]
fn a_task_cancelled_in_the_queue_never_runs_and_its_handle_is_ready_at_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let token = Dropped(drops.clone());
    let task = async move {
        let _token = token;
        panic!("run");
    };
    let handle = RefCell::new(pool.try_submit(task).unwrap());
    let mut task = Polled::new(std::future::poll_fn(|cx| Pin::new(&mut *handle.borrow_mut()).poll(cx)));
    assert!(task.poll().is_none());
    let other = pool.try_submit(ready(1)).unwrap();
    assert!(handle.borrow().cancel() && !handle.borrow().cancel());
    assert_eq!((drops.load(Ordering::Relaxed), task.wakes()), (1, 1));
    let error = task.poll().unwrap().unwrap_err();
    assert!(error.is_cancelled() && !error.is_panic());
    assert_eq!(error.to_string(), "the task was cancelled");
    // Counted at once; only its place in the queue is still taken.
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.queued, stats.submitted), (1, 1, 2));
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
    settle(&mut workers);
    assert!(other.is_finished());
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.completed, stats.queued, stats.panicked), (1, 1, 0, 0));
}

// WP3
#[test]
fn a_running_task_is_dropped_in_place_of_its_next_poll() {
    let drops = Arc::new(AtomicUsize::new(0));
    let polls = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let (token, seen) = (Dropped(drops.clone()), polls.clone());
    let handle = pool
        .try_submit(async move {
            let _token = token;
            std::future::poll_fn(|_| {
                seen.fetch_add(1, Ordering::Relaxed);
                std::task::Poll::<()>::Pending
            })
            .await;
        })
        .unwrap();
    settle(&mut workers);
    assert!(handle.cancel());
    assert!(!handle.is_finished());
    settle(&mut workers);
    assert_eq!((polls.load(Ordering::Relaxed), drops.load(Ordering::Relaxed)), (1, 1));
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
    assert_eq!(balanced(pool.stats()).cancelled, 1);
}

// WP3
#[test]
fn a_result_beats_a_cancellation_that_comes_too_late() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(2));
    let handle = pool.try_submit(ready(1)).unwrap();
    settle(&mut workers);
    assert!(!handle.cancel());
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), 1);
    // A task that cancels itself and gets ready in the same poll.
    let own: Arc<Mutex<Option<JoinHandle<u32>>>> = Arc::default();
    let mine = own.clone();
    let handle = pool
        .try_submit(async move {
            assert!(mine.lock().unwrap().as_ref().unwrap().cancel());
            2
        })
        .unwrap();
    *own.lock().unwrap() = Some(handle);
    settle(&mut workers);
    let handle = own.lock().unwrap().take().unwrap();
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), 2);
    assert_eq!((balanced(pool.stats()).completed, pool.stats().cancelled), (2, 0));
}

#[test]
fn cancel_on_drop_cancels_and_nothing_else_does() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(2));
    let endless = || {
        let token = Dropped(drops.clone());
        async move {
            let _token = token;
            pending::<()>().await;
        }
    };
    let (kept, bound) =
        (pool.try_submit(endless()).unwrap(), pool.try_submit(endless()).unwrap().cancel_on_drop());
    settle(&mut workers);
    drop((kept, bound));
    settle(&mut workers);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.running), (1, 1));
}

// WP7
#[test]
fn a_delayed_task_that_panics_as_it_is_cancelled_leaves_its_place() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
    let (pool, workers) = driven(WorkerPool::builder().workers(1).queue(1).managed());
    let bomb = Bomb;
    let task = async move {
        let _bomb = bomb;
    };
    let handle = pool.task(task).delay(SECOND).try_submit().unwrap();
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.cancel())).is_err());
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
    let stats = balanced(pool.stats());
    assert_eq!((stats.queued, stats.delayed, stats.cancelled), (0, 0, 1));
    pool.try_execute(async {}).unwrap();
    drop(workers);
}

// WP3: what is not a pair of words is returned in memory, which costs small tasks more than they do.
#[test]
fn a_handle_is_two_words_and_so_is_it_with_the_room_for_an_error() {
    let two = 2 * size_of::<usize>();
    assert_eq!(size_of::<JoinHandle<[u8; 100]>>(), two);
    assert_eq!(size_of::<Result<JoinHandle<u64>, cofferdam::pool::SubmitError<[u8; 100]>>>(), two);
    assert_eq!(size_of::<Result<(), cofferdam::pool::SubmitError<[u8; 100]>>>(), size_of::<usize>());
}

// WP6
#[test]
fn a_handle_that_is_tied_to_a_delayed_task_withdraws_it_when_it_is_dropped() {
    let (pool, _workers) = driven(WorkerPool::builder().workers(1).queue(1).managed());
    let handle = pool.task(async {}).delay(SECOND).try_submit().unwrap().cancel_on_drop();
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
    drop(handle);
    assert_eq!(pool.stats().cancelled, 1);
    pool.try_execute(async {}).unwrap();
    let kept = pool.stats();
    let (other, _workers) = driven(WorkerPool::builder().workers(1).queue(1).managed());
    let handle = other.task(async {}).delay(SECOND).try_submit().unwrap();
    drop(handle);
    assert_eq!(other.stats().cancelled, 0, "only a tied one does");
    assert_eq!(kept.cancelled, 1);
}
