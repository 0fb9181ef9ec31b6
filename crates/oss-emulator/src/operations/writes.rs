//! PutObject, and what every write of bytes shares.

use crate::halt::Halt;
use crate::inflow::Inflow;
use crate::operations::attributes::{check_key, template};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::Response;
use crate::service::Call;
use crate::store::intake::Received;
use crate::store::object::Object;

/// Largest body of one PUT, part or append: 5 GB.
const MAX_PUT_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// PutObject.
///
/// # Errors
/// 400 InvalidObjectName, InvalidArgument, InvalidDigest or RequestTimeout; 409 FileAlreadyExists;
/// 411 MissingContentLength.
pub(crate) fn put_object(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Response, Halt> {
    let (bucket, key) = call.request.place();
    check_key(key)?;
    let class = call.store().with(bucket, |bucket| bucket.storage_class.clone())?;
    let template = template(call.request, &class, call.now_ms())?;
    let received = receive(call, body)?;
    let object = Object {
        etag: received.etag(),
        content_md5: received.content_md5(),
        crc64: Some(received.crc64),
        body: received.body.clone(),
        modified_ms: call.now_ms(),
        ..template
    };
    let forbid = call.request.is_set("x-oss-forbid-overwrite");
    let stored = call.store().put((bucket, key), forbid, object)?;
    Ok(acknowledge(&received).maybe("x-oss-version-id", stored.version_id))
}

/// Receives the body of a write into the store, and checks what the client said of it.
///
/// # Errors
/// 400 EntityTooLarge, InvalidDigest or RequestTimeout; 411 MissingContentLength; 500.
pub(crate) fn receive(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Received, Halt> {
    check_length(call.request, body.size())?;
    let says_md5 = call.request.header("content-md5").is_some();
    let mut intake = call.store().intake(call.request.key_name(), body.size(), says_md5)?;
    let mut total = 0;
    body.receive(&mut |bytes| {
        total += bytes.len() as u64;
        check_size(total)?;
        intake.write(bytes).map_err(|error| Refusal::internal(&error))
    })?;
    let received = intake.finish();
    check_digest(call.request, received.content_md5().as_deref())?;
    Ok(received)
}

/// The answer to a write of bytes: their checksums.
pub(crate) fn acknowledge(received: &Received) -> Response {
    Response::empty(200)
        .header("ETag", received.etag())
        .header("x-oss-hash-crc64ecma", received.crc64.to_string())
        .maybe("Content-MD5", received.content_md5())
}

/// Checks Content-MD5 against what arrived.
///
/// # Errors
/// 400 InvalidDigest.
pub(crate) fn check_digest(request: &Request, actual: Option<&str>) -> Result<(), Refusal> {
    match request.header("content-md5") {
        Some(told) if Some(told.trim()) != actual => {
            Err(Refusal::new(400, "InvalidDigest", "The Content-MD5 you specified was invalid."))
        }
        _ => Ok(()),
    }
}

fn check_length(request: &Request, size: Option<u64>) -> Result<(), Refusal> {
    let told = request.header("content-length").is_some() || request.header("transfer-encoding").is_some();
    if !told {
        let message = "You must provide the Content-Length HTTP header.";
        return Err(Refusal::new(411, "MissingContentLength", message));
    }
    size.map_or(Ok(()), check_size)
}

fn check_size(size: u64) -> Result<(), Refusal> {
    if size > MAX_PUT_BYTES {
        let message = "Your proposed upload exceeds the maximum allowed size.";
        return Err(Refusal::new(400, "EntityTooLarge", message).field("ProposedSize", size.to_string()));
    }
    Ok(())
}
