//! A bucket, and what can be asked of it while it is locked.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::refusal::Refusal;
use crate::store::multitude::Multitude;
use crate::store::object::Object;
use crate::store::slot::{Content, NULL_VERSION, Slot, Versioning};
use crate::store::upload::Upload;

/// An object that a request names, with its version id where the bucket knows versions.
pub(crate) type Found = (Arc<Object>, Option<String>);

/// A bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// When it was created, unix milliseconds on the service's clock.
    pub(crate) created_ms: i64,
    /// `private`, `public-read` or `public-read-write`.
    pub(crate) acl: String,
    /// Storage class of objects that name none.
    pub(crate) storage_class: String,
    /// What it does with versions.
    pub(crate) versioning: Versioning,
    /// Keys in byte order.
    pub(crate) slots: BTreeMap<String, Slot>,
    /// Objects that are computed, not stored; a stored one of the same key hides the computed one.
    pub(crate) multitudes: Vec<Multitude>,
    /// Open multipart uploads by (key, upload id).
    pub(crate) uploads: BTreeMap<(String, String), Upload>,
}

/// Refuses to overwrite where the request forbids it; OSS ignores that under versioning.
///
/// # Errors
/// 409 FileAlreadyExists.
pub(crate) fn check_overwrite(bucket: &Bucket, key: &str, forbidden: bool) -> Result<(), Refusal> {
    let exists = bucket.slots.get(key).is_some_and(|slot| slot.current().is_some());
    if forbidden && exists && bucket.versioning == Versioning::Off {
        let message = "The object you specified already exists and can not be overwritten.";
        return Err(Refusal::new(409, "FileAlreadyExists", message).field("Key", key));
    }
    Ok(())
}

/// Finds an object; `version` as the query parameter `versionId` says.
///
/// # Errors
/// 404 NoSuchKey or NoSuchVersion; 405 for a delete marker asked by its id.
pub(crate) fn find(bucket: &Bucket, key: &str, version: Option<&str>) -> Result<Found, Refusal> {
    let Some(slot) = bucket.slots.get(key) else {
        let member = bucket.multitudes.iter().find_map(|multitude| multitude.find(key));
        return match member {
            Some(member) if version.is_none() => Ok((Arc::new(member.object()), None)),
            _ => Err(Refusal::no_such_key(key)),
        };
    };
    let wanted = match version {
        Some(id) => slot.find(check_version(id)?).ok_or_else(|| no_such_version(key, id))?,
        None => slot.latest().ok_or_else(|| Refusal::no_such_key(key))?,
    };
    let known = bucket.versioning != Versioning::Off || wanted.id != NULL_VERSION;
    let id = known.then(|| wanted.id.clone());
    match (&wanted.content, version) {
        (Content::Object(object), _) => Ok((Arc::clone(object), id)),
        (Content::DeleteMarker(_), None) => {
            let refusal = Refusal::no_such_key(key).header("x-oss-delete-marker", "true");
            Err(refusal.header("x-oss-version-id", wanted.id.clone()))
        }
        (Content::DeleteMarker(_), Some(_)) => {
            let message = "The specified method is not allowed against this resource.";
            let refusal = Refusal::new(405, "MethodNotAllowed", message);
            Err(refusal.header("x-oss-delete-marker", "true").header("x-oss-version-id", wanted.id.clone()))
        }
    }
}

/// Checks the form of a version id: `null`, or what we give out.
///
/// # Errors
/// 400 InvalidArgument.
pub(crate) fn check_version(id: &str) -> Result<&str, Refusal> {
    let given_out = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if given_out || id == NULL_VERSION {
        return Ok(id);
    }
    Err(Refusal::invalid_argument("Invalid version id specified."))
}

fn no_such_version(key: &str, id: &str) -> Refusal {
    let refusal = Refusal::new(404, "NoSuchVersion", "The specified version does not exist.");
    refusal.field("Key", key).field("VersionId", id)
}
