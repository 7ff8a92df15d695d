//! The gate.

use crate::support::allocations;
use cofferdam::sync::Gate;
use cofferdam::testkit::{DropPoint, Polled, Sim, WakeCounter, drop_at_every_await_in_sim, yield_now};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn on_wake(run: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(OnWake(run)).into()
}

#[test]
fn an_open_gate_lets_everyone_pass_and_a_closed_one_nobody() {
    let gate = Gate::new(true);
    assert!(gate.is_open());
    assert!(Polled::new(gate.wait()).poll().is_some());
    assert!(gate.close());
    assert!(!gate.close(), "was closed");
    assert!(!gate.is_open());
    assert!(Polled::new(gate.wait()).poll().is_none());
    assert!(gate.open());
    assert!(!gate.open(), "was open");
    assert!(Polled::new(gate.wait()).poll().is_some());
}

#[test]
fn opening_releases_all_in_many_batches_in_the_order_of_arrival() {
    let gate = Gate::new(false);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(gate.wait())).collect();
    for (number, wait) in waits.iter_mut().enumerate() {
        let woken = Arc::clone(&woken);
        let waker = on_wake(move || woken.lock().unwrap().push(number));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert_eq!(gate.waiters(), 100);
    gate.open();
    assert_eq!(*woken.lock().unwrap(), (0..100).collect::<Vec<_>>());
    assert_eq!(gate.waiters(), 0);
    for mut wait in waits {
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn a_gate_that_opened_and_closed_has_released_whoever_waited() {
    let gate = Gate::new(false);
    let mut polled = Polled::new(gate.wait());
    let mut unpolled = Polled::new(gate.wait());
    assert!(polled.poll().is_none());
    gate.open();
    gate.close();
    let mut late = Polled::new(gate.wait());
    assert!(late.poll().is_none());
    assert!(polled.poll().is_some());
    assert!(unpolled.poll().is_some(), "made before the release");
    assert!(late.poll().is_none());
    assert_eq!(late.wakes(), 0);
}

#[test]
fn a_pulse_releases_those_who_wait_and_opens_nothing() {
    let gate = Gate::new(false);
    let mut made = Polled::new(gate.wait());
    let mut waiting = Polled::new(gate.wait());
    assert!(waiting.poll().is_none());
    gate.pulse();
    assert!(waiting.poll().is_some());
    assert!(made.poll().is_some());
    assert!(!gate.is_open());
    assert!(Polled::new(gate.wait()).poll().is_none());
    // Nor does it close.
    gate.open();
    gate.pulse();
    assert!(gate.is_open());
}

/// Who waits again inside a waker must wait for the next release, however many batches this one has.
#[test]
fn a_release_does_not_catch_those_who_come_while_it_is_going_on() {
    let gate = Arc::new(Gate::new(false));
    let again = Arc::new(Mutex::new(Vec::new()));
    let mut first: Vec<_> = (0..50).map(|_| Box::pin(gate.wait_owned())).collect();
    for wait in &mut first {
        let (gate, again) = (Arc::clone(&gate), Arc::clone(&again));
        let waker = on_wake(move || {
            let mut next = Polled::new(gate.wait_owned());
            assert!(next.poll().is_none());
            again.lock().unwrap().push(next);
        });
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    gate.pulse();
    let mut again = again.lock().unwrap();
    assert_eq!(again.len(), 50);
    for next in again.iter_mut() {
        assert_eq!(next.wakes(), 0);
        assert!(next.poll().is_none());
    }
    assert_eq!(gate.waiters(), 50);
}

// CTX1
#[test]
fn a_dropped_wait_leaves_the_list_and_the_others_are_woken() {
    let gate = Gate::new(false);
    let mut waits: Vec<_> = (0..9).map(|_| Polled::new(gate.wait())).collect();
    for wait in &mut waits {
        assert!(wait.poll().is_none());
    }
    for at in [8, 4, 0] {
        drop(waits.remove(at));
    }
    assert_eq!(gate.waiters(), 6);
    gate.open();
    assert!(waits.iter().all(|wait| wait.wakes() == 1));
    // Released and dropped without another poll: nothing to give back.
    drop(waits);
    assert_eq!(gate.waiters(), 0);
}

#[test]
fn a_wait_that_changes_its_waker_is_woken_by_the_last_one() {
    let gate = Gate::new(false);
    let mut wait = pin!(gate.wait());
    let (first, second) = (WakeCounter::new(), WakeCounter::new());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&first.waker())).is_pending());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&second.waker())).is_pending());
    gate.open();
    assert_eq!((first.count(), second.count()), (0, 1));
    assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

// ERR12
#[test]
fn a_waker_may_use_the_gate_that_wakes_it() {
    let gate = Arc::new(Gate::new(false));
    let parked = Arc::new(Mutex::new(None));
    let (inner, held) = (Arc::clone(&gate), Arc::clone(&parked));
    let waker = on_wake(move || {
        assert!(inner.is_open());
        assert!(inner.close());
        assert!(inner.open());
        inner.pulse();
        assert_eq!(inner.waiters(), 0);
        drop(held.lock().unwrap().take());
    });
    let mut wait = Box::pin(gate.wait_owned());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    *parked.lock().unwrap() = Some(wait);
    gate.open();
    assert!(parked.lock().unwrap().is_none());
}

#[test]
fn panicking_wakers_keep_nobody_from_being_woken() {
    let gate = Gate::new(false);
    let woken = Arc::new(AtomicUsize::new(0));
    let mut waits = Vec::new();
    for number in 0..60 {
        let woken = Arc::clone(&woken);
        let waker = on_wake(move || {
            woken.fetch_add(1, Ordering::SeqCst);
            assert!(number % 7 != 3, "waker {number}");
        });
        let mut wait = Box::pin(gate.wait());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        waits.push(wait);
    }
    let payload = catch_unwind(AssertUnwindSafe(|| gate.open())).expect_err("the first panic goes on");
    assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("waker 3"));
    assert_eq!(woken.load(Ordering::SeqCst), 60);
    assert!(gate.is_open());
}

/// Make the future, look at the condition, await: no release is lost between the look and the wait.
#[test]
fn waiting_for_a_condition_never_hangs() {
    for _ in 0..200 {
        let gate = Gate::new(false);
        let set = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    futures_executor::block_on(async {
                        loop {
                            let change = gate.wait();
                            if set.load(Ordering::Relaxed) {
                                break;
                            }
                            change.await;
                        }
                    });
                });
            }
            scope.spawn(|| {
                gate.pulse();
                set.store(true, Ordering::Relaxed);
                gate.pulse();
            });
        });
        assert_eq!(gate.waiters(), 0);
    }
}

// CTX1
#[test]
fn a_wait_dropped_at_any_await_point_leaves_the_gate_as_it_was_and_the_others_pass() {
    let points = drop_at_every_await_in_sim(0..100, |sim: &Sim| {
        let gate = Arc::new(Gate::new(false));
        let passed = Arc::new(AtomicUsize::new(0));
        for number in 0..20 {
            let (gate, passed) = (Arc::clone(&gate), Arc::clone(&passed));
            sim.spawn(format!("waiter {number}"), async move {
                gate.wait().await;
                passed.fetch_add(1, Ordering::SeqCst);
            });
        }
        let (keeper, clock) = (Arc::clone(&gate), sim.clock());
        sim.spawn("keeper", async move {
            yield_now().await;
            keeper.pulse();
            clock.sleep(Duration::from_secs(1)).await;
            keeper.open();
            keeper.close();
        });
        let under_test = {
            let gate = Arc::clone(&gate);
            async move {
                let before = gate.wait();
                yield_now().await;
                before.await;
            }
        };
        let check = move |sim: &Sim, _: DropPoint| {
            sim.advance(Duration::from_secs(1));
            assert_eq!(gate.waiters(), 20 - passed.load(Ordering::SeqCst));
            gate.open();
            sim.run_until_idle();
            assert_eq!((gate.waiters(), passed.load(Ordering::SeqCst), sim.tasks()), (0, 20, 0));
        };
        (under_test, check)
    });
    assert!(points > 300, "{points}");
}

/// Every release that is due reaches everyone, whatever the order of waiting, leaving, opening and closing.
#[test]
fn under_a_storm_of_openings_and_drops_everyone_passes_in_the_end() {
    Sim::for_seeds(0..200, |sim| {
        let gate = Arc::new(Gate::new(false));
        let waiters: Vec<_> = (0..30)
            .map(|number| {
                let (gate, sim_) = (Arc::clone(&gate), sim.clone());
                sim.spawn(format!("waiter {number}"), async move {
                    for _ in 0..5 {
                        match sim_.random_below(3) {
                            0 => gate.wait().await,
                            1 => _ = Polled::new(gate.wait_owned()).poll(),
                            _ => {
                                let wait = gate.wait_owned();
                                yield_now().await;
                                wait.await;
                            }
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        let (keeper, sim_) = (Arc::clone(&gate), sim.clone());
        sim.spawn("keeper", async move {
            for _ in 0..50 {
                match sim_.random_below(3) {
                    0 => _ = keeper.open(),
                    1 => _ = keeper.close(),
                    _ => keeper.pulse(),
                }
                yield_now().await;
            }
            keeper.open();
        });
        for waiter in waiters {
            sim.run(waiter);
        }
        assert_eq!(gate.waiters(), 0);
    });
}

#[test]
fn waiting_at_a_gate_allocates_nothing() {
    let gate = Gate::new(false);
    let mut waits: Vec<_> = (0..40).map(|_| Polled::new(gate.wait())).collect();
    assert_eq!(allocations(|| assert!(waits.iter_mut().all(|wait| wait.poll().is_none()))), 0);
    assert_eq!(allocations(|| gate.open()), 0);
    assert_eq!(allocations(|| assert!(waits.iter_mut().all(|wait| wait.poll().is_some()))), 0);
}
