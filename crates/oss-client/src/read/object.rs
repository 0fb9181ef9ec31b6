//! Random access and read-ahead over one pinned version of one object.
//!
//! Large reads fan out in ranges that land in the caller's memory; small ones are served from parts that were
//! read ahead. Read-ahead starts when an object is read in order, and then keeps the next parts on the wire also
//! between calls. A visit to the end of the object (archives keep their table there) is answered from a part of
//! its own and leaves the read-ahead alone. When everything that was received tiles the object, its CRC-64 is
//! compared with the one OSS keeps.
//!
//! All requests run on worker threads; the calling thread waits in slices and calls `watch` between them, so that
//! an interrupt is felt at once.

use std::collections::VecDeque;
use std::ops::Range;

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::interrupt::{SLICE, Watch};
use crate::lend::{Filled, Lend, Scratch};
use crate::read::engine::{ReadEngine, call, wait_watched};
use crate::read::fetch::{self, Fetched, Landing, Want};
use crate::read::plan;
use crate::read::slot::{Bell, Slot};
use crate::read::tiles::Tiles;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::workers::{Job, Workers};

/// The end of the object that is fetched in one part when it is visited: 1 MiB holds an archive's table.
const TAIL_BYTES: u64 = 1024 * 1024;

/// First part after a jump: what a small structure takes, little lost if the reader jumps again.
const FIRST_PART_BYTES: u64 = 256 * 1024;

/// Bytes kept on the wire ahead of a reader that reads in order.
const AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// Reads at least this large go straight into the caller's memory.
pub const DIRECT_BYTES: u64 = 1024 * 1024;

/// The version of the object that this reader stays with.
#[derive(Clone, Debug)]
struct Version {
    size: u64,
    etag: Option<String>,
    crc64: Option<u64>,
}

/// A part that was asked for ahead of the reader.
#[derive(Debug)]
struct Part {
    range: Range<u64>,
    slot: Arc<Slot<Fetched<Scratch>>>,
    cancel: Cancel,
    bytes: Option<Vec<u8>>,
}

/// A reader of one object. Used by one thread at a time.
#[derive(Debug)]
pub struct ObjectReader {
    client: Client,
    workers: Workers,
    uri: ObjectUri,
    version: Option<Version>,
    position: u64,
    /// Parts in order without gaps, the first of them at or before the reading position.
    ahead: VecDeque<Part>,
    tail: Option<Part>,
    /// Where the last read ended: a read that starts here is in order.
    in_order_at: u64,
    /// How many bytes to keep ahead; doubles while reads are in order.
    depth_bytes: u64,
    tiles: Tiles,
    /// True once the caller saw anything of this version: from then on another version is an error.
    is_told: bool,
    bell: Arc<Bell>,
    part_count: u64,
}

impl ObjectReader {
    /// Prepares to read `uri`; nothing is sent. Size and ETag may be known from a listing.
    ///
    /// # Errors
    /// `Forked` if the client cannot work in this process.
    pub fn new(
        engine: &ReadEngine,
        uri: ObjectUri,
        size: Option<u64>,
        etag: Option<String>,
    ) -> Result<Self, Error> {
        let version = match (size, etag) {
            (Some(size), Some(etag)) => Some(Version { size, etag: Some(etag), crc64: None }),
            _ => None,
        };
        Ok(Self {
            workers: engine.workers()?,
            client: engine.client().clone(),
            uri,
            version,
            position: 0,
            ahead: VecDeque::new(),
            tail: None,
            in_order_at: 0,
            depth_bytes: FIRST_PART_BYTES,
            tiles: Tiles::default(),
            is_told: false,
            bell: Bell::new(),
            part_count: 0,
        })
    }

    /// The object that is read.
    #[must_use]
    pub fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// Where the next read starts.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Lets the next read start at `position`, which may lie beyond the end. Sends nothing.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// The pinned version's ETag, once it is known.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.version.as_ref().and_then(|version| version.etag.as_deref())
    }

    /// The object's size in bytes; asks OSS when it is not known yet.
    ///
    /// # Errors
    /// Those of HeadObject, and of `watch`.
    pub fn size(&mut self, watch: Watch<'_>) -> Result<u64, Error> {
        let size = self.open(watch)?.size;
        self.is_told = true;
        Ok(size)
    }

    /// How many bytes are left between the position and the end.
    ///
    /// # Errors
    /// As [`ObjectReader::size`].
    pub fn remaining(&mut self, watch: Watch<'_>) -> Result<u64, Error> {
        let position = self.position;
        Ok(self.open(watch)?.size.saturating_sub(position))
    }

    /// Bytes at the position that are in memory; empty when a request is needed first.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        let position = self.position;
        self.parts()
            .find_map(|part| {
                part.bytes.as_deref().filter(|_| part.range.contains(&position)).map(|b| (b, part))
            })
            .and_then(|(bytes, part)| {
                bytes.get(usize::try_from(position - part.range.start).unwrap_or(usize::MAX)..)
            })
            .unwrap_or_default()
    }

    /// Moves the position over `count` bytes that [`ObjectReader::buffered`] gave.
    pub fn advance(&mut self, count: usize) {
        self.position += count as u64;
        self.in_order_at = self.position;
        self.is_told = true;
    }

    /// Makes [`ObjectReader::buffered`] give at least one byte, unless the position is at the end.
    ///
    /// # Errors
    /// Those of GetObject, `ObjectChanged`, `Integrity`, and of `watch`.
    pub fn fill(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        self.on_one_version(watch, |reader, watch| reader.fill_once(watch))
    }

    /// Fills all of `buffer` from the position on, which has that many bytes [`ObjectReader::remaining`].
    ///
    /// # Errors
    /// As [`ObjectReader::fill`]; the loan was given back by then and holds unspecified bytes.
    pub fn read_into<B: Lend>(&mut self, mut buffer: B, watch: Watch<'_>) -> Result<B, Error> {
        let count = buffer.memory().len();
        let end = self.position + count as u64;
        assert!(end <= self.open(watch)?.size, "the caller asked how much remains");
        let mut offset = 0;
        while offset < count && self.covers(self.position) {
            self.fill(watch)?;
            let bytes = self.buffered();
            let taken = bytes.len().min(count - offset);
            for (to, from) in buffer.memory()[offset..offset + taken].iter_mut().zip(bytes) {
                to.write(*from);
            }
            self.advance(taken);
            offset += taken;
        }
        if offset < count {
            buffer = self.read_direct(Landing { buffer, offset }, self.position..end, watch)?;
            self.position = end;
            self.in_order_at = end;
            self.is_told = true;
        }
        self.check_whole()?;
        Ok(buffer)
    }

    /// Gives up what is on the wire.
    pub fn close(&mut self) {
        self.drop_ahead();
        if let Some(tail) = self.tail.take() {
            tail.cancel.cancel();
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.ahead.iter().chain(&self.tail)
    }

    fn covers(&self, position: u64) -> bool {
        self.parts().any(|part| part.range.contains(&position))
    }

    /// Learns size and version from HEAD, if no listing told them.
    fn open(&mut self, watch: Watch<'_>) -> Result<&Version, Error> {
        if self.version.is_none() {
            let (client, uri) = (self.client.clone(), self.uri.clone());
            let info = call(&self.workers, watch, move |cancel| client.head_object(&uri, cancel))?;
            self.version = Some(Version { size: info.size, etag: info.etag, crc64: info.crc64 });
        }
        self.version.as_ref().ok_or_else(|| Error::internal("HeadObject", "no version"))
    }

    fn want(&self, version: &Version) -> Want {
        Want { uri: self.uri.clone(), range: None, etag: version.etag.clone(), size: Some(version.size) }
    }

    /// Starts again on the new version, once, if the object changed before the caller saw anything of it.
    fn on_one_version<T>(
        &mut self,
        watch: Watch<'_>,
        read: impl Fn(&mut Self, Watch<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match read(self, watch) {
            Err(error) if error.kind == ErrorKind::ObjectChanged && !self.is_told => {
                self.close();
                self.version = None;
                self.tiles = Tiles::default();
                self.client.count(Counter::ObjectsChanged);
                read(self, watch)
            }
            outcome => outcome,
        }
    }

    fn fill_once(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        let size = self.open(watch)?.size;
        if self.position >= size {
            return Ok(());
        }
        if !self.covers(self.position) {
            self.start_at(self.position, size);
        }
        self.read_ahead(size);
        self.wait_for_part(watch)?;
        self.check_whole()
    }

    /// Begins reading at a position that no part covers: the tail in one part, anything else as a new stream.
    fn start_at(&mut self, position: u64, size: u64) {
        let tail_start = size.saturating_sub(TAIL_BYTES);
        let is_tail_visit = position >= tail_start && position != self.in_order_at && tail_start > 0;
        if is_tail_visit {
            self.tail = Some(self.ask(tail_start..size));
            return;
        }
        let is_in_order = position == self.in_order_at;
        self.drop_ahead();
        self.depth_bytes = if is_in_order { self.depth_bytes } else { FIRST_PART_BYTES };
        self.in_order_at = position;
        let part = self.ask(position..size.min(position + self.depth_bytes.min(plan::PART_BYTES)));
        self.ahead.push_back(part);
    }

    /// Drops parts that were read, and asks for more while reads are in order.
    fn read_ahead(&mut self, size: u64) {
        let position = self.position;
        let Some(end) = self.ahead.back().map(|part| part.range.end) else { return };
        let is_in_stream =
            self.ahead.front().is_some_and(|part| part.range.start <= position) && position < end;
        if !is_in_stream {
            return;
        }
        while self.ahead.front().is_some_and(|part| part.range.end <= position) {
            self.ahead.pop_front();
            self.depth_bytes = (self.depth_bytes * 2).min(AHEAD_BYTES);
        }
        self.extend_ahead(end, size);
    }

    /// Asks for parts from `end` on, as deep as the reader's habit allows.
    fn extend_ahead(&mut self, end: u64, size: u64) {
        let mut end = end;
        let part_bytes = self.depth_bytes.min(plan::PART_BYTES);
        while end < size && end < self.position + self.depth_bytes {
            let part = self.ask(end..size.min(end + part_bytes));
            end = part.range.end;
            self.ahead.push_back(part);
        }
    }

    /// Puts one part on the wire.
    fn ask(&mut self, range: Range<u64>) -> Part {
        let slot = Slot::new(self.part_count, &self.bell);
        self.part_count += 1;
        let cancel = Cancel::new();
        if let Some(version) = &self.version {
            let want = Want { range: Some(range.clone()), ..self.want(version) };
            let (client, slot, cancel) = (self.client.clone(), Arc::clone(&slot), cancel.clone());
            self.workers.submit([Box::new(move || fetch_part(&client, &want, &cancel, &slot)) as Job]);
        }
        Part { range, slot, cancel, bytes: None }
    }

    /// Waits for the part at the position and takes its bytes.
    fn wait_for_part(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        let position = self.position;
        let index = self.ahead.iter().position(|part| part.range.contains(&position));
        let part = match index {
            Some(index) => self.ahead.get_mut(index),
            None => self.tail.as_mut().filter(|tail| tail.range.contains(&position)),
        };
        let Some(part) = part else {
            return Err(Error::internal("read", "no part was asked for at the position"));
        };
        if part.bytes.is_some() {
            return Ok(());
        }
        let outcome = wait_watched(&self.workers, &part.slot, watch).flatten().map(|fetched| {
            self.tiles.add(part.range.clone(), fetched.crc64);
            note_crc(&mut self.version, fetched.object_crc64);
            let size_bytes = usize::try_from(part.range.end - part.range.start).unwrap_or(usize::MAX);
            part.bytes = Some(fetched.buffer.into_filled(Filled(size_bytes)));
        });
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// Fans `range` out over the workers, straight into the caller's memory, and keeps the wire busy behind it.
    fn read_direct<B: Lend>(
        &mut self,
        landing: Landing<B>,
        range: Range<u64>,
        watch: Watch<'_>,
    ) -> Result<B, Error> {
        let version = self.open(watch)?.clone();
        let offset = landing.offset;
        let is_in_order = range.start == self.in_order_at;
        let slot = Slot::new(self.part_count, &self.bell);
        self.part_count += 1;
        let finish = {
            let slot = Arc::clone(&slot);
            Box::new(move |outcome| slot.put(outcome))
        };
        let requests = fetch::in_parts(
            &self.client,
            self.want(&version),
            range.clone(),
            plan::PART_BYTES,
            landing,
            finish,
        );
        let (cancels, jobs): (Vec<Cancel>, Vec<Job>) = requests.into_iter().unzip();
        self.workers.submit(jobs);
        if is_in_order {
            self.follow(range.end, version.size);
        }
        let fetched = match wait_watched(&self.workers, &slot, watch) {
            Ok(outcome) => outcome?,
            Err(interrupt) => {
                cancels.iter().for_each(Cancel::cancel);
                self.close();
                // The workers may write into the loan until the last of them has let go of it.
                while !slot.wait(SLICE) {}
                return Err(interrupt);
            }
        };
        self.settle_direct(fetched, range, offset, &version, watch)
    }

    /// Checks a direct read that is the whole object before it is returned; repeats it when it is damaged.
    fn settle_direct<B: Lend>(
        &mut self,
        fetched: Fetched<B>,
        range: Range<u64>,
        offset: usize,
        version: &Version,
        watch: Watch<'_>,
    ) -> Result<B, Error> {
        note_crc(&mut self.version, fetched.object_crc64);
        let is_whole = range == (0..version.size);
        let expected = fetched.object_crc64.or(version.crc64);
        if !is_whole || offset != 0 || expected.is_none_or(|expected| expected == fetched.crc64) {
            self.tiles.add(range, fetched.crc64);
            return Ok(fetched.buffer);
        }
        self.client.count(Counter::CrcMismatched);
        let (client, want) = (self.client.clone(), self.want(version));
        let again = call(&self.workers, watch, move |cancel| {
            fetch::into_lent(&client, &want, fetched.buffer, cancel)
        })?;
        self.tiles.add(range, again.crc64);
        Ok(again.buffer)
    }

    /// Asks for what follows a direct read, so that the next call finds bytes waiting.
    fn follow(&mut self, end: u64, size: u64) {
        self.drop_ahead();
        self.depth_bytes = AHEAD_BYTES;
        let ahead_end = size.min(end + AHEAD_BYTES);
        for range in plan::cut(end..ahead_end, plan::PART_BYTES) {
            let part = self.ask(range);
            self.ahead.push_back(part);
        }
    }

    fn drop_ahead(&mut self) {
        for part in self.ahead.drain(..) {
            if part.bytes.is_none() {
                part.cancel.cancel();
            }
        }
    }

    /// Compares the CRC-64 of everything received with the object's, once it tiles the object.
    fn check_whole(&mut self) -> Result<(), Error> {
        let Some(Version { size, crc64: Some(expected), .. }) = &self.version else { return Ok(()) };
        let Some(found) = self.tiles.whole(*size) else { return Ok(()) };
        let expected = *expected;
        self.tiles = Tiles::default();
        if found == expected || *size == 0 {
            self.client.count(Counter::CrcChecked);
            return Ok(());
        }
        self.client.count(Counter::CrcMismatched);
        let text = format!(
            "the bytes received have CRC-64 {found}, OSS keeps {expected}: they were damaged on the way; read again"
        );
        Err(Error::new(ErrorKind::Integrity, "read", text).with_uri(self.uri.to_string()))
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.close();
    }
}

fn note_crc(version: &mut Option<Version>, crc64: Option<u64>) {
    if let Some(version) = version {
        version.crc64 = version.crc64.or(crc64);
    }
}

fn fetch_part(client: &Client, want: &Want, cancel: &Cancel, slot: &Slot<Fetched<Scratch>>) -> u64 {
    let size = want.range.as_ref().map_or(0, |range| range.end - range.start);
    let outcome = fetch::guarded(|| {
        let mut scratch = Scratch::new();
        if !usize::try_from(size).is_ok_and(|size_bytes| scratch.reserve(size_bytes)) {
            return Err(Error::new(ErrorKind::OutOfMemory, "GetObject", "no memory to read ahead"));
        }
        fetch::into_lent(client, want, scratch, cancel)
    });
    let received = outcome.as_ref().map_or(0, |_| size);
    slot.put(outcome);
    received
}
