//! Credentials as JSON says them: in files, in answers of services, on the output of a program.

use oss_protocol::sign::{Credentials, Secret};
use oss_protocol::time::UtcTime;
use serde_json::{Map, Value};

use super::Fetched;
use super::statics::broken;
use crate::error::Error;

/// A JSON object.
pub(super) type Document = Map<String, Value>;

/// The names of id, secret, token and expiry.
pub(super) struct Names(pub(super) [&'static str; 4]);

/// As STS, the metadata service and the original's file write them.
pub(super) const USUAL: Names = Names(["AccessKeyId", "AccessKeySecret", "SecurityToken", "Expiration"]);

/// Reads a JSON object.
///
/// # Errors
/// `Credentials`, naming `source` and the place, never the content.
pub(super) fn parse(content: &[u8], source: &str) -> Result<Document, Error> {
    serde_json::from_slice(content).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        broken(source, &format!("is not the expected JSON object ({place}); correct the file"))
    })
}

/// A text field; `None` where it is absent, null or empty.
///
/// # Errors
/// `Credentials`, naming the field, if it is something else than a text.
pub(super) fn text(document: &Document, name: &str, source: &str) -> Result<Option<String>, Error> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(broken(source, &format!("field {name} is not a string; correct the file"))),
    }
}

/// A text field that must be there.
///
/// # Errors
/// `Credentials`, naming the field.
pub(super) fn needed(document: &Document, name: &str, source: &str) -> Result<String, Error> {
    text(document, name, source)?.ok_or_else(|| broken(source, &format!("field {name} is absent or empty")))
}

/// Reads one set of keys.
///
/// # Errors
/// `Credentials`, naming `source` and the field, never a value.
pub(super) fn credentials(document: &Document, names: &Names, source: &str) -> Result<Fetched, Error> {
    let [id, secret, token, expiry] = names.0;
    let id = needed(document, id, source)?;
    let secret = needed(document, secret, source)?;
    let token = text(document, token, source)?.map(Secret::new);
    let expires_at = match text(document, expiry, source)? {
        None => None,
        Some(text) => Some(UtcTime::parse_iso8601(&text).map_err(|_unparsable| {
            let form = "is not an ISO 8601 time with a zone (2024-08-02T15:04:05Z)";
            broken(source, &format!("field {expiry} {form}"))
        })?),
    };
    let credentials = Credentials::new(id, Secret::new(secret), token);
    Ok(Fetched { credentials: Some(credentials), expires_at })
}

/// Reads the answer of a service: keys, unless its `Code` is something else than `Success`.
///
/// # Errors
/// `Credentials`, naming `source` and the service's code.
pub(crate) fn answered(body: &[u8], source: &str) -> Result<Fetched, Error> {
    let document: Document = serde_json::from_slice(body).map_err(|_unparsable| {
        broken(source, "the answer is no JSON object; something else than the service may have answered")
    })?;
    match document.get("Code").and_then(Value::as_str) {
        None | Some("Success") => credentials(&document, &USUAL, source),
        Some(code) => Err(broken(source, &format!("the service said {}", printable(code)))),
    }
}

/// The one word that a file or an answer holds, without the blanks around it; `None` if it holds something else.
pub(crate) fn word(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then_some(text)
}

/// What may be shown of a text of a service: a short word.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(64).filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).collect()
}
