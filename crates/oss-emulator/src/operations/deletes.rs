//! DeleteObject and DeleteMultipleObjects.

use oss_protocol::encoding::base64_encode;
use oss_protocol::xml::{Delete, DeleteTarget, Document, Writer};

use crate::operations::writes::check_digest;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::Removed;
use crate::store::intake::md5_of;

/// Most keys of one DeleteMultipleObjects.
const MAX_KEYS: usize = 1000;

/// DeleteObject: 204 whether or not the key was there.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn delete_object(call: &Call<'_>) -> Result<Response, Refusal> {
    let removed = call.store().remove(call.request.place(), call.request.version_id())?;
    let response = Response::empty(204).maybe("x-oss-version-id", removed.version_id);
    Ok(response.maybe("x-oss-delete-marker", removed.delete_marker.then_some("true")))
}

/// DeleteMultipleObjects.
///
/// # Errors
/// 400 MissingArgument without Content-MD5, InvalidDigest, MalformedXML.
pub(crate) fn delete_multiple(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    if call.request.header("content-md5").is_none() {
        return Err(Refusal::new(400, "MissingArgument", "Missing Some Required Arguments: Content-MD5."));
    }
    check_digest(call.request, Some(&base64_encode(&md5_of(document))))?;
    let wanted = Delete::decode(document, Delete::MAX_BYTES).map_err(|error| malformed_xml(&error))?;
    if wanted.objects.is_empty() || wanted.objects.len() > MAX_KEYS {
        return Err(malformed_xml(&format!("{} objects, 1 to 1000 are taken", wanted.objects.len())));
    }
    let bucket = call.request.bucket_name();
    let mut writer = Writer::new("DeleteResult");
    writer.encoding_type(call.encoding_url()?);
    for target in &wanted.objects {
        let removed = call.store().remove((bucket, &target.key), target.version_id.as_deref())?;
        writer.group("Deleted", |writer| write_deleted(writer, target, &removed));
    }
    if wanted.quiet {
        return Ok(Response::empty(200));
    }
    Ok(Response::xml(writer.finish()))
}

fn write_deleted(writer: &mut Writer, target: &DeleteTarget, removed: &Removed) {
    writer.coded("Key", &target.key);
    writer.optional("VersionId", target.version_id.as_deref());
    if removed.delete_marker {
        writer.flag("DeleteMarker", true);
        writer.optional("DeleteMarkerVersionId", removed.version_id.as_deref());
    }
}

/// 400 MalformedXML.
pub(crate) fn malformed_xml(why: &dyn std::fmt::Display) -> Refusal {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    Refusal::new(400, "MalformedXML", format!("{message}: {why}."))
}
