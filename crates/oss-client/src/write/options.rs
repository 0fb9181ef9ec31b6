//! What the user asks of an object to be written.

/// How an object is to be written.
#[derive(Clone, Debug, Default)]
pub struct UploadOptions {
    /// The total size, if it is known: parts are made large enough from the start. Not a promise.
    pub size_hint_bytes: Option<u64>,
    /// Fail with `AlreadyExists` if the key exists. OSS ignores it in a bucket with versioning.
    pub if_absent: bool,
    /// Content type; None is `application/octet-stream`.
    pub content_type: Option<String>,
    /// `Standard`, `IA`, `Archive`, ...; None is the bucket's.
    pub storage_class: Option<String>,
    /// User metadata, sent as `x-oss-meta-*`.
    pub metadata: Vec<(String, String)>,
}
