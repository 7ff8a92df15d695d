//! Those who wait, in order. Guarded by the semaphore's lock.

use super::order::Rule;
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
    /// Its place in line: arrival plus ageing in priority order, a running number in barging order. Once the wait has
    /// ended as impossible, the capacity that made it so.
    pub(super) key: u64,
    /// Barging: it was woken and has not come yet.
    pub(super) invited: bool,
    /// When it came; see [`wait_began`](super::Semaphore::wait_began).
    pub(super) since: u64,
}

const CLASSES: usize = 4;

pub(super) struct Queue {
    pub(super) capacity: u32,
    /// Whether a capacity of zero holds up those who come, in place of refusing them.
    waits_at_zero: bool,
    /// Permits that [`initial`](super::SemaphoreBuilder::initial) held back and that have not been added yet.
    pub(super) withheld: u32,
    next_ticket: u64,
    /// Who waits; all but priority order use the first list only.
    classes: [List<Want>; CLASSES],
    /// Barging: who was woken and has not come.
    woken: List<Want>,
    /// Permits that the woken want.
    claimed: u64,
    /// How many wait, in all lists.
    len: usize,
}

impl Queue {
    pub(super) fn new(capacity: u32, withheld: u32, waits_at_zero: bool) -> Self {
        Self {
            capacity,
            waits_at_zero,
            withheld,
            next_ticket: 0,
            classes: [const { List::new() }; CLASSES],
            woken: List::new(),
            claimed: 0,
            len: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The class of the first in line, and how many permits it wants.
    #[inline]
    pub(super) fn first(&self, rule: Rule) -> Option<(usize, u32)> {
        if rule != Rule::Priority {
            return self.first_asleep().map(|permits| (0, permits));
        }
        self.first_by_class()
    }

    fn first_by_class(&self) -> Option<(usize, u32)> {
        let (class, want) = self
            .classes
            .iter()
            .enumerate()
            .filter_map(|(class, list)| list.front().map(|want| (class, want)))
            .min_by_key(|(class, want)| (want.key, CLASSES - class))?;
        Some((class, want.permits))
    }

    /// Whether a newcomer has to stand behind somebody.
    #[inline]
    pub(super) fn is_behind_others(&self, rule: Rule, class: u8, key: u64) -> bool {
        match rule {
            Rule::Fifo => !self.is_empty(),
            Rule::Lifo | Rule::Barging => false,
            // As `first` has it: at the same key the higher class goes first.
            Rule::Priority => {
                let goes_before = |want: &Want| want.key < key || want.key == key && want.class >= class;
                self.classes.iter().filter_map(List::front).any(goes_before)
            }
        }
    }

    #[inline]
    pub(super) fn link(&mut self, slot: Pin<&Slot<Want>>, mut want: Want, waker: Waker, rule: Rule) {
        if rule == Rule::Barging {
            want.key = self.next_ticket;
            self.next_ticket += 1;
        }
        let Some(list) = self.classes.get_mut(usize::from(want.class)) else { return };
        self.len += 1;
        match rule {
            Rule::Lifo => list.push_front(slot, want, waker),
            _ => list.push_back(slot, want, waker),
        }
    }

    /// Barging: a woken waiter is back in line, at its old place.
    #[inline]
    pub(super) fn back_in_line(
        &mut self,
        slot: Pin<&Slot<Want>>,
        waker: &mut Option<Waker>,
    ) -> Option<Waker> {
        let want = self.woken.value_mut(slot)?;
        want.invited = false;
        self.claimed -= u64::from(want.permits);
        let [asleep, ..] = &mut self.classes;
        self.woken.move_back(slot, asleep, waker, |a, b| a.key < b.key)
    }

    /// Whether nobody waits who has not been woken.
    #[inline]
    pub(super) fn nobody_asleep(&self) -> bool {
        self.len == self.woken.len()
    }

    /// Grants the first in line of a class.
    #[inline]
    pub(super) fn grant(&mut self, class: usize, wakes: &mut Wakes) {
        if let Some(list) = self.classes.get_mut(class) {
            self.len -= usize::from(list.pop_front(Outcome::Granted, wakes));
        }
    }

    /// All but priority order: how many permits the first wants who has not been woken.
    #[inline]
    pub(super) fn first_asleep(&self) -> Option<u32> {
        self.classes[0].front().map(|want| want.permits)
    }

    /// Barging: permits that the woken are on their way to take.
    #[inline]
    pub(super) fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Barging: wakes the first who has not been woken; it stays in line.
    #[inline]
    pub(super) fn invite(&mut self, wakes: &mut Wakes) {
        let [asleep, ..] = &mut self.classes;
        if let Some(want) = asleep.front_mut() {
            want.invited = true;
            self.claimed += u64::from(want.permits);
        }
        asleep.move_front(&mut self.woken, wakes);
    }

    #[inline]
    fn list_of(&mut self, slot: Pin<&Slot<Want>>) -> Option<&mut List<Want>> {
        let want = self.woken.value_mut(slot)?;
        let (woken, class) = (want.invited, usize::from(want.class));
        if woken { Some(&mut self.woken) } else { self.classes.get_mut(class) }
    }

    /// What a linked slot wants.
    #[inline]
    pub(super) fn wanted(&mut self, slot: Pin<&Slot<Want>>) -> Option<Want> {
        // Any list of this lock may read a linked slot.
        self.woken.value_mut(slot).copied()
    }

    #[inline]
    pub(super) fn unlink(&mut self, slot: Pin<&Slot<Want>>) -> Option<(Want, Option<Waker>)> {
        let unlinked = self.list_of(slot)?.unlink(slot);
        if let Some((want, _)) = &unlinked {
            self.len -= 1;
            self.claimed -= if want.invited { u64::from(want.permits) } else { 0 };
        }
        unlinked
    }

    #[inline]
    pub(super) fn set_waker(&mut self, slot: Pin<&Slot<Want>>, waker: &mut Option<Waker>) -> Option<Waker> {
        self.list_of(slot)?.set_waker(slot, waker)
    }

    /// What wants more than this is refused.
    #[inline]
    pub(super) fn most(&self) -> u32 {
        if self.capacity == 0 && self.waits_at_zero { u32::MAX } else { self.capacity }
    }

    /// Requests for the whole capacity want what it is now. Of none they want one, which there is not: a request for nothing
    /// would be granted.
    pub(super) fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity;
        for list in self.classes.iter_mut().chain([&mut self.woken]) {
            list.for_each(|want| {
                if want.all {
                    want.permits = capacity.max(1);
                }
            });
        }
        let mut claimed = 0;
        self.woken.for_each(|want| claimed += u64::from(want.permits));
        self.claimed = claimed;
    }

    /// The first `most` of each list, those who were woken before those who were not.
    #[cfg(feature = "telemetry")]
    pub(super) fn first_waiters(&mut self, most: usize, out: &mut Vec<Want>) {
        for list in [&mut self.woken].into_iter().chain(&mut self.classes) {
            list.first(most, |want| out.push(*want));
        }
    }

    /// Ends the waits of which `ends` says how. False if the batch is full; and how many of them had been woken.
    pub(super) fn settle(
        &mut self,
        wakes: &mut Wakes,
        ends: impl Fn(&Want) -> Option<Outcome>,
    ) -> (bool, u64) {
        let capacity = u64::from(self.capacity);
        let (mut ended, mut invited, mut claimed) = (0, 0, 0);
        let mut end = |want: &mut Want| {
            let outcome = ends(want)?;
            if outcome == Outcome::Impossible {
                want.key = capacity;
            }
            ended += 1;
            if want.invited {
                invited += 1;
                claimed += u64::from(want.permits);
            }
            Some(outcome)
        };
        let mut lists = self.classes.iter_mut().chain([&mut self.woken]);
        let done = lists.all(|list| list.settle(wakes, &mut end));
        self.len -= ended;
        self.claimed -= claimed;
        (done, invited)
    }
}
