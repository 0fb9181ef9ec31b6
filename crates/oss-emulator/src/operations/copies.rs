//! CopyObject and UploadPartCopy.

use std::sync::Arc;

use oss_protocol::http1::{RangeSpec, parse_range};
use oss_protocol::time::UtcTime;
use oss_protocol::xml::{CopyObjectResult, CopyPartResult, Document};

use crate::operations::attributes::{check_key, copy_source, kept_headers, metadata, template};
use crate::operations::conditions;
use crate::operations::multipart::{part_number, store_part, with_upload};
use crate::operations::reads::archived;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::Response;
use crate::service::Call;
use crate::store::body::Body;
use crate::store::intake::Received;
use crate::store::object::{Kind, Object};

/// Largest source of a CopyObject: 1 GB, the documented limit.
const MAX_COPY_BYTES: u64 = 1024 * 1024 * 1024;

/// CopyObject; a symbolic link is copied as a link.
///
/// # Errors
/// 404 for source or bucket; 412; 304; 403 InvalidObjectState; 400; 409 FileAlreadyExists.
pub(crate) fn copy_object(call: &Call<'_>) -> Result<Response, Refusal> {
    let (name, key) = call.request.place();
    check_key(key)?;
    let source = source(call)?;
    if source.body.size_bytes() > MAX_COPY_BYTES {
        let message = "The source is larger than 1 GB: copy it with UploadPartCopy.";
        return Err(Refusal::new(400, "EntityTooLarge", message));
    }
    let class = call.store().with(name, |bucket| bucket.storage_class.clone())?;
    let object = copy_of(call, &source, template(call.request, &class, call.now_ms())?)?;
    let forbid = call.request.is_set("x-oss-forbid-overwrite");
    let stored = call.store().put((name, key), forbid, object)?;
    let result =
        CopyObjectResult { etag: stored.object.etag.clone(), last_modified: stored.object.modified_iso() };
    Ok(Response::xml(result.encode())
        .header("ETag", stored.object.etag.clone())
        .maybe("x-oss-hash-crc64ecma", stored.object.crc64.map(|crc| crc.to_string()))
        .maybe("x-oss-version-id", stored.version_id))
}

fn copy_of(call: &Call<'_>, source: &Object, fresh: Object) -> Result<Object, Refusal> {
    let replaces = |header| call.request.header(header).is_some_and(|d| d.eq_ignore_ascii_case("replace"));
    let kind = match &source.kind {
        Kind::Symlink(target) => Kind::Symlink(target.clone()),
        Kind::Normal | Kind::Multipart | Kind::Appendable => Kind::Normal,
    };
    let (headers, metadata) = if replaces("x-oss-metadata-directive") {
        (replaced_headers(call.request, source), metadata(call.request)?)
    } else {
        (source.headers.clone(), source.metadata.clone())
    };
    let tags = if replaces("x-oss-tagging-directive") { fresh.tags.clone() } else { source.tags.clone() };
    Ok(Object {
        body: source.body.clone(),
        etag: source.etag.clone(),
        content_md5: source.content_md5.clone(),
        crc64: source.crc64,
        kind,
        headers,
        metadata,
        tags,
        ..fresh
    })
}

/// The headers a copy has instead of its source's: a content type alone is never lost.
fn replaced_headers(request: &Request, source: &Object) -> Vec<(String, String)> {
    let mut headers = kept_headers(request);
    if headers.iter().all(|(name, _)| name != "content-type") {
        headers.extend(source.headers.iter().find(|(name, _)| name == "content-type").cloned());
    }
    headers
}

/// UploadPartCopy: a part made of a range of an object.
///
/// # Errors
/// As CopyObject; 404 NoSuchUpload; 416 InvalidRange.
pub(crate) fn upload_part_copy(call: &Call<'_>) -> Result<Response, Refusal> {
    let number = part_number(call.request)?;
    with_upload(call, |_| ())?;
    let source = source(call)?;
    let range = match call.request.header("x-oss-copy-source-range") {
        Some(text) => range_of(text, source.body.size_bytes())?,
        None => 0..source.body.size_bytes(),
    };
    let received = received_of(source.body.slice(range))?;
    with_upload(call, |upload| upload.in_flight += 1)?;
    store_part(call, number, &received)?;
    let last_modified = UtcTime(call.now_ms().div_euclid(1000)).to_iso_extended_millis();
    let result = CopyPartResult { etag: received.etag(), last_modified };
    Ok(Response::xml(result.encode())
        .header("ETag", received.etag())
        .header("x-oss-hash-crc64ecma", received.crc64.to_string()))
}

fn source(call: &Call<'_>) -> Result<Arc<Object>, Refusal> {
    let (bucket, key, version) = copy_source(call.request)?;
    let (object, _) = call.store().find(&bucket, &key, version.as_deref())?;
    conditions::check(&object, |name| source_header(call.request, name))?;
    if !object.is_readable(call.now_ms()) {
        return Err(archived(&object));
    }
    Ok(object)
}

fn source_header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    request.header(&format!("x-oss-copy-source-{name}"))
}

fn range_of(text: &str, size: u64) -> Result<std::ops::Range<u64>, Refusal> {
    match parse_range(text) {
        RangeSpec::Closed { start, end } if start < size => Ok(start..end.min(size)),
        RangeSpec::From { start } if start < size => Ok(start..size),
        _ => Err(Refusal::new(416, "InvalidRange", "The requested range cannot be satisfied.")),
    }
}

fn received_of(body: Body) -> Result<Received, Refusal> {
    let mut intake = crate::store::intake::Digests::new(true);
    let seen = body.visit(&mut |bytes| {
        intake.update(bytes);
        Ok(())
    });
    seen.map_err(|error| Refusal::internal(&error))?;
    Ok(intake.finish(body))
}
