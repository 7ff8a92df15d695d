//! Counters: the sliding window, whose cells carry the number of their bucket, and the striped sums.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | records that race for a new bucket lose nothing and inherit nothing | 3 | none | the cell taken over by a store instead of the exchange |
//! | an old record does not disturb the bucket that took its cell | 2 | none | a late record that takes the cell back |
//! | a sum beside a rotation counts nothing twice and nothing expired | 2 | none | a sum that counts a cell whatever its bucket |
//! | lanes of one writer lose nothing, and a lane can be inherited | 3 | none | an `add` on a shared line that loads and stores |
//! | more has never ended than begun | 2 | none | `add` with `Relaxed` |
//! | count, then look: the look or the sum sees the other | 2 | none | a look that is not `SeqCst` |

use crate::race::race;
use crate::shim::{AtomicU64, Ordering, fence, load_seq_cst_u64};
use crate::striped::{Lane, Striped};
use cofferdam_loom::sync::Window;
use cofferdam_loom::time::{Clock, Sleep, Timer};
use loom::thread;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

struct Still;

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Clock::system().now())
}

impl Timer for Still {
    fn now(&self) -> Instant {
        start()
    }

    fn sleep_until(&self, _: Instant) -> Sleep {
        Sleep::never()
    }
}

/// Two buckets of a second, one kind; `n` events in bucket 0.
fn window(n: u64) -> Arc<Window<1>> {
    let window = Window::with_clock(Duration::from_secs(2), 2, Clock::new(Still)).unwrap();
    window.add_at::<0>(n, at(0));
    Arc::new(window)
}

fn at(secs: u64) -> Instant {
    start() + Duration::from_secs(secs)
}

#[test]
fn records_that_race_for_a_bucket_lose_nothing() {
    loom::model(|| {
        let window = window(5);
        let record = |secs| {
            let window = window.clone();
            thread::spawn(move || window.record_at::<0>(at(secs)))
        };
        // Bucket 2 takes the cell of bucket 0.
        let others = [record(2), record(2)];
        window.record_at::<0>(at(2));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(window.sums_at(at(2)), [3]);
    });
}

#[test]
fn an_old_record_does_not_disturb() {
    race(
        None,
        || window(0),
        |window| window.record_at::<0>(at(0)),
        |window| {
            window.record_at::<0>(at(2));
            window.record_at::<0>(at(2));
        },
        |window| assert_eq!(window.sums_at(at(2)), [2]),
    );
}

#[test]
fn a_sum_beside_a_rotation_counts_nothing_twice_and_nothing_expired() {
    race(
        None,
        || {
            let window = window(5);
            window.record_at::<0>(at(1));
            window
        },
        |window| {
            window.record_at::<0>(at(2));
            window.record_at::<0>(at(2));
        },
        |window| {
            let [sum] = window.sums_at(at(2));
            assert!((1..=3).contains(&sum), "{sum}");
            // At the older reading bucket 0 counts until bucket 2 has taken its cell.
            let [sum] = window.sums_at(at(1));
            assert!([6, 2, 3].contains(&sum), "{sum}");
        },
        |window| assert_eq!(window.sums_at(at(2)), [3]),
    );
}

#[test]
fn lanes_lose_nothing() {
    loom::model(|| {
        let striped = Arc::new(Striped::<1>::with_lines(1, 1));
        let count = |lane| {
            let striped = striped.clone();
            thread::spawn(move || striped.add::<0>(Lane(lane)))
        };
        // Lane 0 has a writer, and after its end another; lanes 1 and 2 share.
        let (first, others) = (count(0), [count(1), count(2)]);
        first.join().unwrap();
        striped.add::<0>(Lane(0));
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(striped.sum::<0>(), 4);
    });
}

#[test]
fn more_has_never_ended_than_begun() {
    race(
        None,
        || {
            let striped = Striped::<2>::with_lines(2, 1);
            striped.add_then_look::<0>(Lane(0));
            striped
        },
        |striped| {
            striped.add::<1>(Lane(1));
            striped.add_then_look::<0>(Lane(1));
            striped.add::<1>(Lane(1));
        },
        |striped| {
            let ended = striped.sum::<1>();
            let begun = striped.sum::<0>();
            assert!(ended <= begun, "{ended} of {begun}");
        },
        |striped| assert_eq!((striped.sum::<0>(), striped.sum::<1>()), (2, 2)),
    );
}

#[test]
fn count_then_look() {
    struct World {
        counted: Striped<1>,
        over: AtomicU64,
        // What the threads saw; none of the model's business.
        seen: [OnceLock<u64>; 2],
    }
    race(
        None,
        || World { counted: Striped::with_lines(1, 1), over: AtomicU64::new(0), seen: Default::default() },
        |world| {
            world.counted.add_then_look::<0>(Lane(0));
            world.seen[0].set(load_seq_cst_u64(&world.over)).unwrap();
        },
        |world| {
            world.over.swap(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            world.seen[1].set(world.counted.sum::<0>()).unwrap();
        },
        |world| assert!(world.seen.iter().any(|seen| seen.get() == Some(&1)), "neither has seen the other"),
    );
}
