//! An answer before it goes on the wire.

use oss_protocol::encoding::base64_encode;
use oss_protocol::xml::{Document, ErrorDocument};

use crate::refusal::Refusal;
use crate::store::body::Body;

/// What follows the head.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Nothing.
    Empty,
    /// A document.
    Bytes(Vec<u8>),
    /// Bytes of an object, already cut to the range.
    Object(Body),
    /// Nothing, although Content-Length says so much: the answer to HEAD.
    HeadOnly(u64),
}

impl Payload {
    /// What Content-Length says.
    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Payload::Empty => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::Object(body) => body.size_bytes(),
            Payload::HeadOnly(size) => *size,
        }
    }
}

/// An answer of the service.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// HTTP status.
    pub(crate) status: u16,
    /// Headers, without those every answer carries.
    pub(crate) headers: Vec<(String, String)>,
    /// What follows the head.
    pub(crate) payload: Payload,
    /// The id an Initiate gave, for the journal.
    pub(crate) upload_id: Option<String>,
}

impl Response {
    /// Makes an answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), payload: Payload::Empty, upload_id: None }
    }

    /// Makes a 200 with an XML document.
    pub(crate) fn xml(document: Vec<u8>) -> Self {
        Self { payload: Payload::Bytes(document), ..Self::empty(200) }
            .header("Content-Type", "application/xml")
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a header if there is a value.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Replaces a header, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.drop_header(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a header.
    pub(crate) fn drop_header(&mut self, name: &str) {
        self.headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }

    /// The value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Keeps the head alone, as the answer to HEAD.
    pub(crate) fn without_body(mut self) -> Self {
        self.payload = Payload::HeadOnly(self.payload.size_bytes());
        self
    }
}

/// Makes the answer to a refused request: XML, or for HEAD the same XML in `x-oss-err`.
pub(crate) fn refuse(refusal: &Refusal, method: &str, request_id: &str, host: &str) -> Response {
    let mut response = Response::empty(refusal.status);
    response.headers.clone_from(&refusal.headers);
    if refusal.status == 304 {
        return response;
    }
    let document = ErrorDocument {
        code: refusal.code.clone(),
        message: refusal.message.clone(),
        request_id: request_id.to_owned(),
        host_id: host.to_owned(),
        ec: refusal.ec.clone(),
        recommend_doc: String::new(),
        extras: refusal.fields.clone(),
    };
    let response = response.header("x-oss-ec", refusal.ec.clone());
    let xml = document.encode();
    if method == "HEAD" {
        return response.header("x-oss-err", base64_encode(&xml));
    }
    Response { payload: Payload::Bytes(xml), ..response.header("Content-Type", "application/xml") }
}
