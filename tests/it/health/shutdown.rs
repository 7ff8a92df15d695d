//! The end of a service, phase by phase.

use super::SECOND;
use cofferdam::health::{GracefulShutdown, Phase, ShutdownReport, StepOutcome};
use cofferdam::sync::{Context, Semaphore};
use cofferdam::testkit::{Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::Clock;
use std::future::{Ready, pending};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// What has happened, and when.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<String>>>, Clock, std::time::Instant);

impl Log {
    fn new(sim: &Sim) -> Self {
        Self(Arc::default(), sim.clock(), sim.clock().now())
    }

    fn write(&self, what: &str) {
        let at = (self.1.now() - self.2).as_secs();
        self.0.lock().expect("not poisoned").push(format!("{what} {at}"));
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("not poisoned").clone()
    }

    /// A step that takes so long.
    fn step(&self, name: &'static str, takes: Duration) -> impl FnOnce() -> BoxedStep + Send + use<> {
        let log = self.clone();
        move || {
            Box::pin(async move {
                log.write(&format!("{name}+"));
                log.1.sleep(takes).await;
                log.write(&format!("{name}-"));
            })
        }
    }
}

type BoxedStep = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn outcomes(report: &ShutdownReport) -> Vec<String> {
    report.steps.iter().map(|step| format!("{step} ({}s)", step.took.as_secs_f64())).collect()
}

#[test]
fn phases_run_one_after_the_other_and_steps_of_a_phase_together() {
    Sim::for_seeds(0..50, |sim| {
        let log = Log::new(sim);
        let shutdown = GracefulShutdown::builder()
            .clock(sim.clock())
            .step("intake", SECOND * 5, log.step("intake", SECOND))
            .phase(
                Phase::new("stores", SECOND * 5)
                    .step("a", log.step("a", SECOND * 3))
                    .step("b", log.step("b", SECOND)),
            )
            .step("pool", SECOND * 5, log.step("pool", SECOND))
            .build();
        assert!(!shutdown.has_begun());
        let report = sim.run(shutdown.run());
        assert!(report.is_clean() && shutdown.has_begun());
        assert_eq!(report.took, SECOND * 5);
        let steps = ["intake: done (1s)", "stores, a: done (3s)", "stores, b: done (1s)", "pool: done (1s)"];
        assert_eq!(outcomes(&report), steps);
        assert_eq!(
            log.lines(),
            ["intake+ 0", "intake- 1", "a+ 1", "b+ 1", "b- 2", "a- 4", "pool+ 4", "pool- 5"]
        );
        assert_eq!(report.to_string().lines().count(), 4);
    });
}

#[test]
fn what_is_over_its_limit_is_dropped_and_reported_and_the_next_phase_begins() {
    let sim = Sim::new(0);
    let log = Log::new(&sim);
    struct Dropped(Log);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.write("dropped");
        }
    }
    let dropped = Dropped(log.clone());
    let shutdown = GracefulShutdown::builder()
        .clock(sim.clock())
        .phase(
            Phase::new("first", SECOND * 2)
                .step("hangs", move || async move {
                    let _dropped = dropped;
                    pending::<()>().await;
                })
                .step("quick", log.step("quick", SECOND)),
        )
        .step("exactly", SECOND, log.step("exactly", SECOND))
        .build();
    let report = sim.run(shutdown.run());
    let steps = ["first, hangs: not done in time (2s)", "first, quick: done (1s)", "exactly: done (1s)"];
    assert_eq!(outcomes(&report), steps);
    assert_eq!(log.lines(), ["quick+ 0", "quick- 1", "dropped 2", "exactly+ 2", "exactly- 3"]);
    assert!(!report.is_clean());
    assert_eq!(sim.time().armed(), 0);
}

#[test]
fn the_limit_of_the_whole_cuts_phases_short_and_leaves_none_out() {
    let sim = Sim::new(0);
    let log = Log::new(&sim);
    let at_once = log.clone();
    let shutdown = GracefulShutdown::builder()
        .clock(sim.clock())
        .limit(SECOND * 4)
        .step("first", SECOND * 3, log.step("first", SECOND * 100))
        .step("second", SECOND * 3, log.step("second", SECOND * 100))
        .step("third", SECOND * 3, log.step("third", SECOND))
        .step("fourth", SECOND * 3, move || async move { at_once.write("fourth") })
        .build();
    let report = sim.run(shutdown.run());
    let steps = [
        "first: not done in time (3s)",
        "second: not done in time (1s)",
        "third: not done in time (0s)",
        "fourth: done (0s)",
    ];
    assert_eq!(outcomes(&report), steps);
    assert_eq!(report.took, SECOND * 4);
    assert_eq!(log.lines(), ["first+ 0", "second+ 3", "third+ 4", "fourth 4"]);
}

#[test]
fn a_step_that_panics_or_fails_holds_nothing_up() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("dropped"));
        }
    }
    let sim = Sim::new(0);
    let shutdown = GracefulShutdown::builder()
        .clock(sim.clock())
        .step("call", SECOND, || -> Ready<()> { std::panic::resume_unwind(Box::new("called")) })
        .step("poll", SECOND, || async {
            yield_now().await;
            std::panic::resume_unwind(Box::new("polled")) as ()
        })
        .step("drop", SECOND, || async {
            let _bomb = Bomb;
            pending::<()>().await;
        })
        .step("payload", SECOND, || async { std::panic::resume_unwind(Box::new(Bomb)) as () })
        .step("fail", SECOND, || async { Err::<(), _>("disk full") })
        .step("last", SECOND, || async {})
        .build();
    let report = sim.run(shutdown.run());
    let outcomes: Vec<_> = report.steps.iter().map(|step| step.outcome.clone()).collect();
    let panicked = |what: &str| StepOutcome::Panicked(what.into());
    let expected = [
        panicked("panicked: called"),
        panicked("panicked: polled"),
        panicked("panicked: dropped"),
        panicked("panicked"),
        StepOutcome::Failed("disk full".into()),
        StepOutcome::Done,
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn a_second_call_joins_the_first_and_a_later_one_gets_its_report() {
    Sim::for_seeds(0..50, |sim| {
        let log = Log::new(sim);
        let shutdown =
            GracefulShutdown::builder().clock(sim.clock()).step("x", SECOND * 5, log.step("x", SECOND));
        let shutdown = shutdown.build();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let shutdown = shutdown.clone();
                sim.spawn("calls", async move { shutdown.run().await })
            })
            .collect();
        sim.run(async {
            let mut reports = Vec::new();
            for call in calls {
                reports.push(call.await);
            }
            reports.push(shutdown.run().await);
            assert!(reports.windows(2).all(|pair| pair[0] == pair[1]), "{reports:?}");
        });
        assert_eq!(log.lines(), ["x+ 0", "x- 1"]);
    });
}

#[test]
fn whoever_drives_it_may_be_dropped_and_the_next_goes_on_where_it_was() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let log = Log::new(sim);
        let shutdown = GracefulShutdown::builder()
            .clock(sim.clock())
            .step("a", SECOND * 5, log.step("a", SECOND))
            .step("hangs", SECOND, pending::<()>)
            .step("b", SECOND * 5, log.step("b", SECOND))
            .build();
        let (first, second) = (shutdown.clone(), shutdown.clone());
        let waits = sim.spawn("second", async move { second.run().await });
        let check = move |sim: &Sim, _| {
            let report = sim.run(waits);
            assert_eq!(outcomes(&report), ["a: done (1s)", "hangs: not done in time (1s)", "b: done (1s)"]);
            assert_eq!(log.lines(), ["a+ 0", "a- 1", "b+ 2", "b- 3"], "each once");
            assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
        };
        (async move { first.run().await }, check)
    });
    assert!(points >= 20 * 3, "{points}");
}

#[test]
fn a_call_that_is_held_and_not_polled_holds_nobody_up() {
    let sim = Sim::new(0);
    let log = Log::new(&sim);
    let shutdown = GracefulShutdown::builder()
        .clock(sim.clock())
        .step("a", SECOND * 5, log.step("a", SECOND))
        .step("b", SECOND * 5, log.step("b", SECOND))
        .build();
    let mut held = Box::pin(shutdown.run());
    sim.run(async { assert!(futures_util::poll!(held.as_mut()).is_pending()) });
    let report = sim.run(shutdown.run());
    assert_eq!(log.lines(), ["a+ 0", "a- 1", "b+ 1", "b- 2"]);
    assert_eq!(sim.run(held), report);
}

#[test]
fn who_comes_while_another_is_at_it_is_woken_when_that_one_leaves_it() {
    for at_once in [false, true] {
        let other: Arc<Mutex<Option<Polled<BoxedStep>>>> = Arc::default();
        let theirs = Arc::clone(&other);
        let mut polled = false;
        let step = std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            // What is left to do is told before the other comes, as another thread would, in the midst of it.
            cx.waker().wake_by_ref();
            assert!(theirs.lock().expect("not poisoned").as_mut().expect("there").poll().is_none());
            if at_once { Poll::Ready(()) } else { Poll::Pending }
        });
        let shutdown = GracefulShutdown::builder().step("x", SECOND * 5, move || step).build();
        let second = shutdown.clone();
        let second: BoxedStep = Box::pin(async move { drop(second.run().await) });
        *other.lock().expect("not poisoned") = Some(Polled::new(second));
        let mut first = Polled::new(shutdown.run());
        assert_eq!(first.poll().is_some(), at_once);
        // Woken for what is left to do, and dropped.
        drop(first);
        let mut other = other.lock().expect("not poisoned").take().expect("there");
        let mut done = false;
        for _ in 0..3 {
            assert!(other.wakes() > 0, "{at_once}");
            done = done || other.poll().is_some();
            if done {
                break;
            }
        }
        assert!(done, "{at_once}");
    }
}

#[test]
fn a_step_that_wakes_itself_for_ever_is_over_its_limit_too() {
    let sim = Sim::new(0);
    let ticks = sim.time();
    let spins = move || async move {
        // Time goes on while it spins; a minute is for ever.
        for _ in 0..600 {
            yield_now().await;
            ticks.advance(Duration::from_millis(100));
        }
    };
    let shutdown = GracefulShutdown::builder().clock(sim.clock()).step("spins", SECOND, spins);
    let report = sim.run(shutdown.build().run());
    assert_eq!(outcomes(&report), ["spins: not done in time (1s)"]);
}

#[test]
fn a_step_that_needs_a_permit_gets_it_although_the_context_has_ended() {
    let sim = Sim::new(0);
    let permits = Arc::new(Semaphore::new(1));
    let (held, clock) = (permits.try_acquire_owned().expect("free"), sim.clock());
    let step = move || async move { permits.acquire().await.map(drop) };
    let shutdown = GracefulShutdown::builder().clock(sim.clock()).step("x", SECOND * 5, step).build();
    let _giver = sim.spawn("gives back", async move {
        clock.sleep(SECOND).await;
        drop(held);
    });
    let context = Context::background().child();
    context.cancel("signal");
    assert!(sim.run(context.scope(async { shutdown.run().await })).is_clean());
}

#[test]
fn limits_count_on_while_nobody_drives() {
    let sim = Sim::new(0);
    let shutdown = GracefulShutdown::builder().clock(sim.clock()).step("hangs", SECOND * 5, pending::<()>);
    let shutdown = shutdown.step("next", SECOND, || async {}).build();
    let clock = sim.clock();
    sim.run(async { assert!(clock.timeout(SECOND, shutdown.run()).await.is_err()) });
    sim.advance(SECOND * 10);
    let report = sim.run(shutdown.run());
    assert_eq!(outcomes(&report), ["hangs: not done in time (11s)", "next: done (0s)"]);
    assert_eq!(sim.time().elapsed(), SECOND * 11);
}

#[test]
fn it_runs_in_a_context_that_has_been_cancelled_and_tells_its_token_first() {
    Sim::for_seeds(0..20, |sim| {
        let log = Log::new(sim);
        let shutdown =
            GracefulShutdown::builder().clock(sim.clock()).step("x", SECOND * 5, log.step("x", SECOND));
        let shutdown = shutdown.build();
        let token = shutdown.token().clone();
        let told = log.clone();
        let listener = sim.spawn("listener", async move {
            token.cancelled().await;
            told.write("told");
        });
        let context = Context::background().child();
        context.cancel("signal");
        let (first, second) = (shutdown.clone(), shutdown.clone());
        let first = sim.spawn("first", context.scope(async move { first.run().await }));
        let second = sim.spawn("second", context.scope(async move { second.run().await }));
        sim.run(async {
            listener.await;
            assert!(first.await.is_clean());
            assert!(second.await.is_clean());
        });
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, ["told 0", "x+ 0", "x- 1"]);
    });
}
