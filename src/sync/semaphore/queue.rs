//! Those who wait, in order. Guarded by the semaphore's lock.

use super::Order;
use crate::wait::{List, Outcome, Slot, Wakes};
use std::pin::Pin;
use std::task::Waker;

/// What a waiter wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) permits: u32,
    /// The whole capacity, whatever it is by then.
    pub(super) all: bool,
    /// Its class in priority order, else 0.
    pub(super) class: u8,
    /// Its place in line: arrival plus ageing in priority order, a running number in barging order.
    pub(super) key: u64,
    /// Barging: it was woken to take this many permits and has not come yet; 0 while it has not been woken.
    pub(super) claim: u32,
}

const CLASSES: usize = 4;

pub(super) struct Queue {
    pub(super) capacity: u32,
    next_ticket: u64,
    /// Who waits; all but priority order use the first list only.
    classes: [List<Want>; CLASSES],
    /// Barging: who was woken and has not come.
    woken: List<Want>,
    /// How many wait, in all lists.
    len: usize,
}

impl Queue {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            next_ticket: 0,
            classes: [const { List::new() }; CLASSES],
            woken: List::new(),
            len: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The class of the first in line, and how many permits it wants.
    #[inline]
    pub(super) fn first(&self) -> Option<(usize, u32)> {
        let (class, want) = self
            .classes
            .iter()
            .enumerate()
            .filter_map(|(class, list)| list.front().map(|want| (class, want)))
            .min_by_key(|(class, want)| (want.key, CLASSES - class))?;
        Some((class, want.permits))
    }

    /// Whether a newcomer has to stand behind somebody.
    pub(super) fn is_behind_others(&self, order: Order, key: u64) -> bool {
        match order {
            Order::Fifo => !self.is_empty(),
            Order::Lifo | Order::Barging => false,
            Order::Priority { .. } => self.classes.iter().filter_map(List::front).any(|want| want.key <= key),
        }
    }

    #[inline]
    pub(super) fn link(&mut self, slot: Pin<&Slot<Want>>, mut want: Want, waker: Waker, order: Order) {
        if order == Order::Barging {
            want.key = self.next_ticket;
            self.next_ticket += 1;
        }
        let Some(list) = self.classes.get_mut(usize::from(want.class)) else { return };
        self.len += 1;
        match order {
            Order::Lifo => list.push_front(slot, want, waker),
            _ => list.push_back(slot, want, waker),
        }
    }

    /// Barging: back in line, at the old place.
    pub(super) fn relink(&mut self, slot: Pin<&Slot<Want>>, want: Want, waker: Waker) {
        self.len += 1;
        self.classes[0].insert_sorted_front(slot, want, waker, |a, b| a.key < b.key);
    }

    /// Grants the first in line of a class.
    pub(super) fn grant(&mut self, class: usize, wakes: &mut Wakes) {
        if let Some(list) = self.classes.get_mut(class) {
            self.len -= usize::from(list.pop_front(Outcome::Granted, wakes));
        }
    }

    /// Barging: the first who has not been woken.
    pub(super) fn first_asleep(&mut self) -> Option<&mut Want> {
        self.classes[0].front_mut()
    }

    /// Barging: wakes the first who has not been woken; it stays in line.
    pub(super) fn invite(&mut self, wakes: &mut Wakes) {
        let [asleep, ..] = &mut self.classes;
        asleep.move_front(&mut self.woken, wakes);
    }

    #[inline]
    fn list_of(&mut self, slot: Pin<&Slot<Want>>) -> Option<&mut List<Want>> {
        let want = self.woken.value_mut(slot)?;
        let (woken, class) = (want.claim > 0, usize::from(want.class));
        if woken { Some(&mut self.woken) } else { self.classes.get_mut(class) }
    }

    /// What a linked slot wants.
    pub(super) fn wanted(&mut self, slot: Pin<&Slot<Want>>) -> Option<Want> {
        // Any list of this lock may read a linked slot.
        self.woken.value_mut(slot).copied()
    }

    #[inline]
    pub(super) fn unlink(&mut self, slot: Pin<&Slot<Want>>) -> Option<(Want, Option<Waker>)> {
        let unlinked = self.list_of(slot)?.unlink(slot);
        self.len -= usize::from(unlinked.is_some());
        unlinked
    }

    pub(super) fn set_waker(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>) -> Option<Waker> {
        self.list_of(slot)?.set_waker(slot, waker)
    }

    /// Requests for the whole capacity want what it is now.
    pub(super) fn follow_capacity(&mut self) {
        let capacity = self.capacity;
        for list in self.classes.iter_mut().chain([&mut self.woken]) {
            list.for_each(|want| {
                if want.all {
                    want.permits = capacity;
                }
            });
        }
    }

    /// Ends the waits of which `ends` says how. False if the batch is full.
    pub(super) fn settle(
        &mut self,
        wakes: &mut Wakes,
        mut ends: impl FnMut(&mut Want) -> Option<Outcome>,
    ) -> bool {
        let mut ended = 0;
        let mut count = |want: &mut Want| ends(want).inspect(|_| ended += 1);
        let mut lists = self.classes.iter_mut().chain([&mut self.woken]);
        let done = lists.all(|list| list.settle(wakes, &mut count));
        self.len -= ended;
        done
    }
}
