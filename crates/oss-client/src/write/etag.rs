//! What an ETag tells of bytes.

use md5::{Digest as _, Md5};
use oss_protocol::encoding::hex;

/// Whether `etag`, as sent, is the MD5 of `bytes`. Of encrypted objects it never is.
pub(super) fn is_md5_of(etag: &str, bytes: &[u8]) -> bool {
    etag.trim_matches('"').eq_ignore_ascii_case(&hex(&Md5::digest(bytes)))
}
