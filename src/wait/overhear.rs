//! Whether what is polled wakes its own task.

use crate::shim::{Ordering, UnmodelledBool};
use std::mem::ManuallyDrop;
use std::ptr::from_ref;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

/// On the stack of the poll: the task's waker, and whether it would have been woken by reference.
struct Ear<'a> {
    waker: &'a Waker,
    has_heard: UnmodelledBool,
}

/// Calls `poll`, and says whether the task was to be woken through that very waker meanwhile: by a future that gives way and is
/// to be polled again. Then the caller polls it again, or [wakes](Waker::wake_by_ref) the task: that has not been done. What is
/// woken through a clone is not heard, and clones are clones of the task's own waker.
#[inline(always)]
pub(crate) fn overhear<R>(cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> R) -> (R, bool) {
    let ear = Ear { waker: cx.waker(), has_heard: UnmodelledBool::new(false) };
    // SAFETY: what may be done with a waker may be done with an ear by any thread: it is `Sync`. No owned waker comes of it that
    // could outlive the ear: this one is lent to `poll` and not dropped, and `clone` makes one of the task's.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(from_ref(&ear).cast(), &EAR)) });
    let polled = poll(&mut Context::from_waker(&waker));
    // Relaxed: by the same thread, or by one that has done with the waker, which was lent until now.
    (polled, ear.has_heard.load(Ordering::Relaxed))
}

/// For who is polled in there, with the waker that it was given: whether its task is to be polled again already. (Of the innermost
/// that overhears; where pools are nested, that may be an outer one's.)
#[inline]
pub(crate) fn is_overheard(waker: &Waker) -> bool {
    if !std::ptr::eq(waker.vtable(), &raw const EAR) {
        return false;
    }
    // SAFETY: the table says that it is an ear, which is there for as long as its waker is lent. Relaxed: see `overhear`.
    unsafe { &*waker.data().cast::<Ear<'_>>() }.has_heard.load(Ordering::Relaxed)
}

static EAR: RawWakerVTable = RawWakerVTable::new(clone, hear, hear, |_| {});

fn clone(ear: *const ()) -> RawWaker {
    // SAFETY: the address is that of an ear, which is there for as long as its waker is lent.
    let ear = unsafe { &*ear.cast::<Ear<'_>>() };
    let waker = ManuallyDrop::new(ear.waker.clone());
    RawWaker::new(waker.data(), waker.vtable())
}

fn hear(ear: *const ()) {
    // SAFETY: as in `clone`. Relaxed: see `overhear`.
    unsafe { &*ear.cast::<Ear<'_>>() }.has_heard.store(true, Ordering::Relaxed);
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use crate::shim::AtomicUsize;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_by_reference_is_heard_and_left_to_the_caller() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = &mut Context::from_waker(&task);
        assert_eq!(overhear(cx, |_| 7), (7, false));
        let (known, is_heard) = overhear(cx, |cx| {
            let before = is_overheard(cx.waker());
            cx.waker().wake_by_ref();
            (before, is_overheard(cx.waker()))
        });
        assert_eq!((known, is_heard), ((false, true), true));
        assert!(!is_overheard(&task));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn clones_are_the_tasks_own_and_outlive_the_poll() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = &mut Context::from_waker(&task);
        let (clone, is_heard) = overhear(cx, |cx| {
            let clone = cx.waker().clone();
            clone.wake_by_ref();
            clone
        });
        assert!(!is_heard, "a clone is not overheard");
        assert!(clone.will_wake(&task));
        clone.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        drop(task);
        assert_eq!(Arc::strong_count(&count), 1, "no clone is leaked");
    }

    #[test]
    fn it_may_be_woken_by_another_thread_while_it_is_lent() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = &mut Context::from_waker(&task);
        let ((), is_heard) = overhear(cx, |cx| {
            let waker = cx.waker();
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake_by_ref());
            });
        });
        assert!(is_heard);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
