//! Futures or streams that are polled in one task, each in a place that is used again when it is done.

#![forbid(unsafe_code)]

use super::ready::Ready;
use crate::panics::{forget, keep};
use pin_project_lite::pin_project;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};

pin_project! {
    struct Place<T> {
        #[pin]
        value: Option<T>,
    }
}

/// Grows to as many places as have been needed at once.
pub(crate) struct Places<T> {
    places: Vec<Pin<Box<Place<T>>>>,
    free: Vec<usize>,
    ready: Ready,
}

impl<T> Places<T> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new(), ready: Ready::new() }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts it into a place that is free, and polls nothing.
    pub(crate) fn insert(&mut self, value: T) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Box::pin(Place { value: None }));
            // So that giving a place back never allocates.
            self.free.reserve(self.places.len());
            self.ready.add()
        });
        if let Some(place) = self.places.get_mut(at) {
            place.as_mut().project().value.set(Some(value));
        }
        at
    }

    /// Drops what is in a place. False, if nothing is.
    pub(crate) fn remove(&mut self, at: usize) -> bool {
        let Some(place) = self.places.get_mut(at) else { return false };
        let mut value = place.as_mut().project().value;
        if value.is_none() {
            return false;
        }
        // Before the drop: it is free also if that panics.
        self.free.push(at);
        value.set(None);
        true
    }

    /// Drops all, one after the other, and tells which places those were in before it drops them.
    pub(crate) fn clear(&mut self, mut tell: impl FnMut(usize)) {
        for at in 0..self.places.len() {
            if self.places.get(at).is_some_and(|place| place.value.is_some()) {
                tell(at);
                self.remove(at);
            }
        }
    }

    /// Looks who was woken, for [`next_woken`](Self::next_woken). From now on a wake-up of a place wakes the task.
    pub(crate) fn look(&mut self, task: &Waker) {
        self.ready.take(task);
    }

    /// The same for a task that is not going to wait: a wake-up need not wake it.
    pub(crate) fn glance(&mut self) {
        self.ready.glance();
    }

    /// One of the places that were woken when we last looked. It is to be polled after this.
    pub(crate) fn next_woken(&mut self) -> Option<usize> {
        self.ready.next()
    }

    /// As its waker does.
    pub(crate) fn wake_place(&self, at: usize) {
        if let Some(waker) = self.ready.waker(at) {
            waker.wake_by_ref();
        }
    }

    /// Wakes the task that looked last.
    pub(crate) fn wake_task(&self) {
        self.ready.wake_task();
    }

    /// Polls what is in a place. Nothing is there where it was the waker of one that is done.
    pub(crate) fn poll<R>(
        &mut self,
        at: usize,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let value = self.places.get_mut(at)?.as_mut().project().value.as_pin_mut()?;
        let waker = self.ready.waker(at)?;
        Some(poll(value, &mut Context::from_waker(waker)))
    }
}

/// If several panic as they are dropped, the first goes on: a second one beside it would end the process.
impl<T> Drop for Places<T> {
    fn drop(&mut self) {
        let mut first = None;
        for at in 0..self.places.len() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.remove(at))) {
                keep(&mut first, payload);
            }
        }
        match first {
            Some(payload) if std::thread::panicking() => forget(payload),
            Some(payload) => resume_unwind(payload),
            None => {}
        }
    }
}
