//! V4 as it arrives: in both layouts of the header, and in the URL.

use super::problem::Refused;
use super::{
    CLOCK_WINDOW_SECONDS, Identity, KeyLookup, SignatureProblem, SignatureVersion, VerifyPolicy, Wire,
    accepted, check_clock, check_token, find_key,
};
use crate::sign::canonical::{
    CONTENT_SHA256, Canonical, CanonicalQuery, Header, UNSIGNED_PAYLOAD, keep_signed, payload_of,
    string_to_sign,
};
use crate::sign::credentials::Secret;
use crate::sign::mac;
use crate::sign::presign::{
    ADDITIONAL_HEADERS, CREDENTIAL, EXPIRES, MAX_PRESIGN_SECONDS, SECURITY_TOKEN, SIGNATURE, VERSION,
};
use crate::sign::v4::{ALGORITHM, DATE, SCOPE_END, Scope, SigningKey};
use crate::time::UtcTime;

/// The marks of a V4 signature, wherever they stood.
struct Marks<'a> {
    access_key_id: &'a str,
    scope: Scope<'a>,
    additional: Vec<String>,
    timestamp: &'a str,
    time: UtcTime,
    signature: &'a str,
    token: Option<&'a str>,
}

/// Check `Authorization: OSS4-HMAC-SHA256 ...`; `fields` is what follows the name of the algorithm.
pub(super) fn by_header(
    wire: &Wire<'_>,
    policy: &VerifyPolicy<'_>,
    fields: &str,
    lookup: impl FnOnce(&str) -> KeyLookup,
) -> Result<Identity, Refused> {
    let fields = Fields::parse(fields)?;
    let (access_key_id, scope) = split_credential(fields.credential)?;
    check_scope(&scope, policy, "0002-00000226", "Invalid signing region in Authorization header.")?;
    let Some(timestamp) = wire.header(DATE) else {
        return Err(SignatureProblem::access_denied(
            "0002-00000503",
            "OSS authentication requires a valid Date.",
        ));
    };
    let time = read_timestamp(timestamp, &scope)?;
    if wire.header(CONTENT_SHA256) != Some(UNSIGNED_PAYLOAD) {
        let message = format!("The header {CONTENT_SHA256} must be {UNSIGNED_PAYLOAD}.");
        return Err(SignatureProblem::malformed("", message));
    }
    let marks = Marks {
        access_key_id,
        scope,
        additional: additional(fields.additional)?,
        timestamp,
        time,
        signature: fields.signature,
        token: wire.header(SECURITY_TOKEN),
    };
    let credentials = find_key(lookup(access_key_id), access_key_id)?;
    check_clock(marks.time, policy.now)?;
    check_token(&credentials, marks.token)?;
    check_signature(wire, &marks, &credentials.access_key_secret, &[])?;
    Ok(accepted(access_key_id, SignatureVersion::V4, false))
}

/// Check a presigned URL.
pub(super) fn by_query(
    wire: &Wire<'_>,
    policy: &VerifyPolicy<'_>,
    lookup: impl FnOnce(&str) -> KeyLookup,
) -> Result<Identity, Refused> {
    let parameter = |name: &str| {
        wire.parameter(name)
            .ok_or_else(|| SignatureProblem::malformed("", format!("The query parameter {name} is missing.")))
    };
    if parameter(VERSION)? != ALGORITHM {
        return Err(SignatureProblem::malformed("", format!("{VERSION} must be {ALGORITHM}.")));
    }
    let (access_key_id, scope) = split_credential(parameter(CREDENTIAL)?)?;
    check_scope(&scope, policy, "0002-00000228", "The signing region in credential is invalid.")?;
    let timestamp = parameter(DATE)?;
    let time = read_timestamp(timestamp, &scope)?;
    let expires = read_expires(parameter(EXPIRES)?)?;
    let marks = Marks {
        access_key_id,
        scope,
        additional: additional(wire.parameter(ADDITIONAL_HEADERS))?,
        timestamp,
        time,
        signature: parameter(SIGNATURE)?,
        token: wire.parameter(SECURITY_TOKEN),
    };
    let credentials = find_key(lookup(access_key_id), access_key_id)?;
    if time.0 > policy.now.0 + CLOCK_WINDOW_SECONDS {
        return Err(SignatureProblem::access_denied("", "The URL is not valid yet."));
    }
    if policy.now.0 > time.0 + i64::from(expires) {
        return Err(SignatureProblem::expired_url());
    }
    check_token(&credentials, marks.token)?;
    check_signature(wire, &marks, &credentials.access_key_secret, &[SIGNATURE])?;
    Ok(accepted(access_key_id, SignatureVersion::V4, true))
}

/// The fields of the header. The SDKs disagree on blanks after the commas and on the order.
struct Fields<'a> {
    credential: &'a str,
    additional: Option<&'a str>,
    signature: &'a str,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Result<Self, Refused> {
        let malformed = || SignatureProblem::malformed("", "The Authorization header is malformed.");
        if !text.starts_with([' ', '\t']) {
            return Err(malformed());
        }
        let (mut credential, mut additional, mut signature) = (None, None, None);
        for field in text.split(',') {
            let (name, value) = field.trim_ascii().split_once('=').ok_or_else(malformed)?;
            let place = match name {
                "Credential" => &mut credential,
                "AdditionalHeaders" => &mut additional,
                "Signature" => &mut signature,
                _ => return Err(malformed()),
            };
            if place.replace(value).is_some() {
                return Err(malformed());
            }
        }
        let (Some(credential), Some(signature)) = (credential, signature) else { return Err(malformed()) };
        Ok(Self { credential, additional, signature })
    }
}

/// Split `id/20240517/cn-hangzhou/oss/aliyun_v4_request`; from the right, as an id is free text.
fn split_credential(text: &str) -> Result<(&str, Scope<'_>), Refused> {
    let malformed = || SignatureProblem::malformed("0002-00000213", "The Credential is invalid.");
    let mut pieces = text.rsplitn(5, '/');
    let mut piece = || pieces.next().ok_or_else(malformed);
    let (end, product, region, date, access_key_id) = (piece()?, piece()?, piece()?, piece()?, piece()?);
    if end != SCOPE_END {
        return Err(malformed());
    }
    if access_key_id.is_empty() || access_key_id.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(SignatureProblem::malformed(
            "0002-00000206",
            "The AccessKeyId in Credential is invalid.",
        ));
    }
    Ok((access_key_id, Scope { date, region, product }))
}

fn check_scope(
    scope: &Scope<'_>,
    policy: &VerifyPolicy<'_>,
    region_ec: &'static str,
    region_message: &str,
) -> Result<(), Refused> {
    if scope.region != policy.region {
        return Err(SignatureProblem::wrong_region(region_ec, region_message));
    }
    if scope.product != policy.product {
        return Err(SignatureProblem::malformed("0002-00000213", "The product in Credential is invalid."));
    }
    Ok(())
}

/// Read `x-oss-date`, whose day must be the day of the scope.
fn read_timestamp(timestamp: &str, scope: &Scope<'_>) -> Result<UtcTime, Refused> {
    let Ok(time) = UtcTime::parse_iso_basic(timestamp) else {
        return Err(SignatureProblem::access_denied(
            "0002-00000503",
            "OSS authentication requires a valid Date.",
        ));
    };
    if timestamp.split_once('T').map(|(day, _)| day) != Some(scope.date) {
        let message = format!("The date in Credential is not the day of {DATE}.");
        return Err(SignatureProblem::malformed("0002-00000212", message));
    }
    Ok(time)
}

fn read_expires(text: &str) -> Result<u32, Refused> {
    let seconds = text.parse().ok().filter(|seconds| (1..=MAX_PRESIGN_SECONDS).contains(seconds));
    seconds.ok_or_else(|| {
        let message = format!("{EXPIRES} must be a number from 1 to {MAX_PRESIGN_SECONDS}.");
        SignatureProblem::malformed("0002-00000232", message)
    })
}

/// Lower and sort the names of additional headers; an empty list and an empty name are refused.
fn additional(list: Option<&str>) -> Result<Vec<String>, Refused> {
    let Some(list) = list else { return Ok(Vec::new()) };
    if list.is_empty() {
        return Err(SignatureProblem::malformed("0002-00000209", "AdditionalHeaders is empty."));
    }
    let mut names: Vec<String> = list.split(';').map(str::to_ascii_lowercase).collect();
    if names.iter().any(String::is_empty) {
        return Err(SignatureProblem::malformed("0002-00000210", "AdditionalHeaders holds an empty name."));
    }
    names.sort_unstable();
    Ok(names)
}

fn check_signature(
    wire: &Wire<'_>,
    marks: &Marks<'_>,
    secret: &Secret,
    query_left_out: &[&str],
) -> Result<(), Refused> {
    let request = wire.request;
    let mut headers: Vec<_> = request.headers.iter().map(|(name, value)| Header::new(name, value)).collect();
    keep_signed(&mut headers, &marks.additional);
    let canonical = Canonical {
        method: request.method,
        bucket: request.bucket,
        key: request.key,
        query: CanonicalQuery::from_raw(request.raw_query, query_left_out),
        headers: &headers,
        additional: &marks.additional,
        payload: payload_of(&headers),
    };
    let mut canonical_request = Vec::new();
    canonical.write(&mut canonical_request);
    let string_to_sign = string_to_sign(&canonical_request, marks.timestamp, &marks.scope);
    let expected = SigningKey::derive(secret, &marks.scope).sign(string_to_sign.as_bytes());
    if mac::equal(expected.as_bytes(), marks.signature.as_bytes()) {
        return Ok(());
    }
    let canonical_request = String::from_utf8_lossy(&canonical_request).into_owned();
    Err(SignatureProblem::mismatch(
        marks.access_key_id,
        marks.signature,
        string_to_sign,
        Some(canonical_request),
    ))
}
