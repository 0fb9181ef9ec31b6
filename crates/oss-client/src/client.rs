//! The client: values, and one state per process made on first use.

use std::fmt;
use std::time::{Duration, Instant};

use oss_protocol::time::UtcTime;

use crate::cancel::Cancel;
use crate::clock::{self, Clock};
use crate::config::ClientConfig;
use crate::credentials::{CredentialsProvider, Identity};
use crate::error::{Error, ErrorKind};
use crate::fork::ForkCell;
use crate::stats::{Amount, Counter, Snapshot};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, OnceLock, Weak};
use crate::telling;
use crate::transport::{Outlook, Transport};
use crate::usual::Times;

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
    /// Is told the last counters when the last handle goes.
    at_end: OnceLock<AtEnd>,
}

type AtEnd = Box<dyn Fn(&Snapshot) + Send + Sync>;

/// Finds a client as long as somebody has a handle on it.
#[derive(Clone)]
pub struct WeakClient {
    shared: Weak<Shared>,
}

impl WeakClient {
    /// A handle; `None` once the last one went.
    pub fn upgrade(&self) -> Option<Client> {
        self.shared.upgrade().map(|shared| Client { shared })
    }
}

impl fmt::Debug for WeakClient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WeakClient({:?})", self.upgrade())
    }
}

impl Shared {
    fn stats(&self) -> Snapshot {
        let Some(transport) = self.state.peek() else { return Snapshot::default() };
        let mut snapshot = transport.stats.snapshot();
        add_state(&mut snapshot, transport, self.clock.now());
        add_outlook(&mut snapshot, &transport.outlook());
        snapshot
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(at_end) = self.at_end.get() {
            at_end(&self.stats());
        }
    }
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
    /// Refusals found a pace, or requests wait now for the user's bound.
    pub holds_back: bool,
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
        Client::with_clock(config, provider, clock::system())
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
        let config = Arc::new(config);
        let shared = Shared { config, provider, clock, state, at_end: OnceLock::new() };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// What timers are read from.
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.shared.clock.as_ref()
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// The counters and the state of this process; nothing before its first request.
    pub fn stats(&self) -> Snapshot {
        self.shared.stats()
    }

    /// Raises a counter that an engine keeps.
    pub fn count(&self, counter: Counter) {
        if let Ok(transport) = self.transport("count") {
            transport.stats.add(counter, 1);
        }
    }

    /// Adds a time to a counter of times.
    pub(crate) fn count_time(&self, counter: Counter, time: Duration) {
        if let Ok(transport) = self.transport("count") {
            transport.stats.add_time(counter, time);
        }
    }

    /// Raises a counter by `amount`.
    pub(crate) fn count_many(&self, counter: Counter, amount: u64) {
        if let Ok(transport) = self.transport("count") {
            transport.stats.add(counter, amount);
        }
    }

    /// Takes note of how long a whole object took that came in parts.
    pub(crate) fn note_whole_object(&self, took: Duration) {
        if let Some(transport) = self.shared.state.peek() {
            transport.stats.whole_object.note(took);
        }
    }

    /// How long a body of about `bytes` usually takes, once this process has received enough of them.
    pub(crate) fn usual_times(&self, bytes: u64) -> Option<Times> {
        self.shared.state.peek()?.usual.times(bytes)
    }

    /// How hard the service pushes back at the moment.
    pub fn pressure(&self) -> Pressure {
        let Some(transport) = self.shared.state.peek() else { return Pressure::default() };
        let (pacings, slow_mode, pause) = transport.pressure();
        let holds_back = transport.holds_back();
        Pressure { pacings, holds_back, slow_mode, pause_seconds: pause.as_secs_f64() }
    }

    /// Lets `told` have the last counters, from whichever thread gives up the last handle: a reader or a writer may
    /// have it. One alone is told.
    pub fn at_end(&self, told: impl Fn(&Snapshot) + Send + Sync + 'static) {
        self.shared.at_end.get_or_init(|| Box::new(told));
    }

    /// How many handles on this client there are, this one included.
    pub fn handles(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Finds this client later, and keeps nothing of it alive.
    pub fn downgrade(&self) -> WeakClient {
        WeakClient { shared: Arc::downgrade(&self.shared) }
    }

    /// As [`Client::stats`] of each, to be added up: a pace that several share is told by one of them, and so is the
    /// bound of what all read ahead.
    pub fn stats_of_all(clients: &[Client]) -> Vec<Snapshot> {
        let told = |(index, client): (usize, &Client)| {
            let mut snapshot = client.stats();
            if clients[..index].iter().any(|other| client.shares_pace_with(other)) {
                snapshot.leave_out("requests_per_second_limit");
            }
            snapshot
        };
        let mut all: Vec<Snapshot> = clients.iter().enumerate().map(told).collect();
        let limits = all.iter().map(|snapshot| snapshot.get("read_ahead_limit_bytes"));
        let largest = limits.enumerate().max_by_key(|&(_, limit)| limit).map(|(index, _)| index);
        let others = all.iter_mut().enumerate().filter(|&(index, _)| Some(index) != largest);
        others.for_each(|(_, snapshot)| snapshot.leave_out("read_ahead_limit_bytes"));
        all
    }

    fn shares_pace_with(&self, other: &Client) -> bool {
        let (own, others) = (self.shared.state.peek(), other.shared.state.peek());
        own.zip(others).is_some_and(|(own, others)| own.shares_pace_with(others))
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
    pub(crate) fn transport(&self, operation: &'static str) -> Result<&Arc<Transport>, Error> {
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
        if !state.is_known.load(Ordering::Relaxed) && !state.is_known.swap(true, Ordering::AcqRel) {
            telling::enter(state);
        }
        Ok(state)
    }
}

/// What its streams, uploads and workers hold.
fn add_state(snapshot: &mut Snapshot, transport: &Transport, now: Instant) {
    let load = transport.crowd.load(now);
    let counts = [
        ("read_ahead_objects", load.read_ahead_objects),
        ("read_ahead_bytes", load.read_ahead_bytes),
        ("read_ahead_limit_bytes", load.read_ahead_limit_bytes),
        ("uploads_open", load.uploads_open),
        ("upload_buffer_bytes", load.upload_buffer_bytes),
        ("upload_parts_waiting", load.upload_parts_waiting),
        ("jobs_waiting", load.jobs_waiting),
        ("worker_threads", load.worker_threads),
        ("in_flight_limit", load.in_flight_limit),
        ("in_flight_limit_before", load.in_flight_limit_before),
    ];
    counts.into_iter().for_each(|(name, count)| snapshot.set(name, Amount::Count(count)));
    if let Some(age) = load.in_flight_limit_age {
        snapshot.set("in_flight_limit_age_seconds", Amount::Real(age.as_secs_f64()));
    }
}

/// Its limits, connections, identity and clock.
fn add_outlook(snapshot: &mut Snapshot, outlook: &Outlook) {
    let limit = outlook.requests_per_second_limit.unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is small and positive"
    )]
    snapshot.set("requests_per_second_limit", Amount::Count(limit.round() as u64));
    snapshot.set("requests_per_second", Amount::Real(outlook.requests_per_second));
    snapshot.set("pause_left_seconds", Amount::Real(outlook.pause_seconds));
    snapshot.set("slow_mode", Amount::Count(outlook.is_in_slow_mode.into()));
    snapshot.set("retry_tokens", Amount::Count(outlook.retry_tokens));
    snapshot.set("retry_tokens_limit", Amount::Count(outlook.retry_tokens_limit));
    snapshot.set("connections_in_use", Amount::Count(outlook.connections_in_use));
    snapshot.set("connections_idle", Amount::Count(outlook.connections_idle));
    snapshot.set(format!("credentials_source.{}", outlook.credentials_source), Amount::Count(1));
    #[expect(clippy::cast_precision_loss, reason = "an offset is far below 2^52 seconds")]
    snapshot.set("clock_offset_seconds", Amount::Real(outlook.clock_offset_seconds as f64));
    if let Some(ago) = outlook.limit_lowered_seconds_ago {
        snapshot.set("requests_per_second_limit_age_seconds", Amount::Real(ago));
    }
    if let Some(seconds) = outlook.credentials_expire_seconds {
        snapshot.set("credentials_expire_seconds", Amount::Real(seconds));
    }
}
