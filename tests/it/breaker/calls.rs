//! The breaker around calls: results, cancellation, panics, other policies inside and outside.

use super::{MS, Rig, hair_trigger, rig};
use cofferdam::resilience::breaker::{OnCancel, Outcome, State};
use cofferdam::resilience::{
    Attempt, Call, CircuitBreaker, Component, Error, Layer, Policy, Reason, Rejection, Stack, Timeout,
};
use cofferdam::testkit::{Polled, Sim, drop_at_every_await_in_sim};
use futures_util::FutureExt;
use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

type Answer = Result<u32, &'static str>;

fn now<F: Future>(future: F) -> F::Output {
    future.now_or_never().expect("ready at once")
}

/// A future that is pending `polls` times.
fn ready_after(polls: usize, answer: Answer) -> impl Future<Output = Answer> {
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(answer);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Into half-open, with nothing counted.
fn half_open(rig: &Rig) {
    rig.trip();
    rig.time.advance(Duration::from_secs(3600));
    assert_eq!(rig.breaker.poll_transition(), State::HalfOpen);
}

#[test]
fn results_come_through_and_are_judged() {
    // CB9
    let rig = rig(|builder| builder.failure_threshold(2));
    assert_eq!(now(rig.breaker.call(|| ready(Answer::Ok(1)))), Ok(1));
    assert_eq!(now(rig.breaker.call(|| ready(Answer::Err("a")))), Err(Error::Inner("a")));
    assert_eq!(rig.breaker.call_sync(|| Answer::Err("b")), Err(Error::Inner("b")));
    let called = Cell::new(false);
    let refused = now(rig.breaker.call(|| {
        called.set(true);
        ready(Answer::Ok(1))
    }));
    assert!(refused.is_err_and(|error| error.is_circuit_open()));
    assert!(rig.breaker.call_sync(|| Answer::Ok(called.replace(true).into())).is_err());
    assert!(now(rig.breaker.call(|| async { Answer::Ok(called.replace(true).into()) })).is_err());
    assert!(!called.get(), "what is refused is not run");
    let stats = rig.breaker.stats();
    assert_eq!((stats.successes, stats.failures, stats.rejected), (1, 2, 3));
}

#[test]
fn the_classifier_decides() {
    // CB6, S1
    let rig = rig(|builder| builder.failure_threshold(1));
    let classified = rig.breaker.classify(|result: &Result<u32, Error<&str>>| match result {
        Ok(500..) => Outcome::Failure,
        Err(Error::Inner("not found")) => Outcome::Ignore,
        other => Outcome::of(other),
    });
    assert!(now(classified.call(|| ready(Answer::Err("not found")))).is_err());
    assert_eq!((rig.breaker.stats().ignored, classified.breaker().state()), (1, State::Closed));
    assert_eq!(now(classified.call(|| ready(Answer::Ok(503)))), Ok(503));
    assert_eq!(rig.breaker.state(), State::Open);
    rig.breaker.reset().unwrap();
    assert_eq!(classified.call_sync(|| Answer::Ok(503)), Ok(503));
    assert!(classified.call_sync(|| Answer::Ok(503)).is_err_and(|error| error.is_circuit_open()));
    assert!(now(Stack::new().layer(classified).call(|| ready(Answer::Ok(1)))).is_err());
}

#[test]
fn a_call_dropped_at_any_poll_leaves_no_trace() {
    // S2, CB7
    for state in [State::Closed, State::HalfOpen] {
        for polls in 0..=4 {
            let rig = rig(hair_trigger);
            if state == State::HalfOpen {
                half_open(&rig);
            }
            let mut call = Polled::new(rig.breaker.call(|| ready_after(4, Ok(1))));
            for _ in 0..polls {
                assert!(call.poll().is_none());
            }
            assert_eq!(rig.breaker.stats().running, u64::from(polls > 0), "admitted at the first poll");
            drop(call);
            let stats = rig.breaker.stats();
            assert_eq!((stats.running, stats.cancelled), (0, u64::from(polls > 0)));
            assert_eq!((stats.successes, stats.failures, stats.late), (0, 0, 0));
            assert_eq!(rig.breaker.state(), state);
            assert_eq!(now(rig.breaker.call(|| ready(Answer::Ok(2)))), Ok(2), "its place is free");
            assert_eq!(rig.breaker.state(), State::Closed);
        }
    }
}

#[test]
fn a_trial_dropped_at_any_await_among_others_leaves_its_place() {
    // S2, S12
    let points = drop_at_every_await_in_sim(0..30, |sim| {
        let breaker = CircuitBreaker::builder()
            .recovery_time(10 * MS)
            .half_open_requests(2)
            .success_threshold(2)
            .half_open_limit(Some(Duration::from_secs(1)))
            .clock(sim.clock())
            .build()
            .unwrap();
        breaker.trip().unwrap();
        sim.advance(10 * MS);
        let op = {
            let clock = sim.clock();
            move |pauses: u64| {
                let clock = clock.clone();
                async move {
                    for _ in 0..pauses {
                        clock.sleep(MS).await;
                    }
                    Answer::Ok(1)
                }
            }
        };
        for n in 0..3 {
            let (breaker, op, pauses) = (breaker.clone(), op.clone(), sim.random_below(4));
            sim.spawn(format!("other {n}"), async move { drop(breaker.call(|| op(pauses)).await) });
        }
        let under_test = {
            let (breaker, op) = (breaker.clone(), op.clone());
            async move { drop(breaker.call(|| op(3)).await) }
        };
        let check = move |sim: &Sim, _| {
            sim.run(async {
                // Others may be under way; each leaves its place. Two successes close it at the latest.
                while breaker.state() != State::Closed {
                    drop(breaker.call(|| op(1)).await);
                    sim.clock().sleep(MS).await;
                }
            });
            sim.advance(Duration::from_secs(1));
            let stats = breaker.stats();
            assert_eq!((stats.running, stats.failures, stats.state_changes), (0, 0, 3), "{stats:?}");
        };
        (under_test, check)
    });
    assert!(points >= 30 * 4);
}

#[test]
fn a_timeout_outside_cancels_and_a_timeout_inside_fails() {
    // S3, S4
    let limit = 70 * MS;
    for (on_cancel, state) in
        [(OnCancel::Neutral, State::Closed), (OnCancel::FailureIfOlderThan(50 * MS), State::Open)]
    {
        let rig = rig(|builder| hair_trigger(builder).on_cancel(on_cancel));
        let timeout = Timeout::builder(limit).clock(rig.time.clock()).build();
        let stack = Stack::new().layer(timeout).layer(rig.breaker.clone());
        let mut call = Polled::new(stack.call(pending::<Answer>));
        assert!(call.poll().is_none());
        rig.time.advance(limit);
        let error = call.poll().unwrap().unwrap_err();
        assert!(error.is_timeout(), "the caller sees the same");
        assert_eq!(rig.breaker.state(), state);
    }

    let rig = rig(|builder| builder.failure_threshold(1));
    let timeout = Timeout::builder(limit).clock(rig.time.clock()).build();
    let stack = Stack::new().layer(rig.breaker.clone()).layer(timeout);
    let mut call = Polled::new(stack.call(pending::<Answer>));
    assert!(call.poll().is_none());
    rig.time.advance(limit - MS);
    assert!(call.poll().is_none());
    assert_eq!(rig.breaker.state(), State::Closed);
    rig.time.advance(MS);
    assert!(call.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_panic_of_the_operation_is_a_failure_and_passes_through() {
    // S5
    let planned = || -> std::future::Ready<Answer> { std::panic::resume_unwind(Box::new(7_u8)) };
    let in_op = |breaker: &CircuitBreaker| drop(now(breaker.call(planned)));
    let in_poll = |breaker: &CircuitBreaker| drop(now(breaker.call(|| async { planned().await })));
    let sync = |breaker: &CircuitBreaker| drop(breaker.call_sync(|| now(planned())));
    // The poll's panic is caught, and the future dropped only afterwards, with no panic under way.
    let caught_first = |breaker: &CircuitBreaker| {
        let mut call = Polled::new(breaker.call(|| async { planned().await }));
        let panic = catch_unwind(AssertUnwindSafe(|| call.poll().is_some()));
        drop(call);
        std::panic::resume_unwind(panic.unwrap_err());
    };
    let in_classifier = |breaker: &CircuitBreaker| {
        let classified = breaker.classify(|_: &Result<u32, Error<&str>>| {
            now(planned()).ok();
            Outcome::Success
        });
        drop(now(classified.call(|| ready(Answer::Ok(1)))));
    };
    let ways: [&dyn Fn(&CircuitBreaker); 5] = [&in_op, &in_poll, &sync, &caught_first, &in_classifier];
    for (n, way) in ways.into_iter().enumerate() {
        let rig = rig(hair_trigger);
        half_open(&rig);
        let panic = catch_unwind(AssertUnwindSafe(|| way(&rig.breaker))).unwrap_err();
        assert_eq!(panic.downcast_ref::<u8>(), Some(&7), "way {n}");
        let stats = rig.breaker.stats();
        assert_eq!((stats.state, stats.running, stats.failures), (State::Open, 0, 1), "way {n}");
    }
}

#[test]
fn a_panic_elsewhere_that_drops_a_pending_call_is_not_its_failure() {
    // S2, S5
    let rig = rig(hair_trigger);
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let mut call = Polled::new(rig.breaker.call(pending::<Answer>));
        assert!(call.poll().is_none());
        std::panic::resume_unwind(Box::new("of a neighbour"));
    }));
    assert!(panic.is_err());
    let stats = rig.breaker.stats();
    assert_eq!((stats.state, stats.cancelled, stats.failures), (State::Closed, 1, 0));
}

/// Refuses every call, for a reason.
struct Refuse(Reason);

struct Refused(Reason);

impl Component for Refuse {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("refuse"));
    }
}

impl<A: Attempt> Policy<A> for &Refuse {
    type Attempt = Never<A>;

    fn around(self, inner: A) -> Never<A> {
        Never(Refused(self.0), Box::pin(inner))
    }
}

struct Never<A>(Refused, #[allow(dead_code)] Pin<Box<A>>);

impl<A: Attempt> Attempt for Never<A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        Poll::Ready(Err(Rejection::new("inner", self.0.0).into()))
    }

    fn cancel(self: Pin<&mut Self>) {}
}

#[test]
fn refusals_of_policies_inside_are_neutral() {
    // S6
    let inner_open = CircuitBreaker::new();
    inner_open.force_open().unwrap();
    let reasons = [
        Rejection::from(inner_open.try_acquire().map(drop).unwrap_err()).reason(),
        Rejection::rate_limited("", None).reason(),
        Rejection::full("", 1, 0, Duration::ZERO).reason(),
        Reason::Shed,
        Reason::Cancelled,
        Reason::DeadlineExceeded,
        Reason::Closed,
    ];
    for reason in reasons {
        let rig = rig(hair_trigger);
        half_open(&rig);
        let stack = Stack::new().layer(rig.breaker.clone()).layer(Refuse(reason));
        let error = now(stack.call(|| ready(Answer::Ok(1)))).unwrap_err();
        assert_eq!(error.rejection().map(Rejection::reason), Some(reason));
        let stats = rig.breaker.stats();
        assert_eq!((stats.state, stats.ignored, stats.running), (State::HalfOpen, 1, 0), "{reason:?}");
        assert_eq!(now(rig.breaker.call(|| ready(Answer::Ok(1)))), Ok(1));
        assert_eq!(rig.breaker.state(), State::Closed);
    }
    // Unless the classifier says otherwise.
    let rig = rig(hair_trigger);
    let strict = rig.breaker.classify(|result: &Result<u32, Error<&str>>| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure,
    });
    let stack = Stack::new().layer(strict).layer(Refuse(Reason::Shed));
    assert!(now(stack.call(|| ready(Answer::Ok(1)))).is_err());
    assert_eq!(rig.breaker.state(), State::Open);
}

#[test]
fn a_breaker_describes_itself() {
    let breaker = CircuitBreaker::builder().name("inventory").build().unwrap();
    let stack = Stack::new().layer(breaker.clone()).layer(breaker.classify(Outcome::of::<u32, ()>));
    let layers: Vec<_> = stack.describe().iter().map(ToString::to_string).collect();
    assert_eq!(layers, ["circuit breaker(inventory)", "circuit breaker(inventory)"]);
    let layer = Stack::new().layer(CircuitBreaker::new()).describe()[0];
    assert_eq!(layer.to_string(), "circuit breaker");
}

#[test]
fn a_calls_future_is_send_when_the_operations_is() {
    fn is_send<T: Send>(_: &T) {}
    let breaker = CircuitBreaker::new();
    let call: Call<_> = breaker.call(|| ready(Answer::Ok(1)));
    is_send(&call);
    // One that is not has its place, too.
    let local = std::rc::Rc::new(5);
    assert_eq!(now(breaker.call(|| async { Answer::Ok(*local) })), Ok(5));
}
