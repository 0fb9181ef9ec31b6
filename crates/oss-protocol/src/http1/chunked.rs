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

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `size` bytes; returns the data and the bytes after the body.
    fn decode(input: &[u8], size: usize) -> Result<(Vec<u8>, usize, bool), HttpError> {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        let (mut data, mut taken) = (Vec::new(), 0);
        for piece in input.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() && !decoder.is_done() {
                let step = decoder.step(rest)?;
                assert!(step.consumed > 0);
                data.extend_from_slice(step.data);
                taken += step.consumed;
                rest = &rest[step.consumed..];
            }
        }
        Ok((data, input.len() - taken, decoder.is_done()))
    }

    #[test]
    fn bodies_are_decoded_in_pieces_of_any_size() {
        let body = b"5\r\nhello\r\n00A;name=\"v\"\r\n, world!!!\r\n0\r\nX-Trailer: 1\r\n\r\nnext";
        for size in 1..=body.len() {
            assert_eq!(
                decode(body, size).unwrap(),
                (b"hello, world!!!".to_vec(), 4, true),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn a_cut_body_is_not_done() {
        let body = b"5\r\nhello\r\n0\r\n\r\n";
        for length in 0..body.len() {
            assert!(!decode(&body[..length], 3).unwrap().2, "{length}");
        }
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let bad: [&[u8]; 18] = [
            b"\r\n",
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"0x1\r\n",
            b";a\r\n",
            b"1\n",
            b"1\rx",
            b"1;a\nb\r\n",
            b"1\r\nab",
            b"1\r\na\rb",
            b"1\r\na\n",
            b"10000000000000000\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\rx",
            b"0\r\nA: b\rx",
        ];
        for body in bad {
            assert!(matches!(decode(body, 64), Err(HttpError::Chunk(_))), "{}", body.escape_ascii());
        }
        assert!(decode(b"ffffffffffffffff\r\nabc", 64).is_ok(), "a size is checked by who receives the data");
    }

    #[test]
    fn nothing_goes_on_for_ever() {
        let limits = Limits { max_head_bytes: 100, max_headers: 3, max_chunk_line_bytes: 10 };
        let fail = |input: &str| ChunkedDecoder::new(&limits).step(input.as_bytes()).err();
        assert_eq!(fail("1;2345678\r\n"), Some(HttpError::Chunk("the size line is too long")));
        assert_eq!(fail("1;234567\r\na"), None);
        assert_eq!(fail(&format!("0\r\n{}", "a".repeat(101))), Some(HttpError::HeadTooLarge(100)));
        assert_eq!(fail(&format!("0\r\n{}", "a\r\n".repeat(4))), Some(HttpError::TooManyHeaders(3)));
    }

    #[test]
    fn a_finished_decoder_takes_nothing() {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        assert!(decoder.step(b"0\r\n\r\n").unwrap().done);
        assert_eq!(decoder.step(b"0"), Err(HttpError::Chunk("bytes after the end")));
    }

    #[test]
    fn written_chunks_read_back() {
        let mut out = Vec::new();
        write_chunk(&mut out, b"");
        write_chunk(&mut out, &[7; 300]);
        write_chunk(&mut out, b"x");
        write_last_chunk(&mut out);
        assert!(out.starts_with(b"12c\r\n"));
        let (data, left, done) = decode(&out, 50).unwrap();
        assert_eq!((data.len(), left, done), (301, 0, true));
    }
}
