//! A number of workers that follows the load.

use super::*;
use cofferdam::task::{BoxTask, Spawn};

const AGE: Duration = Duration::from_millis(100);

fn scaled(sim: &Sim, min: usize, max: usize) -> WorkerPool {
    let builder = WorkerPool::builder().workers_between(min, max).scale_after(AGE).idle_timeout(10 * SECOND);
    builder.queue(100).clock(sim.clock()).start_owned(sim.clone()).unwrap()
}

fn sleeps(sim: &Sim, pool: &WorkerPool, tasks: usize, each: Duration) {
    for _ in 0..tasks {
        let clock = sim.clock();
        pool.try_execute(async move { clock.sleep(each).await }).unwrap();
    }
}

// WP13
#[test]
fn there_is_one_worker_more_each_time_that_all_are_busy_and_a_task_has_waited_too_long() {
    Sim::for_seeds(0..50, |sim| {
        let pool = scaled(sim, 1, 3);
        sim.run_until_idle();
        assert_eq!((pool.stats().workers, sim.time().armed()), (1, 0));
        sleeps(sim, &pool, 1, SECOND);
        sim.advance(AGE * 2);
        assert_eq!(pool.stats().workers, 1, "nothing waits");
        sleeps(sim, &pool, 1, SECOND);
        sim.advance(AGE - Duration::from_nanos(1));
        assert_eq!(pool.stats().workers, 1, "not long enough");
        sim.advance(Duration::from_nanos(1));
        assert_eq!((pool.stats().workers, pool.stats().running), (2, 2));
        sleeps(sim, &pool, 5, SECOND);
        sim.advance(AGE);
        assert_eq!((pool.stats().workers, pool.stats().running), (3, 3), "and no more than the most");
        drop(pool);
        sim.run_until_idle();
    });
}

// WP13
#[test]
fn a_worker_that_is_idle_for_long_ends_but_for_the_least_number() {
    Sim::for_seeds(0..50, |sim| {
        let pool = scaled(sim, 2, 4);
        sleeps(sim, &pool, 12, SECOND);
        sim.advance(4 * SECOND);
        let stats = balanced(pool.stats());
        assert_eq!((stats.completed, stats.workers), (12, 4));
        let ended = sim.time().elapsed();
        sim.advance(20 * SECOND);
        assert_eq!((pool.stats().workers, sim.time().armed()), (2, 0), "since {ended:?}");
        // And up again, with the seats that became free.
        sleeps(sim, &pool, 12, SECOND);
        sim.advance(4 * SECOND);
        let stats = balanced(pool.stats());
        assert_eq!((stats.completed, stats.workers), (24, 4));
        let report = sim.run(pool.drain());
        assert!(report.is_clean());
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
    });
}

// WP13
#[test]
fn a_worker_that_keeps_the_time_may_end_and_another_one_keeps_it() {
    Sim::for_seeds(0..50, |sim| {
        let pool = scaled(sim, 1, 2);
        sleeps(sim, &pool, 4, SECOND);
        sim.advance(3 * SECOND);
        assert_eq!(pool.stats().workers, 2);
        let handle = pool.task(async { 7 }).delay(60 * SECOND).try_submit().unwrap();
        sim.advance(30 * SECOND);
        assert_eq!((pool.stats().workers, sim.time().armed()), (1, 1));
        assert_eq!(sim.run(handle).unwrap(), 7);
        drop(pool);
    });
}

// WP6, WP13
#[test]
fn whatever_happens_each_task_has_one_end_and_the_pool_ends() {
    Sim::for_seeds(0..200, |sim| {
        let pool = scaled(sim, 1, 3);
        let mut accepted = 0;
        for _ in 0..sim.random_below(40) {
            match sim.random_below(4) {
                0 => sim.advance(Duration::from_millis(sim.random_below(15_000))),
                _ => {
                    let (clock, each) = (sim.clock(), Duration::from_millis(sim.random_below(3_000)));
                    let task = pool.task(async move { clock.sleep(each).await });
                    let task =
                        task.delay(Duration::from_millis(sim.random_below(2) * sim.random_below(5_000)));
                    accepted += u64::from(task.try_execute().is_ok());
                }
            }
            let workers = balanced(pool.stats()).workers;
            assert!((1..=3).contains(&workers), "{workers}");
        }
        let report = match sim.random_below(2) {
            0 => sim.run(pool.drain()),
            _ => sim.run(pool.shutdown(Duration::from_millis(sim.random_below(5_000)))),
        };
        assert_eq!((report.stats.submitted, report.stats.ended()), (accepted, accepted));
        drop(pool);
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0), "a worker or a timer is left");
    });
}

// WP13
#[test]
fn a_pool_whose_workers_are_dropped_has_ended_and_starts_none() {
    let sim = Sim::new(1);
    let pool = scaled(&sim, 1, 3);
    sleeps(&sim, &pool, 5, SECOND);
    sim.run_until_idle();
    sim.drop_tasks();
    sim.advance(SECOND);
    let stats = balanced(pool.stats());
    assert_eq!((stats.dropped, stats.submitted, sim.tasks()), (5, 5, 0));
    assert!(pool.is_closed());
}

// WP13
#[test]
fn an_executor_that_takes_no_more_workers_is_asked_again_after_a_while() {
    let sim = Sim::new(1);
    let (asked, refuses) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let spawner = {
        let (sim, asked, refuses) = (sim.clone(), Arc::clone(&asked), Arc::clone(&refuses));
        move |task: BoxTask| {
            // Whoever asks for ever is to fail, not to hang.
            let times = asked.fetch_add(1, Ordering::Relaxed);
            if refuses.load(Ordering::Relaxed) == 0 || times > 1000 {
                Spawn::spawn(&sim, task)
            } else {
                drop(task)
            }
        }
    };
    let builder = WorkerPool::builder().workers_between(1, 2).scale_after(AGE).queue(100).clock(sim.clock());
    let pool = builder.start_owned(spawner).unwrap();
    refuses.store(1, Ordering::Relaxed);
    sleeps(&sim, &pool, 3, 10 * SECOND);
    sim.advance(AGE);
    let asked = || asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 3, "a worker, who adds workers, and a worker that was refused");
    assert_eq!((pool.stats().workers, pool.stats().running), (1, 1));
    sim.advance(SECOND);
    assert!((4..20).contains(&asked()), "{}", asked());
    refuses.store(0, Ordering::Relaxed);
    sim.advance(SECOND);
    assert_eq!((pool.stats().workers, pool.stats().running), (2, 2));
    let report = sim.run(pool.drain());
    assert!(report.is_clean());
    sim.run_until_idle();
    assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
}

// WP13
#[test]
fn a_delayed_task_whose_time_comes_while_all_are_busy_brings_one_worker_more() {
    for delayed_first in [false, true] {
        let sim = Sim::new(1);
        let pool = scaled(&sim, 1, 2);
        if !delayed_first {
            sleeps(&sim, &pool, 1, 60 * SECOND);
            sim.run_until_idle();
        }
        let handle = pool.task(async { 7 }).delay(SECOND).try_submit().unwrap();
        if delayed_first {
            sim.run_until_idle();
            sleeps(&sim, &pool, 1, 60 * SECOND);
        }
        sim.advance(SECOND + AGE - Duration::from_nanos(1));
        assert_eq!((pool.stats().workers, handle.is_finished()), (1, false), "not long enough");
        sim.advance(Duration::from_nanos(1));
        assert_eq!((pool.stats().workers, handle.is_finished()), (2, true));
        // One that never comes brings nothing.
        sleeps(&sim, &pool, 1, SECOND / 2);
        pool.task(async {}).delay(Duration::MAX).try_execute().unwrap();
        sim.run_until_idle();
        drop(sim.run(pool.shutdown(SECOND)));
        sim.run_until_idle();
        assert_eq!((sim.tasks(), sim.time().armed()), (0, 0));
    }
}
