//! The canonical request and the string to sign of V4.
//!
//! Six fields, joined by line breaks: method, `/bucket/key` (whatever the addressing), every query
//! parameter sorted by its encoded name, the signed headers sorted by name, the names of the
//! additional ones, and the payload field. Values are trimmed at both ends, as the Go SDK does.

use sha2::{Digest, Sha256};

use super::request::RequestParts;
use super::v4::{ALGORITHM, Scope};
use crate::encoding::{decode_bytes, encode_path_into, encode_query_into, hex, query_pieces};

pub(super) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
pub(super) const CONTENT_SHA256: &str = "x-oss-content-sha256";

/// Name in any case, value trimmed.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
}

impl<'a> Header<'a> {
    pub(super) fn new(name: &'a str, value: &'a [u8]) -> Self {
        Self { name, value: value.trim_ascii() }
    }
}

/// Encoded names and values in the order in which they are signed.
pub(super) struct CanonicalQuery(Vec<(Vec<u8>, Vec<u8>)>);

impl CanonicalQuery {
    /// Take decoded parameters.
    pub(super) fn from_pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Self {
        Self::sorted(
            pairs.into_iter().map(|(name, value)| (encoded(name.as_bytes()), encoded(value.as_bytes()))),
        )
    }

    /// Take the query of a request line, but for the parameters `left_out`.
    ///
    /// It is decoded and encoded anew: clients may spell a byte differently on the wire than under
    /// the signature (the old Python SDK sends a blank as `+`).
    pub(super) fn from_raw(raw: &str, left_out: &[&str]) -> Self {
        let normal = |text| encoded(&decode_bytes(text, true).0);
        Self::sorted(
            query_pieces(raw)
                .map(|(name, value)| (normal(name), normal(value)))
                .filter(|(name, _)| !left_out.iter().any(|out| out.as_bytes() == name.as_slice())),
        )
    }

    fn sorted(pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        Self(pairs)
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(name);
            if !value.is_empty() {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
}

fn encoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    encode_query_into(&mut out, bytes);
    out
}

/// Say whether V4 signs a header without being asked to.
pub(super) fn is_signed_always(name: &str) -> bool {
    is_oss_header(name)
        || name.eq_ignore_ascii_case("content-type")
        || name.eq_ignore_ascii_case("content-md5")
}

pub(super) fn is_oss_header(name: &str) -> bool {
    name.as_bytes().get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"x-oss-"))
}

/// Choose, lower and sort the additional headers: those present with a value that are not signed
/// anyway.
pub(super) fn additional_names(requested: &[&str], headers: &[Header<'_>]) -> Vec<String> {
    let present =
        |name: &str| headers.iter().any(|h| h.name.eq_ignore_ascii_case(name) && !h.value.is_empty());
    let mut names: Vec<String> = requested
        .iter()
        .filter(|name| !is_signed_always(name) && present(name))
        .map(|name| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Keep the signed headers and sort them by name.
pub(super) fn keep_signed(headers: &mut Vec<Header<'_>>, additional: &[String]) {
    headers.retain(|header| {
        is_signed_always(header.name) || additional.iter().any(|name| header.name.eq_ignore_ascii_case(name))
    });
    sort_by_name(headers);
}

pub(super) fn sort_by_name(headers: &mut [Header<'_>]) {
    headers.sort_by(|a, b| compare_names(a.name, b.name));
}

fn compare_names(a: &str, b: &str) -> std::cmp::Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    a.bytes().map(lower).cmp(b.bytes().map(lower))
}

pub(super) fn write_headers(out: &mut Vec<u8>, sorted: &[Header<'_>]) {
    for header in sorted {
        out.extend(header.name.bytes().map(|byte| byte.to_ascii_lowercase()));
        out.push(b':');
        out.extend_from_slice(header.value);
        out.push(b'\n');
    }
}

/// The payload field: what `x-oss-content-sha256` says, or the constant.
pub(super) fn payload_of<'a>(headers: &[Header<'a>]) -> &'a [u8] {
    let said = headers.iter().find(|header| header.name.eq_ignore_ascii_case(CONTENT_SHA256));
    said.map_or(UNSIGNED_PAYLOAD.as_bytes(), |header| header.value)
}

/// Everything the canonical request is made of; `headers` are filtered and sorted.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a str,
    pub(super) bucket: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) query: CanonicalQuery,
    pub(super) headers: &'a [Header<'a>],
    pub(super) additional: &'a [String],
    pub(super) payload: &'a [u8],
}

impl Canonical<'_> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_bytes());
        out.extend_from_slice(b"\n/");
        if let Some(bucket) = self.bucket {
            encode_path_into(out, bucket.as_bytes());
            out.push(b'/');
            encode_path_into(out, self.key.unwrap_or("").as_bytes());
        }
        out.push(b'\n');
        self.query.write(out);
        out.push(b'\n');
        write_headers(out, self.headers);
        out.push(b'\n');
        for (at, name) in self.additional.iter().enumerate() {
            if at > 0 {
                out.push(b';');
            }
            out.extend_from_slice(name.as_bytes());
        }
        out.push(b'\n');
        out.extend_from_slice(self.payload);
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        // Only header values from a foreign wire can be anything but UTF-8.
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Write the canonical request of `parts`, whose headers must hold `x-oss-date` already.
///
/// `additional` names headers that are to be signed besides those that always are; names that are
/// absent, empty or signed anyway are left out.
#[must_use]
pub fn canonical_request(parts: &RequestParts<'_>, additional: &[&str]) -> String {
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| Header::new(name, value.as_bytes())).collect();
    let additional = additional_names(additional, &headers);
    keep_signed(&mut headers, &additional);
    Canonical {
        method: parts.method,
        bucket: parts.bucket,
        key: parts.key,
        query: CanonicalQuery::from_pairs(parts.query.iter().copied()),
        headers: &headers,
        additional: &additional,
        payload: payload_of(&headers),
    }
    .to_text()
}

/// Write the string to sign; `timestamp` is the value of `x-oss-date`.
#[must_use]
pub fn string_to_sign(canonical_request: impl AsRef<[u8]>, timestamp: &str, scope: &Scope<'_>) -> String {
    let digest = hex(&Sha256::digest(canonical_request.as_ref()));
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{digest}")
}
