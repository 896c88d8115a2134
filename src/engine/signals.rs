//! Signals of the operating system as requests to stop. The one place that knows the platform's signals.

use std::io;

use crate::run::Stop;

/// SIGINT, SIGHUP and SIGTERM, one after another.
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on these signals no longer end the process.
    pub(crate) fn listen() -> io::Result<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Stop {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.hangup.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        }
        #[cfg(not(unix))]
        match tokio::signal::ctrl_c().await {
            Ok(()) => Stop::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }
}
