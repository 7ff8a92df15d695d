//! Generators.

use super::poll_one;
use crate::support::{allocations, panic_message};
use cofferdam::stream::{Emitter, generator};
use cofferdam::sync::Semaphore;
use cofferdam::testkit::{DropPoint, Polled, Sim, WakeCounter, drop_at_every_await_in_sim, yield_now};
use futures_executor::block_on;
use futures_util::future::{join, join_all};
use futures_util::stream::FusedStream;
use futures_util::{Stream, StreamExt};
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

/// Counts up for ever, and tells how far it is.
#[allow(clippy::needless_lifetimes, reason = "in the bounds of a closure it cannot be left out")]
fn counting<'a>(made: &'a Cell<u32>) -> impl FnOnce(Emitter<u32>) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    move |y| {
        Box::pin(async move {
            loop {
                made.set(made.get() + 1);
                y.emit(made.get()).await;
            }
        })
    }
}

// --- lazy ---

#[test]
fn nothing_is_made_before_it_is_asked_for() {
    let (made, begun) = (Cell::new(0), Cell::new(false));
    let mut numbers = generator(|y| {
        begun.set(true);
        counting(&made)(y)
    });
    assert!(!begun.get());
    let counter = WakeCounter::new();
    let waker = counter.waker();
    for number in 1..=5 {
        let polled = Pin::new(&mut numbers).poll_next(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Ready(Some(number)));
        assert_eq!((made.get(), numbers.ready()), (number, 0), "it ran ahead");
    }
    assert_eq!(counter.count(), 0, "an item wakes nobody");
}

#[test]
fn with_prefetch_so_many_lie_ready_besides_the_one_that_is_given_out() {
    for ahead in [1, 3, 10] {
        let made = Cell::new(0);
        let mut numbers = generator(counting(&made)).prefetch(ahead);
        assert_eq!(made.get(), 0);
        for number in 1..=20 {
            assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(number)));
            assert_eq!((numbers.ready(), made.get()), (ahead, number + ahead as u32));
        }
    }
}

#[test]
fn prefetched_values_are_given_out_while_the_producer_waits() {
    let sim = Sim::new(1);
    let clock = sim.clock();
    let (made, clock) = (Cell::new(0), &clock);
    let mut numbers = generator(|y| {
        let made = &made;
        async move {
            for number in 0..10 {
                if number == 4 {
                    clock.sleep(MILLI).await;
                }
                made.set(number);
                y.emit(number).await;
            }
        }
    })
    .prefetch(5);
    for number in 0..4 {
        assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(number)));
    }
    assert!(poll_one(&mut numbers).is_pending());
    let rest = sim.run(async { numbers.collect().await });
    assert_eq!((rest, sim.time().elapsed()), ((4..10).collect(), MILLI));
}

#[test]
fn a_prefetch_that_is_too_large_is_cut() {
    let made = Cell::new(0);
    let mut numbers = generator(counting(&made)).prefetch(usize::MAX);
    assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(1)));
    assert_eq!(numbers.ready(), 65_536);
}

#[test]
fn what_stands_behind_an_emit_runs_when_the_next_is_asked_for() {
    let behind = Cell::new(0);
    let mut numbers = generator(|y| {
        let behind = &behind;
        async move {
            y.emit(1).await;
            behind.set(1);
            y.emit(2).await;
            behind.set(2);
        }
    });
    assert_eq!(block_on(numbers.next()), Some(1));
    assert_eq!(behind.get(), 0);
    assert_eq!(block_on(numbers.next()), Some(2));
    assert_eq!(behind.get(), 1);
    assert_eq!(block_on(numbers.next()), None);
    assert_eq!(behind.get(), 2);
}

// --- the end ---

struct Held(Rc<Cell<u32>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn dropping_the_stream_drops_the_producer_at_its_emit() {
    let (dropped, behind) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let mut numbers = generator({
        let (held, behind) = (Held(Rc::clone(&dropped)), Rc::clone(&behind));
        |y| async move {
            let _held = held;
            y.emit(1).await;
            behind.set(true);
        }
    });
    assert_eq!(block_on(numbers.next()), Some(1));
    assert_eq!(dropped.get(), 0);
    drop(numbers);
    assert_eq!((dropped.get(), behind.get()), (1, false));
}

#[test]
fn a_stream_that_is_dropped_unpolled_drops_what_it_was_made_of() {
    let dropped = Rc::new(Cell::new(0));
    drop(generator({
        let held = Held(Rc::clone(&dropped));
        |y| async move {
            let _held = held;
            y.emit(1).await;
        }
    }));
    assert_eq!(dropped.get(), 1);
}

#[test]
fn closing_drops_the_producer_and_keeps_what_it_has_emitted() {
    let dropped = Rc::new(Cell::new(0));
    let mut numbers = generator({
        let held = Held(Rc::clone(&dropped));
        |y| async move {
            let _held = held;
            for number in 1.. {
                y.emit(number).await;
            }
        }
    })
    .prefetch(2);
    assert_eq!(block_on(numbers.next()), Some(1));
    numbers.close();
    assert_eq!((dropped.get(), numbers.ready()), (1, 2));
    assert_eq!(numbers.size_hint(), (2, Some(2)));
    assert_eq!(block_on(numbers.collect_n(9)), [2, 3]);
    assert!(numbers.is_terminated());
    assert_eq!(block_on(numbers.next()), None);
}

#[test]
fn one_that_is_closed_before_it_begins_never_begins() {
    let mut numbers = generator(|y: Emitter<u8>| async move {
        y.emit(1).await;
        panic!("it began");
    });
    numbers.close();
    assert_eq!(poll_one(&mut numbers), Poll::Ready(None));
    assert!(numbers.is_terminated());
}

#[test]
fn it_is_not_polled_after_its_end() {
    let polls = Cell::new(0);
    let mut none = generator(|_: Emitter<u8>| {
        let polls = &polls;
        std::future::poll_fn(move |_| {
            polls.set(polls.get() + 1);
            Poll::Ready(())
        })
    });
    for _ in 0..3 {
        assert_eq!(poll_one(&mut none), Poll::Ready(None));
    }
    assert_eq!(polls.get(), 1);
    assert_eq!(none.size_hint(), (0, Some(0)));
}

// --- errors as items ---

#[test]
fn an_error_is_the_last_item() {
    let work = |fail: bool| {
        generator(move |y| async move {
            y.emit(1).await;
            if fail {
                Err("broken")?;
            }
            y.emit(2).await;
            Ok::<(), &str>(())
        })
    };
    assert_eq!(block_on(work(false).collect()), [Ok(1), Ok(2)]);
    let mut failing = work(true);
    assert_eq!(block_on(failing.collect_n(9)), [Ok(1), Err("broken")]);
    assert!(failing.is_terminated() || poll_one(&mut failing) == Poll::Ready(None));
}

#[test]
fn an_error_comes_behind_what_was_prefetched() {
    let items = generator(|y| async move {
        for number in 0..3 {
            y.emit(number).await;
        }
        Err::<(), _>("broken")
    })
    .prefetch(10);
    assert_eq!(block_on(items.collect()), [Ok(0), Ok(1), Ok(2), Err("broken")]);
}

#[test]
fn a_panic_goes_through_and_ends_the_stream_behind_what_was_emitted() {
    let dropped = Rc::new(Cell::new(0));
    let mut numbers = generator({
        let held = Held(Rc::clone(&dropped));
        |y| async move {
            let _held = held;
            for number in 0..3 {
                y.emit(number).await;
            }
            panic!("the producer");
        }
    })
    .prefetch(5);
    assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the producer");
    assert_eq!(dropped.get(), 1);
    assert_eq!(block_on(numbers.collect()), [0, 1, 2]);
}

// --- forms ---

#[test]
fn so_many_are_collected_and_no_more_are_made() {
    let made = Cell::new(0);
    let mut numbers = generator(counting(&made));
    assert_eq!(block_on(numbers.collect_n(0)), [0; 0]);
    assert_eq!(made.get(), 0);
    assert_eq!(block_on(numbers.collect_n(3)), [1, 2, 3]);
    assert_eq!(made.get(), 3);
    assert_eq!(block_on(numbers.collect_n(1000)).len(), 1000);
    assert_eq!(made.get(), 1003);
}

#[test]
fn collecting_gives_way_to_others() {
    let made = Cell::new(0);
    let numbers = generator(counting(&made)).take(1000);
    let mut numbers = Box::pin(numbers);
    let mut short = generator(|y| async move {
        while let Some(number) = numbers.next().await {
            y.emit(number).await;
        }
    });
    let mut polled = Polled::new(short.collect_n(usize::MAX));
    let mut polls = 1;
    while polled.poll().is_none() {
        assert_eq!(polled.wakes(), polls, "it has woken itself");
        polls += 1;
    }
    assert_eq!(polls, 4);
}

#[test]
fn an_iterator_does_not_block_where_the_producer_only_emits() {
    let made = Cell::new(0);
    let mut iterator = generator(counting(&made)).into_blocking_iter();
    assert!(iterator.by_ref().take(5).eq(1..=5));
    assert_eq!((iterator.size_hint(), made.get()), ((0, None), 5));
    let mut stream = iterator.into_inner();
    assert_eq!(block_on(stream.next()), Some(6));
}

#[test]
fn an_iterator_sleeps_while_the_producer_waits_for_another_thread() {
    let (sender, receiver) = cofferdam::sync::channel(2).unwrap();
    let helper = std::thread::spawn(move || {
        for number in 0..1000_u32 {
            block_on(sender.send(number)).unwrap();
        }
    });
    let numbers = generator(|y| async move {
        while let Ok(number) = receiver.recv().await {
            y.emit(number).await;
        }
    });
    assert!(numbers.into_blocking_iter().eq(0..1000));
    helper.join().unwrap();
}

// --- wakers ---

#[test]
fn an_emitter_in_another_task_wakes_the_stream_and_is_woken_by_it() {
    Sim::for_seeds(0..50, |sim| {
        let spawner = sim.clone();
        let numbers = generator(|y: Emitter<u32>| async move {
            let other = spawner.spawn("other", async move {
                for number in 0..20 {
                    y.emit(number).await;
                    yield_now().await;
                }
                assert!(!y.is_closed());
            });
            other.await;
        })
        .prefetch(sim.random_below(3) as usize);
        assert!(sim.run(numbers.collect()).into_iter().eq(0..20));
    });
}

#[test]
fn emits_below_a_combinator_with_wakers_of_its_own_all_arrive() {
    // Beyond thirty, `join_all` polls only what was woken.
    let numbers = generator(|y| async move {
        join_all((0..100).map(|number| {
            let y = &y;
            async move {
                y.emit(number).await;
                yield_now().await;
                y.emit(number + 100).await;
            }
        }))
        .await;
    });
    let mut numbers = block_on(numbers.collect());
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..200));
}

/// The emitter and the consumer are in one task, the producer is not where the emitter is: no poll of the producer reaches it.
#[test]
fn an_emitter_beside_the_stream_in_one_task_is_woken() {
    let (sender, receiver) = cofferdam::sync::oneshot::channel();
    let mut numbers = generator(|y: Emitter<u32>| async move {
        let _ = sender.send(y);
        std::future::pending::<()>().await;
    });
    let consume = async {
        let mut seen = Vec::new();
        while seen.len() < 5 {
            seen.extend(numbers.next().await);
        }
        seen
    };
    let emit = async {
        let y = receiver.await.unwrap();
        for number in 0..5 {
            y.emit(number).await;
        }
    };
    let sim = Sim::new(3);
    let (seen, ()) = sim.run(join(consume, emit));
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn the_latest_waker_is_woken() {
    let (sender, receiver) = cofferdam::sync::oneshot::channel();
    let mut numbers = generator(|y: Emitter<u32>| async move {
        let _ = sender.send(y);
        std::future::pending::<()>().await;
    });
    let (first, second) = (WakeCounter::new(), WakeCounter::new());
    for counter in [&first, &second] {
        let waker = counter.waker();
        assert!(Pin::new(&mut numbers).poll_next(&mut Context::from_waker(&waker)).is_pending());
    }
    let y = block_on(receiver).unwrap();
    let mut emit = Polled::new(async move { y.emit(7).await });
    assert!(emit.poll().is_none());
    assert_eq!((first.count(), second.count()), (0, 1));
    assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(7)));
    assert_eq!(emit.wakes(), 1);
    assert_eq!(emit.poll(), Some(()));
}

#[test]
fn emits_of_an_emitter_whose_stream_is_gone_wait_and_say_so() {
    let (sender, receiver) = cofferdam::sync::oneshot::channel();
    let mut numbers = generator(|y: Emitter<Held>| async move {
        let _ = sender.send(y);
        std::future::pending::<()>().await;
    });
    assert!(poll_one(&mut numbers).is_pending());
    let y = block_on(receiver).unwrap();
    assert!(!y.is_closed());
    drop(numbers);
    assert!(y.is_closed());
    let dropped = Rc::new(Cell::new(0));
    let mut emit = Box::pin(y.emit(Held(Rc::clone(&dropped))));
    assert!(emit.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    drop(emit);
    assert_eq!(dropped.get(), 1, "the value is dropped once, with its emit");
}

// --- emits inside a poll ---

#[test]
fn emits_that_are_joined_both_arrive_and_only_one_at_a_time() {
    for ahead in [0, 1, 3] {
        let mut numbers = generator(|y| async move {
            for round in 0..3 {
                join(y.emit(round * 2), y.emit(round * 2 + 1)).await;
            }
        })
        .prefetch(ahead);
        for number in 0..6 {
            assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(number)), "{ahead}");
            assert!(numbers.ready() <= ahead);
        }
        assert_eq!(poll_one(&mut numbers), Poll::Ready(None));
    }
}

#[test]
fn an_emit_that_is_polled_again_in_the_same_poll_is_not_done() {
    for ahead in [0, 1] {
        let dones = Cell::new(0);
        let mut numbers = generator(|y: Emitter<u32>| {
            let dones = &dones;
            async move {
                for number in 0..4 {
                    let mut emit = y.emit(number);
                    std::future::poll_fn(|cx| {
                        let _ = Pin::new(&mut emit).poll(cx);
                        Pin::new(&mut emit).poll(cx)
                    })
                    .await;
                    dones.set(dones.get() + 1);
                }
            }
        })
        .prefetch(ahead);
        for number in 0..3 {
            assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(number)));
            assert_eq!(dones.get(), number + ahead as u32);
        }
    }
}

#[test]
fn an_emit_that_is_dropped_has_emitted_if_there_was_room() {
    let mut numbers = generator(|y: Emitter<u32>| async move {
        std::future::poll_fn(|cx| {
            for number in 0..3 {
                assert!(Pin::new(&mut y.emit(number)).poll(cx).is_pending());
            }
            Poll::Ready(())
        })
        .await;
    });
    assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(0)));
    assert_eq!(poll_one(&mut numbers), Poll::Ready(None));
}

/// One value each lies with both of them at once.
#[test]
fn a_producer_emits_from_within_another_one() {
    let mut numbers = generator(|outer: Emitter<u32>| async move {
        let outer = &outer;
        let mut inner = generator(|y: Emitter<u32>| async move {
            for round in 0..3 {
                join(outer.emit(round * 2), y.emit(round * 2 + 1)).await;
            }
        });
        while let Some(number) = inner.next().await {
            outer.emit(number).await;
        }
    });
    for number in 0..6 {
        assert_eq!(poll_one(&mut numbers), Poll::Ready(Some(number)));
        assert_eq!(numbers.ready(), 0);
    }
    assert_eq!(poll_one(&mut numbers), Poll::Ready(None));
}

#[test]
fn what_was_emitted_in_the_poll_that_panics_is_given_out() {
    for ahead in [0, 1] {
        let mut numbers = generator(|y: Emitter<u32>| async move {
            let mut emits: Vec<_> = (0..=ahead).map(|number| y.emit(number)).collect();
            std::future::poll_fn(|cx| {
                for emit in &mut emits {
                    let _ = Pin::new(emit).poll(cx);
                }
                if emits.len() > 9 { Poll::Ready(()) } else { panic!("the producer") }
            })
            .await;
        })
        .prefetch(ahead as usize);
        assert_eq!(panic_message(|| _ = poll_one(&mut numbers)), "the producer");
        assert_eq!(numbers.ready(), ahead as usize + 1);
        assert!(block_on(numbers.collect()).into_iter().eq(0..=ahead));
    }
}

// --- nothing leaks ---

#[test]
fn a_wait_that_is_dropped_loses_no_value() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let clock = sim.clock();
        let permits = Arc::new(Semaphore::new(1));
        let alive = Arc::new(AtomicU32::new(1));
        struct Alive(Arc<AtomicU32>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let producer = {
            let (permits, alive) = (Arc::clone(&permits), Alive(Arc::clone(&alive)));
            move |y: Emitter<u32>| async move {
                let _alive = alive;
                for number in 0..6 {
                    let _permit = permits.acquire().await.unwrap();
                    clock.sleep(MILLI).await;
                    y.emit(number).await;
                }
            }
        };
        let mut numbers = generator(producer).prefetch(sim.random_below(3) as usize);
        let future = async move {
            let first = numbers.next().await;
            assert_eq!(first, Some(0));
            assert_eq!(numbers.collect_n(2).await, [1, 2]);
            assert_eq!(numbers.collect().await, [3, 4, 5]);
        };
        let check = move |sim: &Sim, point: DropPoint| {
            assert_eq!(alive.load(Ordering::Relaxed), 0, "{point:?}");
            assert_eq!((permits.available(), sim.time().armed()), (1, 0), "{point:?}");
        };
        (future, check)
    });
    assert!(points >= 20 * 6, "only {points} points");
}

#[test]
fn an_item_allocates_nothing() {
    let made = Cell::new(0);
    for ahead in [0, 1, 7] {
        let mut numbers = generator(counting(&made)).prefetch(ahead);
        block_on(numbers.next());
        let count = allocations(|| {
            for _ in 0..1000 {
                assert!(poll_one(&mut numbers).is_ready());
            }
        });
        assert_eq!(count, 0, "{ahead} ahead");
    }
    let mut short = generator(|y| async move { y.emit(1).await });
    assert_eq!(allocations(|| poll_one(&mut short)), 3, "the producer, what is shared, and its values");
}
