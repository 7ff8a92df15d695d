//! Observers: who comes, who goes, and who tells meanwhile.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | who came is told of what happens from then on, though another finds nobody there just then | 2 | none | `listed` that clears the flag after it has let go of the list |
//!
//! Not modelled: the first look ever, which makes the audience (a `OnceLock` of `std`), and when an observer is dropped that is
//! just being called (an `Arc` of `std`): no checker sees into these.

use crate::observe::Observers;
use crate::shim::Mutex;
use loom::thread;
use std::sync::Arc;

fn free(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

/// What an observer has seen.
type Seen = Arc<Mutex<Vec<u32>>>;

fn keep(seen: &Seen) -> impl Fn(&u32) + Send + Sync + 'static {
    let seen = Arc::clone(seen);
    move |event| seen.lock().push(*event)
}

/// With somebody who was there and is gone, which is not found out yet.
fn left() -> Arc<Observers<u32>> {
    let observers = Arc::new(Observers::new());
    drop(observers.attach(|_: &u32| ()));
    assert!(observers.may_be_watched());
    observers
}

#[test]
fn who_comes_while_another_finds_nobody_is_told() {
    free(|| {
        let (observers, seen) = (left(), Seen::default());
        let other = {
            let observers = Arc::clone(&observers);
            thread::spawn(move || observers.emit(|| 1))
        };
        observers.add(keep(&seen));
        observers.emit(|| 2);
        other.join().unwrap();
        observers.emit(|| 3);
        let seen: Vec<_> = seen.lock().iter().copied().filter(|event| *event != 1).collect();
        assert_eq!(seen, [2, 3]);
    });
}
