//! The part schedule, from one byte to the largest object OSS takes (F70).
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

use oss_client::write::parts::{FIRST_PART_BYTES, MAX_PART_BYTES, MAX_PARTS, MIN_PART_BYTES, PartSchedule};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Cuts `total_bytes` as an upload would: the sizes of all parts, the last one whatever is left.
fn cut(schedule: &PartSchedule, total_bytes: u64) -> Option<Vec<u64>> {
    let mut left = total_bytes;
    let mut sizes = Vec::new();
    while left > 0 {
        let number = u32::try_from(sizes.len() + 1).expect("few parts");
        let size = schedule.part_size_bytes(number)?.min(left);
        sizes.push(size);
        left -= size;
    }
    Some(sizes)
}

#[test]
fn test_f70_parts_of_an_unknown_size_double_every_thousand() {
    let schedule = PartSchedule::new(FIRST_PART_BYTES, None, None);
    let size = |number| schedule.part_size_bytes(number).expect("a part") / MIB;
    assert_eq!(
        [1, 1000, 1001, 2000, 2001, 3001, 4001, 5000, 5001, 10_000].map(size),
        [16, 16, 32, 32, 64, 128, 256, 256, 512, 512]
    );
    assert_eq!(schedule.part_size_bytes(0), None);
    assert_eq!(schedule.part_size_bytes(MAX_PARTS + 1), None);
    assert_eq!(schedule.capacity_bytes(), 3_056_000 * MIB, "2.9 TiB");
}

#[test]
fn test_f70_a_hint_reaches_the_largest_object() {
    let largest = u64::from(MAX_PARTS) * MAX_PART_BYTES;
    let schedule = PartSchedule::new(FIRST_PART_BYTES, Some(largest), None);
    assert_eq!(schedule.part_size_bytes(1), Some(MAX_PART_BYTES));
    assert_eq!(schedule.capacity_bytes(), largest, "48.8 TiB");
    let ten = PartSchedule::new(FIRST_PART_BYTES, Some(10 * TIB), None);
    assert_eq!(ten.part_size_bytes(1), Some((10 * TIB).div_ceil(9_500)));
}

#[test]
fn a_hint_that_was_too_low_falls_back_to_doubling() {
    let schedule = PartSchedule::new(FIRST_PART_BYTES, Some(MIB), None);
    assert_eq!(schedule.capacity_bytes(), PartSchedule::new(FIRST_PART_BYTES, None, None).capacity_bytes());
}

#[test]
fn memory_caps_the_part_at_half() {
    let schedule = PartSchedule::new(FIRST_PART_BYTES, None, Some(20 * MIB));
    assert_eq!(schedule.part_size_bytes(1), Some(10 * MIB));
    assert_eq!(schedule.part_size_bytes(9_999), Some(10 * MIB));
    assert_eq!(schedule.window_bytes(10 * MIB), 20 * MIB);
}

#[test]
fn the_window_is_256_mib_or_two_parts() {
    let schedule = PartSchedule::new(FIRST_PART_BYTES, None, None);
    assert_eq!(schedule.window_bytes(16 * MIB), 256 * MIB);
    assert_eq!(schedule.window_bytes(512 * MIB), 1024 * MIB);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_size_with_its_hint_is_cut_by_the_rules(
        total in prop_oneof![1..64 * MIB, 1..TIB, 1..=u64::from(MAX_PARTS) * MAX_PART_BYTES],
    ) {
        let schedule = PartSchedule::new(FIRST_PART_BYTES, Some(total), None);
        let sizes = cut(&schedule, total).expect("it fits");
        check(&sizes, total)?;
    }

    #[test]
    fn any_size_without_a_hint_is_cut_by_the_rules(total in 1..=3_056_000 * MIB) {
        let schedule = PartSchedule::new(FIRST_PART_BYTES, None, None);
        check(&cut(&schedule, total).expect("it fits"), total)?;
    }

    #[test]
    fn parts_never_shrink_and_memory_holds(
        first in 0..MAX_PART_BYTES,
        hint in proptest::option::of(0..48 * TIB),
        memory in proptest::option::of(200 * 1024_u64..8 << 30),
        number in 1..MAX_PARTS,
    ) {
        let schedule = PartSchedule::new(first, hint, memory);
        let size = schedule.part_size_bytes(number).expect("a part");
        let next = schedule.part_size_bytes(number + 1).expect("a part");
        prop_assert!((MIN_PART_BYTES..=MAX_PART_BYTES).contains(&size));
        prop_assert!(next >= size);
        let window = schedule.window_bytes(size);
        prop_assert!(window >= 2 * size);
        prop_assert!(memory.is_none_or(|bound| window <= bound));
    }
}

fn check(sizes: &[u64], total: u64) -> Result<(), TestCaseError> {
    prop_assert!(sizes.len() <= MAX_PARTS as usize);
    prop_assert_eq!(sizes.iter().sum::<u64>(), total);
    let (_, whole) = sizes.split_last().expect("at least one part");
    prop_assert!(whole.iter().all(|size| (MIN_PART_BYTES..=MAX_PART_BYTES).contains(size)));
    Ok(())
}
