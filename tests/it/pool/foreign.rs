//! Wakers, values and futures of others that panic: it costs nobody else anything.

use super::*;
use cofferdam::time::{Clock, Sleep, Timer};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::null;
use std::sync::atomic::AtomicBool;
use std::task::{Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::time::Instant;

/// Panics when it is dropped.
struct Mine;

impl Drop for Mine {
    fn drop(&mut self) {
        resume_unwind(Box::new("mine"));
    }
}

impl Wake for Mine {
    fn wake(self: Arc<Self>) {}
}

/// Panics when it is woken.
struct Loud;

impl Wake for Loud {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("loud"));
    }
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(waker))
}

fn caught<R>(body: impl FnOnce() -> R) -> std::thread::Result<R> {
    catch_unwind(AssertUnwindSafe(body))
}

/// A pool with one worker, which sleeps and panics when it is woken.
fn asleep(queue: usize) -> (WorkerPool, Pin<Box<cofferdam::pool::Worker>>) {
    let (pool, mut workers) = pool(1, queue);
    let mut worker = Box::pin(workers.next().unwrap());
    assert!(poll(worker.as_mut(), &Waker::from(Arc::new(Loud))).is_pending());
    (pool, worker)
}

// WP6
#[test]
fn the_drop_of_a_waker_takes_no_result_with_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4));
    let token = Dropped(drops.clone());
    let mut handle = pool.try_submit(async move { token }).unwrap();
    assert!(poll(Pin::new(&mut handle), &Waker::from(Arc::new(Mine))).is_pending());
    settle(&mut workers);
    let _ = caught(|| drop(handle));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

// WP6
#[test]
fn the_drop_of_a_waker_does_not_keep_a_result_from_its_handle() {
    let (pool, _workers) = pool(1, 4);
    // Pending once, and not about to give way: the waker goes into the cell.
    let mut polls = 0..2;
    let task = std::future::poll_fn(move |_| match polls.next() {
        Some(0) => Poll::Pending,
        _ => Poll::Ready(()),
    });
    let handle = pool.try_submit(task).unwrap();
    let (_, mut left) = Polled::new(pool.shutdown(Duration::ZERO).hand_back()).poll().unwrap();
    let mut task = left.pop().unwrap();
    assert!(poll(Pin::new(&mut task), &Waker::from(Arc::new(Mine))).is_pending());
    let _ = caught(|| poll(Pin::new(&mut task), Waker::noop()));
    assert!(Polled::new(handle).poll().unwrap().is_ok());
}

static FAILS: AtomicBool = AtomicBool::new(false);

/// Panics at the next clone, once.
static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |_| {
        if FAILS.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("no clone"));
        }
        RawWaker::new(null(), &VTABLE)
    },
    |_| {},
    |_| {},
    |_| {},
);

// WP6
#[test]
fn a_waker_that_cannot_be_cloned_ends_the_task_that_waits() {
    let (pool, mut workers) = pool(1, 4);
    // SAFETY: the functions touch no memory but the flag.
    let waker = unsafe { Waker::from_raw(RawWaker::new(null(), &VTABLE)) };
    let mut worker = Box::pin(workers.next().unwrap());
    // Leaves its memory to the next one, full of ones.
    let ones = [u8::MAX; 256];
    drop(pool.try_submit(async move { std::hint::black_box(&ones).len() }).unwrap());
    assert!(poll(worker.as_mut(), &waker).is_pending());
    let bytes = [u8::MAX; 208];
    let handle = pool
        .try_submit(async move {
            pending::<()>().await;
            std::hint::black_box(&bytes).len()
        })
        .unwrap();
    FAILS.store(true, Ordering::Relaxed);
    assert!(poll(worker.as_mut(), &waker).is_pending());
    assert!(!FAILS.load(Ordering::Relaxed));
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_panic());
}

// WP8
#[test]
fn the_values_of_one_context_leave_no_other_task_behind() {
    for drops_workers in [true, false] {
        let (pool, workers) = pool(1, 4);
        let handles = [1, 2].map(|number| {
            let context = Context::background().with_value(Mine);
            let handle = context.scope_sync(|| pool.try_submit(ready(number)).unwrap());
            // The task has the last of it.
            drop(context);
            handle
        });
        let mut shutdown = Polled::new(pool.shutdown(Duration::ZERO));
        if drops_workers {
            drop(workers);
        } else {
            let _ = caught(|| shutdown.poll());
        }
        for handle in handles {
            assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_dropped());
        }
        assert_eq!(balanced(pool.stats()).dropped, 2);
    }
}

// WP7
#[test]
fn a_delayed_task_whose_drop_panics_leaves_its_place() {
    let (pool, _workers) = WorkerPool::builder().workers(1).queue(1).managed().build().unwrap();
    let mine = Mine;
    let task = async move {
        let _mine = mine;
        pending::<()>().await;
    };
    let handle = pool.task(task).delay(SECOND).try_submit().unwrap();
    assert!(caught(|| handle.cancel()).is_err());
    let stats = balanced(pool.stats());
    assert_eq!((stats.cancelled, stats.queued), (1, 0));
    pool.try_execute(ready(())).unwrap();
}

// WP3
#[test]
fn a_submission_that_wakes_in_vain_leaves_no_result_behind() {
    let (pool, mut worker) = asleep(4);
    let drops = Arc::new(AtomicUsize::new(0));
    let token = Dropped(drops.clone());
    assert!(caught(|| pool.try_submit(async move { token })).is_err());
    assert!(poll(worker.as_mut(), Waker::noop()).is_pending());
    assert_eq!((drops.load(Ordering::Relaxed), balanced(pool.stats()).completed), (1, 1));
}

// WP3
#[test]
fn a_batch_that_wakes_in_vain_is_numbered_all_the_same() {
    let (pool, mut worker) = asleep(4);
    let mut submission = Polled::new(pool.submit_all((0..3).map(ready)));
    assert!(caught(|| submission.poll()).is_err());
    let handles = submission.poll().unwrap().unwrap();
    assert_eq!(handles.iter().map(|handle| handle.id().number()).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(poll(worker.as_mut(), Waker::noop()).is_pending());
    for (number, handle) in (0..).zip(handles) {
        assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), number);
    }
}

// WP2
#[test]
fn an_iterator_that_panics_loses_nothing_that_it_gave() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(8));
    let mut bad = true;
    let tasks = (0..5).map(|number| {
        if number == 3 && std::mem::take(&mut bad) {
            resume_unwind(Box::new("three"));
        }
        ready(number)
    });
    let mut submission = Polled::new(pool.submit_all(tasks));
    assert!(caught(|| submission.poll()).is_err());
    let handles = submission.poll().unwrap().unwrap();
    settle(&mut workers);
    let numbers: Vec<_> =
        handles.into_iter().map(|handle| Polled::new(handle).poll().unwrap().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 4]);
}

// WP2
#[test]
fn who_was_invited_and_wakes_in_vain_keeps_no_place() {
    for tries in [false, true] {
        let (pool, mut workers) = pool(1, 1);
        let mut worker = Box::pin(workers.next().unwrap());
        let loud = Waker::from(Arc::new(Loud));
        pool.try_execute(ready(())).unwrap();
        let mut first = Polled::new(pool.execute(ready(())));
        assert!(first.poll().is_none());
        assert!(poll(worker.as_mut(), &loud).is_pending());
        assert_eq!(first.wakes(), 1);
        assert!(caught(|| first.poll()).is_err());
        let mut second = Polled::new(pool.execute(ready(())));
        assert!(second.poll().is_none());
        assert!(poll(worker.as_mut(), Waker::noop()).is_pending());
        assert_eq!(second.wakes(), 1);
        if tries {
            drop(second);
            pool.try_execute(ready(())).unwrap();
        } else {
            assert!(second.poll().unwrap().is_ok());
        }
        drop(first);
        assert_eq!(balanced(pool.stats()).submitted, 3);
    }
}

/// A clock that panics the next time that it is read, once.
struct Stops(Arc<AtomicBool>, Clock);

impl Timer for Stops {
    fn now(&self) -> Instant {
        if self.0.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("stopped"));
        }
        self.1.now()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.1.sleep_until(deadline)
    }
}

// WP2, WP3
#[test]
fn a_clock_that_panics_as_a_task_is_handed_in_keeps_nothing_of_it() {
    let (stops, time) = (Arc::new(AtomicBool::new(false)), ManualClock::new());
    let clock = Clock::new(Stops(Arc::clone(&stops), time.clock()));
    let builder = WorkerPool::builder().workers(1).queue(9).managed().clock(clock);
    let (pool, mut workers) = driven(builder);
    let drops = Arc::new(AtomicUsize::new(0));
    let token = || Dropped(Arc::clone(&drops));
    let small = |token| async move { drop(token) };
    let large = |token| {
        let bytes = [1_u8; 200];
        async move {
            drop(token);
            std::hint::black_box(&bytes);
        }
    };
    let mut tried = 0;
    let mut caught = |body: &mut dyn FnMut()| {
        stops.store(true, Ordering::Relaxed);
        assert!(caught(body).is_err());
        assert!(!stops.load(Ordering::Relaxed));
        tried += 1;
        tried
    };
    // Who tries once has it dropped.
    let dropped = || drops.load(Ordering::Relaxed);
    assert_eq!(caught(&mut || drop(pool.try_submit(small(token())))), dropped());
    assert_eq!(caught(&mut || drop(pool.try_submit(large(token())))), dropped());
    assert_eq!(caught(&mut || drop(pool.try_execute(small(token())))), dropped());
    assert_eq!(caught(&mut || drop(pool.try_execute(large(token())))), dropped());
    let policy = cofferdam::pool::RetryPolicy::<u8>::new(2).unwrap();
    let retried = || {
        let token = token();
        move || {
            let _token = &token;
            ready(Ok(()))
        }
    };
    assert_eq!(caught(&mut || drop(pool.retry_task(&policy, retried()).try_execute())), dropped());
    // Who waits has it still.
    let mut submission = Polled::new(pool.submit(large(token())));
    caught(&mut || drop(submission.poll()));
    assert!(submission.poll().unwrap().is_ok());
    let mut submission = Polled::new(pool.execute(large(token())));
    caught(&mut || drop(submission.poll()));
    assert!(submission.poll().unwrap().is_ok());
    let mut submission = Polled::new(pool.retry_task(&policy, retried()).execute());
    caught(&mut || drop(submission.poll()));
    assert!(submission.poll().unwrap().is_ok());
    let mut submission = Polled::new(pool.submit_all([small(token()), small(token())]));
    caught(&mut || drop(submission.poll()));
    assert_eq!(submission.poll().unwrap().unwrap().len(), 2);
    assert_eq!(dropped(), 5);
    settle(&mut workers);
    assert_eq!((dropped(), balanced(pool.stats()).completed), (10, 5));
}
