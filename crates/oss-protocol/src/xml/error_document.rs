//! The document of a refusal.

use super::document::{Document, required};
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

/// Further elements of an error document that are kept; which ones there are depends on the code.
pub const ERROR_EXTRAS: &[&str] = &[
    "BucketName",
    "Bucket",
    "CanonicalRequest",
    "Condition",
    "Endpoint",
    "ErrorPartNumber",
    "ExpiredTime",
    "Header",
    "Key",
    "MaxAllowedSkewMilliseconds",
    "MaxSizeAllowed",
    "MinSizeAllowed",
    "OSSAccessKeyId",
    "ObjectKey",
    "PartETag",
    "PartNumber",
    "ProposedSize",
    "RequestTime",
    "ServerTime",
    "SignatureProvided",
    "StringToSign",
    "StringToSignBytes",
    "UploadId",
];

/// `Error`: why OSS refused a request.
///
/// The texts come as sent. [`crate::error::ServiceError`] is the form that is fit to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorDocument {
    /// OSS code such as `NoSuchKey`; never empty when read.
    pub code: String,
    /// Text for people.
    pub message: String,
    /// Same as the header `x-oss-request-id`.
    pub request_id: String,
    /// Host that answered.
    pub host_id: String,
    /// Diagnostic number such as `0002-00000226`; empty if absent.
    pub ec: String,
    /// Page of the documentation; empty if absent.
    pub recommend_doc: String,
    /// Further elements, with names out of [`ERROR_EXTRAS`].
    pub extras: Vec<(&'static str, String)>,
}

impl ErrorDocument {
    /// Returns the first further element with this name.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extras.iter().find(|(found, _)| *found == name).map(|(_, text)| text.as_str())
    }
}

impl Document for ErrorDocument {
    const ROOT: &'static str = "Error";
    const MAX_BYTES: usize = 64 * 1024;

    fn write(&self, writer: &mut Writer) {
        writer.text("Code", &self.code);
        writer.text("Message", &self.message);
        writer.text("RequestId", &self.request_id);
        writer.text("HostId", &self.host_id);
        for (name, text) in &self.extras {
            writer.text(name, text);
        }
        for (name, text) in [("EC", &self.ec), ("RecommendDoc", &self.recommend_doc)] {
            if !text.is_empty() {
                writer.text(name, text);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut error = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Code" => error.code = reader.text()?,
                "Message" => error.message = reader.text()?,
                "RequestId" => error.request_id = reader.text()?,
                "HostId" => error.host_id = reader.text()?,
                "EC" => error.ec = reader.text()?,
                "RecommendDoc" => error.recommend_doc = reader.text()?,
                other => match ERROR_EXTRAS.iter().find(|name| **name == other) {
                    Some(name) => {
                        reader.entry()?;
                        error.extras.push((name, reader.text()?));
                    }
                    None => reader.skip()?,
                },
            }
        }
        error.code = required(error.code, "Code")?;
        Ok(error)
    }
}
