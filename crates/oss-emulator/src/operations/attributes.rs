//! Attributes of objects: from the headers of a write, and into the headers of a read.

use std::collections::HashSet;

use oss_protocol::encoding::{decode, parse_query};

use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::Response;
use crate::store::body::Body;
use crate::store::object::{ACLS, Kind, Object, Restore, STORAGE_CLASSES};

/// Headers that are kept with an object and sent back with it.
const KEPT_HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-oss-server-side-data-encryption",
    "x-oss-server-side-encryption",
    "x-oss-server-side-encryption-key-id",
];

/// Most bytes of all `x-oss-meta-*` names and values together.
const MAX_METADATA_BYTES: usize = 8 * 1024;

/// Longest key in UTF-8 bytes.
const MAX_KEY_BYTES: usize = 1023;

/// Checks the name of an object that is to be written.
///
/// # Errors
/// 400 InvalidObjectName.
pub(crate) fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES || key.starts_with(['/', '\\']) {
        let message = format!("The specified object is not valid: {} bytes.", key.len());
        return Err(Refusal::new(400, "InvalidObjectName", message).field("ObjectKey", key));
    }
    Ok(())
}

/// Reads the attributes a write gives to its object; bytes and checksums are still empty.
///
/// # Errors
/// 400 for an unknown ACL or storage class, for malformed tags, or for too much metadata.
pub(crate) fn template(request: &Request, default_class: &str, now_ms: i64) -> Result<Object, Refusal> {
    let acl = request.header("x-oss-object-acl").or_else(|| request.header("x-oss-acl")).unwrap_or("default");
    let storage_class = request.header("x-oss-storage-class").unwrap_or(default_class);
    Ok(Object {
        body: Body::default(),
        etag: String::new(),
        content_md5: None,
        crc64: None,
        modified_ms: now_ms,
        kind: Kind::Normal,
        storage_class: one_of(storage_class, STORAGE_CLASSES, "x-oss-storage-class")?,
        headers: kept_headers(request),
        metadata: metadata(request)?,
        tags: request.header("x-oss-tagging").map_or(Ok(Vec::new()), read_tags)?,
        acl: one_of(acl, ACLS, "x-oss-object-acl")?,
        restore: Restore::Never,
    })
}

/// Checks that a word is one of those OSS knows.
///
/// # Errors
/// 400 InvalidArgument naming the header.
pub(crate) fn one_of(word: &str, known: &[&str], header: &str) -> Result<String, Refusal> {
    if known.contains(&word) {
        return Ok(word.to_owned());
    }
    let refusal = Refusal::invalid_argument(format!("{header}: no such value."));
    Err(refusal.field("Header", header))
}

/// The standard headers of a write that are kept.
pub(crate) fn kept_headers(request: &Request) -> Vec<(String, String)> {
    let kept = KEPT_HEADERS.iter().filter_map(|name| request.header(name).map(|value| (*name, value)));
    kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The `x-oss-meta-*` of a write.
///
/// # Errors
/// 400 above 8 KB.
pub(crate) fn metadata(request: &Request) -> Result<Vec<(String, String)>, Refusal> {
    let named = request.headers.iter().filter_map(|(name, value)| {
        let short = name.strip_prefix("x-oss-meta-")?;
        Some((short.to_owned(), String::from_utf8_lossy(value).into_owned()))
    });
    let metadata: Vec<(String, String)> = named.collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        let message = "The total size of the user metadata exceeds 8 KB.";
        return Err(Refusal::invalid_argument(message));
    }
    Ok(metadata)
}

/// Reads `x-oss-tagging: a=1&b=2`, form-encoded: a plus is a blank.
///
/// # Errors
/// 400 InvalidTag.
pub(crate) fn read_tags(text: &str) -> Result<Vec<(String, String)>, Refusal> {
    let tags = parse_query(&text.replace('+', "%20")).map_err(|_| invalid_tag())?;
    check_tags(&tags)?;
    Ok(tags)
}

/// Checks tags: at most 10, different keys of 1 to 128 and values of up to 256 characters out of letters,
/// digits, blanks and `+ - = . _ : /`.
///
/// # Errors
/// 400 InvalidTag.
pub(crate) fn check_tags(tags: &[(String, String)]) -> Result<(), Refusal> {
    let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " +-=._:/".contains(c));
    let fits = |(name, value): &(String, String)| {
        (1..=128).contains(&name.chars().count())
            && value.chars().count() <= 256
            && plain(name)
            && plain(value)
    };
    let names: HashSet<&str> = tags.iter().map(|(name, _)| name.as_str()).collect();
    let is_valid = tags.len() <= 10 && names.len() == tags.len() && tags.iter().all(fits);
    if is_valid { Ok(()) } else { Err(invalid_tag()) }
}

fn invalid_tag() -> Refusal {
    Refusal::new(400, "InvalidTag", "The tags you provided are not valid.")
}

/// Which attributes an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All, as GetObject and HeadObject.
    All,
    /// Few, as GetObjectMeta.
    Few,
}

/// Puts an object's attributes into an answer.
pub(crate) fn show(
    mut response: Response,
    object: &Object,
    version_id: Option<&str>,
    shown: Shown,
) -> Response {
    response = response
        .header("ETag", object.etag.clone())
        .header("Last-Modified", object.modified().to_http_date())
        .maybe("x-oss-hash-crc64ecma", object.crc64.map(|crc| crc.to_string()))
        .maybe("x-oss-version-id", version_id);
    if shown == Shown::Few {
        return response;
    }
    response = response
        .header("Accept-Ranges", "bytes")
        .header("x-oss-object-type", object.kind.name())
        .header("x-oss-storage-class", object.storage_class.clone())
        .maybe("Content-MD5", object.content_md5.clone());
    if object.kind == Kind::Appendable {
        response = response.header("x-oss-next-append-position", object.body.size_bytes().to_string());
    }
    if !object.tags.is_empty() {
        response = response.header("x-oss-tagging-count", object.tags.len().to_string());
    }
    for (name, value) in &object.headers {
        response = response.header(name, value.clone());
    }
    if response.get("Content-Type").is_none() {
        response = response.header("Content-Type", "application/octet-stream");
    }
    for (name, value) in &object.metadata {
        response = response.header(&format!("x-oss-meta-{name}"), value.clone());
    }
    response
}

/// `x-oss-restore` of an archived object, at that moment of the service's clock.
pub(crate) fn restore_header(object: &Object, now_ms: i64) -> Option<String> {
    let Restore::Asked { ready_ms, days } = object.restore else { return None };
    if now_ms < ready_ms {
        return Some("ongoing-request=\"true\"".to_owned());
    }
    let until = ready_ms.div_euclid(1000) + i64::from(days) * 86_400;
    let expiry = oss_protocol::time::UtcTime(until).to_http_date();
    Some(format!("ongoing-request=\"false\", expiry-date=\"{expiry}\""))
}

/// Reads `x-oss-copy-source`: `/bucket/key`, url-encoded, with an optional `?versionId=`.
///
/// # Errors
/// 400 InvalidArgument.
pub(crate) fn copy_source(request: &Request) -> Result<(String, String, Option<String>), Refusal> {
    let bad = || Refusal::invalid_argument("x-oss-copy-source must be /bucket/key, url-encoded.");
    let text = request.header("x-oss-copy-source").ok_or_else(bad)?;
    let (path, version) = match text.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version.to_owned())),
        None => (text, None),
    };
    let path = decode(path).map_err(|_| bad())?;
    let (bucket, key) = path.strip_prefix('/').unwrap_or(&path).split_once('/').ok_or_else(bad)?;
    Ok((bucket.to_owned(), key.to_owned(), version))
}
