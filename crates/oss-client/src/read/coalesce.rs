//! Which requests bring many ranges of one object into many buffers. Pure.
//!
//! Ranges that lie close together travel in one request, what lies between them is received and forgotten; large
//! ones are cut. Each request is a list of segments: a large piece of a buffer is received straight into it, small
//! pieces and gaps share a scratch memory, because a system call for each of them would cost more than the copy.

use std::ops::Range;

/// Bytes between two ranges that are rather received and forgotten than left out: 128 KiB.
///
/// A request costs some 30 microseconds of a core on both sides, in which a core receives about as much as this.
pub(crate) const GAP_BYTES: u64 = 128 * 1024;

/// Smaller pieces are received by way of the scratch memory: below this a copy is cheaper than a system call.
const SMALL_BYTES: u64 = 16 * 1024;

/// Largest segment of small pieces and gaps: it stays in a core's second cache.
const SCRATCH_BYTES: u64 = 256 * 1024;

/// A range of the object (half-open) and the place where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) range: Range<u64>,
    /// Which buffer it goes to.
    pub(crate) buffer: usize,
    /// Where in that buffer it starts.
    pub(crate) at: usize,
}

/// Where a segment is received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Straight into the memory of this span of the stretch.
    Memory(usize),
    /// Into scratch memory, from which these spans of the stretch are copied.
    Scratch(Vec<usize>),
}

/// Bytes of a stretch that are received into one piece of memory; it starts where the one before it ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) range: Range<u64>,
    pub(crate) place: Place,
}

/// One request: a range of the object, and where each byte of it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) range: Range<u64>,
    pub(crate) spans: Vec<Span>,
    pub(crate) segments: Vec<Segment>,
}

/// Plans the requests for `spans`, in any order, each at most `part_bytes` long.
///
/// Spans that overlap others are read apart, behind the rest, so that the rest can tile the object.
pub(crate) fn stretches(spans: Vec<Span>, part_bytes: u64) -> Vec<Stretch> {
    assert!(part_bytes > 0, "a part has at least one byte");
    let (first, others) = disjoint(spans);
    let mut planned = chain(first, part_bytes);
    planned.extend(chain(others, part_bytes));
    planned
}

/// Plans one request for all `size_bytes` of an object, of which only `spans` are kept, and more for those that
/// overlap others.
///
/// No segment of the first crosses one of `edges`, which are sorted: the checksum is known there.
pub(crate) fn whole(spans: Vec<Span>, size_bytes: u64, edges: &[u64], part_bytes: u64) -> Vec<Stretch> {
    let (first, others) = disjoint(spans);
    let mut whole = Stretch { range: 0..0, spans: Vec::new(), segments: Vec::new() };
    first.into_iter().flat_map(|span| span.cut_at(edges)).for_each(|span| whole.push(span, edges));
    whole.pass_to(size_bytes, edges);
    let mut planned = vec![whole];
    planned.extend(chain(others, part_bytes));
    planned
}

/// Sorts the spans; those that overlap one that starts before them come apart, sorted as well.
fn disjoint(mut spans: Vec<Span>) -> (Vec<Span>, Vec<Span>) {
    spans.retain(|span| !span.range.is_empty());
    spans.sort_by_key(|span| (span.range.start, span.range.end));
    let mut end = 0;
    spans.into_iter().partition(|span| {
        let is_behind = span.range.start >= end;
        if is_behind {
            end = span.range.end;
        }
        is_behind
    })
}

/// Joins and cuts sorted spans to requests; where two overlap, a new request begins.
fn chain(spans: Vec<Span>, part_bytes: u64) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for span in spans {
        for part in span.cut(stretches.last(), part_bytes) {
            match stretches.last_mut().filter(|last| last.takes(&part.range, part_bytes)) {
                Some(last) => last.push(part, &[]),
                None => stretches.push(Stretch::of(part)),
            }
        }
    }
    stretches
}

/// Divides `spans` into what lies in one of the `held` ranges and what does not.
pub(crate) fn divide(spans: Vec<Span>, held: &[Range<u64>]) -> (Vec<Span>, Vec<Span>) {
    let mut edges: Vec<u64> = held.iter().flat_map(|range| [range.start, range.end]).collect();
    edges.sort_unstable();
    let is_held = |span: &Span| held.iter().any(|range| range.contains(&span.range.start));
    spans
        .into_iter()
        .flat_map(|span| span.cut_at(&edges))
        .filter(|span| !span.range.is_empty())
        .partition(is_held)
}

impl Span {
    /// Cuts the span at the edges, which are sorted, that lie in it.
    fn cut_at(self, edges: &[u64]) -> Vec<Span> {
        let Span { range, buffer, at } = self;
        let first = edges.partition_point(|&edge| edge <= range.start);
        let inner = edges[first..].iter().copied().take_while(|&edge| edge < range.end);
        let mut start = range.start;
        let ends = inner.chain([range.end]);
        ends.map(|end| {
            let at = at + usize::try_from(start - range.start).unwrap_or(usize::MAX);
            let part = Span { range: start..end, buffer, at };
            start = end;
            part
        })
        .collect()
    }

    /// Cuts the span so that each part fits a request; the first may fill up the request before it.
    fn cut(self, last: Option<&Stretch>, part_bytes: u64) -> impl Iterator<Item = Span> + use<> {
        let joined = last.filter(|last| last.takes(&self.range, part_bytes));
        let first = joined.map_or(part_bytes, |last| last.range.start + part_bytes - self.range.start);
        let Span { range, buffer, at } = self;
        let mut start = range.start;
        let mut room = first;
        std::iter::from_fn(move || {
            let part = start..range.end.min(start.saturating_add(room));
            let at = at + usize::try_from(start - range.start).unwrap_or(usize::MAX);
            (start, room) = (part.end, part_bytes);
            (!part.is_empty()).then_some(Span { range: part, buffer, at })
        })
    }
}

impl Stretch {
    fn of(span: Span) -> Self {
        let start = span.range.start;
        let mut stretch = Stretch { range: start..start, spans: Vec::new(), segments: Vec::new() };
        stretch.push(span, &[]);
        stretch
    }

    /// True if a request for this stretch can bring the start of `range` as well.
    fn takes(&self, range: &Range<u64>, part_bytes: u64) -> bool {
        range.start >= self.range.end
            && range.start - self.range.end <= GAP_BYTES
            && range.start < self.range.start.saturating_add(part_bytes)
    }

    /// Adds a span behind the stretch, and the gap before it.
    fn push(&mut self, span: Span, edges: &[u64]) {
        self.pass_to(span.range.start, edges);
        let (range, number) = (span.range.clone(), self.spans.len());
        self.spans.push(span);
        self.range.end = range.end;
        if range.end - range.start >= SMALL_BYTES {
            self.segments.push(Segment { range, place: Place::Memory(number) });
        } else if let Place::Scratch(spans) = &mut self.scratch(range, edges).place {
            spans.push(number);
        }
    }

    /// Adds bytes up to `end` that nobody wants.
    fn pass_to(&mut self, end: u64, edges: &[u64]) {
        while self.range.end < end {
            let start = self.range.end;
            let next_edge = edges.get(edges.partition_point(|&edge| edge <= start)).copied();
            let stop = end.min(start + SCRATCH_BYTES).min(next_edge.unwrap_or(end));
            self.range.end = stop;
            self.scratch(start..stop, edges);
        }
    }

    /// The segment of scratch memory that `range`, the end of the stretch, belongs to.
    fn scratch(&mut self, range: Range<u64>, edges: &[u64]) -> &mut Segment {
        let joins = self.segments.last().is_some_and(|last| {
            let is_scratch = matches!(last.place, Place::Scratch(_));
            is_scratch
                && range.end - last.range.start <= SCRATCH_BYTES
                && edges.binary_search(&range.start).is_err()
        });
        if !joins {
            self.segments.push(Segment { range: range.clone(), place: Place::Scratch(Vec::new()) });
        }
        let last = self.segments.len() - 1;
        let segment = &mut self.segments[last];
        segment.range.end = range.end;
        segment
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1024 * 1024;
    const KIB: u64 = 1024;

    fn span(buffer: usize, range: Range<u64>) -> Span {
        Span { range, buffer, at: 0 }
    }

    fn ranges(stretches: &[Stretch]) -> Vec<Range<u64>> {
        stretches.iter().map(|stretch| stretch.range.clone()).collect()
    }

    #[test]
    fn neighbours_and_near_neighbours_share_a_request() {
        let far = 2 * GAP_BYTES + 30;
        let planned = stretches(
            vec![
                span(2, far..far + 5),
                span(0, 0..10),
                span(1, 10..20),
                span(3, 20 + GAP_BYTES..30 + GAP_BYTES),
            ],
            4 * MIB,
        );
        assert_eq!(planned.len(), 1, "the gaps are {GAP_BYTES} bytes");
        assert_eq!(planned[0].range, 0..far + 5);
        let planned = stretches(vec![span(0, 0..10), span(1, 11 + GAP_BYTES..12 + GAP_BYTES)], 4 * MIB);
        assert_eq!(ranges(&planned), [0..10, 11 + GAP_BYTES..12 + GAP_BYTES]);
    }

    #[test]
    fn a_large_span_is_cut_and_its_end_is_filled_up() {
        let planned = stretches(vec![span(0, 5..5 + 9 * MIB), span(1, 5 + 9 * MIB..5 + 12 * MIB)], 4 * MIB);
        assert_eq!(ranges(&planned), [5..5 + 4 * MIB, 5 + 4 * MIB..5 + 8 * MIB, 5 + 8 * MIB..5 + 12 * MIB]);
        assert_eq!(planned[2].spans.len(), 2);
        assert_eq!(planned[1].spans[0].at as u64, 4 * MIB);
    }

    #[test]
    fn small_spans_share_a_segment_and_large_ones_have_their_own() {
        let planned = stretches(vec![span(0, 0..100), span(1, 150..200), span(2, 200..200 + MIB)], 4 * MIB);
        let segments = &planned[0].segments;
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[0], Segment { range: 0..200, place: Place::Scratch(vec![0, 1]) });
        assert_eq!(segments[1], Segment { range: 200..200 + MIB, place: Place::Memory(2) });
    }

    #[test]
    fn what_is_held_is_not_asked_for() {
        let (held, missing) = divide(vec![span(0, 5..30), span(1, 0..0)], &[10..15, 15..20, 90..100]);
        let range_of =
            |spans: Vec<Span>| spans.into_iter().map(|span| (span.range, span.at)).collect::<Vec<_>>();
        assert_eq!(range_of(held), [(10..15, 5), (15..20, 10)]);
        assert_eq!(range_of(missing), [(5..10, 0), (20..30, 15)]);
    }

    #[test]
    fn the_whole_object_passes_with_its_edges_kept() {
        let spans = vec![span(0, 700 * KIB..720 * KIB), span(1, 710 * KIB..711 * KIB)];
        let planned = whole(spans, MIB, &[10, 600 * KIB], 4 * MIB);
        assert_eq!(ranges(&planned), [0..MIB, 710 * KIB..711 * KIB]);
        let stretch = &planned[0];
        let ends: Vec<u64> = stretch.segments.iter().map(|segment| segment.range.end).collect();
        assert!(ends.contains(&10) && ends.contains(&(600 * KIB)) && ends.contains(&MIB));
    }

    proptest! {
        #[test]
        fn every_byte_is_asked_for_and_lands_where_it_belongs(
            wanted in proptest::collection::vec((0..3_000_000_u64, 0..400_000_u64), 0..20),
            part_bytes in 1000..5_000_000_u64,
        ) {
            let spans: Vec<Span> = wanted.iter().enumerate()
                .map(|(buffer, &(start, size))| span(buffer, start..start + size)).collect();
            let planned = stretches(spans, part_bytes);
            let mut landed = vec![0; wanted.len()];
            for stretch in &planned {
                prop_assert!(stretch.range.end - stretch.range.start <= part_bytes);
                let mut at = stretch.range.start;
                for segment in &stretch.segments {
                    prop_assert_eq!(segment.range.start, at);
                    at = segment.range.end;
                    let held: Vec<usize> = match &segment.place {
                        Place::Memory(number) => {
                            prop_assert_eq!(&stretch.spans[*number].range, &segment.range);
                            vec![*number]
                        }
                        Place::Scratch(numbers) => {
                            prop_assert!(segment.range.end - segment.range.start <= SCRATCH_BYTES);
                            numbers.clone()
                        }
                    };
                    for span in held.into_iter().map(|number| &stretch.spans[number]) {
                        prop_assert!(span.range.start >= segment.range.start && span.range.end <= segment.range.end);
                        prop_assert_eq!(span.at as u64, landed[span.buffer], "in the order of the buffer");
                        prop_assert_eq!(span.range.start, wanted[span.buffer].0 + span.at as u64);
                        landed[span.buffer] += span.range.end - span.range.start;
                    }
                }
                prop_assert_eq!(at, stretch.range.end);
            }
            let sizes: Vec<u64> = wanted.iter().map(|&(_, size)| size).collect();
            prop_assert_eq!(landed, sizes);
        }
    }
}
