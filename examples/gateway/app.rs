//! Puts the parts together, runs them, takes them down in order, and reports.

use crate::admin::{Admin, AdminAt, checks};
use crate::args::{Args, Limits, Mode};
use crate::background::{Background, BackgroundStats};
use crate::clients::Clients;
use crate::connections::Connections;
use crate::demo::Demo;
use crate::guard::Guard;
use crate::http::BoxError;
use crate::load::{self, LoadReport, Progress};
use crate::proxy::{Gateway, Upstream};
use crate::report::{Report, UpstreamReport};
use crate::runtime::Runtime;
use crate::screen::{Head, Row, Screen, seconds};
use crate::server::Server;
use crate::settings::{Breaks, Settings};
use crate::signals;
use crate::tally::{Counters, Outcome};
use crate::target::{Listen, Target, told_apart};
use crate::upstreams::{NAMES, ServiceSaw, Services};
use cofferdam::health::{GracefulShutdown, Health};
use cofferdam::sync::CancelToken;
use cofferdam::telemetry::Telemetry;
use cofferdam::telemetry::inspect::Roster;
use futures_util::future::{Either, join, select};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Client connections at once.
const CONNECTIONS: u32 = 8192;
/// For requests that have begun, when the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);
/// For tasks that have nothing more to wait for.
const SETTLE: Duration = Duration::from_secs(2);

/// Runs to the end; whether all sums came out.
pub(crate) async fn run<R: Runtime>(runtime: R, args: Args) -> Result<bool, BoxError> {
    let stop = CancelToken::new();
    let signals = stop.child();
    let admin = args.admin.as_ref();
    let running = async {
        match args.mode {
            Mode::Demo(demo) => self_contained(&runtime, &demo, &args.limits, admin, &stop, &signals).await,
            Mode::Listen(listen) => serve(&runtime, listen, &args.limits, admin, &stop, &signals).await,
        }
    };
    // To the very end, so that a second signal cuts the drain short.
    let watching = async {
        if let Err(error) = signals::watch(signals.clone()).await {
            eprintln!("gateway: cannot watch for signals: {error}");
        }
        std::future::pending::<()>().await;
    };
    match select(pin!(running), pin!(watching)).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Ok(false),
    }
}

/// A gateway that runs.
struct Running<R> {
    gateway: Arc<Gateway<R>>,
    server: Server,
    admin: Option<Admin>,
    /// If somebody looks.
    health: Option<Health>,
    started: Instant,
    in_flight: u32,
}

impl<R: Runtime> Running<R> {
    async fn start(
        runtime: &R,
        address: SocketAddr,
        targets: Vec<Target>,
        limits: &Limits,
        settings: &Settings,
        admin: Option<&AdminAt>,
    ) -> Result<Self, BoxError> {
        let clock = runtime.clock();
        let started = clock.now();
        let telemetry = admin.map(|_| Telemetry::builder().clock(clock.clone()).build()).transpose()?;
        let mut upstreams = Vec::new();
        for (index, target) in told_apart(targets).into_iter().enumerate() {
            let settings = Settings { live_chaos: telemetry.is_some(), ..settings.of_upstream(index) };
            let mut guard = Guard::new(&settings, limits, &clock, started)?;
            if let Some(telemetry) = &telemetry {
                guard = guard.watched(telemetry, &target.name)?;
            }
            upstreams.push(Upstream {
                index,
                guard,
                connections: Connections::new(runtime, target.authority, limits.in_flight as usize),
                counters: Counters::default(),
                name: target.name,
                prefix: target.prefix,
            });
        }
        let gateway = Arc::new(Gateway {
            clients: Clients::new(limits, &clock)?,
            background: Background::start(runtime, upstreams.len(), telemetry.is_some())?,
            upstreams,
            clock,
            unrouted: Counters::default(),
            turn: AtomicUsize::new(0),
            inside: telemetry.as_ref().map(|_| Roster::on(runtime.clock())),
        });
        let handler = {
            let gateway = Arc::clone(&gateway);
            move |request, peer| Arc::clone(&gateway).handle(request, peer)
        };
        let server = Server::start(runtime, address, CONNECTIONS, handler)
            .await
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        let (mut health, mut page) = (None, None);
        if let Some((at, telemetry)) = admin.zip(telemetry.as_ref()) {
            let health = health.insert(checks(&gateway, &server)?);
            page = Some(Admin::start(runtime, at, telemetry, health, &gateway, &server, started).await?);
        }
        Ok(Self { gateway, server, admin: page, health, started, in_flight: limits.in_flight })
    }

    fn elapsed(&self) -> Duration {
        self.gateway.clock.now().saturating_duration_since(self.started)
    }

    fn rows(&self) -> Vec<Row> {
        let row = |upstream: &Upstream<R>| {
            let limited = upstream.counters.of(Outcome::Limited);
            let guard = upstream.guard.stats();
            Row {
                name: upstream.name.clone(),
                circuit: upstream.guard.circuit(),
                in_flight: guard.in_flight,
                allowed: upstream.counters.arrived().saturating_sub(limited),
                limited,
                paced: upstream.counters.of(Outcome::Paced),
                refused: upstream.counters.of(Outcome::CircuitOpen) + upstream.counters.of(Outcome::Full),
                retried: guard.attempts.retries,
                hedged: guard.attempts.hedges,
            }
        };
        self.gateway.upstreams.iter().map(row).collect()
    }

    fn arrived(&self) -> u64 {
        self.gateway.upstreams.iter().map(|upstream| upstream.counters.arrived()).sum()
    }

    /// Where to look in.
    fn announce(&self) {
        if let Some(admin) = &self.admin {
            println!("admin: http://{}/", admin.address());
        }
    }

    /// Draws until dropped.
    async fn show(&self, screen: &mut Screen, progress: Option<(&Progress, u64)>) {
        loop {
            self.draw(screen, progress);
            self.gateway.clock.sleep(screen.period()).await;
        }
    }

    fn draw(&self, screen: &mut Screen, progress: Option<(&Progress, u64)>) {
        let elapsed = self.elapsed();
        let (done, of) = match progress {
            Some((progress, of)) => (progress.received(), Some(of)),
            None => (self.arrived(), None),
        };
        let rate = screen.rate(elapsed, done);
        screen.draw(&Head { done, of, elapsed, rate }, &self.rows());
    }

    /// Stops in order: out of service, no new connections, requests that have begun to their end, the log's last records, the
    /// upstreams' connections. Then everything that was counted.
    async fn shutdown(
        self,
        runtime: &R,
        load: Option<LoadReport>,
        services: Option<Services>,
    ) -> Result<Report, BoxError> {
        let ended = Arc::new(Ended::default());
        let steps = self.steps(runtime, services, &ended).run().await;
        if !steps.is_clean() {
            eprintln!("gateway: {}", steps.to_string().replace('\n', "; "));
        }
        let lost = "the gateway has not stopped in time";
        let report = |upstream: &Upstream<R>| {
            let (changes, history) = upstream.guard.history();
            UpstreamReport {
                name: upstream.name.clone(),
                arrived: upstream.counters.arrived(),
                outcomes: upstream.counters.outcomes(),
                summary: self.gateway.background.summary(upstream.index),
                guard: upstream.guard.stats(),
                limits: upstream.guard.limits(),
                changes,
                history,
            }
        };
        Ok(Report {
            runtime: R::NAME,
            elapsed: *ended.elapsed.get().ok_or(lost)?,
            upstreams: self.gateway.upstreams.iter().map(report).collect(),
            unrouted: self.gateway.unrouted.arrived(),
            clients: self.gateway.clients.stats(),
            background: *ended.background.get().ok_or(lost)?,
            in_flight: self.in_flight,
            connections: self.server.connections(),
            malformed: self.server.malformed(),
            cut: *ended.cut.get().ok_or(lost)?,
            open_connections: self.server.open_connections(),
            live_tasks: runtime.live_tasks(),
            load,
            services_saw: ended.saw.get().cloned(),
        })
    }

    /// From where work comes in to where it ends up; up to the last but two it can be seen how it goes.
    fn steps(&self, runtime: &R, services: Option<Services>, ended: &Arc<Ended>) -> GracefulShutdown {
        let clock = runtime.clock();
        let (health, server, gateway) = (self.health.clone(), self.server.clone(), Arc::clone(&self.gateway));
        let [first, second, third] = [(); 3].map(|()| Arc::clone(ended));
        let (log, upstreams) = (Arc::clone(&gateway), Arc::clone(&gateway));
        let (admin, runtime, started) = (self.admin.clone(), runtime.clone(), self.started);
        GracefulShutdown::builder()
            .clock(clock.clone())
            .limit(2 * DRAIN + 5 * SETTLE)
            .step("out of service", SETTLE, move || async move {
                health.iter().for_each(|health| health.take_out_of_service("the gateway is stopping"));
            })
            .step("intake", DRAIN + SETTLE, move || async move {
                let cut = server.shutdown(DRAIN).await;
                let _ = (first.cut.set(cut), first.elapsed.set(gateway.clock.now() - started));
            })
            .step("access log", DRAIN + SETTLE, move || async move {
                let _ = second.background.set(log.background.shutdown(DRAIN).await);
            })
            .step("idle connections", SETTLE, move || async move {
                upstreams.upstreams.iter().for_each(|upstream| upstream.connections.close_idle());
            })
            .step("admin", 2 * SETTLE, move || async move {
                if let Some(admin) = admin {
                    admin.shutdown(SETTLE).await;
                }
            })
            .step("services", 2 * SETTLE, move || async move {
                if let Some(services) = services {
                    let _ = third.saw.set(services.saw());
                    services.shutdown(SETTLE).await;
                }
            })
            // What is left has nothing to wait for but its turn on the executor.
            .step("tasks", SETTLE, move || async move {
                while runtime.live_tasks() > 0 {
                    clock.sleep(Duration::from_millis(5)).await;
                }
            })
            .build()
    }
}

/// What the steps of a shutdown leave behind.
#[derive(Default)]
struct Ended {
    cut: OnceLock<u32>,
    elapsed: OnceLock<Duration>,
    background: OnceLock<BackgroundStats>,
    saw: OnceLock<Vec<ServiceSaw>>,
}

async fn self_contained<R: Runtime>(
    runtime: &R,
    demo: &Demo,
    limits: &Limits,
    admin: Option<&AdminAt>,
    stop: &CancelToken,
    signals: &CancelToken,
) -> Result<bool, BoxError> {
    let services = Services::start(runtime, demo, stop).await?;
    let targets = NAMES.iter().zip(services.addresses()).map(|(name, address)| Target {
        prefix: format!("/{name}"),
        authority: address.to_string(),
        name: (*name).to_owned(),
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let settings = Settings::new(limits, Breaks::demo(demo.length), demo.seed);
    let running = Running::start(runtime, address, targets.collect(), limits, &settings, admin).await?;
    println!(
        "cofferdam gateway on {} at {}: {} clients, {} requests in {}, seed {}",
        R::NAME,
        running.server.address(),
        demo.clients,
        crate::screen::grouped(demo.requests),
        crate::screen::seconds(demo.length),
        demo.seed,
    );
    println!("each upstream: {}", running.gateway.upstreams[0].guard.describe());
    running.announce();
    print!("{limits}");
    let progress = Arc::new(Progress::default());
    let mut screen = Screen::new();
    let shown = (&*progress, demo.requests);
    let load = {
        let drawing = CancelToken::new();
        let load = async {
            let load = load::run(runtime, demo, running.server.address(), &progress, signals).await;
            drawing.cancel();
            load
        };
        let (load, _) = join(load, drawing.run(running.show(&mut screen, Some(shown)))).await;
        load
    };
    running.draw(&mut screen, Some(shown));
    println!();
    if let Some((admin, at)) = running.admin.as_ref().zip(admin).filter(|(_, at)| !at.linger.is_zero()) {
        println!("all is sent; http://{}/ is there for {} more", admin.address(), seconds(at.linger));
        drop(runtime.clock().timeout(at.linger, signals.cancelled()).await);
    }
    stop.cancel();
    let report = running.shutdown(runtime, Some(load), Some(services)).await?;
    Ok(conclude(&report))
}

async fn serve<R: Runtime>(
    runtime: &R,
    listen: Listen,
    limits: &Limits,
    admin: Option<&AdminAt>,
    stop: &CancelToken,
    signals: &CancelToken,
) -> Result<bool, BoxError> {
    let clock = runtime.clock();
    let targets = listen.targets.clone();
    let settings = Settings::new(limits, Breaks::service(), fastrand::u64(..));
    let running = Running::start(runtime, listen.address, listen.targets, limits, &settings, admin).await?;
    println!("cofferdam gateway on {}, listening on http://{}", R::NAME, running.server.address());
    for (target, upstream) in targets.iter().zip(&running.gateway.upstreams) {
        let prefix = if target.prefix.is_empty() { "/" } else { &target.prefix };
        println!("  {prefix} -> http://{}: {}", target.authority, upstream.guard.describe());
    }
    running.announce();
    print!("{limits}");
    println!("stops at Ctrl-C or at the end of standard input\n");
    signals::watch_stdin(signals.clone())?;
    let mut screen = Screen::new();
    {
        let drawing = CancelToken::new();
        let waiting = async {
            match listen.length {
                Some(length) => drop(clock.timeout(length, signals.cancelled()).await),
                None => drop(signals.cancelled().await),
            }
            drawing.cancel();
        };
        drop(join(waiting, drawing.run(running.show(&mut screen, None))).await);
    }
    running.draw(&mut screen, None);
    println!();
    stop.cancel();
    let report = running.shutdown(runtime, None, None).await?;
    Ok(conclude(&report))
}

/// Prints the report and its sums; whether they came out.
fn conclude(report: &Report) -> bool {
    println!("{report}");
    println!("checks");
    let checks = report.checks();
    for check in &checks {
        println!("  {}  {}", if check.holds { "ok    " } else { "FAILED" }, check.text);
    }
    if let Some(load) = &report.load {
        let sent = load.upstreams.iter().map(|seen| seen.sent).sum::<u64>();
        if sent < load.planned {
            println!("  note    {} of {} requests were not sent in time", load.planned - sent, load.planned);
        }
        if let Some(complaint) = &load.complaint {
            println!("  note    a client got no response: {complaint}");
        }
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.holds).collect();
    for check in &failed {
        eprintln!("gateway: check failed: {}", check.text);
    }
    failed.is_empty()
}
