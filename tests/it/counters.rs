//! S25-S28: counts over a sliding window.

use cofferdam::sync::Window;
use cofferdam::testkit::ManualClock;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const SUCCESS: usize = 0;
const FAILURE: usize = 1;

fn window(length: Duration, buckets: usize) -> (ManualClock, Window<2>) {
    let time = ManualClock::new();
    let window = Window::with_clock(length, buckets, time.clock()).unwrap();
    (time, window)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn kinds_are_counted_apart() {
    let (time, window) = window(secs(10), 10);
    window.record::<SUCCESS>();
    time.advance(secs(3));
    window.record::<FAILURE>();
    window.add_at::<FAILURE>(4, time.clock().now());
    assert_eq!(window.sums(), [1, 5]);
    assert_eq!(window.sum_at::<FAILURE>(time.clock().now()), 5);
    assert_eq!((window.buckets(), window.width(), window.length()), (10, secs(1), secs(10)));
}

#[test]
fn edges_do_not_move_with_the_traffic() {
    // S25
    let events = [0, 900, 1_000, 1_999, 2_000, 4_500, 5_999, 6_000, 6_001, 9_999, 12_000, 12_100];
    let run = |queries: bool| {
        let (time, window) = window(secs(6), 6);
        let start = time.clock().now();
        let mut sums = Vec::new();
        for at in events {
            if queries {
                for between in (0..at).step_by(333) {
                    window.sums_at(start + Duration::from_millis(between));
                }
            }
            window.record_at::<FAILURE>(start + Duration::from_millis(at));
            sums.push(window.sums_at(start + Duration::from_millis(at)));
        }
        sums
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn the_event_that_begins_a_bucket_is_in_the_sum() {
    // S25
    let (time, window) = window(secs(2), 2);
    for n in 0..10 {
        window.record::<FAILURE>();
        assert_eq!(window.sums(), [0, 1 + n.min(1)]);
        time.advance(secs(1));
    }
}

#[test]
fn reading_expires_as_well_as_writing() {
    // S26
    let (time, window) = window(secs(10), 5);
    for _ in 0..20 {
        window.record::<FAILURE>();
    }
    time.advance(secs(20));
    assert_eq!(window.sums(), [0, 0]);
    window.record::<SUCCESS>();
    assert_eq!(window.sums(), [1, 0], "a cell is not taken up again with what it held");
}

#[test]
fn a_long_silence_costs_nothing_and_leaves_nothing() {
    // S27
    let (time, window) = window(secs(10), 10);
    window.record::<FAILURE>();
    time.advance(secs(10 * 365 * 24 * 3600));
    window.record::<FAILURE>();
    assert_eq!(window.sums(), [0, 1]);
    // Also where the ring comes round to the very same cell, any number of times.
    for rounds in [1, 2, 1 << 20, 1 << 28] {
        time.advance(secs(10 * rounds));
        assert_eq!(window.sums(), [0, 0], "{rounds}");
        window.record::<FAILURE>();
        assert_eq!(window.sums(), [0, 1]);
    }
}

#[test]
fn an_event_is_gone_one_length_after_it_at_the_latest() {
    // S28
    let (time, window) = window(secs(6), 6);
    window.record::<FAILURE>();
    time.advance(secs(6) - Duration::from_nanos(1));
    assert_eq!(window.sums(), [0, 1]);
    time.advance(Duration::from_nanos(1));
    assert_eq!(window.sums(), [0, 0]);
    // And stays for five sixths of it at least.
    time.advance(secs(1) - Duration::from_nanos(1));
    window.record::<FAILURE>();
    time.advance(secs(5));
    assert_eq!(window.sums(), [0, 1]);
    time.advance(Duration::from_nanos(1));
    assert_eq!(window.sums(), [0, 0]);
}

#[test]
fn a_record_that_comes_a_whole_length_late_is_dropped() {
    let (time, window) = window(secs(4), 4);
    let early = time.clock().now();
    time.advance(secs(4));
    window.record::<FAILURE>();
    window.record_at::<FAILURE>(early);
    assert_eq!(window.sums(), [0, 1]);
    // Less late, it finds its own bucket.
    window.record_at::<FAILURE>(early + secs(1));
    assert_eq!(window.sums(), [0, 2]);
    time.advance(secs(1));
    assert_eq!(window.sums(), [0, 1]);
}

#[test]
fn a_clock_that_steps_back_forgets_nothing() {
    let (time, window) = window(secs(4), 4);
    let start = time.clock().now();
    time.advance(secs(2));
    window.record::<FAILURE>();
    time.set(start);
    assert_eq!(window.sums(), [0, 1]);
    time.set(start + secs(6));
    assert_eq!(window.sums(), [0, 0]);
}

#[test]
fn counts_saturate() {
    let (time, window) = window(Duration::from_micros(4), 4);
    // A bucket of one microsecond has nine bits.
    for _ in 0..3 {
        window.add_at::<FAILURE>(300, time.clock().now());
    }
    window.add_at::<SUCCESS>(u64::MAX, time.clock().now());
    assert_eq!(window.sums(), [511, 511]);
    time.advance(Duration::from_micros(1));
    window.record::<FAILURE>();
    assert_eq!(window.sums(), [511, 512], "the next bucket counts for itself");
}

#[test]
fn the_end_of_time_is_no_trouble() {
    let (time, window) = window(Duration::from_micros(4), 4);
    let start = time.clock().now();
    let end: Instant = start + secs(1 << 35);
    window.record_at::<FAILURE>(end);
    assert_eq!(window.sums_at(end), [0, 1]);
    assert_eq!(window.sums_at(start), [0, 1]);
}

#[test]
fn bad_settings_are_refused_each_by_its_own_error() {
    let text = |length, buckets| Window::<1>::new(length, buckets).unwrap_err().to_string();
    assert_eq!(text(secs(1), 0), "window: buckets = 0: must be between 1 and 65536");
    assert_eq!(text(secs(1), 65_537), "window: buckets = 65537: must be between 1 and 65536");
    assert_eq!(
        text(Duration::from_nanos(1_999), 2),
        "window: length = 1.999µs: must be at least a microsecond for each bucket"
    );
    assert_eq!(
        text(Duration::ZERO, 1),
        "window: length = 0ns: must be at least a microsecond for each bucket"
    );
    assert!(text(Duration::MAX, 1).ends_with("must be less than 584 years"));
    assert!(Window::<1>::new(secs(1), 65_536).is_ok_and(|window| window.length() <= secs(1)));
}

#[test]
fn debug_tells_the_shape() {
    let (_, window) = window(secs(6), 6);
    assert_eq!(format!("{window:?}"), "Window { kinds: 2, buckets: 6, width: 1s, .. }");
}

#[test]
fn threads_lose_nothing() {
    let (time, window) = window(secs(3600), 60);
    let now = time.clock().now();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let window = &window;
            scope.spawn(move || {
                for n in 0..5_000 {
                    // All threads go through all buckets, each from another one.
                    window.record_at::<FAILURE>(now + secs(60 * ((n + 15 * thread) % 60)));
                }
            });
        }
    });
    assert_eq!(window.sums_at(now + secs(3599)), [0, 20_000]);
}

proptest! {
    /// Against a list of all events.
    #[test]
    fn counts_what_a_list_counts(
        width in 1_000..5_000_u64,
        buckets in 1..9_usize,
        steps in prop::collection::vec((0..3_u8, 0..20_000_u64, 0..2_usize), 1..80),
    ) {
        let (time, window) = window(Duration::from_nanos(width * buckets as u64), buckets);
        let start = time.clock().now();
        let mut list: Vec<(u64, usize)> = Vec::new();
        let mut now = 0;
        for (what, by, kind) in steps {
            now += if what == 0 { by } else { by % 700 };
            let at = start + Duration::from_nanos(now);
            if what != 1 {
                if kind == FAILURE { window.record_at::<FAILURE>(at) } else { window.record_at::<SUCCESS>(at) }
                list.push((now / width, kind));
            }
            let expected = [SUCCESS, FAILURE].map(|kind| {
                let within = |(bucket, of): &&(u64, usize)| *of == kind && bucket + buckets as u64 > now / width;
                list.iter().filter(within).count() as u64
            });
            prop_assert_eq!(window.sums_at(at), expected);
        }
    }
}
