//! One small question and its whole answer, over a connection of its own: how identity services are asked.
//!
//! Nothing is signed, nothing is pooled, no redirect is followed. A question is asked again when no answer came or
//! the service was at fault; any other answer is the caller's to judge.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use oss_protocol::http1::write_header;
use oss_protocol::uri::{Addressing, Endpoint, Scheme};

use super::connection::Connection;
use super::dial::{Dial, DialFailure, NetworkDial, Origin};
use super::watch::{Deadline, Doing, Ticks, Watch};
use crate::asker::Asker;
use crate::clock::Clock;
use crate::config::{ClientConfig, Proxy, Timeouts};
use crate::stats::Stats;
use crate::subject::Subject;
use crate::sync::Arc;

/// Answers hold one set of keys, or one token: 64 KiB is more than any of them.
const ANSWER_BYTES: usize = 64 << 10;
/// First pause before the question is asked again; it doubles.
const PAUSE: Duration = Duration::from_millis(100);
const GIVEN_UP: &str = "given up";

/// How long a service is waited for, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To connect, TLS apart.
    pub(crate) connect: Duration,
    /// For the first byte, and between two bytes.
    pub(crate) read: Duration,
    /// Questions at most.
    pub(crate) tries: u32,
}

impl Patience {
    fn timeouts(self) -> Timeouts {
        Timeouts {
            connect: self.connect,
            connect_per_address: self.connect / 3,
            name_lookup: self.connect,
            tls_handshake: self.read,
            first_byte: self.read,
            read_stall: self.read,
            write_stall: self.read,
            deadline: self.connect + 2 * self.read,
            tick: Duration::from_millis(50),
            // Who asks knows what the answer is for, and says so.
            tell_after: Duration::MAX,
            ..Timeouts::default()
        }
    }
}

/// A service that is asked from time to time.
pub(crate) struct Service {
    origin: Origin,
    host_header: String,
    patience: Patience,
    config: ClientConfig,
    ticks: Ticks,
    clock: Arc<dyn Clock>,
    stats: Stats,
}

impl fmt::Debug for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Service({})", self.host_header)
    }
}

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) method: &'static str,
    /// Path and query, encoded.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// Sent where the method is POST.
    pub(crate) body: &'a [u8],
}

/// What was answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Service {
    /// The service at `endpoint`; `ca_file` and `proxy` as in a client's configuration. A proxy serves https only.
    pub(crate) fn new(
        endpoint: &Endpoint,
        patience: Patience,
        ca_file: Option<PathBuf>,
        proxy: Option<Proxy>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let target = endpoint.target(Addressing::Cname, None, None);
        let mut config = ClientConfig::new(endpoint.clone(), "");
        config.timeouts = patience.timeouts();
        config.ca_file = ca_file;
        config.proxy = proxy.filter(|_| endpoint.scheme == Scheme::Https);
        Service {
            origin: Origin {
                https: endpoint.scheme == Scheme::Https,
                host: target.connect_host,
                port: target.port,
            },
            host_header: target.host_header,
            patience,
            ticks: Ticks::new(&config.timeouts, &config.limits),
            config,
            clock,
            stats: Stats::new(),
        }
    }

    /// Host and port, for errors.
    pub(crate) fn host(&self) -> &str {
        &self.host_header
    }

    /// Asks, at most as often as patience allows, and no longer once `asker` is gone.
    ///
    /// # Errors
    /// Why no answer came, in words without any content.
    pub(crate) fn ask(&self, question: Question<'_>, asker: &Asker<'_>) -> Result<Reply, String> {
        // Made anew: a fork in the middle of a lookup would leave the child waiting for a thread that it has not.
        let dial = NetworkDial::new(&self.config, Arc::clone(&self.clock));
        let mut pause = PAUSE;
        for _ in 1..self.patience.tries {
            match self.ask_once(&dial, question, asker) {
                Ok(reply) if reply.status < 500 && reply.status != 429 => return Ok(reply),
                Ok(_at_fault) => {}
                Err(Failed::ForGood(why)) => return Err(why),
                Err(Failed::ForNow(_why)) => {}
            }
            if asker.cancel().wait_until(self.clock.now() + pause, &*self.clock) {
                return Err(GIVEN_UP.to_owned());
            }
            pause *= 2;
        }
        self.ask_once(&dial, question, asker).map_err(|failed| match failed {
            Failed::ForGood(why) | Failed::ForNow(why) => why,
        })
    }

    fn ask_once(
        &self,
        dial: &NetworkDial,
        question: Question<'_>,
        asker: &Asker<'_>,
    ) -> Result<Reply, Failed> {
        let now = self.clock.now();
        let mut deadline = Deadline::fixed(now, self.config.timeouts.deadline);
        let doing = Doing {
            subject: Subject { label: "credentials", bucket: None, key: None, range: None },
            attempt: 1,
            last_cause: None,
            place: None,
        };
        let stream = dial.dial(&self.origin, deadline.end(), &mut |_step| asker.is_gone());
        let mut connection = Connection::new(stream.map_err(not_dialled)?, now);
        self.write_head(question, &mut connection.outbox)?;
        let mut watch =
            Watch::new(&self.ticks, &*self.clock, asker.cancel(), &mut deadline, &self.stats, doing);
        watch.asker = Some(*asker);
        let broken = |broken: super::Broken| Failed::ForNow(format!("{}: {broken}", self.host_header));
        let body: &[&[u8]] = if question.body.is_empty() { &[] } else { &[question.body] };
        connection.send(body, &mut watch, &mut false).map_err(broken)?;
        let status = connection.read_head(question.method, &mut watch, |head| head.status).map_err(broken)?;
        let (body, whole) = connection.read_small_body(ANSWER_BYTES, &mut watch).map_err(broken)?;
        if !whole {
            return Err(Failed::ForGood(format!("{} answered more than 64 KiB", self.host_header)));
        }
        Ok(Reply { status, body })
    }

    fn write_head(&self, question: Question<'_>, out: &mut Vec<u8>) -> Result<(), Failed> {
        let Question { method, target, headers, body } = question;
        let fixed = "Accept-Encoding: identity\r\nConnection: close\r\n";
        out.extend_from_slice(
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{fixed}", self.host_header).as_bytes(),
        );
        for (name, value) in headers {
            write_header(out, name, value).map_err(|error| Failed::ForGood(error.to_string()))?;
        }
        if matches!(method, "POST" | "PUT") {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

enum Failed {
    ForNow(String),
    ForGood(String),
}

fn not_dialled(failure: DialFailure) -> Failed {
    match failure {
        DialFailure::NoSuchName(why)
        | DialFailure::Certificate(why)
        | DialFailure::Settings(why)
        | DialFailure::Refused(why) => Failed::ForGood(why),
        DialFailure::Lookup(why) | DialFailure::Connect(why, _) | DialFailure::Files(why, _) => {
            Failed::ForNow(why)
        }
        DialFailure::Cancelled => Failed::ForGood(GIVEN_UP.to_owned()),
    }
}
