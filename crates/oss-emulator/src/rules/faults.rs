//! From the words of a rule to what happens: plans for both directions, edited answers.

use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::inflow::{End, InPlan};
use crate::outflow::{LengthHeader, OutPlan};
use crate::refusal::{Refusal, usual_code};
use crate::response::{Payload, Response};
use crate::rules::action::{
    Action, Answer, Direction, Flip, FlipForm, Redirect, ResetWord, Switch, TokenFault,
};
use crate::rules::fired::Fired;
use crate::service::Quirks;
use crate::shaping::Pacer;

/// Chunk size of `chunked: true`, and most of `bad_chunk: true`.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a rule does to an operation itself.
pub(crate) fn quirks(action: &Action) -> Quirks {
    let token = action.repeat_token.as_ref().filter(|switch| switch.is_on());
    Quirks {
        ignore_range: action.ignore_range,
        token: token.map(|switch| switch.value().copied().unwrap_or(TokenFault::Same)),
    }
}

/// What a rule does to the request's body; `size` is what Content-Length says.
pub(crate) fn in_plan(fired: Option<&Fired>, rate: Option<u64>, size: Option<u64>, clock: &Clock) -> InPlan {
    let action = fired.map(|fired| fired.action.as_ref());
    let inbound = action.filter(|action| action.direction == Direction::In);
    let own_rate = inbound.and_then(|action| action.rate_bytes_per_second);
    InPlan {
        end: action.and_then(stop_reading).or_else(|| inbound.and_then(end_of)),
        flip: fired.and_then(|fired| flipped(fired, Direction::In, size.unwrap_or(1))),
        pacer: own_rate.or(rate).map(|rate| Pacer::new(rate, clock.elapsed())),
    }
}

/// What a rule does to the answer on its way out.
pub(crate) fn out_plan(fired: Option<&Fired>, rate: Option<u64>, size: u64, clock: &Clock) -> OutPlan {
    let Some(fired) = fired else {
        return OutPlan { pacer: rate.map(|rate| Pacer::new(rate, clock.elapsed())), ..OutPlan::default() };
    };
    let action = &fired.action;
    let outbound = Some(action.as_ref()).filter(|action| action.direction == Direction::Out);
    let own_rate = outbound.and_then(|action| action.rate_bytes_per_second);
    let bad_chunk = action.bad_chunk.as_ref().filter(|switch| switch.is_on());
    let chunked = bad_chunk.or(action.chunked.as_ref()).filter(|switch| switch.is_on());
    let chunk_bytes = chunked.map(|switch| switch.value().copied().unwrap_or(CHUNK_BYTES));
    OutPlan {
        end: truncation(action, size).or_else(|| outbound.and_then(end_of)),
        counts_head: action.count_from == crate::rules::action::CountFrom::Head,
        flip: flipped(fired, Direction::Out, size),
        pacer: own_rate.or(rate).map(|rate| Pacer::new(rate, clock.elapsed())),
        extra_bytes: action.extra_bytes.unwrap_or(0),
        length: action.content_length.as_ref().map_or(LengthHeader::True, told_length),
        // A bad second chunk needs a second chunk.
        chunk_bytes: chunk_bytes.map(|bytes| if bad_chunk.is_some() { second(bytes, size) } else { bytes }),
        bad_chunk: bad_chunk.is_some(),
    }
}

fn second(bytes: usize, size: u64) -> usize {
    bytes.min(usize::try_from(size / 2).unwrap_or(bytes)).max(1)
}

fn end_of(action: &Action) -> Option<(u64, End)> {
    let stall = End::Stall(action.stall_ms.map(Duration::from_millis));
    let reset = action.reset_after_bytes.map(|bytes| (bytes, End::Reset));
    let close = action.close_after_bytes.map(|bytes| (bytes, End::Close));
    reset.or(close).or(action.stall_after_bytes.map(|bytes| (bytes, stall)))
}

fn stop_reading(action: &Action) -> Option<(u64, End)> {
    let switch = action.stop_reading.as_ref().filter(|switch| switch.is_on())?;
    let stall = End::Stall(action.stall_ms.map(Duration::from_millis));
    Some((switch.value().copied().unwrap_or(0), stall))
}

fn truncation(action: &Action, size: u64) -> Option<(u64, End)> {
    let switch = action.truncate_body.as_ref().filter(|switch| switch.is_on())?;
    Some((switch.value().copied().unwrap_or(size / 2), End::Close))
}

fn flipped(fired: &Fired, direction: Direction, size: u64) -> Option<u64> {
    let switch = fired.action.flip_bit.as_ref().filter(|switch| switch.is_on())?;
    let flip = match switch {
        Switch::Value(FlipForm::Bit(bit)) => Flip { bit: Some(*bit), direction: fired.action.direction },
        Switch::Value(FlipForm::Direction(direction)) => Flip { bit: None, direction: *direction },
        Switch::Value(FlipForm::Full(flip)) => *flip,
        Switch::Flag(_) => Flip { bit: None, direction: fired.action.direction },
    };
    let drawn = fired.bits % size.saturating_mul(8).max(1);
    (flip.direction == direction).then(|| flip.bit.unwrap_or(drawn))
}

fn told_length(value: &Value) -> LengthHeader {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::String(word) if word == "missing" => LengthHeader::Told(Vec::new()),
        Value::Array(values) => LengthHeader::Told(values.iter().map(text).collect()),
        other => LengthHeader::Told(vec![text(other)]),
    }
}

/// The answer a rule gives instead of carrying the operation out.
pub(crate) fn instead(action: &Action) -> Option<Result<Response, Refusal>> {
    if let Some(redirect) = &action.redirect {
        return Some(Ok(redirected(redirect)));
    }
    let status = action.status?;
    if let Some(body) = &action.body {
        let payload = Payload::Bytes(body.to_vec());
        let response = Response { payload, ..Response::empty(status) };
        return Some(Ok(response.header("Content-Type", "application/xml")));
    }
    if status < 300 && action.code.is_none() {
        return Some(Ok(Response::empty(status)));
    }
    let code = action.code.as_deref().unwrap_or_else(|| usual_code(status));
    let message = action.message.as_deref().unwrap_or("This answer was asked for by a rule.");
    let refusal = Refusal::new(status, code, message);
    Some(Err(match &action.ec {
        Some(ec) => refusal.ec(ec),
        None => refusal,
    }))
}

fn redirected(redirect: &Redirect) -> Response {
    match redirect {
        Redirect::Location(url) => Response::empty(307).header("Location", url.clone()),
        Redirect::Full { status, location } => Response::empty(*status).maybe("Location", location.clone()),
    }
}

/// An error answer that a rule names by status or by status and code; `None` means a reset.
pub(crate) fn refusal_of(answer: &Answer) -> Option<Refusal> {
    let message = "This answer was asked for by a rule.";
    match answer {
        Answer::Status(status) => Some(Refusal::new(*status, usual_code(*status), message)),
        Answer::Full { status, code } => {
            Some(Refusal::new(*status, code.as_deref().unwrap_or_else(|| usual_code(*status)), message))
        }
        Answer::Reset(ResetWord::Reset) => None,
    }
}

/// How long a rule holds the answer back.
pub(crate) fn delay(fired: &Fired) -> Duration {
    let span = fired.action.delay_ms.as_ref().map_or(&[][..], |delay| delay.all());
    let millis = match span {
        [low, high, ..] if high > low => low + fired.bits % (high - low + 1),
        [fixed, ..] => *fixed,
        [] => 0,
    };
    Duration::from_millis(millis)
}

/// Changes the headers of an answer as a rule asks.
pub(crate) fn edit(action: &Action, response: &mut Response) {
    if let Some(value) = &action.content_range {
        response.set("Content-Range", value);
    }
    if let Some(switch) = action.wrong_etag.as_ref().filter(|switch| switch.is_on()) {
        let wrong = switch.value().cloned().unwrap_or_else(|| format!("\"{}\"", "0".repeat(32)));
        response.set("ETag", &wrong);
    }
    if let Some(switch) = action.wrong_crc.as_ref().filter(|switch| switch.is_on()) {
        let name = "x-oss-hash-crc64ecma";
        let crc = response.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let wrong = switch.value().cloned().unwrap_or_else(|| crc.wrapping_add(1).to_string());
        response.set(name, &wrong);
    }
    for (name, value) in action.headers.iter().flatten() {
        response.drop_header(name);
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            response.headers.push((name.clone(), text));
        }
    }
    for name in action.drop_headers.as_ref().map_or(&[][..], |names| names.all()) {
        response.drop_header(name);
    }
}
