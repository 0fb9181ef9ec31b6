//! A request as the rest of the emulator sees it: parsed, addressed, classified.

use oss_protocol::encoding::parse_query;
use oss_protocol::http1::{BodyFraming, RequestHead};
use oss_protocol::operation::Operation;

use crate::address::{Address, locate};
use crate::refusal::Refusal;

/// Bandwidths a client may ask for, in bits per second.
const TRAFFIC_LIMIT_BITS: std::ops::RangeInclusive<u64> = 819_200..=838_860_800;

/// The head of a request, with what it means.
#[derive(Debug)]
pub(crate) struct Request {
    /// Upper-case method.
    pub(crate) method: String,
    /// The bucket, from host or path.
    pub(crate) bucket: Option<String>,
    /// The key, decoded.
    pub(crate) key: Option<String>,
    /// The query as it stood in the request line.
    pub(crate) raw_query: String,
    /// Decoded query parameters.
    pub(crate) query: Vec<(String, String)>,
    /// Headers as they came; names in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Which operation it is.
    pub(crate) operation: Operation,
    /// How its body is framed.
    pub(crate) framing: BodyFraming,
    /// Whether the client wants to be told before it sends the body.
    pub(crate) expects_continue: bool,
    /// Bytes announced behind a GET or HEAD, which mean nothing and may never come.
    pub(crate) stray_bytes: u64,
    /// Whether the connection may serve another request after this one.
    pub(crate) keep_alive: bool,
}

impl Request {
    /// Understands a parsed head. The second value says why it must be refused all the same.
    pub(crate) fn read(head: &RequestHead<'_>, is_bucket: impl Fn(&str) -> bool) -> (Self, Option<Refusal>) {
        let headers: Vec<(String, Vec<u8>)> =
            head.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
        let raw_query = head.query().unwrap_or_default();
        let query = parse_query(raw_query).map_err(|_| bad_uri());
        let address = locate(head.host().unwrap_or_default(), head.path(), is_bucket);
        let framing = head.framing().map_err(|error| {
            Refusal::new(
                400,
                "InvalidRequest",
                format!("The framing of the body cannot be understood: {error}."),
            )
        });
        let stray_bytes = match framing {
            Ok(BodyFraming::Length(size)) if matches!(head.method, "GET" | "HEAD") => size,
            _ => 0,
        };
        let keep_alive = head.keep_alive() && framing.is_ok() && stray_bytes == 0;
        let mut refusal = None;
        let mut or_note = |problem: Option<Refusal>| refusal = refusal.take().or(problem);
        or_note(query.as_ref().err().cloned());
        or_note(address.as_ref().err().cloned());
        or_note(framing.as_ref().err().cloned());
        let (query, Address { bucket, key }) = (query.unwrap_or_default(), address.unwrap_or_default());
        let has_header = |name: &str| headers.iter().any(|(found, _)| found == name);
        let operation =
            Operation::classify(head.method, bucket.as_deref(), key.as_deref(), &query, has_header);
        let request = Self {
            method: head.method.to_owned(),
            bucket,
            key,
            raw_query: raw_query.to_owned(),
            query,
            headers,
            operation,
            framing: framing.ok().filter(|_| stray_bytes == 0).unwrap_or(BodyFraming::None),
            expects_continue: head.expects_continue(),
            stray_bytes,
            keep_alive,
        };
        (request, refusal)
    }

    /// The value of a header, by its lower-case name; `None` if it is not UTF-8.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The value of a query parameter; `Some("")` for a bare name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Says whether a header has the value `true`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.header(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The headers as text, for the journal and the rules.
    pub(crate) fn text_headers(&self) -> Vec<(String, String)> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        self.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    /// The bucket, for operations that have one.
    pub(crate) fn bucket_name(&self) -> &str {
        self.bucket.as_deref().unwrap_or_default()
    }

    /// The key, for operations that have one.
    pub(crate) fn key_name(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// Bucket and key.
    pub(crate) fn place(&self) -> (&str, &str) {
        (self.bucket_name(), self.key_name())
    }

    /// Bytes per second that `x-oss-traffic-limit` allows, a header or a parameter in bits.
    ///
    /// # Errors
    /// 400 InvalidArgument outside of 100 KB/s to 100 MB/s.
    pub(crate) fn traffic_limit(&self) -> Result<Option<u64>, Refusal> {
        let name = "x-oss-traffic-limit";
        let Some(text) = self.header(name).or_else(|| self.parameter(name)) else { return Ok(None) };
        let bits = text.parse().ok().filter(|bits| TRAFFIC_LIMIT_BITS.contains(bits));
        let refuse = || Refusal::invalid_argument(format!("{name} must be from 819200 to 838860800."));
        bits.map(|bits: u64| Some(bits / 8)).ok_or_else(refuse)
    }

    /// The version asked for by `versionId`.
    pub(crate) fn version_id(&self) -> Option<&str> {
        self.parameter("versionId").filter(|id| !id.is_empty())
    }
}

fn bad_uri() -> Refusal {
    Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI.")
}
