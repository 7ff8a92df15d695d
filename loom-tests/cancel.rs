//! The tree of cancel tokens.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a waiter on a child sees what was done before the cancellation | 2 | 3 | no second look under the lock; only the root is woken |
//! | `is_cancelled` shows what was done before | 2 | 3 | flag stored or read `Relaxed` |
//! | a child born during the cancellation is cancelled | 2 | 3 | no second look under the parent's lock; late child not marked; grandchildren not swept |
//! | a child that waits as it is born is woken | 2 | 3 | as above |
//! | one cause wins and all are told it | 2 | 3 | a second cause overwrites |
//! | parent and child cancelled at once have one cause each | 2 | 3 | as above; grandchildren not swept |
//! | a child that goes during the cancellation leaves nothing behind | 2 | 3 | children not swept |
//! | siblings that come and go are forgotten | 2 | 3 | drop does not leave the parent's list |
//! | the last two children of a dropped parent go at once | 2 | 3 | as above |
//! | waits beyond one batch all end | 2 | 3 | poll after the cancellation joins the list |
//! | `run` ends, and nothing of it stays | 2 | 3 | no second look under the lock |

use cofferdam_loom::sync::{CancelToken, Cause};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// Written by the canceller, read by whoever was told.
struct Data(UnsafeCell<u32>);

// SAFETY: the cancellation orders the accesses; loom watches.
unsafe impl Sync for Data {}
// SAFETY: as above.
unsafe impl Send for Data {}

impl Data {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn write(&self) {
        // SAFETY: nobody has been told yet; loom says otherwise if not.
        self.0.with_mut(|data| unsafe { *data = 7 });
    }

    fn read(&self) -> u32 {
        // SAFETY: the writer has cancelled; loom says otherwise if not.
        self.0.with(|data| unsafe { *data })
    }
}

/// An error whose leak the checker would report.
#[derive(Debug)]
struct Tracked(#[allow(dead_code, reason = "counted, not read")] Arc<()>);

impl fmt::Display for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tracked")
    }
}

impl Error for Tracked {}

#[test]
fn a_waiter_on_a_child_sees_what_was_done_before_the_cancellation() {
    loom::model(|| {
        let data = Data::new();
        let root = CancelToken::new();
        let child = root.child();
        let canceller = {
            let data = Arc::clone(&data);
            thread::spawn(move || {
                data.write();
                assert!(root.cancel_with("enough"));
            })
        };
        assert_eq!(block_on(child.cancelled()).text(), Some("enough"));
        assert_eq!(data.read(), 7);
        canceller.join().unwrap();
    });
}

#[test]
fn is_cancelled_shows_what_was_done_before() {
    loom::model(|| {
        let data = Data::new();
        let token = CancelToken::new();
        let canceller = {
            let (data, token) = (Arc::clone(&data), token.clone());
            thread::spawn(move || {
                data.write();
                token.cancel();
            })
        };
        if token.is_cancelled() {
            assert_eq!(data.read(), 7);
            assert!(token.cause().is_some());
        }
        canceller.join().unwrap();
    });
}

#[test]
fn a_child_born_during_the_cancellation_is_cancelled() {
    loom::model(|| {
        let root = CancelToken::new();
        let middle = root.child();
        let maker = {
            let middle = middle.clone();
            thread::spawn(move || {
                let child = middle.child();
                let grandchild = child.child();
                (child, grandchild)
            })
        };
        assert!(root.cancel_with("enough"));
        let (child, grandchild) = maker.join().unwrap();
        for token in [&middle, &child, &grandchild] {
            assert_eq!(token.cause().map(|cause| cause.to_string()).as_deref(), Some("enough"));
        }
    });
}

#[test]
fn a_child_that_waits_as_it_is_born_is_woken() {
    loom::model(|| {
        let root = CancelToken::new();
        let waiter = {
            let root = root.clone();
            thread::spawn(move || block_on(root.child().cancelled()))
        };
        root.cancel_with("enough");
        assert_eq!(waiter.join().unwrap().text(), Some("enough"));
    });
}

#[test]
fn one_cause_wins_and_everyone_is_told_it() {
    loom::model(|| {
        let root = CancelToken::new();
        let child = root.child();
        let other = {
            let root = root.clone();
            thread::spawn(move || root.cancel_with("left"))
        };
        let right = root.cancel_with("right");
        let left = other.join().unwrap();
        assert!(left != right);
        let cause = if left { "left" } else { "right" };
        assert_eq!(root.cause().map(|cause| cause.to_string()).as_deref(), Some(cause));
        assert_eq!(child.cause().map(|cause| cause.to_string()).as_deref(), Some(cause));
    });
}

#[test]
fn a_parent_and_its_child_cancelled_at_once_have_each_one_cause_and_wake_once() {
    loom::model(|| {
        let root = CancelToken::new();
        let child = root.child();
        let grandchild = child.child();
        let other = {
            let root = root.clone();
            thread::spawn(move || root.cancel_with("root"))
        };
        let own = child.cancel_with("child");
        assert!(other.join().unwrap());
        assert_eq!(root.cause().map(|cause| cause.to_string()).as_deref(), Some("root"));
        let first = if own { "child" } else { "root" };
        assert_eq!(child.cause().map(|cause| cause.to_string()).as_deref(), Some(first));
        assert!(grandchild.is_cancelled());
    });
}

#[test]
fn a_child_that_goes_during_the_cancellation_leaves_nothing_behind() {
    loom::model(|| {
        let root = CancelToken::new();
        let staying = root.child();
        let leaving = root.child().child();
        let dropper = thread::spawn(move || drop(leaving));
        root.cancel_with(Cause::new(Tracked(Arc::new(()))));
        dropper.join().unwrap();
        assert!(staying.is_cancelled());
    });
}

#[test]
fn siblings_that_come_and_go_at_once_are_forgotten() {
    loom::model(|| {
        let root = CancelToken::new();
        let first = root.child();
        let other = {
            let root = root.clone();
            thread::spawn(move || {
                drop(first);
                root.child()
            })
        };
        let kept = root.child();
        drop(root.child());
        let second = other.join().unwrap();
        assert!(format!("{root:?}").contains("children: 2"), "{root:?}");
        root.cancel();
        assert!(kept.is_cancelled() && second.is_cancelled());
    });
}

#[test]
fn the_last_two_children_of_a_dropped_parent_go_at_once() {
    loom::model(|| {
        let root = CancelToken::new();
        let middle = root.child();
        let (left, right) = (middle.child(), middle.child());
        drop(middle);
        let other = thread::spawn(move || drop(left));
        drop(right);
        other.join().unwrap();
        assert!(format!("{root:?}").contains("children: 0"), "{root:?}");
    });
}

/// Three waiters, batches of two, one of them dropped and one polled while it goes on.
#[test]
fn waits_beyond_one_batch_all_end() {
    loom::model(|| {
        let token = CancelToken::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(token.cancelled())).collect();
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        let other = token.clone();
        let other = thread::spawn(move || other.cancel());
        drop(waits.remove(1));
        let _ = waits[1].as_mut().poll(&mut cx);
        assert!(other.join().unwrap());
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut cx).is_ready());
        }
        assert!(format!("{token:?}").contains("waiters: 0"));
    });
}

#[test]
fn run_ends_and_nothing_of_it_stays() {
    loom::model(|| {
        let data = Data::new();
        let token = CancelToken::new();
        let other = {
            let (token, data) = (token.clone(), Arc::clone(&data));
            thread::spawn(move || {
                data.write();
                token.cancel_with("enough");
            })
        };
        let tracked = Tracked(Arc::new(()));
        let ended = {
            let run = pin!(token.run(async move {
                let _tracked = tracked;
                std::future::pending::<()>().await;
            }));
            block_on(run)
        };
        assert!(ended.is_err());
        assert_eq!(data.read(), 7);
        other.join().unwrap();
    });
}
