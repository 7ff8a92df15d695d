//! A bounded queue for many producers and many consumers, without locks.
//!
//! Dmitry Vyukov's bounded MPMC queue, in the form that works for every capacity: each cell carries a stamp that says
//! whose turn it is, head and tail are claimed by compare-and-swap.
//!
//! # Positions
//!
//! Head, tail and stamps are positions:
//!
//! | bits | meaning |
//! |---|---|
//! | `0 .. k` | index of the cell, below the capacity; `2^k` is the power of two above the capacity |
//! | `k` | closed; in the tail only |
//! | `k + 1 ..` | lap |
//!
//! # Stamps
//!
//! | stamp of the cell at position `p` | meaning | who moves it on |
//! |---|---|---|
//! | `p` | free for the push at `p` | that push, after it has claimed `p` in the tail |
//! | `p + 1` | holds the value pushed at `p` | the pop at `p`, after it has claimed `p` in the head; or a displacing push |
//! | `p + lap` | free for the push one lap later | |
//!
//! # Full, empty, busy
//!
//! Between claiming a position and stamping its cell an operation holds the cell. The cell of the next push may so be
//! held by a pop that has already left the head, which looks full and is not; likewise empty. The queue is *full* only
//! if head and tail say so, too; else it is busy, and the operation waits for the few instructions that are missing.
//! A failure therefore means that at one moment during the call the queue was really full, or empty.
//!
//! # Sleepers
//!
//! Claims are `SeqCst` read-modify-writes, and "full" and "empty" are judged by `SeqCst` loads of head and tail. Whoever
//! announces himself as a sleeper by a `SeqCst` read-modify-write, and *then* finds the queue empty, is seen by a
//! `SeqCst` load after every later push; so for full and pop. No fence is needed on either side.

use crate::shim::{AtomicUsize, Ordering, Spin, UnsafeCell, load_seq_cst, spin_loop};
use crossbeam_utils::CachePadded;
use std::alloc::{Layout, alloc, dealloc};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::num::NonZeroUsize;
use std::ptr::NonNull;

/// Capacities beyond this would leave too few bits to count laps.
const MAX_CAPACITY: usize = usize::MAX >> 10;

const LINE: usize = 64;

/// Why a push failed. Gives the value back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError<T> {
    Full(T),
    Closed(T),
}

impl<T> PushError<T> {
    /// Without the value.
    pub(crate) fn bare(self) -> PushError<()> {
        match self {
            Self::Full(_) => PushError::Full(()),
            Self::Closed(_) => PushError::Closed(()),
        }
    }
}

/// Why a pop failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PopError {
    Empty,
    /// Closed, and empty for ever.
    Closed,
}

/// The ring. The positions that operations return never decrease (up to wrapping) in the order of the operations.
pub(crate) struct Ring<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    cells: Cells<T>,
    /// The closed bit of the tail.
    closed: usize,
    /// What one lap adds to a position.
    lap: usize,
}

struct Cell<T> {
    stamp: AtomicUsize,
    /// Initialised while the stamp is one more than a position of this cell.
    value: UnsafeCell<MaybeUninit<T>>,
}

/// The cells. One whose size is in whole lines of the cache begins at the beginning of a line.
struct Cells<T> {
    first: NonNull<Cell<T>>,
    len: usize,
}

impl<T> Cells<T> {
    fn layout(len: usize) -> Option<Layout> {
        let layout = Layout::array::<Cell<T>>(len).ok()?;
        if size_of::<Cell<T>>() % LINE == 0 { layout.align_to(LINE).ok() } else { Some(layout) }
    }

    /// `len` cells, which is not 0, each ready for the push in lap 0.
    fn new(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        // SAFETY: a cell has a stamp, so the layout is not of size zero.
        let first = NonNull::new(unsafe { alloc(layout) })?.cast::<Cell<T>>();
        for index in 0..len {
            let cell = Cell { stamp: AtomicUsize::new(index), value: UnsafeCell::new(MaybeUninit::uninit()) };
            // SAFETY: there is room for `len` of them, at their alignment.
            unsafe { first.add(index).write(cell) };
        }
        Some(Self { first, len })
    }

    /// # Safety
    /// `index` is below `len`.
    #[inline(always)]
    unsafe fn at(&self, index: usize) -> &Cell<T> {
        // SAFETY: by the caller; alive as long as we are.
        unsafe { self.first.add(index).as_ref() }
    }
}

impl<T> Drop for Cells<T> {
    fn drop(&mut self) {
        for index in 0..self.len {
            // SAFETY: nobody uses it any more. (A checker's atomics have something to drop.)
            unsafe { self.first.add(index).drop_in_place() };
        }
        if let Some(layout) = Self::layout(self.len) {
            // SAFETY: it was allocated with this layout.
            unsafe { dealloc(self.first.as_ptr().cast(), layout) };
        }
    }
}

// SAFETY: values move through the ring from thread to thread, hence `T: Send`; a cell is touched only by the one
// operation that holds it.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above; the ring never hands out a `&T`.
unsafe impl<T: Send> Sync for Ring<T> {}

/// A value that was popped and is still in its cell, from where it is to be carried on: by [`into_inner`](Self::into_inner), or
/// with less copying by who knows of what the value consists.
pub(crate) struct Popped<'a, T>(&'a mut MaybeUninit<T>);

impl<T> Popped<'_, T> {
    #[inline(always)]
    pub(crate) fn into_inner(self) -> T {
        // SAFETY: the stamp of the cell has said that there is a value; it is not dropped here any more.
        unsafe { ManuallyDrop::new(self).0.assume_init_read() }
    }

    /// Where the value is: the caller's, to be moved out of there.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> *const T {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl<T> Drop for Popped<'_, T> {
    fn drop(&mut self) {
        // SAFETY: the stamp of the cell has said that there is a value, and it was not moved out.
        unsafe { self.0.assume_init_drop() };
    }
}

impl<T> Cell<T> {
    /// Ends the push at `position`, whose claim has made the cell ours.
    #[inline]
    fn fill(&self, value: impl FnOnce() -> T, position: usize) {
        // SAFETY: the claim makes the cell ours until we stamp it, and it holds no value.
        self.value.with_mut(|cell| unsafe { (*cell).write(value()) });
        // ORDERING: Release pairs with the Acquire of every pop.
        self.stamp.store(position.wrapping_add(1), Ordering::Release);
    }

    /// Ends the pop at `position`, whose claim has made the value ours.
    #[inline(always)]
    fn empty<R>(&self, take: impl FnOnce(Popped<'_, T>) -> R, position: usize, lap: usize) -> R {
        // SAFETY: the claim makes the cell ours until we stamp it.
        let value = self.value.with_mut(|cell| take(Popped(unsafe { &mut *cell })));
        // ORDERING: Release pairs with the Acquire of every push.
        self.stamp.store(position.wrapping_add(lap), Ordering::Release);
        value
    }
}

impl<T> Ring<T> {
    /// A ring of `capacity` cells, unless the memory for it cannot be had.
    pub(crate) fn new(capacity: NonZeroUsize) -> Result<Self, ()> {
        let capacity = capacity.get();
        if capacity > MAX_CAPACITY {
            return Err(());
        }
        let cells = Cells::new(capacity).ok_or(())?;
        let closed = (capacity + 1).next_power_of_two();
        Ok(Self {
            head: CachePadded::new(AtomicUsize::new(0)),
            tail: CachePadded::new(AtomicUsize::new(0)),
            cells,
            closed,
            lap: closed * 2,
        })
    }

    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.cells.len
    }

    /// Adds a value at the end; says at which position.
    #[inline]
    pub(crate) fn push(&self, value: T) -> Result<usize, PushError<T>> {
        self.push_with(|| value).map_err(|refused| match refused {
            PushError::Full(value) => PushError::Full(value()),
            PushError::Closed(value) => PushError::Closed(value()),
        })
    }

    /// As [`push`](Self::push), of a value that is made in its cell: `value` is called if, and only if, it succeeds. It
    /// must not panic, nor take its time: others wait for the cell.
    #[inline(always)]
    pub(crate) fn push_with<F: FnOnce() -> T>(&self, value: F) -> Result<usize, PushError<F>> {
        // Relaxed: a stale tail fails the comparison below or does not fit the stamp.
        let tail = self.tail.load(Ordering::Relaxed);
        // The way it mostly goes is kept small, for the sake of the callers into which it is inlined; and the value is made in
        // one place, so that it is made in its cell and not moved there.
        let claim = match self.claim_push(tail) {
            Ok(Some(cell)) => Ok((cell, tail)),
            _ => self.claim_push_contended(),
        };
        match claim {
            Ok((cell, position)) => {
                cell.fill(value, position);
                Ok(position)
            }
            Err(PushError::Full(())) => Err(PushError::Full(value)),
            Err(PushError::Closed(())) => Err(PushError::Closed(value)),
        }
    }

    /// The cell of the next push, which is the caller's until stamped, and its position.
    #[inline(never)]
    fn claim_push_contended(&self) -> Result<(&Cell<T>, usize), PushError<()>> {
        let mut spin = Spin::new();
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            match self.claim_push(tail) {
                Ok(Some(cell)) => return Ok((cell, tail)),
                Ok(None) => spin.lost(),
                Err(_) if tail & self.closed != 0 => return Err(PushError::Closed(())),
                Err(stamp) => {
                    // Does the cell still hold the value of the lap before?
                    if stamp.wrapping_add(self.lap) == tail.wrapping_add(1) {
                        // ORDERING: see "Sleepers"; pairs with the claim of a pop.
                        let head = load_seq_cst(&self.head);
                        if head.wrapping_add(self.lap) == tail {
                            return Err(PushError::Full(()));
                        }
                    }
                    if self.tail.load(Ordering::Relaxed) == tail {
                        // Busy. Otherwise our tail was old.
                        spin.blocked();
                    }
                }
            }
            tail = self.tail.load(Ordering::Relaxed);
        }
    }

    /// Adds up to `count` values at the end in one claim: as many as there is room for now, and at least one. Says how many,
    /// and from which position on. `value` makes them, one for each call, in their cells; it must not panic, nor take its
    /// time.
    pub(crate) fn push_many(
        &self,
        count: NonZeroUsize,
        mut value: impl FnMut() -> T,
    ) -> Result<(usize, usize), PushError<()>> {
        let (count, first) = self.claim_pushes(count)?;
        for nth in 0..count {
            let position = self.after(first, nth);
            self.cell(position).fill(&mut value, position);
        }
        Ok((count, first))
    }

    /// The cells of the next pushes, up to `count` of them, which are the caller's until stamped: how many, and the position of
    /// the first.
    #[inline(never)]
    fn claim_pushes(&self, count: NonZeroUsize) -> Result<(usize, usize), PushError<()>> {
        let limit = count.get().min(self.capacity());
        let mut spin = Spin::new();
        // Relaxed: as in `push`.
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let mut free = 0;
            // ORDERING: Acquire as in `push`. No stamp fits a closed tail.
            while free < limit && {
                let position = self.after(tail, free);
                self.cell(position).stamp.load(Ordering::Acquire) == position
            } {
                free += 1;
            }
            if free < 2 {
                // Waiting and failing is all in there.
                return self.claim_push_contended().map(|(_, position)| (1, position));
            }
            // ORDERING: SeqCst, see "Sleepers". If the tail has not moved since the stamps were read, nobody has claimed those
            // cells.
            let claim = self.tail.compare_exchange_weak(
                tail,
                self.after(tail, free),
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            match claim {
                Ok(_) => return Ok((free, tail)),
                Err(now) => tail = now,
            }
            spin.lost();
        }
    }

    /// Claims position `tail` for a push: its cell is then the caller's until stamped. `None` if another one was faster;
    /// the stamp of the cell if it is not free for this position (nor ever can be, if the position is closed).
    #[inline]
    fn claim_push(&self, tail: usize) -> Result<Option<&Cell<T>>, usize> {
        let cell = self.cell(tail);
        // ORDERING: Acquire pairs with the Release of the pop that freed the cell: its read of the old value comes before
        // our write.
        let stamp = cell.stamp.load(Ordering::Acquire);
        // The closed bit is in no stamp, so a closed tail fits none.
        if stamp != tail {
            return Err(stamp);
        }
        // ORDERING: SeqCst, see "Sleepers". (The value is published by the stamp.)
        let claim =
            self.tail.compare_exchange_weak(tail, self.after(tail, 1), Ordering::SeqCst, Ordering::Relaxed);
        Ok(claim.is_ok().then_some(cell))
    }

    /// Takes the oldest value; says from which position.
    #[inline]
    pub(crate) fn pop(&self) -> Result<(T, usize), PopError> {
        self.pop_with(|popped| popped.into_inner())
    }

    /// As [`pop`](Self::pop), of a value that `take` carries from its cell to where it belongs. It must not panic, nor
    /// take its time: others wait for the cell.
    #[inline(always)]
    pub(crate) fn pop_with<R>(&self, take: impl FnOnce(Popped<'_, T>) -> R) -> Result<(R, usize), PopError> {
        // Relaxed: as the tail in `push`.
        let head = self.head.load(Ordering::Relaxed);
        match self.claim_pop(head) {
            Ok(Some(cell)) => Ok((cell.empty(take, head, self.lap), head)),
            _ => self.pop_contended(take),
        }
    }

    #[inline(never)]
    fn pop_contended<R>(&self, take: impl FnOnce(Popped<'_, T>) -> R) -> Result<(R, usize), PopError> {
        let mut spin = Spin::new();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            match self.claim_pop(head) {
                Ok(Some(cell)) => return Ok((cell.empty(take, head, self.lap), head)),
                Ok(None) => spin.lost(),
                Err(stamp) => {
                    if stamp == head {
                        // ORDERING: see "Sleepers"; pairs with the claim of a push.
                        let tail = load_seq_cst(&self.tail);
                        if tail & !self.closed == head {
                            return Err(if tail == head { PopError::Empty } else { PopError::Closed });
                        }
                    }
                    if self.head.load(Ordering::Relaxed) == head {
                        // Busy. Otherwise our head was old.
                        spin.blocked();
                    }
                }
            }
            head = self.head.load(Ordering::Relaxed);
        }
    }

    /// Claims position `head` for a pop: the value in its cell is then the caller's. `None` if another one was faster;
    /// the stamp of the cell if it does not hold the value of this position.
    #[inline]
    fn claim_pop(&self, head: usize) -> Result<Option<&Cell<T>>, usize> {
        let cell = self.cell(head);
        // ORDERING: Acquire pairs with the Release of the push: its write of the value comes before our read.
        let stamp = cell.stamp.load(Ordering::Acquire);
        if stamp != head.wrapping_add(1) {
            return Err(stamp);
        }
        // ORDERING: SeqCst, see "Sleepers".
        let claim =
            self.head.compare_exchange_weak(head, self.after(head, 1), Ordering::SeqCst, Ordering::Relaxed);
        Ok(claim.is_ok().then_some(cell))
    }

    /// Takes up to `limit` of the oldest values in one claim, and appends them to `values`, which has room for as many
    /// already. Says how many, and from which position on. It may take fewer than there are, but never none.
    pub(crate) fn pop_many(
        &self,
        values: &mut Vec<T>,
        limit: NonZeroUsize,
    ) -> Result<(usize, usize), PopError> {
        let limit = limit.get().min(self.capacity()).min(values.capacity() - values.len());
        let mut spin = Spin::new();
        // Relaxed: as the tail in `push`.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let mut count = 0;
            // ORDERING: Acquire as in `pop`.
            while count < limit && {
                let position = self.after(head, count);
                self.cell(position).stamp.load(Ordering::Acquire) == position.wrapping_add(1)
            } {
                count += 1;
            }
            if count < 2 {
                // Waiting and failing is all in `pop`.
                let (value, position) = self.pop()?;
                values.push(value);
                return Ok((1, position));
            }
            // ORDERING: SeqCst, see "Sleepers". If the head has not moved since the stamps were read, nobody has taken
            // those values.
            let claim = self.head.compare_exchange_weak(
                head,
                self.after(head, count),
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            match claim {
                Ok(_) => {
                    for nth in 0..count {
                        let position = self.after(head, nth);
                        // The vector has room: it does not grow, and so cannot fail here.
                        values.push(self.cell(position).empty(
                            |popped| popped.into_inner(),
                            position,
                            self.lap,
                        ));
                    }
                    return Ok((count, head));
                }
                Err(now) => head = now,
            }
            spin.lost();
        }
    }

    /// Adds a value at the end, in the place of the oldest one if there is no room. Says at which position, and returns
    /// what it has displaced.
    pub(crate) fn displace(&self, value: T) -> Result<(usize, Option<T>), PushError<T>> {
        let mut value = value;
        let mut spin = Spin::new();
        loop {
            value = match self.push(value) {
                Ok(tail) => return Ok((tail, None)),
                Err(PushError::Full(value)) => value,
                Err(closed) => return Err(closed),
            };
            // Relaxed: only a candidate; the comparison and the stamp decide.
            let head = self.head.load(Ordering::Relaxed);
            let cell = self.cell(head);
            let tail = head.wrapping_add(self.lap);
            // ORDERING: Acquire pairs with the Release of the push of the oldest value; the tail is judged as in `pop`.
            if cell.stamp.load(Ordering::Acquire) == head.wrapping_add(1)
                && load_seq_cst(&self.tail) == tail
                // ORDERING: SeqCst as in `pop`: it is one.
                && self
                    .head
                    .compare_exchange(head, self.after(head, 1), Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
            {
                // The oldest value is ours, and its cell is the one of the next push. No push can claim it while its
                // stamp is a lap behind, so the tail is ours to move; only the closed bit may come into it meanwhile.
                // Added, not stored, because of that bit: a value that came before the end is received.
                // ORDERING: SeqCst as in `push`: it is one.
                self.tail.fetch_add(self.after(tail, 1).wrapping_sub(tail), Ordering::SeqCst);
                // SAFETY: the claim of the head makes the value ours and, as said, the cell.
                let oldest = cell.value.with_mut(|cell| unsafe {
                    let oldest = (*cell).assume_init_read();
                    (*cell).write(value);
                    oldest
                });
                // ORDERING: Release pairs with the Acquire in `pop`.
                cell.stamp.store(tail.wrapping_add(1), Ordering::Release);
                return Ok((tail, Some(oldest)));
            }
            spin.blocked();
        }
    }

    /// Lets no further value in. False if that was so already.
    pub(crate) fn close(&self) -> bool {
        // ORDERING: SeqCst: in one order with the claims of the pushes, so that "closed" says that nothing will follow.
        self.tail.fetch_or(self.closed, Ordering::SeqCst) & self.closed == 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        load_seq_cst(&self.tail) & self.closed != 0
    }

    /// The position of the next pop, if there is a value for it or it will fail for ever; `None` if it must wait.
    #[inline]
    pub(crate) fn poppable(&self) -> Option<usize> {
        // The head first: it cannot have passed a tail that was read later, so "equal" was true at the second load.
        let head = load_seq_cst(&self.head);
        let tail = load_seq_cst(&self.tail);
        (head != tail).then_some(head)
    }

    /// The position of the next push, if there is room for it or it will fail for ever; `None` if it must wait.
    #[inline]
    pub(crate) fn pushable(&self) -> Option<usize> {
        // The tail first: it cannot be more than a lap before a head that was read later.
        let tail = load_seq_cst(&self.tail);
        let head = load_seq_cst(&self.head);
        (head.wrapping_add(self.lap) != tail).then_some(tail)
    }

    /// How many values it holds at some moment during the call.
    pub(crate) fn len(&self) -> usize {
        loop {
            let tail = load_seq_cst(&self.tail);
            let head = load_seq_cst(&self.head);
            // Unchanged, so both were true at once.
            if load_seq_cst(&self.tail) == tail {
                let tail = tail & !self.closed;
                let (from, to) = (self.index(head), self.index(tail));
                return match from.cmp(&to) {
                    std::cmp::Ordering::Less => to - from,
                    std::cmp::Ordering::Greater => self.capacity() - from + to,
                    std::cmp::Ordering::Equal if tail == head => 0,
                    std::cmp::Ordering::Equal => self.capacity(),
                };
            }
            spin_loop();
        }
    }

    /// How many pushes were before the one at `position`, or would be: what numbers the values from 0.
    #[inline]
    pub(crate) fn ordinal(&self, position: usize) -> u64 {
        let laps = position >> self.lap.trailing_zeros();
        laps as u64 * self.capacity() as u64 + self.index(position) as u64
    }

    /// How many values were ever pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.ordinal(load_seq_cst(&self.tail))
    }

    /// How many values were ever popped.
    pub(crate) fn popped(&self) -> u64 {
        self.ordinal(load_seq_cst(&self.head))
    }

    #[inline]
    fn index(&self, position: usize) -> usize {
        position & (self.closed - 1)
    }

    #[inline]
    fn cell(&self, position: usize) -> &Cell<T> {
        // SAFETY: the index of every position that `after` makes is below the capacity; so is that of the first, 0.
        unsafe { self.cells.at(self.index(position)) }
    }

    /// The position `count` cells after `position`; `count` is at most the capacity.
    #[inline]
    fn after(&self, position: usize, count: usize) -> usize {
        let to_wrap = self.capacity() - self.index(position);
        if count < to_wrap {
            position.wrapping_add(count)
        } else {
            (position & !(self.lap - 1)).wrapping_add(self.lap).wrapping_add(count - to_wrap)
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            // Nobody else is here: no value is on its way, so this ends when the last one is gone.
            while let Ok((value, _)) = self.pop() {
                drop(value);
            }
        }
    }
}
