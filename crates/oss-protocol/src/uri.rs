//! Names of objects and where to find them: `oss://` locations, endpoints, regions, hosts.

mod endpoint;

pub use endpoint::{Addressing, Endpoint, Scheme, Target};

use std::fmt;

/// A location, an endpoint or a region that cannot be used; one line with the text and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriError(String);

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UriError {}

fn refuse<T>(text: &str, what_and_remedy: impl fmt::Display) -> Result<T, UriError> {
    Err(UriError(format!("{}: {what_and_remedy}", quoted(text))))
}

/// Quote on one line, cut to a length a message can hold: as it is written, where a control character takes six.
fn quoted(text: &str) -> String {
    const SHOWN_CHARS: usize = 120;
    let mut written = text.char_indices().scan(0, |written, (at, character)| {
        *written += character.escape_debug().count();
        Some((at, *written))
    });
    match written.find(|(_, written)| *written > SHOWN_CHARS) {
        Some((at, _)) => format!("{:?}... ({} bytes)", &text[..at], text.len()),
        None => format!("{text:?}"),
    }
}

/// Most bytes of a key; OSS counts UTF-8 bytes (object naming rules).
pub const MAX_KEY_BYTES: usize = 1023;

/// Say whether OSS would create a bucket of this name: 3 to 63 of `a-z 0-9 -`, no `-` at the ends.
#[must_use]
pub fn is_valid_bucket_name(name: &str) -> bool {
    name.len() >= 3 && is_bucket_text(name)
}

/// The alphabet and the upper limit of bucket names. The lower limit is left to the service: a
/// name that is too short is harmless in a host name, and its answer says what is wrong.
fn is_bucket_text(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// An object, or a prefix of object names, in a bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectUri {
    /// Name of the bucket.
    pub bucket: String,
    /// The key as raw text, never percent-encoded; "" is the whole bucket, where a prefix is meant.
    pub key: String,
}

impl ObjectUri {
    /// Read `oss://bucket/key` or `/bucket/key`; the key may be missing.
    ///
    /// The key is raw: nothing is decoded, and `?` and `#` are ordinary characters.
    ///
    /// # Errors
    /// Another scheme or a relative text, no bucket, a bucket name outside its alphabet, or a key
    /// of more than [`MAX_KEY_BYTES`] bytes.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let Some(rest) = text.strip_prefix("oss://").or_else(|| text.strip_prefix('/')) else {
            // Of another scheme what follows a `?` is a query, which may hold a signature.
            let shown = text.split('?').next().unwrap_or(text);
            return refuse(shown, "not an OSS location; write oss://bucket/key");
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return refuse(text, "the bucket is missing; write oss://bucket/key");
        }
        if !is_bucket_text(bucket) {
            let name = quoted(bucket);
            return refuse(
                text,
                format_args!(
                    "{name} is no bucket name; use 3 to 63 of a-z, 0-9 and -, without - at the ends"
                ),
            );
        }
        if key.len() > MAX_KEY_BYTES {
            let size_bytes = key.len();
            return refuse(
                text,
                format_args!("the key has {size_bytes} bytes; OSS takes at most {MAX_KEY_BYTES}, shorten it"),
            );
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// Read a location where a key is needed.
    ///
    /// # Errors
    /// As [`ObjectUri::parse`], and when the key is missing.
    pub fn parse_object(text: &str) -> Result<Self, UriError> {
        let uri = Self::parse(text)?;
        if uri.key.is_empty() {
            return refuse(text, "names a bucket, an object is needed here; write oss://bucket/key");
        }
        Ok(uri)
    }

    /// Read the text of a path object, which has folded `oss://b/k` to `oss:/b/k`.
    ///
    /// # Errors
    /// As [`ObjectUri::parse`].
    pub fn parse_path_like(text: &str) -> Result<Self, UriError> {
        match text.strip_prefix("oss:/") {
            Some(rest) if !rest.starts_with('/') => Self::parse(&format!("oss://{rest}")),
            _ => Self::parse(text),
        }
    }

    /// Write `/bucket/key`, the form of `DataObject.key`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}/{}", self.bucket, self.key)
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oss://{}/{}", self.bucket, self.key)
    }
}

impl std::str::FromStr for ObjectUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

/// Bring a region to the form that is signed: a leading `oss-` is cut off.
///
/// # Errors
/// The rest is empty or has characters other than `a-z`, `0-9` and `-`.
pub fn normalize_region(text: &str) -> Result<String, UriError> {
    let region = text.strip_prefix("oss-").unwrap_or(text);
    let valid = !region.is_empty()
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if valid { Ok(region.to_owned()) } else { refuse(text, "not a region; pass one like cn-hangzhou") }
}
