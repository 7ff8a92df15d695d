//! Partitions: shares that are claims, and not cages.

use super::ms;
use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{Acquire, Discipline, OwnedPermit, Partition, Request};
use cofferdam::testkit::{ManualClock, Polled};

fn limiter(limit: u32, shares: &[(&'static str, u32)]) -> (ConcurrencyLimiter, Vec<Partition>) {
    let builder = ConcurrencyLimiter::builder(limit);
    let builder = shares.iter().fold(builder, |builder, (name, share)| builder.partition(*name, *share));
    let limiter = builder.build().unwrap();
    let partitions = shares.iter().map(|(name, _)| limiter.partition(name).unwrap()).collect();
    (limiter, partitions)
}

fn take(limiter: &ConcurrencyLimiter, partition: Partition, n: usize) -> Vec<OwnedPermit> {
    let request = Request::new(1).partition(partition);
    (0..n).map(|_| limiter.try_acquire_with_owned(request).unwrap()).collect()
}

fn wait(limiter: &ConcurrencyLimiter, partition: Partition, n: u32) -> Polled<Acquire<ConcurrencyLimiter>> {
    let mut wait = Polled::new(limiter.acquire_with_owned(Request::new(n).partition(partition)));
    assert!(wait.poll().is_none());
    wait
}

#[test]
fn an_idle_share_may_be_borrowed_and_comes_back_to_its_owner_first() {
    let (limiter, partitions) = limiter(10, &[("live", 80), ("batch", 20)]);
    let [live, batch] = partitions[..] else { panic!("two") };
    let mut borrowed = take(&limiter, batch, 10);
    assert_eq!(limiter.partition_stats(batch).in_flight, 10, "five times its share");
    let mut more = wait(&limiter, batch, 1);
    let mut mine: Vec<_> = (0..8).map(|_| wait(&limiter, live, 1)).collect();
    assert_eq!((limiter.partition_stats(live).waiting, limiter.partition_stats(batch).waiting), (8, 1));
    // Whatever comes back goes to whom it belongs, though the other one came first.
    let mut permits = Vec::new();
    for wait in &mut mine {
        borrowed.pop();
        permits.push(wait.poll().unwrap().unwrap());
        assert!(more.poll().is_none());
    }
    let (live_stats, batch_stats) = (limiter.partition_stats(live), limiter.partition_stats(batch));
    assert_eq!((live_stats.percent, live_stats.in_flight), (80, 8));
    assert_eq!((batch_stats.percent, batch_stats.in_flight), (20, 2));
    // Both at their share: batch is first in line now, alone.
    borrowed.pop();
    assert!(more.poll().unwrap().is_ok());
    assert_eq!(limiter.in_flight(), 9, "the permit of `more` is back as well");
}

#[test]
fn what_nobody_claims_is_divided_in_proportion_to_the_shares() {
    let (limiter, partitions) = limiter(12, &[("a", 20), ("b", 40)]);
    let [a, b] = partitions[..] else { panic!("two") };
    let mut rest = take(&limiter, Partition::REST, 12);
    let mut waits: Vec<_> = (0..12).map(|_| (wait(&limiter, a, 1), wait(&limiter, b, 1))).collect();
    let mut held = Vec::new();
    while rest.pop().is_some() {
        for (of_a, of_b) in &mut waits {
            held.extend([of_a, of_b].into_iter().filter_map(|wait| wait.poll()?.ok()));
        }
        let used = (limiter.partition_stats(a).in_flight, limiter.partition_stats(b).in_flight);
        assert!(used.1 <= 2 * used.0 && used.1 + 2 >= 2 * used.0, "{used:?}");
        assert_eq!(limiter.in_flight(), 12);
    }
    assert_eq!((limiter.partition_stats(a).in_flight, limiter.partition_stats(b).in_flight), (4, 8));
}

#[test]
fn a_large_request_of_the_partition_whose_turn_it_is_holds_the_others_back() {
    let (limiter, partitions) = limiter(4, &[("a", 50), ("b", 50)]);
    let [a, b] = partitions[..] else { panic!("two") };
    let mut held = take(&limiter, b, 4);
    let mut small = wait(&limiter, b, 1);
    let mut large = wait(&limiter, a, 2);
    held.pop();
    assert!(small.poll().is_none() && large.poll().is_none());
    held.pop();
    assert_eq!(large.poll().unwrap().unwrap().permits(), 2);
    assert!(small.poll().unwrap().is_ok(), "after the large one has given back");
}

#[test]
fn an_unknown_name_is_no_partition_and_a_foreign_one_is_the_rest() {
    let (limiter, partitions) = limiter(10, &[("a", 60), ("b", 40)]);
    assert_eq!(limiter.partition("c"), None);
    let (small, _) = self::limiter(10, &[("only", 100)]);
    let _held = take(&small, partitions[1], 3);
    assert_eq!(small.partition_stats(Partition::REST).in_flight, 3);
    // Nothing is left for the rest: it is served, but only while no owner of a share waits.
    let mut held = take(&limiter, partitions[0], 10);
    let mut rest = wait(&limiter, Partition::REST, 1);
    let mut owner = wait(&limiter, partitions[0], 1);
    held.pop();
    let permit = owner.poll().unwrap().unwrap();
    assert!(rest.poll().is_none());
    drop(permit);
    assert!(rest.poll().unwrap().is_ok());
}

#[test]
fn shares_follow_the_limit() {
    let (limiter, partitions) = limiter(2, &[("a", 50), ("b", 50)]);
    let [a, b] = partitions[..] else { panic!("two") };
    let _held = take(&limiter, a, 2);
    let mut of_a: Vec<_> = (0..10).map(|_| wait(&limiter, a, 1)).collect();
    let mut of_b: Vec<_> = (0..10).map(|_| wait(&limiter, b, 1)).collect();
    limiter.resize(10).unwrap();
    let permits: Vec<_> = of_a.iter_mut().chain(&mut of_b).filter_map(|wait| wait.poll()).collect();
    assert_eq!(permits.len(), 8);
    assert_eq!((limiter.partition_stats(a).in_flight, limiter.partition_stats(b).in_flight), (5, 5));
}

#[test]
fn each_partition_is_overloaded_for_itself() {
    let time = ManualClock::new();
    let limiter = ConcurrencyLimiter::builder(1)
        .partition("flood", 50)
        .partition("calm", 50)
        .discipline(Discipline::ControlledDelay { target: ms(10), interval: ms(100), lifo: true })
        .clock(time.clock())
        .build()
        .unwrap();
    let flood = limiter.partition("flood").unwrap();
    let calm = limiter.partition("calm").unwrap();
    let held = take(&limiter, flood, 1);
    let mut old = wait(&limiter, flood, 1);
    time.advance(ms(80));
    let mut quiet = wait(&limiter, calm, 1);
    time.advance(ms(30));
    assert!(old.poll().unwrap().unwrap_err().is_shed());
    assert!(quiet.poll().is_none());
    drop(held);
    assert!(quiet.poll().unwrap().is_ok(), "30 ms in a queue that has just begun");
}

#[test]
fn without_partitions_all_is_the_rest() {
    let limiter = ConcurrencyLimiter::new(4).unwrap();
    let _held = take(&limiter, Partition::REST, 3);
    let stats = limiter.partition_stats(Partition::REST);
    assert_eq!((stats.percent, stats.in_flight, stats.waiting), (100, 3, 0));
}
