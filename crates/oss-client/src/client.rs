//! The client: values, and one state per process made on first use.

use std::fmt;
use std::time::Duration;

use oss_protocol::time::UtcTime;

use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
use crate::config::ClientConfig;
use crate::credentials::{CredentialsProvider, Identity};
use crate::error::{Error, ErrorKind};
use crate::fork::ForkCell;
use crate::stats::{Counter, Snapshot};
use crate::sync::Arc;
use crate::transport::Transport;

/// A handle on one endpoint. Cheap to clone; usable from any thread and after fork. Making one opens nothing.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<ClientConfig>,
    provider: Arc<dyn CredentialsProvider>,
    clock: Arc<dyn Clock>,
    /// Connections, credentials, counters: each process makes its own.
    state: ForkCell<Transport>,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Client({}, {:?})", self.shared.config.endpoint, self.shared.provider)
    }
}

/// How hard the service pushes back; the engines shrink their windows by it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// How often refusals began to hold the pace.
    pub pacings: u64,
    /// Requests a second that go at most; None while nothing holds them back.
    pub requests_per_second: Option<f64>,
    /// The retry budget is empty: two requests a second.
    pub slow_mode: bool,
    /// Seconds until requests may go again; 0 = now.
    pub pause_seconds: f64,
}

impl Client {
    /// Makes a client; no socket, thread or file is touched before the first request.
    ///
    /// # Errors
    /// `Config` when the values do not fit together.
    pub fn new(config: ClientConfig, provider: Arc<dyn CredentialsProvider>) -> Result<Client, Error> {
        Client::with_clock(config, provider, Arc::new(SystemClock))
    }

    /// As [`Client::new`], with another clock for signing and timers.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_clock(
        config: ClientConfig,
        provider: Arc<dyn CredentialsProvider>,
        clock: Arc<dyn Clock>,
    ) -> Result<Client, Error> {
        let timeouts = &config.timeouts;
        if timeouts.tick.is_zero() || timeouts.tick > timeouts.deadline {
            return Err(Error::config("tick_seconds must be above 0 and below deadline_seconds"));
        }
        let state = ForkCell::new();
        Ok(Client { shared: Arc::new(Shared { config: Arc::new(config), provider, clock, state }) })
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// The counters of this process; all zero before its first request.
    pub fn stats(&self) -> Snapshot {
        self.shared.state.peek().map(|transport| transport.stats.snapshot()).unwrap_or_default()
    }

    /// Raises a counter that an engine keeps.
    pub fn count(&self, counter: Counter) {
        if let Ok(transport) = self.transport("count") {
            transport.stats.add(counter, 1);
        }
    }

    /// How long a body of about `bytes` usually takes, once this process has received enough of them.
    pub(crate) fn usual_time(&self, bytes: u64) -> Option<Duration> {
        self.shared.state.peek()?.usual.median(bytes)
    }

    /// How hard the service pushes back at the moment.
    pub fn pressure(&self) -> Pressure {
        let Some(transport) = self.shared.state.peek() else { return Pressure::default() };
        let (pacings, slow_mode, pause) = transport.pressure();
        let requests_per_second = transport.pace();
        Pressure { pacings, requests_per_second, slow_mode, pause_seconds: pause.as_secs_f64() }
    }

    /// The service's clock as far as this process has learned it.
    pub fn server_now(&self) -> UtcTime {
        self.shared.state.peek().map_or_else(|| self.shared.clock.wall(), |transport| transport.server_now())
    }

    /// Whose requests these are; asks the source of the credentials if they are not there yet.
    ///
    /// # Errors
    /// `Credentials`, naming the source.
    pub fn identity(&self, cancel: &Cancel) -> Result<Identity, Error> {
        self.transport("identity")?.identity(cancel)
    }

    /// This process's state.
    pub(crate) fn transport(&self, operation: &'static str) -> Result<&Transport, Error> {
        let shared = &self.shared;
        let make = || {
            Transport::new(
                Arc::clone(&shared.config),
                Arc::clone(&shared.provider),
                Arc::clone(&shared.clock),
            )
        };
        let state = shared.state.get(make).ok_or_else(|| {
            let text = "this client was passed through too many nested forks; make a new one";
            Error::new(ErrorKind::Forked, operation, text)
        })?;
        Ok(state)
    }
}
