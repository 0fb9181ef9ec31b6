//! The operations of OSS, one function each, and the way from a request to its operation.

mod acl_tagging;
mod appends;
mod attributes;
mod buckets;
mod conditions;
mod copies;
mod deletes;
mod list_objects;
mod list_uploads;
mod list_versions;
mod multipart;
mod pages;
mod ranges;
mod reads;
mod restores;
mod settings;
mod symlinks;
mod writes;

use oss_protocol::operation::Operation;

use crate::halt::Halt;
use crate::inflow::Inflow;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;

/// Says whether an operation needs a bucket that exists; OSS looks for it before it looks at keys.
pub(crate) fn needs_bucket(operation: Operation) -> bool {
    use Operation::{DescribeRegions, ListBuckets, PutBucket, PutBucketAcl, Unknown};
    !matches!(operation, PutBucket | PutBucketAcl | ListBuckets | DescribeRegions | Unknown)
}

/// Carries out the operation of an authorized request.
///
/// # Errors
/// The refusal of the service, or the end of the connection.
pub(crate) fn carry_out(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Response, Halt> {
    let response = with_body(call, body)?;
    if wants_callback(call) {
        return Err(callback_failed().into());
    }
    Ok(response)
}

/// Says whether the service is to call a web address when it has stored the object.
fn wants_callback(call: &Call<'_>) -> bool {
    let stores = matches!(call.request.operation, Operation::PutObject | Operation::CompleteMultipartUpload);
    stores
        && (call.request.header("x-oss-callback").is_some() || call.request.parameter("callback").is_some())
}

/// The emulator calls nobody: the object is stored, and the client is told as OSS tells it.
fn callback_failed() -> Refusal {
    Refusal::new(203, "CallbackFailed", "Error status : -1. The emulator calls no web address.")
}

fn with_body(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Response, Halt> {
    match call.request.operation {
        Operation::PutObject => writes::put_object(call, body),
        Operation::AppendObject => appends::append_object(call, body),
        Operation::UploadPart => multipart::upload_part(call, body),
        Operation::CompleteMultipartUpload => Ok(multipart::complete(call, &body.document()?)?),
        Operation::DeleteMultipleObjects => Ok(deletes::delete_multiple(call, &body.document()?)?),
        Operation::RestoreObject => Ok(restores::restore(call, &body.document()?)?),
        Operation::PutObjectTagging => Ok(acl_tagging::put_tagging(call, &body.document()?)?),
        Operation::PutBucket => Ok(buckets::put_bucket(call, &body.document()?)?),
        Operation::PutBucketVersioning => Ok(buckets::put_versioning(call, &body.document()?)?),
        _ => {
            body.drain()?;
            Ok(without_body(call)?)
        }
    }
}

fn without_body(call: &Call<'_>) -> Result<Response, Refusal> {
    match call.request.operation {
        Operation::GetObject => reads::get_object(call),
        Operation::HeadObject => reads::get_object(call).map(Response::without_body),
        Operation::GetObjectMeta => reads::get_object_meta(call),
        Operation::CopyObject => copies::copy_object(call),
        Operation::DeleteObject => deletes::delete_object(call),
        Operation::ListObjects => list_objects::list_v1(call),
        Operation::ListObjectsV2 => list_objects::list_v2(call),
        Operation::ListObjectVersions => list_versions::list_versions(call),
        Operation::InitiateMultipartUpload => multipart::initiate(call),
        Operation::UploadPartCopy => copies::upload_part_copy(call),
        Operation::AbortMultipartUpload => multipart::abort(call),
        Operation::ListParts => list_uploads::list_parts(call),
        Operation::ListMultipartUploads => list_uploads::list_uploads(call),
        Operation::PutSymlink => symlinks::put_symlink(call),
        Operation::GetSymlink => symlinks::get_symlink(call),
        Operation::GetObjectAcl => acl_tagging::get_acl(call),
        Operation::PutObjectAcl => acl_tagging::put_acl(call),
        Operation::GetObjectTagging => acl_tagging::get_tagging(call),
        Operation::DeleteObjectTagging => acl_tagging::delete_tagging(call),
        Operation::ListBuckets => buckets::list_buckets(call),
        Operation::DescribeRegions => buckets::describe_regions(call),
        Operation::DeleteBucket => buckets::delete_bucket(call),
        Operation::GetBucketInfo => buckets::bucket_info(call),
        Operation::GetBucketLocation => buckets::bucket_location(call),
        Operation::GetBucketStat => buckets::bucket_stat(call),
        Operation::GetBucketAcl => buckets::bucket_acl(call),
        Operation::PutBucketAcl => buckets::put_bucket_acl(call),
        Operation::GetBucketVersioning => buckets::bucket_versioning(call),
        Operation::BatchGet => Err(Refusal::invalid_argument("x-oss-batchGet is not offered.")),
        _ if call.request.method == "GET" && call.request.parameter("live").is_some() => {
            buckets::live_channels(call)
        }
        _ => Err(Refusal::new(501, "NotImplemented", "The emulator does not know this operation.")),
    }
}
