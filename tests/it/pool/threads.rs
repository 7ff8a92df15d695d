//! Workers on threads of their own, and callers that run no executor.

use super::*;
use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;

// WP1, WP2, WP3
#[test]
fn a_pool_of_threads_needs_no_executor() {
    let (pool, threads) = WorkerPool::builder().workers(3).queue(2).name("crunch").start_threads().unwrap();
    assert_eq!(threads.count(), 3);
    let handles: Vec<_> = (0..100_u64)
        .map(|number| {
            let task = async move { (number, thread::current().name().map(str::to_owned)) };
            pool.submit(task).wait().unwrap()
        })
        .collect();
    let mut names = BTreeSet::new();
    for (number, handle) in (0..).zip(handles) {
        let (answer, name) = handle.wait().unwrap();
        assert_eq!(answer, number);
        names.insert(name.unwrap());
    }
    assert!(names.iter().all(|name| ["crunch-0", "crunch-1", "crunch-2"].contains(&&**name)), "{names:?}");
    let report = pool.drain().wait();
    assert!(report.is_clean());
    assert_eq!(balanced(report.stats).completed, 100);
    threads.join();
}

#[test]
fn so_many_tasks_block_at_a_time_as_there_are_threads() {
    let (pool, threads) = WorkerPool::builder().workers(2).queue(8).start_threads().unwrap();
    let (meet, met) = (mpsc::channel(), mpsc::channel());
    // Each waits for the other, which needs both threads at once.
    let (to_first, to_second) = (meet.0, met.0);
    let first = pool.submit(async move { to_second.send(1).map(|()| meet.1.recv()) }).wait().unwrap();
    let second = pool.submit(async move { to_first.send(2).map(|()| met.1.recv()) }).wait().unwrap();
    assert_eq!(first.wait().unwrap().unwrap(), Ok(2));
    assert_eq!(second.wait().unwrap().unwrap(), Ok(1));
    drop(pool);
    threads.join();
}

// WP8
#[test]
fn threads_end_with_the_last_handle_after_what_is_queued() {
    let (pool, threads) = WorkerPool::builder().workers(1).queue(50).start_threads().unwrap();
    let sum = Arc::new(AtomicU64::new(0));
    let tasks = (1..=50).map(|number| {
        let sum = sum.clone();
        async move { _ = sum.fetch_add(number, Ordering::Relaxed) }
    });
    assert_eq!(pool.execute_all(tasks).wait().unwrap().len(), 50);
    drop(pool);
    threads.join();
    assert_eq!(sum.load(Ordering::Relaxed), 51 * 25);
}

#[test]
fn a_thread_survives_the_panic_of_its_task() {
    let pool = WorkerPool::threads(1).unwrap();
    let error = pool.submit(async { std::panic::resume_unwind(Box::new("lost")) }).wait().unwrap();
    let error: Result<(), _> = error.wait();
    assert_eq!(error.unwrap_err().panic_message(), Some("lost"));
    assert_eq!(pool.submit(async { 1 }).wait().unwrap().wait().unwrap(), 1);
}

#[test]
fn a_wait_within_a_task_does_not_take_the_wake_of_its_thread() {
    let (outer, threads) = WorkerPool::builder().workers(1).start_threads().unwrap();
    let inner = WorkerPool::threads(1).unwrap();
    for round in 0..200 {
        let inner = inner.clone();
        let handle = outer
            .submit(async move {
                let first = inner.submit(async move { round }).wait().unwrap();
                // Pending at first, as a rule: wakes this thread from another one.
                let second = inner.submit(async move { round }).wait().unwrap();
                first.wait().unwrap() + second.await.unwrap()
            })
            .wait()
            .unwrap();
        assert_eq!(handle.wait().unwrap(), 2 * round);
    }
    outer.close();
    threads.join();
}

#[test]
fn bad_settings_are_told_as_such() {
    let error = WorkerPool::builder().workers(1 << 20).start_threads().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "worker pool: workers = 1048576: must be at most 65535");
}

#[test]
fn a_refused_submission_gives_the_future_back() {
    let pool = WorkerPool::threads(1).unwrap();
    pool.close();
    let error = pool.submit(ready(5)).wait().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(Polled::new(error.into_inner()).poll(), Some(5));
}

#[test]
fn any_name_will_do() {
    let (pool, threads) = WorkerPool::builder().workers(1).name("a\0b").start_threads().unwrap();
    let name = pool.submit(async { thread::current().name().map(str::to_owned) }).wait().unwrap();
    assert_eq!(name.wait().unwrap().as_deref(), Some("ab-0"));
    drop(pool);
    threads.join();
}
