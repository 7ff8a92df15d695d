//! Free blocks of memory, at hand of each thread.
//!
//! In the manner of Bonwick and Adams, "Magazines and Vmem" (USENIX 2001). Each thread has two magazines of blocks for each
//! size, and takes from them and gives to them without looking at anybody else. Only when both are empty, or both are full,
//! is one exchanged as a whole with the depot, which all threads share and which is behind a lock: once in [`ROUNDS`]
//! operations at most, however blocks wander from thread to thread.
//!
//! | blocks are kept | at most |
//! |---|---|
//! | by a thread, of each size | two magazines; full ones go to the depot when the thread ends, others are freed |
//! | by the depot, of each size | [`DEPOT`] magazines; what is more goes back to the allocator |

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle, cofferdam_unrecycled)))]
pub(super) use recycled::{give, take};
#[cfg(any(cofferdam_loom, cofferdam_shuttle, cofferdam_unrecycled))]
pub(super) use unused::{give, take};

/// Whether blocks are recycled at all.
pub(super) const RECYCLED: bool = cfg!(not(any(cofferdam_loom, cofferdam_shuttle, cofferdam_unrecycled)));

/// Blocks of a full magazine.
#[allow(dead_code, reason = "not recycled under the checkers")]
const ROUNDS: u32 = 32;

/// Magazines of one size in the depot.
#[allow(dead_code, reason = "not recycled under the checkers")]
const DEPOT: usize = 128;

#[cfg(any(cofferdam_loom, cofferdam_shuttle, cofferdam_unrecycled))]
mod unused {
    use std::ptr::NonNull;

    pub(crate) fn take(_: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    /// # Safety
    /// None: it does nothing.
    pub(crate) unsafe fn give(_: usize, _: NonNull<u8>) {}
}

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle, cofferdam_unrecycled)))]
mod recycled {
    use super::super::stock::{LINE, SIZES};
    use super::{DEPOT, ROUNDS};
    use crate::shim::Mutex;
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
    use std::cell::Cell;
    use std::ptr::{NonNull, null_mut};

    /// The first word of a block that is free: the block below it in its magazine.
    type Below = *mut u8;

    /// A stack of free blocks of one size.
    struct Magazine {
        top: Cell<*mut u8>,
        count: Cell<u32>,
    }

    // SAFETY: the blocks are the magazine's alone, and memory belongs to no thread.
    unsafe impl Send for Magazine {}

    impl Magazine {
        const fn new() -> Self {
            Self { top: Cell::new(null_mut()), count: Cell::new(0) }
        }

        #[inline(always)]
        fn pop(&self) -> Option<NonNull<u8>> {
            let top = NonNull::new(self.top.get())?;
            // SAFETY: the block is free, so that its first word is what `push` has written there.
            self.top.set(unsafe { top.cast::<Below>().read() });
            self.count.set(self.count.get() - 1);
            Some(top)
        }

        /// # Safety
        /// The block is of this magazine's size, and nobody uses it.
        #[inline(always)]
        unsafe fn push(&self, block: NonNull<u8>) {
            // SAFETY: by the caller; every size has room for a word, at its start.
            unsafe { block.cast::<Below>().write(self.top.get()) };
            self.top.set(block.as_ptr());
            self.count.set(self.count.get() + 1);
        }

        /// What is in it; nothing is left.
        fn unload(&self) -> Self {
            Self { top: Cell::new(self.top.replace(null_mut())), count: Cell::new(self.count.replace(0)) }
        }

        fn load(&self, other: &Self) {
            self.top.set(other.top.replace(null_mut()));
            self.count.set(other.count.replace(0));
        }

        /// Gives every block back to the allocator.
        fn free(&self, class: usize) {
            while let Some(block) = self.pop() {
                // SAFETY: `take` has made all blocks of a class with its layout.
                unsafe { dealloc(block.as_ptr(), layout(class)) };
            }
        }
    }

    fn layout(class: usize) -> Layout {
        const LAYOUTS: [Layout; SIZES.len()] = {
            let mut layouts = [Layout::new::<()>(); SIZES.len()];
            let mut class = 0;
            while class < SIZES.len() {
                layouts[class] = match Layout::from_size_align(SIZES[class], LINE) {
                    Ok(layout) => layout,
                    Err(_) => Layout::new::<()>(),
                };
                assert!(layouts[class].size() == SIZES[class]);
                class += 1;
            }
            layouts
        };
        LAYOUTS[class]
    }

    /// A thread's magazines of one size: the one it works with, and one that is empty or full.
    struct Shelf {
        hand: Magazine,
        spare: Magazine,
    }

    struct Shelves([Shelf; SIZES.len()]);

    thread_local! {
        static SHELVES: Shelves = const {
            Shelves([const { Shelf { hand: Magazine::new(), spare: Magazine::new() } }; SIZES.len()])
        };
    }

    impl Drop for Shelves {
        fn drop(&mut self) {
            for (class, shelf) in self.0.iter().enumerate() {
                deposit(class, &shelf.spare);
                deposit(class, &shelf.hand);
            }
        }
    }

    /// Full magazines that no thread has.
    static DEPOTS: [Mutex<Vec<Magazine>>; SIZES.len()] = [const { Mutex::new(Vec::new()) }; SIZES.len()];

    /// Memory of the class, with nothing in it.
    #[inline(always)]
    pub(crate) fn take(class: usize) -> NonNull<u8> {
        // A thread that is ending has no shelves any more.
        let block = SHELVES.try_with(|shelves| shelves.0[class].hand.pop());
        block.ok().flatten().unwrap_or_else(|| take_slowly(class))
    }

    #[cold]
    #[inline(never)]
    fn take_slowly(class: usize) -> NonNull<u8> {
        let block = SHELVES.try_with(|shelves| {
            let Shelf { hand, spare } = &shelves.0[class];
            if spare.count.get() > 0 {
                hand.load(spare);
            } else if let Some(magazine) = DEPOTS[class].lock().pop() {
                hand.load(&magazine);
            }
            hand.pop()
        });
        if let Ok(Some(block)) = block {
            return block;
        }
        let layout = layout(class);
        // SAFETY: the layout is not of size zero.
        NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// Keeps memory of the class for later.
    ///
    /// # Safety
    /// It is of [`take`], with this class, and nobody uses it.
    #[inline(always)]
    pub(crate) unsafe fn give(class: usize, block: NonNull<u8>) {
        let kept = SHELVES.try_with(|shelves| {
            let hand = &shelves.0[class].hand;
            if hand.count.get() == ROUNDS {
                make_room(class, &shelves.0[class]);
            }
            // SAFETY: by the caller.
            unsafe { hand.push(block) };
        });
        if kept.is_err() {
            // SAFETY: by the caller; `take` has made it so.
            unsafe { dealloc(block.as_ptr(), layout(class)) };
        }
    }

    #[cold]
    #[inline(never)]
    fn make_room(class: usize, Shelf { hand, spare }: &Shelf) {
        if spare.count.get() > 0 {
            deposit(class, spare);
        }
        spare.load(hand);
    }

    /// Full magazines go to the depot, if it has room; the blocks of others are freed.
    fn deposit(class: usize, magazine: &Magazine) {
        if magazine.count.get() == ROUNDS {
            let mut depot = DEPOTS[class].lock();
            if depot.len() < DEPOT {
                depot.push(magazine.unload());
            }
        }
        magazine.free(class);
    }
}
