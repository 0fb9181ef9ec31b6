//! Which bytes of an object were received, and their CRC-64: the proof of a whole read made of ranges. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use oss_protocol::crc64;

/// Spans kept apart at most; a reader that leaves more holes than this is not reading the object whole.
const MAX_SPANS: usize = 4096;

/// Received ranges, neighbours joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tiles {
    /// Start of each span, with its end and the CRC-64 of its bytes.
    spans: BTreeMap<u64, (u64, u64)>,
}

impl Tiles {
    /// Takes note of `range` (half-open) and the CRC-64 of its bytes.
    ///
    /// A range that overlaps what is known already is left out: its CRC cannot be joined.
    pub(crate) fn add(&mut self, range: Range<u64>, crc: u64) {
        if range.is_empty() || self.overlaps(&range) || self.spans.len() >= MAX_SPANS {
            return;
        }
        let (mut start, mut end, mut crc) = (range.start, range.end, crc);
        if let Some((&left_start, &(left_end, left_crc))) = self.spans.range(..start).next_back()
            && left_end == start
        {
            crc = crc64::combine(left_crc, crc, end - start);
            start = left_start;
            self.spans.remove(&left_start);
        }
        if let Some((right_end, right_crc)) = self.spans.remove(&end) {
            crc = crc64::combine(crc, right_crc, right_end - end);
            end = right_end;
        }
        self.spans.insert(start, (end, crc));
    }

    /// The CRC-64 of the object, once the ranges tile all `size` bytes of it.
    pub(crate) fn whole(&self, size: u64) -> Option<u64> {
        self.spans.get(&0).filter(|(end, _)| *end == size).map(|&(_, crc)| crc)
    }

    /// Where the spans start and end, sorted.
    pub(crate) fn edges(&self) -> Vec<u64> {
        let mut edges: Vec<u64> = self.spans.iter().flat_map(|(&start, &(end, _))| [start, end]).collect();
        edges.dedup();
        edges
    }

    /// True if every span has the CRC-64 that follows from `marks`: of the bytes from the start of the object up to
    /// these places, sorted, the edges among them.
    pub(crate) fn agree_with(&self, marks: &[(u64, u64)]) -> bool {
        let crc_to = |end: u64| match marks.binary_search_by_key(&end, |&(place, _)| place) {
            Ok(found) => Some(marks[found].1),
            Err(_) => (end == 0).then_some(0),
        };
        self.spans.iter().all(|(&start, &(end, crc64))| {
            let found = crc_to(end).zip(crc_to(start));
            found.is_some_and(|(to_end, to_start)| {
                crc64::without_front(to_end, to_start, end - start) == crc64
            })
        })
    }

    fn overlaps(&self, range: &Range<u64>) -> bool {
        self.spans.range(..range.end).next_back().is_some_and(|(_, &(end, _))| end > range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_in_any_order_give_the_crc_of_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 1..500),
            cuts in proptest::collection::vec(0..500_usize, 0..12),
            seed in any::<u64>(),
        ) {
            let size = bytes.len();
            let mut edges: Vec<usize> = cuts.into_iter().filter(|&cut| cut < size).chain([0, size]).collect();
            edges.sort_unstable();
            edges.dedup();
            let mut ranges: Vec<Range<usize>> = edges.windows(2).map(|edge| edge[0]..edge[1]).collect();
            let turn = usize::try_from(seed % ranges.len() as u64).unwrap();
            ranges.rotate_left(turn);
            let mut tiles = Tiles::default();
            for range in ranges {
                prop_assert_eq!(tiles.whole(size as u64), None);
                tiles.add(range.start as u64..range.end as u64, crc64::crc64(&bytes[range]));
            }
            prop_assert_eq!(tiles.whole(size as u64), Some(crc64::crc64(&bytes)));
        }
    }

    #[test]
    fn an_overlap_is_left_out() {
        let mut tiles = Tiles::default();
        tiles.add(0..10, 1);
        tiles.add(5..15, 2);
        assert_eq!(tiles.whole(15), None);
        assert_eq!(tiles.whole(10), Some(1));
    }
}
