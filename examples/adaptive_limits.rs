//! Adaptive concurrency limits against a simulated server whose capacity changes, plotted.
//!
//! Two hundred clients always want more; the server has workers for 50 of them, for 20 after five minutes, and for 50
//! again after ten; after fifteen minutes each call takes half as long again. Twenty minutes of that take a few seconds.
//!
//! ```sh
//! cargo run --release --example adaptive_limits [-- picture.svg]
//! ```
//!
//! It prints a table of how much of the server each algorithm used and how long calls took, and writes a picture of the
//! limits over time, to `target/adaptive_limits.svg` unless told otherwise.

#[path = "../tests/it/concurrency/server.rs"]
#[allow(dead_code, reason = "the tests look at more of it")]
mod server;

use cofferdam::limit::AdaptiveLimiter;
use cofferdam::limit::concurrency::{Aimd, Algorithm, Gradient2, Vegas};
use cofferdam::testkit::ManualClock;
use cofferdam::time::Rng;
use server::Server;
use std::fmt::Write as _;
use std::time::Duration;

const MINUTES: u64 = 20;
const LOAD: usize = 200;

/// From which minute on, workers, and milliseconds of work on a call.
const SCENES: [(u64, usize, u64); 4] = [(0, 50, 200), (5, 20, 200), (10, 50, 200), (15, 50, 300)];

struct Run {
    name: &'static str,
    colour: &'static str,
    /// The limit at the end of each second.
    limits: Vec<u32>,
    /// Good answers in percent of what the server could have given.
    used: f64,
    /// How long calls took, against the work on them.
    slower: f64,
}

fn run(name: &'static str, colour: &'static str, timeout: Duration, algorithm: impl Algorithm) -> Run {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder(algorithm).clock(time.clock()).build().expect("valid settings");
    let mut server = Server::new(limiter, time.clock().now(), 1, LOAD, 1);
    server.timeout = timeout;
    server.parts = 16;
    let (mut possible, mut slower) = (0.0, 0.0);
    for (at, scene) in SCENES.iter().enumerate() {
        let end = SCENES.get(at + 1).map_or(MINUTES, |next| next.0);
        let seconds = (end - scene.0) * 60;
        server.workers = scene.1;
        server.work = Duration::from_millis(scene.2);
        server.run(Duration::from_secs(seconds));
        possible += seconds as f64 * scene.1 as f64 / server.work.as_secs_f64();
        // Little's law: calls in flight are what comes out in the time that one takes.
        let in_flight = server.trace.iter().rev().take(seconds as usize).sum::<u32>();
        slower += f64::from(in_flight) / scene.1 as f64;
    }
    let used = 100.0 * server.answers.0 as f64 / possible;
    Run { name, colour, slower: slower / (MINUTES * 60) as f64, limits: server.trace, used }
}

fn main() {
    let path = std::env::args().nth(1).unwrap_or_else(|| "target/adaptive_limits.svg".into());
    let rng = || Rng::with_seed(1);
    // What that algorithm goes by.
    let late = Duration::from_millis(500);
    let runs = [
        run("Vegas", "#0b6e4f", Duration::MAX, Vegas::builder().rng(rng()).build().expect("valid")),
        run("Gradient2", "#2f5fb3", Duration::MAX, Gradient2::builder().rng(rng()).build().expect("valid")),
        run("AIMD", "#c8553d", late, Aimd::new()),
    ];
    println!(
        "{:<12} {:>14} {:>18} {:>14}",
        "algorithm", "capacity used", "limit : capacity", "highest limit"
    );
    for run in &runs {
        let most = run.limits.iter().max().copied().unwrap_or_default();
        println!("{:<12} {:>12.1} % {:>18.2} {:>14}", run.name, run.used, run.slower, most);
    }
    match std::fs::write(&path, picture(&runs)) {
        Ok(()) => println!("\nthe limits over time: {path}"),
        Err(error) => {
            eprintln!("{path}: {error}");
            std::process::exit(1);
        }
    }
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 92.0;
const PANEL: f64 = 170.0;
const GAP: f64 = 44.0;
const MOST: f64 = 150.0;

fn x(second: f64) -> f64 {
    LEFT + second / (MINUTES * 60) as f64 * (WIDTH - LEFT - RIGHT)
}

/// From the top of a panel.
fn y(limit: f64) -> f64 {
    PANEL - limit.min(MOST) / MOST * PANEL
}

fn picture(runs: &[Run]) -> String {
    let height = TOP + runs.len() as f64 * (PANEL + GAP) + 26.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#333">
<rect width="{WIDTH}" height="{height}" fill="#fff"/>
<text x="{LEFT}" y="30" font-size="18" font-weight="bold" fill="#111">Adaptive concurrency limits against a server that changes</text>
<text x="{LEFT}" y="50" fill="#666">{LOAD} clients that always want more; limit at the end of each second; short dips are probes of the baseline</text>
<line x1="{LEFT}" x2="{}" y1="70" y2="70" stroke="#999" stroke-width="2" stroke-dasharray="6 4"/>
<text x="{}" y="74">capacity: calls that the server can work on at once</text>
"##,
        LEFT + 32.0,
        LEFT + 40.0
    );
    for (at, run) in runs.iter().enumerate() {
        let _ = write!(svg, r#"<g transform="translate(0 {})">"#, TOP + at as f64 * (PANEL + GAP));
        panel(&mut svg, run);
        svg.push_str("</g>\n");
    }
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle">minutes</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 12.0
    );
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, run: &Run) {
    let right = WIDTH - RIGHT;
    for limit in (0..=MOST as u32).step_by(50) {
        let at = y(f64::from(limit));
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}" stroke="#e6e6e6"/><text x="{}" y="{}" text-anchor="end">{limit}</text>"##,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for minute in (0..=MINUTES).step_by(5) {
        let at = x((minute * 60) as f64);
        let _ = writeln!(
            svg,
            r##"<line x1="{at}" x2="{at}" y1="0" y2="{PANEL}" stroke="#e6e6e6"/><text x="{at}" y="{}" text-anchor="middle">{minute}</text>"##,
            PANEL + 17.0
        );
    }
    let mut capacity = String::new();
    for (at, (minute, workers, _)) in SCENES.iter().enumerate() {
        let end = SCENES.get(at + 1).map_or(MINUTES, |next| next.0);
        for second in [minute * 60, end * 60] {
            let _ = write!(capacity, "{:.1},{:.1} ", x(second as f64), y(*workers as f64));
        }
    }
    let mut limits = String::new();
    for (second, limit) in run.limits.iter().enumerate() {
        let _ = write!(limits, "{:.1},{:.1} ", x((second + 1) as f64), y(f64::from(*limit)));
    }
    let slower = x(15.0 * 60.0);
    let _ = writeln!(
        svg,
        r##"<polyline points="{capacity}" fill="none" stroke="#999" stroke-width="2" stroke-dasharray="6 4"/>
<polyline points="{limits}" fill="none" stroke="{}" stroke-width="1.4" stroke-linejoin="round"/>
<text x="{}" y="14" fill="#888" font-size="11">calls take half as long again</text>
<text x="{}" y="14" font-weight="bold" font-size="14" fill="{}">{}</text>
<text x="{right}" y="-8" text-anchor="end" fill="#666">{:.0} % of the capacity used</text>
<text transform="translate({} {}) rotate(-90)" text-anchor="middle">limit</text>"##,
        run.colour,
        slower + 6.0,
        LEFT + 10.0,
        run.colour,
        run.name,
        run.used,
        LEFT - 42.0,
        PANEL / 2.0
    );
}
