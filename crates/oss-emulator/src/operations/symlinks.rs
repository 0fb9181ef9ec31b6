//! PutSymlink and GetSymlink.

use oss_protocol::encoding::{decode, encode_query};

use crate::operations::attributes::{check_key, template};
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::intake::{md5_of, quoted_etag};
use crate::store::object::{Kind, Object};

/// PutSymlink: the target need not exist.
///
/// # Errors
/// 400 InvalidArgument; 409 FileAlreadyExists.
pub(crate) fn put_symlink(call: &Call<'_>) -> Result<Response, Refusal> {
    let (name, key) = call.request.place();
    check_key(key)?;
    let bad = || Refusal::invalid_argument("x-oss-symlink-target must be a url-encoded key.");
    let target = call.request.header("x-oss-symlink-target").ok_or_else(bad)?;
    let target = decode(target).map_err(|_| bad())?;
    let class = call.store().with(name, |bucket| bucket.storage_class.clone())?;
    let object = Object {
        etag: quoted_etag(&md5_of(target.as_bytes())),
        kind: Kind::Symlink(target),
        ..template(call.request, &class, call.now_ms())?
    };
    let forbid = call.request.is_set("x-oss-forbid-overwrite");
    let stored = call.store().put((name, key), forbid, object)?;
    Ok(Response::empty(200)
        .header("ETag", stored.object.etag.clone())
        .maybe("x-oss-version-id", stored.version_id))
}

/// GetSymlink: where the link points.
///
/// # Errors
/// 404 NoSuchKey; 400 NotSymlink.
pub(crate) fn get_symlink(call: &Call<'_>) -> Result<Response, Refusal> {
    let (bucket, key) = call.request.place();
    let (object, version_id) = call.store().find(bucket, key, call.request.version_id())?;
    let Kind::Symlink(target) = &object.kind else {
        return Err(Refusal::new(400, "NotSymlink", "The object is not symlink"));
    };
    let mut response = Response::empty(200)
        .header("x-oss-symlink-target", encode_query(target))
        .header("ETag", object.etag.clone())
        .header("Last-Modified", object.modified().to_http_date())
        .maybe("x-oss-version-id", version_id);
    for (name, value) in &object.metadata {
        response = response.header(&format!("x-oss-meta-{name}"), value.clone());
    }
    Ok(response)
}
