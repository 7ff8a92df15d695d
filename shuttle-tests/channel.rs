//! The channel among six threads, on random schedules: what loom cannot do exhaustively.

use cofferdam_shuttle::sync::channel;
use shuttle::future::block_on;
use shuttle::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls once and drops.
fn give_up<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Three senders of three values each and three receivers of as many. Each gives up once on its way. Nobody closes, so a
/// wake-up that is lost is a deadlock.
fn three_to_three(capacity: usize) {
    let (tx, rx) = channel(capacity).unwrap();
    let mut threads = Vec::new();
    for _ in 0..3 {
        let tx = tx.clone();
        threads.push(thread::spawn(move || {
            let given_up = give_up(tx.send(Box::new(1))).is_pending();
            for _ in 0..2 + u32::from(given_up) {
                block_on(tx.send(Box::new(1))).unwrap();
            }
            0
        }));
        let rx = rx.clone();
        threads.push(thread::spawn(move || {
            let mut got = 0;
            for n in 0..3 {
                let early = if n == 1 { give_up(rx.recv()) } else { Poll::Pending };
                got += match early {
                    Poll::Ready(value) => *value.unwrap(),
                    Poll::Pending => *block_on(rx.recv()).unwrap(),
                };
            }
            got
        }));
    }
    let got: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!((got, tx.len()), (9, 0));
}

#[test]
fn what_is_sent_is_received_on_random_schedules() {
    for capacity in [1, 3] {
        shuttle::check_random(move || three_to_three(capacity), 3_000);
    }
}

#[test]
fn what_is_sent_is_received_on_schedules_with_few_switches() {
    for capacity in [1, 3] {
        shuttle::check_pct(move || three_to_three(capacity), 3_000, 3);
    }
}
