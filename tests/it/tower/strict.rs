//! Services that keep to the contract, and panic at whoever does not.

use std::future::{Pending, Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use tower::Service;

/// Polls it once.
pub(crate) fn poll_ready<R, S: Service<R>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// What all instances of a service have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    calls: AtomicU32,
    clones: AtomicU32,
    living: AtomicU32,
}

impl Seen {
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Relaxed)
    }

    pub(crate) fn clones(&self) -> u32 {
        self.clones.load(Relaxed)
    }

    pub(crate) fn living(&self) -> u32 {
        self.living.load(Relaxed)
    }
}

/// Panics when it is called without having been polled ready, and when it is used after it has failed to get ready.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    inner: S,
    state: State,
    seen: Arc<Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unready,
    Ready,
    Failed,
}

impl<S> Strict<S> {
    pub(crate) fn new(inner: S, seen: &Arc<Seen>) -> Self {
        seen.living.fetch_add(1, Relaxed);
        Self { inner, state: State::Unready, seen: Arc::clone(seen) }
    }
}

impl<S: Clone> Clone for Strict<S> {
    fn clone(&self) -> Self {
        assert_eq!(self.state, State::Unready, "cloned after it was polled");
        self.seen.clones.fetch_add(1, Relaxed);
        Self::new(self.inner.clone(), &self.seen)
    }
}

impl<S> Drop for Strict<S> {
    fn drop(&mut self) {
        self.seen.living.fetch_sub(1, Relaxed);
    }
}

impl<R, S: Service<R>> Service<R> for Strict<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        assert_ne!(self.state, State::Failed, "polled after it had failed");
        let polled = self.inner.poll_ready(cx);
        self.state = match &polled {
            Poll::Pending => State::Unready,
            Poll::Ready(Ok(())) => State::Ready,
            Poll::Ready(Err(_)) => State::Failed,
        };
        polled
    }

    fn call(&mut self, request: R) -> S::Future {
        assert_eq!(self.state, State::Ready, "called without having been polled ready");
        self.state = State::Unready;
        self.seen.calls.fetch_add(1, Relaxed);
        self.inner.call(request)
    }
}

/// Never ready.
#[derive(Clone, Debug, Default)]
pub(crate) struct Never {
    polls: Arc<AtomicU32>,
}

impl Never {
    pub(crate) fn polls(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.polls)
    }
}

impl Service<u32> for Never {
    type Response = ();
    type Error = ();
    type Future = Pending<Result<(), ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        self.polls.fetch_add(1, Relaxed);
        Poll::Pending
    }

    fn call(&mut self, _: u32) -> Self::Future {
        pending()
    }
}

/// Fails to get ready so many times, over all instances.
#[derive(Clone, Debug)]
pub(crate) struct Flaky {
    failures: Arc<AtomicU32>,
}

impl Flaky {
    pub(crate) fn new(failures: &Arc<AtomicU32>) -> Self {
        Self { failures: Arc::clone(failures) }
    }
}

impl Service<u32> for Flaky {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        let fails = self.failures.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        Poll::Ready(if fails { Err("not ready") } else { Ok(()) })
    }

    fn call(&mut self, request: u32) -> Self::Future {
        ready(Ok(request))
    }
}
