//! The same work for each of many items, by workers.

use crate::support::{allocations, panic_message};
use cofferdam::group::{par_for_each, par_map, par_map_stream, try_par_map};
use cofferdam::pool::WorkerPool;
use cofferdam::sync::{Context, Gate, channel};
use cofferdam::task::{BoxTask, Ended, ItemError, Spawn};
use cofferdam::testkit::{DropPoint, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use futures_util::StreamExt;
use futures_util::stream;
use proptest::prelude::*;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Default)]
struct Inside(Arc<[AtomicUsize; 3]>);

impl Inside {
    async fn during<F: Future>(self, future: F) -> F::Output {
        struct Out<'a>(&'a AtomicUsize);
        impl Drop for Out<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let [now, most, entered] = &*self.0;
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        entered.fetch_add(1, Ordering::Relaxed);
        let _out = Out(now);
        future.await
    }

    fn now(&self) -> usize {
        self.0[0].load(Ordering::Relaxed)
    }

    fn most(&self) -> usize {
        self.0[1].load(Ordering::Relaxed)
    }

    fn entered(&self) -> usize {
        self.0[2].load(Ordering::Relaxed)
    }
}

#[test]
fn results_come_in_the_order_of_the_input_or_as_they_come() {
    Sim::for_seeds(0..30, |sim| {
        let clock = sim.clock();
        let work = move |number: u64| {
            let clock = clock.clone();
            async move {
                clock.sleep(millis(10 - number)).await;
                number * 2
            }
        };
        let ordered = par_map(0..10, work.clone()).width(10).on(sim.clone()).ordered();
        let numbers: Vec<_> = sim.run(ordered.map(Result::unwrap).collect());
        assert!(numbers.into_iter().eq((0..10).map(|number| number * 2)));
        let unordered = par_map(0..10, work.clone()).width(10).on(sim.clone()).unordered();
        let numbers: Vec<_> = sim.run(unordered.map(|(index, outcome)| (index, outcome.unwrap())).collect());
        assert!(numbers.into_iter().eq((0..10).rev().map(|index| (index as usize, index * 2))));
        let all = sim.run(par_map(0..10, work).width(3).on(sim.clone()).collect());
        assert!(all.into_iter().map(Result::unwrap).eq((0..10).map(|number| number * 2)));
    });
    let sim = Sim::new(1);
    assert!(sim.run(par_map([0; 0], std::future::ready).on(sim.clone()).collect()).is_empty());
}

/// What the buffers of `futures` do not do.
#[test]
fn items_are_worked_on_while_the_consumer_is_busy_and_no_more_than_its_window() {
    for (width, ahead) in [(2, 3), (4, 0), (1, 10)] {
        let sim = Sim::new(1);
        let inside = Inside::default();
        let (clock, entered) = (sim.clock(), inside.clone());
        let work = move |number| {
            entered.clone().during({
                let clock = clock.clone();
                async move {
                    clock.sleep(MILLI).await;
                    number
                }
            })
        };
        let drawn = Arc::new(AtomicUsize::new(0));
        let source = {
            let drawn = Arc::clone(&drawn);
            std::iter::from_fn(move || Some(drawn.fetch_add(1, Ordering::Relaxed)))
        };
        let mut outcomes = par_map(source, work).width(width).ahead(ahead).on(sim.clone()).ordered();
        sim.run(async {
            assert_eq!(outcomes.next().await, Some(Ok(0)));
            // Nobody polls for a long time.
            sim.clock().sleep(millis(1000)).await;
        });
        let window = width + ahead;
        assert_eq!((outcomes.progress().done, inside.now()), (1 + window, 0));
        assert_eq!((drawn.load(Ordering::Relaxed), inside.most()), (1 + window, width));
        // And what was done meanwhile is there without waiting.
        let begin = sim.time().elapsed();
        let ready: Vec<_> = sim.run(outcomes.by_ref().take(window).map(Result::unwrap).collect());
        assert!(ready.into_iter().eq(1..=window));
        assert_eq!(sim.time().elapsed(), begin);
    }
}

#[test]
fn a_pool_works_on_it_however_few_workers_it_has() {
    Sim::for_seeds(0..30, |sim| {
        let (pool, workers) = WorkerPool::builder().workers(2).queue(1).clock(sim.clock()).build().unwrap();
        workers.spawn_on(sim);
        let clock = sim.clock();
        let inside = Inside::default();
        let entered = inside.clone();
        let work = move |number: u64| {
            let clock = clock.clone();
            entered.clone().during(async move {
                clock.sleep(millis(number % 3)).await;
                number
            })
        };
        let numbers = sim.run(par_map(0..50, work).width(5).on_pool(&pool).collect());
        assert!(numbers.into_iter().map(Result::unwrap).eq(0..50));
        assert!(inside.most() <= 2);
        assert!(sim.run(pool.drain()).is_clean());
    });
    let (pool, workers) = WorkerPool::builder().workers(2).build().unwrap();
    drop(workers);
    let outcomes = futures_executor::block_on(par_map(0..3, std::future::ready).on_pool(&pool).collect());
    let closed = |outcome: &Result<u32, ItemError<u32, _>>| {
        outcome.as_ref().is_err_and(|error| error.is_not_run() && error.ended() == Some(Ended::Closed))
    };
    assert!(outcomes.len() == 3 && outcomes.iter().all(closed), "{outcomes:?}");
}

#[test]
fn the_first_failure_ends_it_if_it_is_to() {
    let work = |number: u32| async move {
        if number == 3 {
            return Err("three");
        }
        if number > 3 {
            pending::<()>().await;
        }
        Ok(number)
    };
    let sim = Sim::new(7);
    let outcomes = sim.run(try_par_map(0..10, work).width(2).fail_fast().on(sim.clone()).collect());
    assert_eq!(outcomes.len(), 10);
    let mut interrupted = 0;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(number) => assert!(number < 3 && number as usize == index),
            Err(ItemError::Failed(error)) => assert_eq!((index, error), (3, "three")),
            Err(error) => {
                assert!(index > 3 || error.is_interrupted());
                interrupted += usize::from(error.is_interrupted());
                // `non_exhaustive`: by its text.
                assert_eq!(error.ended().map(|ended| ended.to_string()), Some("item 3 failed".into()));
                if let Some(item) = error.into_item() {
                    assert_eq!(item as usize, index);
                }
            }
        }
    }
    assert!(interrupted <= 1, "{interrupted}");
}

#[test]
fn all_are_worked_on_whatever_fails_or_panics() {
    let work = |number: u32| async move {
        assert_ne!(number, 5, "five");
        if number % 2 == 0 { Err(number) } else { Ok(number) }
    };
    let sim = Sim::new(7);
    let outcomes = sim.run(try_par_map(0..10, work).width(3).on(sim.clone()).collect());
    for (index, outcome) in outcomes.iter().enumerate() {
        let number = index as u32;
        match number {
            5 => assert!(outcome.as_ref().unwrap_err().to_string().contains("five")),
            _ if number % 2 == 0 => assert_eq!(outcome, &Err(ItemError::Failed(number))),
            _ => assert_eq!(outcome, &Ok(number)),
        }
    }
    let report = sim.run(try_par_map(0..10, work).width(3).on(sim.clone()).finish());
    let progress = report.progress;
    assert_eq!((progress.drawn, progress.done, progress.failed, progress.panicked), (10, 4, 5, 1));
    let failed: Vec<_> = report.failures.into_iter().map(|(index, _)| index).collect();
    assert_eq!(failed, [0, 2, 4, 5, 6, 8]);
    // A panic before there is a future is one, too; and it ends what is to fail fast.
    let eager = |number: u32| {
        assert_ne!(number, 1);
        std::future::ready(())
    };
    let report = sim.run(par_for_each(0..1000, eager).width(1).fail_fast().on(sim.clone()).finish());
    assert_eq!((report.progress.done, report.progress.panicked, report.progress.not_run), (1, 1, 998));
}

#[test]
fn cancelling_keeps_what_is_finished_and_reports_the_rest() {
    for by_context in [false, true] {
        let sim = Sim::new(3);
        let context = Context::background().child();
        let clock = sim.clock();
        let work = move |number: u64| {
            let clock = clock.clone();
            async move {
                clock.sleep(millis(number)).await;
                number
            }
        };
        let outcomes = sim.run(context.scope(async {
            let outcomes = par_map(0..20, work).width(4).ahead(100).on(sim.clone()).ordered();
            sim.clock().sleep(Duration::from_micros(10_500)).await;
            if by_context {
                context.cancel("enough");
            } else {
                assert!(outcomes.cancel());
            }
            outcomes.collect::<Vec<_>>().await
        }));
        let kind = |outcome: &Result<u64, ItemError<u64, _>>| match outcome {
            Ok(_) => 0,
            Err(error) if error.is_interrupted() => 1,
            Err(_) => 2,
        };
        let kinds: Vec<_> = outcomes.iter().map(kind).collect();
        assert_eq!(outcomes.len(), 20);
        assert!(kinds.is_sorted(), "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| **kind == 1).count(), 4);
        assert!(kinds.iter().filter(|kind| **kind == 0).count() >= 8);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(number) => assert_eq!(number as usize, index),
                Err(error) => {
                    assert_eq!(error.ended(), Some(Ended::Cancelled));
                    assert!(error.is_interrupted() || error.into_item() == Some(index as u64));
                }
            }
        }
        assert_eq!(sim.time().armed(), 0);
    }
}

#[test]
fn its_time_limit_ends_it() {
    let sim = Sim::new(3);
    let clock = sim.clock();
    let work = move |number: u64| {
        let clock = clock.clone();
        async move { clock.sleep(millis(number * 10)).await }
    };
    let outcomes = sim.run(
        par_map(0..5, work).width(2).time_limit(millis(25)).clock(sim.clock()).on(sim.clone()).collect(),
    );
    assert_eq!(sim.time().elapsed(), millis(25));
    let texts: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(ToString::to_string)).collect();
    let limit = "batch not finished within its limit of 25ms";
    assert!(texts[..2].iter().all(Result::is_ok));
    assert_eq!(texts[2], Ok(&()));
    assert_eq!(texts[3], Err(format!("interrupted: {limit}")));
    assert_eq!(texts[4], Err(format!("interrupted: {limit}")));
}

#[test]
fn a_stream_is_asked_only_when_a_worker_is_free() {
    Sim::for_seeds(0..30, |sim| {
        let (sender, receiver) = channel::<u64>(4).unwrap();
        let clock = sim.clock();
        drop(sim.spawn("producer", {
            let clock = clock.clone();
            async move {
                for number in 0..60 {
                    clock.sleep(millis(number % 3)).await;
                    sender.send(number).await.unwrap();
                }
            }
        }));
        let inside = Inside::default();
        let entered = inside.clone();
        let work = move |number: u64| {
            let clock = clock.clone();
            entered.clone().during(async move {
                clock.sleep(millis(number % 7)).await;
                number
            })
        };
        let numbers = par_map_stream(receiver, work).width(3).on(sim.clone()).ordered().map(Result::unwrap);
        let numbers: Vec<_> = sim.run(numbers.collect());
        assert!(numbers.into_iter().eq(0..60));
        assert_eq!(inside.most(), 3);
    });
}

#[test]
fn a_panic_of_the_input_goes_on_in_who_polls() {
    let sim = Sim::new(1);
    let source = (0..10).inspect(|number| assert_ne!(*number, 5, "the input"));
    let mut outcomes = par_map(source, std::future::ready).width(2).on(sim.clone()).unordered();
    let mut seen = 0;
    let message = panic_message(|| {
        sim.run(async {
            while outcomes.next().await.is_some() {
                seen += 1;
            }
        });
    });
    assert!(message.contains("the input"), "{message}");
    assert_eq!(seen, 5, "what was drawn before is given out first");
    assert_eq!(sim.run(outcomes.next()), None);
}

#[test]
fn dropping_the_outcomes_at_any_await_ends_the_workers() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let held = Arc::new(());
        let inside = Inside::default();
        let (clock, entered, theirs) = (sim.clock(), inside.clone(), Arc::clone(&held));
        let work = move |number: u64| {
            let (clock, theirs) = (clock.clone(), Arc::clone(&theirs));
            entered.clone().during(async move {
                clock.sleep(millis(number % 4)).await;
                drop(theirs);
                number
            })
        };
        let spawner = sim.clone();
        let clock = sim.clock();
        let future = async move {
            let source = stream::iter(0..12).then(|number| async move {
                yield_now().await;
                number
            });
            let mut outcomes = par_map_stream(Box::pin(source), work).width(3).on(spawner).ordered();
            while outcomes.next().await.is_some() {
                clock.sleep(MILLI).await;
            }
        };
        let check = move |sim: &Sim, point: DropPoint| {
            sim.run(sim.clock().sleep(MILLI));
            assert_eq!((inside.now(), sim.time().armed()), (0, 0), "{point:?}");
            assert_eq!(Arc::strong_count(&held), 1, "{point:?}");
        };
        (future, check)
    });
    assert!(points > 20 * 10, "only {points} points");
}

#[test]
fn real_threads_work_on_it() {
    let spawner = |task: BoxTask| drop(std::thread::spawn(|| futures_executor::block_on(task)));
    let work = |number: u64| async move { number + 1 };
    let sum = |outcomes: Vec<Result<u64, _>>| {
        outcomes.into_iter().map(|outcome: Result<u64, ItemError<u64, _>>| outcome.unwrap()).sum::<u64>()
    };
    for width in [1, 3, 8] {
        let all = futures_executor::block_on(par_map(0..20_000, work).width(width).on(spawner).collect());
        assert_eq!(sum(all), (1..=20_000).sum::<u64>());
        let ordered = par_map(0..20_000, work).width(width).on(spawner).ordered();
        let all: Vec<_> = futures_executor::block_on(ordered.map(Result::unwrap).collect());
        assert!(all.into_iter().eq(1..=20_000));
    }
}

#[test]
fn an_item_allocates_nothing_once_it_runs() {
    let tasks = Arc::new(std::sync::Mutex::new(Vec::<BoxTask>::new()));
    let spawner = {
        let tasks = Arc::clone(&tasks);
        move |task: BoxTask| tasks.lock().unwrap().push(task)
    };
    let mut outcomes = par_map(0..100_000_u32, std::future::ready).width(2).ahead(6).on(spawner).ordered();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut expected = 0;
    let mut turn = || {
        for task in tasks.lock().unwrap().iter_mut() {
            assert!(task.as_mut().poll(&mut cx).is_pending());
        }
        for _ in 0..8 {
            assert_eq!(outcomes.poll_next_unpin(&mut cx), std::task::Poll::Ready(Some(Ok(expected))));
            expected += 1;
        }
        assert!(outcomes.poll_next_unpin(&mut cx).is_pending());
    };
    (0..3).for_each(|_| turn());
    assert_eq!(allocations(|| (0..100).for_each(|_| turn())), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 150, ..ProptestConfig::default() })]

    /// Every item has exactly one outcome, and the right one; nothing runs afterwards; the width holds.
    #[test]
    fn every_item_has_one_outcome_whatever_happens(
        seed in any::<u64>(),
        items in prop::collection::vec((0u64..6, prop::bool::weighted(0.1), prop::bool::weighted(0.05)), 0..40),
        width in 1usize..6,
        ahead in prop::option::of(0usize..5),
        limit in prop::option::of(0u64..30),
        cancel_at in prop::option::of(0u64..30),
        fail_fast in any::<bool>(),
        ordered in any::<bool>(),
    ) {
        let sim = Sim::new(seed);
        let inside = Inside::default();
        let (clock, entered) = (sim.clock(), inside.clone());
        let work = move |(index, sleep, fails, panics): (usize, u64, bool, bool)| {
            let clock = clock.clone();
            entered.clone().during(async move {
                clock.sleep(millis(sleep)).await;
                assert!(!panics, "on purpose");
                if fails { Err(index) } else { Ok(index) }
            })
        };
        let numbered: Vec<_> =
            items.iter().enumerate().map(|(index, item)| (index, item.0, item.1, item.2)).collect();
        let mut batch = try_par_map(numbered.clone(), work).width(width).clock(sim.clock());
        if let Some(ahead) = ahead {
            batch = batch.ahead(ahead);
        }
        if let Some(limit) = limit {
            batch = batch.time_limit(millis(limit));
        }
        if fail_fast {
            batch = batch.fail_fast();
        }
        let context = Context::background().child();
        if let Some(at) = cancel_at {
            let (context, clock) = (context.clone(), sim.clock());
            drop(sim.spawn("canceller", async move {
                clock.sleep(millis(at)).await;
                context.cancel("test");
            }));
        }
        let batch = batch.on(sim.clone());
        let outcomes = sim.run(context.scope(async {
            if ordered {
                batch.ordered().collect::<Vec<_>>().await
            } else {
                batch.collect().await
            }
        }));
        prop_assert_eq!((inside.now(), outcomes.len()), (0, items.len()));
        prop_assert!(inside.most() <= width);
        let mut begun = 0;
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(value) => prop_assert!(*value == index && !items[index].1 && !items[index].2),
                Err(ItemError::Failed(value)) => prop_assert!(*value == index && items[index].1),
                Err(ItemError::Panicked(_)) => prop_assert!(items[index].2),
                Err(error) => {
                    prop_assert!(limit.is_some() || cancel_at.is_some() || fail_fast);
                    if let Some(item) = error.clone().into_item() {
                        prop_assert_eq!(item, numbered[index]);
                    }
                }
            }
            begun += usize::from(!outcome.as_ref().is_err_and(ItemError::is_not_run));
        }
        // An item can be interrupted between its being drawn and its first poll.
        prop_assert!(inside.entered() <= begun);
    }
}

/// Panics when it is dropped.
struct Bomb;
impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("bomb"));
    }
}

#[test]
fn work_that_panics_when_it_is_interrupted_is_no_affair_of_its_executor() {
    let sim = Sim::new(1);
    let work = |()| async {
        let _bomb = Bomb;
        pending::<()>().await;
    };
    let mut outcomes = par_map([(); 3], work).width(2).on(sim.clone()).unordered();
    sim.run_until_idle();
    assert_eq!(outcomes.progress().running, 2);
    outcomes.cancel();
    // The simulator lets a panic of a task through.
    sim.run_until_idle();
    let ended = sim.run(async {
        let mut ended = Vec::new();
        while let Some((index, outcome)) = outcomes.next().await {
            ended.push((index, outcome.unwrap_err().is_interrupted()));
        }
        ended
    });
    assert_eq!((ended.len(), ended.iter().filter(|(_, interrupted)| *interrupted).count()), (3, 2));
    let progress = outcomes.progress();
    assert_eq!((progress.drawn, progress.interrupted, progress.not_run), (2, 2, 1));
}

#[test]
fn an_input_that_panics_when_it_is_dropped_goes_on_in_whoever_polls_for_outcomes() {
    let sim = Sim::new(1);
    let source = {
        let bomb = Bomb;
        std::iter::from_fn(move || {
            let _bomb = &bomb;
            None::<()>
        })
    };
    let mut outcomes = par_map(source, std::future::ready).width(2).on(sim.clone()).ordered();
    sim.run_until_idle();
    let message = panic_message(|| drop(sim.run(outcomes.next())));
    assert_eq!(message, "bomb");
    assert!(sim.run(outcomes.next()).is_none());
}

#[test]
fn an_executor_that_panics_leaves_no_worker_behind() {
    let sim = Sim::new(1);
    let (inside, spawned) = (Inside::default(), AtomicUsize::new(0));
    let spawner = {
        let sim = sim.clone();
        move |task: BoxTask| {
            assert!(spawned.fetch_add(1, Ordering::Relaxed) < 2, "no more");
            cofferdam::task::Spawn::spawn(&sim, task);
        }
    };
    let entered = inside.clone();
    let fan_out = par_map(0.., move |_: u32| entered.clone().during(pending::<()>())).width(3).on(spawner);
    assert!(panic_message(|| drop(fan_out.ordered())).contains("no more"));
    sim.run_until_idle();
    assert_eq!((sim.tasks(), inside.now()), (0, 0));
}

/// An executor that is polled by hand.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<Vec<Polled<BoxTask>>>>);

impl ByHand {
    fn spawner(&self) -> impl Spawn + 'static {
        let tasks = self.clone();
        move |task: BoxTask| tasks.0.lock().unwrap().push(Polled::new(task))
    }

    /// Polls one of them, and says whether it is through.
    fn poll(&self, nth: usize) -> bool {
        self.0.lock().unwrap()[nth].poll().is_some()
    }
}

#[test]
fn who_takes_all_outcomes_is_woken_for_many_at_a_time() {
    const ITEMS: usize = 2000;
    for keeps in [true, false] {
        let tasks = ByHand::default();
        let fan_out = par_map(0..ITEMS, |_| yield_now()).width(1).on(tasks.spawner());
        let mut all = Polled::new(async move {
            if keeps { fan_out.collect().await.len() } else { fan_out.finish().await.progress.done }
        });
        assert!(all.poll().is_none());
        let mut wakes = 0;
        for _ in 0..3 * ITEMS {
            if tasks.poll(0) {
                break;
            }
            if all.wakes() > wakes {
                wakes = all.wakes();
                assert!(all.poll().is_none());
            }
        }
        assert!(all.wakes() <= 5, "{} wake-ups for {ITEMS} outcomes", all.wakes());
        assert_eq!(all.poll(), Some(ITEMS));
    }
}

#[test]
fn who_takes_outcomes_in_their_order_is_not_woken_for_one_that_others_are_before() {
    let tasks = ByHand::default();
    let gate = Arc::new(Gate::new(false));
    let first = Arc::clone(&gate);
    let work = move |number: usize| {
        let first = Arc::clone(&first);
        async move {
            if number != 1 {
                first.wait().await;
            }
        }
    };
    let mut outcomes = par_map(0..3, work).width(2).on(tasks.spawner()).ordered();
    let mut next = Polled::new(async move { (outcomes.next().await.is_some(), outcomes) });
    assert!(next.poll().is_none());
    tasks.poll(0);
    tasks.poll(1);
    assert_eq!(next.wakes(), 0, "the second outcome is there, and not its turn");
    gate.open();
    tasks.poll(0);
    assert_eq!(next.wakes(), 1);
    assert!(next.poll().unwrap().0);
}
