//! One operation: its deadline, its attempts, and what follows a failure.

use std::ops::Range;
use std::time::{Duration, Instant};

use oss_protocol::operation::Operation;
use oss_protocol::sign::Signer;
use oss_protocol::time::UtcTime;

use super::account::Account;
use super::gate::Turn;
use super::{BadAnswer, Exchange, OnAmbiguous, Request, Transport, paces, wants_fresh_connection};
use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::credentials::AfterRefusal;
use crate::error::{Error, ErrorKind};
use crate::http::Broken;
use crate::http::dial::{DialFailure, RAISE_LIMIT};
use crate::http::pool::NoSlot;
use crate::http::watch::{Deadline, Doing, Watch};
use crate::logs::{self, Level};
use crate::refusal;
use crate::retry::{Cause, Circumstances, Decision, History, Stop};
use crate::stats::{Counter, Outcome};
use crate::subject::Subject;
use crate::telling::board::{self, Place};

/// A turn may come sooner or later than it was said when it was taken; so often it is looked at.
pub(super) const LOOK_AT_THE_PACE: Duration = Duration::from_millis(250);

/// Causes kept for the error.
const MAX_CAUSES: usize = 8;

/// With what an attempt was signed. Others may have learned something newer by the time it is refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SignedWith {
    /// Of the key.
    pub(super) generation: u64,
    /// How far the service's clock was thought to be ahead.
    pub(super) clock_offset_seconds: i64,
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) error: Error,
    /// The pause that the service asked for.
    pub(super) hint: Option<Duration>,
    /// The service's clock, if its answer told it.
    pub(super) date: Option<UtcTime>,
    pub(super) signed_with: SignedWith,
}

impl Failure {
    /// A failure that only `cause` and `error` describe.
    pub(super) fn new(cause: Cause, error: Error) -> Self {
        Failure { cause, error, hint: None, date: None, signed_with: SignedWith::default() }
    }

    /// Names the answer that was not accepted, for the support desk.
    pub(super) fn of_request(mut self, request_id: Option<&str>) -> Self {
        if self.error.request_id.is_empty() {
            request_id.unwrap_or_default().clone_into(&mut self.error.request_id);
        }
        self
    }

    /// Ends the operation as it is.
    pub(super) fn last(error: Error) -> Self {
        Failure::new(Cause::Permanent, error)
    }
}

/// One operation under way.
#[derive(Debug)]
pub(super) struct Call<'c> {
    pub(super) transport: &'c Transport,
    pub(super) subject: Subject<'c>,
    pub(super) cancel: &'c Cancel,
    pub(super) started: Instant,
    pub(super) attempts: u32,
    pub(super) deadline: Deadline,
    history: History,
    causes: Vec<String>,
    /// What the attempt before failed with.
    last: Option<Error>,
    pub(super) own_repeat: bool,
    pub(super) wants_fresh: bool,
    /// When the present attempt passed the gate.
    passed_gate: Instant,
    /// Of the present attempt, if anybody wants to hear of it.
    pub(super) account: Option<Account>,
    /// Where others see what it is doing.
    pub(super) place: Place<'c>,
}

impl<'c> Call<'c> {
    pub(super) fn new(
        transport: &'c Transport,
        request: &Request<'c>,
        range: Option<Range<u64>>,
        cancel: &'c Cancel,
    ) -> Self {
        let now = transport.clock.clock().now();
        let limit = transport.config.timeouts.deadline;
        // Only a body that moves moves the deadline: an object's, or the one we send.
        let deadline = if request.operation == Operation::GetObject || !request.body.is_empty() {
            Deadline::rearmed(now, limit, &transport.config.retry)
        } else {
            Deadline::fixed(now, limit)
        };
        let subject = Subject {
            label: request.label,
            bucket: request.bucket,
            key: request.key,
            range: range.map(|range| (range.start, range.end)),
        };
        Call {
            transport,
            subject,
            place: transport.board.sit(&subject, now),
            cancel,
            started: now,
            attempts: 0,
            deadline,
            history: History::default(),
            causes: Vec::new(),
            last: None,
            own_repeat: false,
            wants_fresh: false,
            passed_gate: now,
            account: None,
        }
    }

    pub(super) fn clock(&self) -> &'c dyn Clock {
        self.transport.clock.clock()
    }

    /// Begins to watch one exchange.
    pub(super) fn watch(&mut self) -> Watch<'_> {
        let transport = self.transport;
        let doing = Doing {
            subject: self.subject,
            attempt: self.attempts,
            last_cause: self.causes.last().map(String::as_str),
            place: Some(&self.place),
        };
        Watch::new(
            &transport.ticks,
            transport.clock.clock(),
            self.cancel,
            &mut self.deadline,
            &transport.stats,
            doing,
        )
    }

    /// Makes one attempt: waits at the gate, sends, and lets `read` take the answer.
    pub(super) fn attempt<'r, T>(
        &mut self,
        request: &Request<'r>,
        read: impl FnOnce(&mut Self, Exchange<'c>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // Who gives up often leaves requests that nobody has begun with: they take no turn and no connection.
        if self.cancel.is_cancelled() {
            return Err(self.given_up());
        }
        let joined = self.join_pace();
        if joined.is_ok() {
            self.pass_gate()?;
        }
        self.attempts += 1;
        self.place.attempts(self.attempts);
        self.account = Account::begun(&self.transport.config.telling, self.clock().now());
        let outcome =
            joined.and_then(|()| Exchange::begin(self, request)).and_then(|exchange| read(self, exchange));
        let counted = match &outcome {
            Ok(_) => Outcome::Ok,
            Err(failure) if failure.error.status.is_some() => Outcome::Refused,
            Err(failure) if failure.error.kind == ErrorKind::Cancelled => Outcome::Cancelled,
            Err(_) => Outcome::Failed,
        };
        self.transport.count_request(request.operation, counted);
        if let Some(account) = self.account.take() {
            let (config, now) = (&self.transport.config, self.clock().now());
            account.tell(config, request, &self.subject, self.attempts, now, outcome.as_ref().err());
        }
        outcome
    }

    /// Finds, before the first request, which pace it has to keep to: that of whoever it is sent for.
    fn join_pace(&mut self) -> Result<(), Failure> {
        let transport = self.transport;
        if transport.gate.has_joined() {
            return Ok(());
        }
        let now = self.clock().now();
        let current =
            self.while_asking(|asker| transport.credentials.get(now, asker)).map_err(Failure::last)?;
        let credentials = current.signer.as_ref().map(Signer::credentials);
        let source = || transport.provider.source();
        // By the clock that all clients of the process have, not by this one's idea of the service's.
        transport.gate.join(paces::of_account(&transport.config, credentials, source, self.clock()));
        Ok(())
    }

    /// Waits for a turn: while the endpoint is paused, at the pace it admits, or in slow mode.
    fn pass_gate(&mut self) -> Result<(), Failure> {
        let now = self.clock().now();
        self.passed_gate = now;
        let turn = self.transport.gate.opens(now);
        if turn.opens > now {
            self.deadline.postpone(turn.wished);
            if turn.opens >= self.deadline.end() {
                self.transport.gate.give_back(&turn);
                return Err(Failure::last(self.paused_too_long()));
            }
            self.place.turns_to(board::Doing::Throttled, now);
            self.wait_for_turn(turn)?;
            self.passed_gate = self.clock().now();
            // Waking up late is no pause that the service asked for.
            let until = if turn.wished.is_zero() { self.passed_gate } else { turn.opens };
            let pause = until.saturating_duration_since(now).saturating_sub(turn.wished);
            self.transport.stats.add_time(Counter::ThrottlePauses, pause);
        } else if self.attempts == 0 {
            return Ok(());
        }
        self.place.turns_to(board::Doing::Preparing, self.passed_gate);
        Ok(())
    }

    /// Waits until `turn` comes, saying so when that is long.
    fn wait_for_turn(&mut self, mut turn: Turn) -> Result<(), Failure> {
        loop {
            let now = self.clock().now();
            turn = self.transport.gate.still(turn, now);
            if now >= turn.opens {
                return Ok(());
            }
            if now >= self.deadline.end() {
                self.transport.gate.give_back(&turn);
                return Err(Failure::last(self.paused_too_long()));
            }
            self.tell_silence(now, "held back, as the service refuses requests for their rate or fails them");
            if self.cancel.wait_until(self.next_look(now, turn.opens), self.clock()) {
                self.transport.gate.give_back(&turn);
                return Err(self.given_up());
            }
        }
    }

    fn given_up(&self) -> Failure {
        Failure::last(Error::cancelled(self.subject.label))
    }

    /// Every long wait says so: after five seconds without progress, then every thirty.
    pub(super) fn tell_silence(&mut self, now: Instant, what: &str) {
        let doing = Doing {
            subject: self.subject,
            attempt: self.attempts,
            last_cause: self.causes.last().map(String::as_str),
            place: None,
        };
        self.deadline.tell_silence(&self.transport.ticks, now, &doing, what);
    }

    /// Asks for credentials, saying so when that is long.
    pub(super) fn while_asking<T>(&mut self, ask: impl FnOnce(&Asker<'_>) -> T) -> T {
        let doing = Doing {
            subject: self.subject,
            attempt: self.attempts,
            last_cause: self.causes.last().map(String::as_str),
            place: None,
        };
        self.transport.while_asking(&mut self.deadline, &doing, self.cancel, ask)
    }

    /// What failed last says what to do; the pause is only why there is no other attempt.
    fn paused_too_long(&mut self) -> Error {
        let why = "the endpoint is paused beyond the deadline (throttled, or the retry budget is empty)";
        match self.last.take() {
            Some(mut error) => {
                error.message = format!("{}; {why}", error.message);
                error
            }
            None => self.error(ErrorKind::Throttled, why),
        }
    }

    /// An error of this operation, not yet with its effort.
    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::new(kind, self.subject.label, message)
    }

    /// The whole operation succeeded; gives how long it took.
    pub(super) fn succeeded(&self) -> Duration {
        let now = self.clock().now();
        self.transport.gate.succeeded(self.history.tokens, now);
        let took = now.saturating_duration_since(self.started);
        self.transport.stats.add_time(Counter::RequestTime, took);
        took
    }

    /// What is read came damaged before, so often.
    pub(super) fn was_damaged(&mut self, times: u32) {
        self.history.was_damaged(times);
    }

    /// New bytes came.
    pub(super) fn progressed(&mut self, bytes: u64) {
        if bytes >= self.transport.config.retry.reset_bytes {
            self.history.progressed();
        }
    }

    /// Pauses before the next attempt, or ends the operation.
    pub(super) fn again(&mut self, request: &Request<'_>, failure: Failure) -> Result<(), Error> {
        let Failure { mut cause, error, hint, date, signed_with } = failure;
        if error.ambiguous && request.on_ambiguous == OnAmbiguous::Return {
            return Err(self.finish(error, None));
        }
        if cause == Cause::Throttled {
            self.transport.stats.add(Counter::Throttled, 1);
            if let Some(rate) = self.transport.gate.throttled(self.passed_gate, self.clock().now()) {
                let text =
                    format!("the service refuses requests for their rate: {rate:.0} a second go from now on");
                logs::push(Level::Info, "transport", text);
            }
        }
        if cause == Cause::Credentials || error.status == Some(401) {
            cause = self.after_refused_key(&error, date, signed_with)?;
        } else if cause == Cause::ClockSkew && !date.is_some_and(|date| self.learn_clock(date, signed_with)) {
            cause = Cause::Permanent;
        }
        let now = self.clock().now();
        let circumstances = Circumstances {
            left: self.deadline.end().saturating_duration_since(now),
            first_contact_left: self.first_contact_left(now),
            hint,
            unit: self.transport.dice.unit(),
            is_rare: self.transport.gate.has_plenty(),
        };
        match self.history.decide(&self.transport.config.retry, cause, circumstances) {
            Decision::Stop(stop) => Err(self.finish(error, Some(stop))),
            Decision::Again { after, tokens } => {
                self.own_repeat |= error.ambiguous;
                self.wants_fresh = wants_fresh_connection(cause);
                self.transport.stats.add(cause.counter(), 1);
                if self.transport.gate.pay(tokens) {
                    self.transport.stats.add(Counter::SlowMode, 1);
                }
                let pauses =
                    if cause == Cause::Throttled { Counter::ThrottlePauses } else { Counter::RetryPauses };
                self.transport.stats.add_time(pauses, after);
                self.remember(&error);
                self.place.failed(&error.message, now);
                self.pause(now + after, hint.is_some() && cause == Cause::Throttled)
            }
        }
    }

    /// Waits until `until`, saying so when that is long.
    fn pause(&mut self, until: Instant, for_everybody: bool) -> Result<(), Error> {
        if for_everybody {
            self.transport.gate.close_until(until, self.clock().now());
        }
        loop {
            let now = self.clock().now();
            let left_seconds = until.saturating_duration_since(now).as_secs_f64();
            self.tell_silence(now, &format!("failed, again in {left_seconds:.1} s"));
            if now >= until {
                return Ok(());
            }
            if self.cancel.wait_until(self.next_look(now, until), self.clock()) {
                return Err(self.finish(Error::cancelled(self.subject.label), None));
            }
        }
    }

    /// When who waits until `until` looks around next.
    fn next_look(&self, now: Instant, until: Instant) -> Instant {
        until.min(now + LOOK_AT_THE_PACE.min(self.transport.ticks.tell_after()))
    }

    fn first_contact_left(&self, now: Instant) -> Option<Duration> {
        let limit = self.transport.config.timeouts.first_contact;
        let gate = &self.transport.gate;
        (!gate.was_heard()).then(|| (self.started + limit).saturating_duration_since(now))
    }

    /// A key or token was refused: something newer, or the service's clock, is a reason to try again.
    fn after_refused_key(
        &mut self,
        error: &Error,
        date: Option<UtcTime>,
        signed_with: SignedWith,
    ) -> Result<Cause, Error> {
        let credentials = &self.transport.credentials;
        let after = self.while_asking(|asker| credentials.refused(signed_with.generation, asker));
        match after.map_err(|error| self.finish(error, None))? {
            AfterRefusal::Newer => {
                self.transport.stats.add(Counter::CredentialRefreshes, 1);
                return Ok(Cause::Credentials);
            }
            AfterRefusal::Failed(why) => self.remember(&why),
            AfterRefusal::Same => {}
        }
        let skewed =
            error.status == Some(401) && date.is_some_and(|date| self.learn_clock(date, signed_with));
        Ok(if skewed { Cause::ClockSkew } else { Cause::Permanent })
    }

    /// Takes the service's clock as true; says whether the refused attempt was signed by another one.
    fn learn_clock(&self, date: UtcTime, signed_with: SignedWith) -> bool {
        let offset_seconds = self.transport.clock.learn(date);
        (offset_seconds - signed_with.clock_offset_seconds).abs() > 5
    }

    fn remember(&mut self, error: &Error) {
        let mut text = error.message.clone();
        if let Some(status) = error.status {
            text = format!(
                "{text} (status {status}{}{})",
                if error.code.is_empty() { "" } else { " " },
                error.code
            );
        }
        if self.causes.last() != Some(&text) {
            if self.causes.len() == MAX_CAUSES {
                self.causes.remove(0);
            }
            self.causes.push(text);
        }
    }

    /// Completes the error that ends the operation.
    pub(super) fn finish(&self, mut error: Error, stop: Option<Stop>) -> Error {
        let elapsed = self.clock().now().saturating_duration_since(self.started);
        self.transport.stats.add_time(Counter::RequestTime, elapsed);
        error.operation = self.subject.label;
        error.attempts = self.attempts;
        error.elapsed_seconds = elapsed.as_secs_f64();
        error.own_repeat = self.own_repeat;
        if error.uri.is_empty() {
            error.uri = self.subject.uri();
        }
        let why = match stop {
            Some(Stop::Deadline) => {
                "; given up at the deadline: look at the network path and the service's state, then try again"
            }
            Some(Stop::Exhausted) => "; repeated in vain",
            Some(Stop::FirstContact) => {
                "; this endpoint never answered, so it was given up early: check endpoint and region"
            }
            Some(Stop::Permanent) | None => "",
        };
        error.message.push_str(why);
        if let Some(last) = self.causes.last()
            && matches!(error.kind, ErrorKind::RequestTimeout | ErrorKind::Throttled)
            && !error.message.contains(last.as_str())
        {
            error.message = format!("{}; before that: {last}", error.message);
        }
        error.causes.clone_from(&self.causes);
        error
    }

    /// What a broken exchange means.
    pub(super) fn broken(&self, broken: &Broken, reused: bool, sent: bool, request: &Request<'_>) -> Failure {
        let timeout = |text: String| (Cause::TimedOut, self.error(ErrorKind::RequestTimeout, text));
        let failed = |cause, text: String| (cause, self.error(ErrorKind::ConnectionFailed, text));
        let text = format!("{}{broken}", self.by_proxy());
        let (cause, mut error) = match broken {
            Broken::ClosedBeforeAnswer if reused => failed(Cause::Stale, text),
            Broken::ClosedBeforeAnswer | Broken::ClosedEarly | Broken::Reset(_) => {
                failed(Cause::Broken, text)
            }
            Broken::SilentAfterRequest | Broken::ReadStalled | Broken::WriteStalled | Broken::TooSlow => {
                timeout(text)
            }
            Broken::Deadline => {
                let limit = self.transport.config.timeouts.deadline.as_secs_f64();
                let text = format!("no progress within the deadline of {limit} s");
                (Cause::Permanent, self.error(ErrorKind::RequestTimeout, text))
            }
            Broken::Cancelled => (Cause::Permanent, Error::cancelled(self.subject.label)),
            Broken::Malformed(_) => (
                Cause::Protocol,
                self.error(ErrorKind::Protocol, format!("{text}: something between us and OSS")),
            ),
        };
        error.request_sent = sent;
        error.ambiguous = sent && is_change(request);
        Failure::new(cause, error)
    }

    /// What a connection that could not be made means. Nothing was sent.
    pub(super) fn not_dialled(&self, failure: DialFailure) -> Failure {
        let failed = |text: String, errno| {
            let text = format!("{}{text}; check endpoint, region and network", self.by_proxy());
            self.error(ErrorKind::ConnectionFailed, text).with_errno(errno)
        };
        match failure {
            DialFailure::NoSuchName(text) => {
                Failure::new(Cause::NoSuchName, failed(text, libc::EHOSTUNREACH))
            }
            DialFailure::Lookup(text) => Failure::new(Cause::Lookup, failed(text, libc::EHOSTUNREACH)),
            DialFailure::Connect(text, errno) => Failure::new(Cause::Connect, failed(text, errno)),
            DialFailure::Files(text, errno) => {
                let error = self.error(ErrorKind::ConnectionFailed, text).with_errno(errno);
                Failure::new(Cause::Files, error)
            }
            DialFailure::Certificate(text) => Failure::last(
                self.error(ErrorKind::ConnectionFailed, format!("{}TLS: {text}", self.by_proxy())),
            ),
            DialFailure::Settings(text) => Failure::last(self.error(ErrorKind::Config, text)),
            DialFailure::Refused(text) => {
                let text = format!("{}{text}", self.by_proxy());
                Failure::last(self.error(ErrorKind::ConnectionFailed, text))
            }
            DialFailure::Cancelled => Failure::last(Error::cancelled(self.subject.label)),
        }
    }

    /// `via proxy host:port: `, where there is one.
    pub(super) fn by_proxy(&self) -> String {
        let proxy = self.transport.config.proxy.as_ref();
        proxy.map_or_else(String::new, |proxy| format!("via proxy {}: ", proxy.place()))
    }

    /// Why there was no connection to use.
    pub(super) fn no_slot(&self, failure: &NoSlot) -> Failure {
        Failure::last(match failure {
            NoSlot::Cancelled => Error::cancelled(self.subject.label),
            NoSlot::Busy(count) => self.error(
                ErrorKind::RequestTimeout,
                format!("all {count} connections were busy until the deadline"),
            ),
            NoSlot::Narrow(count) => self
                .error(
                    ErrorKind::ConnectionFailed,
                    format!("all {count} connections were busy until the deadline{RAISE_LIMIT}"),
                )
                .with_errno(libc::EMFILE),
        })
    }

    /// Why an answer with a good status was not accepted.
    pub(super) fn bad_answer(&self, request: &Request<'_>, bad: BadAnswer) -> Failure {
        let (cause, mut error) = match bad {
            BadAnswer::Protocol(text) => {
                let text = format!("{text}; something between us and OSS changes answers");
                (Cause::Protocol, self.error(ErrorKind::Protocol, text))
            }
            BadAnswer::Integrity(text) => {
                self.transport.stats.add(Counter::CrcMismatched, 1);
                (Cause::Integrity, self.error(ErrorKind::Integrity, text))
            }
            BadAnswer::Refused(answer) => {
                let read = refusal::read(&answer, &refusal::Circumstances::default());
                (read.cause, self.error(read.kind, read.message).with_service(&answer))
            }
        };
        error.request_sent = true;
        error.ambiguous = is_change(request);
        Failure::new(cause, error)
    }
}

/// Whether carrying a request out twice, or not knowing whether it was, matters.
pub(super) fn is_change(request: &Request<'_>) -> bool {
    !matches!(request.method, "GET" | "HEAD")
}
