//! The body of a request, as it arrives: framed, paced, spoiled on request.

use std::io;
use std::time::Duration;

use oss_protocol::http1::{BodyFraming, ChunkedDecoder, Limits};

use crate::clock::Clock;
use crate::halt::Halt;
use crate::refusal::Refusal;
use crate::shaping::Pacer;
use crate::wire::Wire;

/// Bytes taken from the socket at once: 256 KiB.
const SLICE_BYTES: usize = 256 * 1024;

/// A client that sends nothing of its body for that long gets 400 RequestTimeout.
const SILENCE: Duration = Duration::from_secs(60);

/// Largest XML document taken: DeleteMultiple with 1000 long keys is about 4 MB.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024 * 1024;

/// What happens when so many body bytes have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// RST.
    Reset,
    /// FIN.
    Close,
    /// Silence for that long, or until the client leaves.
    Stall(Option<Duration>),
}

/// Faults of the receiving side.
#[derive(Debug, Default)]
pub(crate) struct InPlan {
    /// What happens after so many bytes.
    pub(crate) end: Option<(u64, End)>,
    /// Bit to turn over.
    pub(crate) flip: Option<u64>,
    /// Bandwidth.
    pub(crate) pacer: Option<Pacer>,
}

#[derive(Debug)]
enum Left {
    Known(u64),
    Chunked(Box<ChunkedDecoder>),
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Inflow<'w> {
    wire: &'w mut Wire,
    left: Left,
    plan: InPlan,
    size: Option<u64>,
    received: u64,
    expects_continue: bool,
    is_broken: bool,
    clock: &'w Clock,
}

impl<'w> Inflow<'w> {
    /// Begins to receive a body framed like that.
    pub(crate) fn new(
        wire: &'w mut Wire,
        framing: BodyFraming,
        expects_continue: bool,
        plan: InPlan,
        clock: &'w Clock,
    ) -> Self {
        let (left, size) = match framing {
            BodyFraming::Length(size) => (Left::Known(size), Some(size)),
            BodyFraming::Chunked => (Left::Chunked(Box::new(ChunkedDecoder::new(&Limits::default()))), None),
            BodyFraming::None | BodyFraming::UntilClose => (Left::Known(0), Some(0)),
        };
        Self { wire, left, plan, size, received: 0, expects_continue, is_broken: false, clock }
    }

    /// The size the client announced; `None` for a chunked body.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Body bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Says whether the connection cannot go on after this body.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken || !self.is_complete()
    }

    /// Says whether the client has been promised a "100 Continue" that it has not got: it may
    /// not send its body at all.
    pub(crate) fn awaits_continue(&self) -> bool {
        self.expects_continue
    }

    fn is_complete(&self) -> bool {
        match &self.left {
            Left::Known(left) => *left == 0,
            Left::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Gives the whole body to `take`, slice by slice.
    ///
    /// # Errors
    /// 400 RequestTimeout if the client stops short, what `take` refuses, or a broken connection.
    pub(crate) fn receive(&mut self, take: &mut dyn FnMut(&[u8]) -> Result<(), Refusal>) -> Result<(), Halt> {
        self.tell_to_continue()?;
        self.wire.set_read_timeout(Some(SILENCE));
        let mut memory = vec![0; SLICE_BYTES.min(self.size.map_or(SLICE_BYTES, slice_for))];
        while !self.is_complete() {
            let count = self.next(&mut memory)?;
            let slice = memory.get_mut(..count).unwrap_or_default();
            flip(slice, self.received, self.plan.flip);
            self.received += count as u64;
            take(slice)?;
            self.end_if_due()?;
        }
        Ok(())
    }

    /// Receives a small body whole.
    ///
    /// # Errors
    /// As [`Inflow::receive`]; 400 EntityTooLarge above 8 MiB.
    pub(crate) fn document(&mut self) -> Result<Vec<u8>, Halt> {
        let mut all = Vec::new();
        self.receive(&mut |bytes| {
            if all.len() + bytes.len() > MAX_DOCUMENT_BYTES {
                return Err(Refusal::new(400, "EntityTooLarge", "The document is larger than 8 MiB."));
            }
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    /// Receives the body and forgets it, so that the connection can go on.
    ///
    /// # Errors
    /// As [`Inflow::receive`].
    pub(crate) fn drain(&mut self) -> Result<(), Halt> {
        self.receive(&mut |_| Ok(()))
    }

    /// Ends the connection by RST.
    pub(crate) fn reset(&mut self) -> Halt {
        self.wire.reset();
        Halt::Gone
    }

    fn tell_to_continue(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.expects_continue) && self.wire.buffered().is_empty() {
            self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n", b"")?;
        }
        self.end_if_due_io()
    }

    fn next(&mut self, memory: &mut [u8]) -> Result<usize, Halt> {
        let room = self.room(memory.len());
        let memory = memory.get_mut(..room).unwrap_or_default();
        let count = match &mut self.left {
            Left::Known(left) => {
                let want = memory.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = self.wire.read(memory.get_mut(..want).unwrap_or_default());
                let count = read.unwrap_or(0);
                *left -= count as u64;
                count
            }
            Left::Chunked(decoder) => match read_chunked(self.wire, decoder, memory) {
                Ok(count) => count,
                Err(refusal) => {
                    self.is_broken = true;
                    return Err(refusal.into());
                }
            },
        };
        if count == 0 && !self.is_complete() {
            self.is_broken = true;
            return Err(cut_short().into());
        }
        self.pace(count)?;
        Ok(count)
    }

    /// Bytes that may be read at once, so that faults and pacing happen at the right byte.
    fn room(&self, most: usize) -> usize {
        let paced = self.plan.pacer.as_ref().map_or(most, Pacer::slice_bytes);
        let before_end = self.plan.end.map_or(u64::MAX, |(after, _)| after.saturating_sub(self.received));
        most.min(paced).min(usize::try_from(before_end).unwrap_or(usize::MAX)).max(1)
    }

    fn pace(&mut self, count: usize) -> io::Result<()> {
        let Some(pacer) = &mut self.plan.pacer else { return Ok(()) };
        let wait = pacer.wait(count, self.clock.elapsed());
        self.wire.pause(wait)
    }

    fn end_if_due(&mut self) -> Result<(), Halt> {
        Ok(self.end_if_due_io()?)
    }

    fn end_if_due_io(&mut self) -> io::Result<()> {
        let Some((_, end)) = self.plan.end.take_if(|(after, _)| self.received >= *after) else {
            return Ok(());
        };
        match end {
            End::Reset => self.wire.reset(),
            End::Close => {}
            End::Stall(limit) => {
                self.wire.shrink_receive_buffer();
                return self.wire.stall(limit);
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

fn slice_for(size: u64) -> usize {
    usize::try_from(size).unwrap_or(SLICE_BYTES).max(1)
}

fn read_chunked(wire: &mut Wire, decoder: &mut ChunkedDecoder, memory: &mut [u8]) -> Result<usize, Refusal> {
    let bad =
        |error| Refusal::new(400, "InvalidArgument", format!("The chunked body is malformed: {error}."));
    loop {
        let ready = wire.buffered();
        let shown = ready.get(..ready.len().min(memory.len())).unwrap_or_default();
        let step = decoder.step(shown).map_err(bad)?;
        let count = step.data.len();
        if let Some(place) = memory.get_mut(..count) {
            place.copy_from_slice(step.data);
        }
        let (consumed, done) = (step.consumed, step.done);
        wire.consume(consumed);
        if count > 0 || done {
            return Ok(count);
        }
        if wire.buffered().is_empty() && wire.read_more().unwrap_or(0) == 0 {
            return Ok(0);
        }
    }
}

/// Turns over one bit of a body of which `slice` begins at byte `at`.
pub(crate) fn flip(slice: &mut [u8], at: u64, bit: Option<u64>) {
    let Some(bit) = bit else { return };
    let within = (bit / 8).checked_sub(at).and_then(|offset| usize::try_from(offset).ok());
    if let Some(byte) = within.and_then(|offset| slice.get_mut(offset)) {
        *byte ^= 1 << (bit % 8);
    }
}

fn cut_short() -> Refusal {
    let message =
        "Your socket connection to the server was not read from or written to within the timeout period.";
    Refusal::new(400, "RequestTimeout", message)
}
