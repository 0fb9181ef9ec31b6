//! Receives the bytes of one PUT or part into a body, with MD5 and CRC-64 taken on the way.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock};

use md5::{Digest, Md5};
use oss_protocol::crc64::Crc64;
use oss_protocol::encoding::base64_encode;

use crate::store::body::{Body, DataFile, Piece, Source};

/// Largest piece of memory: a long body becomes a rope of these instead of growing by copying.
const PIECE_BYTES: usize = 32 * 1024 * 1024;

/// Memory reserved at first when the sender names no length, or names a very large one.
const FIRST_RESERVE_BYTES: usize = 64 * 1024;

/// Fewer zeros than these, a page, are kept as they came: a piece for each run would take more.
const LEAST_BLANK_BYTES: usize = 4096;

/// What all runs of zeros share, so that objects of many gigabytes can be written to a small machine. The system gives
/// no memory for it as long as nobody writes to it.
static ZEROS: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(vec![0; PIECE_BYTES]));

/// Where received bytes are put.
#[derive(Debug)]
enum Place {
    Memory(Vec<Piece>, Vec<u8>),
    File(File, Arc<DataFile>),
}

/// The checksums OSS keeps, taken of bytes as they pass.
#[derive(Debug)]
pub(crate) struct Digests {
    /// None where ETags are to be opaque: MD5 costs more than all else that is done with a byte.
    md5: Option<Md5>,
    crc: Crc64,
}

impl Digests {
    /// Begins with no bytes.
    pub(crate) fn new(takes_md5: bool) -> Self {
        Self { md5: takes_md5.then(Md5::new), crc: Crc64::new() }
    }

    /// Takes the next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        self.crc.update(bytes);
    }

    /// Ends, and puts the checksums beside the body they were taken of.
    pub(crate) fn finish(self, body: Body) -> Received {
        Received { body, md5: self.md5.map(|md5| md5.finalize().into()), crc64: self.crc.value() }
    }
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Intake {
    place: Place,
    digests: Digests,
    size_bytes: u64,
    expected_bytes: Option<u64>,
}

/// A body that has been received, and its checksums.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The bytes.
    pub(crate) body: Body,
    /// MD5 of the bytes, if it was taken: the ETag of a plain object or part.
    pub(crate) md5: Option<[u8; 16]>,
    /// CRC-64/XZ of the bytes.
    pub(crate) crc64: u64,
}

impl Received {
    /// What the ETag says of the bytes: their MD5, or as many bits that are none.
    pub(crate) fn digest(&self) -> [u8; 16] {
        self.md5.unwrap_or_else(|| md5_of(format!("{}:{}", self.body.size_bytes(), self.crc64).as_bytes()))
    }

    /// The ETag a plain PUT gives: the digest in upper-case hex, in quotes.
    pub(crate) fn etag(&self) -> String {
        quoted_etag(&self.digest())
    }

    /// The MD5 as the Content-MD5 header writes it, if it was taken.
    pub(crate) fn content_md5(&self) -> Option<String> {
        self.md5.map(|md5| base64_encode(&md5))
    }
}

/// Writes a digest as OSS writes ETags: upper-case hex in double quotes.
pub(crate) fn quoted_etag(digest: &[u8]) -> String {
    format!("\"{}\"", oss_protocol::encoding::hex(digest).to_uppercase())
}

/// Computes an MD5.
pub(crate) fn md5_of(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

impl Intake {
    /// Begins to receive; `file` is the data file to write to, `None` means memory.
    ///
    /// # Errors
    /// The data file cannot be created.
    pub(crate) fn begin(
        file: Option<DataFile>,
        expected_bytes: Option<u64>,
        takes_md5: bool,
    ) -> io::Result<Self> {
        let place = match file {
            Some(data) => Place::File(File::create(&data.path)?, Arc::new(data)),
            None => Place::Memory(Vec::new(), Vec::new()),
        };
        Ok(Self { place, digests: Digests::new(takes_md5), size_bytes: 0, expected_bytes })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The data file cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digests.update(bytes);
        match &mut self.place {
            Place::File(file, _) => file.write_all(bytes)?,
            Place::Memory(pieces, current) if is_blank(bytes) => {
                if !current.is_empty() {
                    current.shrink_to_fit();
                    pieces.push(piece_of(std::mem::take(current)));
                }
                extend_by_zeros(pieces, bytes.len());
            }
            Place::Memory(pieces, current) => {
                if current.len() + bytes.len() > PIECE_BYTES {
                    pieces.push(piece_of(std::mem::take(current)));
                }
                if current.capacity() == 0 {
                    current.reserve(reserve_bytes(self.expected_bytes, self.size_bytes));
                }
                current.extend_from_slice(bytes);
            }
        }
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Ends the receiving.
    pub(crate) fn finish(self) -> Received {
        let pieces = match self.place {
            Place::File(_, data) => {
                vec![Piece { source: Source::File(data), offset: 0, size_bytes: self.size_bytes }]
            }
            Place::Memory(mut pieces, current) => {
                pieces.push(piece_of(current));
                pieces
            }
        };
        self.digests.finish(Body::new(pieces))
    }
}

fn piece_of(bytes: Vec<u8>) -> Piece {
    let size_bytes = bytes.len() as u64;
    Piece { source: Source::Memory(Arc::new(bytes)), offset: 0, size_bytes }
}

fn is_blank(bytes: &[u8]) -> bool {
    let is_zero = |chunk: &[u8]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
    bytes.len() >= LEAST_BLANK_BYTES && bytes.chunks(LEAST_BLANK_BYTES).all(is_zero)
}

/// Adds so many zeros.
fn extend_by_zeros(pieces: &mut Vec<Piece>, count: usize) {
    let mut left = count as u64;
    let is_run = |piece: &&mut Piece| {
        let is_zeros = matches!(&piece.source, Source::Memory(bytes) if Arc::ptr_eq(bytes, &ZEROS));
        is_zeros && piece.size_bytes < PIECE_BYTES as u64
    };
    while left > 0 {
        match pieces.last_mut().filter(is_run) {
            Some(run) => {
                let more = left.min(PIECE_BYTES as u64 - run.size_bytes);
                run.size_bytes += more;
                left -= more;
            }
            None => {
                let source = Source::Memory(Arc::clone(&ZEROS));
                pieces.push(Piece { source, offset: 0, size_bytes: 0 });
            }
        }
    }
}

fn reserve_bytes(expected: Option<u64>, so_far: u64) -> usize {
    let left = expected.and_then(|all| usize::try_from(all.saturating_sub(so_far)).ok());
    left.map_or(FIRST_RESERVE_BYTES, |left| left.min(PIECE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_bytes() {
        let mut intake = Intake::begin(None, Some(9), true).unwrap();
        intake.write(b"12345").unwrap();
        intake.write(b"6789").unwrap();
        let received = intake.finish();
        assert_eq!(received.etag(), "\"25F9E794323B453885F5181F1B624D0B\"");
        assert_eq!(received.content_md5().as_deref(), Some("JfnnlDI7RTiF9RgfG2JNCw=="));
        assert_eq!(received.crc64, 0x995D_C9BB_DF19_39FA);
        assert_eq!(received.body.to_vec().unwrap(), b"123456789");
    }

    #[test]
    fn zeros_share_their_memory_and_stay_where_they_were() {
        let mut intake = Intake::begin(None, Some(100_000_000), true).unwrap();
        let slice = vec![0; 256 * 1024];
        let mut whole = Vec::new();
        for bytes in [&b"front"[..], &slice, &slice, b"middle", &[0; 9], &slice] {
            intake.write(bytes).unwrap();
            whole.extend_from_slice(bytes);
        }
        let received = intake.finish();
        let body = &received.body;
        assert_eq!((body.size_bytes(), body.pieces().len()), (whole.len() as u64, 5));
        assert!(body.to_vec().unwrap() == whole);
        assert_eq!(received.crc64, oss_protocol::crc64::crc64(&whole));
        let kept = body.pieces().iter().map(|piece| match &piece.source {
            Source::Memory(bytes) if !Arc::ptr_eq(bytes, &ZEROS) => bytes.len(),
            _ => 0,
        });
        assert_eq!(kept.sum::<usize>(), 5 + 6 + 9);
    }

    #[test]
    fn a_run_of_zeros_is_cut_where_the_shared_ones_end() {
        let whole = PIECE_BYTES as u64;
        let sizes = |pieces: &[Piece]| -> Vec<u64> { pieces.iter().map(|piece| piece.size_bytes).collect() };
        let (mut few, mut once) = (Vec::new(), Vec::new());
        (0..5).for_each(|_| extend_by_zeros(&mut few, PIECE_BYTES / 2));
        assert_eq!(sizes(&few), [whole, whole, whole / 2]);
        extend_by_zeros(&mut once, 2 * PIECE_BYTES + 7);
        assert_eq!(sizes(&once), [whole, whole, 7]);
    }

    #[test]
    fn an_opaque_etag_is_as_long_and_differs_with_the_bytes() {
        let etag = |bytes: &[u8]| {
            let mut intake = Intake::begin(None, None, false).unwrap();
            intake.write(bytes).unwrap();
            let received = intake.finish();
            assert_eq!(received.content_md5(), None);
            received.etag()
        };
        assert_eq!(etag(b"one").len(), 34);
        assert_eq!(etag(b"one"), etag(b"one"));
        assert_ne!(etag(b"one"), etag(b"two"));
        assert_ne!(etag(b"123456789"), "\"25F9E794323B453885F5181F1B624D0B\"");
    }

    #[test]
    fn a_long_body_becomes_a_rope() {
        let mut intake = Intake::begin(None, None, true).unwrap();
        let slice = vec![7; PIECE_BYTES / 2 + 1];
        for _ in 0..3 {
            intake.write(&slice).unwrap();
        }
        let received = intake.finish();
        assert_eq!(received.body.size_bytes(), 3 * slice.len() as u64);
        assert_eq!(received.body.pieces().len(), 3);
    }
}
