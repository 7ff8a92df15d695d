//! What work takes along when it is handed over: a span of a trace, a context, whatever is current where it is handed over and
//! would not be where it runs.
//!
//! The crate's own [`Context`](crate::sync::Context) goes along by itself. This is for what others keep as "current".

#![forbid(unsafe_code)]

use super::{BoxTask, Spawn};
use crate::panics::contain;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Looks, where work is handed over, at what is current there, so that it can go along.
///
/// Pools take one by `PoolBuilder::carry`, executors by [`Carrying`]. A closure that gives a [`Carried`] is one:
///
/// ```
/// use cofferdam::task::{Carrying, Spawn};
/// use std::cell::Cell;
///
/// thread_local!(static TENANT: Cell<u32> = const { Cell::new(0) });
///
/// let smol = |task| smol::spawn(task).detach();
/// let spawner = Carrying::new(smol, || {
///     let tenant = TENANT.get();
///     move |poll: &mut dyn FnMut()| {
///         let before = TENANT.replace(tenant);
///         poll();
///         TENANT.set(before);
///     }
/// });
/// TENANT.set(7);
/// # let (sender, receiver) = cofferdam::sync::oneshot::channel();
/// spawner.spawn(Box::pin(async {
///     // On whatever thread.
///     assert_eq!(TENANT.get(), 7);
///     # sender.send(()).unwrap();
/// }));
/// # smol::block_on(receiver).unwrap();
/// ```
pub trait Carrier: Send + Sync + 'static {
    /// What is current here and now. `None` if there is nothing to take along.
    ///
    /// It is called before the work is accepted, and again if there was no room for it at first: it should be cheap, and have
    /// no effect. A panic of it is contained, and then nothing goes along.
    fn pick_up(&self) -> Option<Box<dyn Carried>>;
}

/// What goes along with one piece of work.
///
/// A closure that calls what it is given is one.
pub trait Carried: Send + 'static {
    /// The work is taken up, for the first time.
    fn begin(&mut self, errand: &Errand<'_>) {
        let _ = errand;
    }

    /// Calls `poll`, which polls the work once, or drops it, or lets another carrier begin, with the current thing being what it
    /// was where the work was handed over. A panic of the work is seen after it has returned. If it does not call `poll`, that is done all the same.
    fn around(&self, poll: &mut dyn FnMut());

    /// The work has ended, in one word: "completed", "cancelled", "panicked" and so on. One that was never begun ends, too.
    fn end(self: Box<Self>, errand: &Errand<'_>, outcome: &'static str) {
        let _ = (errand, outcome);
    }
}

/// A piece of work, as what is carried with it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Errand<'a> {
    /// What it is: "pool.task", or "task" where it was given to an executor.
    pub kind: &'static str,
    /// Where it runs: the name of the pool or of the [`Carrying`].
    pub name: &'a str,
    /// The number of a pool's task.
    pub number: Option<u64>,
    /// How often it was begun.
    pub attempts: u32,
}

impl<F, C> Carrier for F
where
    F: Fn() -> C + Send + Sync + 'static,
    C: Carried,
{
    fn pick_up(&self) -> Option<Box<dyn Carried>> {
        Some(Box::new(self()))
    }
}

impl<F: Fn(&mut dyn FnMut()) + Send + 'static> Carried for F {
    fn around(&self, poll: &mut dyn FnMut()) {
        self(poll);
    }
}

/// What is current now.
pub(crate) fn pick_up(carrier: &dyn Carrier) -> Option<Box<dyn Carried>> {
    contain(|| carrier.pick_up()).flatten()
}

/// Does `body` once, amid what was carried, whatever that does.
pub(crate) fn surround<R>(carried: &dyn Carried, mut body: impl FnMut() -> R) -> R {
    let mut done = None;
    contain(|| {
        carried.around(&mut || {
            if done.is_none() {
                done = Some(catch_unwind(AssertUnwindSafe(&mut body)));
            }
        });
    });
    match done {
        Some(Ok(result)) => result,
        Some(Err(panic)) => resume_unwind(panic),
        None => body(),
    }
}

/// An executor whose tasks run amid what was current where they were spawned: for groups, fan-out, detached timeouts, and
/// whatever else takes a [`Spawn`].
///
/// Each task costs two allocations more, if there is anything to carry. As an executor sees it, a task is "completed",
/// "panicked", or "dropped"; what is inside may see more.
#[derive(Clone)]
pub struct Carrying<S> {
    spawner: S,
    carrier: Arc<dyn Carrier>,
    name: Arc<str>,
}

impl<S> Carrying<S> {
    /// Spawns with `spawner`, and lets go along what `carrier` finds.
    pub fn new(spawner: S, carrier: impl Carrier) -> Self {
        Self { spawner, carrier: Arc::new(carrier), name: "".into() }
    }

    /// What its tasks are called; by default nothing.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }
}

impl<S: Spawn> Spawn for Carrying<S> {
    fn spawn(&self, task: BoxTask) {
        let task = match pick_up(&*self.carrier) {
            None => task,
            Some(carried) => Box::pin(Borne {
                task: Some(task),
                carried: Some(carried),
                name: Arc::clone(&self.name),
                begun: false,
            }),
        };
        self.spawner.spawn(task);
    }
}

impl<S: fmt::Debug> fmt::Debug for Carrying<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrying")
            .field("spawner", &self.spawner)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A task amid what it carries.
struct Borne {
    task: Option<BoxTask>,
    carried: Option<Box<dyn Carried>>,
    name: Arc<str>,
    begun: bool,
}

impl Borne {
    fn errand(&self) -> Errand<'_> {
        Errand { kind: "task", name: &self.name, number: None, attempts: u32::from(self.begun) }
    }

    /// Drops the task amid what it carries, and then that.
    fn end(&mut self, outcome: &'static str) {
        let Some(carried) = self.carried.take() else { return };
        let dropped = catch_unwind(AssertUnwindSafe(|| surround(&*carried, || drop(self.task.take()))));
        contain(|| carried.end(&self.errand(), outcome));
        if let Err(panic) = dropped {
            resume_unwind(panic);
        }
    }
}

impl Future for Borne {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.begun {
            this.begun = true;
            if let Some(mut carried) = this.carried.take() {
                contain(|| carried.begin(&this.errand()));
                this.carried = Some(carried);
            }
        }
        let (Some(task), Some(carried)) = (&mut this.task, &this.carried) else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| surround(&**carried, || task.as_mut().poll(cx)))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => this.end("completed"),
            Err(panic) => {
                contain(|| this.end("panicked"));
                resume_unwind(panic);
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Borne {
    fn drop(&mut self) {
        self.end("dropped");
    }
}
