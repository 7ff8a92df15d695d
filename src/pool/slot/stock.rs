//! Memory for cells and large futures, recycled.
//!
//! A cell lives as long as a task, and is often made by one thread and freed by another: what allocators are slowest at. So
//! the blocks of ended tasks are kept for the next ones; [magazine](super::magazine) says how, and how many.
//!
//! Sizes are 64, 128, 256 and 384 bytes (what a future of 256 bytes needs with its cell), all aligned to a line of the
//! cache, so that no two tasks share one. What is larger comes from the allocator. Under the checkers, and with
//! `--cfg cofferdam_unrecycled`, everything does, so that they see each use of memory that was freed.

use super::magazine;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

pub(super) const LINE: usize = 64;
pub(super) const SIZES: [usize; 4] = [LINE, 2 * LINE, 4 * LINE, 6 * LINE];

/// The number of the smallest size into which a `T` fits, if there is one.
const fn class<T>() -> Option<usize> {
    let mut class = 0;
    while magazine::RECYCLED && align_of::<T>() <= LINE && class < SIZES.len() {
        if size_of::<T>() <= SIZES[class] {
            return Some(class);
        }
        class += 1;
    }
    None
}

/// Memory for a value of its own, which is still to be written.
#[inline(always)]
pub(super) fn room<T>() -> NonNull<T> {
    match const { class::<T>() } {
        None => NonNull::from(Box::leak(Box::<T>::new_uninit())).cast(),
        // A block of its class has room for a `T`, is aligned for it, and is nobody else's.
        Some(class) => magazine::take(class).cast(),
    }
}

/// Puts a value into memory of its own.
#[inline(always)]
pub(super) fn place<T>(value: T) -> NonNull<T> {
    let memory = room();
    // SAFETY: there is room for it.
    unsafe { memory.write(value) };
    memory
}

/// Takes back the memory of a value, which is not dropped.
///
/// # Safety
/// It is of [`room`], with the same type, and not used any more.
#[inline(always)]
pub(super) unsafe fn vacate<T>(memory: NonNull<T>) {
    match const { class::<T>() } {
        // SAFETY: it was a box's, which has the same layout whether or not its value is dropped with it.
        None => drop(unsafe { Box::from_raw(memory.cast::<ManuallyDrop<T>>().as_ptr()) }),
        // SAFETY: by the caller; `room` has taken it from this class.
        Some(class) => unsafe { magazine::give(class, memory.cast()) },
    }
}

/// A value in memory of its own, with which the memory goes, also if the value panics when it is dropped.
pub(super) struct Placed<T>(NonNull<T>);

impl<T> Placed<T> {
    /// # Safety
    /// The memory is of [`place`], with the same type, and is the caller's with what is in it.
    #[inline(always)]
    pub(super) unsafe fn from_raw(memory: NonNull<T>) -> Self {
        Self(memory)
    }

    #[inline(always)]
    pub(super) fn into_inner(self) -> T {
        let memory = ManuallyDrop::new(self).0;
        // SAFETY: ours, by `from_raw`; nothing is used after it was moved out.
        unsafe {
            let value = memory.read();
            vacate(memory);
            value
        }
    }
}

impl<T> Drop for Placed<T> {
    #[inline(always)]
    fn drop(&mut self) {
        let _memory = Memory(self.0);
        // SAFETY: ours, by `from_raw`, and dropped once.
        unsafe { self.0.drop_in_place() };
    }
}

/// Memory whose value is gone, or goes before it.
pub(super) struct Memory<T>(pub(super) NonNull<T>);

impl<T> Drop for Memory<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: who makes one gives the memory away with it.
        unsafe { vacate(self.0) };
    }
}
