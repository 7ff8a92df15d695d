//! The single flight of a cache: who loads, who waits, and what is kept.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | one load for all, and all are told | 2 | 3 | a caller that joins the flight after the lock of the table is let go |
//! | a leader that is dropped is followed by a waiter, or by who comes next | 3 | 2 | a leader that hands over before it takes the lock of the table |
//! | a waiter that was chosen and is dropped passes it on | 3 | 2 | a drop that leaves the lead to itself |
//! | what is older than an invalidation is not kept | 2 | 3 | a result that is stored whether or not its flight is still in the table |

use cofferdam_loom::resilience::Error;
use cofferdam_loom::resilience::cache::{Cache, Cached};
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Numbers = Cache<u32, u32, ()>;

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn cache() -> Numbers {
    Cache::builder(4).shards(1).clock(ManualClock::new().clock()).build().unwrap()
}

/// Pending once, and woken by itself.
fn pause() -> impl Future<Output = ()> {
    let mut paused = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

async fn load(cache: &Numbers, loads: &AtomicU32, value: u32) -> Result<Cached<u32>, Error<()>> {
    let load = || async {
        loads.fetch_add(1, Ordering::Relaxed);
        pause().await;
        Ok(value)
    };
    cache.get_or_load(&1, load).await
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn there_is_one_load_and_all_are_told() {
    bounded(3, || {
        let cache = cache();
        let loads = Arc::new(AtomicU32::new(0));
        let other = {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            thread::spawn(move || *block_on(load(&cache, &loads, 1)).unwrap())
        };
        let own = *block_on(load(&cache, &loads, 2)).unwrap();
        assert_eq!(own, other.join().unwrap());
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get(&1).as_deref(), Some(&own));
    });
}

#[test]
fn a_leader_that_is_dropped_is_followed() {
    bounded(2, || {
        let cache = cache();
        let loads = Arc::new(AtomicU32::new(0));
        let waits = |value| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            thread::spawn(move || *block_on(load(&cache, &loads, value)).unwrap())
        };
        let (one, two) = (waits(1), waits(2));
        {
            // It leads, or it waits, or it is told at once.
            let mut dropped = pin!(load(&cache, &loads, 3));
            let _ = poll_once(dropped.as_mut());
        }
        let (one, two) = (one.join().unwrap(), two.join().unwrap());
        assert_eq!(one, two);
        assert_eq!(cache.get(&1).as_deref(), Some(&one));
    });
}

#[test]
fn a_waiter_that_was_chosen_and_is_dropped_passes_it_on() {
    bounded(2, || {
        let cache = cache();
        let loads = Arc::new(AtomicU32::new(0));
        // Leads.
        let mut first = Box::pin({
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            async move { load(&cache, &loads, 1).await.map(|value| *value) }
        });
        assert!(poll_once(first.as_mut()).is_pending());
        // Waits, and may be chosen when it is dropped.
        let chosen = {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            let mut chosen = Box::pin(async move { load(&cache, &loads, 2).await.map(|value| *value) });
            assert!(poll_once(chosen.as_mut()).is_pending());
            thread::spawn(move || drop(chosen))
        };
        let last = {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            thread::spawn(move || *block_on(load(&cache, &loads, 3)).unwrap())
        };
        drop(first);
        chosen.join().unwrap();
        assert_eq!(last.join().unwrap(), 3);
        assert_eq!(cache.get(&1).as_deref(), Some(&3));
    });
}

#[test]
fn what_is_older_than_an_invalidation_is_not_kept() {
    bounded(3, || {
        let cache = cache();
        let loads = Arc::new(AtomicU32::new(0));
        // What is loaded is what the source has when the load begins.
        let source = Arc::new(AtomicU32::new(1));
        let other = {
            let (cache, source) = (cache.clone(), Arc::clone(&source));
            thread::spawn(move || {
                let read = || async {
                    let value = source.load(Ordering::Relaxed);
                    pause().await;
                    Ok(value)
                };
                block_on(cache.get_or_load(&1, read)).unwrap();
            })
        };
        source.store(2, Ordering::Relaxed);
        cache.invalidate(&1);
        other.join().unwrap();
        let value = *block_on(load(&cache, &loads, source.load(Ordering::Relaxed))).unwrap();
        assert_eq!(value, 2, "read before the invalidation, and kept after it");
    });
}
