//! What the operations take and return.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use oss_protocol::time::UtcTime;
use oss_protocol::uri::ObjectUri;

use crate::transport::OnAmbiguous;

/// What HeadObject tells.
#[derive(Debug, Clone, Default)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size: u64,
    /// ETag with its quotes.
    pub etag: Option<String>,
    /// The service's CRC-64 of the object.
    pub crc64: Option<u64>,
    /// Last change.
    pub last_modified: Option<UtcTime>,
    /// Stored content type.
    pub content_type: Option<String>,
    /// `Standard`, `IA`, `Archive`, ...; `None` means Standard.
    pub storage_class: Option<String>,
    /// `Normal`, `Appendable`, `Multipart`, `Symlink`.
    pub object_type: Option<String>,
    /// Version, in a bucket with versioning.
    pub version_id: Option<String>,
    /// State of a restoration from the archive, as the service words it.
    pub restore: Option<String>,
    /// User metadata (`x-oss-meta-*` without the prefix).
    pub metadata: Vec<(String, String)>,
}

/// How an object is written.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Fail with `AlreadyExists` if the key exists (`x-oss-forbid-overwrite`).
    pub if_absent: bool,
    /// Content type; `None` = `application/octet-stream`.
    pub content_type: Option<String>,
    /// `Standard`, `IA`, `Archive`, ...
    pub storage_class: Option<String>,
    /// User metadata, sent as `x-oss-meta-*`.
    pub metadata: Vec<(String, String)>,
    /// What to do after an ambiguous attempt.
    pub on_ambiguous: OnAmbiguous,
}

/// A PutObject, CopyObject or CompleteMultipartUpload that was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// ETag with its quotes.
    pub etag: Option<String>,
    /// The service's CRC-64 of the whole object.
    pub crc64: Option<u64>,
    /// Version that was made, in a bucket with versioning.
    pub version_id: Option<String>,
    /// The service's name for the request.
    pub request_id: String,
    /// The service's clock when it answered.
    pub date: Option<UtcTime>,
    /// Requests sent.
    pub attempts: u32,
}

/// One part to upload. The body is sent again as a whole when the attempt fails.
#[derive(Clone)]
pub struct UploadPart<'a> {
    /// The object.
    pub uri: &'a ObjectUri,
    /// The upload.
    pub upload_id: &'a str,
    /// 1 to 10,000.
    pub part_number: u32,
    /// The bytes, in pieces.
    pub body: &'a [&'a [u8]],
    /// CRC-64 of the body, compared with the service's answer.
    pub crc64: u64,
}

impl fmt::Debug for UploadPart<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.body.iter().map(|piece| piece.len()).sum();
        write!(out, "UploadPart({} {} part {}, {bytes} bytes)", self.uri, self.upload_id, self.part_number)
    }
}

/// A range of one version of an object, to become a part of an upload.
#[derive(Debug, Clone)]
pub struct CopyPart<'a> {
    /// Where the bytes are.
    pub source: &'a ObjectUri,
    /// The version, with its quotes.
    pub etag: &'a str,
    /// Which bytes; half-open and not empty.
    pub range: Range<u64>,
    /// The object.
    pub target: &'a ObjectUri,
    /// The upload.
    pub upload_id: &'a str,
    /// 1 to 10,000.
    pub part_number: u32,
}

/// A part that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// ETag with its quotes, needed for Complete.
    pub etag: String,
    /// The service's CRC-64 of the part, if it sent one; then it equals ours.
    pub crc64: Option<u64>,
    /// Requests sent.
    pub attempts: u32,
}

/// A part as ListParts names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// ETag with its quotes.
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
    /// The service's CRC-64 of the part.
    pub crc64: Option<u64>,
}

/// A multipart upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The object it is for.
    pub key: String,
    /// Its name.
    pub upload_id: String,
    /// When it was begun.
    pub initiated: Option<UtcTime>,
}

/// One page of ListMultipartUploads.
#[derive(Debug, Clone, Default)]
pub struct UploadsPage {
    /// The uploads, by key.
    pub uploads: Vec<ListedUpload>,
    /// (key marker, upload id marker) of the next page.
    pub next: Option<(String, String)>,
}

/// One page of ListObjectsV2 to ask for.
#[derive(Debug, Clone, Default)]
pub struct ListPageRequest<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// Keys begin with this.
    pub prefix: &'a str,
    /// Keys come after this one.
    pub start_after: Option<&'a str>,
    /// Where the last page ended.
    pub continuation_token: Option<&'a str>,
    /// Groups keys by the first occurrence after the prefix.
    pub delimiter: Option<&'a str>,
    /// 1 to 1000; 0 = 1000.
    pub max_keys: u32,
}

/// A bucket as ListBuckets names it. Texts may be empty, the name never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBucket {
    /// Its name.
    pub name: String,
    /// Where it is, without `oss-` in front.
    pub region: String,
    /// When it was made.
    pub created: Option<UtcTime>,
    /// Storage class that new objects get.
    pub storage_class: String,
    /// Public host of its region.
    pub extranet_endpoint: String,
    /// Host of its region inside Alibaba Cloud.
    pub intranet_endpoint: String,
}

/// An object as a listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key, as raw text.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// ETag with its quotes.
    pub etag: String,
    /// Last change.
    pub last_modified: Option<UtcTime>,
    /// Storage class as the service spells it.
    pub storage_class: Cow<'static, str>,
    /// `Normal`, `Appendable`, `Multipart`, `Symlink`.
    pub object_type: Cow<'static, str>,
}

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    /// The objects, in byte order of their keys.
    pub objects: Vec<ListedObject>,
    /// Groups, where a delimiter was given.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins; `None` on the last one.
    pub next_token: Option<String>,
    /// The service says that there is more.
    pub is_truncated: bool,
    /// What it took.
    pub cost: PageCost,
}

/// The time that one page of a listing took, or several.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageCost {
    /// From the question to the last of its keys.
    pub whole: Duration,
    /// The part of it in which a processor of this machine read the document.
    pub decoding: Duration,
}
