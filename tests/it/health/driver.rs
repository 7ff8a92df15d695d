//! What the driver runs, and when.

use super::{Patient, SECOND, exact, ill, lines, status_of, told};
use cofferdam::health::{Check, Finding, Health, Kind, Status};
use cofferdam::testkit::{Polled, Sim};
use cofferdam::time::{Clock, Sleep, Timer};
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn each_check_is_run_at_once_and_then_at_its_own_interval() {
    Sim::for_seeds(0..20, |sim| {
        let (health, fast, slow, never) =
            (exact(sim.clock()), Patient::default(), Patient::default(), Patient::default());
        health.add(fast.check("fast").interval(SECOND * 2)).expect("valid");
        health.add(slow.check("slow").interval(SECOND * 5)).expect("valid");
        health.add(never.check("never").on_demand()).expect("valid");
        let _driver = sim.spawn("driver", health.run());
        sim.run_until_idle();
        assert_eq!((fast.asked(), slow.asked()), (1, 1));
        assert_eq!(sim.time().armed(), 1, "one timer for all");
        sim.advance(Duration::from_millis(10_999));
        assert_eq!((fast.asked(), slow.asked(), never.asked()), (6, 3, 0));
    });
}

#[test]
fn a_timer_is_armed_only_when_there_is_something_to_do() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    let driver = sim.spawn("driver", health.run());
    sim.run_until_idle();
    assert_eq!(sim.time().armed(), 0, "no check");
    health.add(patient.check("x").on_demand()).expect("valid");
    sim.run_until_idle();
    assert_eq!(sim.time().armed(), 0, "none that is ever due");
    health.add(patient.check("y")).expect("valid");
    sim.run_until_idle();
    assert_eq!((patient.asked(), sim.time().armed()), (1, 1), "one that was added while it waits");
    health.remove("y");
    sim.run_until_idle();
    assert_eq!(sim.time().armed(), 0);
    drop(health);
    sim.run(driver);
}

#[test]
fn it_ends_with_the_last_handle_and_not_before() {
    let sim = Sim::new(0);
    let (health, other) = (exact(sim.clock()), Patient::default());
    health.add(other.check("x")).expect("valid");
    health.add(Check::new("hangs", pending::<()>).timeout(SECOND * 1000)).expect("valid");
    let clone = health.clone();
    let driver = sim.spawn("driver", health.run());
    drop(health);
    sim.advance(SECOND * 60);
    assert!(!driver.is_finished() && other.asked() > 2);
    drop(clone);
    sim.run(driver);
    assert_eq!((sim.time().elapsed(), sim.time().armed()), (SECOND * 60, 0));
}

#[test]
fn of_two_drivers_one_stands_by() {
    Sim::for_seeds(0..20, |sim| {
        let (health, patient) = (exact(sim.clock()), Patient::default());
        health.add(patient.check("x")).expect("valid");
        let first = sim.spawn("first", health.run());
        sim.run_until_idle();
        let second = sim.spawn("second", health.run());
        sim.advance(SECOND * 10);
        assert_eq!((patient.asked(), sim.time().armed()), (2, 1), "one timer");
        first.cancel();
        sim.advance(SECOND * 10);
        assert_eq!(patient.asked(), 3, "the other has taken over");
        drop(health);
        sim.run(second);
    });
}

#[test]
fn checks_of_one_interval_do_not_stay_together() {
    let sim = Sim::new(7);
    let health = Health::builder().clock(sim.clock()).build().expect("valid");
    let times = Arc::new(Mutex::new(Vec::new()));
    for n in 0..50 {
        let (times, clock) = (Arc::clone(&times), sim.clock());
        let check = Check::new(format!("{n}"), move || {
            times.lock().expect("not poisoned").push((n, clock.now()));
            async {}
        });
        health.add(check).expect("valid");
    }
    let start = sim.clock().now();
    let _driver = sim.spawn("driver", health.run());
    sim.advance(SECOND * 30);
    let times = times.lock().expect("not poisoned");
    let of = |check| times.iter().filter(move |(n, _)| *n == check).map(|(_, at)| *at);
    let mut seconds: Vec<_> = (0..50).map(|check| of(check).nth(1).expect("two") - start).collect();
    seconds.sort();
    // From half an interval less a tenth of that, to an interval and a tenth.
    assert!(seconds[0] >= SECOND * 9 / 2 && seconds[49] <= SECOND * 11, "{seconds:?}");
    assert!(seconds[49] - seconds[0] > SECOND * 3, "{seconds:?}");
    for check in 0..50 {
        let all: Vec<_> = of(check).skip(1).collect();
        for pair in all.windows(2) {
            let between = pair[1] - pair[0];
            assert!(between >= SECOND * 9 && between <= SECOND * 11, "{between:?}");
        }
    }
}

#[test]
fn a_check_that_hangs_holds_no_other_up() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    health.add(Check::new("hangs", pending::<()>).timeout(SECOND * 30).failures(1)).expect("valid");
    health.add(patient.check("x").interval(SECOND)).expect("valid");
    let _driver = sim.spawn("driver", health.run());
    sim.advance(SECOND * 29);
    assert_eq!(patient.asked(), 30);
    assert!(!health.report().check("hangs").expect("there").checked);
    sim.advance(SECOND);
    assert_eq!(status_of(&health, "hangs"), Status::Unhealthy);
}

#[test]
fn what_has_started_is_not_asked_again_if_it_is_of_no_other_kind() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    patient.is(ill());
    health.add(patient.check("x").kind(Kind::Startup).interval(SECOND).successes(2)).expect("valid");
    let _driver = sim.spawn("driver", health.run());
    sim.advance(SECOND * 2);
    patient.is(());
    sim.advance(SECOND * 10);
    assert_eq!((patient.asked(), health.startup().http_status()), (5, 200));
    assert_eq!(sim.time().armed(), 0);
}

/// A patient whom so many treatments cure, and the treatments.
fn treated(patient: &Patient, check: Check, cure: u64) -> (Check, Arc<AtomicU64>) {
    let treatments = Arc::new(AtomicU64::new(0));
    let (patient, count) = (patient.clone(), Arc::clone(&treatments));
    let check = check.recovery(move || {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == cure {
            patient.is(());
        }
        async { Ok::<(), String>(()) }
    });
    (check, treatments)
}

#[test]
fn a_check_that_fails_is_treated_and_run_again_at_once() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    let told = told(&health);
    let (check, treatments) = treated(&patient, patient.check("x").failures(2), 1);
    health.add(check).expect("valid");
    let _driver = sim.spawn("driver", health.run());
    sim.run_until_idle();
    patient.is(ill());
    sim.advance(SECOND * 10);
    assert_eq!(treatments.load(Ordering::Relaxed), 0, "it does not fail yet");
    sim.advance(SECOND * 10);
    assert_eq!((treatments.load(Ordering::Relaxed), patient.asked()), (1, 4));
    assert_eq!(status_of(&health, "x"), Status::Healthy);
    let expected = [
        "x: - -> healthy (-)",
        "x: healthy -> unhealthy (ill)",
        "all: healthy -> unhealthy",
        "x: recovery 1: done",
        "x: unhealthy -> healthy (-)",
        "all: unhealthy -> healthy",
    ];
    assert_eq!(lines(&told), expected);
}

#[test]
fn treatments_are_bounded_until_the_check_works_again() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    let (check, treatments) = treated(&patient, patient.check("x").failures(1), 0);
    health.add(check.recovery_limits(2, SECOND)).expect("valid");
    patient.is(ill());
    let _driver = sim.spawn("driver", health.run());
    sim.advance(SECOND * 100);
    assert_eq!(treatments.load(Ordering::Relaxed), 2);
    patient.is(());
    sim.advance(SECOND * 10);
    assert_eq!(treatments.load(Ordering::Relaxed), 2, "what works is not treated");
    patient.is(ill());
    sim.advance(SECOND * 100);
    assert_eq!(treatments.load(Ordering::Relaxed), 4);
}

#[test]
fn who_asks_does_not_treat() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    let (check, treatments) = treated(&patient, patient.check("x").failures(1), 1);
    health.add(check).expect("valid");
    patient.is(ill());
    sim.run(health.check_now());
    assert_eq!((status_of(&health, "x"), treatments.load(Ordering::Relaxed)), (Status::Unhealthy, 0));
}

#[test]
fn a_treatment_that_panics_fails_or_hangs_is_told_of_and_harms_nobody() {
    let sim = Sim::new(0);
    let health = exact(sim.clock());
    let told = told(&health);
    let ill = || Check::new("x", || async { Err::<(), _>("ill") }).failures(1).interval(SECOND * 20);
    for (name, check) in [
        (
            "panics",
            ill().recovery(|| -> std::future::Ready<()> { std::panic::resume_unwind(Box::new("ouch")) }),
        ),
        ("fails", ill().recovery(|| async { Err::<(), _>("no such thing") })),
        ("hangs", ill().recovery(pending::<()>).recovery_limits(1, SECOND * 3)),
    ] {
        let driver = sim.spawn("driver", health.run());
        health.add(check).expect("valid");
        sim.advance(SECOND * 4);
        let treatment = lines(&told).into_iter().find(|line| line.contains("recovery")).expect(name);
        match name {
            "panics" => assert_eq!(treatment, "x: recovery 1: panicked: ouch"),
            "fails" => assert_eq!(treatment, "x: recovery 1: no such thing"),
            _ => assert_eq!(treatment, "x: recovery 1: no answer within 3s"),
        }
        assert_eq!(health.report().check("x").expect("there").failures, 1, "not run again for nothing");
        health.remove("x");
        driver.cancel();
    }
}

#[test]
fn a_driver_is_woken_once_for_each_thing_that_happens() {
    let sim = Sim::new(0);
    let (health, patient) = (exact(sim.clock()), Patient::default());
    let mut driver = Polled::new(health.run());
    assert_eq!(driver.poll(), None);
    let before = driver.wakes();
    health.add(patient.check("x").interval(Duration::MAX)).expect("valid");
    assert_eq!(driver.wakes(), before + 1);
    assert_eq!((driver.poll(), patient.asked()), (None, 1));
    let _ = (driver.poll(), driver.poll());
    let before = driver.wakes();
    assert_eq!((driver.poll(), driver.wakes(), sim.time().armed()), (None, before, 0), "it is at rest");
    patient.is(Finding::degraded("slow"));
    sim.run(health.check_now());
    assert_eq!(status_of(&health, "x"), Status::Degraded);
}

#[test]
fn checks_that_are_always_due_let_others_on_the_thread_have_their_turn() {
    /// Goes on by a microsecond whenever it is read.
    struct Racing(Instant, AtomicU64);
    impl Timer for Racing {
        fn now(&self) -> Instant {
            self.0 + Duration::from_micros(self.1.fetch_add(1, Ordering::Relaxed))
        }

        fn sleep_until(&self, _: Instant) -> Sleep {
            Sleep::new(std::future::ready(()))
        }
    }
    let health = exact(Clock::new(Racing(Clock::system().now(), AtomicU64::new(0))));
    let patient = Patient::default();
    health.add(patient.check("x").interval(Duration::from_nanos(1))).expect("valid");
    let mut driver = Polled::new(health.run());
    assert_eq!(driver.poll(), None);
    let wakes = driver.wakes();
    assert!(wakes > 0, "it goes on by itself");
    assert!((2..50).contains(&patient.asked()), "{}", patient.asked());
}
