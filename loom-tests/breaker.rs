//! The breaker: one winner opens, state and time together, trials never exceed, late results change nothing, the end
//! is the end.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | of two failures one opens it, and both are accounted for | 2 | 3 | `turn` allowed from any generation in `trip_by_failure` |
//! | a success between the count and the trip begins the count anew | 2 | 3 | `trip_by_failure` that does not look at the count again |
//! | nobody is let through before the break is over, or told a wrong time | 2 | 3 | `set_due` after the exchange of the word |
//! | what the state query has told is not taken back | 2 | 3 | `due` without the second look at the word |
//! | breaks grow with the opens of their generation | 2 | 3 | `set_opens` after the exchange of the word |
//! | one place, one trial; what the next does is after what the last did | 2 | 3 | `take_place` that lets one more in |
//! | who is refused beside a trial knows for how long | 2 | 3 | `take_place` that sets the due time after the word |
//! | who is refused beside the end of a trial knows, too | 2 | 3 | `due` that compares only generations |
//! | a result that comes with a reset is before it or late | 2 | 3 | `settle_let_through` that does not compare generations |
//! | when the shutdown is through, no call runs | 2 | none | `let_through` that looks at the word before it counts |
//! | the shutdown comes through although a call ends unseen | 2 | 3 | `Drained` that does not look again |
//! | of two failures that fill a window one opens it, and both are accounted for | 2 | 3 | `open_by` that does not compare generations |
//! | a result that comes with other settings is in the window or late | 2 | 3 | `set` of another window without a new generation |
//! | a success that completes the calls of a rate beside a failure is judged | 2 | 3 | `say` whatever the number of calls |
//! | a success after other settings is judged by them, whoever judged by those before | 2 | 3 | a `Stage` without the number of the settings; `say` by the number of that moment |
//! | of time: a success after other settings is judged, whoever judged by those before | 2 | 3 | a `Stage` without the number of the settings |
//! | of time: a success beside one that begins a part is judged in that, by one of the two | 2 | 3 | a `Stage` of the head that was looked at before the outcome is counted |
//! | a failure after other settings is judged by them, however far from those before | 2 | 2 | `take_failure_below` that asks for the rules before it looks at the head |
//! | a break has the length of the settings that are in force | 2 | 3 | `lock_knowing_break` that does not look at the settings again |
//! | more calls have never ended than begun | 2 | 3 | `stats` that sums the admitted first |
//! | events come in the order of the changes | 2 | 2 | `decide`d events emitted unordered |

use crate::race::{bounded, race};
use cofferdam_loom::observe::Observe;
use cofferdam_loom::resilience::CircuitBreaker;
use cofferdam_loom::resilience::breaker::{BreakerEvent, Builder, Open, Outcome, OwnedGuard, State, Window};
use cofferdam_loom::time::{Clock, Sleep, Timer};
use loom::cell::UnsafeCell;
use loom::thread;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// A breaker, a call that it has let through, and what was seen.
struct World<T> {
    breaker: CircuitBreaker,
    // Each is used by one thread at a time, and none of the model's business.
    guard: Mutex<Option<OwnedGuard>>,
    seen: Mutex<Option<T>>,
}

impl<T> World<T> {
    fn new(breaker: CircuitBreaker) -> Self {
        let guard = breaker.try_acquire_owned().unwrap();
        Self { breaker, guard: Mutex::new(Some(guard)), seen: Mutex::new(None) }
    }

    fn guard(&self) -> OwnedGuard {
        self.guard.lock().unwrap().take().unwrap()
    }

    fn see(&self, seen: T) {
        *self.seen.lock().unwrap() = Some(seen);
    }

    fn seen(&self) -> T {
        self.seen.lock().unwrap().take().unwrap()
    }
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
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder.failure_threshold(1))),
        |world| world.guard().failure(),
        |world| {
            if let Ok(guard) = world.breaker.try_acquire() {
                guard.failure();
            }
        },
        |world| {
            let stats = world.breaker.stats();
            assert_eq!((stats.state, stats.state_changes), (State::Open, 1));
            assert_eq!((stats.failures, stats.late + stats.rejected, stats.running), (1, 1, 0));
            let refused = world.breaker.try_acquire().map(|_| ()).unwrap_err();
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(10)));
        },
    );
}

#[test]
fn a_success_begins_the_count_anew_up_to_the_last_moment() {
    race(
        Some(3),
        || {
            let breaker = breaker(|builder| builder.failure_threshold(2));
            end_at(&breaker, Outcome::Failure, 0);
            let world = World::new(breaker);
            world.see(world.breaker.try_acquire_owned().unwrap());
            world
        },
        |world| world.guard().success(),
        |world| world.seen().failure(),
        |world| {
            let stats = world.breaker.stats();
            match stats.state {
                State::Open => assert_eq!((stats.failures, stats.successes, stats.late), (2, 0, 1)),
                _ => {
                    assert_eq!((stats.failures, stats.successes, stats.late), (2, 1, 0));
                    assert_eq!(stats.consecutive_failures, 1);
                }
            }
        },
    );
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
    race(
        Some(3),
        // The half-open phase before was due at 20.
        || World::new(with_a_past(|builder| builder)),
        |world| world.guard().record_at(Outcome::Failure, at(21)),
        |world| world.see(world.breaker.try_acquire_at(at(25)).map(|_| ())),
        |world| {
            if let Err(open) = world.seen() {
                assert_eq!(open.retry_after(), Some(Duration::from_secs(6)));
            }
            assert_eq!(world.breaker.stats().state_changes, 4, "on to open, and not to half-open");
        },
    );
}

#[test]
fn what_was_told_is_not_taken_back() {
    race(
        Some(3),
        || {
            let world = World::new(with_a_past(|builder| builder));
            end_at(&world.breaker, Outcome::Failure, 20);
            world
        },
        // Open until 30. This closes it, and opens it until 22.
        |world| {
            world.breaker.reset().unwrap();
            end_at(&world.breaker, Outcome::Failure, 12);
        },
        |world| world.see([world.breaker.state_at(at(25)), world.breaker.state_at(at(25))]),
        |world| {
            let order = [State::Open, State::Closed, State::HalfOpen];
            let [first, second] = world.seen();
            let place = |state| order.iter().position(|known| *known == state).unwrap();
            assert!(place(first) <= place(second), "{first} and then {second}");
        },
    );
}

#[test]
fn breaks_grow_with_the_opens_of_their_generation() {
    race(
        Some(3),
        || {
            let breaker = breaker(|builder| builder.failure_threshold(1).recovery_growth(2.0));
            let world = World::<()>::new(breaker);
            end_at(&world.breaker, Outcome::Failure, 0);
            world
        },
        |world| drop(world.breaker.poll_transition_at(at(10))),
        // Nothing to do while it is open; for twice as long, if it is half-open by now.
        |world| world.breaker.trip().unwrap(),
        |world| {
            let refused = world.breaker.try_acquire_at(at(0)).map(|_| ());
            match world.breaker.stats().consecutive_opens {
                1 => assert!(refused.is_ok()),
                _ => assert_eq!(refused.unwrap_err().retry_after(), Some(Duration::from_secs(20))),
            }
        },
    );
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
fn who_is_refused_beside_a_trial_knows_for_how_long() {
    race(
        Some(3),
        || {
            let world = World::new(breaker(|builder| builder.failure_threshold(1)));
            end_at(&world.breaker, Outcome::Failure, 0);
            assert_eq!(world.breaker.poll_transition_at(at(10)), State::HalfOpen);
            world
        },
        // The guard is kept, unlike the answer.
        |world| *world.guard.lock().unwrap() = world.breaker.try_acquire_owned_at(at(11)).ok(),
        |world| world.see(world.breaker.try_acquire_at(at(11)).map(std::mem::forget)),
        |world| {
            if let Err(open) = world.seen() {
                assert_eq!(open.retry_after(), Some(Duration::from_secs(10)));
            }
        },
    );
}

#[test]
fn who_is_refused_beside_the_end_of_a_trial_knows_for_how_long() {
    race(
        Some(3),
        || {
            let breaker = breaker(|builder| builder.failure_threshold(1).half_open_limit(None));
            end_at(&breaker, Outcome::Failure, 0);
            let world =
                World::<Result<(), Open>> { breaker, guard: Mutex::default(), seen: Mutex::default() };
            *world.guard.lock().unwrap() = world.breaker.try_acquire_owned_at(at(10)).ok();
            world
        },
        |world| world.guard().record_at(Outcome::Ignore, at(12)),
        |world| world.see(world.breaker.try_acquire_at(at(12)).map(drop)),
        |world| {
            if let Err(open) = world.seen() {
                assert_eq!(open.retry_after(), Some(Duration::from_secs(8)));
            }
        },
    );
}

#[test]
fn a_result_is_before_the_reset_or_late() {
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder.failure_threshold(2))),
        |world| world.guard().failure(),
        |world| world.breaker.reset().unwrap(),
        |world| {
            let stats = world.breaker.stats();
            assert_eq!((stats.consecutive_failures, stats.failures + stats.late), (0, 1));
        },
    );
}

#[test]
fn when_the_shutdown_is_through_no_call_runs() {
    race(
        None,
        || {
            let world = World::new(breaker(|builder| builder));
            drop(world.guard());
            world.see(Callee::new());
            world
        },
        |world| {
            if let Ok(guard) = world.breaker.try_acquire() {
                world.callee().use_it();
                guard.success();
            }
        },
        |world| {
            let drained = pin!(world.breaker.shutdown());
            if drained.poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                world.callee().use_it();
            }
        },
        |world| assert!(world.breaker.try_acquire().is_err_and(|open| open.is_shut_down())),
    );
}

impl World<Arc<Callee>> {
    fn callee(&self) -> Arc<Callee> {
        self.seen.lock().unwrap().clone().unwrap()
    }
}

#[test]
fn the_shutdown_comes_through() {
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder)),
        |world| world.guard().success(),
        |world| loom::future::block_on(world.breaker.shutdown()),
        |world| assert_eq!(world.breaker.stats().successes + world.breaker.stats().late, 1),
    );
}

#[test]
fn one_of_two_failures_that_fill_a_window_opens() {
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder.window(Window::calls(2)).failures_in_window(1))),
        |world| world.guard().failure(),
        |world| {
            if let Ok(guard) = world.breaker.try_acquire() {
                guard.failure();
            }
        },
        |world| {
            let stats = world.breaker.stats();
            assert_eq!((stats.state, stats.state_changes), (State::Open, 1));
            assert_eq!((stats.failures, stats.late + stats.rejected, stats.running), (1, 1, 0));
        },
    );
}

#[test]
fn a_result_is_in_the_window_or_late_when_settings_change() {
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder.window(Window::calls(2)))),
        |world| world.guard().failure(),
        |world| world.breaker.set(world.breaker.settings().window(Window::calls(3))).unwrap(),
        |world| {
            let stats = world.breaker.stats();
            assert_eq!((stats.window.unwrap().calls, stats.failures + stats.late), (0, 1));
        },
    );
}

impl World<()> {
    fn set(&self, settings: impl FnOnce(Builder) -> Builder) {
        self.breaker.set(settings(self.breaker.settings())).unwrap();
    }

    /// If it is not open by now.
    fn succeed(&self) {
        if let Ok(guard) = self.breaker.try_acquire() {
            guard.success();
        }
    }
}

#[test]
fn a_success_that_completes_the_calls_is_judged_beside_a_failure() {
    race(
        Some(3),
        || {
            let breaker =
                breaker(|builder| builder.window(Window::calls(8)).failure_rate(0.3).minimum_calls(3));
            end_at(&breaker, Outcome::Success, 0);
            World::<()>::new(breaker)
        },
        |world| world.guard().failure(),
        |world| world.succeed(),
        |world| {
            let stats = world.breaker.stats();
            assert_eq!((stats.state, stats.state_changes), (State::Open, 1));
        },
    );
}

/// A window with one failure, and one call less than it takes to say that it is not too much.
fn one_failure(settings: fn(Builder) -> Builder) -> World<()> {
    let breaker = breaker(|builder| settings(builder).failure_rate(0.9).minimum_calls(3));
    end_at(&breaker, Outcome::Success, 0);
    end_at(&breaker, Outcome::Failure, 0);
    World::new(breaker)
}

fn after_other_settings_a_success_is_judged(setup: fn() -> World<()>) {
    race(
        Some(3),
        setup,
        |world| world.guard().success(),
        |world| {
            world.set(|settings| settings.failure_rate(0.2));
            world.succeed();
        },
        |world| assert_eq!(world.breaker.stats().state, State::Open),
    );
}

#[test]
fn a_success_is_judged_by_the_settings_before_it() {
    after_other_settings_a_success_is_judged(|| one_failure(|builder| builder.window(Window::calls(8))));
}

#[test]
fn a_failure_is_judged_by_the_settings_before_it() {
    race(
        Some(2),
        || {
            let breaker = breaker(|builder| builder.window(Window::calls(5)).failures_in_window(5));
            // One block, and the beginning of the next: a glance at that says that there are three failures at most.
            (0..11).for_each(|_| end_at(&breaker, Outcome::Success, 0));
            end_at(&breaker, Outcome::Failure, 0);
            end_at(&breaker, Outcome::Success, 0);
            World::<()>::new(breaker)
        },
        |world| world.guard().failure(),
        |world| {
            world.set(|settings| settings.failures_in_window(2));
            world.succeed();
        },
        |world| assert_eq!(world.breaker.stats().state, State::Open),
    );
}

#[test]
fn nor_does_a_window_of_time_miss_other_settings() {
    after_other_settings_a_success_is_judged(|| {
        one_failure(|builder| builder.window(Window::time_in_parts(Duration::from_secs(60), 2)))
    });
}

#[test]
fn one_of_two_that_begin_a_part_judges_it() {
    race(
        Some(3),
        || {
            // One failure of five or six is not too much; two of three are, once the successes of the first part have left.
            let window = Window::time_in_parts(Duration::from_secs(2), 2);
            let breaker = breaker(|builder| builder.window(window).failure_rate(0.5).minimum_calls(3));
            for _ in 0..4 {
                end_at(&breaker, Outcome::Success, 0);
            }
            end_at(&breaker, Outcome::Failure, 1);
            let world = World::new(breaker);
            world.see(world.breaker.try_acquire_owned().unwrap());
            world
        },
        // In the part in which it is calm, or in the next one.
        |world| world.guard().record_at(Outcome::Success, at(1)),
        |world| world.seen().record_at(Outcome::Failure, at(2)),
        |world| assert_eq!(world.breaker.stats().state, State::Open),
    );
}

#[test]
fn a_break_is_as_long_as_the_settings_say() {
    race(
        Some(3),
        || World::<()>::new(breaker(|builder| builder.failure_threshold(1))),
        |world| world.guard().failure(),
        |world| {
            let settings = world.breaker.settings().recovery_time(Duration::from_secs(20));
            world.breaker.set(settings).unwrap();
        },
        |world| {
            let refused = world.breaker.try_acquire().map(|_| ()).unwrap_err();
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(20)));
        },
    );
}

#[test]
fn more_have_never_ended_than_begun() {
    race(
        Some(3),
        || {
            let world = World::new(breaker(|builder| builder));
            drop(world.guard());
            world
        },
        |world| world.breaker.try_acquire().unwrap().success(),
        |world| world.see(world.breaker.stats()),
        |world| {
            let stats = world.seen();
            assert_eq!(stats.requests, stats.running + stats.successes + stats.cancelled);
            let stats = world.breaker.stats();
            assert_eq!((stats.requests, stats.running), (2, 0));
        },
    );
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
    race(
        Some(2),
        || {
            let log = Arc::new(loom::sync::Mutex::new(Vec::new()));
            let breaker = breaker(|builder| builder.failure_threshold(1).observer(Log(log.clone())));
            let world = World::new(breaker);
            world.see(log);
            world
        },
        |world| world.guard().failure(),
        |world| world.breaker.force_open().unwrap(),
        |world| {
            let log = world.seen().lock().unwrap().clone();
            assert!(log == [State::ForcedOpen] || log == [State::Open, State::ForcedOpen], "{log:?}");
        },
    );
}
