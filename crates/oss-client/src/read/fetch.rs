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

/// Receives into a native buffer that is made when the answer tells the size.
struct ScratchSink<'a> {
    scratch: &'a mut Scratch,
    told: &'a dyn Fn(u64),
}

impl BodySink for ScratchSink<'_> {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        (self.told)(body_bytes);
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

/// Fetches a whole object of unknown size with one request, on this thread; `told` hears its size before its bytes.
pub(crate) fn into_scratch(
    client: &Client,
    want: &Want,
    cancel: &Cancel,
    told: &dyn Fn(u64),
) -> Result<Vec<u8>, Error> {
    let mut scratch = Scratch::new();
    let got = get(client, want, None, &mut ScratchSink { scratch: &mut scratch, told }, cancel)?;
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

/// Runs `work`, turning a panic of ours into an error of this one request.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panics::as_error("GetObject", work)
}
