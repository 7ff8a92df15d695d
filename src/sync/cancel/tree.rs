//! The tree of tokens.
//!
//! A node holds its parent strongly and its children weakly: a child alone keeps the path to the root alive, so that a
//! cancellation finds it, and a parent never keeps a dropped child. A child takes itself off its parent's list in its
//! own drop. Everything that walks the tree is a loop, so its depth costs heap and never stack.

use super::Cause;
use crate::panics::keep;
use crate::shim::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::wait::{List, Outcome, Slot, wake_all};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

pub(super) struct Node {
    /// Set once, under the lock of `inner`.
    cancelled: AtomicBool,
    inner: Mutex<Inner>,
    /// Taken only by drop.
    parent: Option<Arc<Node>>,
    /// Where the parent's list has this node. Written under the parent's lock.
    key: AtomicUsize,
}

struct Inner {
    cause: Option<Cause>,
    waiters: List<()>,
    children: Children,
}

impl Node {
    fn with_parent(parent: Option<Arc<Node>>, cause: Option<Cause>) -> Self {
        Self {
            cancelled: AtomicBool::new(cause.is_some()),
            inner: Mutex::new(Inner { cause, waiters: List::new(), children: Children::default() }),
            parent,
            key: AtomicUsize::new(usize::MAX),
        }
    }

    pub(super) fn root() -> Arc<Self> {
        Arc::new(Self::with_parent(None, None))
    }

    pub(super) fn child(self: &Arc<Self>) -> Arc<Self> {
        if let Some(cause) = self.cause() {
            return Arc::new(Self::with_parent(None, Some(cause)));
        }
        let child = Arc::new(Self::with_parent(Some(Arc::clone(self)), None));
        let mut inner = self.inner.lock();
        match &inner.cause {
            None => {
                let key = inner.children.insert(Arc::downgrade(&child));
                // Relaxed: read by the child's drop alone, which its reference count puts after this.
                child.key.store(key, Ordering::Relaxed);
            }
            // Cancelled since the look above.
            Some(cause) => {
                let cause = cause.clone();
                drop(inner);
                child.mark(&cause);
            }
        }
        child
    }

    #[inline]
    pub(super) fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `mark`: what the canceller did before is seen by whoever is told.
        self.cancelled.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn cause(&self) -> Option<Cause> {
        if self.is_cancelled() { self.read_cause() } else { None }
    }

    #[cold]
    fn read_cause(&self) -> Option<Cause> {
        self.inner.lock().cause.clone()
    }

    /// Cancels this node and all below it, then wakes everyone who waits on any of them. False if it was cancelled
    /// before.
    pub(super) fn cancel(&self, cause: &Cause) -> bool {
        let Some(children) = self.mark(cause) else { return false };
        let mut below = Vec::new();
        children.alive(&mut below);
        let mut at = 0;
        while let Some(node) = below.get(at) {
            if let Some(children) = node.mark(cause) {
                children.alive(&mut below);
            }
            at += 1;
        }
        // Nobody is woken before all are marked: a woken task that looks at any token of the tree finds it cancelled.
        let mut panicked = None;
        for node in std::iter::once(self).chain(below.iter().map(|node| &**node)) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| node.wake())) {
                keep(&mut panicked, payload);
            }
        }
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
        true
    }

    /// Cancels this node alone and takes its children, unless it was cancelled before.
    fn mark(&self, cause: &Cause) -> Option<Children> {
        let mut inner = self.inner.lock();
        if inner.cause.is_some() {
            return None;
        }
        inner.cause = Some(cause.clone());
        // ORDERING: Release pairs with the Acquire in `is_cancelled`.
        self.cancelled.store(true, Ordering::Release);
        Some(std::mem::take(&mut inner.children))
    }

    fn wake(&self) {
        wake_all(|wakes| self.inner.lock().waiters.settle(wakes, |()| Some(Outcome::Granted)));
    }

    /// Takes a child's place off the list.
    fn forget(&self, key: usize) {
        let gone = self.inner.lock().children.remove(key);
        drop(gone);
    }

    #[inline(never)]
    pub(super) fn poll_cancelled(&self, slot: Pin<&Slot<()>>, cx: &mut Context<'_>) -> Poll<Cause> {
        if let Some(cause) = self.cause() {
            return Poll::Ready(cause);
        }
        let mut waker = Some(cx.waker().clone());
        let mut inner = self.inner.lock();
        if let Some(cause) = &inner.cause {
            let cause = cause.clone();
            drop(inner);
            return Poll::Ready(cause);
        }
        let replaced = inner.waiters.join(slot, (), &mut waker);
        drop(inner);
        drop((replaced, waker));
        Poll::Pending
    }

    #[inline(never)]
    pub(super) fn unlink(&self, slot: Pin<&Slot<()>>) {
        let unlinked = self.inner.lock().waiters.unlink(slot);
        drop(unlinked);
    }

    /// Waiters and children, for `Debug`; nothing while the lock is taken.
    pub(super) fn counts(&self) -> Option<(usize, usize)> {
        self.inner.try_lock().map(|inner| (inner.waiters.len(), inner.children.live))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        let mut key = self.key.load(Ordering::Relaxed);
        // The last child of an unreferenced parent takes it along; in a loop, since the chain may be long.
        while let Some(node) = parent {
            node.forget(key);
            parent = Arc::into_inner(node).and_then(|mut node| {
                key = node.key.load(Ordering::Relaxed);
                node.parent.take()
            });
        }
    }
}

/// Weak references by key; the first one inline, since most nodes have one child or none.
#[derive(Default)]
struct Children {
    first: Option<Weak<Node>>,
    /// Key 1 is the first of these.
    more: Vec<Place>,
    /// Key of the first free place of `more`, 0 for none.
    free: usize,
    live: usize,
}

enum Place {
    Taken(Weak<Node>),
    /// Key of the next free one, 0 for none.
    Free(usize),
}

impl Children {
    fn insert(&mut self, child: Weak<Node>) -> usize {
        self.live += 1;
        if self.first.is_none() {
            self.first = Some(child);
            return 0;
        }
        let key = self.free;
        match key.checked_sub(1).and_then(|at| self.more.get_mut(at)) {
            Some(place) => {
                if let Place::Free(next) = std::mem::replace(place, Place::Taken(child)) {
                    self.free = next;
                }
                key
            }
            None => {
                self.more.push(Place::Taken(child));
                self.more.len()
            }
        }
    }

    fn remove(&mut self, key: usize) -> Option<Weak<Node>> {
        let child = match key.checked_sub(1) {
            None => self.first.take(),
            Some(at) => match self.more.get_mut(at) {
                Some(place @ Place::Taken(_)) => match std::mem::replace(place, Place::Free(self.free)) {
                    Place::Taken(child) => {
                        self.free = key;
                        Some(child)
                    }
                    Place::Free(_) => None,
                },
                _ => None,
            },
        }?;
        self.live -= 1;
        if self.live == 0 {
            // A crowd that has left must not keep its places for ever.
            self.more.clear();
            self.more.shrink_to(64);
            self.free = 0;
        }
        Some(child)
    }

    fn alive(self, into: &mut Vec<Arc<Node>>) {
        let more = self.more.into_iter().filter_map(|place| match place {
            Place::Taken(child) => Some(child),
            Place::Free(_) => None,
        });
        into.extend(self.first.into_iter().chain(more).filter_map(|child| child.upgrade()));
    }
}
