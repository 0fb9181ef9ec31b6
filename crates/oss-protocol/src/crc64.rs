//! CRC-64/XZ, the checksum of `x-oss-hash-crc64ecma`.
//!
//! Reflected polynomial 0xC96C5795D7870F42, register and result inverted: not the CRC-64/ECMA-182
//! of the header's name, and not CRC-64/NVME. On the wire it is an unsigned decimal number.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

/// A running CRC over the bytes of an object.
#[derive(Clone)]
pub struct Crc64 {
    digest: Digest,
}

impl Crc64 {
    /// Start with no bytes; the value is 0.
    #[must_use]
    pub fn new() -> Self {
        Self::with(0)
    }

    /// Go on behind bytes whose CRC is `crc`.
    #[must_use]
    pub fn with(crc: u64) -> Self {
        // The register holds the inverted result.
        Self { digest: Digest::new_with_init_state(CrcAlgorithm::Crc64Xz, !crc) }
    }

    /// Add `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// The CRC of everything so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.digest.finalize()
    }
}

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Crc64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Crc64").field(&self.value()).finish()
    }
}

/// Compute the CRC of `bytes`.
#[must_use]
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Xz, bytes)
}

/// Compute the CRC of `A` followed by `B` from their CRCs; `len_b` is the length of `B` in bytes.
#[must_use]
pub fn combine(a: u64, b: u64, len_b: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Xz, a, b, len_b)
}
