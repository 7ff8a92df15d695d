//! Field by field, until what was said can be put together.

use super::Feedback;
use super::number::{Number, trim};
use super::structured::{Item, items};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first number of seconds that is a date.
const EPOCH_SECONDS: u64 = 1_000_000_000;
/// The first number that is a date in milliseconds.
const EPOCH_MILLIS: u64 = 100_000_000_000;

/// Members of lists that are kept; a server that sends more is not believed to need them.
const MOST: usize = 32;

pub(super) struct Fields<'a> {
    max_wait: Duration,
    /// Since 1970.
    wall: Duration,
    said: Feedback,
    limits: Vec<Limit<'a>>,
    policies: Vec<Policy<'a>>,
    /// Of the dictionary of a draft, `RateLimit-*` and `X-RateLimit-*`: in the order in which they go first.
    families: [Family; 3],
    reset_after: Option<Duration>,
}

#[derive(Clone, Copy, Default)]
struct Family {
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<Duration>,
}

/// An item of `RateLimit`.
struct Limit<'a> {
    name: &'a str,
    remaining: u64,
    reset: Option<Duration>,
}

/// An item of `RateLimit-Policy`.
#[derive(Clone, Copy)]
struct Policy<'a> {
    /// Empty where the draft had none.
    name: &'a str,
    quota: u64,
    window: Option<Duration>,
    requests: bool,
}

const DICTIONARY: usize = 0;
const STANDARD: usize = 1;
const CUSTOM: usize = 2;

impl<'a> Fields<'a> {
    pub(super) fn new(max_wait: Duration, wall: SystemTime) -> Self {
        Self {
            max_wait,
            wall: wall.duration_since(UNIX_EPOCH).unwrap_or_default(),
            said: Feedback::default(),
            limits: Vec::new(),
            policies: Vec::new(),
            families: [Family::default(); 3],
            reset_after: None,
        }
    }

    /// Takes in one field; a `None` is a value that is no text.
    pub(super) fn field(&mut self, name: &str, value: Option<&'a str>) {
        let Some(known) = Known::of(name) else { return };
        let understood = value.is_some_and(|text| match known {
            Known::RetryAfter => self.retry_after(text),
            Known::RateLimit => self.rate_limit(text),
            Known::Policy => self.policy(text),
            Known::Standard(Part::Limit) => self.standard_limit(text),
            Known::Standard(part) => self.part(STANDARD, part, text),
            Known::Custom(part) => self.part(CUSTOM, part, text),
        });
        self.said.ignored += u32::from(!understood);
    }

    fn part(&mut self, family: usize, part: Part, text: &'a str) -> bool {
        match part {
            Part::Limit => self.limit(family, text),
            Part::Remaining => self.remaining(family, text),
            Part::Reset => self.reset(family, text),
            Part::ResetAfter => self.reset_after(text),
            Part::Global => self.global(text),
            Part::Bucket => named(&mut self.said.bucket, text),
            Part::Scope => self.scope(text),
        }
    }

    fn retry_after(&mut self, text: &'a str) -> bool {
        let wait = if let Some(number) = self.number(text) {
            number.seconds()
        } else if let Ok(date) = httpdate::parse_http_date(trim(text)) {
            self.until(date.duration_since(UNIX_EPOCH).unwrap_or_default())
        } else {
            return false;
        };
        let wait = self.believed(wait);
        self.said.retry_after = self.said.retry_after.max(Some(wait));
        true
    }

    fn rate_limit(&mut self, text: &'a str) -> bool {
        self.each(text, |this, item| match item.value {
            Some(value) => {
                Part::of(item.head, &Part::STANDARD).is_none_or(|part| this.part(DICTIONARY, part, value))
            }
            None => {
                let Some(remaining) = item.parameter("r").and_then(|text| this.count(text)) else {
                    return false;
                };
                let reset = item.parameter("t").map(|text| this.moment(text));
                if this.limits.len() < MOST {
                    this.limits.push(Limit { name: item.head, remaining, reset: reset.flatten() });
                }
                reset != Some(None)
            }
        })
    }

    fn policy(&mut self, text: &'a str) -> bool {
        self.each(text, |this, item| {
            // A policy had no name, but only its quota, in the drafts up to 07.
            let quota = item.parameter("q").or_else(|| item.parameter("l"));
            let (name, quota) = if let Some(quota) = quota { (item.head, quota) } else { ("", item.head) };
            let Some(quota) = this.count(quota) else { return false };
            let window = item.parameter("w").map(|text| this.number(text).map(Number::seconds));
            let requests = item.parameter("qu").is_none_or(|unit| unit.eq_ignore_ascii_case("requests"));
            if this.policies.len() < MOST {
                this.policies.push(Policy { name, quota, window: window.flatten(), requests });
            }
            window != Some(None)
        })
    }

    /// `RateLimit-Limit`: the limit, and in the first drafts the policies behind it.
    fn standard_limit(&mut self, text: &'a str) -> bool {
        let mut first = true;
        self.each(text, |this, item| {
            if std::mem::take(&mut first) {
                return this.limit(STANDARD, item.head);
            }
            let Some(quota) = this.count(item.head) else { return false };
            let window = item.parameter("w").and_then(|text| this.number(text)).map(Number::seconds);
            if this.policies.len() < MOST {
                this.policies.push(Policy { name: "", quota, window, requests: true });
            }
            true
        })
    }

    fn each(&mut self, text: &'a str, mut read: impl FnMut(&mut Self, Item<'a>) -> bool) -> bool {
        let (mut any, mut bad) = (false, 0);
        for item in items(text) {
            any = true;
            bad += u32::from(!item.is_some_and(|item| read(self, item)));
        }
        // Counted one by one, so not once more as a whole.
        self.said.ignored += bad;
        any
    }

    fn limit(&mut self, family: usize, text: &str) -> bool {
        let Some(limit) = self.count(text) else { return false };
        self.tighten(family, |family| family.limit = Some(family.limit.unwrap_or(limit).min(limit)))
    }

    fn remaining(&mut self, family: usize, text: &str) -> bool {
        let Some(remaining) = self.count(text) else { return false };
        self.tighten(family, |family| {
            family.remaining = Some(family.remaining.unwrap_or(remaining).min(remaining));
        })
    }

    fn reset(&mut self, family: usize, text: &str) -> bool {
        let Some(reset) = self.moment(text) else { return false };
        self.tighten(family, |family| family.reset = family.reset.max(Some(reset)))
    }

    fn tighten(&mut self, family: usize, tighten: impl FnOnce(&mut Family)) -> bool {
        self.families.get_mut(family).map(tighten).is_some()
    }

    fn reset_after(&mut self, text: &str) -> bool {
        let Some(number) = self.number(text) else { return false };
        let wait = self.believed(number.seconds());
        self.reset_after = self.reset_after.max(Some(wait));
        true
    }

    fn global(&mut self, text: &str) -> bool {
        let text = trim(text);
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        let global = is("true") || is("1");
        self.said.global |= global;
        global || is("false") || is("0")
    }

    fn scope(&mut self, text: &'a str) -> bool {
        self.said.global |= trim(text).eq_ignore_ascii_case("global");
        named(&mut self.said.scope, text)
    }

    fn number(&mut self, text: &str) -> Option<Number> {
        let number = Number::read(text)?;
        self.said.clamped += u32::from(number.clamped);
        Some(number)
    }

    fn count(&mut self, text: &str) -> Option<u64> {
        self.number(text).map(|number| number.whole)
    }

    /// A reset: see the rules of the module.
    fn moment(&mut self, text: &str) -> Option<Duration> {
        let number = self.number(text)?;
        let wait = match number.whole {
            EPOCH_MILLIS.. => self.until(number.millis()),
            EPOCH_SECONDS.. => self.until(number.seconds()),
            _ => number.seconds(),
        };
        Some(self.believed(wait))
    }

    /// From now until a moment after 1970.
    fn until(&self, moment: Duration) -> Duration {
        moment.saturating_sub(self.wall)
    }

    fn believed(&mut self, wait: Duration) -> Duration {
        self.said.clamped += u32::from(wait > self.max_wait);
        wait.min(self.max_wait)
    }

    pub(super) fn finish(self) -> Feedback {
        let Self { mut said, limits, policies, families, reset_after, .. } = self;
        let named = |name: &str| policies.iter().find(|policy| policy.name == name);
        let tightest = limits
            .iter()
            .filter(|limit| named(limit.name).is_none_or(|policy| policy.requests))
            .min_by_key(|limit| (limit.remaining, std::cmp::Reverse(limit.reset)));
        let [dictionary, standard, mut custom] = families;
        custom.reset = reset_after.or(custom.reset);
        let families = [dictionary, standard, custom];
        said.remaining =
            tightest.map(|limit| limit.remaining).or(families.iter().find_map(|family| family.remaining));
        said.reset_after =
            tightest.and_then(|limit| limit.reset).or(families.iter().find_map(|family| family.reset));
        said.limit = families.iter().find_map(|family| family.limit);
        let counted = policies.iter().filter(|policy| policy.requests);
        let policy = match (tightest, said.limit) {
            (Some(limit), _) => named(limit.name),
            (None, Some(limit)) => counted.clone().find(|policy| policy.quota == limit),
            (None, None) => counted.clone().min_by(|a, b| a.pace().total_cmp(&b.pace())),
        };
        if let Some(policy) = policy {
            said.limit = Some(policy.quota);
            said.window = policy.window;
        }
        let name = tightest.map(|limit| limit.name).or(policy.map(|policy| policy.name));
        said.policy = name.filter(|name| !name.is_empty()).map(Box::from);
        said
    }
}

impl Policy<'_> {
    /// Requests a second; without a window there is no telling, and it counts as the fastest.
    fn pace(&self) -> f64 {
        let window = self.window.map_or(0.0, |window| window.as_secs_f64());
        if window > 0.0 { self.quota as f64 / window } else { f64::INFINITY }
    }
}

/// What a field of a family says.
#[derive(Clone, Copy)]
enum Part {
    Limit,
    Remaining,
    Reset,
    ResetAfter,
    Global,
    Bucket,
    Scope,
}

impl Part {
    const STANDARD: [(&'static str, Self); 3] =
        [("Limit", Self::Limit), ("Remaining", Self::Remaining), ("Reset", Self::Reset)];
    const CUSTOM: [(&'static str, Self); 7] = [
        ("Limit", Self::Limit),
        ("Remaining", Self::Remaining),
        ("Reset", Self::Reset),
        ("Reset-After", Self::ResetAfter),
        ("Global", Self::Global),
        ("Bucket", Self::Bucket),
        ("Scope", Self::Scope),
    ];

    fn of(name: &str, parts: &[(&str, Self)]) -> Option<Self> {
        parts.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, part)| *part)
    }
}

/// A field that says something about limits.
enum Known {
    RetryAfter,
    RateLimit,
    Policy,
    Standard(Part),
    Custom(Part),
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("Retry-After") {
            return Some(Self::RetryAfter);
        }
        if is("RateLimit") {
            return Some(Self::RateLimit);
        }
        if is("RateLimit-Policy") {
            return Some(Self::Policy);
        }
        if let Some(part) = after(name, "RateLimit-") {
            return Part::of(part, &Part::STANDARD).map(Self::Standard);
        }
        let custom = after(name, "X-RateLimit-").or_else(|| after(name, "X-Rate-Limit-"))?;
        Part::of(custom, &Part::CUSTOM).map(Self::Custom)
    }
}

/// What is behind a prefix in any letter case.
fn after<'n>(name: &'n str, prefix: &str) -> Option<&'n str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn named(place: &mut Option<Box<str>>, text: &str) -> bool {
    let text = trim(text);
    if text.is_empty() {
        return false;
    }
    *place = Some(text.into());
    true
}
