//! What is seldom there, or large, and kept out of the way.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;

/// An `Option` in a future, of something large that most of its runs never have.
///
/// Dropping an empty one is a look. The glue that the compiler makes for an `Option` is as large as what is in it: too large
/// to be inlined, so that the futures that never waited would pay for a call, and for saving registers in it.
pub(crate) struct Aside<T>(ManuallyDrop<Option<T>>);

impl<T> Aside<T> {
    /// Nothing.
    #[inline(always)]
    pub(crate) const fn none() -> Self {
        Self(ManuallyDrop::new(None))
    }

    /// What is there, to be set or driven.
    #[inline(always)]
    pub(crate) fn project(self: Pin<&mut Self>) -> Pin<&mut Option<T>> {
        // SAFETY: a projection to the only field, which is pinned with the whole: nothing moves it out, `drop` drops it where it
        // is, and it is `Unpin` only if `T` is.
        unsafe { self.map_unchecked_mut(|aside| &mut *aside.0) }
    }
}

impl<T> Deref for Aside<T> {
    type Target = Option<T>;

    #[inline(always)]
    fn deref(&self) -> &Option<T> {
        &self.0
    }
}

impl<T: Unpin> DerefMut for Aside<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Option<T> {
        &mut self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Aside<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Option::fmt(self, f)
    }
}

impl<T> Drop for Aside<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0.is_some() {
            drop_there(&mut self.0);
        }
    }
}

/// What is large, and in something that seldom is what it could be: an error that says much, in one that mostly says little.
///
/// Its drop is a call, and no more than that is inlined where the whole is dropped. The glue of the whole would be too large
/// otherwise, and what has a drop that is not inlined must be in memory for it, even where nobody ever looks at it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Outlined<T>(ManuallyDrop<T>);

impl<T> Outlined<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }

    pub(crate) fn into_inner(self) -> T {
        let mut outlined = ManuallyDrop::new(self);
        // SAFETY: nobody looks at it afterwards: `self` is never dropped, and goes out of scope here.
        unsafe { ManuallyDrop::take(&mut outlined.0) }
    }
}

impl<T> Deref for Outlined<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Outlined<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Outlined<T> {
    #[inline(always)]
    fn drop(&mut self) {
        drop_there(&mut self.0);
    }
}

#[cold]
#[inline(never)]
fn drop_there<T>(there: &mut ManuallyDrop<T>) {
    // SAFETY: called by the two `drop`s alone, once: nobody looks at it afterwards, and it is dropped where it is.
    unsafe { ManuallyDrop::drop(there) }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::rc::Rc;

    #[test]
    fn what_is_there_is_dropped_once_and_in_place() {
        let value = Rc::new(());
        {
            let mut aside = pin!(Aside::none());
            assert!(aside.is_none());
            aside.as_mut().project().set(Some(Rc::clone(&value)));
            assert_eq!(Rc::strong_count(&value), 2);
            aside.as_mut().project().set(None);
            assert_eq!(Rc::strong_count(&value), 1);
            aside.as_mut().project().set(Some(Rc::clone(&value)));
        }
        assert_eq!(Rc::strong_count(&value), 1, "dropped with it");
        drop(Aside::<Rc<()>>::none());
    }

    #[test]
    fn what_is_outlined_is_dropped_once_or_taken_out() {
        let value = Rc::new(());
        let outlined = Outlined::new(Rc::clone(&value));
        assert_eq!(Rc::strong_count(&outlined.clone()), 3);
        assert_eq!(Rc::strong_count(&outlined), 2);
        let taken = outlined.into_inner();
        assert_eq!(Rc::strong_count(&value), 2);
        drop(Outlined::new(taken));
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
