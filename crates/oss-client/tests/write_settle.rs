//! The table of `faults.md`, 4.2: what a lost answer to PutObject or Complete comes to.

use oss_client::write::settle::{Commit, Found, Intent, Step, after_head, after_md5, after_parts};
use oss_protocol::time::UtcTime;
use proptest::prelude::*;

const SENT: UtcTime = UtcTime(1_700_000_000);

fn intent(commit: Commit, if_absent: bool) -> Intent {
    Intent { commit, size_bytes: 10, crc64: 77, if_absent, first_sent: SENT }
}

fn found(size_bytes: u64, crc64: Option<u64>, modified: i64) -> Found {
    Found { size_bytes, crc64, etag: None, last_modified: Some(UtcTime(SENT.0 + modified)) }
}

#[test]
fn equal_size_and_crc_is_success() {
    for commit in [Commit::Put, Commit::Complete] {
        for if_absent in [false, true] {
            let step = after_head(&intent(commit, if_absent), Some(&found(10, Some(77), -5)));
            assert_eq!(step, Step::Published, "{commit:?} {if_absent}");
        }
    }
}

#[test]
fn a_put_is_settled_by_head_and_md5() {
    let plain = intent(Commit::Put, false);
    let careful = intent(Commit::Put, true);
    assert_eq!(after_head(&plain, None), Step::SendAgain);
    assert_eq!(after_head(&careful, None), Step::SendAgain);
    assert_eq!(after_head(&plain, Some(&found(10, Some(78), 0))), Step::SendAgain);
    assert_eq!(after_head(&careful, Some(&found(10, Some(78), 0))), Step::AlreadyExists);
    assert_eq!(after_head(&careful, Some(&found(9, None, 0))), Step::AlreadyExists);
    assert_eq!(after_head(&plain, Some(&found(10, None, 0))), Step::CompareMd5);
    assert_eq!(after_md5(&careful, true), Step::Published);
    assert_eq!(after_md5(&careful, false), Step::AlreadyExists);
    assert_eq!(after_md5(&plain, false), Step::SendAgain);
}

#[test]
fn a_complete_is_settled_by_the_upload_that_is_still_open_or_not() {
    let plain = intent(Commit::Complete, false);
    let careful = intent(Commit::Complete, true);
    let other = found(9, Some(1), 0);
    assert_eq!(after_head(&plain, None), Step::ListParts);
    assert_eq!(after_head(&plain, Some(&other)), Step::ListParts);
    assert_eq!(after_parts(&plain, None, true), Step::SendAgain);
    assert_eq!(after_parts(&plain, Some(&other), true), Step::SendAgain);
    assert_eq!(after_parts(&careful, Some(&other), true), Step::AlreadyExists);
    assert_eq!(after_parts(&plain, None, false), Step::Unknown);
    assert_eq!(after_parts(&plain, Some(&other), false), Step::Unknown);
}

#[test]
fn without_a_crc_a_complete_needs_size_closed_upload_and_a_fresh_date() {
    let intent = intent(Commit::Complete, false);
    assert_eq!(after_parts(&intent, Some(&found(10, None, 0)), false), Step::Published);
    assert_eq!(after_parts(&intent, Some(&found(10, None, -1)), false), Step::Unknown);
    assert_eq!(after_parts(&intent, Some(&found(9, None, 0)), false), Step::Unknown);
    assert_eq!(after_parts(&intent, Some(&found(10, None, 0)), true), Step::SendAgain);
    let undated = Found { last_modified: None, ..found(10, None, 0) };
    assert_eq!(after_parts(&intent, Some(&undated), false), Step::Unknown);
}

proptest! {
    #[test]
    fn another_crc_or_size_is_never_success(
        put in any::<bool>(), if_absent in any::<bool>(), open in any::<bool>(),
        size in 0..20_u64, crc in any::<u64>(), modified in -5..5_i64,
    ) {
        prop_assume!(size != 10 || crc != 77);
        let intent = intent(if put { Commit::Put } else { Commit::Complete }, if_absent);
        let seen = found(size, Some(crc), modified);
        prop_assert_ne!(after_head(&intent, Some(&seen)), Step::Published);
        prop_assert_ne!(after_parts(&intent, Some(&seen), open), Step::Published);
    }

    #[test]
    fn a_closed_upload_is_never_sent_again(
        size in 0..20_u64, crc in proptest::option::of(any::<u64>()), modified in -5..5_i64,
        if_absent in any::<bool>(), present in any::<bool>(),
    ) {
        let seen = present.then(|| found(size, crc, modified));
        let step = after_parts(&intent(Commit::Complete, if_absent), seen.as_ref(), false);
        prop_assert!(matches!(step, Step::Published | Step::Unknown));
    }
}
