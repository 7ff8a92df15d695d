//! BP1 (block, slide, error), BP4, BP5, CTX1, CTX2: the bounded channel.

use cofferdam::sync::{Context, Receiver, Sender, channel, channel_on};
use cofferdam::testkit::{
    ManualClock, Polled, Sim, drop_at_every_await, drop_at_every_await_in_sim, yield_now,
};
use futures_util::stream::{FusedStream, Stream};
use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

fn of<T>(capacity: usize, values: impl IntoIterator<Item = T>) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = channel(capacity).unwrap();
    for value in values {
        tx.try_send(value).unwrap();
    }
    (tx, rx)
}

#[test]
fn capacity_is_checked_and_told() {
    let error = channel::<()>(0).unwrap_err();
    assert_eq!(error.to_string(), "channel: capacity = 0: must be at least 1");
    let error = channel::<u64>(usize::MAX / 4).unwrap_err();
    assert_eq!((error.knob(), error.rule()), ("capacity", "must fit into memory"));
    for capacity in [1, 2, 3, 7, 8, 128] {
        let (tx, rx) = of(capacity, 0..capacity);
        assert_eq!(
            (tx.len(), tx.capacity(), rx.len(), rx.capacity()),
            (capacity, capacity, capacity, capacity)
        );
        assert!(tx.is_full() && rx.is_full() && !tx.is_empty());
        assert!(tx.try_send(0).unwrap_err().is_full());
        assert!(rx.drain().eq(0..capacity));
        assert!(tx.is_empty() && rx.is_empty() && !rx.is_full());
    }
}

#[test]
fn what_cannot_be_done_now_says_why_and_gives_the_value_back() {
    // BP4
    let (tx, rx) = of(1, ["a"]);
    let error = tx.try_send("b").unwrap_err();
    assert!(error.is_full() && !error.is_closed());
    assert_eq!(error.to_string(), "channel: full: all 1 places are taken");
    assert_eq!(error.into_inner(), "b");
    assert_eq!(rx.try_recv(), Ok("a"));
    let error = rx.try_recv().unwrap_err();
    assert!(error.is_empty() && !error.is_closed());
    assert_eq!(error.to_string(), "channel: empty: none of 1 places is taken");
    tx.close();
    let error = tx.try_send("c").unwrap_err();
    assert!(error.is_closed() && !error.is_full());
    assert_eq!(error.to_string(), "channel: closed: the value was not sent");
    assert_eq!(error.into_inner(), "c");
    let error = rx.try_recv().unwrap_err();
    assert!(error.is_closed() && !error.is_empty());
    assert_eq!(error.to_string(), "channel: closed and empty");
}

#[test]
fn a_full_channel_holds_senders_until_there_is_room() {
    // BP1, Block
    let (tx, rx) = of(1, [1]);
    let mut send = Polled::new(tx.send(2));
    assert!(send.poll().is_none());
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(send.wakes(), 1);
    assert!(send.poll().unwrap().is_ok());
    assert_eq!(rx.try_recv(), Ok(2));
}

#[test]
fn an_empty_channel_holds_receivers_until_there_is_a_value() {
    let (tx, rx) = of(4, []);
    let mut recv = Polled::new(rx.recv());
    assert!(recv.poll().is_none());
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert_eq!(recv.wakes(), 1);
    assert_eq!(recv.poll().unwrap().unwrap(), 1);
    assert_eq!(rx.recv().now_or_never().unwrap().unwrap(), 2);
}

#[test]
fn a_forced_send_displaces_the_oldest_and_hands_it_over() {
    // BP1, Drop oldest; BP3
    let (tx, rx) = of(2, []);
    let displaced: Vec<_> = (0..5).filter_map(|n| tx.force_send(n).unwrap()).collect();
    assert_eq!(displaced, [0, 1, 2]);
    assert!(rx.drain().eq([3, 4]));
    let mut recv = Polled::new(rx.recv());
    assert!(recv.poll().is_none());
    assert_eq!(tx.force_send(5).unwrap(), None);
    assert_eq!((recv.wakes(), recv.poll().unwrap().unwrap()), (1, 5));
    tx.close();
    let error = tx.force_send(6).unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.into_inner(), 6);
}

#[test]
fn what_was_sent_before_the_close_is_received_by_both_forms() {
    // BP5
    let (tx, rx) = of(4, [1, 2]);
    assert!(tx.close());
    assert!(!tx.close() && !rx.close(), "closing again changes nothing");
    assert!(tx.is_closed() && rx.is_closed());
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!(rx.recv().now_or_never().unwrap().unwrap(), 2);
    assert!(rx.try_recv().unwrap_err().is_closed());
    let error = rx.recv().now_or_never().unwrap().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.to_string(), "channel: closed and empty");
    let error = tx.send(3).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "channel: closed: the value was not sent");
    assert_eq!(error.into_inner(), 3);
}

#[test]
fn close_ends_every_wait_on_both_sides() {
    // BP5; more waiters than one batch of wakers
    let (tx, rx) = of(1, [0]);
    let mut sends: Vec<_> = (1..40).map(|n| Polled::new(tx.send(n))).collect();
    assert!(sends.iter_mut().all(|send| send.poll().is_none()));
    rx.close();
    for (send, value) in sends.iter_mut().zip(1..) {
        assert_eq!(send.wakes(), 1);
        assert_eq!(send.poll().unwrap().unwrap_err().into_inner(), value);
    }
    assert!(rx.drain().eq([0]));

    let (tx, rx) = of::<u32>(1, []);
    let mut recvs: Vec<_> = (0..40).map(|_| Polled::new(rx.recv())).collect();
    assert!(recvs.iter_mut().all(|recv| recv.poll().is_none()));
    tx.close();
    assert!(recvs.iter_mut().all(|recv| recv.wakes() == 1 && recv.poll().unwrap().is_err()));
}

#[test]
fn the_last_sender_closes_after_what_was_sent() {
    let (tx, rx) = of(2, [1]);
    let other = tx.clone();
    assert_eq!((tx.sender_count(), rx.sender_count(), rx.receiver_count()), (2, 2, 1));
    drop(tx);
    assert!(!rx.is_closed());
    let mut recv = Polled::new(async { [rx.recv().await.ok(), rx.recv().await.ok()] });
    assert!(recv.poll().is_none());
    drop(other);
    assert_eq!(recv.wakes(), 1);
    assert_eq!(recv.poll().unwrap(), [Some(1), None]);
}

#[test]
fn the_last_receiver_closes_and_drops_what_nobody_can_receive() {
    let witness = Arc::new(());
    let (tx, rx) = of(2, [Arc::clone(&witness)]);
    let other = rx.clone();
    assert_eq!(tx.receiver_count(), 2);
    drop(rx);
    assert!(!tx.is_closed());
    drop(other);
    assert!(tx.is_closed());
    assert_eq!(Arc::strong_count(&witness), 1);
    // What never came in is given back, and a new receiver finds the channel closed.
    drop(tx.try_send(Arc::clone(&witness)));
    assert!(tx.subscribe().try_recv().unwrap_err().is_closed());
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn values_left_behind_are_dropped_with_the_channel() {
    let witness = Arc::new(());
    let (tx, rx) = of(3, (0..3).map(|_| Arc::clone(&witness)));
    drop(rx.try_recv());
    std::mem::forget(rx.drain());
    tx.close();
    drop((tx, rx));
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn a_value_that_looks_at_its_channel_while_it_is_dropped_finds_no_lock_held() {
    struct Nosy(Sender<Nosy>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            let _ = (self.0.len(), self.0.close(), format!("{:?}", self.0));
        }
    }
    let (tx, rx) = channel(2).unwrap();
    for _ in 0..2 {
        assert!(tx.try_send(Nosy(tx.clone())).is_ok());
    }
    let mut send = Polled::new(tx.send(Nosy(tx.clone())));
    assert!(send.poll().is_none());
    drop(send);
    drop(rx);
    assert!(tx.is_closed());
}

#[test]
fn a_send_timeout_gives_the_value_back_at_its_limit() {
    // BP4
    let time = ManualClock::new();
    let (tx, rx) = channel_on(time.clock(), 1).unwrap();
    tx.try_send(1).unwrap();
    let limit = Duration::from_millis(5);
    let mut late = Polled::new(tx.send_timeout(2, limit));
    let mut lucky = Polled::new(tx.send_timeout(3, limit));
    assert!(late.poll().is_none());
    time.advance(Duration::from_millis(1));
    assert!(lucky.poll().is_none());
    time.advance(Duration::from_millis(4));
    assert_eq!((late.wakes(), lucky.wakes()), (1, 0));
    let error = late.poll().unwrap().unwrap_err();
    assert!(error.is_timeout() && !error.is_closed());
    assert_eq!(error.to_string(), "channel: full: none of 1 places came free within 5ms");
    assert_eq!(error.into_inner(), 2);
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(lucky.poll().unwrap().is_ok());
    assert_eq!((rx.try_recv(), time.armed()), (Ok(3), 0), "disarmed at once, not by the drop");
    tx.close();
    let error = tx.send_timeout(4, limit).now_or_never().unwrap().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.to_string(), "channel: closed: the value was not sent");
}

#[test]
fn a_receive_timeout_ends_at_its_limit_and_takes_nothing_later() {
    // BP4
    let time = ManualClock::new();
    let (tx, rx) = channel_on(time.clock(), 1).unwrap();
    let limit = Duration::from_millis(5);
    let mut recv = Polled::new(rx.recv_timeout(limit));
    assert!(recv.poll().is_none());
    time.advance(limit);
    let error = recv.poll().unwrap().unwrap_err();
    assert!(error.is_timeout() && !error.is_closed());
    assert_eq!(error.to_string(), "channel: empty: no value came within 5ms");
    tx.try_send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    // A value that is there at the very limit has won.
    let mut recv = Polled::new(rx.recv_timeout(limit));
    assert!(recv.poll().is_none());
    time.advance(limit);
    tx.try_send(2).unwrap();
    assert_eq!(recv.poll().unwrap().unwrap(), 2);
    // A limit of zero is one attempt, one without end is none.
    assert!(rx.recv_timeout(Duration::ZERO).now_or_never().unwrap().unwrap_err().is_timeout());
    assert!(rx.recv_timeout(Duration::MAX).now_or_never().is_none());
    tx.close();
    let error = rx.recv_timeout(limit).now_or_never().unwrap().unwrap_err();
    assert!(error.is_closed());
    assert_eq!(time.armed(), 0);
}

#[test]
fn receiving_many_takes_what_is_there_and_waits_for_the_first() {
    // BP4
    let (tx, rx) = of(4, [1, 2, 3]);
    let mut values = vec![0];
    assert_eq!(rx.recv_many(&mut values, 2).now_or_never().unwrap().unwrap(), 2);
    assert_eq!(rx.recv_many(&mut values, 9).now_or_never().unwrap().unwrap(), 1);
    assert_eq!(values, [0, 1, 2, 3]);
    assert_eq!(rx.recv_many(&mut values, 0).now_or_never().unwrap().unwrap(), 0);
    let mut more = Vec::new();
    let mut many = Polled::new(rx.recv_many(&mut more, 9));
    assert!(many.poll().is_none());
    for n in 4..8 {
        tx.try_send(n).unwrap();
    }
    assert_eq!((many.wakes(), many.poll().unwrap().unwrap()), (1, 4));
    drop(many);
    assert_eq!(more, [4, 5, 6, 7]);
    tx.close();
    assert!(rx.recv_many(&mut more, 9).now_or_never().unwrap().unwrap_err().is_closed());
}

#[test]
fn room_made_by_receiving_many_reaches_every_sender() {
    let (tx, rx) = of(3, [1, 2, 3]);
    let mut sends: Vec<_> = (4..7).map(|n| Polled::new(tx.send(n))).collect();
    assert!(sends.iter_mut().all(|send| send.poll().is_none()));
    assert_eq!(rx.recv_many(&mut Vec::new(), 3).now_or_never().unwrap().unwrap(), 3);
    for send in &mut sends {
        assert_eq!(send.wakes(), 1, "woken by the receiver, then one by another");
        assert!(send.poll().unwrap().is_ok());
    }
    assert!(rx.drain().eq([4, 5, 6]));
}

#[test]
fn a_burst_wakes_one_receiver_which_wakes_the_next() {
    let (tx, rx) = of(8, []);
    let mut recvs: Vec<_> = (0..3).map(|_| Polled::new(rx.recv())).collect();
    assert!(recvs.iter_mut().all(|recv| recv.poll().is_none()));
    for n in 0..3 {
        tx.try_send(n).unwrap();
    }
    let wakes = |recvs: &[Polled<_>]| recvs.iter().map(Polled::wakes).collect::<Vec<_>>();
    assert_eq!(wakes(&recvs), [1, 0, 0]);
    assert_eq!(recvs[0].poll().unwrap().unwrap(), 0);
    assert_eq!(wakes(&recvs), [1, 1, 0]);
    assert_eq!(recvs[1].poll().unwrap().unwrap(), 1);
    assert_eq!(wakes(&recvs), [1, 1, 1]);
    assert_eq!(recvs[2].poll().unwrap().unwrap(), 2);
}

#[test]
fn a_woken_future_that_is_dropped_passes_its_wake_up_on() {
    // CTX1
    let (tx, rx) = of(8, []);
    let (mut first, mut second) = (Polled::new(rx.recv()), Polled::new(rx.recv()));
    assert!(first.poll().is_none() && second.poll().is_none());
    tx.try_send(1).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    assert_eq!(second.poll().unwrap().unwrap(), 1);

    let (tx, rx) = of(1, [1]);
    let (mut first, mut second) = (Polled::new(tx.send(2)), Polled::new(tx.send(3)));
    assert!(first.poll().is_none() && second.poll().is_none());
    assert_eq!(rx.try_recv(), Ok(1));
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    assert!(second.poll().unwrap().is_ok());
    assert_eq!(rx.try_recv(), Ok(3));
}

#[test]
fn a_woken_future_that_came_too_late_keeps_its_place_in_line() {
    let (tx, rx) = of(4, []);
    let (mut first, mut second) = (Polled::new(rx.recv()), Polled::new(rx.recv()));
    assert!(first.poll().is_none() && second.poll().is_none());
    tx.try_send(1).unwrap();
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(first.poll().is_none());
    tx.try_send(2).unwrap();
    assert_eq!((first.wakes(), second.wakes()), (2, 0));
    assert_eq!(first.poll().unwrap().unwrap(), 2);
}

#[test]
fn a_woken_future_that_is_never_polled_stalls_the_others_only_for_a_while() {
    let (tx, rx) = of(64, []);
    let (mut lazy, mut other) = (Polled::new(rx.recv()), Polled::new(rx.recv()));
    assert!(lazy.poll().is_none() && other.poll().is_none());
    let pushes = (0..64).position(|n| {
        tx.try_send(n).unwrap();
        other.wakes() == 1
    });
    assert_eq!((lazy.wakes(), pushes), (1, Some(16)));

    let (tx, rx) = of(64, 0..64);
    let (mut lazy, mut other) = (Polled::new(tx.send(64)), Polled::new(tx.send(65)));
    assert!(lazy.poll().is_none() && other.poll().is_none());
    let pops = (0..64).position(|_| {
        rx.try_recv().unwrap();
        other.wakes() == 1
    });
    assert_eq!((lazy.wakes(), pops), (1, Some(16)));
}

#[test]
fn a_woken_future_that_is_never_polled_does_not_let_the_other_side_sleep() {
    // The channel is too small for sixteen more operations: the sender fills it and waits, which wakes the next receiver.
    let (tx, rx) = of(2, []);
    let (mut lazy, mut other) = (Polled::new(rx.recv()), Polled::new(rx.recv()));
    assert!(lazy.poll().is_none() && other.poll().is_none());
    let mut sender = Polled::new(async {
        for n in 0..3 {
            tx.send(n).await.unwrap();
        }
    });
    assert!(sender.poll().is_none());
    assert_eq!((lazy.wakes(), other.wakes()), (1, 1));
    assert_eq!(other.poll().unwrap().unwrap(), 0);

    let (tx, rx) = of(2, [0, 1]);
    let (mut lazy, mut other) = (Polled::new(tx.send(2)), Polled::new(tx.send(3)));
    assert!(lazy.poll().is_none() && other.poll().is_none());
    let mut receiver = Polled::new(async {
        for _ in 0..3 {
            rx.recv().await.unwrap();
        }
    });
    assert!(receiver.poll().is_none());
    assert_eq!((lazy.wakes(), other.wakes()), (1, 1));
}

#[test]
fn the_latest_waker_is_woken() {
    let (tx, rx) = of(1, []);
    let mut recv = Box::pin(rx.recv());
    assert!(recv.as_mut().now_or_never().is_none());
    let mut recv = Polled::new(recv);
    assert!(recv.poll().is_none());
    tx.try_send(1).unwrap();
    assert_eq!((recv.wakes(), recv.poll().unwrap().unwrap()), (1, 1));
}

#[test]
fn a_stream_ends_when_closed_and_empty_and_stays_ended() {
    let (tx, mut rx) = of(4, [1]);
    assert_eq!(rx.size_hint(), (0, None));
    assert!(!rx.is_terminated());
    assert_eq!(rx.next().now_or_never(), Some(Some(1)));
    // It may be moved between polls.
    let mut next = Polled::new(async move { (rx.next().await, rx) });
    assert!(next.poll().is_none());
    tx.try_send(2).unwrap();
    assert_eq!(next.wakes(), 1);
    let (value, mut rx) = next.poll().unwrap();
    assert_eq!(value, Some(2));
    assert!(rx.next().now_or_never().is_none());
    tx.try_send(3).unwrap();
    drop(tx);
    assert!(!rx.is_terminated());
    assert_eq!(rx.size_hint(), (0, Some(1)));
    assert_eq!(rx.next().now_or_never(), Some(Some(3)));
    assert!(rx.is_terminated());
    assert_eq!((rx.next().now_or_never(), rx.next().now_or_never()), (Some(None), Some(None)));
}

#[test]
fn a_receiver_dropped_as_a_stream_that_was_woken_passes_it_on() {
    let (tx, mut rx) = of(4, []);
    let other = rx.clone();
    assert!(rx.next().now_or_never().is_none());
    let mut recv = Polled::new(other.recv());
    assert!(recv.poll().is_none());
    tx.try_send(1).unwrap();
    assert_eq!(recv.wakes(), 0);
    drop(rx);
    assert_eq!((recv.wakes(), recv.poll().unwrap().unwrap()), (1, 1));
}

#[test]
fn an_ended_context_refuses_before_anything_moves() {
    // CTX2
    let context = Context::background().child();
    context.cancel("shutting down");
    let (tx, rx) = of(2, [1]);
    context.scope_sync(|| {
        let error = tx.send(2).now_or_never().unwrap().unwrap_err();
        assert!(!error.is_closed() && error.context_error().unwrap().is_cancelled());
        assert_eq!(error.to_string(), "channel: cancelled: shutting down");
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(error.into_inner(), 2);
        let error = tx.send_timeout(2, Duration::ZERO).now_or_never().unwrap().unwrap_err();
        assert!(error.context_error().is_some() && !error.is_timeout() && !error.is_closed());
        assert!(rx.recv().now_or_never().unwrap().unwrap_err().context_error().is_some());
        let error = rx.recv_timeout(Duration::ZERO).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "channel: cancelled: shutting down");
        assert!(rx.recv_many(&mut Vec::new(), 1).now_or_never().unwrap().is_err());
        assert_eq!(tx.len(), 1);
        // What does not wait is not refused.
        assert_eq!(rx.try_recv(), Ok(1));
    });
}

#[test]
fn debug_tells_what_there_is() {
    let (tx, rx) = of(2, [1]);
    assert_eq!(format!("{tx:?}"), "Sender { len: 1, capacity: 2, closed: false, .. }");
    rx.close();
    assert_eq!(format!("{rx:?}"), "Receiver { len: 1, capacity: 2, closed: true, .. }");
    assert!(tx.same_channel(&rx.new_sender()) && rx.same_channel(&tx.subscribe()));
    assert!(!tx.same_channel(&channel(1).unwrap().0));
}

/// One of each waiting future, dropped at every point; the channel works afterwards and holds what it held.
#[test]
fn futures_dropped_half_way_keep_and_lose_nothing() {
    // CTX1
    let (tx, rx) = of(1, [0]);
    let points = drop_at_every_await(|| tx.send(1), |_| assert_eq!(tx.len(), 1));
    assert_eq!(points, 2);
    assert_eq!(rx.try_recv(), Ok(0));
    let points = drop_at_every_await(|| rx.recv(), |_| assert!(rx.is_empty()));
    assert_eq!(points, 2);
    assert!(tx.send(2).now_or_never().unwrap().is_ok());
    assert_eq!(rx.recv().now_or_never().unwrap().unwrap(), 2);
}

#[test]
fn a_pipeline_cancelled_at_every_await_conserves_its_values() {
    // CTX1: a stage that is dropped anywhere; what it had in hand is counted by its drop.
    struct Item(Arc<()>);
    let points = drop_at_every_await_in_sim(0..20, |sim| {
        let witness = Arc::new(());
        let (tx, rx) = channel(2).unwrap();
        let (tx2, rx2) = channel(1).unwrap();
        let w = Arc::clone(&witness);
        sim.spawn("source", async move {
            for _ in 0..6 {
                if tx.send(Item(Arc::clone(&w))).await.is_err() {
                    break;
                }
            }
        });
        sim.spawn("sink", async move {
            while let Ok(Item(item)) = rx2.recv().await {
                yield_now().await;
                drop(item);
            }
        });
        let stage = async move {
            while let Ok(item) = rx.recv().await {
                if tx2.send(item).await.is_err() {
                    break;
                }
            }
        };
        let check = move |sim: &Sim, _point: _| {
            assert_eq!(sim.tasks(), 0, "source and sink have ended");
            assert_eq!(Arc::strong_count(&witness), 1);
        };
        (stage, check)
    });
    assert!(points > 100, "{points}");
}

#[test]
fn values_of_each_sender_arrive_in_order_and_once() {
    Sim::for_seeds(0..100, |sim| {
        let (tx, rx) = channel(1 + sim.random_below(4) as usize).unwrap();
        for sender in 0..3_u32 {
            let tx = tx.clone();
            sim.spawn(format!("sender {sender}"), async move {
                for n in 0..20_u32 {
                    tx.send((sender, n)).await.unwrap();
                    if n % 3 == 0 {
                        yield_now().await;
                    }
                }
            });
        }
        drop(tx);
        let receivers: Vec<_> = (0..2)
            .map(|n| {
                let rx = rx.clone();
                sim.spawn(format!("receiver {n}"), async move { rx.collect::<Vec<_>>().await })
            })
            .collect();
        drop(rx);
        let mut all = Vec::new();
        for receiver in receivers {
            let got = sim.run(receiver);
            for sender in 0..3 {
                let of_one: Vec<_> = got.iter().filter(|value| value.0 == sender).collect();
                assert!(of_one.is_sorted(), "{of_one:?}");
            }
            all.extend(got);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq((0..3).flat_map(|sender| (0..20).map(move |n| (sender, n)))));
    });
}

#[test]
fn close_races_lose_no_value() {
    // BP5: whatever was sent successfully is received or drained; whatever was not comes back.
    Sim::for_seeds(0..200, |sim| {
        let (tx, rx) = channel(2).unwrap();
        let senders: Vec<_> = (0..3)
            .map(|n| {
                let tx = tx.clone();
                sim.spawn(format!("sender {n}"), async move {
                    let (mut sent, mut back) = (0, 0);
                    for _ in 0..5 {
                        match tx.send(1).await {
                            Ok(()) => sent += 1,
                            Err(error) => back += error.into_inner(),
                        }
                    }
                    (sent, back)
                })
            })
            .collect();
        let receiver = sim.spawn("receiver", async move {
            let mut got = 0;
            for _ in 0..4 {
                got += rx.recv().await.unwrap();
                yield_now().await;
            }
            rx.close();
            yield_now().await;
            got + rx.drain().sum::<u32>()
        });
        let got = sim.run(receiver);
        let (mut sent, mut back) = (0, 0);
        for sender in senders {
            let (s, b) = sim.run(sender);
            sent += s;
            back += b;
        }
        assert_eq!((got, sent + back), (sent, 15));
    });
}

#[derive(Clone, Debug)]
enum Op {
    TrySend,
    ForceSend,
    Send,
    TryRecv,
    Recv,
    RecvMany(usize),
    Close,
    Drain,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::TrySend),
        2 => Just(Op::ForceSend),
        3 => Just(Op::Send),
        3 => Just(Op::TryRecv),
        3 => Just(Op::Recv),
        2 => (1_usize..5).prop_map(Op::RecvMany),
        1 => Just(Op::Close),
        1 => Just(Op::Drain),
    ]
}

proptest! {
    /// On one thread, with nobody waiting, the channel is a bounded `VecDeque`.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1_usize..6, ops in prop::collection::vec(op(), 0..60)) {
        let (tx, rx) = channel(capacity).unwrap();
        let (mut model, mut closed, mut next) = (VecDeque::new(), false, 0_u32);
        let fail = |closed: bool, empty: bool| if !empty { None } else { Some(closed) };
        for op in ops {
            next += 1;
            let refused = closed || model.len() == capacity;
            match op {
                Op::TrySend => {
                    let error = tx.try_send(next).err();
                    prop_assert_eq!(error.map(|error| error.is_closed()), refused.then_some(closed));
                    if !refused {
                        model.push_back(next);
                    }
                }
                Op::ForceSend => {
                    let oldest = if refused && !closed { model.pop_front() } else { None };
                    prop_assert_eq!(tx.force_send(next).ok(), (!closed).then_some(oldest));
                    if !closed {
                        model.push_back(next);
                    }
                }
                Op::Send => {
                    let sent = tx.send(next).now_or_never().map(|sent| sent.is_ok());
                    prop_assert_eq!(sent, if closed { Some(false) } else { (!refused).then_some(true) });
                    if !refused {
                        model.push_back(next);
                    }
                }
                Op::TryRecv => {
                    let got = rx.try_recv();
                    let expected = fail(closed, model.is_empty());
                    prop_assert_eq!(got.as_ref().err().map(|error| error.is_closed()), expected);
                    prop_assert_eq!(got.ok(), model.pop_front());
                }
                Op::Recv => {
                    let got = rx.recv().now_or_never();
                    prop_assert_eq!(got.is_none(), model.is_empty() && !closed);
                    prop_assert_eq!(got.and_then(Result::ok), model.pop_front());
                }
                Op::RecvMany(limit) => {
                    let mut values = Vec::new();
                    let got = rx.recv_many(&mut values, limit).now_or_never();
                    prop_assert_eq!(got.is_none(), model.is_empty() && !closed);
                    let expected: Vec<_> = model.drain(..limit.min(model.len())).collect();
                    prop_assert_eq!(values, expected);
                }
                Op::Close => {
                    prop_assert_eq!(rx.close(), !closed);
                    closed = true;
                }
                Op::Drain => prop_assert!(rx.drain().eq(model.drain(..))),
            }
            prop_assert_eq!((tx.len(), rx.is_closed()), (model.len(), closed));
            prop_assert_eq!((rx.is_empty(), tx.is_full()), (model.is_empty(), model.len() == capacity));
        }
    }
}
