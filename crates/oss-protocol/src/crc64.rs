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
///
/// The CRC of `A` is moved over `len_b` bytes by multiplying it with x^(8 * `len_b`); one
/// multiplication per bit that is set in `len_b`, so a part costs about a microsecond.
#[must_use]
pub fn combine(a: u64, b: u64, len_b: u64) -> u64 {
    let mut moved = a;
    let mut rest = len_b;
    while rest != 0 {
        moved = multiply(moved, POWERS[rest.trailing_zeros() as usize]);
        rest &= rest - 1;
    }
    moved ^ b
}

/// Compute the CRC of `B` from those of `A` followed by `B` and of `A`; `len_b` is the length of `B` in bytes.
#[must_use]
pub fn without_front(whole: u64, a: u64, len_b: u64) -> u64 {
    whole ^ combine(a, 0, len_b)
}

/// The polynomial, reflected: the lowest bit stands for x^63.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// `POWERS[n]` is x^(8 * 2^n) modulo the polynomial: what 2^n bytes do to a CRC before them.
const POWERS: [u64; 64] = powers();

const fn powers() -> [u64; 64] {
    // x^8, eight places below x^0, which is the highest bit.
    let mut power = 1 << (63 - 8);
    let mut table = [0; 64];
    let mut n = 0;
    while n < 64 {
        table[n] = power;
        power = multiply(power, power);
        n += 1;
    }
    table
}

/// Multiply two polynomials over GF(2) modulo the polynomial, without a branch on their bits.
const fn multiply(a: u64, b: u64) -> u64 {
    let (mut product, mut a, mut b) = (0, a, b);
    while a != 0 {
        product ^= b & (a >> 63).wrapping_neg();
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
    }
    product
}
