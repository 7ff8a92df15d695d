//! Every value that was sent is received once, in the order of its sender, whoever gives up, times out or closes.

use crate::{ROUNDS, THREADS, on_threads};
use cofferdam::sync::{Receiver, channel, oneshot};
use futures_executor::block_on;
use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Polls up to `polls` times with a waker that does nothing, then drops: a cancellation at any moment.
fn give_up<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
        std::hint::spin_loop();
    }
    None
}

/// What one receiver has got: for each sender the last number, and how many in all.
#[derive(Default)]
struct Got {
    last: [Option<u64>; THREADS],
    count: u64,
}

impl Got {
    fn add(&mut self, (sender, number): (usize, u64)) {
        assert!(
            self.last[sender] < Some(number),
            "{number} of sender {sender} after {:?}",
            self.last[sender]
        );
        self.last[sender] = Some(number);
        self.count += 1;
    }
}

fn receive(rx: &Receiver<(usize, u64)>, rng: &mut fastrand::Rng) -> Got {
    let mut got = Got::default();
    let mut many = Vec::new();
    loop {
        match rng.u8(0..8) {
            0 => {
                if let Some(Ok(value)) = give_up(rx.recv(), rng.u32(1..4)) {
                    got.add(value);
                }
            }
            1 => {
                if let Ok(value) = rx.try_recv() {
                    got.add(value);
                }
            }
            2 => {
                if let Ok(value) = block_on(rx.recv_timeout(Duration::from_micros(rng.u64(0..30)))) {
                    got.add(value);
                }
            }
            3 => {
                if block_on(rx.recv_many(&mut many, rng.usize(1..9))).is_err() {
                    return got;
                }
                many.drain(..).for_each(|value| got.add(value));
            }
            _ => match block_on(rx.recv()) {
                Ok(value) => got.add(value),
                Err(_) => return got,
            },
        }
    }
}

#[test]
fn values_are_received_once_and_in_order() {
    for capacity in [1, 2, 64] {
        let (tx, rx) = channel(capacity).unwrap();
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        let ends = Mutex::new(
            (0..THREADS).map(|n| (tx.clone(), (n % 2 == 0).then(|| rx.clone()))).collect::<Vec<_>>(),
        );
        drop((tx, rx));
        on_threads(|index, rng| {
            let (tx, rx) = ends.lock().unwrap().pop().unwrap();
            if let Some(rx) = rx {
                drop(tx);
                received.fetch_add(receive(&rx, rng).count, Ordering::Relaxed);
                return;
            }
            for number in 0..ROUNDS as u64 {
                let value = (index, number);
                let ok = match rng.u8(0..8) {
                    0 => give_up(tx.send(value), rng.u32(1..4)).is_some_and(|sent| sent.is_ok()),
                    1 => tx.try_send(value).is_ok(),
                    2 => block_on(tx.send_timeout(value, Duration::from_micros(rng.u64(0..30)))).is_ok(),
                    _ => block_on(tx.send(value)).is_ok(),
                };
                sent.fetch_add(u64::from(ok), Ordering::Relaxed);
            }
        });
        assert_eq!(sent.into_inner(), received.into_inner(), "capacity {capacity}");
    }
}

#[test]
fn displaced_and_received_values_are_all_that_were_sent() {
    let (tx, rx) = channel(4).unwrap();
    let (sent, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(|index, rng| {
        for _ in 0..ROUNDS {
            let value = Box::new(rng.u64(1..1000));
            let got = if index % 3 == 0 {
                rx.try_recv().map_or(0, |value: Box<u64>| *value)
            } else {
                sent.fetch_add(*value, Ordering::Relaxed);
                tx.force_send(value).unwrap().map_or(0, |displaced| *displaced)
            };
            seen.fetch_add(got, Ordering::Relaxed);
        }
    });
    let left: u64 = rx.drain().map(|value| *value).sum();
    assert_eq!(sent.into_inner(), seen.into_inner() + left);
}

#[test]
fn a_close_in_the_middle_loses_nothing() {
    for round in 0..ROUNDS as u64 / 30 {
        let (tx, rx) = channel(2).unwrap();
        let (sent, received) = (AtomicU64::new(0), AtomicU64::new(0));
        on_threads(|index, rng| match index {
            0 => {
                for _ in 0..rng.u64(0..200) + round % 7 {
                    std::hint::spin_loop();
                }
                rx.close();
            }
            1 | 2 => {
                while block_on(rx.recv()).is_ok() {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {
                while block_on(tx.send(Box::new(()))).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert_eq!(sent.into_inner(), received.into_inner());
        assert!(rx.is_empty());
    }
}

#[test]
fn a_oneshot_hands_over_or_gives_back() {
    let (queue, requests) = channel::<oneshot::Sender<Box<u64>>>(8).unwrap();
    let (given, got) = (AtomicU64::new(0), AtomicU64::new(0));
    let queues = Mutex::new(vec![queue; THREADS / 2]);
    on_threads(|index, rng| {
        if index % 2 == 0 {
            let queue = queues.lock().unwrap().pop().unwrap();
            for _ in 0..ROUNDS {
                let (tx, mut rx) = oneshot::channel();
                block_on(queue.send(tx)).unwrap();
                let answer = match rng.u8(0..4) {
                    0 => give_up(rx, rng.u32(0..3)).and_then(Result::ok),
                    1 => {
                        rx.close();
                        rx.try_recv().ok()
                    }
                    _ => block_on(rx).ok(),
                };
                got.fetch_add(answer.map_or(0, |answer| *answer), Ordering::Relaxed);
            }
        } else {
            while let Ok(mut tx) = block_on(requests.recv()) {
                let kept = match rng.u8(0..8) {
                    0 => Some(()),
                    1 => give_up(tx.closed(), 2),
                    _ => None,
                };
                if kept.is_none() && tx.send(Box::new(1)).is_ok() {
                    given.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    // A receiver that has given up may leave an answer unread, but none is read twice.
    let (given, got) = (given.into_inner(), got.into_inner());
    assert!(got <= given && got > 0, "{got} of {given}");
}
