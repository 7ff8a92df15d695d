//! The context: what is current when, how it ends, what it carries.

use crate::support::allocations;
use cofferdam::sync::{CancelToken, Cause, Context, ContextError, Semaphore};
use cofferdam::testkit::{DropPoint, ManualClock, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::{Clock, Deadline, Sleep, Timer};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::any::TypeId;
use std::cell::RefCell;
use std::error::Error;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq)]
struct Id(u32);

#[derive(Debug, PartialEq)]
struct Language(&'static str);

fn current_id() -> u32 {
    Context::current().value::<Id>().map_or(0, |id| id.0)
}

/// Calls back with the current context when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A timer that counts what is asked of it.
struct Counting {
    inner: ManualClock,
    asked: Arc<AtomicUsize>,
    slept: Arc<AtomicUsize>,
}

impl Timer for Counting {
    fn now(&self) -> Instant {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.inner.now()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.slept.fetch_add(1, Ordering::SeqCst);
        self.inner.sleep_until(deadline)
    }
}

assert_impl_all!(Context: Send, Sync, Unpin, Clone, Default);
assert_impl_all!(ContextError: Send, Sync, Error);
assert_impl_all!(CancelToken: Send, Sync, Unpin);
assert_impl_all!(Cause: Send, Sync);
// Whatever has a place in a list of waiters must stay where it is.
assert_not_impl_any!(cofferdam::sync::UntilCancelled: Unpin);
assert_not_impl_any!(cofferdam::sync::GateWait<Arc<cofferdam::sync::Gate>>: Unpin);
assert_not_impl_any!(cofferdam::sync::RunInContext<std::future::Ready<u8>>: Unpin);
// Combinators leave auto traits to their future.
assert_impl_all!(cofferdam::sync::RunInContext<std::future::Ready<u8>>: Send);
assert_not_impl_any!(cofferdam::sync::RunInContext<std::future::Ready<Rc<u8>>>: Send);
assert_impl_all!(cofferdam::sync::Scope<std::future::Ready<u8>>: Send, Sync, Unpin);
assert_not_impl_any!(cofferdam::sync::Scope<std::future::Ready<Rc<u8>>>: Send);
assert_not_impl_any!(cofferdam::sync::RunUntilCancelled<std::future::Ready<Rc<u8>>>: Send);

#[test]
fn a_context_is_current_during_the_polls_of_its_future_and_at_no_other_time() {
    let context = Context::background().with_value(Id(7));
    let mut scoped = Polled::new(context.scope(async {
        let before = current_id();
        yield_now().await;
        (before, current_id())
    }));
    assert_eq!(current_id(), 0);
    assert!(scoped.poll().is_none());
    assert_eq!(current_id(), 0);
    assert_eq!(scoped.poll(), Some((7, 7)));
    assert_eq!(current_id(), 0);
}

#[test]
fn scopes_nest_and_the_inner_one_gives_way_to_the_outer() {
    let outer = Context::background().with_value(Id(1)).with_value(Language("en"));
    let mut scoped = Polled::new(outer.scope(async {
        let inner = Context::current().with_value(Id(2));
        let seen = inner
            .scope(async {
                yield_now().await;
                let language = Context::current().value::<Language>().map(|language| language.0);
                (current_id(), language)
            })
            .await;
        let hidden = Context::background().scope_sync(current_id);
        (seen, hidden, current_id())
    }));
    assert!(scoped.poll().is_none());
    assert_eq!(scoped.poll(), Some(((2, Some("en")), 0, 1)));
}

#[test]
fn interleaved_tasks_see_each_its_own_context() {
    let mut tasks: Vec<_> = (1..=5)
        .map(|id| {
            Polled::new(Context::background().with_value(Id(id)).scope(async {
                let mut sum = 0;
                for _ in 0..4 {
                    sum += current_id();
                    yield_now().await;
                }
                sum
            }))
        })
        .collect();
    for _ in 0..4 {
        assert!(tasks.iter_mut().rev().all(|task| task.poll().is_none()));
    }
    let sums: Vec<_> = tasks.iter_mut().map(|task| task.poll()).collect();
    assert_eq!(sums, [Some(4), Some(8), Some(12), Some(16), Some(20)]);
}

#[test]
fn the_context_goes_with_a_future_that_changes_threads() {
    let mut task = Box::pin(Context::background().with_value(Id(7)).scope(async {
        let mut seen = vec![current_id()];
        for _ in 0..2 {
            yield_now().await;
            seen.push(current_id());
        }
        seen
    }));
    for _ in 0..2 {
        task = std::thread::spawn(move || {
            let mut cx = task::Context::from_waker(Waker::noop());
            assert!(task.as_mut().poll(&mut cx).is_pending());
            assert_eq!(current_id(), 0);
            task
        })
        .join()
        .unwrap();
    }
    assert_eq!(task.as_mut().poll(&mut task::Context::from_waker(Waker::noop())), Poll::Ready(vec![7, 7, 7]));
}

#[test]
fn a_panic_restores_the_outer_context() {
    let context = Context::background().with_value(Id(7));
    Context::background().with_value(Id(1)).scope_sync(|| {
        let mut scoped = Polled::new(context.scope(async { panic!("in {}", current_id()) }));
        assert!(catch_unwind(AssertUnwindSafe(|| scoped.poll())).is_err());
        assert_eq!(current_id(), 1);
        assert!(catch_unwind(AssertUnwindSafe(|| context.scope_sync(|| panic!("sync")))).is_err());
        assert_eq!(current_id(), 1);
    });
    assert_eq!(current_id(), 0);
}

#[test]
fn a_future_is_dropped_in_its_context() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let record = |seen: &Rc<RefCell<Vec<u32>>>| {
        let seen = Rc::clone(seen);
        OnDrop(move || seen.borrow_mut().push(current_id()))
    };
    let context = Context::background().child().with_value(Id(7));

    // Half-way.
    let guard = record(&seen);
    let mut scoped = Polled::new(context.scope(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
    assert!(scoped.poll().is_none());
    drop(scoped);
    // Never polled.
    let guard = record(&seen);
    drop(context.scope(async move { drop(guard) }));
    // Ended by the context.
    let guard = record(&seen);
    let mut run = Polled::new(context.run(async move {
        let _guard = guard;
        pending::<()>().await;
    }));
    assert!(run.poll().is_none());
    context.cancel("enough");
    assert!(run.poll().is_some());
    assert_eq!(*seen.borrow(), [7, 7, 7], "dropped by the end of run, not by its own drop");
    drop(run);
    assert_eq!(seen.borrow().len(), 3);
}

#[test]
fn the_current_context_can_be_asked_for_while_a_thread_goes_down() {
    struct AtExit;
    impl Drop for AtExit {
        fn drop(&mut self) {
            assert_eq!(current_id(), 0);
            assert_eq!(Context::background().with_value(Id(3)).scope_sync(|| 5), 5);
        }
    }
    thread_local!(static AT_EXIT: AtExit = const { AtExit });
    std::thread::spawn(|| {
        // In both orders of registration.
        AT_EXIT.with(|_| ());
        Context::background().with_value(Id(1)).scope_sync(|| assert_eq!(current_id(), 1));
    })
    .join()
    .unwrap();
    std::thread::spawn(|| {
        Context::background().with_value(Id(1)).scope_sync(|| assert_eq!(current_id(), 1));
        AT_EXIT.with(|_| ());
    })
    .join()
    .unwrap();
}

// CTX7
#[test]
fn values_are_found_by_type_newest_first() {
    let first = Context::background().with_value(Id(1)).with_value(Language("en"));
    let second = first.with_value(Id(2));
    assert_eq!(first.value(), Some(&Id(1)));
    assert_eq!(second.value(), Some(&Id(2)));
    assert_eq!(second.value(), Some(&Language("en")));
    assert_eq!(second.value::<u8>(), None);
    assert_eq!(second.child().with_timeout(SECOND).value(), Some(&Id(2)));
}

#[test]
fn keep_only_lets_nothing_else_through_and_later_values_again() {
    let all = Context::background().with_value(Id(1)).with_value(Language("en")).with_value(3_u8);
    let kept = all.keep_only(&[TypeId::of::<Id>(), TypeId::of::<u8>()]);
    assert_eq!((kept.value(), kept.value::<Language>(), kept.value()), (Some(&Id(1)), None, Some(&3_u8)));
    let less = kept.keep_only(&[TypeId::of::<Id>(), TypeId::of::<Language>()]);
    assert_eq!((less.value(), less.value::<Language>(), less.value::<u8>()), (Some(&Id(1)), None, None));
    assert_eq!(less.with_value(Language("de")).value(), Some(&Language("de")));
    let none = all.keep_only(&[]);
    assert_eq!((none.value::<Id>(), none.value::<u8>()), (None, None));
    assert_eq!(none.with_value(Id(9)).value(), Some(&Id(9)));
    assert_eq!(all.value(), Some(&Language("en")), "the original is as it was");
}

#[test]
fn a_hundred_thousand_values_cost_no_stack_to_drop() {
    let mut context = Context::background();
    for number in 0..100_000_u32 {
        context = context.with_value(Id(number));
    }
    let branch = context.with_value(1_u8);
    drop(context);
    assert_eq!(branch.value(), Some(&Id(99_999)));
    drop(branch);
}

#[test]
fn values_are_dropped_with_the_last_context_that_has_them() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    struct Value<F: Fn()>(F);
    impl<F: Fn()> Drop for Value<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let value = Value(move || _ = count.fetch_add(1, Ordering::SeqCst));
    let context = Context::background().with_value(value);
    let younger = context.with_value(Id(1));
    drop(context);
    assert_eq!(dropped.load(Ordering::SeqCst), 0);
    drop(younger);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

// CTX6
#[test]
fn cancellation_goes_down_and_not_up() {
    let root = Context::background().child();
    let request = root.with_timeout(SECOND);
    let part = request.child().with_value(Id(1));
    assert!(request.cancel("hung up"));
    assert!(!part.cancel("too late"));
    assert!(request.is_cancelled() && part.is_cancelled() && !root.is_cancelled());
    assert_eq!(part.cause().map(|cause| cause.to_string()).as_deref(), Some("hung up"));
}

#[test]
fn a_value_or_a_clock_is_no_scope_of_its_own() {
    let request = Context::background().child();
    assert!(request.with_value(Id(1)).cancel("by the one with the value"));
    assert!(request.is_cancelled());
    let request = Context::background().child();
    assert!(request.with_clock(ManualClock::new().clock()).cancel("by the one with the clock"));
    assert!(request.is_cancelled());
}

#[test]
fn the_background_cannot_be_cancelled_but_its_children_can() {
    let background = Context::background();
    assert!(!background.cancel("no"));
    assert!(!background.is_cancelled() && background.token().is_none());
    assert!(background.child().cancel("yes"));
    assert!(Context::background().check().is_ok());
}

#[test]
fn a_context_made_from_a_token_is_cancelled_with_it() {
    let shutdown = CancelToken::new();
    let context = Context::from(shutdown.clone());
    let request = context.with_timeout(SECOND);
    shutdown.cancel_with("shutting down");
    assert_eq!(request.check().unwrap_err().to_string(), "cancelled: shutting down");
    assert!(context.token().is_some_and(|token| token.same_as(&shutdown)));
}

// CTX8
#[test]
fn detached_work_keeps_the_values_and_neither_the_cancellation_nor_the_deadline() {
    let time = ManualClock::new();
    let request = Context::background().with_clock(time.clock()).with_timeout(SECOND).with_value(Id(7));
    let detached = request.detached();
    request.cancel("hung up");
    time.advance(2 * SECOND);
    assert!(detached.check().is_ok());
    assert_eq!(detached.deadline(), Deadline::NEVER);
    assert_eq!(detached.value(), Some(&Id(7)));
    assert_eq!(Polled::new(detached.run(async { current_id() })).poll().map(Result::ok), Some(Some(7)));
    let tied = request.child();
    assert!(tied.check().is_err());
}

// CTX3, CTX10
#[test]
fn a_child_never_ends_later_than_its_parent() {
    let time = ManualClock::new();
    let clock = time.clock();
    let parent = Context::background().with_clock(clock.clone()).with_timeout(10 * SECOND);
    let at = |seconds: u32| Deadline::at(clock.now() + seconds * SECOND);
    assert_eq!(parent.deadline(), at(10));
    assert_eq!(parent.with_timeout(3 * SECOND).deadline(), at(3));
    assert_eq!(parent.with_timeout(30 * SECOND).deadline(), at(10));
    assert_eq!(parent.with_timeout(Duration::MAX).deadline(), at(10));
    assert_eq!(parent.with_deadline(Deadline::NEVER).deadline(), at(10));
    assert_eq!(parent.with_deadline(clock.now() + SECOND).deadline(), at(1));
    assert_eq!(Context::background().with_timeout(Duration::MAX).deadline(), Deadline::NEVER);
}

// CTX11
#[test]
fn a_context_tells_how_long_it_has_left_and_whether_it_is_over() {
    let time = ManualClock::new();
    let context = Context::background().with_clock(time.clock()).with_timeout(3 * SECOND);
    assert_eq!(context.remaining(), Some(3 * SECOND));
    time.advance(2 * SECOND);
    assert_eq!(context.remaining(), Some(SECOND));
    assert!(!context.is_expired() && context.check().is_ok());
    assert!(context.check_at(time.now() + SECOND).unwrap_err().is_deadline_exceeded());
    time.advance(SECOND);
    assert_eq!(context.remaining(), Some(Duration::ZERO));
    assert!(context.is_expired() && !context.is_cancelled());
    assert!(context.check().unwrap_err().is_deadline_exceeded());
    assert!(context.check_at(time.now() - SECOND).is_ok());
    assert_eq!(Context::background().remaining(), None);
    assert!(!Context::background().is_expired());
}

// CTX5
#[test]
fn the_ends_are_told_apart_and_cancellation_is_named_first() {
    let time = ManualClock::new();
    let context = Context::background().with_clock(time.clock()).with_timeout(SECOND);
    time.advance(SECOND);
    let late = context.check().unwrap_err();
    assert!(late.is_deadline_exceeded() && !late.is_cancelled() && late.cause().is_none());
    assert_eq!(late.to_string(), "the deadline of the context has passed");
    assert!(late.source().is_none());

    context.cancel(Cause::new(std::io::Error::other("disk full")));
    let cancelled = context.check().unwrap_err();
    assert!(cancelled.is_cancelled() && !cancelled.is_deadline_exceeded());
    assert_eq!(cancelled.to_string(), "cancelled");
    assert_eq!(cancelled.source().map(ToString::to_string).as_deref(), Some("disk full"));
    assert_eq!(cancelled.cause().map(ToString::to_string).as_deref(), Some("disk full"));

    let token = CancelToken::new();
    token.cancel_with("hung up");
    let from_token = ContextError::from(token.check().unwrap_err());
    assert_eq!(from_token.to_string(), "cancelled: hung up");
}

// CTX2
#[test]
fn run_in_a_context_that_has_ended_never_polls() {
    let time = ManualClock::new();
    let expired = Context::background().with_clock(time.clock()).with_timeout(Duration::ZERO);
    let mut run = Polled::new(expired.run(async { unreachable!("polled") }));
    assert!(run.poll().is_some_and(|end: Result<(), _>| end.unwrap_err().is_deadline_exceeded()));
    let cancelled = Context::background().child();
    let mut run = Polled::new(cancelled.run(async { unreachable!("polled") }));
    cancelled.cancel("between making and polling");
    assert!(run.poll().is_some_and(|end: Result<(), _>| end.unwrap_err().is_cancelled()));
    assert_eq!(time.armed(), 0);
}

#[test]
fn run_ends_a_pending_future_on_cancellation_with_the_cause() {
    let context = Context::background().child();
    let mut run = Polled::new(context.run(pending::<()>()));
    assert!(run.poll().is_none());
    context.cancel("hung up");
    assert_eq!(run.wakes(), 1);
    assert_eq!(run.poll().map(|end| end.unwrap_err().to_string()).as_deref(), Some("cancelled: hung up"));
}

#[test]
fn run_never_polls_again_after_a_cancellation() {
    let context = Context::background().child();
    let mut polls = 0;
    let mut run = Polled::new(context.run(poll_fn(|_| {
        polls += 1;
        if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
    })));
    assert!(run.poll().is_none());
    context.cancel("hung up");
    assert!(run.poll().is_some_and(|end| end.is_err()));
    drop(run);
    assert_eq!(polls, 1);
}

#[test]
fn run_ends_a_pending_future_at_the_deadline_and_leaves_no_timer() {
    let time = ManualClock::new();
    let context = Context::background().with_clock(time.clock()).with_timeout(SECOND);
    let mut run = Polled::new(context.run(pending::<()>()));
    assert!(run.poll().is_none());
    assert_eq!(time.armed(), 1);
    time.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(run.wakes(), 0);
    time.advance(Duration::from_nanos(1));
    assert_eq!(run.wakes(), 1);
    assert!(run.poll().is_some_and(|end| end.unwrap_err().is_deadline_exceeded()));
    assert_eq!(time.armed(), 0);
}

// S56
#[test]
fn a_result_beats_the_clock() {
    let time = ManualClock::new();
    let context = Context::background().with_clock(time.clock()).with_timeout(SECOND);
    let mut run = Polled::new(context.run(time.clock().sleep(SECOND)));
    assert!(run.poll().is_none());
    time.advance(SECOND);
    assert!(run.poll().is_some_and(|end| end.is_ok()));
    assert_eq!(time.armed(), 0);
}

// S59
#[test]
fn the_timer_is_made_only_for_a_pending_future_and_goes_with_it() {
    let (asked, slept) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let time = ManualClock::new();
    let clock =
        Clock::new(Counting { inner: time.clone(), asked: Arc::clone(&asked), slept: Arc::clone(&slept) });
    let root = Context::background().with_clock(clock).child();
    assert!(Polled::new(root.run(ready(()))).poll().is_some());
    assert!(root.check().is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 0, "no deadline, no look at the clock");

    let limited = root.with_timeout(SECOND);
    assert!(Polled::new(limited.run(ready(()))).poll().is_some());
    assert_eq!(slept.load(Ordering::SeqCst), 0, "ready, no timer");
    let mut run = Polled::new(limited.run(pending::<()>()));
    for _ in 0..10 {
        assert!(run.poll().is_none());
    }
    assert_eq!(slept.load(Ordering::SeqCst), 1);
    assert_eq!(time.armed(), 1);
    drop(run);
    assert_eq!(time.armed(), 0);
    assert!(format!("{:?}", limited.token()).contains("waiters: 0"), "{limited:?}");
}

#[test]
fn run_makes_the_context_current_and_a_nested_run_ends_with_the_outer() {
    let outer = Context::background().child().with_value(Id(7));
    let mut run = Polled::new(outer.run(async {
        let id = current_id();
        let inner = Context::current().child();
        let ended = inner.run(pending::<()>()).await;
        (id, ended.map_err(|error| error.to_string()))
    }));
    assert!(run.poll().is_none());
    // The inner one is its own token's; cancelled with the outer, and the outer is asked first.
    outer.cancel("all of it");
    assert_eq!(run.poll().map(|end| end.unwrap_err().to_string()).as_deref(), Some("cancelled: all of it"));
}

// CTX2
#[test]
fn a_wait_in_a_context_that_has_ended_is_refused_before_it_has_any_effect() {
    let semaphore = Semaphore::new(1);
    let acquires = || Polled::new(semaphore.acquire()).poll().map(|acquired| acquired.is_ok());
    let cancelled = Context::background().child();
    let time = ManualClock::new();
    let expired = Context::background().with_clock(time.clock()).with_timeout(Duration::ZERO);
    assert_eq!(cancelled.scope_sync(acquires), Some(true), "not cancelled yet");
    cancelled.cancel("hung up");
    assert_eq!(cancelled.scope_sync(acquires), Some(false));
    assert_eq!(expired.scope_sync(acquires), Some(false));
    assert_eq!(semaphore.available(), 1);
    assert_eq!(cancelled.detached().scope_sync(acquires), Some(true));
    assert_eq!(acquires(), Some(true), "out of every scope");
}

/// The flag behind the cheap look follows the scopes: what is inside another scope, or has been there, is heeded.
#[test]
fn the_look_at_the_context_survives_inner_scopes_and_panics() {
    let semaphore = Semaphore::new(1);
    let acquires = || Polled::new(semaphore.acquire()).poll().map(|acquired| acquired.is_ok());
    let cancelled = Context::background().child();
    cancelled.cancel("hung up");
    cancelled.scope_sync(|| {
        assert_eq!(Context::background().scope_sync(acquires), Some(true));
        assert_eq!(acquires(), Some(false), "the outer one is back");
        assert!(
            catch_unwind(|| Context::background().with_value(Id(1)).scope_sync(|| panic!("inside"))).is_err()
        );
        assert_eq!(acquires(), Some(false), "also by a panic");
    });
    assert!(catch_unwind(AssertUnwindSafe(|| cancelled.scope_sync(|| panic!("inside")))).is_err());
    assert_eq!(acquires(), Some(true));
}

// CTX1, CTX3, S59
#[test]
fn a_run_dropped_at_any_await_point_leaves_no_timer_no_waiter_and_no_permit() {
    let points = drop_at_every_await_in_sim(0..100, |sim: &Sim| {
        let semaphore = Arc::new(Semaphore::builder(1).clock(sim.clock()).build().unwrap());
        let context = Context::background().with_clock(sim.clock()).with_timeout(3 * SECOND);
        let (holder, clock) = (Arc::clone(&semaphore), sim.clock());
        sim.spawn("holder", async move {
            let _permit = holder.acquire().await;
            clock.sleep(SECOND).await;
        });
        let under_test = {
            let (semaphore, context, clock) = (Arc::clone(&semaphore), context.clone(), sim.clock());
            async move {
                let end = context
                    .run(async {
                        let _permit = semaphore.acquire().await.unwrap();
                        clock.sleep(10 * SECOND).await;
                    })
                    .await;
                assert!(end.unwrap_err().is_deadline_exceeded());
                assert_eq!(context.remaining(), Some(Duration::ZERO));
            }
        };
        let check = move |sim: &Sim, _: DropPoint| {
            assert!(sim.time().armed() <= 1, "at most the holder's");
            assert!(format!("{:?}", context.token()).contains("waiters: 0"), "{context:?}");
            sim.advance(SECOND);
            assert_eq!((sim.time().armed(), semaphore.available()), (0, 1));
        };
        (under_test, check)
    });
    assert!(points > 300, "{points}");
}

// CTX6: whichever is first.
#[test]
fn a_tree_of_contexts_ends_at_the_earliest_of_its_ends() {
    Sim::for_seeds(0..100, |sim| {
        let root = Context::background().with_clock(sim.clock()).with_timeout(10 * SECOND);
        let start = sim.clock().now();
        let mut tasks = Vec::new();
        for seconds in 1..=15_u32 {
            let context = root.with_timeout(seconds * SECOND);
            let clock = sim.clock();
            tasks.push(sim.spawn(format!("{seconds} s"), async move {
                let end = context.run(pending::<()>()).await.unwrap_err();
                (clock.now() - start, end)
            }));
        }
        let (canceller, clock) = (root.clone(), sim.clock());
        sim.spawn("canceller", async move {
            clock.sleep(Duration::from_millis(7_500)).await;
            canceller.cancel("enough");
        });
        for (seconds, task) in (1..=15_u32).zip(tasks) {
            let (after, end) = sim.run(task);
            if seconds <= 7 {
                assert!(end.is_deadline_exceeded());
                assert_eq!(after, seconds * SECOND);
            } else {
                assert_eq!(end.cause().and_then(Cause::text), Some("enough"));
                assert_eq!(after, Duration::from_millis(7_500));
            }
        }
        assert_eq!(sim.time().armed(), 0);
    });
}

#[test]
fn debug_shows_no_value() {
    let context = Context::background().with_value("hunter2");
    assert!(!format!("{context:?}").contains("hunter2"));
}

#[test]
fn a_derived_context_is_one_allocation_and_running_in_it_none() {
    let root = Context::background().child();
    let keep = [root.child(), root.child(), root.child()];
    drop([root.child(), root.child()]);
    assert_eq!(allocations(Context::background), 0);
    assert_eq!(allocations(|| root.child()), 1);
    assert_eq!(allocations(|| root.with_timeout(SECOND)), 1);
    assert_eq!(allocations(|| root.with_value(1_u64)), 1);
    assert_eq!(allocations(|| root.detached()), 0);
    assert_eq!(allocations(|| Context::background().with_deadline(root.clock().now())), 1);
    let mut run = Polled::new(root.run(pending::<()>()));
    assert_eq!(allocations(|| assert!(run.poll().is_none())), 0);
    root.cancel("enough");
    assert_eq!(allocations(|| assert!(run.poll().is_some())), 0);
    drop(keep);
}
