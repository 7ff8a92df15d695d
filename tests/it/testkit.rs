//! Virtual time, the simulator, and dropping at every await point.

use crate::support::panic_message;
use cofferdam::resilience::Retry;
use cofferdam::task::Spawn;
use cofferdam::testkit::{
    DropPoint, ManualClock, Polled, Sim, WakeCounter, drop_at_every_await, drop_at_every_await_in_sim,
    yield_now,
};
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

mod manual_clock {
    use super::*;

    #[test]
    fn time_stands_still_until_it_is_moved() {
        let time = ManualClock::new();
        let clock = time.clock();
        let start = clock.now();
        assert_eq!(clock.now(), start);
        time.advance(SECOND);
        assert_eq!(clock.now() - start, SECOND);
        time.advance_to(start);
        assert_eq!(clock.now() - start, SECOND, "advancing does not go back");
        assert_eq!(time.elapsed(), SECOND);
    }

    #[test]
    fn clones_and_clocks_share_one_time() {
        let time = ManualClock::new();
        let (other, clock) = (time.clone(), time.clock());
        other.advance(SECOND);
        assert_eq!(time.elapsed(), SECOND);
        assert_eq!(clock.now(), other.clock().now());
    }

    // S87
    #[test]
    fn timers_fire_in_the_order_of_their_deadlines_and_at_their_own_instants() {
        let time = ManualClock::new();
        let clock = time.clock();
        let start = clock.now();
        let log = Log::default();
        let mut sleeps: Vec<_> = [3_u64, 1, 2]
            .map(|after| {
                let (clock, log) = (clock.clone(), log.clone());
                Polled::new(async move {
                    clock.sleep(Duration::from_secs(after)).await;
                    log.push(format!("{after}"));
                })
            })
            .into();
        for sleep in &mut sleeps {
            assert_eq!(sleep.poll(), None);
        }
        assert_eq!(time.next_deadline(), Some(start + SECOND));
        assert_eq!(time.armed(), 3);

        time.advance(2 * SECOND);
        assert_eq!(sleeps.iter().map(Polled::wakes).collect::<Vec<_>>(), [0, 1, 1]);
        assert_eq!(time.next_deadline(), Some(start + 3 * SECOND));
        time.advance(SECOND - Duration::from_nanos(1));
        assert_eq!(sleeps[0].poll(), None, "not before its deadline");
        time.advance(Duration::from_nanos(1));
        assert_eq!(sleeps[0].poll(), Some(()));
        assert_eq!(time.armed(), 0);
    }

    /// A waker that notes the time at which it was woken.
    struct NoteTime {
        name: &'static str,
        time: ManualClock,
        log: Log,
    }

    impl std::task::Wake for NoteTime {
        fn wake(self: Arc<Self>) {
            self.log.push(format!("{} at {:?}", self.name, self.time.elapsed()));
        }
    }

    // S87
    #[test]
    fn timers_of_one_instant_fire_in_the_order_of_arming_and_wakers_see_that_instant() {
        let time = ManualClock::new();
        let clock = time.clock();
        let log = Log::default();
        let at = clock.now() + SECOND;
        // Made in one order, armed in another.
        let mut made: Vec<_> =
            ["late", "a", "b", "c"].map(|name| (name, Box::pin(clock.sleep_until(at)))).into();
        made[0].1 = Box::pin(clock.sleep_until(at + SECOND));
        for index in [0, 2, 3, 1] {
            let (name, sleep) = &mut made[index];
            let waker = Waker::from(Arc::new(NoteTime { name, time: time.clone(), log: log.clone() }));
            assert!(sleep.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        time.advance(10 * SECOND);
        assert_eq!(log.take(), ["b at 1s", "c at 1s", "a at 1s", "late at 2s"]);
    }

    #[test]
    fn polling_again_keeps_the_place_in_the_order_and_replaces_the_waker() {
        let time = ManualClock::new();
        let clock = time.clock();
        let (first, second) = (WakeCounter::new(), WakeCounter::new());
        let mut sleep = Box::pin(clock.sleep(SECOND));
        for waker in [first.waker(), second.waker()] {
            assert!(sleep.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(time.armed(), 1);
        time.advance(SECOND);
        assert_eq!((first.count(), second.count()), (0, 1));
    }

    // S59
    #[test]
    fn dropping_a_sleep_disarms_it() {
        let time = ManualClock::new();
        let mut sleep = Polled::new(time.clock().sleep(SECOND));
        assert_eq!(time.armed(), 0, "not armed before its first poll");
        assert_eq!(sleep.poll(), None);
        assert_eq!(time.armed(), 1);
        drop(sleep);
        assert_eq!(time.armed(), 0);
    }

    // S59
    #[test]
    fn a_sleep_that_is_done_holds_no_timer_however_it_became_done() {
        let time = ManualClock::new();
        let mut sleep = Polled::new(time.clock().sleep(SECOND));
        assert_eq!(sleep.poll(), None);
        // Backwards and forwards: the timer fires, and is armed again by a poll at a time before its deadline.
        let start = time.clock().now();
        time.set(start + SECOND);
        time.set(start);
        assert_eq!(sleep.poll(), None);
        assert_eq!(time.armed(), 1);
        time.set(start + SECOND);
        assert_eq!(sleep.wakes(), 2);
        assert_eq!(sleep.poll(), Some(()));
        assert_eq!(time.armed(), 0);
    }

    // S59
    #[test]
    fn a_sleep_that_was_seen_to_be_over_before_its_timer_fired_is_not_woken() {
        struct PollOther(Mutex<Polled<cofferdam::time::Sleep>>);
        impl std::task::Wake for PollOther {
            fn wake(self: Arc<Self>) {
                assert_eq!(self.0.lock().unwrap().poll(), Some(()));
            }
        }
        let time = ManualClock::new();
        let clock = time.clock();
        let (mut first, mut second) = (Box::pin(clock.sleep(SECOND)), Polled::new(clock.sleep(SECOND)));
        // Armed in this order, so the second's timer is still armed when the first's waker polls it.
        let noop = &mut std::task::Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(noop).is_pending());
        assert_eq!(second.poll(), None);
        let other = Arc::new(PollOther(Mutex::new(second)));
        let waker = Waker::from(Arc::clone(&other));
        assert!(first.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        time.advance(SECOND);
        assert_eq!(other.0.lock().unwrap().wakes(), 0);
    }

    #[test]
    fn set_goes_back_and_timers_keep_their_instants() {
        let time = ManualClock::new();
        let clock = time.clock();
        time.advance(10 * SECOND);
        let mut sleep = Polled::new(clock.sleep(SECOND));
        assert_eq!(sleep.poll(), None);
        time.set(clock.now() - 5 * SECOND);
        assert_eq!(time.elapsed(), 5 * SECOND);
        time.advance(SECOND);
        assert_eq!((sleep.wakes(), sleep.poll()), (0, None));
        time.advance(5 * SECOND);
        assert_eq!((sleep.wakes(), sleep.poll()), (1, Some(())));
    }

    #[test]
    fn the_wall_clock_moves_along_and_can_be_set() {
        let time = ManualClock::new();
        let clock = time.clock();
        let wall = clock.wall();
        time.advance(SECOND);
        assert_eq!(clock.wall().duration_since(wall).unwrap(), SECOND);
        time.set_wall(SystemTime::UNIX_EPOCH);
        time.advance(SECOND);
        assert_eq!(clock.wall(), SystemTime::UNIX_EPOCH + SECOND);
    }

    #[test]
    fn a_waker_may_arm_and_drop_timers_of_the_same_clock() {
        struct Rearm {
            time: ManualClock,
            fired: AtomicUsize,
            held: Mutex<Option<Polled<cofferdam::time::Sleep>>>,
        }
        impl std::task::Wake for Rearm {
            fn wake(self: Arc<Self>) {
                self.fired.fetch_add(1, Ordering::Relaxed);
                let mut next = Polled::new(self.time.clock().sleep(SECOND));
                assert_eq!(next.poll(), None);
                drop(self.held.lock().unwrap().replace(next));
            }
        }
        let time = ManualClock::new();
        let rearm =
            Arc::new(Rearm { time: time.clone(), fired: AtomicUsize::new(0), held: Mutex::new(None) });
        let mut sleep = Box::pin(time.clock().sleep(SECOND));
        let waker = Waker::from(Arc::clone(&rearm));
        assert!(sleep.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        time.advance(SECOND);
        assert_eq!((rearm.fired.load(Ordering::Relaxed), time.armed()), (1, 1));
        let held = rearm.held.lock().unwrap().take();
        drop(held);
        assert_eq!(time.armed(), 0);
    }
}

mod sim {
    use super::*;

    /// Tasks that report and yield, and the order in which they did.
    fn interleaving(seed: u64) -> Vec<String> {
        let sim = Sim::new(seed);
        let log = Log::default();
        let tasks: Vec<_> = (0..6)
            .map(|task| {
                let (log, clock, sim2) = (log.clone(), sim.clock(), sim.clone());
                sim.spawn(format!("task {task}"), async move {
                    for step in 0..4 {
                        log.push(format!("{task}.{step}"));
                        match sim2.random_below(3) {
                            0 => yield_now().await,
                            by => clock.sleep(Duration::from_millis(by)).await,
                        }
                    }
                })
            })
            .collect();
        sim.run(async {
            for task in tasks {
                task.await;
            }
        });
        assert_eq!(sim.tasks(), 0);
        assert_eq!(sim.time().armed(), 0);
        let mut log = log.take();
        log.push(format!("{:?} {}", sim.time().elapsed(), sim.polls()));
        log
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_other_seeds_give_others() {
        let runs: std::collections::BTreeSet<_> = (0..50)
            .map(|seed| {
                let run = interleaving(seed);
                assert_eq!(run, interleaving(seed), "seed {seed}");
                run
            })
            .collect();
        assert!(runs.len() > 45, "only {} different runs from 50 seeds", runs.len());
    }

    #[test]
    fn every_order_of_three_tasks_is_found() {
        let mut seen = std::collections::BTreeSet::new();
        Sim::for_seeds(0..200, |sim| {
            let log = Log::default();
            for name in ["a", "b", "c"] {
                let log = log.clone();
                sim.spawn(name, async move { log.push(name) });
            }
            sim.run_until_idle();
            seen.insert(log.take());
        });
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn jitter_comes_from_the_seed_too() {
        let took = |seed| {
            let sim = Sim::new(seed);
            let retry = Retry::builder().max_attempts(5).clock(sim.clock()).build().unwrap();
            // In two runs: the second goes on where the first was.
            for _ in 0..2 {
                sim.run(retry.call(|| async { Err::<(), _>("down") })).unwrap_err();
            }
            sim.time().elapsed()
        };
        let all: std::collections::BTreeSet<_> = (0..20).map(|seed| (took(seed), took(seed))).collect();
        assert!(all.iter().all(|(first, second)| first == second), "{all:?}");
        assert_eq!(all.len(), 20);
    }

    #[test]
    fn the_threads_generator_goes_on_where_it_was_also_after_a_panic() {
        let (before, sim) = (fastrand::get_seed(), Sim::new(1));
        sim.spawn("draws", async { assert_ne!(fastrand::u64(..), fastrand::u64(..)) });
        sim.run_until_idle();
        sim.advance(SECOND);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            sim.run(async {
                panic!("inside, {}", fastrand::u64(..));
            })
        }));
        assert!(panic.is_err());
        // A run inside a run is refused, and changes nothing either.
        sim.run(async {
            let inside = fastrand::get_seed();
            assert!(catch_unwind(AssertUnwindSafe(|| sim.run_until_idle())).is_err());
            assert_eq!(fastrand::get_seed(), inside);
            assert_ne!(inside, before);
        });
        assert_eq!(fastrand::get_seed(), before);
    }

    #[test]
    fn the_future_given_to_run_may_borrow_and_need_not_be_send() {
        let sim = Sim::new(1);
        let count = Rc::new(Cell::new(0));
        let text = String::from("borrowed");
        let output = sim.run(async {
            let task = sim.spawn("send", async { 20 });
            count.set(count.get() + 1);
            yield_now().await;
            (text.as_str(), task.await + count.get())
        });
        assert_eq!(output, ("borrowed", 21));
    }

    #[test]
    fn time_jumps_to_the_next_deadline_only_when_nothing_can_run() {
        Sim::for_seeds(0..50, |sim| {
            let (clock, time) = (sim.clock(), sim.time());
            let busy = sim.spawn("busy", async move {
                for _ in 0..100 {
                    yield_now().await;
                    assert_eq!(time.elapsed(), Duration::ZERO);
                }
            });
            sim.run(async {
                clock.sleep(3600 * SECOND).await;
                assert!(busy.is_finished());
            });
            assert_eq!(sim.time().elapsed(), 3600 * SECOND);
        });
    }

    // S87
    #[test]
    fn tasks_settle_between_instants() {
        Sim::for_seeds(0..50, |sim| {
            let log = Log::default();
            for name in ["a", "b"] {
                let (clock, time, log) = (sim.clock(), sim.time(), log.clone());
                sim.spawn(name, async move {
                    for second in 1..=3 {
                        clock.sleep(SECOND).await;
                        yield_now().await;
                        assert_eq!(time.elapsed(), second * SECOND);
                        log.push(format!("{second}"));
                    }
                });
            }
            sim.advance(10 * SECOND);
            assert_eq!(log.take(), ["1", "1", "2", "2", "3", "3"]);
            assert_eq!(sim.time().elapsed(), 10 * SECOND);
        });
    }

    #[test]
    fn tasks_woken_at_one_instant_run_in_any_order() {
        let mut seen = std::collections::BTreeSet::new();
        Sim::for_seeds(0..100, |sim| {
            let log = Log::default();
            let at = sim.clock().now() + SECOND;
            for name in ["a", "b"] {
                let (clock, log) = (sim.clock(), log.clone());
                sim.spawn(name, async move {
                    clock.sleep_until(at).await;
                    log.push(name);
                });
                // Armed in the order of their names.
                sim.run_until_idle();
            }
            sim.advance(SECOND);
            seen.insert(log.take());
        });
        assert_eq!(seen.len(), 2);
    }

    // S87
    #[test]
    fn a_timer_armed_inside_advance_fires_in_the_same_call_if_due() {
        let sim = Sim::new(0);
        let clock = sim.clock();
        let task = sim.spawn("chain", async move {
            clock.sleep(SECOND).await;
            clock.sleep(SECOND).await;
            clock.sleep(SECOND).await;
        });
        sim.advance(3 * SECOND - Duration::from_nanos(1));
        assert!(!task.is_finished());
        sim.advance(Duration::from_nanos(1));
        assert!(task.is_finished());
        assert_eq!(sim.time().elapsed(), 3 * SECOND);
    }

    #[test]
    fn run_until_idle_leaves_the_time_alone() {
        let sim = Sim::new(0);
        let clock = sim.clock();
        let task = sim.spawn("sleeper", async move { clock.sleep(SECOND).await });
        sim.run_until_idle();
        assert!(!task.is_finished());
        assert_eq!((sim.time().elapsed(), sim.time().armed(), sim.tasks()), (Duration::ZERO, 1, 1));
    }

    #[test]
    fn tasks_left_over_go_on_at_the_next_run() {
        Sim::for_seeds(0..20, |sim| {
            let clock = sim.clock();
            let task = sim.spawn("left over", async move {
                clock.sleep(2 * SECOND).await;
                7
            });
            let clock = sim.clock();
            sim.run(clock.sleep(SECOND));
            assert!(!task.is_finished());
            assert_eq!(sim.run(task), 7);
        });
    }

    #[test]
    fn a_deadlock_panics_naming_the_seed_and_all_who_wait() {
        let sim = Sim::new(4711);
        sim.spawn("first", pending::<()>());
        sim.spawn("second", pending::<()>());
        sim.spawn("done", async {});
        Spawn::spawn(&sim, Box::pin(pending()));
        let clock = sim.clock();
        let message = panic_message(|| {
            sim.run(async {
                clock.sleep(5 * SECOND).await;
                pending::<()>().await;
            });
        });
        assert_eq!(
            message,
            "sim: nothing can run and no timer is armed; waiting: `first`, `second`, `spawned 3`, \
             `the future given to run` (seed 4711, at 5s); \
             a deadlock, a lost wake-up, or something that waits on another clock than the world's"
        );
    }

    #[test]
    fn an_endless_world_panics_instead_of_hanging() {
        let sim = Sim::with_max_polls(9, 1000);
        sim.spawn("spinner", async {
            loop {
                yield_now().await;
            }
        });
        let message = panic_message(|| sim.run(pending::<()>()));
        assert!(message.starts_with("sim: not done after 1000 polls; unfinished: `spinner`"), "{message}");
        assert!(message.contains("seed 9"), "{message}");
        // And so does one whose timers keep time moving.
        let sim = Sim::with_max_polls(9, 1000);
        let clock = sim.clock();
        sim.spawn("ticker", async move {
            loop {
                clock.sleep(SECOND).await;
            }
        });
        assert!(panic_message(|| sim.run(pending::<()>())).contains("`ticker`"));
        assert!(panic_message(|| sim.advance(5000 * SECOND)).contains("`ticker`"));
        sim.advance(5 * SECOND);
    }

    #[test]
    fn a_panic_in_a_task_ends_the_run_and_the_world_lives_on() {
        let sim = Sim::new(3);
        sim.spawn("bad", async { panic!("of the task") });
        let other = sim.spawn("good", async { 5 });
        let clock = sim.clock();
        assert_eq!(panic_message(|| sim.run(clock.sleep(SECOND))), "of the task");
        assert_eq!(sim.run(other), 5);
        assert_eq!(sim.tasks(), 0);
    }

    #[test]
    fn waiting_for_a_task_that_was_dropped_panics_instead_of_waiting() {
        let sim = Sim::new(3);
        let task = sim.spawn("lost", pending::<()>());
        sim.run_until_idle();
        sim.drop_tasks();
        assert_eq!(sim.tasks(), 0);
        assert!(task.is_finished());
        let message = panic_message(|| sim.run(task));
        assert!(message.contains("`lost` was dropped"), "{message}");
        // One that was never polled, too, while somebody waits for it.
        let task = sim.spawn("never polled", pending::<()>());
        let mut waiting = Polled::new(task);
        assert_eq!(waiting.poll(), None);
        sim.drop_tasks();
        assert_eq!(waiting.wakes(), 1);
        assert!(panic_message(|| drop(waiting.poll())).contains("`never polled` was dropped"));
    }

    #[test]
    fn cancelling_drops_the_task_where_it_stands() {
        struct Flag(Arc<AtomicUsize>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let sim = Sim::new(3);
        let dropped = Arc::new(AtomicUsize::new(0));
        let flag = Flag(Arc::clone(&dropped));
        let clock = sim.clock();
        let task = sim.spawn("sleeper", async move {
            let _flag = flag;
            clock.sleep(SECOND).await;
        });
        sim.run_until_idle();
        assert_eq!(sim.time().armed(), 1);
        task.cancel();
        assert_eq!((dropped.load(Ordering::Relaxed), sim.time().armed(), sim.tasks()), (1, 0, 0));

        // From inside its own poll.
        let flag = Flag(Arc::clone(&dropped));
        let (give, take) = std::sync::mpsc::channel::<cofferdam::testkit::SimTask<()>>();
        let seen = Arc::clone(&dropped);
        let own = sim.spawn("cancels itself", async move {
            let _flag = flag;
            take.recv().unwrap().cancel();
            assert_eq!(seen.load(Ordering::Relaxed), 1, "not inside the poll");
            pending::<()>().await;
        });
        give.send(own).unwrap();
        sim.run_until_idle();
        assert_eq!((dropped.load(Ordering::Relaxed), sim.tasks()), (2, 0));
    }

    #[test]
    fn a_wake_during_the_poll_and_from_another_thread_is_not_lost() {
        Sim::for_seeds(0..20, |sim| {
            let mut polls = 0;
            sim.run(poll_fn(|cx| {
                polls += 1;
                let waker = cx.waker().clone();
                std::thread::spawn(move || waker.wake()).join().unwrap();
                if polls == 10 { Poll::Ready(()) } else { Poll::Pending }
            }));
            assert_eq!(polls, 10);
        });
    }

    #[test]
    fn many_wakes_make_one_poll() {
        let sim = Sim::new(0);
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        sim.spawn(
            "woken thrice",
            poll_fn(move |cx| {
                if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                    for _ in 0..3 {
                        cx.waker().wake_by_ref();
                    }
                }
                Poll::<()>::Pending
            }),
        );
        sim.run_until_idle();
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn running_inside_a_run_is_refused() {
        let sim = Sim::new(0);
        let message = panic_message(|| sim.run(async { sim.run_until_idle() }));
        assert!(message.contains("already running"), "{message}");
        sim.run(async {});
    }

    #[test]
    fn wakers_outlive_their_world() {
        let waker = {
            let sim = Sim::new(0);
            let waker = sim.run(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
            waker.wake_by_ref();
            sim.run_until_idle();
            waker
        };
        waker.wake();
    }

    #[test]
    fn as_a_spawn_it_starts_nothing_in_place() {
        let sim = Sim::new(0);
        let spawner: Arc<dyn Spawn> = Arc::new(sim.clone());
        let log = Log::default();
        let inner = log.clone();
        spawner.spawn(Box::pin(async move { inner.push("ran") }));
        assert!(log.take().is_empty());
        sim.run_until_idle();
        assert_eq!(log.take(), ["ran"]);
    }

    #[test]
    fn tasks_are_let_go_so_that_the_world_is_freed() {
        let held = Arc::new(());
        Sim::for_seeds(0..1, |sim| {
            let (held, own) = (Arc::clone(&held), sim.clone());
            sim.spawn("holds its world", async move {
                own.clock().sleep(SECOND).await;
                drop(held);
            });
        });
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

mod drops {
    use super::*;

    #[test]
    fn every_await_point_is_covered_once_and_a_leak_is_seen() {
        let live = Cell::new(0_i32);
        struct Live<'a>(&'a Cell<i32>);
        impl Drop for Live<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }
        let mut seen = Vec::new();
        let points = drop_at_every_await(
            || async {
                live.set(live.get() + 1);
                let _live = Live(&live);
                for _ in 0..4 {
                    yield_now().await;
                }
            },
            |polls| {
                assert_eq!(live.get(), 0);
                seen.push(polls);
            },
        );
        assert_eq!(points, 5);
        assert_eq!(seen, [0, 1, 2, 3, 4]);

        let leaked = Cell::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            drop_at_every_await(
                || async {
                    yield_now().await;
                    leaked.set(leaked.get() + 1);
                    yield_now().await;
                    leaked.set(leaked.get() - 1);
                },
                |polls| assert_eq!(leaked.get(), 0, "leak after {polls}"),
            )
        }));
        let panic = result.expect_err("the leak was not seen");
        assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("leak after 2")));
    }

    #[test]
    fn a_future_that_waits_for_others_is_dropped_where_it_waits() {
        let points = drop_at_every_await(
            || async {
                yield_now().await;
                pending::<()>().await;
            },
            |_| {},
        );
        assert_eq!(points, 3);
    }

    #[test]
    fn in_a_world_both_moments_of_every_point_are_covered() {
        let points = Cell::new(Vec::new());
        let count = drop_at_every_await_in_sim([7], |sim| {
            let clock = sim.clock();
            let under_test = async move {
                clock.sleep(SECOND).await;
                clock.sleep(SECOND).await;
            };
            (under_test, |sim: &Sim, point: DropPoint| {
                assert_eq!(sim.time().armed(), 0, "{point:?}");
                let mut seen = points.take();
                seen.push((point.polls, point.woken, sim.time().elapsed().as_secs()));
                points.set(seen);
            })
        });
        let expected = [(0, false, 0), (1, false, 0), (1, true, 1), (2, false, 1), (2, true, 2)];
        assert_eq!(points.take(), expected);
        assert_eq!(count, expected.len());
    }

    #[test]
    fn in_a_world_a_lost_wake_up_is_seen() {
        // Granted to the future under test, which is dropped before it takes it: the other never hears of it.
        let broken = || {
            drop_at_every_await_in_sim(0..5, |sim| {
                let turn = Arc::new(Mutex::new((0_u32, Vec::<Waker>::new())));
                let take = |turn: Arc<Mutex<(u32, Vec<Waker>)>>| {
                    poll_fn(move |cx| {
                        let mut turn = turn.lock().unwrap();
                        if turn.0 > 0 {
                            turn.0 -= 1;
                            return Poll::Ready(());
                        }
                        turn.1.push(cx.waker().clone());
                        Poll::Pending
                    })
                };
                let (other, give) = (take(Arc::clone(&turn)), Arc::clone(&turn));
                let clock = sim.clock();
                let other = {
                    let clock = clock.clone();
                    sim.spawn("other", async move {
                        clock.sleep(SECOND).await;
                        other.await;
                    })
                };
                sim.spawn("giver", async move {
                    clock.sleep(2 * SECOND).await;
                    let mut turn = give.lock().unwrap();
                    turn.0 += 1;
                    // Wakes one, who may be gone: the bug.
                    let waker = turn.1.remove(0);
                    drop(turn);
                    waker.wake();
                });
                (take(turn), move |sim: &Sim, _: DropPoint| sim.run(other))
            })
        };
        let message = panic_message(|| drop(broken()));
        assert!(message.contains("waiting: `other`"), "{message}");
    }
}
