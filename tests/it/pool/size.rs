//! How many run and how many wait.

use super::*;
use cofferdam::pool::PoolEvent;
use std::sync::OnceLock;

// WP1
#[test]
fn the_default_is_the_machines_parallelism_and_twice_as_many_places() {
    let (pool, workers) = WorkerPool::builder().build().unwrap();
    let parallelism = std::thread::available_parallelism().unwrap().get();
    assert_eq!((pool.stats().workers, workers.len()), (parallelism, parallelism));
    assert_eq!(pool.capacity(), Some(2 * parallelism));
    let (pool, _workers) = WorkerPool::builder().workers(3).build().unwrap();
    assert_eq!((pool.stats().workers, pool.capacity()), (3, Some(6)));
}

// WP1
#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let error = WorkerPool::builder().workers(65_536).build().unwrap_err();
    assert_eq!(error.to_string(), "worker pool: workers = 65536: must be at most 65535");
    let error = WorkerPool::builder().queue(usize::MAX).build().unwrap_err();
    assert_eq!((error.knob(), error.rule()), ("queue", "must fit into memory"));
}

// WP1
#[test]
fn as_many_tasks_run_at_a_time_as_there_are_workers() {
    Sim::for_seeds(0..50, |sim| {
        let pool = WorkerPool::builder().workers(3).queue(10).start(sim).unwrap();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        sim.run(async {
            let mut handles = Vec::new();
            for _ in 0..20 {
                let (now, most, clock) = (now.clone(), most.clone(), sim.clock());
                let task = async move {
                    let running = now.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(running, Ordering::Relaxed);
                    clock.sleep(SECOND).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                };
                handles.push(pool.submit(task).await.unwrap());
            }
            for handle in handles {
                handle.await.unwrap();
            }
        });
        assert_eq!(most.load(Ordering::Relaxed), 3);
        // Never a worker idle beside a queued task: 20 tasks of a second on 3 workers.
        assert_eq!(sim.time().elapsed(), 7 * SECOND);
    });
}

// WP1
#[test]
fn the_queue_holds_what_it_says_and_not_one_more() {
    for capacity in 1..9 {
        let (pool, _workers) = pool(1, capacity);
        for _ in 0..capacity {
            pool.try_execute(async {}).unwrap();
        }
        let error = pool.try_execute(async {}).unwrap_err();
        assert!(error.is_full());
        assert_eq!(error.to_string(), format!("worker pool: all {capacity} places of the queue are taken"));
        assert_eq!(balanced(pool.stats()).queued, capacity as u64);
    }
}

// WP1
#[test]
fn without_a_queue_a_task_is_taken_in_only_by_a_free_worker() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(2).queue(0));
    assert_eq!(pool.capacity(), Some(0));
    let gate = Arc::new(Gate::new(false));
    let hold = |gate: &Arc<Gate>| {
        let gate = Arc::clone(gate);
        async move { gate.wait().await }
    };
    let _first = pool.try_submit(hold(&gate)).unwrap();
    let _second = pool.try_submit(hold(&gate)).unwrap();
    let error = pool.try_submit(hold(&gate)).unwrap_err();
    assert_eq!(error.to_string(), "worker pool: no worker is free, and there is no queue");
    settle(&mut workers);
    assert_eq!((pool.stats().running, pool.stats().queued), (2, 0));
    // Running is not free either.
    assert!(pool.try_submit(hold(&gate)).is_err());
    let mut third = Polled::new(pool.submit(ready(3)));
    assert!(third.poll().is_none());
    gate.open();
    settle(&mut workers);
    let mut third = Polled::new(third.poll().unwrap().unwrap());
    settle(&mut workers);
    assert_eq!(third.poll().unwrap().unwrap(), 3);
}

// WP1
#[test]
fn without_a_bound_submitting_never_waits() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).unbounded());
    assert_eq!(pool.capacity(), None);
    let sum = Arc::new(AtomicU64::new(0));
    for number in 0..10_000 {
        let sum = sum.clone();
        pool.try_execute(async move { drop(sum.fetch_add(number, Ordering::Relaxed)) }).unwrap();
    }
    assert_eq!(balanced(pool.stats()).queued, 10_000);
    settle(&mut workers);
    assert_eq!(sum.load(Ordering::Relaxed), 49_995_000);
    assert_eq!(balanced(pool.stats()).completed, 10_000);
    pool.close();
    assert!(settle(&mut workers).is_some());
}

// WP1, WP3
#[test]
fn a_worker_that_is_dropped_without_a_queue_takes_its_place_along() {
    for runs in [true, false] {
        let pool = Arc::new(OnceLock::<WorkerPool>::new());
        let refused = Arc::new(Mutex::new(None));
        let observer = {
            let (pool, refused) = (Arc::clone(&pool), Arc::clone(&refused));
            move |event: &PoolEvent| {
                if let PoolEvent::WorkerStopped { worker: 0 } = event {
                    let pool = pool.get().unwrap();
                    *refused.lock().unwrap() = Some(pool.try_execute(ready(())).is_err());
                }
            }
        };
        let builder = WorkerPool::builder().workers(2).queue(0).observer(observer);
        let (built, workers) = builder.build().unwrap();
        let mut workers: Vec<_> = workers.map(|worker| Polled::new(Box::pin(worker))).collect();
        let busy = usize::from(runs) + 1;
        for at in (0..2).rev() {
            if at >= 2 - busy {
                built.try_execute(pending()).unwrap();
            }
            assert!(workers[at].poll().is_none());
        }
        assert!(pool.set(built.clone()).is_ok());
        drop(workers.remove(0));
        assert_eq!(*refused.lock().unwrap(), Some(true), "nobody can take it ({runs})");
        assert!(built.try_execute(ready(())).is_err());
        assert_eq!(built.stats().running, 1);
        drop(workers);
    }
}
