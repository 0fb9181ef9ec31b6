//! The uploads of a bucket that are neither completed nor aborted.

use super::document::{Document, required, url_decode};
use super::error::XmlError;
use super::listing::read_prefixes;
use super::reader::Reader;
use super::writer::Writer;

/// `ListMultipartUploadsResult`: one page of open uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMultipartUploadsResult {
    /// Bucket.
    pub bucket: String,
    /// Prefix that was asked for.
    pub prefix: String,
    /// Delimiter that was asked for; may be empty.
    pub delimiter: String,
    /// Keys travel url-encoded.
    pub encoding_url: bool,
    /// The key this page begins after.
    pub key_marker: String,
    /// The upload of that key this page begins after.
    pub upload_id_marker: String,
    /// Key marker of the next page; may be empty.
    pub next_key_marker: String,
    /// Upload marker of the next page; may be empty.
    pub next_upload_id_marker: String,
    /// Most uploads a page may have.
    pub max_uploads: Option<u32>,
    /// More pages follow.
    pub is_truncated: bool,
    /// Uploads, in the order sent.
    pub uploads: Vec<ListedUpload>,
    /// Prefixes that stand for everything below a delimiter.
    pub common_prefixes: Vec<String>,
}

/// One open upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedUpload {
    /// Key, plain; never empty when read.
    pub key: String,
    /// Opaque id; never empty when read.
    pub upload_id: String,
    /// `2012-02-23T04:18:23.000Z`; may be empty.
    pub initiated: String,
    /// Storage class the object will have; may be empty.
    pub storage_class: String,
}

impl Document for ListMultipartUploadsResult {
    const ROOT: &'static str = "ListMultipartUploadsResult";
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    fn write(&self, writer: &mut Writer) {
        writer.text("Bucket", &self.bucket);
        writer.encoding_type(self.encoding_url);
        writer.coded("KeyMarker", &self.key_marker);
        writer.text("UploadIdMarker", &self.upload_id_marker);
        writer.coded("NextKeyMarker", &self.next_key_marker);
        writer.text("NextUploadIdMarker", &self.next_upload_id_marker);
        writer.coded("Delimiter", &self.delimiter);
        writer.coded("Prefix", &self.prefix);
        writer.optional_number("MaxUploads", self.max_uploads.map(u64::from));
        writer.flag("IsTruncated", self.is_truncated);
        for upload in &self.uploads {
            writer.group("Upload", |writer| {
                writer.coded("Key", &upload.key);
                writer.text("UploadId", &upload.upload_id);
                writer.text("StorageClass", &upload.storage_class);
                writer.text("Initiated", &upload.initiated);
            });
        }
        for prefix in &self.common_prefixes {
            writer.group("CommonPrefixes", |writer| writer.coded("Prefix", prefix));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut page = Self::default();
        let mut is_truncated = None;
        while let Some(child) = reader.child()? {
            match child.name() {
                "Bucket" => page.bucket = reader.text()?,
                "Prefix" => page.prefix = reader.text()?,
                "Delimiter" => page.delimiter = reader.text()?,
                "EncodingType" => page.encoding_url = reader.encoding_url()?,
                "KeyMarker" => page.key_marker = reader.text()?,
                "UploadIdMarker" => page.upload_id_marker = reader.text()?,
                "NextKeyMarker" => page.next_key_marker = reader.text()?,
                "NextUploadIdMarker" => page.next_upload_id_marker = reader.text()?,
                "MaxUploads" => page.max_uploads = Some(reader.small_number("MaxUploads")?),
                "IsTruncated" => is_truncated = Some(reader.flag("IsTruncated")?),
                "Upload" => page.uploads.push(ListedUpload::read(reader)?),
                "CommonPrefixes" => read_prefixes(reader, &mut page.common_prefixes)?,
                _ => reader.skip()?,
            }
        }
        page.is_truncated = is_truncated.ok_or(XmlError::Missing("IsTruncated"))?;
        page.decode_keys()?;
        Ok(page)
    }
}

impl ListMultipartUploadsResult {
    fn decode_keys(&mut self) -> Result<(), XmlError> {
        let url = self.encoding_url;
        url_decode(url, "Key", self.uploads.iter_mut().map(|upload| &mut upload.key))?;
        url_decode(url, "CommonPrefixes", &mut self.common_prefixes)?;
        url_decode(url, "Prefix", [&mut self.prefix])?;
        url_decode(url, "Delimiter", [&mut self.delimiter])?;
        url_decode(url, "KeyMarker", [&mut self.key_marker])?;
        url_decode(url, "NextKeyMarker", [&mut self.next_key_marker])
    }
}

impl ListedUpload {
    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let mut upload = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Key" => upload.key = reader.text()?,
                "UploadId" => upload.upload_id = reader.text()?,
                "Initiated" => upload.initiated = reader.text()?,
                "StorageClass" => upload.storage_class = reader.text()?,
                _ => reader.skip()?,
            }
        }
        upload.key = required(upload.key, "Key")?;
        upload.upload_id = required(upload.upload_id, "UploadId")?;
        Ok(upload)
    }
}
