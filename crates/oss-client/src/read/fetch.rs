//! One object, or one range of it, into lent memory: by one request or by several at once.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};

use oss_protocol::crc64;
use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::config::Verify;
use crate::error::{Error, ErrorKind};
use crate::lend::{self, Carved, Filled, Lend, Piece, Scratch};
use crate::operations::{BodySink, GetObject, GotObject};
use crate::read::plan;
use crate::stats::Counter;
use crate::sync::{Arc, Mutex};
use crate::workers::Job;

/// What to fetch: one version of one object, whole or a range of it.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) uri: ObjectUri,
    /// None: the whole object.
    pub(crate) range: Option<Range<u64>>,
    /// The version, where it is known.
    pub(crate) etag: Option<String>,
    /// The object's size, where it is known.
    pub(crate) size: Option<u64>,
    /// How often it came damaged before.
    pub(crate) damaged_before: u32,
    /// One of the many objects of a dataset: a quick read of it is nothing to audit.
    pub(crate) is_sample: bool,
}

impl Want {
    /// The same, after one more fetch that came damaged: as one request, whose own check and repeats decide.
    pub(crate) fn after_damage(&self) -> Self {
        Self { range: None, damaged_before: self.damaged_before + 1, ..self.clone() }
    }
}

/// A filled loan, and what is known of the object it came from.
#[derive(Debug)]
pub(crate) struct Fetched<B> {
    pub(crate) buffer: B,
    /// CRC-64 of the bytes in the buffer.
    pub(crate) crc64: u64,
    /// CRC-64 of the whole object, where the service told it and it is to be compared.
    pub(crate) object_crc64: Option<u64>,
}

/// The CRC-64 to compare with, of the one that the service told: none if nothing is verified.
pub(crate) fn comparable(client: &Client, told: Option<u64>) -> Option<u64> {
    told.filter(|_| client.config().verify != Verify::Off)
}

/// Takes note of a whole read without a CRC-64 to compare with.
///
/// # Errors
/// `Integrity` if one is required.
pub(crate) fn unchecked(client: &Client, uri: &ObjectUri) -> Result<(), Error> {
    match client.config().verify {
        Verify::Off => {}
        Verify::Check => client.count(Counter::CrcUnchecked),
        Verify::Require => {
            let text = "the service has no CRC-64 for this object, and verify=\"require\" asks for one";
            return Err(Error::new(ErrorKind::Integrity, "GetObject", text).with_uri(uri.to_string()));
        }
    }
    Ok(())
}

/// Receives into lent memory whose size was known beforehand.
struct LentSink<'a, B: Lend>(&'a mut B);

impl<B: Lend> BodySink for LentSink<'_, B> {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        let room = self.0.memory().len() as u64;
        if body_bytes == room {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ObjectChanged,
            "GetObject",
            format!("the body has {body_bytes} bytes where the index says {room}; list again"),
        ))
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        behind(self.0.memory(), received)
    }
}

/// Receives into a native buffer that is made when the answer tells the size.
struct ScratchSink<'a>(&'a mut Scratch);

impl BodySink for ScratchSink<'_> {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        let fits = usize::try_from(body_bytes).is_ok_and(|size_bytes| self.0.reserve(size_bytes));
        if fits {
            return Ok(());
        }
        let text = format!("no memory for a body of {body_bytes} bytes; use a reader and read it in parts");
        Err(Error::new(ErrorKind::OutOfMemory, "GetObject", text))
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        behind(self.0.memory(), received)
    }
}

/// Receives into one piece of a carved buffer.
struct PieceSink<'a, B: Lend>(&'a mut Piece<B>);

impl<B: Lend> BodySink for PieceSink<'_, B> {
    fn begin(&mut self, _body_bytes: u64) -> Result<(), Error> {
        // A ranged answer was checked against the range, which is exactly as long as the piece.
        Ok(())
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        behind(self.0.memory(), received)
    }
}

/// What is left of `memory` behind its first `received` bytes.
pub(crate) fn behind(memory: &mut [MaybeUninit<u8>], received: u64) -> &mut [MaybeUninit<u8>] {
    usize::try_from(received).ok().and_then(|received| memory.get_mut(received..)).unwrap_or_default()
}

/// Fetches with one request into `buffer`, on this thread.
pub(crate) fn into_lent<B: Lend>(
    client: &Client,
    want: &Want,
    mut buffer: B,
    cancel: &Cancel,
) -> Result<Fetched<B>, Error> {
    let got = get(client, want, want.range.clone(), &mut LentSink(&mut buffer), cancel)?;
    let object_crc64 = comparable(client, got.object_crc64);
    Ok(Fetched { buffer, crc64: got.received_crc64, object_crc64 })
}

/// Fetches a whole object of unknown size with one request, on this thread.
pub(crate) fn into_scratch(client: &Client, want: &Want, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let mut scratch = Scratch::new();
    let got = get(client, want, None, &mut ScratchSink(&mut scratch), cancel)?;
    Ok(scratch.into_filled(Filled(usize::try_from(got.received_bytes).unwrap_or(usize::MAX))))
}

pub(crate) fn get(
    client: &Client,
    want: &Want,
    range: Option<Range<u64>>,
    sink: &mut dyn BodySink,
    cancel: &Cancel,
) -> Result<GotObject, Error> {
    let etag = want.etag.as_deref();
    let (size, damaged_before, is_sample) = (want.size, want.damaged_before, want.is_sample);
    let request = GetObject { range, etag, size, damaged_before, is_sample, ..GetObject::whole(&want.uri) };
    client.get_object(&request, sink, cancel)
}

/// Called once with the outcome, by the worker that ends last.
pub(crate) type Finish<B> = Box<dyn FnOnce(Result<Fetched<B>, Error>) + Send>;

/// Whom to tell, and what.
type Conclusion<B> = (Finish<B>, Result<Fetched<B>, Error>);

/// A buffer being filled by several workers at once.
struct Assembly<B: Lend> {
    client: Client,
    want: Want,
    state: Mutex<State<B>>,
}

struct State<B: Lend> {
    carved: Option<Carved<B>>,
    /// CRC-64 and length of each part, in order.
    parts: Vec<(u64, u64)>,
    left: usize,
    object_crc64: Option<u64>,
    failure: Option<Error>,
    finish: Option<Finish<B>>,
}

/// Where the bytes of a range go: into `buffer` from `offset` to its end.
#[derive(Debug)]
pub(crate) struct Landing<B> {
    pub(crate) buffer: B,
    pub(crate) offset: usize,
}

/// Cuts `range` into parts of `part_bytes` and makes one job for each; the landing is exactly as long as the range.
///
/// The jobs pin `want.etag`; `finish` is called when the last of them ended. Each can be cancelled by its own handle.
pub(crate) fn in_parts<B: Lend>(
    client: &Client,
    want: Want,
    range: Range<u64>,
    part_bytes: u64,
    landing: Landing<B>,
    finish: Finish<B>,
) -> Vec<(Cancel, Job)> {
    let piece_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
    let (carved, pieces) = lend::carve(landing.buffer, landing.offset, piece_bytes);
    let state = State {
        carved: Some(carved),
        parts: vec![(0, 0); pieces.len()],
        left: pieces.len(),
        object_crc64: None,
        failure: None,
        finish: Some(finish),
    };
    let assembly = Arc::new(Assembly { client: client.clone(), want, state: Mutex::new(state) });
    let ranges = plan::cut(range, part_bytes);
    ranges
        .zip(pieces)
        .enumerate()
        .map(|(number, (range, piece))| {
            let assembly = Arc::clone(&assembly);
            let cancel = Cancel::new();
            let own = cancel.clone();
            (cancel, Box::new(move || assembly.fetch(number, range, piece, &own)) as Job)
        })
        .collect()
}

impl<B: Lend> Assembly<B> {
    /// Fetches one part; the last to end hands the buffer over. Returns the bytes received.
    fn fetch(&self, number: usize, range: Range<u64>, mut piece: Piece<B>, cancel: &Cancel) -> u64 {
        let size_bytes = range.end - range.start;
        let outcome = if self.state.lock().failure.is_some() {
            Err(Error::cancelled("GetObject"))
        } else {
            guarded(|| get(&self.client, &self.want, Some(range), &mut PieceSink(&mut piece), cancel))
        };
        drop(piece);
        let received = outcome.as_ref().map_or(0, |_| size_bytes);
        if let Some((finish, outcome)) = self.note(number, size_bytes, outcome) {
            finish(outcome);
        }
        received
    }

    /// Keeps a part's outcome; gives the whole outcome once nothing is left.
    fn note(
        &self,
        number: usize,
        size_bytes: u64,
        outcome: Result<GotObject, Error>,
    ) -> Option<Conclusion<B>> {
        let mut state = self.state.lock();
        state.left -= 1;
        match outcome {
            Ok(got) => {
                state.parts[number] = (got.received_crc64, size_bytes);
                state.object_crc64 = state.object_crc64.or(comparable(&self.client, got.object_crc64));
            }
            Err(error) => {
                state.failure.get_or_insert(error);
            }
        }
        if state.left > 0 {
            return None;
        }
        let finish = state.finish.take()?;
        let outcome = state.conclude();
        Some((finish, outcome))
    }
}

impl<B: Lend> State<B> {
    fn conclude(&mut self) -> Result<Fetched<B>, Error> {
        // Also in failure: whoever hears of it may free or resize the memory at once.
        let buffer = self.carved.take().and_then(|carved| carved.reclaim().ok());
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let buffer = buffer.ok_or_else(|| Error::internal("GetObject", "a part still holds its memory"))?;
        let crc64 = self.parts.iter().fold(0, |crc, &(part, bytes)| crc64::combine(crc, part, bytes));
        Ok(Fetched { buffer, crc64, object_crc64: self.object_crc64 })
    }
}

/// Runs `work`, turning a panic of ours into an error of this one request.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| {
        let text = cause
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| cause.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Err(Error::internal("GetObject", format!("a worker panicked: {text}")))
    })
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
    fn a_failed_read_gives_its_memory_back_before_it_is_told() {
        let alive = Arc::new(());
        let loan = Loan { bytes: vec![MaybeUninit::uninit(); 10], _alive: Arc::clone(&alive) };
        let (carved, pieces) = lend::carve(loan, 0, 4);
        drop(pieces);
        let mut state = State {
            carved: Some(carved),
            parts: Vec::new(),
            left: 0,
            object_crc64: None,
            failure: Some(Error::cancelled("GetObject")),
            finish: None,
        };
        assert!(state.conclude().is_err());
        assert_eq!(Arc::strong_count(&alive), 1, "the loan is over");
    }
}
