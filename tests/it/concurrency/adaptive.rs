//! What the adaptive limiter measures, when it steps, and what it makes of the answer.

use super::ms;
use cofferdam::limit::AdaptiveLimiter;
use cofferdam::limit::concurrency::{
    AdaptiveLimiterBuilder, Aimd, Algorithm, Fixed, Outcome, Request, Sample, Statistic,
};
use cofferdam::testkit::{ManualClock, Polled};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

/// Keeps what it is given, and answers with what it is told.
#[derive(Clone)]
struct Recorder(Arc<Mutex<State>>);

struct State {
    limit: u32,
    probing: bool,
    panics: bool,
    seen: Vec<Sample>,
}

impl Recorder {
    fn new(limit: u32) -> Self {
        Self(Arc::new(Mutex::new(State { limit, probing: false, panics: false, seen: Vec::new() })))
    }

    fn tell(&self, tell: impl FnOnce(&mut State)) {
        tell(&mut self.0.lock().unwrap());
    }

    fn seen(&self) -> Vec<Sample> {
        std::mem::take(&mut self.0.lock().unwrap().seen)
    }
}

impl Algorithm for Recorder {
    fn limit(&self) -> u32 {
        self.0.lock().unwrap().limit
    }

    fn update(&mut self, sample: &Sample) -> u32 {
        let panics = self.0.lock().unwrap().panics;
        assert!(!panics, "as told");
        let mut state = self.0.lock().unwrap();
        state.seen.push(*sample);
        state.limit
    }

    fn is_probing(&self) -> bool {
        self.0.lock().unwrap().probing
    }
}

fn recorded(
    limit: u32,
    settings: impl FnOnce(AdaptiveLimiterBuilder) -> AdaptiveLimiterBuilder,
) -> (ManualClock, AdaptiveLimiter, Recorder) {
    let (time, recorder) = (ManualClock::new(), Recorder::new(limit));
    let builder =
        AdaptiveLimiter::builder(recorder.clone()).clock(time.clock()).min_samples(1).window(ms(100));
    (time, settings(builder).build().unwrap(), recorder)
}

fn call(time: &ManualClock, limiter: &AdaptiveLimiter, millis: u64, outcome: Outcome) {
    let guard = limiter.try_acquire().unwrap();
    time.advance(ms(millis));
    guard.record(outcome);
}

// S74
#[test]
fn times_run_from_when_a_call_was_let_through() {
    let (time, limiter, recorder) = recorded(1, |builder| builder.queue(1).longest_window(ms(100)));
    let first = limiter.try_acquire().unwrap();
    let mut second = Polled::new(limiter.acquire());
    assert!(second.poll().is_none());
    time.advance(ms(1000));
    first.ignore();
    let second = second.poll().unwrap().unwrap();
    time.advance(ms(10));
    second.success();
    let [sample] = recorder.seen()[..] else { panic!("one window") };
    assert_eq!((sample.rtt, sample.successes, sample.in_flight), (Some(ms(10)), 1, 1));
}

// S73, S74
#[test]
fn what_is_in_flight_is_counted_when_a_call_begins() {
    let (time, limiter, recorder) = recorded(10, |builder| builder);
    let mut guards: Vec<_> = (0..4).map(|_| limiter.try_acquire().unwrap()).collect();
    assert_eq!(limiter.stats().in_flight, 4);
    time.advance(ms(50));
    let (last, third) = (guards.pop().unwrap(), guards.pop().unwrap());
    drop(guards);
    third.success();
    drop(last);
    assert_eq!(limiter.stats().in_flight, 0);
    time.advance(ms(50));
    call(&time, &limiter, 1, Outcome::Success);
    let [sample] = recorder.seen()[..] else { panic!("one window") };
    assert_eq!(sample.in_flight, 3, "of those that ended in it the third found most, itself among them");
    assert_eq!(sample.successes, 2);
    let heavy = limiter.acquire_with_now(5);
    time.advance(ms(200));
    heavy.success();
    assert_eq!(recorder.seen()[0].in_flight, 5, "permits, not calls");
}

trait AcquireNow {
    fn acquire_with_now(&self, n: u32) -> cofferdam::limit::concurrency::adaptive::Guard<&AdaptiveLimiter>;
}

impl AcquireNow for AdaptiveLimiter {
    fn acquire_with_now(&self, n: u32) -> cofferdam::limit::concurrency::adaptive::Guard<&AdaptiveLimiter> {
        self.try_acquire_with(Request::new(n)).unwrap()
    }
}

// S75, S2
#[test]
fn ignored_and_cancelled_calls_leave_no_trace_and_drops_do() {
    let (time, limiter, recorder) = recorded(10, |builder| builder);
    call(&time, &limiter, 1, Outcome::Ignored);
    drop(limiter.try_acquire());
    time.advance(ms(200));
    call(&time, &limiter, 1, Outcome::Ignored);
    assert_eq!((recorder.seen(), limiter.stats().thin_windows), (vec![], 0));
    call(&time, &limiter, 5, Outcome::Dropped);
    let [sample] = recorder.seen()[..] else { panic!("one window") };
    assert_eq!((sample.rtt, sample.successes, sample.drops, sample.in_flight), (None, 0, 1, 1));
}

// S5
#[test]
fn a_panic_is_a_drop_and_passes_through() {
    let (time, limiter, recorder) = recorded(1, |builder| builder);
    time.advance(ms(100));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = limiter.try_acquire().unwrap();
        std::panic::panic_any("mine");
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    assert_eq!(recorder.seen()[0].drops, 1);
    assert_eq!((limiter.stats().in_flight, limiter.stats().available), (0, 1));
}

// S77, CL#125
#[test]
fn a_window_with_too_few_calls_is_thrown_away_whole() {
    let (time, limiter, recorder) = recorded(10, |builder| builder.min_samples(3));
    let window = |calls: u32| {
        time.advance(ms(100));
        (0..calls).for_each(|_| call(&time, &limiter, 1, Outcome::Success));
    };
    // The first of each closes the one before.
    window(3);
    assert_eq!((recorder.seen().len(), limiter.stats().thin_windows), (0, 1), "one, when the time was over");
    window(1);
    let [sample] = recorder.seen()[..] else { panic!("the two, and the one that ended it") };
    assert_eq!(sample.successes, 3);
    window(1);
    window(1);
    assert_eq!((recorder.seen().len(), limiter.stats().thin_windows), (0, 3));
    assert_eq!(limiter.stats().updates, 1);
}

// S77
#[test]
fn times_of_nothing_and_below_the_floor_are_skipped() {
    for (floor, expected) in [(ms(0), 3), (ms(5), 2)] {
        let (time, limiter, recorder) = recorded(10, |builder| builder.rtt_floor(floor));
        for millis in [0, 4, 5] {
            call(&time, &limiter, millis, Outcome::Success);
        }
        call(&time, &limiter, 100, Outcome::Success);
        assert_eq!(recorder.seen()[0].successes, expected, "floor {floor:?}");
    }
}

#[test]
fn a_time_is_the_average_or_a_percentile() {
    let of = |statistic| {
        let (time, limiter, recorder) = recorded(10, |builder| builder.statistic(statistic).window(ms(1500)));
        for _ in 0..9 {
            call(&time, &limiter, 100, Outcome::Success);
        }
        call(&time, &limiter, 1000, Outcome::Success);
        let [sample] = recorder.seen()[..] else { panic!("one window") };
        assert_eq!(sample.successes, 10);
        sample.rtt.unwrap()
    };
    let near = |rtt: std::time::Duration, millis: u64| {
        // An eighth above at most; the unit of the sum is 64 ns.
        rtt + ms(1) > ms(millis) && rtt < ms(millis) * 9 / 8 + ms(1)
    };
    assert!(near(of(Statistic::Average), 190));
    for (percent, millis) in [(1, 100), (50, 100), (90, 100), (91, 1000), (100, 1000)] {
        let rtt = of(Statistic::Percentile(percent));
        assert!(near(rtt, millis), "{percent}: {rtt:?}");
    }
}

#[test]
fn a_window_is_twice_as_long_as_the_fastest_call_within_its_bounds() {
    let (time, limiter, recorder) = recorded(10, |builder| builder.longest_window(ms(600)));
    call(&time, &limiter, 200, Outcome::Success);
    assert_eq!(recorder.seen().len(), 1);
    call(&time, &limiter, 200, Outcome::Success);
    assert_eq!(recorder.seen().len(), 0, "200 of 400 ms");
    call(&time, &limiter, 200, Outcome::Success);
    assert_eq!(recorder.seen().len(), 1);
    call(&time, &limiter, 5000, Outcome::Success);
    assert_eq!(recorder.seen().len(), 1);
    time.advance(ms(599));
    call(&time, &limiter, 1, Outcome::Success);
    assert_eq!(recorder.seen().len(), 1, "no longer than 600");
}

#[test]
fn the_answer_is_the_limit_and_wakes_at_once() {
    let (time, limiter, recorder) = recorded(1, |builder| builder.queue(5));
    let first = limiter.try_acquire().unwrap();
    let mut waits: Vec<_> = (0..3).map(|_| Polled::new(limiter.acquire())).collect();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_none()));
    recorder.tell(|state| state.limit = 3);
    time.advance(ms(100));
    first.success();
    assert_eq!(limiter.limit(), 3);
    let guards: Vec<_> = waits.iter_mut().filter_map(|wait| wait.poll()).collect();
    assert_eq!((guards.len(), limiter.stats().available), (3, 0));
    // S78: a shrink admits nobody before less is in flight.
    recorder.tell(|state| state.limit = 0);
    time.advance(ms(200));
    let mut guards = guards.into_iter();
    guards.next().unwrap().unwrap().success();
    assert_eq!(limiter.limit(), 1, "never less");
    assert!(limiter.clone().try_acquire().unwrap_err().is_full());
    drop(guards.next());
    assert!(limiter.try_acquire().is_err());
    drop(guards.next());
    assert!(limiter.try_acquire().is_ok());
}

// S78
#[test]
fn no_update_of_many_threads_is_lost() {
    let algorithm = Aimd::builder().initial(100).max(100_000).slow_start(false).build().unwrap();
    let time = ManualClock::new();
    let builder = AdaptiveLimiter::builder(algorithm).clock(time.clock());
    let limiter = builder.min_samples(1).window(ms(1)).longest_window(ms(1)).build().unwrap();
    let start = time.clock().now();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let limiter = limiter.clone();
            thread::spawn(move || {
                for millis in 1..500 {
                    let now = start + ms(10 * millis);
                    // So many that the limit is tried; they end at once but for one.
                    let held: Vec<_> =
                        std::iter::from_fn(|| limiter.try_acquire_at(now).ok()).take(2000).collect();
                    for guard in held {
                        guard.record_at(Outcome::Success, now + ms(5));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = limiter.stats();
    assert!(stats.updates > 100, "{stats:?}");
    assert_eq!((stats.in_flight, u64::from(stats.available)), (0, u64::from(stats.limit)));
    assert!(u64::from(stats.limit) <= 100 + stats.updates, "{stats:?}");
}

// S78: "N concurrent additive updates raise the limit by exactly N"
#[test]
fn as_many_windows_as_end_so_much_is_added() {
    /// Adds one for each window, tried or not: where two threads turn a window, not all of its calls need be in it.
    struct Adds(u32);
    impl Algorithm for Adds {
        fn limit(&self) -> u32 {
            self.0
        }
        fn update(&mut self, _: &Sample) -> u32 {
            self.0 += 1;
            self.0
        }
    }
    let time = ManualClock::new();
    let builder = AdaptiveLimiter::builder(Adds(1)).clock(time.clock()).min_samples(1);
    let limiter = builder.window(ms(1)).longest_window(ms(1)).build().unwrap();
    let (threads, rounds) = (4, 200);
    let start = time.clock().now();
    let barrier = Arc::new(std::sync::Barrier::new(threads));
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            let (limiter, barrier) = (limiter.clone(), Arc::clone(&barrier));
            thread::spawn(move || {
                for round in 0..rounds {
                    let begin = start + ms(10 * round);
                    barrier.wait();
                    // Whoever can, takes all that there is.
                    let held: Vec<_> = std::iter::from_fn(|| limiter.try_acquire_at(begin).ok()).collect();
                    barrier.wait();
                    held.into_iter().for_each(|guard| guard.record_at(Outcome::Success, begin + ms(5)));
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    let stats = limiter.stats();
    assert_eq!(u64::from(stats.limit), 1 + stats.updates, "{stats:?}");
    assert!(stats.updates >= rounds, "{stats:?}");
}

#[test]
fn an_algorithm_that_panics_is_asked_again_in_the_next_window() {
    let (time, limiter, recorder) = recorded(2, |builder| builder);
    recorder.tell(|state| state.panics = true);
    time.advance(ms(100));
    let guard = limiter.try_acquire().unwrap();
    time.advance(ms(1));
    assert!(catch_unwind(AssertUnwindSafe(|| guard.success())).is_err());
    assert_eq!((limiter.stats().in_flight, limiter.stats().available), (0, 2), "the permit is back");
    recorder.tell(|state| (state.panics, state.limit) = (false, 7));
    time.advance(ms(200));
    call(&time, &limiter, 1, Outcome::Success);
    assert_eq!((recorder.seen().len(), limiter.limit()), (1, 7));
}

// Two panics at once would end the process.
#[test]
fn an_algorithm_that_panics_after_a_call_that_panicked_is_asked_again_too() {
    let (time, limiter, recorder) = recorded(2, |builder| builder);
    recorder.tell(|state| state.panics = true);
    time.advance(ms(100));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = limiter.try_acquire().unwrap();
        std::panic::panic_any("mine");
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    assert_eq!((limiter.stats().in_flight, limiter.stats().available), (0, 2), "the permit is back");
    recorder.tell(|state| (state.panics, state.limit) = (false, 7));
    time.advance(ms(200));
    call(&time, &limiter, 1, Outcome::Success);
    assert_eq!((recorder.seen().len(), limiter.limit()), (1, 7));
}

// No newcomer looks, and no call ends.
#[test]
fn a_probe_whose_calls_hang_is_over_for_those_who_wait_already() {
    struct Probing(u32);
    impl Algorithm for Probing {
        fn limit(&self) -> u32 {
            if self.0 > 0 { 1 } else { 2 }
        }
        fn update(&mut self, _: &Sample) -> u32 {
            self.0 -= 1;
            self.limit()
        }
        fn is_probing(&self) -> bool {
            self.0 > 0
        }
    }
    let time = ManualClock::new();
    let builder = AdaptiveLimiter::builder(Probing(3)).clock(time.clock()).window(ms(100)).queue(1);
    let limiter = builder.build().unwrap();
    let _hangs = limiter.try_acquire().unwrap();
    let mut waiter = Polled::new(limiter.acquire());
    assert!(waiter.poll().is_none());
    for turns in 1..=3 {
        time.advance(ms(101));
        assert_eq!(waiter.wakes(), turns, "to look");
        assert!(waiter.poll().is_none());
    }
    assert_eq!(waiter.wakes(), 4, "let through by its own look");
    assert!(waiter.poll().unwrap().is_ok());
    assert_eq!((limiter.stats().probing, limiter.limit()), (false, 2));
}

#[test]
fn an_algorithm_may_look_at_its_own_limiter() {
    struct Looks(Arc<Mutex<Option<AdaptiveLimiter>>>);
    impl Algorithm for Looks {
        fn limit(&self) -> u32 {
            4
        }
        fn update(&mut self, _: &Sample) -> u32 {
            let limiter = self.0.lock().unwrap().clone().unwrap();
            limiter.try_acquire().unwrap().success();
            let stats = limiter.stats();
            assert!(format!("{limiter:?}").contains("in_flight"));
            stats.limit + stats.in_flight + 1
        }
    }
    let (time, own) = (ManualClock::new(), Arc::new(Mutex::new(None)));
    let builder = AdaptiveLimiter::builder(Looks(Arc::clone(&own))).clock(time.clock()).min_samples(1);
    let limiter = builder.build().unwrap();
    *own.lock().unwrap() = Some(limiter.clone());
    call(&time, &limiter, 1000, Outcome::Success);
    assert_eq!(limiter.limit(), 5);
}

#[test]
fn while_the_algorithm_probes_windows_end_with_their_number_of_calls_or_with_their_time() {
    let (time, limiter, recorder) = recorded(10, |builder| builder.min_samples(4));
    let calls = |n: u32| (0..n).for_each(|_| call(&time, &limiter, 1, Outcome::Success));
    recorder.tell(|state| (state.probing, state.limit) = (true, 3));
    calls(4);
    time.advance(ms(100));
    calls(1);
    assert_eq!(recorder.seen().len(), 1);
    assert!(limiter.stats().probing);
    calls(3);
    assert_eq!(recorder.seen().len(), 0);
    calls(1);
    assert_eq!(recorder.seen()[0].successes, 4, "four in four milliseconds");
    calls(1);
    time.advance(ms(100));
    // Nothing comes back; whoever is kept out sees that the time is over.
    let held: Vec<_> = (0..3).map(|_| limiter.try_acquire().unwrap()).collect();
    assert_eq!(recorder.seen().len(), 0);
    recorder.tell(|state| (state.probing, state.limit) = (false, 10));
    assert!(limiter.try_acquire().is_err());
    assert_eq!((recorder.seen()[0].successes, limiter.limit()), (1, 10), "fewer than it takes, all the same");
    assert!(!limiter.stats().probing && limiter.try_acquire().is_ok());
    time.advance(ms(500));
    held.into_iter().for_each(|guard| guard.ignore());
    assert_eq!(limiter.stats().in_flight, 0);
}

#[test]
fn queue_partitions_and_close_are_those_of_the_plain_limiter() {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder(Fixed(2))
        .queue(1)
        .wait_limit(ms(50))
        .partition("a", 60)
        .clock(time.clock())
        .build()
        .unwrap();
    let a = limiter.partition("a").unwrap();
    let held: Vec<_> = (0..2).map(|_| limiter.try_acquire_owned().unwrap()).collect();
    let mut waiting = Polled::new(limiter.acquire_with_owned(Request::new(1).partition(a)));
    assert!(waiting.poll().is_none());
    assert_eq!((limiter.stats().waiting, limiter.partition_stats(a).waiting), (1, 1));
    assert!(Polled::new(limiter.acquire()).poll().unwrap().unwrap_err().is_full());
    time.advance(ms(50));
    assert!(waiting.poll().unwrap().unwrap_err().is_timeout());
    limiter.close();
    assert!(limiter.is_closed() && limiter.try_acquire().unwrap_err().is_closed());
    drop(held);
    assert_eq!(limiter.stats().in_flight, 0);
    let refused = AdaptiveLimiter::new(Fixed(1)).unwrap();
    let _one = refused.try_acquire().unwrap();
    assert!(
        Polled::new(refused.acquire()).poll().unwrap().unwrap_err().is_full(),
        "no queue unless asked for"
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let builder = || AdaptiveLimiter::builder(Fixed(1));
    for (builder, knob) in [
        (builder().window(ms(0)), "window"),
        (builder().min_samples(0), "min_samples"),
        (builder().min_samples(600_000), "min_samples"),
        (builder().statistic(Statistic::Percentile(0)), "statistic"),
        (builder().statistic(Statistic::Percentile(101)), "statistic"),
        (builder().wait_limit(ms(1)), "wait_limit"),
    ] {
        assert_eq!(builder.build().unwrap_err().knob(), knob);
    }
}
