//! Memory lent to worker threads, and given back.
//!
//! A body is received straight into the memory where the user will read it. The consuming thread lends that
//! memory, the worker owns the loan while it fills it, and the loan comes back with the outcome: as everything is
//! moved, the compiler keeps the rule that nobody else sees the bytes meanwhile. A large buffer is [`carve`]d
//! into disjoint [`Piece`]s that several workers fill at once; the buffer can be had back only when every piece
//! is gone. Raw pointers of the read side live in this file.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

/// Memory that one worker at a time may fill.
///
/// The memory must stay where it is for as long as the value lives, also when the value is moved: it is heap
/// memory behind a handle, never bytes inside the value itself.
pub trait Lend: Send + Sync + 'static {
    /// The whole memory: the same address and length at every call.
    fn memory(&mut self) -> &mut [MaybeUninit<u8>];
}

/// A native buffer for bytes whose final place is not known when they are asked for.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    size_bytes: usize,
}

impl Scratch {
    /// Makes an empty buffer; it takes its memory with [`Scratch::reserve`].
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), size_bytes: 0 }
    }

    /// Makes a buffer that uses memory which was used before; its content is forgotten.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, size_bytes: 0 }
    }

    /// Makes room for exactly `size_bytes`; false when that much memory cannot be had.
    #[must_use]
    pub fn reserve(&mut self, size_bytes: usize) -> bool {
        self.bytes.clear();
        self.size_bytes = size_bytes;
        self.bytes.try_reserve_exact(size_bytes).is_ok()
    }

    /// Turns the buffer into the bytes that were received.
    #[must_use]
    pub fn into_filled(mut self, filled: Filled) -> Vec<u8> {
        assert!(filled.0 <= self.size_bytes, "no more than the reserved memory can be filled");
        #[expect(unsafe_code, reason = "the bytes were written by recv through MaybeUninit")]
        // SAFETY: a `Filled` is only made by a finished receive, which wrote every byte of `0..filled`, and
        // the capacity is at least `size_bytes` (checked by `try_reserve_exact`).
        unsafe {
            self.bytes.set_len(filled.0);
        }
        self.bytes
    }
}

impl Lend for Scratch {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.bytes.spare_capacity_mut()[..self.size_bytes]
    }
}

/// Proof that the first bytes of a loan were received.
#[derive(Clone, Copy, Debug)]
pub struct Filled(pub(crate) usize);

impl Filled {
    /// How many bytes, from the start of the memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0
    }
}

/// What is left of a buffer while its pieces are out.
#[derive(Debug)]
pub struct Carved<B: Lend> {
    buffer: Arc<B>,
}

/// A part of a carved buffer: exclusive memory, and a hold on the buffer that owns it.
#[derive(Debug)]
pub struct Piece<B: Lend> {
    start: NonNull<MaybeUninit<u8>>,
    size_bytes: usize,
    _hold: Arc<B>,
}

#[expect(unsafe_code, reason = "exclusive memory may move between threads like any owned buffer")]
// SAFETY: a piece is the only way to its own bytes, which no other piece overlaps; of the shared buffer it uses
// nothing but the reference count, and whoever drops the last hold drops a `B: Send`.
unsafe impl<B: Lend> Send for Piece<B> {}

/// Copies as much of `from` as fits to the front of `into`; returns the count.
pub(crate) fn copy(from: &[u8], into: &mut [MaybeUninit<u8>]) -> usize {
    let count = from.len().min(into.len());
    for (to, byte) in into.iter_mut().zip(&from[..count]) {
        to.write(*byte);
    }
    count
}

/// Makes pages that `memory` lies on and that are not there yet, all at once.
///
/// The first byte written to a fresh page otherwise costs a fault, one every 4 KiB, amid the receiving. Whether they
/// are fresh is judged by the first page: a caller's used memory is left alone. Where the system cannot do this,
/// nothing happens, and the faults come.
pub(crate) fn populate(memory: &mut [MaybeUninit<u8>]) {
    const PAGE_BYTES: usize = 4096;
    let start = memory.as_mut_ptr().addr();
    let first = start.next_multiple_of(PAGE_BYTES);
    let Some(size_bytes) = (start + memory.len()).checked_sub(first).filter(|&bytes| bytes >= PAGE_BYTES)
    else {
        return;
    };
    let first = memory.as_mut_ptr().with_addr(first).cast::<libc::c_void>();
    let mut is_there = 0_u8;
    #[expect(unsafe_code, reason = "std cannot ask whether a page is there, nor make it")]
    // SAFETY: `first` is page-aligned and lies in `memory`, which is borrowed here alone, with `size_bytes` behind it;
    // mincore writes one byte for its one page, and populating changes no byte of what is there.
    unsafe {
        if libc::mincore(first, 1, &raw mut is_there) == 0 && is_there & 1 == 0 {
            libc::madvise(first, size_bytes, libc::MADV_POPULATE_WRITE);
        }
    }
}

/// Cuts `buffer` into pieces of these sizes, in order; what they leave at its end belongs to none.
pub fn carve<B: Lend>(buffer: B, sizes: impl Iterator<Item = usize>) -> (Carved<B>, Vec<Piece<B>>) {
    let mut buffer = Arc::new(buffer);
    let cuts: Vec<(NonNull<MaybeUninit<u8>>, usize)> = Arc::get_mut(&mut buffer)
        .map(|buffer| {
            let mut memory = buffer.memory();
            sizes.map_while(|size_bytes| memory.split_off_mut(..size_bytes)).collect::<Vec<_>>()
        })
        .unwrap_or_default()
        .into_iter()
        .map(|part| (NonNull::from(&mut *part).cast(), part.len()))
        .collect();
    let pieces = cuts
        .into_iter()
        .map(|(start, size_bytes)| Piece { start, size_bytes, _hold: Arc::clone(&buffer) })
        .collect();
    (Carved { buffer }, pieces)
}

impl<B: Lend> Piece<B> {
    /// The piece's own memory.
    pub fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        #[expect(unsafe_code, reason = "a part cut as a &mut, kept beyond its borrow")]
        // SAFETY: `start..start + size_bytes` lies in the buffer that `_hold` keeps alive and unmoved (`Lend`'s
        // contract), it was cut as a `&mut`, disjoint from every other piece, and `&mut self` makes it exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr(), self.size_bytes)
        }
    }
}

impl<B: Lend> Carved<B> {
    /// Takes the buffer back, if every piece was dropped.
    ///
    /// # Errors
    /// Gives itself back while a piece is still out.
    pub fn reclaim(self) -> Result<B, Self> {
        Arc::try_unwrap(self.buffer).map_err(|buffer| Self { buffer })
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use super::*;

    fn filled(size_bytes: usize) -> Scratch {
        let mut scratch = Scratch::new();
        assert!(scratch.reserve(size_bytes));
        scratch
    }

    #[test]
    fn pieces_filled_by_threads_make_the_whole() {
        let (carved, pieces) = carve(filled(1000), repeat_n(64, 15).chain([40]));
        assert_eq!(pieces.len(), 16);
        std::thread::scope(|scope| {
            for (number, mut piece) in pieces.into_iter().enumerate() {
                scope.spawn(move || {
                    for byte in piece.memory() {
                        byte.write(u8::try_from(number).unwrap());
                    }
                });
            }
        });
        let bytes = carved.reclaim().expect("no piece is out").into_filled(Filled(1000));
        assert_eq!(bytes.len(), 1000);
        assert!(bytes.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at / 64));
    }

    #[test]
    fn pieces_have_the_sizes_asked_for() {
        let (carved, pieces) = carve(filled(10), [3, 0, 5].into_iter());
        assert_eq!(pieces.iter().map(|piece| piece.size_bytes).collect::<Vec<_>>(), [3, 0, 5]);
        drop(pieces);
        assert!(carved.reclaim().is_ok());
    }

    #[test]
    fn a_buffer_stays_lent_while_one_piece_is_out() {
        let (carved, mut pieces) = carve(filled(10), [4, 4, 2].into_iter());
        let last = pieces.pop();
        drop(pieces);
        let carved = carved.reclaim().expect_err("one piece is out");
        drop(last);
        assert!(carved.reclaim().is_ok());
    }

    #[test]
    fn an_empty_buffer_has_no_pieces() {
        let (carved, pieces) = carve(filled(0), std::iter::empty());
        assert!(pieces.is_empty());
        assert!(carved.reclaim().is_ok());
    }
}
