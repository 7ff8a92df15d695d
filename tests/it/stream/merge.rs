//! Merges.

use super::poll_one;
use crate::support::{allocations, panic_message};
use cofferdam::stream::{Merge, generator, merge, merge_all};
use cofferdam::sync::channel;
use cofferdam::testkit::{DropPoint, Polled, Sim, WakeCounter, drop_at_every_await_in_sim, yield_now};
use futures_executor::block_on;
use futures_util::stream::{self, FusedStream};
use futures_util::{Stream, StreamExt};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// --- fair ---

#[test]
fn sources_that_are_ready_take_turns() {
    let mut items = merge([0, 1, 2].map(stream::repeat));
    for turn in 0..100 {
        assert_eq!(poll_one(&mut items), Poll::Ready(Some(turn % 3)));
    }
}

#[test]
fn a_slow_source_is_not_starved_by_fast_ones() {
    let sim = Sim::new(1);
    let clock = sim.clock();
    let slow = stream::unfold(0, |count| {
        let clock = clock.clone();
        async move {
            clock.sleep(millis(1)).await;
            Some((u32::MAX, count + 1))
        }
    });
    let fast = |source| stream::repeat(source).boxed_local();
    let mut items = merge(vec![fast(0), slow.boxed_local(), fast(1), fast(2)]);
    // Until the slow one is woken, it is not in line.
    sim.run(async {
        for _ in 0..10 {
            assert_ne!(items.next().await, Some(u32::MAX));
        }
        clock.sleep(millis(2)).await;
        let mut others = 0;
        while items.next().await != Some(u32::MAX) {
            others += 1;
            assert!(others <= 8 + 3, "it waited for {others} items");
        }
    });
}

#[test]
fn what_was_woken_first_comes_first() {
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let source = |number: usize| {
        let (wakers, mut polls) = (Rc::clone(&wakers), 0);
        stream::poll_fn(move |cx| {
            polls += 1;
            if polls == 1 {
                wakers.borrow_mut().push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready((polls == 2).then_some(number))
        })
    };
    let mut items: Merge<_> = (0..5).map(source).collect();
    assert!(poll_one(&mut items).is_pending());
    let order = [3, 0, 4, 2, 1];
    for number in order {
        wakers.borrow()[number].wake_by_ref();
    }
    assert_eq!(block_on(items.collect::<Vec<_>>()), order);
}

// --- polls only what was woken ---

#[test]
fn a_wake_up_is_one_poll_of_the_one_source() {
    const SOURCES: usize = 1000;
    let wakers = RefCell::new(Vec::<Waker>::new());
    let polls = RefCell::new(vec![0; SOURCES]);
    let source = |number: usize| {
        let (wakers, polls) = (&wakers, &polls);
        stream::poll_fn(move |cx| {
            if wakers.borrow().len() < SOURCES {
                wakers.borrow_mut().push(cx.waker().clone());
            }
            polls.borrow_mut()[number] += 1;
            Poll::<Option<()>>::Pending
        })
    };
    let counter = WakeCounter::new();
    let waker = counter.waker();
    let mut cx = Context::from_waker(&waker);
    let mut items: Merge<_> = (0..SOURCES).map(source).collect();
    // Adding wakes nobody, as nobody had polled; and the first polls give way in between.
    let mut first = 0;
    while wakers.borrow().len() < SOURCES {
        assert!(Pin::new(&mut items).poll_next(&mut cx).is_pending());
        first += 1;
    }
    assert_eq!((first, counter.count()), (4, 3));
    for (round, number) in [(1, 500), (2, 7), (3, 500)] {
        wakers.borrow()[number].wake_by_ref();
        assert_eq!(counter.count(), 3 + round);
        assert!(Pin::new(&mut items).poll_next(&mut cx).is_pending());
    }
    let polls = polls.borrow();
    assert_eq!((polls[500], polls[7], polls.iter().sum::<usize>()), (3, 2, SOURCES + 3));
}

// --- sets ---

#[test]
fn streams_of_different_types_are_merged() {
    let made = generator(|y| async move {
        for number in 1..4 {
            y.emit(number).await;
        }
    });
    let items = merge((stream::iter([10, 20]), made, stream::once(std::future::ready(100)).boxed()));
    assert_eq!(block_on(items.collect::<Vec<_>>()), [10, 1, 100, 20, 2, 3]);
    let six = merge((
        stream::iter([1]),
        stream::iter(vec![2]),
        stream::once(std::future::ready(3)),
        stream::repeat(4).take(1),
        stream::empty(),
        stream::iter(Some(6)),
    ));
    assert_eq!(block_on(six.collect::<Vec<_>>()), [1, 2, 3, 4, 6]);
}

#[test]
fn it_ends_when_all_have_ended_and_goes_on_when_one_is_added() {
    let mut items = Merge::new();
    assert!(items.is_terminated());
    assert_eq!(poll_one(&mut items), Poll::Ready(None));
    items.add(stream::iter(vec![1]));
    items.add(stream::iter(vec![]));
    assert_eq!((items.sources(), items.is_terminated()), (2, false));
    assert_eq!(block_on(items.next()), Some(1));
    assert_eq!(block_on(items.next()), None);
    assert!(items.is_terminated());
    items.extend([stream::iter(vec![2])]);
    assert_eq!(block_on(items.next()), Some(2));
    assert_eq!(block_on(items.next()), None);
}

#[test]
fn adding_a_source_wakes_who_waits_for_the_others() {
    let mut items = Merge::new();
    items.add(stream::pending().boxed());
    let counter = WakeCounter::new();
    let waker = counter.waker();
    assert!(Pin::new(&mut items).poll_next(&mut Context::from_waker(&waker)).is_pending());
    items.add(stream::iter([1]).boxed());
    assert_eq!(counter.count(), 1);
}

#[test]
fn sources_are_added_from_elsewhere_while_it_runs() {
    Sim::for_seeds(0..50, |sim| {
        let (sender, sources) = channel(2).unwrap();
        let (feeder, clock) = (sim.clone(), sim.clock());
        drop(sim.spawn("feeder", async move {
            for source in 0..10_u64 {
                let clock = clock.clone();
                let numbers = stream::iter(0..5_u64).then(move |number| {
                    let clock = clock.clone();
                    async move {
                        clock.sleep(millis(number % 3)).await;
                        source * 5 + number
                    }
                });
                sender.send(numbers.boxed()).await.unwrap();
                yield_now().await;
            }
            drop(feeder);
        }));
        let mut seen = sim.run(merge_all(sources).collect::<Vec<_>>());
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..50));
    });
}

#[test]
fn a_stream_of_sources_is_asked_once_for_each_item_and_not_after_its_end() {
    let asked = Cell::new(0);
    let sources = stream::poll_fn(|_| {
        asked.set(asked.get() + 1);
        assert!(asked.get() < 4, "asked after its end");
        Poll::Ready((asked.get() < 3).then(|| stream::repeat(asked.get()).take(3)))
    });
    let mut items = merge_all(sources);
    assert_eq!(poll_one(&mut items), Poll::Ready(Some(1)));
    assert_eq!(asked.get(), 1);
    assert_eq!(block_on(items.by_ref().collect::<Vec<_>>()), [1, 2, 1, 2, 2]);
    assert!(items.is_terminated());
}

#[test]
fn sources_without_end_that_give_nothing_do_not_hold_the_thread() {
    let mut items = merge_all(stream::repeat_with(stream::empty::<()>));
    let mut polled = Polled::new(async move { items.next().await });
    assert!(polled.poll().is_none());
    assert_eq!(polled.wakes(), 1);
    let busy = stream::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::<Option<()>>::Pending
    });
    let mut items = merge([busy]);
    assert!(poll_one(&mut items).is_pending());
}

#[test]
fn a_place_is_used_again() {
    let mut items = Merge::new();
    items.add(stream::iter(0..1));
    assert_eq!(block_on(items.by_ref().collect::<Vec<_>>()), [0]);
    let count = allocations(|| {
        for number in 0..100 {
            items.add(stream::iter(number..number + 1));
            assert_eq!(poll_one(&mut items), Poll::Ready(Some(number)));
            assert_eq!(poll_one(&mut items), Poll::Ready(None));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn an_item_of_a_merge_allocates_nothing() {
    let mut items = merge([stream::repeat(1), stream::repeat(2), stream::repeat(3)]);
    let _ = poll_one(&mut items);
    let count = allocations(|| {
        for _ in 0..1000 {
            assert!(poll_one(&mut items).is_ready());
        }
    });
    assert_eq!(count, 0);
}

// --- panics, drops ---

#[test]
fn a_panic_goes_through_and_the_others_go_on() {
    let held = Rc::new(());
    let source = |number: u32| {
        let (held, mut count) = (Rc::clone(&held), 0);
        stream::poll_fn(move |_| {
            let _held = &held;
            count += 1;
            assert!(number != 1 || count < 2, "the second of source 1");
            Poll::Ready((count < 4).then_some(number))
        })
    };
    let mut items = merge([source(0), source(1), source(2)]);
    for number in [0, 1, 2, 0] {
        assert_eq!(poll_one(&mut items), Poll::Ready(Some(number)));
    }
    let message = panic_message(|| _ = poll_one(&mut items));
    assert!(message.contains("the second of source 1"), "{message}");
    assert_eq!(poll_one(&mut items), Poll::Ready(Some(2)));
    assert_eq!((items.sources(), Rc::strong_count(&held)), (2, 3), "it is gone");
    assert_eq!(block_on(items.collect::<Vec<_>>()), [0, 2]);
}

#[test]
fn a_wait_that_is_dropped_loses_no_item() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let (receivers, senders): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (sender, receiver) = channel::<u32>(1).unwrap();
                (receiver, sender)
            })
            .unzip();
        let tasks: Vec<_> = senders
            .into_iter()
            .map(|sender| {
                let clock = sim.clock();
                sim.spawn("sender", async move {
                    for number in 0..4_u64 {
                        clock.sleep(millis(number % 2)).await;
                        if sender.send(number as u32).await.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        let items = Arc::new(std::sync::Mutex::new((merge(receivers), Vec::new())));
        let future = {
            let items = Arc::clone(&items);
            async move {
                loop {
                    let item = std::future::poll_fn(|cx| items.lock().unwrap().0.poll_next_unpin(cx)).await;
                    let Some(item) = item else { break };
                    items.lock().unwrap().1.push(item);
                }
            }
        };
        let check = move |sim: &Sim, point: DropPoint| {
            let (items, mut seen) = Arc::into_inner(items).unwrap().into_inner().unwrap();
            seen.extend(sim.run(items.collect::<Vec<_>>()));
            seen.sort_unstable();
            assert_eq!(seen, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], "{point:?}");
            for task in tasks {
                sim.run(task);
            }
            assert_eq!(sim.time().armed(), 0, "{point:?}");
        };
        (future, check)
    });
    assert!(points >= 20 * 5, "only {points} points");
}

#[test]
fn wake_ups_of_other_threads_are_not_lost() {
    let (receivers, senders): (Vec<_>, Vec<_>) = (0..4)
        .map(|_| {
            let (sender, receiver) = channel::<u32>(3).unwrap();
            (receiver, sender)
        })
        .unzip();
    let helpers: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            std::thread::spawn(move || {
                for number in 0..5_000 {
                    block_on(sender.send(number)).unwrap();
                }
            })
        })
        .collect();
    let numbers = block_on(merge(receivers).collect::<Vec<_>>());
    assert_eq!(numbers.len(), 20_000);
    assert_eq!(numbers.into_iter().map(u64::from).sum::<u64>(), 4 * (0..5_000).sum::<u64>());
    helpers.into_iter().for_each(|helper| helper.join().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    /// Every item arrives once, and those of one source in their order.
    #[test]
    fn all_items_arrive_and_each_source_keeps_its_order(
        seed in any::<u64>(),
        sources in prop::collection::vec(prop::collection::vec(0u64..4, 0..12), 0..8),
    ) {
        let sim = Sim::new(seed);
        let mut merged = Merge::new();
        for (source, pauses) in sources.iter().enumerate() {
            let clock = sim.clock();
            let numbered: Vec<_> = pauses.iter().copied().enumerate().collect();
            merged.add(Box::pin(stream::iter(numbered).then(move |(number, pause)| {
                let clock = clock.clone();
                async move {
                    if pause > 0 {
                        clock.sleep(millis(pause)).await;
                    }
                    (source, number)
                }
            })));
        }
        let seen = sim.run(merged.collect::<Vec<_>>());
        for (source, pauses) in sources.iter().enumerate() {
            let own = seen.iter().filter(|item| item.0 == source).map(|item| item.1);
            prop_assert!(own.eq(0..pauses.len()));
        }
        prop_assert_eq!(seen.len(), sources.iter().map(Vec::len).sum::<usize>());
    }
}
