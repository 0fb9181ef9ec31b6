//! Random access and read-ahead over one pinned version of one object.
//!
//! Large reads fan out in ranges that land in the caller's memory; small ones are served from parts that were
//! read [`ahead`](super::ahead). When everything that was received tiles the object, its CRC-64 is compared with the
//! one OSS keeps.
//!
//! All requests run on worker threads; the calling thread waits in slices and calls `watch` between them, so that
//! an interrupt is felt at once.

mod ranges;

use std::ops::Range;

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::fork;
use crate::interrupt::{SLICE, Watch};
use crate::lend::Lend;
use crate::read::ahead::{Ahead, Version};
use crate::read::engine::{ReadEngine, call, wait_watched};
use crate::read::fetch::{self, Fetched, Landing, Want};
use crate::read::plan;
use crate::read::slot::{Bell, Slot};
use crate::read::tiles::Tiles;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::workers::{Job, Workers};

/// Reads at least this large go straight into the caller's memory.
pub const DIRECT_BYTES: u64 = 1024 * 1024;

/// A reader of one object. Used by one thread at a time.
#[derive(Debug)]
pub struct ObjectReader {
    engine: ReadEngine,
    client: Client,
    workers: Workers,
    generation: u32,
    uri: ObjectUri,
    version: Option<Version>,
    position: u64,
    ahead: Ahead,
    tiles: Tiles,
    /// True once the caller saw anything of this version: from then on another version is an error.
    is_told: bool,
    has_begun_again: bool,
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
        let version = size.zip(etag).map(|(size, etag)| Version { size, etag: Some(etag), crc64: None });
        let workers = engine.workers()?;
        Ok(Self {
            ahead: Ahead::new(engine.client(), &workers, &uri),
            workers,
            generation: fork::generation(),
            engine: engine.clone(),
            client: engine.client().clone(),
            uri,
            version,
            position: 0,
            tiles: Tiles::default(),
            is_told: false,
            has_begun_again: false,
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
        self.ahead.buffered(self.position)
    }

    /// Moves the position over `count` bytes that [`ObjectReader::buffered`] gave.
    pub fn advance(&mut self, count: usize) {
        self.move_to(self.position + count as u64);
    }

    /// Makes [`ObjectReader::buffered`] give at least one byte, unless the position is at the end.
    ///
    /// # Errors
    /// Those of GetObject, `ObjectChanged`, `Integrity`, and of `watch`.
    pub fn fill(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        match self.fill_once(watch) {
            Err(error) if self.begins_again(&error) => self.fill_once(watch),
            outcome => outcome,
        }
    }

    /// Says whether the read that failed with `error` is to be begun again, on the version that is there now: the
    /// object was replaced before the caller saw anything of it. Once in a reader's life; its size may be another.
    pub fn begins_again(&mut self, error: &Error) -> bool {
        let begins = error.kind == ErrorKind::ObjectChanged && !self.is_told && !self.has_begun_again;
        if begins {
            self.has_begun_again = true;
            self.forget_version();
        }
        begins
    }

    /// Fills all of `buffer` from the position on, which has that many bytes [`ObjectReader::remaining`].
    ///
    /// # Errors
    /// Those of GetObject, `ObjectChanged` (see [`ObjectReader::begins_again`]), `Integrity`, and of `watch`; the
    /// loan was given back by then and holds unspecified bytes.
    pub fn read_into<B: Lend>(&mut self, mut buffer: B, watch: Watch<'_>) -> Result<B, Error> {
        let count = buffer.memory().len();
        let end = self.position + count as u64;
        self.open(watch)?;
        let offset = self.copy_ahead(&mut buffer, watch)?;
        if offset < count {
            buffer = self.read_direct(Landing { buffer, offset }, self.position..end, watch)?;
            self.move_to(end);
        }
        self.check_whole()?;
        Ok(buffer)
    }

    /// Gives up what is on the wire.
    pub fn close(&mut self) {
        self.ahead.clear();
    }

    fn move_to(&mut self, position: u64) {
        self.position = position;
        self.ahead.read_to(position);
        self.is_told = true;
    }

    /// Takes over in a forked child: the parent's threads are not here, its parts are the parent's.
    ///
    /// Position and version stay, so the child reads on in the same object.
    fn enter_process(&mut self) -> Result<(), Error> {
        if self.generation != fork::generation() {
            self.workers = self.engine.workers()?;
            let ahead = Ahead::new(&self.client, &self.workers, &self.uri);
            std::mem::forget(std::mem::replace(&mut self.ahead, ahead));
            self.ahead.read_to(self.position);
            self.tiles = Tiles::default();
            self.generation = fork::generation();
        }
        Ok(())
    }

    /// Learns size and version from HEAD, if no listing told them. Every read passes here first.
    fn open(&mut self, watch: Watch<'_>) -> Result<&Version, Error> {
        self.enter_process()?;
        if self.version.is_none() {
            let (client, uri) = (self.client.clone(), self.uri.clone());
            let info = call(&self.workers, watch, move |cancel| client.head_object(&uri, cancel))?;
            let crc64 = fetch::comparable(&self.client, info.crc64);
            self.version = Some(Version { size: info.size, etag: info.etag, crc64 });
        }
        self.version.as_ref().ok_or_else(|| Error::internal("HeadObject", "no version"))
    }

    /// Lets the reader start again on the version that is there now; the caller saw nothing of the old one.
    fn forget_version(&mut self) {
        self.close();
        self.version = None;
        self.tiles = Tiles::default();
        self.client.count(Counter::ObjectsChanged);
    }

    fn fill_once(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        let version = self.open(watch)?.clone();
        if self.position >= version.size {
            return Ok(());
        }
        self.ahead.reach(self.position, &version);
        self.receive_ahead(self.position, watch)?;
        self.check_whole()
    }

    /// Waits until the part that holds `position` is in memory.
    fn receive_ahead(&mut self, position: u64, watch: Watch<'_>) -> Result<(), Error> {
        let arrived = self.ahead.wait(position, watch).inspect_err(|_| self.ahead.clear())?;
        if let Some(part) = arrived {
            self.tiles.add(part.range, part.crc64);
            self.note_crc(part.object_crc64);
        }
        Ok(())
    }

    /// Copies what was read ahead to the front of `buffer`; returns how many bytes.
    fn copy_ahead<B: Lend>(&mut self, buffer: &mut B, watch: Watch<'_>) -> Result<usize, Error> {
        let mut offset = 0;
        while self.ahead.covers(self.position) {
            let room = &mut buffer.memory()[offset..];
            if room.is_empty() {
                break;
            }
            self.fill_once(watch)?;
            let bytes = self.buffered();
            let taken = bytes.len().min(room.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                to.write(*from);
            }
            self.advance(taken);
            offset += taken;
        }
        Ok(offset)
    }

    /// Fans `range` out over the workers, straight into the caller's memory, and keeps the wire busy behind it.
    fn read_direct<B: Lend>(
        &mut self,
        landing: Landing<B>,
        range: Range<u64>,
        watch: Watch<'_>,
    ) -> Result<B, Error> {
        let version = self.open(watch)?.clone();
        if range.end > version.size {
            return Err(Error::internal("read", "a read beyond the end was asked for"));
        }
        let is_in_order = self.ahead.is_in_order(range.start);
        let slot = Slot::new(0, &Bell::new());
        let finish = {
            let slot = Arc::clone(&slot);
            Box::new(move |outcome| slot.put(outcome))
        };
        let want = version.want(&self.uri, None);
        let requests = fetch::in_parts(&self.client, want, range.clone(), plan::PART_BYTES, landing, finish);
        let (cancels, jobs): (Vec<Cancel>, Vec<Job>) = requests.into_iter().unzip();
        self.workers.submit(jobs);
        if is_in_order {
            self.ahead.follow(range.end, &version);
        }
        let fetched = match wait_watched(&self.workers, &slot, watch) {
            Ok(outcome) => outcome?,
            Err(interrupt) => {
                cancels.iter().for_each(Cancel::cancel);
                self.close();
                // The workers may write into the loan until the last of them has let go of it.
                self.outlast(&slot);
                return Err(interrupt);
            }
        };
        self.settle_direct(fetched, range, &version, watch)
    }

    /// Checks a direct read that is the whole object before it is returned; repeats it when it is damaged.
    fn settle_direct<B: Lend>(
        &mut self,
        fetched: Fetched<B>,
        range: Range<u64>,
        version: &Version,
        watch: Watch<'_>,
    ) -> Result<B, Error> {
        self.note_crc(fetched.object_crc64);
        let expected = fetched.object_crc64.or(version.crc64);
        let is_whole = range == (0..version.size);
        if !is_whole || expected.is_none_or(|expected| expected == fetched.crc64) {
            self.tiles.add(range, fetched.crc64);
            return Ok(fetched.buffer);
        }
        self.client.count(Counter::CrcMismatched);
        let again = self.read_damaged(version.want(&self.uri, None).after_damage(), fetched.buffer, watch)?;
        self.tiles.add(range, again.crc64);
        Ok(again.buffer)
    }

    /// Reads again, by one request, what came damaged; the loan is back also when `watch` breaks this off.
    fn read_damaged<B: Lend>(&self, want: Want, buffer: B, watch: Watch<'_>) -> Result<Fetched<B>, Error> {
        let (slot, cancel) = (Slot::new(0, &Bell::new()), Cancel::new());
        let job = {
            let (client, slot, cancel) = (self.client.clone(), Arc::clone(&slot), cancel.clone());
            Box::new(move || {
                slot.put(fetch::guarded(|| fetch::into_lent(&client, &want, buffer, &cancel)));
                0_u64
            }) as Job
        };
        self.workers.submit([job]);
        wait_watched(&self.workers, &slot, watch).inspect_err(|_| {
            cancel.cancel();
            self.outlast(&slot);
        })?
    }

    /// Waits until the jobs of `slot`, which were cancelled, have ended; does them where nobody else can.
    fn outlast<T>(&self, slot: &Slot<T>) {
        while !slot.is_done() {
            if !self.workers.run_one() {
                slot.wait(SLICE);
            }
        }
    }

    fn note_crc(&mut self, crc64: Option<u64>) {
        if let Some(version) = &mut self.version {
            version.crc64 = version.crc64.or(crc64);
        }
    }

    /// Compares the CRC-64 of everything received with the object's, once it tiles the object.
    fn check_whole(&mut self) -> Result<(), Error> {
        let Some(Version { size, crc64, .. }) = self.version else { return Ok(()) };
        let Some(found) = self.tiles.whole(size) else { return Ok(()) };
        self.tiles = Tiles::default();
        let Some(expected) = crc64 else { return fetch::unchecked(&self.client, &self.uri) };
        if found == expected {
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
        // In a forked child this reaches nothing of the parent's: a cancel knows its process.
        self.close();
    }
}
