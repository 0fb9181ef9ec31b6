//! One object, or one range of it, into lent memory, by one request.

use std::mem::MaybeUninit;
use std::ops::Range;

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::config::Verify;
use crate::error::{Error, ErrorKind};
use crate::lend::{Filled, Lend, Scratch};
use crate::operations::{BodySink, GetObject, GotObject};
use crate::panics;
use crate::stats::Counter;

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

/// What an answer tells of an object whose bytes are not received with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) size_bytes: u64,
    pub(crate) etag: Option<String>,
}

/// An object of unknown size.
#[derive(Debug)]
pub(crate) enum Whole {
    /// All of its bytes.
    Received(Vec<u8>),
    /// Its answer was cut off behind the head: nobody takes so many bytes now, or not in this way.
    Declined(Announced),
}

/// Receives into a native buffer that is made when the answer tells the size, if `takes` says yes to it.
struct ScratchSink<'a> {
    scratch: &'a mut Scratch,
    takes: &'a dyn Fn(u64) -> bool,
    etag: Option<String>,
    declined: Option<Announced>,
}

impl BodySink for ScratchSink<'_> {
    fn of_version(&mut self, etag: Option<&str>) {
        self.etag = etag.map(str::to_owned);
    }

    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        self.declined = None;
        if !(self.takes)(body_bytes) {
            self.declined = Some(Announced { size_bytes: body_bytes, etag: self.etag.take() });
            return Err(Error::cancelled("GetObject"));
        }
        let fits = usize::try_from(body_bytes).is_ok_and(|size_bytes| self.scratch.reserve(size_bytes));
        if fits {
            return Ok(());
        }
        let text = format!("no memory for a body of {body_bytes} bytes; use a reader and read it in parts");
        Err(Error::new(ErrorKind::OutOfMemory, "GetObject", text))
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        behind(self.scratch.memory(), received)
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

/// Fetches a whole object of unknown size with one request, on this thread, unless `takes` says no when it hears the
/// size.
pub(crate) fn into_scratch(
    client: &Client,
    want: &Want,
    cancel: &Cancel,
    takes: &dyn Fn(u64) -> bool,
) -> Result<Whole, Error> {
    let mut scratch = Scratch::new();
    let mut sink = ScratchSink { scratch: &mut scratch, takes, etag: None, declined: None };
    let outcome = get(client, want, None, &mut sink, cancel);
    if let Some(announced) = sink.declined {
        return Ok(Whole::Declined(announced));
    }
    let received = usize::try_from(outcome?.received_bytes).unwrap_or(usize::MAX);
    Ok(Whole::Received(scratch.into_filled(Filled(received))))
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

/// Runs `work`, turning a panic of ours into an error of this one request.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panics::as_error("GetObject", work)
}
