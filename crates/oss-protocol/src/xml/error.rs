//! Why a document was not taken.

use std::fmt;

use super::error_document::ErrorDocument;
use crate::excerpt::printable;

/// Why bytes are not the document that was expected.
///
/// None of these is ever an empty result: a listing that cannot be read is not a listing of
/// nothing (faults F48, F49).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// The document is larger than the caller's limit, in bytes.
    TooLarge(usize),
    /// Elements are nested deeper than [`super::MAX_DEPTH`].
    TooDeep,
    /// A list has more than [`super::MAX_ENTRIES`] entries.
    TooManyEntries,
    /// The document uses what OSS never sends; the text names it (a DTD, an entity, ...).
    Refused(&'static str),
    /// The document ends early (user: the answer was cut, ask again).
    Cut,
    /// The document is not well-formed, or not UTF-8; the text says how.
    Malformed(String),
    /// The document is well-formed, but another one; holds the name of its root, cut to 64 bytes.
    WrongRoot {
        /// Root element that was asked for.
        expected: &'static str,
        /// Root element that was found.
        found: String,
    },
    /// The service answered with an error document, maybe under status 200: act on its code.
    ErrorRoot(Box<ErrorDocument>),
    /// An element that must be there is absent or empty.
    Missing(&'static str),
    /// The text of this element is not a number, not a truth value, or not url-encoded as announced.
    BadValue(&'static str),
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "the XML document is larger than {limit} bytes"),
            Self::TooDeep => {
                write!(f, "the XML document is nested deeper than {} elements", super::MAX_DEPTH)
            }
            Self::TooManyEntries => {
                write!(f, "the XML document lists more than {} entries", super::MAX_ENTRIES)
            }
            Self::Refused(what) => write!(f, "the XML document holds {what}, which OSS never sends"),
            Self::Cut => f.write_str("the XML document ends before its root element does"),
            Self::Malformed(how) => write!(f, "the XML document is malformed: {how}"),
            Self::WrongRoot { expected, found } => {
                write!(f, "the XML document is a <{found}>, not a <{expected}>")
            }
            Self::ErrorRoot(error) => {
                let (code, message) = (printable(&error.code, 128), printable(&error.message, 512));
                write!(f, "the answer is an error document: {code} ({message})")
            }
            Self::Missing(element) => write!(f, "the XML document has no <{element}>"),
            Self::BadValue(element) => write!(f, "the value of <{element}> cannot be read"),
        }
    }
}

impl std::error::Error for XmlError {}
