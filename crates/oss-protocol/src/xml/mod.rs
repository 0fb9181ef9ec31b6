//! The XML documents of OSS, both ways.
//!
//! Every document is a plain struct that implements [`Document`]: `encode` writes it, `decode`
//! reads it back. Reading runs behind [`Reader`], which bounds depth, size and number of entries,
//! and refuses DTDs, entities and processing instructions: they have no place in an answer of
//! OSS, and are the way to make a small document large. Namespaces and attributes are ignored
//! (OSS's own pages disagree about them), unknown elements are skipped.
//!
//! Keys, prefixes and markers are decoded when the document says `EncodingType` `url`; callers
//! only ever see plain text.

mod bucket;
mod copy;
mod delete;
mod document;
mod error;
mod error_document;
mod listing;
mod multipart;
mod reader;
mod restore;
mod tokens;
mod uploads;
mod writer;

pub use self::bucket::{
    AccessControlPolicy, BucketInfo, BucketSummary, ListAllMyBucketsResult, LocationConstraint,
};
pub use self::copy::{CopyObjectResult, CopyPartResult};
pub use self::delete::{Delete, DeleteFailure, DeleteResult, DeleteTarget, DeletedObject};
pub use self::document::Document;
pub use self::error::XmlError;
pub use self::error_document::{ERROR_EXTRAS, ErrorDocument};
pub use self::listing::{ListBucketResult, ListedObject, Owner};
pub use self::multipart::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, CompletedPart, InitiateMultipartUploadResult,
    ListPartsResult, ListedPart,
};
pub use self::reader::{Element, MAX_ENTRIES, Reader};
pub use self::restore::RestoreRequest;
pub use self::tokens::MAX_DEPTH;
pub use self::uploads::{ListMultipartUploadsResult, ListedUpload};
pub use self::writer::Writer;
