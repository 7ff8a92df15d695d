//! What is tried again, and who is told.

use super::*;
use std::error::Error as StdError;
use std::fmt;

/// An error with a cause.
#[derive(Debug)]
struct Because(&'static str, Option<Box<dyn StdError + Send + Sync>>);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Because {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

/// How many attempts a retry makes of what always comes out as this.
fn attempts<T: Clone, E, J: Judge<T, E>>(retry: &Retry<J>, outcome: impl Fn() -> Result<T, E>) -> u32 {
    let calls = Cell::new(0);
    let _ = block_on(retry.call(|| {
        calls.set(calls.get() + 1);
        std::future::ready(outcome())
    }));
    calls.get()
}

// S48, "never retry" wins
#[test]
fn what_aborts_wins_over_what_retries_in_whichever_order() {
    let one =
        immediate().when(|error: &u32| *error < 10).abort_on(|error: &u32| *error == 5).build().unwrap();
    let two =
        immediate().abort_on(|error: &u32| *error == 5).when(|error: &u32| *error < 10).build().unwrap();
    for (error, expected) in [(1, 3), (5, 1), (10, 1)] {
        assert_eq!(attempts(&one, || Err::<(), u32>(error)), expected);
        assert_eq!(attempts(&two, || Err::<(), u32>(error)), expected);
    }
}

#[test]
fn of_several_conditions_all_must_hold() {
    let retry = immediate().when(|error: &u32| *error > 1).when(|error: &u32| *error < 4).build().unwrap();
    let made: Vec<_> = (0..6).map(|error| attempts(&retry, || Err::<(), u32>(error))).collect();
    assert_eq!(made, [1, 1, 3, 3, 1, 1]);
}

// RB4
#[test]
fn errors_are_matched_through_their_causes() {
    let timed_out = |cause: &(dyn StdError + 'static)| {
        cause
            .downcast_ref()
            .is_some_and(|error: &std::io::Error| error.kind() == std::io::ErrorKind::TimedOut)
    };
    let deep = || {
        let io = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Because("outer", Some(Box::new(Because("middle", Some(Box::new(io))))))
    };
    let only = immediate().when_cause(timed_out).build().unwrap();
    let never = immediate().abort_on_cause(timed_out).build().unwrap();
    assert_eq!(attempts(&only, || Err::<(), _>(deep())), 3);
    assert_eq!(attempts(&only, || Err::<(), _>(Because("outer", None))), 1);
    assert_eq!(attempts(&never, || Err::<(), _>(deep())), 1);
    assert_eq!(attempts(&never, || Err::<(), _>(Because("outer", None))), 3);
    // An I/O error leaves what it wraps out of its sources.
    let wrapped = || std::io::Error::other(Because("inside", None));
    let is_inside = |cause: &(dyn StdError + 'static)| cause.is::<Because>();
    let only = immediate().when_cause(is_inside).build().unwrap();
    assert_eq!(attempts(&only, || Err::<(), _>(wrapped())), 3);
    let names: Vec<_> = causes(&deep()).map(ToString::to_string).collect();
    assert_eq!(names, ["outer", "middle", "timed out"]);
}

// S8
#[test]
fn a_mark_anywhere_in_the_chain_stops_a_retry_that_heeds_it() {
    let heeds = immediate().heed_not_retryable().build().unwrap();
    let deaf = immediate().build().unwrap();
    let marked = || Because("outer", Some(Box::new(NotRetryable::new(Because("sent", None)))));
    assert_eq!(attempts(&heeds, || Err::<(), _>(marked())), 1);
    assert_eq!(attempts(&deaf, || Err::<(), _>(marked())), 3);
    assert_eq!(attempts(&heeds, || Err::<(), _>(std::io::Error::other(NotRetryable::new("sent")))), 1);
    assert_eq!(attempts(&heeds, || Err::<(), _>(Because("not marked", None))), 3);
    let mark = NotRetryable::new(Because("sent", Some("by cable".into())));
    assert_eq!(
        (mark.to_string().as_str(), mark.source().unwrap().to_string().as_str()),
        ("sent", "by cable")
    );
    assert!(mark.inner().is::<Because>());
    assert!(causes(&mark).any(|cause| cause.is::<Because>()), "what is marked is among the causes");
    assert!(mark.into_inner().is::<Because>());
}

#[test]
fn a_success_can_be_told_from_one_that_does_not_stand() {
    let retry = immediate().when_ok(|status: &u32| *status == 503).build().unwrap();
    assert_eq!(attempts(&retry, || Ok::<u32, ()>(503)), 3);
    assert_eq!(attempts(&retry, || Ok::<u32, ()>(200)), 1);
    assert_eq!(attempts(&retry, || Err::<u32, ()>(())), 3, "errors are judged as before");
    let outcome = block_on(retry.call(|| async { Ok::<u32, ()>(503) }));
    assert_eq!(outcome, Ok(503), "and the last one comes out as it is");
    assert_eq!(retry.stats().out_of_attempts, 3);
}

// S51, RB7
#[test]
fn what_the_error_asks_for_wins_over_a_shorter_delay() {
    for (asks, waited) in [(None, 50), (Some(20), 50), (Some(700), 700), (Some(90_000), 1_000)] {
        let time = ManualClock::new();
        let next = RefCell::new(Vec::new());
        let retry = Retry::builder()
            .max_attempts(2)
            .backoff(Backoff::fixed(ms(50)))
            .server_delay_cap(ms(1_000))
            .retry_after(|error: &Option<u64>| error.map(ms))
            .notify(|_: &Error<Option<u64>>, told| next.borrow_mut().push(told.source))
            .clock(time.clock())
            .build()
            .unwrap();
        let outcome = drive(&time, retry.call(|| async { Err::<(), _>(asks) }));
        assert!(outcome.unwrap_err().is_exhausted());
        assert_eq!(time.elapsed(), ms(waited));
        let source = if waited == 50 { DelaySource::Backoff } else { DelaySource::Server };
        assert_eq!(*next.borrow(), [source]);
    }
    // It makes no retry of what is not one.
    let retry = immediate().when(|_: &u32| false).retry_after(|_: &u32| Some(ms(1))).build().unwrap();
    assert_eq!(attempts(&retry, || Err::<(), _>(1)), 1);
}

// S48
#[test]
fn a_delay_may_be_set_by_the_outcome_and_knows_the_index_from_nought() {
    let time = ManualClock::new();
    let seen = RefCell::new(Vec::new());
    let retry = Retry::builder()
        .max_attempts(4)
        .backoff(Backoff::fixed(ms(7)))
        .delay_by(|outcome: &Result<usize, Error<String>>, index| {
            seen.borrow_mut().push((outcome.as_ref().unwrap_err().to_string(), index));
            (index < 2).then(|| ms(100 * u64::from(index + 1)))
        })
        .clock(time.clock())
        .build()
        .unwrap();
    let op = Failing::new(&time, usize::MAX);
    assert!(drive(&time, retry.call(|| op.call())).is_err());
    assert_eq!(op.calls(), [0, 100, 300, 307], "100, 200, and then the backoff's");
    let seen = seen.borrow();
    let expected = [("failure 1".to_string(), 0), ("failure 2".to_string(), 1), ("failure 3".to_string(), 2)];
    assert_eq!(*seen, expected);
}

// backon's `notify` does not say which attempt it was
#[test]
fn whoever_is_notified_learns_the_attempt_the_delay_and_the_error() {
    let time = ManualClock::new();
    let seen = RefCell::new(Vec::new());
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::linear(ms(10)))
        .notify(|error: &Error<String>, next| {
            seen.borrow_mut().push((error.to_string(), next.attempt, next.delay));
        })
        // Said later, and takes nothing of what was said before.
        .when(|error: &String| error.starts_with("failure"))
        .clock(time.clock())
        .build()
        .unwrap();
    let op = Failing::new(&time, usize::MAX);
    assert!(drive(&time, retry.call(|| op.call())).is_err());
    let seen = seen.borrow();
    assert_eq!(*seen, [("failure 1".to_string(), 1, ms(10)), ("failure 2".to_string(), 2, ms(20))]);
}

// RB5
#[test]
fn giving_up_is_told_once_with_the_error_that_comes_out() {
    let told = RefCell::new(Vec::new());
    let retry = immediate()
        .abort_on(|error: &i32| *error == 0)
        .on_give_up(|error: &Error<i32>| {
            let exhausted = error.exhausted().unwrap();
            told.borrow_mut().push((exhausted.attempts(), exhausted.reason(), *error.inner().unwrap()));
        })
        .build()
        .unwrap();
    assert_eq!(attempts(&retry, || Ok::<(), i32>(())), 1);
    assert_eq!(attempts(&retry, || Err::<(), i32>(0)), 1);
    assert!(told.borrow().is_empty(), "neither a success nor an abort gives anything up");
    assert_eq!(attempts(&retry, || Err::<(), i32>(7)), 3);
    assert_eq!(*told.borrow(), [(3, GaveUp::Attempts, 7)]);
}

#[test]
fn a_judge_of_ones_own_is_told_what_came_of_it() {
    struct Own {
        told: RefCell<Vec<String>>,
    }
    impl Judge<(), u8> for Own {
        fn judge(&self, outcome: &Result<(), Error<u8>>) -> Verdict {
            if outcome.is_err() { Verdict::Retry } else { Verdict::Done }
        }
        fn delay(&self, _: &Result<(), Error<u8>>, index: u32) -> Option<Duration> {
            self.told.borrow_mut().push(format!("delay {index}"));
            Some(Duration::ZERO)
        }
        fn retrying(&self, _: &Result<(), Error<u8>>, next: Next) {
            self.told.borrow_mut().push(format!("retrying after {} by {:?}", next.attempt, next.source));
        }
        fn gave_up(&self, error: &Error<u8>) {
            self.told.borrow_mut().push(format!("gave up {error}"));
        }
    }
    let retry =
        Retry::builder().max_attempts(2).judged_by(Own { told: RefCell::default() }).when(|_: &u8| true);
    // A judge around it passes everything on.
    let retry = retry.abort_on(|_: &u8| false).retry_after(|_: &u8| None).when_ok(|(): &()| false);
    let told = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&told);
    let retry = retry.notify(move |_: &Error<u8>, _| log.borrow_mut().push("notified")).build().unwrap();
    let error = block_on(retry.call(|| async { Err::<(), u8>(3) })).unwrap_err();
    assert_eq!(error.to_string(), "retry: gave up after 2 attempts: no attempts left");
    assert_eq!(*told.borrow(), ["notified"]);
}
