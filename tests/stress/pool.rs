//! Every task that was accepted runs, however often the workers fall asleep in between; and workers without work do nothing.

use crate::ROUNDS;
use cofferdam::pool::WorkerPool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// More than a worker runs before it lets go of its thread, and more than it takes to wake a second one.
const BURST: u64 = 300;

#[test]
fn no_task_is_left_beside_a_sleeper() {
    const PRODUCERS: u64 = 4;
    let (pool, threads) = WorkerPool::builder().workers(2).queue(256).start_threads().unwrap();
    for round in 0..ROUNDS / 10 {
        let left = Arc::new(AtomicU64::new(PRODUCERS * BURST));
        let (end, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..PRODUCERS {
                let (pool, left, end) = (&pool, &left, &end);
                scope.spawn(move || {
                    for _ in 0..BURST {
                        let (left, end) = (left.clone(), end.clone());
                        let task = async move {
                            if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                                let _ = end.send(());
                            }
                        };
                        pool.execute(task).wait().unwrap();
                    }
                });
            }
        });
        let waited = ended.recv_timeout(Duration::from_secs(20));
        assert!(waited.is_ok(), "round {round}: {:?}", pool.stats());
    }
    drop(pool);
    threads.join();
}

#[cfg(target_os = "linux")]
mod idle {
    use super::*;
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::fs;

    /// How often each thread of this process whose name begins so was taken off its processor or has let go of it. `None`, if
    /// one of them is not asleep.
    fn switches(name: &str) -> Option<BTreeMap<OsString, u64>> {
        let mut all = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
            // Threads of other tests end at any time.
            let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            let status = read("status");
            if !read("comm").starts_with(name) {
                continue;
            }
            if !status.lines().any(|line| line.starts_with("State:\tS")) {
                return None;
            }
            let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
            let count = counts.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum();
            all.insert(task.file_name(), count);
        }
        Some(all)
    }

    /// Of the threads of that name, of which there are so many, none is woken.
    #[allow(clippy::disallowed_methods, reason = "that nothing happens is seen in real time alone")]
    fn assert_asleep(name: &str, threads: usize) {
        // Only a wake-up makes a sleeping thread switch, however loaded the machine is. But on their way to rest they may be
        // slow: one interval without a switch is enough. Who wakes up in each is not idle.
        let quiet = (0..30).any(|_| {
            let before = switches(name);
            std::thread::sleep(Duration::from_millis(200));
            before.as_ref().is_some_and(|before| before.len() == threads) && switches(name) == before
        });
        assert!(quiet, "{:?}", switches(name));
    }

    /// Runs something on every worker, so that all have worked and gone to sleep.
    fn exercise(pool: &WorkerPool) {
        let handles = pool.submit_all((0..1_000_u64).map(|number| async move { number })).wait().unwrap();
        let sum: u64 = handles.into_iter().map(|handle| handle.wait().unwrap()).sum();
        assert_eq!(sum, 499_500);
    }

    #[test]
    fn threads_without_work_are_not_woken() {
        let builder = WorkerPool::builder().workers(4).queue(64).name("idle-thread");
        let (pool, threads) = builder.start_threads().unwrap();
        assert_asleep("idle-thread", 4);
        exercise(&pool);
        assert_asleep("idle-thread", 4);
        drop(pool);
        threads.join();
    }

    #[test]
    fn a_managed_pool_without_work_wakes_nobody() {
        let builder = WorkerPool::builder().workers(2).queue(64).managed().name("idle-managed");
        let (pool, threads) = builder.start_threads().unwrap();
        exercise(&pool);
        assert_asleep("idle-managed", 2);
        drop(pool);
        threads.join();
    }

    #[test]
    fn an_executor_without_work_is_not_woken_by_its_workers() {
        let executor = Arc::new(smol::Executor::new());
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let threads = [0, 1].map(|_| {
            let (executor, stopped) = (executor.clone(), stopped.clone());
            let run = move || _ = futures_executor::block_on(executor.run(stopped.recv()));
            std::thread::Builder::new().name("idle-smol".into()).spawn(run).unwrap()
        });
        let (pool, workers) = WorkerPool::builder().workers(4).queue(64).build().unwrap();
        for worker in workers {
            executor.spawn(worker).detach();
        }
        assert_asleep("idle-smol", 2);
        exercise(&pool);
        assert_asleep("idle-smol", 2);
        drop(pool);
        drop(stop);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
