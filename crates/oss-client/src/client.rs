//! The client: values, and one state per process made on first use.

use std::fmt;

use crate::config::ClientConfig;
use crate::credentials::CredentialsProvider;
use crate::error::Error;
use crate::stats::Snapshot;
use crate::sync::Arc;

/// A handle on one endpoint. Cheap to clone; usable from any thread and after fork. Making one opens nothing.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<ClientConfig>,
    provider: Arc<dyn CredentialsProvider>,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Client({:?}, {:?})", self.shared.config.endpoint, self.shared.provider)
    }
}

/// How hard the service pushes back; the engines shrink their windows by it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// Refusals for throttling so far.
    pub throttles: u64,
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
        Ok(Client { shared: Arc::new(Shared { config: Arc::new(config), provider }) })
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// The counters of this process.
    pub fn stats(&self) -> Snapshot {
        Snapshot::default()
    }

    /// The service's time as far as it is known.
    pub fn server_now(&self) -> oss_protocol::time::UtcTime {
        oss_protocol::time::UtcTime(0)
    }

    /// How hard the service pushes back at the moment.
    pub fn pressure(&self) -> Pressure {
        Pressure::default()
    }
}
