//! Making a connection: lookup, connect, TLS.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::resolve::{LookupFailure, Resolver};
use super::socket::Socket;
use super::stream::Stream;
use super::tls::{self, SettingsFailure, TlsFailure, TlsStream};
use super::tunnel;
use crate::clock::Clock;
use crate::config::{ClientConfig, Proxy, Timeouts, is_metadata_address};
use crate::sync::{Arc, OnceLock};

/// Addresses tried in one attempt.
const MAX_ADDRESSES: usize = 3;

/// What to do when no more files can be opened.
pub(crate) const RAISE_LIMIT: &str = "; the limit of open files is reached, raise it with ulimit -n";

/// One place to connect to. Connections of one origin may be used for any request to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// TLS or not.
    pub(crate) https: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// The name does not exist.
    NoSuchName(String),
    /// The lookup failed for the moment.
    Lookup(String),
    /// Refused, unreachable, timed out, handshake cut; with the system's number.
    Connect(String, i32),
    /// This process may open no more files; with the system's number.
    Files(String, i32),
    /// The peer's certificate or protocol is not acceptable.
    Certificate(String),
    /// The authorities to trust, as configured, are none.
    Settings(String),
    /// There is none to be had, now or later: the proxy will not pass it on, or it must not be made.
    Refused(String),
    /// The caller gave up.
    Cancelled,
}

/// What a connection is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The address of a name.
    Lookup,
    /// TCP.
    Connect,
    /// A way through the proxy.
    Tunnel,
    /// TLS.
    Handshake,
}

impl Step {
    /// The words for the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Step::Lookup => "waiting for the name lookup",
            Step::Connect => "waiting for connect",
            Step::Tunnel => "waiting for the proxy's CONNECT",
            Step::Handshake => "waiting for the TLS handshake",
        }
    }
}

/// Looks around every now and then while there is a wait for a step; true if the connection is given up.
pub(crate) type Look<'l> = &'l mut dyn FnMut(Step) -> bool;

/// The door to the network; a test replaces it.
pub(crate) trait Dial: Send + Sync + Debug {
    /// Connects to `origin`, until `end` at most.
    fn dial(&self, origin: &Origin, end: Instant, look: Look<'_>) -> Result<Box<dyn Stream>, DialFailure>;
}

/// Connects over TCP.
#[derive(Debug)]
pub(crate) struct NetworkDial {
    resolver: Resolver,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
    ca_file: Option<PathBuf>,
    proxy: Option<Proxy>,
    /// Made at the first encrypted connection: reading the system's authorities takes a while.
    tls: OnceLock<Arc<rustls::ClientConfig>>,
}

impl NetworkDial {
    /// Connects as `config` says.
    pub(crate) fn new(config: &ClientConfig, clock: Arc<dyn Clock>) -> Self {
        NetworkDial {
            resolver: Resolver::new(),
            timeouts: config.timeouts.clone(),
            clock,
            ca_file: config.ca_file.clone(),
            proxy: config.proxy.clone(),
            tls: OnceLock::new(),
        }
    }

    fn connect(&self, origin: &Origin, end: Instant, look: Look<'_>) -> Result<Socket, DialFailure> {
        let place = (origin.host.as_str(), origin.port);
        let mut is_given_up = || look(Step::Lookup);
        let until = (end, &mut is_given_up as &mut dyn FnMut() -> bool);
        let found = self.resolver.resolve(place, &self.timeouts, &self.clock, until);
        let addresses = found.map_err(|failure| match failure {
            LookupFailure::NoSuchName(text) => DialFailure::NoSuchName(text),
            LookupFailure::Temporary(text) => DialFailure::Lookup(text),
            LookupFailure::Cancelled => DialFailure::Cancelled,
        })?;
        if origin.host.parse::<IpAddr>().is_err()
            && addresses.iter().any(|address| is_metadata_address(address.ip()))
        {
            let text = format!("{} leads to a link-local or metadata address, not to OSS", origin.host);
            return Err(DialFailure::Refused(text));
        }
        let tried = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        let share = self.timeouts.connect / u32::try_from(tried.len().max(1)).unwrap_or(1);
        let share = share.max(self.timeouts.connect_per_address.min(self.timeouts.connect));
        let mut last = DialFailure::Lookup(format!("{} has no address", origin.host));
        for address in tried {
            match self.connect_to(address, share, end, &mut *look) {
                Ok(socket) => return Ok(socket),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return Err(DialFailure::Cancelled);
                }
                Err(error) => {
                    self.resolver.failed(&origin.host, address.ip(), self.clock.now());
                    last = describe(origin, address, &error);
                }
            }
        }
        Err(last)
    }

    /// Connects to the proxy, and through it where the connection is to be encrypted.
    fn connect_by(
        &self,
        proxy: &Proxy,
        origin: &Origin,
        end: Instant,
        look: Look<'_>,
    ) -> Result<Socket, DialFailure> {
        let place = Origin { https: false, host: proxy.host.clone(), port: proxy.port };
        let mut socket = self.connect(&place, end, &mut *look)?;
        if origin.https {
            let end = end.min(self.clock.now() + self.timeouts.tls_handshake);
            let place = (origin.host.as_str(), origin.port);
            tunnel::open(&mut socket, proxy, place, end, &*self.clock, &mut || look(Step::Tunnel))?;
        }
        Ok(socket)
    }

    /// What all encrypted connections share. Only a success is remembered.
    fn tls_settings(&self) -> Result<&Arc<rustls::ClientConfig>, DialFailure> {
        if let Some(made) = self.tls.get() {
            return Ok(made);
        }
        let made = tls::settings(self.ca_file.as_deref()).map_err(|failure| match failure {
            SettingsFailure::Files(text, errno) => DialFailure::Files(format!("{text}{RAISE_LIMIT}"), errno),
            SettingsFailure::Unusable(text) => DialFailure::Settings(text),
        })?;
        Ok(self.tls.get_or_init(|| made))
    }

    fn connect_to(
        &self,
        address: &SocketAddr,
        share: Duration,
        end: Instant,
        look: Look<'_>,
    ) -> io::Result<Socket> {
        let end = end.min(self.clock.now() + share);
        Socket::connect(address, end, self.timeouts.tick, &*self.clock, &mut || look(Step::Connect))
    }
}

impl Dial for NetworkDial {
    fn dial(&self, origin: &Origin, end: Instant, look: Look<'_>) -> Result<Box<dyn Stream>, DialFailure> {
        let socket = match &self.proxy {
            None => self.connect(origin, end, &mut *look)?,
            Some(proxy) => self.connect_by(proxy, origin, end, &mut *look)?,
        };
        if !origin.https {
            return Ok(Box::new(socket));
        }
        let settings = self.tls_settings()?;
        let end = end.min(self.clock.now() + self.timeouts.tls_handshake);
        let times = (end, self.timeouts.tick);
        let mut look = || look(Step::Handshake);
        let clock = Arc::clone(&self.clock);
        let shaken = TlsStream::handshake(settings, &origin.host, socket, clock, times, &mut look);
        match shaken {
            Ok(stream) => Ok(Box::new(stream)),
            Err(TlsFailure::Refused(text)) => {
                Err(DialFailure::Certificate(format!("{}: {text}", origin.host)))
            }
            Err(TlsFailure::Cut(text)) => {
                Err(DialFailure::Connect(format!("{}: {text}", origin.host), libc::ECONNRESET))
            }
            Err(TlsFailure::Cancelled) => Err(DialFailure::Cancelled),
        }
    }
}

/// The system's number, if `error` says that no more files can be opened.
pub(super) fn out_of_files(error: &io::Error) -> Option<i32> {
    error.raw_os_error().filter(|errno| matches!(*errno, libc::EMFILE | libc::ENFILE))
}

fn describe(origin: &Origin, address: &SocketAddr, error: &io::Error) -> DialFailure {
    let host = &origin.host;
    let place =
        if *host == address.ip().to_string() { address.to_string() } else { format!("{host} ({address})") };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            DialFailure::Connect(format!("{place} refused the connection"), libc::ECONNREFUSED)
        }
        io::ErrorKind::TimedOut => {
            DialFailure::Connect(format!("{place} did not accept the connection in time"), libc::ETIMEDOUT)
        }
        _ => {
            let text = format!("{place} cannot be reached ({error})");
            match out_of_files(error) {
                Some(errno) => DialFailure::Files(text + RAISE_LIMIT, errno),
                None => DialFailure::Connect(text, error.raw_os_error().unwrap_or(libc::ECONNRESET)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use oss_protocol::uri::Endpoint;

    use super::*;
    use crate::clock::SystemClock;

    fn dial_by(lookup: fn(&str) -> Result<Vec<IpAddr>, LookupFailure>) -> NetworkDial {
        let endpoint = Endpoint::parse("http://host.example").expect("an endpoint");
        let mut dial = NetworkDial::new(&ClientConfig::new(endpoint, "cn-local"), Arc::new(SystemClock));
        dial.resolver = Resolver::with_lookup(lookup);
        dial
    }

    fn connect(dial: &NetworkDial, port: u16) -> Result<Socket, DialFailure> {
        let origin = Origin { https: false, host: "host.example".to_owned(), port };
        dial.connect(&origin, SystemClock.now() + Duration::from_secs(5), &mut |_step| false)
    }

    #[test]
    fn test_f04_of_several_addresses_a_dead_one_is_passed_over_and_tried_last_for_a_while() {
        fn several(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            Ok(vec![IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 3])])
        }
        let listener = TcpListener::bind("127.0.0.3:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let dial = dial_by(several);
        connect(&dial, port).expect("the second address, in the same attempt");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let until = (clock.now() + Duration::from_secs(5), &mut (|| false) as &mut dyn FnMut() -> bool);
        let order = dial.resolver.resolve(("host.example", port), &dial.timeouts, &clock, until);
        let order: Vec<_> = order.expect("known").iter().map(SocketAddr::ip).collect();
        assert_eq!(order, [IpAddr::from([127, 0, 0, 3]), IpAddr::from([127, 0, 0, 2])]);
    }

    #[test]
    fn a_name_that_leads_to_a_metadata_address_is_refused() {
        fn hostile(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            Ok(vec![IpAddr::from([127, 0, 0, 3]), IpAddr::from([169, 254, 169, 254])])
        }
        let failure = connect(&dial_by(hostile), 80).expect_err("refused");
        assert!(matches!(&failure, DialFailure::Refused(text) if text.contains("metadata")), "{failure:?}");
    }
}
