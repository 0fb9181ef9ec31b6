//! Chunked bodies (RFC 9112 §7.1), without copying.
//!
//! [`ChunkedDecoder::step`] takes the bytes at hand and returns the next stretch of body data as
//! a slice of them. Extensions and trailers are skipped; they are counted, so that neither can
//! go on for ever.

use super::error::{HttpError, Limits};

/// What one step took from the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkStep<'b> {
    /// Bytes of the input that are used up, data included.
    pub consumed: usize,
    /// Body data, a part of the consumed bytes; may be empty.
    pub data: &'b [u8],
    /// The body is complete: the next byte of the input belongs to the next message.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or inside the hex digits of a size line.
    Size {
        size: u64,
        digits: u8,
    },
    /// After `;`: skipped up to CR.
    Extension {
        size: u64,
    },
    /// After the CR of a size line.
    SizeEnd {
        size: u64,
    },
    /// Inside data, never with 0 left.
    Data {
        left: u64,
    },
    /// After data.
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

/// Decodes one chunked body, piece by piece.
///
/// After an error or after `done` it must not be fed again (it answers with an error).
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    limits: Limits,
    line_bytes: usize,
    trailer_bytes: usize,
    trailer_lines: usize,
}

impl ChunkedDecoder {
    /// Starts before the first chunk-size line.
    pub fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            limits: *limits,
            line_bytes: 0,
            trailer_bytes: 0,
            trailer_lines: 0,
        }
    }

    /// Says whether the body is complete. An input that ends before that was cut.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes from the start of `input`, up to the end of the first stretch of data.
    ///
    /// Call again with the rest until `done`, or until everything is consumed and more bytes
    /// have arrived. At least one byte is consumed if `input` is not empty.
    ///
    /// # Errors
    /// `Chunk`, `HeadTooLarge` or `TooManyHeaders`; close the connection.
    pub fn step<'b>(&mut self, input: &'b [u8]) -> Result<ChunkStep<'b>, HttpError> {
        if self.is_done() {
            return Err(HttpError::Chunk("bytes after the end"));
        }
        let mut at = 0;
        while let Some(byte) = input.get(at) {
            if let State::Data { left } = self.state {
                return Ok(self.take_data(input, at, left));
            }
            self.state = self.next(*byte)?;
            at += 1;
            if self.is_done() {
                break;
            }
        }
        Ok(ChunkStep { consumed: at, data: &[], done: self.is_done() })
    }

    fn take_data<'b>(&mut self, input: &'b [u8], at: usize, left: u64) -> ChunkStep<'b> {
        let rest = &input[at..];
        let length = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        let left = left - length as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        ChunkStep { consumed: at + length, data: &rest[..length], done: false }
    }

    fn next(&mut self, byte: u8) -> Result<State, HttpError> {
        match self.state {
            State::Size { .. } | State::Extension { .. } | State::SizeEnd { .. } => self.size_line(byte),
            State::DataCr => expect(byte, b'\r', State::DataLf, "no line end after the data"),
            State::DataLf => {
                expect(byte, b'\n', State::Size { size: 0, digits: 0 }, "no line end after the data")
            }
            State::LineStart | State::Trailer | State::TrailerLf | State::LastLf => self.trailer(byte),
            State::Data { .. } | State::Done => Err(HttpError::Chunk("bytes after the end")),
        }
    }

    fn size_line(&mut self, byte: u8) -> Result<State, HttpError> {
        self.line_bytes += 1;
        if self.line_bytes > self.limits.max_chunk_line_bytes {
            return Err(HttpError::Chunk("the size line is too long"));
        }
        match (self.state, byte) {
            (State::Size { digits: 0, .. }, b'\r' | b';') => Err(HttpError::Chunk("the size is missing")),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Size { size, .. }, b';') => Ok(State::Extension { size }),
            (State::Size { size, digits }, _) => more_digits(size, digits, byte),
            (State::Extension { .. }, b'\n' | 0) => Err(HttpError::Chunk("a bare line end in the size line")),
            (State::SizeEnd { size }, b'\n') => {
                self.line_bytes = 0;
                Ok(if size == 0 { State::LineStart } else { State::Data { left: size } })
            }
            (State::SizeEnd { .. }, _) => Err(HttpError::Chunk("a CR without LF in the size line")),
            (state, _) => Ok(state),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, HttpError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.limits.max_head_bytes {
            return Err(HttpError::HeadTooLarge(self.limits.max_head_bytes));
        }
        match (self.state, byte) {
            (State::LineStart, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::Done),
            (State::Trailer, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::LineStart),
            (State::LastLf | State::TrailerLf, _) | (_, b'\n' | 0) => {
                Err(HttpError::Chunk("a bare line end in the trailer"))
            }
            (State::LineStart, _) => {
                self.trailer_lines += 1;
                if self.trailer_lines > self.limits.max_headers {
                    return Err(HttpError::TooManyHeaders(self.limits.max_headers));
                }
                Ok(State::Trailer)
            }
            (state, _) => Ok(state),
        }
    }
}

/// Sixteen digits fill a u64, so a seventeenth is refused even after zeros.
const MAX_SIZE_DIGITS: u8 = 16;

fn more_digits(size: u64, digits: u8, byte: u8) -> Result<State, HttpError> {
    let digit = char::from(byte).to_digit(16).ok_or(HttpError::Chunk("the size is not hexadecimal"))?;
    if digits == MAX_SIZE_DIGITS {
        return Err(HttpError::Chunk("the size is too large"));
    }
    Ok(State::Size { size: (size << 4) | u64::from(digit), digits: digits + 1 })
}

fn expect(byte: u8, wanted: u8, then: State, what: &'static str) -> Result<State, HttpError> {
    if byte == wanted { Ok(then) } else { Err(HttpError::Chunk(what)) }
}

/// Appends `data` as one chunk; nothing for empty data, which would end the body.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the chunk that ends a body, without trailers.
pub fn write_last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}
