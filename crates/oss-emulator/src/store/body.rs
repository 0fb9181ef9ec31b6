//! The bytes of an object: a rope of pieces that lie in memory, in files, or are computed.
//!
//! A rope, so that completing a multipart upload moves no bytes, and a copied range shares its
//! source's memory. A body never changes once it is made.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oss_protocol::crc64::Crc64;

use crate::store::pattern::Pattern;

/// Bytes handed out at once from a file or a pattern: 256 KiB.
const STEP_BYTES: usize = 256 * 1024;

/// Where the bytes of a piece come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Received and kept in memory.
    Memory(Arc<Vec<u8>>),
    /// A data file below `--root`.
    File(Arc<DataFile>),
    /// Synthetic content of that seed.
    Pattern(u64),
}

/// A file that holds the bytes of one PUT or one part, removed with its last user.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Set when the emulator stops: from then on files stay, for the next start.
    pub(crate) closing: Arc<AtomicBool>,
}

impl Drop for DataFile {
    fn drop(&mut self) {
        if !self.closing.load(Ordering::Acquire) {
            // A file that cannot be removed is found and removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A stretch of a source.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Where the bytes come from.
    pub(crate) source: Source,
    /// First byte used of the source.
    pub(crate) offset: u64,
    /// Bytes used of the source.
    pub(crate) size_bytes: u64,
}

/// The bytes of one version of an object, or of one part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pieces: Arc<[Piece]>,
    size_bytes: u64,
}

impl Body {
    /// Makes a body of pieces in order.
    pub(crate) fn new(pieces: Vec<Piece>) -> Self {
        let size_bytes = pieces.iter().map(|piece| piece.size_bytes).sum();
        Self { pieces: pieces.into(), size_bytes }
    }

    /// Makes a body of bytes in memory.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        let size_bytes = bytes.len() as u64;
        Self::new(vec![Piece { source: Source::Memory(Arc::new(bytes)), offset: 0, size_bytes }])
    }

    /// Makes a synthetic body.
    pub(crate) fn pattern(seed: u64, size_bytes: u64) -> Self {
        Self::new(vec![Piece { source: Source::Pattern(seed), offset: 0, size_bytes }])
    }

    /// Joins bodies; no byte is moved.
    pub(crate) fn join<'a>(bodies: impl IntoIterator<Item = &'a Body>) -> Self {
        Self::new(bodies.into_iter().flat_map(|body| body.pieces.iter().cloned()).collect())
    }

    /// Bytes in all.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The pieces, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Cuts out a half-open range, which must lie inside.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        assert!(range.start <= range.end && range.end <= self.size_bytes, "a slice lies inside its body");
        let mut pieces = Vec::new();
        let mut at = 0;
        for piece in self.pieces.iter() {
            let start = range.start.max(at);
            let end = range.end.min(at + piece.size_bytes);
            if start < end {
                let offset = piece.offset + (start - at);
                pieces.push(Piece { source: piece.source.clone(), offset, size_bytes: end - start });
            }
            at += piece.size_bytes;
        }
        Self::new(pieces)
    }

    /// Shows all bytes in order to `see`, slice by slice; memory is shown where it lies.
    ///
    /// # Errors
    /// What `see` returns, or what reading a data file gives.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for piece in self.pieces.iter() {
            match &piece.source {
                Source::Memory(bytes) => {
                    let start = usize::try_from(piece.offset).unwrap_or(usize::MAX);
                    let end = start + usize::try_from(piece.size_bytes).unwrap_or(0);
                    see(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?)?;
                }
                Source::File(file) => {
                    let open = File::open(&file.path)?;
                    step(piece, see, |offset, out| open.read_exact_at(out, offset))?;
                }
                Source::Pattern(seed) => {
                    let pattern = Pattern::new(*seed);
                    step(piece, see, |offset, out| {
                        pattern.fill(offset, out);
                        Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Computes the CRC-64/XZ of all bytes.
    ///
    /// # Errors
    /// What reading a data file gives.
    pub(crate) fn crc64(&self) -> io::Result<u64> {
        let mut crc = Crc64::new();
        self.visit(&mut |bytes| {
            crc.update(bytes);
            Ok(())
        })?;
        Ok(crc.value())
    }

    /// Copies all bytes into one vector: for tests and small things.
    ///
    /// # Errors
    /// What reading a data file gives.
    pub(crate) fn to_vec(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.visit(&mut |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }
}

fn step(
    piece: &Piece,
    see: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    mut fill: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut memory = vec![0; STEP_BYTES.min(usize::try_from(piece.size_bytes).unwrap_or(STEP_BYTES))];
    let mut done = 0;
    while done < piece.size_bytes {
        let count = memory.len().min(usize::try_from(piece.size_bytes - done).unwrap_or(usize::MAX));
        let out = memory.get_mut(..count).unwrap_or_default();
        fill(piece.offset + done, out)?;
        see(out)?;
        done += count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_a_joined_body_crosses_pieces() {
        let body = Body::join(&[Body::from_bytes(b"hello ".to_vec()), Body::from_bytes(b"world".to_vec())]);
        assert_eq!(body.size_bytes(), 11);
        assert_eq!(body.slice(4..8).to_vec().unwrap(), b"o wo");
        assert_eq!(body.slice(4..8).slice(1..3).to_vec().unwrap(), b" w");
        assert_eq!(body.slice(11..11).to_vec().unwrap(), b"");
    }

    #[test]
    fn a_synthetic_slice_equals_the_same_bytes_of_the_whole() {
        let body = Body::pattern(7, 600_000);
        let whole = body.to_vec().unwrap();
        assert_eq!(whole.len(), 600_000);
        assert_eq!(body.slice(299_990..300_010).to_vec().unwrap(), whole[299_990..300_010]);
    }

    #[test]
    fn crc64_is_the_xz_check_value() {
        let body = Body::from_bytes(b"123456789".to_vec());
        assert_eq!(body.crc64().unwrap(), 0x995D_C9BB_DF19_39FA);
    }
}
