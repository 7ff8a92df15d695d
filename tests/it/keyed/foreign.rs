//! Code of the keys: when it runs, and what happens if it panics.

use super::{builder, keyed, ms, secs};
use cofferdam::limit::{Keyed, Quota, WhenFull};
use cofferdam::testkit::Polled;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

thread_local! {
    /// What the next comparison, clone or drop of a key does.
    static IN_EQ: Cell<bool> = const { Cell::new(false) };
    static IN_CLONE: Cell<bool> = const { Cell::new(false) };
    static ON_DROP: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

#[derive(Debug)]
struct Key(u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        assert!(!IN_EQ.take(), "in eq");
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        assert!(!IN_CLONE.take(), "in clone");
        Self(self.0)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        ON_DROP.with_borrow(|on_drop| {
            if let Some(on_drop) = on_drop {
                on_drop();
            }
        });
    }
}

fn limiter(capacity: usize, when_full: WhenFull) -> (cofferdam::testkit::ManualClock, Keyed<Key>) {
    let (time, builder) = builder::<Key>(Quota::per_second(1));
    (time, builder.capacity(capacity).shards(1).when_full(when_full).build().unwrap())
}

#[test]
fn a_comparison_or_clone_that_panics_changes_nothing() {
    let (_, limiter) = limiter(4, WhenFull::RejectNew);
    assert_eq!(limiter.try_acquire(&Key(1)), Ok(()));
    let panics = |cell: &'static std::thread::LocalKey<Cell<bool>>, run: &dyn Fn()| {
        cell.set(true);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
    };
    panics(&IN_EQ, &|| drop(limiter.try_acquire(&Key(1))));
    panics(&IN_EQ, &|| limiter.refund(&Key(1), 1));
    panics(&IN_EQ, &|| drop(limiter.remove(&Key(1))));
    panics(&IN_CLONE, &|| drop(limiter.try_acquire(&Key(2))));
    panics(&IN_CLONE, &|| drop(limiter.keys()));
    assert_eq!((limiter.len(), limiter.available(&Key(1)), limiter.contains(&Key(2))), (1, 0, false));
    for key in 2..5 {
        assert_eq!(limiter.try_acquire(&Key(key)), Ok(()), "no place was lost");
    }
    assert!(limiter.try_acquire(&Key(5)).unwrap_err().is_full());
}

// A key that used its own limiter under its lock would wait for ever.
#[test]
fn keys_are_dropped_and_cloned_outside_of_the_lock() {
    for when_full in [WhenFull::RejectNew, WhenFull::EvictIdleMost] {
        let (time, limiter) = limiter(2, when_full);
        let dropped = std::rc::Rc::new(Cell::new(0));
        ON_DROP.set(Some(Box::new({
            let (limiter, dropped) = (limiter.clone(), std::rc::Rc::clone(&dropped));
            move || {
                limiter.stats();
                dropped.set(dropped.get() + 1);
            }
        })));
        let keys: Vec<_> = (0..10).map(Key).collect();
        for key in &keys {
            let _ = limiter.try_acquire(key);
            time.advance(ms(100));
        }
        let evicted = limiter.stats().evicted;
        time.advance(secs(1));
        assert_eq!(limiter.try_acquire(&keys[0]), Ok(()), "in the place of idle ones");
        limiter.remove(&keys[0]);
        limiter.remove_idle();
        limiter.set_override(Key(1), Quota::per_second(2)).unwrap();
        limiter.set_override(Key(1), Quota::per_second(3)).unwrap();
        limiter.remove_override(&keys[1]);
        let gone = 3 + evicted + 2;
        assert!(dropped.get() >= gone, "{} of {gone}", dropped.get());
        assert_eq!(limiter.len(), 0);
        ON_DROP.set(None);
    }
}

struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn on_wake(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(OnWake(act)))
}

/// Two waiters of the key, the first with this waker.
fn two_in_line(limiter: &Keyed<String>, waker: Waker, then: impl FnOnce(&mut dyn FnMut() -> bool)) {
    limiter.drain_to("a", 0).unwrap();
    let mut first = pin!(limiter.acquire("a"));
    assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let mut second = Polled::new(limiter.acquire("a"));
    assert!(second.poll().is_none());
    then(&mut || second.poll().is_some_and(|result| result.is_ok()));
}

// S67: those behind it are served at their own instants all the same.
#[test]
fn a_waker_that_panics_takes_nothing_with_it() {
    let (time, limiter) = keyed::<String>(Quota::per_second(1).burst(1));
    two_in_line(&limiter, on_wake(|| panic!("a broken waker")), |second_is_served| {
        let fired = catch_unwind(AssertUnwindSafe(|| time.advance(secs(1))));
        assert!(fired.is_err());
        assert_eq!(time.armed(), 1, "for the one behind");
        time.advance(secs(1));
        assert!(second_is_served());
    });
}

// ERR12: a waker may change the limits that it was woken by a change of.
#[test]
fn a_waker_may_change_the_limits_of_all() {
    let (_time, limiter) = keyed::<String>(Quota::per_second(1).burst(1));
    let again = limiter.clone();
    let waker = on_wake(move || again.set(Quota::per_second(5)));
    two_in_line(&limiter, waker, |second_is_served| {
        limiter.set(Quota::unlimited());
        assert!(second_is_served());
        assert_eq!(limiter.algorithm().quota(), Quota::per_second(5));
    });
}
