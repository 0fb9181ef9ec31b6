//! V1: HMAC-SHA-1 over method, two headers, date, `x-oss-` headers and the resource.
//!
//! The client signs with V4; V1 is here for the emulator and for services that know nothing else.
//! Where the SDKs disagree (temporary keys, `x-oss-` query parameters) this follows the old Python
//! SDK and the Go SDK.

use super::canonical::{Header, is_oss_header, sort_by_name, write_headers};
use super::credentials::{Credentials, Secret};
use super::mac;
use super::presign::{Presigned, UrlQuery};
use super::request::{RequestParts, Signed};
use crate::encoding::base64_encode;
use crate::time::UtcTime;
use crate::uri::{Addressing, Endpoint};

pub(super) const SCHEME: &str = "OSS ";
pub(super) const ACCESS_KEY_ID: &str = "OSSAccessKeyId";
pub(super) const EXPIRES: &str = "Expires";
pub(super) const SIGNATURE: &str = "Signature";
pub(super) const QUERY_TOKEN: &str = "security-token";
const HEADER_TOKEN: &str = "x-oss-security-token";

/// Query parameters that name a resource and are therefore signed, besides all `x-oss-` ones: the
/// union of the lists in the official SDKs, in byte order.
const SUB_RESOURCES: &[&str] = &[
    "acl",
    "append",
    "asyncFetch",
    "bucketInfo",
    "callback",
    "callback-var",
    "cloudboxes",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "group",
    "inventory",
    "inventoryId",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectInfo",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "qos",
    "qosInfo",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "resourceGroup",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "sequential",
    "startTime",
    "stat",
    "status",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
];

fn is_signed_parameter(name: &str) -> bool {
    name.starts_with("x-oss-") || SUB_RESOURCES.binary_search(&name).is_ok()
}

/// Write the string to sign; `date` is the date line: the `Date` header, or the expiry of a URL.
#[must_use]
pub fn string_to_sign(parts: &RequestParts<'_>, date: &str) -> String {
    let headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| Header::new(name, value.as_bytes())).collect();
    let query: Vec<_> = parts.query.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let bytes = bytes_to_sign(parts.method, (parts.bucket, parts.key), &query, headers, date.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

pub(super) fn bytes_to_sign(
    method: &str,
    (bucket, key): (Option<&str>, Option<&str>),
    query: &[(&[u8], &[u8])],
    mut headers: Vec<Header<'_>>,
    date: &[u8],
) -> Vec<u8> {
    let value_of = |name: &str| {
        headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map_or(&b""[..], |h| h.value)
    };
    let mut out =
        [method.as_bytes(), value_of("content-md5"), value_of("content-type"), date, b""].join(&b'\n');
    headers.retain(|header| is_oss_header(header.name));
    sort_by_name(&mut headers);
    write_headers(&mut out, &headers);
    out.push(b'/');
    if let Some(bucket) = bucket {
        out.extend_from_slice(bucket.as_bytes());
        out.push(b'/');
        out.extend_from_slice(key.unwrap_or("").as_bytes());
    }
    write_sub_resources(&mut out, query);
    out
}

fn write_sub_resources(out: &mut Vec<u8>, query: &[(&[u8], &[u8])]) {
    let mut signed: Vec<_> =
        query.iter().filter(|(name, _)| str::from_utf8(name).is_ok_and(is_signed_parameter)).collect();
    signed.sort_unstable();
    for (at, (name, value)) in signed.into_iter().enumerate() {
        out.push(if at == 0 { b'?' } else { b'&' });
        out.extend_from_slice(name);
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
}

/// Sign a string to sign; base64.
#[must_use]
pub fn sign(secret: &Secret, string_to_sign: &[u8]) -> String {
    base64_encode(&mac::sha1(secret.expose().as_bytes(), string_to_sign))
}

/// Sign a request; a header `x-oss-date` among `parts.headers` takes the place of the date line.
#[must_use]
pub fn sign_headers(credentials: &Credentials, parts: &RequestParts<'_>, time: UtcTime) -> Signed {
    let date = time.to_http_date();
    let mut headers = parts.headers.to_vec();
    if let Some(token) = &credentials.security_token {
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(HEADER_TOKEN));
        headers.push((HEADER_TOKEN, token.expose()));
    }
    let own_date = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-oss-date"));
    let date_line = own_date.map_or(date.as_str(), |(_, value)| value.trim_ascii());
    let string_to_sign = string_to_sign(&RequestParts { headers: &headers, ..*parts }, date_line);
    let signature = sign(&credentials.access_key_secret, string_to_sign.as_bytes());
    let mut headers_to_add = vec![("Date", date)];
    if let Some(token) = &credentials.security_token {
        headers_to_add.push((HEADER_TOKEN, token.expose().to_owned()));
    }
    let authorization = format!("{SCHEME}{}:{signature}", credentials.access_key_id);
    headers_to_add.push(("Authorization", authorization));
    Signed { headers_to_add, canonical_request: String::new(), string_to_sign, signature }
}

/// Sign a request into a URL that is valid until `expires`.
#[must_use]
pub fn presign(
    credentials: &Credentials,
    destination: (&Endpoint, Addressing),
    parts: &RequestParts<'_>,
    expires: UtcTime,
) -> Presigned {
    let expires = expires.0.to_string();
    let mut query = UrlQuery::without(parts.query, &[SIGNATURE, QUERY_TOKEN]);
    query.set(ACCESS_KEY_ID, &credentials.access_key_id);
    query.set(EXPIRES, &expires);
    if let Some(token) = &credentials.security_token {
        query.set(QUERY_TOKEN, token.expose());
    }
    let string_to_sign = string_to_sign(&RequestParts { query: &query.0, ..*parts }, &expires);
    let signature = sign(&credentials.access_key_secret, string_to_sign.as_bytes());
    let url = query.url(destination, parts, SIGNATURE, &signature);
    Presigned { url, canonical_request: String::new(), string_to_sign, signature }
}
