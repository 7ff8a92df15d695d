//! How often N waiters on one limiter look whether it is their turn: a table, counted in one run. Every poll after the first is
//! a wake-up and a look. N are the least, and what ours is held to; who lets everybody look at every token has N squared over 2.

use cofferdam::limit::{Quota, TokenBucket};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A token every 2 ms.
const RATE: u32 = 500;

/// A future that counts how often it is polled.
struct Counted<'a, F> {
    future: Pin<Box<F>>,
    polls: &'a Cell<usize>,
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.set(self.polls.get() + 1);
        self.future.as_mut().poll(cx)
    }
}

/// Waits for all; each is polled when it is woken, and only then. Polls, and how many were served in the order in which they came.
async fn all<F: Future>(waiters: Vec<F>) -> (usize, usize) {
    let polls = Cell::new(0);
    let waiting: FuturesUnordered<_> = waiters
        .into_iter()
        .enumerate()
        .map(|(place, waiter)| {
            let counted = Counted { future: Box::pin(waiter), polls: &polls };
            async move {
                counted.await;
                place
            }
        })
        .collect();
    let served: Vec<usize> = waiting.collect().await;
    let in_order = served.windows(2).filter(|pair| pair[0] < pair[1]).count() + 1;
    (polls.get(), in_order)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{:>4} {:<14} {:>7} {:>9}", "N", "limiter", "looks", "in order");
    for n in [50, 100, 200] {
        let row = |limiter: &str, (polls, in_order): (usize, usize)| {
            println!("{n:>4} {limiter:<14} {:>7} {:>9}", polls - n, format!("{in_order}/{n}"));
        };
        let ours = TokenBucket::new(Quota::per_second(RATE.into()).burst(1));
        assert!(ours.try_acquire().is_ok());
        let (polls, in_order) = runtime.block_on(all((0..n).map(|_| ours.acquire()).collect()));
        row("cofferdam", (polls, in_order));
        assert_eq!((polls - n, in_order), (n, n), "each is woken once, when it is his turn");

        let rate = NonZeroU32::new(RATE).expect("not zero");
        let quota = governor::Quota::per_second(rate).allow_burst(NonZeroU32::MIN);
        let peer = governor::RateLimiter::direct(quota);
        assert!(peer.check().is_ok());
        row("governor", runtime.block_on(all((0..n).map(|_| peer.until_ready()).collect())));

        let peer = {
            let _inside = runtime.enter();
            leaky_bucket::RateLimiter::builder()
                .initial(0)
                .max(1)
                .refill(1)
                .interval(Duration::from_secs(1) / RATE)
                .build()
        };
        let peer = Arc::new(peer);
        row("leaky_bucket", runtime.block_on(all((0..n).map(|_| peer.acquire_one()).collect())));
    }
}
