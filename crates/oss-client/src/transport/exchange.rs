//! One attempt: a connection, a head signed afresh, an answer.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::time::Instant;

use oss_protocol::crc64::Crc64;
use oss_protocol::error::ServiceError;
use oss_protocol::http1::ResponseHead;
use oss_protocol::operation::Operation;
use oss_protocol::sign::{RequestParts, Signer, Stamp};
use oss_protocol::time::UtcTime;

use super::account::Heard;
use super::call::{Call, Failure, SignedWith, is_change};
use super::{Answer, ERROR_BYTES, OnAmbiguous, Request, Transport};
use crate::cancel::Cancel;
use crate::config::Proxy;
use crate::error::{Error, ErrorKind};
use crate::http::Broken;
use crate::http::connection::Connection;
use crate::http::dial::{DialFailure, Origin};
use crate::http::pool::Slot;
use crate::refusal;
use crate::retry::Cause;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::telling::board::Doing;

/// A connection is retired after so many slow answers in a row (`faults.md`, 2.6).
const SLOW_ENOUGH: u32 = 3;

/// One attempt under way. Dropped before [`Exchange::finish`], its connection is closed.
#[derive(Debug)]
pub(super) struct Exchange<'t> {
    transport: &'t Transport,
    cancel: &'t Cancel,
    origin: Arc<Origin>,
    connection: Option<Connection>,
    _slot: Slot<'t>,
    is_attached: bool,
    reused: bool,
    sent: bool,
    signed_with: SignedWith,
    begun: Instant,
    /// Bytes of a wanted body that were received.
    received: u64,
    /// Headers of an answer that is not a wanted body.
    headers: Vec<(String, String)>,
    status: u16,
    /// The answer is not known to be the service's: the proxy in between may have given it.
    is_proxys: bool,
}

thread_local! {
    /// The second this thread signed for last, written down.
    static STAMP: RefCell<Option<Stamp>> = const { RefCell::new(None) };
}

impl<'t> Exchange<'t> {
    /// Takes a connection, and sends `request` over it.
    pub(super) fn begin(call: &mut Call<'t>, request: &Request<'_>) -> Result<Exchange<'t>, Failure> {
        let (transport, cancel) = (call.transport, call.cancel);
        let now = call.clock().now();
        let route = transport.routes.of(request.bucket, &transport.config);
        let current =
            call.while_asking(|asker| transport.credentials.get(now, asker)).map_err(Failure::last)?;
        let is_careful = request.on_ambiguous == OnAmbiguous::Return;
        let (slot, mut connection, reused) = connect(call, &route.origin, is_careful, now)?;
        transport.stats.add(if reused { Counter::ConnectionsReused } else { Counter::ConnectionsOpened }, 1);
        route.begin_head(request, &mut connection.outbox).map_err(|error| {
            Failure::last(call.error(ErrorKind::Config, format!("{error}: remove the control characters")))
        })?;
        let clock_offset_seconds = transport.clock.offset_seconds();
        if let Some(signer) = &current.signer {
            let server_now = transport.clock.wall_with(clock_offset_seconds);
            sign(signer, request, server_now, &mut connection.outbox);
        }
        connection.outbox.extend_from_slice(b"\r\n");
        transport.stats.add(Counter::InFlight, 1);
        let is_attached = cancel.attach(connection.interrupt_handle());
        let begun = call.clock().now();
        call.place.turns_to(Doing::Awaiting, begun);
        let mut exchange = Exchange {
            transport,
            cancel,
            origin: Arc::clone(&route.origin),
            connection: Some(connection),
            _slot: slot,
            is_attached,
            reused,
            sent: false,
            signed_with: SignedWith { generation: current.generation, clock_offset_seconds },
            begun,
            received: 0,
            headers: Vec::new(),
            status: 0,
            is_proxys: false,
        };
        if !is_attached {
            return Err(Failure::last(Error::cancelled(call.subject.label)));
        }
        let mut sent = false;
        let outcome = exchange.connection(call)?.send(request.body, &mut call.watch(), &mut sent);
        exchange.sent = sent;
        match outcome {
            Ok(()) => Ok(exchange),
            // Nothing of an answer came, so a reused connection counts as closed while it was idle.
            Err(Broken::Reset(_)) if reused => {
                Err(exchange.broken(call, &Broken::ClosedBeforeAnswer, request))
            }
            Err(broken) => Err(exchange.broken(call, &broken, request)),
        }
    }

    /// Receives the head; if `visit` takes nothing of it, its headers are kept for [`Exchange::read_refusal`].
    pub(super) fn read_head<T>(
        &mut self,
        call: &mut Call<'_>,
        request: &Request<'_>,
        visit: impl FnOnce(&ResponseHead<'_>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let mut kept = (0, Vec::new());
        let is_told = call.account.is_some();
        let (mut heard, mut status) = (None, 0);
        let has_proxy = self.proxy_in_between().is_some();
        let mut is_proxys = false;
        let keep = |head: &ResponseHead<'_>| {
            status = head.status;
            is_proxys = has_proxy && head.request_id().is_none();
            heard = is_told.then(|| Heard::of(head));
            let taken = visit(head);
            if taken.is_none() {
                let text = |(name, value): (&str, &[u8])| {
                    (name.to_owned(), String::from_utf8_lossy(value).into_owned())
                };
                kept = (head.status, head.headers.iter().map(text).collect());
            }
            taken
        };
        let mut watch = call.watch();
        watch.slow_start = matches!(
            request.operation,
            Operation::CompleteMultipartUpload | Operation::DeleteMultipleObjects
        );
        let Some(connection) = self.connection.as_mut() else { return Err(lost(call)) };
        let outcome = connection.read_head(request.method, &mut watch, keep);
        (self.status, self.headers) = kept;
        self.is_proxys = is_proxys;
        let now = call.clock().now();
        if let (Some(heard), Some(account)) = (heard, &mut call.account) {
            account.heard(heard, now);
        }
        let taken = outcome.map_err(|broken| self.broken(call, &broken, request))?;
        // It has awaited this since it began.
        let awaited = now.saturating_duration_since(self.begun);
        call.place.turns_to_after(Doing::Receiving, awaited);
        let stats = &self.transport.stats;
        stats.answer(request.operation, status);
        if request.operation == Operation::GetObject && taken.is_some() {
            stats.first_byte.note(awaited);
        }
        if !is_proxys {
            self.transport.gate.heard();
        }
        Ok(taken)
    }

    /// Receives a wanted body.
    pub(super) fn read_body(
        &mut self,
        call: &mut Call<'_>,
        request: &Request<'_>,
        into: &mut [MaybeUninit<u8>],
        is_last: bool,
        crc: Option<&mut Crc64>,
        received: &mut usize,
    ) -> Result<(), Failure> {
        let before = *received;
        let outcome = self.connection(call)?.read_body(into, is_last, crc, &mut call.watch(), received);
        self.received += received.saturating_sub(before) as u64;
        if let Some(account) = &mut call.account {
            account.received_bytes = *received as u64;
        }
        outcome.map_err(|broken| self.broken(call, &broken, request))
    }

    /// Receives a whole body whose length nobody announced, at most `most` bytes.
    pub(super) fn read_unannounced(
        &mut self,
        call: &mut Call<'_>,
        request: &Request<'_>,
        most: usize,
    ) -> Result<Vec<u8>, Failure> {
        let outcome = self.connection(call)?.read_small_body(most, &mut call.watch());
        let (body, whole) = outcome.map_err(|broken| self.broken(call, &broken, request))?;
        if let Some(account) = &mut call.account {
            account.received_bytes = body.len() as u64;
        }
        if whole {
            return Ok(body);
        }
        let text = format!("a body without a length is larger than {most} bytes; read the object in parts");
        Err(Failure::last(call.error(ErrorKind::Protocol, text)))
    }

    /// Receives a whole small answer.
    pub(super) fn read_answer(
        mut self,
        call: &mut Call<'_>,
        request: &Request<'_>,
    ) -> Result<Answer, Failure> {
        self.read_head(call, request, |_head| None::<()>)?;
        if !(200..300).contains(&self.status) {
            return Err(self.read_refusal(call, request));
        }
        let outcome = self.connection(call)?.read_small_body(request.body_limit, &mut call.watch());
        let (body, whole) = outcome.map_err(|broken| self.broken(call, &broken, request))?;
        if !whole {
            let text = format!("the answer is larger than {} bytes", request.body_limit);
            let mut error = call.error(ErrorKind::Protocol, text);
            error.request_sent = true;
            error.ambiguous = is_change(request);
            return Err(Failure::new(Cause::Protocol, error));
        }
        let headers = std::mem::take(&mut self.headers);
        let status = self.status;
        self.finish(call);
        Ok(Answer { status, headers, body, attempts: call.attempts, own_repeat: call.own_repeat })
    }

    /// Receives the rest of an answer that refuses, and reads it. A body that is cut does not change its status.
    pub(super) fn read_refusal(mut self, call: &mut Call<'_>, request: &Request<'_>) -> Failure {
        let body = match self.connection.as_mut() {
            Some(connection) => connection.read_small_body(ERROR_BYTES, &mut call.watch()),
            None => return lost(call),
        };
        let body = match body {
            Ok((body, _whole)) => body,
            Err(broken @ (Broken::Cancelled | Broken::Deadline)) => {
                return self.broken(call, &broken, request);
            }
            Err(_cut) => Vec::new(),
        };
        let headers = std::mem::take(&mut self.headers);
        let header = |name: &str| {
            headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        let answer = ServiceError::from_response(self.status, header, &body, request.method == "HEAD");
        let date = header("date").and_then(|text| UtcTime::parse_http_date(&text).ok());
        let hint = refusal::pause(
            header("x-oss-qos-delay-time").as_deref(),
            header("retry-after").as_deref(),
            date.unwrap_or_else(|| self.transport.server_now()),
            self.transport.config.retry.longest_hint,
        );
        let signed_with = self.signed_with;
        let source = self.transport.provider.source();
        let seen = refusal::Circumstances {
            operation: Some(request.operation),
            region: &self.transport.config.region,
            host: &self.transport.config.endpoint.host,
            credentials: &source,
            location: header("location"),
            storage_class: header("x-oss-storage-class"),
            asked_to_wait: hint.is_some(),
        };
        let proxy = self.proxy_in_between().filter(|_| self.is_proxys);
        let own = refusal::of_proxy(answer.status, proxy);
        let read = own.unwrap_or_else(|| refusal::read(&answer, &seen));
        let mut error = call.error(read.kind, read.message).with_service(&answer);
        if answer.status == 416 {
            error.errno = libc::EINVAL;
        }
        error.request_sent = true;
        error.ambiguous = is_change(request) && answer.status >= 500 && read.cause == Cause::Server;
        self.finish(call);
        Failure { cause: read.cause, error, hint, date, signed_with }
    }

    /// Gives the connection back, if it may be used again and is not slower than the others.
    pub(super) fn finish(mut self, call: &Call<'_>) {
        let now = call.clock().now();
        let took = now.saturating_duration_since(self.begun);
        // An answer without a body says nothing of how fast its connection is.
        let is_slow = (self.received > 0).then(|| self.transport.usual.note(self.received, took));
        let is_untouched = std::mem::take(&mut self.is_attached) && self.cancel.detach();
        if is_untouched
            && let Some(mut connection) = self.connection.take_if(|connection| connection.is_reusable())
        {
            connection.slow_in_a_row = match is_slow {
                Some(true) => connection.slow_in_a_row + 1,
                Some(false) => 0,
                None => connection.slow_in_a_row,
            };
            if connection.slow_in_a_row < SLOW_ENOUGH {
                self.transport.pool.put(&self.origin, connection, now);
            } else {
                self.transport.stats.add(Counter::ConnectionsRetired, 1);
            }
        }
    }

    /// The proxy that reads our requests and may answer them itself.
    fn proxy_in_between(&self) -> Option<&Proxy> {
        self.transport.config.proxy.as_ref().filter(|_| !self.origin.https)
    }

    fn connection(&mut self, call: &Call<'_>) -> Result<&mut Connection, Failure> {
        self.connection.as_mut().ok_or_else(|| lost(call))
    }

    fn broken(&self, call: &Call<'_>, broken: &Broken, request: &Request<'_>) -> Failure {
        call.broken(broken, self.reused, self.sent, request)
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.is_attached {
            self.cancel.detach();
        }
        if self.connection.is_some() {
            self.transport.stats.add(Counter::ConnectionsDiscarded, 1);
        }
        self.transport.stats.lower(Counter::InFlight);
    }
}

/// Takes a connection of the pool, or makes one; says whether it was used before.
///
/// Where no more files can be opened, it waits for one of the connections there are.
fn connect<'t>(
    call: &mut Call<'t>,
    origin: &Arc<Origin>,
    is_careful: bool,
    now: Instant,
) -> Result<(Slot<'t>, Connection, bool), Failure> {
    let pool = &call.transport.pool;
    loop {
        let (end, clock, cancel) = (call.deadline.end(), call.clock(), call.cancel);
        let slot = pool.slot(end, clock, cancel, |now| {
            call.tell_silence(now, "all connections are busy");
        });
        let slot = slot.map_err(|failure| call.no_slot(&failure))?;
        if !std::mem::take(&mut call.wants_fresh)
            && let Some(connection) = pool.take(origin, now, is_careful)
        {
            return Ok((slot, connection, true));
        }
        call.place.turns_to(Doing::Connecting, now);
        let dialled = call.transport.dial.dial(origin, end, &mut |step| {
            call.tell_silence(clock.now(), step.as_str());
            cancel.is_cancelled()
        });
        match dialled {
            Ok(stream) => return Ok((slot, Connection::new(stream, call.clock().now()), false)),
            Err(DialFailure::Files(..)) if pool.make_do(call.clock().now()) => {}
            Err(failure) => return Err(call.not_dialled(failure)),
        }
    }
}

/// Appends the header lines of the signature.
fn sign(signer: &Signer, request: &Request<'_>, now: UtcTime, out: &mut Vec<u8>) {
    let parts = RequestParts {
        method: request.method,
        bucket: request.bucket,
        key: request.key,
        query: request.query,
        headers: request.signed,
    };
    STAMP.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|stamp| stamp.time() != now) {
            *slot = Some(Stamp::new(now));
        }
        if let Some(stamp) = slot {
            signer.sign_into(&parts, stamp, out);
        }
    });
}

fn lost(call: &Call<'_>) -> Failure {
    Failure::last(Error::internal(call.subject.label, "an exchange without a connection"))
}
