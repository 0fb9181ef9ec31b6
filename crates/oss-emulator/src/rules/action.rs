//! What a rule does to a request it matches: the JSON vocabulary of faults.

use oss_protocol::encoding::base64_decode;
use serde::Deserialize;
use serde_json::Value;

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    /// A single value.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All values.
    pub(crate) fn all(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// `true`, or a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Switch<T> {
    /// `true` asks for the default kind of the fault, `false` for none.
    Flag(bool),
    /// A value says which.
    Value(T),
}

impl<T> Switch<T> {
    /// Says whether the fault is asked for at all.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Switch::Flag(false))
    }

    /// The value, if one was given.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Switch::Value(value) => Some(value),
            Switch::Flag(_) => None,
        }
    }
}

/// Bytes in JSON: a text, or `{"base64": "..."}`, or `{"repeat": "A", "count": 1000}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bytes {
    /// UTF-8.
    Text(String),
    /// Anything.
    Base64 {
        /// Standard base64.
        base64: String,
    },
    /// A text, many times over.
    Repeat {
        /// The text.
        repeat: String,
        /// How many times.
        count: usize,
    },
}

/// Most bytes that a rule's `body` or `raw` may become: 256 MiB.
const MAX_BYTES: usize = 256 * 1024 * 1024;

impl Bytes {
    /// Makes the bytes; text that is not base64 gives none.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match self {
            Bytes::Text(text) => text.clone().into_bytes(),
            Bytes::Base64 { base64 } => base64_decode(base64).unwrap_or_default(),
            Bytes::Repeat { repeat, count } => {
                repeat.repeat((*count).min(MAX_BYTES / repeat.len().max(1))).into_bytes()
            }
        }
    }
}

/// A direction on the wire, seen from the emulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// The body of the request.
    In,
    /// The answer.
    #[default]
    Out,
}

/// Where `*_after_bytes` begins to count an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CountFrom {
    /// At the first byte of the body.
    #[default]
    Body,
    /// At the first byte of the status line.
    Head,
}

/// Which bit `flip_bit` turns over.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flip {
    /// Bit of the body, counted from 0; drawn from the seed if absent.
    pub(crate) bit: Option<u64>,
    /// Request body or answer.
    #[serde(default)]
    pub(crate) direction: Direction,
}

/// The forms of `flip_bit`: `true`, a bit, `"in"` or `"out"`, or an object.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FlipForm {
    /// That bit of the answer.
    Bit(u64),
    /// A bit drawn from the seed, in that direction.
    Direction(Direction),
    /// Both.
    Full(Flip),
}

/// An error answer: a status, or status and code.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// With the usual code of the status.
    Status(u16),
    /// With that code.
    Full {
        /// HTTP status.
        status: u16,
        /// OSS code.
        code: Option<String>,
    },
    /// `"reset"`: no answer, the connection is reset.
    Reset(ResetWord),
}

/// The word `"reset"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResetWord {
    /// Nothing but a reset.
    Reset,
}

/// Where a `redirect` points.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Redirect {
    /// 307 to that URL.
    Location(String),
    /// Any status; `location` may be null.
    Full {
        /// 301, 302, 307 or 308.
        #[serde(default = "temporary")]
        status: u16,
        /// The URL; none sends no Location header.
        location: Option<String>,
    },
}

fn temporary() -> u16 {
    307
}

/// How a listing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TokenFault {
    /// The next token is the one that was asked with; a first page is not spoiled.
    Same,
    /// The next token is the one the first page gave: A, B, A.
    First,
    /// Truncated, but no token.
    Missing,
    /// The first page again, with a fresh token: keys do not rise.
    NotRising,
}

/// What becomes of the object before the request is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// Size of the new content; that of the old one if absent.
    pub(crate) size: Option<u64>,
    /// Seed of synthetic content; drawn from the rule's seed if absent.
    pub(crate) seed: Option<u64>,
    /// Content in full.
    pub(crate) body: Option<Bytes>,
}

/// An object of any size that takes no memory.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtualObject {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Seed of its content.
    #[serde(default)]
    pub(crate) seed: u64,
}

/// A limit on admitted requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Admit {
    /// Requests per second; more are answered 503.
    Rate(f64),
    /// In full.
    Full(Throttle),
}

/// How requests above a limit are answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttle {
    /// Requests admitted per second.
    pub(crate) rps: f64,
    /// Requests admitted at once after a pause; at least 1.
    pub(crate) burst: Option<f64>,
    /// 503 (default) or 429.
    pub(crate) status: Option<u16>,
    /// OSS code; the usual one of the status if absent.
    pub(crate) code: Option<String>,
    /// Sent as `x-oss-qos-delay-time`, milliseconds.
    pub(crate) qos_delay_ms: Option<u64>,
    /// Sent as `Retry-After`, as given.
    pub(crate) retry_after: Option<String>,
}

/// A process to be killed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kill {
    /// Its process id.
    pub(crate) pid: u32,
    /// Signal number; 9 if absent.
    pub(crate) signal: Option<u32>,
    /// Whether the request is carried out before the signal; by default it is not.
    #[serde(default)]
    pub(crate) after: bool,
}

/// Everything a rule may do. Unknown names are refused by their name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Action {
    /// Status of the answer that is given instead of carrying the operation out.
    pub(crate) status: Option<u16>,
    /// OSS code of that answer; the usual one of the status if absent.
    pub(crate) code: Option<String>,
    /// Text of that answer for people.
    pub(crate) message: Option<String>,
    /// Error number (EC) of that answer.
    pub(crate) ec: Option<String>,
    /// Body of that answer, verbatim, in the place of the error document.
    pub(crate) body: Option<Bytes>,
    /// Headers of any answer: replaced, or added; a list gives one header each.
    pub(crate) headers: Option<serde_json::Map<String, Value>>,
    /// Headers of any answer that are left out.
    pub(crate) drop_headers: Option<OneOrMany<String>>,
    /// Pause before the first byte of the answer; `[low, high]` draws from the seed.
    pub(crate) delay_ms: Option<OneOrMany<u64>>,
    /// Answer that sends the client elsewhere.
    pub(crate) redirect: Option<Redirect>,
    /// GetObject does not see the Range header.
    pub(crate) ignore_range: bool,
    /// Content-Range as given.
    pub(crate) content_range: Option<String>,
    /// Another ETag than the object's.
    pub(crate) wrong_etag: Option<Switch<String>>,
    /// Another CRC than the object's.
    pub(crate) wrong_crc: Option<Switch<String>>,
    /// How a listing's continuation goes wrong.
    pub(crate) repeat_token: Option<Switch<TokenFault>>,
    /// Bytes sent in the place of a whole answer; then the connection is closed.
    pub(crate) raw: Option<Bytes>,

    /// RST after so many bytes.
    pub(crate) reset_after_bytes: Option<u64>,
    /// FIN after so many bytes.
    pub(crate) close_after_bytes: Option<u64>,
    /// Silence after so many bytes, until the client leaves or `stall_ms` have passed.
    pub(crate) stall_after_bytes: Option<u64>,
    /// How long a stall lasts.
    pub(crate) stall_ms: Option<u64>,
    /// Whether bytes of the answer are counted from its head or its body.
    pub(crate) count_from: CountFrom,
    /// Whether bytes of the answer or of the request's body are counted, paced, flipped.
    pub(crate) direction: Direction,
    /// Bandwidth.
    pub(crate) rate_bytes_per_second: Option<u64>,
    /// One bit turned over.
    pub(crate) flip_bit: Option<Switch<FlipForm>>,
    /// FIN after so many bytes of the body, half of it by default, under the full Content-Length.
    pub(crate) truncate_body: Option<Switch<u64>>,
    /// Bytes behind the end of the body.
    pub(crate) extra_bytes: Option<usize>,
    /// Content-Length as given: a number, a text, a list of them, or `"missing"`.
    pub(crate) content_length: Option<Value>,
    /// Chunked coding, with chunks of so many bytes.
    pub(crate) chunked: Option<Switch<usize>>,
    /// Chunked coding whose second size line is not hexadecimal.
    pub(crate) bad_chunk: Option<Switch<usize>>,
    /// Stops reading the request's body after so many bytes, as `stall_after_bytes` inwards.
    pub(crate) stop_reading: Option<Switch<u64>>,

    /// Carries the operation out and resets instead of answering.
    pub(crate) commit_then_reset: bool,
    /// Carries the operation out and answers with an error.
    pub(crate) commit_then_status: Option<Answer>,
    /// Reads the whole request and fails without carrying it out; 500 by default.
    pub(crate) fail_without_commit: Option<Switch<Answer>>,
    /// Replaces the object before the request is served.
    pub(crate) replace_object: Option<Switch<Replacement>>,
    /// Deletes the object before the request is served.
    pub(crate) delete_object: bool,
    /// Moves the object to the class Archive before the request is served.
    pub(crate) archive: bool,
    /// Lets the token (or key) of this request expire before it is judged.
    pub(crate) expire_token: bool,
    /// Shifts the service's clock from this request on.
    pub(crate) clock_offset_seconds: Option<i64>,
    /// Limits the requests that this rule matches.
    pub(crate) admit_rps: Option<Admit>,
    /// Signals a process when this request arrives.
    pub(crate) kill_client_at: Option<Kill>,
    /// The key holds an object of that size.
    pub(crate) virtual_object: Option<VirtualObject>,
}
