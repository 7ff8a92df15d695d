//! The intrusive list. All pointer code of waiting is in this file.

use super::Wakes;
use crate::shim::{AtomicU8, Ordering, UnsafeCell};
use std::marker::PhantomPinned;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

const IDLE: u8 = 0;
const LINKED: u8 = 1;

/// How a wait ended, as the one who ended it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// What was waited for is this waiter's.
    Granted = 2,
    /// The component was closed.
    Closed = 3,
    /// What was waited for can never come.
    Impossible = 4,
}

/// A waiter's node. Lives in the waiting future and is linked by address while it waits. `T` is what the waiter wants,
/// guarded by the list's lock while linked.
pub(crate) struct Slot<T> {
    state: AtomicU8,
    /// Initialised whenever the state is not `IDLE`.
    node: UnsafeCell<MaybeUninit<Node<T>>>,
    _pin: PhantomPinned,
}

struct Node<T> {
    prev: Option<NonNull<Slot<T>>>,
    next: Option<NonNull<Slot<T>>>,
    waker: Option<Waker>,
    value: T,
}

// SAFETY: the node is touched by one thread at a time (W2, W3); `T` and the waker may move between threads.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: as above; a shared slot gives access to its node only through the list's `&mut` or after the outcome.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        if cfg!(cofferdam_loom) {
            // A checked cell has state of its own to initialise.
            let node = UnsafeCell::new(MaybeUninit::uninit());
            return Self { state: AtomicU8::new(IDLE), node, _pin: PhantomPinned };
        }
        let mut slot = MaybeUninit::<Self>::uninit();
        // Written as an aggregate, the uninitialised node is filled with zeros (measured: four stores that the next
        // atomic operation has to wait for, a fifth of an uncontended acquisition).
        // SAFETY: the state is written through a pointer into the allocation of `slot`; the cell and what is in it may
        // be uninitialised, and the marker has no bytes.
        unsafe {
            (&raw mut (*slot.as_mut_ptr()).state).write(AtomicU8::new(IDLE));
            slot.assume_init()
        }
    }

    /// Whether it is in no list and has no outcome to be taken.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        // Relaxed: leaving and entering `IDLE` is done by the owner alone.
        self.state.load(Ordering::Relaxed) == IDLE
    }

    /// The outcome, if the wait has ended. It stays until [`take`](Self::take)n.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        // ORDERING: Acquire pairs with the Release in `finish`: the node is the owner's from here on.
        match self.state.load(Ordering::Acquire) {
            2 => Some(Outcome::Granted),
            3 => Some(Outcome::Closed),
            4 => Some(Outcome::Impossible),
            _ => None,
        }
    }

    /// Takes the outcome and what was wanted; the slot is idle again.
    #[inline]
    pub(crate) fn take(self: Pin<&Self>) -> Option<(Outcome, T)> {
        let outcome = self.outcome()?;
        // SAFETY: an outcome means initialised and ours alone (W3); the store below makes it uninitialised again.
        let node = self.node.with_mut(|node| unsafe { (*node).assume_init_read() });
        self.state.store(IDLE, Ordering::Relaxed);
        Some((outcome, node.value))
    }
}

impl<T> Drop for Slot<T> {
    #[inline]
    fn drop(&mut self) {
        match self.state.load(Ordering::Relaxed) {
            IDLE => {}
            // W1. Freeing a linked node would be a dangling pointer in a live list; there is no way to go on.
            LINKED => std::process::abort(),
            _ => {
                // SAFETY: `&mut self`, and a slot with an outcome has left its list (W3).
                let slot = unsafe { Pin::new_unchecked(&*self) };
                drop(slot.take());
            }
        }
    }
}

/// Slots in order. Guard it with a mutex.
pub(crate) struct List<T> {
    head: Option<NonNull<Slot<T>>>,
    tail: Option<NonNull<Slot<T>>>,
    len: usize,
}

// SAFETY: the list owns no node; it reaches them only through `&mut self` or `&self` under the mutex (W2).
unsafe impl<T: Send> Send for List<T> {}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> List<T> {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: None, len: 0 }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What the first waiter wants.
    #[inline]
    pub(crate) fn front(&self) -> Option<&T> {
        // SAFETY: linked, so initialised and alive (W1); the borrow of the list keeps the lock held (W2).
        self.head.map(|head| unsafe { &(*Self::node(head)).value })
    }

    /// What the first waiter wants, to be amended.
    #[inline]
    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        // SAFETY: linked, so initialised and alive (W1); the borrow of the list keeps the lock held (W2).
        self.head.map(|head| unsafe { &mut (*Self::node(head)).value })
    }

    /// What the last waiter wants.
    #[inline]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn back(&self) -> Option<&T> {
        // SAFETY: linked, so initialised and alive (W1); the borrow of the list keeps the lock held (W2).
        self.tail.map(|tail| unsafe { &(*Self::node(tail)).value })
    }

    /// Links an idle slot at the end. Does nothing to a slot that is not idle.
    #[inline]
    pub(crate) fn push_back(&mut self, slot: Pin<&Slot<T>>, value: T, waker: Waker) {
        self.insert_after(self.tail, slot, value, waker);
    }

    /// Links an idle slot at the front. Does nothing to a slot that is not idle.
    #[inline]
    pub(crate) fn push_front(&mut self, slot: Pin<&Slot<T>>, value: T, waker: Waker) {
        self.insert_after(None, slot, value, waker);
    }

    #[inline]
    fn insert_after(&mut self, prev: Option<NonNull<Slot<T>>>, slot: Pin<&Slot<T>>, value: T, waker: Waker) {
        if !slot.is_idle() {
            debug_assert!(false, "a slot is linked once");
            return;
        }
        let this = NonNull::from(slot.get_ref());
        slot.node.with_mut(|node| {
            // SAFETY: an idle slot's node belongs to its owner, who calls us.
            unsafe { (*node).write(Node { prev: None, next: None, waker: Some(waker), value }) };
        });
        self.attach(this, prev);
        // Relaxed: the others learn of the slot through the lock.
        slot.state.store(LINKED, Ordering::Relaxed);
    }

    /// Ends the first wait: unlinks it, hands its waker to `wakes`, and gives `outcome` to its future.
    #[inline]
    pub(crate) fn pop_front(&mut self, outcome: Outcome, wakes: &mut Wakes) -> bool {
        self.pop_front_with(outcome, wakes, |_| ())
    }

    /// As [`pop_front`](Self::pop_front), with a last word on what was wanted.
    #[inline]
    pub(crate) fn pop_front_with(
        &mut self,
        outcome: Outcome,
        wakes: &mut Wakes,
        amend: impl FnOnce(&mut T),
    ) -> bool {
        let Some(head) = self.head else { return false };
        self.end(head, outcome, wakes, amend);
        true
    }

    /// Ends the last wait, as [`pop_front`](Self::pop_front) the first.
    #[inline]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn pop_back(&mut self, outcome: Outcome, wakes: &mut Wakes) -> bool {
        let Some(tail) = self.tail else { return false };
        self.end(tail, outcome, wakes, |_| ());
        true
    }

    /// Ends every wait of which `ends` says how, front to back, as long as `wakes` has room. False if it ran out of room
    /// and must be called again after waking.
    pub(crate) fn settle(
        &mut self,
        wakes: &mut Wakes,
        mut ends: impl FnMut(&mut T) -> Option<Outcome>,
    ) -> bool {
        let mut at = self.head;
        while let Some(slot) = at {
            if !wakes.has_room() {
                return false;
            }
            // SAFETY: linked, alive, lock held (W1, W2).
            let node = unsafe { &mut *Self::node(slot) };
            at = node.next;
            if let Some(outcome) = ends(&mut node.value) {
                self.end(slot, outcome, wakes, |_| ());
            }
        }
        true
    }

    /// Visits what every waiter wants, front to back.
    pub(crate) fn for_each(&mut self, mut visit: impl FnMut(&mut T)) {
        let mut at = self.head;
        while let Some(slot) = at {
            // SAFETY: linked, alive, lock held (W1, W2).
            let node = unsafe { &mut *Self::node(slot) };
            visit(&mut node.value);
            at = node.next;
        }
    }

    /// Visits what the first `most` waiters want, front to back.
    #[cfg(feature = "telemetry")]
    pub(crate) fn first(&mut self, most: usize, mut visit: impl FnMut(&mut T)) {
        let mut at = self.head;
        for _ in 0..most {
            let Some(slot) = at else { return };
            // SAFETY: linked, alive, lock held (W1, W2).
            let node = unsafe { &mut *Self::node(slot) };
            visit(&mut node.value);
            at = node.next;
        }
    }

    /// Moves the first waiter to the end of another list of the same lock, handing its waker to `wakes`: woken, still
    /// waiting.
    #[inline]
    pub(crate) fn move_front(&mut self, to: &mut Self, wakes: &mut Wakes) -> bool {
        let Some(head) = self.head else { return false };
        // SAFETY: linked, alive, lock held (W1, W2).
        let waker = unsafe { (*Self::node(head)).waker.take() };
        self.detach(head);
        to.attach(head, to.tail);
        if let Some(waker) = waker {
            wakes.push(waker);
        }
        true
    }

    /// Moves a linked slot to another list of the same lock, behind all at its front for which `goes_before` holds, with a
    /// waker as in [`set_waker`](Self::set_waker): woken, and back in line.
    #[inline]
    pub(crate) fn move_back(
        &mut self,
        slot: Pin<&Slot<T>>,
        to: &mut Self,
        fresh: &mut Option<Waker>,
        goes_before: impl Fn(&T, &T) -> bool,
    ) -> Option<Waker> {
        if !Self::is_linked(slot) {
            return None;
        }
        let this = NonNull::from(slot.get_ref());
        self.detach(this);
        let (mut at, mut next) = (None, to.head);
        while let Some(linked) = next {
            // SAFETY: both are alive, in a list of the lock we hold or just out of one (W1, W2).
            let (node, ours) = unsafe { (&*Self::node(linked), &*Self::node(this)) };
            if !goes_before(&node.value, &ours.value) {
                break;
            }
            (at, next) = (Some(linked), node.next);
        }
        to.attach(this, at);
        to.set_waker(slot, fresh)
    }

    /// Links a detached slot whose node is initialised behind `prev`, at the front if there is none.
    #[inline]
    fn attach(&mut self, slot: NonNull<Slot<T>>, prev: Option<NonNull<Slot<T>>>) {
        // SAFETY: all are alive and linked in lists of the lock we hold, or just out of one (W1, W2).
        unsafe {
            let next = match prev {
                Some(prev) => (*Self::node(prev)).next.replace(slot),
                None => self.head.replace(slot),
            };
            match next {
                Some(next) => (*Self::node(next)).prev = Some(slot),
                None => self.tail = Some(slot),
            }
            (*Self::node(slot)).prev = prev;
            (*Self::node(slot)).next = next;
        }
        self.len += 1;
    }

    /// Gives a linked slot its present waker, cloned before the lock, unless the known one wakes the same task. What is
    /// left over (the fresh one in its place, or the replaced one as the result) is dropped after the lock.
    #[inline]
    pub(crate) fn set_waker(&mut self, slot: Pin<&Slot<T>>, fresh: &mut Option<Waker>) -> Option<Waker> {
        if !Self::is_linked(slot) {
            return None;
        }
        // SAFETY: linked, alive, lock held (W1, W2).
        let node = unsafe { &mut *Self::node(NonNull::from(slot.get_ref())) };
        match (&node.waker, fresh.take()) {
            (Some(known), Some(new)) if known.will_wake(&new) => {
                *fresh = Some(new);
                None
            }
            (_, Some(new)) => node.waker.replace(new),
            (_, None) => None,
        }
    }

    /// Links an idle slot at the end, or gives a linked one its present waker: what a plain wait does at every poll. As
    /// for [`set_waker`](Self::set_waker), the waker is cloned before the lock, and leftovers are dropped after it.
    #[inline]
    pub(crate) fn join(&mut self, slot: Pin<&Slot<T>>, value: T, fresh: &mut Option<Waker>) -> Option<Waker> {
        if !slot.is_idle() {
            return self.set_waker(slot, fresh);
        }
        if let Some(waker) = fresh.take() {
            self.push_back(slot, value, waker);
        }
        None
    }

    /// What a linked slot wants.
    #[inline]
    pub(crate) fn value_mut(&mut self, slot: Pin<&Slot<T>>) -> Option<&mut T> {
        if !Self::is_linked(slot) {
            return None;
        }
        // SAFETY: linked, alive, lock held (W1, W2).
        Some(unsafe { &mut (*Self::node(NonNull::from(slot.get_ref()))).value })
    }

    /// What the waiter behind a linked slot wants.
    #[inline]
    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn next_mut(&mut self, slot: Pin<&Slot<T>>) -> Option<&mut T> {
        if !Self::is_linked(slot) {
            return None;
        }
        // SAFETY: linked, alive, lock held (W1, W2), and so is its neighbour.
        unsafe {
            (*Self::node(NonNull::from(slot.get_ref()))).next.map(|next| &mut (*Self::node(next)).value)
        }
    }

    /// Takes a linked slot out without an outcome; the slot is idle again. `None` if it was not linked. The waker comes
    /// back with the value, to be dropped after the lock.
    #[inline]
    pub(crate) fn unlink(&mut self, slot: Pin<&Slot<T>>) -> Option<(T, Option<Waker>)> {
        if !Self::is_linked(slot) {
            return None;
        }
        let this = NonNull::from(slot.get_ref());
        self.detach(this);
        // SAFETY: initialised, and detached under the lock (W2); `IDLE` makes it uninitialised again.
        let node = slot.node.with_mut(|node| unsafe { (*node).assume_init_read() });
        slot.state.store(IDLE, Ordering::Relaxed);
        Some((node.value, node.waker))
    }

    fn is_linked(slot: Pin<&Slot<T>>) -> bool {
        // Relaxed: out of `LINKED` only under the lock, which the caller's `&mut List` stands for.
        slot.state.load(Ordering::Relaxed) == LINKED
    }

    #[inline]
    fn end(
        &mut self,
        slot: NonNull<Slot<T>>,
        outcome: Outcome,
        wakes: &mut Wakes,
        amend: impl FnOnce(&mut T),
    ) {
        // SAFETY: linked, alive, lock held (W1, W2).
        amend(unsafe { &mut (*Self::node(slot)).value });
        self.detach(slot);
        // SAFETY: alive until the store below (its state is still `LINKED`: W1), lock held (W2).
        let waker = unsafe { (*Self::node(slot)).waker.take() };
        // ORDERING: Release pairs with the Acquire in `Slot::outcome`. The last touch (W3).
        // SAFETY: alive until this store.
        unsafe { slot.as_ref() }.state.store(outcome as u8, Ordering::Release);
        // Nothing that could panic stands between the detaching and the outcome: a detached slot that counts as linked
        // would be detached again.
        if let Some(waker) = waker {
            wakes.push(waker);
        }
    }

    #[inline]
    fn detach(&mut self, slot: NonNull<Slot<T>>) {
        // SAFETY: linked, alive, lock held (W1, W2); so are its neighbours.
        unsafe {
            let (prev, next) = ((*Self::node(slot)).prev, (*Self::node(slot)).next);
            match prev {
                Some(prev) => (*Self::node(prev)).next = next,
                None => self.head = next,
            }
            match next {
                Some(next) => (*Self::node(next)).prev = prev,
                None => self.tail = prev,
            }
        }
        self.len -= 1;
    }

    /// The node of a slot that is not idle.
    ///
    /// # Safety
    /// The slot is alive and its node ours to touch (W1, W2).
    #[inline]
    unsafe fn node(slot: NonNull<Slot<T>>) -> *mut Node<T> {
        // SAFETY: alive, by the caller.
        unsafe { slot.as_ref() }.node.with_mut(|node| node.cast::<Node<T>>())
    }
}
