//! What ends a gateway from outside: Ctrl-C (or a termination signal), and the end of its standard input.

use async_signal::{Signal, Signals};
use cofferdam::sync::CancelToken;
use futures_util::StreamExt;
use std::io::{self, IsTerminal, Read};

/// Cancels `stop` at the first signal; a second one ends the process at once.
pub(crate) async fn watch(stop: CancelToken) -> io::Result<()> {
    #[cfg(unix)]
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    #[cfg(not(unix))]
    let mut signals = Signals::new([Signal::Int])?;
    while let Some(signal) = signals.next().await {
        signal?;
        if !stop.cancel_with("signal") {
            std::process::exit(130);
        }
    }
    Ok(())
}

/// Cancels `stop` when the standard input ends, if it is a terminal or a pipe. (A service manager gives `/dev/null`,
/// which is at its end from the beginning.)
pub(crate) fn watch_stdin(stop: CancelToken) -> io::Result<()> {
    if !io::stdin().is_terminal() && !stdin_is_pipe() {
        return Ok(());
    }
    // A read of the standard input cannot be cancelled on any platform: the thread ends with the process.
    let read = move || {
        let mut stdin = io::stdin().lock();
        let mut ignored = [0; 256];
        while !matches!(stdin.read(&mut ignored), Ok(0) | Err(_)) {}
        stop.cancel_with("standard input closed");
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read).map(drop)
}

#[cfg(unix)]
fn stdin_is_pipe() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let file = io::stdin().as_fd().try_clone_to_owned().map(std::fs::File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(not(unix))]
fn stdin_is_pipe() -> bool {
    false
}
