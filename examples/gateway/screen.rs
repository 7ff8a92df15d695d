//! What is shown while it runs: a panel redrawn in place on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

/// One upstream's line.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) circuit: Circuit,
    pub(crate) in_flight: u32,
    pub(crate) allowed: u64,
    pub(crate) limited: u64,
    pub(crate) paced: u64,
    pub(crate) refused: u64,
    pub(crate) retried: u64,
    pub(crate) hedged: u64,
}

/// The state of a breaker in the words of the screen, and how to paint it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circuit {
    pub(crate) word: &'static str,
    pub(crate) paint: Paint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Green,
    Yellow,
    Red,
}

/// The load's progress, or the time that a gateway has been up.
pub(crate) struct Head {
    pub(crate) done: u64,
    /// Requests planned, where there is a plan.
    pub(crate) of: Option<u64>,
    pub(crate) elapsed: Duration,
    pub(crate) rate: u64,
}

pub(crate) struct Screen {
    terminal: bool,
    colour: bool,
    /// Lines of the panel that stands on the terminal.
    drawn: usize,
    /// What was done when lines were last written.
    shown: Option<u64>,
    last: Option<(Duration, u64)>,
    rate: u64,
}

const BAR: usize = 28;

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal =
            io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Self { terminal, colour, drawn: 0, shown: None, last: None, rate: 0 }
    }

    /// How often to draw.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_millis(if self.terminal { 100 } else { 2000 })
    }

    /// The rate since about a second ago.
    pub(crate) fn rate(&mut self, elapsed: Duration, done: u64) -> u64 {
        match self.last {
            Some((then, was)) if elapsed.saturating_sub(then) >= Duration::from_secs(1) => {
                let seconds = (elapsed - then).as_secs_f64();
                self.rate = (done.saturating_sub(was) as f64 / seconds).round() as u64;
                self.last = Some((elapsed, done));
            }
            None if elapsed >= Duration::from_secs(1) => self.last = Some((Duration::ZERO, 0)),
            None => self.rate = (done as f64 / elapsed.as_secs_f64().max(0.1)).round() as u64,
            Some(_) => {}
        }
        self.rate
    }

    pub(crate) fn draw(&mut self, head: &Head, rows: &[Row]) {
        let text = if self.terminal { self.panel(head, rows) } else { lines(head, rows) };
        // Lines that would say again what the last ones said are not written.
        if !self.terminal && self.shown.replace(head.done) == Some(head.done) {
            return;
        }
        // A screen that is gone is no reason to stop serving.
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    fn panel(&mut self, head: &Head, rows: &[Row]) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        let mut panel = Vec::new();
        panel.push(match head.of {
            Some(of) => {
                let part = head.done as f64 / of.max(1) as f64;
                let full = ((part * BAR as f64) as usize).min(BAR);
                let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
                let percent = (part * 100.0) as u64;
                let (done, of) = (grouped(head.done), grouped(of));
                format!(
                    "{bar} {percent:>3} %  {done} of {of}  {}  {}/s",
                    seconds(head.elapsed),
                    grouped(head.rate)
                )
            }
            None => {
                format!(
                    "up {}  {} requests  {}/s",
                    seconds(head.elapsed),
                    grouped(head.done),
                    grouped(head.rate)
                )
            }
        });
        panel.push(String::new());
        panel.push(TITLES.to_owned());
        for row in rows {
            let paint = if self.colour { row.circuit.paint.code() } else { "" };
            let plain = if self.colour { "\x1b[0m" } else { "" };
            panel.push(format!(
                "{:<11} {paint}{:<11}{plain}{:>6} {:>9} {:>7} {:>7} {:>7} {:>7} {:>7}",
                shortened(&row.name, 11),
                row.circuit.word,
                row.in_flight,
                grouped(row.allowed),
                grouped(row.limited),
                grouped(row.paced),
                grouped(row.refused),
                grouped(row.retried),
                grouped(row.hedged),
            ));
        }
        for line in &panel {
            let _ = writeln!(text, "\x1b[2K{line}");
        }
        self.drawn = panel.len();
        text
    }
}

const TITLES: &str = "upstream    breaker   running   allowed limited   paced refused retried  hedged";

fn lines(head: &Head, rows: &[Row]) -> String {
    let mut text = match head.of {
        Some(of) => format!("{:>7}  {} of {}\n", seconds(head.elapsed), grouped(head.done), grouped(of)),
        None => format!("{:>7}  {} requests\n", seconds(head.elapsed), grouped(head.done)),
    };
    for row in rows {
        let _ = writeln!(
            text,
            "  {:<14} {:<9} in flight {}, allowed {}, limited {}, paced {}, refused {}, retried {}, hedged {}",
            shortened(&row.name, 14),
            row.circuit.word,
            row.in_flight,
            row.allowed,
            row.limited,
            row.paced,
            row.refused,
            row.retried,
            row.hedged,
        );
    }
    text
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
        }
    }
}

/// Seconds with one decimal: "12.3 s".
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Milliseconds in three figures: "0.42", "3.1", "251".
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        0.0..10.0 => format!("{millis:.2}"),
        10.0..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// A number with its thousands apart: "12,345".
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `text` in at most `width` characters.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn milliseconds_have_three_figures() {
        for (micros, text) in [(420, "0.42"), (3140, "3.14"), (25_149, "25.1"), (251_499, "251")] {
            assert_eq!(millis(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn long_names_are_shortened_to_the_width() {
        assert_eq!(shortened("steady", 6), "steady");
        assert_eq!(shortened("steady!", 6), "stead…");
    }

    #[test]
    fn the_panel_fits_eighty_columns_with_large_numbers() {
        let mut screen = Screen { terminal: true, colour: false, drawn: 0, shown: None, last: None, rate: 0 };
        let row = || Row {
            name: "a-long-host-name.example.com:65535".to_owned(),
            circuit: Circuit { word: "half-open", paint: Paint::Yellow },
            in_flight: 65_536,
            allowed: 9_999_999,
            limited: 999_999,
            paced: 999_999,
            refused: 999_999,
            retried: 999_999,
            hedged: 999_999,
        };
        let elapsed = Duration::from_secs(3600);
        let head = Head { done: 9_999_999, of: Some(10_000_000), elapsed, rate: 99_999 };
        let panel = screen.panel(&head, &[row(), row()]);
        for line in panel.lines() {
            let line = line.replace("\x1b[2K", "");
            assert!(line.chars().count() < 80, "{} columns: {line}", line.chars().count());
        }
        // The second drawing goes back up over the first.
        assert!(screen.panel(&head, &[row(), row()]).starts_with("\x1b[5A"));
    }
}
