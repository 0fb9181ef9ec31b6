//! Writing documents.

use std::fmt::Write as _;

use crate::encoding::encode_query;

/// Builds one document. Names are `&'static str`, so that no text of a peer can become markup.
#[derive(Debug)]
pub struct Writer {
    out: String,
    root: &'static str,
    url: bool,
}

impl Writer {
    /// Begins a document with its declaration and root element.
    pub fn new(root: &'static str) -> Self {
        let mut writer = Self { out: String::with_capacity(512), root, url: false };
        writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        writer.open(root);
        writer
    }

    /// Writes `EncodingType` if `url` is set; from then on [`Writer::coded`] encodes.
    pub fn encoding_type(&mut self, url: bool) {
        self.url = url;
        if url {
            self.text("EncodingType", "url");
        }
    }

    /// Writes `<name>value</name>`, escaped.
    ///
    /// Control characters become `&#n;`, as the official SDKs write them: line breaks would not
    /// survive a conforming parser otherwise.
    pub fn text(&mut self, name: &'static str, value: &str) {
        self.open(name);
        self.raw(value);
        self.close(name);
    }

    /// Writes `<name>value</name>` if there is a value.
    pub fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// Writes a key, prefix or marker, url-encoded if the document says so.
    pub fn coded(&mut self, name: &'static str, value: &str) {
        if self.url { self.text(name, &encode_query(value)) } else { self.text(name, value) }
    }

    /// Writes a key, prefix or marker if there is one; see [`Writer::coded`].
    pub fn optional_coded(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.coded(name, value);
        }
    }

    /// Writes an unsigned decimal.
    pub fn number(&mut self, name: &'static str, value: u64) {
        self.open(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
        self.close(name);
    }

    /// Writes an unsigned decimal if there is one.
    pub fn optional_number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.number(name, value);
        }
    }

    /// Writes `true` or `false`.
    pub fn flag(&mut self, name: &'static str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// Writes an element and, inside it, whatever `content` writes.
    pub fn group(&mut self, name: &'static str, content: impl FnOnce(&mut Self)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// Writes text straight into the element that is open.
    pub fn raw(&mut self, value: &str) {
        let mut rest = value;
        while let Some(at) = rest.find(needs_escape) {
            let (plain, from) = rest.split_at(at);
            self.out.push_str(plain);
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                self.escape(character);
            }
            rest = characters.as_str();
        }
        self.out.push_str(rest);
    }

    /// Ends the root element and returns the document.
    pub fn finish(mut self) -> Vec<u8> {
        self.close(self.root);
        self.out.into_bytes()
    }

    fn escape(&mut self, character: char) {
        match character {
            '&' => self.out.push_str("&amp;"),
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '"' => self.out.push_str("&quot;"),
            other => {
                let _ = write!(self.out, "&#{};", u32::from(other));
            }
        }
    }

    fn open(&mut self, name: &'static str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &'static str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

fn needs_escape(character: char) -> bool {
    matches!(character, '&' | '<' | '>' | '"') || character.is_control()
}
