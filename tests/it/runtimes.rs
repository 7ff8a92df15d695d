//! One body, every runtime: nothing in the crate knows on which it runs.

use crate::support::{Kind, on_every_runtime};
use cofferdam::group::{InPlaceGroup, TaskGroup, par_map, par_map_stream};
use cofferdam::health::{Check, GracefulShutdown, Health, StepOutcome};
use cofferdam::limit::concurrency::{Discipline, Vegas};
use cofferdam::limit::tiered::Request;
use cofferdam::limit::{
    AdaptiveLimiter, AdmissionControl, Answer, Keyed, Limiter, Quota, Rate, Shaper, SlidingLog,
    SlidingWindowLog, Spacing, Tiered, TokenBucket,
};
use cofferdam::pool::{NamedQueue, Priority, RetryPolicy, WorkerPool};
use cofferdam::resilience::admission::ByDefault;
use cofferdam::resilience::{
    Admission, Bulkhead, Cache, Chaos, CircuitBreaker, Error, Fallback, Hedge, Retry, Stack,
};
use cofferdam::stream::{Emitter, generator, merge};
use cofferdam::sync::{CancelToken, Context, Gate, Order, Semaphore, channel, oneshot};
use cofferdam::testkit::yield_now;
use cofferdam::time::{Backoff, Rng};
use futures_util::StreamExt;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const TINY: Duration = Duration::from_millis(2);

on_every_runtime! {
    async fn a_task_is_spawned_and_runs_by_itself(runtime: Runtime) {
        let (first, second) = (runtime.spawn(async { 3 }), runtime.spawn(async { yield_now().await; 4 }));
        assert_eq!(first.await + second.await, 7);
        // Also from inside a task, and it outlives the one that spawned it.
        let inner = runtime.clone();
        let inner = runtime.spawn(async move { inner.spawn(async { yield_now().await; 5 }) }).await;
        assert_eq!(inner.await, 5);
    }

    async fn spawning_runs_nothing_in_place(runtime: Runtime) {
        // A lock held across the call would deadlock with a spawner that runs the task in place.
        let lock = Arc::new(std::sync::Mutex::new(()));
        let held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let task = runtime.spawn(async move { drop(theirs.lock().unwrap()) });
        drop(held);
        task.await;
    }

    async fn a_sleep_lasts_as_long_as_it_says(runtime: Runtime) {
        let start = runtime.clock.now();
        runtime.clock.sleep(TINY).await;
        assert!(runtime.clock.now() - start >= TINY);
        let deadline = runtime.clock.now() + TINY;
        runtime.clock.sleep_until(deadline).await;
        assert!(runtime.clock.now() >= deadline);
        // One that is over already.
        runtime.clock.sleep_until(deadline).await;
        if runtime.kind == Kind::Sim {
            assert_eq!(runtime.clock.now() - start, 2 * TINY);
        }
    }

    async fn a_sleep_may_be_polled_from_another_task_than_first(runtime: Runtime) {
        let mut sleep = runtime.clock.sleep(TINY);
        assert!(futures_util::poll!(&mut sleep).is_pending());
        runtime.spawn(sleep).await;
    }

    async fn many_sleeps_of_many_tasks_all_end(runtime: Runtime) {
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let clock = runtime.clock.clone();
                runtime.spawn(async move { clock.sleep(Duration::from_micros(task * 40)).await })
            })
            .collect();
        for task in tasks {
            task.await;
        }
    }

    async fn a_timeout_ends_what_takes_too_long(runtime: Runtime) {
        let dropped = Arc::new(AtomicBool::new(false));
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let flag = Flag(Arc::clone(&dropped));
        let endless = async move {
            let _flag = flag;
            pending::<()>().await;
        };
        assert!(runtime.clock.timeout(TINY, endless).await.is_err());
        assert!(dropped.load(Ordering::Acquire));
        // Of a spawned task, awaited here.
        let clock = runtime.clock.clone();
        let task = runtime.spawn(async move { clock.timeout(TINY, pending::<()>()).await });
        assert!(task.await.is_err());
    }

    // S56
    async fn a_timeout_lets_through_what_is_in_time(runtime: Runtime) {
        assert_eq!(runtime.clock.timeout(Duration::ZERO, ready(1)).await, Ok(1));
        assert_eq!(runtime.clock.timeout(Duration::MAX, async { yield_now().await; 2 }).await, Ok(2));
        let task = runtime.spawn(async { yield_now().await; 3 });
        assert_eq!(runtime.clock.timeout(Duration::from_secs(600), task).await, Ok(3));
    }

    // S57
    async fn a_limit_of_zero_is_one_poll(runtime: Runtime) {
        let mut polls = 0;
        let never = std::future::poll_fn(|_| {
            polls += 1;
            std::task::Poll::<()>::Pending
        });
        assert!(runtime.clock.timeout(Duration::ZERO, never).await.is_err());
        assert_eq!(polls, 1);
    }
}

/// More tasks than permits, and each sees that no more are inside than may be.
async fn crowd_a_semaphore(runtime: &crate::support::Runtime, order: Order) {
    let semaphore = Semaphore::builder(3).order(order).clock(runtime.clock.clone()).build().unwrap();
    let (semaphore, inside) = (Arc::new(semaphore), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
            runtime.spawn(async move {
                for round in 0..10 {
                    let weight = 1 + (task + round) % 3;
                    let permit = semaphore.acquire_many(weight).await.unwrap();
                    assert!(inside.fetch_add(weight, Ordering::SeqCst) + weight <= 3);
                    yield_now().await;
                    inside.fetch_sub(weight, Ordering::SeqCst);
                    drop(permit);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
}

on_every_runtime! {
    async fn a_crowded_semaphore_serves_everyone_in_order(runtime: Runtime) {
        crowd_a_semaphore(&runtime, Order::Fifo).await;
    }

    async fn a_crowded_semaphore_serves_everyone_out_of_order(runtime: Runtime) {
        crowd_a_semaphore(&runtime, Order::Barging).await;
    }

    async fn a_wait_for_a_permit_ends_at_its_limit(runtime: Runtime) {
        let semaphore = Semaphore::builder(1).clock(runtime.clock.clone()).build().unwrap();
        let held = semaphore.acquire().await.unwrap();
        assert!(semaphore.acquire_timeout(TINY).await.is_err());
        drop(held);
        assert!(semaphore.acquire_timeout(TINY).await.is_ok());
    }

    async fn a_gate_lets_everyone_through_at_once(runtime: Runtime) {
        let gate = Arc::new(Gate::new(false));
        let waits: Vec<_> = (0..10).map(|_| runtime.spawn(gate.wait_owned())).collect();
        yield_now().await;
        gate.open();
        for wait in waits {
            wait.await;
        }
        gate.wait().await;
    }

    async fn a_token_ends_the_work_of_other_tasks(runtime: Runtime) {
        let token = CancelToken::new();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let token = token.child();
                runtime.spawn(async move { token.run(pending::<()>()).await })
            })
            .collect();
        yield_now().await;
        token.cancel_with("enough");
        for task in tasks {
            let cancelled = task.await.unwrap_err();
            assert_eq!(cancelled.cause().text(), Some("enough"));
        }
    }

    async fn a_context_ends_at_its_deadline_and_follows_the_work(runtime: Runtime) {
        let context = Context::background().with_clock(runtime.clock.clone()).with_value(7_u32);
        let limited = context.with_timeout(TINY);
        let seen = runtime.spawn(async move {
            let ended = limited.run(pending::<()>()).await.unwrap_err();
            (ended.is_deadline_exceeded(), limited.scope(async { Context::current().value::<u32>().copied() }).await)
        });
        assert_eq!(seen.await, (true, Some(7)));
        assert_eq!(Context::current().value::<u32>(), None);
    }
}

on_every_runtime! {
    async fn a_channel_brings_everything_once_and_in_order(runtime: Runtime) {
        let (sender, receiver) = channel::<(u32, u32)>(4).unwrap();
        let senders: Vec<_> = (0..5)
            .map(|from| {
                let sender = sender.clone();
                runtime.spawn(async move {
                    for number in 0..100 {
                        sender.send((from, number)).await.unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let receiver = receiver.clone();
                runtime.spawn(async move {
                    let mut seen = Vec::new();
                    while let Ok(value) = receiver.recv().await {
                        seen.push(value);
                    }
                    seen
                })
            })
            .collect();
        drop(receiver);
        let mut all = Vec::new();
        for receiver in receivers {
            let seen = receiver.await;
            for from in 0..5 {
                let numbers: Vec<_> = seen.iter().filter(|value| value.0 == from).map(|value| value.1).collect();
                assert!(numbers.is_sorted(), "{numbers:?}");
            }
            all.extend(seen);
        }
        for sender in senders {
            sender.await;
        }
        all.sort_unstable();
        assert_eq!(all, (0..5).flat_map(|from| (0..100).map(move |number| (from, number))).collect::<Vec<_>>());
    }

    async fn a_wait_for_a_value_ends_at_its_limit(runtime: Runtime) {
        let (sender, receiver) = cofferdam::sync::channel_on::<u32>(runtime.clock.clone(), 1).unwrap();
        assert!(receiver.recv_timeout(TINY).await.is_err());
        sender.send(1).await.unwrap();
        assert!(sender.send_timeout(2, TINY).await.is_err());
        assert_eq!(receiver.recv_timeout(TINY).await.ok(), Some(1));
    }

    async fn a_oneshot_brings_its_value_or_says_that_none_comes(runtime: Runtime) {
        for round in 0..20 {
            let (sender, receiver) = oneshot::channel();
            let brought = runtime.spawn(receiver);
            let (mut dropped, gone) = oneshot::channel::<u32>();
            let gone = runtime.spawn(async move { drop(gone) });
            let sent = runtime.spawn(async move { sender.send(round).is_ok() });
            dropped.closed().await;
            assert!(sent.await);
            assert_eq!(brought.await, Ok(round));
            gone.await;
            let (sender, receiver) = oneshot::channel::<u32>();
            let waiting = runtime.spawn(receiver);
            drop(sender);
            assert!(waiting.await.is_err());
        }
    }

    async fn a_stack_of_policies_tries_again_and_gives_up_in_time(runtime: Runtime) {
        let clock = &runtime.clock;
        let retry = Retry::builder()
            .max_attempts(3)
            .backoff(Backoff::exponential(Duration::from_micros(100)))
            .clock(clock.clone())
            .build()
            .unwrap();
        let bulkhead = Bulkhead::builder(2).queue(10).clock(clock.clone()).build().unwrap();
        let breaker = CircuitBreaker::builder().failure_threshold(1000).clock(clock.clone()).build().unwrap();
        let limit = cofferdam::resilience::Timeout::builder(Duration::from_secs(600)).clock(clock.clone()).build();
        let stack = Arc::new(Stack::new().timeout(limit).retry(retry).breaker(breaker).bulkhead(bulkhead));
        let calls: Vec<_> = (0..10)
            .map(|call| {
                let (stack, attempts) = (Arc::clone(&stack), AtomicU32::new(0));
                runtime.spawn(async move {
                    let outcome = stack
                        .call(|| {
                            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
                            async move {
                                yield_now().await;
                                if attempt < call % 3 { Err("not yet") } else { Ok(attempt) }
                            }
                        })
                        .await;
                    assert_eq!(outcome.unwrap(), call % 3);
                })
            })
            .collect();
        for call in calls {
            call.await;
        }
        let late = cofferdam::resilience::Timeout::builder(TINY).clock(clock.clone()).build();
        assert!(late.call(pending::<Result<(), ()>>).await.unwrap_err().is_rejection());
    }

    async fn a_tower_service_under_a_stack_is_called_from_many_tasks(runtime: Runtime) {
        use tower::{Layer as _, ServiceExt as _};

        let clock = &runtime.clock;
        let retry = Retry::builder().max_attempts(2).backoff(Backoff::fixed(TINY)).clock(clock.clone()).build().unwrap();
        let stack = Stack::new()
            .timeout(cofferdam::resilience::Timeout::total(Duration::from_secs(600)).clock(clock.clone()))
            .retry(retry)
            .bulkhead(Bulkhead::builder(2).queue(10).clock(clock.clone()).build().unwrap());
        let (stack, calls) = (Arc::new(stack), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&calls);
        let inner = tower::service_fn(move |first: bool| {
            let fails = first && counted.fetch_add(1, Ordering::Relaxed) < 3;
            async move { yield_now().await; if fails { Err("not yet") } else { Ok(()) } }
        });
        let service = cofferdam::tower::PolicyLayer::new(Arc::clone(&stack)).layer(inner);
        let tasks: Vec<_> = (0..8).map(|n| runtime.spawn(service.clone().oneshot(n < 4))).collect();
        let owned = runtime.spawn(stack.call_owned(|| ready(Ok::<_, ()>(7))));
        let mut failed = 0;
        for task in tasks {
            failed += u32::from(task.await.is_err());
        }
        // Three failures: at most one call had two of them.
        assert!(failed <= 1, "{failed}");
        assert_eq!(owned.await, Ok(7));
        drop(service);
        assert_eq!(Arc::strong_count(&stack), 1);
    }

    async fn a_cache_loads_once_for_all_tasks_and_a_fallback_makes_up_for_chaos(runtime: Runtime) {
        let cache = Cache::<u32, u32, &str>::builder(10).clock(runtime.clock.clone()).build().unwrap();
        let loads = Arc::new(AtomicU32::new(0));
        let chaos = Chaos::builder().fault(0.3, || "injected").latency(0.3, TINY).clock(runtime.clock.clone()).build();
        let bulkhead = Bulkhead::builder(2).queue(20).clock(runtime.clock.clone()).build().unwrap();
        let stack = Arc::new(Stack::new().fallback(Fallback::value(0)).bulkhead(bulkhead.clone()).layer(chaos));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (cache, loads, stack) = (cache.clone(), Arc::clone(&loads), Arc::clone(&stack));
                runtime.spawn(async move {
                    let load = || async {
                        loads.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                        Ok(7)
                    };
                    assert_eq!(*cache.get_or_load(&1, load).await.unwrap(), 7);
                    assert!(stack.call(|| async { Ok(1) }).await.unwrap() <= 1);
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        assert_eq!((loads.load(Ordering::Relaxed), bulkhead.stats().running), (1, 0));
    }

    async fn a_hedge_overtakes_what_is_slow_and_what_is_detached_goes_on(runtime: Runtime) {
        let clock = runtime.clock.clone();
        let hedge = Hedge::after(TINY).clock(clock.clone()).build().unwrap();
        let began = Arc::new(AtomicU32::new(0));
        let outcome = runtime.spawn(async move {
            let op = || {
                let number = began.fetch_add(1, Ordering::Relaxed);
                async move {
                    if number == 0 {
                        pending::<()>().await;
                    }
                    yield_now().await;
                    Ok::<_, ()>(number)
                }
            };
            hedge.call(op).await
        });
        assert_eq!(outcome.await, Ok(1));
        let (sender, ended) = oneshot::channel::<u32>();
        let limit = cofferdam::resilience::Timeout::builder(TINY).clock(clock).build();
        let limit = limit.detach(runtime.spawner.clone(), 1).unwrap();
        let (go_on, told) = oneshot::channel::<()>();
        let outcome = limit.call(move || async move {
            told.await.map_err(drop)?;
            sender.send(7).map_err(drop)
        });
        assert!(outcome.await.unwrap_err().is_timeout());
        assert!(go_on.send(()).is_ok());
        assert_eq!(ended.await, Ok(7));
    }

    async fn a_token_bucket_lets_through_as_much_as_its_rate(runtime: Runtime) {
        let quota = Quota::new(Rate::per_second(5_000), 5);
        let bucket = TokenBucket::builder(quota).clock(runtime.clock.clone()).build().unwrap();
        let start = runtime.clock.now();
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let bucket = bucket.clone();
                runtime.spawn(async move {
                    for _ in 0..5 {
                        bucket.acquire().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        // Twenty less the burst of five, one each 200 us.
        let took = runtime.clock.now() - start;
        assert!(took >= Duration::from_millis(3), "{took:?}");
        if runtime.kind == Kind::Sim {
            assert_eq!(took, Duration::from_millis(3));
        }
        assert_eq!(bucket.stats().waiting, 0);
    }

    async fn windows_and_shapers_let_through_as_much_as_they_should(runtime: Runtime) {
        let start = runtime.clock.now();
        let shaper: Shaper =
            Limiter::builder(Spacing::new(Rate::per_second(1000))).clock(runtime.clock.clone()).build().unwrap();
        let window: SlidingWindowLog =
            Limiter::builder(SlidingLog::new(2, TINY).unwrap()).clock(runtime.clock.clone()).build().unwrap();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (shaper, window) = (shaper.clone(), window.clone());
                runtime.spawn(async move {
                    shaper.acquire().await.unwrap();
                    window.acquire_many(2).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        // At 0, 1 and 2 ms, and then two at a time each 2 ms.
        let took = runtime.clock.now() - start;
        assert!(took >= 2 * TINY, "{took:?}");
        if runtime.kind == Kind::Sim {
            assert_eq!(took, 2 * TINY);
        }
        assert_eq!((shaper.stats().waiting, window.stats().waiting), (0, 0));
    }

    async fn calls_of_many_tasks_share_one_admission_control(runtime: Runtime) {
        let control = AdmissionControl::builder().clock(runtime.clock.clone()).rng(Rng::with_seed(5)).build().unwrap();
        let admission = Admission::builder(control.clone())
            .classify(|result: &Result<u32, Error<()>>| match result {
                Ok(429) => Answer::Rejected,
                other => ByDefault::of(other),
            })
            .build();
        let stack = Arc::new(Stack::new().admission(admission));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let stack = Arc::clone(&stack);
                runtime.spawn(async move {
                    let mut shed = 0;
                    for _ in 0..20 {
                        let answer = stack.call(|| async { yield_now().await; Ok(429) }).await;
                        shed += u64::from(answer.is_err_and(|error| error.is_shed()));
                    }
                    shed
                })
            })
            .collect();
        let mut shed = 0;
        for task in tasks {
            shed += task.await;
        }
        let stats = control.stats();
        assert_eq!((stats.shed, stats.rejected + stats.shed, stats.running), (shed, 200, 0));
        assert!(shed > 0, "not one of two hundred");
    }

    async fn an_adaptive_limit_lets_all_through_and_sheds_what_hangs(runtime: Runtime) {
        let delay = Discipline::ControlledDelay { target: TINY, interval: TINY, lifo: true };
        let builder = AdaptiveLimiter::builder(Vegas::builder().initial(3).build().unwrap());
        let builder = builder.window(TINY).min_samples(2).clock(runtime.clock.clone());
        let patient = builder.queue(100).build().unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let limiter = patient.clone();
                runtime.spawn(async move {
                    for _ in 0..5 {
                        let guard = limiter.acquire().await.unwrap();
                        yield_now().await;
                        guard.success();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let stats = patient.stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        let builder = AdaptiveLimiter::builder(Vegas::builder().initial(1).build().unwrap());
        let hurried = builder.queue(10).discipline(delay).clock(runtime.clock.clone()).build().unwrap();
        let held = hurried.try_acquire().unwrap();
        // A real timer, and nobody else to wake it.
        assert!(hurried.acquire().await.unwrap_err().is_shed());
        held.ignore();
        hurried.acquire().await.unwrap().success();
    }

    async fn a_tiered_limiter_lets_through_as_much_as_its_tightest_tier(runtime: Runtime) {
        let limiter = Tiered::builder()
            .global(Quota::new(Rate::per_second(5_000), 5))
            .clock(runtime.clock.clone())
            .build()
            .unwrap();
        let start = runtime.clock.now();
        let tasks: Vec<_> = ["/a", "/b", "/c", "/d"]
            .into_iter()
            .map(|path| {
                let limiter = limiter.clone();
                runtime.spawn(async move {
                    for _ in 0..5 {
                        limiter.acquire(Request::new("GET", path)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        let took = runtime.clock.now() - start;
        assert!(took >= Duration::from_millis(3), "{took:?}");
        if runtime.kind == Kind::Sim {
            assert_eq!(took, Duration::from_millis(3));
        }
        assert_eq!(limiter.stats().waiting, 0);
    }

    async fn each_key_of_a_keyed_limiter_lets_through_as_much_as_its_rate(runtime: Runtime) {
        let quota = Quota::new(Rate::per_second(5_000), 5);
        let limiter = Keyed::<u64>::builder(quota).clock(runtime.clock.clone()).shards(1).build().unwrap();
        let start = runtime.clock.now();
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let limiter = limiter.clone();
                runtime.spawn(async move {
                    for _ in 0..10 {
                        limiter.acquire(&(task % 2)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await;
        }
        // Twenty for each key, less the burst of five, one each 200 us.
        let took = runtime.clock.now() - start;
        assert!(took >= Duration::from_millis(3), "{took:?}");
        if runtime.kind == Kind::Sim {
            assert_eq!(took, Duration::from_millis(3));
        }
        assert_eq!(limiter.stats().waiting, 0);
    }

    async fn a_pool_runs_what_it_is_given_and_drains(runtime: Runtime) {
        let pool = WorkerPool::builder()
            .workers(3)
            .queue(4)
            .clock(runtime.clock.clone())
            .start(&runtime.spawner)
            .unwrap();
        let mut handles = Vec::new();
        for number in 0..40 {
            let task = async move {
                yield_now().await;
                number * 2
            };
            handles.push(pool.submit(task).await.unwrap());
        }
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.await.unwrap(), number * 2);
        }
        let endless = pool.submit(pending::<()>()).await.unwrap();
        endless.cancel();
        assert!(endless.await.unwrap_err().is_cancelled());
        let last = pool.submit(async { 7 }).await.unwrap();
        assert!(pool.drain().await.is_clean());
        assert_eq!(last.await.unwrap(), 7);
        assert!(pool.submit(async {}).await.unwrap_err().is_closed());
    }

    async fn a_pool_notes_repeats_and_cancels_tasks(runtime: Runtime) {
        let pool = WorkerPool::builder()
            .workers(2)
            .managed()
            .history(8)
            .reports(8)
            .wrap(|task| task)
            .clock(runtime.clock.clone())
            .start(&runtime.spawner)
            .unwrap();
        let policy = RetryPolicy::new(3).unwrap().backoff(Backoff::fixed(Duration::from_millis(1)));
        let mut calls = 0;
        let make = move || {
            calls += 1;
            async move {
                yield_now().await;
                if calls < 3 { Err("busy") } else { Ok(calls) }
            }
        };
        let repeated = pool.retry_task(&policy, make).submit().await.unwrap();
        let endless = pool.submit(pending::<()>()).await.unwrap();
        assert!(pool.cancel(endless.id(), "not needed"));
        assert!(endless.await.unwrap_err().is_cancelled());
        assert_eq!(repeated.await.unwrap(), Ok(3));
        let given_up = pool.retry_task(&policy, || ready(Err::<(), _>("never"))).execute().await.unwrap();
        assert!(pool.drain().await.is_clean());
        assert_eq!(pool.dead_letters().list()[0].task, given_up);
        assert_eq!(StreamExt::count(pool.reports().unwrap()).await, 3);
    }

    async fn a_managed_pool_keeps_its_order_and_its_time_and_grows(runtime: Runtime) {
        let pool = WorkerPool::builder()
            .workers_between(1, 3)
            .scale_after(Duration::ZERO)
            .idle_timeout(TINY)
            .queue(20)
            .named_queue(NamedQueue::new("one").width(1))
            .clock(runtime.clock.clone())
            .start_owned(runtime.spawner.clone())
            .unwrap();
        let started = runtime.clock.now();
        let delayed = pool.task(async { 1 }).delay(TINY).submit().await.unwrap();
        // Two that wait for the third: each has a worker of its own.
        let gate = Arc::new(Gate::new(false));
        let mut waits = Vec::new();
        for _ in 0..2 {
            let gate = gate.clone();
            waits.push(pool.submit(async move { gate.wait().await }).await.unwrap());
        }
        let opens = pool.task(async move { gate.open() }).queue("one").priority(Priority::High).submit();
        assert!(opens.await.unwrap().await.unwrap());
        for wait in waits {
            wait.await.unwrap();
        }
        assert_eq!(delayed.await.unwrap(), 1);
        assert!(runtime.clock.now() - started >= TINY);
        // Nobody waits for one that is cancelled.
        let late = pool.task(async {}).delay(3600 * TINY).submit().await.unwrap();
        assert!(late.cancel());
        let report = pool.drain().await;
        assert_eq!((report.stats.completed, report.stats.cancelled, report.is_clean()), (4, 1, true));
    }

    async fn a_batch_runs_as_many_items_as_it_may_and_keeps_their_order(runtime: Runtime) {
        let clock = runtime.clock.clone();
        let stack = Stack::new().bulkhead(Bulkhead::new(4).unwrap());
        let work = |number: u32| {
            let task = runtime.spawn(async move {
                yield_now().await;
                number + 1
            });
            let clock = &clock;
            async move {
                if number % 8 == 0 {
                    clock.sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, ()>(task.await)
            }
        };
        let outcomes = stack.map(0..64, work).concurrency(4).collect().await;
        assert!(outcomes.into_iter().map(Result::unwrap).eq(1..=64));
        let hangs = |_: u32| pending::<Result<(), ()>>();
        let batch = stack.map(0..6, hangs).concurrency(4).time_limit(Duration::from_millis(2)).clock(clock.clone());
        let outcomes = batch.collect().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(|e| e.is_interrupted())).count(), 4);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(|e| e.is_not_run())).count(), 2);
    }

    async fn generators_are_merged_and_their_values_worked_on(runtime: Runtime) {
        let numbers = |from: u32| {
            let clock = runtime.clock.clone();
            generator(move |y: Emitter<u32>| async move {
                for number in from..from + 30 {
                    if number % 10 == 0 {
                        clock.sleep(Duration::from_millis(1)).await;
                    }
                    y.emit(number).await;
                }
            })
        };
        let work = |number: u32| async move {
            yield_now().await;
            number + 1
        };
        let merged = merge([numbers(0), numbers(100).prefetch(3), numbers(200)]);
        let all = par_map_stream(merged, work).width(3).on(runtime.spawner.clone()).collect().await;
        let mut all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((1..=30).chain(101..=130).chain(201..=230)));
        let ordered = par_map(0..200, work).width(4).on(runtime.spawner.clone()).collect().await;
        assert!(ordered.into_iter().map(Result::unwrap).eq(1..=200));
    }

    async fn groups_end_with_their_first_failure(runtime: Runtime) {
        let pool = WorkerPool::builder().workers(3).queue(4).clock(runtime.clock.clone()).start(&runtime.spawner).unwrap();
        for mut group in [TaskGroup::new(runtime.spawner.clone()), TaskGroup::on_pool(&pool)] {
            for number in 0..20 {
                let member = async move {
                    yield_now().await;
                    Ok::<_, &str>(number)
                };
                group.spawn(member).await.unwrap();
            }
            assert!(group.try_join_all().await.unwrap().into_iter().eq(0..20));
            group.spawn(pending()).await.unwrap();
            group.spawn(async { Err("broken") }).await.unwrap();
            let error = group.try_join_all().await.unwrap_err();
            assert_eq!((error.index(), error.error()), (21, Some(&"broken")));
            assert_eq!((group.stats().running, group.stats().cancelled), (0, 1));
        }
        assert!(pool.drain().await.is_clean());
        let clock = runtime.clock.clone();
        let mut group = InPlaceGroup::new().width(3).time_limit(TINY).clock(clock.clone());
        for number in 0..3 {
            let clock = &clock;
            let member = async move {
                if number == 2 {
                    pending::<()>().await;
                }
                clock.sleep(Duration::from_micros(10)).await;
            };
            group.spawn(member).await.unwrap();
        }
        let outcomes = group.join_all().await;
        assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
        assert!(outcomes[2].as_ref().is_err_and(|error| error.is_timeout()));
    }

    async fn checks_are_run_and_a_service_ends_in_order(runtime: Runtime) {
        let health = Health::builder().clock(runtime.clock.clone()).build().unwrap();
        let (clock, runs) = (runtime.clock.clone(), Arc::new(AtomicU32::new(0)));
        let (count, again) = (Arc::clone(&runs), Arc::new(Gate::new(false)));
        let twice = Arc::clone(&again);
        let check = Check::new("x", move || {
            if count.fetch_add(1, Ordering::Relaxed) == 2 {
                twice.open();
            }
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_micros(10)).await }
        });
        health.add(check.interval(TINY).timeout(Duration::from_secs(30))).unwrap();
        let driver = runtime.spawn(health.run());
        assert_eq!(health.check_now().await.http_status(), 200);
        again.wait().await;
        assert_eq!(health.readiness().http_status(), 200);
        let shutdown = GracefulShutdown::builder()
            .clock(runtime.clock.clone())
            .step("quick", Duration::from_secs(30), || async { yield_now().await })
            .step("hangs", TINY, pending::<()>)
            .build();
        let other = shutdown.clone();
        let other = runtime.spawn(async move { other.run().await });
        let report = shutdown.run().await;
        assert_eq!(report, other.await);
        let outcomes: Vec<_> = report.steps.iter().map(|step| step.outcome.clone()).collect();
        assert_eq!(outcomes, [StepOutcome::Done, StepOutcome::OverLimit]);
        drop(health);
        driver.await;
    }
}
