//! The current context of a thread: set around each poll, restored after it.

use super::{Context, ContextError};
use crate::shim::thread_local_const;
use crate::time::Deadline;
use std::cell::{Cell, RefCell};
use std::time::Instant;

/// No context is current.
const NONE: u8 = 0;
/// One is current that can neither be cancelled nor expire.
const ENDLESS: u8 = 1;
/// One is current that can end.
const CAN_END: u8 = 2;

thread_local_const! {
    /// What is in `CURRENT`, in a cell that needs no destructor: a load and a branch for those who only ask whether there
    /// is anything to heed.
    static STATE: Cell<u8> = Cell::new(NONE);
    static CURRENT: RefCell<Context> = RefCell::new(Context::background());
}

/// Swaps `context` with the current one until the guard is dropped. On a thread whose locals are gone already it does
/// nothing.
pub(super) fn enter(context: &mut Context) -> Entered<'_> {
    let state = if context.can_end() { CAN_END } else { ENDLESS };
    let outer = swap(context).then(|| STATE.with(|current| current.replace(state)));
    Entered { context, outer }
}

pub(super) struct Entered<'a> {
    /// Holds the outer context meanwhile.
    context: &'a mut Context,
    /// The outer state; `None` if nothing was swapped.
    outer: Option<u8>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.outer {
            swap(self.context);
            STATE.with(|current| current.set(state));
        }
    }
}

#[inline]
fn state() -> u8 {
    STATE.with(Cell::get)
}

fn swap(context: &mut Context) -> bool {
    // The borrow is never held across foreign code, so it is always free.
    CURRENT
        .try_with(|current| {
            current.try_borrow_mut().map(|mut current| std::mem::swap(&mut *current, context))
        })
        .is_ok_and(|swapped| swapped.is_ok())
}

pub(super) fn current() -> Context {
    if state() == NONE {
        return Context::background();
    }
    with(Context::clone).unwrap_or_default()
}

/// The current context to take along, if there is one. As cheap as [`check`].
#[allow(dead_code, reason = "asked by the rooms behind features")]
#[inline]
pub(crate) fn capture() -> Option<Context> {
    if is_any() { with(Context::clone) } else { None }
}

/// Whether there is a current context: one thread-local load and a branch.
#[inline]
pub(crate) fn is_any() -> bool {
    state() != NONE
}

/// Reads the current context. `read` must not call foreign code.
fn with<R>(read: impl FnOnce(&Context) -> R) -> Option<R> {
    CURRENT.try_with(|current| current.try_borrow().ok().map(|current| read(&current))).ok().flatten()
}

/// Whether there is a current context that can be cancelled or expire: one thread-local load and a branch.
#[inline]
pub(crate) fn can_end() -> bool {
    state() == CAN_END
}

/// Whether the current context lets work go on at `now`, which is asked for only where there is a deadline. One
/// thread-local load and a branch where there is nothing to heed.
#[inline]
pub(crate) fn check(now: impl FnOnce() -> Instant) -> Result<(), ContextError> {
    if !can_end() { Ok(()) } else { check_current(now) }
}

#[cold]
fn check_current(now: impl FnOnce() -> Instant) -> Result<(), ContextError> {
    // The clock may be the user's: it is read outside the borrow.
    let Some((cause, deadline)) = with(|current| (current.cause(), current.deadline)) else { return Ok(()) };
    match cause {
        Some(cause) => Err(ContextError::Cancelled { cause }),
        None if deadline != Deadline::NEVER && deadline.has_passed(now()) => {
            Err(ContextError::DeadlineExceeded)
        }
        None => Ok(()),
    }
}

/// The current context's deadline. As cheap as [`check`].
#[allow(dead_code, reason = "asked by the rooms behind features")]
#[inline]
pub(crate) fn deadline() -> Deadline {
    if !can_end() { Deadline::NEVER } else { with(Context::deadline).unwrap_or_default() }
}
