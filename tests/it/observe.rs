//! Events reach those who look, in order, and cost nothing where nobody does.

use crate::support::panic_message;
use cofferdam::observe::{Observe, Observers};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

type Seen<E> = Arc<Mutex<Vec<E>>>;

/// Adds an observer that keeps what it sees.
fn keep<E: Clone + Send + 'static>(observers: &Observers<E>) -> Seen<E> {
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    observers.add(move |event: &E| keep.lock().unwrap().push(event.clone()));
    seen
}

fn take<E>(seen: &Seen<E>) -> Vec<E> {
    std::mem::take(&mut *seen.lock().unwrap())
}

#[test]
fn every_observer_sees_every_event_once_in_the_order_of_adding() {
    struct Named(&'static str, Seen<String>);
    impl Observe<u32> for Named {
        fn observe(&self, event: &u32) {
            self.1.lock().unwrap().push(format!("{} {event}", self.0));
        }
    }
    let observers = Observers::new();
    let seen = Seen::default();
    for name in ["a", "b", "c"] {
        observers.add(Named(name, Arc::clone(&seen)));
    }
    observers.emit(|| 1);
    observers.emit(|| 2);
    assert_eq!(take(&seen), ["a 1", "b 1", "c 1", "a 2", "b 2", "c 2"]);
}

// S85
#[test]
fn nobody_looking_builds_nothing() {
    let observers = Observers::<u32>::default();
    assert!(!observers.is_watched());
    observers.emit(|| unreachable!("nobody looks"));
    let seen = keep(&observers);
    assert!(observers.is_watched());
    observers.emit(|| 5);
    assert_eq!(take(&seen), [5], "from now on, and nothing of before");
}

#[test]
fn an_observer_that_panics_is_counted_and_keeps_the_others_from_nothing() {
    let observers = Observers::new();
    let first = keep(&observers);
    observers.add(|event: &u32| assert!(event % 2 == 0, "odd"));
    let last = keep(&observers);
    for event in 0..4 {
        observers.emit(|| event);
    }
    observers.emit_in_order(0, 5);
    observers.emit_in_order(1, 6);
    assert_eq!(take(&first), [0, 1, 2, 3, 5, 6]);
    assert_eq!(take(&last), [0, 1, 2, 3, 5, 6]);
    assert_eq!(observers.panics(), 3);
}

/// What it panics with panics in its turn when it is dropped, and so does what comes of that.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            std::panic::resume_unwind(Box::new(Self(left)));
        }
    }
}

#[test]
fn what_an_observer_panics_with_may_panic_itself() {
    let observers = Observers::new();
    observers.add(|depth: &u32| std::panic::resume_unwind(Box::new(Bomb(*depth))));
    let last = keep(&observers);
    for depth in 0..3 {
        observers.emit(|| depth);
    }
    observers.emit_in_order(0, 2);
    assert_eq!((take(&last), observers.panics()), (vec![0, 1, 2, 2], 4));
}

#[test]
fn an_observer_may_add_emit_and_print() {
    let observers = Arc::new(Observers::<u32>::new());
    let added: Arc<OnceLock<Seen<u32>>> = Arc::default();
    let (own, slot) = (Arc::clone(&observers), Arc::clone(&added));
    observers.add(move |event: &u32| {
        assert_eq!(format!("{own:?}"), "Observers { watched: true, panics: 0, .. }");
        if *event == 1 {
            let _ = slot.set(keep(&own));
            own.emit(|| 2);
        }
    });
    observers.emit(|| 1);
    observers.emit(|| 3);
    assert_eq!(take(added.get().unwrap()), [2, 3], "added in the midst of 1, sees what comes after");
    assert_eq!(observers.panics(), 0);
}

#[test]
fn events_that_come_early_wait_for_their_predecessors() {
    let observers = Observers::new();
    let seen = keep(&observers);
    observers.emit_in_order(2, "two");
    observers.emit_in_order(1, "one");
    observers.emit_in_order(4, "four");
    assert!(take(&seen).is_empty());
    observers.emit_in_order(0, "zero");
    assert_eq!(take(&seen), ["zero", "one", "two"]);
    observers.emit_in_order(3, "three");
    assert_eq!(take(&seen), ["three", "four"]);
}

#[test]
fn an_event_caused_by_an_event_comes_after_it_for_everyone() {
    let observers = Arc::new(Observers::<u64>::new());
    let log = Seen::default();
    for name in ["first", "second"] {
        let (own, log, next) = (Arc::clone(&observers), Arc::clone(&log), AtomicU64::new(1));
        observers.add(move |event: &u64| {
            log.lock().unwrap().push(format!("{name} {event}"));
            if name == "first" && *event < 30 {
                let order = next.fetch_add(1, Ordering::Relaxed);
                own.emit_in_order(order, event + 10);
                log.lock().unwrap().push(format!("after {event}"));
            }
        });
    }
    observers.emit_in_order(0, 10);
    let expected =
        ["first 10", "after 10", "second 10", "first 20", "after 20", "second 20", "first 30", "second 30"];
    assert_eq!(take(&log), expected);
}

#[test]
fn many_threads_are_seen_in_one_order() {
    const EACH: u64 = 2_000;
    let observers = Observers::new();
    let seen = keep(&observers);
    let decided = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let order = decided.fetch_add(1, Ordering::Relaxed);
                    observers.emit_in_order(order, order);
                }
            });
        }
    });
    assert_eq!(take(&seen), (0..4 * EACH).collect::<Vec<_>>());
}

#[test]
fn ordered_events_that_nobody_watches_are_let_go_and_keep_the_count() {
    let observers = Observers::new();
    let event = Arc::new(());
    for order in [1, 0, 2] {
        observers.emit_in_order(order, Arc::clone(&event));
    }
    assert_eq!(Arc::strong_count(&event), 1);
    let seen = keep(&observers);
    observers.emit_in_order(3, Arc::clone(&event));
    assert_eq!(take(&seen).len(), 1);
}

#[test]
fn an_event_whose_drop_panics_does_not_stop_those_after_it() {
    #[derive(Clone)]
    struct Event(u32, bool);
    impl Drop for Event {
        fn drop(&mut self) {
            assert!(!self.1, "the drop of {}", self.0);
        }
    }
    let observers = Observers::new();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    observers.add(move |event: &Event| keep.lock().unwrap().push(event.0));
    observers.emit_in_order(1, Event(1, false));
    assert_eq!(panic_message(|| observers.emit_in_order(0, Event(0, true))), "the drop of 0");
    observers.emit_in_order(2, Event(2, false));
    assert_eq!(take(&seen), [0, 1, 2]);
}

#[test]
fn observers_that_are_added_side_by_side_are_all_there() {
    let observers = Arc::new(Observers::<u32>::new());
    let seen = Arc::new(AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let seen = Arc::clone(&seen);
                    observers.add(move |event: &u32| drop(seen.fetch_add(*event, Ordering::Relaxed)));
                    observers.emit(|| 0);
                }
            });
        }
    });
    observers.emit(|| 1);
    assert_eq!(seen.load(Ordering::Relaxed), 400);
}

#[test]
fn an_observer_that_is_attached_goes_with_what_holds_it() {
    let observers = Observers::<u32>::new();
    let kept = keep(&observers);
    let (seen, mark) = (Seen::default(), Arc::new(()));
    let (there, gone) = (Arc::clone(&seen), Arc::downgrade(&mark));
    let attached = observers.attach(move |event: &u32| {
        let _held = &mark;
        there.lock().unwrap().push(*event);
    });
    observers.emit(|| 1);
    assert!(gone.upgrade().is_some());
    drop(attached);
    assert!(gone.upgrade().is_none(), "at once, and not with the next event");
    observers.emit(|| 2);
    assert_eq!((take(&seen), take(&kept)), (vec![1], vec![1, 2]), "others stay");
}

#[test]
fn with_the_last_of_them_nobody_looks_any_more() {
    let observers = Observers::<u32>::new();
    let both = [observers.attach(|_: &u32| ()), observers.attach(|_: &u32| ())];
    let [first, second] = both;
    drop(first);
    assert!(observers.is_watched());
    drop(second);
    assert!(!observers.is_watched());
    observers.emit(|| unreachable!("nobody looks"));
    let seen = keep(&observers);
    observers.emit(|| 3);
    assert_eq!(take(&seen), [3], "and somebody may again");
}

#[test]
fn what_holds_an_observer_may_outlive_the_observed() {
    let observers = Observers::<u32>::new();
    let mark = Arc::new(());
    let gone = Arc::downgrade(&mark);
    let attached = observers.attach(move |_: &u32| drop(Arc::clone(&mark)));
    drop(observers);
    assert!(gone.upgrade().is_none(), "it keeps nothing");
    drop(attached);
}

/// Panics when it is dropped.
struct Rude;

impl Drop for Rude {
    fn drop(&mut self) {
        panic!("rude");
    }
}

#[test]
fn an_observer_may_go_in_the_midst_of_an_event_and_panic_as_it_goes() {
    let observers = Arc::new(Observers::<u32>::new());
    let attached = Arc::new(Mutex::new(None));
    let (slot, rude) = (Arc::clone(&attached), Rude);
    *attached.lock().unwrap() = Some(observers.attach(move |_: &u32| {
        let _held = &rude;
        drop(slot.lock().unwrap().take());
    }));
    let last = keep(&observers);
    observers.emit(|| 1);
    observers.emit(|| 2);
    assert_eq!(take(&last), [1, 2]);
    assert_eq!(observers.panics(), 0, "of its calls; there was one");
    let rude = Rude;
    drop(observers.attach(move |_: &u32| assert!(std::mem::size_of_val(&rude) == 0)));
}

#[test]
fn several_may_panic_as_they_go_at_once() {
    let observers = Arc::new(Observers::<u32>::new());
    let attached = Arc::new(Mutex::new(Vec::new()));
    let slot = Arc::clone(&attached);
    observers.add(move |_: &u32| drop(std::mem::take(&mut *slot.lock().unwrap())));
    let rude = || {
        let rude = Rude;
        move |_: &u32| assert!(std::mem::size_of_val(&rude) == 0)
    };
    for _ in 0..2 {
        attached.lock().unwrap().push(observers.attach(rude()));
    }
    let last = keep(&observers);
    observers.emit(|| 1);
    assert_eq!((take(&last), observers.panics()), (vec![1], 0));
    observers.add(rude());
    observers.add(rude());
    drop(observers);
}
