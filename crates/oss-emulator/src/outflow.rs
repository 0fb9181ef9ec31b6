//! The answer on its way out: head and body, framed, paced, spoiled on request.

use std::io;

use oss_protocol::http1::{end_head, write_chunk, write_header, write_last_chunk, write_status_line};

use crate::clock::Clock;
use crate::inflow::{End, flip};
use crate::response::{Payload, Response};
use crate::shaping::Pacer;
use crate::wire::Wire;

/// How Content-Length is told.
#[derive(Clone, Debug, Default)]
pub(crate) enum LengthHeader {
    /// As it is.
    #[default]
    True,
    /// These values, one header each; none leaves it out.
    Told(Vec<String>),
}

/// Faults of the sending side.
#[derive(Debug, Default)]
pub(crate) struct OutPlan {
    /// What happens after so many bytes.
    pub(crate) end: Option<(u64, End)>,
    /// Whether bytes of the head count for `end`.
    pub(crate) counts_head: bool,
    /// Bit of the body to turn over.
    pub(crate) flip: Option<u64>,
    /// Bandwidth.
    pub(crate) pacer: Option<Pacer>,
    /// Bytes behind the end of the body.
    pub(crate) extra_bytes: usize,
    /// How Content-Length is told.
    pub(crate) length: LengthHeader,
    /// Chunked coding with chunks of so many bytes.
    pub(crate) chunk_bytes: Option<usize>,
    /// The second chunk's size line is not hexadecimal.
    pub(crate) bad_chunk: bool,
}

impl OutPlan {
    /// Says whether the peer cannot tell where the next answer begins.
    fn spoils_framing(&self) -> bool {
        self.bad_chunk || matches!(self.length, LengthHeader::Told(_))
    }

    fn is_plain(&self) -> bool {
        self.end.is_none() && self.flip.is_none() && self.pacer.is_none() && self.chunk_bytes.is_none()
    }
}

/// Sends one answer.
#[derive(Debug)]
pub(crate) struct Outflow<'w> {
    wire: &'w mut Wire,
    clock: &'w Clock,
    plan: OutPlan,
    head: Vec<u8>,
    counted: u64,
    body_bytes: u64,
    chunks: usize,
}

impl<'w> Outflow<'w> {
    /// Prepares to send over a wire.
    pub(crate) fn new(wire: &'w mut Wire, clock: &'w Clock, plan: OutPlan) -> Self {
        Self { wire, clock, plan, head: Vec::new(), counted: 0, body_bytes: 0, chunks: 0 }
    }

    /// Body bytes sent so far.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Sends the answer; says whether the connection may go on.
    ///
    /// # Errors
    /// The client has gone, or a fault ended the connection.
    pub(crate) fn send(&mut self, response: &Response, keep_alive: bool) -> io::Result<bool> {
        let keep_alive = keep_alive && !self.plan.spoils_framing();
        if matches!(response.payload, Payload::Empty | Payload::HeadOnly(_)) {
            self.plan.chunk_bytes = None;
        }
        self.head = self.write_head(response, keep_alive)?;
        match &response.payload {
            Payload::Empty | Payload::HeadOnly(_) => {}
            Payload::Bytes(bytes) => self.body(bytes)?,
            Payload::Object(body) => body.visit(&mut |bytes| self.body(bytes))?,
        }
        self.flush_head()?;
        if self.plan.chunk_bytes.is_some() {
            let mut last = Vec::new();
            write_last_chunk(&mut last);
            self.wire.write(&last, b"")?;
        }
        if self.plan.extra_bytes > 0 {
            self.wire.write(&vec![b'x'; self.plan.extra_bytes], b"")?;
        }
        Ok(keep_alive)
    }

    /// Sends bytes as they are, as if they were an answer.
    ///
    /// # Errors
    /// As [`Outflow::send`].
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.deliver(bytes, true)
    }

    fn write_head(&self, response: &Response, keep_alive: bool) -> io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(512);
        write_status_line(&mut head, response.status);
        let mut put = |name: &str, value: &str| {
            write_header(&mut head, name, value).map_err(|error| io::Error::other(error.to_string()))
        };
        for (name, value) in &response.headers {
            put(name, value)?;
        }
        put("Connection", if keep_alive { "keep-alive" } else { "close" })?;
        let has_body = !matches!(response.status, 100..=199 | 204 | 304);
        match &self.plan.length {
            _ if self.plan.chunk_bytes.is_some() => put("Transfer-Encoding", "chunked")?,
            LengthHeader::Told(values) => {
                for value in values {
                    put("Content-Length", value)?;
                }
            }
            LengthHeader::True if has_body => {
                put("Content-Length", &response.payload.size_bytes().to_string())?;
            }
            LengthHeader::True => {}
        }
        end_head(&mut head);
        Ok(head)
    }

    fn flush_head(&mut self) -> io::Result<()> {
        let head = std::mem::take(&mut self.head);
        if self.plan.is_plain() {
            return self.wire.write(&head, b"");
        }
        self.deliver(&head, self.plan.counts_head)?;
        self.end_if_due()
    }

    fn body(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.plan.is_plain() {
            let head = std::mem::take(&mut self.head);
            self.wire.write(&head, bytes)?;
            self.body_bytes += bytes.len() as u64;
            return Ok(());
        }
        self.flush_head()?;
        if self.plan.flip.is_none() {
            return self.framed(bytes);
        }
        let mut spoiled = bytes.to_vec();
        flip(&mut spoiled, self.body_bytes, self.plan.flip);
        self.framed(&spoiled)
    }

    fn framed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(size) = self.plan.chunk_bytes else {
            self.deliver(bytes, true)?;
            self.body_bytes += bytes.len() as u64;
            return Ok(());
        };
        for chunk in bytes.chunks(size.max(1)) {
            let mut coded = Vec::with_capacity(chunk.len() + 16);
            write_chunk(&mut coded, chunk);
            self.chunks += 1;
            if self.plan.bad_chunk && self.chunks == 2 {
                coded.splice(0..1, *b"zz");
            }
            self.deliver(&coded, true)?;
            self.body_bytes += chunk.len() as u64;
        }
        Ok(())
    }

    /// Writes at the pace of the plan, and ends where it says.
    fn deliver(&mut self, bytes: &[u8], counts: bool) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if counts {
                self.end_if_due()?;
            }
            let (now, later) = rest.split_at(self.room(rest.len(), counts));
            if let Some(pacer) = &mut self.plan.pacer {
                let wait = pacer.wait(now.len(), self.clock.elapsed());
                self.wire.pause(wait)?;
            }
            self.wire.write(now, b"")?;
            self.counted += if counts { now.len() as u64 } else { 0 };
            rest = later;
        }
        if counts { self.end_if_due() } else { Ok(()) }
    }

    fn room(&self, most: usize, counts: bool) -> usize {
        let paced = self.plan.pacer.as_ref().map_or(most, Pacer::slice_bytes);
        let before_end = match self.plan.end {
            Some((after, _)) if counts => after.saturating_sub(self.counted),
            _ => u64::MAX,
        };
        most.min(paced).min(usize::try_from(before_end).unwrap_or(usize::MAX)).max(1)
    }

    fn end_if_due(&mut self) -> io::Result<()> {
        let counted = self.counted;
        let Some((_, end)) = self.plan.end.take_if(|(after, _)| counted >= *after) else { return Ok(()) };
        match end {
            End::Reset => self.wire.reset(),
            End::Close => {}
            End::Stall(limit) => return self.wire.stall(limit),
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}
