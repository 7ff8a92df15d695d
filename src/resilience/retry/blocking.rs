//! A run that blocks its thread.

use super::{Judge, RetryAttempt, Settings};
use crate::resilience::{Call, Error, Operation};
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The run of an operation that is done when it returns: all that it ever waits for are the sleeps between attempts.
pub(super) fn run<T, E, J: Judge<T, E>>(
    settings: &Settings,
    judge: J,
    mut op: impl FnMut() -> Result<T, E>,
) -> Result<T, Error<E>> {
    let call = Call::new(RetryAttempt::new(settings, judge, Operation::new(|| ready(op()))));
    let mut call = pin!(call);
    // The first attempt needs no thread to be woken.
    if let Poll::Ready(outcome) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return outcome;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(outcome) = call.as_mut().poll(&mut Context::from_waker(&waker)) {
            return outcome;
        }
        thread::park();
    }
}
