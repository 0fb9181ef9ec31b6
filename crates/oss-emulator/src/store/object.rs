//! What the emulator keeps of an object: its bytes, its attributes, its versions.

use oss_protocol::time::UtcTime;

use crate::store::body::Body;

/// How an object came to be; `x-oss-object-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By PutObject or CopyObject.
    Normal,
    /// By CompleteMultipartUpload.
    Multipart,
    /// By AppendObject.
    Appendable,
    /// By PutSymlink; holds the key of the target, in the same bucket.
    Symlink(String),
}

impl Kind {
    /// The word of `x-oss-object-type` and of listings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Normal => "Normal",
            Kind::Multipart => "Multipart",
            Kind::Appendable => "Appendable",
            Kind::Symlink(_) => "Symlink",
        }
    }
}

/// Whether an archived object has been called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restore {
    /// Nobody asked.
    Never,
    /// Asked for; the copy can be read from `ready_ms` on (service clock, unix milliseconds).
    Asked {
        /// When it becomes readable.
        ready_ms: i64,
        /// How many days the copy stays.
        days: u32,
    },
}

/// One version of an object. Never changed in place: a change makes a new value.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// The bytes.
    pub(crate) body: Body,
    /// The ETag, quotes included.
    pub(crate) etag: String,
    /// Content-MD5 in base64; only plain objects have one.
    pub(crate) content_md5: Option<String>,
    /// CRC-64/XZ of the bytes; OSS has none for some old or copied objects.
    pub(crate) crc64: Option<u64>,
    /// When it was written, unix milliseconds on the service's clock.
    pub(crate) modified_ms: i64,
    /// How it came to be.
    pub(crate) kind: Kind,
    /// `Standard`, `IA`, `Archive`, `ColdArchive` or `DeepColdArchive`.
    pub(crate) storage_class: String,
    /// `Content-Type`, `Cache-Control` and the like, as given at the PUT.
    pub(crate) headers: Vec<(String, String)>,
    /// `x-oss-meta-*`, names in lower case and without the prefix.
    pub(crate) metadata: Vec<(String, String)>,
    /// Tags in the order given.
    pub(crate) tags: Vec<(String, String)>,
    /// `default`, `private`, `public-read` or `public-read-write`.
    pub(crate) acl: String,
    /// Whether it has been called back from an archive class.
    pub(crate) restore: Restore,
}

impl Object {
    /// Last-Modified in whole seconds.
    pub(crate) fn modified(&self) -> UtcTime {
        UtcTime(self.modified_ms.div_euclid(1000))
    }

    /// Last-Modified as listings write it: `2020-05-18T05:45:43.000Z`.
    pub(crate) fn modified_iso(&self) -> String {
        self.modified().to_iso_extended_millis()
    }

    /// Says whether the storage class has to be restored before reading.
    pub(crate) fn is_archived(&self) -> bool {
        is_archive_class(&self.storage_class)
    }

    /// Says whether the bytes may be read at this moment of the service's clock.
    pub(crate) fn is_readable(&self, now_ms: i64) -> bool {
        match self.restore {
            Restore::Asked { ready_ms, .. } => now_ms >= ready_ms,
            Restore::Never => !self.is_archived(),
        }
    }
}

/// Says whether objects of a storage class must be restored before they can be read.
pub(crate) fn is_archive_class(storage_class: &str) -> bool {
    matches!(storage_class, "Archive" | "ColdArchive" | "DeepColdArchive")
}

/// The storage classes OSS knows.
pub(crate) const STORAGE_CLASSES: &[&str] = &["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"];

/// The access rights OSS knows; `default` only on objects.
pub(crate) const ACLS: &[&str] = &["default", "private", "public-read", "public-read-write"];
