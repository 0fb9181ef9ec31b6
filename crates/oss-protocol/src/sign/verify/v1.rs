//! V1 as it arrives: in the header and in the URL.

use super::problem::Refused;
use super::{
    Identity, KeyLookup, SignatureProblem, SignatureVersion, VerifyPolicy, Wire, accepted, check_clock,
    check_token, find_key,
};
use crate::sign::canonical::Header;
use crate::sign::credentials::Credentials;
use crate::sign::mac;
use crate::sign::v1::{ACCESS_KEY_ID, EXPIRES, QUERY_TOKEN, SIGNATURE, bytes_to_sign, sign};
use crate::time::UtcTime;

/// Check `Authorization: OSS id:signature`; `fields` is what follows the blank.
pub(super) fn by_header(
    wire: &Wire<'_>,
    policy: &VerifyPolicy<'_>,
    fields: &str,
    lookup: impl FnOnce(&str) -> KeyLookup,
) -> Result<Identity, Refused> {
    let Some((access_key_id, signature)) = fields.trim_ascii().rsplit_once(':') else {
        return Err(SignatureProblem::malformed("", "The Authorization header is malformed."));
    };
    // The Python SDKs sign `x-oss-date` as the date line where it is sent, the Go SDK `Date`.
    let lines: Vec<&str> = ["x-oss-date", "date"].iter().filter_map(|name| wire.header(name)).collect();
    let Some(time) = lines.first().and_then(|line| read_date(line)) else {
        return Err(SignatureProblem::access_denied(
            "0002-00000503",
            "OSS authentication requires a valid Date.",
        ));
    };
    let credentials = find_key(lookup(access_key_id), access_key_id)?;
    check_clock(time, policy.now)?;
    // A temporary key's token stands in a signed header, with one SDK in an unsigned one.
    let token = wire.header("x-oss-security-token").or_else(|| wire.header(QUERY_TOKEN));
    check_token(&credentials, token.or_else(|| wire.parameter(QUERY_TOKEN)))?;
    check_signature(wire, &lines, signature, &credentials)?;
    Ok(accepted(access_key_id, SignatureVersion::V1, false))
}

/// Check a presigned URL.
pub(super) fn by_query(
    wire: &Wire<'_>,
    policy: &VerifyPolicy<'_>,
    lookup: impl FnOnce(&str) -> KeyLookup,
) -> Result<Identity, Refused> {
    let parameter = |name: &str| {
        wire.parameter(name).ok_or_else(|| {
            SignatureProblem::access_denied("", format!("The query parameter {name} is missing."))
        })
    };
    let (access_key_id, signature) = (parameter(ACCESS_KEY_ID)?, parameter(SIGNATURE)?);
    let expires = parameter(EXPIRES)?;
    let Ok(expires_epoch) = expires.parse::<i64>() else {
        return Err(SignatureProblem::access_denied("", format!("{EXPIRES} is not a number of seconds.")));
    };
    let credentials = find_key(lookup(access_key_id), access_key_id)?;
    if policy.now.0 > expires_epoch {
        return Err(SignatureProblem::expired_url());
    }
    check_token(&credentials, wire.parameter(QUERY_TOKEN))?;
    check_signature(wire, &[expires], signature, &credentials)?;
    Ok(accepted(access_key_id, SignatureVersion::V1, true))
}

fn read_date(text: &str) -> Option<UtcTime> {
    UtcTime::parse_http_date(text).or_else(|_| UtcTime::parse_iso_basic(text)).ok()
}

/// Try every date line a client may have signed; the first one is reported.
fn check_signature(
    wire: &Wire<'_>,
    date_lines: &[&str],
    signature: &str,
    credentials: &Credentials,
) -> Result<(), Refused> {
    let request = wire.request;
    let query: Vec<_> = wire.query.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    let to_sign = |date: &str| {
        let headers = request.headers.iter().map(|(name, value)| Header::new(name, value)).collect();
        bytes_to_sign(request.method, (request.bucket, request.key), &query, headers, date.as_bytes())
    };
    let matches = |date: &&str| {
        let expected = sign(&credentials.access_key_secret, &to_sign(date));
        mac::equal(expected.as_bytes(), signature.as_bytes())
    };
    if date_lines.iter().any(matches) {
        return Ok(());
    }
    let string_to_sign = to_sign(date_lines.first().copied().unwrap_or_default());
    let string_to_sign = String::from_utf8_lossy(&string_to_sign).into_owned();
    Err(SignatureProblem::mismatch(&credentials.access_key_id, signature, string_to_sign, None))
}
