//! Answers to copies.

use super::document::{Document, required};
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

macro_rules! copy_result {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            /// Quotes included; never empty when read.
            pub etag: String,
            /// `2019-04-09T03:45:32.000Z`; may be empty.
            pub last_modified: String,
        }

        impl Document for $name {
            const ROOT: &'static str = stringify!($name);

            fn write(&self, writer: &mut Writer) {
                writer.text("LastModified", &self.last_modified);
                writer.text("ETag", &self.etag);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
                let (etag, last_modified) = read_both(reader)?;
                Ok(Self { etag, last_modified })
            }
        }
    };
}

copy_result!(CopyObjectResult, "`CopyObjectResult`: the answer to CopyObject.");
copy_result!(CopyPartResult, "`CopyPartResult`: the answer to UploadPartCopy.");

fn read_both(reader: &mut Reader<'_>) -> Result<(String, String), XmlError> {
    let (mut etag, mut last_modified) = (String::new(), String::new());
    while let Some(child) = reader.child()? {
        match child.name() {
            "ETag" => etag = reader.text()?,
            "LastModified" => last_modified = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok((required(etag, "ETag")?, last_modified))
}
