//! What reports and probes say.

use super::{Patient, SECOND, exact, ill, lines, status_of, told};
use cofferdam::health::Status::{CircuitOpen, Degraded, Healthy, Unhealthy};
use cofferdam::health::{Check, Finding, Health, Kind};
use cofferdam::testkit::{ManualClock, Sim};
use futures_util::FutureExt;
use std::future::pending;
use std::time::Duration;

fn check_now(health: &Health) -> cofferdam::health::Report {
    health.check_now().now_or_never().expect("no check waits")
}

#[test]
fn so_many_failures_in_a_row_make_it_fail_and_so_many_successes_make_it_work() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    health.add(patient.check("x").failures(3).successes(2)).expect("valid");
    assert_eq!(health.report().check("x").expect("there").reason.as_deref(), Some("not checked yet"));
    let mut course = String::new();
    for finding in "++--+---+-+++".chars() {
        patient.is(if finding == '+' { Finding::healthy() } else { ill() });
        check_now(&health);
        let report = health.report();
        let check = report.check("x").expect("there");
        course.push(match (check.checked, check.status) {
            (false, _) => '?',
            (true, Healthy) => '+',
            (true, _) => '-',
        });
    }
    assert_eq!(course, "?++++++----++");
}

#[test]
fn degrees_of_working_and_of_failing_show_at_once() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    health.add(patient.check("x").failures(3)).expect("valid");
    check_now(&health);
    patient.is(Finding::degraded("slow"));
    check_now(&health);
    assert_eq!(status_of(&health, "x"), Degraded);
    patient.is(ill());
    for _ in 0..3 {
        assert_eq!(status_of(&health, "x"), Degraded);
        check_now(&health);
    }
    assert_eq!(status_of(&health, "x"), Unhealthy);
    patient.is(Finding::new(CircuitOpen, "open"));
    check_now(&health);
    assert_eq!(status_of(&health, "x"), CircuitOpen);
}

#[test]
fn before_its_first_status_a_check_is_alive_and_not_ready_and_no_part_of_the_whole() {
    let health = exact(ManualClock::new().clock());
    assert_eq!([health.liveness(), health.readiness(), health.startup()].map(|r| r.http_status()), [200; 3]);
    let all = Check::new("x", || async { Err::<(), _>("ill") });
    let all = all.kind(Kind::Liveness).kind(Kind::Readiness).kind(Kind::Startup).failures(2);
    health.add(all).expect("valid");
    for run in 0..2 {
        let codes = [health.liveness(), health.readiness(), health.startup(), health.report()];
        assert_eq!(codes.map(|report| report.http_status()), [200, 503, 503, 200], "{run}");
        check_now(&health);
    }
    let codes = [health.liveness(), health.readiness(), health.startup(), health.report()];
    assert_eq!(codes.map(|report| report.http_status()), [503; 4]);
}

#[test]
fn a_check_is_of_readiness_unless_it_is_said_to_be_of_another_kind() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    patient.is(ill());
    health.add(patient.check("x").failures(1)).expect("valid");
    check_now(&health);
    assert_eq!((health.liveness().status, health.readiness().status), (Healthy, Unhealthy));
    assert!(health.liveness().checks.is_empty());
    health.add(patient.check("y").failures(1).kind(Kind::Liveness)).expect("valid");
    check_now(&health);
    assert_eq!((health.liveness().status, health.readiness().checks.len()), (Unhealthy, 1));
}

#[test]
fn what_is_not_critical_degrades_and_nothing_worse() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    health.add(patient.check("optional").failures(1).optional()).expect("valid");
    assert_eq!(health.readiness().status, Degraded, "not checked yet");
    patient.is(Finding::new(CircuitOpen, "open"));
    check_now(&health);
    assert_eq!(status_of(&health, "optional"), CircuitOpen, "what it is itself");
    assert_eq!((health.readiness().status, health.readiness().http_status()), (Degraded, 200));
    // Of the whole it is a part that is not healthy, and no open circuit.
    assert_eq!(health.report().status, Unhealthy);
    (0..4).for_each(|n| health.add(Patient::default().check(&format!("{n}"))).expect("valid"));
    assert_eq!(check_now(&health).status, Healthy, "four of five");
}

#[test]
fn what_has_started_has_started() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    health.add(patient.check("x").failures(1).kind(Kind::Startup).kind(Kind::Readiness)).expect("valid");
    check_now(&health);
    patient.is(ill());
    check_now(&health);
    assert_eq!((health.startup().status, health.readiness().status), (Healthy, Unhealthy));
    assert_eq!(health.startup().check("x").expect("there").status, Healthy);
}

#[test]
fn out_of_service_it_is_not_ready_and_alive() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    health.add(patient.check("x").kind(Kind::Readiness).kind(Kind::Liveness)).expect("valid");
    check_now(&health);
    health.take_out_of_service("shutting down");
    let report = health.readiness();
    assert_eq!((report.http_status(), report.reason.as_deref()), (503, Some("shutting down")));
    assert_eq!((health.liveness().http_status(), health.report().http_status()), (200, 200));
    health.put_into_service();
    assert_eq!(health.readiness().http_status(), 200);
}

#[test]
fn the_report_as_json_has_each_check_with_its_times_in_seconds() {
    Sim::for_seeds(0..5, |sim| {
        let (health, clock) = (exact(sim.clock()), sim.clock());
        health
            .add(
                Check::new("db", move || {
                    let clock = clock.clone();
                    async move {
                        clock.sleep(Duration::from_millis(250)).await;
                        Err::<(), _>("no \"route\"")
                    }
                })
                .failures(1)
                .optional(),
            )
            .expect("valid");
        let before: serde_json::Value = serde_json::from_str(&health.readiness().to_json()).expect("json");
        assert_eq!(before["checks"][0]["lasted"], serde_json::Value::Null);
        sim.run(health.check_now());
        sim.advance(SECOND * 2);
        let json: serde_json::Value = serde_json::from_str(&health.readiness().to_json()).expect("json");
        let expected = serde_json::json!({"status": "degraded", "reason": null, "checks": [{
            "name": "db", "status": "unhealthy", "reason": "no \"route\"", "critical": false, "checked": true,
            "lasted": 2.0, "last_run": 2.0, "last_took": 0.25, "failures": 1, "successes": 0,
        }]});
        assert_eq!(json, expected);
    });
}

#[test]
fn it_tells_of_each_change_once_and_in_order() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    let told = told(&health);
    health.add(patient.check("x").failures(2)).expect("valid");
    check_now(&health);
    check_now(&health);
    assert_eq!(lines(&told), ["x: - -> healthy (-)"]);
    patient.is(ill());
    check_now(&health);
    assert_eq!(lines(&told), [""; 0], "not yet");
    check_now(&health);
    check_now(&health);
    assert_eq!(lines(&told), ["x: healthy -> unhealthy (ill)", "all: healthy -> unhealthy"]);
    assert!(health.remove("x"));
    assert_eq!(lines(&told), ["all: unhealthy -> healthy"]);
    assert!(!health.remove("x"));
}

#[test]
fn an_observer_may_ask_for_a_report_and_its_panic_is_contained() {
    let (health, patient) = (exact(ManualClock::new().clock()), Patient::default());
    let asks = health.clone();
    health.observe(move |_: &_| {
        assert_eq!(asks.report().checks.len(), 1);
        std::panic::resume_unwind(Box::new("observer"));
    });
    health.add(patient.check("x")).expect("valid");
    check_now(&health);
    assert_eq!((health.observer_panics(), status_of(&health, "x")), (1, Healthy));
}

#[test]
fn a_check_that_panics_or_does_not_answer_has_failed() {
    Sim::for_seeds(0..5, |sim| {
        let health = exact(sim.clock());
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                std::panic::resume_unwind(Box::new("dropped"));
            }
        }
        let add = |check: Check| health.add(check.failures(1)).expect("valid");
        add(Check::new("call", || -> std::future::Ready<()> {
            std::panic::resume_unwind(Box::new("called"))
        }));
        add(Check::new("poll", || async { std::panic::resume_unwind(Box::new("polled")) as () }));
        add(Check::new("late", pending::<()>).timeout(SECOND * 2));
        add(Check::new("bomb", || async {
            let _bomb = Bomb;
            pending::<()>().await;
        }));
        add(Check::new("payload", || async { std::panic::resume_unwind(Box::new(Bomb)) as () }));
        let report = sim.run(health.check_now());
        let reason = |name| report.check(name).and_then(|check| check.reason.clone()).unwrap_or_default();
        assert_eq!((reason("call"), reason("poll")), ("panicked: called".into(), "panicked: polled".into()));
        assert_eq!(reason("late"), "no answer within 2s");
        assert_eq!(reason("bomb"), "no answer within 1s, and dropped: panicked: dropped");
        assert_eq!(reason("payload"), "panicked");
        assert!(report.checks.iter().all(|check| check.status == Unhealthy), "{report:?}");
        assert_eq!((sim.time().elapsed(), sim.time().armed()), (SECOND * 2, 0));
    });
}

#[test]
fn checks_without_sense_and_names_that_are_taken_are_refused() {
    let health = Health::new();
    let knob = |check: Check| health.add(check).expect_err("invalid").knob();
    let check = || Patient::default().check("x");
    assert_eq!(knob(check().failures(0)), "failures");
    assert_eq!(knob(check().successes(0)), "successes");
    assert_eq!(
        (knob(check().interval(Duration::ZERO)), knob(check().timeout(Duration::ZERO))),
        ("interval", "timeout")
    );
    assert_eq!(knob(Patient::default().check("")), "name");
    health.add(check()).expect("valid");
    assert_eq!(health.add(check()).expect_err("taken").value(), "x");
    assert_eq!(Health::builder().jitter(1.5).build().expect_err("invalid").knob(), "jitter");
    assert!(Health::builder().jitter(f64::NAN).build().is_err());
}
