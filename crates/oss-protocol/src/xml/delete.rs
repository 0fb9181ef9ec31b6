//! Deleting many objects at once.

use super::document::{Document, required, url_decode};
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

/// `Delete`: the keys a DeleteMultipleObjects names, at most 1000 by OSS's rules.
///
/// Keys are never url-encoded here, only escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// Answer only with what failed.
    pub quiet: bool,
    /// Objects to delete.
    pub objects: Vec<DeleteTarget>,
}

/// One object of a [`Delete`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteTarget {
    /// Key, plain; never empty when read.
    pub key: String,
    /// One version instead of the newest.
    pub version_id: Option<String>,
}

/// `DeleteResult`: the answer to DeleteMultipleObjects.
///
/// An empty body, which a quiet request gets, reads as an empty result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteResult {
    /// Keys travel url-encoded.
    pub encoding_url: bool,
    /// What was deleted, or was not there.
    pub deleted: Vec<DeletedObject>,
    /// What was refused. OSS documents no such entry; taken in the form S3 has, so that a
    /// refusal could not pass as a success.
    pub failures: Vec<DeleteFailure>,
}

/// One object that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedObject {
    /// Key, plain; never empty when read.
    pub key: String,
    /// Version that was named.
    pub version_id: Option<String>,
}

/// One object that was not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteFailure {
    /// Key, plain.
    pub key: String,
    /// OSS code.
    pub code: String,
    /// Text for people.
    pub message: String,
}

impl Document for Delete {
    const ROOT: &'static str = "Delete";
    /// 1000 keys of 1023 bytes, every byte written as a reference of six.
    const MAX_BYTES: usize = 8 * 1024 * 1024;

    fn write(&self, writer: &mut Writer) {
        writer.flag("Quiet", self.quiet);
        for object in &self.objects {
            writer.group("Object", |writer| {
                writer.text("Key", &object.key);
                writer.optional("VersionId", object.version_id.as_deref());
            });
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut delete = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Quiet" => delete.quiet = reader.flag("Quiet")?,
                "Object" => {
                    let (key, version_id) = read_target(reader)?;
                    delete.objects.push(DeleteTarget { key, version_id });
                }
                _ => reader.skip()?,
            }
        }
        Ok(delete)
    }
}

impl Document for DeleteResult {
    const ROOT: &'static str = "DeleteResult";
    const MAX_BYTES: usize = 8 * 1024 * 1024;

    fn write(&self, writer: &mut Writer) {
        writer.encoding_type(self.encoding_url);
        for object in &self.deleted {
            writer.group("Deleted", |writer| {
                writer.coded("Key", &object.key);
                writer.optional("VersionId", object.version_id.as_deref());
            });
        }
        for failure in &self.failures {
            writer.group("Error", |writer| {
                writer.coded("Key", &failure.key);
                writer.text("Code", &failure.code);
                writer.text("Message", &failure.message);
            });
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut result = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "EncodingType" => result.encoding_url = reader.encoding_url()?,
                "Deleted" => {
                    let (key, version_id) = read_target(reader)?;
                    result.deleted.push(DeletedObject { key, version_id });
                }
                "Error" => result.failures.push(DeleteFailure::read(reader)?),
                _ => reader.skip()?,
            }
        }
        let url = result.encoding_url;
        url_decode(url, "Key", result.deleted.iter_mut().map(|object| &mut object.key))?;
        url_decode(url, "Key", result.failures.iter_mut().map(|failure| &mut failure.key))?;
        Ok(result)
    }
}

impl DeleteResult {
    /// Reads the body of an answer, of at most `max_bytes`; an empty one is an empty result.
    ///
    /// # Errors
    /// As [`Document::decode`].
    pub fn decode_body(body: &[u8], max_bytes: usize) -> Result<Self, XmlError> {
        if body.is_empty() { Ok(Self::default()) } else { Self::decode(body, max_bytes) }
    }
}

impl DeleteFailure {
    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let mut failure = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Key" => failure.key = reader.text()?,
                "Code" => failure.code = reader.text()?,
                "Message" => failure.message = reader.text()?,
                _ => reader.skip()?,
            }
        }
        Ok(failure)
    }
}

fn read_target(reader: &mut Reader<'_>) -> Result<(String, Option<String>), XmlError> {
    reader.entry()?;
    let (mut key, mut version_id) = (String::new(), None);
    while let Some(child) = reader.child()? {
        match child.name() {
            "Key" => key = reader.text()?,
            "VersionId" => version_id = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok((required(key, "Key")?, version_id))
}
