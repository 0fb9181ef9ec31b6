//! Small documents that only the service reads.

use oss_protocol::xml::{Document, Reader, Writer, XmlError};

use crate::operations::deletes::malformed_xml;
use crate::refusal::Refusal;
use crate::store::slot::Versioning;

#[derive(Default)]
struct CreateBucketConfiguration {
    storage_class: Option<String>,
}

impl Document for CreateBucketConfiguration {
    const ROOT: &'static str = "CreateBucketConfiguration";

    fn write(&self, writer: &mut Writer) {
        writer.optional("StorageClass", self.storage_class.as_deref());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut storage_class = None;
        while let Some(child) = reader.child()? {
            match child.name() {
                "StorageClass" => storage_class = Some(reader.text()?),
                _ => reader.skip()?,
            }
        }
        Ok(Self { storage_class })
    }
}

struct VersioningConfiguration {
    status: String,
}

impl Document for VersioningConfiguration {
    const ROOT: &'static str = "VersioningConfiguration";

    fn write(&self, writer: &mut Writer) {
        writer.text("Status", &self.status);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut status = String::new();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Status" => status = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok(Self { status })
    }
}

/// Tags of an object, as PutObjectTagging sends and GetObjectTagging answers them.
#[derive(Debug, Default)]
pub(crate) struct Tagging {
    /// Names and values, in order.
    pub(crate) tags: Vec<(String, String)>,
}

impl Document for Tagging {
    const ROOT: &'static str = "Tagging";

    fn write(&self, writer: &mut Writer) {
        writer.group("TagSet", |writer| {
            for (name, value) in &self.tags {
                writer.group("Tag", |writer| {
                    writer.text("Key", name);
                    writer.text("Value", value);
                });
            }
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut tagging = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "TagSet" => tagging.read_set(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(tagging)
    }
}

impl Tagging {
    fn read_set(&mut self, reader: &mut Reader<'_>) -> Result<(), XmlError> {
        while let Some(child) = reader.child()? {
            if child.name() != "Tag" {
                reader.skip()?;
                continue;
            }
            let (mut name, mut value) = (String::new(), String::new());
            while let Some(child) = reader.child()? {
                match child.name() {
                    "Key" => name = reader.text()?,
                    "Value" => value = reader.text()?,
                    _ => reader.skip()?,
                }
            }
            self.tags.push((name, value));
        }
        Ok(())
    }
}

/// The storage class a PutBucket names; an empty document names none.
///
/// # Errors
/// 400 MalformedXML.
pub(crate) fn bucket_configuration(document: &[u8]) -> Result<Option<String>, Refusal> {
    if document.is_empty() {
        return Ok(None);
    }
    let read = CreateBucketConfiguration::decode(document, CreateBucketConfiguration::MAX_BYTES);
    Ok(read.map_err(|error| malformed_xml(&error))?.storage_class)
}

/// What a PutBucketVersioning asks for.
///
/// # Errors
/// 400 MalformedXML.
pub(crate) fn versioning_configuration(document: &[u8]) -> Result<Versioning, Refusal> {
    let read = VersioningConfiguration::decode(document, VersioningConfiguration::MAX_BYTES);
    match read.map_err(|error| malformed_xml(&error))?.status.as_str() {
        "Enabled" => Ok(Versioning::Enabled),
        "Suspended" => Ok(Versioning::Suspended),
        other => Err(malformed_xml(&format!("no such status: {other}"))),
    }
}
