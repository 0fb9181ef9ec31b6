//! What an engine must know of an object to read it, and where it gets that from.

use std::fmt::Debug;

use oss_protocol::uri::ObjectUri;

/// One object as an index or a listing names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRef<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key, as raw text.
    pub key: &'a str,
    /// The size in bytes, where a listing told it.
    pub size: Option<u64>,
    /// The ETag with its quotes, where a listing told it: the version to read.
    pub etag: Option<&'a str>,
}

/// Objects by position: an index file, or a list in memory.
pub trait ObjectSource: Debug + Send + Sync {
    /// How many objects there are.
    fn count(&self) -> u64;
    /// The object at `position`, `0 <= position < count()`; None beyond.
    fn object(&self, position: u64) -> Option<ObjectRef<'_>>;
}

/// A source of a single object.
#[derive(Clone, Debug)]
pub struct OneObject {
    /// The object.
    pub uri: ObjectUri,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// Its version, if known.
    pub etag: Option<String>,
}

impl ObjectSource for OneObject {
    fn count(&self) -> u64 {
        1
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        (position == 0).then(|| ObjectRef {
            bucket: &self.uri.bucket,
            key: &self.uri.key,
            size: self.size,
            etag: self.etag.as_deref(),
        })
    }
}
