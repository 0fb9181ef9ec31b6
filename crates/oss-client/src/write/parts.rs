//! How an upload is cut into parts. Pure: numbers in, numbers out.
//!
//! OSS allows 10,000 parts of at most 5 GiB each, and only the last may be below 100 KiB. Of an object
//! whose size nobody knows the first parts must be small (a small object should not wait for a large
//! buffer) and the last ones large (or the numbers run out). So the size doubles every 1000 parts, from
//! 16 MiB to 512 MiB: 10,000 parts reach 2.9 TiB. A size hint gives parts of one size that reach it.

/// Parts an upload may have; OSS answers 400 to a higher number.
pub const MAX_PARTS: u32 = 10_000;

/// Smallest part that is not the last: 100 KiB, checked by OSS when the upload is completed.
pub const MIN_PART_BYTES: u64 = 100 * 1024;

/// Largest part, and largest PutObject: 5 GiB.
pub const MAX_PART_BYTES: u64 = 5 << 30;

/// First part size when the configuration names none: 16 MiB, the original's.
pub const FIRST_PART_BYTES: u64 = 16 << 20;

/// The doubling ends here: 512 MiB. Two such parts are a gigabyte of memory.
const LARGEST_UNHINTED_BYTES: u64 = 512 << 20;

/// Parts after which the size doubles.
const PARTS_PER_STEP: u32 = 1000;

/// Parts a hinted size is divided into: 9,500, so that a hint 5 % too low still fits.
const HINTED_PARTS: u64 = 9_500;

/// Memory of one writer unless two parts need more: 256 MiB.
const WINDOW_BYTES: u64 = 256 << 20;

/// Which part has which size. The last part of an upload is whatever is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSchedule {
    first_part_bytes: u64,
    /// No part is larger: half of the memory a writer may have.
    largest_part_bytes: u64,
    memory_bytes: Option<u64>,
    hinted_part_bytes: u64,
    hinted_parts: u64,
}

impl PartSchedule {
    /// Plans an upload.
    ///
    /// `first_part_bytes` is the size of the first 1000 parts; `size_hint_bytes` is the total, if it is
    /// known; `memory_bytes` bounds the buffers of the writer and so caps a part at half of it. Values
    /// OSS would refuse are moved to the nearest that it takes.
    #[must_use]
    pub fn new(first_part_bytes: u64, size_hint_bytes: Option<u64>, memory_bytes: Option<u64>) -> Self {
        let largest =
            memory_bytes.map_or(MAX_PART_BYTES, |bytes| bytes / 2).clamp(MIN_PART_BYTES, MAX_PART_BYTES);
        let first = first_part_bytes.clamp(MIN_PART_BYTES, largest);
        let hint = size_hint_bytes.unwrap_or(0);
        let hinted = first.max(hint.div_ceil(HINTED_PARTS)).min(largest);
        PartSchedule {
            first_part_bytes: first,
            largest_part_bytes: largest,
            memory_bytes,
            hinted_part_bytes: hinted,
            hinted_parts: hint.div_ceil(hinted),
        }
    }

    /// The size of part `number` in bytes, unless it is the last one; None where OSS has no such part.
    ///
    /// Beyond the hint the doubling goes on, so that a hint that was too low costs nothing.
    #[must_use]
    pub fn part_size_bytes(&self, number: u32) -> Option<u64> {
        if number == 0 || number > MAX_PARTS {
            return None;
        }
        if u64::from(number) <= self.hinted_parts {
            return Some(self.hinted_part_bytes);
        }
        let doubled = self.first_part_bytes << ((number - 1) / PARTS_PER_STEP);
        let doubled = doubled.min(LARGEST_UNHINTED_BYTES.max(self.first_part_bytes));
        Some(doubled.max(self.hinted_part_bytes).min(self.largest_part_bytes))
    }

    /// Bytes that fit into all 10,000 parts.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        (1..=MAX_PARTS).filter_map(|number| self.part_size_bytes(number)).sum()
    }

    /// Memory the buffers may take while parts of `part_size_bytes` are made.
    ///
    /// 256 MiB or two parts, whichever is more (one is filled while one is sent), and never more than
    /// the configuration allows, unless not even the smallest two parts fit into that.
    #[must_use]
    pub fn window_bytes(&self, part_size_bytes: u64) -> u64 {
        let two_parts = 2 * part_size_bytes;
        let wanted = two_parts.max(WINDOW_BYTES);
        self.memory_bytes
            .map_or(wanted, |bound| wanted.min(bound))
            .max(two_parts.min(2 * self.largest_part_bytes))
    }
}
