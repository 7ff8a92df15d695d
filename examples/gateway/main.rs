//! The crate's main job: a guarded HTTP/1.1 reverse proxy on real sockets, the same code on smol and on tokio.
//!
//! ```text
//! cargo run --release --example gateway                     a self-contained run of about 20 s that checks itself
//! cargo run --release --example gateway -- --runtime tokio  the same on tokio
//! cargo run --release --example gateway -- --chaos latency=50ms@10%,error@2%
//! cargo run --release --example gateway -- --admin 127.0.0.1:9100 --admin-linger 600
//! cargo run --release --example gateway -- --listen 127.0.0.1:8080 --upstream http://127.0.0.1:9000
//! cargo run --release --example gateway -- --help
//! ```
//!
//! It says what it measures: latencies are those that the clients see, over sockets, counted from the moment at which each
//! request was due. (On tokio they are some two milliseconds longer: its timers, which the demonstration's services and
//! schedule sleep by, tick in milliseconds.)
//!
//! Where to look: [`guard`], [`settings`], [`limits`] with [`pace`], and [`clients`] are what a service would copy (the policies
//! around each upstream and what they are made from, the limits towards it in tiers, the rate of each client), [`background`] is the worker pool, [`server`] bounds and drains connections with a semaphore and cancel
//! tokens, [`admin`] lets people and Prometheus look in and turn the knobs, [`runtime`] is all that differs between executors.

#![forbid(unsafe_code)]

mod admin;
mod app;
mod args;
mod attempts;
mod background;
mod checks;
mod clients;
mod connections;
mod demo;
mod guard;
mod help;
mod histogram;
mod http;
mod limits;
mod load;
mod meter;
mod pace;
mod proxy;
mod report;
mod runtime;
mod screen;
mod server;
mod settings;
mod signals;
mod tally;
mod target;
mod toll;
mod upstreams;

use args::RuntimeName;
use runtime::{Smol, Tokio};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", help::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("gateway: {error}");
            eprintln!("(--help lists the arguments)");
            return ExitCode::from(2);
        }
    };
    // With an admin server chaos may come later.
    if !args.limits.chaos.is_empty() || args.admin.is_some() {
        hush_injected_panics();
    }
    let result = match args.runtime {
        RuntimeName::Smol => Smol::run(|runtime| app::run(runtime, args)),
        RuntimeName::Tokio => Tokio::run(|runtime| app::run(runtime, args)),
    };
    match result.map_err(Into::into).and_then(|result| result) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

/// They are asked for, and counted: no word of them on standard error.
fn hush_injected_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"injected panic") {
            hook(panic);
        }
    }));
}
