//! What was never begun is given back by a shutdown.

use super::*;
use cofferdam::pool::{NamedQueue, PoolTask, Priority};

fn zero() -> Duration {
    Duration::ZERO
}

// WP5, WP6
#[test]
fn what_was_not_begun_is_given_back_in_order_and_runs_elsewhere() {
    for builder in [
        WorkerPool::builder().workers(1).queue(9),
        WorkerPool::builder().workers(1).unbounded(),
        WorkerPool::builder().workers(1).queue(9).managed(),
        WorkerPool::builder().workers(1).queue(9).history(9),
    ] {
        let (pool, mut workers) = driven(builder);
        let running = pool.try_submit(pending::<()>()).unwrap();
        settle(&mut workers);
        let order = Arc::new(Mutex::new(Vec::new()));
        let handles: Vec<_> = (0..3)
            .map(|number| {
                let order = order.clone();
                let large = [number; 64];
                pool.try_submit(async move {
                    yield_now().await;
                    order.lock().unwrap().push(number);
                    large[63]
                })
                .unwrap()
            })
            .collect();
        for number in 3..5 {
            let order = order.clone();
            pool.try_execute(async move { order.lock().unwrap().push(number) }).unwrap();
        }
        let mut shutdown = Polled::new(pool.shutdown(zero()).hand_back());
        assert!(shutdown.poll().is_none());
        settle(&mut workers);
        let (report, left) = shutdown.poll().unwrap();
        let stats = balanced(report.stats);
        assert_eq!((stats.handed_back, stats.cancelled, stats.dropped, report.interrupted), (5, 1, 0, 1));
        assert!(!report.is_clean());
        assert!(running.is_finished() && !handles[0].is_finished());
        assert_eq!(left.iter().map(|task| task.id().number()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        drop(pool);
        drop(workers);
        for task in left {
            settle(&mut Polled::new(task)).unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), number);
        }
    }
}

#[test]
fn its_handle_still_cancels_it() {
    let (pool, _workers) = pool(1, 9);
    let (early, late, gone) = (
        pool.try_submit(ready(1)).unwrap(),
        pool.try_submit(pending::<()>()).unwrap(),
        pool.try_submit(ready(3)).unwrap(),
    );
    let withdrawn = pool.try_submit(ready(4)).unwrap();
    assert!(withdrawn.cancel());
    let (report, left) = Polled::new(pool.shutdown(zero()).hand_back()).poll().unwrap();
    // What was withdrawn before is not given back.
    assert_eq!((report.stats.handed_back, report.stats.cancelled), (3, 1));
    let mut left: Vec<_> = left.into_iter().map(Polled::new).collect();
    assert!(early.cancel() && !early.is_finished());
    assert!(left[0].poll().is_some());
    assert!(Polled::new(early).poll().unwrap().unwrap_err().is_cancelled());
    assert!(left[1].poll().is_none());
    assert!(late.cancel());
    assert_eq!(left[1].wakes(), 1);
    assert!(left[1].poll().is_some());
    assert!(Polled::new(late).poll().unwrap().unwrap_err().is_cancelled());
    drop(left);
    assert!(Polled::new(gone).poll().unwrap().unwrap_err().is_dropped());
    assert_eq!(balanced(pool.stats()).handed_back, 3);
}

#[test]
fn a_panic_is_told_by_the_handle_or_goes_on() {
    let (pool, _workers) = pool(1, 9);
    let handle = pool.try_submit(async { std::panic::resume_unwind(Box::new("told")) }).unwrap();
    pool.try_execute(async { std::panic::resume_unwind(Box::new("not told")) }).unwrap();
    let (_, left) = Polled::new(pool.shutdown(zero()).hand_back()).poll().unwrap();
    let mut left: Vec<_> = left.into_iter().map(Polled::new).collect();
    assert!(left[0].poll().is_some());
    let result: Result<(), _> = Polled::new(handle).poll().unwrap();
    assert_eq!(result.unwrap_err().panic_message(), Some("told"));
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| left[1].poll())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"not told"));
    // It is gone, and does not panic again.
    assert!(left[1].poll().is_some());
}

#[test]
fn without_asking_and_after_giving_up_it_is_dropped() {
    let (pool, _workers) = pool(1, 9);
    let count = Arc::new(AtomicUsize::new(0));
    let dropped = Dropped(count.clone());
    let handle = pool.try_submit(async move { drop(dropped) }).unwrap();
    // Never polled: nobody asks.
    drop(pool.shutdown(zero()).hand_back());
    let mut plain = Polled::new(pool.shutdown(zero()));
    let report = plain.poll().unwrap();
    assert_eq!((report.stats.dropped, report.stats.handed_back), (1, 0));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());

    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(9));
    let _running = pool.try_submit(pending::<()>()).unwrap();
    settle(&mut workers);
    let dropped = Dropped(count.clone());
    let handle = pool.try_submit(async move { drop(dropped) }).unwrap();
    let mut asked = Polled::new(pool.shutdown(zero()).hand_back());
    assert!(asked.poll().is_none());
    assert!(!handle.is_finished());
    drop(asked);
    assert_eq!(count.load(Ordering::Relaxed), 2);
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());
    settle(&mut workers);
    assert_eq!(balanced(pool.stats()).handed_back, 1);
}

#[test]
fn the_first_to_be_ready_gets_all() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(9));
    let _running = pool.try_submit(pending::<()>()).unwrap();
    settle(&mut workers);
    pool.try_execute(async {}).unwrap();
    let mut first = Polled::new(pool.shutdown(zero()).hand_back());
    let mut second = Polled::new(pool.shutdown(zero()).hand_back());
    assert!(first.poll().is_none() && second.poll().is_none());
    settle(&mut workers);
    assert_eq!(second.poll().unwrap().1.len(), 1);
    assert_eq!(first.poll().unwrap().1.len(), 0);
}

#[test]
fn a_task_that_needs_its_pool_is_dropped() {
    let (pool, _workers) = WorkerPool::builder().workers(1).queue(9).managed().build().unwrap();
    let policy = cofferdam::pool::RetryPolicy::new(3).unwrap();
    let handle = pool.retry_task(&policy, || ready(Err::<(), _>("no"))).try_submit().unwrap();
    let delayed = pool.task(ready(5)).delay(SECOND).try_submit().unwrap();
    let (report, left) = Polled::new(pool.shutdown(zero()).hand_back()).poll().unwrap();
    assert_eq!((report.stats.dropped, report.stats.handed_back), (1, 1));
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());
    for task in left {
        assert!(Polled::new(task).poll().is_some());
    }
    assert_eq!(Polled::new(delayed).poll().unwrap().unwrap(), 5);
}

#[test]
fn a_managed_pool_gives_back_in_the_order_in_which_it_would_have_begun() {
    let (time, mail) = (ManualClock::new(), NamedQueue::new("mail").width(1));
    let builder = WorkerPool::builder().workers(1).queue(9).named_queue(mail).clock(time.clock());
    let (pool, mut workers) = driven(builder);
    // Some cells are free again, and not in order.
    for _ in 0..3 {
        pool.try_execute(ready(())).unwrap();
    }
    settle(&mut workers);
    let running = pool.task(pending::<()>()).queue("mail").try_submit().unwrap();
    settle(&mut workers);
    let task = || pool.task(ready(()));
    task().priority(Priority::Low).try_execute().unwrap();
    task().delay(2 * SECOND).priority(Priority::Critical).try_execute().unwrap();
    task().try_execute().unwrap();
    task().delay(SECOND).try_execute().unwrap();
    // Not even one of a queue without width is forgotten.
    task().queue("mail").priority(Priority::High).try_execute().unwrap();
    task().priority(Priority::Critical).try_execute().unwrap();
    let (report, left) = Polled::new(async {
        let mut ending = std::pin::pin!(pool.shutdown(zero()).hand_back());
        let first = futures_util::poll!(&mut ending);
        assert!(first.is_pending());
        settle(&mut workers);
        ending.await
    })
    .poll()
    .unwrap();
    assert!(running.is_finished());
    assert_eq!(balanced(report.stats).handed_back, 6);
    assert_eq!(left.iter().map(|task| task.id().number()).collect::<Vec<_>>(), [9, 8, 6, 4, 7, 5]);
}

#[test]
fn a_managed_pool_gives_back_by_class_and_then_by_time() {
    let builder = WorkerPool::builder().workers(1).queue(9).named_queue(NamedQueue::new("narrow").width(1));
    let (pool, _workers) = builder.build().unwrap();
    let submit = |task: PoolTask<'_, std::future::Ready<()>>| drop(task.try_submit().unwrap());
    submit(pool.task(ready(())).delay(2 * SECOND));
    submit(pool.task(ready(())).priority(Priority::Low));
    submit(pool.task(ready(())).delay(SECOND));
    submit(pool.task(ready(())).priority(Priority::High).queue("narrow"));
    submit(pool.task(ready(())));
    submit(pool.task(ready(())).priority(Priority::High));
    let (report, left) = Polled::new(pool.shutdown(zero()).hand_back()).poll().unwrap();
    assert_eq!(balanced(report.stats).handed_back, 6);
    assert_eq!(left.iter().map(|task| task.id().number()).collect::<Vec<_>>(), [3, 5, 4, 1, 2, 0]);
}

// WP5, WP8
#[test]
fn what_is_given_back_and_dropped_is_dropped_in_its_context() {
    struct Asks(Arc<AtomicUsize>);
    impl Drop for Asks {
        fn drop(&mut self) {
            let value = Context::current().value::<usize>().map_or(0, |value| *value);
            self.0.store(value, Ordering::Relaxed);
        }
    }
    let (pool, _workers) = driven(WorkerPool::builder().workers(1).queue(9));
    let seen = Arc::new(AtomicUsize::new(0));
    let asks = Asks(Arc::clone(&seen));
    let task = async move { drop(asks) };
    let context = Context::background().with_value(7_usize);
    let handle = context.scope_sync(|| pool.try_submit(task)).unwrap();
    let (_, left) = Polled::new(pool.shutdown(zero()).hand_back()).poll().unwrap();
    drop(left);
    assert_eq!(seen.load(Ordering::Relaxed), 7);
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());
}
