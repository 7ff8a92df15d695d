//! Calls that own their policies: made, moved between threads, polled, and dropped wherever they are, by whoever is the last.

use crate::{ROUNDS, THREADS, on_threads};
use cofferdam::resilience::{Attempt, Bulkhead, Component, Error, Layer, Policy, Stack, Timeout};
use cofferdam::testkit::yield_now;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What it has, it has on the heap, for the sanitizer to see when it is looked at too late.
struct Looked {
    text: String,
    living: Arc<AtomicUsize>,
}

impl Drop for Looked {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Component for Looked {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("looked at"));
    }
}

impl<'a, A: Attempt> Policy<A> for &'a Looked {
    type Attempt = Looking<'a, A>;

    fn around(self, inner: A) -> Looking<'a, A> {
        Looking { policy: self, inner: Box::pin(inner) }
    }
}

struct Looking<'a, A> {
    policy: &'a Looked,
    inner: Pin<Box<A>>,
}

impl<A: Attempt> Attempt for Looking<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        assert_eq!(self.policy.text, "it is alive");
        self.inner.as_mut().poll_attempt(cx)
    }

    fn cancel(mut self: Pin<&mut Self>) {
        self.inner.as_mut().cancel();
    }
}

impl<A> Drop for Looking<'_, A> {
    fn drop(&mut self) {
        assert_eq!(self.policy.text, "it is alive");
    }
}

type Shared = Pin<Box<dyn Future<Output = Result<usize, Error<()>>> + Send>>;

#[test]
fn owned_calls_may_be_ended_by_anybody_anywhere() {
    let living = Arc::new(AtomicUsize::new(0));
    let around: Mutex<Vec<Shared>> = Mutex::default();
    let done = AtomicUsize::new(0);
    on_threads(|_, random| {
        for _ in 0..ROUNDS / THREADS {
            living.fetch_add(1, Ordering::Relaxed);
            let looked = Looked { text: "it is alive".into(), living: Arc::clone(&living) };
            let stack = Stack::new()
                .bulkhead(Bulkhead::builder(1).queue(4).build().expect("valid"))
                .layer(looked)
                .timeout(Timeout::attempt(Duration::MAX));
            let stack = Arc::new(stack);
            for _ in 0..random.usize(1..4) {
                let polls = random.usize(0..4);
                let call = stack.call_owned(move || async move {
                    for _ in 0..polls {
                        yield_now().await;
                    }
                    Ok(polls)
                });
                if random.bool() {
                    let mut all = around.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Box::pin(call));
                } else {
                    // By value, and the last owner at times.
                    drop(call);
                }
            }
            drop(stack);
            // Somebody's, somewhere.
            let taken = {
                let mut all = around.lock().unwrap_or_else(PoisonError::into_inner);
                let at = random.usize(..all.len().max(1));
                if at < all.len() { Some(all.swap_remove(at)) } else { None }
            };
            if let Some(mut call) = taken {
                let mut cx = Context::from_waker(Waker::noop());
                let is_done = (0..random.usize(0..6)).any(|_| call.as_mut().poll(&mut cx).is_ready());
                done.fetch_add(usize::from(is_done), Ordering::Relaxed);
                if !is_done && random.bool() {
                    around.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                }
            }
        }
    });
    assert!(done.into_inner() > 0);
    drop(around);
    assert_eq!(living.load(Ordering::Relaxed), 0, "each policy is dropped once, after its last call");
}
