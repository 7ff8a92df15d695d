//! The algorithms against simulated servers. A limit that keeps a server of 50 workers busy is 50.

use super::secs;
use super::server::Server;
use cofferdam::limit::AdaptiveLimiter;
use cofferdam::limit::concurrency::{Aimd, Algorithm, Gradient2, Vegas};
use cofferdam::sync::Semaphore;
use cofferdam::testkit::{ManualClock, Sim};
use cofferdam::time::Rng;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 50;
const LOAD: usize = 200;

fn vegas(seed: u64) -> Vegas {
    Vegas::builder().rng(Rng::with_seed(seed)).build().unwrap()
}

fn gradient2(seed: u64) -> Gradient2 {
    Gradient2::builder().rng(Rng::with_seed(seed)).build().unwrap()
}

fn server(algorithm: impl Algorithm, seed: u64) -> Server {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder(algorithm).clock(time.clock()).build().unwrap();
    Server::new(limiter, time.clock().now(), WORKERS, LOAD, seed)
}

/// With a bound on how long an answer may take, which is what this algorithm goes by.
fn aimd(seed: u64) -> Server {
    let mut server = server(Aimd::new(), seed);
    server.timeout = Duration::from_millis(600);
    server
}

/// The middle one of the last minute: probes apart.
fn settled(server: &Server) -> u32 {
    let mut last: Vec<_> = server.trace.iter().rev().take(60).copied().collect();
    last.sort_unstable();
    last[30]
}

/// Good answers a second, against what the server can do, since the counting began.
fn use_of(server: &mut Server, time: Duration, workers: usize) -> f64 {
    let before = server.answers.0;
    server.run(time);
    let possible = time.as_secs_f64() * workers as f64 / server.work.as_secs_f64();
    (server.answers.0 - before) as f64 / possible
}

/// S76: half an hour of four times what the server can take.
fn stays(mut server: Server, least_use: f64) {
    server.run(secs(60));
    let used = use_of(&mut server, secs(1740), WORKERS);
    let limit = settled(&server);
    assert!((25..=100).contains(&limit), "{limit}, {:?}", server.trace);
    // Of any ten seconds in a row the middle is.
    for at in server.trace.windows(10).skip(60).step_by(10) {
        let mut at = at.to_vec();
        at.sort_unstable();
        assert!(at[5] <= 110, "{at:?}");
    }
    assert!(used > least_use, "{used}");
}

#[test]
fn vegas_stays_near_the_capacity_through_half_an_hour_of_overload() {
    stays(server(vegas(1), 1), 0.85);
}

#[test]
fn gradient2_stays_near_the_capacity_through_half_an_hour_of_overload() {
    stays(server(gradient2(1), 2), 0.85);
}

#[test]
fn aimd_stays_near_the_capacity_through_half_an_hour_of_overload() {
    stays(aimd(3), 0.85);
}

/// Without what protects the baseline the same test fails: it is not the server that makes it pass.
#[test]
fn without_probes_gradient2_drifts() {
    let algorithm = Gradient2::builder().probe_every(0).max(200).build().unwrap();
    let mut server = server(algorithm, 2);
    server.run(secs(1800));
    assert!(settled(&server) > 100, "{:?}", server.trace);
}

/// From 50 workers to 20 and back.
fn follows(mut server: Server) {
    server.run(secs(120));
    server.workers = 20;
    server.run(secs(180));
    let low = settled(&server);
    assert!((10..=40).contains(&low), "{low} {:?}", server.trace);
    server.workers = WORKERS;
    server.run(secs(120));
    let used = use_of(&mut server, secs(120), WORKERS);
    let high = settled(&server);
    assert!((30..=100).contains(&high), "{high} {:?}", server.trace);
    assert!(used > 0.8, "{used}");
}

#[test]
fn vegas_follows_a_drop_of_capacity_and_its_recovery() {
    follows(server(vegas(4), 4));
}

#[test]
fn gradient2_follows_a_drop_of_capacity_and_its_recovery() {
    follows(server(gradient2(5), 5));
}

#[test]
fn aimd_follows_a_drop_of_capacity_and_its_recovery() {
    follows(aimd(6));
}

/// Work whose time is exponential: as long as its average is its deviation.
fn bears_noise(mut server: Server) {
    server.parts = 1;
    server.run(secs(60));
    let used = use_of(&mut server, secs(300), WORKERS);
    assert!(used > 0.7, "{used} {:?}", server.trace);
    let mean = server.trace[60..].iter().sum::<u32>() / 300;
    assert!((25..=100).contains(&mean), "{mean} {:?}", server.trace);
}

#[test]
fn vegas_bears_noise() {
    for seed in 0..3 {
        bears_noise(server(vegas(seed), seed));
    }
}

#[test]
fn gradient2_bears_noise() {
    for seed in 0..3 {
        bears_noise(server(gradient2(seed), seed));
    }
}

#[test]
fn aimd_bears_noise() {
    for seed in 0..3 {
        let mut server = aimd(seed);
        server.timeout = Duration::from_millis(900);
        bears_noise(server);
    }
}

/// S76: work that takes longer in itself is no queue. The baseline learns it in the next probes.
#[test]
fn calls_that_have_become_slower_in_themselves_are_the_new_normal() {
    let slower = |mut server: Server| {
        server.run(secs(120));
        server.work *= 3;
        server.run(secs(300));
        let used = use_of(&mut server, secs(200), WORKERS);
        assert!(used > 0.7, "{used} {:?}", server.trace);
    };
    slower(server(vegas(7), 7));
    slower(server(gradient2(8), 8));
}

/// Slow start: a thousand workers are found within half a minute from a limit of 20.
#[test]
fn a_large_server_is_found_soon() {
    let vegas = Vegas::builder().max(2000).rng(Rng::with_seed(9)).build().unwrap();
    let gradient = Gradient2::builder().max(2000).rng(Rng::with_seed(9)).build().unwrap();
    for mut server in [server(vegas, 9), server(gradient, 9)] {
        (server.workers, server.load) = (1000, 3000);
        server.run(secs(30));
        let most = server.trace.iter().max().copied().unwrap();
        assert!((700..=2000).contains(&most), "{most}");
    }
}

/// S73: ten clients never try a limit of 20.
#[test]
fn clients_that_ask_for_little_do_not_raise_the_limit() {
    for mut server in [server(vegas(10), 10), server(gradient2(10), 10), server(Aimd::new(), 10)] {
        server.load = 9;
        server.run(secs(100));
        assert!(server.trace.iter().all(|limit| *limit <= 20), "{:?}", server.trace);
    }
}

/// The whole of it on an executor: two hundred tasks, a queue, and a server with fifty places.
#[test]
fn through_the_real_limiter_tasks_settle_near_the_capacity() {
    let sim = Sim::new(11);
    let limiter = AdaptiveLimiter::builder(vegas(11)).queue(LOAD as u32).clock(sim.clock()).build().unwrap();
    let workers = Arc::new(Semaphore::builder(WORKERS as u32).clock(sim.clock()).build().unwrap());
    let end = sim.clock().now() + secs(100);
    let tasks: Vec<_> = (0..LOAD)
        .map(|task| {
            let (limiter, workers, clock) = (limiter.clone(), Arc::clone(&workers), sim.clock());
            let own = sim.clone();
            sim.spawn(format!("client {task}"), async move {
                let mut done = 0u64;
                while clock.now() < end {
                    let guard = limiter.acquire().await.expect("room for all");
                    let place = workers.acquire().await.expect("open");
                    clock.sleep(Duration::from_millis(400 + own.random_below(200))).await;
                    drop(place);
                    guard.success();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done: u64 = sim.run(async {
        let mut done = 0;
        for task in tasks {
            done += task.await;
        }
        done
    });
    let limit = limiter.limit();
    assert!((3..=100).contains(&limit), "{limit}");
    assert!((7_000..10_500).contains(&done), "{done} of 10000 in a hundred seconds");
    let stats = limiter.stats();
    assert_eq!((stats.in_flight, stats.waiting, sim.time().armed()), (0, 0, 0));
    assert!(stats.updates > 80, "{stats:?}");
}
