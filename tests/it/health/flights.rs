//! A check is run once at a time, whoever asks.

use super::{Patient, SECOND, exact, lines, status_of, told};
use cofferdam::health::{Check, Health, Status};
use cofferdam::sync::{Context, Semaphore};
use cofferdam::testkit::{Sim, drop_at_every_await_in_sim};
use cofferdam::time::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A check that takes a second, and counts how many of it run at once at most, and its runs.
#[derive(Clone, Default)]
struct Slow {
    running: Arc<AtomicU64>,
    most: Arc<AtomicU64>,
    runs: Arc<AtomicU64>,
}

impl Slow {
    fn check(&self, name: &str, clock: &Clock) -> Check {
        let (slow, clock) = (self.clone(), clock.clone());
        Check::new(name, move || {
            let (slow, clock) = (slow.clone(), clock.clone());
            async move {
                struct Leave(Arc<AtomicU64>);
                impl Drop for Leave {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                let running = slow.running.fetch_add(1, Ordering::Relaxed) + 1;
                let _leave = Leave(slow.running);
                slow.most.fetch_max(running, Ordering::Relaxed);
                slow.runs.fetch_add(1, Ordering::Relaxed);
                clock.sleep(SECOND).await;
            }
        })
        .timeout(SECOND * 5)
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}

#[test]
fn many_who_ask_at_once_get_one_run_and_all_checks_run_side_by_side() {
    Sim::for_seeds(0..100, |sim| {
        let (health, slow, other) = (exact(sim.clock()), Slow::default(), Slow::default());
        health.add(slow.check("slow", &sim.clock())).expect("valid");
        health.add(other.check("other", &sim.clock())).expect("valid");
        let asking: Vec<_> = (0..5)
            .map(|_| {
                let health = health.clone();
                sim.spawn("asks", async move { health.check_now().await })
            })
            .collect();
        sim.run(async {
            for asks in asking {
                assert_eq!(asks.await.status, Status::Healthy);
            }
        });
        assert_eq!((slow.runs(), other.runs(), sim.time().elapsed()), (1, 1, SECOND));
        sim.run(health.check_now());
        assert_eq!(slow.runs(), 2, "afterwards it is another run");
    });
}

#[test]
fn the_driver_and_who_asks_share_a_run() {
    Sim::for_seeds(0..100, |sim| {
        let (health, slow) = (exact(sim.clock()), Slow::default());
        health.add(slow.check("slow", &sim.clock()).interval(SECOND * 10)).expect("valid");
        let driver = sim.spawn("driver", health.run());
        let asks = health.clone();
        sim.run(async { asks.check_now().await });
        assert_eq!(slow.runs(), 1);
        sim.advance(SECOND * 10);
        assert_eq!(slow.runs(), 2, "ten seconds after the end of the run, whoever ran it");
        drop((health, asks));
        sim.run(driver);
    });
}

#[test]
fn who_is_dropped_in_the_midst_of_a_run_leaves_it_to_the_next() {
    let points = drop_at_every_await_in_sim(0..30, |sim| {
        let (health, slow) = (exact(sim.clock()), Slow::default());
        health.add(slow.check("slow", &sim.clock())).expect("valid");
        let (asks, other) = (health.clone(), health.clone());
        let waits = sim.spawn("waits", async move { other.check_now().await });
        let under_test = async move { asks.check_now().await };
        let check = move |sim: &Sim, _| {
            assert_eq!(sim.run(waits).status, Status::Healthy, "who waits does not wait for ever");
            assert_eq!(status_of(&health, "slow"), Status::Healthy);
            assert_eq!(slow.most.load(Ordering::Relaxed), 1, "never two at once");
            assert_eq!((slow.running.load(Ordering::Relaxed), sim.time().armed()), (0, 0));
        };
        (under_test, check)
    });
    assert!(points >= 30 * 2, "{points}");
}

#[test]
fn a_driver_that_is_dropped_leaves_nothing_and_the_next_one_begins_anew() {
    let points = drop_at_every_await_in_sim(0..30, |sim| {
        let (health, slow) = (exact(sim.clock()), Slow::default());
        health.add(slow.check("slow", &sim.clock()).interval(SECOND)).expect("valid");
        let driver = health.run();
        let clock = sim.clock();
        let limited = async move { drop(clock.timeout(SECOND * 7, driver).await) };
        let check = move |sim: &Sim, _| {
            assert_eq!((slow.running.load(Ordering::Relaxed), sim.time().armed()), (0, 0));
            let runs = slow.runs();
            let next = sim.spawn("next", health.run());
            sim.advance(SECOND * 2);
            assert!(slow.runs() > runs);
            assert_eq!(status_of(&health, "slow"), Status::Healthy);
            drop(health);
            sim.run(next);
        };
        (limited, check)
    });
    assert!(points >= 30 * 8, "{points}");
}

#[test]
fn a_check_that_is_removed_while_it_runs_comes_to_nothing() {
    Sim::for_seeds(0..50, |sim| {
        let (health, slow) = (exact(sim.clock()), Slow::default());
        health.add(slow.check("slow", &sim.clock())).expect("valid");
        let asking: Vec<_> = (0..2)
            .map(|_| {
                let health: Health = health.clone();
                sim.spawn("asks", async move { health.check_now().await })
            })
            .collect();
        sim.run_until_idle();
        assert!(health.remove("slow"));
        // Another of the same name is another check.
        let patient = Patient::default();
        health.add(patient.check("slow")).expect("free again");
        sim.run(async {
            for asks in asking {
                asks.await;
            }
        });
        assert_eq!((slow.runs(), patient.asked(), sim.time().elapsed()), (1, 0, SECOND));
        assert!(!health.report().check("slow").expect("the other").checked);
    });
}

#[test]
fn a_run_that_nobody_polls_any_more_is_lost_to_whoever_is_polled() {
    let sim = Sim::new(0);
    let (health, slow) = (exact(sim.clock()), Slow::default());
    let told = told(&health);
    health.add(slow.check("slow", &sim.clock()).timeout(SECOND * 3).failures(1)).expect("valid");
    // Begun, and held.
    let mut held = Box::pin(health.check_now());
    sim.run(async { assert!(futures_util::poll!(held.as_mut()).is_pending()) });
    let driver = sim.spawn("driver", health.run());
    let asks = health.clone();
    let asks = sim.spawn("asks", async move { asks.check_now().await });
    sim.advance(Duration::from_millis(5_999));
    assert_eq!((slow.runs(), asks.is_finished()), (1, false));
    sim.advance(Duration::from_millis(500));
    // What it finds out after all is not what it is now, and no end of the run that took its place.
    sim.run(async { drop(held.await) });
    assert_eq!((slow.runs(), health.report().check("slow").expect("there").checked), (2, false));
    sim.advance(SECOND);
    assert_eq!((slow.runs(), asks.is_finished(), status_of(&health, "slow")), (2, true, Status::Healthy));
    let check = health.report().check("slow").expect("there").clone();
    assert_eq!((check.status, check.successes, check.failures), (Status::Healthy, 1, 0));
    assert_eq!(lines(&told).len(), 1);
    sim.advance(SECOND * 10);
    assert_eq!(slow.runs(), 3);
    driver.cancel();
    assert_eq!(sim.time().armed(), 0);
}

#[test]
fn a_check_does_not_run_in_the_context_of_who_asks() {
    let sim = Sim::new(0);
    let health = exact(sim.clock());
    let permits = Arc::new(Semaphore::new(1));
    let held = permits.try_acquire_owned().expect("free");
    let (theirs, clock) = (Arc::clone(&permits), sim.clock());
    health
        .add(Check::new("x", move || {
            let theirs = Arc::clone(&theirs);
            async move { theirs.acquire().await.map(drop) }
        }))
        .expect("valid");
    let _giver = sim.spawn("gives back", async move {
        clock.sleep(Duration::from_millis(100)).await;
        drop(held);
    });
    let context = Context::background().child();
    context.cancel("the request is over");
    let report = sim.run(context.scope(health.check_now()));
    assert_eq!(report.check("x").expect("there").status, Status::Healthy, "{report:?}");
}
