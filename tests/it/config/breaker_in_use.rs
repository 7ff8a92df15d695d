//! Other settings of a breaker while its stack is in use. S83.

use super::*;
use cofferdam::resilience::breaker::{BreakerEvent, Window};

/// A stack with a breaker alone, in use, and how to change its settings.
struct Live {
    time: ManualClock,
    live: Reloadable<StandardStack>,
    settings: StackSettings,
}

impl Live {
    fn new(first: impl FnOnce(&mut BreakerSettings)) -> Self {
        let time = ManualClock::new();
        let mut breaker = BreakerSettings::default();
        first(&mut breaker);
        let settings = StackSettings::default().name("stock").breaker(breaker);
        Self { live: Reloadable::new(settings.build_on(&time.clock()).unwrap()), settings, time }
    }

    fn breaker(&self) -> CircuitBreaker {
        self.live.load().breaker().unwrap().clone()
    }

    fn fail(&self, times: u32) {
        (0..times).for_each(|_| fail(&self.live.load()));
    }

    fn change(&mut self, change: impl FnOnce(&mut BreakerSettings)) -> Result<(), SettingsError> {
        let mut settings = self.settings.clone();
        change(settings.breaker.as_mut().unwrap());
        self.live.reload(settings.clone())?;
        self.settings = settings;
        Ok(())
    }
}

#[test]
fn what_remains_of_a_break_is_counted_from_when_it_opened() {
    let mut live = Live::new(|breaker| {
        breaker.failure_threshold = Some(1);
        breaker.recovery_time = 10 * SECOND;
    });
    live.fail(1);
    live.time.advance(4 * SECOND);
    let left = |live: &Live| {
        let refused = block_on(live.live.load().call(|| async { Ok::<_, ()>(1) })).unwrap_err();
        refused.retry_after()
    };
    assert_eq!(left(&live), Some(6 * SECOND));
    live.change(|breaker| breaker.recovery_time = 5 * SECOND).unwrap();
    assert_eq!(left(&live), Some(SECOND));
    live.change(|breaker| breaker.recovery_time = 20 * SECOND).unwrap();
    assert_eq!(left(&live), Some(16 * SECOND));
    // What has nothing to do with it leaves it alone.
    live.settings.attempt_timeout = Some(SECOND);
    live.live.reload(live.settings.clone()).unwrap();
    assert_eq!(left(&live), Some(16 * SECOND));
    live.change(|breaker| breaker.recovery_time = 3 * SECOND).unwrap();
    assert_eq!(live.breaker().state(), State::HalfOpen);
}

#[test]
fn bad_settings_leave_the_old_rules_counting() {
    let mut live = Live::new(|breaker| breaker.failure_threshold = Some(3));
    live.fail(2);
    let error = live.change(|breaker| breaker.failure_rate = Some(1.5)).unwrap_err();
    assert_eq!(error.to_string(), "breaker.failure_rate: 1.5: must be more than 0 and at most 1");
    assert_eq!(live.breaker().stats().consecutive_failures, 2);
    live.fail(1);
    assert_eq!(live.breaker().state(), State::Open);
}

#[test]
fn the_window_stays_under_other_rules_and_is_emptied_by_another_shape() {
    let mut live = Live::new(|breaker| {
        breaker.window = Some(Window::time(10 * SECOND));
        breaker.minimum_calls = Some(4);
        breaker.failure_rate = Some(0.9);
    });
    let running = live.breaker();
    let running = running.try_acquire().unwrap();
    live.fail(2);
    live.change(|breaker| breaker.failure_rate = Some(0.5)).unwrap();
    assert_eq!(live.breaker().stats().window.unwrap().failures, 2);
    running.failure();
    live.fail(1);
    let stats = live.breaker().stats();
    assert_eq!((stats.state, stats.late), (State::Open, 0), "half of four, those before the change counted");

    let mut live = Live::new(|breaker| breaker.failures_in_window = Some(3));
    let running = live.breaker();
    let running = running.try_acquire().unwrap();
    live.fail(2);
    live.change(|breaker| breaker.window = Some(Window::calls(50))).unwrap();
    assert_eq!(live.breaker().stats().window.unwrap().calls, 0);
    running.failure();
    let stats = live.breaker().stats();
    assert_eq!((stats.late, stats.failures, stats.state), (1, 2, State::Closed), "the counts go on");
}

#[test]
fn trials_begin_anew() {
    let mut live = Live::new(|breaker| {
        breaker.failure_threshold = Some(1);
        breaker.recovery_time = SECOND;
        breaker.half_open_requests = 1;
        breaker.success_threshold = Some(1);
    });
    live.fail(1);
    live.time.advance(SECOND);
    let breaker = live.breaker();
    let old = breaker.try_acquire().unwrap();
    live.change(|breaker| breaker.half_open_requests = 2).unwrap();
    let new = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    old.failure();
    assert_eq!((breaker.state(), breaker.stats().late), (State::HalfOpen, 1));
    new.into_iter().for_each(|trial| trial.success());
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn its_observers_stay_and_calls_under_way_count() {
    let mut live = Live::new(|breaker| breaker.failure_threshold = Some(2));
    let opened = Arc::new(Mutex::new(0));
    let theirs = Arc::clone(&opened);
    live.breaker().observe(move |event: &BreakerEvent| {
        if let BreakerEvent::StateChanged { to: State::Open, .. } = event {
            *theirs.lock().unwrap() += 1;
        }
    });
    let old = live.live.load();
    live.change(|breaker| breaker.failure_threshold = Some(3)).unwrap();
    fail(&old);
    fail(&old);
    assert_eq!(live.breaker().state(), State::Closed, "the new rule holds for calls through the old stack");
    live.fail(1);
    assert_eq!((live.breaker().state(), *opened.lock().unwrap()), (State::Open, 1));
}

#[test]
fn it_is_disabled_and_enabled_by_its_settings_and_else_left_as_somebody_made_it() {
    let mut live = Live::new(|breaker| breaker.failure_threshold = Some(1));
    live.fail(1);
    live.change(|breaker| breaker.enabled = false).unwrap();
    assert_eq!(live.breaker().state(), State::Disabled);
    live.fail(5);
    live.change(|breaker| breaker.enabled = true).unwrap();
    assert_eq!(live.breaker().state(), State::Closed);
    live.breaker().force_open().unwrap();
    live.change(|breaker| breaker.failure_threshold = Some(4)).unwrap();
    assert_eq!(live.breaker().state(), State::ForcedOpen);
    block_on(live.breaker().shutdown());
    live.change(|breaker| breaker.enabled = false).unwrap();
    assert_eq!(live.breaker().state(), State::ShutDown, "for good");
}
