//! OB9: what is current where a task is submitted goes along with it.

use super::*;
use crate::support::{HERE, at, carrier};
use cofferdam::pool::{JoinError, RetryPolicy};
use cofferdam::task::{Carried, Carrier, Errand};
use cofferdam::time::Backoff;
use futures_util::FutureExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Where it is polled first, polled last, and dropped.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u32>>>);

impl Seen {
    fn note(&self) {
        self.0.lock().unwrap().push(HERE.get());
    }

    fn take(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn task(&self) -> impl Future<Output = ()> + Send + use<> {
        struct Last(Seen);
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.note();
            }
        }
        let last = Last(self.clone());
        async move {
            last.0.note();
            yield_now().await;
            last.0.note();
        }
    }
}

#[test]
fn a_task_runs_and_is_dropped_amid_what_was_current_where_it_was_submitted() {
    let settings: [fn(PoolBuilder) -> PoolBuilder; 5] = [
        |builder| builder,
        PoolBuilder::unbounded,
        PoolBuilder::managed,
        |builder| builder.history(8),
        |builder| builder.wrap(|task| async move { at(7, || task).await }),
    ];
    for set in settings {
        let (pool, mut workers) = driven(set(WorkerPool::builder().workers(2).queue(9).carry(carrier())));
        let seen = Seen::default();
        at(1, || drop(pool.try_submit(seen.task()).unwrap()));
        at(1, || pool.try_execute(seen.task()).unwrap());
        at(1, || drop(pool.submit(seen.task()).now_or_never().unwrap().unwrap()));
        at(1, || pool.execute(seen.task()).now_or_never().unwrap().unwrap());
        at(1, || drop(pool.submit_all([seen.task(), seen.task()]).now_or_never().unwrap().unwrap()));
        at(1, || drop(pool.execute_all([seen.task()]).now_or_never().unwrap().unwrap()));
        // Two lines of a job, and in a place of its own.
        let (large, task) = ([1_u8; 200], seen.task());
        let task = async move {
            task.await;
            std::hint::black_box(large);
        };
        at(1, || pool.try_execute(task).unwrap());
        settle(&mut workers);
        assert_eq!(seen.take(), [1; 24]);
        assert_eq!(HERE.get(), 0);
        assert_eq!(balanced(pool.stats()).completed, 8);
    }
}

#[test]
fn each_task_has_its_own() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(9).carry(carrier()));
    let seen = Seen::default();
    for place in 1..=3 {
        at(place, || pool.try_execute(seen.task()).unwrap());
    }
    settle(&mut workers);
    assert_eq!(seen.take(), [1, 1, 1, 2, 2, 2, 3, 3, 3]);
}

#[test]
fn a_task_that_is_cut_off_or_swept_away_is_dropped_amid_it() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(1).queue(9).clock(time.clock()).task_timeout(SECOND);
    let (pool, mut workers) = driven(builder.carry(carrier()));
    let seen = Seen::default();
    let task = |place| {
        let task = seen.task();
        at(place, || {
            pool.try_execute(async move {
                pending::<()>().await;
                task.await;
            })
        })
        .unwrap();
    };
    (1..=3).for_each(task);
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!(seen.take(), [1]);
    drop(Polled::new(pool.shutdown(Duration::ZERO)).poll());
    assert_eq!(seen.take(), [3]);
    settle(&mut workers);
    assert_eq!(seen.take(), [2]);
}

#[test]
fn a_task_that_waits_for_room_is_given_what_is_current_where_it_is_polled_in() {
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1).carry(carrier()));
    let seen = Seen::default();
    at(1, || pool.try_execute(seen.task()).unwrap());
    let mut submission = Polled::new(pool.execute(seen.task()));
    assert!(at(2, || submission.poll()).is_none());
    settle(&mut workers);
    assert!(at(3, || submission.poll()).unwrap().is_ok());
    settle(&mut workers);
    assert_eq!(seen.take(), [1, 1, 1, 3, 3, 3]);
}

#[test]
fn a_task_that_is_delayed_or_repeated_keeps_it() {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(1).queue(4).managed().clock(time.clock());
    let (pool, mut workers) = driven(builder.carry(carrier()));
    let seen = Seen::default();
    at(1, || pool.task(seen.task()).delay(SECOND).try_execute().unwrap());
    let policy = RetryPolicy::<u32>::new(2).unwrap().backoff(Backoff::fixed(SECOND));
    let again = seen.clone();
    let attempt = move || {
        again.note();
        ready(Err::<(), _>(HERE.get()))
    };
    let handle = at(2, || pool.retry_task(&policy, attempt).try_submit().unwrap());
    settle(&mut workers);
    assert_eq!(seen.take(), [2]);
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!(seen.take(), [1, 1, 1, 2]);
    assert_eq!(Polled::new(handle).poll().unwrap().unwrap(), Err(2));
    // Requeued it gets what is current there.
    let task = pool.dead_letters().list()[0].task;
    assert!(at(3, || pool.dead_letters().requeue(task)).is_ok());
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!(seen.take(), [3, 3]);
}

/// Notes what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Carrier for Notes {
    fn pick_up(&self) -> Option<Box<dyn Carried>> {
        Some(Box::new(Noted(self.clone())))
    }
}

struct Noted(Notes);

impl Noted {
    fn note(&self, word: &str, errand: &Errand<'_>) {
        let Errand { kind, name, number, attempts, .. } = errand;
        let line = format!("{word} {kind} {name} {} {attempts}", number.unwrap());
        self.0.0.lock().unwrap().push(line);
    }
}

impl Carried for Noted {
    fn begin(&mut self, errand: &Errand<'_>) {
        self.note("begin", errand);
    }

    fn around(&self, poll: &mut dyn FnMut()) {
        poll();
    }

    fn end(self: Box<Self>, errand: &Errand<'_>, outcome: &'static str) {
        self.note(outcome, errand);
    }
}

/// The word that is told of a task's end, before its handle is told, and how often it was begun.
fn told(
    set: impl FnOnce(PoolBuilder) -> PoolBuilder,
    end: impl FnOnce(&WorkerPool, &ManualClock, &JoinHandle<()>, &mut dyn FnMut()),
) -> (Vec<String>, Option<JoinError>) {
    let (notes, time) = (Notes::default(), ManualClock::new());
    let builder = WorkerPool::builder().workers(1).queue(4).name("mill").clock(time.clock());
    let (pool, mut workers) = driven(set(builder).carry(notes.clone()));
    let place = Arc::new(Mutex::new(Vec::new()));
    let handle = pool.try_submit(async {
        yield_now().await;
        pending::<()>().await;
    });
    let mut handle = handle.unwrap();
    // Woken by the result: then the end has been told already.
    let (seen, at_the_end) = (Arc::clone(&place), notes.clone());
    let waker = cofferdam_waker(move || *seen.lock().unwrap() = at_the_end.take());
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(Pin::new(&mut handle).poll(&mut cx).is_pending());
    end(&pool, &time, &handle, &mut || drop(settle(&mut workers)));
    drop(workers);
    let result = Polled::new(handle).poll().unwrap();
    let told = std::mem::take(&mut *place.lock().unwrap());
    (told, result.err())
}

fn cofferdam_waker(wake: impl Fn() + Send + Sync + 'static) -> std::task::Waker {
    struct Calls<F>(F);
    impl<F: Fn() + Send + Sync> std::task::Wake for Calls<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    std::task::Waker::from(Arc::new(Calls(wake)))
}

#[test]
fn its_end_is_told_in_a_word_before_its_handle_is() {
    let history = |builder: PoolBuilder| builder.history(4);
    let (lines, error) = told(history, |_, _, handle, settle| {
        settle();
        handle.cancel();
        settle();
    });
    assert!(error.unwrap().is_cancelled());
    assert_eq!(lines, ["begin pool.task mill 0 1", "cancelled pool.task mill 0 1"]);
    let (lines, error) = told(
        |builder| builder.task_timeout(SECOND),
        |_, time, _, settle| {
            settle();
            time.advance(SECOND);
            settle();
        },
    );
    assert!(error.unwrap().is_timeout());
    assert_eq!(lines[1], "timed out pool.task mill 0 1");
    let (lines, error) = told(history, |pool, _, _, settle| {
        settle();
        drop(Polled::new(pool.shutdown(Duration::ZERO)).poll());
        settle();
    });
    assert!(error.unwrap().is_cancelled());
    assert_eq!(lines[1], "cancelled pool.task mill 0 1");
    let (lines, error) = told(|builder| builder, |_, _, _, settle| settle());
    assert!(error.unwrap().is_dropped());
    assert_eq!(lines, ["begin pool.task mill 0 1", "dropped pool.task mill 0 1"]);
    // Swept: it was never begun.
    let (lines, error) =
        told(history, |pool, _, _, _| drop(Polled::new(pool.shutdown(Duration::ZERO)).poll()));
    assert!(error.unwrap().is_dropped());
    assert_eq!(lines, ["dropped pool.task mill 0 0"]);
}

#[test]
fn ends_of_other_kinds_are_told_in_their_words() {
    let (notes, time) = (Notes::default(), ManualClock::new());
    let builder = WorkerPool::builder().workers(1).queue(9).name("mill").managed().clock(time.clock());
    let (pool, mut workers) = driven(builder.carry(notes.clone()));
    pool.try_execute(ready(())).unwrap();
    pool.try_execute(async { resume_unwind(Box::new("oh")) }).unwrap();
    pool.task(ready(())).expires_in(SECOND).try_execute().unwrap();
    let policy = RetryPolicy::new(2).unwrap().backoff(Backoff::fixed(SECOND));
    drop(pool.retry_task(&policy, || ready(Err::<(), _>("no"))).try_submit().unwrap());
    time.advance(SECOND);
    settle(&mut workers);
    time.advance(SECOND);
    settle(&mut workers);
    assert_eq!(
        notes.take(),
        [
            "begin pool.task mill 0 1",
            "completed pool.task mill 0 1",
            "begin pool.task mill 1 1",
            "panicked pool.task mill 1 1",
            "expired pool.task mill 2 0",
            "begin pool.task mill 3 1",
            "failed pool.task mill 3 2",
        ]
    );
}

#[test]
fn a_task_that_is_refused_neither_begins_nor_ends() {
    let notes = Notes::default();
    let (pool, mut workers) =
        driven(WorkerPool::builder().workers(1).queue(1).history(4).carry(notes.clone()));
    pool.try_execute(ready(())).unwrap();
    assert!(pool.try_execute(ready(())).unwrap_err().is_full());
    pool.close();
    assert!(pool.try_submit(ready(())).unwrap_err().is_closed());
    settle(&mut workers);
    assert_eq!(notes.take().len(), 2);
}

#[test]
fn what_a_refused_task_has_picked_up_is_dropped_under_no_lock() {
    struct Asks(Arc<Mutex<Option<WorkerPool>>>, Arc<AtomicUsize>);
    impl Carried for Asks {
        fn around(&self, poll: &mut dyn FnMut()) {
            poll();
        }
    }
    impl Drop for Asks {
        fn drop(&mut self) {
            let pool = self.0.lock().unwrap().clone();
            if let Some(pool) = pool {
                // By way of the lock under which tasks are noted.
                drop((pool.history(), pool.stats()));
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    struct Picks(Arc<Mutex<Option<WorkerPool>>>, Arc<AtomicUsize>);
    impl Carrier for Picks {
        fn pick_up(&self) -> Option<Box<dyn Carried>> {
            Some(Box::new(Asks(Arc::clone(&self.0), Arc::clone(&self.1))))
        }
    }
    for managed in [false, true] {
        let (known, drops) = (Arc::default(), Arc::default());
        let builder = WorkerPool::builder().workers(1).queue(1).history(4);
        let builder = if managed { builder.managed() } else { builder };
        let (pool, _workers) = driven(builder.carry(Picks(Arc::clone(&known), Arc::clone(&drops))));
        pool.try_execute(ready(())).unwrap();
        *known.lock().unwrap() = Some(pool.clone());
        assert!(pool.try_execute(ready(())).unwrap_err().is_full());
        assert!(pool.try_submit(ready(())).unwrap_err().is_full());
        assert_eq!(drops.load(Ordering::Relaxed), 2);
        *known.lock().unwrap() = None;
    }
}

#[test]
fn a_task_that_is_handed_back_goes_on_amid_it() {
    let notes = Notes::default();
    let builder = WorkerPool::builder().workers(1).queue(4).name("mill");
    let (pool, _workers) = driven(builder.carry(carrier()).carry(notes.clone()));
    let seen = Seen::default();
    at(1, || drop(pool.try_submit(seen.task()).unwrap()));
    at(2, || pool.try_execute(seen.task()).unwrap());
    let (report, mut left) = Polled::new(pool.shutdown(Duration::ZERO).hand_back()).poll().unwrap();
    assert_eq!((report.stats.handed_back, notes.take().len()), (2, 0));
    drop(left.pop());
    assert_eq!(notes.take(), ["dropped pool.task mill 1 0"]);
    assert_eq!(seen.take(), [2]);
    let mut task = Polled::new(left.pop().unwrap());
    assert!(task.poll().is_none());
    assert!(task.poll().is_some());
    assert_eq!(notes.take(), ["begin pool.task mill 0 1", "completed pool.task mill 0 1"]);
    assert_eq!(seen.take(), [1; 3]);
    drop(task);
    assert_eq!(notes.take().len(), 0);
}

#[test]
fn a_second_carrier_is_inside_the_first() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let note = |word: &'static str| {
        let lines = Arc::clone(&lines);
        move || {
            let lines = Arc::clone(&lines);
            move |poll: &mut dyn FnMut()| {
                lines.lock().unwrap().push((word, 1));
                poll();
                lines.lock().unwrap().push((word, 2));
            }
        }
    };
    let builder = WorkerPool::builder().workers(1).queue(4).carry(note("outer")).carry(note("inner"));
    let (pool, mut workers) = driven(builder);
    pool.try_execute(ready(())).unwrap();
    settle(&mut workers);
    let lines = std::mem::take(&mut *lines.lock().unwrap());
    // It begins inside the first, too.
    assert_eq!(lines[..2], [("outer", 1), ("outer", 2)]);
    assert_eq!(lines[2..], [("outer", 1), ("inner", 1), ("inner", 2), ("outer", 2)]);
}

/// Does wrong what there is to do.
#[derive(Clone, Copy, PartialEq)]
enum Wrong {
    PickUp,
    Begin,
    Before,
    After,
    Never,
    Twice,
    Swallows,
    End,
}

impl Wrong {
    fn is(self, other: Self) {
        if self == other {
            resume_unwind(Box::new("wrong"));
        }
    }
}

impl Carrier for Wrong {
    fn pick_up(&self) -> Option<Box<dyn Carried>> {
        self.is(Self::PickUp);
        Some(Box::new(*self))
    }
}

impl Carried for Wrong {
    fn begin(&mut self, _: &Errand<'_>) {
        self.is(Self::Begin);
    }

    fn around(&self, poll: &mut dyn FnMut()) {
        self.is(Self::Before);
        match self {
            Self::Never => {}
            Self::Twice => (poll(), poll()).0,
            Self::Swallows => drop(catch_unwind(AssertUnwindSafe(poll))),
            _ => poll(),
        }
        self.is(Self::After);
    }

    fn end(self: Box<Self>, _: &Errand<'_>, _: &'static str) {
        self.is(Self::End);
    }
}

#[test]
fn whatever_a_carrier_does_the_task_runs_once_and_its_panic_is_its_own() {
    use Wrong::*;
    for wrong in [PickUp, Begin, Before, After, Never, Twice, Swallows, End] {
        let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(4).carry(wrong));
        let polls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polls);
        let handle = pool.try_submit(async move {
            count.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
            count.fetch_add(1, Ordering::Relaxed)
        });
        let bad = pool.try_submit(async { resume_unwind(Box::new("mine")) as () }).unwrap();
        settle(&mut workers);
        assert_eq!(Polled::new(handle.unwrap()).poll().unwrap().unwrap(), 1);
        assert!(Polled::new(bad).poll().unwrap().unwrap_err().is_panic());
        assert_eq!((polls.load(Ordering::Relaxed), balanced(pool.stats()).panicked), (2, 1));
    }
}

#[test]
fn a_task_that_is_cancelled_before_it_is_polled_has_not_begun() {
    let settings: [fn(PoolBuilder) -> PoolBuilder; 4] =
        [|builder| builder, PoolBuilder::managed, |builder| builder.history(4), |builder| builder.tied(true)];
    for set in settings {
        let notes = Notes::default();
        let builder = set(WorkerPool::builder().workers(1).queue(4).name("mill")).carry(notes.clone());
        let (pool, mut workers) = driven(builder);
        let context = Context::background().child();
        let handle = context.scope_sync(|| pool.try_submit(ready(()))).unwrap();
        handle.cancel();
        let tied = context.scope_sync(|| pool.try_submit(ready(()))).unwrap();
        context.cancel("enough");
        settle(&mut workers);
        let end = Polled::new(tied).poll().unwrap();
        let lines = notes.take();
        assert_eq!(lines[0], "cancelled pool.task mill 0 0");
        if end.is_err() {
            assert_eq!(lines[1..], ["cancelled pool.task mill 1 0"]);
        } else {
            assert_eq!(lines[1..], ["begin pool.task mill 1 1", "completed pool.task mill 1 1"]);
        }
    }
}

#[test]
fn a_task_that_is_handed_back_and_cancelled_before_it_is_polled_has_not_begun() {
    let notes = Notes::default();
    let builder = WorkerPool::builder().workers(1).queue(4).name("mill").carry(notes.clone());
    let (pool, _workers) = driven(builder);
    let handle = pool.try_submit(ready(())).unwrap();
    let (_, mut left) = Polled::new(pool.shutdown(Duration::ZERO).hand_back()).poll().unwrap();
    assert!(handle.cancel());
    assert!(Polled::new(left.pop().unwrap()).poll().is_some());
    assert_eq!(notes.take(), ["cancelled pool.task mill 0 0"]);
    assert!(Polled::new(handle).poll().unwrap().unwrap_err().is_cancelled());
}

#[test]
fn what_one_carrier_does_wrong_takes_nothing_from_the_other() {
    use Wrong::*;
    for wrong in [PickUp, Begin, Before, After, Never, Twice, Swallows, End] {
        for is_first in [true, false] {
            let (seen, notes) = (Seen::default(), Notes::default());
            let builder = WorkerPool::builder().workers(1).queue(4);
            let builder = if is_first { builder.carry(wrong) } else { builder };
            let builder = builder.carry(carrier()).carry(notes.clone());
            let builder = if is_first { builder } else { builder.carry(wrong) };
            let (pool, mut workers) = driven(builder);
            at(1, || pool.try_execute(seen.task()).unwrap());
            settle(&mut workers);
            assert_eq!((seen.take(), notes.take().len()), (vec![1; 3], 2));
            assert_eq!(HERE.get(), 0);
        }
    }
}

#[test]
fn a_refused_task_comes_back_whatever_the_drop_of_what_was_picked_up_does() {
    struct Bad;
    impl Carried for Bad {
        fn around(&self, poll: &mut dyn FnMut()) {
            poll();
        }
        fn end(self: Box<Self>, _: &Errand<'_>, _: &'static str) {
            std::mem::forget(self);
        }
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            resume_unwind(Box::new("bad"));
        }
    }
    let (pool, mut workers) = driven(WorkerPool::builder().workers(1).queue(1).carry(|| Bad));
    pool.try_execute(ready(())).unwrap();
    let refused = pool.try_submit(ready(7)).unwrap_err();
    assert!(refused.is_full());
    assert_eq!(Polled::new(refused.into_inner()).poll(), Some(7));
    settle(&mut workers);
    assert_eq!(balanced(pool.stats()).completed, 1);
}
