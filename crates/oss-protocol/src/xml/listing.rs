//! One page of a bucket's listing, of either version.

use std::borrow::Cow;

use super::document::{Document, required, url_decode};
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

/// `ListBucketResult`: one page of ListObjects or ListObjectsV2.
///
/// Keys, prefixes, markers and tokens are plain text here; `encoding_url` says how they travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListBucketResult {
    /// Bucket.
    pub name: String,
    /// Prefix that was asked for.
    pub prefix: String,
    /// Delimiter that was asked for; may be empty.
    pub delimiter: String,
    /// Keys travel url-encoded.
    pub encoding_url: bool,
    /// Most entries a page may have.
    pub max_keys: Option<u32>,
    /// More pages follow.
    pub is_truncated: bool,
    /// Version 1: the key this page begins after.
    pub marker: Option<String>,
    /// Version 1: marker of the next page.
    pub next_marker: Option<String>,
    /// Version 2: the key the listing begins after.
    pub start_after: Option<String>,
    /// Version 2: token this page was asked with.
    pub continuation_token: Option<String>,
    /// Version 2: token of the next page.
    pub next_continuation_token: Option<String>,
    /// Version 2: number of keys and common prefixes of this page.
    pub key_count: Option<u64>,
    /// Objects, in the order sent.
    pub contents: Vec<ListedObject>,
    /// Prefixes that stand for everything below a delimiter, in the order sent.
    pub common_prefixes: Vec<String>,
}

/// What nearly every object of a listing says of itself: no memory is taken for it.
const TYPES: [&str; 4] = ["Normal", "Multipart", "Appendable", "Symlink"];
const STORAGE_CLASSES: [&str; 5] = ["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"];

/// One object of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedObject {
    /// Key; never empty when read.
    pub key: String,
    /// `2020-05-18T05:45:43.000Z`; may be empty.
    pub last_modified: String,
    /// Quotes included; may be empty.
    pub etag: String,
    /// `Normal`, `Multipart`, `Appendable` or `Symlink`; may be empty.
    pub object_type: Cow<'static, str>,
    /// Size in bytes.
    pub size: u64,
    /// Compare without case; may be empty.
    pub storage_class: Cow<'static, str>,
    /// Always in version 1, on request in version 2.
    pub owner: Option<Owner>,
    /// State of a restored archive object, in the form of `x-oss-restore`.
    pub restore_info: Option<String>,
}

/// An account, as it appears in several documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Account number.
    pub id: String,
    /// Name, nearly always the number again.
    pub display_name: String,
}

impl Document for ListBucketResult {
    const ROOT: &'static str = "ListBucketResult";
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    fn write(&self, writer: &mut Writer) {
        writer.text("Name", &self.name);
        writer.encoding_type(self.encoding_url);
        writer.coded("Prefix", &self.prefix);
        writer.optional_coded("Marker", self.marker.as_deref());
        writer.optional_coded("StartAfter", self.start_after.as_deref());
        writer.optional_coded("ContinuationToken", self.continuation_token.as_deref());
        writer.optional_number("MaxKeys", self.max_keys.map(u64::from));
        writer.coded("Delimiter", &self.delimiter);
        writer.flag("IsTruncated", self.is_truncated);
        writer.optional_coded("NextMarker", self.next_marker.as_deref());
        writer.optional_coded("NextContinuationToken", self.next_continuation_token.as_deref());
        for object in &self.contents {
            writer.group("Contents", |writer| object.write(writer));
        }
        for prefix in &self.common_prefixes {
            writer.group("CommonPrefixes", |writer| writer.coded("Prefix", prefix));
        }
        writer.optional_number("KeyCount", self.key_count);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut page = Self::default();
        let mut is_truncated = None;
        while let Some(child) = reader.child()? {
            match child.name() {
                "Name" => page.name = reader.text()?,
                "Prefix" => page.prefix = reader.text()?,
                "Delimiter" => page.delimiter = reader.text()?,
                "EncodingType" => page.encoding_url = reader.encoding_url()?,
                "MaxKeys" => page.max_keys = Some(reader.small_number("MaxKeys")?),
                "IsTruncated" => is_truncated = Some(reader.flag("IsTruncated")?),
                "Marker" => page.marker = Some(reader.text()?),
                "NextMarker" => page.next_marker = Some(reader.text()?),
                "StartAfter" => page.start_after = Some(reader.text()?),
                "ContinuationToken" => page.continuation_token = Some(reader.text()?),
                "NextContinuationToken" => page.next_continuation_token = Some(reader.text()?),
                "KeyCount" => page.key_count = Some(reader.number("KeyCount")?),
                "Contents" => page.contents.push(ListedObject::read(reader)?),
                "CommonPrefixes" => read_prefixes(reader, &mut page.common_prefixes)?,
                _ => reader.skip()?,
            }
        }
        // Without it nobody knows whether the listing is complete.
        page.is_truncated = is_truncated.ok_or(XmlError::Missing("IsTruncated"))?;
        page.decode_keys()?;
        Ok(page)
    }
}

impl ListBucketResult {
    fn decode_keys(&mut self) -> Result<(), XmlError> {
        let url = self.encoding_url;
        url_decode(url, "Key", self.contents.iter_mut().map(|object| &mut object.key))?;
        url_decode(url, "CommonPrefixes", &mut self.common_prefixes)?;
        url_decode(url, "Prefix", [&mut self.prefix])?;
        url_decode(url, "Delimiter", [&mut self.delimiter])?;
        url_decode(url, "Marker", &mut self.marker)?;
        url_decode(url, "NextMarker", &mut self.next_marker)?;
        url_decode(url, "StartAfter", &mut self.start_after)?;
        url_decode(url, "ContinuationToken", &mut self.continuation_token)?;
        url_decode(url, "NextContinuationToken", &mut self.next_continuation_token)
    }
}

impl ListedObject {
    fn write(&self, writer: &mut Writer) {
        writer.coded("Key", &self.key);
        writer.text("LastModified", &self.last_modified);
        writer.text("ETag", &self.etag);
        writer.text("Type", &self.object_type);
        writer.number("Size", self.size);
        writer.text("StorageClass", &self.storage_class);
        if let Some(owner) = &self.owner {
            owner.write(writer);
        }
        writer.optional("RestoreInfo", self.restore_info.as_deref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let mut object = Self::default();
        let mut size = None;
        while let Some(child) = reader.child()? {
            match child.name() {
                "Key" => object.key = reader.text()?,
                "LastModified" => object.last_modified = reader.text()?,
                "ETag" => object.etag = reader.text()?,
                "Type" => object.object_type = reader.word(&TYPES)?,
                "Size" => size = Some(reader.number("Size")?),
                "StorageClass" => object.storage_class = reader.word(&STORAGE_CLASSES)?,
                "Owner" => object.owner = Some(Owner::read(reader)?),
                "RestoreInfo" => object.restore_info = Some(reader.text()?),
                _ => reader.skip()?,
            }
        }
        object.key = required(object.key, "Key")?;
        object.size = size.ok_or(XmlError::Missing("Size"))?;
        Ok(object)
    }
}

impl Owner {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.group("Owner", |writer| {
            writer.text("ID", &self.id);
            writer.text("DisplayName", &self.display_name);
        });
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut owner = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "ID" => owner.id = reader.text()?,
                "DisplayName" => owner.display_name = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok(owner)
    }
}

/// Reads one `CommonPrefixes`, which holds one `Prefix`, or several as S3's documentation shows.
pub(super) fn read_prefixes(reader: &mut Reader<'_>, into: &mut Vec<String>) -> Result<(), XmlError> {
    while let Some(child) = reader.child()? {
        if child.name() == "Prefix" {
            reader.entry()?;
            into.push(reader.text()?);
        } else {
            reader.skip()?;
        }
    }
    Ok(())
}
