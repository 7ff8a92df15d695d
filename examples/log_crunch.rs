//! Crunches the access logs of a directory by 1, 2, ... N workers, with a bar of progress, and says what more workers bring.
//!
//! ```sh
//! cargo run --release --example log_crunch             # on logs that it writes itself, into a temporary directory
//! cargo run --release --example log_crunch -- /var/log # on every file below a directory; lines that are no requests count, too
//! ```
//!
//! The pipeline: a generator walks the directory, lazily; workers on threads of their own read and crunch a file each; their
//! results are merged as they come. The sums do not depend on how many workers there are, which is checked.

use cofferdam::group::try_par_map_stream;
use cofferdam::stream::{Emitter, generator};
use cofferdam::task::BoxTask;
use cofferdam::time::Clock;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is known of the requests of a file, or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Totals {
    lines: u64,
    requests: u64,
    bytes: u64,
    by_status: BTreeMap<u16, u64>,
    slowest: u64,
    /// Requests by the power of two of their milliseconds.
    latencies: [u64; 16],
}

impl Totals {
    /// A line as `2026-03-01T12:00:00Z GET /orders/17 200 1532 12`: status, bytes, milliseconds at the end.
    fn add_line(&mut self, line: &str) {
        self.lines += 1;
        let mut words = line.rsplit(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(millis), Some(bytes), Some(status)) = (number(), number(), number()) else { return };
        let Ok(status @ 100..600) = u16::try_from(status) else { return };
        self.requests += 1;
        self.bytes += bytes;
        *self.by_status.entry(status).or_default() += 1;
        self.slowest = self.slowest.max(millis);
        let power = (u64::BITS - millis.leading_zeros()) as usize;
        self.latencies[power.min(15)] += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.slowest = self.slowest.max(other.slowest);
        for (status, count) in &other.by_status {
            *self.by_status.entry(*status).or_default() += count;
        }
        for (count, more) in self.latencies.iter_mut().zip(other.latencies) {
            *count += more;
        }
    }

    /// Milliseconds in which so much of the requests was answered, to a power of two.
    fn within(&self, share: f64) -> u64 {
        let mut left = (self.requests as f64 * share) as u64;
        for (power, count) in self.latencies.iter().enumerate() {
            if *count >= left {
                return 1 << power;
            }
            left -= count;
        }
        self.slowest
    }
}

fn crunch(path: &Path) -> io::Result<Totals> {
    let mut totals = Totals::default();
    let mut reader = BufReader::with_capacity(1 << 16, std::fs::File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        totals.add_line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(totals)
}

/// Every file below a directory. What cannot be read ends the walk with its error.
async fn walk(y: Emitter<PathBuf>, root: PathBuf) -> io::Result<()> {
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let mut entries = std::fs::read_dir(&folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => y.emit(entry.path()).await,
                _ => {}
            }
        }
    }
    Ok(())
}

/// A bar on a terminal, and nothing elsewhere.
struct Bar {
    files: usize,
    shown: Option<Instant>,
    on: bool,
}

impl Bar {
    fn show(&mut self, done: usize, running: usize) {
        let often = self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(50));
        if !self.on || (often && done < self.files) {
            return;
        }
        self.shown = Some(Clock::system().now());
        let filled = 40 * done / self.files.max(1);
        let mut bar = String::new();
        let _ = write!(bar, "\r[{:<40}] {done}/{} files, {running} at work ", "#".repeat(filled), self.files);
        let _ = io::stderr().write_all(bar.as_bytes());
    }
}

/// One pass over the directory by so many workers.
async fn pass(
    root: PathBuf,
    workers: usize,
    files: usize,
) -> Result<(Totals, usize, Duration), Box<dyn Error>> {
    // A thread for each worker: the work is reading and parsing, and waits for nothing else.
    let threads = |task: BoxTask| drop(std::thread::spawn(|| futures_executor::block_on(task)));
    let begin = Clock::system().now();
    let paths = generator(|y| walk(y, root));
    let work = |path: io::Result<PathBuf>| async move {
        let path = path?;
        crunch(&path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    };
    let mut outcomes = try_par_map_stream(paths, work).width(workers).fail_fast().on(threads).unordered();
    let mut bar = Bar { files, shown: None, on: io::stderr().is_terminal() };
    let (mut totals, mut done) = (Totals::default(), 0);
    while let Some((_, outcome)) = outcomes.next().await {
        totals.merge(&outcome.map_err(|error| error.to_string())?);
        done += 1;
        bar.show(done, outcomes.progress().running);
    }
    Ok((totals, done, begin.elapsed()))
}

/// Logs that are the same in every run, and what they come to.
fn write_samples(root: &Path) -> io::Result<Totals> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut expected = Totals::default();
    for server in 0..6 {
        let folder = root.join(format!("server-{server}"));
        std::fs::create_dir_all(&folder)?;
        for day in 1..=4 {
            let mut file = BufWriter::new(std::fs::File::create(folder.join(format!("access-{day}.log")))?);
            // Some days are busier: the workers are not equally lucky.
            for request in 0..5_000 * (1 + random.u32(0..4)) {
                let status = [200, 200, 200, 200, 201, 304, 404, 500][random.usize(0..8)];
                let (bytes, millis) = (random.u32(100..20_000), 1 << random.u32(0..12));
                let (hour, minute, id) = (request / 3600 % 24, request / 60 % 60, random.u32(1..1000));
                let line = format!(
                    "2026-03-0{day}T{hour:02}:{minute:02}Z GET /orders/{id} {status} {bytes} {millis}"
                );
                expected.add_line(&line);
                writeln!(file, "{line}")?;
            }
            expected.add_line("-- rotated --");
            writeln!(file, "-- rotated --")?;
            file.flush()?;
        }
    }
    Ok(expected)
}

/// A directory that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let temporary;
    let (root, expected) = match std::env::args_os().nth(1) {
        Some(root) => (PathBuf::from(root), None),
        None => {
            temporary = Temporary(std::env::temp_dir().join(format!("log-crunch-{}", std::process::id())));
            (temporary.0.clone(), Some(write_samples(&temporary.0)?))
        }
    };
    let most = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2);
    let counts = (0..).map(|power| 1 << power).take_while(|workers| *workers < most).chain([most]);
    // The first pass warms the caches of the file system, and counts the files.
    let (first, files, _) = futures_executor::block_on(pass(root.clone(), most, 0))?;
    println!("{files} files, {} lines below {}", first.lines, root.display());
    let mut alone = None;
    for workers in counts {
        let (totals, _, took) = futures_executor::block_on(pass(root.clone(), workers, files))?;
        assert_eq!(totals, first, "the sums must not depend on the number of workers");
        let alone = *alone.get_or_insert(took);
        let speedup = alone.as_secs_f64() / took.as_secs_f64().max(1e-9);
        let rate = totals.lines as f64 / took.as_secs_f64().max(1e-9) / 1e6;
        println!("{workers:>3} workers: {took:>10.2?} {rate:>8.2} M lines/s  x{speedup:.2}");
    }
    if let Some(expected) = expected {
        assert_eq!(first, expected, "what was written is what was read");
    }
    println!("{} requests, {} bytes, by status {:?}", first.requests, first.bytes, first.by_status);
    println!(
        "half within {} ms, 99 % within {} ms, slowest {} ms",
        first.within(0.5),
        first.within(0.99),
        first.slowest
    );
    Ok(())
}
