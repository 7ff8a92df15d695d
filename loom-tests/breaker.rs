//! The breaker: one winner opens, state and time together, trials never exceed, late results change nothing, the end
//! is the end.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | of two failures one opens it, and both are accounted for | 2 | 3 | `turn` allowed from any generation in `trip_by_failure` |
//! | a success between the count and the trip begins the count anew | 2 | 3 | `trip_by_failure` that does not look at the count again |
//! | nobody is let through before the break is over, or told a wrong time | 2 | 3 | `set_due` after the exchange of the word |
//! | what the state query has told is not taken back | 2 | 3 | `due` without the second look at the word |
//! | one place, one trial; what the next does is after what the last did | 2 | 3 | `take_place` that lets one more in |
//! | a result that comes with a reset is before it or late | 2 | 3 | `settle_let_through` that does not compare generations |
//! | when the shutdown is through, no call runs | 2 | none | `let_through` that looks at the word before it counts |
//! | the shutdown comes through although a call ends unseen | 2 | 3 | `Drained` that does not look again |
//! | more calls have never ended than begun | 2 | 3 | `stats` that sums the admitted first |
//! | events come in the order of the changes | 2 | 2 | `decide`d events emitted unordered |

use cofferdam_loom::observe::Observe;
use cofferdam_loom::resilience::CircuitBreaker;
use cofferdam_loom::resilience::breaker::{BreakerEvent, Builder, Outcome, State};
use cofferdam_loom::time::{Clock, Sleep, Timer};
use loom::cell::UnsafeCell;
use loom::thread;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

fn bounded(bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(model);
}

/// Time stands still at the start of the process; a sleep is over at its second poll.
struct Still;

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Clock::system().now())
}

impl Timer for Still {
    fn now(&self) -> Instant {
        start()
    }

    fn sleep_until(&self, _: Instant) -> Sleep {
        let mut polled = false;
        Sleep::new(poll_fn(move |cx| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            thread::yield_now();
            Poll::Pending
        }))
    }
}

fn at(secs: u64) -> Instant {
    start() + Duration::from_secs(secs)
}

fn breaker(settings: impl FnOnce(Builder) -> Builder) -> CircuitBreaker {
    let builder = CircuitBreaker::builder().recovery_time(Duration::from_secs(10));
    let builder = builder.half_open_requests(1).success_threshold(1);
    settings(builder).clock(Clock::new(Still)).build().unwrap()
}

fn end_at(breaker: &CircuitBreaker, outcome: Outcome, secs: u64) {
    breaker.try_acquire_at(at(secs)).unwrap().record_at(outcome, at(secs));
}

#[test]
fn one_of_two_failures_opens() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder.failure_threshold(1));
        let guard = breaker.try_acquire_owned().unwrap();
        let other = thread::spawn(move || guard.failure());
        let guard = breaker.try_acquire();
        if let Ok(guard) = guard {
            guard.failure();
        }
        other.join().unwrap();
        let stats = breaker.stats();
        assert_eq!((stats.state, stats.state_changes), (State::Open, 1));
        assert_eq!((stats.failures, stats.late + stats.rejected, stats.running), (1, 1, 0));
        let refused = breaker.try_acquire().map(|_| ()).unwrap_err();
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(10)));
    });
}

#[test]
fn a_success_begins_the_count_anew_up_to_the_last_moment() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder.failure_threshold(2));
        end_at(&breaker, Outcome::Failure, 0);
        let (one, two) = (breaker.try_acquire_owned().unwrap(), breaker.try_acquire_owned().unwrap());
        let other = thread::spawn(move || one.success());
        two.failure();
        other.join().unwrap();
        let stats = breaker.stats();
        match stats.state {
            State::Open => assert_eq!((stats.failures, stats.successes, stats.late), (2, 0, 1)),
            _ => {
                assert_eq!((stats.failures, stats.successes, stats.late), (2, 1, 0));
                assert_eq!(stats.consecutive_failures, 1);
            }
        }
    });
}

/// Has been open and half-open before, so that there are old due times about. Closed, generation 3.
fn with_a_past(settings: impl FnOnce(Builder) -> Builder) -> CircuitBreaker {
    let breaker = breaker(|builder| settings(builder.failure_threshold(1)));
    end_at(&breaker, Outcome::Failure, 0);
    end_at(&breaker, Outcome::Success, 10);
    assert_eq!(breaker.state_at(at(11)), State::Closed);
    breaker
}

#[test]
fn nobody_gets_in_before_the_break_is_over() {
    bounded(Some(3), || {
        // The half-open phase before was due at 20.
        let breaker = with_a_past(|builder| builder);
        let guard = breaker.try_acquire_owned().unwrap();
        let other = thread::spawn(move || guard.record_at(Outcome::Failure, at(21)));
        let answer = breaker.try_acquire_at(at(25));
        match &answer {
            Ok(_) => {}
            Err(open) => assert_eq!(open.retry_after(), Some(Duration::from_secs(6))),
        }
        other.join().unwrap();
        assert_eq!(breaker.stats().state_changes, 4, "on to open, and not to half-open");
    });
}

#[test]
fn what_was_told_is_not_taken_back() {
    bounded(Some(3), || {
        let breaker = with_a_past(|builder| builder);
        end_at(&breaker, Outcome::Failure, 20);
        // Open until 30. The other closes it, and opens it until 22.
        let other = breaker.clone();
        let other = thread::spawn(move || {
            other.reset().unwrap();
            end_at(&other, Outcome::Failure, 12);
        });
        let first = breaker.state_at(at(25));
        let second = breaker.state_at(at(25));
        let order = [State::Open, State::Closed, State::HalfOpen];
        let place = |state| order.iter().position(|known| *known == state).unwrap();
        assert!(place(first) <= place(second), "{first} and then {second}");
        other.join().unwrap();
    });
}

/// What only the one trial may touch.
struct Callee(UnsafeCell<u32>);
// SAFETY: that is what the models check.
unsafe impl Sync for Callee {}
// SAFETY: as above.
unsafe impl Send for Callee {}

impl Callee {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn use_it(&self) {
        // SAFETY: under the guard; loom reports it if that does not suffice.
        self.0.with_mut(|count| unsafe { *count += 1 });
    }
}

#[test]
fn one_place_one_trial() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder.failure_threshold(1));
        end_at(&breaker, Outcome::Failure, 0);
        let callee = Callee::new();
        let call = {
            let (breaker, callee) = (breaker.clone(), callee.clone());
            move || {
                let Ok(guard) = breaker.try_acquire_at(at(10)) else { return false };
                callee.use_it();
                // Another may be let in from here on.
                guard.record_at(Outcome::Ignore, at(10));
                true
            }
        };
        let other = thread::spawn(call.clone());
        let mine = call();
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "the first gets in");
        assert_eq!(breaker.stats().state_changes, 2);
    });
}

#[test]
fn a_result_is_before_the_reset_or_late() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder.failure_threshold(2));
        let guard = breaker.try_acquire_owned().unwrap();
        let other = thread::spawn(move || guard.failure());
        breaker.reset().unwrap();
        other.join().unwrap();
        let stats = breaker.stats();
        assert_eq!((stats.consecutive_failures, stats.failures + stats.late), (0, 1));
    });
}

#[test]
fn when_the_shutdown_is_through_no_call_runs() {
    bounded(None, || {
        let breaker = breaker(|builder| builder);
        let callee = Callee::new();
        let other = {
            let (breaker, callee) = (breaker.clone(), callee.clone());
            thread::spawn(move || {
                if let Ok(guard) = breaker.try_acquire() {
                    callee.use_it();
                    guard.success();
                }
            })
        };
        let through = {
            let drained = pin!(breaker.shutdown());
            drained.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        if through {
            callee.use_it();
        }
        other.join().unwrap();
        assert!(breaker.try_acquire().is_err_and(|open| open.is_shut_down()));
    });
}

#[test]
fn the_shutdown_comes_through() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder);
        let guard = breaker.try_acquire_owned().unwrap();
        let other = thread::spawn(move || guard.success());
        loom::future::block_on(breaker.shutdown());
        other.join().unwrap();
        assert_eq!(breaker.stats().successes + breaker.stats().late, 1);
    });
}

#[test]
fn more_have_never_ended_than_begun() {
    bounded(Some(3), || {
        let breaker = breaker(|builder| builder);
        let other = {
            let breaker = breaker.clone();
            thread::spawn(move || breaker.try_acquire().unwrap().success())
        };
        let stats = breaker.stats();
        assert_eq!(stats.requests, stats.running + stats.successes);
        other.join().unwrap();
        assert_eq!((breaker.stats().requests, breaker.stats().running), (1, 0));
    });
}

struct Log(Arc<loom::sync::Mutex<Vec<State>>>);
// SAFETY: loom's mutex is not `Send`, but the model's threads are.
unsafe impl Send for Log {}
// SAFETY: as above.
unsafe impl Sync for Log {}

impl Observe<BreakerEvent> for Log {
    fn observe(&self, event: &BreakerEvent) {
        if let BreakerEvent::StateChanged { to, .. } = event {
            self.0.lock().unwrap().push(*to);
        }
    }
}

#[test]
fn events_come_in_order() {
    bounded(Some(2), || {
        let log = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let breaker = breaker(|builder| builder.failure_threshold(1).observer(Log(log.clone())));
        let guard = breaker.try_acquire_owned().unwrap();
        let other = thread::spawn(move || guard.failure());
        breaker.force_open().unwrap();
        other.join().unwrap();
        let log = log.lock().unwrap().clone();
        assert!(log == [State::ForcedOpen] || log == [State::Open, State::ForcedOpen], "{log:?}");
    });
}
