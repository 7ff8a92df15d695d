//! The gate.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | what was done before opening is seen behind the gate | 3 | 3 | state published or polled `Relaxed`; no second look under the lock |
//! | `is_open` shows what was done before | 2 | 3 | state published or read `Relaxed` |
//! | opening and closing at once releases whoever waits | 2 | 3 | only the open bit is looked at, before the lock or under it |
//! | a change between the look and the wait is not missed | 2 | 3 | releases before the wait read `Relaxed`; a pulse that counts nothing |
//! | beyond one batch, two releases end the waits before them and no later ones | 2 | 3 | a release ends whatever differs from it; ends all |
//! | a wait dropped while the gate opens leaves the others released | 3 | 3 | no second look under the lock |
//!
//! The gate keeps its truth under the lock and only ever *stores* the copy outside: a load before that store would hide
//! the loads of others from loom's search (see `wait_list`), as it did once.

use cofferdam_loom::sync::Gate;
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

/// Written by the one who opens, read behind the gate.
struct Shared {
    gate: Gate,
    data: UnsafeCell<u32>,
}

// SAFETY: the gate orders the accesses; loom watches.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(open), data: UnsafeCell::new(0) })
    }

    fn write(&self) {
        // SAFETY: nobody is behind the gate yet; loom says otherwise if not.
        self.data.with_mut(|data| unsafe { *data = 7 });
    }

    fn read(&self) -> u32 {
        // SAFETY: the writer has opened the gate; loom says otherwise if not.
        self.data.with(|data| unsafe { *data })
    }
}

/// Counts, with nothing for the checker to explore.
struct Counter(AtomicUsize);

impl Counter {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn counter() -> (std::sync::Arc<Counter>, Waker) {
    let counter = std::sync::Arc::new(Counter(AtomicUsize::new(0)));
    let waker = Waker::from(std::sync::Arc::clone(&counter));
    (counter, waker)
}

#[test]
fn what_was_done_before_opening_is_seen_behind_the_gate() {
    loom::model(|| {
        let shared = Shared::new(false);
        let opener = Arc::clone(&shared);
        let opener = thread::spawn(move || {
            opener.write();
            opener.gate.open();
        });
        let other = Arc::clone(&shared);
        let other = thread::spawn(move || {
            block_on(other.gate.wait());
            assert_eq!(other.read(), 7);
        });
        block_on(shared.gate.wait());
        assert_eq!(shared.read(), 7);
        other.join().unwrap();
        opener.join().unwrap();
    });
}

#[test]
fn is_open_shows_what_was_done_before() {
    loom::model(|| {
        let shared = Shared::new(false);
        let opener = Arc::clone(&shared);
        let opener = thread::spawn(move || {
            opener.write();
            opener.gate.open();
        });
        if shared.gate.is_open() {
            assert_eq!(shared.read(), 7);
        }
        opener.join().unwrap();
    });
}

#[test]
fn opening_and_closing_at_once_releases_whoever_waits() {
    loom::model(|| {
        let shared = Shared::new(false);
        let wait = shared.gate.wait();
        let opener = Arc::clone(&shared);
        let opener = thread::spawn(move || {
            opener.gate.open();
            opener.gate.close();
        });
        block_on(wait);
        opener.join().unwrap();
        assert!(!shared.gate.is_open());
        assert!(format!("{:?}", shared.gate).contains("waiters: 0"));
    });
}

/// Make the future, look, await.
#[test]
fn a_change_between_the_look_and_the_wait_is_not_missed() {
    loom::model(|| {
        let shared = Arc::new((Gate::new(false), AtomicBool::new(false)));
        let setter = Arc::clone(&shared);
        let setter = thread::spawn(move || {
            setter.1.store(true, Ordering::Relaxed);
            setter.0.pulse();
        });
        loop {
            let change = shared.0.wait();
            if shared.1.load(Ordering::Relaxed) {
                break;
            }
            block_on(change);
            // Released: the store came before the pulse.
            assert!(shared.1.load(Ordering::Relaxed));
        }
        setter.join().unwrap();
    });
}

/// Two pulses at once, three waiters, batches of two: the pulses end the waits before them, each once, and none that
/// came after.
#[test]
fn waits_beyond_one_batch_end_under_two_releases_at_once() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(false));
        let (woken, waker) = counter();
        let mut cx = Context::from_waker(&waker);
        let mut waits: Vec<_> = (0..3).map(|_| Box::pin(gate.wait())).collect();
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut cx).is_pending());
        }
        let other = Arc::clone(&gate);
        let other = thread::spawn(move || other.pulse());
        gate.pulse();
        let (late_woken, late_waker) = counter();
        let mut late_cx = Context::from_waker(&late_waker);
        let mut late = Box::pin(gate.wait());
        let passed = late.as_mut().poll(&mut late_cx).is_ready();
        other.join().unwrap();
        assert_eq!(woken.count(), 3);
        assert!(waits.iter_mut().all(|wait| wait.as_mut().poll(&mut cx).is_ready()));
        // Woken by a pulse that came after it, or still there to be woken.
        if !passed && late_woken.count() == 0 {
            assert!(late.as_mut().poll(&mut late_cx).is_pending());
            assert_eq!(gate.waiters(), 1);
            gate.open();
            assert_eq!(late_woken.count(), 1);
        }
        assert!(late.as_mut().poll(&mut late_cx).is_ready());
    });
}

#[test]
fn a_wait_that_is_dropped_while_the_gate_opens_leaves_the_others_released() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(false));
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(gate.wait());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let (opener, waiter) = (Arc::clone(&gate), Arc::clone(&gate));
        let opener = thread::spawn(move || opener.open());
        let waiter = thread::spawn(move || block_on(waiter.wait()));
        drop(first);
        waiter.join().unwrap();
        assert!(opener.join().unwrap());
        assert!(format!("{gate:?}").contains("waiters: 0"));
    });
}
