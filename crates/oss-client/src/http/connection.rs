//! One keep-alive connection and the exchange it carries.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::time::Instant;

use oss_protocol::crc64::Crc64;
use oss_protocol::http1::{BodyFraming, ChunkedDecoder, Limits, ResponseHead, parse_response_head};

use super::Broken;
use super::stream::{Stream, is_tick, is_trickle, land};
use super::watch::{Phase, Watch};
use crate::cancel::Interrupt;
use crate::lend::populate;
use crate::sync::Arc;

/// Received at first: a head and the first bytes of the body, 4 KiB.
const INBOX_BYTES: usize = 4096;
/// Largest slice of a body between two looks at the checksum: 256 KiB stays in the cache.
const SLICE_BYTES: usize = 256 * 1024;
/// Pieces handed to one send.
const SEND_PIECES: usize = 16;

/// A connection to one origin.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    interrupt: Arc<dyn Interrupt>,
    /// The request head, written anew for every request.
    pub(crate) outbox: Vec<u8>,
    /// Received bytes; those of `start..end` were not used yet.
    inbox: Vec<u8>,
    start: usize,
    end: usize,
    framing: BodyFraming,
    /// How far a body in chunks was taken apart.
    chunks: ChunkedDecoder,
    keep_alive: bool,
    is_whole: bool,
    /// Answers received; 0 = new.
    pub(crate) served: u64,
    /// When the last answer ended.
    pub(crate) idle_since: Instant,
    /// How many of the last answers came slowly, one after the other.
    pub(crate) slow_in_a_row: u32,
}

impl std::fmt::Debug for dyn Interrupt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Interrupt")
    }
}

impl Connection {
    /// Takes a fresh stream.
    pub(crate) fn new(stream: Box<dyn Stream>, now: Instant) -> Self {
        let interrupt = stream.interrupt_handle();
        Connection {
            stream,
            interrupt,
            outbox: Vec::with_capacity(1024),
            inbox: vec![0; INBOX_BYTES],
            start: 0,
            end: 0,
            framing: BodyFraming::None,
            chunks: ChunkedDecoder::new(&Limits::default()),
            keep_alive: false,
            is_whole: false,
            served: 0,
            slow_in_a_row: 0,
            idle_since: now,
        }
    }

    /// The handle that wakes a blocked exchange.
    pub(crate) fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupt)
    }

    /// Whether the idle connection is still open and silent. One system call.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    /// Whether the last exchange ended so that another may follow.
    pub(crate) fn is_reusable(&self) -> bool {
        self.is_whole && self.keep_alive && self.start == self.end
    }

    /// Sends the head in `outbox`, then `body`. Sets `sent` with the first byte that went.
    ///
    /// A peer that answers before it has taken everything is listened to: this then returns early, and the
    /// connection is not reusable.
    pub(crate) fn send(
        &mut self,
        body: &[&[u8]],
        watch: &mut Watch<'_>,
        sent: &mut bool,
    ) -> Result<(), Broken> {
        self.is_whole = false;
        (self.start, self.end) = (0, 0);
        let total = self.outbox.len() + body.iter().map(|piece| piece.len()).sum::<usize>();
        let mut done = 0;
        let mut early = false;
        while (done < total || self.stream.has_unsent()) && !early {
            let mut pieces = [IoSlice::new(&[]); SEND_PIECES];
            let (count, asked) = gather(&self.outbox, body, done, &mut pieces);
            match self.stream.send(&pieces[..count]) {
                Ok(taken) => {
                    *sent |= taken > 0;
                    done += taken;
                    watch.sent_to(done);
                    watch.moved(taken, taken == asked, Phase::Send)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => watch.look()?,
                Err(error) if is_tick(&error) => {
                    early = *sent && self.stream.has_answer();
                    if !early {
                        watch.silent(Phase::Send)?;
                    }
                }
                Err(error) => {
                    early = *sent && self.stream.has_answer();
                    if !early {
                        return Err(self.broken(&error, watch));
                    }
                }
            }
        }
        // A server may answer and close before it has the whole body; that answer says why.
        self.keep_alive = !early;
        self.stream.turn();
        watch.turn();
        Ok(())
    }

    /// Receives the head of the answer to a `method` request and lets `visit` take what it needs of it.
    pub(crate) fn read_head<T>(
        &mut self,
        method: &str,
        watch: &mut Watch<'_>,
        visit: impl FnOnce(&ResponseHead<'_>) -> T,
    ) -> Result<T, Broken> {
        let limits = Limits::default();
        let all_sent = self.keep_alive;
        loop {
            let parsed =
                parse_response_head(&self.inbox[self.start..self.end], &limits).map_err(malformed)?;
            if let Some((head, length)) = parsed {
                if (100..200).contains(&head.status) && head.status != 101 {
                    self.start += length;
                    // Each of them ends a silence, so that no tick looks at the deadline.
                    watch.look()?;
                    continue;
                }
                self.framing = head.framing(method).map_err(malformed)?;
                self.chunks = ChunkedDecoder::new(&Limits::default());
                self.keep_alive = all_sent && head.keep_alive() && self.framing != BodyFraming::UntilClose;
                let value = visit(&head);
                self.start += length;
                self.is_whole = matches!(self.framing, BodyFraming::None | BodyFraming::Length(0));
                self.served += 1;
                return Ok(value);
            }
            let phase = if self.end == self.start { Phase::FirstByte } else { Phase::Body };
            self.receive_more(limits.max_head_bytes + INBOX_BYTES, phase, watch)?;
        }
    }

    /// Receives exactly `into.len()` body bytes, through `crc` while they are hot. `received` counts them
    /// even if this fails. `is_last` says that the body ends with them.
    pub(crate) fn read_body(
        &mut self,
        into: &mut [MaybeUninit<u8>],
        is_last: bool,
        mut crc: Option<&mut Crc64>,
        watch: &mut Watch<'_>,
        received: &mut usize,
    ) -> Result<(), Broken> {
        if self.framing == BodyFraming::Chunked {
            return self.read_chunked_body(into, is_last, crc, watch, received);
        }
        let waiting = land(&self.inbox[self.start..self.end], into, crc.as_deref_mut());
        self.start += waiting;
        *received += waiting;
        watch.progressed(waiting);
        watch.moved(waiting, true, Phase::Body)?;
        let mut filled = waiting;
        while filled < into.len() {
            let end = into.len().min(filled + SLICE_BYTES);
            if end - filled == SLICE_BYTES {
                populate(&mut into[filled..end]);
            }
            match self.stream.fill(&mut into[filled..end], crc.as_deref_mut()) {
                Ok(0) => return Err(self.ended(watch)),
                Ok(count) => {
                    filled += count;
                    *received += count;
                    watch.progressed(count);
                    watch.moved(count, filled == end, Phase::Body)?;
                }
                Err(error) if is_trickle(&error) => watch.moved(0, false, Phase::Body)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => watch.look()?,
                Err(error) if is_tick(&error) => watch.silent(Phase::Body)?,
                Err(error) => return Err(self.broken(&error, watch)),
            }
        }
        self.is_whole = is_last;
        Ok(())
    }

    /// As [`Connection::read_body`], for a body that comes in chunks. One of which every byte came is whole even if
    /// what marks its end did not: then only the connection cannot be used again.
    fn read_chunked_body(
        &mut self,
        into: &mut [MaybeUninit<u8>],
        is_last: bool,
        mut crc: Option<&mut Crc64>,
        watch: &mut Watch<'_>,
        received: &mut usize,
    ) -> Result<(), Broken> {
        let mut filled = 0;
        loop {
            while self.start < self.end {
                let room = into.len() - filled;
                if room == 0 && !is_last {
                    return Ok(());
                }
                // What does not fit belongs to the next memory, or nowhere.
                let most = if room == 0 { usize::MAX } else { room };
                let end = self.end.min(self.start.saturating_add(most));
                let step = self.chunks.step(&self.inbox[self.start..end]).map_err(malformed)?;
                if step.data.len() > room {
                    return Err(Broken::Malformed("more came than was announced".to_owned()));
                }
                let landed = land(step.data, &mut into[filled..], crc.as_deref_mut());
                let is_done = step.done;
                self.start += step.consumed;
                filled += landed;
                *received += landed;
                watch.progressed(landed);
                watch.moved(landed, true, Phase::Body)?;
                if is_done {
                    self.is_whole = filled == into.len();
                    return if self.is_whole { Ok(()) } else { Err(Broken::ClosedEarly) };
                }
            }
            match self.receive_more(INBOX_BYTES, Phase::Body, watch) {
                Err(broken) if is_last && filled == into.len() && broken.is_cut() => return Ok(()),
                outcome => outcome?,
            }
        }
    }

    /// Receives the whole body into memory; with `false` if it is larger than `most` and was cut there.
    pub(crate) fn read_small_body(
        &mut self,
        most: usize,
        watch: &mut Watch<'_>,
    ) -> Result<(Vec<u8>, bool), Broken> {
        let mut body = Vec::new();
        let whole = match self.framing {
            BodyFraming::None => true,
            BodyFraming::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.read_until(length.min(most), &mut body, watch)? && length <= most
            }
            BodyFraming::Chunked => self.read_chunks(most, &mut body, watch)?,
            BodyFraming::UntilClose => !self.read_until(most, &mut body, watch)?,
        };
        self.is_whole = whole;
        Ok((body, whole))
    }

    /// Receives up to `length` bytes; false if the peer closed before, which only an unframed body may do.
    fn read_until(
        &mut self,
        length: usize,
        body: &mut Vec<u8>,
        watch: &mut Watch<'_>,
    ) -> Result<bool, Broken> {
        loop {
            let take = (self.end - self.start).min(length - body.len());
            body.extend_from_slice(&self.inbox[self.start..self.start + take]);
            self.start += take;
            if body.len() == length {
                return Ok(true);
            }
            match self.receive_more(INBOX_BYTES, Phase::Body, watch) {
                Err(Broken::ClosedEarly) if self.framing == BodyFraming::UntilClose => return Ok(false),
                outcome => outcome?,
            }
        }
    }

    fn read_chunks(
        &mut self,
        most: usize,
        body: &mut Vec<u8>,
        watch: &mut Watch<'_>,
    ) -> Result<bool, Broken> {
        let mut decoder = ChunkedDecoder::new(&Limits::default());
        loop {
            while self.start < self.end {
                let step = decoder.step(&self.inbox[self.start..self.end]).map_err(malformed)?;
                body.extend_from_slice(step.data);
                self.start += step.consumed;
                if step.done {
                    return Ok(true);
                }
                if body.len() > most {
                    body.truncate(most);
                    return Ok(false);
                }
            }
            self.receive_more(INBOX_BYTES, Phase::Body, watch)?;
        }
    }

    /// Receives some bytes into the inbox, which may grow to `most` bytes.
    fn receive_more(&mut self, most: usize, phase: Phase, watch: &mut Watch<'_>) -> Result<(), Broken> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.inbox.len() {
            if self.start > 0 {
                self.inbox.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else if self.inbox.len() >= most {
                return Err(Broken::Malformed("its head is too large".to_owned()));
            } else {
                self.inbox.resize((self.inbox.len() * 2).min(most), 0);
            }
        }
        if phase == Phase::Body {
            // A trickle that is faster than the tick has no ticks.
            watch.look()?;
        }
        loop {
            match self.stream.read(&mut self.inbox[self.end..]) {
                Ok(0) => {
                    let ended = self.ended(watch);
                    let is_first = phase == Phase::FirstByte && ended == Broken::ClosedEarly;
                    return Err(if is_first { Broken::ClosedBeforeAnswer } else { ended });
                }
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(error) if is_trickle(&error) => watch.moved(0, false, phase)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => watch.look()?,
                Err(error) if is_tick(&error) => watch.silent(phase)?,
                Err(error) => {
                    let broken = self.broken(&error, watch);
                    let is_first = phase == Phase::FirstByte && matches!(broken, Broken::Reset(_));
                    return Err(if is_first { Broken::ClosedBeforeAnswer } else { broken });
                }
            }
        }
    }

    /// The peer's end, or our own `shutdown` by a cancel.
    fn ended(&self, watch: &Watch<'_>) -> Broken {
        if watch.cancel.is_cancelled() { Broken::Cancelled } else { Broken::ClosedEarly }
    }

    fn broken(&self, error: &io::Error, watch: &Watch<'_>) -> Broken {
        if watch.cancel.is_cancelled() { Broken::Cancelled } else { Broken::Reset(error.to_string()) }
    }
}

/// Fills `pieces` with what follows the first `done` bytes of head and body, at most 256 KiB; returns how many
/// pieces and bytes.
fn gather<'b>(
    head: &'b [u8],
    body: &[&'b [u8]],
    done: usize,
    pieces: &mut [IoSlice<'b>; SEND_PIECES],
) -> (usize, usize) {
    let (mut skip, mut count, mut bytes) = (done, 0, 0);
    for piece in std::iter::once(head).chain(body.iter().copied()) {
        if skip >= piece.len() {
            skip -= piece.len();
            continue;
        }
        let rest = &piece[skip..];
        skip = 0;
        let rest = &rest[..rest.len().min(SLICE_BYTES - bytes)];
        pieces[count] = IoSlice::new(rest);
        count += 1;
        bytes += rest.len();
        if count == SEND_PIECES || bytes == SLICE_BYTES {
            break;
        }
    }
    (count, bytes)
}

fn malformed(error: impl std::fmt::Display) -> Broken {
    Broken::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_gathered_from_where_the_last_send_ended() {
        let head = b"HEAD".as_slice();
        let body: [&[u8]; 3] = [b"one", b"", b"two"];
        let text = |done| {
            let mut pieces = [IoSlice::new(&[]); SEND_PIECES];
            let (count, bytes) = gather(head, &body, done, &mut pieces);
            let joined: Vec<u8> = pieces[..count].iter().flat_map(|piece| piece.iter().copied()).collect();
            assert_eq!(joined.len(), bytes);
            String::from_utf8(joined).expect("text")
        };
        assert_eq!(text(0), "HEADonetwo");
        assert_eq!(text(3), "Donetwo");
        assert_eq!(text(5), "netwo");
        assert_eq!(text(9), "o");
        assert_eq!(text(10), "");
    }

    #[test]
    fn one_send_takes_no_more_than_a_slice() {
        let large = vec![0; 3 * SLICE_BYTES];
        let mut pieces = [IoSlice::new(&[]); SEND_PIECES];
        assert_eq!(gather(b"HEAD", &[&large], 0, &mut pieces), (2, SLICE_BYTES));
    }
}
