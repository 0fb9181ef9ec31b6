//! Splitting a document into tags and text.
//!
//! Only what OSS sends and the little that belongs to it is taken apart; what is left is refused by name. One pass, no
//! copies, no memory but the names of the elements that are open: a listing of ten million keys has 240 million tokens.

use memchr::{memchr, memchr2};

use super::error::XmlError;

/// Elements that may be open at once; the deepest document of OSS has five.
pub const MAX_DEPTH: usize = 32;

const COMMENT: &str = "<!--";
const CDATA: &str = "<![CDATA[";
const DOCTYPE: &str = "<!DOCTYPE";

/// One piece of a document; comments and the declaration are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'x> {
    /// A start tag, or the first half of an empty-element tag: the name, with its prefix.
    Start(&'x str),
    /// The end of the element that was opened last.
    End,
    /// Text as it stands, never empty.
    Text(&'x str),
    /// What is in a CDATA section.
    CData(&'x str),
    /// What is between `&` and `;`.
    Reference(&'x str),
    /// The end of the document, with no element open.
    Eof,
}

/// The pieces of one document, in order.
pub(super) struct Tokens<'x> {
    text: &'x str,
    at: usize,
    open: [&'x str; MAX_DEPTH],
    depth: usize,
    /// An empty-element tag was given out as a start tag; its end is next.
    ends: bool,
}

impl<'x> Tokens<'x> {
    pub(super) fn new(text: &'x str) -> Self {
        Self { text, at: 0, open: [""; MAX_DEPTH], depth: 0, ends: false }
    }

    /// Returns how many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// `Cut` if the document ends inside a tag or an element, `TooDeep`, `Refused`, or `Malformed`.
    pub(super) fn next(&mut self) -> Result<Token<'x>, XmlError> {
        if std::mem::take(&mut self.ends) {
            self.depth -= 1;
            return Ok(Token::End);
        }
        loop {
            let rest = self.rest();
            match *rest.as_bytes() {
                [] if self.depth > 0 => return Err(XmlError::Cut),
                [] => return Ok(Token::Eof),
                [b'<', b'/', ..] => return self.end_tag(rest),
                [b'<', b'!', ..] => {
                    if let Some(section) = self.bang(rest)? {
                        return Ok(Token::CData(section));
                    }
                }
                [b'<', b'?', ..] => self.declaration(rest)?,
                [b'<', ..] => return self.start_tag(rest),
                [b'&', ..] => return self.reference(rest),
                _ => {
                    let end = memchr2(b'<', b'&', rest.as_bytes()).unwrap_or(rest.len());
                    self.at += end;
                    return Ok(Token::Text(&rest[..end]));
                }
            }
        }
    }

    fn rest(&self) -> &'x str {
        &self.text[self.at..]
    }

    fn start_tag(&mut self, rest: &'x str) -> Result<Token<'x>, XmlError> {
        let bytes = rest.as_bytes();
        let named = 1 + bytes[1..].iter().take_while(|byte| is_of_name(**byte)).count();
        let (end, is_empty) = match *bytes.get(named..).unwrap_or_default() {
            [b'>', ..] => (named, false),
            [b'/', b'>', ..] => (named + 1, true),
            [byte, ..] if is_blank(byte) => {
                let end = end_of_attributes(bytes, named)?;
                (end, bytes[end - 1] == b'/')
            }
            [] | [b'/'] => return Err(XmlError::Cut),
            _ => return Err(nameless()),
        };
        let name = &rest[1..named];
        if name.is_empty() {
            return Err(nameless());
        }
        let place = self.open.get_mut(self.depth).ok_or(XmlError::TooDeep)?;
        *place = name;
        self.depth += 1;
        self.at += end + 1;
        self.ends = is_empty;
        Ok(Token::Start(name))
    }

    fn end_tag(&mut self, rest: &'x str) -> Result<Token<'x>, XmlError> {
        let open = self.depth.checked_sub(1).map(|last| self.open[last]);
        // No name is empty, so this tells a tag without an element to end from one that does not match.
        let named = rest[2..].strip_prefix(open.unwrap_or_default());
        let blanks = named.map_or(0, |behind| behind.bytes().take_while(|byte| is_blank(*byte)).count());
        match (open, named.map(|behind| behind.as_bytes().get(blanks))) {
            (Some(name), Some(Some(b'>'))) => {
                self.depth -= 1;
                self.at += 2 + name.len() + blanks + 1;
                Ok(Token::End)
            }
            _ if memchr(b'>', rest.as_bytes()).is_none() => Err(XmlError::Cut),
            _ => Err(XmlError::Malformed("an end tag without its start tag".to_owned())),
        }
    }

    /// Passes over a comment, or returns what a CDATA section holds.
    fn bang(&mut self, rest: &'x str) -> Result<Option<&'x str>, XmlError> {
        if let Some(inside) = rest.strip_prefix(COMMENT) {
            let end = inside.find("-->").ok_or(XmlError::Cut)?;
            self.at += COMMENT.len() + end + 3;
            return Ok(None);
        }
        if let Some(inside) = rest.strip_prefix(CDATA) {
            let end = inside.find("]]>").ok_or(XmlError::Cut)?;
            self.at += CDATA.len() + end + 3;
            return Ok(Some(&inside[..end]));
        }
        if rest.get(..DOCTYPE.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(DOCTYPE)) {
            return Err(XmlError::Refused("a DTD"));
        }
        if [COMMENT, CDATA, DOCTYPE].iter().any(|markup| markup.starts_with(rest)) {
            return Err(XmlError::Cut);
        }
        Err(XmlError::Malformed("unknown markup".to_owned()))
    }

    /// Passes over the declaration, which may stand at the very beginning.
    fn declaration(&mut self, rest: &str) -> Result<(), XmlError> {
        let end = 2 + rest[2..].find("?>").ok_or(XmlError::Cut)?;
        let target = rest[2..end].split(|character: char| character.is_ascii_whitespace()).next();
        match (target, self.at) {
            (Some("xml"), 0) => {
                self.at = end + 2;
                Ok(())
            }
            (Some("xml"), _) => Err(XmlError::Refused("a second XML declaration")),
            _ => Err(XmlError::Refused("a processing instruction")),
        }
    }

    fn reference(&mut self, rest: &'x str) -> Result<Token<'x>, XmlError> {
        let name = &rest[1..];
        let end = name.bytes().position(|byte| matches!(byte, b';' | b'&' | b'<')).unwrap_or(name.len());
        if name.as_bytes().get(end) == Some(&b';') {
            self.at += end + 2;
            return Ok(Token::Reference(&name[..end]));
        }
        if end == name.len() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#') {
            return Err(XmlError::Cut);
        }
        Err(XmlError::Malformed("a reference without its end".to_owned()))
    }
}

/// Returns where the `>` of a start tag is, whose attributes begin at `from`: they may hold others between quotes.
fn end_of_attributes(tag: &[u8], from: usize) -> Result<usize, XmlError> {
    let mut quote = None;
    for (at, &byte) in tag.iter().enumerate().skip(from) {
        match (quote, byte) {
            (None, b'>') => return Ok(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    Err(XmlError::Cut)
}

fn nameless() -> XmlError {
    XmlError::Malformed("a tag without a name".to_owned())
}

fn is_of_name(byte: u8) -> bool {
    !is_blank(byte) && !matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'' | b'=' | b'/')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
