//! Documents of one multipart upload.

use super::document::{Document, required, url_decode};
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

/// `InitiateMultipartUploadResult`: an upload has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitiateMultipartUploadResult {
    /// Bucket.
    pub bucket: String,
    /// Key, plain.
    pub key: String,
    /// Opaque id; never empty when read.
    pub upload_id: String,
    /// The key travels url-encoded.
    pub encoding_url: bool,
}

/// `CompleteMultipartUpload`: the parts an object shall be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// Parts in the order sent; OSS wants ascending numbers.
    pub parts: Vec<CompletedPart>,
}

/// One part of a [`CompleteMultipartUpload`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1..=10000 by OSS's rules; not checked here.
    pub part_number: u32,
    /// As UploadPart returned it, quotes included.
    pub etag: String,
}

/// `CompleteMultipartUploadResult`: the object is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompleteMultipartUploadResult {
    /// URL of the object; may be empty.
    pub location: String,
    /// Bucket.
    pub bucket: String,
    /// Key, plain.
    pub key: String,
    /// Quotes included; not an MD5; never empty when read.
    pub etag: String,
    /// The key travels url-encoded.
    pub encoding_url: bool,
}

/// `ListPartsResult`: one page of the parts of an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPartsResult {
    /// Bucket.
    pub bucket: String,
    /// Key, plain.
    pub key: String,
    /// Opaque id.
    pub upload_id: String,
    /// The key travels url-encoded.
    pub encoding_url: bool,
    /// The part number this page begins after.
    pub part_number_marker: Option<u32>,
    /// Marker of the next page.
    pub next_part_number_marker: Option<u32>,
    /// Most parts a page may have.
    pub max_parts: Option<u32>,
    /// More pages follow.
    pub is_truncated: bool,
    /// Storage class the object will have.
    pub storage_class: Option<String>,
    /// Parts, in the order sent.
    pub parts: Vec<ListedPart>,
}

/// One part of a [`ListPartsResult`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedPart {
    /// Number the part was uploaded with.
    pub part_number: u32,
    /// `2012-02-23T07:01:34.000Z`; may be empty.
    pub last_modified: String,
    /// Quotes included; never empty when read.
    pub etag: String,
    /// CRC-64/XZ of the part; absent for copied and old parts.
    pub hash_crc64: Option<u64>,
    /// Size in bytes.
    pub size: u64,
}

impl Document for InitiateMultipartUploadResult {
    const ROOT: &'static str = "InitiateMultipartUploadResult";

    fn write(&self, writer: &mut Writer) {
        writer.encoding_type(self.encoding_url);
        writer.text("Bucket", &self.bucket);
        writer.coded("Key", &self.key);
        writer.text("UploadId", &self.upload_id);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut result = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Bucket" => result.bucket = reader.text()?,
                "Key" => result.key = reader.text()?,
                "UploadId" => result.upload_id = reader.text()?,
                "EncodingType" => result.encoding_url = reader.encoding_url()?,
                _ => reader.skip()?,
            }
        }
        result.upload_id = required(result.upload_id, "UploadId")?;
        url_decode(result.encoding_url, "Key", [&mut result.key])?;
        Ok(result)
    }
}

impl Document for CompleteMultipartUpload {
    const ROOT: &'static str = "CompleteMultipartUpload";
    /// 10,000 parts take about 1 MiB; the rest is for other spellings.
    const MAX_BYTES: usize = 4 * 1024 * 1024;

    fn write(&self, writer: &mut Writer) {
        for part in &self.parts {
            writer.group("Part", |writer| {
                writer.number("PartNumber", u64::from(part.part_number));
                writer.text("ETag", &part.etag);
            });
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut upload = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Part" => upload.parts.push(CompletedPart::read(reader)?),
                _ => reader.skip()?,
            }
        }
        Ok(upload)
    }
}

impl CompletedPart {
    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let (mut part_number, mut etag) = (None, None);
        while let Some(child) = reader.child()? {
            match child.name() {
                "PartNumber" => part_number = Some(reader.small_number("PartNumber")?),
                "ETag" => etag = Some(reader.text()?),
                _ => reader.skip()?,
            }
        }
        Ok(Self {
            part_number: part_number.ok_or(XmlError::Missing("PartNumber"))?,
            etag: etag.ok_or(XmlError::Missing("ETag"))?,
        })
    }
}

impl Document for CompleteMultipartUploadResult {
    const ROOT: &'static str = "CompleteMultipartUploadResult";

    fn write(&self, writer: &mut Writer) {
        writer.encoding_type(self.encoding_url);
        writer.text("Location", &self.location);
        writer.text("Bucket", &self.bucket);
        writer.coded("Key", &self.key);
        writer.text("ETag", &self.etag);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut result = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Location" => result.location = reader.text()?,
                "Bucket" => result.bucket = reader.text()?,
                "Key" => result.key = reader.text()?,
                "ETag" => result.etag = reader.text()?,
                "EncodingType" => result.encoding_url = reader.encoding_url()?,
                _ => reader.skip()?,
            }
        }
        result.etag = required(result.etag, "ETag")?;
        url_decode(result.encoding_url, "Key", [&mut result.key])?;
        Ok(result)
    }
}

impl Document for ListPartsResult {
    const ROOT: &'static str = "ListPartsResult";

    fn write(&self, writer: &mut Writer) {
        writer.encoding_type(self.encoding_url);
        writer.text("Bucket", &self.bucket);
        writer.coded("Key", &self.key);
        writer.text("UploadId", &self.upload_id);
        writer.optional("StorageClass", self.storage_class.as_deref());
        writer.optional_number("PartNumberMarker", self.part_number_marker.map(u64::from));
        writer.optional_number("NextPartNumberMarker", self.next_part_number_marker.map(u64::from));
        writer.optional_number("MaxParts", self.max_parts.map(u64::from));
        writer.flag("IsTruncated", self.is_truncated);
        for part in &self.parts {
            writer.group("Part", |writer| part.write(writer));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut page = Self::default();
        let mut is_truncated = None;
        while let Some(child) = reader.child()? {
            match child.name() {
                "Bucket" => page.bucket = reader.text()?,
                "Key" => page.key = reader.text()?,
                "UploadId" => page.upload_id = reader.text()?,
                "EncodingType" => page.encoding_url = reader.encoding_url()?,
                "PartNumberMarker" => page.part_number_marker = marker(reader, "PartNumberMarker")?,
                "NextPartNumberMarker" => {
                    page.next_part_number_marker = marker(reader, "NextPartNumberMarker")?;
                }
                "MaxParts" => page.max_parts = Some(reader.small_number("MaxParts")?),
                "IsTruncated" => is_truncated = Some(reader.flag("IsTruncated")?),
                "StorageClass" => page.storage_class = Some(reader.text()?),
                "Part" => page.parts.push(ListedPart::read(reader)?),
                _ => reader.skip()?,
            }
        }
        page.is_truncated = is_truncated.ok_or(XmlError::Missing("IsTruncated"))?;
        url_decode(page.encoding_url, "Key", [&mut page.key])?;
        Ok(page)
    }
}

/// An empty marker is none: OSS writes the element even when there is nothing to say.
fn marker(reader: &mut Reader<'_>, element: &'static str) -> Result<Option<u32>, XmlError> {
    let text = reader.text()?;
    match text.trim() {
        "" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| XmlError::BadValue(element))
        }
        _ => Err(XmlError::BadValue(element)),
    }
}

impl ListedPart {
    fn write(&self, writer: &mut Writer) {
        writer.number("PartNumber", u64::from(self.part_number));
        writer.text("LastModified", &self.last_modified);
        writer.text("ETag", &self.etag);
        writer.optional_number("HashCrc64ecma", self.hash_crc64);
        writer.number("Size", self.size);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let mut part = Self::default();
        let (mut part_number, mut size) = (None, None);
        while let Some(child) = reader.child()? {
            match child.name() {
                "PartNumber" => part_number = Some(reader.small_number("PartNumber")?),
                "LastModified" => part.last_modified = reader.text()?,
                "ETag" => part.etag = reader.text()?,
                "HashCrc64ecma" => part.hash_crc64 = Some(reader.number("HashCrc64ecma")?),
                "Size" => size = Some(reader.number("Size")?),
                _ => reader.skip()?,
            }
        }
        part.part_number = part_number.ok_or(XmlError::Missing("PartNumber"))?;
        part.size = size.ok_or(XmlError::Missing("Size"))?;
        part.etag = required(part.etag, "ETag")?;
        Ok(part)
    }
}
