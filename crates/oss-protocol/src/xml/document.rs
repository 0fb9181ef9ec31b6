//! What all documents have in common.

use super::error::XmlError;
use super::error_document::ErrorDocument;
use super::reader::{Element, Reader};
use super::writer::Writer;
use crate::encoding::decode;
use crate::excerpt::printable;

/// A document of the OSS API.
pub trait Document: Sized {
    /// Name of the root element.
    const ROOT: &'static str;

    /// A bound for [`Document::decode`] that every honest document of this kind keeps, in bytes.
    const MAX_BYTES: usize = 1024 * 1024;

    /// Writes everything inside the root element.
    fn write(&self, writer: &mut Writer);

    /// Reads everything inside the root element, to its end.
    ///
    /// # Errors
    /// See [`Document::decode`].
    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError>;

    /// Returns the document as bytes, declaration included.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::ROOT);
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads a document of at most `max_bytes`.
    ///
    /// # Errors
    /// `ErrorRoot` if it is an error document, whatever was expected; `WrongRoot` if it is any
    /// other; and every further kind of [`XmlError`].
    fn decode(bytes: &[u8], max_bytes: usize) -> Result<Self, XmlError> {
        let mut reader = Reader::new(bytes, max_bytes)?;
        let root = reader.root()?;
        if root.name() == Self::ROOT {
            let document = Self::read(&mut reader)?;
            reader.finish()?;
            return Ok(document);
        }
        Err(wrong_root(&root, &mut reader, Self::ROOT)?)
    }
}

fn wrong_root(
    root: &Element<'_>,
    reader: &mut Reader<'_>,
    expected: &'static str,
) -> Result<XmlError, XmlError> {
    if root.name() != ErrorDocument::ROOT {
        return Ok(XmlError::WrongRoot { expected, found: printable(root.name(), 64) });
    }
    let error = ErrorDocument::read(reader)?;
    reader.finish()?;
    Ok(XmlError::ErrorRoot(Box::new(error)))
}

/// Turns an absent or empty element into an error.
pub(super) fn required(value: String, element: &'static str) -> Result<String, XmlError> {
    if value.is_empty() { Err(XmlError::Missing(element)) } else { Ok(value) }
}

/// Undoes url-encoding in place, if the document has it. `+` stays `+`.
pub(super) fn url_decode<'t>(
    url: bool,
    element: &'static str,
    texts: impl IntoIterator<Item = &'t mut String>,
) -> Result<(), XmlError> {
    if !url {
        return Ok(());
    }
    for text in texts {
        // Most keys are plain, and decoding copies.
        if text.contains('%') {
            *text = decode(text).map_err(|_| XmlError::BadValue(element))?;
        }
    }
    Ok(())
}
