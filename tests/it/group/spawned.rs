//! Groups of spawned tasks.

use crate::support::allocations;
use cofferdam::group::{MemberError, TaskGroup};
use cofferdam::pool::WorkerPool;
use cofferdam::sync::{Context, channel};
use cofferdam::task::{BoxTask, Spawn};
use cofferdam::testkit::{DropPoint, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use cofferdam::time::Clock;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// How many are inside, and how many have been at once.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize)>);

struct In(Inside);

impl Inside {
    fn enter(&self) -> In {
        let now = self.0.0.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.1.fetch_max(now, Ordering::Relaxed);
        In(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl Drop for In {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn sleeping<T>(clock: Clock, millis: u64, inside: Inside, output: T) -> T {
    let _in = inside.enter();
    clock.sleep(Duration::from_millis(millis)).await;
    output
}

/// The same body on the simulator's tasks, and on a pool of two workers on it.
fn on_both(body: impl Fn(&Sim, TaskGroup<Result<u64, &'static str>>)) {
    Sim::for_seeds(0..30, |sim| body(sim, TaskGroup::new(sim.clone())));
    Sim::for_seeds(0..30, |sim| {
        let (pool, workers) = WorkerPool::builder().workers(2).queue(3).clock(sim.clock()).build().unwrap();
        workers.spawn_on(sim);
        body(sim, TaskGroup::on_pool(&pool));
    });
}

#[test]
fn outcomes_come_in_the_order_of_the_members_or_as_they_come() {
    Sim::for_seeds(0..30, |sim| {
        let (mut group, inside) = (TaskGroup::new(sim.clone()), Inside::default());
        for by_completion in [false, true] {
            sim.run(async {
                for millis in [3, 1, 2] {
                    group.spawn(sleeping(sim.clock(), millis, inside.clone(), millis)).await.unwrap();
                }
                let mut seen = Vec::new();
                if by_completion {
                    while let Some((index, outcome)) = group.next().await {
                        seen.push((index, outcome.unwrap()));
                    }
                    assert_eq!(seen, [(4, 1), (5, 2), (3, 3)]);
                } else {
                    seen.extend(group.join_all().await.into_iter().map(|outcome| (0, outcome.unwrap())));
                    assert_eq!(seen, [(0, 3), (0, 1), (0, 2)]);
                }
            });
        }
        assert_eq!((inside.most(), inside.now()), (3, 0));
        assert!(sim.run(group.join_all()).is_empty());
    });
}

#[test]
fn no_more_run_than_its_width() {
    on_both(|sim, group| {
        let (mut group, inside) = (group.width(2), Inside::default());
        sim.run(async {
            for number in 0..10 {
                let index =
                    group.spawn(sleeping(sim.clock(), 1 + number % 3, inside.clone(), Ok(number))).await;
                assert_eq!(index.unwrap(), number as usize);
            }
            assert_eq!(group.try_join_all().await.unwrap(), (0..10).collect::<Vec<_>>());
        });
        assert_eq!((inside.most(), inside.now()), (2, 0));
    });
}

#[test]
fn a_width_of_zero_is_one_and_what_is_over_it_is_given_back() {
    let sim = Sim::new(1);
    let mut group = TaskGroup::new(sim.clone()).width(0);
    let forever = || pending::<u8>();
    assert_eq!(group.try_spawn(forever()).unwrap(), 0);
    let refused = group.try_spawn(forever()).unwrap_err();
    assert!(refused.is_full());
    assert_eq!(refused.to_string(), "group: 1 members are running, as many as may");
    group.cancel("enough");
    assert!(sim.run(group.join_all())[0].as_ref().is_err_and(MemberError::is_cancelled));
    let refused = sim.run(group.spawn(refused.into_inner())).unwrap_err();
    assert!(refused.is_cancelled());
    assert_eq!(refused.to_string(), "group: cancelled: enough");
}

#[test]
fn the_first_failure_in_time_cancels_the_rest() {
    on_both(|sim, mut group| {
        let inside = Inside::default();
        let error = sim.run(async {
            group.spawn(sleeping(sim.clock(), 1000, inside.clone(), Ok(1))).await.unwrap();
            group.spawn(sleeping(sim.clock(), 5, inside.clone(), Err("later"))).await.unwrap();
            group.try_join_all().await.unwrap_err()
        });
        assert_eq!((error.index(), error.error()), (1, Some(&"later")));
        assert_eq!(error.to_string(), "group: member 1 failed: later");
        assert_eq!(error.interrupted().collect::<Vec<_>>(), [0]);
        assert_eq!(inside.now(), 0, "none runs any more");
        assert!(sim.time().elapsed() < 6 * MILLI);
        let others = error.into_others();
        let cancelled = others[0].1.as_ref().unwrap_err();
        assert_eq!(cancelled.to_string(), "the member was cancelled: member 1 failed");
        let stats = group.stats();
        assert_eq!((stats.spawned, stats.completed, stats.cancelled, stats.running), (2, 1, 1, 0));
    });
}

#[test]
fn a_panic_is_an_outcome_and_a_failure() {
    on_both(|sim, mut group| {
        let error = sim.run(async {
            group.spawn(async { Ok(1) }).await.unwrap();
            group.spawn(async { panic!("on purpose") }).await.unwrap();
            group.try_join_all().await.unwrap_err()
        });
        assert_eq!(error.to_string(), "group: member 1: the member panicked: on purpose");
        let panic = error.member_error().and_then(MemberError::panic).unwrap().clone();
        assert_eq!(panic.message(), Some("on purpose"));
        assert!(panic.take_payload().is_some_and(|payload| payload.is::<&str>()));
        assert_eq!(group.stats().panicked, 1);
    });
}

#[test]
fn what_is_not_done_in_time_is_dropped_and_named() {
    on_both(|sim, group| {
        let mut group = group.time_limit(10 * MILLI).clock(sim.clock());
        let inside = Inside::default();
        let outcomes = sim.run(async {
            group.spawn(sleeping(sim.clock(), 1000, inside.clone(), Ok(1))).await.unwrap();
            group.spawn(sleeping(sim.clock(), 5, inside.clone(), Ok(2))).await.unwrap();
            group.join_all().await
        });
        assert_eq!(sim.time().elapsed(), 10 * MILLI);
        assert!(outcomes[0].as_ref().is_err_and(MemberError::is_timeout));
        assert!(outcomes[1].is_ok());
        assert_eq!((inside.now(), group.stats().timed_out), (0, 1));
        let refused = group.try_spawn(async { Ok(1) }).unwrap_err();
        assert!(refused.is_timeout());
    });
}

/// The limit holds although nobody polls the group.
#[test]
fn the_time_limit_needs_nobody_who_waits() {
    let sim = Sim::new(5);
    let inside = Inside::default();
    let mut group = TaskGroup::new(sim.clone()).time_limit(10 * MILLI).clock(sim.clock());
    group.try_spawn(sleeping(sim.clock(), 1000, inside.clone(), ())).unwrap();
    sim.run(sim.clock().sleep(11 * MILLI));
    assert_eq!((inside.now(), group.stats().timed_out), (0, 1));
}

#[test]
fn dropping_the_group_ends_its_members() {
    on_both(|sim, mut group| {
        let inside = Inside::default();
        sim.run(async {
            for _ in 0..3 {
                group.spawn(sleeping(sim.clock(), 1000, inside.clone(), Ok(1))).await.unwrap();
            }
            yield_now().await;
            drop(group);
            sim.clock().sleep(MILLI).await;
        });
        assert_eq!(inside.now(), 0);
    });
}

#[test]
fn members_run_in_the_context_around_the_group_and_end_with_it() {
    struct Id(u32);
    let sim = Sim::new(2);
    let context = Context::background().with_value(Id(7)).child();
    let mut group = TaskGroup::new(sim.clone());
    let outcomes = sim.run(context.scope(async {
        group.spawn(async { Context::current().value::<Id>().map_or(0, |id| id.0) }).await.unwrap();
        group.spawn(pending()).await.unwrap();
        sim.clock().sleep(MILLI).await;
        context.cancel("hung up");
        assert!(group.try_spawn(async { 1 }).unwrap_err().is_cancelled());
        group.join_all().await
    }));
    assert_eq!(outcomes[0].as_ref().ok(), Some(&7));
    let cancelled = outcomes[1].as_ref().unwrap_err();
    assert_eq!(cancelled.cause().and_then(|cause| cause.text()), Some("hung up"));
    assert!(cancelled.source().is_some());
}

#[test]
fn what_was_cancelled_before_it_began_never_begins() {
    let sim = Sim::new(2);
    let mut group = TaskGroup::new(sim.clone());
    group.try_spawn(async { panic!("it began") }).unwrap();
    group.cancel("at once");
    assert!(sim.run(group.join_all())[0].as_ref().is_err_and(|error: &MemberError| error.is_cancelled()));
    let _: TaskGroup<()> = group;
}

#[test]
fn what_the_executor_drops_is_an_outcome_too() {
    let mut group = TaskGroup::new(|task: BoxTask| drop(task));
    assert_eq!(group.try_spawn(async { 1 }).unwrap(), 0);
    let outcomes = futures_executor::block_on(group.join_all());
    assert!(outcomes[0].as_ref().is_err_and(MemberError::is_dropped));
    assert_eq!(outcomes[0].as_ref().unwrap_err().to_string(), "the member was dropped by its executor");
    let stats = group.stats();
    assert_eq!((stats.spawned, stats.dropped, stats.running), (1, 1, 0));
}

#[test]
fn a_pool_that_refuses_gives_the_future_back() {
    let (pool, workers) = WorkerPool::builder().workers(1).queue(1).build().unwrap();
    let mut group = TaskGroup::on_pool(&pool);
    group.try_spawn(async { 1 }).unwrap();
    let refused = group.try_spawn(async { 2 }).unwrap_err();
    assert!(refused.is_refused_by_pool());
    assert_eq!(futures_executor::block_on(refused.into_inner()), 2);
    // A wait for room that is dropped has started nothing.
    let mut waiting = Polled::new(group.spawn(async { 3 }));
    assert!(waiting.poll().is_none());
    drop(waiting);
    assert_eq!((group.stats().spawned, group.stats().running), (1, 1));
    drop(workers);
    assert!(futures_executor::block_on(group.join_all())[0].as_ref().is_err_and(MemberError::is_dropped));
    assert!(futures_executor::block_on(group.spawn(async { 4 })).unwrap_err().is_refused_by_pool());
}

#[test]
fn discarded_outcomes_are_counted_and_not_kept() {
    let sim = Sim::new(4);
    let mut group = TaskGroup::new(sim.clone()).width(4).discard_outcomes();
    let held = Arc::new(());
    sim.run(async {
        for number in 0..100 {
            let held = Arc::clone(&held);
            group
                .spawn(async move {
                    assert_ne!(number % 10, 3);
                    held
                })
                .await
                .unwrap();
            assert!(group.stats().unread == 0);
        }
        assert!(group.join_all().await.is_empty());
    });
    let stats = group.stats();
    assert_eq!((stats.spawned, stats.completed, stats.panicked), (100, 90, 10));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_group_that_is_dropped_at_any_await_leaves_nothing_behind() {
    for pooled in [false, true] {
        let points = drop_at_every_await_in_sim(0..20, |sim| {
            let inside = Inside::default();
            let (pool, workers) =
                WorkerPool::builder().workers(2).queue(1).clock(sim.clock()).build().unwrap();
            workers.spawn_on(sim);
            let group = if pooled { TaskGroup::on_pool(&pool) } else { TaskGroup::new(sim.clone()) };
            let mut group = group.width(3).time_limit(50 * MILLI).clock(sim.clock());
            let (clock, entered) = (sim.clock(), inside.clone());
            let future = async move {
                for number in 0..8 {
                    let output = if number == 6 { Err(number) } else { Ok(number) };
                    group.spawn(sleeping(clock.clone(), number % 4, entered.clone(), output)).await.unwrap();
                }
                assert_eq!(group.next().await.map(|(index, _)| index), Some(0));
                assert_eq!(group.try_join_all().await.unwrap_err().into_error(), Some(6));
            };
            let check = move |sim: &Sim, point: DropPoint| {
                sim.run(pool.drain());
                sim.run(sim.clock().sleep(MILLI));
                assert_eq!((inside.now(), sim.time().armed()), (0, 0), "{point:?}");
            };
            (future, check)
        });
        assert!(points > 20 * 5, "only {points} points");
    }
}

#[test]
fn a_wait_that_is_dropped_loses_no_outcome() {
    let sim = Sim::new(8);
    let (sender, receiver) = channel::<()>(1).unwrap();
    let mut group = TaskGroup::new(sim.clone());
    group.try_spawn(async { 1 }).unwrap();
    group
        .try_spawn(async move {
            receiver.recv().await.unwrap();
            2
        })
        .unwrap();
    sim.run(yield_now());
    sim.run(yield_now());
    {
        let mut waiting = Polled::new(group.join_all());
        assert!(waiting.poll().is_none());
    }
    assert_eq!(group.stats().unread, 1);
    sender.try_send(()).unwrap();
    let outcomes = sim.run(group.join_all());
    assert_eq!(outcomes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_group_is_send() {
    fn send<T: Send>(_: &T) {}
    let spawner: Arc<dyn Spawn> = Arc::new(|task: BoxTask| drop(task));
    let mut group = TaskGroup::<Result<u8, u8>>::new(spawner);
    send(&group);
    send(&group.try_join_all());
    send(&group.spawn(async { Ok(1) }));
}

#[test]
fn a_member_is_one_allocation() {
    let tasks = Arc::new(std::sync::Mutex::new(Vec::<BoxTask>::with_capacity(10)));
    let spawner = {
        let tasks = Arc::clone(&tasks);
        move |task: BoxTask| tasks.lock().unwrap().push(task)
    };
    let mut group = TaskGroup::new(spawner);
    group.try_spawn(async { 1 }).unwrap();
    assert_eq!(allocations(|| group.try_spawn(async { 2 }).unwrap()), 1);
    for task in tasks.lock().unwrap().drain(..) {
        futures_executor::block_on(task);
    }
    let outcomes = futures_executor::block_on(group.join_all());
    assert_eq!(outcomes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_nobody_took_goes_with_the_group_and_not_with_its_last_member() {
    for discards in [false, true] {
        let sim = Sim::new(1);
        let mut group = TaskGroup::new(sim.clone());
        if discards {
            group = group.discard_outcomes();
        }
        let value = Arc::new(());
        let mine = Arc::clone(&value);
        group.try_spawn(async move { mine }).unwrap();
        sim.run_until_idle();
        let late = Arc::clone(&value);
        group.try_spawn(async move { late }).unwrap();
        drop(group);
        // The other one has not been polled since, and cannot tell.
        assert_eq!(Arc::strong_count(&value), 2);
        sim.run_until_idle();
        assert_eq!((Arc::strong_count(&value), sim.tasks()), (1, 0));
    }
}

#[test]
fn an_outcome_that_panics_when_it_is_dropped_is_no_affair_of_the_executor() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
    for discards in [false, true] {
        let sim = Sim::new(1);
        let mut group = TaskGroup::new(sim.clone());
        if discards {
            group = group.discard_outcomes();
        }
        for _ in 0..2 {
            group.try_spawn(async { Bomb }).unwrap();
        }
        // The simulator lets a panic of a task through.
        sim.run_until_idle();
        assert_eq!((group.stats().completed, group.stats().unread), (2, if discards { 0 } else { 2 }));
        drop(group);
        assert_eq!(sim.tasks(), 0);
    }
}
