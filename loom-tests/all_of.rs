//! Several limiters at once: sets that share members, and members that change under those who wait.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | of two sets over the same members one is served, whole, and neither blocks the other | 2 | 3 | members held in the order in which they were given |
//! | a member that is asked, and put back as another says no, loses and mints nothing of what is taken of it without a lock | 2 | 3 | the word only read where it is held |
//! | a change at a member reaches the one who waits for the set | 2 | 3 | `refund` that does not tell the followers |

use cofferdam_loom::limit::{AllOf, Joint, Quota, TokenBucket};
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::thread;

fn bounded(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn bucket(time: &ManualClock, tokens: u64) -> TokenBucket {
    TokenBucket::builder(Quota::per_hour(1).burst(2)).clock(time.clock()).initial(tokens).build().unwrap()
}

fn set(members: [&TokenBucket; 2]) -> AllOf {
    let [a, b] = members;
    AllOf::of(Joint::builder().with("a", a.clone()).with("b", b.clone()).build().unwrap())
}

/// RL20, S43
#[test]
fn a_set_that_is_refused_puts_back_what_it_found_and_no_more() {
    for tokens in [0, 1] {
        bounded(move || {
            let time = ManualClock::new();
            let (a, b) = (bucket(&time, 1 + tokens), bucket(&time, tokens));
            let all = set([&a, &b]);
            let now = time.clock().now();
            let alone = a.clone();
            let thread = thread::spawn(move || alone.try_acquire_at(1, now).is_ok());
            let mine = all.try_acquire_at(1, now).is_ok();
            assert!(thread.join().unwrap(), "there is one for each");
            assert_eq!(mine, tokens > 0);
            assert_eq!((a.available(), b.available()), (0, 0));
        });
    }
}

/// RL20, S43
#[test]
fn sets_that_share_members_take_whole_and_do_not_block_each_other() {
    bounded(|| {
        let time = ManualClock::new();
        let (a, b) = (bucket(&time, 1), bucket(&time, 1));
        let (one, other) = (set([&a, &b]), set([&b, &a]));
        let now = time.clock().now();
        let thread = thread::spawn(move || other.try_acquire_at(1, now).is_ok());
        let mine = one.try_acquire_at(1, now).is_ok();
        assert_ne!(mine, thread.join().unwrap());
        assert_eq!((a.available(), b.available()), (0, 0));
    });
}

/// RL8
#[test]
fn a_change_at_a_member_reaches_those_who_wait() {
    bounded(|| {
        let time = ManualClock::new();
        let (a, b) = (bucket(&time, 0), bucket(&time, 1));
        let set = set([&a, &b]);
        let other = {
            let a = a.clone();
            thread::spawn(move || a.refund(1))
        };
        // Not done means asleep for ever, which loom reports.
        block_on(set.acquire()).unwrap();
        other.join().unwrap();
        assert_eq!((a.available(), b.available()), (0, 0));
    });
}
