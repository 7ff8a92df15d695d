//! What `--help` prints.

pub(crate) const HELP: &str = "\
A guarded HTTP/1.1 reverse proxy, built on cofferdam.

  gateway [OPTIONS]                                  the self-contained run
  gateway --listen ADDR --upstream URL... [OPTIONS]  a gateway for your services

The self-contained run starts four small services on loopback (steady; flaky:
errors and a slow tail; mortal: healthy, slow, dead, healed; metered: enforces
rates of its own and says so), sends them real requests through the gateway,
shows what happens, and checks its own sums.

Gateway
  --listen ADDR            address to listen on, as 127.0.0.1:8080 (port 0: any)
  --upstream [/PREFIX=]URL a service, as http://127.0.0.1:9000; repeatable. The
                           longest prefix that fits a request's path wins (the
                           path is passed on whole); several services of one
                           prefix take turns, those with an open circuit are
                           passed over. Stops at Ctrl-C, or when its standard
                           input (a terminal or a pipe) is closed.

Both
  --runtime NAME           smol (default; 2 executor threads) or tokio
  --seconds N              length of the run, 2..=3600 (default 20; with
                           --listen: until stopped)
  --timeout MS             limit of one attempt, 1..=60000 (default 250; with
                           --listen: 5000)
  --in-flight N            attempts at once at one upstream, 1..=65536
                           (default 64; with --listen: 256)
  --no-hedge               without it, an idempotent request that takes longer
                           than four in five of the last ones, and than 5 ms,
                           is sent once more, and the first answer counts; one
                           budget pays for these and for retries
  --chaos PLAN             faults towards every upstream, as the rules
                           latency=50ms@10%, error@2%, hang@1%, panic@1%,
                           cancel=20ms@1%, with commas between, or repeated:
                           each strikes this share of the attempts; skew=+1s@1%
                           and skew=-1s@1% step the clock of the policies at
                           this share of its readings

Looking in
  --admin ADDR             serves what the gateway is doing: a page for people at
                           /, numbers for Prometheus at /metrics, all of it as
                           JSON at /debug, /livez and /readyz. The page forces
                           and resets circuits, and sets chaos and rates; so
                           does, with or without the page,
                             curl ADDR/control -H 'x-gateway-control: 1' \\
                               -d upstream=steady -d circuit=open
                           (circuit open, closed or reset; chaos PLAN or none;
                           rate QUOTA). From this machine only
  --admin-token TOKEN      or from any, with the header
                           authorization: Bearer TOKEN

Rates, as 500/s, \"50/s burst 100\", \"30 per minute\" or unlimited
  --client-rate QUOTA      requests of one client: above it, 429 (default 1000/s;
                           in the self-contained run half as much again as a
                           fair share)
  --upstream-rate QUOTA    calls to one upstream
  --route \"PATTERN=QUOTA\"  calls by one route of an upstream, as
                           \"POST /orders/{id}=5/s burst 10\"; repeatable
  --resource-rate QUOTA    calls for one resource: a path without its query

A call waits for its turn for at most half an attempt's time, else: 503. Without
these, --listen limits no calls, and the self-contained run a little below what
its load needs. In any case what an upstream says in Retry-After, RateLimit and
X-RateLimit-* is heeded: the route that it speaks of pauses as long as it says.

Self-contained run
  --requests N             requests to send, 1..=10000000 (default 40000)
  --clients N              client identities, 1..=64 (default 8); the first is
                           greedy and sends three shares; every twentieth
                           request is a passer-by's
  --seed N                 seed of everything random (default 1)
  --admin-linger N         seconds to stay for those who look, when all has been
                           sent, 1..=3600

A client is known by its x-client header, else by its address.
";
