//! Handing many tasks in at once.

use super::*;
use cofferdam::pool::SubmitAllError;

fn numbers(count: u64) -> impl Iterator<Item = impl Future<Output = u64> + Send + 'static> {
    (0..count).map(|number| async move { number })
}

/// Polls both in turn until the first is ready.
fn together<F: Future>(
    submission: F,
    workers: &mut Polled<<Workers as IntoFuture>::IntoFuture>,
) -> F::Output {
    let mut submission = Polled::new(submission);
    for _ in 0..10_000 {
        if let Some(output) = submission.poll() {
            return output;
        }
        let _ = workers.poll();
    }
    panic!("stuck");
}

// WP2, WP3
#[test]
fn all_are_taken_in_and_joined_in_order() {
    for builder in [
        WorkerPool::builder().workers(2).queue(8),
        WorkerPool::builder().workers(2).queue(1),
        WorkerPool::builder().workers(2).queue(0),
        WorkerPool::builder().workers(2).queue(500),
        WorkerPool::builder().workers(2).unbounded(),
    ] {
        let (pool, mut workers) = driven(builder);
        let _ = workers.poll();
        let mut last: Option<cofferdam::pool::TaskId> = None;
        let handles = together(pool.submit_all(numbers(200)), &mut workers).unwrap();
        assert_eq!(handles.len(), 200);
        for (number, handle) in (0..).zip(handles) {
            let id = handle.id();
            assert!(last.replace(id).is_none_or(|last| last < id));
            assert_eq!(handle.id().number(), number);
            assert_eq!(together(handle, &mut workers).unwrap(), number);
        }
        assert_eq!(balanced(pool.stats()).completed, 200);
    }
}

#[test]
fn a_batch_goes_in_at_once_and_wakes_one_worker() {
    let (pool, workers) = pool(2, 100);
    let mut workers: Vec<_> = workers.map(Polled::new).collect();
    for worker in &mut workers {
        assert!(worker.poll().is_none());
    }
    let sum = Arc::new(AtomicU64::new(0));
    let tasks = (1..=10).map(|number| {
        let sum = sum.clone();
        async move { _ = sum.fetch_add(number, Ordering::Relaxed) }
    });
    assert_eq!(Polled::new(pool.execute_all(tasks)).poll().unwrap().unwrap().len(), 10);
    assert_eq!(pool.stats().queued, 10);
    assert_eq!(workers.iter().map(Polled::wakes).sum::<u64>(), 1);
    for worker in &mut workers {
        assert!(worker.poll().is_none());
    }
    assert_eq!(sum.load(Ordering::Relaxed), 55);
}

#[test]
fn what_is_not_taken_in_comes_back() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(3));
    let mut submission = Polled::new(pool.submit_all(numbers(100)));
    assert!(submission.poll().is_none());
    assert_eq!(pool.stats().queued, 3);
    pool.close();
    let error: SubmitAllError<_, _> = submission.poll().unwrap().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.accepted(), 3);
    assert_eq!(error.to_string(), "worker pool: closed; 3 tasks were accepted before");
    let (accepted, refused, rest) = error.into_parts();
    let numbers: Vec<_> =
        accepted.into_iter().map(|handle| together(handle, &mut workers).unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    // In order, and none is missing.
    let others = refused.into_iter().chain(rest.into_iter().flatten());
    let others: Vec<_> = others.map(|task| Polled::new(task).poll().unwrap()).collect();
    assert_eq!(others, (3..100).collect::<Vec<_>>());
}

#[test]
fn none_is_taken_in_after_the_context_has_ended() {
    let (pool, _workers) = pool(1, 3);
    let context = Context::background().child();
    context.cancel("gone");
    let mut submission = Polled::new(context.scope(pool.submit_all(numbers(5))));
    let error = submission.poll().unwrap().unwrap_err();
    assert!(error.context().is_some() && !error.is_closed());
    assert_eq!((error.accepted(), error.into_parts().1.len()), (0, 5));
    assert_eq!(pool.stats().submitted, 0);
}

#[test]
fn a_batch_does_not_overtake_who_waits() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    pool.try_execute(async {}).unwrap();
    let mut first = Polled::new(pool.submit(ready(1)));
    assert!(first.poll().is_none());
    let mut batch = Polled::new(pool.submit_all(numbers(2)));
    assert!(batch.poll().is_none());
    settle(&mut workers);
    assert!(batch.poll().is_none());
    assert!(first.poll().unwrap().is_ok());
    let handles = loop {
        settle(&mut workers);
        if let Some(handles) = batch.poll() {
            break handles.unwrap();
        }
    };
    assert_eq!(handles.len(), 2);
}

#[test]
fn dropped_at_every_await_it_loses_no_task() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let pool = WorkerPool::builder().workers(1).queue(2).clock(sim.clock()).start(sim).unwrap();
        let (made, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (made.clone(), gone.clone());
        let mine = pool.clone();
        let under_test = async move {
            let tasks = (0..7).map(|_| {
                made.fetch_add(1, Ordering::Relaxed);
                let dropped = Dropped(gone.clone());
                async move {
                    yield_now().await;
                    drop(dropped);
                }
            });
            mine.submit_all(tasks).await.unwrap();
        };
        let check = move |sim: &Sim, point| {
            let report = sim.run(pool.drain());
            assert!(report.is_clean());
            let (made, gone) = (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed));
            assert_eq!(made, gone, "each that was made has run or was dropped: {point:?}");
            assert!(balanced(report.stats).completed <= made as u64);
        };
        (under_test, check)
    });
    assert!(points >= 20 * 4, "only {points}");
}
