//! Items in bulk under a stack.

use crate::support::{allocations, kept_bytes, panic_message};
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::resilience::*;
use cofferdam::sync::{Context, channel};
use cofferdam::testkit::{DropPoint, ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::{Backoff, Clock};
use futures_executor::block_on;
use futures_util::stream::{self, FusedStream};
use futures_util::{FutureExt, Stream, StreamExt};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// How many are inside, and the most there were.
#[derive(Default)]
struct Inside {
    now: Cell<usize>,
    most: Cell<usize>,
    entered: Cell<usize>,
}

impl Inside {
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        struct Leave<'a>(&'a Inside);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.now.set(self.0.now.get() - 1);
            }
        }
        self.now.set(self.now.get() + 1);
        self.entered.set(self.entered.get() + 1);
        self.most.set(self.most.get().max(self.now.get()));
        let _leave = Leave(self);
        work.await
    }
}

/// Futures that are ready when told so, by number.
#[derive(Default)]
struct Doors(RefCell<Vec<Door>>);

#[derive(Clone, Default)]
struct Door {
    open: bool,
    waker: Option<Waker>,
    polls: usize,
}

impl Doors {
    fn new(count: usize) -> Self {
        Self(RefCell::new(vec![Door::default(); count]))
    }

    async fn through(&self, number: usize) -> Result<usize, String> {
        poll_fn(|cx| {
            let mut doors = self.0.borrow_mut();
            let door = &mut doors[number];
            door.polls += 1;
            door.waker = Some(cx.waker().clone());
            if door.open { Poll::Ready(Ok(number)) } else { Poll::Pending }
        })
        .await
    }

    fn open(&self, number: usize) {
        let waker = {
            let mut doors = self.0.borrow_mut();
            doors[number].open = true;
            doors[number].waker.take()
        };
        waker.map(Waker::wake).unwrap_or_default();
    }

    fn wake(&self, number: usize) {
        let waker = self.0.borrow()[number].waker.clone();
        waker.map(Waker::wake).unwrap_or_default();
    }

    fn polls(&self) -> usize {
        self.0.borrow().iter().map(|door| door.polls).sum()
    }
}

fn poll_one<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    stream.poll_next_unpin(&mut task::Context::from_waker(Waker::noop()))
}

/// An iterator that counts what is drawn from it.
fn counted<I: Iterator>(items: I, drawn: &Cell<usize>) -> impl Iterator<Item = I::Item> {
    items.inspect(|_| drawn.set(drawn.get() + 1))
}

// --- outcomes and their order ---

#[test]
fn outcomes_come_in_the_order_of_the_input_however_long_each_item_takes() {
    Sim::for_seeds(0..20, |sim| {
        let clock = sim.clock();
        let stack = Stack::new();
        let work = |number: u64| {
            let clock = &clock;
            async move {
                clock.sleep(millis((number * 7919) % 23)).await;
                if number % 5 == 3 { Err(number) } else { Ok(number * 2) }
            }
        };
        let expected: Vec<_> =
            (0..50)
                .map(|number| {
                    if number % 5 == 3 {
                        Err(ItemError::Failed(Error::Inner(number)))
                    } else {
                        Ok(number * 2)
                    }
                })
                .collect();
        let collected = sim.run(stack.map(0..50, work).concurrency(7).collect());
        assert_eq!(collected, expected);
        let streamed: Vec<_> = sim.run(stack.map(0..50, work).concurrency(7).ordered().collect());
        assert_eq!(streamed, expected);
        let mut by_completion: Vec<_> = sim.run(stack.map(0..50, work).concurrency(7).unordered().collect());
        assert!(!by_completion.is_sorted_by_key(|(index, _)| *index));
        by_completion.sort_by_key(|(index, _)| *index);
        let (places, outcomes): (Vec<_>, Vec<_>) = by_completion.into_iter().unzip();
        assert_eq!((places, outcomes), ((0..50).collect(), expected));
    });
}

#[test]
fn by_completion_whoever_is_done_first_comes_first() {
    let doors = Doors::new(3);
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map(0..3, |number| doors.through(number)).unordered());
    assert!(poll_one(&mut outcomes).is_pending());
    doors.open(2);
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(Some((2, Ok(2)))));
    doors.open(1);
    doors.open(0);
    assert!(matches!(poll_one(&mut outcomes), Poll::Ready(Some((_, Ok(_))))));
    assert!(matches!(poll_one(&mut outcomes), Poll::Ready(Some((_, Ok(_))))));
    assert!(!outcomes.is_terminated());
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(None));
    assert!(outcomes.is_terminated());
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(None));
}

#[test]
fn nothing_in_gives_nothing_out() {
    let stack = Stack::new();
    let none = || stack.map(Vec::<u8>::new(), |_| ready(Ok::<u8, ()>(1)));
    assert_eq!(block_on(none().collect()), []);
    assert_eq!(block_on(none().ordered().collect::<Vec<_>>()), []);
    assert_eq!(block_on(none().unordered().collect::<Vec<_>>()), []);
}

#[test]
fn a_stream_says_how_much_is_to_come() {
    let doors = Doors::new(5);
    let stack = Stack::new();
    let mut outcomes =
        pin!(stack.map(0..5, |number| doors.through(number)).concurrency(2).ahead(0).ordered());
    assert_eq!(outcomes.size_hint(), (0, Some(5)));
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!((outcomes.size_hint(), outcomes.running()), ((2, Some(5)), 2));
    (0..5).for_each(|number| doors.open(number));
    assert_eq!(outcomes.by_ref().take(4).count().now_or_never(), Some(4));
    assert_eq!(outcomes.size_hint(), (1, Some(1)));
    assert_eq!(outcomes.by_ref().count().now_or_never(), Some(1));
    assert_eq!(outcomes.size_hint(), (0, Some(0)));
}

// --- only what may run ---

#[test]
fn no_more_than_the_width_run_and_no_more_are_drawn_than_may_run() {
    for (width, really) in [(0, 1), (1, 1), (3, 3), (10, 10), (usize::MAX, 40)] {
        Sim::for_seeds(0..5, |sim| {
            let (clock, inside, drawn) = (sim.clock(), Inside::default(), Cell::new(0));
            let stack = Stack::new();
            let work = |number: u64| {
                let (clock, inside, drawn) = (&clock, &inside, &drawn);
                async move {
                    let sleep = async {
                        assert!(drawn.get() <= inside.entered.get(), "drawn before it could run");
                        clock.sleep(millis(1 + number % 4)).await;
                    };
                    inside.during(sleep).await;
                    Ok::<_, ()>(number)
                }
            };
            let batch = stack.map(counted(0..40, &drawn), work).concurrency(width);
            assert_eq!(sim.run(batch.collect()).len(), 40);
            assert_eq!((inside.most.get(), inside.now.get()), (really, 0));
        });
    }
}

#[test]
fn ten_run_at_once_unless_told_otherwise() {
    let doors = Doors::new(100);
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map(0..100, |number| doors.through(number)).ordered());
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!((outcomes.running(), doors.polls()), (10, 10));
}

#[test]
fn nothing_begins_before_the_first_poll() {
    let drawn = Cell::new(0);
    let stack = Stack::new();
    let items = counted(0..3, &drawn);
    let outcomes = stack.map(items, |_| ready(Ok::<u8, ()>(1))).ordered();
    drop(outcomes);
    assert_eq!(drawn.get(), 0);
}

#[test]
fn a_slow_head_lets_a_bounded_number_finish_behind_it() {
    for (ahead, in_hand) in [(None, 8), (Some(0), 4), (Some(1), 5), (Some(20), 24)] {
        let (doors, drawn) = (Doors::new(100), Cell::new(0));
        (1..100).for_each(|number| doors.open(number));
        let stack = Stack::new();
        let batch = stack.map(counted(0..100, &drawn), |number| doors.through(number)).concurrency(4);
        let batch = match ahead {
            None => batch,
            Some(ahead) => batch.ahead(ahead),
        };
        let mut outcomes = pin!(batch.ordered());
        for _ in 0..10 {
            assert!(poll_one(&mut outcomes).is_pending());
            assert_eq!((drawn.get(), outcomes.running()), (in_hand, 1), "{ahead:?}");
        }
        doors.open(0);
        let all: Vec<_> = outcomes.map(Result::unwrap).collect().now_or_never().unwrap();
        assert!(all.into_iter().eq(0..100));
    }
}

#[test]
fn a_wake_up_polls_the_item_that_was_woken_and_no_other() {
    let doors = Doors::new(1000);
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map(0..1000, |number| doors.through(number)).concurrency(1000).unordered());
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!(doors.polls(), 1000);
    doors.wake(7);
    doors.wake(7);
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!(doors.polls(), 1001);
    for number in (0..1000).rev() {
        doors.open(number);
        assert_eq!(poll_one(&mut outcomes), Poll::Ready(Some((number, Ok(number)))));
    }
    assert_eq!(doors.polls(), 2001);
}

#[test]
fn all_that_were_woken_get_on_in_one_poll() {
    let doors = Doors::new(5);
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map(0..5, |number| doors.through(number)).ordered());
    assert!(poll_one(&mut outcomes).is_pending());
    (1..5).for_each(|number| doors.open(number));
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!(outcomes.running(), 1);
}

#[test]
fn one_that_wakes_itself_for_ever_does_not_keep_the_poll_from_ending() {
    let restless = |number: u32| async move {
        if number == 0 {
            loop {
                yield_now().await;
            }
        }
        yield_now().await;
        Ok::<_, ()>(number)
    };
    let stack = Stack::new();
    let outcomes = stack.map(0..20, restless).concurrency(2).unordered();
    let firsts: Vec<_> = block_on(outcomes.take(19).map(|(index, _)| index).collect());
    assert!(firsts.into_iter().eq(1..20));
}

#[test]
fn the_task_is_woken_once_for_what_wakes_together() {
    let doors = Doors::new(10);
    let stack = Stack::new();
    let mut polled = Polled::new(stack.map(0..10, |number| doors.through(number)).collect());
    assert!(polled.poll().is_none());
    (0..10).for_each(|number| doors.open(number));
    assert_eq!(polled.wakes(), 1);
    assert_eq!(polled.poll().unwrap().len(), 10);
}

#[test]
fn a_wake_up_after_the_end_of_its_item_disturbs_nobody() {
    let doors = Doors::new(2);
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map(0..2, |number| doors.through(number)).concurrency(1).unordered());
    assert!(poll_one(&mut outcomes).is_pending());
    let stale = doors.0.borrow()[0].waker.clone().unwrap();
    doors.open(0);
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(Some((0, Ok(0)))));
    assert!(poll_one(&mut outcomes).is_pending());
    // It is the waker of the place, which item 1 has now.
    stale.wake_by_ref();
    assert!(poll_one(&mut outcomes).is_pending());
    doors.open(1);
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(Some((1, Ok(1)))));
    stale.wake_by_ref();
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(None));
    stale.wake();
}

#[test]
fn a_waker_that_is_kept_does_not_keep_the_task() {
    let held = Arc::new(());
    let kept: RefCell<Option<Waker>> = RefCell::default();
    struct Task(#[allow(dead_code)] Arc<()>);
    impl task::Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let task = Waker::from(Arc::new(Task(Arc::clone(&held))));
    {
        let stack = Stack::new();
        let keep = |_| {
            poll_fn(|cx| {
                *kept.borrow_mut() = Some(cx.waker().clone());
                Poll::<Result<(), ()>>::Pending
            })
        };
        let mut outcomes = Box::pin(stack.map(0..1, keep).collect());
        assert!(outcomes.as_mut().poll(&mut task::Context::from_waker(&task)).is_pending());
        drop(task);
        assert_eq!(Arc::strong_count(&held), 2);
    }
    assert!(kept.borrow().is_some());
    assert_eq!(Arc::strong_count(&held), 1);
    kept.take().unwrap().wake();
}

// --- memory ---

const MILLION: u32 = 1_000_000;

/// Runs through a stream, and says how many allocations that made, and the bytes kept at the most.
fn run_through<S: Stream>(stream: S) -> (u64, i64) {
    let mut stream = pin!(stream);
    let (mut seen, mut most) = (0, 0);
    let made = allocations(|| {
        let ((), end) = kept_bytes(|| {
            loop {
                let (next, kept) = kept_bytes(|| block_on(stream.next()));
                most = most.max(kept);
                match next {
                    Some(_) => seen += 1,
                    None => break,
                }
            }
        });
        most = most.max(end);
    });
    assert_eq!(seen, MILLION);
    (made, most)
}

#[test]
fn a_million_items_take_as_much_memory_as_a_few() {
    let stack = Stack::new()
        .retry(Retry::builder().max_attempts(2).backoff(Backoff::ZERO).build().unwrap())
        .breaker(CircuitBreaker::new())
        .bulkhead(Bulkhead::new(100).unwrap())
        .timeout(Timeout::attempt(Duration::MAX));
    // Not ready at once, ready at once, and failing at first.
    let work = |number: u32| {
        let mut yields = number % 3;
        poll_fn(move |cx| {
            if yields == 0 {
                return Poll::Ready(if number == MILLION / 2 { Err(number) } else { Ok(number) });
            }
            yields -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    };
    // Warm: what is allocated once for the thread.
    assert_eq!(block_on(stack.map(0..10, work).collect()).len(), 10);
    for made in [
        run_through(stack.map(0..MILLION, work).concurrency(16).ordered()),
        run_through(stack.map(0..MILLION, work).concurrency(16).unordered()),
        run_through(stack.map_stream(stream::iter(0..MILLION), work).concurrency(16).unordered()),
        run_through(stack.map(0..MILLION, work).concurrency(16).fail_fast().unordered()),
    ] {
        // A place is a box and a waker: for sixteen of them, and the queues as they grow.
        assert!(made.0 <= 16 * 2 + 24, "{} allocations", made.0);
        assert!(made.1 < 20_000, "{} bytes kept", made.1);
    }
}

#[test]
fn collecting_takes_no_more_than_the_outcomes_and_the_places() {
    let stack = Stack::new();
    let (outcomes, kept) =
        kept_bytes(|| block_on(stack.map(0..100_000, |number| ready(Ok::<u32, ()>(number))).collect()));
    let outcome = std::mem::size_of::<Result<u32, ItemError<u32, ()>>>();
    assert_eq!(outcomes.len(), 100_000);
    assert!(kept <= (1 << 17) * (outcome + 8) as i64, "{kept}");
}

// --- policies at the moment of each attempt ---

// CW4
#[test]
fn the_breaker_is_asked_at_the_moment_of_each_attempt() {
    let breaker = CircuitBreaker::builder().failure_threshold(3).build().unwrap();
    let stack = Stack::new().breaker(breaker.clone());
    let calls = Cell::new(0);
    let failing = |_: u32| {
        calls.set(calls.get() + 1);
        async {
            yield_now().await;
            Err::<(), _>("no")
        }
    };
    let outcomes = block_on(stack.map(0..20, failing).concurrency(2).collect());
    // Three failures open it; of those that began before, one more is under way.
    assert!((3..=4).contains(&calls.get()), "{}", calls.get());
    let refused = outcomes.iter().filter(|outcome| {
        outcome.as_ref().is_err_and(|error| error.error().is_some_and(Error::is_circuit_open))
    });
    assert_eq!(refused.count(), 20 - calls.get());
    assert_eq!(breaker.stats().rejected, 20 - calls.get() as u64);
}

// CW4
#[test]
fn the_limiter_is_charged_at_the_moment_of_each_attempt() {
    let clock = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(1).burst(100)).clock(clock.clock()).build().unwrap();
    let stack = Stack::new()
        .retry(Retry::builder().max_attempts(2).backoff(Backoff::ZERO).build().unwrap())
        .throttle(Throttle::new(bucket.clone()));
    let doors = Doors::new(10);
    let tried = RefCell::new(vec![0; 10]);
    let work = |number: usize| {
        tried.borrow_mut()[number] += 1;
        let first = tried.borrow()[number] == 1;
        let doors = &doors;
        async move {
            doors.through(number).await?;
            if first { Err("again".to_owned()) } else { Ok(number) }
        }
    };
    let mut outcomes = pin!(stack.map(0..10, work).concurrency(3).ordered());
    assert!(poll_one(&mut outcomes).is_pending());
    assert_eq!(bucket.available(), 97, "those that wait for a place have not paid");
    doors.open(0);
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(Some(Ok(0))));
    // The second attempt of item 0, and the first of item 3.
    assert_eq!(bucket.available(), 95);
}

#[test]
fn each_attempt_gets_a_clone_of_its_item() {
    #[derive(Debug)]
    struct Item(u32, Rc<Cell<u32>>);
    impl Clone for Item {
        fn clone(&self) -> Self {
            self.1.set(self.1.get() + 1);
            Self(self.0, Rc::clone(&self.1))
        }
    }
    let clones = Rc::new(Cell::new(0));
    let stack = Stack::new().retry(Retry::builder().max_attempts(3).backoff(Backoff::ZERO).build().unwrap());
    let items = (0..5).map(|number| Item(number, Rc::clone(&clones)));
    let outcomes = block_on(stack.map(items, |item| async move { Err::<(), _>(item.0) }).collect());
    assert_eq!(clones.get(), 15);
    for (number, outcome) in (0..5).zip(outcomes) {
        let error = outcome.unwrap_err().into_error().unwrap();
        assert_eq!(error.exhausted().unwrap().attempts(), 3);
        assert_eq!(error.into_inner(), Some(number));
    }
}

#[test]
fn an_attempt_that_is_ended_is_not_taken_up_again() {
    let (time, begun) = (ManualClock::new(), Cell::new(0));
    let retry = Retry::builder().max_attempts(2).backoff(Backoff::ZERO).clock(time.clock()).build().unwrap();
    let stack = Stack::new().retry(retry).timeout(Timeout::attempt(millis(10)).clock(time.clock()));
    let hangs_at_first = |number: u32| {
        begun.set(begun.get() + 1);
        let hangs = begun.get() == 1;
        async move { if hangs { pending().await } else { Ok::<_, ()>(number) } }
    };
    let mut outcomes = Polled::new(stack.map([7], hangs_at_first).collect());
    assert!(outcomes.poll().is_none());
    time.advance(millis(10));
    assert_eq!(outcomes.poll(), Some(vec![Ok(7)]));
    assert_eq!(begun.get(), 2);
}

#[test]
fn what_cannot_be_cloned_is_handed_over_once() {
    struct Unclonable(u32);
    let stack = Stack::new().bulkhead(Bulkhead::new(20).unwrap()).timeout(Timeout::total(Duration::MAX));
    let items = (0..20).map(Unclonable);
    let outcomes = block_on(stack.map(items, |item| ready(Ok::<u32, ()>(item.0))).once().collect());
    assert!(outcomes.into_iter().map(|outcome| outcome.unwrap_or(99)).eq(0..20));
    // Also where it is given back.
    let items = (0..20).map(Unclonable);
    let batch = stack.map(items, |item| ready(Ok::<u32, ()>(item.0))).once().time_limit(Duration::ZERO);
    let items = block_on(batch.collect()).into_iter().map(|outcome| outcome.err()?.into_item());
    assert!(items.map(|item| item.unwrap().0).eq(0..20));
}

// --- the end of a batch ---

/// Which items of an ended batch came to what: done, failed, interrupted, not run.
fn tally<T, I, E>(outcomes: &[Result<T, ItemError<I, E>>]) -> [usize; 4] {
    let mut tally = [0; 4];
    for outcome in outcomes {
        let kind = match outcome {
            Ok(_) => 0,
            Err(error) if error.is_failed() => 1,
            Err(error) if error.is_interrupted() => 2,
            Err(error) => {
                assert!(error.is_not_run());
                3
            }
        };
        tally[kind] += 1;
    }
    tally
}

#[test]
fn at_the_time_limit_what_is_done_is_kept_and_the_rest_is_reported() {
    Sim::for_seeds(0..10, |sim| {
        let (clock, inside) = (sim.clock(), Inside::default());
        let stack = Stack::new();
        // Four at a time, ten milliseconds each.
        let work = |number: u32| {
            inside.during(async { clock.sleep(10 * MILLI).await }.map(move |()| Ok::<_, String>(number)))
        };
        let start = clock.now();
        let batch = stack.map(0..40, work).concurrency(4).time_limit(35 * MILLI).clock(clock.clone());
        let outcomes = sim.run(batch.collect());
        assert_eq!(clock.now() - start, 35 * MILLI);
        assert_eq!(tally(&outcomes), [12, 0, 4, 24]);
        assert_eq!((inside.now.get(), inside.entered.get()), (0, 16));
        assert_eq!(sim.time().armed(), 0);
        for (index, outcome) in (0..).zip(&outcomes) {
            match outcome {
                Ok(number) => assert_eq!(*number, index),
                Err(error) => {
                    assert!(
                        matches!(error.ended(), Some(Ended::TimeLimit { limit, .. }) if limit == 35 * MILLI)
                    );
                    assert_eq!(error.clone().into_item(), error.is_not_run().then_some(index));
                }
            }
        }
        let error = outcomes[12].as_ref().unwrap_err();
        assert_eq!(error.to_string(), "interrupted: batch not finished within its limit of 35ms");
    });
}

#[test]
fn an_item_that_is_ready_at_the_very_limit_is_in_time() {
    let sim = Sim::new(1);
    let clock = sim.clock();
    let stack = Stack::new();
    let work = |number: u32| clock.sleep(10 * MILLI).map(move |()| Ok::<_, ()>(number));
    let batch = stack.map(0..3, work).time_limit(10 * MILLI).clock(clock.clone());
    assert_eq!(tally(&sim.run(batch.collect())), [3, 0, 0, 0]);
}

#[test]
fn the_time_limit_is_seen_where_nothing_has_to_be_waited_for() {
    let time = ManualClock::new();
    let stack = Stack::new();
    let work = |number: u32| {
        time.advance(MILLI);
        ready(Ok::<_, ()>(number))
    };
    let batch = stack.map(0..10_000, work).concurrency(2).time_limit(100 * MILLI).clock(time.clock());
    let outcomes = block_on(batch.collect());
    let [done, failed, interrupted, not_run] = tally(&outcomes);
    assert_eq!((failed, interrupted, done + not_run), (0, 0, 10_000));
    assert!((100..100 + 32 + 4).contains(&done), "{done}");
}

#[test]
fn with_no_time_at_all_nothing_is_run() {
    let stack = Stack::new();
    let work = |_: u32| -> std::future::Ready<Result<(), ()>> { unreachable!("it was run") };
    let outcomes = block_on(stack.map(0..5, work).time_limit(Duration::ZERO).collect());
    assert_eq!(tally(&outcomes), [0, 0, 0, 5]);
}

// FF2
#[test]
fn the_first_failure_ends_a_batch_that_fails_fast_and_what_is_finished_is_kept() {
    let doors = Doors::new(10);
    let stack = Stack::new();
    let work = |number: usize| {
        let doors = &doors;
        async move {
            let number = doors.through(number).await?;
            if number == 2 { Err("two".to_owned()) } else { Ok(number) }
        }
    };
    let mut polled = Polled::new(stack.map(0..10, work).concurrency(4).fail_fast().collect());
    assert!(polled.poll().is_none());
    doors.open(0);
    doors.open(3);
    assert!(polled.poll().is_none());
    doors.open(2);
    let outcomes = polled.poll().unwrap();
    assert_eq!(tally(&outcomes), [2, 1, 3, 4]);
    assert_eq!((&outcomes[0], &outcomes[3]), (&Ok(0), &Ok(3)));
    assert_eq!(outcomes[2], Err(ItemError::Failed(Error::Inner("two".to_owned()))));
    assert!(outcomes[1].as_ref().is_err_and(ItemError::is_interrupted));
    let not_run = outcomes[9].clone().unwrap_err();
    assert!(matches!(not_run.ended(), Some(Ended::Failed { index: 2, .. })));
    assert_eq!((not_run.to_string(), not_run.into_item()), ("not run: item 2 failed".into(), Some(9)));
}

#[test]
fn those_who_are_interrupted_are_dropped_before_it_is_told() {
    struct Last<'a>(&'a Cell<u32>);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let (stack, dropped) = (Stack::new(), Cell::new(0));
    let fails_third = |number: u32| {
        let last = Last(&dropped);
        async move {
            let _last = last;
            if number == 2 { Err::<(), _>("down") } else { pending().await }
        }
    };
    let mut outcomes = stack.map(0..3, fails_third).fail_fast().unordered();
    assert!(matches!(poll_one(&mut outcomes), Poll::Ready(Some((2, Err(ItemError::Failed(_)))))));
    assert_eq!((dropped.get(), outcomes.running()), (3, 0));
}

#[test]
fn all_failures_are_collected_unless_told_otherwise() {
    let stack = Stack::new();
    let outcomes = block_on(stack.map(0..30, |number| ready(Err::<(), _>(number))).collect());
    let errors: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_err().into_error().unwrap().into_inner().unwrap())
        .collect();
    assert!(errors.into_iter().eq(0..30));
}

#[test]
fn in_order_a_batch_that_fails_fast_reports_on_each_item_in_its_place() {
    let doors = Doors::new(6);
    let stack = Stack::new();
    let work = |number: usize| {
        let doors = &doors;
        async move { doors.through(number).await.map_err(|_| 99).and(Err::<(), _>(number)) }
    };
    let mut outcomes = pin!(stack.map(0..6, work).concurrency(3).fail_fast().ordered());
    assert!(poll_one(&mut outcomes).is_pending());
    doors.open(1);
    let outcomes: Vec<_> = outcomes.collect().now_or_never().unwrap();
    let kinds: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap_err()).collect();
    assert!(kinds[0].is_interrupted() && kinds[1].is_failed() && kinds[2].is_interrupted());
    assert!(kinds[3..].iter().all(ItemError::is_not_run) && kinds.len() == 6);
}

// FF2
#[test]
fn a_cancelled_context_ends_the_batch_and_what_is_finished_is_kept() {
    let doors = Doors::new(10);
    let stack = Stack::new();
    let context = Context::background().child();
    let batch = stack.map(0..10, |number| doors.through(number)).concurrency(4).collect();
    let mut polled = Polled::new(context.scope(batch));
    assert!(polled.poll().is_none());
    doors.open(1);
    assert!(polled.poll().is_none());
    let wakes = polled.wakes();
    context.cancel("enough");
    assert_eq!(polled.wakes(), wakes + 1, "the cancellation wakes the batch");
    let outcomes = polled.poll().unwrap();
    assert_eq!((tally(&outcomes), &outcomes[1]), ([1, 0, 4, 5], &Ok(1)));
    let error = outcomes[0].as_ref().unwrap_err();
    assert_eq!(error.ended(), Some(Ended::Cancelled));
    assert_eq!(error.to_string(), "interrupted: cancelled");
}

#[test]
fn the_deadline_of_the_surrounding_work_ends_the_batch() {
    let sim = Sim::new(3);
    let clock = sim.clock();
    let stack = Stack::new();
    let work = |number: u32| clock.sleep(10 * MILLI).map(move |()| Ok::<_, ()>(number));
    let context = Context::background().with_clock(clock.clone()).with_timeout(25 * MILLI);
    let batch = || stack.map(0..10, work).concurrency(2).clock(clock.clone());
    let start = clock.now();
    let outcomes = sim.run(context.scope(batch().time_limit(60 * MILLI).collect()));
    assert_eq!((clock.now() - start, tally(&outcomes)), (25 * MILLI, [4, 0, 2, 4]));
    assert_eq!(outcomes[9].as_ref().unwrap_err().ended(), Some(Ended::DeadlineExceeded));
    // Its own limit, where that is nearer.
    let context = Context::background().with_clock(clock.clone()).with_timeout(25 * MILLI);
    let outcomes = sim.run(context.scope(batch().time_limit(15 * MILLI).collect()));
    assert_eq!(tally(&outcomes), [2, 0, 2, 6]);
    assert!(matches!(outcomes[9].as_ref().unwrap_err().ended(), Some(Ended::TimeLimit { .. })));
}

#[test]
fn in_a_context_that_has_ended_nothing_is_run() {
    let stack = Stack::new();
    let work = |_: u32| -> std::future::Ready<Result<(), ()>> { unreachable!("it was run") };
    let cancelled = Context::background().child();
    cancelled.cancel("gone");
    let expired = Context::background().with_timeout(Duration::ZERO);
    for (context, ended) in [(cancelled, Ended::Cancelled), (expired, Ended::DeadlineExceeded)] {
        let outcomes = block_on(context.scope(stack.map(0..5, work).collect()));
        assert_eq!(tally(&outcomes), [0, 0, 0, 5]);
        assert_eq!(outcomes[0].as_ref().unwrap_err().ended(), Some(ended));
    }
}

#[test]
fn a_cancellation_is_seen_where_nothing_has_to_be_waited_for() {
    let stack = Stack::new();
    let context = Context::background().child();
    let work = |number: u32| {
        if number == 50 {
            context.cancel("at fifty");
        }
        ready(Ok::<_, ()>(number))
    };
    let outcomes = block_on(context.scope(stack.map(0..100, work).collect()));
    assert_eq!(tally(&outcomes), [51, 0, 0, 49]);
}

#[test]
fn a_source_that_makes_us_wait_is_left_at_the_end_of_the_batch() {
    let sim = Sim::new(5);
    let clock = sim.clock();
    let (sender, mut receiver) = channel(8).unwrap();
    (0..5).for_each(|number| sender.try_send(number).unwrap());
    let stack = Stack::new();
    let outcomes = {
        let work = |_: u32| pending::<Result<(), ()>>();
        let batch = stack.map_stream(&mut receiver, work).concurrency(2);
        sim.run(batch.time_limit(MILLI).clock(clock.clone()).collect())
    };
    assert_eq!(tally(&outcomes), [0, 0, 2, 3]);
    // What comes later was not drawn, and is there for whoever has the source.
    sender.try_send(5).unwrap();
    assert_eq!(receiver.try_recv().ok(), Some(5));
}

#[test]
fn the_rest_of_an_input_can_be_kept() {
    let mut input = 0..;
    let stack = Stack::new();
    let work = |number: u32| ready(if number == 6 { Err(number) } else { Ok(number) });
    let done = {
        let outcomes = stack.map(&mut input, work).concurrency(1).fail_fast().ordered();
        let done = outcomes.take_while(|outcome| ready(!outcome.as_ref().is_err_and(ItemError::is_not_run)));
        block_on(done.collect::<Vec<_>>())
    };
    assert_eq!(tally(&done), [6, 1, 0, 0]);
    // The one that ended it was drawn.
    assert_eq!(input.next(), Some(8));
}

// --- streams as input ---

#[test]
fn a_stream_is_asked_only_when_there_is_a_place() {
    let sim = Sim::new(9);
    let clock = sim.clock();
    let (sender, receiver) = channel::<u64>(4).unwrap();
    let producer = sim.spawn("producer", {
        let clock = clock.clone();
        async move {
            for number in 0..100 {
                clock.sleep(millis(number % 3)).await;
                sender.send(number).await.unwrap();
            }
        }
    });
    let inside = Inside::default();
    let stack = Stack::new();
    let work = |number: u64| {
        let (clock, inside) = (&clock, &inside);
        async move {
            inside.during(clock.sleep(millis(number % 7))).await;
            Ok::<_, ()>(number)
        }
    };
    let outcomes = stack.map_stream(receiver, work).concurrency(3).ordered().map(Result::unwrap);
    let numbers: Vec<_> = sim.run(outcomes.collect());
    assert!(numbers.into_iter().eq(0..100));
    assert_eq!(inside.most.get(), 3);
    sim.run(producer);
}

#[test]
fn a_source_that_has_ended_is_not_asked_again() {
    let mut ended = false;
    let once_only = stream::poll_fn(move |_| {
        assert!(!std::mem::replace(&mut ended, true), "asked after its end");
        Poll::<Option<u8>>::Ready(None)
    });
    let stack = Stack::new();
    let mut outcomes = pin!(stack.map_stream(once_only, |_| ready(Ok::<(), ()>(()))).ordered());
    for _ in 0..3 {
        assert_eq!(poll_one(&mut outcomes), Poll::Ready(None));
    }
}

// --- panics, fairness to others ---

#[test]
fn a_panic_goes_through_and_what_holds_permits_gives_them_back() {
    let bulkhead = Bulkhead::new(10).unwrap();
    let stack = Stack::new().bulkhead(bulkhead.clone());
    let work = |number: u32| async move {
        yield_now().await;
        assert_ne!(number, 3, "the third");
        pending::<Result<(), ()>>().await
    };
    let mut outcomes = Box::pin(stack.map(0..10, work).unordered());
    assert!(poll_one(&mut outcomes).is_pending());
    let message = panic_message(|| while poll_one(&mut outcomes).is_pending() {});
    assert!(message.contains("the third"), "{message}");
    assert_eq!(poll_one(&mut outcomes), Poll::Ready(None));
    assert!(outcomes.is_terminated());
    drop(outcomes);
    assert_eq!(bulkhead.stats().running, 0);
}

#[test]
fn collecting_gives_way_to_others() {
    let stack = Stack::new();
    let mut polled = Polled::new(stack.map(0..1000, |number| ready(Ok::<u32, ()>(number))).collect());
    let mut polls = 1;
    while polled.poll().is_none() {
        assert_eq!(polled.wakes(), polls, "it has woken itself");
        polls += 1;
    }
    assert_eq!(polls, 4);
}

#[test]
fn wake_ups_of_other_threads_are_not_lost() {
    let (sender, jobs) = std::sync::mpsc::channel::<(u32, cofferdam::sync::oneshot::Sender<u32>)>();
    let jobs = Arc::new(std::sync::Mutex::new(jobs));
    let helpers: Vec<_> = (0..3)
        .map(|_| {
            let jobs = Arc::clone(&jobs);
            std::thread::spawn(move || {
                loop {
                    let job = jobs.lock().unwrap().recv();
                    let Ok((number, reply)) = job else { break };
                    let _ = reply.send(number + 1);
                }
            })
        })
        .collect();
    let stack = Stack::new();
    let work = |number: u32| {
        let sender = &sender;
        async move {
            let (reply, answer) = cofferdam::sync::oneshot::channel();
            sender.send((number, reply)).unwrap();
            answer.await
        }
    };
    for width in [1, 2, 7, 100] {
        let outcomes = stack.map(0..5_000, work).concurrency(width).ordered().map(Result::unwrap);
        let answers: Vec<_> = block_on(outcomes.collect());
        assert!(answers.into_iter().eq(1..=5_000));
    }
    drop(sender);
    helpers.into_iter().for_each(|helper| helper.join().unwrap());
}

#[test]
fn a_batch_is_send_if_its_parts_are() {
    fn send<T: Send>(t: T) -> T {
        t
    }
    let stack = Arc::new(Stack::new().timeout(Timeout::attempt(Duration::MAX)));
    let task = send(async move {
        let names = vec![String::from("a"), String::from("bc")];
        let work = |name: &String| {
            let length = name.len();
            async move { Ok::<usize, ()>(length) }
        };
        let batch = stack.map(&names, work).collect();
        send(batch).await.into_iter().map(Result::unwrap).sum::<usize>()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    assert_eq!(runtime.block_on(async { tokio::spawn(task).await.unwrap() }), 3);
}

// --- dropped at every await ---

type Tested<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Make = fn(&Arc<Stack<DropStack>>, Clock) -> Tested<'static>;

#[test]
fn a_batch_that_is_dropped_leaves_nothing_behind() {
    let kinds: [Make; 3] = [
        |stack, clock| {
            let stack = Arc::clone(stack);
            Box::pin(async move {
                let work = |number| under_test(&clock, number);
                drop(stack.map(0..12, work).concurrency(4).collect().await);
            })
        },
        |stack, clock| {
            let stack = Arc::clone(stack);
            Box::pin(async move {
                let work = |number| under_test(&clock, number);
                let batch = stack.map(0..12, work).concurrency(4).time_limit(9 * MILLI).clock(clock.clone());
                let mut outcomes = pin!(batch.ordered());
                while outcomes.next().await.is_some() {}
            })
        },
        |stack, clock| {
            let stack = Arc::clone(stack);
            let context = Context::background().child();
            Box::pin(context.clone().scope(async move {
                let work = |number| under_test(&clock, number);
                let mut outcomes = pin!(stack.map(0..12, work).concurrency(4).unordered());
                while let Some((index, _)) = outcomes.next().await {
                    if index == 7 {
                        context.cancel("seen enough");
                    }
                }
            }))
        },
    ];
    for (kind, make) in kinds.into_iter().enumerate() {
        let points = drop_at_every_await_in_sim(0..20, |sim| {
            let clock = sim.clock();
            let bucket =
                TokenBucket::builder(Quota::per_second(1000).burst(5)).clock(clock.clone()).build().unwrap();
            let bulkhead = Bulkhead::builder(3).queue(10).clock(clock.clone()).build().unwrap();
            let stack = Arc::new(
                Stack::new()
                    .retry(
                        Retry::builder()
                            .max_attempts(2)
                            .clock(clock.clone())
                            .backoff(Backoff::fixed(MILLI))
                            .build()
                            .unwrap(),
                    )
                    .throttle(Throttle::builder(bucket.clone()).wait_limit(Duration::MAX).build().unwrap())
                    .bulkhead(bulkhead.clone())
                    .timeout(Timeout::attempt(3 * MILLI).clock(clock.clone())),
            );
            let other = sim.spawn("other", {
                let (bulkhead, clock) = (bulkhead.clone(), clock.clone());
                async move {
                    for _ in 0..5 {
                        bulkhead.call(|| clock.sleep(MILLI).map(Ok::<_, ()>)).await.unwrap();
                    }
                }
            });
            let future = make(&stack, clock);
            let check = move |sim: &Sim, point: DropPoint| {
                sim.run(other);
                let stats = bulkhead.stats();
                assert_eq!((stats.running, stats.waiting), (0, 0), "{point:?}");
                assert_eq!(bucket.stats().waiting, 0, "{point:?}");
                assert_eq!((sim.time().armed(), Arc::strong_count(&stack)), (0, 1), "{point:?}");
            };
            (future, check)
        });
        assert!(points > 20 * 10, "kind {kind}: only {points} points");
    }
}

type DropStack = Chain<Chain<Chain<Chain<(), Retry>, Throttle>, Bulkhead>, Timeout>;

async fn under_test(clock: &Clock, number: u64) -> Result<u64, &'static str> {
    clock.sleep(millis(number % 5)).await;
    if number % 3 == 0 { Err("third") } else { Ok(number) }
}

// --- against a plain reference ---

#[derive(Clone, Copy, Debug)]
enum Form {
    Collect,
    Ordered,
    Unordered,
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    /// Every item has exactly one outcome, and the right one; nothing runs after its batch has ended; the width holds.
    #[test]
    fn every_item_has_one_outcome_whatever_happens(
        seed in any::<u64>(),
        items in prop::collection::vec((0u64..6, prop::bool::weighted(0.1)), 0..40),
        width in 1usize..8,
        ahead in prop::option::of(0usize..5),
        limit in prop::option::of(0u64..30),
        cancel_at in prop::option::of(0u64..30),
        fail_fast in any::<bool>(),
        gap in prop::option::of(0u64..3),
        form in prop_oneof![Just(Form::Collect), Just(Form::Ordered), Just(Form::Unordered)],
    ) {
        let sim = Sim::new(seed);
        let clock = sim.clock();
        let inside = Inside::default();
        let stack = Stack::new();
        let work = |(index, sleep, fails): (usize, u64, bool)| {
            let (clock, inside) = (&clock, &inside);
            async move {
                inside.during(clock.sleep(millis(sleep))).await;
                if fails { Err(index) } else { Ok(index) }
            }
        };
        let numbered: Vec<_> = items.iter().enumerate().map(|(index, (sleep, fails))| (index, *sleep, *fails)).collect();
        let source = {
            let clock = clock.clone();
            stream::iter(numbered.clone()).then(move |item| {
                let clock = clock.clone();
                async move {
                    if let Some(gap) = gap {
                        clock.sleep(millis(gap)).await;
                    }
                    item
                }
            })
        };
        let mut batch = stack.map_stream(Box::pin(source), work).concurrency(width).clock(clock.clone());
        if let Some(ahead) = ahead {
            batch = batch.ahead(ahead);
        }
        if let Some(limit) = limit {
            batch = batch.time_limit(millis(limit));
        }
        if fail_fast {
            batch = batch.fail_fast();
        }
        let context = Context::background().child();
        if let Some(at) = cancel_at {
            let (context, clock) = (context.clone(), clock.clone());
            drop(sim.spawn("canceller", async move {
                clock.sleep(millis(at)).await;
                context.cancel("test");
            }));
        }
        let outcomes = sim.run(context.scope(async {
            match form {
                Form::Collect => batch.collect().await,
                Form::Ordered => batch.ordered().collect().await,
                Form::Unordered => {
                    let mut outcomes: Vec<_> = batch.unordered().collect().await;
                    outcomes.sort_by_key(|(index, _)| *index);
                    assert!(outcomes.iter().map(|(index, _)| *index).eq(0..outcomes.len()));
                    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
                }
            }
        }));
        prop_assert_eq!(inside.now.get(), 0);
        prop_assert!(inside.most.get() <= width);
        let [done, failed, interrupted, not_run] = tally(&outcomes);
        prop_assert_eq!(done + failed + interrupted + not_run, outcomes.len());
        prop_assert_eq!(inside.entered.get(), done + failed + interrupted);
        let ended = outcomes.iter().find_map(|outcome| outcome.as_ref().err()?.ended());
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(value) => prop_assert!(*value == index && !items[index].1),
                Err(ItemError::Failed(error)) => {
                    prop_assert!(error.inner() == Some(&index) && items[index].1);
                    if fail_fast {
                        let by_this = |ended| matches!(ended, Ended::Failed { index: at, .. } if at == index);
                        prop_assert!(failed == 1 && ended.is_none_or(by_this));
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.ended(), ended);
                    if let Some(item) = error.clone().into_item() {
                        prop_assert_eq!(item, numbered[index]);
                    }
                }
            }
        }
        // Not ended early: all of them. Ended: what the source had by then, and for a source that never waits, all.
        if (ended.is_none() && !(fail_fast && failed > 0)) || gap.is_none() {
            let early = limit.is_some() || cancel_at.is_some();
            prop_assert!(outcomes.len() == items.len() || (gap.is_some() && early));
        }
    }
}
