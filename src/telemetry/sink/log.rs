//! To the `log` crate.

use crate::telemetry::{Level, Logger, Record};

/// Hands lines of the log to the [`log`] facade. The target is `cofferdam::<component>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogFacade;

fn level(level: Level) -> log::Level {
    match level {
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    }
}

impl Logger for LogFacade {
    fn is_enabled(&self, wanted: Level) -> bool {
        level(wanted) <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let target = format!("cofferdam::{}", record.component());
        log::log!(target: &target, level(record.level()), "{record}");
    }
}
