//! The table at the end, and the sums that must come out.

use crate::background::BackgroundStats;
use crate::clients::ClientsStats;
use crate::guard::GuardStats;
use crate::histogram::Histogram;
use crate::limits::{OutboundStats, TIERS};
use crate::load::LoadReport;
use crate::screen::{grouped, millis, seconds, shortened};
use crate::tally::{Change, Outcome, Outcomes, Summary};
use crate::upstreams::ServiceSaw;
use cofferdam::resilience::chaos::ChaosStats;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Everything about one upstream, taken when all has ended.
pub(crate) struct UpstreamReport {
    pub(crate) name: String,
    pub(crate) arrived: u64,
    pub(crate) outcomes: Outcomes,
    /// What the pool has added up.
    pub(crate) summary: Summary,
    pub(crate) guard: GuardStats,
    pub(crate) limits: OutboundStats,
    pub(crate) changes: u64,
    pub(crate) history: Vec<Change>,
}

/// Everything about a run, taken when all has ended.
pub(crate) struct Report {
    pub(crate) runtime: &'static str,
    pub(crate) elapsed: Duration,
    pub(crate) upstreams: Vec<UpstreamReport>,
    pub(crate) unrouted: u64,
    pub(crate) clients: ClientsStats,
    pub(crate) background: BackgroundStats,
    /// The limit of attempts at once at one upstream.
    pub(crate) in_flight: u32,
    pub(crate) connections: u64,
    pub(crate) malformed: u64,
    pub(crate) cut: u32,
    pub(crate) open_connections: u32,
    pub(crate) live_tasks: u64,
    /// Of the self-contained run.
    pub(crate) load: Option<LoadReport>,
    pub(crate) services_saw: Option<Vec<ServiceSaw>>,
}

/// Upstreams side by side.
const COLUMNS: usize = 4;
const LABEL: usize = 25;
const PAGE: usize = 79;
/// Writes one line of the table, unless it is all zeros.
type Line<'a> = dyn Fn(&mut fmt::Formatter<'_>, &str, &dyn Fn(&UpstreamReport) -> u64) -> fmt::Result + 'a;
/// Clients that are listed, those first that were limited most.
const SHOWN_CLIENTS: usize = 8;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for upstreams in self.upstreams.chunks(COLUMNS) {
            self.table(f, upstreams)?;
        }
        self.histories(f)?;
        self.limiter(f)?;
        writeln!(f, "run on {}: {}", self.runtime, seconds(self.elapsed))?;
        write!(f, "  {} connections", grouped(self.connections))?;
        write!(f, ", {} with malformed requests, {} cut at the end", self.malformed, self.cut)?;
        writeln!(f, ", {} requests for no upstream", grouped(self.unrouted))?;
        write!(f, "  pool: {} log records added up", grouped(self.background.recorded))?;
        writeln!(f, ", {} dropped for want of room", grouped(self.background.dropped))
    }
}

impl Report {
    fn table(&self, f: &mut fmt::Formatter<'_>, upstreams: &[UpstreamReport]) -> fmt::Result {
        let total = self.upstreams.len() <= COLUMNS && upstreams.len() > 1;
        let width = ((PAGE - LABEL) / (upstreams.len() + usize::from(total))).min(22);
        let head = |f: &mut fmt::Formatter<'_>, title: &str, with_total: bool| {
            write!(f, "{title:<LABEL$}")?;
            for upstream in upstreams {
                write!(f, "{:>width$}", shortened(&upstream.name, width - 1))?;
            }
            writeln!(f, "{}", if with_total { format!("{:>width$}", "total") } else { String::new() })
        };
        let line = |f: &mut fmt::Formatter<'_>, label: &str, of: &dyn Fn(&UpstreamReport) -> u64| {
            if upstreams.iter().all(|upstream| of(upstream) == 0) {
                return Ok(());
            }
            let mut text = format!("{label:<LABEL$}");
            let mut sum = 0;
            for upstream in upstreams {
                let _ = write!(text, "{:>width$}", grouped(of(upstream)));
                sum += of(upstream);
            }
            if total {
                let _ = write!(text, "{:>width$}", grouped(sum));
            }
            writeln!(f, "{text}")
        };
        head(f, "requests", total)?;
        for (outcome, label) in Outcome::ALL {
            line(f, &format!("  {label}"), &|upstream| upstream.outcomes[outcome as usize])?;
        }
        line(f, "  in all", &|upstream| upstream.arrived)?;
        line(f, "attempts", &|upstream| upstream.guard.attempts.attempts)?;
        line(f, "  of them retries", &|upstream| upstream.guard.attempts.retries)?;
        line(f, "  retries beyond budget", &|upstream| upstream.guard.beyond_budget)?;
        line(f, "hedges beside them", &|upstream| upstream.guard.attempts.hedges)?;
        line(f, "  were the quicker", &|upstream| upstream.guard.hedge.won)?;
        line(f, "  held back by limits", &|upstream| upstream.limits.held_back)?;
        line(f, "  hedges beyond budget", &|upstream| upstream.guard.hedge.suppressed)?;
        self.chaos(f, &line)?;
        line(f, "sent, of both", &|upstream| upstream.guard.attempts.sent)?;
        if let Some(saw) = &self.services_saw {
            line(f, "  seen by the service", &|upstream| {
                let index = self.upstreams.iter().position(|other| std::ptr::eq(other, upstream));
                index.and_then(|index| saw.get(index)).map_or(0, |saw| saw.requests)
            })?;
        }
        self.tiers(f, &line)?;
        writeln!(f)?;
        let percentiles = |f: &mut fmt::Formatter<'_>, histograms: &[&Histogram]| {
            for (label, per_mille) in [("  p50", 500), ("  p99", 990), ("  p99.9", 999)] {
                write!(f, "{label:<LABEL$}")?;
                for histogram in histograms {
                    let text = histogram.percentile(per_mille).map_or("-".to_owned(), millis);
                    write!(f, "{text:>width$}")?;
                }
                writeln!(f)?;
            }
            Ok(())
        };
        match &self.load {
            Some(load) => {
                head(f, "ms, forwarded (client)", false)?;
                percentiles(f, &load.upstreams.iter().map(|seen| &seen.waited).collect::<Vec<_>>())?;
                head(f, "ms, refused (client)", false)?;
                percentiles(f, &load.upstreams.iter().map(|seen| &seen.refused).collect::<Vec<_>>())?;
            }
            None => {
                head(f, "ms, forwarded (gateway)", false)?;
                let waited: Vec<_> = upstreams.iter().map(|upstream| &upstream.summary.waited).collect();
                percentiles(f, &waited)?;
            }
        }
        writeln!(f)
    }

    /// What was injected.
    fn chaos(&self, f: &mut fmt::Formatter<'_>, line: &Line<'_>) -> fmt::Result {
        let of = |count: fn(&ChaosStats) -> u64| {
            move |upstream: &UpstreamReport| upstream.guard.chaos.as_ref().map_or(0, count)
        };
        line(f, "injected delays", &of(|chaos| chaos.latencies))?;
        line(f, "injected errors", &of(|chaos| chaos.faults))?;
        line(f, "injected hangs", &of(|chaos| chaos.hangs))?;
        line(f, "injected panics", &of(|chaos| chaos.panics))?;
        line(f, "injected cancellations", &of(|chaos| chaos.cancels))
    }

    /// What the limits towards the upstreams did.
    fn tiers(&self, f: &mut fmt::Formatter<'_>, line: &Line<'_>) -> fmt::Result {
        writeln!(f, "limits towards upstreams")?;
        for (index, (_, name)) in TIERS.iter().enumerate() {
            line(f, &format!("  refused by {name}"), &|upstream| upstream.limits.refused[index])?;
        }
        line(f, "  waited and got a turn", &|upstream| upstream.limits.limiter.granted)?;
        line(f, "  given back unused", &|upstream| upstream.limits.given_back)?;
        line(f, "  429s received", &|upstream| upstream.limits.told)?;
        line(f, "  pauses they asked for", &|upstream| upstream.limits.pauses)?;
        line(f, "    calls under way then", &|upstream| upstream.limits.under_way)
    }

    fn histories(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "breakers")?;
        for upstream in &self.upstreams {
            let name = shortened(&upstream.name, 14);
            if upstream.history.is_empty() {
                writeln!(f, "  {name:<14}  closed all the time")?;
                continue;
            }
            let skipped = upstream.changes - upstream.history.len() as u64;
            let mut words: Vec<String> = Vec::new();
            if skipped > 0 {
                words.push(format!("({} earlier changes)", grouped(skipped)));
            }
            words.extend(
                upstream
                    .history
                    .iter()
                    .map(|change| format!("{:.2} s {}", change.at.as_secs_f64(), change.state)),
            );
            for (index, line) in wrapped(&words, ", ", PAGE - 18).iter().enumerate() {
                writeln!(f, "  {:<14}  {line}", if index == 0 { name.as_str() } else { "" })?;
            }
        }
        writeln!(f)
    }

    fn limiter(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (clients, keys) = (&self.clients, &self.clients.keys);
        writeln!(f, "clients: {} allowed, {} limited", grouped(clients.allowed), grouped(clients.limited))?;
        write!(f, "  {} keys came, {} expired (idle)", grouped(keys.inserted), grouped(keys.expired))?;
        writeln!(f, ", {} evicted, {} rejected", grouped(keys.evicted), grouped(keys.rejected))?;
        write!(f, "  {} there at the end", grouped(keys.keys as u64))?;
        writeln!(f, ", of at most {}", grouped(keys.capacity as u64))?;
        if let Some(load) = &self.load {
            let mut clients: Vec<_> = load.clients.iter().collect();
            clients.sort_by_key(|client| std::cmp::Reverse(client.limited));
            let mut words: Vec<String> = clients
                .iter()
                .take(SHOWN_CLIENTS)
                .map(|client| format!("{} {}/{}", client.name, grouped(client.limited), grouped(client.sent)))
                .collect();
            if clients.len() > SHOWN_CLIENTS {
                words.push(format!("and {} more", clients.len() - SHOWN_CLIENTS));
            }
            writeln!(f, "  limited/sent:")?;
            for line in wrapped(&words, "  ", PAGE - 2) {
                writeln!(f, "  {line}")?;
            }
        }
        writeln!(f)
    }
}

/// `words` in lines of at most `width` characters, with `between` between two of a line.
fn wrapped(words: &[String], between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            // One column is kept for what ends a line.
            Some(line) if line.chars().count() + between.len() + word.chars().count() < width => {
                line.push_str(between);
                line.push_str(word);
            }
            last => {
                if let Some(line) = last {
                    line.push_str(between.trim_end());
                }
                lines.push(word.clone());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_at_the_width() {
        let words = ["one", "two", "three", "a-word-that-is-too-long"].map(str::to_owned);
        assert_eq!(wrapped(&words, ", ", 10), ["one, two,", "three,", "a-word-that-is-too-long"]);
        assert_eq!(wrapped(&words[..2], ", ", 9), ["one, two"]);
        assert_eq!(wrapped(&words[..2], ", ", 8), ["one,", "two"]);
        assert!(wrapped(&[], ", ", 8).is_empty());
    }
}
