//! Synthetic content: bytes of any length that are computed when they are read, not stored.
//!
//! Page `p` (4096 bytes) of seed `s` is 512 little-endian words `mix(s + i * GOLDEN)`, `mix` being
//! SplitMix64, with the first word replaced by `p`. So every page differs from its neighbours (a
//! misplaced page is noticed) and a test can compute any byte from (seed, offset) in a few lines.

use crate::random::mix;

/// Bytes in one page of synthetic content.
const PAGE_BYTES: usize = 4096;

/// Step between the states of two neighbouring words.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// One page of noise, from which any stretch of the content is copied.
#[derive(Debug)]
pub(crate) struct Pattern {
    page: Vec<u8>,
}

impl Pattern {
    /// Computes the page of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let words = (0..PAGE_BYTES as u64 / 8).map(|i| mix(seed.wrapping_add(i.wrapping_mul(GOLDEN))));
        Self { page: words.flat_map(u64::to_le_bytes).collect() }
    }

    /// Fills `out` with the content that begins at byte `offset`.
    pub(crate) fn fill(&self, offset: u64, out: &mut [u8]) {
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let within = usize::try_from(at % PAGE_BYTES as u64).unwrap_or(0);
            let count = rest.len().min(PAGE_BYTES - within);
            let (now, later) = rest.split_at_mut(count);
            self.copy_page(at / PAGE_BYTES as u64, within, now);
            at += count as u64;
            rest = later;
        }
    }

    fn copy_page(&self, number: u64, within: usize, out: &mut [u8]) {
        out.copy_from_slice(&self.page[within..within + out.len()]);
        let stamp = number.to_le_bytes();
        if within < stamp.len() {
            let count = out.len().min(stamp.len() - within);
            out[..count].copy_from_slice(&stamp[within..within + count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_equals_the_same_stretch_of_the_whole() {
        let pattern = Pattern::new(42);
        let mut whole = vec![0; 3 * PAGE_BYTES + 100];
        pattern.fill(0, &mut whole);
        for (start, end) in [(0, 1), (3, 9), (4090, 4110), (8191, 12_300), (0, whole.len())] {
            let mut part = vec![0; end - start];
            pattern.fill(start as u64, &mut part);
            assert_eq!(part, whole[start..end], "bytes {start}..{end}");
        }
    }

    #[test]
    fn pages_and_seeds_differ() {
        let (mut a, mut b, mut c) = (vec![0; 16], vec![0; 16], vec![0; 16]);
        Pattern::new(1).fill(0, &mut a);
        Pattern::new(1).fill(PAGE_BYTES as u64, &mut b);
        Pattern::new(2).fill(0, &mut c);
        assert_ne!(a, b);
        assert_ne!(a, c);
        assert_eq!(b[..8], 1u64.to_le_bytes());
    }
}
