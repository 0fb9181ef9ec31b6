//! One method per OSS operation.
//!
//! Each method says what one request looks like and what its answer means; signing, sending, repeating
//! and resuming are the transport's.

mod buckets;
mod copies;
mod deletes;
mod listings;
mod multipart;
mod objects;
mod presign;
mod values;

pub use deletes::{DeleteRefusals, MAX_DELETE_KEYS};
pub use values::{
    CopyPart, ListPage, ListPageRequest, ListedBucket, ListedObject, ListedPart, ListedUpload, ObjectInfo,
    PageCost, PutOptions, UploadPart, UploadedPart, UploadsPage, Written,
};

pub use crate::transport::OnAmbiguous;
pub use crate::transport::fetch::{BodySink, GetObject, GotObject};

use oss_protocol::error::ServiceError;
use oss_protocol::time::UtcTime;
use oss_protocol::xml::{Document, XmlError};

use crate::transport::{Answer, BadAnswer};

/// Reads the document in an answer's body.
fn document<D: Document>(answer: &Answer) -> Result<D, BadAnswer> {
    D::decode(&answer.body, D::MAX_BYTES).map_err(|error| match error {
        XmlError::ErrorRoot(refusal) => BadAnswer::Refused(Box::new(ServiceError {
            status: answer.status,
            code: refusal.code,
            message: refusal.message,
            request_id: refusal.request_id,
            ec: refusal.ec,
            host_id: refusal.host_id,
        })),
        other => BadAnswer::Protocol(format!("the answer is no {} ({other})", D::ROOT)),
    })
}

/// Accepts an answer whose status says it all, if it is one of OSS: a web page with a good status, as proxies and
/// login pages send it, has neither an ETag nor a request id.
fn from_oss(answer: &Answer) -> Result<(), BadAnswer> {
    if answer.header("etag").is_none() && answer.header("x-oss-request-id").is_none() {
        let text = "neither an ETag nor a request id came, so OSS did not answer";
        return Err(BadAnswer::Protocol(text.to_owned()));
    }
    Ok(())
}

fn crc64(answer: &Answer) -> Option<u64> {
    answer.header("x-oss-hash-crc64ecma").and_then(|text| text.trim().parse().ok())
}

fn http_date(answer: &Answer, name: &str) -> Option<UtcTime> {
    answer.header(name).and_then(|text| UtcTime::parse_http_date(text).ok())
}

fn owned(answer: &Answer, name: &str) -> Option<String> {
    answer.header(name).map(str::to_owned)
}

/// What an acknowledged publication tells.
fn written(answer: &Answer, etag: Option<String>) -> Written {
    Written {
        etag: etag.or_else(|| owned(answer, "etag")),
        crc64: crc64(answer),
        version_id: owned(answer, "x-oss-version-id"),
        request_id: owned(answer, "x-oss-request-id").unwrap_or_default(),
        date: http_date(answer, "date"),
        attempts: answer.attempts,
    }
}
