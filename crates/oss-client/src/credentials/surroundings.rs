//! What the links of the chain see of the world: variables, the home directory, the clock, trusted authorities.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use oss_protocol::uri::{Addressing, Endpoint};

use super::statics::broken;
use crate::clock::{Clock, SystemClock};
use crate::config::{ProxyChoice, environment_variable, proxy};
use crate::error::Error;
use crate::http::ask::{Patience, Service};
use crate::sync::Arc;

/// Where the original reads, and so a migrated job keeps its identity.
const ORIGINAL_FILE: &str = "/root/.alibabacloud/credentials";
/// STS and other servers that are asked by name; of no use if slower than the wait for a first fetch.
const SERVER: Patience = Patience { connect: Duration::from_secs(5), read: Duration::from_secs(5), tries: 3 };

type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The environment, the clock and the authorities; a test replaces them.
#[derive(Clone)]
pub struct Surroundings {
    variable: Lookup,
    /// The JSON file that is looked at first.
    pub(super) original_file: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    ca_file: Option<PathBuf>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Surroundings({})", self.original_file.display())
    }
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            variable: Arc::new(environment_variable),
            original_file: PathBuf::from(ORIGINAL_FILE),
            clock: Arc::new(SystemClock),
            ca_file: None,
        }
    }
}

impl Surroundings {
    /// The process's own.
    pub fn new() -> Self {
        Surroundings::default()
    }

    /// Trusts the authorities in `ca_file` instead of the system's, wherever a link asks over TLS.
    #[must_use]
    pub fn trusting(self, ca_file: Option<PathBuf>) -> Self {
        Surroundings { ca_file, ..self }
    }

    /// Others; for tests.
    pub fn with(
        variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        original_file: impl Into<PathBuf>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        Surroundings {
            variable: Arc::new(variable),
            original_file: original_file.into(),
            ca_file,
            ..Surroundings::default()
        }
    }

    /// One environment variable; unset and empty are the same.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Whether a variable says `true` (or 1, yes, on).
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.variable(name)
            .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"))
    }

    /// A file below the home directory; `None` where there is no home.
    pub(super) fn home_file(&self, name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.variable("HOME")?).join(name))
    }

    /// A public server: over https it is reached by the proxy of the environment.
    ///
    /// # Errors
    /// `Config`, if the environment names a proxy that is not spoken.
    pub(super) fn public_server(&self, endpoint: &Endpoint) -> Result<Service, Error> {
        let proxy = proxy::choose(&ProxyChoice::Environment, endpoint, &|name| self.variable(name))?;
        Ok(Service::new(endpoint, SERVER, self.ca_file.clone(), proxy, Arc::clone(&self.clock)))
    }

    /// A server that is near, never behind a proxy.
    pub(super) fn server(&self, endpoint: &Endpoint) -> Service {
        self.server_with(endpoint, SERVER)
    }

    /// The same, asked with other patience.
    pub(super) fn server_with(&self, endpoint: &Endpoint, patience: Patience) -> Service {
        Service::new(endpoint, patience, self.ca_file.clone(), None, Arc::clone(&self.clock))
    }

    /// The endpoint that a variable names in place of the usual one.
    ///
    /// # Errors
    /// It is no endpoint, or clear text to another machine: keys would travel readable.
    pub(super) fn endpoint_from(&self, name: &str) -> Result<Option<Endpoint>, Error> {
        let Some(text) = self.variable(name) else { return Ok(None) };
        let endpoint = Endpoint::parse_for(&text, Addressing::Cname)
            .map_err(|error| broken("environment", &format!("{name}: {error}")))?;
        if endpoint.scheme == oss_protocol::uri::Scheme::Http && !is_loopback(&endpoint.host) {
            let what = format!(
                "{name} is clear text to {}; only https or a loopback address is taken",
                endpoint.host
            );
            return Err(broken("environment", &what));
        }
        Ok(Some(endpoint))
    }
}

/// Whether `host` is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
