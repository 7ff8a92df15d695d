//! Clocks, deadlines, sleeps and timeouts.

use cofferdam::testkit::{ManualClock, Polled, Sim, WakeCounter, drop_at_every_await_in_sim};
use cofferdam::time::{Clock, Deadline, Elapsed, Sleep, Timer};
use std::future::{Future, pending, poll_fn, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

const SECOND: Duration = Duration::from_secs(1);

/// Only a timeout makes one.
fn elapsed() -> Elapsed {
    let timed_out = Polled::new(ManualClock::new().clock().timeout(Duration::ZERO, pending::<()>())).poll();
    timed_out.expect("ready at its first poll").expect_err("timed out")
}

mod deadline {
    use super::*;

    #[test]
    fn never_is_later_than_every_instant() {
        let now = ManualClock::new().clock().now();
        let (soon, late) = (Deadline::at(now), Deadline::at(now + SECOND));
        let mut all = [Deadline::NEVER, late, soon];
        all.sort();
        assert_eq!(all, [soon, late, Deadline::NEVER]);
        assert_eq!(late.min(Deadline::NEVER), late);
        assert_eq!(Deadline::NEVER.min(Deadline::NEVER), Deadline::NEVER);
        assert!(Deadline::NEVER > late && late > soon && soon >= soon);
        assert_eq!(Deadline::default(), Deadline::NEVER);
        assert_eq!(Deadline::from(now), soon);
    }

    #[test]
    fn it_has_passed_at_its_own_instant_and_not_before() {
        let now = ManualClock::new().clock().now();
        let deadline = Deadline::after(now, SECOND);
        assert_eq!(deadline.instant(), Some(now + SECOND));
        assert!(!deadline.has_passed(now + SECOND - Duration::from_nanos(1)));
        assert!(deadline.has_passed(now + SECOND));
        assert_eq!(deadline.remaining(now), Some(SECOND));
        assert_eq!(deadline.remaining(now + 2 * SECOND), Some(Duration::ZERO));
        assert!(Deadline::after(now, Duration::ZERO).has_passed(now));
    }

    #[test]
    fn past_the_end_of_time_is_never() {
        let now = ManualClock::new().clock().now();
        let never = Deadline::after(now, Duration::MAX);
        assert_eq!(never, Deadline::NEVER);
        assert!(!never.has_passed(now + 1_000_000 * SECOND));
        assert_eq!((never.remaining(now), never.instant()), (None, None));
        assert_eq!(format!("{never:?}"), "Deadline(never)");
    }
}

mod sleep {
    use super::*;

    #[test]
    fn what_is_due_is_ready_at_its_first_poll_and_arms_nothing() {
        let time = ManualClock::new();
        let clock = time.clock();
        assert_eq!(Polled::new(clock.sleep(Duration::ZERO)).poll(), Some(()));
        let past = clock.now();
        time.advance(SECOND);
        assert_eq!(Polled::new(clock.sleep_until(past)).poll(), Some(()));
        // Armed by its first poll, not by being made.
        let mut waits = Polled::new(clock.sleep(SECOND));
        time.advance(SECOND);
        assert_eq!(waits.poll(), Some(()));
        assert_eq!((waits.wakes(), time.armed()), (0, 0));
    }

    #[test]
    fn past_the_end_of_time_nothing_is_armed_and_nothing_comes() {
        for clock in [ManualClock::new().clock(), Clock::system(), Clock::quanta()] {
            assert_eq!(Polled::new(clock.sleep(Duration::MAX)).poll(), None);
        }
        let time = ManualClock::new();
        let mut never = Polled::new(time.clock().sleep(Duration::MAX));
        assert_eq!(never.poll(), None);
        assert_eq!(time.armed(), 0);
        assert_eq!(Polled::new(Sleep::never()).poll(), None);
    }
}

mod timeout {
    use super::*;

    // S56
    #[test]
    fn work_that_is_ready_at_the_very_limit_has_won() {
        let time = ManualClock::new();
        let clock = time.clock();
        let mut both = Polled::new(clock.timeout(SECOND, clock.sleep(SECOND)));
        assert_eq!(both.poll(), None);
        assert_eq!(time.armed(), 2);
        time.advance(SECOND);
        assert_eq!(both.poll(), Some(Ok(())));

        let mut slower = Polled::new(clock.timeout(SECOND, clock.sleep(SECOND + Duration::from_nanos(1))));
        assert_eq!(slower.poll(), None);
        time.advance(SECOND - Duration::from_nanos(1));
        assert_eq!((slower.wakes(), slower.poll()), (0, None));
        time.advance(Duration::from_nanos(1));
        assert_eq!((slower.wakes(), slower.poll()), (1, Some(Err(elapsed()))));
    }

    // S56
    #[test]
    fn a_result_that_is_there_long_after_the_limit_still_wins() {
        let time = ManualClock::new();
        let mut polls = 0;
        let work = poll_fn(|_| {
            polls += 1;
            if polls == 2 { Poll::Ready("late") } else { Poll::Pending }
        });
        let mut late = Polled::new(time.clock().timeout(SECOND, work));
        assert_eq!(late.poll(), None);
        time.advance(100 * SECOND);
        assert_eq!(late.poll(), Some(Ok("late")));
    }

    // S57
    #[test]
    fn a_limit_of_zero_allows_one_poll() {
        let time = ManualClock::new();
        let clock = time.clock();
        assert_eq!(Polled::new(clock.timeout(Duration::ZERO, ready(1))).poll(), Some(Ok(1)));
        assert_eq!(Polled::new(clock.timeout(Duration::ZERO, pending::<()>())).poll(), Some(Err(elapsed())));
        assert_eq!(Polled::new(clock.timeout_at(clock.now(), pending::<()>())).poll(), Some(Err(elapsed())));
        assert_eq!(time.armed(), 0);
    }

    // S57
    #[test]
    fn no_limit_is_no_timer() {
        let time = ManualClock::new();
        let clock = time.clock();
        let mut max = Polled::new(clock.timeout(Duration::MAX, pending::<()>()));
        let mut never = Polled::new(clock.timeout_at(Deadline::NEVER, pending::<()>()));
        assert_eq!((max.poll(), never.poll(), time.armed()), (None, None, 0));
        time.advance(1_000_000_000 * SECOND);
        assert_eq!((max.poll(), never.poll(), max.wakes() + never.wakes()), (None, None, 0));
    }

    #[test]
    fn the_limit_counts_from_the_first_pending_poll_and_polling_again_does_not_extend_it() {
        let time = ManualClock::new();
        let mut limited = Polled::new(time.clock().timeout(SECOND, pending::<()>()));
        time.advance(10 * SECOND);
        assert_eq!(limited.poll(), None);
        for _ in 0..9 {
            time.advance(SECOND / 10);
            assert_eq!(limited.poll(), None);
            assert_eq!(time.armed(), 1);
        }
        time.advance(SECOND / 10);
        assert_eq!(limited.poll(), Some(Err(elapsed())));
    }

    #[test]
    fn a_deadline_is_absolute() {
        let time = ManualClock::new();
        let clock = time.clock();
        let mut limited = Polled::new(clock.timeout_at(clock.now() + 2 * SECOND, pending::<()>()));
        time.advance(SECOND);
        assert_eq!(limited.poll(), None);
        time.advance(SECOND);
        assert_eq!(limited.poll(), Some(Err(elapsed())));
    }

    // S57
    #[test]
    fn of_nested_limits_the_earlier_one_ends_it() {
        Sim::for_seeds(0..20, |sim| {
            for (inner, outer) in [(1, 2), (2, 1)] {
                let (clock, start) = (sim.clock(), sim.time().elapsed());
                let nested = clock
                    .timeout(outer * SECOND, async { clock.timeout(inner * SECOND, pending::<()>()).await });
                let expected = if inner < outer { Ok(Err(elapsed())) } else { Err(elapsed()) };
                assert_eq!(sim.run(nested), expected);
                assert_eq!(sim.time().elapsed() - start, SECOND);
                assert_eq!(sim.time().armed(), 0);
            }
        });
    }

    // S59
    #[test]
    fn dropping_it_disarms_its_timer_at_whatever_await_it_stands() {
        let points = drop_at_every_await_in_sim(0..20, |sim| {
            let clock = sim.clock();
            let limited = async move {
                for work in [1, 3] {
                    let _ = clock.timeout(2 * SECOND, clock.sleep(work * SECOND)).await;
                }
            };
            (limited, |sim: &Sim, point| assert_eq!(sim.time().armed(), 0, "{point:?}"))
        });
        assert_eq!(points, 20 * 5);
    }

    // S59
    #[test]
    fn ten_thousand_calls_leave_no_timer() {
        let time = ManualClock::new();
        let clock = time.clock();
        for call in 0..10_000_u64 {
            let work = clock.sleep(Duration::from_millis(call % 20));
            let mut limited = Polled::new(clock.timeout(Duration::from_millis(10), work));
            let mut outcome = limited.poll();
            for _ in 0..2 {
                if outcome.is_none() && call % 3 > 0 {
                    time.advance(Duration::from_millis(5));
                    outcome = limited.poll();
                }
            }
        }
        assert_eq!(time.armed(), 0);
    }

    #[test]
    fn it_gives_its_future_back() {
        let time = ManualClock::new();
        let limited = time.clock().timeout(SECOND, Box::pin(ready(5)));
        assert_eq!(Polled::new(limited.into_inner()).poll(), Some(5));
        assert_eq!(elapsed().to_string(), "the time limit has passed");
    }
}

mod custom {
    use super::*;

    /// Counts how often it is asked.
    #[derive(Default)]
    struct Asked {
        time: ManualClock,
        nows: AtomicUsize,
        sleeps: AtomicUsize,
    }

    impl Timer for Asked {
        fn now(&self) -> Instant {
            self.nows.fetch_add(1, Ordering::Relaxed);
            Timer::now(&self.time)
        }

        fn sleep_until(&self, deadline: Instant) -> Sleep {
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            self.time.sleep_until(deadline)
        }
    }

    impl Asked {
        fn take(&self) -> (usize, usize) {
            (self.nows.swap(0, Ordering::Relaxed), self.sleeps.swap(0, Ordering::Relaxed))
        }
    }

    #[test]
    fn what_is_ready_costs_no_look_at_the_clock_and_what_is_not_costs_one() {
        let asked = Arc::new(Asked::default());
        let clock = Clock::from_arc(Arc::<Asked>::clone(&asked));
        assert_eq!(Polled::new(clock.timeout(SECOND, ready(1))).poll(), Some(Ok(1)));
        assert_eq!(asked.take(), (0, 0));
        let mut limited = Polled::new(clock.timeout(SECOND, pending::<()>()));
        for _ in 0..3 {
            assert_eq!(limited.poll(), None);
        }
        assert_eq!(asked.take(), (1, 1));
        let mut limited = Polled::new(clock.timeout_at(Deadline::NEVER, pending::<()>()));
        assert_eq!((limited.poll(), asked.take()), (None, (0, 0)));
    }

    #[test]
    fn the_wall_clock_is_the_system_s_unless_said_otherwise() {
        let clock = Clock::new(Asked::default());
        let system = Clock::system().wall();
        let apart = clock.wall().duration_since(system).unwrap_or_else(|error| error.duration());
        assert!(apart < 60 * SECOND, "{apart:?}");
        assert!(system > SystemTime::UNIX_EPOCH + 1_600_000_000 * SECOND);
        assert_eq!(format!("{clock:?}"), "Clock(custom)");
        assert_eq!(format!("{:?} {:?}", Clock::default(), Clock::quanta()), "Clock(system) Clock(quanta)");
    }
}

mod system_and_quanta {
    use super::*;

    #[test]
    fn they_tell_the_same_time() {
        let (system, quanta) = (Clock::system(), Clock::quanta());
        for _ in 0..3 {
            let before = system.now();
            let between = quanta.now();
            let after = system.now();
            // The counter is laid along the system's time when the clock is made, and drifts slowly.
            let tolerance = Duration::from_millis(5);
            assert!(between + tolerance >= before && between <= after + tolerance);
            futures_executor::block_on(system.sleep(Duration::from_millis(2)));
        }
    }

    #[test]
    fn quanta_moves_and_sleeps() {
        let clock = Clock::quanta();
        let start = clock.now();
        futures_executor::block_on(clock.sleep(Duration::from_millis(3)));
        let slept = clock.now() - start;
        assert!(slept >= Duration::from_micros(2_900), "{slept:?}");
        assert_eq!(
            futures_executor::block_on(clock.timeout(Duration::from_millis(2), pending::<()>())),
            Err(elapsed())
        );
        assert_eq!(Polled::new(clock.sleep_until(start)).poll(), Some(()));
    }
}

mod tokio_clock {
    use super::*;

    #[test]
    fn outside_a_runtime_there_is_none() {
        assert!(Clock::tokio().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_and_jumps_with_the_runtime_s_clock() {
        let clock = Clock::tokio().unwrap();
        let start = clock.now();
        ::tokio::time::advance(3600 * SECOND).await;
        assert_eq!(clock.now() - start, 3600 * SECOND);
        // Paused time jumps to the next timer when the runtime is idle.
        clock.sleep(3600 * SECOND).await;
        assert!(clock.now() - start >= 7200 * SECOND);
        assert_eq!(clock.timeout(10 * SECOND, pending::<()>()).await, Err(elapsed()));
        assert!(clock.now() - start < 7220 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_ready_at_its_first_poll() {
        let clock = Clock::tokio().unwrap();
        assert_eq!(Polled::new(clock.sleep(Duration::ZERO)).poll(), Some(()));
        let at = clock.now();
        ::tokio::time::advance(SECOND).await;
        assert_eq!(Polled::new(clock.sleep_until(at)).poll(), Some(()));
        assert_eq!(Polled::new(clock.timeout(Duration::ZERO, pending::<()>())).poll(), Some(Err(elapsed())));
        assert_eq!(Polled::new(clock.sleep(Duration::from_nanos(1))).poll(), None);
    }

    #[tokio::test]
    async fn it_is_the_runtime_s_time_on_every_thread() {
        ::tokio::time::pause();
        let clock = Clock::tokio().unwrap();
        let here = clock.now();
        ::tokio::time::advance(SECOND).await;
        let there = std::thread::spawn(move || {
            let now = clock.now();
            (now, Polled::new(clock.sleep(SECOND)).poll(), Polled::new(clock.sleep_until(now)).poll())
        });
        let (now, waits, due) = there.join().unwrap();
        assert_eq!((now - here, waits, due), (SECOND, None, Some(())));
    }

    // A task that uses up its cooperative budget in every poll must still be timed out.
    #[tokio::test(start_paused = true)]
    async fn a_task_that_uses_up_its_budget_is_timed_out() {
        let clock = Clock::tokio().unwrap();
        let mut polls = 0;
        let greedy = poll_fn(|cx| {
            polls += 1;
            // Every await point of tokio takes from the budget; out of budget they are pending.
            for _ in 0..1000 {
                let mut step = std::pin::pin!(::tokio::task::coop::consume_budget());
                if step.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            if polls > 1000 { Poll::Ready(()) } else { Poll::Pending }
        });
        let passing = ::tokio::spawn(async {
            for _ in 0..10 {
                ::tokio::time::advance(Duration::from_millis(100)).await;
            }
        });
        let outcome = clock.timeout(SECOND / 2, greedy).await;
        passing.await.unwrap();
        assert_eq!(outcome, Err(elapsed()));
    }
}

#[test]
fn a_sleep_is_woken_by_the_waker_of_its_last_poll() {
    let (time, first, last) = (ManualClock::new(), WakeCounter::new(), WakeCounter::new());
    let clock = time.clock();
    let mut limited = Box::pin(clock.timeout(SECOND, pending::<()>()));
    for waker in [first.waker(), last.waker()] {
        assert!(limited.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    time.advance(SECOND);
    assert_eq!((first.count(), last.count()), (0, 1));
}
