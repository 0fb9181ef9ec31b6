//! GetObject, HeadObject, GetObjectMeta.

use std::sync::Arc;

use crate::operations::attributes::{Shown, restore_header, show};
use crate::operations::conditions;
use crate::operations::ranges::{Chosen, choose};
use crate::refusal::Refusal;
use crate::response::{Payload, Response};
use crate::service::Call;
use crate::store::Store;
use crate::store::bucket::Found;
use crate::store::object::{Kind, Object};

/// Query parameters that replace a header of the answer.
const OVERRIDES: &[(&str, &str)] = &[
    ("response-cache-control", "Cache-Control"),
    ("response-content-disposition", "Content-Disposition"),
    ("response-content-encoding", "Content-Encoding"),
    ("response-content-language", "Content-Language"),
    ("response-content-type", "Content-Type"),
    ("response-expires", "Expires"),
];

/// GetObject: the whole object or a range of it. HeadObject is the same without the body.
///
/// # Errors
/// 404 NoSuchKey or SymlinkTargetNotExist, 304, 412, 416, 403 InvalidObjectState.
pub(crate) fn get_object(call: &Call<'_>) -> Result<Response, Refusal> {
    let (object, version_id) = readable(call)?;
    let is_head = call.request.method == "HEAD";
    let now_ms = call.now_ms();
    conditions::check(&object, |name| call.request.header(name))?;
    if !is_head && !object.is_readable(now_ms) {
        return Err(archived(&object));
    }
    let size = object.body.size_bytes();
    let standard = call.request.header("x-oss-range-behavior") == Some("standard");
    let header = call.request.header("range").filter(|_| !call.quirks.ignore_range);
    let (mut response, range) = match choose(header, size, standard) {
        Chosen::Whole => (Response::empty(200), 0..size),
        Chosen::Part(range) => {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            (Response::empty(206).header("Content-Range", content_range), range)
        }
        Chosen::Unsatisfiable => return Err(unsatisfiable(size)),
    };
    response = show(response, &object, version_id.as_deref(), Shown::All)
        .maybe("x-oss-restore", restore_header(&object, now_ms));
    for (parameter, header) in OVERRIDES {
        if let Some(value) = call.request.parameter(parameter) {
            response.set(header, value);
        }
    }
    response.payload = Payload::Object(object.body.slice(range));
    Ok(response)
}

/// GetObjectMeta: few headers; of a symbolic link, those of the link itself.
///
/// # Errors
/// 404 NoSuchKey.
pub(crate) fn get_object_meta(call: &Call<'_>) -> Result<Response, Refusal> {
    let (bucket, key) = call.request.place();
    let (object, version_id) = call.store().find(bucket, key, call.request.version_id())?;
    let mut response = show(Response::empty(200), &object, version_id.as_deref(), Shown::Few);
    if call.request.method == "HEAD" {
        response.payload = Payload::HeadOnly(object.body.size_bytes());
    }
    Ok(response)
}

/// The object that a read shows: the target in the clothes of the link, if it is a link.
fn readable(call: &Call<'_>) -> Result<Found, Refusal> {
    let (bucket, key) = call.request.place();
    let (object, version_id) = call.store().find(bucket, key, call.request.version_id())?;
    let Kind::Symlink(target) = &object.kind else { return Ok((object, version_id)) };
    let target = link_target(call.store(), bucket, target)?;
    let shown = Object {
        body: target.body.clone(),
        etag: target.etag.clone(),
        content_md5: target.content_md5.clone(),
        crc64: target.crc64,
        modified_ms: object.modified_ms.max(target.modified_ms),
        ..Object::clone(&object)
    };
    Ok((Arc::new(shown), version_id))
}

/// Follows a symbolic link, one step.
///
/// # Errors
/// 404 SymlinkTargetNotExist; 400 InvalidTargetType for a link to a link.
pub(crate) fn link_target(store: &Store, bucket: &str, target: &str) -> Result<Arc<Object>, Refusal> {
    let missing = |_| {
        let message = "The symlink target object does not exist";
        Refusal::new(404, "SymlinkTargetNotExist", message).field("Key", target)
    };
    let (object, _) = store.find(bucket, target, None).map_err(missing)?;
    if matches!(object.kind, Kind::Symlink(_)) {
        return Err(Refusal::new(400, "InvalidTargetType", "The symbolic link's target is a symbolic link."));
    }
    Ok(object)
}

/// 403 InvalidObjectState: the object has to be restored first.
pub(crate) fn archived(object: &Object) -> Refusal {
    let message = "The operation is not valid for the object's state";
    Refusal::new(403, "InvalidObjectState", message)
        .header("x-oss-storage-class", object.storage_class.clone())
}

fn unsatisfiable(size: u64) -> Refusal {
    let message = "The requested range cannot be satisfied.";
    Refusal::new(416, "InvalidRange", message).header("Content-Range", format!("bytes */{size}"))
}
