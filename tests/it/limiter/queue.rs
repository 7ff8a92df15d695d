//! A bound on how many wait.

use super::{secs, waiting};
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::testkit::{ManualClock, Polled};

// RL4, MT10
#[test]
fn a_full_queue_refuses_and_says_so() {
    let time = ManualClock::new();
    let quota = Quota::per_second(1).burst(1);
    let bucket = TokenBucket::builder(quota).clock(time.clock()).queue(2).build().unwrap();
    assert!(Polled::new(bucket.acquire()).poll().unwrap().is_ok());
    let mut line = [waiting(bucket.acquire()), waiting(bucket.acquire())];
    let error = Polled::new(bucket.acquire()).poll().unwrap().unwrap_err();
    assert!(error.is_queue_full() && !error.is_too_late() && !error.is_never());
    assert_eq!(error.to_string(), "rate limiter: 2 requests wait already");
    assert_eq!((bucket.stats().waiting, bucket.tokens()), (2, -2.0), "nothing was charged");
    time.advance(secs(1));
    assert!(line[0].poll().unwrap().is_ok());
    assert!(Polled::new(bucket.acquire()).poll().is_none(), "there is room again");
}

#[test]
fn without_a_queue_it_only_takes_what_is_there() {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(1)).clock(time.clock()).queue(0).build().unwrap();
    assert!(Polled::new(bucket.acquire()).poll().unwrap().is_ok());
    assert!(Polled::new(bucket.acquire()).poll().unwrap().unwrap_err().is_queue_full());
}

// One who finds the line full has been denied on the spot.
#[test]
fn who_finds_the_line_full_is_counted_as_denied() {
    let bucket =
        TokenBucket::builder(Quota::per_second(1).burst(1)).queue(0).counted().initial(0).build().unwrap();
    assert!(Polled::new(bucket.acquire()).poll().unwrap().unwrap_err().is_queue_full());
    assert_eq!(bucket.stats().decided.unwrap().denied, 1);
}
