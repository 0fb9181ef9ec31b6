//! The hash of rows in their order. Pure.

use oss_protocol::crc64::Crc64;

use super::format::{Row, UNKNOWN};

/// What names the rows so far: equal rows in equal order give an equal value.
#[derive(Debug, Default)]
pub(crate) struct Fingerprint(Crc64);

impl Fingerprint {
    /// Adds a row: all lengths first, so that no two rows read alike.
    pub(crate) fn add(&mut self, row: &Row<'_>) {
        let etag = row.etag.unwrap_or("");
        let range = row.range.clone().unwrap_or(0..UNKNOWN);
        let texts = [row.bucket, row.key, etag, row.label];
        let mut bytes = Vec::with_capacity(64 + texts.iter().map(|text| text.len()).sum::<usize>());
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        }
        for number in [row.size.unwrap_or(UNKNOWN), range.start, range.end] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        self.0.update(&bytes);
    }

    /// The hash.
    pub(crate) fn value(&self) -> u64 {
        self.0.value()
    }
}
