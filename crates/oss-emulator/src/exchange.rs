//! One request and its answer: rules, admission, authorization, operation, faults, journal.

use std::io;
use std::time::Duration;

use crate::accounts::authorize;
use crate::halt::Halt;
use crate::inflow::Inflow;
use crate::journal::{Outcome, RequestEntry, Ticket};
use crate::operations::{carry_out, needs_bucket};
use crate::outflow::Outflow;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::{Response, refuse};
use crate::rules::Facts;
use crate::rules::action::{Action, Answer};
use crate::rules::faults;
use crate::rules::fired::Fired;
use crate::rules::states;
use crate::service::Call;
use crate::shaping::Shape;
use crate::shared::Shared;
use crate::wire::Wire;

/// A request that is being answered.
pub(crate) struct Exchange<'s> {
    shared: &'s Shared,
    request: Request,
    head_refusal: Option<Refusal>,
    shape: std::sync::Arc<Shape>,
    fired: Option<Fired>,
    begun: Duration,
    ticket: Ticket,
    outcome: Outcome,
    request_id: String,
}

impl<'s> Exchange<'s> {
    /// Writes the request down and finds the rule for it.
    pub(crate) fn begin(
        shared: &'s Shared,
        connection: u64,
        (request, head_refusal): (Request, Option<Refusal>),
    ) -> Self {
        let begun = shared.clock().elapsed();
        let started_ms = shared.clock().elapsed_ms();
        let headers = request.text_headers();
        let fired = shared.rules.decide(&Facts {
            operation: request.operation.name(),
            method: &request.method,
            bucket: request.bucket_name(),
            key: request.key_name(),
            query: &request.query,
            headers: &headers,
            connection,
            at_ms: started_ms,
        });
        let outcome =
            Outcome { fault: fired.as_ref().map(|fired| fired.label.to_string()), ..Outcome::default() };
        let ticket = shared.journal().request(RequestEntry {
            connection,
            operation: request.operation.name(),
            method: request.method.clone(),
            bucket: request.bucket.clone(),
            key: request.key.clone(),
            query: request.query.clone(),
            headers,
            started_ms,
        });
        shared.journal().outcome(ticket, &outcome);
        let shape = shared.shape();
        let request_id = shared.request_id();
        Self { shared, request, head_refusal, shape, fired, begun, ticket, outcome, request_id }
    }

    /// Answers; says whether the connection may serve another request.
    pub(crate) fn run(mut self, wire: &mut Wire) -> bool {
        let result = self.answer(wire);
        let elapsed = self.shared.clock().elapsed().saturating_sub(self.begun);
        self.outcome.elapsed_ms = u64::try_from(elapsed.as_millis()).ok();
        self.shared.journal().outcome(self.ticket, &self.outcome);
        result.unwrap_or(false)
    }

    fn answer(&mut self, wire: &mut Wire) -> io::Result<bool> {
        let (result, can_go_on) = self.serve(wire);
        let mut response = match result {
            Ok(response) => response,
            Err(Halt::Refuse(refusal)) => self.refuse(&refusal),
            Err(Halt::Gone) => return Ok(false),
        };
        if let Some(fired) = self.fired.clone() {
            states::conclude(&fired.action);
            match self.after_commit(&fired.action) {
                Some(Some(refusal)) => response = self.refuse(&refusal),
                Some(None) => {
                    wire.reset();
                    return Ok(false);
                }
                None => {}
            }
        }
        self.hold_back(wire)?;
        let can_go_on = self.send(wire, response, can_go_on)?;
        wire.skip(self.request.stray_bytes);
        Ok(can_go_on)
    }

    /// Bytes per second in each direction: the shape's, or less if the client asked for less.
    fn rate(&self) -> Option<u64> {
        let asked = self.request.traffic_limit().ok().flatten();
        [self.shape.rate_bytes_per_second, asked].into_iter().flatten().min()
    }

    /// Carries the request out, or does what a rule wants instead. The second value says whether
    /// the connection can go on after the answer.
    fn serve(&mut self, wire: &mut Wire) -> (Result<Response, Halt>, bool) {
        let fired = self.fired.as_ref();
        let size = match self.request.framing {
            oss_protocol::http1::BodyFraming::Length(size) => Some(size),
            _ => None,
        };
        let clock = self.shared.clock();
        let plan = faults::in_plan(fired, self.rate(), size, clock);
        let mut body = Inflow::new(wire, self.request.framing, self.request.expects_continue, plan, clock);
        let mut result = self.decide(&mut body);
        if matches!(result, Err(Halt::Refuse(_)) | Ok(_)) && !body.awaits_continue() {
            // What was refused early still has to be read, or the client would not see why.
            if let Err(Halt::Gone) = body.drain() {
                result = Err(Halt::Gone);
            }
        }
        self.outcome.bytes_in = body.received();
        let can_go_on = self.request.keep_alive && !body.is_broken();
        (result, can_go_on)
    }

    fn decide(&self, body: &mut Inflow<'_>) -> Result<Response, Halt> {
        let now = self.shared.clock().elapsed();
        if let Some(admission) = self.fired.as_ref().and_then(|fired| fired.admission.as_ref()) {
            admission.admit(now)?;
        }
        if let Some(admission) = &self.shape.admission {
            admission.admit(now)?;
        }
        let mut quirks = crate::service::Quirks::default();
        if let Some(fired) = &self.fired {
            states::prepare(&self.shared.service, &self.request, fired)?;
            // With a commit asked for, the status says how the answer lies, not what is done.
            if let Some(answer) = faults::instead(&fired.action).filter(|_| !commits(&fired.action)) {
                return Ok(answer?);
            }
            if let Some(switch) = fired.action.fail_without_commit.as_ref().filter(|switch| switch.is_on()) {
                body.drain()?;
                let answer = switch.value().cloned().unwrap_or(Answer::Status(500));
                return Err(faults::refusal_of(&answer).map_or_else(|| body.reset(), Halt::from));
            }
            quirks = faults::quirks(&fired.action);
        }
        if let Some(refusal) = &self.head_refusal {
            return Err(refusal.clone().into());
        }
        let service = &self.shared.service;
        if needs_bucket(self.request.operation) {
            service.store.with(self.request.bucket_name(), |_| ())?;
        }
        authorize(service, &self.request)?;
        self.request.traffic_limit()?;
        carry_out(&Call { service, request: &self.request, quirks }, body)
    }

    /// What a rule makes of the answer once the operation is committed: another answer, or none.
    fn after_commit(&self, action: &Action) -> Option<Option<Refusal>> {
        if action.commit_then_reset {
            return Some(None);
        }
        if action.fail_without_commit.is_some() {
            return None;
        }
        action.commit_then_status.as_ref().map(faults::refusal_of)
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        let host = self.request.header("host").unwrap_or_default();
        let mut refusal = refusal.clone();
        if refusal.code == "RequestTimeTooSkewed" {
            let now = self.shared.clock().utc().to_iso_extended_millis();
            refusal = refusal.field("ServerTime", now);
        }
        refuse(&refusal, &self.request.method, &self.request_id, host)
    }

    /// Waits until the first byte may go out.
    fn hold_back(&self, wire: &Wire) -> io::Result<()> {
        let spent = self.shared.clock().elapsed().saturating_sub(self.begun);
        let shaped = self.shape.first_byte.saturating_sub(spent);
        let ruled = self.fired.as_ref().map_or(Duration::ZERO, faults::delay);
        let wait = shaped.max(ruled);
        if wait.is_zero() { Ok(()) } else { wire.pause(wait) }
    }

    fn send(&mut self, wire: &mut Wire, mut response: Response, can_go_on: bool) -> io::Result<bool> {
        self.dress(&mut response);
        self.outcome.status = Some(response.status);
        self.outcome.upload_id = response.upload_id.take();
        self.shared.journal().outcome(self.ticket, &self.outcome);
        let clock = self.shared.clock();
        let size = response.payload.size_bytes();
        let plan = faults::out_plan(self.fired.as_ref(), self.rate(), size, clock);
        let mut out = Outflow::new(wire, clock, plan);
        let raw = self.fired.as_ref().and_then(|fired| fired.action.raw.as_ref());
        let result = match raw {
            Some(raw) => out.send_raw(&raw.to_vec()).map(|()| false),
            None => out.send(&response, can_go_on),
        };
        self.outcome.bytes_out = out.body_bytes();
        result
    }

    /// Adds the headers every answer carries, then lets the rule have its way with all of them.
    fn dress(&self, response: &mut Response) {
        let spent = self.shared.clock().elapsed().saturating_sub(self.begun).as_millis().max(1);
        let common = [
            ("Server", "AliyunOSS".to_owned()),
            ("Date", self.shared.clock().utc().to_http_date()),
            ("x-oss-request-id", self.request_id.clone()),
            ("x-oss-server-time", spent.to_string()),
        ];
        for (name, value) in common {
            response.headers.push((name.to_owned(), value));
        }
        if let Some(fired) = &self.fired {
            faults::edit(&fired.action, response);
        }
    }
}

fn commits(action: &Action) -> bool {
    action.commit_then_reset || action.commit_then_status.is_some()
}
