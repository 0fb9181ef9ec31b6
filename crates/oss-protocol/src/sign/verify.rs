//! The server's side: does the request that arrived carry a signature of a known key?
//!
//! Everything is recomputed from what stood on the wire: the method, the query as it was written,
//! the headers. What the client claims to have signed is never asked. The order of the checks is:
//! form, region, key, clock, token, signature.

mod problem;
mod types;
mod v1;
mod v4;

pub use problem::SignatureProblem;
pub use types::{CLOCK_WINDOW_SECONDS, Identity, KeyLookup, SignatureVersion, VerifyPolicy, VerifyRequest};

use problem::Refused;

use super::credentials::Credentials;
use super::mac;
use crate::encoding::{decode_bytes, query_pieces};
use crate::time::UtcTime;

/// Check the signature of a request: V4 or V1, in the header or in the URL.
///
/// `lookup` is asked for the key id the request names, at most once.
///
/// # Errors
/// A boxed [`SignatureProblem`] with the code of the service: 403 `SignatureDoesNotMatch`,
/// `InvalidAccessKeyId`, `AccessDenied` (no signature, no date, a URL that has expired),
/// `RequestTimeTooSkewed`, `InvalidSecurityToken`, `SecurityTokenExpired`, `InvalidArgument` for
/// another region; 400 `InvalidArgument` for marks of a signature that are malformed.
pub fn verify<L: Into<KeyLookup>>(
    request: &VerifyRequest<'_>,
    policy: &VerifyPolicy<'_>,
    lookup: impl FnOnce(&str) -> L,
) -> Result<Identity, Box<SignatureProblem>> {
    let wire = Wire::new(request);
    let lookup = |id: &str| lookup(id).into();
    let mut authorizations = wire.headers("authorization");
    match (authorizations.next(), authorizations.next()) {
        (Some(_), Some(_)) => Err(SignatureProblem::malformed("", "Two Authorization headers.")),
        (Some(value), None) => by_header(&wire, policy, value, lookup),
        (None, _) if wire.asks_v4_query() => v4::by_query(&wire, policy, lookup),
        (None, _) if wire.asks_v1_query() => v1::by_query(&wire, policy, lookup),
        (None, _) => Err(SignatureProblem::access_denied("", "The request carries no signature.")),
    }
}

fn by_header(
    wire: &Wire<'_>,
    policy: &VerifyPolicy<'_>,
    value: &[u8],
    lookup: impl FnOnce(&str) -> KeyLookup,
) -> Result<Identity, Refused> {
    let text = str::from_utf8(value).unwrap_or_default();
    if let Some(fields) = text.strip_prefix(super::v4::ALGORITHM) {
        v4::by_header(wire, policy, fields, lookup)
    } else if let Some(fields) = text.strip_prefix(super::v1::SCHEME) {
        v1::by_header(wire, policy, fields, lookup)
    } else {
        Err(SignatureProblem::malformed("0002-00000002", "Unsupported Authorization Type"))
    }
}

/// A request with its query decoded.
struct Wire<'a> {
    request: &'a VerifyRequest<'a>,
    query: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Wire<'a> {
    fn new(request: &'a VerifyRequest<'a>) -> Self {
        let decoded = |text| decode_bytes(text, true).0;
        let query =
            query_pieces(request.raw_query).map(|(name, value)| (decoded(name), decoded(value))).collect();
        Self { request, query }
    }

    fn headers<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let headers = self.request.headers.iter();
        headers.filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_ascii())
    }

    /// The first header of a name as text; one that is not UTF-8 counts as empty.
    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next().map(|value| str::from_utf8(value).unwrap_or_default())
    }

    /// The first query parameter of a name, likewise.
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(n, _)| n == name.as_bytes());
        found.map(|(_, value)| str::from_utf8(value).unwrap_or_default())
    }

    fn asks_v4_query(&self) -> bool {
        use super::presign::{SIGNATURE, VERSION};
        self.parameter(VERSION).is_some() || self.parameter(SIGNATURE).is_some()
    }

    fn asks_v1_query(&self) -> bool {
        use super::v1::{ACCESS_KEY_ID, SIGNATURE};
        self.parameter(ACCESS_KEY_ID).is_some() || self.parameter(SIGNATURE).is_some()
    }
}

fn find_key(found: KeyLookup, access_key_id: &str) -> Result<Credentials, Refused> {
    match found {
        KeyLookup::Found(credentials) => Ok(credentials),
        KeyLookup::Unknown => Err(SignatureProblem::unknown_key(access_key_id)),
        KeyLookup::Expired => Err(SignatureProblem::expired_token(access_key_id)),
    }
}

/// A temporary key must come with its token, a permanent one with none.
fn check_token(credentials: &Credentials, provided: Option<&str>) -> Result<(), Refused> {
    let matches = match (&credentials.security_token, provided) {
        (None, None) => true,
        (Some(token), Some(provided)) => mac::equal(token.expose().as_bytes(), provided.as_bytes()),
        _ => false,
    };
    if matches { Ok(()) } else { Err(SignatureProblem::wrong_token(&credentials.access_key_id)) }
}

fn check_clock(time: UtcTime, now: UtcTime) -> Result<(), Refused> {
    if time.0.abs_diff(now.0) <= CLOCK_WINDOW_SECONDS.unsigned_abs() {
        Ok(())
    } else {
        Err(SignatureProblem::skewed())
    }
}

fn accepted(access_key_id: &str, version: SignatureVersion, presigned: bool) -> Identity {
    Identity { access_key_id: access_key_id.to_owned(), version, presigned }
}
