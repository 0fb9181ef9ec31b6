//! InitiateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload.

use std::collections::BTreeMap;

use oss_protocol::xml::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, Document, InitiateMultipartUploadResult,
};

use crate::halt::Halt;
use crate::inflow::Inflow;
use crate::journal::Change;
use crate::operations::attributes::{check_key, one_of, template};
use crate::operations::deletes::malformed_xml;
use crate::operations::writes::{acknowledge, receive};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::Response;
use crate::service::Call;
use crate::store::bucket::{Bucket, check_overwrite};
use crate::store::intake::Received;
use crate::store::object::{ACLS, Kind, Object};
use crate::store::upload::{MAX_PART_NUMBER, Part, Upload, assemble};

/// InitiateMultipartUpload.
///
/// # Errors
/// 400 InvalidObjectName or InvalidArgument; 409 FileAlreadyExists.
pub(crate) fn initiate(call: &Call<'_>) -> Result<Response, Refusal> {
    let (name, key) = call.request.place();
    check_key(key)?;
    let encoding_url = call.encoding_url()?;
    let upload_id = call.store().fresh_id();
    let forbid_overwrite = call.request.is_set("x-oss-forbid-overwrite");
    call.store().alter(name, |bucket| {
        check_overwrite(bucket, key, forbid_overwrite)?;
        let plain = template(call.request, &bucket.storage_class, call.now_ms())?;
        let upload = Upload {
            initiated_ms: call.now_ms(),
            template: Object { kind: Kind::Multipart, ..plain },
            forbid_overwrite,
            parts: BTreeMap::new(),
            in_flight: 0,
            aborted: false,
        };
        bucket.uploads.insert((key.to_owned(), upload_id.clone()), upload);
        let change = Change::new("initiate", name, key);
        call.store().journal().change(Change { upload_id: Some(upload_id.clone()), ..change });
        Ok(())
    })?;
    let (bucket, key) = (name.to_owned(), key.to_owned());
    let result = InitiateMultipartUploadResult { bucket, key, upload_id: upload_id.clone(), encoding_url };
    Ok(Response { upload_id: Some(upload_id), ..Response::xml(result.encode()) })
}

/// UploadPart. A part of the same number is replaced.
///
/// # Errors
/// 404 NoSuchUpload; 400 InvalidArgument, InvalidDigest or RequestTimeout; 411.
pub(crate) fn upload_part(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Response, Halt> {
    let number = part_number(call.request)?;
    let received = while_in_flight(call, || receive(call, body))?;
    store_part(call, number, &received)?;
    Ok(acknowledge(&received))
}

/// Counts a part as in flight while its bytes arrive, so that an Abort meanwhile spares it.
///
/// # Errors
/// 404 NoSuchUpload; whatever `receive` fails with.
fn while_in_flight(
    call: &Call<'_>,
    receive: impl FnOnce() -> Result<Received, Halt>,
) -> Result<Received, Halt> {
    with_upload(call, |upload| upload.in_flight += 1)?;
    let received = receive();
    if received.is_err() {
        end_flight(call, None);
    }
    received
}

/// Adds a part to its upload.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn store_part(call: &Call<'_>, number: u32, received: &Received) -> Result<(), Refusal> {
    end_flight(call, Some((number, received)));
    Ok(())
}

fn end_flight(call: &Call<'_>, landed: Option<(u32, &Received)>) {
    let (name, key) = call.request.place();
    let upload_id = upload_id(call.request);
    // The bucket cannot have gone: one with uploads is not deleted. A reset may have cleared it.
    let _ = call.store().alter(name, |bucket| {
        let place = (key.to_owned(), upload_id.to_owned());
        let Some(upload) = bucket.uploads.get_mut(&place) else { return Ok(()) };
        upload.in_flight = upload.in_flight.saturating_sub(1);
        if let Some((number, received)) = landed {
            upload.parts.insert(number, Part { received: received.clone(), modified_ms: call.now_ms() });
            call.store().journal().change(Change {
                etag: Some(received.etag()),
                size: Some(received.body.size_bytes()),
                crc64: Some(received.crc64),
                upload_id: Some(upload_id.to_owned()),
                part: Some(number),
                ..Change::new("part", name, key)
            });
        }
        if !upload.is_visible() && upload.in_flight == 0 {
            bucket.uploads.remove(&place);
        }
        Ok(())
    });
}

/// CompleteMultipartUpload: the object becomes visible, the id dies.
///
/// # Errors
/// 404 NoSuchUpload; 400 InvalidPartOrder, InvalidPart, EntityTooSmall, MalformedXML or
/// InvalidArgument; 409 FileAlreadyExists.
pub(crate) fn complete(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    let (name, key) = call.request.place();
    let place = (key.to_owned(), upload_id(call.request).to_owned());
    let wanted = wanted_parts(call.request, document)?;
    let acl = call.request.header("x-oss-object-acl").or_else(|| call.request.header("x-oss-acl"));
    let acl = acl.map(|acl| one_of(acl, ACLS, "x-oss-object-acl")).transpose()?;
    let forbid = call.request.is_set("x-oss-forbid-overwrite");
    let stored = call.store().alter(name, |bucket| {
        let upload = live_upload(bucket, &place)?;
        let parts = match &wanted {
            Some(wanted) => upload.choose(wanted)?,
            None => upload.choose_all()?,
        };
        let mut object = assemble(&upload.template, &parts, call.now_ms());
        object.acl = acl.unwrap_or(object.acl);
        check_overwrite(bucket, key, forbid || upload.forbid_overwrite)?;
        let stored = call.store().commit(bucket, (name, key), "complete", object)?;
        bucket.uploads.remove(&place);
        Ok(stored)
    })?;
    let result = CompleteMultipartUploadResult {
        location: format!("{}/{name}/{}", call.service.endpoint, oss_protocol::encoding::encode_path(key)),
        bucket: name.to_owned(),
        key: key.to_owned(),
        etag: stored.object.etag.clone(),
        encoding_url: call.encoding_url()?,
    };
    Ok(Response::xml(result.encode())
        .header("ETag", stored.object.etag.clone())
        .maybe("x-oss-hash-crc64ecma", stored.object.crc64.map(|crc| crc.to_string()))
        .maybe("x-oss-version-id", stored.version_id))
}

/// The parts the client lists; `None` for `x-oss-complete-all: yes`.
fn wanted_parts(request: &Request, document: &[u8]) -> Result<Option<Vec<(u32, String)>>, Refusal> {
    if request.header("x-oss-complete-all") == Some("yes") {
        if !document.is_empty() {
            let message = "The body must be empty when x-oss-complete-all is yes.";
            return Err(Refusal::invalid_argument(message));
        }
        return Ok(None);
    }
    let max_bytes = CompleteMultipartUpload::MAX_BYTES;
    let read = CompleteMultipartUpload::decode(document, max_bytes).map_err(|error| malformed_xml(&error))?;
    Ok(Some(read.parts.into_iter().map(|part| (part.part_number, part.etag)).collect()))
}

/// AbortMultipartUpload: the parts go, but for those still in flight.
///
/// # Errors
/// 404 NoSuchUpload.
pub(crate) fn abort(call: &Call<'_>) -> Result<Response, Refusal> {
    let (name, key) = call.request.place();
    let place = (key.to_owned(), upload_id(call.request).to_owned());
    call.store().alter(name, |bucket| {
        let upload = visible_upload(bucket, &place)?;
        upload.parts.clear();
        upload.aborted = true;
        if upload.in_flight == 0 {
            bucket.uploads.remove(&place);
        }
        let change = Change::new("abort", name, key);
        call.store().journal().change(Change { upload_id: Some(place.1.clone()), ..change });
        Ok(())
    })?;
    Ok(Response::empty(204))
}

/// The part number of a request.
///
/// # Errors
/// 400 InvalidArgument outside 1..=10000.
pub(crate) fn part_number(request: &Request) -> Result<u32, Refusal> {
    let number = request.parameter("partNumber").and_then(|text| text.parse().ok());
    number.filter(|number| (1..=MAX_PART_NUMBER).contains(number)).ok_or_else(|| {
        Refusal::invalid_argument("Part number must be an integer between 1 and 10000, inclusive.")
    })
}

/// The upload id of a request.
pub(crate) fn upload_id(request: &Request) -> &str {
    request.parameter("uploadId").unwrap_or_default()
}

/// Changes the upload a request names, if new parts may still be added to it.
///
/// # Errors
/// 404 NoSuchUpload.
pub(crate) fn with_upload<T>(call: &Call<'_>, change: impl FnOnce(&mut Upload) -> T) -> Result<T, Refusal> {
    let (name, key) = call.request.place();
    let place = (key.to_owned(), upload_id(call.request).to_owned());
    call.store().alter(name, |bucket| {
        let upload = visible_upload(bucket, &place)?;
        if upload.aborted { Err(Refusal::no_such_upload(&place.1)) } else { Ok(change(upload)) }
    })
}

fn live_upload<'b>(bucket: &'b Bucket, place: &(String, String)) -> Result<&'b Upload, Refusal> {
    let upload = bucket.uploads.get(place).filter(|upload| !upload.aborted);
    upload.ok_or_else(|| Refusal::no_such_upload(&place.1))
}

fn visible_upload<'b>(bucket: &'b mut Bucket, place: &(String, String)) -> Result<&'b mut Upload, Refusal> {
    let upload = bucket.uploads.get_mut(place).filter(|upload| upload.is_visible());
    upload.ok_or_else(|| Refusal::no_such_upload(&place.1))
}
