//! Objects that no client wrote: bulk fills, virtual objects, replacements by a rule.

use crate::store::body::Body;
use crate::store::intake::Received;
use crate::store::intake::{md5_of, quoted_etag};
use crate::store::object::{Kind, Object, Restore};

/// Above this size no CRC is computed: it would take seconds. OSS has objects without one, too.
const MAX_CRC_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Makes a plain object of a body. Its ETag is opaque, and so it has no Content-MD5.
pub(crate) fn object(body: Body, seed: u64, now_ms: i64) -> Object {
    let size = body.size_bytes();
    let crc64 = if size <= MAX_CRC_BYTES { body.crc64().ok() } else { None };
    Object {
        etag: quoted_etag(&md5_of(format!("{seed}:{size}:{crc64:?}").as_bytes())),
        body,
        content_md5: None,
        crc64,
        modified_ms: now_ms,
        kind: Kind::Normal,
        storage_class: "Standard".to_owned(),
        headers: vec![("content-type".to_owned(), "application/octet-stream".to_owned())],
        metadata: Vec::new(),
        tags: Vec::new(),
        acl: "default".to_owned(),
        restore: Restore::Never,
    }
}

/// Makes the object that a PutObject of these bytes would have made.
pub(crate) fn plain(received: &Received, now_ms: i64) -> Object {
    Object {
        etag: received.etag(),
        content_md5: received.content_md5(),
        ..object(received.body.clone(), 0, now_ms)
    }
}
