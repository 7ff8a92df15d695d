//! Handing tasks in, and waiting for room.

use super::*;

// WP2
#[test]
fn submitters_wait_for_room_and_are_served_in_order() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    let order = Arc::new(Mutex::new(Vec::new()));
    let task = |number: usize| {
        let order = order.clone();
        async move { order.lock().unwrap().push(number) }
    };
    pool.try_execute(task(0)).unwrap();
    let mut waiting: Vec<_> = (1..5).map(|number| Polled::new(pool.execute(task(number)))).collect();
    assert!(waiting.iter_mut().all(|submit| submit.poll().is_none()));
    assert_eq!(pool.stats().waiting, 4);
    for next in 1..5 {
        settle(&mut workers);
        // While somebody waits, nobody overtakes those in line, even if there is room.
        if next < 4 {
            assert!(pool.try_execute(task(99)).unwrap_err().is_full());
            assert!(Polled::new(pool.execute(task(99))).poll().is_none());
        }
        assert_eq!(waiting[next - 1].wakes(), 1);
        assert!(waiting[next - 1].poll().unwrap().is_ok());
        assert!(waiting[next..].iter_mut().all(|submit| submit.poll().is_none()));
    }
    settle(&mut workers);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!((pool.stats().waiting, balanced(pool.stats()).completed), (0, 5));
    pool.try_execute(task(5)).unwrap();
}

// WP2
#[test]
fn a_submitter_that_was_woken_is_overtaken_four_times_at_most() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    pool.try_execute(async {}).unwrap();
    let mut patient = Polled::new(pool.submit(ready("patient")));
    assert!(patient.poll().is_none());
    for _ in 0..4 {
        settle(&mut workers);
        pool.try_execute(async {}).unwrap();
        assert!(patient.poll().is_none());
    }
    settle(&mut workers);
    assert!(pool.try_execute(async {}).unwrap_err().is_full());
    let mut newcomer = Polled::new(pool.submit(ready("newcomer")));
    assert!(newcomer.poll().is_none());
    assert!(patient.poll().unwrap().is_ok());
    settle(&mut workers);
    assert!(newcomer.poll().unwrap().is_ok());
}

// WP2
#[test]
fn a_dropped_submission_has_submitted_nothing_and_passes_its_turn_on() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    let ran = Arc::new(AtomicUsize::new(0));
    let task = |by: usize| {
        let ran = ran.clone();
        async move { drop(ran.fetch_add(by, Ordering::Relaxed)) }
    };
    pool.try_execute(task(1)).unwrap();
    let mut first = Polled::new(pool.execute(task(10)));
    let mut second = Polled::new(pool.execute(task(100)));
    assert!(first.poll().is_none() && second.poll().is_none());
    settle(&mut workers);
    // The first is invited, and goes before it looks.
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    assert!(second.poll().unwrap().is_ok());
    settle(&mut workers);
    assert_eq!(ran.load(Ordering::Relaxed), 101);
    assert_eq!((pool.stats().waiting, pool.stats().submitted), (0, 2));
    // The last one to go leaves the way free.
    pool.try_execute(task(0)).unwrap();
    let mut last = Polled::new(pool.execute(task(0)));
    assert!(last.poll().is_none());
    drop(last);
    settle(&mut workers);
    pool.try_execute(task(0)).unwrap();
}

// WP2
#[test]
fn a_submission_with_a_limit_gives_the_future_back_when_the_time_is_over() {
    let time = ManualClock::new();
    let (pool, mut workers) =
        driven(WorkerPool::builder().workers(1).queue(1).name("mill").clock(time.clock()));
    pool.try_execute(async {}).unwrap();
    let mut late = Polled::new(pool.submit_timeout(async { "late" }, SECOND));
    let mut next = Polled::new(pool.submit_timeout(async { "next" }, 2 * SECOND));
    assert!(late.poll().is_none() && next.poll().is_none());
    time.advance(SECOND);
    let error = late.poll().unwrap().unwrap_err();
    assert!(error.is_timeout() && !error.is_full() && !error.is_closed());
    assert_eq!(error.to_string(), "mill: no room within 1s");
    assert_eq!(Polled::new(error.into_inner()).poll(), Some("late"));
    // Not a waker, a timer or a place of it is left behind.
    settle(&mut workers);
    assert!(next.poll().unwrap().is_ok());
    assert_eq!((time.armed(), pool.stats().waiting), (0, 0));
}

// WP2, CTX2
#[test]
fn an_ended_context_cannot_submit() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4));
    let cancelled = Context::background().child();
    cancelled.cancel("gone");
    let error = cancelled.scope_sync(|| pool.try_submit(ready(1))).unwrap_err();
    assert_eq!(error.to_string(), "worker pool: not submitted: cancelled: gone");
    assert!(error.context().unwrap().is_cancelled());
    let error = Polled::new(cancelled.scope(pool.submit(ready(2)))).poll().unwrap().unwrap_err();
    assert_eq!(Polled::new(error.into_inner()).poll(), Some(2));
    let time = ManualClock::new();
    let late = Context::background().with_clock(time.clock()).with_timeout(Duration::ZERO);
    assert!(late.scope_sync(|| pool.try_execute(async {})).unwrap_err().context().is_some());
    settle(&mut workers);
    assert_eq!(pool.stats().submitted, 0);
}

// WP2, CTX2
#[test]
fn a_context_that_ends_while_its_submission_waits_gives_the_future_back() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1));
    pool.try_execute(async {}).unwrap();
    let context = Context::background().child();
    let mut submit = Polled::new(context.scope(pool.submit(ready(1))));
    assert!(submit.poll().is_none());
    context.cancel("gone");
    settle(&mut workers);
    let error = submit.poll().unwrap().unwrap_err();
    assert!(error.context().is_some());
    assert_eq!((pool.stats().waiting, pool.stats().submitted), (0, 1));
    pool.try_execute(async {}).unwrap();
}

#[test]
fn large_and_oddly_aligned_futures_run_like_small_ones() {
    #[repr(align(64))]
    struct Aligned(u8);
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    let sum = Arc::new(AtomicU64::new(0));
    let drops = Arc::new(AtomicUsize::new(0));
    let (large, aligned) = ([1_u64; 1000], Aligned(7));
    for _ in 0..2 {
        let (sum, token) = (sum.clone(), Dropped(drops.clone()));
        let (large, aligned) = (large, Aligned(aligned.0));
        let task = async move {
            let _token = token;
            yield_now().await;
            assert_eq!(std::ptr::from_ref(&aligned) as usize % 64, 0);
            sum.fetch_add(large.iter().sum::<u64>() + u64::from(aligned.0), Ordering::Relaxed);
        };
        pool.try_execute(task).unwrap();
    }
    settle(&mut workers);
    assert_eq!((sum.load(Ordering::Relaxed), drops.load(Ordering::Relaxed)), (2014, 2));
    // Given back whole, too.
    pool.close();
    let error = pool.try_execute(async move { assert_eq!(large.iter().sum::<u64>(), 1000) }).unwrap_err();
    assert_eq!(Polled::new(error.into_inner()).poll(), Some(()));
    let error = pool.try_submit(async move { large.len() }).unwrap_err();
    assert_eq!(Polled::new(error.into_inner()).poll(), Some(1000));
}

#[test]
fn a_refused_future_is_dropped_with_its_error_and_only_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, workers) = pool(1, 1);
    drop(workers);
    for submitted in 1..4 {
        let token = Dropped(drops.clone());
        let error = pool.try_submit(async move { drop(token) }).unwrap_err();
        assert!(error.is_closed());
        assert_eq!(drops.load(Ordering::Relaxed), submitted - 1);
        drop(error);
        assert_eq!(drops.load(Ordering::Relaxed), submitted);
    }
}
