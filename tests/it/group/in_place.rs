//! Groups that run where they are polled.

use crate::support::allocations;
use cofferdam::group::{InPlaceGroup, MemberError};
use cofferdam::sync::Context;
use cofferdam::testkit::{DropPoint, Polled, Sim, drop_at_every_await_in_sim, yield_now};
use futures_executor::block_on;
use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

#[test]
fn members_borrow_what_is_around_them() {
    let texts = [String::from("a"), String::from("bcd")];
    let total = Cell::new(0);
    let mut group = InPlaceGroup::new();
    block_on(async {
        for text in &texts {
            let total = &total;
            let work = async move {
                yield_now().await;
                total.set(total.get() + text.len());
                text.as_str()
            };
            group.spawn(work).await.unwrap();
        }
        let seen: Vec<_> = group.join_all().await.into_iter().map(Result::unwrap).collect();
        assert_eq!(seen, ["a", "bcd"]);
    });
    assert_eq!(total.get(), 4);
}

#[test]
fn nothing_runs_before_the_group_is_polled_and_no_more_than_its_width() {
    let sim = Sim::new(1);
    let (running, most) = (Cell::new(0), Cell::new(0));
    let mut group = InPlaceGroup::new().width(3);
    sim.run(async {
        for number in 0..10_u64 {
            let (clock, running, most) = (sim.clock(), &running, &most);
            let work = async move {
                running.set(running.get() + 1);
                most.set(running.get().max(most.get()));
                clock.sleep(Duration::from_millis(number % 3)).await;
                running.set(running.get() - 1);
                number
            };
            if number == 0 {
                group.try_spawn(work).unwrap();
                assert_eq!(most.get(), 0, "nobody has polled it");
            } else {
                group.spawn(work).await.unwrap();
            }
        }
        assert!(group.join_all().await.into_iter().map(Result::unwrap).eq(0..10));
    });
    assert_eq!(most.get(), 3);
    let mut full = InPlaceGroup::new().width(1);
    full.try_spawn(pending::<()>()).unwrap();
    assert!(full.try_spawn(pending()).unwrap_err().is_full());
}

#[test]
fn a_wake_up_is_one_poll() {
    const MEMBERS: usize = 500;
    let (wakers, polls) = (RefCell::new(vec![None::<Waker>; MEMBERS]), RefCell::new(vec![0; MEMBERS]));
    let mut group = InPlaceGroup::new();
    for number in 0..MEMBERS {
        let (wakers, polls) = (&wakers, &polls);
        let member = poll_fn(move |cx| {
            wakers.borrow_mut()[number] = Some(cx.waker().clone());
            polls.borrow_mut()[number] += 1;
            Poll::<()>::Pending
        });
        group.try_spawn(member).unwrap();
    }
    let mut waiting = Polled::new(group.next());
    assert!(waiting.poll().is_none());
    assert!(waiting.poll().is_none(), "in two parts, to give way to others");
    assert_eq!(polls.borrow().iter().sum::<usize>(), MEMBERS);
    let one = wakers.borrow()[77].clone().unwrap();
    one.wake();
    assert!(waiting.poll().is_none());
    assert_eq!((polls.borrow()[77], polls.borrow().iter().sum::<usize>()), (2, MEMBERS + 1));
}

#[test]
fn the_first_failure_drops_the_rest_and_keeps_what_was_done() {
    let dropped = Cell::new(0);
    struct Held<'a>(&'a Cell<u32>);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let mut group = InPlaceGroup::<Boxed<'_, Result<u32, &str>>>::new();
    group.try_spawn(Box::pin(ready(Ok(1)))).unwrap();
    let held = Held(&dropped);
    group
        .try_spawn(Box::pin(async move {
            let _held = held;
            pending().await
        }))
        .unwrap();
    group
        .try_spawn(Box::pin(async {
            yield_now().await;
            Err("broken")
        }))
        .unwrap();
    let error = block_on(group.try_join_all()).unwrap_err();
    assert_eq!((error.index(), error.error(), dropped.get()), (2, Some(&"broken"), 1));
    assert_eq!(error.interrupted().collect::<Vec<_>>(), [1]);
    assert!(matches!(error.others()[0], (0, Ok(Ok(1)))));
    assert!(group.try_spawn(Box::pin(ready(Ok(1)))).unwrap_err().is_cancelled());
}

#[test]
fn a_panic_is_an_outcome() {
    let mut group = InPlaceGroup::<Boxed<'_, u8>>::new();
    group.try_spawn(Box::pin(async { panic!("on purpose") })).unwrap();
    group.try_spawn(Box::pin(ready(1))).unwrap();
    let outcomes = block_on(group.join_all());
    assert_eq!(outcomes[0].as_ref().unwrap_err().to_string(), "the member panicked: on purpose");
    assert_eq!(outcomes[1].as_ref().ok(), Some(&1));
}

#[test]
fn what_is_not_done_in_time_is_dropped_and_named() {
    let sim = Sim::new(1);
    let mut group = InPlaceGroup::new().time_limit(10 * MILLI).clock(sim.clock());
    let outcomes = sim.run(async {
        for millis in [5, 20] {
            let clock = sim.clock();
            group.spawn(async move { clock.sleep(Duration::from_millis(millis)).await }).await.unwrap();
        }
        group.join_all().await
    });
    assert!(outcomes[0].is_ok() && outcomes[1].as_ref().is_err_and(MemberError::is_timeout));
    assert_eq!((sim.time().elapsed(), sim.time().armed()), (10 * MILLI, 0));
    assert_eq!((group.stats().completed, group.stats().timed_out), (1, 1));
}

#[test]
fn it_ends_with_the_context_around_it() {
    let sim = Sim::new(1);
    let context = Context::background().child();
    let outcomes = sim.run(context.scope(async {
        let mut group = InPlaceGroup::new();
        group.spawn(pending::<()>()).await.unwrap();
        context.cancel("hung up");
        group.join_all().await
    }));
    assert!(outcomes[0].as_ref().is_err_and(MemberError::is_cancelled));
}

#[test]
#[allow(clippy::await_holding_lock, reason = "nobody else locks it")]
fn a_wait_that_is_dropped_loses_no_outcome() {
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let clock = sim.clock();
        let group = std::sync::Arc::new(std::sync::Mutex::new(InPlaceGroup::new()));
        for millis in 0..6 {
            let clock = clock.clone();
            let work = async move {
                clock.sleep(Duration::from_millis(millis)).await;
                millis
            };
            group.lock().unwrap().try_spawn(work).unwrap();
        }
        let ours = std::sync::Arc::clone(&group);
        let future = async move {
            // Alone with it: nobody else locks it.
            let mut group = ours.lock().unwrap();
            group.next().await;
            let left = group.join_all().await;
            assert_eq!(left.len(), 5);
        };
        let check = move |sim: &Sim, point: DropPoint| {
            let mut group = group.lock().unwrap();
            let stats = group.stats();
            let given = stats.spawned - stats.running - stats.unread;
            assert!(given <= 1, "{point:?}");
            assert_eq!(sim.run(group.join_all()).len(), 6 - given, "{point:?}");
            assert_eq!(sim.time().armed(), 0, "{point:?}");
        };
        (future, check)
    });
    assert!(points >= 20 * 4, "only {points} points");
}

#[test]
fn a_place_is_used_again() {
    let mut group = InPlaceGroup::new();
    let mut turn = || {
        group.try_spawn(ready(1)).unwrap();
        assert!(block_on(group.next()).is_some_and(|(_, outcome)| outcome.is_ok()));
    };
    turn();
    let count = allocations(|| (0..100).for_each(|_| turn()));
    assert_eq!(count, 0);
}

#[test]
fn of_several_members_that_panic_as_they_are_dropped_one_goes_on() {
    struct Bomb<'a>(&'a std::cell::Cell<u32>);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            std::panic::resume_unwind(Box::new("bomb"));
        }
    }
    let dropped = std::cell::Cell::new(0);
    let mut group = InPlaceGroup::new();
    for _ in 0..3 {
        let bomb = Bomb(&dropped);
        group
            .try_spawn(async move {
                let _bomb = bomb;
            })
            .unwrap();
    }
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(group)));
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"bomb"));
    assert_eq!(dropped.get(), 3);
}
