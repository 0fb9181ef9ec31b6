//! HMAC with its pads computed once, and comparison in constant time.

use std::hint::black_box;

use hmac::digest::{Digest, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Block size of SHA-1 and of SHA-256 in bytes.
const BLOCK_BYTES: usize = 64;

/// HMAC-SHA-256 that has absorbed its key; a clone starts a new message.
pub(super) fn sha256_keyed(key: &[u8]) -> Hmac<Sha256> {
    KeyInit::new(block_key::<Sha256>(key).as_slice().into())
}

/// HMAC-SHA-256 of one message.
pub(super) fn sha256(key: &[u8], message: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = sha256_keyed(key);
    mac.update(message);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// HMAC-SHA-1 of one message.
pub(super) fn sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut mac: Hmac<Sha1> = KeyInit::new(block_key::<Sha1>(key).as_slice().into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Bring a key to the block size (RFC 2104 section 2): hash what is longer, pad with zeros.
fn block_key<D: Digest>(key: &[u8]) -> Zeroizing<[u8; BLOCK_BYTES]> {
    let mut block = Zeroizing::new([0; BLOCK_BYTES]);
    if key.len() <= BLOCK_BYTES {
        block[..key.len()].copy_from_slice(key);
    } else {
        let hashed = D::digest(key);
        block[..hashed.len()].copy_from_slice(&hashed);
    }
    block
}

/// Compare without telling by the time taken where the first difference is.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (x, y)| black_box(difference | (x ^ y)));
    a.len() == b.len() && black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::hex;

    #[test]
    fn long_keys_are_hashed_first() {
        // RFC 4231 case 6 and RFC 2202 case 6.
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            hex(sha256(&[0xaa; 131], message).as_slice()),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(hex(&sha1(&[0xaa; 80], message)), "aa4ae5e15272d00e95705637ce8a3b55ed402112");
    }

    #[test]
    fn short_keys_are_padded() {
        // RFC 4231 case 2 and RFC 2202 case 2.
        let message = b"what do ya want for nothing?";
        assert_eq!(
            hex(sha256(b"Jefe", message).as_slice()),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(hex(&sha1(b"Jefe", message)), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    }

    #[test]
    fn equal_looks_at_every_byte_and_at_the_length() {
        assert!(equal(b"", b"") && equal(b"abc", b"abc"));
        assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"", b"a"));
    }
}
