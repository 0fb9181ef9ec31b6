//! Every request passes here: sign, send, classify, repeat, resume. The only place that repeats.
//!
//! One operation is a [`call::Call`]: its deadline, what was tried, what it cost. Each attempt is an
//! [`exchange::Exchange`]: a connection from the pool or a new one, a head signed afresh, an answer. A
//! failure goes back to the call, which asks `retry` and either pauses or gives the operation up. Small
//! answers are read whole ([`Transport::execute`]); bodies of objects go straight into their destination
//! ([`fetch`]).

mod account;
mod call;
#[cfg(test)]
mod crowd_model;
mod exchange;
pub(crate) mod fetch;
mod gate;
mod meter;
mod outlook;
mod pace;
mod pacer;
mod paces;
mod route;

use std::cell::RefCell;
use std::time::Duration;

use oss_protocol::error::ServiceError;
use oss_protocol::operation::Operation;
use oss_protocol::sign::RequestParts;
use oss_protocol::time::UtcTime;

use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::clock::{Clock, ServerClock};
use crate::config::ClientConfig;
use crate::credentials::{CredentialsCache, CredentialsProvider, Identity};
use crate::error::{Error, ErrorKind};
use crate::http::dial::{Dial, NetworkDial};
use crate::http::pool::Pool;
use crate::http::watch::{Deadline, Doing, Ticks};
use crate::random::Dice;
use crate::retry::Cause;
use crate::stats::{Counter, Outcome, Stats};
use crate::subject::Subject;
use crate::sync::Arc;
use crate::sync::atomic::AtomicBool;
use crate::telling::board::Board;
use crate::telling::crowd::Crowd;
use crate::usual::Usual;

use call::Call;
use exchange::Exchange;
use gate::Gate;
pub(crate) use outlook::Outlook;
use route::Routes;

/// What to do when an attempt of a publishing request may or may not have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnAmbiguous {
    /// Send it again: the request says the same thing twice.
    #[default]
    Repeat,
    /// Return the error, with `ambiguous` set, so that the caller can look first (`faults.md`, 4.2).
    Return,
}

/// One request, as often as it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    /// Name of the operation in errors.
    pub(crate) label: &'static str,
    pub(crate) method: &'static str,
    pub(crate) bucket: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    /// Decoded names and values; an empty value is sent as the bare name.
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// Headers that are part of the signature: `x-oss-*`, `content-type`, `content-md5`.
    pub(crate) signed: &'a [(&'a str, &'a str)],
    /// The others.
    pub(crate) plain: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [&'a [u8]],
    pub(crate) on_ambiguous: OnAmbiguous,
    /// Bytes of the answer's body that are accepted.
    pub(crate) body_limit: usize,
    /// One of many reads of a dataset.
    pub(crate) is_sample: bool,
}

/// Largest answer that is not a listing: 1 MiB.
const XML_BYTES: usize = 1 << 20;
/// Largest error document: 64 KiB.
const ERROR_BYTES: usize = 64 << 10;

impl<'a> Request<'a> {
    /// A request without query, headers and body.
    pub(crate) fn new(
        operation: Operation,
        method: &'static str,
        bucket: Option<&'a str>,
        key: Option<&'a str>,
    ) -> Self {
        Request {
            operation,
            label: operation.name(),
            method,
            bucket,
            key,
            query: &[],
            signed: &[],
            plain: &[],
            body: &[],
            on_ambiguous: OnAmbiguous::Repeat,
            body_limit: XML_BYTES,
            is_sample: false,
        }
    }
}

/// A small answer, read whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Requests sent until this answer.
    pub(crate) attempts: u32,
    /// An earlier attempt of this call may have been carried out.
    pub(crate) own_repeat: bool,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Why an answer with a good status is not accepted.
#[derive(Debug)]
pub(crate) enum BadAnswer {
    /// It makes no sense.
    Protocol(String),
    /// A checksum differs.
    Integrity(String),
    /// There is an error inside.
    Refused(Box<ServiceError>),
}

/// The state of one process for one endpoint.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) config: Arc<ClientConfig>,
    clock: Arc<ServerClock>,
    credentials: CredentialsCache,
    provider: Arc<dyn CredentialsProvider>,
    dial: Box<dyn Dial>,
    pool: Pool,
    routes: Routes,
    gate: Gate,
    ticks: Ticks,
    dice: Dice,
    pub(crate) usual: Usual,
    pub(crate) stats: Stats,
    /// The operations under way.
    pub(crate) board: Board,
    /// The streams, uploads and workers.
    pub(crate) crowd: Crowd,
    /// Whether the process knows of this client.
    pub(crate) is_known: AtomicBool,
}

impl Transport {
    /// Opens nothing yet.
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        provider: Arc<dyn CredentialsProvider>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let server_clock = Arc::new(ServerClock::new(Arc::clone(&clock)));
        let timeouts = &config.timeouts;
        let gate = Gate::new(&config.retry, clock.now());
        if let Some(pace) = paces::within_bound(&config, &*clock) {
            gate.join(pace);
        }
        Transport {
            credentials: CredentialsCache::new(
                Arc::clone(&provider),
                &config.region,
                Arc::clone(&server_clock),
            ),
            provider,
            pool: Pool::new(config.limits.max_concurrency, timeouts.idle, timeouts.peek_after),
            routes: Routes::new(),
            gate,
            ticks: Ticks::new(timeouts, &config.limits),
            dice: Dice::new(&*clock),
            usual: Usual::new(),
            stats: Stats::new(),
            board: Board::new(clock.now()),
            crowd: Crowd::default(),
            is_known: AtomicBool::new(false),
            dial: Box::new(NetworkDial::new(&config, clock)),
            clock: server_clock,
            config,
        }
    }

    /// Sends `request` until `accept` takes its answer or the policy gives up.
    pub(crate) fn execute<T>(
        &self,
        request: &Request<'_>,
        cancel: &Cancel,
        mut accept: impl FnMut(&Answer) -> Result<T, BadAnswer>,
    ) -> Result<(T, Answer), Error> {
        let mut call = Call::new(self, request, None, cancel);
        loop {
            let outcome = call
                .attempt(request, |call, exchange| exchange.read_answer(call, request))
                .and_then(|answer| match accept(&answer) {
                    Ok(value) => Ok((value, answer)),
                    Err(bad) => {
                        Err(call.bad_answer(request, bad).of_request(answer.header("x-oss-request-id")))
                    }
                });
            match outcome {
                Ok((value, mut answer)) => {
                    call.succeeded();
                    answer.attempts = call.attempts;
                    answer.own_repeat = call.own_repeat;
                    return Ok((value, answer));
                }
                Err(failure) => call.again(request, failure)?,
            }
        }
    }

    /// Signs `request` into a URL that works for `expires_seconds`; sends nothing.
    pub(crate) fn presign(
        &self,
        request: &Request<'_>,
        expires_seconds: u32,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let failed = |text: String| Error::new(ErrorKind::Config, "presign", text);
        let current =
            self.asking("presign", cancel, |asker| self.credentials.get(self.clock.clock().now(), asker))?;
        let signer = current.signer.as_ref().ok_or_else(|| {
            failed("anonymous credentials cannot sign a URL; a public object needs none".to_owned())
        })?;
        let parts = RequestParts {
            method: request.method,
            bucket: request.bucket,
            key: request.key,
            query: request.query,
            headers: request.signed,
        };
        let place = (&self.config.endpoint, self.config.addressing);
        let signed = signer.presign(place, &parts, &[], self.server_now(), expires_seconds);
        Ok(signed.map_err(|error| failed(error.to_string()))?.url)
    }

    /// Whose credentials sign the requests.
    pub(crate) fn identity(&self, cancel: &Cancel) -> Result<Identity, Error> {
        self.asking("identity", cancel, |asker| self.credentials.identity(asker))
    }

    /// Asks for credentials for `label`, which sends no request.
    fn asking<T>(&self, label: &'static str, cancel: &Cancel, ask: impl FnOnce(&Asker<'_>) -> T) -> T {
        let mut deadline = Deadline::fixed(self.clock.clock().now(), self.config.timeouts.deadline);
        let subject = Subject { label, bucket: None, key: None, range: None };
        let doing = Doing { subject, attempt: 1, last_cause: None, place: None };
        self.while_asking(&mut deadline, &doing, cancel, ask)
    }

    /// Asks for credentials in the middle of `doing`. Every long wait says so, and this one on whom.
    fn while_asking<T>(
        &self,
        deadline: &mut Deadline,
        doing: &Doing<'_>,
        cancel: &Cancel,
        ask: impl FnOnce(&Asker<'_>) -> T,
    ) -> T {
        let deadline = RefCell::new(deadline);
        let tell = || {
            let what = format!("waiting for {}", self.provider.source());
            deadline.borrow_mut().tell_silence(&self.ticks, self.clock.clock().now(), doing, &what);
        };
        ask(&Asker::telling(cancel, &tell))
    }

    /// Counts a checksum that the service did or did not have.
    pub(crate) fn count_crc(&self, checked: bool) {
        self.stats.add(if checked { Counter::CrcChecked } else { Counter::CrcUnchecked }, 1);
    }

    /// The service's time as far as it is known.
    pub(crate) fn server_now(&self) -> UtcTime {
        self.clock.server_now()
    }

    /// (how often a pace began to hold, slow mode, pause left).
    pub(crate) fn pressure(&self) -> (u64, bool, Duration) {
        self.gate.pressure(self.clock.clock().now())
    }

    /// Whether requests of both take turns at one pace.
    pub(crate) fn shares_pace_with(&self, other: &Transport) -> bool {
        self.gate.shares_pace_with(&other.gate)
    }

    /// Whether refusals found a pace, or requests wait now for the user's bound.
    pub(crate) fn holds_back(&self) -> bool {
        self.gate.holds_back(self.clock.clock().now())
    }

    fn count_request(&self, operation: Operation, outcome: Outcome) {
        self.stats.request(operation, outcome);
    }
}

/// Whether a failure of this cause leaves the connection, and others like it, in doubt.
fn wants_fresh_connection(cause: Cause) -> bool {
    matches!(cause, Cause::Stale | Cause::Broken | Cause::TimedOut | Cause::Protocol | Cause::Integrity)
}

#[cfg(test)]
mod simulated;
