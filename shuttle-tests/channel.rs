//! The channel among six threads, on random schedules: what loom cannot do exhaustively.

use cofferdam_shuttle::sync::channel;
use shuttle::future::block_on;
use shuttle::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

/// Three senders, one of which gives up now and then, and three receivers, one of which does: sent is received.
fn three_to_three(capacity: usize) {
    let (tx, rx) = channel::<Box<u32>>(capacity).unwrap();
    let senders: Vec<_> = (0..3)
        .map(|index| {
            let tx = tx.clone();
            thread::spawn(move || {
                let mut sent = 0;
                for n in 0..3 {
                    if index == 0 && n == 1 {
                        // Polled once and dropped.
                        let mut cx = Context::from_waker(Waker::noop());
                        sent += u32::from(pin!(tx.send(Box::new(1))).poll(&mut cx).is_ready());
                    } else {
                        block_on(tx.send(Box::new(1))).unwrap();
                        sent += 1;
                    }
                }
                sent
            })
        })
        .collect();
    drop(tx);
    let receivers: Vec<_> = (0..3)
        .map(|index| {
            let rx = rx.clone();
            thread::spawn(move || {
                let mut got = 0;
                if index == 0 {
                    let mut cx = Context::from_waker(Waker::noop());
                    if let std::task::Poll::Ready(Ok(value)) = pin!(rx.recv()).poll(&mut cx) {
                        got += *value;
                    }
                }
                while let Ok(value) = block_on(rx.recv()) {
                    got += *value;
                }
                got
            })
        })
        .collect();
    drop(rx);
    let sent: u32 = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    let got: u32 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
    assert_eq!(sent, got);
}

#[test]
fn what_is_sent_is_received_on_random_schedules() {
    for capacity in [1, 2] {
        shuttle::check_random(move || three_to_three(capacity), 3_000);
    }
}

#[test]
fn what_is_sent_is_received_on_schedules_with_few_switches() {
    for capacity in [1, 2] {
        shuttle::check_pct(move || three_to_three(capacity), 3_000, 3);
    }
}
