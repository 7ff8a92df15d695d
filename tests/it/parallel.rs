//! Slices on threads.

use crate::support::panic_message;
use cofferdam::parallel::Parallel;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::{self, ThreadId};

/// The threads that a map over so many items runs on. Each item waits for others as long as `together` says.
fn threads(parallel: Parallel, items: usize, together: Option<&Barrier>) -> BTreeSet<String> {
    let names = parallel.map(&vec![(); items], |()| {
        if let Some(barrier) = together {
            barrier.wait();
        }
        format!("{:?}", thread::current().id())
    });
    names.into_iter().collect()
}

fn own() -> String {
    let id: ThreadId = thread::current().id();
    format!("{id:?}")
}

#[test]
fn below_the_threshold_the_caller_does_it_alone() {
    let alone = BTreeSet::from([own()]);
    assert_eq!(threads(Parallel::new().workers(4), 999, None), alone, "the default is 1000");
    assert_eq!(threads(Parallel::new().workers(4).threshold(11), 10, None), alone);
    assert_eq!(threads(Parallel::new().workers(1).threshold(0), 2000, None), alone);
    assert_eq!(threads(Parallel::new().workers(0).threshold(0), 2000, None), alone);
}

#[test]
fn from_the_threshold_on_so_many_workers_do_it() {
    for workers in [2, 3, 5] {
        // They all must be there for one to get on.
        let barrier = Barrier::new(workers);
        let parallel = Parallel::new().workers(workers).threshold(workers).chunk(1);
        let seen = threads(parallel, workers, Some(&barrier));
        assert_eq!(seen.len(), workers);
        assert!(seen.contains(&own()), "the caller is one of them");
    }
    let barrier = Barrier::new(2);
    let seen = Parallel::new().workers(2).chunk(500).map(&[0; 1000], |_| {
        // Only at the threshold of 1000, and with two chunks, are there two to meet, five hundred times.
        barrier.wait();
    });
    assert_eq!(seen.len(), 1000);
}

#[test]
fn who_has_a_slow_chunk_claims_fewer() {
    let (done, claimed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let parallel = Parallel::new().workers(2).threshold(0).chunk(1);
    let items: Vec<usize> = (0..100).collect();
    parallel.map(&items, |item| {
        if *item == 0 {
            // Until the other has done all the rest.
            while done.load(Ordering::Acquire) < 99 {
                thread::yield_now();
            }
            claimed.lock().unwrap().push(own());
        } else {
            done.fetch_add(1, Ordering::Release);
        }
    });
    assert_eq!((claimed.lock().unwrap().len(), done.load(Ordering::Relaxed)), (1, 99));
}

#[test]
fn nothing_gives_nothing() {
    let parallel = Parallel::new().workers(3).threshold(0);
    assert!(parallel.map(&[0_u8; 0], |number| *number).is_empty());
    assert!(parallel.filter(&[0_u8; 0], |_| true).is_empty());
    assert_eq!(parallel.try_map(&[0_u8; 0], |_| Err::<(), ()>(())), Ok(vec![]));
    assert!(parallel.map_chunks(&[0_u8; 0], 3, <[u8]>::len).is_empty());
    parallel.for_each(&mut [0_u8; 0], |_| panic!("nothing to do"));
}

#[test]
fn chunks_are_of_the_size_that_was_asked_for() {
    let items: Vec<u32> = (0..10).collect();
    for (workers, threshold) in [(1, 1000), (3, 0)] {
        let parallel = Parallel::new().workers(workers).threshold(threshold);
        assert_eq!(
            parallel.map_chunks(&items, 4, <[u32]>::to_vec),
            [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]
        );
        assert_eq!(parallel.map_chunks(&items, 0, <[u32]>::len), [1; 10]);
        let mut items = items.clone();
        parallel.for_each_chunk(&mut items, 3, <[u32]>::reverse);
        assert_eq!(items, [2, 1, 0, 5, 4, 3, 8, 7, 6, 9]);
    }
}

#[test]
fn a_failure_is_the_one_that_a_loop_would_stop_at() {
    let items: Vec<u32> = (0..5000).collect();
    let failing = |number: &u32| if number % 1000 == 700 { Err(*number) } else { Ok(*number) };
    for _ in 0..50 {
        let error = Parallel::new().workers(3).chunk(7).try_map(&items, failing).unwrap_err();
        assert_eq!((error.index(), *error.error()), (700, 700));
        assert_eq!(error.to_string(), "item 700 failed: 700");
    }
    let text = Parallel::new().try_map(&["1", "x"], |text| text.parse::<u8>()).unwrap_err();
    assert!(text.source().is_some());
    assert!(text.into_error().to_string().contains("invalid digit"));
}

/// The chunk before it is still at work then, and fails, too.
#[test]
fn a_failure_does_not_hide_one_before_it() {
    let behind = AtomicUsize::new(0);
    let items: Vec<usize> = (0..6).collect();
    let parallel = Parallel::new().workers(2).threshold(0).chunk(2);
    let error = parallel.try_map(&items, |number| match number {
        2 => {
            while behind.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            // Long enough for the other one to have told of its failure.
            (0..1000).for_each(|_| thread::yield_now());
            Ok(())
        }
        3 => Err("before"),
        4 => {
            behind.store(1, Ordering::SeqCst);
            Err("behind")
        }
        _ => Ok(()),
    });
    let error = error.unwrap_err();
    assert_eq!((error.index(), *error.error()), (3, "before"));
}

#[test]
fn what_stands_behind_a_failure_is_left() {
    let items: Vec<usize> = (0..100_000).collect();
    let tried = AtomicUsize::new(0);
    let parallel = Parallel::new().workers(2).chunk(10);
    let error = parallel.try_map(&items, |number| {
        tried.fetch_add(1, Ordering::Relaxed);
        if *number == 0 {
            return Err(());
        }
        thread::yield_now();
        Ok(())
    });
    assert_eq!(error.unwrap_err().index(), 0);
    assert!(tried.load(Ordering::Relaxed) < 100_000, "it went on to the end");
}

#[test]
fn a_panic_goes_on_when_all_have_stopped() {
    let inside = AtomicUsize::new(0);
    struct In<'a>(&'a AtomicUsize);
    impl Drop for In<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let items: Vec<usize> = (0..100_000).collect();
    for panics_at in [0, 500] {
        let (made, panicking) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let message = panic_message(|| {
            Parallel::new().workers(3).chunk(10).map(&items, |number| {
                inside.fetch_add(1, Ordering::SeqCst);
                let _in = In(&inside);
                if *number == panics_at {
                    panicking.fetch_add(1, Ordering::SeqCst);
                    let _unwound = In(&panicking);
                    panic!("on purpose");
                }
                made.fetch_add(1, Ordering::Relaxed);
                // A panic is printed before it unwinds: that takes its time.
                thread::yield_now();
                while panicking.load(Ordering::SeqCst) > 0 {
                    thread::yield_now();
                }
            });
        });
        assert!(message.contains("on purpose"), "{message}");
        assert_eq!(inside.load(Ordering::SeqCst), 0);
        // Without the chunk of the panic alone there would be 99,990.
        assert!(made.load(Ordering::Relaxed) < 99_900, "the others went on to the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn all_forms_give_what_iterators_give(
        items in prop::collection::vec(0u32..50, 0..300),
        workers in 0usize..5,
        threshold in prop_oneof![Just(0usize), Just(100), Just(1000)],
        chunk in prop::option::of(0usize..40),
        fails_at in 0u32..60,
    ) {
        let mut parallel = Parallel::new().workers(workers).threshold(threshold);
        if let Some(chunk) = chunk {
            parallel = parallel.chunk(chunk);
        }
        let twice = |number: &u32| number * 2;
        prop_assert_eq!(parallel.map(&items, twice), items.iter().map(twice).collect::<Vec<_>>());
        let even = |number: &u32| number % 2 == 0;
        prop_assert_eq!(
            parallel.filter(&items, even),
            items.iter().filter(|number| even(number)).collect::<Vec<_>>()
        );
        let mut changed = items.clone();
        parallel.for_each(&mut changed, |number| *number += 1);
        prop_assert!(changed.iter().eq(items.iter().map(|number| number + 1).collect::<Vec<_>>().iter()));
        let fallible = |number: &u32| if *number == fails_at { Err("found") } else { Ok(*number) };
        match (parallel.try_map(&items, fallible), items.iter().position(|number| *number == fails_at)) {
            (Ok(all), None) => prop_assert_eq!(all, items),
            (Err(error), Some(at)) => prop_assert_eq!(error.index(), at),
            (result, at) => prop_assert!(false, "{:?} {:?}", result, at),
        }
    }
}

/// Panics when it is dropped, unless somebody has defused it.
struct Bomb(bool);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
}

#[test]
fn of_several_panics_one_goes_on_and_the_others_do_no_harm() {
    let barrier = Barrier::new(3);
    let parallel = Parallel::new().workers(3).threshold(0).chunk(1);
    let work = |(): &()| -> () {
        barrier.wait();
        std::panic::resume_unwind(Box::new(Bomb(true)));
    };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parallel.map(&[(); 3], work)));
    caught.unwrap_err().downcast::<Bomb>().unwrap().0 = false;
}

#[test]
fn a_fallible_map_stops_where_a_loop_would_also_if_what_stands_behind_panics() {
    let parallel = Parallel::new().workers(2).threshold(0).chunk(1);
    for fails in [0, 1] {
        let barrier = Barrier::new(2);
        // Both are under way.
        let work = |item: &usize| {
            barrier.wait();
            if *item == fails { Err("no") } else { panic!("item {item}") }
        };
        let run = || parallel.try_map::<_, (), _, _>(&[0, 1], work);
        match fails {
            0 => assert_eq!(run().unwrap_err().index(), 0),
            _ => assert_eq!(panic_message(|| drop(run())), "item 0"),
        }
    }
}
