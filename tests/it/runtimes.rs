//! One body, every runtime: nothing in the crate knows on which it runs.

use crate::support::{Kind, on_every_runtime};
use cofferdam::testkit::yield_now;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TINY: Duration = Duration::from_millis(2);

on_every_runtime! {
    async fn a_task_is_spawned_and_runs_by_itself(runtime: Runtime) {
        let (first, second) = (runtime.spawn(async { 3 }), runtime.spawn(async { yield_now().await; 4 }));
        assert_eq!(first.await + second.await, 7);
        // Also from inside a task, and it outlives the one that spawned it.
        let inner = runtime.clone();
        let inner = runtime.spawn(async move { inner.spawn(async { yield_now().await; 5 }) }).await;
        assert_eq!(inner.await, 5);
    }

    async fn spawning_runs_nothing_in_place(runtime: Runtime) {
        // A lock held across the call would deadlock with a spawner that runs the task in place.
        let lock = Arc::new(std::sync::Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let task = runtime.spawn(async move { drop(theirs.lock().unwrap()) });
        drop(held);
        task.await;
    }

    async fn a_sleep_lasts_as_long_as_it_says(runtime: Runtime) {
        let start = runtime.clock.now();
        runtime.clock.sleep(TINY).await;
        assert!(runtime.clock.now() - start >= TINY);
        let deadline = runtime.clock.now() + TINY;
        runtime.clock.sleep_until(deadline).await;
        assert!(runtime.clock.now() >= deadline);
        // One that is over already.
        runtime.clock.sleep_until(deadline).await;
        if runtime.kind == Kind::Sim {
            assert_eq!(runtime.clock.now() - start, 2 * TINY);
        }
    }

    async fn a_sleep_may_be_polled_from_another_task_than_first(runtime: Runtime) {
        let mut sleep = runtime.clock.sleep(TINY);
        assert!(futures_util::poll!(&mut sleep).is_pending());
        runtime.spawn(sleep).await;
    }

    async fn many_sleeps_of_many_tasks_all_end(runtime: Runtime) {
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let clock = runtime.clock.clone();
                runtime.spawn(async move { clock.sleep(Duration::from_micros(task * 40)).await })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    }

    async fn a_timeout_ends_what_takes_too_long(runtime: Runtime) {
        let dropped = Arc::new(AtomicBool::new(false));
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let flag = Flag(Arc::clone(&dropped));
        let endless = async move {
            let _flag = flag;
            pending::<()>().await;
        };
        assert!(runtime.clock.timeout(TINY, endless).await.is_err());
        assert!(dropped.load(Ordering::Acquire));
        // Of a spawned task, awaited here.
        let clock = runtime.clock.clone();
        let task = runtime.spawn(async move { clock.timeout(TINY, pending::<()>()).await });
        assert!(task.await.is_err());
    }

    // S56
    async fn a_timeout_lets_through_what_is_in_time(runtime: Runtime) {
        assert_eq!(runtime.clock.timeout(Duration::ZERO, ready(1)).await, Ok(1));
        assert_eq!(runtime.clock.timeout(Duration::MAX, async { yield_now().await; 2 }).await, Ok(2));
        let task = runtime.spawn(async { yield_now().await; 3 });
        assert_eq!(runtime.clock.timeout(Duration::from_secs(600), task).await, Ok(3));
    }

    // S57
    async fn a_limit_of_zero_is_one_poll(runtime: Runtime) {
        let mut polls = 0;
        let never = std::future::poll_fn(|_| {
            polls += 1;
            std::task::Poll::<()>::Pending
        });
        assert!(runtime.clock.timeout(Duration::ZERO, never).await.is_err());
        assert_eq!(polls, 1);
    }
}
