//! Admission control: the formula, its window, its permits, and the policy around calls.

mod policy;

use cofferdam::limit::{AdmissionBuilder, AdmissionControl, Answer};
use cofferdam::testkit::ManualClock;
use cofferdam::time::Rng;
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::time::{Duration, Instant};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const WINDOW: Duration = Duration::from_secs(120);

fn builder(time: &ManualClock) -> AdmissionBuilder {
    AdmissionControl::builder().clock(time.clock()).rng(Rng::with_seed(7))
}

fn control(time: &ManualClock) -> AdmissionControl {
    builder(time).build().unwrap()
}

/// `n` calls that were let through and came to this.
fn record(control: &AdmissionControl, now: Instant, n: u32, answer: Answer) {
    for _ in 0..n {
        control.try_acquire_at(now, 1.0).unwrap().record_at(answer, now);
    }
}

// S79
#[test]
fn the_probability_is_that_of_the_book() {
    let control = AdmissionControl::new();
    // (requests, accepts, as a fraction)
    let table = [
        (0, 0, (0.0, 1.0)),
        (9, 0, (0.0, 1.0)),
        (10, 0, (4.0, 5.0)), // the cap; 10/11 without it
        (10, 10, (0.0, 1.0)),
        (10, 5, (0.0, 1.0)),
        (10, 4, (2.0, 11.0)),
        (10, 3, (4.0, 11.0)),
        (100, 50, (0.0, 1.0)),
        (100, 49, (2.0, 101.0)),
        (100, 25, (50.0, 101.0)),
        (100, 1, (4.0, 5.0)),
        (1_000_000, 250_000, (500_000.0, 1_000_001.0)),
        (u64::MAX, 0, (4.0, 5.0)),
        (u64::MAX, u64::MAX, (0.0, 1.0)),
    ];
    for (requests, accepts, (over, under)) in table {
        assert_eq!(control.probability_of(requests, accepts), over / under, "{accepts} of {requests}");
    }
    let eager = AdmissionControl::builder().k(1.1).max(0.99).min_requests(0).build().unwrap();
    assert_eq!(eager.probability_of(0, 0), 0.0);
    assert_eq!(eager.probability_of(1, 0), 0.5);
    assert!((eager.probability_of(99, 81) - 0.099).abs() < 1e-12, "99 - 89.1 of 100");
    assert_eq!(eager.probability_of(110, 100), 0.0);
}

#[test]
fn with_a_threshold_and_an_aggression_it_is_that_of_envoy() {
    let control = AdmissionControl::builder().k(1.0 / 0.8).aggression(2.0).max(0.8).build().unwrap();
    for (n, s) in [(100.0, 40.0), (99.0, 60.0), (1000.0, 700.0)] {
        let expected: f64 = (n - s / 0.8_f64) / (n + 1.0);
        let found = control.probability_of(n as u64, s as u64);
        assert!((found - expected.sqrt()).abs() < 1e-9, "{s} of {n}: {found}");
    }
    assert_eq!(control.probability_of(100, 80), 0.0);
    assert_eq!(control.probability_of(100, 0), 0.8);
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let builder = AdmissionControl::builder;
    let cases = [
        (builder().k(0.99), "admission control: k = 0.99: must be a finite number of at least 1"),
        (builder().k(f64::NAN), "admission control: k = NaN: must be a finite number of at least 1"),
        (builder().k(f64::INFINITY), "admission control: k = inf: must be a finite number of at least 1"),
        (
            builder().aggression(0.5),
            "admission control: aggression = 0.5: must be a finite number of at least 1",
        ),
        (
            builder().aggression(f64::INFINITY),
            "admission control: aggression = inf: must be a finite number of at least 1",
        ),
        (builder().max(1.0), "admission control: max = 1: must be above 0 and below 1"),
        (builder().max(0.0), "admission control: max = 0: must be above 0 and below 1"),
        (builder().max(f64::NAN), "admission control: max = NaN: must be above 0 and below 1"),
        (builder().buckets(0), "admission control: buckets = 0: must be between 1 and 65536"),
        (
            builder().window(Duration::from_micros(23)),
            "admission control: window = 23µs: must be at least a microsecond for each bucket",
        ),
        (
            builder().window(Duration::MAX),
            "admission control: window = 18446744073709551615.999999999s: must be less than 584 years",
        ),
    ];
    for (builder, text) in cases {
        assert_eq!(builder.build().unwrap_err().to_string(), text);
    }
}

// S79
#[test]
fn what_is_turned_away_here_counts_as_a_request_and_not_as_an_accept() {
    let time = ManualClock::new();
    let (control, now) = (control(&time), time.clock().now());
    record(&control, now, 6, Answer::Accepted);
    record(&control, now, 8, Answer::Rejected);
    assert_eq!(control.probability_at(now), 2.0 / 15.0);
    let refused = control.try_acquire_at(now, 0.0).unwrap_err();
    assert_eq!((refused.requests(), refused.accepts(), refused.probability()), (14, 6, 2.0 / 15.0));
    assert_eq!(
        refused.to_string(),
        "admission control: turned away with a probability of 0.13: 6 of 14 requests were accepted"
    );
    let stats = control.stats();
    assert_eq!((stats.window_requests, stats.window_accepts, stats.shed), (15, 6, 1));
    assert_eq!(stats.probability, 3.0 / 16.0, "one more that was not accepted");
}

// S2
#[test]
fn calls_count_when_they_are_answered_and_not_before() {
    let time = ManualClock::new();
    let control = control(&time);
    let running: Vec<_> = (0..1000).map(|_| control.try_acquire_owned().unwrap()).collect();
    assert_eq!((control.stats().running, control.stats().window_requests), (1000, 0));
    let mut running = running.into_iter();
    running.by_ref().take(20).for_each(drop);
    running.by_ref().take(30).for_each(|permit| permit.ignore());
    assert_eq!(
        (control.stats().running, control.stats().window_requests, control.probability()),
        (950, 0, 0.0)
    );
    running.by_ref().take(5).for_each(|permit| permit.accepted());
    running.for_each(|permit| permit.rejected());
    let stats = control.stats();
    assert_eq!((stats.cancelled, stats.ignored, stats.accepted, stats.rejected), (20, 30, 5, 945));
    assert_eq!((stats.running, stats.window_requests, stats.window_accepts, stats.shed), (0, 950, 5, 0));
    assert_eq!(control.probability(), 0.8);
}

#[test]
fn below_the_least_number_of_requests_nothing_is_turned_away() {
    let time = ManualClock::new();
    let (control, now) = (builder(&time).min_requests(5).max(0.99).build().unwrap(), time.clock().now());
    record(&control, now, 4, Answer::Rejected);
    assert_eq!(control.probability(), 0.0);
    drop(control.try_acquire_at(now, 0.0).expect("only four"));
    record(&control, now, 1, Answer::Rejected);
    assert_eq!(control.probability(), 5.0 / 6.0);
    assert!(control.try_acquire_at(now, 0.0).is_err());
    // Of the window, not of all time (S30).
    time.advance(WINDOW);
    record(&control, time.clock().now(), 1, Answer::Rejected);
    assert_eq!(control.probability(), 0.0);
}

#[test]
fn whatever_the_server_does_some_calls_get_through() {
    let time = ManualClock::new();
    let (control, now) = (builder(&time).max(0.75).build().unwrap(), time.clock().now());
    record(&control, now, 100_000, Answer::Rejected);
    assert_eq!(control.probability(), 0.75);
    assert!(control.try_acquire_at(now, 0.749_999).is_err());
    drop(control.try_acquire_at(now, 0.75).expect("the draw is not below the probability"));
}

// S26
#[test]
fn the_window_moves_on_when_it_is_only_asked() {
    let time = ManualClock::new();
    let start = time.clock().now();
    let control = control(&time);
    record(&control, start, 20, Answer::Rejected);
    assert_eq!(control.probability(), 0.8);
    assert_eq!(control.probability_at(start + WINDOW - Duration::from_nanos(1)), 0.8);
    // S28: gone a window later at the latest.
    assert_eq!(control.probability_at(start + WINDOW), 0.0);
    time.advance(2 * WINDOW);
    assert_eq!((control.probability(), control.stats().window_requests), (0.0, 0));
    assert!(control.try_acquire_at(time.clock().now(), 0.0).is_ok());
}

// S25
#[test]
fn asking_moves_no_edge() {
    let time = ManualClock::new();
    let start = time.clock().now();
    let (asked, alone) = (control(&time), control(&time));
    for second in 0..300 {
        let now = start + secs(second) + Duration::from_millis(second * 3);
        for control in [&asked, &alone] {
            // Nobody is turned away by a draw of 1.
            control
                .try_acquire_at(now, 1.0)
                .unwrap()
                .record_at(if second % 3 == 0 { Answer::Accepted } else { Answer::Rejected }, now);
        }
        for later in 0..5 {
            asked.probability_at(now + Duration::from_millis(100 * later));
            asked.stats_at(now);
        }
        assert_eq!(asked.stats_at(now).window_requests, alone.stats_at(now).window_requests);
        assert_eq!(asked.probability_at(now), alone.probability_at(now));
    }
}

/// A server that is called 10 times a second and rejects everything until it is well. Says for how long after that
/// calls were still turned away.
fn recovery(mut control: AdmissionControl, time: &ManualClock, down_for: Duration) -> Duration {
    let (start, mut last_shed) = (time.elapsed(), Duration::ZERO);
    let end = down_for + 4 * WINDOW;
    while time.elapsed() - start < end {
        let since = time.elapsed() - start;
        match control.try_acquire() {
            Ok(permit) if since < down_for => permit.rejected(),
            Ok(permit) => permit.accepted(),
            Err(_) => last_shed = since,
        }
        // A clone is the same control.
        control = control.clone();
        time.advance(Duration::from_millis(100));
    }
    assert!(last_shed > down_for, "it was never turned away: nothing was shown");
    last_shed - down_for
}

// S79
#[test]
fn a_server_that_rejected_everything_is_called_as_before_two_windows_after_it_recovered() {
    for seed in 0..10 {
        // 100 s of ten a second: 1000 requests; and a long outage.
        for down_for in [secs(100), secs(600)] {
            let time = ManualClock::new();
            let control = builder(&time).rng(Rng::with_seed(seed)).build().unwrap();
            let took = recovery(control.clone(), &time, down_for);
            assert!(took <= 2 * WINDOW, "seed {seed}: {took:?}");
            let stats = control.stats();
            assert_eq!((stats.probability, stats.running), (0.0, 0));
            assert_eq!(stats.window_accepts, stats.window_requests);
        }
    }
}

#[test]
fn a_thousand_rejections_at_once_are_forgotten_a_window_later() {
    let time = ManualClock::new();
    let control = control(&time);
    let mut reached = 0;
    for _ in 0..1000 {
        if let Ok(permit) = control.try_acquire() {
            reached += 1;
            permit.rejected();
        }
    }
    // Ten until there is something to go by, and about a fifth of the rest.
    assert!((150..260).contains(&reached), "{reached}");
    time.advance(WINDOW);
    assert!((0..1000).all(|_| control.try_acquire().map(|permit| permit.accepted()).is_ok()));
}

// What it is for: an overloaded server is asked about `k` times as often as it can answer, not ten times.
#[test]
fn the_server_sees_about_k_times_what_it_accepts() {
    for k in [1.1, 1.5, 2.0] {
        let time = ManualClock::new();
        let control = builder(&time).k(k).max(0.99).build().unwrap();
        let (mut accepted, mut received) = (0_u64, 0_u64);
        for second in 0..10 * 60 {
            let mut room = 10;
            for _ in 0..100 {
                if let Ok(permit) = control.try_acquire() {
                    let settled = second >= 5 * 60;
                    received += u64::from(settled);
                    if room > 0 {
                        room -= 1;
                        accepted += u64::from(settled);
                        permit.accepted();
                    } else {
                        permit.rejected();
                    }
                }
                time.advance(Duration::from_millis(10));
            }
        }
        let ratio = received as f64 / accepted as f64;
        assert!((ratio - k).abs() < 0.1 * k, "k {k}: {received} received, {accepted} accepted");
        assert!(accepted > 10 * 300 * 8 / 10, "k {k}: the server was idle: {accepted}");
    }
}

#[test]
fn the_same_seed_gives_the_same_decisions() {
    let decisions = |seed| {
        let time = ManualClock::new();
        let control = builder(&time).max(0.5).rng(Rng::with_seed(seed)).build().unwrap();
        record(&control, time.clock().now(), 100, Answer::Rejected);
        (0..200).map(|_| control.try_acquire().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(decisions(1), decisions(1));
    assert_ne!(decisions(1), decisions(2));
    // Those that chance has no part in take nothing from the generator, nor do those at a given draw.
    let time = ManualClock::new();
    let control = builder(&time).max(0.5).rng(Rng::with_seed(1)).build().unwrap();
    for _ in 0..50 {
        control.try_acquire().expect("nothing was rejected yet").ignore();
    }
    record(&control, time.clock().now(), 100, Answer::Rejected);
    for _ in 0..50 {
        assert!(control.try_acquire_at(time.clock().now(), 0.3).is_err());
    }
    assert_eq!((0..200).map(|_| control.try_acquire().is_ok()).collect::<Vec<_>>(), decisions(1));
    // Without a seed there is one all the same, another one each time.
    let unseeded = || {
        let control = AdmissionControl::builder().max(0.5).clock(time.clock()).build().unwrap();
        record(&control, time.clock().now(), 100, Answer::Rejected);
        (0..200).map(|_| control.try_acquire().is_ok()).collect::<Vec<_>>()
    };
    assert_ne!(unseeded(), unseeded());
}

#[test]
fn as_many_are_turned_away_as_the_probability_says_and_each_by_itself() {
    const CALLS: usize = 100_000;
    for (seed, max) in [(1, 0.05), (2, 0.3), (3, 0.5), (4, 0.9), (5, 0.99)] {
        let time = ManualClock::new();
        let control = builder(&time).max(max).rng(Rng::with_seed(seed)).build().unwrap();
        record(&control, time.clock().now(), 1000, Answer::Rejected);
        // At the cap, so that being turned away changes nothing.
        let shed: Vec<bool> = (0..CALLS).map(|_| control.try_acquire().is_err()).collect();
        // Five standard deviations, as a share of all calls.
        let near = |found: usize, p: f64| {
            let share = found as f64 / CALLS as f64;
            assert!((share - p).abs() < 5.0 * (p * (1.0 - p) / CALLS as f64).sqrt(), "{share} for {p}");
        };
        near(shed.iter().filter(|shed| **shed).count(), max);
        for distance in [2, 3, 8] {
            let both = shed.windows(distance).filter(|calls| calls[0] && calls[distance - 1]).count();
            near(both, max * max);
        }
    }
}

#[test]
fn settings_change_while_it_runs() {
    let time = ManualClock::new();
    let (control, now) = (control(&time), time.clock().now());
    record(&control, now, 60, Answer::Accepted);
    record(&control, now, 40, Answer::Rejected);
    assert_eq!(control.probability(), 0.0);
    assert_eq!(control.set_k(1.0).unwrap(), 2.0);
    assert_eq!((control.k(), control.probability()), (1.0, 40.0 / 101.0));
    assert_eq!(control.set_max(0.25).unwrap(), 0.8);
    assert_eq!((control.max(), control.probability()), (0.25, 0.25));
    assert_eq!(control.set_k(0.5).unwrap_err().knob(), "k");
    assert_eq!(control.set_max(1.5).unwrap_err().knob(), "max");
    assert_eq!((control.k(), control.max()), (1.0, 0.25));
    assert_eq!(control.clone().probability(), 0.25, "clones share the settings");
}

// S5
#[test]
fn a_permit_that_a_panic_drops_counts_as_rejected() {
    let control = control(&ManualClock::new());
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let _permit = control.try_acquire().unwrap();
        resume_unwind(Box::new(17_u32));
    }))
    .unwrap_err();
    assert_eq!(payload.downcast_ref::<u32>(), Some(&17));
    let stats = control.stats();
    assert_eq!((stats.rejected, stats.window_requests, stats.cancelled, stats.running), (1, 1, 0, 0));
}

#[test]
fn threads_lose_no_call() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 2_000;
    let time = ManualClock::new();
    let (control, start) = (builder(&time).max(0.5).build().unwrap(), Barrier::new(THREADS as usize));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (control, start) = (&control, &start);
            scope.spawn(move || {
                start.wait();
                for call in 0..CALLS {
                    let Ok(permit) = control.try_acquire() else { continue };
                    match (call + thread) % 8 {
                        0 => permit.accepted(),
                        1 => permit.ignore(),
                        2 => drop(permit),
                        _ => permit.rejected(),
                    }
                }
            });
        }
    });
    let stats = control.stats();
    let counted = stats.accepted + stats.rejected + stats.shed;
    assert_eq!(counted + stats.ignored + stats.cancelled, THREADS * CALLS);
    assert_eq!((stats.running, stats.window_requests, stats.window_accepts), (0, counted, stats.accepted));
    assert!(stats.shed > 0 && stats.accepted > 0, "{stats:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Call { draw: f64, answer: Option<Answer> },
}

fn step() -> impl Strategy<Value = Step> {
    let answer = prop_oneof![
        Just(Some(Answer::Accepted)),
        Just(Some(Answer::Rejected)),
        Just(Some(Answer::Ignored)),
        Just(None)
    ];
    prop_oneof![
        1 => (0..20_000_u64).prop_map(Step::Wait),
        1 => (0..40_000_000_u64).prop_map(Step::Wait),
        6 => (0.0..1.0_f64, answer).prop_map(|(draw, answer)| Step::Call { draw, answer }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a list of all that ever happened.
    #[test]
    fn it_decides_as_a_plain_list_of_events_does(
        steps in prop::collection::vec(step(), 1..300),
        k in 1.0..3.0_f64,
        aggression in prop_oneof![Just(1.0), 1.0..4.0_f64],
        max in 0.1..0.99_f64,
        min_requests in 0..20_u64,
        buckets in 1..30_usize,
    ) {
        let time = ManualClock::new();
        let start = time.clock().now();
        let window = Duration::from_micros(90_000_000);
        let control = AdmissionControl::builder()
            .k(k).aggression(aggression).max(max).min_requests(min_requests)
            .window(window).buckets(buckets).clock(time.clock())
            .build().unwrap();
        let width = window.as_nanos() / buckets as u128;
        let mut events: Vec<(u128, bool)> = Vec::new();
        let mut at = Duration::ZERO;
        for step in steps {
            let (draw, answer) = match step {
                Step::Wait(micros) => { at += Duration::from_micros(micros); continue }
                Step::Call { draw, answer } => (draw, answer),
            };
            let bucket = at.as_nanos() / width;
            let inside = |of: u128| of + buckets as u128 > bucket;
            let requests = events.iter().filter(|event| inside(event.0)).count() as u64;
            let accepts = events.iter().filter(|event| event.1 && inside(event.0)).count() as u64;
            let expected = if requests < min_requests {
                0.0
            } else {
                let surplus = (requests as f64 - k * accepts as f64) / (requests as f64 + 1.0);
                surplus.max(0.0).powf(1.0 / aggression).min(max)
            };
            let now = start + at;
            let stats = control.stats_at(now);
            prop_assert_eq!((stats.window_requests, stats.window_accepts), (requests, accepts));
            prop_assert!((stats.probability - expected).abs() < 1e-12, "{} {}", stats.probability, expected);
            prop_assert_eq!(control.probability_of(requests, accepts), stats.probability);
            match control.try_acquire_at(now, draw) {
                Err(_) => {
                    prop_assert!(draw < stats.probability);
                    events.push((bucket, false));
                }
                Ok(permit) => {
                    prop_assert!(draw >= stats.probability);
                    match answer {
                        None => drop(permit),
                        Some(answer) => {
                            permit.record_at(answer, now);
                            if answer != Answer::Ignored {
                                events.push((bucket, answer == Answer::Accepted));
                            }
                        }
                    }
                }
            }
        }
    }
}
