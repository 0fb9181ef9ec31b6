//! The JSON that is kept beside the bytes of persisting objects.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use oss_protocol::encoding::{base64_decode, base64_encode};
use serde::{Deserialize, Serialize};

use crate::store::body::{Body, Piece, Source};
use crate::store::bucket::Bucket;
use crate::store::disk::DataFiles;
use crate::store::object::{Kind, Object, Restore};
use crate::store::slot::{Content, Slot, Version, Versioning};

#[derive(Serialize, Deserialize)]
struct KeptBucket {
    created_ms: i64,
    acl: String,
    storage_class: String,
    versioning: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct KeptSlot {
    key: String,
    versions: Vec<KeptVersion>,
}

#[derive(Serialize, Deserialize)]
struct KeptVersion {
    id: String,
    deleted_ms: Option<i64>,
    object: Option<KeptObject>,
}

#[derive(Serialize, Deserialize)]
struct KeptObject {
    pieces: Vec<KeptPiece>,
    etag: String,
    content_md5: Option<String>,
    crc64: Option<u64>,
    modified_ms: i64,
    kind: String,
    symlink_target: Option<String>,
    storage_class: String,
    headers: Vec<(String, String)>,
    metadata: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    acl: String,
    restore: Option<(i64, u32)>,
}

#[derive(Serialize, Deserialize)]
struct KeptPiece {
    file: Option<PathBuf>,
    seed: Option<u64>,
    base64: Option<String>,
    offset: u64,
    size_bytes: u64,
}

/// Writes the attributes of a bucket.
pub(crate) fn write_bucket(bucket: &Bucket) -> String {
    let kept = KeptBucket {
        created_ms: bucket.created_ms,
        acl: bucket.acl.clone(),
        storage_class: bucket.storage_class.clone(),
        versioning: bucket.versioning.status().map(str::to_owned),
    };
    serde_json::to_string(&kept).unwrap_or_default()
}

/// Reads the attributes of a bucket.
///
/// # Errors
/// The text is not what [`write_bucket`] wrote.
pub(crate) fn read_bucket(text: &[u8]) -> io::Result<Bucket> {
    let kept: KeptBucket = serde_json::from_slice(text)?;
    Ok(Bucket {
        created_ms: kept.created_ms,
        acl: kept.acl,
        storage_class: kept.storage_class,
        versioning: match kept.versioning.as_deref() {
            Some("Enabled") => Versioning::Enabled,
            Some(_) => Versioning::Suspended,
            None => Versioning::Off,
        },
        slots: BTreeMap::new(),
        multitudes: Vec::new(),
        uploads: BTreeMap::new(),
    })
}

/// Writes all versions of a key.
///
/// # Errors
/// A value that JSON cannot hold.
pub(crate) fn write_slot(key: &str, slot: &Slot) -> io::Result<String> {
    let versions = slot.versions().iter().map(keep_version).collect();
    Ok(serde_json::to_string(&KeptSlot { key: key.to_owned(), versions })?)
}

/// Reads all versions of a key.
///
/// # Errors
/// The text is not what [`write_slot`] wrote, or a data file is missing.
pub(crate) fn read_slot(text: &[u8], files: &DataFiles) -> io::Result<(String, Slot)> {
    let kept: KeptSlot = serde_json::from_slice(text)?;
    let versions: io::Result<Vec<Version>> =
        kept.versions.into_iter().map(|version| load_version(version, files)).collect();
    Ok((kept.key, Slot::new(versions?)))
}

fn keep_version(version: &Version) -> KeptVersion {
    let (deleted_ms, object) = match &version.content {
        Content::Object(object) => (None, Some(keep_object(object))),
        Content::DeleteMarker(at) => (Some(*at), None),
    };
    KeptVersion { id: version.id.clone(), deleted_ms, object }
}

fn load_version(kept: KeptVersion, files: &DataFiles) -> io::Result<Version> {
    let content = match kept.object {
        Some(object) => Content::Object(Arc::new(load_object(object, files)?)),
        None => Content::DeleteMarker(kept.deleted_ms.unwrap_or_default()),
    };
    Ok(Version { id: kept.id, content })
}

fn keep_object(object: &Object) -> KeptObject {
    let symlink_target = match &object.kind {
        Kind::Symlink(target) => Some(target.clone()),
        Kind::Normal | Kind::Multipart | Kind::Appendable => None,
    };
    KeptObject {
        pieces: object.body.pieces().iter().map(keep_piece).collect(),
        etag: object.etag.clone(),
        content_md5: object.content_md5.clone(),
        crc64: object.crc64,
        modified_ms: object.modified_ms,
        kind: object.kind.name().to_owned(),
        symlink_target,
        storage_class: object.storage_class.clone(),
        headers: object.headers.clone(),
        metadata: object.metadata.clone(),
        tags: object.tags.clone(),
        acl: object.acl.clone(),
        restore: match object.restore {
            Restore::Asked { ready_ms, days } => Some((ready_ms, days)),
            Restore::Never => None,
        },
    }
}

fn load_object(kept: KeptObject, files: &DataFiles) -> io::Result<Object> {
    let pieces: io::Result<Vec<Piece>> =
        kept.pieces.into_iter().map(|piece| load_piece(piece, files)).collect();
    let kind = match (kept.kind.as_str(), kept.symlink_target) {
        (_, Some(target)) => Kind::Symlink(target),
        ("Multipart", None) => Kind::Multipart,
        ("Appendable", None) => Kind::Appendable,
        _ => Kind::Normal,
    };
    Ok(Object {
        body: Body::new(pieces?),
        etag: kept.etag,
        content_md5: kept.content_md5,
        crc64: kept.crc64,
        modified_ms: kept.modified_ms,
        kind,
        storage_class: kept.storage_class,
        headers: kept.headers,
        metadata: kept.metadata,
        tags: kept.tags,
        acl: kept.acl,
        restore: kept.restore.map_or(Restore::Never, |(ready_ms, days)| Restore::Asked { ready_ms, days }),
    })
}

fn keep_piece(piece: &Piece) -> KeptPiece {
    let (mut file, mut seed, mut base64) = (None, None, None);
    match &piece.source {
        // Only the name is kept, so that a root can be moved.
        Source::File(data) => file = data.path.file_name().map(PathBuf::from),
        Source::Pattern(of) => seed = Some(*of),
        Source::Memory(bytes) => base64 = Some(base64_encode(bytes)),
    }
    KeptPiece { file, seed, base64, offset: piece.offset, size_bytes: piece.size_bytes }
}

fn load_piece(kept: KeptPiece, files: &DataFiles) -> io::Result<Piece> {
    let source = if let Some(seed) = kept.seed {
        Source::Pattern(seed)
    } else if let Some(text) = kept.base64 {
        Source::Memory(Arc::new(base64_decode(&text).map_err(io::Error::other)?))
    } else {
        let name = kept.file.ok_or_else(|| io::Error::other("a piece names no bytes"))?;
        let found = files.get(&name);
        let missing = || io::Error::other(format!("data file {} is missing", name.display()));
        Source::File(Arc::clone(found.ok_or_else(missing)?))
    };
    Ok(Piece { source, offset: kept.offset, size_bytes: kept.size_bytes })
}
