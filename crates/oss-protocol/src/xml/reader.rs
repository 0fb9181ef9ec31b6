//! Pulling elements out of a document that may be hostile.
//!
//! quick-xml splits the bytes; everything it leaves open is decided here: how deep, how many,
//! which markup, which references. A document is read in one pass, so the cost is linear in its
//! size whatever it holds.

use quick_xml::events::{BytesRef, BytesStart, Event};

use super::error::XmlError;
use crate::excerpt::printable;

/// Elements that may be open at once; the deepest document of OSS has five.
pub const MAX_DEPTH: usize = 32;

/// Entries of all lists of one document together.
///
/// OSS sends at most 1000 keys, parts or uploads a page; a Complete names up to 10,000 parts.
/// Without the bound, 16 MiB of `<Contents/>` would fill 300 MiB of memory.
pub const MAX_ENTRIES: usize = 10_000;

/// A start tag; attributes are not looked at.
#[derive(Debug)]
pub struct Element<'x>(BytesStart<'x>);

impl Element<'_> {
    /// Returns the name without namespace prefix.
    pub fn name(&self) -> &str {
        let name = self.0.name().into_inner();
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }
}

/// Walks through one document: down with [`Reader::child`], past with [`Reader::skip`].
///
/// After `child` returned an element, exactly one of `text`, `number`, `flag`, `skip` or a loop
/// of `child` until `None` must read it to its end.
pub struct Reader<'x> {
    text: &'x [u8],
    events: quick_xml::Reader<&'x [u8]>,
    depth: usize,
    entries: usize,
    begun: bool,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("depth", &self.depth).field("entries", &self.entries).finish()
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
        let mut events = quick_xml::Reader::from_str(text);
        events.config_mut().expand_empty_elements = true;
        Ok(Self { text: bytes, events, depth: 0, entries: 0, begun: false })
    }

    /// Returns the root element.
    ///
    /// # Errors
    /// `Cut` if there is none; else as [`Reader::child`].
    pub fn root(&mut self) -> Result<Element<'x>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Element(start)),
                Event::Eof => return Err(XmlError::Cut),
                other => blank(&other, "text before the root element")?,
            }
        }
    }

    /// Checks that nothing but blanks follows the root element, once that is read to its end.
    ///
    /// # Errors
    /// `Malformed` if there is a second element or text.
    pub fn finish(&mut self) -> Result<(), XmlError> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                other => blank(&other, "text or elements after the root element")?,
            }
        }
    }

    /// Returns the next child of the element being read, or `None` at its end.
    ///
    /// # Errors
    /// `Malformed` for text between elements; `Cut`, `TooDeep` or `Refused`.
    pub fn child(&mut self) -> Result<Option<Element<'x>>, XmlError> {
        loop {
            match self.event()? {
                Event::Start(start) => return Ok(Some(Element(start))),
                Event::End(_) => return Ok(None),
                other => blank(&other, "text where elements are expected")?,
            }
        }
    }

    /// Reads the text of the element to its end; blanks and line breaks stay as they are.
    ///
    /// # Errors
    /// `Malformed` if there are elements inside, or a reference to no character.
    pub fn text(&mut self) -> Result<String, XmlError> {
        let mut out = String::new();
        loop {
            match self.event()? {
                Event::End(_) => return Ok(out),
                Event::Text(text) => out.push_str(&text.into_inner()),
                Event::CData(text) => out.push_str(&text.into_inner()),
                Event::GeneralRef(reference) => out.push(resolve(&reference)?),
                _ => return Err(XmlError::Malformed("an element where text is expected".to_owned())),
            }
        }
    }

    /// Reads the text of `element` as an unsigned decimal.
    ///
    /// # Errors
    /// `BadValue(element)`, and those of [`Reader::text`].
    pub fn number(&mut self, element: &'static str) -> Result<u64, XmlError> {
        let text = self.text()?;
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
        let text = self.text()?;
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
        match self.text()?.trim() {
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
        let outside = self.depth - 1;
        while self.depth > outside {
            self.event()?;
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

    fn rest_at_error(&self) -> &'x [u8] {
        let at = usize::try_from(self.events.error_position()).unwrap_or(usize::MAX);
        self.text.get(at..).unwrap_or(&[])
    }

    /// Takes the next event that is neither a comment nor the declaration.
    fn event(&mut self) -> Result<Event<'x>, XmlError> {
        loop {
            let event = match self.events.read_event() {
                Ok(event) => event,
                Err(error) => return Err(malformed(&error, self.rest_at_error())),
            };
            let first = !std::mem::replace(&mut self.begun, true);
            match event {
                Event::Comment(_) => continue,
                Event::Decl(_) if first => continue,
                Event::Decl(_) => return Err(XmlError::Refused("a second XML declaration")),
                Event::DocType(_) => return Err(XmlError::Refused("a DTD")),
                Event::PI(_) => return Err(XmlError::Refused("a processing instruction")),
                Event::Start(_) if self.depth == MAX_DEPTH => return Err(XmlError::TooDeep),
                Event::Start(_) => self.depth += 1,
                Event::End(_) => self.depth = self.depth.saturating_sub(1),
                Event::Eof if self.depth > 0 => return Err(XmlError::Cut),
                _ => {}
            }
            return Ok(event);
        }
    }
}

fn blank(event: &Event<'_>, otherwise: &str) -> Result<(), XmlError> {
    match event {
        Event::Text(text) if text.trim_ascii().is_empty() => Ok(()),
        _ => Err(XmlError::Malformed(otherwise.to_owned())),
    }
}

/// Resolves `&name;` or `&#number;`. Any character may be named by number, control characters
/// too: OSS keys may hold them, and its SDKs write them that way.
fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    let name: &str = reference;
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

/// Sorts the errors of quick-xml; `rest` is the input from where the faulty markup begins.
///
/// Most syntax errors mean that the input ended inside markup, and so does a reference that
/// nothing but its name follows.
fn malformed(error: &quick_xml::Error, rest: &[u8]) -> XmlError {
    use quick_xml::errors::{IllFormedError, SyntaxError};
    match error {
        quick_xml::Error::Syntax(SyntaxError::InvalidBangMarkup)
            if !BANGS.iter().any(|markup| markup.starts_with(rest)) =>
        {
            XmlError::Malformed("unknown markup".to_owned())
        }
        quick_xml::Error::Syntax(_) => XmlError::Cut,
        quick_xml::Error::IllFormed(IllFormedError::UnclosedReference)
            if rest.strip_prefix(b"&").is_some_and(|name| name.iter().all(is_name_byte)) =>
        {
            XmlError::Cut
        }
        // Their own texts repeat the names, which may be as long as the document.
        quick_xml::Error::IllFormed(
            IllFormedError::MismatchedEndTag { .. } | IllFormedError::UnmatchedEndTag(_),
        ) => XmlError::Malformed("an end tag without its start tag".to_owned()),
        other => XmlError::Malformed(printable(&other.to_string(), 128)),
    }
}

/// The markup that may begin with `<!`; an input that ends inside one of them was cut.
const BANGS: [&[u8]; 3] = [b"<!--", b"<![CDATA[", b"<!DOCTYPE"];

fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'#'
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
