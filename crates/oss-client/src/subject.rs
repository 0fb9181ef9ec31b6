//! What an operation is about, for people: its name and its object.

use std::fmt::{self, Write as _};

/// Name and place of one operation; written only when somebody reads it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The operation, by its OSS name or ours.
    pub(crate) label: &'static str,
    /// The bucket; `None` = the service itself.
    pub(crate) bucket: Option<&'a str>,
    /// The key.
    pub(crate) key: Option<&'a str>,
    /// Half-open range of bytes.
    pub(crate) range: Option<(u64, u64)>,
}

impl Subject<'_> {
    /// `oss://bucket/key[start..end)`, as far as the parts are known.
    pub(crate) fn uri(&self) -> String {
        let mut uri = String::new();
        let Some(bucket) = self.bucket else { return uri };
        for piece in ["oss://", bucket, "/", self.key.unwrap_or("")] {
            uri.push_str(piece);
        }
        if let Some((start, end)) = self.range {
            let told = write!(uri, "[{start}..{end})");
            assert!(told.is_ok(), "a string takes everything");
        }
        uri
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.label, self.uri())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_far_as_known() {
        let nowhere = Subject { label: "GetObject", bucket: None, key: None, range: None };
        assert_eq!(nowhere.uri(), "");
        let bucket = Subject { bucket: Some("b"), ..nowhere };
        assert_eq!(bucket.uri(), "oss://b/");
        let range = Subject { key: Some("k"), range: Some((3, 9)), ..bucket };
        assert_eq!(range.to_string(), "GetObject oss://b/k[3..9)");
    }
}
