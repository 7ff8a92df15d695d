//! A seeded, single-threaded executor in virtual time.

use super::clock::{Host, ManualClock};
use crate::shim::Mutex;
use crate::task::{BoxTask, Spawn};
use crate::time::Clock;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A deterministic world for async code: an executor on the calling thread whose time is virtual and whose every choice
/// comes from a seed.
///
/// * Of the tasks that can run, a random one is polled next; the same seed gives the same run, another seed another
///   interleaving. Run a test over many seeds with [`for_seeds`](Self::for_seeds).
/// * When no task can run, time jumps to the next armed deadline. All timers of that instant fire, in the order in which
///   they were armed, and every task settles before time moves on.
/// * When no task can run and no timer is armed, [`run`](Self::run) panics and names who is waiting: a deadlock or a
///   lost wake-up is a failed test with a seed to repeat it by, not a hang.
/// * A panic in a task ends the `run` in which it happens with that panic.
/// * While the world runs, the thread's `fastrand` generator, from which jitter comes unless told otherwise, is the
///   seed's, too; afterwards it goes on where it was. Other sources of chance, the order of a `HashMap` among them, are
///   the test's to avoid.
///
/// Clones are handles on one world. A handle is `Send` and `Sync` and a [`Spawn`], and wakers may be woken from any
/// thread, but only the thread inside `run` polls.
///
/// Use something else to test what depends on real parallelism: a task is never interrupted between two of its awaits.
/// A model checker such as loom is the tool for that.
///
/// ```
/// use cofferdam::testkit::Sim;
/// use std::time::Duration;
///
/// Sim::for_seeds(0..20, |sim| {
///     let clock = sim.clock();
///     let slow = sim.spawn("slow", {
///         let clock = clock.clone();
///         async move {
///             clock.sleep(Duration::from_secs(3600)).await;
///             "an hour"
///         }
///     });
///     assert_eq!(sim.run(slow), "an hour");
///     assert_eq!(sim.time().elapsed(), Duration::from_secs(3600));
/// });
/// ```
#[derive(Clone)]
pub struct Sim(Arc<World>);

struct World {
    seed: u64,
    max_polls: u64,
    host: Arc<Host>,
    state: Mutex<State>,
}

struct State {
    rng: fastrand::Rng,
    /// The seed of the thread's generator for the next time the world runs.
    thread_seed: u64,
    /// Tasks that were woken and not polled since. May name tasks that are gone.
    runnable: Vec<u64>,
    tasks: BTreeMap<u64, Task>,
    next_id: u64,
    polls: u64,
    running: bool,
}

struct Task {
    name: Arc<str>,
    /// Absent while it is being polled, and for the future that belongs to `run`.
    future: Option<BoxTask>,
    waker: Waker,
    queued: bool,
}

/// A task whose turn it is.
struct Turn {
    id: u64,
    future: Option<BoxTask>,
    waker: Waker,
}

struct TaskWaker {
    id: u64,
    world: Weak<World>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(world) = self.world.upgrade() {
            world.state.lock().schedule(self.id);
        }
    }
}

impl State {
    fn schedule(&mut self, id: u64) {
        if let Some(task) = self.tasks.get_mut(&id) {
            if !task.queued {
                task.queued = true;
                self.runnable.push(id);
            }
        }
    }

    fn next_turn(&mut self) -> Option<Turn> {
        while !self.runnable.is_empty() {
            let at = self.rng.usize(..self.runnable.len());
            let id = self.runnable.swap_remove(at);
            if let Some(task) = self.tasks.get_mut(&id) {
                // Before the poll, so that a wake from inside it counts.
                task.queued = false;
                self.polls += 1;
                return Some(Turn { id, future: task.future.take(), waker: task.waker.clone() });
            }
        }
        None
    }
}

impl World {
    fn insert(self: &Arc<Self>, name: &dyn Fn(u64) -> Arc<str>, future: Option<BoxTask>) -> u64 {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        let waker = Waker::from(Arc::new(TaskWaker { id, world: Arc::downgrade(self) }));
        state.tasks.insert(id, Task { name: name(id), future, waker, queued: false });
        state.schedule(id);
        id
    }

    /// Polls one spawned task.
    fn take_turn(&self, turn: Turn) {
        let Some(mut future) = turn.future else { return };
        // Also if the task panics: it is gone then, and the panic goes on through `run`.
        let mut done = OnDrop(Some(|| drop(self.remove(turn.id))));
        if future.as_mut().poll(&mut Context::from_waker(&turn.waker)).is_pending() {
            done.0 = None;
            let mut state = self.state.lock();
            if let Some(task) = state.tasks.get_mut(&turn.id) {
                task.future = Some(future);
            }
            // Else it was cancelled from inside its own poll, and is dropped at the end, after the lock.
        }
    }

    /// The future comes back to be dropped with no lock held.
    fn remove(&self, id: u64) -> Option<BoxTask> {
        let task = self.state.lock().tasks.remove(&id);
        task.and_then(|task| task.future)
    }

    /// Jumps to the next armed deadline that is not after `limit` and fires all timers of that instant.
    fn fire_instant(&self, limit: Option<Instant>) -> bool {
        let Some(at) = self.host.next_deadline() else { return false };
        if limit.is_some_and(|limit| at > limit) {
            return false;
        }
        while self.host.fire_next(at) {}
        true
    }

    fn check_polls(&self, since: u64) {
        if self.state.lock().polls - since > self.max_polls {
            let (polls, waiting) = (self.max_polls, self.waiting());
            panic!("sim: not done after {polls} polls; unfinished: {waiting} ({})", self.where_and_when());
        }
    }

    fn waiting(&self) -> String {
        const SHOWN: usize = 20;
        let state = self.state.lock();
        let mut names: Vec<String> =
            state.tasks.values().take(SHOWN).map(|task| format!("`{}`", task.name)).collect();
        if state.tasks.len() > SHOWN {
            names.push(format!("and {} more", state.tasks.len() - SHOWN));
        }
        names.join(", ")
    }

    fn where_and_when(&self) -> String {
        format!("seed {}, at {:?}", self.seed, self.host.elapsed())
    }
}

/// Calls what is left in it when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

impl Sim {
    /// A new world at time zero, in which nothing runs yet.
    pub fn new(seed: u64) -> Self {
        Self::with_max_polls(seed, 10_000_000)
    }

    /// A world whose [`run`](Self::run) gives up with a panic after so many polls (ten million by default): what a task
    /// that wakes itself for ever, or a periodic timer that keeps time moving, would otherwise make a hang.
    pub fn with_max_polls(seed: u64, max_polls: u64) -> Self {
        let state = State {
            rng: fastrand::Rng::with_seed(seed),
            // Any fixed number does: the two sequences are not to be the same.
            thread_seed: seed ^ 0x5bd1_e995_2545_f491,
            runnable: Vec::new(),
            tasks: BTreeMap::new(),
            next_id: 0,
            polls: 0,
            running: false,
        };
        Self(Arc::new(World { seed, max_polls, host: Host::new(), state: Mutex::new(state) }))
    }

    /// Runs `body` in a new world for each seed, and drops the tasks that it leaves behind. A panic goes on, after the
    /// seed was printed.
    pub fn for_seeds(seeds: impl IntoIterator<Item = u64>, mut body: impl FnMut(&Sim)) {
        for seed in seeds {
            let sim = Sim::new(seed);
            let run = catch_unwind(AssertUnwindSafe(|| {
                body(&sim);
                sim.drop_tasks();
            }));
            if let Err(panic) = run {
                eprintln!("sim: failed with seed {seed}, at {:?}", sim.0.host.elapsed());
                resume_unwind(panic);
            }
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The clock for components.
    pub fn clock(&self) -> Clock {
        self.time().clock()
    }

    /// The time, to look at it: [`elapsed`](ManualClock::elapsed), [`armed`](ManualClock::armed). Moving it by this
    /// handle fires timers but lets no task run; to let tasks see time pass, sleep inside or call
    /// [`advance`](Self::advance) outside.
    pub fn time(&self) -> ManualClock {
        ManualClock::on(Arc::clone(&self.0.host))
    }

    /// The next number of the seed's sequence, for choices that a test leaves to chance.
    pub fn random(&self) -> u64 {
        self.0.state.lock().rng.u64(..)
    }

    /// The next number of the seed's sequence below `end`, or 0 if `end` is 0.
    pub fn random_below(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.state.lock().rng.u64(..end) }
    }

    /// How many tasks were spawned and are not done.
    pub fn tasks(&self) -> usize {
        self.0.state.lock().tasks.len()
    }

    /// How many polls there have been.
    pub fn polls(&self) -> u64 {
        self.0.state.lock().polls
    }

    /// Starts a task; the name is for messages. Nothing is polled until the world is made to run.
    ///
    /// The task runs whether or not the returned handle is kept.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> SimTask<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name: Arc<str> = name.into().into();
        let output = Arc::new(Mutex::new(Output::Pending(None)));
        let promise = Promise(Arc::clone(&output));
        let task = Box::pin(async move {
            // The whole promise, so that it is dropped with a task that is never polled.
            let promise = promise;
            let value = future.await;
            promise.keep(value);
        });
        let id = self.0.insert(&|_| Arc::clone(&name), Some(task));
        SimTask { id, name, output, sim: self.clone() }
    }

    /// Runs `future` and all tasks until `future` is done. It need not be `Send`, and may borrow.
    ///
    /// Tasks that are not done by then stay as they are, and go on at the next call.
    ///
    /// # Panics
    /// * with the panic of `future` or of a task, if there is one;
    /// * if nothing can run and no timer is armed, or after too many polls: the message names the seed and the tasks;
    /// * if this world is already running: there is one level of `run`.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let world = &self.0;
        let (since, outside) = self.enter();
        let _leave = OnDrop(Some(|| self.leave(outside)));
        let root = world.insert(&|_| "the future given to run".into(), None);
        let _gone = OnDrop(Some(|| drop(world.remove(root))));
        loop {
            let turn = world.state.lock().next_turn();
            match turn {
                Some(turn) if turn.id == root => {
                    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&turn.waker)) {
                        return output;
                    }
                }
                Some(turn) => world.take_turn(turn),
                None if world.fire_instant(None) => {}
                None => {
                    let waiting = world.waiting();
                    panic!(
                        "sim: nothing can run and no timer is armed; waiting: {waiting} ({}); a deadlock, a lost \
                         wake-up, or something that waits on another clock than the world's",
                        world.where_and_when()
                    );
                }
            }
            world.check_polls(since);
        }
    }

    /// Polls tasks until none can run. Time stands still.
    ///
    /// # Panics
    /// As [`run`](Self::run), except that it is no error to be idle.
    pub fn run_until_idle(&self) {
        let (since, outside) = self.enter();
        let _leave = OnDrop(Some(|| self.leave(outside)));
        self.settle(since);
    }

    /// Lets `by` pass: settles, and then goes from deadline to deadline, letting tasks settle at each. What they arm on
    /// the way fires in the same call if it is due.
    ///
    /// # Panics
    /// As [`run_until_idle`](Self::run_until_idle), and if `by` is past the end of time.
    pub fn advance(&self, by: Duration) {
        let (since, outside) = self.enter();
        let _leave = OnDrop(Some(|| self.leave(outside)));
        let time = self.time();
        let to = time.clock().now() + by;
        self.settle(since);
        while self.0.fire_instant(Some(to)) {
            self.settle(since);
        }
        time.advance_to(to);
    }

    /// Drops every task that is not done, as a runtime does that is shut down. Whoever waits for one of them panics.
    ///
    /// Tasks that hold a handle on their own world keep it alive; this is what lets it go.
    pub fn drop_tasks(&self) {
        loop {
            let first = {
                let mut state = self.0.state.lock();
                let first = state.tasks.iter().find(|(_, task)| task.future.is_some()).map(|(id, _)| *id);
                first.and_then(|id| state.tasks.remove(&id))
            };
            // Dropping a task may spawn or finish others, so they are taken one by one.
            match first {
                Some(task) => drop(task),
                None => return,
            }
        }
    }

    fn settle(&self, since: u64) {
        loop {
            let turn = self.0.state.lock().next_turn();
            match turn {
                Some(turn) => self.0.take_turn(turn),
                None => return,
            }
            self.0.check_polls(since);
        }
    }

    /// Begins to run, and says how many polls there have been, and what seed to leave the thread's generator with.
    fn enter(&self) -> (u64, u64) {
        let mut state = self.0.state.lock();
        let nested = std::mem::replace(&mut state.running, true);
        let (polls, inside) = (state.polls, state.thread_seed);
        drop(state);
        assert!(!nested, "sim: already running: a world runs in one place at a time");
        let outside = fastrand::get_seed();
        fastrand::seed(inside);
        (polls, outside)
    }

    fn leave(&self, outside: u64) {
        let inside = fastrand::get_seed();
        fastrand::seed(outside);
        let mut state = self.0.state.lock();
        state.thread_seed = inside;
        state.running = false;
        drop(state);
        if std::thread::panicking() {
            eprintln!("sim: panic in a run ({})", self.0.where_and_when());
        }
    }
}

impl Spawn for Sim {
    fn spawn(&self, task: BoxTask) {
        self.0.insert(&|id| format!("spawned {id}").into(), Some(task));
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Sim");
        debug.field("seed", &self.0.seed);
        if let Some(state) = self.0.state.try_lock() {
            debug.field("tasks", &state.tasks.len()).field("polls", &state.polls);
        }
        debug.finish_non_exhaustive()
    }
}

enum Output<T> {
    Pending(Option<Waker>),
    Ready(T),
    /// The task was dropped first, or the output was taken.
    Gone,
}

/// The task's side of its output.
struct Promise<T>(Arc<Mutex<Output<T>>>);

impl<T> Promise<T> {
    fn keep(&self, value: T) {
        self.settle(Output::Ready(value));
    }

    /// The first word stands.
    fn settle(&self, with: Output<T>) {
        let mut output = self.0.lock();
        let Output::Pending(waker) = &mut *output else { return };
        let waker = waker.take();
        *output = with;
        drop(output);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Output::Gone);
    }
}

/// A task of a [`Sim`]: a future of its output. Dropping it lets the task run on.
///
/// # Panics
/// Waiting for a task that was dropped before it was done panics, as does polling again after the output.
///
/// # Cancel safety
/// Dropping a wait (`(&mut task).await`) loses nothing.
pub struct SimTask<T> {
    id: u64,
    name: Arc<str>,
    output: Arc<Mutex<Output<T>>>,
    sim: Sim,
}

impl<T> SimTask<T> {
    /// Whether its output is there to be taken, or the task was dropped.
    pub fn is_finished(&self) -> bool {
        !matches!(*self.output.lock(), Output::Pending(_))
    }

    /// Drops the task where it stands, between two of its polls. Does nothing to one that is done. A task that calls
    /// this on itself is dropped when its present poll returns.
    pub fn cancel(self) {
        drop(self.sim.0.remove(self.id));
    }

    /// The output, if the task is done and nobody took it yet.
    pub fn try_take(&mut self) -> Option<T> {
        let mut output = self.output.lock();
        match std::mem::replace(&mut *output, Output::Gone) {
            Output::Ready(value) => Some(value),
            other => {
                *output = other;
                None
            }
        }
    }
}

impl<T> Future for SimTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.try_take() {
            return Poll::Ready(value);
        }
        // Cloned, and a replaced one dropped, with no lock held: it may be a stranger's.
        let mut waker = Some(cx.waker().clone());
        let mut output = self.output.lock();
        match &mut *output {
            Output::Pending(known) => {
                std::mem::swap(known, &mut waker);
                drop(output);
                Poll::Pending
            }
            // Done between the two looks, by another thread's `run`.
            Output::Ready(_) => {
                drop(output);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Output::Gone => {
                drop(output);
                panic!("sim: task `{}` was dropped before it was done, or waited for again", self.name)
            }
        }
    }
}

impl<T> fmt::Debug for SimTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTask").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lets others run: pending once, having woken itself. Works on any executor.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
