//! Cancel tokens: the tree, the cause, the waits.

use crate::support::allocations;
use cofferdam::sync::{CancelToken, Cancelled, Cause};
use cofferdam::testkit::{DropPoint, Polled, Sim, WakeCounter, drop_at_every_await_in_sim, yield_now};
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

/// A waker that runs a closure.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn on_wake(run: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(OnWake(run)).into()
}

/// Counts its drop.
#[derive(Debug)]
struct Flag(Arc<AtomicUsize>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// CTX6
#[test]
fn a_child_is_cancelled_with_its_parent_and_not_the_other_way_round() {
    let root = CancelToken::new();
    let left = root.child();
    let right = root.child();
    let leaf = left.child();

    assert!(left.cancel());
    assert!(left.is_cancelled() && leaf.is_cancelled());
    assert!(!root.is_cancelled() && !right.is_cancelled());

    assert!(root.cancel());
    assert!(right.is_cancelled());
}

#[test]
fn the_first_cause_stays_and_goes_down_the_tree() {
    let root = CancelToken::new();
    let before = root.child();
    assert!(before.cancel_with("on its own"));
    assert!(root.cancel_with("shutting down"));
    assert!(!root.cancel_with("too late"));
    assert_eq!(root.cause().map(|cause| cause.to_string()).as_deref(), Some("shutting down"));
    assert_eq!(before.cause().map(|cause| cause.to_string()).as_deref(), Some("on its own"));

    let after = root.child();
    assert_eq!(
        after.cause().map(|cause| cause.to_string()).as_deref(),
        Some("shutting down"),
        "born cancelled"
    );
    assert!(!after.cancel(), "cancelled by its birth");
}

#[test]
fn an_error_as_cause_can_be_reached_through_the_source() {
    let token = CancelToken::new();
    token.cancel_with(Cause::new(std::io::Error::other("disk full")));
    let error = token.check().unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
    let source = error.source().expect("the cause");
    assert_eq!(source.to_string(), "disk full");
    assert!(source.is::<std::io::Error>());

    let shared: Arc<dyn Error + Send + Sync> = Arc::new(std::io::Error::other("shared"));
    assert_eq!(Cause::from(shared).to_string(), "shared");
    let boxed: Box<dyn Error + Send + Sync> = "boxed".into();
    assert_eq!(Cause::from(boxed).to_string(), "boxed");
    let token = CancelToken::new();
    token.cancel_with(format!("lost {}", "db-3"));
    let cause = token.cause().unwrap();
    assert_eq!((cause.to_string().as_str(), cause.text()), ("lost db-3", Some("lost db-3")));
    assert!(!cause.is_unspecified() && cause.error().is_none());
    assert!(Cause::default().is_unspecified());
}

#[test]
fn a_dropped_middle_does_not_cut_a_grandchild_off() {
    let root = CancelToken::new();
    let leaf = root.child().child().child();
    root.cancel_with("all of you");
    assert_eq!(leaf.cause().map(|cause| cause.to_string()).as_deref(), Some("all of you"));
}

#[test]
fn a_dropped_root_cancels_nobody() {
    let leaf = CancelToken::new().child();
    assert!(!leaf.is_cancelled());
    assert!(leaf.cancel());
}

#[test]
fn a_waiter_is_woken_once_and_told_the_cause() {
    let token = CancelToken::new();
    let mut waiting = Polled::new(token.cancelled());
    assert!(waiting.poll().is_none());
    assert!(waiting.poll().is_none());
    token.cancel_with("enough");
    assert_eq!(waiting.wakes(), 1);
    assert_eq!(waiting.poll().map(|cause| cause.to_string()).as_deref(), Some("enough"));
}

#[test]
fn a_waiter_that_changes_its_waker_is_woken_by_the_last_one() {
    let token = CancelToken::new();
    let mut waiting = pin!(token.cancelled());
    let (first, second) = (WakeCounter::new(), WakeCounter::new());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&first.waker())).is_pending());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&second.waker())).is_pending());
    token.cancel();
    assert_eq!((first.count(), second.count()), (0, 1));
}

#[test]
fn waiters_beyond_one_batch_are_all_woken_in_order() {
    let token = CancelToken::new();
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(token.cancelled())).collect();
    for (number, wait) in waits.iter_mut().enumerate() {
        let woken = Arc::clone(&woken);
        let waker = on_wake(move || woken.lock().unwrap().push(number));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    token.cancel();
    assert_eq!(*woken.lock().unwrap(), (0..100).collect::<Vec<_>>());
}

// CTX1
#[test]
fn a_dropped_waiter_leaves_the_list() {
    let token = CancelToken::new();
    let mut staying = Polled::new(token.cancelled());
    assert!(staying.poll().is_none());
    for _ in 0..10 {
        let mut leaving = Polled::new(token.cancelled());
        assert!(leaving.poll().is_none());
    }
    assert!(format!("{token:?}").contains("waiters: 1"), "{token:?}");
    token.cancel();
    assert_eq!(staying.wakes(), 1);
}

// CTX2
#[test]
fn run_in_a_cancelled_token_never_polls_and_drops_at_once() {
    let token = CancelToken::new();
    token.cancel_with("before");
    let dropped = Arc::new(AtomicUsize::new(0));
    let flag = Flag(Arc::clone(&dropped));
    let mut run = Polled::new(token.run(async move {
        let _flag = flag;
        unreachable!("polled")
    }));
    let error: Cancelled = run.poll().expect("refused").unwrap_err();
    assert_eq!(error.to_string(), "cancelled: before");
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "dropped with the refusal, not with the wrapper");
}

#[test]
fn run_ends_the_future_on_cancellation_and_drops_it_before_it_says_so() {
    let token = CancelToken::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    let flag = Flag(Arc::clone(&dropped));
    let mut run = Polled::new(token.run(async move {
        let _flag = flag;
        pending::<()>().await;
    }));
    assert!(run.poll().is_none());
    token.cancel();
    assert_eq!(run.wakes(), 1);
    assert!(run.poll().expect("ended").is_err());
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

// S56, for cancellation: a result is not thrown away.
#[test]
fn run_keeps_the_result_of_a_future_that_is_ready_in_the_poll_in_which_it_is_cancelled() {
    let token = CancelToken::new();
    let inner = token.clone();
    let mut run = Polled::new(token.run(async move {
        inner.cancel();
        42
    }));
    assert_eq!(run.poll().expect("ready").unwrap(), 42);
}

#[test]
fn run_sees_a_cancellation_from_inside_a_pending_poll() {
    let token = CancelToken::new();
    let inner = token.clone();
    let dropped = Arc::new(AtomicUsize::new(0));
    let flag = Flag(Arc::clone(&dropped));
    let mut run = Polled::new(token.run(poll_fn(move |_| {
        let _ = &flag;
        inner.cancel_with("by itself");
        Poll::<()>::Pending
    })));
    assert_eq!(run.poll().expect("ended").unwrap_err().to_string(), "cancelled: by itself");
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "dropped with the end");
}

#[test]
fn nobody_is_woken_before_the_whole_tree_is_cancelled() {
    let root = CancelToken::new();
    let tokens: Vec<_> = (0..40).map(|_| root.child().child()).collect();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut waits = Vec::new();
    for token in std::iter::once(&root).chain(&tokens) {
        let (all, seen) = (tokens.clone(), Arc::clone(&seen));
        let waker = on_wake(move || {
            assert!(all.iter().all(CancelToken::is_cancelled));
            seen.fetch_add(1, Ordering::SeqCst);
        });
        let mut wait = Box::pin(token.cancelled());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        waits.push(wait);
    }
    root.cancel();
    assert_eq!(seen.load(Ordering::SeqCst), 41);
}

// ERR12
#[test]
fn a_waker_may_use_the_token_that_wakes_it() {
    let root = CancelToken::new();
    let token = root.child();
    let parked = Arc::new(Mutex::new(Some(Box::pin(token.cancelled()))));
    let (inner, held) = (token.clone(), Arc::clone(&parked));
    let waker = on_wake(move || {
        assert!(!inner.cancel());
        assert!(inner.child().is_cancelled());
        assert!(Polled::new(inner.cancelled()).poll().is_some());
        assert!(format!("{inner:?}").contains("waiters: "), "the lock is free: {inner:?}");
        drop(held.lock().unwrap().take());
    });
    let poll = {
        let mut parked = parked.lock().unwrap();
        parked.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker))
    };
    assert!(poll.is_pending());
    drop(waker);
    root.cancel();
    assert!(parked.lock().unwrap().is_none());
}

/// Dropping a waker may drop a task, and with it futures that wait on the same token.
#[test]
fn a_replaced_waker_is_dropped_outside_the_lock() {
    let token = CancelToken::new();
    let mut other = Polled::new(token.cancelled());
    assert!(other.poll().is_none());
    let held = Mutex::new(Some(other));
    struct DropsAWait<T: Send + 'static>(Mutex<Option<T>>);
    impl<T: Send + 'static> Wake for DropsAWait<T> {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    let waker = Waker::from(Arc::new(DropsAWait(held)));
    let mut wait = pin!(token.cancelled());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(format!("{token:?}").contains("waiters: 2"));
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(format!("{token:?}").contains("waiters: 1"), "{token:?}");
}

#[test]
fn panicking_wakers_keep_nobody_from_being_woken() {
    let root = CancelToken::new();
    let child = root.child();
    let woken = Arc::new(AtomicUsize::new(0));
    let mut waits = Vec::new();
    for number in 0..60 {
        let woken = Arc::clone(&woken);
        let waker = on_wake(move || {
            woken.fetch_add(1, Ordering::SeqCst);
            assert!(number % 7 != 0, "waker {number}");
        });
        let token = if number < 40 { &root } else { &child };
        let mut wait = Box::pin(token.cancelled());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        waits.push(wait);
    }
    let payload = catch_unwind(AssertUnwindSafe(|| root.cancel())).expect_err("the first panic goes on");
    assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("waker 0"));
    assert_eq!(woken.load(Ordering::SeqCst), 60);
    assert!(child.is_cancelled());
}

#[test]
fn a_chain_of_a_hundred_thousand_costs_no_stack_to_cancel_or_to_drop() {
    let root = CancelToken::new();
    let mut leaf = root.clone();
    for _ in 0..100_000 {
        leaf = leaf.child();
    }
    root.cancel_with("down there");
    assert_eq!(leaf.cause().map(|cause| cause.to_string()).as_deref(), Some("down there"));
    drop(root);
    drop(leaf);

    let mut leaf = CancelToken::new();
    for _ in 0..100_000 {
        leaf = leaf.child();
    }
    drop(leaf);
}

#[test]
fn a_parent_forgets_its_dropped_children() {
    let root = CancelToken::new();
    let keep: Vec<_> = (0..5).map(|_| root.child()).collect();
    for _ in 0..1000 {
        let pair = (root.child(), root.child());
        drop(pair.0.clone());
        drop(pair);
    }
    assert!(format!("{root:?}").contains("children: 5"), "{root:?}");
    // In every order.
    let mut crowd: Vec<_> = (0..100).map(|_| root.child()).collect();
    while !crowd.is_empty() {
        crowd.swap_remove(crowd.len() * 7 / 11);
    }
    assert!(format!("{root:?}").contains("children: 5"), "{root:?}");
    let late = root.child();
    root.cancel();
    assert!(keep.iter().chain([&late]).all(CancelToken::is_cancelled));
    drop(keep);
    drop(late);
    assert!(format!("{root:?}").contains("children: 0"), "{root:?}");
}

#[test]
fn a_cancelled_token_lets_its_cause_go_with_its_last_clone() {
    #[derive(Debug)]
    struct Noisy(#[allow(dead_code, reason = "dropped, not read")] Flag);
    impl std::fmt::Display for Noisy {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("noisy")
        }
    }
    impl Error for Noisy {}

    let dropped = Arc::new(AtomicUsize::new(0));
    let token = CancelToken::new();
    let child = token.child();
    token.cancel_with(Cause::new(Noisy(Flag(Arc::clone(&dropped)))));
    assert!(!token.cancel_with(Cause::new(Noisy(Flag(Arc::clone(&dropped))))));
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the cause that came too late");
    drop(token);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    drop(child);
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[test]
fn a_drop_guard_cancels_unless_it_is_disarmed() {
    let token = CancelToken::new();
    assert!(token.drop_guard().disarm().is_some_and(|same| same.same_as(&token)));
    assert!(!token.is_cancelled());
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = token.drop_guard();
        panic!("half-way");
    }));
    assert!(unwound.is_err());
    assert_eq!(token.cause().map(|cause| cause.to_string()).as_deref(), Some("the guard was dropped"));
}

/// Creation, cancellation and drop on real threads: every child that outlives the cancellation is cancelled.
#[test]
fn children_made_while_the_parent_is_cancelled_are_all_cancelled() {
    for _ in 0..200 {
        let root = CancelToken::new();
        let middle = root.child();
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let mut kept = Vec::new();
                        while !middle.is_cancelled() {
                            let child = middle.child();
                            drop(child.child());
                            drop(middle.child());
                            kept.push(child);
                            if kept.len() > 50 {
                                kept.clear();
                            }
                        }
                        kept
                    })
                })
                .collect();
            root.cancel();
            for maker in makers {
                assert!(maker.join().unwrap().iter().all(CancelToken::is_cancelled));
            }
        });
    }
}

// CTX1
#[test]
fn a_run_dropped_at_any_await_point_leaves_no_waiter_and_the_others_end() {
    let points = drop_at_every_await_in_sim(0..100, |sim: &Sim| {
        let token = CancelToken::new();
        let ended = Arc::new(AtomicUsize::new(0));
        for number in 0..20 {
            let (token, ended) = (token.child(), Arc::clone(&ended));
            sim.spawn(format!("task {number}"), async move {
                assert!(token.run(pending::<()>()).await.is_err());
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
        let canceller = token.clone();
        sim.spawn("canceller", async move {
            for _ in 0..4 {
                yield_now().await;
            }
            canceller.cancel_with("enough");
        });
        let own = token.child();
        let under_test = {
            let own = own.clone();
            async move {
                let _ = own.run(yield_now()).await;
                own.cancelled().await;
            }
        };
        let check = move |_: &Sim, _: DropPoint| {
            assert!(format!("{own:?}").contains("waiters: 0"), "{own:?}");
            assert_eq!(ended.load(Ordering::SeqCst), 20);
        };
        (under_test, check)
    });
    assert!(points > 300, "{points}");
}

#[test]
fn a_tree_that_grows_and_dies_while_it_is_cancelled_ends_whole() {
    Sim::for_seeds(0..200, |sim| {
        let root = CancelToken::new();
        let tokens = Arc::new(Mutex::new(vec![root.clone()]));
        for number in 0..10 {
            let (tokens, sim_) = (Arc::clone(&tokens), sim.clone());
            sim.spawn(format!("grower {number}"), async move {
                for _ in 0..20 {
                    let at = {
                        let mut tokens = tokens.lock().unwrap();
                        let at = sim_.random_below(tokens.len() as u64) as usize;
                        let child = tokens[at].child();
                        tokens.push(child);
                        at
                    };
                    yield_now().await;
                    if at > 0 && sim_.random_below(3) == 0 {
                        let mut tokens = tokens.lock().unwrap();
                        let at = at.min(tokens.len() - 1);
                        if at > 0 {
                            drop(tokens.swap_remove(at));
                        }
                    }
                }
            });
        }
        let canceller = root.clone();
        sim.spawn("canceller", async move {
            for _ in 0..10 {
                yield_now().await;
            }
            canceller.cancel_with("all");
        });
        sim.run_until_idle();
        let tokens = tokens.lock().unwrap();
        assert!(tokens.len() > 20);
        assert!(
            tokens.iter().all(|token| token.cause().map(|cause| cause.to_string()).as_deref() == Some("all"))
        );
    });
}

#[test]
fn a_child_is_one_allocation_and_a_wait_none() {
    let root = CancelToken::new();
    let (first, second) = (root.child(), root.child());
    assert_eq!(allocations(|| root.child().child()), 2);
    // The second child's place in the root's list is there already.
    drop(second);
    assert_eq!(allocations(|| root.child()), 1);
    assert_eq!(allocations(|| first.clone()), 0);

    let mut waits: Vec<_> = (0..40).map(|_| Polled::new(root.cancelled())).collect();
    assert_eq!(allocations(|| assert!(waits.iter_mut().all(|wait| wait.poll().is_none()))), 0);
    let mut run = Polled::new(root.run(pending::<()>()));
    assert_eq!(allocations(|| assert!(run.poll().is_none())), 0);
    assert_eq!(allocations(|| drop(run)), 0);

    let alone = CancelToken::new();
    let mut wait = Polled::new(alone.cancelled());
    assert!(wait.poll().is_none());
    assert_eq!(allocations(|| alone.cancel_with("nobody below")), 0);
}

/// A parent that lives as long as the process, and a million requests.
#[test]
fn a_million_short_lived_children_leave_the_parent_as_it_was() {
    let root = CancelToken::new();
    let keep = [root.child(), root.child(), root.child()];
    drop([root.child(), root.child(), root.child(), root.child()]);
    let count = allocations(|| {
        for _ in 0..250_000 {
            let (first, second) = (root.child(), root.child());
            let third = second.child();
            drop(first);
            drop(root.child());
            drop((second, third));
        }
    });
    assert_eq!(count, 1_000_000, "one for each child, and none for the parent's list");
    assert!(format!("{root:?}").contains("children: 3"), "{root:?}");
    drop(keep);
}
