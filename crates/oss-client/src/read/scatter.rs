//! Many ranges of one version of an object into many lent buffers, by several requests at once.
//!
//! The plan is that of [`coalesce`](super::coalesce). Each request is a job of a worker; the thread that asked takes
//! part as one more, with the bytes that it holds already. Whoever ends last hands the buffers over. The first
//! failure cancels the other jobs: nobody waits for bytes that will be thrown away.

use std::mem::{self, MaybeUninit};
use std::ops::Range;

use oss_protocol::crc64;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::lend::{self, Carved, Filled, Lend, Piece, Scratch};
use crate::operations::{BodySink, GotObject};
use crate::read::coalesce::{Place, Span, Stretch};
use crate::read::fetch::{self, Fetched, Want};
use crate::read::landing::Room;
use crate::sync::{Arc, Mutex};
use crate::workers::Job;

/// Buffers that were filled, and what is known of their bytes.
#[derive(Debug)]
pub(crate) struct Scattered<B> {
    pub(crate) buffers: Vec<B>,
    /// CRC-64 of each buffer.
    pub(crate) crc64: Vec<u64>,
    /// The ranges that were received, each with its CRC-64, in the order of the plan.
    pub(crate) received: Vec<(Range<u64>, u64)>,
    /// CRC-64 of the bytes from the start of the object to these places in it, where one request brought all of it.
    pub(crate) marks: Vec<(u64, u64)>,
    /// CRC-64 of the whole object, where the service told it and it is to be compared.
    pub(crate) object_crc64: Option<u64>,
}

/// Called once with the outcome, by whoever ends last.
pub(crate) type Finish<B> = Box<dyn FnOnce(Result<Scattered<B>, Error>) + Send>;

/// The one buffer of a read that had one.
///
/// # Errors
/// `Internal` if it had none.
pub(crate) fn single<B>(scattered: Scattered<B>) -> Result<Fetched<B>, Error> {
    let Scattered { buffers, crc64, object_crc64, .. } = scattered;
    let one = buffers.into_iter().zip(crc64).next();
    let (buffer, crc64) = one.ok_or_else(|| Error::internal("GetObject", "no buffer came back"))?;
    Ok(Fetched { buffer, crc64, object_crc64 })
}

/// What one participant brings in.
#[derive(Debug, Default)]
struct Brought {
    /// Which stretch of the plan this is of; of no meaning for the caller's share, which received nothing.
    number: usize,
    checksums: Vec<Checksum>,
    received: Option<(Range<u64>, u64)>,
    marks: Vec<(u64, u64)>,
    object_crc64: Option<u64>,
}

/// The CRC-64 of a piece of a buffer.
#[derive(Clone, Copy, Debug)]
struct Checksum {
    buffer: usize,
    at: usize,
    size_bytes: u64,
    crc64: u64,
}

impl Checksum {
    fn of(span: &Span, crc64: u64) -> Self {
        let size_bytes = span.range.end - span.range.start;
        Self { buffer: span.buffer, at: span.at, size_bytes, crc64 }
    }
}

struct Assembly<B: Lend> {
    client: Client,
    want: Want,
    state: Mutex<State<B>>,
}

struct State<B: Lend> {
    carved: Vec<Carved<B>>,
    brought: Vec<Brought>,
    left: usize,
    cancels: Vec<Cancel>,
    failure: Option<Error>,
    finish: Option<Finish<B>>,
}

/// The part of the thread that asked: the spans whose bytes it has.
pub(crate) struct Share<B: Lend> {
    assembly: Arc<Assembly<B>>,
    spans: Vec<Span>,
    pieces: Vec<Piece<B>>,
    brought: Brought,
}

/// A span whose bytes were asked for before, and its memory: a request that is on its way may yet bring them there.
pub(crate) struct Lodging<B: Lend> {
    assembly: Arc<Assembly<B>>,
    number: usize,
    span: Span,
    piece: Piece<B>,
}

/// What takes part in filling the buffers.
pub(crate) struct Parties<B: Lend> {
    pub(crate) share: Share<B>,
    /// Each must be lent, or given to the share.
    pub(crate) lodgings: Vec<Lodging<B>>,
    pub(crate) jobs: Vec<(Cancel, Job)>,
}

/// Makes one job for each stretch, one lodging for each of the spans that are `arriving`, and the share of the caller,
/// which must [`Share::end`].
///
/// Together the spans of the stretches, `arriving` and `held` tile each buffer. The jobs pin `want.etag`. A stretch that is the
/// whole object of `want.size` bytes is verified, and repeated, by its own request.
pub(crate) fn scatter<B: Lend>(
    client: &Client,
    want: Want,
    buffers: Vec<B>,
    stretches: Vec<Stretch>,
    (arriving, held): (Vec<Span>, Vec<Span>),
    finish: Finish<B>,
) -> Parties<B> {
    let whole = want.size.map(|size_bytes| 0..size_bytes);
    let (carved, mut rows) =
        carve_all(buffers, stretches.iter().map(|stretch| &stretch.spans).chain([&arriving, &held]));
    let pieces = rows.pop().unwrap_or_default();
    let rooms = rows.pop().unwrap_or_default();
    let cancels: Vec<Cancel> = stretches.iter().map(|_| Cancel::new()).collect();
    let state = State {
        carved,
        brought: Vec::new(),
        left: stretches.len() + rooms.len() + 1,
        cancels: cancels.clone(),
        failure: None,
        finish: Some(finish),
    };
    let assembly = Arc::new(Assembly { client: client.clone(), want, state: Mutex::new(state) });
    let share = Share { assembly: Arc::clone(&assembly), spans: held, pieces, brought: Brought::default() };
    let lodgings = (stretches.len()..)
        .zip(arriving.into_iter().zip(rooms))
        .map(|(number, (span, piece))| Lodging { assembly: Arc::clone(&assembly), number, span, piece })
        .collect();
    let jobs = cancels
        .into_iter()
        .zip(stretches)
        .zip(rows)
        .enumerate()
        .map(|(number, ((cancel, stretch), pieces))| {
            let (assembly, own) = (Arc::clone(&assembly), cancel.clone());
            let range = Some(stretch.range.clone()).filter(|range| whole.as_ref() != Some(range));
            (cancel, Box::new(move || assembly.fetch(number, &stretch, range, pieces, &own)) as Job)
        })
        .collect();
    Parties { share, lodgings, jobs }
}

/// A piece of a buffer: where it starts, its size, and the row and number of its span.
type Cut = (usize, usize, (usize, usize));

/// Cuts every buffer into the pieces that the spans say; gives each row of spans its pieces, in its order.
fn carve_all<'a, B: Lend>(
    buffers: Vec<B>,
    rows: impl Iterator<Item = &'a Vec<Span>>,
) -> (Vec<Carved<B>>, Vec<Vec<Piece<B>>>) {
    let rows: Vec<&[Span]> = rows.map(Vec::as_slice).collect();
    let mut places: Vec<Vec<Cut>> = buffers.iter().map(|_| Vec::new()).collect();
    for (row, spans) in rows.iter().enumerate() {
        for (number, span) in spans.iter().enumerate() {
            let size_bytes = usize::try_from(span.range.end - span.range.start).unwrap_or(usize::MAX);
            places[span.buffer].push((span.at, size_bytes, (row, number)));
        }
    }
    let mut slots: Vec<Vec<Option<Piece<B>>>> =
        rows.iter().map(|spans| spans.iter().map(|_| None).collect()).collect();
    let mut all_carved = Vec::with_capacity(buffers.len());
    for (buffer, mut places) in buffers.into_iter().zip(places) {
        places.sort_unstable();
        let (carved, pieces) = lend::carve(buffer, places.iter().map(|&(_, size_bytes, _)| size_bytes));
        for (piece, (_, _, (row, number))) in pieces.into_iter().zip(places) {
            slots[row][number] = Some(piece);
        }
        all_carved.push(carved);
    }
    (all_carved, slots.into_iter().map(|row| row.into_iter().flatten().collect()).collect())
}

impl<B: Lend> Assembly<B> {
    /// Fetches one stretch. Returns the bytes received.
    fn fetch(
        &self,
        number: usize,
        stretch: &Stretch,
        range: Option<Range<u64>>,
        mut pieces: Vec<Piece<B>>,
        cancel: &Cancel,
    ) -> u64 {
        let outcome = if cancel.is_cancelled() || self.state.lock().failure.is_some() {
            Err(Error::cancelled("GetObject"))
        } else {
            fetch::guarded(|| {
                let mut sink = StretchSink::new(stretch, &mut pieces);
                let got = fetch::get(&self.client, &self.want, range, &mut sink, cancel)?;
                Ok(Brought { number, ..sink.brought(&self.client, &got) })
            })
        };
        // Before the outcome is told: whoever hears of it may free the memory at once.
        drop(pieces);
        let received = outcome.as_ref().map_or(0, |_| stretch.range.end - stretch.range.start);
        self.note(outcome);
        received
    }

    fn note(&self, outcome: Result<Brought, Error>) {
        let mut state = self.state.lock();
        state.left -= 1;
        let cancels = match outcome {
            Ok(brought) => {
                state.brought.push(brought);
                Vec::new()
            }
            Err(error) if state.failure.is_none() => {
                state.failure = Some(error);
                mem::take(&mut state.cancels)
            }
            Err(_later) => Vec::new(),
        };
        let finish = if state.left == 0 { state.finish.take() } else { None };
        let outcome = finish.is_some().then(|| state.conclude());
        drop(state);
        cancels.iter().for_each(Cancel::cancel);
        if let Some((finish, outcome)) = finish.zip(outcome) {
            finish(outcome);
        }
    }
}

impl<B: Lend> Lodging<B> {
    /// The range of the object that is to be brought.
    pub(crate) fn range(&self) -> &Range<u64> {
        &self.span.range
    }
}

impl<B: Lend> Room for Lodging<B> {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        self.piece.memory()
    }

    fn end(self: Box<Self>, outcome: Result<GotObject, Error>) {
        let Lodging { assembly, number, span, piece } = *self;
        drop(piece);
        assembly.note(outcome.map(|got| Brought {
            number,
            checksums: vec![Checksum::of(&span, got.received_crc64)],
            received: Some((span.range, got.received_crc64)),
            marks: Vec::new(),
            object_crc64: fetch::comparable(&assembly.client, got.object_crc64),
        }));
    }
}

impl<B: Lend> State<B> {
    fn conclude(&mut self) -> Result<Scattered<B>, Error> {
        let count = self.carved.len();
        // Also in failure: whoever hears of it may free or resize the memory at once.
        let buffers: Vec<B> =
            mem::take(&mut self.carved).into_iter().filter_map(|carved| carved.reclaim().ok()).collect();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if buffers.len() != count {
            return Err(Error::internal("GetObject", "a part still holds its memory"));
        }
        let mut scattered = Scattered {
            buffers,
            crc64: vec![0; count],
            received: Vec::new(),
            marks: Vec::new(),
            object_crc64: None,
        };
        let mut checksums = Vec::new();
        self.brought.sort_unstable_by_key(|brought| brought.number);
        for brought in mem::take(&mut self.brought) {
            checksums.extend(brought.checksums);
            scattered.received.extend(brought.received);
            scattered.marks.extend(brought.marks);
            scattered.object_crc64 = scattered.object_crc64.or(brought.object_crc64);
        }
        checksums.sort_unstable_by_key(|checksum| (checksum.buffer, checksum.at));
        for Checksum { buffer, size_bytes, crc64, .. } in checksums {
            scattered.crc64[buffer] = crc64::combine(scattered.crc64[buffer], crc64, size_bytes);
        }
        Ok(scattered)
    }
}

impl<B: Lend> Share<B> {
    /// Takes over what nobody else brings.
    pub(crate) fn take(&mut self, lodging: Lodging<B>) {
        let Lodging { assembly, span, piece, .. } = lodging;
        assembly.state.lock().left -= 1;
        self.spans.push(span);
        self.pieces.push(piece);
    }

    /// Lets a failure of anyone end the request behind `cancel` too, which brings what a lodging is for.
    pub(crate) fn cancels(&self, cancel: &Cancel) {
        let mut state = self.assembly.state.lock();
        if state.failure.is_none() {
            return state.cancels.push(cancel.clone());
        }
        drop(state);
        cancel.cancel();
    }

    /// The spans to be filled.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Fills span `number` from its byte `offset` on with what is in `bytes`, as far as it fits; the calls for one
    /// span come in order. Returns how many bytes it took.
    pub(crate) fn fill(&mut self, number: usize, offset: usize, bytes: &[u8]) -> usize {
        let span = &self.spans[number];
        let memory = self.pieces[number].memory().get_mut(offset..).unwrap_or_default();
        let taken = lend::copy(bytes, memory);
        let part = Span { at: span.at + offset, range: 0..taken as u64, ..span.clone() };
        self.brought.checksums.push(Checksum::of(&part, crc64::crc64(&bytes[..taken])));
        taken
    }

    /// Ends the caller's part; `failure` ends the others' as well.
    pub(crate) fn end(self, failure: Option<Error>) {
        let Share { assembly, pieces, brought, .. } = self;
        drop(pieces);
        assembly.note(failure.map_or(Ok(brought), Err));
    }
}

/// Receives one stretch into the pieces of its spans.
struct StretchSink<'a, B: Lend> {
    stretch: &'a Stretch,
    pieces: &'a mut [Piece<B>],
    scratch: Scratch,
    /// The segment that is being received, and the CRC-64 of all before it.
    segment: usize,
    before: u64,
    checksums: Vec<Checksum>,
    marks: Vec<(u64, u64)>,
}

impl<'a, B: Lend> StretchSink<'a, B> {
    fn new(stretch: &'a Stretch, pieces: &'a mut [Piece<B>]) -> Self {
        let checksums = Vec::with_capacity(stretch.spans.len());
        Self { stretch, pieces, scratch: Scratch::new(), segment: 0, before: 0, checksums, marks: Vec::new() }
    }

    fn brought(self, client: &Client, got: &GotObject) -> Brought {
        let is_whole = self.stretch.range == (0..got.size);
        Brought {
            checksums: self.checksums,
            number: 0,
            received: Some((self.stretch.range.clone(), got.received_crc64)),
            marks: if is_whole { self.marks } else { Vec::new() },
            object_crc64: fetch::comparable(client, got.object_crc64),
        }
    }

    /// Makes the scratch memory as large as any segment needs it.
    fn reserve(&mut self) -> bool {
        let segments = self.stretch.segments.iter();
        let sizes = segments.filter(|segment| matches!(segment.place, Place::Scratch(_))).map(size_bytes);
        self.scratch.reserve(sizes.max().unwrap_or(0))
    }

    /// Hands out what a segment of scratch memory holds.
    fn distribute(&mut self, start: u64, size_bytes: usize, numbers: &[usize]) {
        let bytes = mem::take(&mut self.scratch).into_filled(Filled(size_bytes));
        for &number in numbers {
            let span = &self.stretch.spans[number];
            let within = usize::try_from(span.range.start - start).ok().and_then(|from| bytes.get(from..));
            let memory = self.pieces[number].memory();
            let taken = lend::copy(within.unwrap_or_default(), memory);
            self.checksums.push(Checksum::of(span, crc64::crc64(&within.unwrap_or_default()[..taken])));
        }
        self.scratch = Scratch::of(bytes);
        // The same size as at the beginning: it is there.
        let _ = self.reserve();
    }
}

fn size_bytes(segment: &super::coalesce::Segment) -> usize {
    usize::try_from(segment.range.end - segment.range.start).unwrap_or(usize::MAX)
}

impl<B: Lend> BodySink for StretchSink<'_, B> {
    fn begin(&mut self, _body_bytes: u64) -> Result<(), Error> {
        // The answer was checked against the range, or against the object's known size.
        (self.segment, self.before) = (0, 0);
        self.checksums.clear();
        self.marks.clear();
        if self.reserve() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::OutOfMemory, "GetObject", "no memory for the gaps between ranges"))
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        let Some(segment) = self.stretch.segments.get(self.segment) else { return Default::default() };
        let offset = self.stretch.range.start + received - segment.range.start;
        let memory = match segment.place {
            Place::Memory(number) => self.pieces[number].memory(),
            Place::Scratch(_) => self.scratch.memory().get_mut(..size_bytes(segment)).unwrap_or_default(),
        };
        fetch::behind(memory, offset)
    }

    fn filled(&mut self, _received: u64, crc64: u64) {
        let stretch = self.stretch;
        let Some(segment) = stretch.segments.get(self.segment) else { return };
        match &segment.place {
            Place::Memory(number) => {
                let own = crc64::without_front(crc64, self.before, segment.range.end - segment.range.start);
                self.checksums.push(Checksum::of(&stretch.spans[*number], own));
            }
            Place::Scratch(numbers) => self.distribute(segment.range.start, size_bytes(segment), numbers),
        }
        self.marks.push((segment.range.end, crc64));
        self.before = crc64;
        self.segment += 1;
    }

    fn wants_crc(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Loan {
        bytes: Vec<MaybeUninit<u8>>,
        _alive: Arc<()>,
    }

    impl Lend for Loan {
        fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
            &mut self.bytes
        }
    }

    #[test]
    fn test_f93_a_failed_read_gives_its_memory_back_before_it_is_told() {
        let alive = Arc::new(());
        let loan = Loan { bytes: vec![MaybeUninit::uninit(); 10], _alive: Arc::clone(&alive) };
        let (carved, pieces) = lend::carve(loan, [4, 4, 2].into_iter());
        drop(pieces);
        let mut state = State {
            carved: vec![carved],
            brought: Vec::new(),
            left: 0,
            cancels: Vec::new(),
            failure: Some(Error::cancelled("GetObject")),
            finish: None,
        };
        assert!(state.conclude().is_err());
        assert_eq!(Arc::strong_count(&alive), 1, "the loan is over");
    }
}
