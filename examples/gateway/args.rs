//! The command line: parsed once into valid types, refused with the argument, the value and the rule.

use crate::admin::{AdminAt, Token};
use crate::demo::Demo;
use crate::target::{Listen, Target, target};
use cofferdam::ConfigError;
use cofferdam::limit::{Quota, Tiered};
use cofferdam::resilience::chaos::Plan;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What was wrong with the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArgError {
    argument: String,
    value: Option<String>,
    rule: &'static str,
}

impl fmt::Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value:?}: {}", self.argument, self.rule),
            None => write!(f, "{}: {}", self.argument, self.rule),
        }
    }
}

pub(crate) fn wrong(argument: &str, value: &str, rule: &'static str) -> ArgError {
    ArgError { argument: argument.to_owned(), value: Some(value.to_owned()), rule }
}

fn misplaced(argument: &str, rule: &'static str) -> ArgError {
    ArgError { argument: argument.to_owned(), value: None, rule }
}

/// The rates, for people.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "limits: client {}", self.client_rate)?;
        write!(f, "  towards each upstream {}, resource {}", self.upstream_rate, self.resource_rate)?;
        for (pattern, quota) in &self.routes {
            write!(f, ", {pattern} {quota}")?;
        }
        if !self.chaos.is_empty() {
            write!(f, "\ninjected towards each upstream: {}", self.chaos)?;
        }
        f.write_str("\n\n")
    }
}

/// Which executor and sockets to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeName {
    Smol,
    Tokio,
}

/// The knobs of the guard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Of each client.
    pub(crate) client_rate: Quota,
    /// Towards each upstream.
    pub(crate) upstream_rate: Quota,
    /// Towards each upstream, by pattern.
    pub(crate) routes: Vec<(String, Quota)>,
    /// Towards each upstream, for each path.
    pub(crate) resource_rate: Quota,
    pub(crate) attempt_timeout: Duration,
    pub(crate) in_flight: u32,
    /// Whether slow requests that may be sent twice are.
    pub(crate) hedge: bool,
    /// What is injected towards each upstream.
    pub(crate) chaos: Plan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Demo(Demo),
    Listen(Listen),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) runtime: RuntimeName,
    pub(crate) limits: Limits,
    pub(crate) mode: Mode,
    /// `None`: nobody looks, and nothing is measured for anybody.
    pub(crate) admin: Option<AdminAt>,
}

/// The arguments, or `None` if help was asked for.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Args>, ArgError> {
    let mut raw = Raw::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--help" || arg == "-h" {
            return Ok(None);
        }
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (arg, None),
        };
        if name == NO_HEDGE {
            match value {
                Some(value) => return Err(wrong(&name, &value, "takes no value")),
                None => raw.no_hedge()?,
            }
            continue;
        }
        if !Raw::NAMES.contains(&name.as_str()) {
            return Err(misplaced(&name, "there is no such argument"));
        }
        let Some(value) = value.or_else(|| args.next()) else {
            return Err(misplaced(&name, "needs a value"));
        };
        raw.set(&name, &value)?;
    }
    raw.finish().map(Some)
}

/// The one argument without a value.
const NO_HEDGE: &str = "--no-hedge";
const ADMIN: &str = "--admin";
const ADMIN_TOKEN: &str = "--admin-token";
const ADMIN_LINGER: &str = "--admin-linger";
const NEEDS_ADMIN: &str = "needs --admin ADDR";

#[derive(Default)]
struct Raw {
    seen: Vec<String>,
    runtime: Option<RuntimeName>,
    listen: Option<SocketAddr>,
    targets: Vec<Target>,
    requests: Option<u64>,
    seconds: Option<u64>,
    clients: Option<u64>,
    seed: Option<u64>,
    client_rate: Option<Quota>,
    upstream_rate: Option<Quota>,
    resource_rate: Option<Quota>,
    routes: Vec<(String, Quota)>,
    timeout: Option<u64>,
    in_flight: Option<u64>,
    /// Of all times that it was given.
    chaos: Vec<String>,
    admin: Option<SocketAddr>,
    admin_token: Option<Token>,
    admin_linger: Option<u64>,
}

impl Raw {
    const NAMES: [&str; 17] = [
        "--runtime",
        "--listen",
        "--upstream",
        "--requests",
        "--seconds",
        "--clients",
        "--seed",
        "--client-rate",
        "--upstream-rate",
        "--resource-rate",
        "--route",
        "--timeout",
        "--in-flight",
        "--chaos",
        ADMIN,
        ADMIN_TOKEN,
        ADMIN_LINGER,
    ];

    fn set(&mut self, name: &str, value: &str) -> Result<(), ArgError> {
        if !["--upstream", "--route", "--chaos"].contains(&name) && self.seen.iter().any(|seen| seen == name)
        {
            // A token is nobody's business.
            return Err(match name {
                ADMIN_TOKEN => misplaced(name, "given twice"),
                _ => wrong(name, value, "given twice"),
            });
        }
        self.seen.push(name.to_owned());
        let number = |low: u64, high: u64, rule| number(name, value, low, high, rule);
        match name {
            "--runtime" => {
                self.runtime = Some(match value {
                    "smol" => RuntimeName::Smol,
                    "tokio" => RuntimeName::Tokio,
                    _ => return Err(wrong(name, value, "must be smol or tokio")),
                });
            }
            "--listen" => {
                self.listen = Some(address(name, value)?);
            }
            ADMIN => self.admin = Some(address(name, value)?),
            ADMIN_TOKEN => {
                let rule = "must be 8 to 128 letters, digits or signs, without spaces";
                self.admin_token = Some(Token::new(value).ok_or_else(|| misplaced(name, rule))?);
            }
            ADMIN_LINGER => {
                self.admin_linger = Some(number(1, 3600, "must be a whole number, 1..=3600")?);
            }
            "--upstream" => self.targets.push(target(name, value)?),
            "--requests" => {
                self.requests = Some(number(1, 10_000_000, "must be a whole number, 1..=10000000")?);
            }
            "--seconds" => self.seconds = Some(number(2, 3600, "must be a whole number, 2..=3600")?),
            "--clients" => self.clients = Some(number(1, 64, "must be a whole number, 1..=64")?),
            "--seed" => self.seed = Some(number(0, u64::MAX, "must be a whole number below 2^64")?),
            "--client-rate" => self.client_rate = Some(quota(name, value, value)?),
            "--upstream-rate" => self.upstream_rate = Some(quota(name, value, value)?),
            "--resource-rate" => self.resource_rate = Some(quota(name, value, value)?),
            "--route" => self.routes.push(route(name, value)?),
            "--chaos" => {
                plan(name, value)?;
                self.chaos.push(value.to_owned());
            }
            "--timeout" => {
                self.timeout = Some(number(1, 60_000, "must be whole milliseconds, 1..=60000")?);
            }
            _ => self.in_flight = Some(number(1, 65_536, "must be a whole number, 1..=65536")?),
        }
        Ok(())
    }

    fn no_hedge(&mut self) -> Result<(), ArgError> {
        if self.seen.iter().any(|seen| seen == NO_HEDGE) {
            return Err(misplaced(NO_HEDGE, "given twice"));
        }
        self.seen.push(NO_HEDGE.to_owned());
        Ok(())
    }

    fn finish(self) -> Result<Args, ArgError> {
        let mode = match self.listen {
            Some(address) => {
                if self.targets.is_empty() {
                    return Err(misplaced("--listen", "needs at least one --upstream URL"));
                }
                let rule = "belongs to the self-contained run, without --listen";
                for name in ["--requests", "--clients", "--seed", ADMIN_LINGER] {
                    if self.seen.iter().any(|seen| seen == name) {
                        return Err(misplaced(name, rule));
                    }
                }
                Mode::Listen(Listen {
                    address,
                    targets: self.targets,
                    length: self.seconds.map(Duration::from_secs),
                })
            }
            None if !self.targets.is_empty() => {
                return Err(misplaced("--upstream", "needs --listen ADDR"));
            }
            None => Mode::Demo(Demo {
                requests: self.requests.unwrap_or(40_000),
                length: Duration::from_secs(self.seconds.unwrap_or(20)),
                clients: self.clients.unwrap_or(8) as u32,
                seed: self.seed.unwrap_or(1),
            }),
        };
        let listens = matches!(mode, Mode::Listen(_));
        let defaults = match &mode {
            Mode::Listen(_) => Limits { client_rate: Quota::per_second(1000), ..Limits::none() },
            Mode::Demo(demo) => demo.limits(),
        };
        let limits = Limits {
            client_rate: self.client_rate.unwrap_or(defaults.client_rate),
            upstream_rate: self.upstream_rate.unwrap_or(defaults.upstream_rate),
            resource_rate: self.resource_rate.unwrap_or(defaults.resource_rate),
            routes: if self.routes.is_empty() { defaults.routes } else { self.routes },
            attempt_timeout: Duration::from_millis(self.timeout.unwrap_or(if listens { 5000 } else { 250 })),
            in_flight: self.in_flight.unwrap_or(if listens { 256 } else { 64 }) as u32,
            hedge: !self.seen.iter().any(|seen| seen == NO_HEDGE),
            chaos: if self.chaos.is_empty() {
                Plan::default()
            } else {
                plan("--chaos", &self.chaos.join(","))?
            },
        };
        let admin = match self.admin {
            Some(address) => Some(AdminAt {
                address,
                token: self.admin_token,
                linger: Duration::from_secs(self.admin_linger.unwrap_or(0)),
            }),
            None if self.admin_token.is_some() => return Err(misplaced(ADMIN_TOKEN, NEEDS_ADMIN)),
            None if self.admin_linger.is_some() => return Err(misplaced(ADMIN_LINGER, NEEDS_ADMIN)),
            None => None,
        };
        Ok(Args { runtime: self.runtime.unwrap_or(RuntimeName::Smol), limits, mode, admin })
    }
}

impl Limits {
    /// No rates.
    pub(crate) fn none() -> Self {
        Self {
            client_rate: Quota::unlimited(),
            upstream_rate: Quota::unlimited(),
            routes: Vec::new(),
            resource_rate: Quota::unlimited(),
            attempt_timeout: Duration::from_secs(1),
            in_flight: 1,
            hedge: true,
            chaos: Plan::default(),
        }
    }
}

fn number(name: &str, value: &str, low: u64, high: u64, rule: &'static str) -> Result<u64, ArgError> {
    match value.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(wrong(name, value, rule)),
    }
}

fn address(name: &str, value: &str) -> Result<SocketAddr, ArgError> {
    value.parse().map_err(|_| wrong(name, value, "must be an IP address and a port, as 127.0.0.1:8080"))
}

fn quota(name: &str, value: &str, quota: &str) -> Result<Quota, ArgError> {
    quota.parse().map_err(|error: ConfigError| wrong(name, value, error.rule()))
}

fn plan(name: &str, value: &str) -> Result<Plan, ArgError> {
    match value.parse::<Plan>() {
        Ok(plan) if plan.is_empty() => Err(wrong(name, value, "must have a rule, as latency=50ms@10%")),
        Ok(plan) => Ok(plan),
        Err(error) => Err(wrong(name, value, error.rule())),
    }
}

fn route(name: &str, value: &str) -> Result<(String, Quota), ArgError> {
    let Some((pattern, rate)) = value.rsplit_once('=') else {
        return Err(wrong(name, value, "must be a pattern and a rate, as \"POST /orders/{id}=5/s\""));
    };
    let rate = quota(name, value, rate)?;
    let pattern = pattern.trim();
    match Tiered::builder().route(pattern, rate).build() {
        Ok(_) => Ok((pattern.to_owned(), rate)),
        Err(error) => Err(wrong(name, value, error.rule())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(line: &str) -> Args {
        parse(line.split_whitespace().map(str::to_owned)).unwrap().unwrap()
    }

    fn err(line: &str) -> String {
        parse(line.split_whitespace().map(str::to_owned)).unwrap_err().to_string()
    }

    #[test]
    fn without_arguments_the_run_is_self_contained() {
        let args = ok("");
        assert_eq!(args.runtime, RuntimeName::Smol);
        let demo = Demo { requests: 40_000, length: Duration::from_secs(20), clients: 8, seed: 1 };
        assert_eq!(args.mode, Mode::Demo(demo));
        // 2000 requests a second in ten shares are 200 a share.
        assert_eq!(args.limits.client_rate, Quota::per_second(300).burst(60));
    }

    #[test]
    fn values_may_stand_behind_a_space_or_an_equals_sign() {
        assert_eq!(ok("--seed 7 --runtime=tokio"), ok("--seed=7 --runtime tokio"));
        assert_eq!(ok("--runtime tokio").runtime, RuntimeName::Tokio);
    }

    #[test]
    fn help_wins_over_everything_behind_it() {
        assert_eq!(parse(["--help".to_owned(), "--nonsense".to_owned()]), Ok(None));
        assert_eq!(parse(["-h".to_owned()]), Ok(None));
    }

    #[test]
    fn a_gateway_knows_its_upstreams_and_their_prefixes() {
        let args = ok("--listen 127.0.0.1:0 --upstream http://localhost --upstream /api/=http://[::1]:9000/");
        let Mode::Listen(listen) = args.mode else { panic!("not a gateway") };
        assert_eq!(listen.targets[0].authority, "localhost:80");
        assert_eq!(listen.targets[0].prefix, "");
        assert_eq!(listen.targets[1].authority, "[::1]:9000");
        assert_eq!(listen.targets[1].prefix, "/api");
        assert_eq!(args.limits.attempt_timeout, Duration::from_secs(5));
        assert_eq!(args.limits.client_rate, Quota::per_second(1000));
    }

    #[test]
    fn rates_are_quotas_as_the_crate_writes_them() {
        let rate = |rate: &str| {
            parse(["--client-rate".to_owned(), rate.to_owned()]).map(|args| args.unwrap().limits.client_rate)
        };
        assert_eq!(rate("unlimited"), Ok(Quota::unlimited()));
        assert_eq!(rate("600/min burst 2"), Ok(Quota::per_minute(600).burst(2)));
        let error = rate("often").unwrap_err().to_string();
        assert!(error.starts_with("--client-rate \"often\": "), "{error}");
    }

    #[test]
    fn routes_are_patterns_with_a_rate_and_checked_at_once() {
        let routes = |value: &str| {
            parse(["--route".to_owned(), value.to_owned()]).map(|args| args.unwrap().limits.routes)
        };
        let expected = ("POST /orders/{id}".to_owned(), Quota::per_second(5).burst(9));
        assert_eq!(routes("POST /orders/{id} = 5/s burst 9"), Ok(vec![expected]));
        for (value, rule) in
            [("5/s", "a pattern and a rate"), ("orders=5/s", "a path from /"), ("/a=b", "100/s")]
        {
            let error = routes(value).unwrap_err().to_string();
            assert!(error.starts_with("--route \"") && error.contains(rule), "{error}");
        }
    }

    #[test]
    fn chaos_is_a_plan_given_at_once_or_by_and_by() {
        let plan = |line: &str| ok(line).limits.chaos.to_string();
        assert_eq!(plan(""), "");
        assert_eq!(plan("--chaos latency=50ms@10%,error@2%"), "latency=50ms@0.1,error@0.02");
        assert_eq!(plan("--chaos=latency=50ms@10% --chaos error@2%"), "latency=50ms@0.1,error@0.02");
        assert_eq!(plan("--listen 127.0.0.1:0 --upstream http://a --chaos hang@1%"), "hang@0.01");
        assert_eq!(
            err("--chaos error@2%,mayhem@1%"),
            "--chaos \"error@2%,mayhem@1%\": must look like latency=50ms@10%, hang@1%, error@5%, panic@1%, \
             cancel=20ms@1% or skew=-5s@1%"
        );
        assert_eq!(
            err("--chaos error@200%"),
            "--chaos \"error@200%\": must be from 0% to 100%, or from 0 to 1"
        );
        assert!(err("--chaos latency=soon@1%").contains("must be a duration above zero"));
        assert_eq!(err("--chaos ,"), "--chaos \",\": must have a rule, as latency=50ms@10%");
    }

    #[test]
    fn hedges_are_made_unless_told_otherwise() {
        assert!(ok("").limits.hedge);
        assert!(!ok("--no-hedge --seed 3").limits.hedge);
        assert_eq!(err("--no-hedge=1"), "--no-hedge \"1\": takes no value");
        assert_eq!(err("--no-hedge --no-hedge"), "--no-hedge: given twice");
    }

    #[test]
    fn errors_name_the_argument_the_value_and_the_rule() {
        assert_eq!(err("--runtime go"), "--runtime \"go\": must be smol or tokio");
        assert_eq!(err("--clients 0"), "--clients \"0\": must be a whole number, 1..=64");
        assert_eq!(err("--requests many"), "--requests \"many\": must be a whole number, 1..=10000000");
        assert_eq!(err("--seconds 1"), "--seconds \"1\": must be a whole number, 2..=3600");
        assert_eq!(err("--sed 1"), "--sed: there is no such argument");
        assert_eq!(err("help"), "help: there is no such argument");
        assert_eq!(err("--seed"), "--seed: needs a value");
        assert_eq!(err("--seed 1 --seed 2"), "--seed \"2\": given twice");
    }

    #[test]
    fn arguments_of_one_mode_are_refused_in_the_other() {
        assert_eq!(err("--listen 127.0.0.1:0"), "--listen: needs at least one --upstream URL");
        assert_eq!(err("--upstream http://a"), "--upstream: needs --listen ADDR");
        let gateway = "--listen 127.0.0.1:0 --upstream http://a";
        let rule = "belongs to the self-contained run, without --listen";
        assert_eq!(err(&format!("{gateway} --clients 3")), format!("--clients: {rule}"));
        assert_eq!(err(&format!("{gateway} --requests=3")), format!("--requests: {rule}"));
    }

    #[test]
    fn somebody_looks_if_there_is_an_address_for_it() {
        assert_eq!(ok("").admin, None);
        let admin = ok("--admin 127.0.0.1:0").admin.unwrap();
        assert_eq!((admin.address.port(), admin.token, admin.linger), (0, None, Duration::ZERO));
        let admin = ok("--admin 127.0.0.1:0 --admin-token drawbridge --admin-linger 9").admin.unwrap();
        assert_eq!(admin.linger, Duration::from_secs(9));
        let token = admin.token.unwrap();
        assert!(token.is(b"drawbridge") && !format!("{token:?}").contains("drawbridge"));
        assert!(err("--admin 9100").contains("an IP address and a port"));
        assert_eq!(err("--admin-token drawbridge"), "--admin-token: needs --admin ADDR");
        assert_eq!(err("--admin-linger 9"), "--admin-linger: needs --admin ADDR");
        let listen = "--listen 127.0.0.1:0 --upstream http://a --admin 127.0.0.1:0";
        assert!(ok(listen).admin.is_some());
        let rule = "belongs to the self-contained run, without --listen";
        assert_eq!(err(&format!("{listen} --admin-linger 9")), format!("--admin-linger: {rule}"));
        assert_eq!(err("--admin 127.0.0.1:0 --admin 127.0.0.1:0"), "--admin \"127.0.0.1:0\": given twice");
    }

    #[test]
    fn what_is_wrong_with_a_token_is_said_without_it() {
        let rule = "must be 8 to 128 letters, digits or signs, without spaces";
        assert_eq!(err("--admin 127.0.0.1:0 --admin-token moat"), format!("--admin-token: {rule}"));
        let twice = "--admin 127.0.0.1:0 --admin-token drawbridge --admin-token drawbridge";
        assert_eq!(err(twice), "--admin-token: given twice");
    }

    #[test]
    fn addresses_and_urls_are_checked() {
        assert!(err("--listen 8080").contains("an IP address and a port"));
        assert!(err("--upstream https://a").contains("no TLS"));
        assert!(err("--upstream localhost:80").contains("http://"));
        assert!(err("--upstream http://a/path").contains("no path"));
        assert!(err("--upstream http://u:p@a").contains("without user"));
        for port in ["99999", "0", "x", ""] {
            let error = err(&format!("--upstream http://a:{port}"));
            assert!(error.starts_with(&format!("--upstream \"http://a:{port}\": ")), "{error}");
        }
        assert!(err("--upstream api=http://a").contains("begin with /"));
    }
}
