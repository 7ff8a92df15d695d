//! What the tests have in common: the runtimes of the matrix, and an allocator that counts.

use cofferdam::task::Spawn;
use cofferdam::testkit::Sim;
use cofferdam::time::Clock;
use futures_util::FutureExt;
use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;

/// What a test body gets of the runtime that it runs on.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) kind: Kind,
    pub(crate) spawner: Arc<dyn Spawn>,
    /// The runtime's own time: virtual in the simulator, real elsewhere. Real timers only for a few milliseconds, and
    /// only to show that timers work.
    pub(crate) clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TokioCurrentThread,
    TokioMultiThread,
    Smol,
    AsyncExecutorOnTwoThreads,
    AsyncStd,
    BlockOn,
    Sim,
}

impl Kind {
    /// Runs a body on this runtime to its end; in the simulator, once for each of many seeds.
    pub(crate) fn run<F: Future<Output = ()>>(self, body: impl Fn(Runtime) -> F) {
        let system = |spawner| Runtime { kind: self, spawner, clock: Clock::system() };
        match self {
            Self::TokioCurrentThread => {
                Self::run_on_tokio(self, &mut tokio::runtime::Builder::new_current_thread(), body);
            }
            Self::TokioMultiThread => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                Self::run_on_tokio(self, builder.worker_threads(2), body);
            }
            Self::Smol => {
                let runtime = system(Arc::new(|task| smol::spawn(task).detach()));
                smol::block_on(within_a_minute(&runtime, body(runtime.clone())));
            }
            Self::AsyncExecutorOnTwoThreads => {
                let executor = Arc::new(async_executor::Executor::new());
                let (stop, stopped) = smol::channel::bounded::<()>(1);
                let helper = std::thread::spawn({
                    let executor = Arc::clone(&executor);
                    move || drop(futures_executor::block_on(executor.run(stopped.recv())))
                });
                let spawner = Arc::clone(&executor);
                let runtime = system(Arc::new(move |task| spawner.spawn(task).detach()));
                futures_executor::block_on(executor.run(within_a_minute(&runtime, body(runtime.clone()))));
                drop(stop);
                helper.join().expect("the second thread of the executor");
            }
            Self::AsyncStd => {
                let runtime = system(Arc::new(|task| drop(async_std::task::spawn(task))));
                async_std::task::block_on(within_a_minute(&runtime, body(runtime.clone())));
            }
            Self::BlockOn => {
                // No executor at all: a thread for each task.
                let runtime = system(Arc::new(|task| {
                    drop(std::thread::spawn(move || futures_executor::block_on(task)));
                }));
                futures_executor::block_on(within_a_minute(&runtime, body(runtime.clone())));
            }
            Self::Sim => Sim::for_seeds(0..100, |sim| {
                sim.run(body(Runtime { kind: self, spawner: Arc::new(sim.clone()), clock: sim.clock() }));
            }),
        }
    }

    fn run_on_tokio<F: Future<Output = ()>>(
        self,
        builder: &mut tokio::runtime::Builder,
        body: impl Fn(Runtime) -> F,
    ) {
        let tokio = builder.enable_time().build().expect("a tokio runtime");
        let handle = tokio.handle().clone();
        let _context = tokio.enter();
        let clock = Clock::tokio().expect("inside the runtime");
        let spawner = Arc::new(move |task| drop(handle.spawn(task)));
        let runtime = Runtime { kind: self, spawner, clock };
        tokio.block_on(within_a_minute(&runtime, body(runtime.clone())));
    }
}

/// A lost wake-up fails the test instead of hanging it. By a thread of its own, not by the timers under test.
async fn within_a_minute<F: Future<Output = ()>>(runtime: &Runtime, body: F) {
    struct Watch {
        over: bool,
        waker: Option<Waker>,
    }
    let watch = Arc::new(Mutex::new(Watch { over: false, waker: None }));
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    std::thread::spawn({
        let watch = Arc::clone(&watch);
        move || {
            if is_done.recv_timeout(Duration::from_secs(60))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let mut watch = watch.lock().expect("not poisoned");
                watch.over = true;
                let waker = watch.waker.take();
                drop(watch);
                waker.map(Waker::wake).unwrap_or_default();
            }
        }
    });
    let mut body = pin!(body);
    poll_fn(|cx| {
        let mut watch = watch.lock().expect("not poisoned");
        assert!(!watch.over, "no end after a minute on {:?}: a lost wake-up?", runtime.kind);
        watch.waker = Some(cx.waker().clone());
        drop(watch);
        body.as_mut().poll(cx)
    })
    .await;
    drop(done);
}

impl Runtime {
    /// Spawns, and gives back the output; a panic of the task goes on where the output is awaited.
    pub(crate) fn spawn<F>(&self, future: F) -> Spawned<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = Spawned(Arc::default());
        let theirs = Arc::clone(&spawned.0);
        self.spawner.spawn(Box::pin(async move {
            let output = AssertUnwindSafe(future).catch_unwind().await;
            let mut slot = theirs.lock().expect("not poisoned");
            slot.output = Some(output);
            let waker = slot.waker.take();
            drop(slot);
            waker.map(Waker::wake).unwrap_or_default();
        }));
        spawned
    }
}

/// The output of a task that was spawned on any runtime.
pub(crate) struct Spawned<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    output: Option<Result<T, Box<dyn Any + Send>>>,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { output: None, waker: None }
    }
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.0.lock().expect("not poisoned");
        match slot.output.take() {
            Some(Ok(output)) => Poll::Ready(output),
            Some(Err(panic)) => {
                drop(slot);
                resume_unwind(panic)
            }
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Declares a test for each runtime of the matrix from one async function:
///
/// ```ignore
/// on_every_runtime! {
///     async fn a_permit_is_handed_over(runtime: Runtime) { ... }
/// }
/// ```
#[allow(unused_macros, reason = "each binary uses its part")]
macro_rules! on_every_runtime {
    ($($(#[$attribute:meta])* async fn $name:ident($runtime:ident: Runtime) $body:block)+) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn body($runtime: $crate::support::Runtime) $body

            #[test]
            fn on_tokio_current_thread() {
                $crate::support::Kind::TokioCurrentThread.run(body);
            }

            #[test]
            fn on_tokio_multi_thread() {
                $crate::support::Kind::TokioMultiThread.run(body);
            }

            #[test]
            fn on_smol() {
                $crate::support::Kind::Smol.run(body);
            }

            #[test]
            fn on_async_executor_with_two_threads() {
                $crate::support::Kind::AsyncExecutorOnTwoThreads.run(body);
            }

            #[test]
            fn on_async_std() {
                $crate::support::Kind::AsyncStd.run(body);
            }

            #[test]
            fn on_block_on_with_threads() {
                $crate::support::Kind::BlockOn.run(body);
            }

            #[test]
            fn on_sim() {
                $crate::support::Kind::Sim.run(body);
            }
        }
    )+};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use on_every_runtime;

/// The message of the panic that `run` must end with.
pub(crate) fn panic_message(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it should have panicked");
    match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map(|message| (*message).to_owned()).unwrap_or_default(),
    }
}

/// How many allocations (growing ones included) `f` makes on this thread.
///
/// Give `f` a warm start: run it once before, so that what is allocated once for the process or thread is not counted.
pub(crate) fn allocations<R>(f: impl FnOnce() -> R) -> u64 {
    let before = ALLOCATIONS.get();
    let result = f();
    let after = ALLOCATIONS.get();
    drop(result);
    after - before
}

/// What `f` makes, and how many bytes more this thread has allocated and not freed after it than before.
pub(crate) fn kept_bytes<R>(f: impl FnOnce() -> R) -> (R, i64) {
    let before = BYTES.get();
    let result = f();
    (result, BYTES.get() - before)
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    // Const and without a destructor: reading it allocates nothing and works until the thread is gone.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(more: usize, less: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + u64::from(more > 0));
    BYTES.set(BYTES.get() + more as i64 - less as i64);
}

// SAFETY: everything is passed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: by the caller.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: by the caller.
        unsafe { System.realloc(block, layout, size) }
    }
}

thread_local! {
    /// What is current on a thread.
    pub(crate) static HERE: Cell<u32> = const { Cell::new(0) };
}

/// Does `body` with `place` being current.
pub(crate) fn at<R>(place: u32, body: impl FnOnce() -> R) -> R {
    let before = HERE.replace(place);
    let result = body();
    HERE.set(before);
    result
}

/// Carries what is current where work is handed over.
pub(crate) fn carrier() -> impl cofferdam::task::Carrier + Copy {
    || {
        let place = HERE.get();
        move |poll: &mut dyn FnMut()| at(place, poll)
    }
}

pub(crate) type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A waker that acts once when it is cloned, and whose clones panic when they are dropped.
pub(crate) fn hostile(on_clone: Box<dyn FnOnce() + Send>) -> (Waker, Arc<Hook>) {
    fn clone(hook: *const ()) -> RawWaker {
        // SAFETY: `hook` is of an `Arc` that the test keeps for as long as there are wakers.
        let act = unsafe { &*hook.cast::<Hook>() }.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        RawWaker::new(hook, &RawWakerVTable::new(clone, nothing, nothing, |_| panic!("as told")))
    }
    fn nothing(_: *const ()) {}
    let hook = Arc::new(Mutex::new(Some(on_clone)));
    let raw = RawWaker::new(
        Arc::as_ptr(&hook).cast(),
        &const { RawWakerVTable::new(clone, nothing, nothing, nothing) },
    );
    // SAFETY: all functions are safe from any thread, and nothing is owned.
    (unsafe { Waker::from_raw(raw) }, hook)
}
