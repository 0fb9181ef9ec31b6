//! Pulling elements out of a document that may be hostile.
//!
//! What markup there may be is decided by [`super::tokens`]; how deep, how many, how large and which references, here.
//! A document is read in one pass, so the cost is linear in its size whatever it holds.

use std::borrow::Cow;

use super::error::XmlError;
use super::tokens::{Token, Tokens};

/// Entries of all lists of one document together.
///
/// OSS sends at most 1000 keys, parts or uploads a page; a Complete names up to 10,000 parts.
/// Without the bound, 16 MiB of `<Contents/>` would fill 300 MiB of memory.
pub const MAX_ENTRIES: usize = 10_000;

/// A start tag; attributes are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct Element<'x>(&'x str);

impl<'x> Element<'x> {
    /// Returns the name without namespace prefix.
    pub fn name(self) -> &'x str {
        self.0.bytes().rposition(|byte| byte == b':').map_or(self.0, |colon| &self.0[colon + 1..])
    }
}

/// Walks through one document: down with [`Reader::child`], past with [`Reader::skip`].
///
/// After `child` returned an element, exactly one of `text`, `number`, `flag`, `skip` or a loop
/// of `child` until `None` must read it to its end.
pub struct Reader<'x> {
    tokens: Tokens<'x>,
    entries: usize,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("depth", &self.tokens.depth()).field("entries", &self.entries).finish()
    }
}

impl<'x> Reader<'x> {
    /// Opens a document of at most `max_bytes`.
    ///
    /// # Errors
    /// `TooLarge`; `Malformed` if the bytes are not UTF-8.
    pub fn new(bytes: &'x [u8], max_bytes: usize) -> Result<Self, XmlError> {
        if bytes.len() > max_bytes {
            return Err(XmlError::TooLarge(max_bytes));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = std::str::from_utf8(bytes).map_err(|error| match error.error_len() {
            None => XmlError::Cut,
            Some(_) => XmlError::Malformed("not UTF-8".to_owned()),
        })?;
        Ok(Self { tokens: Tokens::new(text), entries: 0 })
    }

    /// Returns the root element.
    ///
    /// # Errors
    /// `Cut` if there is none; else as [`Reader::child`].
    pub fn root(&mut self) -> Result<Element<'x>, XmlError> {
        loop {
            match self.tokens.next()? {
                Token::Start(name) => return Ok(Element(name)),
                Token::Eof => return Err(XmlError::Cut),
                other => blank(other, "text before the root element")?,
            }
        }
    }

    /// Checks that nothing but blanks follows the root element, once that is read to its end.
    ///
    /// # Errors
    /// `Malformed` if there is a second element or text.
    pub fn finish(&mut self) -> Result<(), XmlError> {
        loop {
            match self.tokens.next()? {
                Token::Eof => return Ok(()),
                other => blank(other, "text or elements after the root element")?,
            }
        }
    }

    /// Returns the next child of the element being read, or `None` at its end.
    ///
    /// # Errors
    /// `Malformed` for text between elements; `Cut`, `TooDeep` or `Refused`.
    pub fn child(&mut self) -> Result<Option<Element<'x>>, XmlError> {
        loop {
            match self.tokens.next()? {
                Token::Start(name) => return Ok(Some(Element(name))),
                Token::End => return Ok(None),
                other => blank(other, "text where elements are expected")?,
            }
        }
    }

    /// Reads the text of the element to its end; blanks and line breaks stay as they are.
    ///
    /// # Errors
    /// `Malformed` if there are elements inside, or a reference to no character.
    pub fn text(&mut self) -> Result<String, XmlError> {
        self.value().map(Cow::into_owned)
    }

    /// Reads as [`Reader::text`]; one of the words that are `known` needs no memory.
    ///
    /// # Errors
    /// As [`Reader::text`].
    pub(super) fn word(&mut self, known: &[&'static str]) -> Result<Cow<'static, str>, XmlError> {
        let text = self.value()?;
        Ok(match known.iter().find(|word| **word == text) {
            Some(word) => Cow::Borrowed(word),
            None => Cow::Owned(text.into_owned()),
        })
    }

    /// Reads as [`Reader::text`]: plain text, which nearly all is, without a copy.
    fn value(&mut self) -> Result<Cow<'x, str>, XmlError> {
        let mut out = Cow::Borrowed("");
        loop {
            match self.tokens.next()? {
                Token::End => return Ok(out),
                Token::Text(text) | Token::CData(text) => out += text,
                Token::Reference(name) => out.to_mut().push(resolve(name)?),
                Token::Start(_) | Token::Eof => {
                    return Err(XmlError::Malformed("an element where text is expected".to_owned()));
                }
            }
        }
    }

    /// Reads the text of `element` as an unsigned decimal.
    ///
    /// # Errors
    /// `BadValue(element)`, and those of [`Reader::text`].
    pub fn number(&mut self, element: &'static str) -> Result<u64, XmlError> {
        let text = self.value()?;
        let digits = text.trim();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).ok_or(XmlError::BadValue(element))
    }

    /// Reads the text of `element` as an unsigned decimal below 2^32.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn small_number(&mut self, element: &'static str) -> Result<u32, XmlError> {
        u32::try_from(self.number(element)?).map_err(|_| XmlError::BadValue(element))
    }

    /// Reads the text of `element` as `true` or `false`, without case.
    ///
    /// # Errors
    /// `BadValue(element)`, and those of [`Reader::text`].
    pub fn flag(&mut self, element: &'static str) -> Result<bool, XmlError> {
        let text = self.value()?;
        match text.trim() {
            word if word.eq_ignore_ascii_case("true") => Ok(true),
            word if word.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(XmlError::BadValue(element)),
        }
    }

    /// Reads `EncodingType`: whether keys of this document are url-encoded.
    ///
    /// # Errors
    /// `BadValue` for any other encoding: its keys could not be read.
    pub(super) fn encoding_url(&mut self) -> Result<bool, XmlError> {
        match self.value()?.trim() {
            "" => Ok(false),
            "url" => Ok(true),
            _ => Err(XmlError::BadValue("EncodingType")),
        }
    }

    /// Skips the element with everything in it.
    ///
    /// # Errors
    /// `Cut`, `TooDeep`, `Refused` or `Malformed`.
    pub fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.tokens.depth() - 1;
        while self.tokens.depth() > outside {
            self.tokens.next()?;
        }
        Ok(())
    }

    /// Counts one entry of a list, before memory is taken for it.
    ///
    /// # Errors
    /// `TooManyEntries`.
    pub fn entry(&mut self) -> Result<(), XmlError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES { Err(XmlError::TooManyEntries) } else { Ok(()) }
    }
}

fn blank(token: Token<'_>, otherwise: &str) -> Result<(), XmlError> {
    match token {
        Token::Text(text) if text.trim_ascii().is_empty() => Ok(()),
        _ => Err(XmlError::Malformed(otherwise.to_owned())),
    }
}

/// Resolves `&name;` or `&#number;`. Any character may be named by number, control characters
/// too: OSS keys may hold them, and its SDKs write them that way.
fn resolve(name: &str) -> Result<char, XmlError> {
    let number = match name.strip_prefix('#') {
        None => return predefined(name).ok_or(XmlError::Refused("an entity")),
        Some(hex) if hex.starts_with('x') => u32::from_str_radix(digits(&hex[1..]), 16),
        Some(decimal) => digits(decimal).parse(),
    };
    let character = number.ok().and_then(char::from_u32);
    character.ok_or_else(|| XmlError::Malformed("a reference to no character".to_owned()))
}

/// Returns "" for what `parse` would take beyond digits: a sign.
fn digits(text: &str) -> &str {
    if text.starts_with('+') { "" } else { text }
}

fn predefined(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "apos" => Some('\''),
        "gt" => Some('>'),
        "lt" => Some('<'),
        "quot" => Some('"'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, XmlError> {
        let mut reader = Reader::new(text.as_bytes(), 1 << 20)?;
        reader.root()?;
        let text = reader.text()?;
        reader.finish()?;
        Ok(text)
    }

    #[test]
    fn references_are_resolved_and_others_refused() {
        assert_eq!(read("<a>&amp;&lt;&gt;&quot;&apos;&#1;&#x0A;&#x1F600;</a>").unwrap(), "&<>\"'\u{1}\n😀");
        assert_eq!(read("<a><![CDATA[<&]]>x</a>").unwrap(), "<&x");
        assert_eq!(read("<a>&other;</a>"), Err(XmlError::Refused("an entity")));
        for bad in ["&#xD800;", "&#1114112;", "&#;", "&#x;", "&#+1;", "&#x+1;", "&#-1;"] {
            assert!(matches!(read(&format!("<a>{bad}</a>")), Err(XmlError::Malformed(_))), "{bad}");
        }
        assert!(read("<a>&</a>").is_err());
    }

    #[test]
    fn only_a_plain_document_is_taken() {
        assert_eq!(read("\u{feff}<?xml version=\"1.0\"?><!-- c --><n:a x='1'> t </n:a>\n").unwrap(), " t ");
        assert_eq!(read("<!DOCTYPE a><a/>"), Err(XmlError::Refused("a DTD")));
        assert_eq!(read("<a><?php x?></a>"), Err(XmlError::Refused("a processing instruction")));
        assert_eq!(read("<a/><?xml version=\"1.0\"?>"), Err(XmlError::Refused("a second XML declaration")));
        for cut in [
            "",
            "   ",
            "<a",
            "<a>",
            "<a>x</",
            "<a>x</a",
            "<!--",
            "<a><![CDATA[",
            "<!",
            "<!-",
            "<!DOC",
            "<a>&#1",
            "<a>&am",
        ] {
            assert_eq!(read(cut), Err(XmlError::Cut), "{cut}");
        }
        for bad in
            ["x", "x<a/>", "<a/>x", "<a/><b/>", "<a>x</b>", "</a>", "<a><b/></a>", "<!x><a/>", "<a>&am</a>"]
        {
            assert!(matches!(read(bad), Err(XmlError::Malformed(_))), "{bad}: {:?}", read(bad));
        }
    }

    #[test]
    fn the_cap_is_on_bytes() {
        assert_eq!(Reader::new(b"<a></a>", 6).err(), Some(XmlError::TooLarge(6)));
        assert!(Reader::new(b"<a></a>", 7).is_ok());
    }
}
