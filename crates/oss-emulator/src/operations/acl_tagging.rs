//! Access rights and tags of objects.

use oss_protocol::xml::{AccessControlPolicy, Document};

use crate::operations::attributes::{check_tags, one_of};
use crate::operations::deletes::malformed_xml;
use crate::operations::list_objects::owner;
use crate::operations::settings::Tagging;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::object::ACLS;

/// GetObjectAcl.
///
/// # Errors
/// 404 NoSuchKey.
pub(crate) fn get_acl(call: &Call<'_>) -> Result<Response, Refusal> {
    let (bucket, key) = call.request.place();
    let (object, version_id) = call.store().find(bucket, key, call.request.version_id())?;
    let document = AccessControlPolicy { owner: owner(), grant: object.acl.clone() }.encode();
    Ok(Response::xml(document).maybe("x-oss-version-id", version_id))
}

/// PutObjectAcl.
///
/// # Errors
/// 404 NoSuchKey; 400 InvalidArgument.
pub(crate) fn put_acl(call: &Call<'_>) -> Result<Response, Refusal> {
    let given = call.request.header("x-oss-object-acl").or_else(|| call.request.header("x-oss-acl"));
    let acl = one_of(given.unwrap_or_default(), ACLS, "x-oss-object-acl")?;
    call.store().update(call.request.place(), call.request.version_id(), |object| {
        object.acl = acl;
        Ok(())
    })?;
    Ok(Response::empty(200))
}

/// GetObjectTagging.
///
/// # Errors
/// 404 NoSuchKey.
pub(crate) fn get_tagging(call: &Call<'_>) -> Result<Response, Refusal> {
    let (bucket, key) = call.request.place();
    let (object, version_id) = call.store().find(bucket, key, call.request.version_id())?;
    let document = Tagging { tags: object.tags.clone() }.encode();
    Ok(Response::xml(document).maybe("x-oss-version-id", version_id))
}

/// PutObjectTagging.
///
/// # Errors
/// 404 NoSuchKey; 400 MalformedXML or InvalidTag.
pub(crate) fn put_tagging(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    let read = Tagging::decode(document, Tagging::MAX_BYTES).map_err(|error| malformed_xml(&error))?;
    check_tags(&read.tags)?;
    set_tags(call, read.tags)?;
    Ok(Response::empty(200))
}

/// DeleteObjectTagging.
///
/// # Errors
/// 404 NoSuchKey.
pub(crate) fn delete_tagging(call: &Call<'_>) -> Result<Response, Refusal> {
    set_tags(call, Vec::new())?;
    Ok(Response::empty(204))
}

fn set_tags(call: &Call<'_>, tags: Vec<(String, String)>) -> Result<(), Refusal> {
    call.store().update(call.request.place(), call.request.version_id(), |object| {
        object.tags = tags;
        Ok(())
    })
}
